use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a timer fires once, outside of the request, with its arguments
--- config
    location = /t {
        content_by_lua_block {
            local seen
            ngx.say(ngx.timer.at(0.001, function(premature, a, b, ...)
                seen = table.concat({ tostring(premature), a, tostring(b), select("#", ...), ngx.get_phase() }, " ")
            end, "x", nil, 1, 2))
            ngx.say(seen)
            for _ = 1, 500 do
                if seen then break end
                ngx.sleep(0.01)
            end
            ngx.say(seen)
        }
    }
--- response_body
1
nil
false x nil 2 timer


=== TEST 2: a timer is made in every phase but init
--- http_config
    lua_shared_dict seen 64k;
    init_worker_by_lua_block { assert(ngx.timer.at(0, function() ngx.shared.seen:set("init_worker", true) end)) }
    upstream u { server 127.0.0.1:1; balancer_by_lua_block { mark("balancer") require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.server_port) } }
    init_by_lua_block {
        function mark(phase)
            assert(ngx.timer.at(0, function(_, p) ngx.shared.seen:set(p, true) end, phase))
        end
    }
--- config
    location = /a {
        set_by_lua_block $x { mark("set") return 1 }
        rewrite_by_lua_block { mark("rewrite") }
        access_by_lua_block { mark("access") }
        header_filter_by_lua_block { mark("header_filter") }
        body_filter_by_lua_block { mark("body_filter") }
        log_by_lua_block { mark("log") }
        proxy_pass http://u/b;
    }
    location = /b { content_by_lua_block { mark("content") ngx.say("ok") } }
    location = /t {
        content_by_lua_block {
            ngx.sleep(0.05)
            local keys = ngx.shared.seen:get_keys()
            table.sort(keys)
            ngx.say(table.concat(keys, " "))
        }
    }
--- modes: plain
--- request eval
["GET /a", "GET /t"]
--- response_body eval
["ok\n", "access balancer body_filter content header_filter init_worker log rewrite set\n"]


=== TEST 3: a timer may wait, and has threads and an ngx.ctx of its own
--- config
    location = /t {
        content_by_lua_block {
            ngx.ctx.x = "request"
            local seen = {}
            ngx.timer.at(0, function()
                seen[1] = tostring(ngx.ctx.x)
                ngx.ctx.x = "timer"
                ngx.sleep(0.002)
                seen[2] = ngx.ctx.x
                local t = ngx.thread.spawn(function() ngx.sleep(0.001) return ngx.ctx.x end)
                seen[3] = select(2, ngx.thread.wait(t))
            end)
            for _ = 1, 500 do
                if seen[3] then break end
                ngx.sleep(0.01)
            end
            ngx.say(table.concat(seen, " "), " ", ngx.ctx.x)
        }
    }
--- response_body
nil timer timer request


=== TEST 4: what needs a request is refused
--- config
    location = /t {
        content_by_lua_block {
            local results = {}
            ngx.timer.at(0, function()
                local function try(name, f, ...)
                    local ok, err = pcall(f, ...)
                    results[#results + 1] = name .. " " .. tostring(ok) .. " " .. tostring(err)
                end
                try("say", ngx.say, "x")
                try("var", function() return ngx.var.uri end)
                try("header", function() return ngx.header.x end)
                try("method", ngx.req.get_method)
                try("exec", ngx.exec, "/x")
                try("redirect", ngx.redirect, "/x")
                try("status", function() return ngx.status end)
            end)
            for _ = 1, 500 do
                if #results == 7 then break end
                ngx.sleep(0.01)
            end
            ngx.say(table.concat(results, "\n"))
        }
    }
--- response_body_like
^say false API disabled in the context of ngx\.timer
var false \S+ API disabled in the current context
header false \S+ API disabled in the current context
method false API disabled in the current context
exec false API disabled in the context of ngx\.timer
redirect false API disabled in the context of ngx\.timer
status false \S+ API disabled in the current context


=== TEST 5: an error costs the timer alone, and the log says where it came from
--- config
    location = /t {
        content_by_lua_block {
            ngx.timer.at(0, function() error("in the timer") end)
            ngx.sleep(0.005)
            ngx.say("ok ", ngx.timer.running_count())
        }
    }
--- response_body
ok 0
--- error_log eval
[
qr/lua entry thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):2: in the timer/,
qr/, context: ngx\.timer, client: 127\.0\.0\.1, server: 0\.0\.0\.0:\d+/,
]


=== TEST 6: ngx.exit ends the timer, whatever the code
--- config
    location = /t {
        content_by_lua_block {
            local seen = "before"
            ngx.timer.at(0, function() ngx.exit(444) seen = "after" end)
            ngx.sleep(0.005)
            ngx.say(seen)
        }
    }
--- response_body
before


=== TEST 7: every
--- config
    location = /t {
        content_by_lua_block {
            local n, stop = 0, false
            ngx.say(ngx.timer.every(0.002, function(premature, by) if not stop then n = n + by end end, 10))
            for _ = 1, 500 do
                if n >= 50 then break end
                ngx.sleep(0.01)
            end
            stop = true
            ngx.say(n >= 50 and n % 10 == 0)
        }
    }
--- modes: plain
--- response_body
1
true


=== TEST 8: counts
--- config
    location = /t {
        content_by_lua_block {
            local before, running = ngx.timer.pending_count(), ngx.timer.running_count()
            for i = 1, 3 do ngx.timer.at(0.01, function() ngx.sleep(0.02) end) end
            ngx.say(ngx.timer.pending_count() - before, " ", ngx.timer.running_count() - running)
            ngx.sleep(0.02)
            ngx.say(ngx.timer.pending_count() - before, " ", ngx.timer.running_count() - running)
            ngx.sleep(0.04)
            ngx.say(ngx.timer.pending_count() - before, " ", ngx.timer.running_count() - running)
        }
    }
--- modes: plain
--- once
--- response_body
3 0
0 3
0 0


=== TEST 9: limits
--- http_config
    lua_max_pending_timers 3;
    lua_max_running_timers 1;
--- config
    location = /t {
        content_by_lua_block {
            local ran = 0
            local function f() ran = ran + 1 ngx.sleep(0.02) end
            for i = 1, 4 do ngx.say(ngx.timer.at(0.001, f)) end
            ngx.sleep(0.04)
            ngx.say(ran)
        }
    }
--- response_body
1
1
1
niltoo many pending timers
1
--- allow_log
lua_max_running_timers are not enough
--- error_log eval
qr/\[alert\] .*? lua failed to run timer with function defined at =content_by_lua\(nginx\.conf:\d+\):3: 1 lua_max_running_timers are not enough/


=== TEST 10: wrong arguments
--- lua
    ngx.say(pcall(ngx.timer.at))
    ngx.say(pcall(ngx.timer.at, "x", print))
    ngx.say(pcall(ngx.timer.at, -1, print))
    ngx.say(pcall(ngx.timer.at, 1, 2))
    ngx.say(pcall(ngx.timer.every, 0, print))
--- response_body
falseexpecting at least 2 arguments but got 0
falsebad argument #1 to 'at' (number expected, got string)
falsebad argument #1 to 'at' (delay cannot be negative)
falsebad argument #2 to 'at' (Lua function expected)
falsebad argument #1 to 'every' (delay cannot be zero)


=== TEST 11: init has no timers
--- refused: init
--- lua
    ngx.timer.at(0, function() end)
--- result
no request found


=== TEST 12: ten thousand timers
--- http_config
    lua_max_pending_timers 10000;
    lua_max_running_timers 10000;
--- config
    location = /t {
        content_by_lua_block {
            local n = 0
            for i = 1, 10000 do assert(ngx.timer.at(i % 10 / 1000, function() ngx.sleep(0.001) n = n + 1 end)) end
            local waited = 0
            while n < 10000 and waited < 5 do ngx.sleep(0.01) waited = waited + 0.01 end
            ngx.say(n)
        }
    }
--- modes: plain
--- response_body
10000


=== TEST 13: timers that make timers without delay leave requests their turn
--- config
    location = /t {
        content_by_lua_block {
            local stop
            local function again() if not stop then ngx.timer.at(0, again) end end
            again()
            ngx.sleep(0.01)
            stop = true
            ngx.say("went on")
        }
    }
--- response_body
went on


=== TEST 14: a worker is terminated while timers run, whose objects go with its Lua state
--- config
    location = /t {
        content_by_lua_block {
            local semaphore = require("ngx.semaphore").new()
            ngx.timer.at(0, function() ngx.sleep(100) end)
            ngx.timer.at(0, function() ngx.thread.wait(ngx.thread.spawn(function() semaphore:wait(100) end)) end)
            ngx.timer.at(0.05, function() os.execute("kill -TERM " .. ngx.worker.pid()) end)
            ngx.say("timers run")
        }
    }
--- once
--- wait: 0.2
--- response_body
timers run
--- error_log
exited with code 0


=== TEST 15: when the worker stops, what is pending runs at once, and is told so; nothing new is begun but without delay
--- config
    location = /t {
        content_by_lua_block {
            ngx.timer.at(1000, function(premature, a, b)
                ngx.log(ngx.WARN, "at: ", premature, " ", a, " ", b, " ", ngx.worker.exiting())
                ngx.log(ngx.WARN, "later: ", tostring(ngx.timer.at(1, function() end)), " ", select(2, ngx.timer.at(1, print)))
                ngx.timer.at(0, function(early) ngx.log(ngx.WARN, "at once: ", early) end)
                ngx.sleep(0.01)
                ngx.log(ngx.WARN, "it may wait")
            end, "one", 2)
            ngx.timer.every(1000, function(premature) ngx.log(ngx.WARN, "every: ", premature) end)
            ngx.say("pending ", ngx.timer.pending_count())
        }
    }
--- once
--- response_body
pending 2
--- shutdown_error_log
at: true one 2 true
later: nil process exiting
at once: false
it may wait
every: true
