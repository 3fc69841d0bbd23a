use lib 't/lib';
use AutoscaleLua;

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

our $Server = <<'EOC';
server {
    listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate $TEST_NGINX_CERTS/server.crt;
    ssl_certificate_key $TEST_NGINX_CERTS/server.key;
    ssl_client_certificate $TEST_NGINX_CERTS/ca.crt;
    ssl_verify_client optional;
    location / { return 200 "$ssl_protocol $ssl_client_verify\n"; }
}
init_by_lua_block {
    function try()
        local sock = ngx.socket.tcp()
        assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
        local ok, err = sock:sslhandshake(false, "test.example", true)
        if not ok then
            return err
        end
        sock:send("GET / HTTP/1.0\r\n\r\n")
        sock:receiveuntil("\r\n\r\n")()
        return (sock:receive())
    end
}
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $main::Server . ($block->http_config // '')) if !defined $block->must_die;
});

run_tests();

__DATA__

=== TEST 1: each level inherits what it does not say itself
--- http_config
    lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
    lua_ssl_protocols TLSv1.2;
    lua_socket_log_errors off;
--- config
    lua_ssl_certificate $TEST_NGINX_CERTS/client.crt;
    lua_ssl_certificate_key $TEST_NGINX_CERTS/client.key;
    location = /a { content_by_lua_block { ngx.say(try()) } }
    location = /b {
        lua_ssl_protocols TLSv1.3;
        content_by_lua_block { ngx.say(try()) }
    }
    location = /c {
        lua_ssl_trusted_certificate $TEST_NGINX_CERTS/selfsigned.crt;
        content_by_lua_block { ngx.say(try()) }
    }
    location = /d {
        lua_ssl_trusted_certificate "";
        content_by_lua_block { ngx.say(try()) }
    }
    location /e {
        lua_ssl_conf_command MaxProtocol TLSv1.3;
        lua_ssl_protocols tlsv1.2 tlsv1.3;
        location /e/f { lua_ssl_crl $TEST_NGINX_CERTS/ca.crl; content_by_lua_block { ngx.say(try()) } }
    }
--- request eval
["GET /a", "GET /b", "GET /c", "GET /d", "GET /e/f"]
--- response_body_like eval
[qr/^TLSv1.2 SUCCESS$/, qr/^TLSv1.3 SUCCESS$/, qr/^(20|21): unable to/, qr/^20: unable to get local issuer certificate$/, qr/^TLSv1.3 SUCCESS$/]


=== TEST 2: in timers of init_worker, http {} counts
--- http_config
    lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
    lua_ssl_protocols TLSv1.2;
    init_worker_by_lua_block { ngx.timer.at(0, function() result = try() end) }
--- config
    location = /t {
        content_by_lua_block {
            for _ = 1, 200 do
                if result then break end
                ngx.sleep(0.01)
            end
            ngx.say(result)
        }
    }
--- response_body
TLSv1.2 NONE


=== TEST 3: a file that is not there
--- config
    lua_ssl_trusted_certificate none.crt;
--- must_die
--- error_log eval
[qr/cannot load certificate|SSL_CTX_load_verify_locations\(".*none.crt"\) failed.*No such file/, qr/"none.crt" is to be a file of CA certificates in PEM format; .* in .*nginx.conf:\d+/]


=== TEST 4: a file that holds something else
--- config
    lua_ssl_crl $TEST_NGINX_CERTS/make;
--- must_die
--- error_log eval
qr/is to be a file of certificate revocation lists in PEM format; .* in .*nginx.conf:\d+/


=== TEST 5: unknown protocol
--- config
    lua_ssl_protocols TLSv1.2 TLSv9;
--- must_die
--- error_log eval
qr/unknown protocol "TLSv9": there are SSLv2, .*, TLSv1.3 in .*nginx.conf:\d+/


=== TEST 6: no such cipher
--- config
    lua_ssl_ciphers nonsense;
--- must_die
--- error_log eval
qr/"nonsense" names no cipher; .* in .*nginx.conf:\d+/


=== TEST 7: a depth that is none
--- config
    lua_ssl_verify_depth -1;
--- must_die
--- error_log eval
qr/invalid number "-1": 0 to 100 in .*nginx.conf:\d+/


=== TEST 8: no such command
--- config
    lua_ssl_conf_command Nonsense 1;
--- must_die
--- error_log eval
[qr/SSL_CONF_cmd\("Nonsense", "1"\) failed/, qr/"Nonsense" is no command of OpenSSL's SSL_CONF_cmd, .* in .*nginx.conf:\d+/]


=== TEST 9: a certificate without a key
--- config
    location = /t {
        lua_ssl_certificate $TEST_NGINX_CERTS/client.crt;
        content_by_lua_block { }
    }
--- must_die
--- error_log eval
qr/each "lua_ssl_certificate" needs a "lua_ssl_certificate_key" at the same level, and the other way round; see lua_ssl_\* up to .*nginx.conf:\d+/


=== TEST 10: a certificate with the key of another
--- config
    lua_ssl_certificate $TEST_NGINX_CERTS/client.crt;
    lua_ssl_certificate_key $TEST_NGINX_CERTS/server.key;
--- must_die
--- error_log eval
[qr/key values mismatch/, qr/and its key are to be PEM files that belong together; .* see lua_ssl_\* up to .*nginx.conf:\d+/]


=== TEST 11: twice at the same level
--- config
    lua_ssl_ciphers DEFAULT;
    lua_ssl_ciphers DEFAULT;
--- must_die
--- error_log
"lua_ssl_ciphers" directive is duplicate
