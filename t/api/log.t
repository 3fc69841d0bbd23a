use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a line names the chunk, the line, and the function that wrote it
--- config
    location = /t {
        content_by_lua_block {
            local function helper()
                ngx.log(ngx.WARN, "from a function")
            end
            helper()
            ngx.log(ngx.WARN, "from the chunk")
            ngx.say("ok")
        }
    }
--- response_body
ok
--- grep_error_log eval: qr/\[warn\] \d+#\d+: \*\d+ \[lua\] content_by_lua\(nginx\.conf:\d+\):\d+: (?:helper\(\): )?from [a-z ]+/
--- grep_error_log_out eval
qr/\[lua\] content_by_lua\(nginx\.conf:(\d+)\):3: helper\(\): from a function
.*\[lua\] content_by_lua\(nginx\.conf:\1\):6: from the chunk\n/


=== TEST 2: a module is named by its file without the directories
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> deep/mod.lua
return { go = function() ngx.log(ngx.WARN, "here") end }
--- lua
    require("deep.mod").go()
--- error_log
[lua] mod.lua:1: go(): here


=== TEST 3: values of every printable kind are joined
--- lua
    local shown = setmetatable({}, { __tostring = function() return "[shown]" end })
    ngx.log(ngx.WARN, "a", 1, 1.5, 1e15, -0.25, nil, true, false, shown, ngx.null, "\n end")
--- error_log
: a11.51e+15-0.25niltruefalse[shown]null


=== TEST 4: print logs at notice
--- lua
    print("one ", 2, nil)
--- error_log eval
qr/\[notice\] .*\[lua\] content_by_lua\(nginx\.conf:\d+\):\d+: one 2nil/


=== TEST 5: all levels are written, and what the log does not take costs nothing
--- lua
    local called = 0
    local lazy = setmetatable({}, { __tostring = function() called = called + 1 return "lazy" end })
    for _, name in ipairs { "CRIT", "ERR", "WARN", "NOTICE", "INFO", "DEBUG" } do
        ngx.log(ngx[name], "level ", name, lazy)
    end
    ngx.say(called)
--- log_level: warn
--- response_body
3
--- grep_error_log eval: qr/level \w+lazy/
--- grep_error_log_out
level CRITlazy
level ERRlazy
level WARNlazy
--- once


=== TEST 6: a table without __tostring is refused, and the error points at the user's line
--- lua
    local ok, err = pcall(function()
        ngx.log(ngx.ERR, "a", {})
    end)
    ngx.say(err)
    ngx.say(select(2, pcall(print, function() end)))
    ngx.say(select(2, pcall(ngx.log, ngx.ERR, coroutine.create(function() end))))
--- response_body_like
^content_by_lua\(nginx\.conf:\d+\):3: bad argument #2 to 'log' \(expected table to have __tostring metamethod\)
bad argument #1 to 'print' \(string, number, boolean, or nil expected, got function\)
bad argument #1 to 'log' \(string, number, boolean, or nil expected, got thread\)$


=== TEST 7: a bad level is refused
--- lua
    for _, level in ipairs { -1, 9, "x" } do
        ngx.say(select(2, pcall(ngx.log, level, "a")))
    end
    ngx.say(select(2, pcall(ngx.log)))
--- response_body
bad argument #1 to 'log' (bad log level: -1)
bad argument #1 to 'log' (bad log level: 9)
bad argument #1 to 'log' (number expected, got string)
bad argument #1 to 'log' (number expected, got no value)


=== TEST 8: a long message is cut at nginx's line, and bytes stay as they are
--- lua
    ngx.log(ngx.WARN, "start", string.rep("x", 100000))
    ngx.log(ngx.WARN, "caf\xc3\xa9 \xff.")
    ngx.say("ok")
--- response_body
ok
--- grep_error_log eval: qr/startx{1000}|caf\xc3\xa9 \xff\./
--- grep_error_log_out eval
"start" . "x" x 1000 . "\ncaf\xc3\xa9 \xff.\n"
--- once


=== TEST 9: it works in every phase
--- lua
    return ngx.log(ngx.INFO, "logged in ", ngx.get_phase()) == nil
--- result: true
--- phases: set server_rewrite rewrite access content header_filter body_filter log balancer init init_worker exit_worker


=== TEST 10: lines of init_worker_by_lua say so
--- http_config
    init_worker_by_lua_block { ngx.log(ngx.WARN, "a worker starts") }
--- config
    location = /t { return 200; }
--- once
--- error_log
a worker starts, context: init_worker_by_lua*


=== TEST 11: a tail call logs as its caller's caller, and a line is still written
--- lua
    local function last() return ngx.log(ngx.WARN, "tail") end
    last()
    ngx.say("ok")
--- response_body
ok
--- error_log
[lua] content_by_lua(
: tail


=== TEST 12: the debug log tells where a request meets a script
--- config
    location = /t {
        rewrite_by_lua_block { }
        access_by_lua_block { }
        precontent_by_lua_block { }
        content_by_lua_block { ngx.say("ok") }
        body_filter_by_lua_block { }
        log_by_lua_block { }
    }
--- log_level: debug
--- response_body
ok
--- grep_error_log eval: qr/lua (?:\w+ handler, uri:"\/t"|(?:header|body) filter for user lua code, uri "\/t")/
--- grep_error_log_out
lua rewrite handler, uri:"/t"
lua access handler, uri:"/t"
lua precontent handler, uri:"/t"
lua content handler, uri:"/t"
lua header filter for user lua code, uri "/t"
lua body filter for user lua code, uri "/t"
lua body filter for user lua code, uri "/t"
lua log handler, uri:"/t"
