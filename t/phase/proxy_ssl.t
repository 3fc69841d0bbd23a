# proxy_ssl_certificate_by_lua and proxy_ssl_verify_by_lua: what nginx shows a proxied server, and whether it believes it.
use lib 't/lib';
use AutoscaleLua;

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

our $Server = <<'EOC';
lua_shared_dict seen 64k;
init_by_lua_block {
    function slurp(name)
        local f = assert(io.open("$TEST_NGINX_CERTS/" .. name))
        local s = f:read("*a")
        f:close()
        return s
    end
    function show()
        local ssl, proxy = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        assert(proxy.clear_certs())
        assert(proxy.set_cert(assert(ssl.parse_pem_cert(slurp("client.crt")))))
        assert(proxy.set_priv_key(assert(ssl.parse_pem_priv_key(slurp("client.key")))))
    end
}
server {
    listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate $TEST_NGINX_CERTS/server.crt;
    ssl_certificate_key $TEST_NGINX_CERTS/server.key;
    ssl_client_certificate $TEST_NGINX_CERTS/ca.crt;
    ssl_verify_client optional;
    location / { return 200 "$ssl_protocol $ssl_client_verify $ssl_client_s_dn\n"; }
}
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $main::Server . ($block->http_config // ''));
    $block->set_value('config', ($block->config // '') . "location = /t {
        proxy_pass https://unix:\$TEST_NGINX_HTML_DIR/server.sock;
        proxy_ssl_session_reuse off;
        proxy_ssl_name test.example;
        " . $block->proxy . '}') if defined $block->proxy;
    $block->set_value('request', 'GET /t') if !defined $block->request;
});

run_tests();

__DATA__

=== TEST 1: a certificate by the script, in both versions of the protocol
--- config
    location ~ ^/(1\.[23])$ {
        proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock;
        proxy_ssl_protocols TLSv1.2 TLSv1.3;
        proxy_ssl_session_reuse off;
        proxy_ssl_certificate_by_lua_block { show() }
    }
    location = /old {
        proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock;
        proxy_ssl_protocols TLSv1.2;
        proxy_ssl_certificate_by_lua_block { show() }
    }
--- request eval
["GET /1.3", "GET /old"]
--- response_body eval
["TLSv1.3 SUCCESS CN=tester\n", "TLSv1.2 SUCCESS CN=tester\n"]


=== TEST 2: the script waits, and others are asked meanwhile
--- proxy
    proxy_ssl_certificate_by_lua_file html/show.lua;
--- user_files
>>> show.lua
ngx.sleep(0.1)
local sock = ngx.socket.tcp()
assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
assert(sock:sslhandshake())
sock:close()
show()
ngx.sleep(0.001)
--- config
    location = /all {
        content_by_lua_block {
            local begun = ngx.now()
            local all = {}
            for i = 1, 8 do all[i] = { "/t" } end
            all = { ngx.location.capture_multi(all) }
            for _, one in ipairs(all) do ngx.print(one.body) end
            ngx.update_time()
            ngx.say(ngx.now() - begun < 0.75)
        }
    }
--- request
    GET /all
--- response_body eval
("TLSv1.2 SUCCESS CN=tester\n" x 8) . "true\n"


=== TEST 3: der, and what is none
--- proxy
    proxy_ssl_certificate_by_lua_block {
        local ssl, proxy = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        ngx.shared.seen:set("cert", select(2, proxy.set_der_cert("none")))
        ngx.shared.seen:set("key", select(2, proxy.set_der_priv_key("none")))
        ngx.shared.seen:set("arg", select(2, pcall(proxy.set_cert, "none")))
        ngx.shared.seen:set("version", require("ngx.proxyssl").get_tls1_version_str())
        assert(proxy.set_der_cert(ssl.cert_pem_to_der(slurp("client.crt"))))
        assert(proxy.set_der_priv_key(ssl.priv_key_pem_to_der(slurp("client.key"))))
    }
--- config
    location = /seen {
        content_by_lua_block {
            ngx.print(ngx.location.capture("/t").body)
            for _, key in ipairs { "cert", "key", "arg", "version" } do ngx.say(ngx.shared.seen:get(key)) end
        }
    }
--- request
    GET /seen
--- response_body
TLSv1.2 SUCCESS CN=tester
d2i_X509_bio() failed
d2i_PrivateKey_bio() failed
bad argument #1 to 'set_cert' (cert by ngx.ssl.parse_*() expected, got string)
TLSv1.2


=== TEST 4: an error, and ngx.exit, end the handshake: the server is not asked
--- config
    location ~ ^/(error|exit|late)$ {
        proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock;
        proxy_ssl_name $1;
        proxy_ssl_server_name on;
        proxy_ssl_session_reuse off;
        proxy_ssl_certificate_by_lua_block {
            local name = require("ngx.ssl").server_name()
            if name == "exit" then ngx.exit(ngx.ERROR) end
            if name == "late" then ngx.sleep(0.001) end
            error("no certificate for " .. name)
        }
    }
    location = /all {
        content_by_lua_block {
            for _, uri in ipairs { "/error", "/late", "/exit" } do ngx.say(ngx.location.capture(uri).status) end
        }
    }
--- request
    GET /all
--- response_body
502
502
502
--- error_log eval
[qr/\[error\] .* runtime error: proxy_ssl_certificate_by_lua\(nginx\.conf:\d+\):5: no certificate for error/,
 qr/context: proxy_ssl_certificate_by_lua\*, client: 127\.0\.0\.1, server: \S+:\d+/,
 qr/no certificate for late/, qr/SSL_do_handshake\(\) failed .*callback failed/]


=== TEST 5: the server's certificate is judged by OpenSSL, and then by the script
--- config
    location ~ ^/(good|bad|unknown)$ {
        proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock;
        proxy_ssl_name test.example;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
        proxy_ssl_session_reuse off;
        proxy_ssl_verify_by_lua_block {
            local verify = require "ngx.ssl.proxysslverify"
            ngx.sleep(0.001)
            ngx.shared.seen:set("result", verify.get_verify_result())
            ngx.shared.seen:set("cert", type(verify.get_verify_cert()))
            local result = ngx.shared.seen:get("wish")
            if result then assert(verify.set_verify_result(result)) end
        }
    }
    location = /distrust {
        proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock;
        proxy_ssl_name test.example;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate $TEST_NGINX_CERTS/selfsigned.crt;
        proxy_ssl_session_reuse off;
        proxy_ssl_verify_by_lua_block {
            local verify = require "ngx.ssl.proxysslverify"
            ngx.shared.seen:set("result", verify.get_verify_result())
            if ngx.shared.seen:get("wish") then verify.set_verify_result(0) end
        }
    }
    location = /all {
        content_by_lua_block {
            local seen = ngx.shared.seen
            local function try(uri, wish)
                seen:set("wish", wish)
                local answer = ngx.location.capture(uri)
                ngx.say(answer.status, " ", seen:get("result"), " ", seen:get("cert"))
            end
            try("/good")
            try("/good", 23)
            try("/distrust")
            try("/distrust", 0)
            seen:flush_all()
        }
    }
--- request
    GET /all
--- response_body
200 0 cdata
502 0 cdata
502 21 cdata
200 21 cdata
--- error_log eval
[qr/upstream SSL certificate verify error: \(23:certificate revoked\)/, qr/verify error: \(21:unable to verify the first certificate\)/]


=== TEST 6: a script that fails refuses the server
--- proxy
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
    proxy_ssl_verify_by_lua_file html/refuse.lua;
--- user_files
>>> refuse.lua
error("who is that")
--- error_code: 502
--- error_log
/html/refuse.lua:1: who is that
context: proxy_ssl_verify_by_lua*


=== TEST 7: proxy_connect_timeout is for the handshake with what its script waits for
--- proxy
    proxy_connect_timeout 50ms;
    proxy_ssl_certificate_by_lua_block { ngx.sleep(1) ngx.log(ngx.ERR, "not reached") }
--- error_code: 504
--- error_log
upstream timed out
--- no_error_log
not reached


=== TEST 8: a client that leaves takes the script with it
--- proxy
    proxy_ssl_certificate_by_lua_block {
        ngx.shared.seen:set("waits", true)
        ngx.sleep(0.2)
        ngx.shared.seen:set("waits", "to the end")
    }
--- config
    location = /leave {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
            sock:send("GET /t HTTP/1.0\r\n\r\n")
            ngx.sleep(0.05)
            sock:close()
            ngx.sleep(0.2)
            ngx.say(ngx.shared.seen:get("waits"))
        }
    }
--- request
    GET /leave
--- response_body
true


=== TEST 9: locations that share nginx's context have scripts of their own
--- http_config
    proxy_ssl_session_reuse off;
--- config
    location = /none { proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock; }
    location = /one {
        proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock;
        proxy_ssl_certificate_by_lua_block { show() }
    }
    location /two {
        proxy_ssl_certificate_by_lua_block { ngx.sleep(0) show() }
        location = /two/inherited { proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock; }
    }
--- request eval
["GET /none", "GET /one", "GET /two/inherited", "GET /none"]
--- response_body eval
["TLSv1.2 NONE \n", "TLSv1.2 SUCCESS CN=tester\n", "TLSv1.2 SUCCESS CN=tester\n", "TLSv1.2 NONE \n"]


=== TEST 10: a server that leaves while the script waits
--- http_config
    lua_socket_log_errors off;
--- config
    location = /gone {
        proxy_pass https://127.0.0.1:1986;
        proxy_ssl_verify_by_lua_block { ngx.sleep(0.5) ngx.log(ngx.ERR, "not reached") }
    }
    location = /go {
        content_by_lua_block {
            local command = "openssl s_server -quiet -accept 127.0.0.1:1986 -cert $TEST_NGINX_CERTS/server.crt "
                .. "-key $TEST_NGINX_CERTS/server.key -naccept 1"
            os.execute("{ timeout 0.4 " .. command .. " < /dev/null > /dev/null 2>&1; } &")
            local sock = ngx.socket.tcp()
            ngx.sleep(0.2)
            ngx.say(ngx.location.capture("/gone").status)
        }
    }
--- request
    GET /go
--- response_body
502
--- no_error_log
not reached


=== TEST 11: a server that nginx would not verify is refused, too
--- proxy
    proxy_ssl_verify off;
    proxy_ssl_verify_by_lua_block { ngx.log(ngx.WARN, "asked") ngx.exit(ngx.ERROR) }
--- error_code: 502
--- error_log
asked
