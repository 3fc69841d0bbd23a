# Peers that are added and taken back while nginx runs, by scripts and from a file.
# modes: plain workers
use lib 't/lib';
use AutoscaleLua;

# Three backends that say who they are; A is what the configuration has. APP is an upstream of the block's own, because a reload keeps
# what was added.
my $blocks = 0;
add_block_preprocessor(sub {
    my $block = shift;
    my $app = 'app' . ++$blocks;
    my %port = map { (substr('ABCDE', $_ - 1, 1) => "127.0.0.1:\$TEST_NGINX_RAND_PORT_$_") } 1 .. 5;
    my $expand = sub {
        my $text = shift;
        $text =~ s/\bAPP\b/$app/g;
        $text =~ s/\b([ABCDE])\b/$port{$1}/g;
        return $text;
    };
    my $zone = ($block->http_config // '') =~ /autoscale_zone/ ? '' : "autoscale_zone main:16m keys=0;\n";
    my $http = $zone . ($block->http_config // "upstream APP { server A; autoscale_balance least_request slow_start=0; }\n");
    for my $number (1 .. 4) {
        my $name = substr('abcd', $number - 1, 1);
        $http .= <<"CONF";
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_$number;
    location / { return 200 "$name"; }
    location /slow { content_by_lua_block { ngx.sleep(tonumber(ngx.var.arg_s) or 0.5) ngx.print("$name") } }
}
CONF
    }
    $block->set_value('http_config', $expand->($http . <<'CONF'));
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    testing = require "testing"
    wait_for, reload = testing.wait_for, testing.reload
    as = require "ngx.autoscale"
    names = { ["A"] = "a", ["B"] = "b", ["C"] = "c", ["D"] = "d", ["E"] = "e" }

    function show(upstream)
        local all = {}
        for peer in as.peers(upstream or "APP") do
            all[#all + 1] = (names[peer.addr] or peer.addr) .. ":" .. peer.state .. (peer.weight > 1 and "*" .. peer.weight or "")
        end
        table.sort(all)
        return table.concat(all, " ")
    end

    function shows(wanted, seconds)
        return wait_for(function() return show() == wanted end, seconds) and wanted or "it is " .. show()
    end

    function write(name, ...) testing.write(name, table.concat({ ... }, "\n"), "\n") end

    -- who answers so many requests at once, each name once
    function answers(n)
        local all, list = {}, {}
        for i = 1, n do all[i] = { "/p/slow?s=0.05" } end
        for i, res in ipairs { ngx.location.capture_multi(all) } do
            list[i] = res.status == 200 and res.body or tostring(res.status)
        end
        return testing.distinct(list)
    end
}
CONF
    $block->set_value('lua', $expand->($block->lua)) if defined $block->lua;
    my $config = $expand->($block->config // '');
    $block->set_value('config', $config . $expand->("location /p/ { proxy_pass http://APP/; proxy_connect_timeout 1s; }\n"));
    $block->set_value('timeout', 15) if !defined $block->timeout;
});

run_tests();

__DATA__

=== TEST 1: a peer is added, gets requests, and goes
--- lua
    ngx.say(show(), ", ", answers(20))
    ngx.say(as.peer_add("APP", "B"))
    ngx.say(as.peer_add("APP", "C", { weight = 5, slow_start = 0 }))
    -- again is nothing new
    ngx.say(as.peer_add("APP", "B"))
    ngx.say(show(), ", ", answers(20))
    for peer in as.peers("APP") do
        if names[peer.addr] ~= "a" then ngx.say(names[peer.addr], " ", peer.source, " ", peer.backup, " ", peer.down) end
    end
    ngx.say(as.set("APP", "B", { state = "down" }), " ", answers(20))
    ngx.say(as.set("APP", "B", { state = "configured" }), " ", as.peer_remove("APP", "C", { drain = 0 }))
    ngx.say(show(), ", ", answers(20))
    ngx.say(as.peer_remove("APP", "B", { drain = 0 }))
    ngx.say(show(), ", ", answers(20))
--- response_body
a:up, a
true
true
true
a:up b:up c:up*5, a b c
b script false false
c script false false
true a c
true true
a:up b:up, a b
true
a:up, a


=== TEST 2: what cannot be added or removed is told why, and what to write
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; }
    upstream plain { server A; }
--- lua
    local function say(...) ngx.say(select(2, ...) or (...)) end
    say(as.peer_add("plain", "B"))
    say(as.peer_add("ap", "B"))
    say(as.peer_add("APP", "example.com:80"))
    say(as.peer_add("APP", "127.0.0.1"))
    say(as.peer_add("APP", "127.0.0.1:99999"))
    say(as.peer_add("APP", "unix:app.sock"))
    say(as.peer_remove("APP", "127.0.0.9:1"))
    say((select(2, as.peer_remove("APP", "A")):gsub("%d+%.%d+%.%d+%.%d+:%d+", "ADDR"):gsub("app%d+", "UP")))
    for _, call in ipairs { { "APP" }, { "APP", 5 }, { "APP", "B", 5 }, { "APP", "B", { weight = 0 } }, { "APP", "B", { weight = "x" } },
                            { "APP", "B", { slow_start = -1 } }, { nil, "B" } } do
        say(pcall(as.peer_add, call[1], call[2], call[3]))
    end
    say(pcall(as.peer_remove, "APP", "B", { drain = "long" }))
    ngx.say(show())
--- response_body_like
^upstream "plain" takes no peers while nginx runs: write "autoscale_balance peak_ewma;" in its block
there is no upstream "ap"[^\n]*
"example.com:80" is a name: write the address that it has, or "autoscale_peers dns:NAME:PORT;" in the upstream
"127.0.0.1" has no port: write IP:PORT
"127.0.0.1:99999" is no address: write IP:PORT, \[IPv6\]:PORT or unix:PATH
"unix:app.sock" is no address: write IP:PORT, \[IPv6\]:PORT or unix:PATH
upstream "app\d+" has no peer "127.0.0.9:1"
"ADDR" is of a "server" line: write set\("UP", "ADDR", \{ state = "drain" \}\)
bad argument #2 to 'peer_add' \(string expected, got nil\)
bad argument #2 to 'peer_add' \(string expected, got number\)
bad argument #3 to 'peer_add' \(table expected, got number\)
bad option weight \(a whole number from 1 to 65535 expected\)
bad option weight \(a whole number from 1 to 65535 expected\)
bad option slow_start \(seconds from 0 to 86400 expected\)
bad argument #1 to 'peer_add' \(string expected, got nil\)
bad option drain \(seconds from 0 to 86400 expected\)
a:up$


=== TEST 3: IPv6 and unix sockets are peers, too
--- modes: plain
--- http_config
    upstream APP { server 127.0.0.1:1 down; autoscale_balance least_request slow_start=0; }
    server { listen unix:$TEST_NGINX_SERVER_ROOT/html/six.sock; location / { content_by_lua_block { ngx.sleep(0.05) ngx.print("unix") } } }
    server { listen [::1]:$TEST_NGINX_RAND_PORT_5; location / { content_by_lua_block { ngx.sleep(0.05) ngx.print("six") } } }
--- lua
    local port = ("E"):match("%d+$")
    ngx.say(answers(1))
    local unix = "unix:" .. ngx.config.prefix() .. "html/six.sock"
    ngx.say(as.peer_add("APP", unix), " ", answers(20))
    ngx.say(as.peer_add("APP", "[0:0::1]:" .. port), " ", answers(20))
    ngx.say(as.peer_remove("APP", unix, { drain = 0 }), " ", answers(20))
    ngx.say(as.peer_remove("APP", "[::1]:" .. port, { drain = 0 }))
--- response_body
502
true unix
true six unix
true six
true
--- error_log
no live upstreams


=== TEST 4: who is removed drains: what it has in flight ends, and nothing new comes
--- lua
    assert(as.peer_add("APP", "B"))
    assert(as.set("APP", "A", { state = "down" }))
    local slow = ngx.thread.spawn(function() return ngx.location.capture("/p/slow?s=1.5") end)
    ngx.sleep(0.1)
    assert(as.set("APP", "A", { state = "configured" }))
    ngx.say(as.peer_remove("APP", "B", { drain = 60 }))
    ngx.say(show(), ", ", answers(20))
    -- again is no failure
    ngx.say(as.peer_remove("APP", "B"))
    local _, res = ngx.thread.wait(slow)
    ngx.say(res.status, " ", res.body)
    ngx.say(shows("a:up", 4))
--- response_body
true
a:up b:drain, a
true
200 b
a:up


=== TEST 5: a drain ends in time, and cuts nothing off
--- once
--- lua
    assert(as.peer_add("APP", "B"))
    assert(as.set("APP", "A", { state = "down" }))
    local slow = ngx.thread.spawn(function() return ngx.location.capture("/p/slow?s=4") end)
    ngx.sleep(0.1)
    assert(as.set("APP", "A", { state = "configured" }))
    assert(as.peer_remove("APP", "B", { drain = 1 }))
    ngx.say(shows("a:up", 3.5))
    local _, res = ngx.thread.wait(slow)
    ngx.say(res.status, " ", res.body)
--- response_body
a:up
200 b


=== TEST 6: a zone that is full says so, and keeps who is there
--- http_config
    autoscale_zone main:4m keys=0;
    upstream APP { server A; autoscale_balance least_request slow_start=0; }
--- lua
    local added, err = 0, nil
    for port = 1, 2000 do
        local ok, why = as.peer_add("APP", "127.0.0.7:" .. port)
        if not ok then
            err = why
            break
        end
        added = added + 1
    end
    ngx.say(added > 5, " ", err)
    ngx.say(select(2, show():gsub("[^ ]+", "")) == added + 1)
    ngx.say(as.peer_remove("APP", "127.0.0.7:1", { drain = 0 }), " ", as.peer_add("APP", "B"))
    for port = 2, added do
        assert(as.peer_remove("APP", "127.0.0.7:" .. port, { drain = 0 }))
    end
    ngx.say(show(), ", ", answers(20))
    assert(as.peer_remove("APP", "B", { drain = 0 }))
--- response_body_like
^true no room for peer "127.0.0.7:\d+" in the zone: make it larger
true
true true
a:up b:up, a b$


=== TEST 7: a reload keeps what scripts have added, and drops no request
--- once
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; }
    lua_shared_dict kept 1m;
--- config
    location = /again {
        content_by_lua_block {
            ngx.say(show(), ", ", answers(20), ", former: ", former)
            ngx.say(as.peer_remove("APP", "B", { drain = 0 }), " ", show())
            ngx.say(ngx.shared.kept:get("slow"))
        }
    }
    location = /first {
        content_by_lua_block {
            former = true
            assert(as.peer_add("APP", "B", { weight = 3 }))
            assert(as.set("APP", "A", { state = "down" }))
            local slow = ngx.thread.spawn(function()
                ngx.shared.kept:set("slow", ngx.location.capture("/p/slow?s=1.3").body)
            end)
            ngx.sleep(0.1)
            assert(as.set("APP", "A", { state = "configured" }))
            reload()
            ngx.thread.wait(slow)
            ngx.say("ok")
        }
    }
--- request eval
["GET /first", "GET /again"]
--- response_body eval
["ok\n", "a:up b:up*3, a b, former: nil\ntrue a:up\nb\n"]


=== TEST 8: a file names peers: it is read again when it changes; one that is wrong or empty changes nothing
--- once
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; autoscale_peers file:html/peers every=100ms drain=0; }
--- user_files
>>> peers
# nobody is wrong to begin with
--- lua
    write("html/peers", "B weight=2 # two", "C")
    ngx.say(shows("a:up b:up*2 c:up"))
    ngx.say(answers(20))
    write("html/peers", "B", "example.com:80")
    ngx.sleep(0.5)
    ngx.say(show())
    write("html/peers", "")
    ngx.sleep(0.5)
    ngx.say(show())
    os.remove(ngx.config.prefix() .. "html/peers")
    ngx.sleep(0.5)
    ngx.say(show())
    write("html/peers", "C", "D")
    ngx.say(shows("a:up c:up d:up"))
    -- a script takes away only what scripts have given
    ngx.say((select(2, as.peer_remove("APP", "C")):gsub("%d+%.%d+%.%d+%.%d+:%d+", "ADDR")))
    assert(as.peer_add("APP", "C", { weight = 7 }))
    for peer in as.peers("APP") do
        if peer.source then ngx.say(names[peer.addr], " ", peer.source, " ", peer.weight) end
    end
    write("html/peers", "D")
    ngx.sleep(0.5)
    ngx.say(show())
    ngx.say(as.peer_remove("APP", "C", { drain = 0 }), " ", show())
--- response_body
a:up b:up*2 c:up
a b c
a:up b:up*2 c:up
a:up b:up*2 c:up
a:up b:up*2 c:up
a:up c:up d:up
"ADDR" is there because "autoscale_peers file:html/peers" names it
c script, file:html/peers 7
d file:html/peers 1
a:up c:up*7 d:up
true a:up d:up
--- grep_error_log eval: qr/peers of upstream "app\d+" from "file:html\/peers": \K(?:names nobody|cannot be had|is well again).*?(?=,|$)/
--- grep_error_log_out eval
qr/^(?:names nobody: the 0 peer\(s\) that it named stay\n)?cannot be had: line 2: "example.com:80" is a name: write the address that it has
names nobody: the 2 peer\(s\) that it named stay
is well again after 1 failure\(s\)
cannot be had: .*
is well again after \d+ failure\(s\)
$/


=== TEST 9: a line that a reload takes away takes its peers along
--- once
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; include ../html/lines; }
--- user_files
>>> lines
autoscale_peers file:html/one every=100ms;
autoscale_peers file:html/two every=100ms drain=1s;
>>> one
127.0.0.7:1
127.0.0.7:2
>>> two
127.0.0.7:2
127.0.0.7:3
--- config
    location = /first {
        content_by_lua_block {
            former = true
            ngx.say(shows("127.0.0.7:1:up 127.0.0.7:2:up 127.0.0.7:3:up a:up"))
            write("html/lines", "autoscale_peers file:html/two every=200ms;")
            reload()
            ngx.sleep(1)
        }
    }
    location = /again {
        content_by_lua_block {
            ngx.say(former, " ", shows("127.0.0.7:2:up 127.0.0.7:3:up a:up"))
            for peer in as.peers("APP") do if peer.source then ngx.say(peer.addr, " ", peer.source) end end
            write("html/lines", "# none")
            former = true
            reload()
            ngx.sleep(1)
        }
    }
    location = /last { content_by_lua_block { ngx.say(former, " ", shows("a:up")) } }
--- request eval
["GET /first", "GET /again", "GET /last"]
--- response_body eval
["127.0.0.7:1:up 127.0.0.7:2:up 127.0.0.7:3:up a:up\n",
 "nil 127.0.0.7:2:up 127.0.0.7:3:up a:up\n127.0.0.7:2 file:html/two\n127.0.0.7:3 file:html/two\n", "nil a:up\n"]


=== TEST 10: a thousand peers come and go within a minute under load, and no request is lost
--- modes: workers
--- once
--- http_config
    autoscale_zone main:64m keys=0;
    upstream APP { server A; autoscale_balance least_request slow_start=0; keepalive 8; }
    server { listen *:$TEST_NGINX_RAND_PORT_5; location / { return 200 "e"; } }
--- config
    location = /one { content_by_lua_block { ngx.print(answers(1)) } }
--- lua
    local port = ("E"):match("%d+$")
    local lost, sent, all, over = 0, 0, 0, false
    local function load()
        while not over do
            local res = ngx.location.capture("/p/")
            sent = sent + 1
            if res.status ~= 200 then lost = lost + 1 end
            if sent % 7 == 0 then ngx.sleep(0.001) end
        end
    end
    local threads = { ngx.thread.spawn(load), ngx.thread.spawn(load) }
    local function addr(i) return "127." .. math.floor(i / 200) .. ".1." .. i % 200 + 1 .. ":" .. port end
    local function each(from, to, f)
        for i = from, to do
            f(addr(i))
            if i % 4 == 0 then ngx.sleep(0.002) end
        end
    end
    local began = ngx.now()
    each(1, 1000, function(one) assert(as.peer_add("APP", one)) end)
    for _ in as.peers("APP") do all = all + 1 end
    -- half of the fleet at once, the others one after the other
    for i = 1, 500 do assert(as.peer_remove("APP", addr(i), { drain = 5 })) end
    each(501, 1000, function(one) assert(as.peer_remove("APP", one, { drain = 0 })) end)
    ngx.update_time()
    local took = ngx.now() - began
    -- some that have gone, and some that may drain still, come back
    each(401, 600, function(one) assert(as.peer_add("APP", one)) end)
    each(401, 600, function(one) assert(as.peer_remove("APP", one, { drain = 0 })) end)
    over = true
    for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
    ngx.log(ngx.INFO, "1,000 peers came and went in ", took, " s, in which there were ", sent, " requests")
    ngx.say(lost, " lost, ", sent > 100, ", ", all, " at most, within a minute: ", took < 60, ", ", shows("a:up"))
--- response_body
0 lost, true, 1001 at most, within a minute: true, a:up
--- timeout: 80


=== TEST 11: the worker that watches is killed, and so is one that adds: another one takes over
--- modes: workers
--- once
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; autoscale_peers file:html/peers every=100ms drain=0; }
    lua_shared_dict told 1m;
    init_worker_by_lua_block {
        if ngx.worker.id() ~= 0 then return end
        -- it adds and removes until it dies
        ngx.timer.at(0, function()
            if ngx.shared.told:get("dying") then return end
            while true do
                if ngx.shared.told:get("begin") then
                    as.peer_add("APP", "127.0.0.7:1")
                    as.peer_remove("APP", "127.0.0.7:1", { drain = 0 })
                end
                ngx.sleep(0)
            end
        end)
    }
--- user_files
>>> peers
127.0.0.7:9
--- config
    location = /pid { content_by_lua_block { ngx.print(ngx.worker.id(), " ", ngx.worker.pid()) } }
--- lua
    ngx.say(wait_for(function() return show():find("127.0.0.7:9:up", 1, true) end) ~= false)
    ngx.shared.told:set("begin", true)
    ngx.sleep(0.2)
    ngx.shared.told:set("dying", true)
    -- all workers but this one, and then this one's line is its own
    os.execute("for p in $(cat /proc/*/stat 2>/dev/null | awk '$4 == " .. ngx.worker.pid() .. " { print $1 }'); do :; done")
    local file = assert(io.popen("pgrep -P $(cat " .. ngx.config.prefix() .. "logs/nginx.pid)"))
    for pid in file:lines() do
        if tonumber(pid) ~= ngx.worker.pid() then os.execute("kill -9 " .. pid) end
    end
    file:close()
    write("html/peers", "127.0.0.7:8")
    local began = ngx.now()
    ngx.say(wait_for(function()
        local now = show()
        return now:find("127.0.0.7:8:up", 1, true) and not now:find("127.0.0.7:9", 1, true)
    end, 6) ~= false)
    ngx.update_time()
    ngx.say(ngx.now() - began < 3.5)
    -- whatever was half done can be done again
    ngx.say(as.peer_add("APP", "127.0.0.7:1"), " ", as.peer_remove("APP", "127.0.0.7:1", { drain = 0 }))
    ngx.say(shows("127.0.0.7:8:up a:up"), ", ", answers(1))
--- response_body
true
true
true
true true
127.0.0.7:8:up a:up, a
--- allow_log
exited on signal 9


=== TEST 12: added peers are members of a pool
--- once
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; }
    autoscale_target APP pool:APP min=1;
    autoscale_policy p target=APP { up self.rate > 1M by=+1; cooldown up=0s down=0s; limit min=1; }
--- lua
    assert(as.peer_add("APP", "B"))
    assert(as.peer_add("APP", "C"))
    ngx.say(shows("a:up b:standby c:standby"), ", ", answers(20))
    wait_for(function()
        assert(as.scale("APP", { replicas = 2, reason = "test" }))
        return wait_for(function() return show() == "a:up b:up c:standby" end, 2)
    end)
    ngx.say(show(), ", ", answers(20))
    -- whoever leaves is replaced
    assert(as.peer_remove("APP", "B", { drain = 0 }))
    ngx.say(shows("a:up c:up"), ", ", answers(20))
    assert(as.peer_remove("APP", "C", { drain = 0 }))
    ngx.say(shows("a:up"), ", ", answers(20))
--- response_body
a:up b:standby c:standby, a
a:up b:up c:standby, a b
a:up c:up, a c
a:up, a


=== TEST 13: lines that cannot work are refused where they stand
--- modes: plain
--- http_config
    upstream APP { server A; autoscale_peers file:html/peers; }
--- config
--- must_die
--- error_log eval
qr/"autoscale_peers file:html\/peers": nginx's own methods take no peers while it runs: write "autoscale_balance peak_ewma;" beside it in .*nginx.conf:\d+/


=== TEST 14: a name without a name server
--- modes: plain
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; autoscale_peers dns:app.test:80; }
--- config
--- must_die
--- error_log eval
qr/"autoscale_peers dns:app.test:80": nobody is there to ask: write "resolver ADDRESS;" in http \{\} in .*nginx.conf:\d+/


=== TEST 15: the same line twice
--- modes: plain
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; autoscale_peers file:a; autoscale_peers file:a every=5s; }
--- config
--- must_die
--- error_log
"file:a" is there already


=== TEST 16: words that mean nothing
--- modes: plain
--- http_config
    upstream APP { server A; autoscale_balance least_request slow_start=0; autoscale_peers dns:app; }
--- config
--- must_die
--- error_log
invalid source of peers "dns:app": write dns:NAME:PORT
