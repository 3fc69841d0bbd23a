# autoscale_eject: a peer that fails gets nothing for a while, from no worker, and shows itself one request at a time.
use lib 't/lib';
use AutoscaleLua;
use IO::Socket::INET;
$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
# modes: plain workers

# connections to this port are made, and nobody ever answers
my $silent = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => 1996) or die $!;

# Four backends that do what the dict says of them; nobody listens at E, and nobody answers at S.
add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    my $http = $block->http_config // <<'CONF';
upstream app { server A; server B; server C; server D; autoscale_eject failures=3 time=300ms; }
CONF
    my %port = map { (substr('ABCDE', $_ - 1, 1) => "127.0.0.1:\$TEST_NGINX_RAND_PORT_$_") } 1 .. 5;
    $port{S} = '127.0.0.1:1996';
    $http =~ s/\bserver\s+\K([ABCDES])\b/$port{$1}/g;
    my $names = join ', ', map { "[\"$port{$_}\"] = \"\l$_\"" } sort keys %port;
    $http = "autoscale_zone main:4m keys=64;\nlua_shared_dict how 64k;\n$http";
    for my $number (1 .. 4) {
        my $name = substr('abcd', $number - 1, 1);
        $http .= <<"CONF";
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_$number;
    access_log off;
    location / { content_by_lua_block { behave("$name", false) } }
    location /health { content_by_lua_block { behave("$name", true) } }
}
CONF
    }
    $http .= <<'CONF';
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    testing = require "testing"
    wait_for = testing.wait_for
    as = require "ngx.autoscale"
    names = { NAMES }

    function behave(name, is_check)
        local how = ngx.shared.how
        local what = how:get((is_check and "check " or "") .. name) or how:get("all") or "ok"
        how:incr(is_check and "checks" or "requests", 1, 0)
        if is_check then how:set("host", ngx.var.http_host .. " " .. ngx.req.get_method() .. " " .. ngx.var.request_uri) end
        if what == "slow" then ngx.sleep(0.04)
        elseif what == "later" then ngx.sleep(0.3)
        elseif what == "stream" then
            ngx.header.content_type = "text/event-stream"
            for _ = 1, 20 do ngx.say("data: x\n") ngx.flush(true) ngx.sleep(0.05) end
            return
        elseif what == "half" then if how:incr("half", 1, 0) % 2 == 0 then return ngx.exit(500) end
        elseif what == "close" then return ngx.exit(444)
        elseif what == "cut" then ngx.header.content_length = 1000 ngx.print("cut") ngx.flush(true) return ngx.exit(444)
        elseif tonumber(what) then ngx.status = tonumber(what) end
        ngx.say(name)
    end

    -- what a peer does from now on
    function set(peer, what)
        ngx.shared.how:set(peer, what)
    end
    function check(peer, what)
        ngx.shared.how:set("check " .. peer, what)
    end

    -- one request through the front, by a connection of its own: any worker may take it
    function fetch(uri)
        local socket = ngx.socket.tcp()
        socket:settimeouts(1000, 1000, 2000)
        assert(socket:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_SERVER_PORT") or 1984)))
        socket:send("GET " .. (uri or "/p") .. " HTTP/1.0\r\nHost: front\r\n\r\n")
        local answer = socket:receive("*a") or ""
        socket:close()
        return tonumber(answer:match("^HTTP/%S+ (%d+)")) or 0, (answer:match("\r\n\r\n(.-)\n?$") or "")
    end

    -- n requests: how many each peer answered well, and what else there was
    function get(n, uri)
        local seen, list = {}, {}
        for _ = 1, n do
            local status, body = fetch(uri)
            local what = status == 200 and body or tostring(status)
            seen[what] = (seen[what] or 0) + 1
        end
        for what, count in pairs(seen) do list[#list + 1] = what .. ":" .. count end
        table.sort(list)
        return table.concat(list, " ")
    end

    -- the states of an upstream's peers
    function states(upstream) return testing.peer_states(upstream or "app", names) end

    -- the log's lines about peers, without what differs
    function log(pattern)
        local lines = {}
        for line in testing.error_log():gmatch("[^\n]+") do
            local said = line:match("peer %S+ of upstream .*") or line:match("upstream \"%w+\": .*")
            for addr, name in pairs(said and names or {}) do said = said:gsub(addr, name, 1) end
            if said and said:find(pattern or "", 1, true) then
                lines[#lines + 1] = (said:gsub(", client: .*", ""):gsub(" of upstream \"app\"", ""))
            end
        end
        return lines
    end
    function says(pattern, from)
        return wait_for(function() return log(pattern)[from or 1] end) or "nobody said " .. pattern
    end

    function has(peer, state)
        return wait_for(function() return (" " .. states() .. " "):find(" " .. peer .. ":" .. state .. " ", 1, true) and true end)
    end

    -- Whether a peer comes to be on probation. Who asks for its state sees that by the clock; a stock balancer lets it in
    -- when its worker's timer has found it out, which is what the worker says.
    function comes_back(peer, upstream)
        local name = "peer " .. peer .. (upstream and ' of upstream "' .. upstream .. '"' or "")
        return wait_for(function()
            return states(upstream):find(peer .. ":probation", 1, true)
                and #log(name .. " is on probation") == #log(name .. " is ejected")
        end)
    end
}
CONF
    $http =~ s/NAMES/$names/;
    $block->set_value('http_config', $http);
    $block->set_value('config', ($block->config // '') . <<'CONF');
location /p { proxy_pass http://app; proxy_read_timeout 60ms; proxy_connect_timeout 200ms; proxy_next_upstream off; }
location /next { proxy_pass http://app; proxy_read_timeout 60ms; }
CONF
    $block->set_value('timeout', 20) if !defined $block->timeout;
    $block->set_value('once', 1) if !defined $block->once;
    $block->set_value('allow_log', ($block->allow_log // '') . "connect() failed\ntimed out\nprematurely closed\nno live upstreams");
});

run_tests();

__DATA__

=== TEST 1: three failures in a row eject a peer; it shows itself, and is well again
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=3 time=1s; }
--- lua
    ngx.say(get(8))
    set("b", "500")
    ngx.say(get(12))
    ngx.say(states())
    ngx.say(get(6))
    ngx.say(says("is ejected"))
    set("b", "ok")
    ngx.say(comes_back("b"))
    ngx.say(get(20))
    ngx.say(states(), " ", says("is well again"))
    ngx.say(#log("is ejected"), " ", #log("is on probation"), " ", #log("is well"))
--- response_body_like
^a:2 b:2 c:2 d:2
500:3 a:3 c:3 d:3
a:up b:ejected c:up d:up
a:2 c:2 d:2
peer b is ejected for 1s: 3 failures in a row
true
a:5 b:5 c:5 d:5
a:up b:up c:up d:up peer b is well again
1 1 1
--- modes: plain


=== TEST 2: one failure on probation sends it back for twice as long, and so on
--- modes: plain
--- lua
    set("b", "500")
    get(12)
    for _ = 1, 2 do
        ngx.say(comes_back("b"))
        ngx.say(get(8))
        ngx.say(states())
    end
    for _, line in ipairs(log("is ejected")) do ngx.say(line) end
--- response_body_like
^true
500:1 a:\d c:\d d:\d
a:up b:ejected c:up d:up
true
500:1 a:\d c:\d d:\d
a:up b:ejected c:up d:up
peer b is ejected for 300ms: 3 failures in a row
peer b is ejected for 600ms: it failed on probation
peer b is ejected for 1200ms: it failed on probation


=== TEST 3: what is no failure: 429, 404, a client that leaves before the answer or in the middle of it
--- modes: plain
--- lua
    local function leave(uri)
        local socket = ngx.socket.tcp()
        assert(socket:connect("127.0.0.1", tonumber(ngx.var.server_port)))
        socket:send("GET " .. uri .. " HTTP/1.0\r\n\r\n")
        ngx.sleep(0.005)
        socket:close()
    end
    for _, what in ipairs { "429", "404", "501" } do
        set("all", what)
        ngx.say(get(24))
    end
    set("all", "later")
    for _ = 1, 24 do leave("/patient") end
    ngx.sleep(0.05)
    ngx.say(states(), " ", #log())
    ngx.shared.how:delete("all")
    -- they were attempts, and each one was given up
    local _, status = fetch("/status")
    ngx.say(status:match('"name":"app".-"aborted":(%d+)'))
--- config
    location /patient { proxy_pass http://app; }
    location = /status { autoscale_status json; }
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=3 error_rate=10% time=200ms; }
--- response_body
429:24
404:24
501:24
a:up b:up c:up d:up 0
24


=== TEST 4: refused connections, which a retry hides, and peers that close, break off or say nothing in time
--- modes: plain
--- http_config
    upstream app { server A max_fails=0; server E max_fails=0; autoscale_eject failures=3 time=10s; }
    upstream closes { server A max_fails=0; server B max_fails=0; server C max_fails=0; autoscale_eject failures=3 time=10s; }
    upstream hangs { server A max_fails=0; server S max_fails=0; autoscale_eject failures=2 time=10s; }
--- config
    location /closes { proxy_pass http://closes; proxy_next_upstream off; }
    location /hangs { proxy_pass http://hangs; proxy_read_timeout 60ms; proxy_next_upstream off; }
--- lua
    ngx.say(get(10, "/next"))
    ngx.say(states(), " ", #log("peer e"))
    set("b", "close")
    ngx.say(get(12, "/closes"))
    ngx.say(states("closes"))
    ngx.say(get(10, "/hangs"))
    ngx.say(states("hangs"))
    ngx.say(says("peer s"))
--- response_body_like
^a:10
a:up e:ejected 1
502:3 a:[45] c:[45]
a:up b:ejected c:up
504:2 a:8
a:up s:ejected
peer s of upstream "hangs" is ejected for 10s: 2 failures in a row


=== TEST 5: an answer that breaks off is a failure, whatever its status
--- modes: plain
--- lua
    set("c", "cut")
    get(12)
    ngx.say(states())
--- response_body
a:up b:up c:ejected d:up


=== TEST 6: an error rate, with answers between the failures
--- modes: plain
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=4 error_rate=45% time=10s; }
--- lua
    set("d", "half")
    ngx.say(get(68))
    ngx.say(states())
    get(40)
    ngx.say(states())
    ngx.say((says("peer d"):gsub("%d+ of %d+", "some")))
--- response_body_like
^500:[78] a:17 b:17 c:17 d:\d+
a:up b:up c:up d:up
a:up b:up c:up d:ejected
peer d is ejected for 10s: some answers failed


=== TEST 7: the slow one of four is ejected without a single failure; when all are slow, nobody is
--- modes: plain
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject time=10s; }
    upstream same { server A; server B; server C; server D; autoscale_eject time=10s; }
--- config
    location /same { proxy_pass http://same; }
    location /patient { proxy_pass http://app; }
--- lua
    set("b", "slow")
    local function many(uri)
        for _ = 1, 4 do
            local threads = {}
            for i = 1, 12 do threads[i] = ngx.thread.spawn(fetch, uri) end
            for i = 1, 12 do ngx.thread.wait(threads[i]) end
        end
    end
    many("/patient")
    ngx.say(has("b", "ejected"), " ", (says("peer b"):gsub("%d+ ms", "some ms")))
    ngx.say(get(6))
    set("all", "slow")
    many("/same")
    ngx.sleep(1.1)
    ngx.say(states("same"))
--- response_body
true peer b is ejected for 10s: it takes some ms where some ms are usual
a:2 c:2 d:2
a:up b:up c:up d:up


=== TEST 8: no more than the share is ejected, which is said once; a peer that is alone never is
--- modes: plain
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=2 time=10s max=50%; }
    upstream alone { server A; autoscale_eject failures=2; }
--- config
    location /alone { proxy_pass http://alone; }
--- lua
    set("all", "500")
    ngx.say(get(40))
    local _, out = states():gsub("ejected", "")
    ngx.say(out, " ", #log("is ejected"), " ", #log("is not ejected"), " ", (says("is not ejected"):gsub("peer %w", "peer")))
    ngx.say(get(10, "/alone"))
    ngx.say(states("alone"), " ", #log('of upstream "alone"'))
    ngx.shared.how:delete("all")
    ngx.say(get(10, "/alone"))
--- response_body
500:40
2 2 1 peer is not ejected, as 2 of 4 are and more may not be: 2 failures in a row
500:10
a:up 1
a:10


=== TEST 9: when too few are left, ejections are ignored, and hold again later
--- modes: plain
--- http_config
    upstream app { server A; server B; autoscale_eject failures=2 time=10s; }
--- lua
    set("a", "500")
    ngx.say(get(8))
    ngx.say(states())
    local b
    for peer in as.peers("app") do if peer.state == "up" then b = peer.addr end end
    as.set("app", b, { state = "drain" })
    set("a", "ok")
    ngx.say(get(4))
    ngx.say(says("ignored"))
    as.set("app", b, { state = "up" })
    ngx.say(get(4))
    ngx.say(says("hold again"))
--- response_body
500:2 b:6
a:ejected b:up
a:4
upstream "app": 1 of 1 peers are ejected, which leaves too few: ejections are ignored
b:4
upstream "app": enough peers are left: ejections hold again


=== TEST 10: a balancer that has nobody left is told to ignore ejections, rather than everything being 502
--- modes: plain
--- http_config
    upstream app { server A; server B max_fails=1 fail_timeout=10s; autoscale_eject failures=2 time=10s; }
--- config
    # the last one is out for nginx's own reasons
    location /last { proxy_pass http://app; proxy_next_upstream http_500; }
--- lua
    set("a", "500")
    ngx.say(get(8))
    ngx.say(states())
    set("a", "ok")
    set("b", "500")
    ngx.say(get(1, "/last"))
    ngx.say(get(6, "/last"))
    ngx.say(#log("ejections are ignored"))
--- response_body
500:2 b:6
a:ejected b:up
a:1
a:6
1


=== TEST 11: stock methods, each with an upstream that workers share and without: the ejected one gets nothing, and one on probation one request at a time
--- modes: plain
--- http_config
    upstream app { server A; }
    upstream robin { server A; server B; server C; autoscale_eject failures=3 time=150ms; }
    upstream shared { zone shared 64k; server A; server B; server C; autoscale_eject failures=3 time=150ms; }
    upstream least { least_conn; server A; server B; server C; autoscale_eject failures=3 time=150ms; }
    upstream chance { random two least_conn; server A; server B; server C; autoscale_eject failures=3 time=150ms; }
    upstream hashed { hash $arg_k; server A; server B; server C; autoscale_eject failures=3 time=150ms; }
    upstream kept { server A; server B; server C; keepalive 4; autoscale_eject failures=3 time=150ms; }
--- config
    location ~ /to/(?<u>robin|shared|least|chance|hashed|kept) { proxy_pass http://$u; proxy_next_upstream off; }
--- lua
    local function many(u, n)
        local seen = {}
        for i = 1, n do
            local status, body = fetch("/to/" .. u .. "?k=" .. i)
            seen[status == 200 and body or status] = true
        end
        return (seen.a and "a" or "") .. (seen.b and "b" or "") .. (seen.c and "c" or "") .. (seen[500] and " failed" or "")
    end
    for _, u in ipairs { "robin", "shared", "least", "chance", "hashed", "kept" } do
        set("b", "500")
        local first = many(u, 40)
        local _, out = states(u):gsub("b:ejected", "")
        if out == 0 then _, out = states(u):gsub("b:probation", "") end
        set("b", "later")
        comes_back("b", u)
        local threads, b = {}, 0
        for i = 1, 24 do threads[i] = ngx.thread.spawn(fetch, "/to/" .. u .. "?k=" .. i) end
        for i = 1, 24 do
            local _, _, body = ngx.thread.wait(threads[i])
            if body == "b" then b = b + 1 end
        end
        set("b", "ok")
        ngx.say(u, ": ", first, ", ", out, " out, ", b, " on probation")
    end
--- response_body
robin: ac failed, 1 out, 1 on probation
shared: ac failed, 1 out, 1 on probation
least: ac failed, 1 out, 1 on probation
chance: ac failed, 1 out, 1 on probation
hashed: ac failed, 1 out, 1 on probation
kept: ac failed, 1 out, 1 on probation


=== TEST 12: what a script chooses: pick leaves out who is ejected, and counts on one on probation for one request
--- modes: plain
--- http_config
    upstream app {
        server A; server B; server C;
        autoscale_eject failures=1 time=10s;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            local host, port = as.pick("app"):match("^(.*):(%d+)$")
            assert(balancer.set_current_peer(host, tonumber(port)))
        }
    }
--- lua
    set("all", "500")
    get(8)
    local _, ejected = states():gsub("ejected", "")
    ngx.say(ejected)
    local out
    for peer in as.peers("app") do if peer.state == "ejected" then out = peer.addr end end
    local count = 0
    for _ = 1, 60 do if as.pick("app") == out then count = count + 1 end end
    ngx.say(count)
--- response_body
1
0


=== TEST 13: backup peers take over when the only primary one is ejected
--- modes: plain
--- http_config
    upstream app { server A; server B backup; autoscale_eject failures=2 time=10s; }
--- lua
    set("a", "500")
    ngx.say(get(8))
    ngx.say(states())
--- response_body
500:2 b:6
a:ejected b:up


=== TEST 14: who says that a peer is up brings it back
--- modes: plain
--- lua
    set("a", "500")
    get(12)
    for peer in as.peers("app") do
        if peer.state == "ejected" then as.set("app", peer.addr, { state = "up" }) end
    end
    set("a", "ok")
    ngx.say(states(), " ", get(8))
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=3 time=10s; }
--- response_body
a:up b:up c:up d:up a:2 b:2 c:2 d:2


=== TEST 15: what one worker hears all obey, a reload and a killed worker change nothing of it
--- modes: workers
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=6 time=30s; }
--- config
    location = /fail { content_by_lua_block { set("b", "500") ngx.say(get(24)) ngx.say(states()) } }
    location = /who { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
    location = /get { content_by_lua_block { ngx.say(get(24)) ngx.say(states(), " ", #log("is ejected")) } }
    location = /hup {
        content_by_lua_block {
            local _, before = fetch("/who")
            testing.reload()
            ngx.say(wait_for(function() local _, pid = fetch("/who") return tonumber(pid) > tonumber(before) + 1 end))
        }
    }
    location = /kill {
        content_by_lua_block {
            ngx.say("killed")
            ngx.eof()
            os.execute("kill -KILL " .. ngx.worker.pid())
        }
    }
    location = /settle { content_by_lua_block { ngx.sleep(0.3) ngx.say("settled") } }
--- request eval
["GET /fail", "GET /get", "GET /hup", "GET /get", "GET /kill", "GET /settle", "GET /get"]
--- response_body_like eval
my $without_b = qr/^a:\d+ c:\d+ d:\d+\na:up b:ejected c:up d:up 1\n$/;
[qr/^500:6 a:\d+ c:\d+ d:\d+\na:up b:ejected c:up d:up\n$/, $without_b, qr/^true$/, $without_b, qr/^killed$/, qr/^settled$/, $without_b]
--- allow_log
exited on signal 9


=== TEST 16: checks eject without traffic, keep out, and bring back; they ask for the upstream's name
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=2 time=100ms check=/health?x=1 every=300ms; }
--- lua
    ngx.say(wait_for(function() return (ngx.shared.how:get("checks") or 0) >= 8 end))
    ngx.say(ngx.shared.how:get("host"), " ", ngx.shared.how:get("requests"))
    check("c", "503")
    ngx.say(has("c", "ejected"), " ", says("peer c"))
    ngx.say(not get(9):find("c"))
    -- its time is over again and again
    ngx.sleep(1)
    ngx.say(states(), " ", #log("peer c"))
    check("c", "302")
    ngx.say(says("peer c", 2))
    ngx.say(says("peer c", 3))
    ngx.say(states())
--- response_body
true
app GET /health?x=1 nil
true peer c is ejected for 750ms: 2 failed checks in a row, it answered 503
true
a:up b:up c:ejected d:up 1
peer c is on probation, because a check has reached it: one request at a time
peer c is well again
a:up b:up c:up d:up


=== TEST 17: a peer that nobody can connect to and one that never answers fail their checks; one worker checks, and no more often than it is told to
--- http_config
    upstream app { server A; server B; server C; server E; server S; autoscale_eject failures=2 time=10s check=/health every=200ms; }
--- lua
    ngx.say(has("e", "ejected"), " ", says("peer e"))
    ngx.say(has("s", "ejected"), " ", says("peer s"))
    local before = ngx.shared.how:get("checks")
    ngx.sleep(0.6)
    local checks = ngx.shared.how:get("checks") - before
    ngx.say(checks >= 6 and checks <= 12 or checks, " ", (get(9):gsub("%d+", "n")))
--- response_body
true peer e is ejected for 10s: 2 failed checks in a row, connect: connection refused
true peer s is ejected for 10s: 2 failed checks in a row, total: timeout
true a:n b:n c:n


=== TEST 18: checks of peers that speak TLS
--- modes: plain
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_6 ssl;
        ssl_certificate $TEST_NGINX_CERTS/selfsigned.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        location / { content_by_lua_block { ngx.shared.how:set("tls", ngx.var.ssl_server_name or "none") ngx.say("tls") } }
    }
    upstream app { server 127.0.0.1:$TEST_NGINX_RAND_PORT_6; server A; server B; autoscale_eject failures=2 time=10s check=https:/ every=100ms; }
--- lua
    -- those that speak it are well, and of those that do not half may go
    ngx.say(wait_for(function() return ngx.shared.how:get("tls") end))
    ngx.say((says("is ejected"):gsub("peer [ab]", "peer"):gsub("reset.*", "")))
    local first = 0
    for peer in as.peers("app") do if peer.state == "up" then first = first + 1 end end
    ngx.say(first)
--- response_body_like
^app
peer is ejected for 10s: 2 failed checks in a row, tls: .*
2


=== TEST 19: when the worker that checks is killed, another one goes on; so do the workers of a reload
--- modes: workers
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=2 time=100ms check=/health every=200ms; }
    lua_shared_dict checker 64k;
--- config
    location = /kill {
        content_by_lua_block {
            wait_for(function() return (ngx.shared.how:get("checks") or 0) >= 4 end)
            -- both may be it: the one and, when that is replaced, the other
            ngx.say("killed")
            ngx.eof()
            for _, pid in ipairs(ngx.worker.pids()) do
                if pid ~= ngx.worker.pid() then os.execute("kill -KILL " .. pid) end
            end
            os.execute("kill -KILL " .. ngx.worker.pid())
        }
    }
    location = /hup {
        content_by_lua_block {
            testing.reload()
            ngx.say("reloaded")
        }
    }
    location = /goes {
        content_by_lua_block {
            ngx.sleep(0.3)
            local before, start = ngx.shared.how:get("checks"), ngx.now()
            local goes = wait_for(function() return ngx.shared.how:get("checks") >= before + 8 end)
            ngx.update_time()
            ngx.say(goes, " ", ngx.now() - start < 2)
        }
    }
--- request eval: ["GET /kill", "GET /goes", "GET /hup", "GET /goes"]
--- response_body eval: ["killed\n", "true true\n", "reloaded\n", "true true\n"]
--- allow_log
exited on signal 9


=== TEST 20: autoscale observe says what it would do, off says nothing
--- modes: plain
--- http_config
    autoscale observe;
    upstream app { server A; server B; autoscale_eject failures=2 time=10s; }
--- lua
    set("a", "500")
    ngx.say(get(10))
    ngx.say(states(), " ", says("peer a"))
--- response_body
500:5 b:5
a:ejected b:up peer a is ejected for 10s: 2 failures in a row (it is not: autoscale observe)


=== TEST 21: autoscale off
--- modes: plain
--- http_config
    autoscale off;
    upstream app { server A; server B; autoscale_eject failures=2 time=10s; }
--- lua
    set("a", "500")
    ngx.say(get(10))
    ngx.say(states(), " ", #log())
--- response_body
500:5 b:5
a:up b:up 0


=== TEST 22: a peer that flaps is out more and more
--- modes: plain
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=2 time=50ms; }
--- lua
    for i = 1, 4 do
        set("b", "500")
        wait_for(function() get(4) return #log("is ejected") == i end)
        set("b", "ok")
        wait_for(function() get(4) return states():find("b:up") end)
    end
    for _, line in ipairs(log("is ejected")) do ngx.say(line) end
--- response_body_like
^peer b is ejected for 50ms: 2 failures in a row
peer b is ejected for (50|100)ms: 2 failures in a row
peer b is ejected for (50|100|200)ms: 2 failures in a row
peer b is ejected for (100|200|400)ms: 2 failures in a row


=== TEST 23: the status shows who is ejected, in every format
--- modes: plain
--- http_config
    upstream app { server A; server B; server C; server D; autoscale_eject failures=2 time=10s; }
--- config
    location = /json { autoscale_status json; }
    location = /prometheus { autoscale_status prometheus; }
    location = /html { autoscale_status html; }
--- lua
    set("b", "500")
    get(8)
    local _, json = fetch("/json")
    ngx.say(json:match('"name":"app".-("ejected":1,"ejections_ignored":false)'), " ", json:match('"state":"ejected".-"ejections":1'))
    local _, text = fetch("/prometheus")
    ngx.say(text:match('autoscale_upstream_ejected_peers{upstream="app"} %d'))
    ngx.say(text:match('autoscale_upstream_ejections_ignored{upstream="app"} %d'))
    local _, healthy = text:gsub('autoscale_peer_health{upstream="app",peer="[^"]+"} 1', "")
    ngx.say(healthy, " ", text:match('autoscale_peer_health{upstream="app",peer="[^"]+"} 0') ~= nil)
    ngx.say(text:match('autoscale_peer_ejections_total{upstream="app",peer="[^"]+"} 1') ~= nil)
    local _, html = fetch("/html")
    ngx.say(html:find("1 ejected", 1, true) ~= nil, " ", html:find(">ejected<", 1, true) ~= nil)
--- response_body_like
^"ejected":1,"ejections_ignored":false "state":"ejected","weight":null,"limit":null,"failing":0.\d+,"ejections":1
autoscale_upstream_ejected_peers\{upstream="app"\} 1
autoscale_upstream_ejections_ignored\{upstream="app"\} 0
3 true
true
true true


=== TEST 24: on probation a stream is well when it begins, not when somebody has heard enough of it
--- modes: plain
--- http_config
    upstream app { server A; server B; autoscale_eject failures=1 time=50ms; }
--- config
    location /stream { proxy_pass http://app; proxy_buffering off; }
--- lua
    set("b", "500")
    get(2)
    wait_for(function() return states():find("b:probation") end)
    set("all", "stream")
    ngx.shared.how:delete("b")
    local sockets = {}
    local well = wait_for(function()
        local socket = ngx.socket.tcp()
        assert(socket:connect("127.0.0.1", tonumber(ngx.var.server_port)))
        socket:send("GET /stream HTTP/1.0\r\n\r\n")
        socket:receive()
        sockets[#sockets + 1] = socket
        return states() == "a:up b:up" and #sockets
    end)
    -- none of them has ended
    ngx.say(well and well <= 4, " ", says("is well again"))
    set("all", "ok")
--- response_body
true peer b is well again


=== TEST 25: a directive without a zone has nowhere to keep what it knows
--- must_die
--- http_config
    upstream app { server 127.0.0.1:1; autoscale_eject; }
--- lua
    ngx.say("never")
--- error_log
"autoscale_eject" needs the memory that all workers share


=== TEST 26: bad words
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    upstream app { server 127.0.0.1:1; autoscale_eject failures=never; }
--- lua
    ngx.say("never")
--- error_log
invalid failures "never": write 1 to 1000, or off


=== TEST 27: a word that does not exist
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    upstream app { server 127.0.0.1:1; autoscale_eject check=/ evry=1s; }
--- lua
    ngx.say("never")
--- error_log
unknown parameter "evry=" (did you mean "every"?)


=== TEST 28: twice
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    upstream app { server 127.0.0.1:1; autoscale_eject; autoscale_eject off; }
--- lua
    ngx.say("never")
--- error_log
"autoscale_eject" directive is duplicate


=== TEST 29: autoscale_balance sends nothing to who is ejected, and one request at a time to one on probation
--- modes: plain
--- http_config
    upstream app { autoscale_balance least_request; server A; server B; server C; autoscale_eject failures=1 time=200ms; }
--- lua
    set("all", "500")
    get(2)
    local out = states():match("(%w):ejected")
    ngx.shared.how:delete("all")
    ngx.say(out and not get(6):find(out))
    set(out, "later")
    wait_for(function() return states():find(out .. ":probation") end)
    local threads, count = {}, 0
    for i = 1, 24 do threads[i] = ngx.thread.spawn(fetch) end
    for i = 1, 24 do
        local _, _, body = ngx.thread.wait(threads[i])
        if body == out then count = count + 1 end
    end
    ngx.say(count <= 1)
--- response_body
true
true


=== TEST 30: one address in several server lines: all of them come back as they were, with a zone and without
--- modes: plain
--- http_config
    upstream app { server A; }
    upstream own { server A weight=2 max_conns=5; server B; server C; server D; server A max_conns=7; server A down; autoscale_eject failures=1 time=200ms; }
    upstream shared { zone shared 64k; server A weight=2 max_conns=5; server B; server C; server D; server A max_conns=7; server A down; autoscale_eject failures=1 time=200ms; }
--- config
    location ~ /to/(?<u>own|shared) { proxy_pass http://$u; proxy_next_upstream off; }
--- lua
    local function peers(u)
        local all = {}
        for i, peer in ipairs(require("ngx.upstream").get_primary_peers(u)) do
            all[i] = (names[peer.name] or peer.name) .. peer.weight .. "/" .. (peer.max_conns or "-") .. (peer.down and " down" or "")
        end
        return table.concat(all, ", ")
    end
    for _, u in ipairs { "own", "shared" } do
        set("a", "500")
        get(8, "/to/" .. u)
        ngx.say(peers(u))
        set("a", "ok")
        -- the zone knows it when its time has come, and nginx's balancer a moment later
        local function is_tried() return not peers(u):find("^a2/5 down") end
        ngx.say(comes_back("a", u) and wait_for(is_tried) or states(u), " ", peers(u))
        wait_for(function() fetch("/to/" .. u) return states(u) == "a:up b:up c:up d:up" end)
        ngx.say(peers(u))
        local addr = (peers(u) and require("ngx.upstream").get_primary_peers(u)[1].name)
        assert(as.set(u, addr, { weight = 9, state = "down" }))
        ngx.say(peers(u))
        assert(as.set(u, addr, { weight = "configured", state = "configured" }))
        ngx.say(peers(u), "; ", get(8, "/to/" .. u))
    end
--- response_body_like
^a2/5 down, b1/-, c1/-, d1/-, a1/7 down, a1/- down
true a2/1, b1/-, c1/-, d1/-, a1/1, a1/1 down
a2/5, b1/-, c1/-, d1/-, a1/7, a1/- down
a9/5 down, b1/-, c1/-, d1/-, a9/7 down, a9/- down
a2/5, b1/-, c1/-, d1/-, a1/7, a1/- down; a:[34] b:\d c:\d d:\d
a2/5 down, b1/-, c1/-, d1/-, a1/7 down, a1/- down
true a2/1, b1/-, c1/-, d1/-, a1/1, a1/1 down
a2/5, b1/-, c1/-, d1/-, a1/7, a1/- down
a9/5 down, b1/-, c1/-, d1/-, a9/7 down, a9/- down
a2/5, b1/-, c1/-, d1/-, a1/7, a1/- down; a:[34] b:\d c:\d d:\d


=== TEST 31: nginx keeps out no more than the share either, once autoscale_balance has the say: a fault that all have leaves all of them, not one or nobody
--- http_config
    upstream app { zone app 64k; autoscale_balance least_request; server A; server B; server C; server D; autoscale_eject failures=1000 error_rate=off latency=off max=50%; }
    upstream spare { zone spare 64k; autoscale_balance least_request; server A; server B; server C backup; autoscale_eject failures=1000 error_rate=off latency=off; }
    upstream plain { zone plain 64k; autoscale_balance least_request; server A; server B; server C; server D; }
--- config
    location ~ /to/(?<u>app|spare|plain) { proxy_pass http://$u; proxy_next_upstream off; }
--- lua
    -- of many requests at once: who has failed is not the first choice, but one
    local function seen(uri)
        set("all", "slow")
        local threads, bodies, refused = {}, {}, 0
        for i = 1, 12 do threads[i] = ngx.thread.spawn(fetch, uri) end
        for i = 1, 12 do
            local _, status, body = ngx.thread.wait(threads[i])
            if status == 200 then bodies[body] = true else refused = refused + 1 end
        end
        local list = {}
        for body in pairs(bodies) do list[#list + 1] = body end
        return #list .. " answer, " .. refused .. " refused"
    end
    set("all", "close")
    ngx.say(get(2, "/to/app"))
    ngx.say(seen("/to/app"), ", ", #log("max_fails"))
    set("all", "close")
    ngx.say(get(1, "/to/app"))
    ngx.say(seen("/to/app"), ", ", (log("max_fails")[1]:gsub("^upstream \"app\": ", "")))
    -- a backup peer is there for that, and without ejections nginx has its way
    set("all", "close")
    ngx.say(get(2, "/to/spare"), ", ", get(5, "/to/plain"))
    ngx.say(seen("/to/spare"), "; ", seen("/to/plain"), ", ", #log('upstream "spare"') + #log('upstream "plain"'))
--- response_body
502:2
2 answer, 0 refused, 0
502:1
4 answer, 0 refused, 3 of 4 peers are out, which leaves too few: max_fails is ignored
502:2, 502:5
1 answer, 0 refused; 0 answer, 12 refused, 0


=== TEST 32: while the fault lasts, nobody is refused for it
--- modes: plain
--- http_config
    upstream app { autoscale_balance least_request; server A fail_timeout=1s; server B fail_timeout=1s; autoscale_eject failures=1000 error_rate=off; }
--- lua
    set("all", "close")
    ngx.say(get(2))
    ngx.sleep(1.7)
    ngx.say(get(2))
    ngx.shared.how:delete("all")
    ngx.sleep(0.6)
    local before = #log("max_fails")
    ngx.say((get(4):gsub("%d", "n")), ", ", before, " ", #log("max_fails"))
--- response_body_like
\A502:2
502:2
(a:n|b:n|a:n b:n), 1 2
