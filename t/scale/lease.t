# modes: plain
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use AutoscaleLua::Targets;

# The lead among gateways by a Lease, on the fake API server of t/lib/AutoscaleLua/outward-fake. Who holds it scales the workload to 5.
fake();
our $Api = 'api=https://127.0.0.1:9443 ca_file=$TEST_NGINX_CERTS/ca.crt token_file=$TEST_NGINX_SECRETS/token';

sub led {
    my ($lease, $workload) = @_;
    return scaled($workload => "kubernetes:shop/deployment/$workload $Api") . "autoscale_leader kubernetes:shop/$lease ttl=2s $Api;\n";
}
# Another gateway, which leads from the start where this one is to come second.
our @Second = gateway(led('two', 'others') . 'server { listen 127.0.0.1:1999; }');
daemon(1999, @Second);
run_tests();

__DATA__

=== TEST 1: the first gateway makes the Lease and writes, until the API server does not answer
--- once
--- http_config eval
main::led('first', 'web') . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    local http = require "autoscale.http"
    show { "web" }
    -- more than one lease: it is renewed
    ngx.sleep(2.1)
    local lease = require("cjson").decode(kubernetes("GET", "/apis/coordination.k8s.io/v1/namespaces/shop/leases/first").body)
    ngx.say(lease.spec.leaseDurationSeconds, " ", lease.spec.renewTime > lease.spec.acquireTime)
    ngx.say(is_logged "is not held any more")
    http.request { method = "PUT", url = "http://127.0.0.1:9444/deaf/first" }
    ngx.update_time()
    local began = ngx.now()
    await(function() return is_logged "is not held any more" end)
    ngx.update_time()
    -- two thirds of two seconds after the last renewal
    local took = ngx.now() - began
    ngx.say(took > 0.8 and took < 1.7 or took)
    http.request { method = "DELETE", url = "http://127.0.0.1:9444/deaf/first" }
    -- nobody else has taken it: the number of leaders stays, and it goes on
    await(function()
        local log = assert(io.open(ngx.config.prefix() .. "logs/error.log"))
        local _, times = log:read("*a"):gsub("this gateway writes, with fence", "")
        log:close()
        return times == 2
    end)
    ngx.say((noted("first", "HELD"):gsub("%S+_%x+_%d+%-%x+", "GATEWAY")))
--- response_body
web: SET 5, PATCH 200
2 true
false
true
HELD GATEWAY 0
--- error_log
lease "shop/first" is held: this gateway writes, with fence
autoscale_leader: lease "shop/first": GET: read: timeout
--- timeout: 20


=== TEST 2: it was given back when that gateway stopped, and who holds it now is waited for
--- once
--- http_config eval
main::led('rival', 'web2') . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    ngx.say((noted("first", "HELD"):match "HELD %- 0$"))
    -- before the first tick
    kubernetes("POST", "/apis/coordination.k8s.io/v1/namespaces/shop/leases", { metadata = { name = "rival" },
        spec = { holderIdentity = "rival", leaseDurationSeconds = 2, leaseTransitions = 6 } })
    local began = ngx.now()
    await(function() return noted("rival", "HELD"):find "7$" end)
    ngx.update_time()
    -- seen first with the first tick; it ends two seconds after that
    ngx.say(ngx.now() - began > 1.9, " ", noted("web2", "PATCH"))
    show { "web2" }
--- response_body
HELD - 0
true 
web2: SET 5, PATCH 200
--- timeout: 20


=== TEST 3: of two gateways one writes, and the other goes on when that one is killed
--- once
--- http_config eval
main::led('two', 'mine') . "init_worker_by_lua_block { other = '$main::Second[2]' }" . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    -- time for what must not happen
    ngx.sleep(2.5)
    ngx.say(noted("others", "PATCH"), ", ", noted("mine", "PATCH"))
    local fence = assert(io.open(other .. "error.log")):read("*a"):match "this gateway writes, with fence (%d+)"
    os.execute("p=$(cat " .. other .. "pid); kill -STOP $p; pkill -9 -P $p; kill -9 $p")
    show { "mine" }
    ngx.say((noted("two", "HELD"):gsub("%S+_%x+_%d+%-%x+", "GATEWAY")))
    local log = assert(io.open(ngx.config.prefix() .. "logs/error.log")):read("*a")
    local second = tonumber(log:match "this gateway writes, with fence (%d+)")
    -- of the scale that other kinds of leaders have, too: milliseconds since 1970
    ngx.update_time()
    ngx.say(second > tonumber(fence), " ", math.abs(ngx.now() * 1000 - second) < 20000)
--- response_body
PATCH 200, 
mine: SET 5, PATCH 200
HELD GATEWAY 0, HELD GATEWAY 1
true true
--- timeout: 20


=== TEST 4: the next worker of a gateway need not wait for the end of the lease of the one that was killed
--- once
--- http_config eval
main::led('next', 'w-killget-1') =~ s/ttl=2s/ttl=60s/r . $AutoscaleLua::Targets::FAKE_LUA
--- config
    location = /wait { content_by_lua_block { ngx.sleep(15) } }
    location = /t {
        content_by_lua_block {
            show { "w-killget-1" }
            ngx.say((noted("next", "HELD"):gsub("%S+_%x+_%d+%-%x+", "GATEWAY")))
        }
    }
--- request eval
["GET /wait", "GET /t"]
--- error_code eval
["", 200]
--- response_body eval
["", "w-killget-1: SET 5, PATCH 200\nHELD GATEWAY 0, HELD GATEWAY 1\n"]
--- allow_log
exited on signal 9
--- timeout: 20


=== TEST 5: what is decided while nobody holds the Lease is written once, as soon as somebody does
--- once
--- http_config eval
main::told(gap => "kubernetes:shop/deployment/gap $main::Api") . "autoscale_leader kubernetes:shop/gap ttl=2s $main::Api;\n" . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    local http = require "autoscale.http"
    await(function() return is_logged "this gateway writes, with fence" end)
    http.request { method = "PUT", url = "http://127.0.0.1:9444/deaf/gap" }
    await(function() return is_logged "is not held any more" end)
    load()
    await(function() return is_logged 'policy "gap": would go from 3 to 7' end)
    -- ticks that find it pending
    ngx.sleep(1.5)
    ngx.say("written: ", noted("gap", "SET", "PATCH") ~= "")
    http.request { method = "DELETE", url = "http://127.0.0.1:9444/deaf/gap" }
    show { "gap" }
    ngx.sleep(1.2)
    ngx.say(noted("gap", "SET", "PATCH"), " ", is_logged "decision 1 is written: 7 replicas")
--- response_body
written: false
gap: SET 7, PATCH 200
SET 7, PATCH 200 true
--- error_log
autoscale_leader: lease "shop/gap": GET: read: timeout
--- timeout: 20


=== TEST 6: the lead is lost between reading the number and writing it: nothing is written until it is there again, and then once
--- once
--- http_config eval
main::told(map { $_ => "kubernetes:shop/deployment/$_ $main::Api" } qw(early within))
    . "autoscale_leader kubernetes:shop/gate ttl=2s $main::Api;\n" . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    local http = require "autoscale.http"
    local function gate(method, path) http.request { method = method, url = "http://127.0.0.1:9444/" .. path } end
    local names = { "early", "within" }
    await(function() return is_logged "this gateway writes, with fence" end)
    await(function() return noted("early", "GET") ~= "" and noted("within", "GET") ~= "" end)
    -- the engine reads, and then what writes reads once more
    gate("PUT", "held/early?0")
    gate("PUT", "held/within?1")
    load()
    await(function() return noted("early", "HELD") ~= "" and noted("within", "HELD") ~= "" end)
    gate("PUT", "deaf/gate")
    await(function() return is_logged "is not held any more" end)
    for _, name in ipairs(names) do gate("DELETE", "held/" .. name) end
    ngx.sleep(0.6)
    for _, name in ipairs(names) do ngx.say(name, ": ", noted(name, "HELD", "PATCH")) end
    gate("DELETE", "deaf/gate")
    show(names)
    ngx.sleep(1.2)
    show(names)
    -- the order itself, and not another decision of the same number
    for _, name in ipairs(names) do ngx.say(is_logged('policy "' .. name .. '": decision 1 is written: 7 replicas')) end
--- response_body
early: HELD
within: HELD
early: SET 7, PATCH 200
within: SET 7, PATCH 200
early: SET 7, PATCH 200
within: SET 7, PATCH 200
true
true
--- error_log
it is tried again: 
--- timeout: 20


=== TEST 7: what the gateway that leads does to the target is taken for the answer here, too: it begins the cooldown
--- once
--- http_config eval
main::told(map { $_ => "kubernetes:shop/deployment/$_ $main::Api" } qw(done still))
    . "autoscale_leader kubernetes:shop/held ttl=2s $main::Api;\n" . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    local http, cjson, as = require "autoscale.http", require "cjson", require "ngx.autoscale"
    -- before the first tick; nobody renews it, and it lasts longer than this block
    kubernetes("POST", "/apis/coordination.k8s.io/v1/namespaces/shop/leases", { metadata = { name = "held" },
        spec = { holderIdentity = "rival", leaseDurationSeconds = 60, leaseTransitions = 0 } })
    await(function() return noted("done", "GET scale") ~= "" and noted("still", "GET scale") ~= "" end)
    local path = "/apis/apps/v1/namespaces/shop/deployments/done/scale"
    local scale = cjson.decode(kubernetes("GET", path).body)
    local before, from = noted("done", "GET scale"), scale.spec.replicas
    local token = assert(io.open("$TEST_NGINX_SECRETS/token")):read("*l")
    http.request { method = "PATCH", url = "https://127.0.0.1:9443" .. path, tls = { verify = false },
        headers = { Authorization = "Bearer " .. token, ["Content-Type"] = "application/merge-patch+json" },
        body = cjson.encode { metadata = { resourceVersion = scale.metadata.resourceVersion }, spec = { replicas = from + 2 } } }
    -- it is asked every ten seconds
    await(function() return #noted("done", "GET scale") > #before end)
    load()
    local function explains(policy, what)
        return await(function()
            local reason = as.policy(policy):explain()
            return reason:find(what, 1, true) and (reason:gsub("[%d.]+ s more", "N s more"))
        end)
    end
    ngx.say(from, ", done: ", (explains("done", "but the cooldown"):gsub('".*"', "RULE")))
    ngx.say("still: ", await(function() return is_logged 'policy "still": would go from 3 to 7' end), ", done: ", is_logged 'policy "done": would go')
--- response_body
3, done: stays at 5: 9 wanted by RULE (it is 9), but the cooldown lasts N s more
still: true, done: false
--- timeout: 40


=== TEST 8: the API server may be named, with the CA that is to be there
--- http_config
    autoscale_zone main:8m;
    autoscale_leader kubernetes:shop/lease api=https://127.0.0.1:9443 ca_file=/nowhere;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
ca_file "/nowhere": no such file or directory in
