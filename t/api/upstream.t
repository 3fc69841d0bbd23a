# require "ngx.upstream": upstreams, servers and peers as nginx's balancers know them.
use lib 't/lib';
use AutoscaleLua;
use IO::Socket::INET;

my @held;
for my $name (qw(ONE TWO NOBODY)) {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "no free port: $!\n";
    $ENV{"TEST_NGINX_$name"} = $socket->sockport;
    push @held, $socket;
}
@held = ();

# what the blocks print lists with: keys sorted, ports of this run by name
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . <<'CONF') if !defined $block->must_die;
init_by_lua_block {
    local ports = { ["$TEST_NGINX_ONE"] = "ONE", ["$TEST_NGINX_TWO"] = "TWO", ["$TEST_NGINX_NOBODY"] = "NOBODY" }
    function show(value)
        if type(value) ~= "table" then
            return (tostring(value):gsub(":(%d+)$", function(port) return ":" .. (ports[port] or port) end))
        end
        local keys, parts = {}, {}
        for key in pairs(value) do keys[#keys + 1] = key end
        table.sort(keys)
        for _, key in ipairs(keys) do
            parts[#parts + 1] = (type(key) == "number" and "" or key .. "=") .. show(value[key])
        end
        return "{" .. table.concat(parts, " ") .. "}"
    end
}
server { listen 127.0.0.1:$TEST_NGINX_ONE; location / { return 200 "one\n"; } }
server { listen 127.0.0.1:$TEST_NGINX_TWO; location / { return 200 "two\n"; } }
CONF
});

run_tests();

__DATA__

=== TEST 1: upstreams are listed, with the port that belongs to a name, implied ones too
--- http_config
    upstream app { server 127.0.0.1; }
    upstream shop.test:8081 { server 127.0.0.2; }
--- config
    location = /p { proxy_pass http://127.0.0.1:1190; }
    location = /t {
        content_by_lua_block {
            for _, name in ipairs(require("ngx.upstream").get_upstreams()) do ngx.say(name) end
        }
    }
--- response_body
app
shop.test:8081
127.0.0.1:1190


=== TEST 2: servers have what the configuration says, and an address for each that their name has
--- http_config
    upstream app {
        server 127.0.0.1:81 weight=4 max_fails=100 fail_timeout=53s;
        server 127.0.0.2 down max_conns=7;
        server unix:/tmp/none.sock backup;
        server localhost:82;
    }
--- lua
    local servers = require("ngx.upstream").get_servers("app")
    for i = 1, 3 do ngx.say(show(servers[i])) end
    local last = servers[4]
    ngx.say(last.name, " ", type(last.addr) == "table" or last.addr:match(":82$"))
    ngx.say(#servers)
--- response_body_like
^\{addr=127\.0\.0\.1:81 fail_timeout=53 max_fails=100 name=127\.0\.0\.1:81 weight=4}
\{addr=127\.0\.0\.2:80 down=true fail_timeout=10 max_conns=7 max_fails=1 name=127\.0\.0\.2 weight=1}
\{addr=unix:/tmp/none\.sock backup=true fail_timeout=10 max_fails=1 name=unix:/tmp/none\.sock weight=1}
localhost:82 (?:true|:82)
4$


=== TEST 3: peers have what the balancer knows of them
--- http_config
    upstream app {
        server 127.0.0.1:81 weight=4;
        server 127.0.0.1:82 down;
        server 127.0.0.1:83 backup;
    }
--- lua
    local upstream = require "ngx.upstream"
    for _, peer in ipairs(upstream.get_primary_peers("app")) do ngx.say(show(peer)) end
    ngx.say("backup")
    for _, peer in ipairs(upstream.get_backup_peers("app")) do ngx.say(show(peer)) end
--- response_body
{conns=0 current_weight=0 effective_weight=4 fail_timeout=10 fails=0 id=0 max_fails=1 name=127.0.0.1:81 weight=4}
{conns=0 current_weight=0 down=true effective_weight=1 fail_timeout=10 fails=0 id=1 max_fails=1 name=127.0.0.1:82 weight=1}
backup
{conns=0 current_weight=0 effective_weight=1 fail_timeout=10 fails=0 id=0 max_fails=1 name=127.0.0.1:83 weight=1}


=== TEST 4: an upstream without backup servers has an empty list of them
--- http_config
    upstream app { server 127.0.0.1:81; }
--- lua
    local list = require("ngx.upstream").get_backup_peers("app")
    ngx.say(type(list), " ", #list)
--- response_body
table 0


=== TEST 5: a name that is no upstream's is said so
--- lua
    local upstream = require "ngx.upstream"
    ngx.say(upstream.get_servers("none"))
    ngx.say(upstream.get_primary_peers("none:80"))
    ngx.say(upstream.get_backup_peers("none:x"))
    ngx.say(upstream.set_peer_down("none", false, 0, true))
--- response_body
nilupstream not found
nilupstream not found
nilupstream not found
nilupstream not found


=== TEST 6: a peer that is set down gets no requests, until it is up again
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_ONE;
        server 127.0.0.1:$TEST_NGINX_TWO;
    }
--- config
    location = /t { proxy_pass http://app/; }
    location = /set {
        content_by_lua_block {
            local upstream = require "ngx.upstream"
            ngx.say(upstream.set_peer_down("app", false, tonumber(ngx.var.arg_id), ngx.var.arg_down == "1"))
        }
    }
--- pipelined_requests eval
["GET /set?id=0&down=1", "GET /t", "GET /t", "GET /t",
 "GET /set?id=0&down=0", "GET /set?id=1&down=1", "GET /t", "GET /t", "GET /t", "GET /set?id=1&down=0"]
--- response_body eval
["true\n", "two\n", "two\n", "two\n", "true\n", "true\n", "one\n", "one\n", "one\n", "true\n"]


=== TEST 7: with a zone all workers see a peer go down
--- http_config
    upstream app {
        zone app 64k;
        server 127.0.0.1:$TEST_NGINX_ONE;
        server 127.0.0.1:$TEST_NGINX_TWO;
    }
--- config
    location = /t { proxy_pass http://app/; }
    location = /set {
        content_by_lua_block {
            local upstream = require "ngx.upstream"
            ngx.say(upstream.set_peer_down("app", false, 1, ngx.var.arg_down == "1"))
        }
    }
    location = /get {
        content_by_lua_block {
            ngx.say(require("ngx.upstream").get_primary_peers("app")[2].down)
        }
    }
--- request eval
["GET /set?down=1", ("GET /t") x 8, ("GET /get") x 4, "GET /set?down=0", ("GET /get") x 4]
--- response_body eval
["true\n", ("one\n") x 8, ("true\n") x 4, "true\n", ("nil\n") x 4]


=== TEST 8: a backup peer is set down by its own number
--- http_config
    upstream app {
        server 127.0.0.1:81;
        server 127.0.0.1:82 backup;
        server 127.0.0.1:83 backup;
    }
--- lua
    local upstream = require "ngx.upstream"
    ngx.say(upstream.set_peer_down("app", true, 1, true))
    local peers = upstream.get_backup_peers("app")
    ngx.say(peers[1].down, " ", peers[2].down, " ", upstream.get_primary_peers("app")[1].down)
    upstream.set_peer_down("app", true, 1, false)
--- response_body
true
nil true nil


=== TEST 9: a peer that does not exist is said so
--- http_config
    upstream app { server 127.0.0.1:81; }
--- lua
    local upstream = require "ngx.upstream"
    for _, id in ipairs { 1, -1, 0.5, 1e300 } do
        ngx.say(upstream.set_peer_down("app", false, id, true))
    end
    ngx.say(upstream.set_peer_down("app", true, 0, true))
    ngx.say(upstream.get_primary_peers("app")[1].down)
--- response_body
nilbad peer id
nilbad peer id
nilbad peer id
nilbad peer id
nilno backup peers
nil


=== TEST 10: failures are counted, and forgotten by a peer that is set up
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_NOBODY max_fails=3;
        server 127.0.0.1:$TEST_NGINX_ONE;
    }
--- config
    location = /t { proxy_pass http://app/; }
    location = /show {
        content_by_lua_block {
            local upstream = require "ngx.upstream"
            local peer = upstream.get_primary_peers("app")[1]
            ngx.say(peer.fails, " ", peer.accessed ~= nil, " ", peer.checked ~= nil)
            upstream.set_peer_down("app", false, 0, false)
            ngx.say(upstream.get_primary_peers("app")[1].fails)
        }
    }
--- pipelined_requests eval
["GET /t", "GET /show"]
--- response_body eval
["one\n", "1 true true\n0\n"]
--- once


=== TEST 11: wrong arguments point at the user's line
--- lua
    local upstream = require "ngx.upstream"
    local function try(f, ...)
        local ok, err = pcall(function(...) upstream[f](...) end, ...)
        ngx.say(err)
    end
    try("get_upstreams", 1)
    try("get_servers")
    try("get_servers", "a", "b")
    try("get_primary_peers", {})
    try("get_backup_peers")
    try("set_peer_down", "app", false, 0)
    try("set_peer_down", "app", false, "x", true)
--- response_body_like eval
my $lines = CORE::join "\n", map { qr/content_by_lua\(nginx\.conf:\d+\):4: \Q$_\E/ } "no argument expected",
    "exactly one argument expected", "exactly one argument expected",
    "bad argument #1 to 'get_primary_peers' (string expected, got table)", "exactly one argument expected",
    "exactly 4 arguments expected", "bad argument #3 to 'set_peer_down' (number expected, got string)";
qr/^$lines$/


=== TEST 12: the current upstream is named once there is one
--- http_config
    upstream shop { server 127.0.0.1:$TEST_NGINX_ONE; }
--- config
    location = /t {
        access_by_lua_block { ngx.log(ngx.NOTICE, "before: ", require("ngx.upstream").current_upstream_name(), ";") }
        proxy_pass http://shop/;
        header_filter_by_lua_block { ngx.log(ngx.NOTICE, "name: ", require("ngx.upstream").current_upstream_name(), ";") }
    }
--- response_body
one
--- error_log
before: nil;
name: shop;


=== TEST 13: an implied upstream is named with its port
--- config
    location = /t {
        proxy_pass http://127.0.0.1:$TEST_NGINX_ONE/;
        header_filter_by_lua_block { ngx.log(ngx.NOTICE, "name: ", require("ngx.upstream").current_upstream_name(), ";") }
    }
--- response_body
one
--- error_log eval
"name: 127.0.0.1:$ENV{TEST_NGINX_ONE};"


=== TEST 14: a host that is only known at run time is no upstream
--- config
    location = /t {
        set $where 127.0.0.1:$TEST_NGINX_ONE;
        proxy_pass http://$where/;
        header_filter_by_lua_block { ngx.log(ngx.NOTICE, "name: ", require("ngx.upstream").current_upstream_name(), ";") }
    }
--- response_body
one
--- error_log
name: nil;


=== TEST 15: a request that is not passed on has no upstream
--- lua
    ngx.say(require("ngx.upstream").current_upstream_name())
--- response_body
nil


=== TEST 16: outside of requests the running configuration is asked
--- http_config
    upstream app { server 127.0.0.1:81; }
    init_worker_by_lua_block {
        local upstream = require "ngx.upstream"
        NAMES = table.concat(upstream.get_upstreams(), " ") .. " " .. #upstream.get_primary_peers("app")
        local ok, err = pcall(upstream.current_upstream_name)
        NAMES = NAMES .. " " .. err
    }
--- lua
    ngx.say(NAMES)
--- response_body
app 1 no request object found


=== TEST 17: while the configuration is read there are no upstreams to ask
--- http_config
    init_by_lua_block { require("ngx.upstream").get_upstreams() }
--- config
    location = /t { return 200; }
--- must_die
--- error_log
API disabled in the context of init_by_lua*
