# ngx.ssl, as far as it is about a client's connection: in its handshake, and in requests over it.
use lib 't/lib';
use AutoscaleLua;

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

our $Lua = <<'EOC';
lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
lua_socket_log_errors off;
lua_shared_dict seen 64k;
init_by_lua_block {
    ssl = require "ngx.ssl"
    function slurp(name)
        local f = assert(io.open("$TEST_NGINX_CERTS/" .. name))
        local s = f:read("*a")
        f:close()
        return s
    end
    function note(...)
        local list = { n = select("#", ...), ... }
        for i = 1, list.n do list[i] = tostring(list[i]) end
        ngx.shared.seen:rpush("seen", table.concat(list, " "))
    end
    function seen()
        repeat
            local line = ngx.shared.seen:lpop("seen")
            if line then ngx.say(line) end
        until not line
    end
    function try(prepare, address, port)
        local sock = ngx.socket.tcp()
        sock:settimeout(2000)
        assert(sock:connect(address or "unix:$TEST_NGINX_HTML_DIR/server.sock", port))
        if prepare then prepare(sock) end
        local ok, err = sock:sslhandshake(false, "test.example", true)
        if not ok then
            ngx.say(err)
            return
        end
        sock:send("GET / HTTP/1.0\r\n\r\n")
        sock:receiveuntil("\r\n\r\n")()
        ngx.say((sock:receive("*a")))
        sock:close()
    end
}
EOC
our $Server = <<'EOC';
    listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
    listen 127.0.0.1:1985 ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate $TEST_NGINX_CERTS/server.crt;
    ssl_certificate_key $TEST_NGINX_CERTS/server.key;
EOC

add_block_preprocessor(sub {
    my $block = shift;
    my $server = defined $block->server ? "server {\n$main::Server" . $block->server . "}\n" : '';
    $block->set_value('http_config', $main::Lua . ($block->http_config // '') . $server);
});

run_tests();

__DATA__

=== TEST 1: addresses, port and name
--- server
    ssl_certificate_by_lua_block {
        local own, kind = ssl.raw_server_addr()
        note(kind, kind == "unix" and own:match("server%.sock$") or table.concat({ own:byte(1, -1) }, "."))
        local other, kind = ssl.raw_client_addr()
        note(kind, kind == "unix" and #other or table.concat({ other:byte(1, -1) }, "."))
        note(ssl.server_port())
        note(ssl.server_name())
    }
    location / { content_by_lua_block { ngx.print(ssl.server_name(), " ", (select(2, ssl.raw_server_addr()))) } }
--- lua
    try()
    try(nil, "127.0.0.1", 1985)
    seen()
--- response_body
test.example unix
test.example inet
unix server.sock
unix 0
nil unix domain has no port
test.example
inet 127.0.0.1
inet 127.0.0.1
1985
test.example


=== TEST 2: IPv6
--- http_config
    server {
        listen [::1]:1986 ssl;
        ssl_certificate $TEST_NGINX_CERTS/server.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_certificate_by_lua_block {
            local own, kind = ssl.raw_server_addr()
            note(kind, #own, own:byte(-1), ssl.server_port())
        }
        return 204;
    }
--- lua
    try(nil, "[::1]", 1986)
    seen()
--- response_body eval
"\n" . <<'E'
inet6 16 1 1986
E


=== TEST 3: versions
--- server
    ssl_certificate_by_lua_block { note(ssl.get_tls1_version(), ssl.get_tls1_version_str()) }
    location / { content_by_lua_block { ngx.print(ssl.get_tls1_version() == ssl.TLS1_2_VERSION) } }
--- config
    location = /12 { lua_ssl_protocols TLSv1.2; content_by_lua_block { try() seen() } }
    location = /13 { lua_ssl_protocols TLSv1.3; content_by_lua_block { try() seen() } }
--- request eval
["GET /12", "GET /13"]
--- response_body eval
["true\n771 TLSv1.2\n", "false\n772 TLSv1.3\n"]


=== TEST 4: secrets and randoms, as long as they are asked for
--- server
    location / {
        content_by_lua_block {
            ngx.say(#ssl.get_client_random(), " ", #ssl.get_client_random(5), " ", ssl.get_client_random(0), " ",
                    #ssl.get_client_random(100), " ", ssl.get_client_random() == ssl.get_client_random(32))
            ngx.say(#ssl.get_server_random(), " ", ssl.get_server_random(0))
            ngx.say(#ssl.get_session_master_key(), " ", #ssl.get_session_master_key(10))
            local key = ssl.export_keying_material(16, "EXPERIMENTAL label", "context")
            ngx.say(#key, " ", key == ssl.export_keying_material(16, "EXPERIMENTAL label", "context"), " ",
                    key == ssl.export_keying_material(16, "EXPERIMENTAL label"))
            ngx.say(ssl.export_keying_material_early(16, "EXPERIMENTAL label"))
            ngx.say(ssl.export_keying_material(1e9, "label"))
            ngx.say(ssl.export_keying_material(-1, "label"))
            ngx.say(pcall(ssl.export_keying_material, "some", "label"))
            ngx.print(pcall(ssl.export_keying_material, 1))
        }
    }
--- lua
    try()
--- response_body
32 5 32 32 true
32 32
48 10
16 true false
nil
nilbad length
nilbad length
falsebad argument #1 to 'export_keying_material' (number expected, got string)
falsebad argument #2 to 'export_keying_material' (string expected, got nil)


=== TEST 5: a client is asked for a certificate, which nginx's variables judge
--- server
    ssl_certificate_by_lua_block {
        local ca = ssl.parse_pem_cert(slurp(ngx.shared.seen:get("ca")))
        ngx.sleep(0)
        assert(ssl.verify_client(ca, 1))
    }
    location / { return 200 "$ssl_client_verify $ssl_client_s_dn"; }
--- lua
    local function show(sock)
        local cert, key = ssl.parse_pem_cert(slurp("client.crt")), ssl.parse_pem_priv_key(slurp("client.key"))
        assert(sock:setclientcert(cert, key))
    end
    ngx.shared.seen:set("ca", "ca.crt")
    try(show)
    try()
    ngx.shared.seen:set("ca", "selfsigned.crt")
    try(show)
    ngx.shared.seen:delete("ca")
--- response_body
SUCCESS CN=tester
NONE 
FAILED:unable to verify the first certificate CN=tester


=== TEST 6: authorities that are trusted, but not named
--- server
    ssl_certificate_by_lua_block {
        assert(ssl.verify_client(nil, nil, ssl.parse_pem_cert(slurp("ca.crt"))))
    }
    location / { return 200 "$ssl_client_verify"; }
--- lua
    try(function(sock)
        assert(sock:setclientcert(ssl.parse_pem_cert(slurp("client.crt")), ssl.parse_pem_priv_key(slurp("client.key"))))
    end)
--- response_body
SUCCESS


=== TEST 7: certificates and keys in DER, and what is none
--- server
    ssl_certificate_by_lua_block {
        note(ssl.set_der_cert("none"))
        note(ssl.set_der_priv_key("none"))
        note(pcall(ssl.set_cert, "none"))
        note(pcall(ssl.set_priv_key))
        note(pcall(ssl.set_cert, ssl.parse_pem_priv_key(slurp("server.key"))))
        note(pcall(ssl.set_priv_key, ssl.parse_pem_cert(slurp("server.crt"))))
        note(pcall(ssl.verify_client, "ca"))
        assert(ssl.clear_certs())
        assert(ssl.set_der_cert(ssl.cert_pem_to_der(slurp("server.crt"))))
        assert(ssl.set_der_priv_key(ssl.priv_key_pem_to_der(slurp("server.key"))))
        -- a key that does not belong to the certificate
        note(ssl.set_priv_key(ssl.parse_pem_priv_key(slurp("client.key"))))
    }
    return 200 "fine";
--- lua
    try()
    seen()
--- response_body
fine
nil d2i_X509_bio() failed
nil d2i_PrivateKey_bio() failed
false bad argument #1 to 'set_cert' (cert by ngx.ssl.parse_*() expected, got string)
false bad argument #1 to 'set_priv_key' (pkey by ngx.ssl.parse_*() expected, got nil)
false bad argument #1 to 'set_cert' (cert expected, got pkey)
false bad argument #1 to 'set_priv_key' (pkey expected, got cert)
false bad argument #1 to 'verify_client' (cert by ngx.ssl.parse_*() expected, got string)
nil SSL_use_PrivateKey() failed


=== TEST 8: a chain is shown whole
--- server
    ssl_certificate_by_lua_block {
        ssl.clear_certs()
        assert(ssl.set_cert(ssl.parse_pem_cert(slurp("deep.crt"))))
        assert(ssl.set_priv_key(ssl.parse_pem_priv_key(slurp("deep.key"))))
    }
    return 200 "deep";
--- config
    lua_ssl_verify_depth 2;
    location = /t { content_by_lua_block { try() } }
--- request
    GET /t
--- response_body
deep


=== TEST 9: without certificates a handshake fails
--- server
    ssl_certificate_by_lua_block { ssl.clear_certs() }
--- lua
    try()
--- response_body
handshake failed
--- error_log eval
qr/\[info\] .* SSL_do_handshake\(\) failed \(SSL: error:\w+:SSL routines::no (?:shared cipher|suitable signature algorithm)/


=== TEST 10: ciphers that both know
--- server
    ssl_protocols TLSv1.2;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384;
    ssl_certificate_by_lua_block {
        local list = ssl.get_req_shared_ssl_ciphers()
        table.sort(list)
        for i, number in ipairs(list) do list[i] = ("%04x"):format(number) end
        note(table.concat(list, " "))
    }
    return 200 "$ssl_cipher";
--- config
    lua_ssl_protocols TLSv1.2;
    lua_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305;
    location = /t { content_by_lua_block { try() seen() } }
--- request
    GET /t
--- response_body
ECDHE-ECDSA-AES128-GCM-SHA256
c02b


=== TEST 11: OpenSSL's own objects, for libraries that know it
--- server
    location / {
        content_by_lua_block {
            local pointer = ssl.get_req_ssl_pointer()
            ngx.say(type(pointer), " ", ssl.ssl_session_reused(pointer))
            ngx.say(ssl.ssl_session_reused("none"))
            ngx.print(ssl.get_upstream_ssl_pointer())
        }
    }
--- lua
    try()
--- response_body
cdata false
nilbad ssl
nilbad request


=== TEST 12: the connection with an upstream
--- server
    return 200 "fine";
--- config
    location = /t {
        proxy_pass https://unix:$TEST_NGINX_HTML_DIR/server.sock;
        header_filter_by_lua_block { ngx.header.Pointer = type(ssl.get_upstream_ssl_pointer()) }
    }
--- request
    GET /t
--- response_headers
Pointer: cdata
--- response_body: fine


=== TEST 13: a connection without TLS
--- lua
    for _, name in ipairs { "clear_certs", "server_port", "server_name", "get_tls1_version", "get_tls1_version_str",
        "get_client_random", "get_req_ssl_pointer", "get_req_shared_ssl_ciphers" } do
        ngx.say(ssl[name]())
    end
    ngx.say(ssl.verify_client())
    ngx.say(ssl.raw_client_addr())
--- response_body
nilbad request
nilbad request
nilbad request
nilbad request
nilbad request
nilbad request
nilbad request
nilbad request
nilAPI disabled in the current context
nilnilbad request
