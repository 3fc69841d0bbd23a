use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: an error is a 500, and the log has message and stack
--- config
    location = /t {
        content_by_lua_block {
            local function inner() error("went wrong") end
            local function outer() inner() return end
            outer()
        }
    }
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log eval
[
qr/\[error\] .*lua entry thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):2: went wrong/,
"stack traceback:", "coroutine 0:", "in function 'inner'", "in function 'outer'", "in main chunk",
]


=== TEST 2: nil, tables and numbers can be thrown
--- config
    location = /nil { content_by_lua_block { error(nil) } }
    location = /table { content_by_lua_block { error({}) } }
    location = /number { content_by_lua_block { error(42) } }
    location = /shown { content_by_lua_block { error(setmetatable({}, { __tostring = function() return "shown" end })) } }
--- request eval
["GET /nil", "GET /table", "GET /number", "GET /shown"]
--- error_code eval
[500, 500, 500, 500]
--- response_body_like eval
["500", "500", "500", "500"]
--- error_log
lua entry thread aborted: runtime error:


=== TEST 3: a value without text is of unknown reason
--- lua
    error({})
--- error_code: 500
--- response_body_like: 500
--- error_log
runtime error: unknown reason


=== TEST 4: endless recursion ends as an error, and the worker goes on
--- config
    location = /deep { content_by_lua_block { local function f() return 1 + f() end f() } }
    location = /t { content_by_lua_block { ngx.say(ngx.worker.pid() > 0) } }
--- request eval
["GET /t", "GET /deep", "GET /t"]
--- error_code eval
[200, 500, 200]
--- response_body_like eval
["true", "500", "true"]


=== TEST 5: so it is called in the log
--- lua
    local function f() return 1 + f() end
    f()
--- error_code: 500
--- response_body_like: 500
--- error_log
stack overflow


=== TEST 6: in every kind of phase, time and again
--- config
    location = /t { content_by_lua_block { local function f() return 1 + f() end f() } }
    location = /caught { content_by_lua_block { local function f() return 1 + f() end ngx.say(pcall(f)) } }
    location = /wrapped { content_by_lua_block { coroutine.wrap(function() local function f() return 1 + f() end f() end)() } }
    location = /set { set_by_lua_block $x { local function f() return 1 + f() end f() } return 200 "x"; }
    location = /log { log_by_lua_block { local function f() return 1 + f() end f() } return 200 "x"; }
--- request eval
[("GET /t", "GET /caught", "GET /wrapped", "GET /set", "GET /log") x 5]
--- error_code eval
[(500, 200, 500, 500, 200) x 5]
--- response_body_like eval
[("500", "overflow", "500", "500", "x") x 5]
--- once


=== TEST 7: pcall and xpcall catch
--- lua
    ngx.say(pcall(error, "a", 0))
    ngx.say(select("#", pcall(error)))
    local t = {}
    ngx.say(select(2, pcall(error, t)) == t)
    ngx.say(xpcall(function() error("b", 0) end, function(e) return e .. "!" end))
    ngx.say(pcall(function() local function f() return 1 + f() end f() end) == false)
--- response_body
falsea
2
true
falseb!
true


=== TEST 8: ngx.exit is not caught
--- lua
    local ok = pcall(function() ngx.say("before") ngx.exit(200) end)
    ngx.say("after ", ok)
--- response_body
before


=== TEST 9: an error in set_by_lua is a 500
--- config
    location = /t { set_by_lua_block $a { error("in set") } return 200; }
--- error_code: 500
--- response_body_like: 500
--- error_log eval
[qr/failed to run set_by_lua\*: set_by_lua\(nginx\.conf:\d+\):1: in set/, "stack traceback:"]


=== TEST 10: in rewrite and access
--- config
    location = /rewrite { rewrite_by_lua_block { error("in rewrite") } content_by_lua_block { ngx.say(1) } }
    location = /access { access_by_lua_block { error("in access") } content_by_lua_block { ngx.say(1) } }
--- request eval
["GET /rewrite", "GET /access"]
--- error_code eval
[500, 500]
--- response_body_like eval
["500", "500"]
--- error_log
lua entry thread aborted: runtime error:


=== TEST 11: in a header filter
--- config
    location = /t { header_filter_by_lua_block { error("in header filter") } return 200 "x"; }
--- ignore_response
--- error_log
failed to run header_filter_by_lua*: header_filter_by_lua(
in header filter


=== TEST 12: in a body filter
--- config
    location = /t { body_filter_by_lua_block { error("in body filter") } return 200 "x"; }
--- ignore_response
--- error_log
failed to run body_filter_by_lua*: body_filter_by_lua(
in body filter


=== TEST 13: in the log phase: the answer has left
--- config
    location = /t { log_by_lua_block { error("in log") } return 200 "fine"; }
--- response_body: fine
--- error_log
failed to run log_by_lua*: log_by_lua(
in log


=== TEST 14: after output has begun, the connection is cut
--- lua
    ngx.say("some")
    ngx.flush(true)
    error("too late")
--- ignore_response
--- error_log
too late


=== TEST 15: after a wait
--- lua
    ngx.sleep(0.001)
    error("later")
--- error_code: 500
--- response_body_like: 500
--- error_log
lua entry thread aborted: runtime error: content_by_lua(
later


=== TEST 16: a wait in a phase that has none is refused
--- lua
    ngx.sleep(0)
--- refused: set header_filter body_filter log balancer init_worker exit_worker


=== TEST 17: a string that is too long is an error of that script
--- lua
    ngx.say(pcall(string.rep, "x", 2 ^ 31 - 1))
--- response_body_like
^false(?:string length overflow|not enough memory|resulting string too large)


=== TEST 18: an error handler that fails
--- lua
    ngx.say(xpcall(function() error("a") end, function() error("b") end))
--- response_body
falseerror in error handling


=== TEST 19: many failing requests do not wear the worker out
--- config
    location = /t { content_by_lua_block { error("again") } }
--- request eval
[("GET /t") x 50]
--- error_code eval
[(500) x 50]
--- response_body_like eval
[("500") x 50]
--- once
