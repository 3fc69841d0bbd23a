use lib 't/lib';
use AutoscaleLua;
use File::Temp ();
use IO::Select;
use IO::Socket::INET;
use IO::Socket::IP;
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(SOCK_DGRAM);

# A server of datagrams on port 1985 and on a unix socket: it sends back what it gets, but for a few words.
my $Dir = File::Temp->newdir;
my $Path = "$Dir/udp.sock";
our $Udp = "unix:$Path";
my $Server = fork() // die;
if (!$Server) {
    my @socks = (
        IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 1985, Proto => 'udp'),
        IO::Socket::UNIX->new(Local => $Path, Type => SOCK_DGRAM),
        IO::Socket::IP->new(LocalHost => '::1', LocalPort => 1985, Proto => 'udp'),
    );
    my $select = IO::Select->new(grep { defined } @socks);
    while (kill 0, getppid) {
        for my $sock ($select->can_read(1)) {
            my $from = $sock->recv(my $data, 70000) // next;
            my @replies = $data eq 'silence' ? () : $data eq 'empty' ? ('', 'next') : $data eq 'two' ? qw(one two)
                : $data eq 'who' ? $sock->peerhost : $data eq 'many' ? map { "n$_" } 1 .. 50 : $data;
            if ($data =~ /^late (.*)/) { select undef, undef, undef, 0.4; @replies = $1 }
            $sock->send($_, 0, $from) for @replies;
        }
    }
    POSIX::_exit(0);
}
for (1 .. 100) { last if -S $Path; select undef, undef, undef, 0.05 }
END { local $?; if ($Server && $$ != $Server) { kill 'KILL', $Server; waitpid $Server, 0 } }

add_block_preprocessor(sub {
    my $block = shift;
    for my $section (qw(lua config)) {
        my $text = $block->$section // next;
        $text =~ s/UDP_PATH/$main::Udp/g;
        $block->set_value($section, $text);
    }
});

run_tests();

__DATA__

=== TEST 1: a datagram and its answer, in each phase that may wait
--- phases: server_rewrite rewrite access content timer
--- lua
    local sock = ngx.socket.udp()
    sock:settimeout(2000)
    local set = sock:setpeername("127.0.0.1", 1985)
    local sent = sock:send { "hel", { "lo", 1 } }
    return set, sent, sock:receive(), sock:close()
--- result
1, 1, hello1, 1


=== TEST 2: phases that cannot wait have no sockets
--- refused: set header_filter body_filter log balancer init_worker exit_worker
--- lua
    ngx.socket.udp()
--- result
API disabled


=== TEST 3: strings, numbers, tables, and what tostring makes of others
--- lua
    local sock = ngx.socket.udp()
    sock:setpeername("127.0.0.1", 1985)
    for _, data in ipairs { "a\0b", 12.5, true, { 1, "x", { 2 } } } do
        sock:send(data)
        ngx.say((sock:receive():gsub("%z", "0")))
    end
    sock:send(nil)
    ngx.say(sock:receive())
--- response_body
a0b
12.5
true
1x2
nil


=== TEST 4: one datagram is one receive, and what does not fit is lost
--- lua
    local sock = ngx.socket.udp()
    sock:setpeername("127.0.0.1", 1985)
    sock:send("two")
    ngx.sleep(0.02)
    ngx.say(sock:receive(2))
    ngx.say(sock:receive("100000"))
    sock:send("many")
    local last
    for i = 1, 50 do last = sock:receive() end
    ngx.say(last)
    sock:send(string.rep("x", 9000))
    ngx.say(#sock:receive())
    ngx.say(sock:send(string.rep("x", 70000)))
--- response_body
on
two
n50
9000
nilmessage too long
--- allow_log
Message too long


=== TEST 5: empty datagrams, both ways
--- lua
    local sock = ngx.socket.udp()
    sock:setpeername("127.0.0.1", 1985)
    ngx.say(sock:send("empty"))
    ngx.say(#sock:receive(), " ", sock:receive())
    ngx.say(sock:send(""))
    ngx.say(#sock:receive())
    ngx.say(sock:send("end"), " ", sock:receive())
--- response_body
1
0 next
1
0
1 end


=== TEST 6: a unix socket, which answers
--- lua
    local sock = ngx.socket.udp()
    ngx.say(sock:setpeername("UDP_PATH"))
    ngx.say(sock:send("over unix"))
    ngx.say(sock:receive())
    sock:settimeout(2000)
    -- more than the server's queue has room for: sending waits
    local ok, err
    for i = 1, 200 do
        ok, err = sock:send("silence")
        if not ok then break end
    end
    ngx.say(ok, err)
--- response_body
1
1
over unix
1nil


=== TEST 7: IPv6
--- lua
    local sock = ngx.socket.udp()
    ngx.say(sock:setpeername("::1", 1985))
    sock:send("six")
    ngx.say(sock:receive())
--- skip_eval: 5: !-e '/proc/net/if_inet6'
--- response_body
1
six


=== TEST 8: nobody listens: the system tells with the next call
--- lua
    local sock = ngx.socket.udp()
    sock:setpeername("127.0.0.1", 1)
    ngx.say(sock:send("x"))
    ngx.say(sock:receive())
    -- and the socket goes on
    ngx.say(sock:setpeername("127.0.0.1", 1985), " ", sock:send("y"), " ", sock:receive())
    ngx.say(sock:setpeername("unix:/nonexistent"))
    ngx.say(sock:send("x"))
--- response_body
1
nilconnection refused
1 1 y
nilno such file or directory
nilclosed
--- error_log
recv() failed (111: Connection refused)
attempt to send data on a closed socket
--- allow_log
no such file or directory


=== TEST 9: silence, and an answer that comes after the timeout
--- lua
    local sock = ngx.socket.udp()
    sock:settimeout(30)
    sock:setpeername("127.0.0.1", 1985)
    sock:send("late answer")
    ngx.say(sock:receive())
    sock:settimeout(2000)
    ngx.say(sock:receive())
--- response_body
niltimeout
answer
--- error_log
lua udp socket read timed out


=== TEST 10: lua_socket_read_timeout and lua_socket_log_errors
--- config
    location = /t {
        lua_socket_read_timeout 1ms;
        lua_socket_log_errors off;
        content_by_lua_block {
            local sock = ngx.socket.udp()
            sock:setpeername("127.0.0.1", 1985)
            sock:send("silence")
            ngx.say(sock:receive())
            ngx.say(sock:close(), sock:close())
            ngx.say(sock:receive())
            sock:setpeername("127.0.0.1", 1)
            sock:settimeout(1000)
            sock:send("x")
            ngx.say(sock:receive())
        }
    }
--- response_body
niltimeout
1nilclosed
nilclosed
nilconnection refused
--- no_error_log
[error]


=== TEST 11: while one thread waits, others are told so; a killed one frees the socket
--- lua
    local sock = ngx.socket.udp()
    sock:setpeername("127.0.0.1", 1985)
    local reader = ngx.thread.spawn(function() return sock:receive() end)
    ngx.say(sock:receive())
    ngx.say(sock:send("x"))
    ngx.say(sock:setpeername("127.0.0.1", 1985))
    ngx.say(sock:close())
    ngx.say(ngx.thread.kill(reader))
    ngx.say(sock:send("free"), " ", sock:receive())
--- response_body
nilsocket busy
nilsocket busy
nilsocket busy
nilsocket busy
1
1 free


=== TEST 12: a socket belongs to the request that gave it a peer
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.udp()
            sock:setpeername("127.0.0.1", 1985)
            local result = {}
            ngx.timer.at(0, function()
                for _, name in ipairs { "send", "receive", "close", "setpeername" } do
                    result[#result + 1] = select(2, pcall(sock[name], sock, name == "setpeername" and "127.0.0.1" or 1, 1))
                end
            end)
            for _ = 1, 200 do
                if #result == 4 then break end
                ngx.sleep(0.01)
            end
            ngx.say(table.concat(result, "\n"))
        }
    }
--- response_body
bad request
bad request
bad request
bad request


=== TEST 13: the request ends while a thread waits
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.udp()
            sock:setpeername("127.0.0.1", 1985)
            ngx.thread.spawn(function() sock:receive() end)
            ngx.say("over")
            ngx.exit(200)
        }
    }
--- response_body
over


=== TEST 14: bind
--- lua
    local sock = ngx.socket.udp()
    ngx.say(sock:bind("127.0.0.9"))
    sock:setpeername("127.0.0.1", 1985)
    sock:send("who")
    ngx.say(sock:receive())
    ngx.say(sock:bind("nonsense"))
--- response_body
1
127.0.0.9
nilbad address


=== TEST 15: names, without a resolver and with one that nobody answers
--- config
    location = /t { content_by_lua_block { ngx.say(ngx.socket.udp():setpeername("some.name", 53)) } }
    location = /nobody {
        resolver 127.0.0.1:1953 ipv6=off;
        resolver_timeout 100ms;
        content_by_lua_block {
            local sock = ngx.socket.udp()
            local waits = ngx.thread.spawn(function() return sock:setpeername("some.name", 53) end)
            ngx.say(sock:setpeername("127.0.0.1", 53))
            ngx.say(select(2, ngx.thread.wait(waits)))
            ngx.say(sock:setpeername("127.0.0.1", 1985))
        }
    }
--- request eval
["GET /t", "GET /nobody"]
--- response_body_like eval
["^nilno resolver defined to resolve \"some.name\"", "^nilsocket busy\nnil\n1\$|^nilsocket busy\nnilsome"]
--- allow_log
recv() failed


=== TEST 16: wrong arguments
--- lua
    local sock = ngx.socket.udp()
    local function try(f, ...) ngx.say((select(2, pcall(f, sock, ...)))) end
    try(sock.setpeername)
    try(sock.setpeername, {}, 1)
    try(sock.setpeername, "127.0.0.1", {})
    try(sock.send, { {}, print })
    try(sock.send, print)
    try(sock.receive, {})
    try(sock.settimeout, -1)
    try(sock.bind)
    ngx.say((select(2, pcall(ngx.socket.udp, 1))))
    ngx.say(sock:setpeername("127.0.0.1", 65536))
    ngx.say(sock:setpeername("", 1))
    ngx.say(sock:setpeername("unix:"))
    ngx.say(sock:setpeername("unix:/" .. string.rep("x", 200)))
--- response_body
bad argument #1 to 'setpeername' (string expected, got nil)
bad argument #1 to 'setpeername' (string expected, got table)
bad argument #2 to 'setpeername' (number expected, got table)
bad argument #1 to 'send' (bad data type function found)
bad argument #1 to 'send' (string, number, boolean, nil, or array table expected, got function)
bad argument #1 to 'receive' (number expected, got table)
bad argument #1 to 'settimeout' (bad timeout value)
bad argument #1 to 'bind' (string expected, got nil)
expecting zero arguments, but got 1
nilbad port number: 65536
nilfailed to parse host name "": no host
nilfailed to parse host name "unix:": no host
nilinvalid input parameter


=== TEST 17: sockets that are forgotten are closed
--- http_config
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block { descriptors = require "descriptors" }
--- config
    location = /t {
        content_by_lua_block {
            collectgarbage() collectgarbage()
            local before = descriptors.open()
            for i = 1, 50 do ngx.socket.udp():setpeername("127.0.0.1", 1985) end
            collectgarbage() collectgarbage()
            -- one may still lie on the stack
            ngx.say(descriptors.open() - before < 5)
        }
    }
--- response_body
true
