# pool:UPSTREAM: so many peers take requests, the others stand by.
# modes: plain hup workers
use lib 't/lib';
use AutoscaleLua;

# Four backends that say who they are. APP is an upstream of the block's own, because a reload keeps a pool's number.
my $blocks = 0;
add_block_preprocessor(sub {
    my $block = shift;
    my $app = 'app' . ++$blocks;
    my $http = $block->http_config // <<'CONF';
upstream APP { server A; server B; server C; server D; }
autoscale_target APP pool:APP min=1;
CONF
    $http = "autoscale_zone main:24m keys=64;\n$http";
    for my $number (1 .. 4) {
        my $name = substr('abcd', $number - 1, 1);
        $http .= <<"CONF";
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_$number;
    location / { return 200 "$name\\n"; }
    location /slow { content_by_lua_block { ngx.sleep(tonumber(ngx.var.arg_s) or 0.5) ngx.say("$name") } }
    location /fail { return 500; }
}
CONF
    }
    # a policy that has as.scale wait for nothing
    my $policies = '';
    while ($http =~ /^\s*autoscale_target (\w+) pool:\w+(?: (min=\d+))?/mg) {
        my $limit = $2 ? "limit $2;" : '';
        $policies .= "autoscale_policy p_$1 target=$1 { up self.rate > 1M by=+1; cooldown up=0s down=0s; $limit }\n"
            if $http !~ /autoscale_policy \w+ target=$1 / && $1 ne 'other';
    }
    $http .= $policies;
    # nobody listens at E
    my %port = map { (substr('ABCDE', $_ - 1, 1) => "127.0.0.1:\$TEST_NGINX_RAND_PORT_$_") } 1 .. 5;
    my $expand = sub {
        my $text = shift;
        $text =~ s/\bAPP\b/$app/g;
        $text =~ s/\b([ABCDE])\b/$port{$1}/g;
        return $text;
    };
    $block->set_value('http_config', $expand->($http . <<'CONF'));
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    testing = require "testing"
    function wait_for(f) return testing.wait_for(f) and true end
    names = { ["A"] = "a", ["B"] = "b", ["C"] = "c", ["D"] = "d", ["E"] = "e" }
    local as = require "ngx.autoscale"

    -- the members that requests are sent to, and what the others do
    function states(upstream) return testing.peer_states(upstream or "APP", names) end

    -- has n peers take requests, of which there are `right`
    function scale(n, upstream, right)
        upstream = upstream or "APP"
        assert(as.scale(upstream, { replicas = n, reason = "test" }))
        local asked = 0
        return wait_for(function()
            local count = 0
            -- what a request has woken is known to the engine with the next tick
            asked = asked + 1
            if asked % 30 == 0 then assert(as.scale(upstream, { replicas = n, reason = "test" })) end
            for peer in as.peers(upstream) do
                if peer.state == "up" and not peer.backup and not peer.down then count = count + 1 end
            end
            return count == (right or n)
        end) and states(upstream) or "not scaled: " .. states(upstream)
    end

    -- who answers
    function hits(n, uri)
        local seen = {}
        for i = 1, n do
            local body = ngx.location.capture((uri or "/p") .. "?k=" .. i).body:gsub("\n$", "")
            seen[body] = (seen[body] or 0) + 1
        end
        local all = {}
        for body, count in pairs(seen) do all[#all + 1] = body .. "=" .. count end
        table.sort(all)
        return table.concat(all, " ")
    end
}
CONF
    $block->set_value('config', $expand->(<<'CONF' . ($block->config // '')));
location /p { proxy_pass http://APP; }
location /slow { proxy_pass http://APP; }
location = /scale { content_by_lua_block { ngx.say(scale(tonumber(ngx.var.arg_n), ngx.var.arg_u)) } }
location = /states { content_by_lua_block { ngx.say(states(ngx.var.arg_u)) } }
location = /hits { content_by_lua_block { ngx.say(hits(24)) } }
CONF
    $block->set_value('lua', $expand->($block->lua)) if defined $block->lua;
});

# longer than anything here waits for
timeout(20);
run_tests();

__DATA__

=== TEST 1: it begins with the target's minimum, in the order of the configuration
--- once
--- http_config
    upstream APP { server A; server B; server C; server D; }
    autoscale_target APP pool:APP min=2;
--- request eval
["GET /states", "GET /hits"]
--- response_body eval
["a:up b:up c:standby d:standby\n", "a=12 b=12\n"]


=== TEST 2: T5: it grows and shrinks, and only the active ones are asked
--- lua
for _, n in ipairs { 4, 1, 3, 2 } do
    ngx.say(scale(n), " | ", hits(12))
end
--- response_body
a:up b:up c:up d:up | a=3 b=3 c=3 d=3
a:up b:standby c:standby d:standby | a=12
a:up b:up c:up d:standby | a=4 b=4 c=4
a:up b:up c:standby d:standby | a=6 b=6


=== TEST 3: all workers see a change at once
--- once
--- request eval
["GET /scale?n=1", ("GET /p") x 10, "GET /scale?n=3", ("GET /p") x 10, "GET /scale?n=1", ("GET /p") x 10]
--- response_body_like eval
['^a:up b:standby c:standby d:standby$', ('^a$') x 10, '^a:up b:up c:up d:standby$', ('^[abc]$') x 10,
 '^a:up b:standby c:standby d:standby$', ('^a$') x 10]


=== TEST 4: more than there are is as many as there are, and none is one
--- lua
ngx.say(scale(9, "APP", 4))
ngx.say(scale(0, "APP", 1))
--- response_body
a:up b:up c:up d:up
a:up b:standby c:standby d:standby


=== TEST 5: a peer that leaves ends what it has, and stands by when it has
--- once
--- lua
scale(2)
local slow = { ngx.thread.spawn(ngx.location.capture, "/slow"), ngx.thread.spawn(ngx.location.capture, "/slow") }
ngx.sleep(0.1)
ngx.say(scale(1))
ngx.say(hits(6))
local seen = {}
for _, thread in ipairs(slow) do
    local ok, answer = ngx.thread.wait(thread)
    seen[#seen + 1] = ok and answer.status .. " " .. answer.body:gsub("\n", "")
end
table.sort(seen)
ngx.say(table.concat(seen, ", "))
ngx.say(wait_for(function() return states():find("b:standby") end), " ", states())
--- response_body
a:up b:drain c:standby d:standby
a=6
200 a, 200 b
true a:up b:standby c:standby d:standby


=== TEST 6: a drain that takes longer than the target's timeout counts as standing by, and is not cut off
--- modes: plain
--- once
--- timeout: 10
--- http_config
    upstream APP { server A; server B; }
    autoscale_target APP pool:APP min=1 timeout=1s;
--- lua
scale(2)
local slow = { ngx.thread.spawn(ngx.location.capture, "/slow?s=2.5"), ngx.thread.spawn(ngx.location.capture, "/slow?s=2.5") }
ngx.sleep(0.1)
ngx.say(scale(1))
ngx.say(wait_for(function() return states():find("b:standby") end))
for peer in require("ngx.autoscale").peers("APP") do ngx.say(names[peer.addr], " ", peer.state, " ", peer.active) end
for _, thread in ipairs(slow) do
    local ok, answer = ngx.thread.wait(thread)
    ngx.say(ok, " ", answer.status)
end
--- response_body
a:up b:drain
true
a up 1
b standby 1
true 200
true 200


=== TEST 7: every balancer leaves out those that stand by
--- once
--- timeout: 10
--- http_config
    upstream least { least_conn; server A; server B; server C; }
    upstream hash { hash $arg_k; server A; server B; server C; }
    upstream ring { hash $arg_k consistent; server A; server B; server C; }
    upstream ip { ip_hash; server A; server B; server C; }
    upstream random { random; server A; server B; server C; }
    upstream two { random two least_conn; server A; server B; server C; }
    upstream shared { zone shared 64k; server A; server B; server C; }
    upstream ringed { zone ringed 64k; hash $arg_k consistent; server A; server B; server C; }
    upstream kept { server A; server B; server C; keepalive 8; }
    upstream script { server A; server B; server C; balancer_by_lua_block { tried = true } }
    upstream picks {
        server 0.0.0.1;
        server A; server B; server C;
        balancer_by_lua_block {
            assert(require("ngx.balancer").set_current_peer(assert(require("ngx.autoscale").pick("picks", { exclude = "0.0.0.1:80" }))))
        }
    }
    autoscale_target least pool:least min=1;
    autoscale_target hash pool:hash min=1;
    autoscale_target ring pool:ring min=1;
    autoscale_target ip pool:ip min=1;
    autoscale_target random pool:random min=1;
    autoscale_target two pool:two min=1;
    autoscale_target shared pool:shared min=1;
    autoscale_target ringed pool:ringed min=1;
    autoscale_target kept pool:kept min=1;
    autoscale_target script pool:script min=1;
    autoscale_target APP pool:APP min=1;
    upstream APP { server A; }
--- config
    location ~ ^/to/(least|hash|ring|ip|random|two|shared|ringed|kept|script)$ { set $to $1; rewrite ^ /p break; proxy_pass http://$to; }
--- lua
for _, name in ipairs { "least", "hash", "ring", "ip", "random", "two", "shared", "ringed", "kept", "script" } do
    ngx.print(name)
    for _, n in ipairs { 1, 2, 3, 1 } do
        scale(n, name)
        local who = hits(24, "/to/" .. name):gsub("=%d+", ""):gsub(" ", "")
        -- one client has one peer by its address
        ngx.print(" ", name == "ip" and n > 1 and (("abc"):sub(1, n):find(who, 1, true) and "one" or who) or who)
    end
    ngx.say()
end
--- response_body
least a ab abc a
hash a ab abc a
ring a ab abc a
ip a one one a
random a ab abc a
two a ab abc a
shared a ab abc a
ringed a ab abc a
kept a ab abc a
script a ab abc a


=== TEST 8: pick chooses none that stands by
--- http_config
    upstream APP {
        server A; server B; server C;
        balancer_by_lua_block {
            assert(require("ngx.balancer").set_current_peer(assert(require("ngx.autoscale").pick("APP"))))
        }
    }
    autoscale_target APP pool:APP min=1;
--- lua
for _, n in ipairs { 1, 2, 3, 1 } do
    ngx.print(scale(n))
    -- it prefers the quickest: not all of them need be seen
    ngx.say(" | ", (hits(40):gsub("[%d= ]", ""):gsub("[" .. ("abc"):sub(1, n) .. "]", "")))
    for _ = 1, 200 do assert(states():find(names[require("ngx.autoscale").pick("APP")] .. ":up", 1, true)) end
end
--- response_body
a:up b:standby c:standby | 
a:up b:up c:standby | 
a:up b:up c:up | 
a:up b:standby c:standby | 


=== TEST 9: what an operator has set holds, and another peer takes the place
--- lua
local as = require "ngx.autoscale"
scale(2)
assert(as.set("APP", "A", { state = "down" }))
wait_for(function() return states():find("c:up") end)
ngx.say(states(), " | ", hits(8))
assert(as.set("APP", "D", { state = "up" }))
wait_for(function() return states():find("c:standby") end)
ngx.say(states(), " | ", hits(8))
assert(as.set("APP", "A", { state = "configured" }))
assert(as.set("APP", "D", { state = "configured" }))
ngx.say(states(), " | ", hits(8))
-- in order again
scale(4)
ngx.say(scale(2))
--- response_body
a:down b:up c:up d:standby | b=4 c=4
a:down b:up c:standby d:up | b=4 d=4
a:standby b:up c:standby d:up | b=4 d=4
a:up b:up c:standby d:standby


=== TEST 10: backup peers and those that are down are no members
--- http_config
    upstream APP { server A down; server B; server C; server D backup; }
    autoscale_target APP pool:APP min=1;
--- lua
local as = require "ngx.autoscale"
ngx.say(scale(1), " | ", hits(8))
ngx.say(scale(9, "APP", 2), " | ", hits(8))
assert(as.set("APP", "A", { state = "up" }))
ngx.say(states(), " | ", hits(9))
for _, addr in ipairs { "A", "B", "C" } do assert(as.set("APP", addr, { state = "down" })) end
ngx.say(states(), " | ", hits(8))
for _, addr in ipairs { "A", "B", "C" } do assert(as.set("APP", addr, { state = "configured" })) end
ngx.say(scale(2))
--- response_body
a:up b:up c:standby d:up | b=8
a:up b:up c:up d:up | b=4 c=4
a:up b:up c:up d:up | a=3 b=3 c=3
a:down b:down c:down d:up | d=8
a:up b:up c:up d:up


=== TEST 11: T6: with min=0 it may sleep, and the first request wakes it and is answered
--- once
--- timeout: 10
--- http_config
    upstream APP { server A; server B; }
    autoscale_target APP pool:APP min=0;
    upstream shared { zone shared 64k; least_conn; server C; server D; }
    autoscale_target shared pool:shared min=0;
--- config
    location /shared { proxy_pass http://shared; }
--- lua
for _ = 1, 2 do
    ngx.say(scale(0), " | ", hits(4), " | ", states())
    ngx.say(scale(0, "shared"), " | ", hits(4, "/shared"), " | ", states("shared"))
end
scale(0)
ngx.say(names[require("ngx.autoscale").pick("APP")], " ", states())
--- response_body
a:standby b:standby | a=4 | a:up b:standby
c:standby d:standby | c=4 | c:up d:standby
a:standby b:standby | a=4 | a:up b:standby
c:standby d:standby | c=4 | c:up d:standby
a a:up b:standby


=== TEST 12: any worker's request wakes it
--- once
--- http_config
    upstream APP { server A; server B; }
    autoscale_target APP pool:APP min=0;
--- request eval
["GET /states", ("GET /p") x 6, ("GET /scale?n=0", ("GET /p") x 3) x 2]
--- response_body_like eval
['^a:standby b:standby$', ('^a$') x 6, ('^a:standby b:standby$', ('^a$') x 3) x 2]


=== TEST 13: when no active peer is left, one that stands by takes over within the same request
--- http_config
    upstream APP { server E; server B; server C; }
    autoscale_target APP pool:APP min=1;
--- once
--- request eval
["GET /states", "GET /p", "GET /p", "GET /states"]
--- response_body eval
["e:up b:standby c:standby\n", "b\n", "b\n", "e:standby b:up c:standby\n"]
--- allow_log
Connection refused


=== TEST 14: a peer that only fails changes places, although nginx is told to forgive
--- http_config
    upstream APP { server A max_fails=0; server B; }
    autoscale_target APP pool:APP min=1;
--- config
    location /fail { proxy_pass http://APP; }
--- once
--- lua
for _ = 1, 10 do ngx.location.capture("/fail") end
ngx.say(wait_for(function() return states() == "a:standby b:up" end), " ", hits(5))
--- response_body
true b=5


=== TEST 15: a reload keeps the number, whatever servers come and go
--- modes: plain workers
--- once
--- http_config
    include ../html/mode.conf;
    upstream APP { include ../html/servers.conf; }
    autoscale_target APP pool:APP min=1;
    upstream steady { server A; server B; server C; server D; }
    autoscale_target steady pool:steady min=1;
--- config
    location = /hup {
        content_by_lua_block {
            local addrs = {}
            for addr, name in pairs(names) do addrs[name] = addr end
            testing.write("html/mode.conf", "autoscale " .. ngx.var.arg_mode .. ";")
            testing.write("html/servers.conf", (ngx.var.arg_servers:gsub("%a", function(name) return "server " .. addrs[name] .. ";" end)))
            testing.reload()
            ngx.sleep(0.5)
            ngx.say(states("steady"))
        }
    }
    location = /both { content_by_lua_block { ngx.say(states(), " | ", states("steady"), " | ", hits(6)) } }
--- user_files
>>> mode.conf
autoscale on;
>>> servers.conf
server 127.0.0.1:11;
--- request eval
["GET /hup?mode=on&servers=abcd", "GET /scale?n=2", "GET /scale?n=3&u=steady",
 "GET /hup?mode=on&servers=bcd", "GET /both", "GET /hup?mode=observe&servers=dcb", "GET /both",
 "GET /hup?mode=off&servers=dcb", "GET /both", "GET /hup?mode=on&servers=ab", "GET /both"]
--- response_body_like eval
['.', '^a:up b:up c:standby d:standby$', '^a:up b:up c:up d:standby$',
 '.', '^b:up c:up d:standby \| a:up b:up c:up d:standby \| b=3 c=3$',
 '.', '^d:standby c:up b:up \| a:up b:up c:up d:standby \| b=3 c=3$',
 '.', '^d:up c:up b:up \| a:up b:up c:up d:up \| b=2 c=2 d=2$',
 '.', '^a:up b:standby \| a:up b:standby c:standby d:standby \| a=6$']


=== TEST 16: with observe, and before anybody asks, nobody stands by
--- modes: plain workers
--- http_config
    upstream APP { server A; server B; }
    autoscale_target APP pool:APP min=1;
    autoscale_policy p target=APP { up upstream.APP.latency > 500ms by=+1; mode observe; }
    upstream other { server A; server B; }
    autoscale_target other pool:other;
--- once
--- lua
ngx.say(states(), " | ", states("other"))
ngx.say(scale(1, "other"))
--- response_body
a:up b:up | a:up b:up
a:up b:standby


=== TEST 17: a policy's minimum is where its pool begins
--- modes: plain workers
--- http_config
    upstream APP { server A; server B; server C; }
    autoscale_target APP pool:APP min=1;
    autoscale_policy p target=APP { up upstream.APP.latency > 500ms by=+1; limit min=2; }
--- lua
ngx.say(states())
--- response_body
a:up b:up c:standby


=== TEST 18: an upstream is the pool of one target
--- http_config
    upstream APP { server A; }
    autoscale_target one pool:APP;
    autoscale_target two pool:APP;
--- must_die
--- error_log eval
qr/invalid target "pool:app\d+": it is the pool of target "one" already in .*:\d+/
