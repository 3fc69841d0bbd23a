use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: the phases of a request share one table
--- config
    location = /t {
        set_by_lua_block $seed { ngx.ctx.seen = "set" }
        rewrite_by_lua_block { ngx.ctx.seen = ngx.ctx.seen .. " rewrite" }
        access_by_lua_block { ngx.ctx.seen = ngx.ctx.seen .. " access" }
        content_by_lua_block { ngx.say(ngx.ctx.seen) ngx.ctx.seen = ngx.ctx.seen .. " content" }
        log_by_lua_block { ngx.log(ngx.WARN, "ctx: ", ngx.ctx.seen, ".") }
    }
--- response_body
set rewrite access
--- error_log
ctx: set rewrite access content.


=== TEST 2: each request has its own, and the same one each time
--- lua
    local ctx = ngx.ctx
    ngx.say(ctx.n, " ", ctx == ngx.ctx)
    ctx.n = 1
--- request eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
["nil true\n", "nil true\n", "nil true\n"]


=== TEST 3: it can be replaced by another table
--- lua
    ngx.ctx = { a = 1 }
    ngx.ctx.b = 2
    ngx.say(ngx.ctx.a, ngx.ctx.b)
    local mine = {}
    ngx.ctx = mine
    ngx.say(ngx.ctx == mine)
--- response_body
12
true


=== TEST 4: anything but a table is refused
--- lua
    local ok, err = pcall(function()
        ngx.ctx = 5
    end)
    ngx.say(err)
    ngx.say(select(2, pcall(function() ngx.ctx = nil end)))
--- response_body_like
^content_by_lua\(nginx\.conf:\d+\):\d+: ctx should be a table while getting a number
.*ctx should be a table while getting a nil$


=== TEST 5: an internal redirect starts with an empty one
--- config
    error_page 404 = /page;
    location = /t {
        rewrite_by_lua_block { ngx.ctx.from = "t" }
        content_by_lua_block { ngx.exit(404) }
    }
    location = /page {
        content_by_lua_block { ngx.say("from ", ngx.ctx.from) }
    }
--- response_body
from nil
--- error_code: 404


=== TEST 6: so does a jump by ngx.req.set_uri
--- config
    location = /t {
        rewrite_by_lua_block { ngx.ctx.from = "t" ngx.req.set_uri("/page", true) }
    }
    location = /page {
        content_by_lua_block { ngx.say("from ", ngx.ctx.from) }
    }
--- response_body
from nil


=== TEST 7: tables are not mixed up when many requests wait at once
--- config
    location = /t {
        content_by_lua_block {
            local mine = ngx.var.arg_n
            ngx.ctx.n = mine
            ngx.sleep(0.01 * (10 - mine))
            ngx.say(ngx.ctx.n == mine)
        }
    }
--- pipelined_requests eval
["GET /t?n=1", "GET /t?n=9", "GET /t?n=5"]
--- response_body eval
["true\n", "true\n", "true\n"]


=== TEST 8: a request's table is garbage once the request is over
--- lua
    local weak = package.loaded["t.weak"] or setmetatable({}, { __mode = "v" })
    package.loaded["t.weak"] = weak
    collectgarbage()
    local n = 0
    for _ in pairs(weak) do n = n + 1 end
    ngx.say(n <= 1)
    weak[#weak + 1] = ngx.ctx
--- request eval
[("GET /t") x 20]
--- response_body eval
[("true\n") x 20]


=== TEST 9: a worker's start has a table of its own
--- http_config
    init_worker_by_lua_block {
        ngx.ctx.n = 1
        package.loaded["t.n"] = ngx.ctx.n
        ngx.ctx = { n = 2 }
        package.loaded["t.m"] = ngx.ctx.n
    }
--- lua
    ngx.say(package.loaded["t.n"], package.loaded["t.m"], ngx.ctx.n)
--- response_body
12nil


=== TEST 10: there is none while the configuration is loaded
--- lua
    local _ = ngx.ctx
--- refused: init
--- result: no request found


=== TEST 11: it works in each phase of a request
--- lua
    ngx.ctx.x = 7
    return ngx.ctx.x
--- result: 7
--- phases: set server_rewrite rewrite access content header_filter body_filter log balancer init_worker exit_worker
