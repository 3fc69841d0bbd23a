# autoscale_status html: the page for people.
use lib 't/lib';
use AutoscaleLua;

run_tests();

__DATA__

=== TEST 1: the page shows upstreams, peers, keys, counters and policies, and refreshes itself
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_target orders webhook:http://127.0.0.1:1/ min=2 max=9;
    autoscale_policy orders target=orders {
        up upstream.backend.latency > 100s for=1h by=+1;
        mode observe;
    }
--- backend
    location / { return 200 "ok\n"; }
--- config
    autoscale_key tenant $arg_tenant;
    location = /p {
        access_by_lua_block { require("ngx.autoscale").incr("sold", 2) }
        proxy_pass http://backend;
    }
    location = /t { autoscale_status html; }
--- request eval
["GET /p?tenant=acme", "GET /t"]
--- response_body_like eval
['^ok$', '^<!doctype html>.*<meta http-equiv="refresh" content="5">.*<h2>Policies</h2>.*<td>orders<td>orders<td>observe<td>(2|–|\xe2\x80\x93)<td.*up upstream\.backend\.latency &gt; 100s for=1h by=\+1.*<h2>Upstreams</h2>.*<td>backend<.*<td>127\.0\.0\.1:\d+<.*<h2>Keys</h2>.*<td>tenant<.*<td>acme<.*<h2>Counters</h2>.*<td>sold<td>\d']
--- response_headers eval
["", "Content-Type: text/html; charset=utf-8\nCache-Control: no-store\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


=== TEST 2: what clients send is shown as text, never as HTML
--- http_config
    autoscale_zone main:4m keys=64;
--- backend
    location / { return 200 "ok\n"; }
--- config
    autoscale_key tenant $http_x_tenant;
    location = /p { proxy_pass http://backend; }
    location = /t { autoscale_status html; }
--- more_headers eval
["X-Tenant: <script>alert(\"1\")</script>&'", ""]
--- request eval
["GET /p", "GET /t"]
--- response_body_like eval
['^ok$', '<td>&lt;script&gt;alert\(&quot;1&quot;\)&lt;/script&gt;&amp;&#39;<']
--- response_body_unlike eval
["<", "<script"]


=== TEST 3: the page needs nothing from elsewhere, and no script
--- http_config
    autoscale_zone main:4m keys=64;
--- config
    location = /t { autoscale_status html; }
--- request
GET /t
--- response_body_unlike
src=|href=|url\(|@import|://|<script


=== TEST 4: other methods are refused
--- http_config
    autoscale_zone main:4m keys=64;
--- config
    location = /t { autoscale_status html; }
--- request
POST /t
x
--- error_code: 405


=== TEST 5: a server that the configuration has down is shown so
--- http_config
    autoscale_zone main:4m keys=64;
    upstream app { server 127.0.0.1:9001; server 127.0.0.1:9002 down; }
--- config
    location = /t { autoscale_status html; }
--- request
GET /t
--- response_body_like eval
qr{<td>127\.0\.0\.1:9001<.*?<td class="good">up<tr class="member"><td>127\.0\.0\.1:9002<.*?<td class="bad">down<}s


=== TEST 6: what policies say and what was decided is there with its reasons
--- http_config
    autoscale_zone main:8m keys=16;
    autoscale_target orders webhook:http://127.0.0.1:1984/told min=2 max=9;
    autoscale_policy orders target=orders { up upstream.backend.rate@1m > 0 by=+3; cooldown up=60s; }
    autoscale_policy calm target=calm { track upstream.backend.inflight per=10; mode observe; }
    autoscale_target calm webhook:http://127.0.0.1:1984/told min=2 max=9;
--- backend
    location / { return 200; }
--- config
    location = /p { proxy_pass http://backend; }
    location = /told { return 204; }
    location = /page { autoscale_status html; }
--- lua
    ngx.location.capture("/p")
    local page
    for _ = 1, 200 do
        page = ngx.location.capture("/page").body
        if page:find("5 replicas", 1, true) then break end
        ngx.sleep(0.02)
    end
    ngx.print(page)
--- response_body_like eval
qr{<h2>Policies</h2>.*<td>orders<td>orders<td>on<td>\d<td class="t">[^<]*<td class="t">upstream\.backend\.rate\.avg\@1m = [\d.]+ \(0\.0 s old\).*<td>calm<td>calm<td>observe<td>2<td class="t">[^<]+<.*<h2>Last decisions</h2>.*<td>20\d\d-[^<]*Z<td class="l">orders<td>scale<td>2<td>5<td class="l">[^<]*5 replicas[^<]*<td class="t">from 2 to 5: [^<]*up upstream\.backend\.rate}s
