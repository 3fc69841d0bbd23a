# An upstream that answers byte by byte, scripts in every phase of the proxy before it, and clients that stay or leave: while
# the access script waits, in the middle of the upstream's header, in the middle of its body. What the filters and the log
# see is what happened, the upstream is let go, and nothing is left.
# modes: plain
use lib 't/lib';
use AutoscaleLua;

worker_connections(4096);

add_block_preprocessor(sub {
    my $block = shift;
    my $scripts = join '', map { "${_}_by_lua_block { slow.$_() }\n" } qw(access header_filter body_filter log);
    my $proxy = <<"EOC" =~ s/\n/ /gr;
        $scripts
        proxy_pass http://127.0.0.1:1990/serve?\$args;
        proxy_http_version 1.1;
EOC
    $block->set_value('http_config', <<'EOC');
    lua_package_path "$TEST_NGINX_LUA/?.lua;$TEST_NGINX_ROOT/t/fault/lua/?.lua;;";
    init_by_lua_block { slow = require "slow" descriptors = require "descriptors" }
    server {
        listen 127.0.0.1:1990;
        lua_check_client_abort on;
        lua_socket_log_errors off;
        location = /serve { content_by_lua_block { slow.serve() } }
    }
EOC
    $block->set_value('config', <<"EOC");
    listen 127.0.0.1:1991 http2;
    lua_check_client_abort on;
    location = /buffered { $proxy }
    location = /unbuffered { proxy_buffering off; $proxy }
    location = /unwatched { lua_check_client_abort off; $proxy }
    location = /ignored { proxy_ignore_client_abort on; lua_check_client_abort off; $proxy }
    location = /ping { content_by_lua_block { ngx.say('pong') } }
    location = /t {
        content_by_lua_block {
            local before = descriptors.open()
            for client in ngx.var.arg_client:gmatch("%w+") do
                for _, path in ipairs { "/buffered", "/unbuffered", "/unwatched", "/ignored" } do
                    ngx.say(client, " ", path, ": ", slow.run(client, path, ngx.var.arg_stage, ngx.var.arg_cut))
                end
            end
            ngx.say(slow.rest(before))
        }
    }
EOC
});

no_root_location();
run_tests();

__DATA__

=== TEST 1: a client that stays gets everything
--- request
GET /t?client=http1&stage=never
--- response_body
http1 /buffered: status 200, header 1, ends 1, logged 1, whole, all
http1 /unbuffered: status 200, header 1, ends 1, logged 1, whole, all
http1 /unwatched: status 200, header 1, ends 1, logged 1, whole, all
http1 /ignored: status 200, header 1, ends 1, logged 1, whole, all
0 objects, 0 timers, 0 descriptors
--- no_error_log
[error]
[crit]


=== TEST 2: clients that leave while the access script waits
--- request
GET /t?client=http1,http2&stage=access
--- response_body
http1 /buffered: status 499, header 0, ends 0, logged 1, whole, nothing
http1 /unbuffered: status 499, header 0, ends 0, logged 1, whole, nothing
http1 /unwatched: status 499, header 0, ends 0, logged 1, whole, nothing
http1 /ignored: status 200, header 1, ends 1, logged 1, whole, all
http2 /buffered: status 499, header 0, ends 0, logged 1, whole, nothing
http2 /unbuffered: status 499, header 0, ends 0, logged 1, whole, nothing
http2 /unwatched: status 499, header 0, ends 0, logged 1, whole, nothing
http2 /ignored: status 200, header 1, ends 0, logged 1, whole, nothing
0 objects, 0 timers, 0 descriptors
--- no_error_log
[error]
[crit]


=== TEST 3: clients that leave in the middle of the upstream's header
--- request
GET /t?client=http1,http2&stage=header
--- response_body
http1 /buffered: status 499, header 0, ends 0, logged 1, whole, nothing
http1 /unbuffered: status 499, header 0, ends 0, logged 1, whole, nothing
http1 /unwatched: status 499, header 0, ends 0, logged 1, whole, nothing
http1 /ignored: status 200, header 1, ends 1, logged 1, whole, all
http2 /buffered: status 499, header 0, ends 0, logged 1, whole, nothing
http2 /unbuffered: status 499, header 0, ends 0, logged 1, whole, nothing
http2 /unwatched: status 499, header 0, ends 0, logged 1, whole, nothing
http2 /ignored: status 200, header 1, ends 0, logged 1, whole, nothing
0 objects, 0 timers, 0 descriptors
--- no_error_log
[error]
[crit]


=== TEST 4: clients that leave in the middle of the body
--- request
GET /t?client=http1,http2&stage=body
--- response_body
http1 /buffered: status 499, header 1, ends 0, logged 1, whole, nothing
http1 /unbuffered: status 200, header 1, ends 0, logged 1, whole, some
http1 /unwatched: status 499, header 1, ends 0, logged 1, whole, nothing
http1 /ignored: status 200, header 1, ends 1, logged 1, whole, all
http2 /buffered: status 200, header 1, ends 0, logged 1, whole, nothing
http2 /unbuffered: status 200, header 1, ends 0, logged 1, whole, some
http2 /unwatched: status 200, header 1, ends 0, logged 1, whole, nothing
http2 /ignored: status 200, header 1, ends 0, logged 1, whole, all
0 objects, 0 timers, 0 descriptors
--- no_error_log
[error]
[crit]


=== TEST 5: an upstream that leaves in the middle of the body
--- request
GET /t?client=http1&stage=never&cut=80
--- response_body
http1 /buffered: status 200, header 1, ends 0, logged 1, whole, some
http1 /unbuffered: status 200, header 1, ends 0, logged 1, whole, some
http1 /unwatched: status 200, header 1, ends 0, logged 1, whole, some
http1 /ignored: status 200, header 1, ends 0, logged 1, whole, some
0 objects, 0 timers, 0 descriptors
--- error_log
upstream prematurely closed connection
