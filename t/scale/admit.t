# as.admit, as.settle and autoscale_limit: limits by key.
# modes: plain workers
use lib 't/lib';
use AutoscaleLua;

add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die || defined $block->no_zone;
    $block->set_value('http_config', ($block->http_config // '') . <<'HTTP');
    autoscale_zone main:4m keys=64;
    autoscale_limit slow rate=1r/m burst=2;
    autoscale_limit fast rate=1000r/s burst=10;
    autoscale_limit minute window=1m limit=3;
    autoscale_limit few concurrency=2;
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        read, wait_for = testing.read, testing.wait_for
        as = require "ngx.autoscale"
        -- how many of n are let in
        function count(n, options)
            local all = 0
            for _ = 1, n do
                if as.admit(options) then all = all + 1 end
            end
            return all
        end
    }
HTTP
});

run_tests();

__DATA__

=== TEST 1: a leaky bucket lets the burst in, and then says when to come again
--- lua
    local key = ngx.var.request_id
    ngx.say(count(5, { limit = "slow", key = key }))
    local ticket, err, retry = as.admit { limit = "slow", key = key }
    ngx.say(ticket, " ", err, " ", retry > 59 and retry <= 60)
    ngx.say(count(1, { limit = "slow", key = key .. "other" }))
    ngx.say(count(30, { key = key, rate = 10, burst = 19 }))
    ngx.say(count(30, { key = key, rate = "600/m", burst = 18 }))
    ngx.say(count(30, { key = key, rate = "36k/h" }))
    ticket, err = as.admit { key = key, rate = 1 }
    ngx.say(type(ticket), " ", err)
--- response_body
3
nil rejected true
1
20
19
1
number 0


=== TEST 2: a window lets so many in
--- lua
    local key = ngx.var.request_id
    -- not across the end of a window, a minute from the machine's start
    ngx.say(count(5, { limit = "minute", key = key }))
    local ticket, err, retry = as.admit { limit = "minute", key = key }
    ngx.say(ticket, " ", err, " ", retry > 0 and retry <= 120)
    ngx.say(count(9, { key = key, window = 3600, limit = 7 }), " ", count(9, { key = key, window = "1h", limit = 8 }))
    ngx.say(count(2, { key = key, window = "1d", limit = 100, cost = 60 }), " ", count(50, { key = key, window = "1d", limit = 100 }))
--- response_body
3
nil rejected true
7 8
1 40


=== TEST 3: so many at once; a place is given back by settle, once
--- lua
    local key = ngx.var.request_id
    local a, b = as.admit { limit = "few", key = key }, as.admit { limit = "few", key = key }
    local none, err, retry = as.admit { limit = "few", key = key }
    ngx.say(none, " ", err, " ", retry)
    ngx.say(as.settle(a))
    ngx.say(as.settle(a))
    ngx.say(count(5, { limit = "few", key = key }))
    ngx.say(as.settle(b, 1))
    ngx.say(count(5, { key = key, concurrency = 10, cost = 3 }))
    ngx.say(as.settle(12345), " ", as.settle(0), " ", as.settle(-1))
--- response_body_like
^nil rejected 1
true
nilno such ticket
1
true
3
nil nil nilno such ticket$


=== TEST 4: places end with the request, whatever has become of it
--- config
    location = /hold {
        access_by_lua_block {
            assert(as.admit { limit = "few", key = "hold" })
            if ngx.var.arg_how == "error" then error("on purpose") end
            if ngx.var.arg_how == "exit" then ngx.exit(403) end
        }
        content_by_lua_block { ngx.say("held") }
    }
    location = /timer {
        content_by_lua_block {
            local ok
            ngx.timer.at(0, function() ok = as.admit { limit = "few", key = "hold", cost = 2 } ~= nil end)
            wait_for(function() return ok ~= nil end, 1)
            ngx.say(ok)
        }
    }
    location = /t {
        content_by_lua_block { ngx.say(wait_for(function() return as.admit { limit = "few", key = "hold", cost = 2 } end, 1) ~= false) }
    }
--- allow_log
on purpose
--- request eval
["GET /hold", "GET /hold?how=error", "GET /hold?how=exit", "GET /t", "GET /timer", "GET /t"]
--- error_code eval
[200, 500, 403, 200, 200, 200]
--- response_body_like eval
["held", "500", "403", "true", "true", "true"]


=== TEST 5: tokens: an estimate is settled by what it was, up and down
--- lua
    local key = ngx.var.request_id
    local options = { key = key, rate = "60/m", burst = 999, cost = 600 }
    local ticket = as.admit(options)
    local none, err, retry = as.admit(options)
    ngx.say(none, " ", err, " ", math.floor(retry + 0.5))
    as.settle(ticket, 100)
    ticket = as.admit(options)
    as.settle(ticket, 2900)
    none, err, retry = as.admit { key = key, rate = "60/m", burst = 999 }
    ngx.say(none, " ", err, " ", math.floor(retry + 0.5))
    none, err, retry = as.admit { key = key, rate = "60/m", burst = 999, cost = 1001 }
    ngx.say(none, " ", err, " ", retry)
    options = { key = key, window = "1h", limit = 1000, cost = 900 }
    ticket = as.admit(options)
    ngx.say(as.admit(options))
    as.settle(ticket, 50)
    ngx.say(as.admit(options) ~= nil, " ", count(99, { key = key, window = "1h", limit = 1000 }))
--- response_body_like
^nil rejected 200
nil rejected 2001
nil too large nil
nilrejected\d+\.?\d*
true 50$


=== TEST 6: with max_wait it waits for its turn, and says how long
--- lua
    local key = ngx.var.request_id
    local options = { key = key, rate = 20, max_wait = 0.12 }
    ngx.update_time()
    local begin = ngx.now()
    local waits, order, threads = {}, {}, {}
    for i = 1, 5 do
        threads[i] = ngx.thread.spawn(function()
            local ticket, wait, retry = as.admit(options)
            waits[i] = ticket and math.floor(wait * 100 + 0.5) / 100 or wait .. " " .. math.floor(retry * 100 + 0.5) / 100
            order[#order + 1] = i
        end)
    end
    for i = 1, 5 do ngx.thread.wait(threads[i]) end
    ngx.update_time()
    ngx.say(table.concat(waits, ", "), "; ", table.concat(order, " "))
    -- the clock counts whole milliseconds, and their difference is a float
    local took_ms = math.floor((ngx.now() - begin) * 1000 + 0.5)
    ngx.say(took_ms >= 99, " ", took_ms < 150)
--- response_body
0, 0.05, 0.1, rejected 0.15, rejected 0.15; 1 4 5 2 3
true true


=== TEST 7: those who wait for a place get it in order, the important ones first; who has waited enough gives up
--- lua
    local key = ngx.var.request_id
    local held = as.admit { key = key, concurrency = 1 }
    local said, threads = {}, {}
    local function ask(name, priority, max_wait)
        threads[#threads + 1] = ngx.thread.spawn(function()
            local ticket, wait = as.admit { key = key, concurrency = 1, priority = priority, max_wait = max_wait }
            said[#said + 1] = name .. (ticket and "" or ":" .. wait)
            if ticket then
                ngx.sleep(0.01)
                as.settle(ticket)
            end
        end)
    end
    ask("late", 9, 0.03)
    ask("low", 5, 1)
    ask("first", 0, 1)
    ask("second", 0, 1)
    ngx.sleep(0.06)
    -- nobody goes past those who wait
    as.settle(held)
    ngx.say(as.admit { key = key, concurrency = 1 })
    for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
    ngx.say(table.concat(said, " "))
    ngx.say(count(2, { key = key, concurrency = 1 }))
--- response_body
nilrejected0.01
late:timeout first second low
1


=== TEST 8: a window is waited for, too
--- lua
    local options = { key = ngx.var.request_id, window = 1, limit = 2, max_wait = 2 }
    local waited = {}
    for i = 1, 3 do
        local ticket, wait = assert(as.admit(options))
        waited[i] = wait > 0
    end
    ngx.say(tostring(waited[1]), " ", tostring(waited[3]))
    ngx.say(select(2, as.admit { key = "x" .. ngx.var.request_id, window = "1h", limit = 1, cost = 2, max_wait = 1 }))
--- response_body
false true
too large


=== TEST 9: a thread that is killed while it waits leaves its time and its place to others
--- lua
    local key = ngx.var.request_id
    local options = { key = key, rate = 1, max_wait = 5 }
    as.admit(options)
    local thread = ngx.thread.spawn(as.admit, options)
    local _, _, retry = as.admit { key = key, rate = 1 }
    ngx.thread.kill(thread)
    local _, _, then_retry = as.admit { key = key, rate = 1 }
    ngx.say(math.floor(retry + 0.5), " ", math.floor(then_retry + 0.5))
    local held = as.admit { key = key, concurrency = 1 }
    thread = ngx.thread.spawn(as.admit, { key = key, concurrency = 1, max_wait = 5 })
    ngx.thread.kill(thread)
    as.settle(held)
    ngx.say(count(2, { key = key, concurrency = 1 }))
--- response_body
2 1
1


=== TEST 10: a client that goes away while it waits takes nothing with it
--- config
    lua_check_client_abort on;
    location = /wait {
        content_by_lua_block {
            local key = ngx.var.arg_key
            if ngx.var.arg_kind == "rate" then
                as.admit { key = key, rate = 1, max_wait = 9 }
            else
                as.admit { key = key, concurrency = 1, max_wait = 9 }
            end
            ngx.sleep(9)
        }
    }
    location = /t {
        content_by_lua_block {
            local key = ngx.var.request_id
            local function abandon(kind)
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET /wait?kind=" .. kind .. "&key=" .. key .. " HTTP/1.0\r\n\r\n")
                ngx.sleep(0.1)
                sock:close()
            end
            local function retry() return math.floor((select(3, as.admit { key = key, rate = 1 }) or 0) + 0.5) end
            as.admit { key = key, rate = 1 }
            abandon("rate")
            ngx.say(wait_for(function() return retry() == 1 end, 1))
            local held = as.admit { key = key, concurrency = 1 }
            abandon("place")
            as.settle(held)
            ngx.say(wait_for(function() return as.admit { key = key, concurrency = 1 } end, 1) ~= false)
        }
    }
--- response_body
true
true


=== TEST 11: keys of several parts are never taken for each other
--- lua
    local id = ngx.var.request_id
    local function one(key) return count(2, { key = key, rate = 0.001 }) end
    ngx.say(one { id, "a", "b" }, one { id, "ab" }, one { id, "a:b" }, one { id .. "a", "b" }, one { id, "a", "b", "" },
            one { id, "", "ab" }, one(id), one { id }, one { id, 1 }, one { id, "11" }, one { id, 1, 1 })
    ngx.say(one { id, "1" }, one { id, "a", "b" })
--- response_body
11111111111
00


=== TEST 12: what is no limit, and no key, is refused at the line of the call
--- lua
    local function try(...)
        local ok, err, why = pcall(as.admit, ...)
        ngx.say(ok and tostring(why) or err)
    end
    try()
    try({})
    try({ key = "a" })
    try({ key = "a", limit = "nosuch" })
    try({ key = "a", limit = "mnute" })
    try({ rate = 1 })
    try({ key = true, rate = 1 })
    try({ key = { "a", {} }, rate = 1 })
    try({ key = {}, rate = 1 })
    try({ key = "a", rate = 0 })
    try({ key = "a", rate = "10/y" })
    try({ key = "a", rate = 0 / 0 })
    try({ key = "a", window = 0 / 0, limit = 1 })
    try({ key = "a", rate = 1, window = 1 })
    try({ key = "a", window = 1 })
    try({ key = "a", window = "1ms", limit = 1 })
    try({ key = "a", rate = 77, burts = 2 })
    try({ key = "a", rate = 1, burst = -1 })
    try({ key = "a", concurrency = 0 })
    try({ key = "a", limit = "fast", cost = 0 })
    try({ key = "a", limit = "fast", cost = 1.5 })
    try({ key = "a", limit = "fast", priority = 10 })
    try({ key = "a", limit = "fast", max_wait = -1 })
    try({ key = "a", limit = "fast", max_wait = 0 / 0 })
    ngx.say(select(2, pcall(as.settle)))
    ngx.say(select(2, pcall(as.settle, 1, "x")))
    local f = loadstring("local as = ...\n\nas.admit{ rate = 1, key = true }", "=chunk")
    ngx.say(select(2, pcall(f, as)))
    f = loadstring("local as = ...\n\nas.admit{ key = 'a' }", "=chunk")
    ngx.say(select(2, pcall(f, as)))
--- response_body_like
bad argument #1 to 'admit' \(table expected, got nil\)
bad option limit \(the name of an autoscale_limit, or rate, window or concurrency expected, got nil\)
bad option limit \(the name of an autoscale_limit, or rate, window or concurrency expected, got nil\)
there is no autoscale_limit "nosuch"
there is no autoscale_limit "mnute" \(did you mean "minute"\?\)
bad option key \(a string, a number or a list of them expected, got nil\)
bad option key \(a string, a number or a list of them expected, got boolean\)
bad option key\[2\] \(a string or a number expected, got table\)
bad option key \(a string, a number or a list of them expected, got table\)
invalid rate "0": write for example 100/s, 100r/s or 6k/m
invalid rate "10/y": .*
bad option rate \(a string or a number expected, got -?nan\)
bad option window \(a string or a number expected, got -?nan\)
.*write one kind of limit
bad option limit \(a whole number from 1 to 134217727 expected, got nil\)
invalid window "1ms": write a time from 1s to 31d
.*unknown option burts
bad option burst \(a whole number from 0 to 1000000000 expected, got -1\)
bad option concurrency \(a whole number from 1 to 65535 expected, got 0\)
bad option cost \(a whole number from 1 to 1000000000 expected, got 0\)
bad option cost \(a whole number from 1 to 1000000000 expected, got 1.5\)
bad option priority \(a whole number from 0 to 9 expected, got 10\)
bad option max_wait \(seconds from 0 to 86400 expected, got -1\)
bad option max_wait \(seconds from 0 to 86400 expected, got -?nan\)
bad argument #1 to 'settle' \(a ticket expected, got nil\)
bad argument #2 to 'settle' \(a whole number from 0 to 1000000000 expected, got string\)
chunk:3: bad option key .*
chunk:3: bad option limit .*$


=== TEST 13: less important requests leave a part of the bucket to others
--- lua
    local key = ngx.var.request_id
    local function most(priority) return count(20, { key = key, rate = 0.001, burst = 9, priority = priority }) end
    ngx.say(most(9), " ", most(5), " ", most(1), " ", most(0))
--- response_body
1 4 4 1


=== TEST 14: all workers together let in what one would
--- modes: workers
--- config
    location = /go {
        content_by_lua_block {
            ngx.print(ngx.worker.pid(), " ", count(200, { key = ngx.var.arg_key, limit = "fast", cost = 11 }), " ",
                      count(200, { key = ngx.var.arg_key, rate = 0.001, burst = 499 }), " ",
                      count(200, { key = ngx.var.arg_key, window = "1d", limit = 500 }))
        }
    }
    location = /t {
        content_by_lua_block {
            local key, pids, sums, threads = ngx.var.request_id, {}, { 0, 0, 0 }, {}
            for i = 1, 12 do
                threads[i] = ngx.thread.spawn(function()
                    local sock = ngx.socket.tcp()
                    assert(sock:connect("127.0.0.1", ngx.var.server_port))
                    sock:send("GET /go?key=" .. key .. " HTTP/1.0\r\n\r\n")
                    local text = sock:receive("*a")
                    local pid, a, b, c = text:match("(%d+) (%d+) (%d+) (%d+)$")
                    pids[pid] = true
                    sums = { sums[1] + a, sums[2] + b, sums[3] + c }
                end)
            end
            for i = 1, 12 do ngx.thread.wait(threads[i]) end
            local n = 0
            for _ in pairs(pids) do n = n + 1 end
            ngx.say(n == 2, " ", sums[1] >= 1, " ", sums[2], " ", sums[3])
        }
    }
--- response_body
true true 500 500


=== TEST 15: a reload keeps what was taken
--- once
--- modes: plain workers
--- config
    location = /take { content_by_lua_block { ngx.say(count(9, { key = "kept", limit = "slow" }), count(9, { key = "kept", window = "1d", limit = 4 })) } }
    location = /hup {
        content_by_lua_block {
            former = true
            testing.reload()
            ngx.sleep(1)
            ngx.say("reloaded")
        }
    }
    location = /t { content_by_lua_block { ngx.say(former, count(9, { key = "kept", limit = "slow" }), count(9, { key = "kept", window = "1d", limit = 4 })) } }
--- request eval
["GET /take", "GET /hup", "GET /t"]
--- response_body eval
["34\n", "reloaded\n", "nil00\n"]


=== TEST 16: what a worker held that was killed is free again
--- once
--- modes: workers
--- allow_log
exited on signal 9
--- config
    location = /hold {
        content_by_lua_block {
            assert(as.admit { key = "dead", concurrency = 3, cost = 3 })
            as.admit { key = "dead", rate = 0.001, burst = 4, cost = 2 }
            os.execute("kill -9 " .. ngx.worker.pid())
            ngx.sleep(1)
        }
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            local pid, other = ngx.worker.pid()
            -- one that is held by the other worker
            for _ = 1, 100 do
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET /pid HTTP/1.0\r\n\r\n")
                other = tonumber(sock:receive("*a"):match("%d+$"))
                sock:close()
                if other ~= pid then break end
            end
            for _ = 1, 100 do
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET /hold?not=" .. pid .. " HTTP/1.0\r\n\r\n")
                if not sock:receive("*a"):find("not me") then break end
                sock:close()
            end
            ngx.say(wait_for(function() return as.admit { key = "dead", concurrency = 3, cost = 3 } end, 5) ~= false)
            ngx.say(count(9, { key = "dead", rate = 0.001, burst = 4 }))
        }
    }
    location = /pid { content_by_lua_block { ngx.print(ngx.worker.pid()) } }
    # the worker of /t stays
    rewrite_by_lua_block { if ngx.var.arg_not == tostring(ngx.worker.pid()) then ngx.print("not me") ngx.exit(200) end }
--- response_body
true
3


=== TEST 17: many more keys than there is room for: no more memory, no log
--- lua
    local id, n = ngx.var.request_id, 0
    for i = 1, 20000 do
        if as.admit { key = { id, i }, rate = 10 } then n = n + 1 end
        if i % 500 == 0 then ngx.sleep(0) end
    end
    ngx.say(n)
--- response_body
20000


=== TEST 18: a script that goes on and on is not refused for what it took long ago, and keeps its places
--- lua
    local id = ngx.var.request_id
    local held = as.admit { key = id, concurrency = 2 }
    local first = as.admit { key = id, rate = 1e6, burst = 9999 }
    for i = 1, 5000 do
        assert(as.admit { key = id, rate = 1e6, burst = 9999 })
        assert(as.settle((as.admit { key = id, concurrency = 2 })))
    end
    local last = as.admit { key = id, rate = 1e6, burst = 9999 }
    ngx.say(as.settle(first), " ", as.settle(last, 2), " ", count(3, { key = id, concurrency = 2 }), " ", as.settle(held))
--- response_body
nil true 1 true


=== TEST 19: where there is no zone there are no limits
--- no_zone
--- lua
    ngx.say(require("ngx.autoscale").admit { key = "a", rate = 1 })
--- response_body
nilno autoscale_zone in http {}


=== TEST 20: a limit without a zone is refused
--- must_die
--- http_config
    autoscale_limit a rate=1r/s;
--- config
--- error_log
"autoscale_limit" needs the memory that all workers share: write "autoscale_zone main:8m;" in http {}


=== TEST 21: a limit that is none says what would be one
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_limit a rate=1r/s window=1m;
--- config
--- error_log
"autoscale_limit" is written autoscale_limit NAME rate=N/s


=== TEST 22: a limit has one meaning
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_limit a rate=1r/s;
    autoscale_limit a rate=2r/s;
--- config
--- error_log
limit "a" is duplicate


=== TEST 23: files that a shared limit needs are looked at with the configuration, and where it stands
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_limit a rate=1r/s global=redis:127.0.0.1/limits secret_file=/nonexistent/secret;
--- config
--- error_log eval
qr{secret_file "/nonexistent/secret".* in \S+nginx\.conf:\d+}


=== TEST 24: so is a file of certificates
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_limit a rate=1r/s global=redis:127.0.0.1/limits ca_file=/nonexistent/ca;
--- config
--- error_log eval
qr{ca_file "/nonexistent/ca".* in \S+nginx\.conf:\d+}


=== TEST 25: scripts with ever new rates that are none leave nothing behind
--- lua
    local function used()
        collectgarbage()
        collectgarbage()
        return collectgarbage("count")
    end
    as.admit { key = "a", rate = "x/0" }
    local before = used()
    for i = 1, 20000 do
        if as.admit { key = "a", rate = "x/" .. i } then ngx.say("let in") end
    end
    ngx.say("kept: ", used() - before > 500)
--- response_body
kept: false


=== TEST 26: where it may not wait, it says so
--- phases: log header_filter body_filter balancer set
--- lua
    local ok, err = pcall(require("ngx.autoscale").admit, { key = ngx.var.request_id, rate = 1, max_wait = 1 })
    return ok, err:match("API disabled in the context of [a-z_]+_by_lua%* with max_wait") ~= nil
--- result
false, true


=== TEST 27: a worker that is to stop waits for who stands in line
--- modes: plain
--- once
--- lua
    local key = ngx.var.request_id
    as.admit { key = key, concurrency = 1 }
    local file = assert(io.open(ngx.config.prefix() .. "logs/nginx.pid"))
    os.execute("kill -HUP " .. file:read("*a"))
    local ticket, why = as.admit { key = key, concurrency = 1, max_wait = 0.8 }
    ngx.say(tostring(ticket), " ", why, " ", ngx.worker.exiting())
--- response_body
nil timeout true
