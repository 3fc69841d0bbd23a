use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: values pass both ways, and counts of values are kept
--- lua
    local co = coroutine.create(function(...)
        ngx.say(select("#", ...))
        ngx.say(select("#", coroutine.yield(1, nil, nil)))
        return nil
    end)
    ngx.say(select("#", coroutine.resume(co, 1, nil)))
    ngx.say(select("#", coroutine.resume(co)))
    ngx.say(coroutine.resume(co))
--- response_body
2
4
0
2
falsecannot resume dead coroutine


=== TEST 2: a coroutine that returns nothing gives true alone
--- lua
    ngx.say(select("#", coroutine.resume(coroutine.create(function() end))))
    ngx.say(coroutine.wrap(function() return 1, nil end)())
--- response_body
1
1nil


=== TEST 3: waiting inside of nested coroutines suspends the request, not the coroutine
--- lua
    local inner = coroutine.create(function()
        ngx.sleep(0.001)
        coroutine.yield("inner")
        ngx.sleep(0)
        return "inner ends"
    end)
    local outer = coroutine.wrap(function()
        ngx.sleep(0.001)
        ngx.say(coroutine.resume(inner))
        coroutine.yield("outer")
        ngx.sleep(0.001)
        ngx.say(coroutine.resume(inner))
        return "outer ends"
    end)
    ngx.say(outer())
    ngx.say(outer())
    ngx.say(coroutine.status(inner))
--- response_body
trueinner
outer
trueinner ends
outer ends
dead


=== TEST 4: in each phase that can wait
--- lua
    local co = coroutine.wrap(function() ngx.sleep(0.001) coroutine.yield(1) ngx.sleep(0.001) return 2 end)
    return co(), co()
--- result: 1, 2
--- phases: server_rewrite rewrite access content


=== TEST 5: in phases that cannot, coroutines work as Lua's own
--- lua
    local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)
    return co(1), co(21)
--- result: 2, 42
--- phases: set header_filter body_filter log balancer init init_worker exit_worker


=== TEST 6: many coroutines in turn, as light threads by hand
--- lua
    local done = 0
    local all = {}
    for i = 1, 50 do
        all[i] = coroutine.create(function()
            for _ = 1, 3 do ngx.sleep(0) coroutine.yield() end
            done = done + 1
        end)
    end
    while #all > 0 do
        local co = table.remove(all, 1)
        assert(coroutine.resume(co))
        if coroutine.status(co) ~= "dead" then all[#all + 1] = co end
    end
    ngx.say(done)
--- response_body
50


=== TEST 7: ngx.exit inside of a coroutine ends the request
--- lua
    local co = coroutine.wrap(function()
        ngx.say("before")
        ngx.exit(200)
    end)
    co()
    ngx.say("never")
--- response_body
before


=== TEST 8: states have the names Lua gives them
--- lua
    local a, b
    a = coroutine.create(function()
        ngx.say(coroutine.status(a), " ", coroutine.running() == a)
        coroutine.resume(b)
    end)
    b = coroutine.create(function()
        ngx.say(coroutine.status(a))
        ngx.say(coroutine.resume(a))
        ngx.say(coroutine.resume(b))
    end)
    ngx.say(coroutine.status(a))
    coroutine.resume(a)
    ngx.say(coroutine.status(a))
--- response_body
suspended
running true
normal
falsecannot resume normal coroutine
falsecannot resume running coroutine
dead


=== TEST 9: resume gives errors back, with any value, and logs nothing
--- lua
    ngx.say(coroutine.resume(coroutine.create(function() error("text", 0) end)))
    local t = {}
    local ok, err = coroutine.resume(coroutine.create(function() ngx.sleep(0) error(t) end))
    ngx.say(ok, err == t)
--- response_body
falsetext
falsetrue
--- no_error_log
[error]


=== TEST 10: wrap raises them, and the log shows the stacks of all levels
--- config
    location = /t {
        content_by_lua_block {
            local inner = coroutine.wrap(function()
                error("deep down")
            end)
            local outer = coroutine.wrap(function() inner() end)
            outer()
        }
    }
--- error_code: 500
--- response_body_like: 500
--- error_log eval
[
qr/\[error\] .*lua entry thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):3: deep down/,
"coroutine 0:", "coroutine 1:", "coroutine 2:",
]


=== TEST 11: an error that was caught adds nothing to a later one's stacks
--- lua
    pcall(coroutine.wrap(function() error("first", 0) end))
    error("second", 0)
--- error_code: 500
--- response_body_like: 500
--- error_log
runtime error: second
coroutine 0:
--- no_error_log
coroutine 1:


=== TEST 12: wrong arguments are refused
--- lua
    ngx.say((pcall(coroutine.create, 5)))
    ngx.say((pcall(coroutine.resume, "x")))
    ngx.say((pcall(coroutine.wrap, nil)))
    ngx.say((pcall(coroutine.status, {})))
--- response_body
false
false
false
false


=== TEST 13: a yield of the script itself lets others run, and it goes on
--- lua
    ngx.say("a")
    ngx.say(select("#", coroutine.yield(1, 2)))
    ngx.say("b")
--- response_body
a
0
b


=== TEST 14: waiting passes through pcall and through iterators
--- lua
    local ok, err = pcall(function() ngx.sleep(0.001) error("late", 0) end)
    ngx.say(ok, " ", err)
    for i in coroutine.wrap(function() for i = 1, 3 do ngx.sleep(0.001) coroutine.yield(i) end end) do
        ngx.say(i)
    end
--- response_body
false late
1
2
3


=== TEST 15: a client that leaves while a nested coroutine waits costs nothing
--- config
    location = /t {
        content_by_lua_block {
            coroutine.wrap(function() coroutine.wrap(function() ngx.sleep(0.2) end)() end)()
            ngx.say("done")
        }
    }
--- timeout: 0.05
--- abort
--- ignore_response
--- wait: 0.3
--- no_error_log
[error]


=== TEST 16: what other threads find of coroutines on the way to a wait, and that they cannot disturb it
--- lua
    local inner, outer
    local thread = ngx.thread.spawn(function()
        inner = coroutine.create(function() ngx.sleep(0.01) return "slept" end)
        outer = coroutine.create(function() return coroutine.resume(inner) end)
        return coroutine.resume(outer)
    end)
    ngx.say(coroutine.status(thread), " ", coroutine.status(outer), " ", coroutine.status(inner))
    ngx.say(select(2, coroutine.resume(thread)))
    ngx.say(select(2, coroutine.resume(outer)))
    ngx.say(select(2, coroutine.resume(inner)))
    ngx.say(ngx.thread.wait(thread))
    ngx.say(coroutine.status(outer), " ", coroutine.status(inner))
--- response_body
normal normal running
cannot resume normal coroutine
cannot resume normal coroutine
cannot resume running coroutine
truetruetrueslept
dead dead


=== TEST 17: the same of a function of coroutine.wrap
--- lua
    local wrapped = coroutine.wrap(function() ngx.sleep(0.01) return "slept" end)
    local thread = ngx.thread.spawn(function() return wrapped() end)
    ngx.say(pcall(function() wrapped() end))
    ngx.say(ngx.thread.wait(thread))
--- response_body_like
^falsecontent_by_lua\(nginx\.conf:\d+\):\d+: cannot resume running coroutine
trueslept$
