# autoscale_status, and what survives a reload and a crash.
use lib 't/lib';
use AutoscaleLua;
use File::Temp;
use Test::More;

my $promtool = grep { -x "$_/promtool" } split /:/, $ENV{PATH};

# --- promtool: the last body must pass `promtool check metrics` without a word
add_response_body_check(sub {
    my ($block, $body) = @_;
    return if !defined $block->promtool || $body !~ /^# HELP/;
    SKIP: {
        skip 'promtool is not installed', 1 if !$promtool;
        my $file = File::Temp->new;
        print $file $body;
        close $file;
        my $said = `promtool check metrics <$file 2>&1`;
        is("$?: $said", '0: ', $block->name . ' - promtool has nothing to say');
    }
});

run_tests();

__DATA__

=== TEST 1: JSON has each upstream with its peers
--- http_config
    autoscale_zone main:4m keys=64;
--- backend
    location / { return 200 "ok\n"; }
--- config
    location = /p { proxy_pass http://backend; }
    location = /t { autoscale_status json; }
--- request eval
["GET /p", "GET /t"]
--- response_body_like eval
['^ok$', '"upstreams":\[\{"name":"backend","active":0,"waiting":0.*"peers":\[\{"name":"127\.0\.0\.1:\d+".*"ewma":\{"latency":0\.\d+.*"state":"up"']
--- response_headers eval
["", "Content-Type: application/json\nCache-Control: no-store"]


=== TEST 2: promtool finds nothing wrong with the metrics
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_key tenant $arg_tenant;
--- backend
    location / { return 200 "ok\n"; }
--- config
    location = /p {
        access_by_lua_block {
            local as = require "ngx.autoscale"
            as.incr("sold", 2, 'a "b"\n')
            as.observe("size", 7)
        }
        proxy_pass http://backend;
    }
    location = /t { autoscale_status prometheus; }
--- request eval
['GET /p?tenant="x\\\\y"', "GET /t"]
--- promtool
--- response_body_like eval
['^ok$', 'autoscale_upstream_.*\{upstream="backend".*autoscale_custom_total\{name="sold",key="a']
--- response_headers eval
["", "Content-Type: text/plain; version=0.0.4; charset=utf-8"]


=== TEST 3: HEAD has the length and no body
--- http_config
    autoscale_zone main:4m keys=64;
--- config
    location = /t { autoscale_status json; }
--- request
HEAD /t
--- response_headers_like
Content-Length: \d\d\d+
--- response_body


=== TEST 4: other methods are refused
--- http_config
    autoscale_zone main:4m keys=64;
--- config
    location = /t { autoscale_status json; }
--- request
POST /t
x
--- error_code: 405


=== TEST 5: an unknown format is refused
--- http_config
    autoscale_zone main:8m;
--- config
    location = /t { autoscale_status xml; }
--- must_die
--- error_log
unknown format "xml" (did you mean "html"?): write one of "json", "prometheus", "html", "external_metrics", "keda"


=== TEST 6: a status without a zone is refused
--- config
    location = /t { autoscale_status json; }
--- must_die
--- error_log
"autoscale_status" has nothing to show: write "autoscale_zone main:8m;" in http {}


=== TEST 7: a zone that is too small says what would do
--- http_config
    autoscale_zone main:64k;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
is too small for keys=1024


=== TEST 8: a worker that is killed leaves nothing in flight behind
--- modes: plain
--- once
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_key tenant $arg_tenant;
--- backend
    location / { content_by_lua_block { os.execute("kill -9 " .. ngx.worker.pid()) } }
--- config
    location = /p { proxy_pass http://backend; }
    location = /t {
        content_by_lua_block {
            ngx.sleep(2.2)
            local as = require "ngx.autoscale"
            ngx.say((as.get("upstream.backend.inflight")), " ", (as.get("upstream.backend.waiting")), " ",
                    as.get("upstream.backend.rate@1m") > 0)
            for peer in as.peers("backend") do
                ngx.say(peer.active, " ", peer.waiting, " ", as.get("peer.backend/" .. peer.addr .. ".rate@1m") > 0)
            end
            ngx.say((as.get("key.tenant.inflight")), " ", (as.get("key.tenant/a.inflight")), " ", as.get("key.tenant/a.rate@1m") > 0)
        }
    }
--- allow_log
exited on signal 9
--- request eval
["GET /p?tenant=a", "GET /t"]
--- error_code eval
["", 200]
--- response_body eval
["", "0 0 true\n0 0 true\n0 0 true\n"]


=== TEST 9: a reload keeps the history
--- modes: plain
--- once
--- http_config
    autoscale_zone main:4m keys=64;
--- config
    location = /p {
        content_by_lua_block {
            require("ngx.autoscale").incr("kept", 5)
            ngx.say(ngx.worker.pid())
            local f = assert(io.open(ngx.config.prefix() .. "logs/nginx.pid"))
            os.execute("kill -HUP " .. f:read("*l"))
            f:close()
            pid = ngx.worker.pid()
            ngx.sleep(1)
        }
    }
    location = /t {
        content_by_lua_block { ngx.say((require("ngx.autoscale").get("custom.kept@1m")), " ", pid) }
    }
--- request eval
["GET /p", "GET /t"]
--- response_body_like eval
['^\d+$', '^5 nil$']


=== TEST 10: policies are there as JSON and for Prometheus: what there is, what is wished and why, and who leads
--- once
--- http_config
    autoscale_zone main:8m keys=16;
    autoscale_target orders webhook:http://127.0.0.1:1984/told min=2 max=9;
    autoscale_target calm webhook:http://127.0.0.1:1984/told min=3 max=9;
    autoscale_policy orders target=orders { up upstream.backend.rate@1m > 0 by=+3; cooldown up=60s; }
    autoscale_policy calm target=calm { track upstream.backend.inflight per=10; mode observe; }
--- backend
    location / { return 200; }
--- config
    location = /p { proxy_pass http://backend; }
    location = /told { return 204; }
    location = /json { autoscale_status json; }
    location = /prometheus { autoscale_status prometheus; }
    location = /metrics { proxy_pass http://127.0.0.1:1984/prometheus; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.location.capture("/p")
            local all, orders, calm
            for _ = 1, 250 do
                all = require("cjson").decode(ngx.location.capture("/json").body)
                orders, calm = unpack(all.policies)
                if orders.in_force == 1 and calm.reason ~= ngx.null and calm.reason then break end
                ngx.sleep(0.02)
            end
            ngx.say(orders.name, " ", orders.target, " ", orders.mode, " ", orders.current, " ", orders.wish, " ", orders.in_force, " ",
                    orders.max, " ", orders.cooldown_up > 50, " ", orders.holding)
            ngx.say((orders.reason:gsub("%(.*", "")))
            ngx.say(calm.name, " ", calm.mode, " ", calm.current, " ", calm.in_force, " ", calm.reason)
            ngx.say(all.leader.pid == ngx.worker.pid() or all.leader.pid > 0, " ", all.leader.writes, " ", all.leader.age < 5)
            assert(as.policy("orders"):hold(60))
            ngx.sleep(0.1)
            local text = ngx.location.capture("/prometheus").body
            for name, labels, value in text:gmatch "\n(autoscale_policy_%w+)(%b{}) (%d+)" do
                if not labels:find "calm" then ngx.say(name, labels, " ", value) end
            end
            ngx.say(text:match "autoscale_leader_writes %d", " ", tonumber(text:match 'held_seconds{policy="orders"} ([%d.]+)') > 50)
        }
    }
--- request eval: ["GET /t", "GET /metrics"]
--- promtool
--- response_body_like eval
[qr/^orders orders on 5 \d 1 9 true null
.*
calm observe 3 null .*
true true true
autoscale_policy_info\{policy="orders",target="orders",mode="on"\} 1
autoscale_policy_replicas\{policy="orders"\} 5
autoscale_policy_acting\{policy="orders"\} 0
autoscale_leader_writes 1 true
$/, qr/autoscale_policy_decisions_total\{policy="orders"\} 1/]
