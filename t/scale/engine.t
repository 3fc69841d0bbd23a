# The outer loop end to end: requests and ticks in, orders to a target out. The target is a webhook of ours, see
# t/lib/AutoscaleLua/scaled-target.
# modes: plain workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

worker_connections(256);
daemon(1995, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/scaled-target", 1995);

add_block_preprocessor(sub {
    my $block = shift;
    my $zone = $block->zone // 'main:4m keys=16';
    $block->set_value('http_config', "autoscale_zone $zone;\n" . <<'HTTP' . ($block->http_config // ''));
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        target = { wait_for = testing.wait_for, logged = testing.is_logged }
        -- what the target was told so far
        function target.log(name) return ngx.location.capture("/target/log/" .. name).body end
        function target.now(name) return ngx.location.capture("/target/now/" .. name).body end
        -- the same once it has so many lines, or what there is of it
        function target.wait(name, lines)
            local function whole()
                local log = target.log(name)
                return testing.count(log, "\n") >= lines and log
            end
            return testing.wait_for(whole) or "too few: " .. target.log(name)
        end
        -- so many requests at once
        function target.load(uri, n)
            local all = {}
            for i = 1, n do all[i] = { uri } end
            ngx.location.capture_multi(all)
        end
        -- who leads, and how many have
        function target.leader()
            local count, last = 0, nil
            for pid in testing.error_log():gmatch("(%d+)#%d+: this worker leads now") do
                count, last = count + 1, pid
            end
            return last, count
        end
        -- sends a signal to the leader; true once another one leads
        function target.strike(signal)
            local pid, count = assert(target.wait_for(target.leader)), select(2, target.leader())
            os.execute("kill -" .. signal .. " " .. pid)
            return target.wait_for(function() return select(2, target.leader()) > count end)
        end
    }
HTTP
    $block->set_value('backend', 'location / { content_by_lua_block { ngx.sleep(0.12) ngx.say("ok") } } location = /fast { return 200 "ok\n"; }');
    $block->set_value('config', ($block->config // '') . <<'CONF');
    location = /slow { proxy_pass http://backend/; }
    location = /fast { proxy_pass http://backend/fast; }
    location /target/ { proxy_pass http://127.0.0.1:1995/; }
CONF
});

# longer than anything here waits for
timeout(20);
run_tests();

__DATA__

=== TEST 1: T1: ten slow requests do nothing, the eleventh writes once, and then there is a cooldown
--- http_config
    autoscale_target orders webhook:http://127.0.0.1:1995/t1 min=2 max=20;
    autoscale_policy orders target=orders {
        up upstream.backend.latency > 100ms for=11r by=+2;
        cooldown up=60s down=300s;
    }
--- lua
    assert(target.wait_for(target.leader))
    target.load("/fast", 3)
    target.load("/slow", 10)
    ngx.sleep(1.2)      -- a tick that could act
    ngx.say("after ten: ", target.log("t1"))
    target.load("/slow", 1)
    local ended = ngx.now()
    ngx.print("after eleven: ", target.wait("t1", 1))
    ngx.update_time()
    ngx.say(ngx.now() - ended < 0.5)
    target.load("/slow", 15)
    ngx.sleep(1.2)
    ngx.print("after more: ", target.log("t1"))
--- response_body
after ten: 
after eleven: orders.1 2 4
true
after more: orders.1 2 4


=== TEST 2: T2: slow in three ticks in a row, five more at once; while it observes, a policy says so and writes nothing
--- http_config
    autoscale_target orders webhook:http://127.0.0.1:1995/t2 min=2 max=20;
    autoscale_target other webhook:http://127.0.0.1:1995/t2b min=2 max=20;
    autoscale_policy orders target=orders { up upstream.backend.latency@2s > 100ms for=3x by=+5; }
    autoscale_policy other target=other { up upstream.backend.latency@2s > 100ms for=3x by=+5; mode observe; }
--- lua
    local logs = {}
    for n = 1, 40 do
        target.load("/slow", 2)
        if target.log("t2") ~= "" then break end
    end
    ngx.print(target.log("t2"))
    ngx.sleep(0.1)
    target.load("/slow", 2)
    ngx.say("observed: ", target.log("t2b"), target.logged("policy \"other\": would go from 2 to 7"))
--- response_body
orders.1 2 7
observed: true


=== TEST 3: T5, T11: nothing is added within its cooldown, and nothing taken away within the other one
--- http_config
    autoscale_target orders webhook:http://127.0.0.1:1995/t5 min=2 max=20;
    autoscale_policy orders target=orders {
        up   upstream.backend.latency > 100ms for=3r by=+4;
        down upstream.backend.rate@1s < 1 by=-4;
        cooldown up=1s down=2s;
    }
--- lua
    assert(target.wait_for(target.leader))
    target.wait_for(function()
        target.load("/slow", 3)
        return target.log("t5"):find("orders.2", 1, true)
    end)
    target.load("/fast", 1)     -- ends the row of slow ones
    target.wait("t5", 3)
    local lines, times = {}, {}
    for line, ms in ngx.location.capture("/target/log/t5?more").body:gmatch("orders.(%d+ %d+ %d+) %d+ (%d+)") do
        table.insert(lines, line)
        table.insert(times, tonumber(ms))
    end
    ngx.say(table.concat(lines, ", "))
    ngx.say(times[2] - times[1] >= 990, " ", times[3] - times[2] >= 1990)
--- response_body
1 2 6, 2 6 10, 3 10 6
true true


=== TEST 4: a leader that is killed while it writes: another leads within two ticks, and repeats under the same key
--- http_config
    autoscale_target orders webhook:http://127.0.0.1:1995/t4-hang-1 min=2 max=20 timeout=9s;
    autoscale_target stored consul:127.0.0.1:1995/t4-late-1 min=2 max=20 timeout=9s;
    autoscale_policy orders target=orders { up upstream.backend.latency > 100ms for=3r by=+2; }
    autoscale_policy stored target=stored { up upstream.backend.latency > 100ms for=3r by=+3; }
--- config
    location = /kill {
        content_by_lua_block {
            ngx.timer.at(0, function()
                os.execute("kill -KILL " .. target.leader())
            end)
            ngx.say("killed")
        }
    }
    location = /before {
        content_by_lua_block {
            assert(target.wait_for(target.leader))
            target.load("/slow", 3)
            ngx.print(target.wait("t4-hang-1", 1), target.wait("t4-late-1", 1))
        }
    }
--- lua
    local begun = ngx.now()
    target.wait_for(function() return select(2, target.leader()) > 1 end)
    ngx.update_time()
    ngx.say(select(2, target.leader()), " ", ngx.now() - begun < 2)
    ngx.print(target.wait("t4-hang-1", 2), target.now("t4-hang-1"))
    -- the other one had been written: the target is asked, and not written to again
    assert(target.wait_for(function() return target.logged("decision 1 is written: 5 replicas") end))
    ngx.print(target.log("t4-late-1"))
--- request eval
["GET /before", "GET /kill", "GET /t"]
--- response_body eval
["orders.1 2 4\nstored.1 2 5\n", "killed\n", "2 true\norders.1 2 4\norders.1 2 4\n4 1\nstored.1 2 5\n"]
--- allow_log
exited on signal 9


=== TEST 5: a reload in the middle of a write: what is answered soon is written once, what is not is repeated under its key
--- http_config
    autoscale_target orders webhook:http://127.0.0.1:1995/t5-slow-1200 min=2 max=20 timeout=9s;
    autoscale_policy orders target=orders { up upstream.backend.latency > 100ms for=3r by=+2; }
    autoscale_target hanging webhook:http://127.0.0.1:1995/t5-hang-1 min=2 max=20 timeout=9s;
    autoscale_policy hanging target=hanging { up upstream.backend.latency > 100ms for=3r by=+2; }
--- config
    location = /reload {
        content_by_lua_block {
            assert(target.wait_for(target.leader))
            target.load("/slow", 3)
            ngx.print(target.wait("t5-slow-1200", 1), target.wait("t5-hang-1", 1))
            testing.reload()
            -- the new workers have the traffic, this one ends its requests
            ngx.sleep(0.5)
        }
    }
--- lua
    ngx.print(target.wait("t5-hang-1", 2), target.now("t5-hang-1"))
    ngx.print(target.log("t5-slow-1200"), target.now("t5-slow-1200"))
    target.load("/slow", 3)
    ngx.sleep(1.2)      -- the cooldown has survived as well
    ngx.say(target.now("t5-hang-1"), target.now("t5-slow-1200"))
--- request eval
["GET /reload", "GET /t"]
--- response_body eval
["orders.1 2 4\nhanging.1 2 4\n", "hanging.1 2 4\nhanging.1 2 4\n4 1\norders.1 2 4\n4 1\n4 1\n4 1\n\n"]


=== TEST 6: a target that hangs, fails or refuses: requests go on, the order is repeated or given up
--- http_config
    autoscale_target hanging webhook:http://127.0.0.1:1995/t6-hang-1 min=2 max=20 timeout=600ms;
    autoscale_target broken webhook:http://127.0.0.1:1995/t6-broken-2 min=2 max=20 timeout=500ms;
    autoscale_target strict webhook:http://127.0.0.1:1995/t6-refuse-1 min=2 max=20;
    autoscale_policy hanging target=hanging { up upstream.backend.latency > 100ms for=3r by=+2; }
    autoscale_policy broken target=broken { up upstream.backend.latency > 100ms for=3r by=+2; }
    autoscale_policy strict target=strict { up upstream.backend.latency > 100ms for=3r by=+2; }
--- lua
    assert(target.wait_for(target.leader))
    target.load("/slow", 3)
    target.wait("t6-hang-1", 1)
    ngx.update_time()
    local begun = ngx.now()
    target.load("/fast", 5)
    ngx.update_time()
    ngx.say(ngx.now() - begun < 0.5)
    target.wait("t6-hang-1", 2)
    target.wait("t6-broken-2", 3)
    ngx.print(target.now("t6-hang-1"), target.now("t6-broken-2"), target.log("t6-refuse-1"), target.now("t6-refuse-1"))
    ngx.say(target.logged("it is given up: "))
--- response_body
true
4 1
4 1
strict.1 2 4
- 1
true


=== TEST 7: T16: what happens inside the gateway happens as the request ends, whichever worker served it
--- http_config
    autoscale_key class $http_x_class;
    autoscale_policy guard { up upstream.backend.latency > 100ms for=4r by=+1; do shed batch; }
--- lua
    assert(target.wait_for(target.leader))
    target.load("/slow", 3)
    ngx.say(target.logged("in force"))
    target.load("/slow", 1)
    ngx.update_time()
    local ended = ngx.now()
    ngx.say(target.wait_for(function() return target.logged('policy "guard": its "do" lines are in force') end))
    ngx.update_time()
    ngx.say(ngx.now() - ended < 0.5)
--- response_body
false
true
true


=== TEST 8: a reload that adds a policy keeps what the others remember, and one that goes and comes back is the same
--- http_config
    autoscale_target orders webhook:http://127.0.0.1:1995/t8 min=2 max=20;
    autoscale_target other webhook:http://127.0.0.1:1995/t8b min=2 max=20;
    include ../html/policies*.conf;
--- user_files
>>> policies.conf
autoscale_policy orders target=orders { up upstream.backend.latency > 100ms for=3r by=+2; cooldown up=1h; }
--- config
    location = /with {
        content_by_lua_block {
            assert(target.wait_for(target.leader))
            if ngx.var.arg_load then
                target.load("/slow", 3)
                target.wait(ngx.var.arg_load, 1)
                target.load("/fast", 1)     -- a policy that is new looks at the last requests, too
            end
            local file = assert(io.open(ngx.config.prefix() .. "html/policies.conf", "w"))
            for name in ngx.var.arg_policies:gmatch("%a+") do
                file:write("autoscale_policy ", name, " target=", name,
                           " { up upstream.backend.latency > 100ms for=3r by=+2; cooldown up=1h; }\n")
            end
            file:close()
            local before = select(2, target.leader())
            testing.reload()
            target.wait_for(function() return select(2, target.leader()) > before end)
            ngx.print(target.log("t8"), target.log("t8b"))
        }
    }
--- request eval
["GET /with?policies=other,orders&load=t8", "GET /with?policies=other&load=t8b", "GET /with?policies=orders,other",
 "GET /with?policies=orders,other&load=t8"]
--- response_body eval
["orders.1 2 4\n", "orders.1 2 4\nother.1 2 4\n", "orders.1 2 4\nother.1 2 4\n", "orders.1 2 4\nother.1 2 4\n"]
