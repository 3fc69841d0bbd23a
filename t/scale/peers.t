# require "ngx.autoscale": peers are listed, changed and chosen.
use lib 't/lib';
use AutoscaleLua;

# two backends that say who they are, and one port where nobody listens
add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    my $zone = defined $block->shared ? 'zone app 64k;' : '';
    $block->set_value('http_config', ($block->http_config // '') . <<"CONF");
autoscale_zone main:4m keys=64;
upstream app {
    $zone
    server 127.0.0.1:\$TEST_NGINX_RAND_PORT_1;
    server 127.0.0.1:\$TEST_NGINX_RAND_PORT_2;
}
upstream spare {
    server 127.0.0.1:\$TEST_NGINX_RAND_PORT_3 weight=3 max_fails=0;
    server 127.0.0.1:\$TEST_NGINX_RAND_PORT_1 backup;
}
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_1;
    location / { return 200 "one\\n"; }
    location /slow { content_by_lua_block { ngx.sleep(0.1) ngx.say("one") } }
    location /fail { return 500; }
}
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_2;
    location / { return 200 "two\\n"; }
}
CONF
    $block->set_value('config', ($block->config // '') . <<"CONF");
location /p { proxy_pass http://app; }
location /spare { proxy_pass http://spare; }
location = /set {
    content_by_lua_block {
        local as, args = require "ngx.autoscale", ngx.req.get_uri_args()
        local ports = { one = "\$TEST_NGINX_RAND_PORT_1", two = "\$TEST_NGINX_RAND_PORT_2" }
        ngx.say(as.set(args.u or "app", "127.0.0.1:" .. ports[args.peer],
                       { state = args.state, weight = tonumber(args.weight) or args.weight }))
    }
}
location = /list {
    content_by_lua_block {
        local names = { ["127.0.0.1:\$TEST_NGINX_RAND_PORT_1"] = "one", ["127.0.0.1:\$TEST_NGINX_RAND_PORT_2"] = "two",
                        ["127.0.0.1:\$TEST_NGINX_RAND_PORT_3"] = "nobody" }
        for p in require("ngx.autoscale").peers(ngx.var.arg_u or "app") do
            ngx.say(names[p.addr], " ", p.active, " ", p.waiting, " ", p.latency, " ", p.error_rate, " ", p.weight, " ",
                    p.state, " ", p.backup, " ", p.down)
        end
    }
}
CONF
});

run_tests();

__DATA__

=== TEST 1: the peers of the configuration are listed before any traffic
--- modes: plain workers
--- request eval
["GET /list", "GET /list?u=spare"]
--- response_body eval
["one 0 0 nil nil 1 up false false\ntwo 0 0 nil nil 1 up false false\n",
 "nobody 0 0 nil nil 3 up false false\none 0 0 nil nil 1 up true false\n"]


=== TEST 2: a drained peer gets no new request, and gets them again when it is up
--- once
--- request eval
["GET /set?peer=one&state=drain", ("GET /p") x 8, "GET /set?peer=one&state=up", ("GET /p") x 8]
--- response_body_like eval
['^true$', ('^two$') x 8, '^true$', ('^(one|two)$') x 8]


=== TEST 3: so it is when the upstream has a zone
--- shared
--- once
--- request eval
["GET /set?peer=two&state=down", ("GET /p") x 8, "GET /list", "GET /set?peer=two&state=up", ("GET /p") x 8]
--- response_body_like eval
['^true$', ('^one$') x 8, 'two .* down false true', '^true$', ('^(one|two)$') x 8]


=== TEST 4: a weight moves the traffic of round robin in proportion
--- modes: plain
--- once
--- http_config
    lua_shared_dict seen 64k;
--- config
    location = /count {
        content_by_lua_block { ngx.say(ngx.shared.seen:get("one"), " ", ngx.shared.seen:get("two")) }
    }
    location /w {
        proxy_pass http://app;
        log_by_lua_block {
            local port = ngx.var.upstream_addr:match(":(%d+)$")
            ngx.shared.seen:incr(port == "$TEST_NGINX_RAND_PORT_1" and "one" or "two", 1, 0)
        }
    }
--- request eval
["GET /set?peer=two&weight=3", ("GET /w") x 12, "GET /count", "GET /set?peer=two&weight=1"]
--- response_body_like eval
['^true$', ('.') x 12, '^3 9$', '^true$']


=== TEST 5: what cannot be set is refused
--- config
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.say(as.set("ap", "127.0.0.1:1", { state = "up" }))
            ngx.say(as.set("app", "127.0.0.1:1", { state = "up" }))
            ngx.say(as.peers("nobody"))
            ngx.say(as.pick("nobody"))
            for _, options in ipairs { { weight = 0 }, { weight = 1.5 }, { weight = 70000 }, { state = "gone" }, { limit = -1 } } do
                ngx.say(select(2, pcall(as.set, "app", "127.0.0.1:1", options)))
            end
            ngx.say(select(2, pcall(as.set, "app", "127.0.0.1:1")))
            ngx.say(select(2, pcall(as.set, "app")))
            ngx.say(select(2, pcall(as.pick)))
            ngx.say(select(2, pcall(as.pick, "app", { exclude = 1 })))
        }
    }
--- request
GET /t
--- response_body_like
^nilthere is no upstream "ap" \(did you mean "app"\?\)
nilupstream "app" has no peer "127.0.0.1:1".*
nilthere is no upstream "nobody"
nilthere is no upstream "nobody"
bad option weight \(a whole number from 1 to 65535 or "configured" expected\)
bad option weight .*
bad option weight .*
bad option state \("up", "down", "drain" or "configured" expected\)
bad option limit .*
bad argument #3 to 'set' \(table expected, got nil\)
bad argument #2 to 'set' \(string expected, got nil\)
bad argument #1 to 'pick' \(string expected, got nil\)
bad option exclude \(an address or a table of them expected, got number\)$


=== TEST 6: pick shares idle peers, leaves out what it is told to, and says when nobody is left
--- modes: plain workers
--- config
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            local one, two = "127.0.0.1:$TEST_NGINX_RAND_PORT_1", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"
            local seen = {}
            for _ = 1, 200 do
                local addr = as.pick("app")
                seen[addr] = (seen[addr] or 0) + 1
            end
            ngx.say(seen[one] > 50, " ", seen[two] > 50, " ", seen[one] + seen[two])
            for _ = 1, 50 do assert(as.pick("app", { exclude = one }) == two) end
            for _ = 1, 50 do assert(as.pick("app", { exclude = { two } }) == one) end
            ngx.say(as.pick("app", { exclude = { one, two } }))
            ngx.say(as.pick("app", { exclude = { "nobody" } }) ~= nil)
            -- a backup peer comes when no primary one is left
            ngx.say(as.pick("spare") == "127.0.0.1:$TEST_NGINX_RAND_PORT_3")
            ngx.say(as.pick("spare", { exclude = "127.0.0.1:$TEST_NGINX_RAND_PORT_3" }) == one)
        }
    }
--- request
GET /t
--- response_body
true true 200
nilno peer of upstream "app" is left
true
true
true


=== TEST 7: pick leaves out peers that are down or drained
--- once
--- config
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            local one, two = "127.0.0.1:$TEST_NGINX_RAND_PORT_1", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"
            assert(as.set("app", one, { state = "drain" }))
            for _ = 1, 50 do assert(as.pick("app") == two) end
            assert(as.set("app", one, { state = "up" }))
            assert(as.set("app", two, { state = "down" }))
            for _ = 1, 50 do assert(as.pick("app") == one) end
            assert(as.set("app", two, { state = "up" }))
            ngx.say("ok")
        }
    }
--- request
GET /t
--- response_body
ok


=== TEST 8: a balancer script that picks avoids the slow peer
--- modes: plain
--- once
--- http_config
    lua_shared_dict seen 64k;
    upstream chosen {
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_3;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            local tried = ngx.ctx.tried or {}
            if not ngx.ctx.tried then
                ngx.ctx.tried = tried
                balancer.set_more_tries(2)
            end
            local peer = assert(require("ngx.autoscale").pick("chosen", { exclude = tried }))
            tried[#tried + 1] = peer
            assert(balancer.set_current_peer(peer))
        }
    }
--- config
    location /slow {
        proxy_pass http://chosen;
        log_by_lua_block {
            local port = ngx.var.upstream_addr:match(":(%d+)$")
            ngx.shared.seen:incr(port == "$TEST_NGINX_RAND_PORT_1" and "one" or "two", 1, 0)
        }
    }
    location = /count {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.sleep(0.05)
            local one, two = ngx.shared.seen:get("one") or 0, ngx.shared.seen:get("two") or 0
            ngx.say(one + two, " ", one <= 6, " ", (as.get("upstream.chosen.errors@1m")))
        }
    }
--- allow_log
Connection refused
--- request eval
[("GET /slow") x 24, "GET /count"]
--- response_body_like eval
[('^(one|two)$') x 24, '^24 true 0$']


=== TEST 9: a failed try is the peer's, the request went well
--- once
--- config
    location /b {
        proxy_pass http://spare/;
    }
    location = /count {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.sleep(0.05)
            local peer = "peer.spare/127.0.0.1:$TEST_NGINX_RAND_PORT_3"
            ngx.say((as.get("upstream.spare.errors@1m")), " ", (as.get("upstream.spare.error_rate@1m")), " ",
                    as.get(peer .. ".errors@1m") >= 1, " ", (as.get(peer .. ".error_rate@1m")))
        }
    }
--- allow_log
Connection refused
--- request eval
["GET /b", "GET /b", "GET /b", "GET /count"]
--- response_body eval
["one\n", "one\n", "one\n", "0 0 true 1\n"]


=== TEST 10: peers can be listed and picked while a worker starts
--- modes: plain workers
--- http_config
    init_worker_by_lua_block {
        local as = require "ngx.autoscale"
        local n = 0
        for p in as.peers("app") do n = n + (p.state == "up" and 1 or 0) end
        started = n .. " " .. type(as.pick("app"))
    }
--- config
    location = /t { content_by_lua_block { ngx.say(started) } }
--- request
GET /t
--- response_body
2 string


=== TEST 11: a balancer script that picks retries on another peer, and the refused one is left alone
--- modes: plain
--- once
--- http_config
    upstream flaky {
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_3;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            local tried = ngx.ctx.tried or {}
            if not ngx.ctx.tried then
                ngx.ctx.tried = tried
                balancer.set_more_tries(1)
            end
            local peer = assert(require("ngx.autoscale").pick("flaky", { exclude = tried }))
            tried[#tried + 1] = peer
            assert(balancer.set_current_peer(peer))
        }
    }
--- config
    location /f { proxy_pass http://flaky; }
    location = /count {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.sleep(0.05)
            local tries = as.get("peer.flaky/127.0.0.1:$TEST_NGINX_RAND_PORT_3.errors@1m")
            ngx.say((as.get("upstream.flaky.errors@1m")), " ", tries >= 1 and tries <= 4)
        }
    }
--- allow_log
Connection refused
--- request eval
[("GET /f") x 24, "GET /count"]
--- response_body eval
[("two\n") x 24, "0 true\n"]


=== TEST 12: what was set is taken back, and the configuration holds again
--- once
--- http_config
    upstream heavy {
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 weight=3;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 down;
    }
    upstream heavy_shared {
        zone heavy 64k;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 weight=3;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 down;
    }
--- config
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            local one, two = "127.0.0.1:$TEST_NGINX_RAND_PORT_1", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"
            local upstream = require "ngx.upstream"
            local function show(name)
                for _, p in ipairs(upstream.get_primary_peers(name)) do ngx.print(p.weight, " ", p.down == true, " ") end
                for p in as.peers(name) do ngx.print(p.weight, " ", p.state, " ", p.down, " ") end
                ngx.say()
            end
            for _, name in ipairs { "heavy", "heavy_shared" } do
                show(name)
                assert(as.set(name, one, { weight = 9, state = "drain" }))
                assert(as.set(name, two, { weight = 5, state = "up" }))
                assert(as.set(name, one, { weight = 8 }))
                show(name)
                assert(as.set(name, one, { weight = "configured", state = "configured" }))
                assert(as.set(name, two, { weight = "configured", state = "configured" }))
                show(name)
            end
        }
    }
--- request
GET /t
--- response_body
3 false 1 true 3 up false 1 up true 
8 true 5 false 8 drain true 5 up false 
3 false 1 true 3 up false 1 up true 
3 false 1 true 3 up false 1 up true 
8 true 5 false 8 drain true 5 up false 
3 false 1 true 3 up false 1 up true 
