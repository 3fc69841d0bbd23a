# What a reload keeps of the metrics, and what it takes away.
# modes: plain workers
use lib 't/lib';
use AutoscaleLua;

# /hup reloads and answers when the new workers have the traffic; its own worker is one of the former ones.
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('config', ($block->config // '') . <<'CONF');
location = /hup {
    content_by_lua_block {
        local function read(path)
            local file = assert(io.open(ngx.config.prefix() .. path))
            local text = file:read("*a")
            file:close()
            return text
        end
        if ngx.var.arg_servers then
            local file = assert(io.open(ngx.config.prefix() .. "html/app.conf", "w"))
            for port in ngx.var.arg_servers:gmatch("%d+") do
                file:write("server 127.0.0.1:", port, " max_fails=0;\n")
            end
            file:close()
        end
        former = true
        os.execute("kill -HUP " .. read("logs/nginx.pid"))
        ngx.sleep(1)
        ngx.say("reloaded")
    }
}
CONF
});

run_tests();

__DATA__

=== TEST 1: history of every kind survives: upstream, peer, key, counter, distribution, what was set
--- once
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_key tenant $arg_tenant;
--- backend
    location / { return 200 "ok\n"; }
--- config
    location = /p {
        access_by_lua_block {
            local as = require "ngx.autoscale"
            as.incr("sold", 2, "eu")
            as.observe("size", 7)
        }
        # since nginx 1.29.7 connections are kept if nothing is said
        proxy_set_header Connection close;
        proxy_pass http://backend;
    }
    location = /set {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            for peer in as.peers("backend") do
                assert(as.set("backend", peer.addr, { weight = 7, limit = 3 }))
            end
            ngx.say("set")
        }
    }
    location = /t {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.say("former: ", former)
            for peer in as.peers("backend") do
                ngx.say(peer.weight, " ", peer.latency ~= nil)
                for _, metric in ipairs { "rate@1m", "latency@1h", "latency.p99@1h", "ttfb@1m", "connect@1m", "latency@10r" } do
                    local value, _, n = as.get("peer.backend/" .. peer.addr .. "." .. metric)
                    ngx.say(metric, " ", value ~= nil, " ", n)
                end
            end
            for _, signal in ipairs { "upstream.backend.latency@1h", "upstream.backend.latency.p50@1m", "upstream.backend.rate@1m",
                                      "upstream.backend.errors@5m", "key.tenant.latency@1m", "key.tenant/a.latency@1m",
                                      "key.tenant/b.rate@5m", "self.rate@1m" } do
                local value, _, n = as.get(signal)
                ngx.say(signal, " ", value ~= nil, " ", n)
            end
            ngx.say((as.get("custom.sold/eu@1h")), " ", (select(3, as.get("custom.size.p95@1h"))))
            ngx.say((as.get("upstream.backend.inflight")), " ", (as.get("key.tenant.inflight")))
        }
    }
--- request eval
["GET /p?tenant=a", "GET /p?tenant=a", "GET /p?tenant=b", "GET /set", "GET /hup", "GET /t"]
--- response_body eval
["ok\n", "ok\n", "ok\n", "set\n", "reloaded\n", "former: nil
7 true
rate\@1m true 3
latency\@1h true 3
latency.p99\@1h true 3
ttfb\@1m true 3
connect\@1m true 3
latency\@10r true 3
upstream.backend.latency\@1h true 3
upstream.backend.latency.p50\@1m true 3
upstream.backend.rate\@1m true 3
upstream.backend.errors\@5m true 3
key.tenant.latency\@1m true 3
key.tenant/a.latency\@1m true 2
key.tenant/b.rate\@5m true 1
self.rate\@1m true 3
6 3
0 0
"]


=== TEST 2: servers that the configuration no longer names are no longer shown; one that comes back has its history
--- once
--- user_files
>>> app.conf
server 127.0.0.1:11 max_fails=0; server 127.0.0.1:12 max_fails=0;
--- http_config
    autoscale_zone main:4m keys=64;
    upstream app { include ../html/app.conf; }
--- config
    location = /p { proxy_pass http://app; }
    location = /status { autoscale_status prometheus; }
    location = /list {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            for peer in as.peers("app") do
                local _, _, n = as.get("peer.app/" .. peer.addr .. ".errors@1h")
                ngx.say(peer.addr, " ", n, " ", peer.state)
            end
            ngx.say(as.pick("app"):match("127.0.0.1:1[123]") ~= nil)
        }
    }
    location = /former {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            ngx.say((select(3, as.get("peer.app/127.0.0.1:12.errors@1h"))))
        }
    }
--- allow_log
Connection refused
--- request eval
["GET /list", "GET /p", "GET /list", "GET /hup?servers=11,13", "GET /list", "GET /former", "GET /status",
 "GET /hup?servers=12,13", "GET /list"]
--- error_code eval
[200, 502, 200, 200, 200, 200, 200, 200, 200]
--- response_body_like eval
['^127.0.0.1:11 0 up\n127.0.0.1:12 0 up\ntrue$', '502', '^127.0.0.1:11 1 up\n127.0.0.1:12 1 up\ntrue$',
 '^reloaded$', '^127.0.0.1:11 1 up\n127.0.0.1:13 0 up\ntrue$', '^1$', '(?s)\A(?!.*127.0.0.1:12).*127.0.0.1:13',
 '^reloaded$', '^127.0.0.1:12 1 up\n127.0.0.1:13 0 up\ntrue$']


=== TEST 3: an upstream that the configuration no longer has is no longer shown
--- once
--- user_files
>>> app.conf
server 127.0.0.1:11;
--- http_config
    autoscale_zone main:4m keys=64;
    upstream app { include ../html/app.conf; }
    include ../conf/more*.conf;
--- config
    location = /more {
        content_by_lua_block {
            local file = assert(io.open(ngx.config.prefix() .. "conf/more.conf", "w"))
            file:write("upstream extra { server 127.0.0.1:11; }\n")
            file:close()
            ngx.say("written")
        }
    }
    location = /less {
        content_by_lua_block { ngx.say(os.remove(ngx.config.prefix() .. "conf/more.conf")) }
    }
    location = /status { autoscale_status json; }
    location = /list {
        content_by_lua_block {
            local peers, err = require("ngx.autoscale").peers("extra")
            ngx.say(peers and peers().addr or err)
        }
    }
--- request eval
["GET /list", "GET /more", "GET /hup", "GET /list", "GET /status", "GET /less", "GET /hup", "GET /list", "GET /status"]
--- response_body_like eval
['^there is no upstream "extra"', '^written$', '^reloaded$', '^127.0.0.1:11$', '"extra"', '^true$', '^reloaded$',
 '^there is no upstream "extra"', '(?s)\A(?!.*"extra").*"app"']
