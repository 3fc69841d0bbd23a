use lib 't/lib';
use AutoscaleLua;
use IO::Socket::INET;

# A listening socket whose queue is full: whoever connects to it waits.
my $Full = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 1985, Listen => 1) or die $!;
my @Queue = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => 1985, Blocking => 0) } 1 .. 4;

run_tests();

__DATA__

=== TEST 1: what a socket answers while it connects
--- lua
    local sock = ngx.socket.tcp()
    sock:settimeout(100)
    ngx.thread.spawn(function()
        ngx.sleep(0.001)
        ngx.say("receive: ", sock:receive(1))
        ngx.say("send: ", sock:send("hello"))
        ngx.say("close: ", sock:close())
        ngx.say("reused: ", sock:getreusedtimes())
        ngx.say("keep: ", sock:setkeepalive())
        ngx.say("connect: ", sock:connect("127.0.0.1", 1985))
    end)
    ngx.say("connect: ", sock:connect("127.0.0.1", 1985))
    ngx.say("close: ", sock:close())
--- response_body
receive: nilsocket busy connecting
send: nilsocket busy connecting
close: nilsocket busy connecting
reused: 0
keep: nilsocket busy connecting
connect: nilsocket busy connecting
connect: niltimeout
close: nilclosed
--- error_log
lua tcp socket connect timed out, when connecting to 127.0.0.1:1985


=== TEST 2: lua_socket_connect_timeout, and a thread that is killed meanwhile
--- config
    location = /t {
        lua_socket_connect_timeout 50ms;
        lua_socket_log_errors off;
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            local thread = ngx.thread.spawn(function() sock:connect("127.0.0.1", 1985) end)
            ngx.thread.kill(thread)
            ngx.say(sock:send("x"))
            ngx.say(sock:connect("127.0.0.1", 1985))
        }
    }
--- response_body
nilclosed
niltimeout
--- no_error_log
[error]
