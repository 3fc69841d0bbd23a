use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: threads wait for each other, in order
--- phases: server_rewrite rewrite access content
--- lua
    local semaphore = require("ngx.semaphore")
    local s = assert(semaphore.new())
    local log = {}
    local threads = {}
    for i = 1, 3 do
        threads[i] = ngx.thread.spawn(function()
            local ok = s:wait(1)
            log[#log + 1] = i .. tostring(ok)
        end)
    end
    log[#log + 1] = "count " .. s:count()
    s:post(2)
    s:post()
    log[#log + 1] = "count " .. s:count()
    for i = 1, 3 do ngx.thread.wait(threads[i]) end
    return table.concat(log, " ")
--- result
count -3 count 0 1true 2true 3true


=== TEST 2: requests wait for each other
--- http_config
    init_worker_by_lua_block { shared = require("ngx.semaphore").new() }
--- config
    location = /post { content_by_lua_block { shared:post() ngx.say(shared:count()) } }
    location = /wait { content_by_lua_block { ngx.say(shared:wait(1)) } }
--- modes: plain
--- request eval
["GET /post", "GET /wait"]
--- response_body eval
["1\n", "true\n"]


=== TEST 3: what is there is taken without waiting, and a timeout of zero does not wait
--- lua
    local s = require("ngx.semaphore").new(1)
    ngx.say(s:wait(0), " ", s:count())
    ngx.say(s:wait(0))
    ngx.say(s:wait(0.002))
    ngx.say(s:count())
--- response_body
true 0
niltimeout
niltimeout
0


=== TEST 4: a timeout of zero works where nothing can wait
--- phases: set header_filter body_filter log
--- lua
    local s = require("ngx.semaphore").new(1)
    local first, second, err = s:wait(0), s:wait(0)
    return tostring(first) .. " " .. tostring(second) .. " " .. tostring(pcall(s.wait, s, 1))
--- result
true nil false


=== TEST 5: one that was killed or timed out takes nothing
--- lua
    local s = require("ngx.semaphore").new()
    local killed = ngx.thread.spawn(function() s:wait(1) ngx.log(ngx.ERR, "not reached") end)
    local late = ngx.thread.spawn(function() return s:wait(0.001) end)
    ngx.thread.kill(killed)
    ngx.say(ngx.thread.wait(late))
    ngx.say(s:count())
    s:post()
    ngx.say(s:count(), " ", s:wait(0))
--- response_body
trueniltimeout
0
1 true
--- no_error_log
[error]


=== TEST 6: a post in a timer
--- lua
    local s = require("ngx.semaphore").new()
    ngx.timer.at(0.001, function() s:post() end)
    ngx.say(s:wait(1))
--- response_body
true


=== TEST 7: wrong arguments
--- lua
    local semaphore = require("ngx.semaphore")
    ngx.say(pcall(semaphore.new, -1))
    ngx.say(pcall(semaphore.new, "x"))
    local s = semaphore.new()
    ngx.say((pcall(s.post, s, 0)))
    ngx.say((pcall(s.wait, s)))
    ngx.say((pcall(s.wait, s, -1)))
    ngx.say((pcall(s.wait, {})))
--- response_body
falseno negative number
falseno negative number
false
false
false
false


=== TEST 8: thousands that give up do not fill the queue
--- lua
    local s = require("ngx.semaphore").new()
    local t = {}
    for round = 1, 20 do
        for i = 1, 200 do t[i] = ngx.thread.spawn(function() return s:wait(0.001) end) end
        for i = 1, 200 do ngx.thread.wait(t[i]) end
    end
    ngx.say(s:count())
    s:post()
    ngx.say(s:wait(0))
--- response_body
0
true
