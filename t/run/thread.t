use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a thread runs at once until it waits, and is waited for in any order
--- phases: server_rewrite rewrite access content
--- lua
    local log = {}
    local function f(name, seconds)
        log[#log + 1] = name .. " begins"
        ngx.sleep(seconds)
        log[#log + 1] = name .. " ends"
        return name, seconds, nil
    end
    local a = ngx.thread.spawn(f, "a", 0.02)
    log[#log + 1] = "spawned"
    local b = ngx.thread.spawn(f, "b", 0.01)
    local function shown(...) return select("#", ...) .. ":" .. table.concat({ tostring((...)), tostring((select(2, ...))) }, ",") end
    local first = shown(ngx.thread.wait(a))
    log[#log + 1] = first
    log[#log + 1] = shown(ngx.thread.wait(b))
    return table.concat(log, "; ")
--- result
a begins; spawned; b begins; b ends; a ends; 4:true,a; 4:true,b


=== TEST 2: the first of several that ends is the one that is waited for
--- lua
    local function f(seconds) ngx.sleep(seconds) return seconds end
    local slow, fast = ngx.thread.spawn(f, 0.05), ngx.thread.spawn(f, 0.001)
    ngx.say(ngx.thread.wait(slow, fast))
    ngx.say(ngx.thread.wait(slow, fast))
    ngx.say(ngx.thread.wait(slow))
--- response_body
true0.001
nilalready waited or killed
true0.05


=== TEST 3: an error ends the thread alone, and its value reaches the one that waits
--- lua
    local function f() error({ code = 7 }) end
    local function g() ngx.sleep(0.001) error("bad") end
    local ok, err = ngx.thread.wait(ngx.thread.spawn(f))
    ngx.say(ok, " ", err.code)
    ngx.say(ngx.thread.wait(ngx.thread.spawn(g)))
--- response_body_like
^false 7
falsecontent_by_lua\(nginx.conf:\d+\):3: bad
--- error_log
lua user thread aborted: runtime error


=== TEST 4: states
--- lua
    local function quick() return 1 end
    local function slow() ngx.sleep(0.01) end
    local a, b = ngx.thread.spawn(quick), ngx.thread.spawn(slow)
    ngx.say(type(a), " ", coroutine.status(a), " ", coroutine.status(b))
    ngx.thread.wait(a)
    ngx.thread.wait(b)
    ngx.say(coroutine.status(a), " ", coroutine.status(b))
    ngx.say(coroutine.resume(b))
--- response_body
thread zombie running
dead dead
falsecannot resume dead coroutine


=== TEST 5: a thread that waits is killed; what it waits for is cancelled
--- lua
    local seen
    local t = ngx.thread.spawn(function() ngx.sleep(0.005) seen = true end)
    ngx.say(ngx.thread.kill(t))
    ngx.say(ngx.thread.kill(t))
    ngx.say(ngx.thread.wait(t))
    ngx.say(coroutine.status(t))
    local done = ngx.thread.spawn(function() end)
    ngx.say(ngx.thread.kill(done))
    ngx.sleep(0.01)
    ngx.say(seen)
--- response_body
1
nilalready waited or killed
nilalready waited or killed
dead
nilalready terminated
nil


=== TEST 6: only its parent may wait for a thread or kill it
--- lua
    local t = ngx.thread.spawn(function() ngx.sleep(0.01) end)
    local other = ngx.thread.spawn(function()
        local ok, err = pcall(ngx.thread.wait, t)
        return ok, err, ngx.thread.kill(t)
    end)
    ngx.say(ngx.thread.wait(other))
    ngx.thread.wait(t)
--- response_body
truefalseonly the parent coroutine can wait on the threadnilkiller not parent


=== TEST 7: the response is open until the last thread has ended
--- lua
    ngx.thread.spawn(function()
        ngx.sleep(0.005)
        ngx.say("late")
        ngx.thread.spawn(function() ngx.sleep(0.005) ngx.say("later") end)
    end)
    ngx.say("first")
--- response_body
first
late
later


=== TEST 8: an exit in any thread ends them all
--- config
    location = /status {
        content_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.001) ngx.exit(403) end)
            ngx.sleep(10)
        }
    }
    location = /redirect {
        access_by_lua_block {
            ngx.thread.spawn(function() ngx.redirect("/elsewhere") end)
            ngx.sleep(10)
        }
        content_by_lua_block { ngx.say("not reached") }
    }
    location = /exec {
        rewrite_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.001) ngx.exec("/other") end)
            ngx.sleep(10)
        }
    }
    location = /other { content_by_lua_block { ngx.say("other") } }
--- request eval
["GET /status", "GET /redirect", "GET /exec"]
--- error_code eval
[403, 302, 200]
--- response_body_like eval
["403", "302", "other"]


=== TEST 9: an error of the script itself ends its threads
--- config
    location = /t {
        content_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(10) ngx.log(ngx.ALERT, "never") end)
            error("entry fails")
        }
    }
--- error_code: 500
--- response_body_like: 500
--- error_log
lua entry thread aborted: runtime error: content_by_lua
--- no_error_log
never


=== TEST 10: threads yield to each other
--- lua
    local log = {}
    local function f(name)
        for i = 1, 3 do
            log[#log + 1] = name .. i
            coroutine.yield()
        end
    end
    local a, b = ngx.thread.spawn(f, "a"), ngx.thread.spawn(f, "b")
    ngx.thread.wait(a)
    ngx.thread.wait(b)
    ngx.say(table.concat(log, " "))
--- response_body
a1 b1 a2 b2 a3 b3


=== TEST 11: yields without end do not stop the worker
--- config
    location = /spin {
        content_by_lua_block {
            local stop
            ngx.thread.spawn(function() while not stop do coroutine.yield() end end)
            ngx.sleep(0.01)
            stop = true
            ngx.say("went on")
        }
    }
    location = /sleep0 {
        content_by_lua_block {
            local stop
            ngx.thread.spawn(function() while not stop do ngx.sleep(0) end end)
            ngx.sleep(0.01)
            stop = true
            ngx.say("went on")
        }
    }
--- request eval
["GET /spin", "GET /sleep0"]
--- response_body eval
["went on\n", "went on\n"]


=== TEST 12: a thread of a thread, inside coroutines
--- lua
    local co = coroutine.wrap(function()
        local t = ngx.thread.spawn(function(x)
            local u = ngx.thread.spawn(function(y) ngx.sleep(0.001) return y + 1 end, x + 1)
            local _, v = ngx.thread.wait(u)
            return v + 1
        end, 1)
        local ok, v = ngx.thread.wait(t)
        coroutine.yield(v)
        return ok
    end)
    ngx.say(co(), " ", co())
--- response_body
4 true


=== TEST 13: a thousand threads
--- lua
    local sum, threads = 0, {}
    for i = 1, 1000 do
        threads[i] = ngx.thread.spawn(function(n) ngx.sleep(n % 7 / 1000) sum = sum + n return n end, i)
    end
    local back = 0
    for i = 1, 1000 do
        local ok, n = ngx.thread.wait(threads[i])
        back = back + n
    end
    ngx.say(sum, " ", back)
--- response_body
500500 500500


=== TEST 14: wrong arguments
--- lua
    ngx.say(pcall(ngx.thread.spawn))
    ngx.say(pcall(ngx.thread.spawn, 3))
    ngx.say(pcall(ngx.thread.wait))
    ngx.say(pcall(ngx.thread.wait, coroutine.create(function() end)))
    ngx.say(pcall(ngx.thread.kill, {}))
    ngx.say(ngx.thread.kill(coroutine.create(function() end)))
--- response_body
falsebad argument #1 to 'spawn' (function expected, got no value)
falsebad argument #1 to 'spawn' (function expected, got number)
falseat least one coroutine should be specified
falseattempt to wait on a coroutine that is not a user thread
falsebad argument #1 to 'kill' (lua thread expected)
nilnot user thread


=== TEST 15: phases that cannot wait have no threads
--- refused: set header_filter body_filter log balancer init_worker exit_worker
--- lua
    ngx.thread.spawn(function() end)
--- result
API disabled


=== TEST 16: a client that leaves takes waiting threads with it
--- config
    location = /t {
        content_by_lua_block {
            local t = ngx.thread.spawn(function() ngx.sleep(0.2) ngx.log(ngx.WARN, "thread ran on") end)
            ngx.sleep(0.1)
            ngx.exit(499)
        }
    }
--- abort
--- timeout: 0.05
--- wait: 0.25
--- ignore_response
--- no_error_log
thread ran on


=== TEST 17: a script ends after any number of turns
--- config
    location = /turns {
        content_by_lua_block {
            local n = tonumber(ngx.var.arg_n)
            ngx.thread.spawn(function() for _ = 1, n do coroutine.yield() end end)
            ngx.print(n)
        }
    }
    location = /t {
        content_by_lua_block {
            for n = 250, 262 do
                assert(ngx.location.capture("/turns?n=" .. n).body == tostring(n))
            end
            ngx.say("all ended")
        }
    }
--- response_body
all ended
