# What the lua_socket_* directives set.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a read waits as long as the location says, and its pool keeps one connection
--- config
    location = /t {
        lua_socket_connect_timeout 2s;
        lua_socket_send_timeout 2s;
        lua_socket_send_lowat 0;
        lua_socket_read_timeout 50ms;
        lua_socket_buffer_size 1k;
        lua_socket_pool_size 1;
        content_by_lua_block {
            local function connect()
                return assert(ngx.socket.connect("127.0.0.1", ngx.var.server_port))
            end
            local a, b = connect(), connect()
            ngx.say(b:receive())
            b:close()
            b = connect()
            a:setkeepalive()
            b:setkeepalive()
            a, b = connect(), connect()
            ngx.say(a:getreusedtimes(), " ", b:getreusedtimes())
        }
    }
--- once
--- response_body
niltimeout
1 0


=== TEST 2: a connection leaves the pool after lua_socket_keepalive_timeout
--- config
    location = /t {
        lua_socket_keepalive_timeout 50ms;
        content_by_lua_block {
            assert(ngx.socket.connect("127.0.0.1", ngx.var.server_port)):setkeepalive()
            ngx.sleep(0.2)
            ngx.say(ngx.socket.connect("127.0.0.1", ngx.var.server_port):getreusedtimes())
        }
    }
--- response_body
0
