# ngx.var: nginx's variables, read and written in each phase that has a request.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a variable of the configuration is read and set, its name in any case
--- config
    location = /t {
        set $Color red;
        content_by_lua_block {
            ngx.say(ngx.var.color, " ", ngx.var.COLOR)
            ngx.var.coLOR = "blue"
            ngx.say(ngx.var.color)
        }
    }
--- response_body
red red
blue


=== TEST 2: numbers and booleans are set as text, nil leaves no value, an empty text is one
--- config
    location = /t {
        set $v x;
        content_by_lua_block {
            for _, value in ipairs { 32, 0.5, true, false, "" } do
                ngx.var.v = value
                ngx.say(type(ngx.var.v), "[", ngx.var.v, "]")
            end
            ngx.var.v = nil
            ngx.say(ngx.var.v)
            ngx.var.v = "back"
            ngx.say(ngx.var.v)
        }
    }
--- response_body
string[32]
string[0.5]
string[true]
string[false]
string[]
nil
back


=== TEST 3: variables that exist by prefix follow the request
--- config
    location = /t {
        content_by_lua_block {
            local var = ngx.var
            ngx.say(var.arg_a, " ", var.ARG_B, " ", var.arg_none)
            ngx.say(var.http_x_tenant, " ", var.http_none)
            ngx.say(var.cookie_id, " ", var.cookie_none)
            ngx.say(var.host, " ", var.request_method, " ", var.uri)
        }
    }
--- request
GET /t?a=1&b=%20
--- more_headers
X-Tenant: acme
Cookie: id=7; x=y
--- response_body
1 %20 nil
acme nil
7 nil
localhost GET /t


=== TEST 4: what the location's regex captured is there by number
--- config
    location ~ ^/(c\w+)(x)?/(\d+)$ {
        content_by_lua_block {
            local var = ngx.var
            ngx.say(var[1], " [", var[2], "] ", var[3])
            ngx.say(var[0], " ", var[-1], " ", var[4], " ", var[1e6], " ", var["1"])
        }
    }
--- request
GET /cart/42
--- response_body
cart [] 42
nil nil nil nil nil


=== TEST 5: a variable that nobody defined is nil, and cannot be set
--- lua
    ngx.say(ngx.var.nobody_defined_me)
    local ok, err = pcall(function() ngx.var.Nobody_defined_me = 1 end)
    ngx.say(ok, " ", err)
--- response_body_like
^nil
false content_by_lua\(nginx\.conf:\d+\):3: variable "nobody_defined_me" not found for writing; maybe it is a built-in variable that is not changeable or you forgot to use "set \$nobody_defined_me '';" in the config file to define it first$


=== TEST 6: a built-in variable that nginx does not let change is refused at the user's line
--- lua
    local ok, err = pcall(function() ngx.var.server_port = 1 end)
    ngx.say(ok, " ", err)
--- response_body_like: ^false content_by_lua\(nginx\.conf:\d+\):2: variable "server_port" not changeable$


=== TEST 7: a name that is neither text nor number is refused
--- lua
    local ok, err = pcall(function() return ngx.var[true] end)
    ngx.say(ok, " ", err)
    ok, err = pcall(function() return ngx.var[{}] end)
    ngx.say(ok, " ", err)
    ok, err = pcall(function() ngx.var[1] = "x" end)
    ngx.say(ok, " ", err)
    ok, err = pcall(function() ngx.var[false] = "x" end)
    ngx.say(ok, " ", err)
--- response_body_like
^false content_by_lua\(nginx\.conf:\d+\):2: bad variable name
false content_by_lua\(nginx\.conf:\d+\):4: bad variable name
false content_by_lua\(nginx\.conf:\d+\):6: bad variable name
false content_by_lua\(nginx\.conf:\d+\):8: bad variable name$


=== TEST 8: a built-in variable with a setter takes the value, and nil takes it away
--- lua
    ngx.var.args = "b=2"
    ngx.say(ngx.var.args, " ", ngx.var.arg_a, " ", ngx.var.arg_b)
    ngx.var.args = nil
    ngx.say(ngx.var.args)
--- request
GET /t?a=1
--- response_body
b=2 nil 2
nil


=== TEST 9: a variable that is computed each time is computed each time
--- config
    location = /t {
        set $a 1;
        content_by_lua_block {
            local first = ngx.var.arg_a
            ngx.var.args = "a=2"
            ngx.say(first, " ", ngx.var.arg_a)
        }
    }
--- request
GET /t?a=1
--- response_body
1 2


=== TEST 10: every phase of a request reads and writes the same variables
--- config
    location = /t {
        set $seen start;
        set_by_lua_block $unused {
            ngx.var.seen = ngx.var.seen .. ",set"
            return "x"
        }
        rewrite_by_lua_block { ngx.var.seen = ngx.var.seen .. ",rewrite" }
        access_by_lua_block { ngx.var.seen = ngx.var.seen .. ",access" }
        content_by_lua_block {
            ngx.var.seen = ngx.var.seen .. ",content"
            ngx.say("ok")
        }
        header_filter_by_lua_block { ngx.var.seen = ngx.var.seen .. ",header_filter" }
        log_by_lua_block { ngx.log(ngx.ERR, "seen: ", ngx.var.seen, " status ", ngx.var.status) }
    }
--- response_body
ok
--- error_log
seen: start,set,rewrite,access,content,header_filter status 200


=== TEST 11: server_rewrite reads variables
--- config
    server_rewrite_by_lua_block { ngx.ctx.uri = ngx.var.uri }
    location = /t {
        content_by_lua_block { ngx.say(ngx.ctx.uri) }
    }
--- response_body
/t


=== TEST 12: header filter and log see what the upstream answered
--- config
    location = /t {
        proxy_pass http://backend;
        header_filter_by_lua_block { ngx.var.got = ngx.var.upstream_http_x_from .. " " .. ngx.var.upstream_status }
        set $got '';
        add_header X-Got $got;
        log_by_lua_block { ngx.log(ngx.ERR, "logged ", ngx.var.sent_http_x_got) }
    }
--- backend
    location / {
        add_header X-From there;
        return 200 "hello\n";
    }
--- response_body
hello
--- response_headers
X-Got: there 200
--- error_log
logged there 200


=== TEST 13: init has no request to ask
--- http_config
    init_by_lua_block {
        local ok, err = pcall(function() return ngx.var.uri end)
        INIT_GET = err
        ok, err = pcall(function() ngx.var.uri = "x" end)
        INIT_SET = err
    }
--- lua
    ngx.say(INIT_GET)
    ngx.say(INIT_SET)
--- response_body_like
^init_by_lua\(nginx\.conf:\d+\):2: no request found
init_by_lua\(nginx\.conf:\d+\):4: no request found$


=== TEST 14: init_worker has none either
--- http_config
    init_worker_by_lua_block {
        local ok, err = pcall(function() return ngx.var.uri end)
        WORKER_GET = err
    }
--- lua
    ngx.say(WORKER_GET)
--- response_body_like: ^init_worker_by_lua\(nginx\.conf:\d+\):2: API disabled in the current context$


=== TEST 15: names beyond those that are remembered work all the same
--- lua
    local var = ngx.var
    for i = 1, 5000 do
        assert(var["arg_n" .. i] == nil)
    end
    ngx.say(var.arg_late, " ", var["arg_" .. ("x"):rep(300)])
    local ok, err = pcall(function() var.not_there_and_late = 1 end)
    ngx.say(ok, " ", err:match('variable "not_there_and_late" not found') ~= nil)
--- request eval
"GET /t?late=in-time&" . "x" x 300 . "=long"
--- response_body
in-time long
false true


=== TEST 16: bytes of any kind go in and out
--- config
    location = /t {
        set $raw '';
        content_by_lua_block {
            local all = {}
            for i = 0, 255 do all[#all + 1] = string.char(i) end
            all = table.concat(all)
            ngx.var.raw = all
            ngx.say(ngx.var.raw == all)
            ngx.var.raw = ("x"):rep(100000)
            ngx.say(#ngx.var.raw)
        }
    }
--- response_body
true
100000


=== TEST 17: a loop that reads and writes variables compiles
--- config
    location ~ ^/(t)$ {
        set $v x;
        content_by_lua_block {
            local traceinfo = require("jit.util").traceinfo
            local loops = 0
            local function watch(what, trace)
                if what == "stop" and traceinfo(trace).linktype == "loop" then loops = loops + 1 end
            end
            jit.flush()
            jit.attach(watch, "trace")
            local s
            for i = 1, 300 do
                ngx.var.v = i
                s = ngx.var.v .. ngx.var[1] .. ngx.var.uri
            end
            jit.attach(watch)
            ngx.say(s, " ", loops)
        }
    }
--- response_body
300t/t 1


=== TEST 18: with lua_code_cache off each request's VM finds the same variables
--- allow_log
lua_code_cache is off
--- config
    lua_code_cache off;
    location = /t {
        set $v x;
        content_by_lua_block { ngx.say(ngx.var.v, ngx.var.arg_n) }
    }
--- request eval
["GET /t?n=1", "GET /t?n=2"]
--- response_body eval
["x1\n", "x2\n"]
--- allow_log
lua_code_cache is off
