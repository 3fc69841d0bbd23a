use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: captured lines come out oldest first, with level and time, once
--- http_config
    lua_capture_error_log 64k;
--- lua
    local errlog = require "ngx.errlog"
    errlog.get_logs(1000)
    ngx.log(ngx.ERR, "the first")
    ngx.log(ngx.WARN, "the second")
    local logs = errlog.get_logs()
    ngx.say(#logs, " ", logs[1], " ", logs[4], " ", math.abs(logs[2] - ngx.now()) < 10)
    ngx.say(logs[3])
    ngx.say(#errlog.get_logs())
--- response_body_like
^6 4 5 true
\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#\d+: \*\d+ \[lua\] content_by_lua\(nginx\.conf:\d+\):\d+: the first, client: .*
0$


=== TEST 2: the log file gets every line all the same
--- http_config
    lua_capture_error_log 4k;
--- lua
    ngx.log(ngx.ERR, "to both")
    local logs = require("ngx.errlog").get_logs(100)
    local found = false
    for i = 3, #logs, 3 do found = found or logs[i]:find("to both", 1, true) end
    ngx.say(found and true)
--- response_body
true
--- error_log
to both


=== TEST 3: a location's own error_log is captured, and written where it says
--- http_config
    lua_capture_error_log 64k;
--- config
    location = /t {
        error_log logs/own.log info;
        content_by_lua_block {
            local errlog = require "ngx.errlog"
            errlog.get_logs(1000)
            ngx.log(ngx.INFO, "only here")
            local logs = errlog.get_logs()
            ngx.say(#logs / 3, " ", logs[3]:find("only here", 1, true) ~= nil)
            local file = io.open(ngx.config.prefix() .. "logs/own.log")
            ngx.say(file:read("*a"):find("only here", 1, true) ~= nil)
            file:close()
        }
    }
--- response_body
1 true
true
--- no_error_log
only here


=== TEST 4: two error_logs of one level both get the line, and it is captured once
--- http_config
    lua_capture_error_log 64k;
    error_log logs/second.log warn;
    error_log logs/error.log info;
--- lua
    local errlog = require "ngx.errlog"
    errlog.get_logs(1000)
    ngx.log(ngx.WARN, "twice")
    ngx.say(#errlog.get_logs() / 3)
    local file = io.open(ngx.config.prefix() .. "logs/second.log")
    ngx.say(file:read("*a"):find("twice", 1, true) ~= nil)
    file:close()
--- response_body
1
true
--- error_log
twice


=== TEST 5: the filter keeps what is less severe out
--- http_config
    lua_capture_error_log 64k;
    init_by_lua_block { assert(require("ngx.errlog").set_filter_level(ngx.ERR)) }
--- lua
    local errlog = require "ngx.errlog"
    errlog.get_logs(1000)
    ngx.log(ngx.ERR, "in")
    ngx.log(ngx.WARN, "out")
    ngx.log(ngx.CRIT, "in too")
    ngx.say(#errlog.get_logs() / 3)
    ngx.say(errlog.set_filter_level(), " ", select(2, errlog.set_filter_level()))
    ngx.say(errlog.set_filter_level(99), " ", select(2, errlog.set_filter_level(99)))
--- response_body
2
nil missing "level" argument
nil bad log level: 99


=== TEST 6: nginx's own lines are captured too
--- http_config
    lua_capture_error_log 64k;
--- config
    location /files/ { root html; }
    log_by_lua_block {
        local found = 0
        local logs = require("ngx.errlog").get_logs(1000)
        for i = 3, #logs, 3 do
            if logs[i]:find("No such file or directory", 1, true) then found = found + 1 end
        end
        ngx.log(ngx.WARN, "captured ", found, ".")
    }
--- request
GET /files/none
--- error_code: 404
--- error_log
captured 1.


=== TEST 7: when the buffer is full the oldest lines go
--- http_config
    lua_capture_error_log 4k;
--- lua
    local errlog = require "ngx.errlog"
    for i = 1, 100 do
        ngx.log(ngx.WARN, "line ", i, string.rep(".", 100))
    end
    local logs = errlog.get_logs(1000)
    ngx.say(#logs / 3 > 5 and #logs / 3 < 30, " ", logs[#logs]:find("line 100.", 1, true) ~= nil)
--- response_body
true true


=== TEST 8: get_logs fills the table it is given
--- http_config
    lua_capture_error_log 64k;
--- lua
    local errlog = require "ngx.errlog"
    errlog.get_logs(1000)
    ngx.log(ngx.WARN, "a")
    local mine = { 1, 2, 3, 4, 5 }
    local logs = errlog.get_logs(1, mine)
    ngx.say(logs == mine, " ", mine[3]:find("a, client", 1, true) ~= nil, " ", mine[4])
--- response_body
true true nil


=== TEST 9: raw_log writes the text alone
--- lua
    local errlog = require "ngx.errlog"
    errlog.raw_log(ngx.WARN, "just this")
    ngx.say(select(2, pcall(errlog.raw_log, "x", "y")))
    ngx.say(select(2, pcall(errlog.raw_log, ngx.ERR, {})))
    ngx.say(select(2, pcall(errlog.raw_log, 99, "y")))
--- response_body
bad argument #1 to 'raw_log' (must be a number)
bad argument #2 to 'raw_log' (must be a string)
bad log level
--- error_log eval
qr/\[warn\] \d+#\d+: \*\d+ just this, client/


=== TEST 10: the level that error_log sets can be asked for
--- config
    location = /t {
        error_log logs/own.log crit;
        content_by_lua_block { ngx.say(require("ngx.errlog").get_sys_filter_level() == ngx.CRIT) }
    }
--- response_body
true


=== TEST 11: without the directive there is nothing to read
--- lua
    local errlog = require "ngx.errlog"
    ngx.say(select(2, errlog.get_logs()))
    ngx.say(select(2, errlog.set_filter_level(ngx.ERR)))
--- response_body
directive "lua_capture_error_log" is not set
directive "lua_capture_error_log" is not set


=== TEST 12: a buffer smaller than a line is refused
--- http_config
    lua_capture_error_log 3k;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
invalid capture error log size "3k", minimum size is 4096


=== TEST 13: so is one that is no size
--- http_config
    lua_capture_error_log many;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
invalid capture error log size "many"


=== TEST 14: it works in every phase
--- http_config
    lua_capture_error_log 64k;
--- lua
    local errlog = require "ngx.errlog"
    errlog.get_logs(1000)
    ngx.log(ngx.WARN, "x")
    return #errlog.get_logs() / 3
--- result: 1
--- phases: set rewrite access content header_filter body_filter log balancer init init_worker exit_worker


=== TEST 15: a worker sees its own lines, not those of the master
--- http_config
    lua_capture_error_log 64k;
    init_by_lua_block { ngx.log(ngx.WARN, "in the master") }
    init_worker_by_lua_block { ngx.log(ngx.WARN, "in the worker") }
--- lua
    local logs = require("ngx.errlog").get_logs(1000)
    ngx.say(#logs / 3, " ", (logs[3] or ""):match("in the %a+"))
--- once
--- response_body
1 in the worker
