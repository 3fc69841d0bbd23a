# require "ngx.autoscale": signals, counters, distributions.
use lib 't/lib';
use AutoscaleLua;

add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die || defined $block->no_zone;
    $block->set_value('http_config', ($block->http_config // '') . "autoscale_zone main:4m keys=64;\n");
});

run_tests();

__DATA__

=== TEST 1: requests, their rate and their latency are there when the request is over
--- backend
    location / { content_by_lua_block { ngx.sleep(0.05) ngx.say("ok") } }
--- config
    location = /p { proxy_pass http://backend; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.sleep(0.05)
            local latency, age, n = as.get("upstream.backend.latency@1m")
            ngx.say(latency > 0.04 and latency < 1, " ", age < 5, " ", n >= 2)
            ngx.say((as.get("upstream.backend.errors@1m")))
            ngx.say(as.get("upstream.backend.rate@1m") > 0)
            ngx.say((as.get("upstream.backend.inflight")))
        }
    }
--- request eval
["GET /p", "GET /p", "GET /t"]
--- response_body eval
["ok\n", "ok\n", "true true true\n0\ntrue\n0\n"]


=== TEST 2: what is in flight is counted while it is, and so is what has no first byte yet
--- backend
    location / {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.say((as.get("upstream.backend.inflight")), " ", (as.get("upstream.backend.waiting")))
        }
    }
--- config
    location = /t { proxy_pass http://backend; }
--- response_body
1 1


=== TEST 3: nothing sampled is no zero: nil, and for how long
--- modes: plain workers
--- backend
    location / { return 200; }
--- lua
    local value, age, n = require("ngx.autoscale").get("upstream.backend.latency")
    ngx.say(value, " ", type(age), " ", age >= 0, " ", n)
--- response_body
nil number true 0


=== TEST 4: what is wrong with a signal is said, with what was probably meant
--- backend
    location / { return 200; }
--- lua
    local as = require "ngx.autoscale"
    ngx.say(select(2, as.get("upstream.backend.latencie")))
    ngx.say(select(2, as.get("upstream.backnd.latency")))
    ngx.say(select(2, as.get("")))
    ngx.say(select(2, pcall(as.get)))
    ngx.say(select(2, pcall(as.get, {})))
--- response_body_like
^signal "upstream.backend.latencie": unknown metric "latencie" \(did you mean "latency"\?\).*
signal "upstream.backnd.latency.*": there is no upstream "backnd" \(did you mean "backend"\?\)
signal is empty.*
bad argument #1 to 'get' \(string expected, got nil\)
bad argument #1 to 'get' \(string expected, got table\)$


=== TEST 5: a name that comes later is found then
--- lua
    local as = require "ngx.autoscale"
    local name = "late" .. ngx.worker.pid() .. math.floor(ngx.now() * 1000)
    ngx.say((as.get("custom." .. name)), " ", (select(2, as.get("custom." .. name)):gsub(name, "NAME")))
    ngx.say(as.incr(name, 3))
    ngx.say((as.get("custom." .. name)))
--- response_body_like
^nil signal "custom.NAME.*there is no custom metric "NAME".*
true
3$


=== TEST 6: counters and distributions, with keys
--- lua
    local as = require "ngx.autoscale"
    local key = "k" .. math.floor(ngx.now() * 1000) .. math.random(1e6)
    for i = 1, 10 do
        as.incr("sold", 2, key)
        as.observe("size", i, key)
    end
    as.incr("sold", nil, key)
    ngx.say((as.get("custom.sold/" .. key .. "@1m")))
    local average, _, n = as.get("custom.size/" .. key .. "@1m")
    ngx.say(average, " ", n)
    ngx.say(math.abs(as.get("custom.size/" .. key .. ".p95@1m") - 10) < 1)
    ngx.say((as.get("custom.size/" .. key .. ".max@1m")))
--- response_body
21
5.5 10
true
10


=== TEST 7: names and values that cannot be are refused
--- lua
    local as = require "ngx.autoscale"
    ngx.say(as.incr("a b"))
    ngx.say(as.incr("p95"))
    ngx.say(as.incr(""))
    ngx.say(as.observe("a.b", 1))
    ngx.say(as.incr("fine", -1))
    ngx.say(as.observe("fine", 0 / 0))
    ngx.say(select(2, pcall(as.incr, {})))
    ngx.say(select(2, pcall(as.observe, "fine")))
    ngx.say(select(2, pcall(as.incr, "fine", 1, {})))
    ngx.say(select(2, pcall(function() as.incr(1) end)))
    ngx.say(select(2, pcall(function() as.observe("fine", 1, true) end)))
--- response_body_like
^nilinvalid metric name "a b": write letters.*
nilinvalid metric name "p95".*
nilinvalid metric name "".*
nilinvalid metric name "a.b".*
nila counter takes a finite number of 0 or more
nilan observed value is a finite number
bad argument #1 to 'incr' \(string expected, got table\)
bad argument #2 to 'observe' \(number expected, got nil\)
.*bad argument #3 to 'incr' \(string expected, got table\)
content_by_lua.*:\d+: bad argument #1 to 'incr' \(string expected, got number\)
content_by_lua.*:\d+: bad argument #3 to 'observe' \(string expected, got boolean\)$


=== TEST 8: thousands of signals leave the cache bounded and right
--- lua
    local as = require "ngx.autoscale"
    as.incr("mine", 7)
    local before = as.get("custom.mine@1h")
    for i = 1, 3000 do as.get("custom.mine" .. i .. "@1h") end
    ngx.say(as.get("custom.mine@1h") == before, " ", before >= 7)
--- response_body
true true


=== TEST 9: without autoscale_zone everything says so and nothing fails
--- no_zone
--- lua
    local as = require "ngx.autoscale"
    ngx.say(as.get("self.rate"))
    ngx.say(as.incr("x"))
    ngx.say(as.observe("x", 1))
    ngx.say(as.pick("backend"))
    ngx.say(as.peers("backend"))
    ngx.say(as.set("backend", "a", {}))
--- response_body
nilno autoscale_zone in http {}
nilno autoscale_zone in http {}
nilno autoscale_zone in http {}
nilno autoscale_zone in http {}
nilno autoscale_zone in http {}
nilno autoscale_zone in http {}


=== TEST 10: every phase that has a zone can read and count
--- phases: rewrite access content header_filter body_filter log init_worker
--- lua
    local as = require "ngx.autoscale"
    assert(as.incr("everywhere"))
    return as.get("custom.everywhere@1h") >= 1 and (as.get("self.inflight"))
--- result: 0


=== TEST 11: init has no zone yet
--- http_config
    init_by_lua_block {
        said = select(2, require("ngx.autoscale").get("self.rate"))
    }
--- lua
    ngx.say(said)
--- response_body
no zone yet: workers have it, from init_worker_by_lua on


=== TEST 12: keys count the requests of each value; beyond top the coldest goes
--- http_config
    autoscale_key tenant $arg_tenant top=2;
--- backend
    location / { return 200 "ok\n"; }
--- config
    location = /p { proxy_pass http://backend; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            local known = 0
            for _, tenant in ipairs { "a", "b", "c" } do
                if as.get("key.tenant/" .. tenant .. ".rate@1m") then known = known + 1 end
            end
            ngx.say(known, " ", as.get("key.tenant.rate@1m") > 0, " ", as.get("key.tenant/c.rate@1m") > 0)
        }
    }
--- request eval
["GET /p?tenant=a", "GET /p?tenant=a", "GET /p?tenant=b", "GET /p?tenant=c", "GET /t"]
--- response_body eval
["ok\n", "ok\n", "ok\n", "ok\n", "2 true true\n"]


=== TEST 13: the variables show what is in flight
--- backend
    location / { return 200 "ok\n"; }
--- config
    location = /t {
        proxy_pass http://backend;
        add_header X-Active $upstream_active;
        add_header X-Waiting $upstream_waiting;
    }
    location = /none { return 200 "[$upstream_active]\n"; }
--- request eval
["GET /t", "GET /none"]
--- response_body eval
["ok\n", "[]\n"]
--- response_headers eval
["X-Active: 1\nX-Waiting: 0", ""]


=== TEST 14: reading a signal, counting and observing compile, without a fall back to the interpreter
--- lua
    local as = require "ngx.autoscale"
    local util = require "jit.util"
    -- whether a loop of `f` becomes machine code that never leaves for the interpreter. LuaJIT waits a random number of rounds
    -- before it tries again what it gave up, so that which trace it finds first is chance: what compiles does so in some try.
    local function try(f)
        local roots, aborts = {}, {}
        local function watch(what, trace, _, _, code)
            if what == "stop" then
                local link = util.traceinfo(trace).linktype
                roots[link] = true
                roots[#roots + 1] = link
            elseif what == "abort" then
                aborts[#aborts + 1] = tostring(code)
            end
        end
        jit.flush()
        local loop = loadstring("local f = ... return function() for _ = 1, 400 do f() end end")(f)
        jit.attach(watch, "trace")
        loop()
        jit.attach(watch)
        local fine = roots.loop and not roots.stitch and not roots.interpreter
        return fine or table.concat(roots, ",") .. ";" .. table.concat(aborts, ",")
    end
    local function compiles(f, name)
        local found
        for _ = 1, 8 do
            found = try(f)
            if found == true then break end
        end
        ngx.say(name, " ", found)
    end
    as.incr("hot", 1, "key")
    as.observe("hot_size", 1)
    compiles(function() return (as.get("self.inflight")) end, "level")
    compiles(function() return (as.get("custom.hot/key.rate@1m")) end, "rate")
    compiles(function() return (as.get("custom.hot_size.p95@1m")) end, "quantile")
    compiles(function() return (as.get("self.latency@1m")) end, "nothing")
    compiles(function() return (as.incr("hot")) end, "incr")
    compiles(function() return (as.incr("hot", 2, "key")) end, "incr with a key")
    compiles(function() return (as.observe("hot_size", 3)) end, "observe")
    compiles(function() return (string.dump(compiles)) end, "what does not compile")
--- response_body_like
^level true
rate true
quantile true
nothing true
incr true
incr with a key true
observe true
what does not compile (?!true).*$


=== TEST 15: counting and reading leave no garbage
--- lua
    local as = require "ngx.autoscale"
    local function grows(f)
        for _ = 1, 200 do f() end
        collectgarbage()
        collectgarbage("stop")
        local before = collectgarbage("count")
        for _ = 1, 1000 do f() end
        local grown = collectgarbage("count") - before
        collectgarbage("restart")
        return grown
    end
    local function about(name, f) ngx.say(name, " ", grows(f) < 1) end
    as.observe("size", 1)
    -- traces would count
    jit.off()
    about("incr", function() as.incr("count") end)
    about("incr with a key", function() as.incr("count", 2, "key") end)
    about("observe", function() as.observe("size", 2) end)
    about("get", function() as.get("custom.count") end)
    about("a table", function() return {} end)
    jit.on()
--- response_body
incr true
incr with a key true
observe true
get true
a table false


=== TEST 16: a window that is longer than what is kept is refused, with the longest one
--- backend
    location / { return 200; }
--- lua
    local as = require "ngx.autoscale"
    ngx.say(select(2, as.get("upstream.backend.latency@1d")))
    ngx.say(select(2, as.get("upstream.backend.latency@65r")))
    ngx.say(type(as.get("upstream.backend.rate@1h")))
--- response_body_like
window "1d" is longer than what is kept; the longest is 1h.*
.*window "65r" is longer than what is kept; the longest is 64r.*
number$
