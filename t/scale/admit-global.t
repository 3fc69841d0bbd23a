# autoscale_limit global=redis: two gateways besides the harness's own nginx, which only looks on, and a real Redis.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use AutoscaleLua::Gateways;

redis(6379);

# Gateways by name. They run from the first block to the last.
my %gateways = (a => 8101, b => 8102);
for my $name (keys %gateways) {
    gateway($name, 2, <<"EOC");
    autoscale_zone main:8m keys=16;
    autoscale_limit hour window=1h limit=200 global=redis:127.0.0.1/limits;
    autoscale_limit closed window=1h limit=200 global=redis:127.0.0.1/limits on_failure=deny;
    autoscale_limit open window=1h limit=200 global=redis:127.0.0.1/limits on_failure=allow;
    autoscale_limit second rate=100r/s burst=49 global=redis:127.0.0.1/limits;
    server {
        listen 127.0.0.1:$gateways{$name};
        location = /take {
            content_by_lua_block {
                local as, n = require "ngx.autoscale", 0
                local err, retry
                for _ = 1, ngx.var.arg_n do
                    local ticket, e, r = as.admit { limit = ngx.var.arg_limit, key = ngx.var.arg_key, cost = tonumber(ngx.var.arg_cost) }
                    if ticket then n = n + 1 else err, retry = e, r end
                    if ngx.var.arg_sleep then ngx.sleep(tonumber(ngx.var.arg_sleep)) end
                    if ngx.var.arg_settle then as.settle(ticket, tonumber(ngx.var.arg_settle)) end
                end
                ngx.print(n, " ", err, " ", retry)
            }
        }
        location = /wait {
            content_by_lua_block {
                local ticket, wait = require("ngx.autoscale").admit { limit = "second", key = ngx.var.arg_key, max_wait = 5 }
                ngx.print(ticket ~= nil, " ", wait)
            }
        }
    }
EOC
}

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', <<'HTTP' . gateways_lua() . <<'HTTP2');
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
HTTP
        testing = require "testing"
        wait_for, sh, redis, stop, logged = testing.wait_for, testing.sh, testing.redis, gateways.stop, gateways.logged
        ports = { a = 8101, b = 8102 }
        function get(name, path)
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 1000, 8000)
            if not sock:connect("127.0.0.1", ports[name]) then return end
            sock:send("GET " .. path .. " HTTP/1.0\r\n\r\n")
            local text = sock:receive("*a")
            sock:close()
            return text:match("\r\n\r\n(.*)")
        end
        function start(name)
            if get(name, "/take?n=0") then return true end
            gateways.start(name)
            return wait_for(function() return get(name, "/take?n=0") end)
        end
        function calls() return tonumber(redis():info("commandstats"):match("cmdstat_eval:calls=(%d+)") or 0) end
        -- how many of n are let in, and what the last refused one was told
        function take(name, limit, key, n, more)
            local text = get(name, "/take?limit=" .. limit .. "&key=" .. key .. "&n=" .. n .. (more or ""))
            local count, err, retry = text:match("(%d+) (%S+) (%S+)")
            return tonumber(count), err, tonumber(retry)
        end
        -- the same over both gateways, in rounds
        function both(limit, key, rounds, n)
            local all = { a = 0, b = 0 }
            for _ = 1, rounds do
                for name in pairs(all) do all[name] = all[name] + take(name, limit, key, n) end
                ngx.sleep(0.015)
            end
            return all
        end
    }
HTTP2
});

worker_connections(256);
timeout(20);
run_tests();

__DATA__

=== TEST 1: two gateways keep one limit together, off by a lease each at most, and no request asks Redis
--- lua
    assert(start("a") and start("b"))
    local before = calls()
    local all = both("hour", "shared", 40, 10)
    local sum = all.a + all.b
    ngx.say(sum >= 160, " ", sum <= 240, " ", all.a >= 20, " ", all.b >= 20)
    local asked = calls() - before
    ngx.say("asked: ", asked > 4 and asked < 200)
    local _, err, retry = take("a", "hour", "shared", 1)
    ngx.say(err, " ", retry > 0)
    -- what Redis knows is what was let in, but for what is leased or owed
    local counts, known = redis():hvals("limits:hour:shared"), 0
    for _, count in ipairs(counts) do known = known + count end
    ngx.say(math.abs(known - sum) <= 40)
--- response_body
true true true true
asked: true
rejected true
true


=== TEST 2: one gateway alone gets all of it, but for a lease; tokens and settling are counted, too
--- lua
    assert(start("a") and start("b"))
    local sum = 0
    for _ = 1, 40 do
        sum = sum + take("a", "hour", "alone", 10)
        ngx.sleep(0.015)
    end
    ngx.say(sum >= 180, " ", sum <= 220)
    ngx.say(take("a", "hour", "tokens", 1, "&cost=150&settle=20"))
    ngx.sleep(0.1)
    ngx.say((take("b", "hour", "tokens", 1, "&cost=150")))
    wait_for(function() return (redis():hvals("limits:hour:tokens")[1] or 0) + 0 >= 170 end, 2)
    -- a request that costs more than a lease is let in by who owes nothing, and then nobody until that is paid
    ngx.say((take("a", "hour", "tokens", 1, "&cost=150")))
    wait_for(function() return (redis():hvals("limits:hour:tokens")[1] or 0) + 0 >= 320 end, 2)
    ngx.sleep(0.05)
    ngx.say((take("a", "hour", "tokens", 1, "&cost=150")), (take("b", "hour", "tokens", 1, "&cost=30")))
    ngx.say((select(2, take("a", "hour", "tokens", 1, "&cost=201"))))
--- response_body
true true
1nilnil
1
1
00
too


=== TEST 3: what a request gives back late is there for the other gateway
--- lua
    assert(start("a") and start("b"))
    local function known() return (redis():hvals("limits:hour:late")[1] or 0) + 0 end
    local thread = ngx.thread.spawn(take, "a", "hour", "late", 1, "&cost=150&sleep=0.5&settle=0")
    ngx.say("charged: ", wait_for(function() return known() >= 150 end, 2))
    ngx.thread.wait(thread)
    ngx.say("given back: ", wait_for(function() return known() <= 40 end, 2))
    ngx.say((take("b", "hour", "late", 1, "&cost=150")))
    ngx.say("charged again: ", wait_for(function() return known() >= 150 end, 2))
--- response_body
charged: true
given back: true
1
charged again: true


=== TEST 4: a rate is shared as well, and can be waited for
--- lua
    assert(start("a") and start("b"))
    ngx.update_time()
    local begin = ngx.now()
    local all = both("second", "r", 60, 5)
    ngx.update_time()
    local most = 50 + (ngx.now() - begin) * 100
    local sum = all.a + all.b
    ngx.say(sum <= most + 10 + 20 + 1, " ", sum >= math.min(600, most) * 0.7 - 20)
    local text = get("a", "/wait?key=r")
    ngx.say(text:match("^true %d") ~= nil)
--- response_body
true true
true


=== TEST 5: long keys are shared, and told apart by their ends
--- lua
    assert(start("a") and start("b"))
    local long = string.rep("k", 100)
    ngx.say(take("a", "hour", long .. "1", 1, "&cost=200"))
    wait_for(function() return #redis():keys("limits:hour:kkk*") == 1 end, 2)
    ngx.sleep(0.05)
    ngx.say((take("b", "hour", long .. "2", 1, "&cost=200")))
    wait_for(function() return #redis():keys("limits:hour:kkk*") == 2 end, 2)
    ngx.say(#redis():keys("limits:hour:kkk*"), " ", (take("a", "hour", long .. "1", 1)))
--- response_body
1nilnil
1
2 0


=== TEST 6: while Redis hangs requests are as fast, and then what on_failure says holds
--- lua
    assert(start("a") and start("b"))
    for _, limit in ipairs { "hour", "closed", "open" } do take("a", limit, "away", 5) end
    ngx.sleep(0.1)
    local pid = testing.redis_pid()
    sh("kill -STOP " .. pid)
    ngx.update_time()
    local begin = ngx.now()
    for _, limit in ipairs { "hour", "closed", "open" } do take("a", limit, "away", 100) end
    ngx.update_time()
    ngx.say("fast: ", ngx.now() - begin < 0.3)
    ngx.say("seen: ", wait_for(function()
        for _, limit in ipairs { "hour", "closed", "open" } do take("a", limit, "more", 30) end
        return logged("a", "autoscale_limit hour global=redis:127.0.0.1:6379: ")
            and logged("a", "autoscale_limit closed global=redis:127.0.0.1:6379: ")
            and logged("a", "autoscale_limit open global=redis:127.0.0.1:6379: ")
    end, 4))
    ngx.say(take("a", "open", "fresh", 500))
    ngx.say(take("a", "closed", "fresh", 500))
    local n, err = take("a", "hour", "fresh", 500)
    ngx.say(n, " ", err)
    sh("kill -CONT " .. pid)
    ngx.say("back: ", wait_for(function() return take("a", "closed", "back", 1) == 1 end, 4), " ",
            wait_for(function() return logged("a", "it is there again") end, 4))
--- response_body
fast: true
seen: true
500nilnil
0rejected1
200 rejected
back: true true


=== TEST 7: a Redis that is killed is noticed, a worker that leases may be, and all goes on
--- allow_log
exited on signal 9
--- lua
    assert(start("a") and start("b"))
    -- whichever of the two workers leases: when both have been killed others do
    gateways.signal("a", "KILL")
    wait_for(function() return get("a", "/take?n=0") end, 5)
    local before = calls()
    ngx.say(wait_for(function() take("a", "hour", "next", 5) return calls() > before end, 3))
    sh("kill -9 " .. testing.redis_pid())
    ngx.say(wait_for(function() return take("b", "closed", "dead" .. math.random(1e9), 40) == 0 end, 4))
    ngx.say(wait_for(function() return take("b", "open", "dead" .. math.random(1e9), 500) == 500 end, 4))
    ngx.say("stopped: ", stop("a"), " ", stop("b"))
--- response_body
true
true
true
stopped: true true
