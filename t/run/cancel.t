# Every API that waits, in each phase that may: until it completes, and cancelled because the client goes, because another
# thread leaves the request or handshake, because its thread is killed, because the worker is told to stop. The rows are
# in t/run/lua/waits.lua; each cell is a test, over HTTP/1 and as a stream of HTTP/2. Nothing may be left: descriptors, timers, Lua objects, connections.
# modes: plain
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use AutoscaleLua::Waits;
use AutoscaleLua::Waits::Streams;

daemon(1990, $^X, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/moody-peer", 1990, 1991, 1992);
worker_connections(4096);

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('main_config', ($block->main_config // '') . "thread_pool waits threads=32;\n");
    $block->set_value('http_config', <<'EOC');
    lua_package_path "$TEST_NGINX_ROOT/t/run/lua/?.lua;;";
    lua_check_client_abort on;
    lua_socket_log_errors off;
    resolver 127.0.0.1:1992 ipv6=off;
    resolver_timeout 60s;
    init_by_lua_block { waits = require "waits" waits.tls = 1993 }
    server {
        listen 127.0.0.1:1993 ssl;
        ssl_certificate $TEST_NGINX_ROOT/t/cert/server.crt;
        ssl_certificate_key $TEST_NGINX_ROOT/t/cert/server.key;
        ssl_client_certificate $TEST_NGINX_ROOT/t/cert/ca.crt;
        ssl_verify_client optional;
        location = /fine { return 200; }
    }
    # handshakes with scripts; sessions are fetched up to TLS 1.2
    ssl_session_fetch_by_lua_block { waits.run_in_handshake("ssl_session_fetch") }
    server {
        listen 127.0.0.1:1994 ssl;
        ssl_protocols TLSv1.2;
        ssl_session_tickets off;
        ssl_certificate $TEST_NGINX_ROOT/t/cert/server.crt;
        ssl_certificate_key $TEST_NGINX_ROOT/t/cert/server.key;
        ssl_client_hello_by_lua_block { waits.run_in_handshake("ssl_client_hello") }
        ssl_certificate_by_lua_block { waits.run_in_handshake("ssl_certificate") }
    }
    proxy_ssl_name $arg_cell;
    proxy_ssl_server_name on;
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate $TEST_NGINX_ROOT/t/cert/ca.crt;
    proxy_ssl_session_reuse off;
EOC
    my $handlers = join '', map { "location = /$_ { ${_}_by_lua_block { waits.run_in_request('$_') } }\n" }
        qw(rewrite access precontent content);
    $handlers .= join '', map {
        "location = /$_ {
            proxy_pass https://127.0.0.1:1993/fine;
            ${_}_by_lua_block { waits.run_in_handshake('$_') }
        }\n"
    } qw(proxy_ssl_certificate proxy_ssl_verify);
    $block->set_value('config', <<"EOC");
    listen 127.0.0.1:1995 http2;
    http2_max_concurrent_streams 1000;
    lingering_close off;
    keepalive_requests 100000;
    client_body_timeout 60s;
    server_rewrite_by_lua_block { if ngx.var.uri == '/server_rewrite' then waits.run_in_request('server_rewrite') end }
    log_by_lua_block { if ngx.var.arg_row and not ngx.is_subrequest then waits.log() end }
    location = /server_rewrite { return 204; }
    $handlers
    location = /abandon { content_by_lua_block { waits.abandon_body() } }
    location = /abort { content_by_lua_block { waits.note_abort() } }
    location = /unwatched { lua_check_client_abort off; content_by_lua_block { waits.note_abort() } }
    location = /timer { content_by_lua_block { waits.run_in_timer() } }
    location = /subrequest {
        auth_request /subrequest/inner;
        content_by_lua_block { ngx.exit(200) }
    }
    location = /subrequest/inner { content_by_lua_block { waits.run_in_subrequest() } }
    location = /sub { content_by_lua_block { ngx.sleep(tonumber(ngx.var.arg_seconds)) ngx.print('sub') } }
    location ~ ^/(?<what>state|plan|plan_of_streams|kept)\$ {
        content_by_lua_block {
            local text = waits[ngx.var.what]()
            ngx.header.content_length = #tostring(text)
            ngx.print(text)
        }
    }
    location = /pooled { content_by_lua_block { waits.keep_when_told_to_stop() } }
    location = /t { return 204; }
EOC
});

run_tests();

__DATA__

=== TEST 1: a wait ends in each way
--- request
GET /t
--- error_code: 204
--- once
--- waits: each_ending


=== TEST 2: a worker that is told to stop ends in time, whatever waits
--- main_config
worker_shutdown_timeout 300ms;
--- request
GET /t
--- error_code: 204
--- once
--- waits: stop


=== TEST 3: a worker that is told to stop does not wait for connections that are given back to their pool
--- request
GET /t
--- error_code: 204
--- once
--- waits: pooled


=== TEST 4: a worker that is told to stop at once does so while handshakes' scripts wait
--- request
GET /t
--- error_code: 204
--- once
--- waits: end_at_once


=== TEST 5: one that is told to stop gently stays until the clients of such handshakes go
--- request
GET /t
--- error_code: 204
--- once
--- waits: end_gently


=== TEST 6: waits of an HTTP/2 connection's streams end each in their way, and beside each other
--- request
GET /t
--- error_code: 204
--- once
--- waits: streams


=== TEST 7: a worker that is told to stop ends in time, whatever waits in streams
--- main_config
worker_shutdown_timeout 300ms;
--- request
GET /t
--- error_code: 204
--- once
--- waits: stop_streams


=== TEST 8: a client's going is noticed also when nobody reads its body any more
--- request
GET /t
--- error_code: 204
--- once
--- waits: abandoned


=== TEST 9: ngx.on_abort is for the stream that was reset, and not for its neighbours or one that is not watched
--- request
GET /t
--- error_code: 204
--- once
--- waits: told


=== TEST 10: streams that wait when the worker is told to stop gently are answered
--- request
GET /t
--- error_code: 204
--- once
--- waits: finish_streams
