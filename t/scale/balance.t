# autoscale_balance: which peer gets a request, and what of nginx's own goes on working.
use lib 't/lib';
use AutoscaleLua;

# Backends that say who they are: one and two at once, slow after 50 ms, bad with 500, full with 429. At port 5 nobody listens.
# `--- app` is what an upstream says beyond autoscale_balance's neighbours; /many?n= asks that many times at once, /row?n= one
# after the other, and both say how often each peer has answered.
add_block_preprocessor(sub {
    my $block = shift;
    my $app = $block->app // return;
    my %ports = (ONE => 1, TWO => 2, SLOW => 3, BAD => 4, NOBODY => 5, FULL => 6);
    $app =~ s/\b(ONE|TWO|SLOW|BAD|NOBODY|FULL)\b/127.0.0.1:\$TEST_NGINX_RAND_PORT_$ports{$1}/g;
    my $server = sub {
        my ($name, $answer) = @_;
        "server { listen \$TEST_NGINX_RAND_PORT_$ports{uc $name}; keepalive_timeout 60s;\n"
            . "location / { add_header X-Load \$arg_$name; content_by_lua_block { $answer } } }\n";
    };
    my $say = 'ngx.sleep(tonumber(ngx.var.arg_work) or 0)';
    $block->set_value('http_config', ($block->http_config // '') . <<'CONF' . "upstream app { $app }\n"
autoscale_zone main:4m keys=64;
proxy_http_version 1.1;
proxy_set_header Connection "";
CONF
        . $server->('one', "$say ngx.say('one ', ngx.var.connection_requests)")
        . $server->('two', "$say ngx.say('two ', ngx.var.connection_requests)")
        . $server->('slow', 'ngx.sleep(0.2) ngx.say("slow")')
        . $server->('bad', 'ngx.exit(500)')
        . $server->('full', 'ngx.exit(429)'));
    $block->set_value('config', ($block->config // '') . <<'CONF');
location /p { proxy_pass http://app; }
location /next {
    proxy_next_upstream error timeout http_500 http_429 non_idempotent;
    proxy_pass http://app;
    add_header X-Peers $upstream_addr always;
}
location ~ ^/(many|row) {
    content_by_lua_block {
        local args, counts, names = ngx.req.get_uri_args(), {}, {}
        local function note(answer)
            local name = answer.status == 200 and answer.body:match("^%w+") or tostring(answer.status)
            if not counts[name] then
                counts[name] = 0
                names[#names + 1] = name
            end
            counts[name] = counts[name] + 1
        end
        local uri, n = args.to or "/p", tonumber(args.n)
        if ngx.var.uri == "/many" then
            local all = {}
            for i = 1, n do all[i] = { uri, { args = ngx.var.args } } end
            for _, answer in ipairs({ ngx.location.capture_multi(all) }) do note(answer) end
        else
            for _ = 1, n do note(ngx.location.capture(uri, { args = ngx.var.args })) end
        end
        table.sort(names)
        for i, name in ipairs(names) do names[i] = name .. "=" .. counts[name] end
        ngx.say(table.concat(names, " "))
    }
}
location = /set {
    content_by_lua_block {
        local as, args = require "ngx.autoscale", ngx.req.get_uri_args()
        local ports = { one = "$TEST_NGINX_RAND_PORT_1", two = "$TEST_NGINX_RAND_PORT_2" }
        ngx.say(as.set("app", "127.0.0.1:" .. ports[args.peer],
                       { state = args.state, weight = tonumber(args.weight), limit = tonumber(args.limit) }))
    }
}
location = /hup {
    content_by_lua_block {
        local file = assert(io.open(ngx.config.prefix() .. "logs/nginx.pid"))
        os.execute("kill -HUP " .. file:read("*a"))
        ngx.sleep(0.7)
        ngx.say("reloaded")
    }
}
CONF
});

run_tests();

__DATA__

=== TEST 1: requests at once are spread over the peers
--- modes: plain workers
--- app
    server ONE; server TWO;
    autoscale_balance peak_ewma slow_start=0;
--- request
GET /many?n=8&work=0.1
--- response_body
one=4 two=4


=== TEST 2: by weight, with either rule
--- app
    server ONE weight=3; server TWO;
    autoscale_balance least_request slow_start=0;
--- request
GET /many?n=8&work=0.1
--- response_body
one=6 two=2


=== TEST 3: a weight that is set at run time counts at once
--- modes: plain
--- once
--- app
    server ONE; server TWO;
    autoscale_balance least_request slow_start=0;
--- request eval
["GET /set?peer=two&weight=3", "GET /many?n=8&work=0.1"]
--- response_body eval
["true\n", "one=2 two=6\n"]


=== TEST 4: a slow peer is met once, whichever worker meets it
--- modes: plain workers
--- once
--- app
    server ONE; server SLOW;
    autoscale_balance peak_ewma;
--- request eval
["GET /p", "GET /p", "GET /p", "GET /p", "GET /row?n=30"]
--- response_body_like eval
[('^(one \d+|slow)$') x 4, '^(one=29 slow=1|one=30)$']


=== TEST 5: and gets its share when the others are busy
--- modes: plain
--- once
--- app
    server ONE; server SLOW;
    autoscale_balance least_request slow_start=0;
--- request
GET /many?n=6&work=0.05
--- response_body
one=3 slow=3


=== TEST 6: what is known of the peers is known after a reload
--- modes: plain workers
--- once
--- app
    server ONE; server SLOW;
    autoscale_balance peak_ewma;
--- request eval
["GET /row?n=12", "GET /hup", "GET /row?n=20"]
--- response_body_like eval
['^one=\d+ slow=\d$', '^reloaded$', '^one=20$']
--- timeout: 5


=== TEST 7: a peer that is down gets nothing, one that somebody has put out gets nothing, one that is full neither
--- modes: plain workers
--- once
--- app
    zone app 64k;
    server ONE; server TWO; server NOBODY down;
    autoscale_balance least_request slow_start=0;
--- request eval
["GET /set?peer=one&state=down", "GET /row?n=6", "GET /set?peer=one&state=up",
 "GET /set?peer=two&limit=1", "GET /many?n=6&work=0.1"]
--- response_body eval
["true\n", "two=6\n", "true\n", "true\n", "one=5 two=1\n"]


=== TEST 8: max_conns holds, for all workers together
--- modes: plain workers
--- app
    server ONE max_conns=2; server TWO max_conns=1;
    autoscale_balance least_request slow_start=0;
--- request
GET /many?n=5&work=0.2
--- response_body
502=2 one=2 two=1
--- error_log
no live upstreams while connecting to upstream


=== TEST 9: a backup peer is asked when no primary one is left, and not because they are busy
--- modes: plain
--- once
--- app
    server ONE; server NOBODY; server TWO backup;
    autoscale_balance least_request slow_start=0;
--- request eval
["GET /many?n=6&work=0.05", "GET /set?peer=one&state=down", "GET /row?n=3"]
--- response_body eval
["one=6\n", "true\n", "two=3\n"]
--- allow_log
Connection refused
upstream server temporarily disabled


=== TEST 10: a peer that fails is spared for fail_timeout, and then tried by one request
--- modes: plain
--- once
--- app
    server NOBODY max_fails=1 fail_timeout=1s; server 127.0.0.2:$TEST_NGINX_RAND_PORT_5 max_fails=1 fail_timeout=1s;
    autoscale_balance least_request slow_start=0;
--- config
    location = /wait { content_by_lua_block { ngx.sleep(2.1) ngx.say("waited") } }
--- request eval
["GET /next", "GET /next", "GET /wait", "GET /next", "GET /next"]
--- error_code eval: [502, 502, 200, 502, 502]
--- raw_response_headers_like eval
my ($both, $none) = ('X-Peers: 127.0.0.[12]:\d+, 127.0.0.[12]:\d+\r', 'X-Peers: app\r');
[$both, $none, '', $both, $none]
--- timeout: 5


=== TEST 11: a peer that has failed gets nothing although it is the only one without requests
--- modes: plain
--- once
--- app
    server ONE; server BAD max_fails=1 fail_timeout=30s;
    autoscale_balance least_request slow_start=0;
--- request eval
["GET /row?n=10&to=/next", "GET /many?n=10&work=0.05&to=/next"]
--- response_body eval: ["one=10\n", "one=10\n"]


=== TEST 12: a request asks no peer twice
--- modes: plain workers
--- app
    server BAD max_fails=0; server BAD max_fails=0; server NOBODY max_fails=0; server FULL max_fails=0;
    server BAD max_fails=0 backup;
    autoscale_balance peak_ewma;
--- config
    proxy_intercept_errors on;
--- request eval
["GET /next"]
--- error_code: 502
--- raw_response_headers_like: X-Peers: 127.0.0.1:(\d+), 127.0.0.1:(?!\1)(\d+), 127.0.0.1:(?!\1|\2)\d+, app\r


=== TEST 13: one peer alone is never spared
--- modes: plain
--- once
--- app
    server BAD;
    autoscale_balance peak_ewma;
--- request
GET /row?n=3&to=/next
--- response_body
500=3


=== TEST 14: connections are kept
--- modes: plain
--- once
--- app
    server ONE;
    autoscale_balance peak_ewma;
    keepalive 4;
--- request eval
["GET /p", "GET /p", "GET /p"]
--- response_body eval
["one 1\n", "one 2\n", "one 3\n"]


=== TEST 15: of many peers two are sampled, and no one that is out is chosen
--- modes: plain workers
--- app eval
my @up = map { "server 127.0.1.$_:\$TEST_NGINX_RAND_PORT_1;" } 1 .. 40;
my @down = map { "server 127.0.2.$_:\$TEST_NGINX_RAND_PORT_5 down;" } 1 .. 20;
"@up @down autoscale_balance peak_ewma slow_start=0;"
--- request
GET /many?n=16&work=0.1
--- response_body
one=16


=== TEST 16: a peer that is up again begins slowly
--- modes: plain workers
--- once
--- app
    server ONE; server TWO;
    autoscale_balance least_request slow_start=1h;
--- config
    location = /wait { content_by_lua_block { ngx.sleep(2.2) ngx.say("waited") } }
--- request eval
["GET /row?n=10", "GET /set?peer=two&state=down", "GET /wait", "GET /set?peer=two&state=up", "GET /wait", "GET /row?n=40"]
--- response_body_like eval
['^one=\d+ two=\d+$', '^true$', '^waited$', '^true$', '^waited$', '^one=(3\d|40)(?: two=\d)?$']
--- timeout: 5


=== TEST 17: what a peer says of its load steers
--- modes: plain workers
--- once
--- app
    server ONE; server TWO;
    autoscale_balance least_request slow_start=0 feedback=$upstream_http_x_load;
--- request eval
["GET /row?n=30&one=0.9&two=10%", "GET /row?n=20&one=0.9&two=0.1", "GET /row?n=30&one=much&two=-1"]
--- response_body_like eval
['^one=\d+ two=\d+$', '^two=20$', 'two=30']


=== TEST 18: 429 is a cost, and so is failing at once
--- modes: plain
--- once
--- app
    server ONE; server FULL max_fails=0; server BAD max_fails=0;
    autoscale_balance peak_ewma;
--- request
GET /row?n=30
--- response_body_like
^429=1 500=1 one=28$


=== TEST 19: nobody is left
--- modes: plain
--- once
--- app
    server NOBODY down; server NOBODY down;
    autoscale_balance peak_ewma;
--- request
GET /next
--- error_code: 502
--- raw_response_headers_like: X-Peers: app
--- error_log
no live upstreams while connecting to upstream


=== TEST 20: off is nginx's own
--- modes: plain
--- app
    server ONE; server TWO;
    autoscale_balance off;
--- request
GET /row?n=10
--- response_body
one=5 two=5


=== TEST 21: a FastCGI server
--- modes: plain
--- app
    server ONE; server TWO;
    autoscale_balance peak_ewma;
--- http_config
    upstream fast { server 127.0.0.1:$TEST_NGINX_RAND_PORT_7; autoscale_balance peak_ewma; }
--- config
    location /f { fastcgi_pass fast; add_header X-Peers $upstream_addr; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_7
--- tcp_reply eval
my $text = "Content-Type: text/plain\r\n\r\nfast\n";
pack("CCnnCC", 1, 6, 1, length $text, 0, 0) . $text . pack("CCnnCCx8", 1, 3, 1, 8, 0, 0)
--- request
GET /f
--- response_body
fast


=== TEST 22: a gRPC server
--- modes: plain workers
--- app
    server ONE; server TWO;
    autoscale_balance peak_ewma;
--- http_config
    upstream rpc { server 127.0.0.1:$TEST_NGINX_RAND_PORT_8; server 127.0.0.1:$TEST_NGINX_RAND_PORT_5 down;
                   autoscale_balance least_request; keepalive 2; }
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_8 http2; location / { return 200 "rpc\n"; } }
--- config
    location /g { grpc_pass rpc; }
--- request
GET /g
--- response_body
rpc


=== TEST 23: a script picks among the peers of a balanced upstream by the same rule
--- modes: plain
--- once
--- app
    server ONE; server SLOW; server NOBODY down;
    autoscale_balance peak_ewma;
--- http_config
    upstream picked {
        server 0.0.0.1;
        balancer_by_lua_block {
            local addr = assert(require("ngx.autoscale").pick("app"))
            require("ngx.balancer").set_current_peer(addr)
        }
    }
--- config
    location /picked { proxy_pass http://picked; }
--- request eval
["GET /row?n=40", "GET /row?n=20&to=/picked"]
--- response_body_like eval
# as long as only one is known the other costs the same
["^one=3\\d slow=\\d\n\\z", "^one=20\n\\z"]


=== TEST 24: peers that are added are chosen like the others, kept connections and all, and go when they are taken back
--- modes: plain workers
--- once
--- app
    server ONE;
    autoscale_balance least_request slow_start=0;
    keepalive 4;
--- config
    location = /member {
        content_by_lua_block {
            local as, addr = require "ngx.autoscale", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"
            if ngx.var.arg_do == "add" then
                ngx.say(as.peer_add("app", addr, { weight = 3 }))
            else
                ngx.say(as.peer_remove("app", addr))
            end
        }
    }
--- request eval
["GET /many?n=4&work=0.05", "GET /member?do=add", "GET /many?n=8&work=0.05", "GET /next", "GET /member?do=remove", "GET /row?n=4"]
--- response_body_like eval
['^one=4$', '^true$', '^one=2 two=6$', '^two \d+$', '^true$', '^one=4$']



=== TEST 25: a kept connection that its only peer has closed is no failure, as with nginx's own methods
--- app: server 127.0.0.1:$TEST_NGINX_RAND_PORT_9; autoscale_balance peak_ewma; keepalive 4;
--- http_config
    server {
        listen $TEST_NGINX_RAND_PORT_9;
        location / {
            content_by_lua_block {
                if tonumber(ngx.var.connection_requests) > 1 then return ngx.exit(444) end
                ngx.say("once")
            }
        }
    }
--- request
GET /row?n=6
--- response_body
once=6
--- error_log
upstream prematurely closed connection


=== TEST 26: a weight that is set counts at once, too, where what peers cost is kept from the choice before
--- modes: plain
--- once
--- app
    server ONE; server TWO;
    autoscale_balance peak_ewma slow_start=0;
--- config
    location = /picks {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            local ports = { one = "127.0.0.1:$TEST_NGINX_RAND_PORT_1", two = "127.0.0.1:$TEST_NGINX_RAND_PORT_2" }
            for _, heavy in ipairs { "two", "one", "two" } do
                local light = heavy == "one" and "two" or "one"
                assert(as.set("app", ports[heavy], { weight = 100 }) and as.set("app", ports[light], { weight = 1 }))
                local right = 0
                for _ = 1, 20 do
                    if as.pick("app") == ports[heavy] then right = right + 1 end
                end
                ngx.say(heavy, " ", right)
            end
        }
    }
--- request eval
["GET /many?n=8&work=0.05", "GET /picks"]
--- response_body eval
["one=4 two=4\n", "two 20\none 20\ntwo 20\n"]
