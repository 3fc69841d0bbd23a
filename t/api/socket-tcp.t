use lib 't/lib';
use AutoscaleLua;

# A server that speaks the few things the blocks below ask for.
our $Peer = <<'EOC';
    location = /say { content_by_lua_block { ngx.header.content_length = 6 ngx.print("hello\n") } }
    location = /lines { return 200 "one\r\ntwo\n\nlast"; }
    location = /slow { content_by_lua_block { ngx.print("be") ngx.flush(true) ngx.sleep(0.3) ngx.print("gin") } }
    location = /big { content_by_lua_block { local s = string.rep("0123456789abcdef", 4096) for i = 1, 32 do ngx.print(s) end } }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("config", $main::Peer . ($block->config // ''));
});

worker_connections(1024);
run_tests();

__DATA__

=== TEST 1: a request and its response, in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", ngx.var.server_port))
    local sent = sock:send { "GET /say HTTP/1.0\r\n", { "Host: ", "a", "\r\n" }, "\r\n" }
    local status = sock:receive("*l")
    repeat local line = sock:receive() until line == ""
    local body = sock:receive("*a")
    return sent .. " " .. status .. " " .. body .. tostring(select(2, sock:receive())) .. " " .. sock:close()
--- result
30 HTTP/1.1 200 OK hello
closed 1


=== TEST 2: in a timer
--- config
    location = /t {
        content_by_lua_block {
            local port, result = ngx.var.server_port, nil
            ngx.timer.at(0, function()
                local sock = assert(ngx.socket.connect("127.0.0.1", port))
                sock:send("GET /say HTTP/1.0\r\n\r\n")
                result = sock:receive()
            end)
            for _ = 1, 100 do
                if result then break end
                ngx.sleep(0.005)
            end
            ngx.say(result)
        }
    }
--- response_body
HTTP/1.1 200 OK


=== TEST 3: phases that cannot wait have no sockets
--- refused: set header_filter body_filter log balancer init_worker exit_worker
--- lua
    ngx.socket.tcp()
--- result
API disabled


=== TEST 4: lines, sizes, and what is there
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /lines HTTP/1.0\r\n\r\n")
    sock:receiveuntil("\r\n\r\n")()
    ngx.say(sock:receive())
    ngx.say(sock:receive(2))
    ngx.say(sock:receive("1") == "\n")
    ngx.say(sock:receive() == "")
    ngx.say(sock:receive(0) == "")
    ngx.say(sock:receiveany(2), sock:receiveany(100))
    ngx.say(sock:receiveany(1))
--- response_body
one
tw
false
true
true

last
nilclosed


=== TEST 5: what has come before an error is the third result
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /lines HTTP/1.0\r\n\r\n")
    sock:receiveuntil("\r\n\r\n")()
    ngx.say(sock:receive(1000))
    ngx.say(sock:receive())
--- response_body eval
"nilclosedone\r\ntwo\n\nlast\nnilclosed\n"


=== TEST 6: up to a pattern, whole and in pieces
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /say HTTP/1.0\r\n\r\n")
    local read = sock:receiveuntil("\r\n", { inclusive = true })
    ngx.print(read())
    repeat local line = read() until line == "\r\n"
    read = sock:receiveuntil("lo\n")
    ngx.say(read(2), " ", read(2), " ", read(2))
    ngx.say(pcall(sock.receiveuntil, sock))
    ngx.say(sock:receiveuntil(""))
--- response_body eval
"HTTP/1.1 200 OK\r\nhe l nilnilnil
falsebad argument #1 to 'receiveuntil' (string expected, got nil)
nilpattern is empty
"


=== TEST 7: a peer that is too slow, and one that goes on afterwards
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:settimeout(100)
    sock:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    sock:receiveuntil("\r\n\r\n")()
    ngx.say(sock:receive(100))
    sock:settimeouts(1000, 1000, 1000)
    ngx.say(sock:receive(8))
--- response_body eval
"niltimeout2\r\nbe\r\n\n3\r\ngin\r\n\n"
--- error_log
lua tcp socket read timed out


=== TEST 8: nobody listens, nobody answers, no such path
--- lua
    local sock = ngx.socket.tcp()
    ngx.say(sock:connect("127.0.0.1", 1))
    ngx.say(sock:connect("::1", 1))
    ngx.say(sock:connect("unix:/nonexistent/socket"))
    ngx.say(sock:connect("127.0.0.1"))
    ngx.say(sock:connect("127.0.0.1", 70000))
    ngx.say(sock:connect("no.such.name", 80))
--- response_body
nilconnection refused
nilconnection refused
nilno such file or directory
nilmissing the port number
nilbad port number: 70000
nilno resolver defined to resolve "no.such.name"
--- allow_log
no such file or directory
--- error_log
connect() failed (111: Connection refused), when connecting to 127.0.0.1:1


=== TEST 9: lua_socket_log_errors off
--- config
    location = /t {
        lua_socket_log_errors off;
        content_by_lua_block {
            local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
            sock:settimeout(1)
            ngx.say(sock:receive())
            ngx.say(sock:close())
            ngx.say(sock:send("x"))
        }
    }
--- response_body
niltimeout
1
nilclosed
--- no_error_log
[error]


=== TEST 10: a closed socket
--- lua
    local sock = ngx.socket.tcp()
    ngx.say(sock:send("x"))
    ngx.say(sock:receive())
    ngx.say(sock:close())
    ngx.say(sock:setkeepalive())
    ngx.say(sock:getreusedtimes())
    ngx.say(sock:receiveuntil("x")())
--- response_body
nilclosed
nilclosed
nilclosed
nilclosed
nilclosed
nilclosed
--- error_log
attempt to send data on a closed socket
attempt to receive data on a closed socket


=== TEST 11: connections are kept and used again
--- lua
    local function fetch(sock)
        sock:send("GET /say HTTP/1.1\r\nHost: a\r\n\r\n")
        sock:receiveuntil("\r\n\r\n")()
        return sock:receive(6)
    end
    local sock = ngx.socket.tcp()
    for _ = 1, 3 do
        assert(sock:connect("127.0.0.1", ngx.var.server_port, { pool = "mine" .. ngx.var.connection }))
        ngx.print(sock:getreusedtimes(), " ", fetch(sock))
        assert(sock:setkeepalive(1000, 5))
    end
    ngx.say(sock:send("x"))
    local other = ngx.socket.connect("127.0.0.1", ngx.var.server_port, { pool = "other" .. ngx.var.connection })
    ngx.say(other:getreusedtimes())
--- response_body
0 hello
1 hello
2 hello
nilclosed
0


=== TEST 12: a connection that is not at rest is not kept
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /say HTTP/1.1\r\nHost: a\r\n\r\n")
    sock:receive()
    ngx.say(sock:setkeepalive())
    sock:receiveuntil("\r\n\r\n")()
    sock:receive(6)
    sock:send("GET /say HTTP/1.1\r\nHost: a\r\n\r\n")
    ngx.sleep(0.02)
    ngx.say(sock:setkeepalive())
--- response_body
nilunread data in buffer
nilconnection in dubious state


=== TEST 13: a pool of limited size, and those that wait for it
--- lua
    local function connect()
        local sock = ngx.socket.tcp()
        local ok, err = sock:connect("127.0.0.1", ngx.var.server_port,
                                     { pool = "limited" .. ngx.var.connection, pool_size = 2, backlog = 1 })
        return ok and sock, err
    end
    local a, b = connect(), connect()
    local waiting = ngx.thread.spawn(function()
        local sock = connect()
        return sock:getreusedtimes()
    end)
    ngx.say(connect())
    a:setkeepalive()
    ngx.say(ngx.thread.wait(waiting))
    local second = ngx.thread.spawn(connect)
    b:close()
    local ok, sock = ngx.thread.wait(second)
    ngx.say(ok, " ", sock:getreusedtimes())
--- response_body
niltoo many waiting connect operations
true1
true 0


=== TEST 14: one that waits for a pool too long
--- lua
    local options = { pool = "late" .. ngx.var.connection, pool_size = 1, backlog = 5 }
    local a = ngx.socket.tcp()
    a:connect("127.0.0.1", ngx.var.server_port, options)
    local b = ngx.socket.tcp()
    b:settimeout(10)
    ngx.say(b:connect("127.0.0.1", ngx.var.server_port, options))
    ngx.say(a:close())
    ngx.say(b:connect("127.0.0.1", ngx.var.server_port, options))
--- response_body
niltimeout
1
1


=== TEST 15: two threads, one that reads and one that writes
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    local reader = ngx.thread.spawn(function() return sock:receive() end)
    ngx.say(sock:receive())
    ngx.say(sock:close())
    sock:send("GET /say HTTP/1.0\r\n\r\n")
    ngx.say(ngx.thread.wait(reader))
--- response_body
nilsocket busy reading
nilsocket busy reading
trueHTTP/1.1 200 OK


=== TEST 16: much at once
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /big HTTP/1.0\r\n\r\n")
    sock:receiveuntil("\r\n\r\n")()
    local first = sock:receive(1000000)
    local rest = sock:receive("*a")
    ngx.say(#first, " ", #rest, " ", ngx.md5(first .. rest) == ngx.md5(string.rep("0123456789abcdef", 131072)))
--- response_body
1000000 1097152 true


=== TEST 17: a peer that takes nothing
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
            sock:settimeouts(1000, 50, 1000)
            sock:send("POST /hold HTTP/1.0\r\nContent-Length: 100000000\r\n\r\n")
            local ok, err = sock:send(string.rep("x", 50000000))
            ngx.say(ok, err)
            ngx.say(sock:send("x"))
        }
    }
    location = /hold { client_max_body_size 200m; content_by_lua_block { ngx.sleep(2) } }
--- response_body
niltimeout
nilclosed
--- error_log
lua tcp socket write timed out


=== TEST 18: a socket belongs to the request that connected it, and is closed when that ends
--- http_config
    init_worker_by_lua_block { kept = {} }
--- config
    location = /first {
        content_by_lua_block {
            kept.sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
            kept.part = kept.sock:receiveuntil("x")
            ngx.timer.at(0, function() end)
            ngx.say(kept.sock:send("x"))
        }
    }
    location = /second {
        content_by_lua_block {
            local sock = kept.sock
            ngx.say("send ", sock:send("x"))
            ngx.say("receive ", sock:receive())
            ngx.say("receiveany ", sock:receiveany(1))
            ngx.say("receiveuntil ", kept.part())
            ngx.say("sslhandshake ", sock:sslhandshake())
            ngx.say("setkeepalive ", sock:setkeepalive())
            ngx.say("getreusedtimes ", sock:getreusedtimes())
            ngx.say("setoption ", sock:setoption("keepalive", 1))
            ngx.say("getfd ", sock:getfd())
            ngx.say("shutdown ", sock:shutdown("send"))
            ngx.say("close ", sock:close())
            ngx.say("connect ", sock:connect("127.0.0.1", ngx.var.server_port))
            ngx.say("send ", sock:send("x"))
        }
    }
    location = /both {
        content_by_lua_block {
            local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
            local result = {}
            ngx.timer.at(0, function()
                for i, method in ipairs { "receive", "close", "setkeepalive" } do
                    result[i] = select(2, pcall(sock[method], sock))
                end
                result[4] = select(2, pcall(sock.send, sock, "x"))
                result[5] = select(2, pcall(sock.connect, sock, "127.0.0.1", 1))
            end)
            ngx.sleep(0.01)
            ngx.say(table.concat(result, ", "))
        }
    }
--- modes: plain
--- request eval
["GET /first", "GET /second", "GET /both"]
--- response_body eval
["1\n", (join "", map { "$_ nilclosed\n" } qw(send receive receiveany receiveuntil sslhandshake setkeepalive
    getreusedtimes setoption getfd shutdown close)) . "connect 1\nsend 1\n",
 (join ", ", ("bad request") x 5) . "\n"]


=== TEST 19: options of the socket
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    ngx.say(sock:setoption("keepalive", true), " ", sock:getoption("keepalive"))
    ngx.say(sock:setoption("tcp-nodelay", 1), " ", sock:getoption("tcp-nodelay"))
    ngx.say(sock:setoption("sndbuf", 20000), " ", sock:getoption("sndbuf") >= 20000)
    ngx.say(sock:setoption("nonsense", 1))
    ngx.say(sock:setoption("sndbuf"))
    ngx.say(sock:getoption())
    ngx.say(sock:getfd() > 2)
    ngx.say(sock:shutdown("send"))
    ngx.say(#sock:receive("*a"))
--- response_body
true 1
true 1
true true
nilunsupported option nonsense
nilmissing the "value" argument
nilmissing the "option" argument
true
1
0


=== TEST 20: bind
--- config
    location = /who { content_by_lua_block { ngx.print(ngx.var.remote_addr) } }
--- lua
    local sock = ngx.socket.tcp()
    ngx.say(sock:bind("127.0.0.7"))
    sock:connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /who HTTP/1.0\r\n\r\n")
    sock:receiveuntil("\r\n\r\n")()
    ngx.say(sock:receive("*a"))
    ngx.say(sock:bind("nonsense"))
--- response_body
1
127.0.0.7
nilbad address


=== TEST 21: wrong arguments
--- lua
    local sock = ngx.socket.tcp()
    local function try(f, ...) ngx.say((select(2, pcall(f, sock, ...)))) end
    try(sock.connect)
    try(sock.connect, {}, 1)
    try(sock.connect, "127.0.0.1", 1, 1)
    try(sock.connect, "127.0.0.1", 1, { pool = {} })
    try(sock.connect, "127.0.0.1", 1, { pool_size = 0 })
    try(sock.connect, "127.0.0.1", 1, { backlog = -1 })
    try(sock.receive, "*x")
    try(sock.receive, -1)
    try(sock.receiveany, 0)
    try(sock.send, { 1, {}, print })
    try(sock.settimeout, -1)
    try(sock.setkeepalive, 1, 0)
    try(sock.shutdown, "both")
    ngx.say((select(2, pcall(ngx.socket.tcp, 1))))
--- response_body
bad argument #1 to 'connect' (string expected, got nil)
bad argument #1 to 'connect' (string expected, got table)
bad argument #3 to 'connect' (table expected, got number)
bad argument #3 to 'connect' (bad "pool" option type: table)
bad argument #3 to 'connect' (bad "pool_size" option value: 0)
bad argument #3 to 'connect' (bad "backlog" option value: -1)
bad argument #1 to 'receive' (bad pattern argument)
bad argument #1 to 'receive' (bad pattern argument)
bad argument #2 to '?' (bad max argument)
bad argument #1 to 'send' (bad data type function found)
bad timeout value
bad argument #3 to '?' (bad "pool_size" option value: 0)
bad argument #1 to 'shutdown' (expected direction: "send")
expecting zero arguments, but got 1


=== TEST 22: a thread is killed in each wait, and the socket is free again
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    local t = ngx.thread.spawn(function() sock:receive() end)
    ngx.say(ngx.thread.kill(t))
    sock:send("GET /say HTTP/1.0\r\n\r\n")
    ngx.say(sock:receive())
    local other = ngx.socket.tcp()
    t = ngx.thread.spawn(function() other:connect("127.0.0.1", ngx.var.server_port) end)
    ngx.say(ngx.thread.kill(t))
    ngx.say(other:connect("127.0.0.1", ngx.var.server_port))
--- response_body
1
HTTP/1.1 200 OK
1
1


=== TEST 23: ten thousand connections leave thirty in the pool
--- config
    location = /t {
        content_by_lua_block {
            local name = "many" .. ngx.var.connection
            local kept = 0
            for round = 1, 100 do
                local socks = {}
                for i = 1, 100 do
                    socks[i] = ngx.socket.tcp()
                    assert(socks[i]:connect("127.0.0.1", ngx.var.server_port, { pool = name }))
                end
                for i = 1, 100 do assert(socks[i]:setkeepalive()) end
            end
            local socks = {}
            for i = 1, 50 do
                socks[i] = ngx.socket.tcp()
                socks[i]:connect("127.0.0.1", ngx.var.server_port, { pool = name })
                if socks[i]:getreusedtimes() > 0 then kept = kept + 1 end
            end
            ngx.say(kept)
        }
    }
--- modes: plain
--- once
--- timeout: 20
--- response_body
30


=== TEST 24: names by nginx's resolver, and one that nobody knows
--- main_config
--- config
    location = /t {
        resolver 127.0.0.1:1953 ipv6=off;
        resolver_timeout 100ms;
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            ngx.say(sock:connect("some.name", 80))
        }
    }
--- response_body_like
^nilsome\.name could not be resolved \((?:110: Operation timed out|2: Server failure)\)
--- allow_log
recv() failed


=== TEST 25: methods called without their socket
--- lua
    local sock = ngx.socket.tcp()
    local function try(f, ...) ngx.say((select(2, pcall(f, ...)))) end
    try(sock.receive, "l")
    try(sock.send, {}, "x")
    try(sock.close)
    try(sock.connect, 3, "127.0.0.1", 1)
    try(sock.setkeepalive, true)
    try(sock.getreusedtimes, { 3 })
    ngx.say("alive")
--- response_body_like
^bad argument #1 to 'receive' \(table expected, got string\)
bad argument #1 to 'send' \(table expected, got table\)
bad argument #1 to 'close' \(table expected, got nil\)
bad argument #1 to 'connect' \(table expected, got number\)
bad argument #1 to 'setkeepalive' \(table expected, got boolean\)
.*
alive


=== TEST 26: a wait that cannot be yielded leaves the socket free
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
            ngx.say((pcall(string.gsub, "x", "x", function() return sock:receive() end)))
            sock:send("GET /say HTTP/1.0\r\n\r\n")
            ngx.say(sock:receive())
        }
    }
--- response_body
false
HTTP/1.1 200 OK


=== TEST 27: one that waits for a pool goes on after the call that makes room for it, not inside of it
--- config
    location = /waits {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port, shared.options))
            table.insert(shared.order, "the other")
            sock:close()
        }
    }
    location = /t {
        content_by_lua_block {
            local function one_by_one(name, make_room)
                shared = { order = {}, options = { pool = name .. ngx.var.connection, pool_size = 1, backlog = 1 } }
                local held, other = {}, ngx.socket.tcp()
                local function take()
                    held.sock = ngx.socket.tcp()
                    assert(held.sock:connect("127.0.0.1", ngx.var.server_port, shared.options))
                end
                take()
                assert(other:connect("127.0.0.1", ngx.var.server_port))
                other:send("GET /waits HTTP/1.0\r\n\r\n")
                ngx.sleep(0.03)
                make_room(held)
                table.insert(shared.order, "one")
                other:receive("*a")
                ngx.say(table.concat(shared.order, ", "))
            end
            one_by_one("kept", function(held) held.sock:setkeepalive() end)
            one_by_one("closed", function(held) held.sock:close() end)
            one_by_one("forgotten", function(held)
                held.sock = nil
                collectgarbage()
            end)
        }
    }
--- modes: plain hup
--- response_body
one, the other
one, the other
one, the other


=== TEST 28: over IPv6 and a unix socket; ngx.socket.stream is the same
--- http_config
    server { listen [::1]:1985; listen unix:$TEST_NGINX_SERVER_ROOT/html/peer.sock; return 200 "$server_protocol here\n"; }
--- config
    location = /t {
        content_by_lua_block {
            for _, to in ipairs { { "::1", 1985 }, { "[::1]", 1985 }, { "unix:$TEST_NGINX_SERVER_ROOT/html/peer.sock" } } do
                local sock = ngx.socket.stream()
                ngx.print(sock:connect(to[1], to[2]), " ")
                sock:send("GET / HTTP/1.0\r\n\r\n")
                ngx.print((sock:receive("*a"):gsub("^.*\r\n\r\n", "")))
            end
            local sock = ngx.socket.connect("unix:$TEST_NGINX_SERVER_ROOT/html/peer.sock")
            ngx.say(sock:send { "GET", " / ", { "HTTP/", 1.0, 1, "\r\n" }, "\r\n" }, " ", sock:send(12), " ", sock:close())
        }
    }
--- response_body
1 HTTP/1.0 here
1 HTTP/1.0 here
1 HTTP/1.0 here
17 2 1
