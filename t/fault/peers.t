# Peers that behave badly: silent, slow, rude, endless. Each comes to the documented `nil, err`; nothing is left open, and
# the worker answers others meanwhile.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

daemon(1990, $^X, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/moody-peer", 1990, 1991, 1992);
$ENV{TEST_NGINX_FLOOD} ||= 64;    # MiB that a peer sends without end; 1024 by hand
worker_connections(4096);

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', <<'EOC');
    lua_package_path "$TEST_NGINX_LUA/?.lua;$TEST_NGINX_ROOT/t/fault/lua/?.lua;;";
    lua_socket_log_errors off;
    lua_ssl_trusted_certificate $TEST_NGINX_ROOT/t/cert/ca.crt;
    lua_max_running_timers 20000;
    lua_max_pending_timers 20000;
    resolver 127.0.0.1:1992 ipv6=off;
    resolver_timeout 100ms;
    init_by_lua_block { peers = require "peers" open = peers.open descriptors = require "descriptors" }
    server {
        listen 127.0.0.1:1993 ssl;
        ssl_certificate $TEST_NGINX_ROOT/t/cert/server.crt;
        ssl_certificate_key $TEST_NGINX_ROOT/t/cert/server.key;
        location / { return 200 "over tls\n"; }
    }
EOC
    $block->set_value('config', ($block->config // '') . "location = /ping { content_by_lua_block { ngx.say('pong') } }\n");
});

run_tests();

__DATA__

=== TEST 1: a peer that never answers, to each way of receiving
--- lua
    local before = descriptors.open()
    for _, receive in ipairs {
        function(s) return s:receive() end, function(s) return s:receive(10) end, function(s) return s:receive("*a") end,
        function(s) return s:receiveany(10) end, function(s) return s:receiveuntil("end")() end,
    } do
        local sock = open("silence")
        sock:settimeout(10)
        local data, err, partial = receive(sock)
        ngx.say(data, " ", err, " ", partial == "", " ", sock:close())
    end
    ngx.say(descriptors.more_than(before))
--- response_body
nil timeout true 1
nil timeout true 1
nil timeout true 1
nil timeout true 1
nil timeout true 1
0


=== TEST 2: a byte now and then is slow, but no timeout
--- lua
    local before = descriptors.open()
    for _, receive in ipairs {
        function(s) return s:receive() end, function(s) return s:receive(12) end,
        function(s) return s:receiveuntil("rld")() end,
    } do
        local sock = open("drip 12 hello, world")
        sock:settimeout(110)
        ngx.update_time()
        local began = ngx.now()
        local data, err = receive(sock)
        ngx.update_time()
        ngx.say(data, " ", err, " ", ngx.now() - began > 0.11)
        sock:close()
    end
    local sock = open("drip 60 hello")
    sock:settimeout(20)
    local data, err, partial = sock:receive()
    ngx.say(data, " ", err)
    -- how far it had come is a matter of the machine
    sock:settimeout(2000)
    ngx.say(partial, sock:receive(4 - #partial))
    sock:close()
    ngx.say(descriptors.more_than(before))
--- response_body
hello, world nil true
hello, world nil true
hello, wo nil true
nil timeout
hell
0


=== TEST 3: a peer that resets, in the middle of what is received
--- lua
    local before = descriptors.open()
    for _, receive in ipairs {
        function(s) return s:receive() end, function(s) return s:receive(10) end, function(s) return s:receive("*a") end,
        function(s) return s:receiveany(2), s:receiveany(10), s:receiveany(10) end,
        function(s) return s:receiveuntil("end")() end,
    } do
        local sock = open("reset half")
        local a, b, c, d = receive(sock)
        ngx.say(tostring(a), " ", tostring(b), " ", tostring(c), " ", tostring(d))
        -- it is closed
        ngx.say(sock:send("x"))
    end
    ngx.say(descriptors.more_than(before))
--- response_body
nil connection reset by peer half nil
nilclosed
nil connection reset by peer half nil
nilclosed
nil connection reset by peer half nil
nilclosed
ha lf nil connection reset by peer
nilclosed
nil connection reset by peer half nil
nilclosed
0


=== TEST 4: a peer that closes in the middle of a line
--- lua
    local before = descriptors.open()
    for _, receive in ipairs {
        function(s) return s:receive() end, function(s) return s:receive(10) end, function(s) return s:receive("*a") end,
        function(s) return s:receiveuntil("end")() end,
    } do
        local sock = open("cut half a li")
        ngx.say(receive(sock))
        ngx.say(sock:receive())
        sock:close()
    end
    ngx.say(descriptors.more_than(before))
--- response_body
nilclosedhalf a li
nilclosed
nilclosedhalf a li
nilclosed
half a li
nilclosed
nilclosedhalf a li
nilclosed
0


=== TEST 5: sending to one that has gone
--- lua
    local before = descriptors.open()
    local sock = open("reset ")
    -- until it is known here that it has gone
    local ok, err
    for _ = 1, 200 do
        ngx.sleep(0.01)
        ok, err = sock:send("x")
        if not ok then break end
    end
    ngx.say(ok, " ", err == "connection reset by peer" or err == "broken pipe" or err)
    ngx.say(sock:send("x"))
    ngx.say(sock:setkeepalive())
    ngx.say(descriptors.more_than(before))
--- response_body
nil true
nilclosed
nilclosed
0


=== TEST 6: more than is kept, in pieces: memory stays, others are answered
--- timeout: 30
--- once
--- lua
    local size = $TEST_NGINX_FLOOD * 1024 * 1024
    local ways = {
        function(s) return s:receive(65536) end, function(s) return s:receiveany(65536) end,
        function(s, read) return read(65536) end,
    }
    for _, way in ipairs(ways) do
        local sock = open("flood %d", size)
        local read = sock:receiveuntil("never said")
        local grown = 0
        local before = peers.memory()
        local pings, got = peers.with_pings(ngx.var.server_port, function()
            local got, n = 0, 0
            while true do
                local data, err, partial = way(sock, read)
                data = data or partial
                if not data or data == "" then
                    if err ~= "closed" then ngx.say(err) end
                    return got
                end
                got, n = got + #data, n + 1
                if n % 256 == 0 then grown = math.max(grown, peers.memory() - before) end
            end
        end)
        ngx.say(got == size or got, " ", pings > 2 or pings, " ", grown < 16 or grown)
        sock:close()
    end
--- response_body
true true true
true true true
true true true


=== TEST 7: names that are not known, for every reason, and those with many addresses
--- lua
    local before = descriptors.open()
    local function try(name)
        local sock = ngx.socket.tcp()
        sock:settimeout(1000)
        local ok, err = sock:connect(name, peers.peer, { pool = "names" })
        ngx.say(ok, " ", (tostring(err):gsub("late%-%d+", "late")))
        sock:close()
        return ok
    end
    try("one.test")
    for _, name in ipairs { "fails", "zero", "broken", "silent" } do
        try(name .. ".test")
    end
    -- the resolver has its socket now
    before = descriptors.open()
    try("150-ms-late-" .. ngx.var.connection .. ".test")
    local udp = ngx.socket.udp()
    ngx.say(udp:setpeername("silent.test", 53))
    ngx.say(udp:setpeername("zero.test", 53))
    ngx.say(descriptors.more_than(before))
--- response_body
1 nil
nil fails.test could not be resolved (2: Server failure)
nil zero.test could not be resolved (3: Host not found)
nil broken.test could not be resolved (110: Operation timed out)
nil silent.test could not be resolved (110: Operation timed out)
nil 150-ms-late.test could not be resolved (110: Operation timed out)
nilsilent.test could not be resolved (110: Operation timed out)
nilzero.test could not be resolved (3: Host not found)
0


=== TEST 8: twenty addresses take turns
--- config
    location = /who { content_by_lua_block { ngx.print(ngx.var.server_addr) } }
--- lua
    local seen, n = {}, 0
    for _ = 1, 40 do
        local sock = ngx.socket.tcp()
        assert(sock:connect("twenty.test", ngx.var.server_port))
        sock:send("GET /who HTTP/1.0\r\n\r\n")
        seen[assert(sock:receive("*a")):match("127[%d.]+$")] = true
        sock:close()
    end
    for _ in pairs(seen) do n = n + 1 end
    ngx.say(n > 5 and n <= 20)
--- response_body
true


=== TEST 9: TLS that comes byte by byte
--- lua
    local before = descriptors.open()
    local sock = open("relay %d 0", peers.tls)
    ngx.say(sock:sslhandshake(false, "test.example", true))
    sock:send("GET / HTTP/1.0\r\n\r\n")
    ngx.say((sock:receive("*a"):gsub("^.*\r\n\r\n", "")))
    sock:close()
    ngx.say(descriptors.more_than(before))
--- response_body
true
over tls

0
--- no_error_log
[error]


=== TEST 10: TLS that is cut anywhere in the handshake
--- lua
    local before = descriptors.open()
    for _, n in ipairs { 1, 4, 5, 6, 50, 100, 127, 128, 200, 500, 700 } do
        local sock = open("relay %d %d", peers.tls, n)
        local ok, err = sock:sslhandshake(false, "test.example", true)
        if ok or err ~= "handshake failed" then ngx.say(n, " ", ok, " ", err) end
        if select(2, sock:send("x")) ~= "closed" then ngx.say("not closed") end
    end
    ngx.say("done ", descriptors.more_than(before))
--- response_body
done 0


=== TEST 11: a thread leaves the request while others wait for peers
--- config
    location = /exit {
        content_by_lua_block {
            everything_waits()
            ngx.exit(403)
        }
    }
    location = /exec {
        access_by_lua_block {
            everything_waits()
            ngx.exec("/done")
        }
    }
    location = /redirect {
        rewrite_by_lua_block {
            everything_waits()
            ngx.redirect("/done")
        }
    }
    location = /fails {
        content_by_lua_block {
            everything_waits()
            error("on purpose")
        }
    }
    location = /done { return 200 "done\n"; }
    location = /t {
        content_by_lua_block {
            function everything_waits()
                local spawn = ngx.thread.spawn
                for _ = 1, 3 do
                    spawn(function() return open("silence"):receive() end)
                    spawn(function() return open("silence"):sslhandshake() end)
                    spawn(function() return open("deaf 10000"):send(string.rep("x", 10000000)) end)
                    spawn(function() return ngx.socket.connect("127.0.0.1", peers.full) end)
                    spawn(function() return ngx.socket.connect("silent.test", 80) end)
                    spawn(function()
                        local udp = ngx.socket.udp()
                        udp:setpeername("127.0.0.1", peers.dns)
                        return udp:receive()
                    end)
                end
                ngx.sleep(0.01)
            end
            local function ask(path)
                local sock = ngx.socket.tcp()
                sock:settimeout(2000)
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET " .. path .. " HTTP/1.0\r\n\r\n")
                local status = sock:receive()
                sock:close()
                return status
            end
            ask("/redirect")
            local before = descriptors.open()
            for _, path in ipairs { "/exit", "/exec", "/redirect", "/fails" } do
                ngx.say(ask(path))
            end
            ngx.say(descriptors.more_than(before))
        }
    }
--- response_body
HTTP/1.1 403 Forbidden
HTTP/1.1 200 OK
HTTP/1.1 302 Moved Temporarily
HTTP/1.1 500 Internal Server Error
0
--- error_log
on purpose


=== TEST 12: more than there is memory for is an error of the one who asked
--- timeout: 20
--- lua
    local before, worker = descriptors.open(), ngx.worker.pid()
    peers.with_memory(80, function()
        local sock = open("flood 1073741824")
        local data, err, partial = sock:receive("*a")
        ngx.say(data, " ", err, " ", #partial, " ", select(2, sock:receive(1)))
        local child = require("ngx.pipe").spawn { "cat", "/dev/zero" }
        data, err, partial = child:stdout_read_all()
        ngx.say(data, " ", err, " ", #partial, " ", select(2, child:stdout_read_any(1)))
        child:shutdown("stdout")
        child:kill(9)
        child:wait()
        sock = open("say still here")
        ngx.say(sock:receive())
        sock:close()
    end)
    ngx.say(descriptors.more_than(before), " ", ngx.worker.pid() == worker)
--- response_body
nil cannot allocate memory 0 closed
nil Cannot allocate memory 0 closed
still here
0 true
