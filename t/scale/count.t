# What is counted: every request through every upstream, whatever balances it and however it ends.
# modes: plain workers
use lib 't/lib';
use AutoscaleLua;

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', "autoscale_zone main:4m keys=64;\n" . ($block->http_config // '') . <<'CONF');
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    location / { return 200 "one\n"; }
    location /status/302 { return 302 /; }
    location /status/404 { return 404; }
    location /status/500 { return 500; }
    location /slow { content_by_lua_block { ngx.sleep(0.6) ngx.say("slow") } }
    location /stream {
        content_by_lua_block {
            ngx.header["Content-Type"] = "text/event-stream"
            ngx.print("data: 1\n\n")
            ngx.flush(true)
            ngx.sleep(0.5)
            ngx.print("data: 2\n\n")
        }
    }
    location /large {
        content_by_lua_block {
            ngx.print("first ")
            ngx.flush(true)
            ngx.sleep(0.3)
            ngx.say("last")
        }
    }
    location /broken {
        content_by_lua_block {
            ngx.header["Content-Length"] = 1000
            ngx.print("some")
            ngx.flush(true)
            ngx.exit(444)
        }
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    location / { return 200 "two\n"; }
}
CONF
    $block->set_value('config', ($block->config // '') . <<'CONF');
location = /get {
    content_by_lua_block {
        local as = require "ngx.autoscale"
        ngx.sleep(0.05)
        for signal in ngx.unescape_uri(ngx.var.args):gmatch("[^,]+") do
            local value, _, n = as.get(signal)
            ngx.say(signal:gsub(":%d+", ""), " ", value, " ", n)
        end
    }
}
CONF
});

run_tests();

__DATA__

=== TEST 1: stock balancers need nothing to be counted, and keep their ways
--- once
--- http_config
    upstream rr { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    upstream least { least_conn; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    upstream iphash { ip_hash; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    upstream hashed { hash $arg_h consistent; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    upstream any { random two least_conn; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    upstream shared { zone shared 64k; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    upstream kept { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; keepalive 4; }
--- config
    # since nginx 1.29.7 connections are kept if nothing is said
    proxy_http_version 1.1;
    proxy_set_header Connection close;
    location /rr { proxy_pass http://rr/; }
    location /least { proxy_pass http://least/; }
    location /iphash { proxy_pass http://iphash/; }
    location /hashed { proxy_pass http://hashed/; }
    location /any { proxy_pass http://any/; }
    location /shared { proxy_pass http://shared/; }
    location /kept { proxy_set_header Connection ""; proxy_pass http://kept/; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.sleep(0.05)
            for _, name in ipairs { "rr", "least", "iphash", "hashed", "any", "shared", "kept" } do
                local count = function(signal) return (select(3, as.get(signal))) end
                local peers, used = 0, 0
                for peer in as.peers(name) do
                    local n = count("peer." .. name .. "/" .. peer.addr .. ".rate@1m")
                    peers, used = peers + n, used + (n > 0 and 1 or 0)
                end
                ngx.say(name, " ", count("upstream." .. name .. ".rate@1m"), " ", peers, " ", used, " ",
                        as.get("upstream." .. name .. ".inflight"), " ", count("upstream." .. name .. ".connect@1m"))
            end
        }
    }
--- request eval
[(map { ("GET /$_") x 4 } qw(rr least iphash)), ("GET /hashed?h=1") x 4, (map { ("GET /$_") x 4 } qw(any shared kept)), "GET /t"]
--- response_body_like eval
[('^(one|two)$') x 28,
 '^rr 4 4 2 0 4\nleast 4 4 2 0 4\niphash 4 4 1 0 4\nhashed 4 4 1 0 4\nany 4 4 [12] 0 4\nshared 4 4 2 0 4\nkept 4 4 2 0 [2-4]$']


=== TEST 2: an address in proxy_pass is an upstream of that name
--- once
--- config
    location = /p { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            local name = "127.0.0.1:$TEST_NGINX_RAND_PORT_2"
            ngx.sleep(0.05)
            ngx.say((select(3, as.get("upstream." .. name .. ".rate@1m"))), " ",
                    (select(3, as.get("peer." .. name .. "/" .. name .. ".rate@1m"))))
        }
    }
--- request eval
["GET /p", "GET /p", "GET /t"]
--- response_body eval
["two\n", "two\n", "2 2\n"]


=== TEST 3: answers are counted by class
--- once
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
    location /a { proxy_pass http://app; }
    location /status/ { proxy_pass http://app; }
    location = /status { autoscale_status json; }
--- request eval
['GET /a', 'GET /a', 'GET /status/302', 'GET /status/404', 'GET /status/500', 'GET /get?upstream.app.errors@1m,upstream.app.error_rate@1m',
 'GET /status']
--- error_code eval
[200, 200, 302, 404, 500, 200, 200]
--- response_body_like eval
['one', 'one', '302', '404', '500', '^upstream.app.errors@1m 1 5\nupstream.app.error_rate@1m 0.2 5$',
 '"upstreams":\[\{"name":"app",[^{]*"totals":\{"2xx":2,"3xx":1,"4xx":1,"5xx":1,"aborted":0,"connect_failure":0,"rejected":0,"retries":0,"timeout":0']


=== TEST 4: a timeout, a refused connection and a broken answer are errors, each of its class
--- once
--- http_config
    upstream late { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
    upstream nobody { server 127.0.0.1:$TEST_NGINX_RAND_PORT_3; }
    upstream broken { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
    location = /slow { proxy_pass http://late; proxy_read_timeout 200ms; }
    location = /nobody { proxy_pass http://nobody; }
    location = /broken { proxy_pass http://broken; }
    location = /status { autoscale_status prometheus; }
--- allow_log
upstream timed out
Connection refused
upstream prematurely closed
--- request eval
['GET /slow', 'GET /nobody', 'GET /broken', 'GET /get?upstream.late.errors@1m,upstream.nobody.errors@1m,upstream.broken.errors@1m,self.inflight',
 'GET /status']
--- error_code eval
[504, 502, 200, 200, 200]
--- response_body_like eval
['504', '502', 'some', '^upstream.late.errors@1m 1 1\nupstream.nobody.errors@1m 1 1\nupstream.broken.errors@1m 1 1\nself.inflight 0 1$',
 join '', map { '(?=[^$]*autoscale_upstream_requests_total\{upstream="' . $_ . '"\} 1\n)' }
    'late",result="timeout', 'nobody",result="connect_failure', 'broken",result="connect_failure']


=== TEST 5: with no peer left the request is an error of the upstream, and nothing stays in flight
--- once
--- http_config
    upstream down { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 down; }
--- config
    location = /p { proxy_pass http://down; }
--- allow_log
no live upstreams
--- request eval
["GET /p", "GET /p", 'GET /get?upstream.down.errors@1m,upstream.down.inflight,upstream.down.waiting,upstream.down.rate@1m']
--- error_code eval
[502, 502, 200]
--- response_body_like eval
['502', '502', '^upstream.down.errors@1m 2 2\nupstream.down.inflight 0 1\nupstream.down.waiting 0 1\nupstream.down.rate@1m [\d.]+ 2$']


=== TEST 6: every try fails: each is its peer's, the request is one
--- once
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_3 max_fails=0;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 max_fails=0;
    }
--- config
    location = /p { proxy_pass http://app; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.sleep(0.05)
            ngx.say((as.get("upstream.app.errors@1m")), " ", (select(3, as.get("upstream.app.rate@1m"))))
            for peer in as.peers("app") do
                local name = "peer.app/" .. peer.addr
                ngx.say((as.get(name .. ".errors@1m")), " ", (as.get(name .. ".inflight")), " ", peer.error_rate)
            end
            ngx.say((as.get("upstream.app.inflight")), " ", (as.get("upstream.app.waiting")))
        }
    }
--- allow_log
Connection refused
--- request eval
["GET /p", "GET /t"]
--- error_code eval
[502, 200]
--- response_body_like eval
['502', '^1 1\n1 0 1\n1 0 1\n0 0$']


=== TEST 7: a client that leaves is no error, and nothing stays in flight
--- once
--- http_config
    autoscale_key tenant $arg_tenant;
    upstream app { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
    location = /slow { proxy_pass http://app; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            local peer = "peer.app/127.0.0.1:$TEST_NGINX_RAND_PORT_1"
            local function show(...)
                for _, signal in ipairs { "upstream.app.inflight", "upstream.app.waiting", peer .. ".inflight", "key.tenant.inflight", "key.tenant/a.inflight" } do
                    ngx.print((as.get(signal)), " ")
                end
                ngx.say(...)
            end
            as.get("upstream.app.inflight")
            os.execute("curl -s -m 0.3 'http://127.0.0.1:" .. ngx.var.server_port .. "/slow?tenant=a' >/dev/null 2>&1 &")
            ngx.sleep(0.2)
            show("while")
            ngx.sleep(0.3)
            show("after ", (as.get("upstream.app.errors@1m")), " ", (as.get(peer .. ".errors@1m")))
        }
    }
--- request
GET /t
--- response_body
1 1 1 1 1 while
0 0 0 0 0 after 0 0


=== TEST 8: the first byte ends waiting, the last one the request
--- once
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
    location = /large { proxy_pass http://app; proxy_http_version 1.1; proxy_buffering off; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            os.execute("curl -s 'http://127.0.0.1:" .. ngx.var.server_port .. "/large' >/dev/null 2>&1 &")
            ngx.sleep(0.15)
            ngx.say((as.get("upstream.app.inflight")), " ", (as.get("upstream.app.waiting")), " ",
                    (select(3, as.get("upstream.app.ttfb@1m"))), " ", (select(3, as.get("upstream.app.latency@1m"))))
            ngx.sleep(0.4)
            ngx.say((as.get("upstream.app.inflight")), " ", (as.get("upstream.app.waiting")), " ",
                    (select(3, as.get("upstream.app.ttfb@1m"))), " ", (select(3, as.get("upstream.app.latency@1m"))))
            local ttfb, latency = as.get("upstream.app.ttfb@1m"), as.get("upstream.app.latency@1m")
            ngx.say(ttfb < 0.15, " ", latency >= 0.28 and latency < 0.5)
        }
    }
--- request
GET /t
--- response_body
1 0 1 0
0 0 1 1
true true


=== TEST 9: the latency of an event stream is its time to first byte
--- once
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
    location = /stream { proxy_pass http://app; proxy_http_version 1.1; proxy_buffering off; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.sleep(0.05)
            local latency, _, n = as.get("upstream.app.latency.max@1m")
            ngx.say(latency < 0.3, " ", n, " ", (as.get("upstream.app.inflight")))
        }
    }
--- request eval
["GET /stream", "GET /t"]
--- response_body eval
["data: 1\n\ndata: 2\n\n", "true 1 0\n"]


=== TEST 10: each time has its average and its histogram in each window
--- once
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
    location = /slow { proxy_pass http://app; }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.sleep(0.05)
            local bad = {}
            for _, scope in ipairs { "upstream.app", "peer.app/127.0.0.1:$TEST_NGINX_RAND_PORT_1" } do
                for _, time in ipairs { "latency", "ttfb", "connect" } do
                    local low, high = time == "connect" and 0 or 0.5, time == "connect" and 0.1 or 1
                    local function check(signal, n)
                        local value, age, count = as.get(signal)
                        if not value or value < low or value > high or age > 5 or count ~= n then
                            bad[#bad + 1] = signal .. "=" .. tostring(value) .. "," .. tostring(age) .. "," .. tostring(count)
                        end
                    end
                    check(scope .. "." .. time .. ".ewma", 1)
                    for _, window in ipairs { "1s", "5s", "1m", "5m", "1h" } do
                        for _, stat in ipairs { "avg", "p50", "p95", "p99", "max" } do
                            check(scope .. "." .. time .. "." .. stat .. "@" .. window, 2)
                        end
                    end
                end
            end
            ngx.say(#bad == 0 and "fine" or table.concat(bad, "\n"))
        }
    }
    location = /both {
        content_by_lua_block {
            for _ = 1, 2 do
                os.execute("curl -s http://127.0.0.1:" .. ngx.var.server_port .. "/slow >/dev/null &")
            end
            ngx.sleep(0.8)
            ngx.exec("/t")
        }
    }
--- request
GET /both
--- response_body
fine


=== TEST 11: what two workers count is one number
--- modes: workers
--- once
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
    location = /p {
        access_by_lua_block { require("ngx.autoscale").incr("by", 1, tostring(ngx.worker.pid())) }
        proxy_pass http://app/;
    }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            for _ = 1, 20 do
                os.execute("curl -s http://127.0.0.1:" .. ngx.var.server_port .. "/p >/dev/null &")
            end
            local function n(signal) return (select(3, as.get(signal))) end
            for _ = 1, 100 do
                ngx.sleep(0.05)
                if n("upstream.app.latency@1m") == 20 then break end
            end
            ngx.say(n("upstream.app.rate@1m"), " ", n("upstream.app.latency@1m"))
        }
    }
--- request
GET /t
--- response_body
20 20
