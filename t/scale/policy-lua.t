# by_lua_block in a policy: a rule in Lua, run by the leader with each tick.
# modes: plain workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;

our $HTTP = <<'CONF';
    autoscale_zone main:4m keys=16;
    lua_shared_dict runs 64k;
    autoscale_target orders webhook:http://127.0.0.1:1984/told min=1 max=10;
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        wait = testing.wait_for
        -- what the policy says of itself, once there is `what` in it
        function explains(what)
            return wait(function()
                local reason = require("ngx.autoscale").policy("p"):explain()
                return reason and reason:find(what, 1, true) and reason
            end)
        end
        function decision()
            return wait(function()
                for _, d in ipairs(require("ngx.autoscale").decisions { policy = "p" }) do
                    if d.id then return d end
                end
            end)
        end
    }
CONF

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $HTTP . $block->http_config);
    $block->set_value('timeout', 20);
    $block->set_value('config', ($block->config // '') . "location = /told { return 200; }\n");
});

run_tests();

__DATA__

=== TEST 1: a script wishes, and says why
--- http_config
    autoscale_policy p target=orders {
        cooldown up=1m;
        by_lua_block {
            local load = as.get("custom.load") or 0
            if load > 50 then
                return replicas * 2 + ready + 0.5, "load is " .. load
            end
        }
    }
--- lua
    local as = require "ngx.autoscale"
    ngx.say(explains("stays at 1"))
    as.observe("load", 100)
    local d = decision()
    ngx.say(d.current, " ", d.wish, " ", d.after_cooldown, " ", d.rule)
    ngx.say(d.reason)
    ngx.say(d.rules[1].rule, ": ", d.rules[1].says)
--- response_body
stays at 1: no rule asks for a change
1 4 4 by_lua_block 1
from 1 to 4: 4 wanted by "by_lua_block 1" (load is 100)
by_lua_block 1: 4 replicas


=== TEST 2: the highest of all rules' wishes wins, and bounds hold for scripts
--- http_config
    autoscale_policy p target=orders {
        by_lua_block { return 99, "very many" }
        by_lua_block { return 2 }
        by_lua_block { return nil }
        up custom.none > 1 by=+1;
    }
--- lua
    local d = decision()
    ngx.say(d.reason)
    for i, said in ipairs(d.rules) do
        ngx.say(i, " ", said.says)
    end
--- response_body
from 1 to 10: 99 wanted by "by_lua_block 1" (very many)
1 99 replicas
2 2 replicas
3 not so
4 custom.none.avg@5s has no fresh value


=== TEST 3: an error is told once, and the other rules go on
--- http_config
    autoscale_policy p target=orders {
        by_lua_block {
            ngx.shared.runs:incr("n", 1, 0)
            error("oh, " .. ngx.shared.runs:get("n"))
        }
        by_lua_block { return 3 }
    }
--- lua
    ngx.say(decision().reason)
    wait(function() return ngx.shared.runs:get("n") > 2 end)
    local _, last = require("ngx.autoscale").policy("p"):explain()
    ngx.say((last.rules[1].says:gsub("%d+", "N")))
    local log = testing.error_log()
    ngx.say(testing.count(log, 'policy "p": by_lua_block 1 failed: by_lua%(.-%):3: oh, 1'), " ",
            testing.count(log, "by_lua_block 1 failed: by_lua"))
--- response_body
from 1 to 3: 3 wanted by "by_lua_block 2"
failed: by_lua(nginx.conf:N):N: oh, N
1 1
--- error_log
by_lua_block 1 failed


=== TEST 4: a script that does not end is ended, whatever it catches
--- http_config
    autoscale_policy p target=orders {
        by_lua_block { while true do end }
        by_lua_block { while true do pcall(function() while true do end end) end }
        by_lua_block { local function again() return again() end return again() }
        by_lua_block { return 2, "the last" }
    }
--- lua
    local d = decision()
    ngx.say(d.reason)
    for i = 1, 3 do
        ngx.say((d.rules[i].says:gsub("%d+", "N")))
    end
    -- requests have no such bound
    local n = 0
    for _ = 1, 3e6 do n = n + 1 end
    ngx.say(n)
--- response_body
from 1 to 2: 2 wanted by "by_lua_block 4" (the last)
failed: by_lua(nginx.conf:N):N: it runs for too long
failed: by_lua(nginx.conf:N):N: it runs for too long
failed: by_lua(nginx.conf:N):N: it runs for too long
3000000
--- error_log
it runs for too long


=== TEST 5: a script does not wait
--- http_config
    autoscale_policy p target=orders {
        by_lua_block { ngx.sleep(0.01) }
        by_lua_block { return ngx.socket.tcp():connect("127.0.0.1", 1984) }
        by_lua_block { coroutine.yield() }
        by_lua_block { ngx.timer.at(0, function() ngx.shared.runs:set("timer", ngx.get_phase()) end) return 2 }
    }
--- lua
    local d = decision()
    ngx.say(d.reason)
    for i = 1, 3 do
        ngx.say((d.rules[i].says:gsub("%d+", "N")))
    end
    ngx.say(wait(function() return ngx.shared.runs:get("timer") end))
--- response_body
from 1 to 2: 2 wanted by "by_lua_block 4"
failed: it must not wait, as for a socket or a sleep
failed: it must not wait, as for a socket or a sleep
failed: by_lua(nginx.conf:N):N: it must not wait, as for a socket or a sleep
timer
--- error_log
it must not wait


=== TEST 6: what is no wish is refused with what to return
--- http_config
    autoscale_policy p target=orders {
        by_lua_block { return "5" }
        by_lua_block { return -1 }
        by_lua_block { return 0 / 0 }
        by_lua_block { return 1, {} }
        by_lua_block { return true }
        by_lua_block { return 1e300 }
    }
--- lua
    ngx.say(decision().reason)
    local _, last = require("ngx.autoscale").policy("p"):explain()
    for i = 1, 5 do
        ngx.say((last.rules[i].says:gsub(": return.*", "")))
    end
--- response_body
from 1 to 10: 4294967295 wanted by "by_lua_block 6"
failed: it returned a string
failed: it returned -1
failed: it returned NaN
failed: it returned a reason that is a table
failed: it returned a boolean
--- error_log
return a number of replicas and perhaps a reason, or nil


=== TEST 7: one worker runs it, once a tick
--- workers: 2
--- http_config
    autoscale_policy p target=orders {
        by_lua_block { ngx.shared.runs:incr("n", 1, 0) ngx.shared.runs:incr("pid " .. ngx.worker.pid(), 1, 0) }
    }
--- lua
    wait(function() return (ngx.shared.runs:get("n") or 0) >= 2 end)
    ngx.say(#ngx.shared.runs:get_keys())
--- response_body
2


=== TEST 8: code that does not compile fails the configuration test, with file and line
--- http_config
    autoscale_policy p target=orders {
        by_lua_block { return 1 }
        by_lua_block {
            local a =
            = 1
        }
    }
--- must_die
--- error_log eval
qr/failed to load inlined Lua code: by_lua\(nginx\.conf:\d+\):3: unexpected symbol near '=' in .*nginx\.conf:\d+/


=== TEST 9: other scripts go on as fast, and a hook of a script's own stays
--- http_config
    autoscale_policy p target=orders { by_lua_block { return replicas } }
--- lua
    local n = 0
    debug.sethook(function() n = n + 1 end, "", 1000)
    explains("stays at 1")
    local hook, _, count = debug.gethook()
    ngx.say(type(hook), " ", count, " ", n > 0)
    debug.sethook()
    ngx.say(require("jit").status())
--- response_body_like
^function 1000 true
true.*
