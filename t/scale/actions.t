# What `do shed`, `do throttle` and `do route` do to requests while they are in force.
# modes: plain workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;

worker_connections(256);

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', "autoscale_zone main:4m keys=16;\n" . <<'HTTP' . ($block->http_config // ''));
    upstream app { zone app 64k; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
    upstream spare { zone spare 64k; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
    autoscale_key class $http_x_class;
    autoscale_key tenant $http_x_tenant;
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / { content_by_lua_block { ngx.sleep(0.12) ngx.say("ok") } }
        location = /fast { return 200 "ok\n"; } }
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        -- how often it was logged
        function logged(text) return testing.count_plain(testing.error_log(), text) end
        function wait_for(text) return testing.gets_logged(text) or error("not logged: " .. text) end
        -- makes the policies on slow answers act
        function press()
            wait_for("this worker leads now")
            local all = {}
            for i = 1, 4 do all[i] = { "/slow" } end
            ngx.location.capture_multi(all)
            wait_for("are in force")
        end
        local socket = ngx.socket.tcp
        -- a request of its own: subrequests are not asked
        function get(uri, class, tenant)
            local sock = socket()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET " .. uri .. " HTTP/1.0\r\nX-Class: " .. (class or "") .. "\r\nX-Tenant: "
                             .. (tenant or "") .. "\r\n\r\n"))
            local answer = assert(sock:receive("*a"))
            sock:close()
            return tonumber(answer:match("^HTTP/1.1 (%d+)")), tonumber(answer:match("\r\nRetry%-After: (%d+)\r\n")),
                   answer:match("\r\nX%-Action: ([^\r]*)\r\n"), answer:match("\r\nX%-Upstream: ([^\r]*)\r\n")
        end
    }
HTTP
    $block->set_value('config', <<'CONF' . ($block->config // ''));
    add_header X-Action $autoscale_action always;
    add_header X-Upstream $proxy_host always;
    location = /slow { proxy_pass http://app/; }
    location = /fast { proxy_pass http://app/fast; }
CONF
});

# longer than anything here waits for
timeout(20);
run_tests();

__DATA__

=== TEST 1: T4: a class is refused while its policy is pressed, with a Retry-After, and others are not
--- http_config
    autoscale_policy guard { up upstream.app.latency > 100ms for=4r by=+1; cooldown up=20s; do shed related; }
--- lua
    ngx.say(get("/fast", "related"))
    press()
    local status, after, action = get("/fast", "related")
    -- up to half as much again as is left of the twenty seconds
    ngx.say(status, " ", after >= 15 and after <= 31, " ", action)
    ngx.say(get("/fast", "checkout"))
    ngx.say(get("/fast"))
    local as = require "ngx.autoscale"
    ngx.say((as.get("key.class/related.rejects@1m")) > 0, " ", (as.get("key.class/checkout.rejects@1m")))
--- response_body
200nilnilapp
503 true shed:guard
200nilnilapp
200nilnilapp
true 0
--- error_log
autoscale policy "guard": 1 request(s) refused: do shed related


=== TEST 2: a class may be of one label alone
--- http_config
    autoscale_policy guard { up upstream.app.latency > 100ms for=4r by=+1; do shed tenant/acme; }
--- lua
    press()
    ngx.say((get("/fast", "acme")), " ", (get("/fast", nil, "acme")), " ", (get("/fast", nil, "acme2")))
--- response_body
200 503 200


=== TEST 3: a location may only observe, or take no part
--- http_config
    autoscale_policy guard { up upstream.app.latency > 100ms for=4r by=+1; do shed batch; do route spare batch; }
--- config
    location = /observed { autoscale observe; proxy_pass http://app/fast; }
    location = /off { autoscale off; proxy_pass http://app/fast; }
--- lua
    press()
    local function show(uri)
        local status, _, action = get(uri, "batch")
        ngx.say(status, " ", action)
    end
    show "/fast"
    show "/observed"
    show "/off"
--- response_body
503 shed:guard
200 would route:guard
200 nil


=== TEST 4: whoever was let in is not asked again where it is redirected to, nor are its subrequests
--- http_config
    autoscale_policy guard { up upstream.app.latency > 100ms for=4r by=+1; do shed batch; }
--- config
    location = /moved { error_page 404 = /fast; autoscale off; content_by_lua_block { ngx.exit(404) } }
    location = /parts { autoscale off; content_by_lua_block { ngx.say(ngx.location.capture("/fast").status) } }
    location /old/ { rewrite ^/old/(.*) /$1 break; proxy_pass http://app; }
    location /moving/ { rewrite ^/moving/(.*) /$1 last; }
    location = /page { error_page 503 = @sorry; proxy_pass http://app/fast; }
    location @sorry { return 200 "sorry\n"; }
--- lua
    press()
    ngx.say((get("/moved", "batch")), " ", (get("/parts", "batch")))
    local status, after, action = get("/page", "batch")
    -- who answers instead does not say when to come again
    ngx.say(status, " ", after, " ", action)
    ngx.say((get("/old/fast", "batch")), " ", (get("/moving/fast", "batch")), " ", (get("/old/fast", "other")))
--- response_body
200 200
200 nil shed:guard
503 503 200


=== TEST 5: requests go to another upstream while the one they were meant for is pressed
--- http_config
    autoscale_policy guard { up upstream.app.latency > 100ms for=4r by=+1; do route spare; }
--- config
    location = /other { proxy_pass http://spare/fast; }
    location = /named { set $name app; proxy_pass http://$name/fast; }
--- lua
    local as = require "ngx.autoscale"
    local function counts()
        return select(3, as.get("upstream.app.rate@1m")), select(3, as.get("upstream.spare.rate@1m"))
    end
    press()
    local app, spare = counts()
    for _ = 1, 3 do
        local status, _, action = get("/fast")
        ngx.say(status, " ", action)
    end
    ngx.say((select(3, get("/named"))), " ", (select(3, get("/other"))))
    local app_now, spare_now = counts()
    ngx.say(app_now - app, " ", spare_now - spare)
--- response_body
200 route:guard
200 route:guard
200 route:guard
route:guard nil
0 5
--- error_log
request(s) diverted


=== TEST 6: T14: of a class only its requests go there
--- http_config
    autoscale_policy guard { up upstream.app.latency > 100ms for=4r by=+1; do route spare tenant/hot; }
--- lua
    press()
    ngx.say((select(3, get("/fast", nil, "hot"))), " ", (select(3, get("/fast", nil, "cold"))))
--- response_body
route:guard nil


=== TEST 7: T14: each value of a key is held to its rate, and who stays below is not hurt
--- http_config
    autoscale_policy guard { up upstream.app.latency > 100ms for=4r by=+1; do throttle tenant 2r/s; }
--- lua
    press()
    local passed, refused, least = 0, 0, 99
    for _ = 1, 20 do
        local status, after, action = get("/fast", nil, "hot")
        if status == 200 then
            passed = passed + 1
        else
            assert(status == 429 and action == "throttle:guard")
            refused, least = refused + 1, math.min(least, after)
        end
    end
    -- three at once, and two more in each second that this takes
    ngx.say(passed >= 3 and passed <= 8 or passed, " ", refused + passed, " ", least)
    ngx.say((get("/fast", nil, "cold")), " ", (get("/fast")))
--- response_body
true 20 1
200 200
