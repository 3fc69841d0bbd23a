use lib 't/lib';
use AutoscaleLua;

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

# Servers by what is wrong with them, each at a unix socket of its name.
sub server {
    my ($name, $crt, $key, $more) = @_;
    return <<"EOC";
server {
    listen unix:\$TEST_NGINX_HTML_DIR/$name.sock ssl;
    server_name $name;
    ssl_certificate \$TEST_NGINX_CERTS/$crt.crt;
    ssl_certificate_key \$TEST_NGINX_CERTS/$key.key;
    $more
    location / { content_by_lua_block { ngx.header.content_length = 6 ngx.print("hello\\n") } }
    location = /reused { return 200 "\$ssl_session_reused \$ssl_protocol \$ssl_server_name\\n"; }
    location = /who { return 200 "\$ssl_client_verify \$ssl_client_s_dn\\n"; }
    location = /big { content_by_lua_block { local s = string.rep("0123456789abcdef", 4096) for i = 1, 32 do ngx.print(s) end } }
    location = /length { client_max_body_size 100m; client_body_buffer_size 100m;
        content_by_lua_block { ngx.req.read_body() ngx.print(ngx.md5(ngx.req.get_body_data())) } }
    location = /slow { client_max_body_size 200m; content_by_lua_block { ngx.sleep(2) } }
}
EOC
}

our $Servers = join '',
    'lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;', "\n",
    server('server', 'server', 'server', ''),
    server('tls12', 'server', 'server', 'ssl_protocols TLSv1.2; ssl_session_cache shared:tls12:1m;'),
    server('tls13', 'server', 'server', 'ssl_protocols TLSv1.3;'),
    server('deep', 'deep', 'deep', ''),
    server('expired', 'expired', 'server', ''),
    server('revoked', 'revoked', 'server', ''),
    server('selfsigned', 'selfsigned', 'server', ''),
    server('mutual', 'server', 'server',
        'ssl_client_certificate $TEST_NGINX_CERTS/ca.crt; ssl_verify_client optional;'),
    'server { listen unix:$TEST_NGINX_HTML_DIR/plain.sock; }', "\n",
    <<'EOC';
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    descriptors = require "descriptors"
    -- a socket that is connected to a server above
    function open(name, options)
        local sock = ngx.socket.tcp()
        assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/" .. name .. ".sock", options))
        return sock
    end
    -- the body of what the server answers
    function get(sock, uri)
        sock:send("GET " .. (uri or "/") .. " HTTP/1.0\r\n\r\n")
        local found, err = sock:receiveuntil("\r\n\r\n")()
        if not found then return err end
        return (sock:receive("*a"))
    end
    function slurp(name)
        local f = assert(io.open("$TEST_NGINX_CERTS/" .. name))
        local s = f:read("*a")
        f:close()
        return s
    end
}
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $main::Servers . ($block->http_config // '')) if !defined $block->alone;
});

worker_connections(256);
run_tests();

__DATA__

=== TEST 1: a verified handshake and a request, in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    local sock = open("server")
    local session, err = sock:sslhandshake(nil, "test.example", true)
    return type(session) .. " " .. tostring(err) .. " " .. get(sock) .. sock:close()
--- result
cdata nil hello
1


=== TEST 2: in a timer
--- config
    location = /t {
        content_by_lua_block {
            local result
            ngx.timer.at(0, function()
                local sock = open("server")
                result = tostring(sock:sslhandshake(false, "test.example", true)) .. " " .. get(sock)
            end)
            for _ = 1, 200 do
                if result then break end
                ngx.sleep(0.005)
            end
            ngx.print(result)
        }
    }
--- response_body
true hello


=== TEST 3: what the first argument says about the result
--- lua
    ngx.say(type(open("server"):sslhandshake()))
    ngx.say(type(open("server"):sslhandshake(true)))
    ngx.say(open("server"):sslhandshake(false))
    local sock = open("server")
    local session = sock:sslhandshake()
    -- a second handshake is none
    ngx.say(rawequal(sock:sslhandshake(session), session), " ", sock:sslhandshake(false), " ", type(sock:sslhandshake()))
    ngx.print(get(sock))
--- response_body
cdata
cdata
true
true true cdata
hello


=== TEST 4: certificates that do not stand up to verification
--- lua
    local function try(name, host, verify)
        local sock = open(name)
        local ok, err = sock:sslhandshake(false, host, verify)
        ngx.say(name, ": ", ok, " ", err, " ", sock:send("x"))
    end
    try("server", "other.example", true)
    try("server", "a.b.wild.example", true)
    try("server", "127.0.0.2", true)
    try("expired", "test.example", true)
    try("selfsigned", "test.example", true)
    try("deep", "test.example", true)
--- response_body_like
^server: nil certificate host mismatch nilclosed
server: nil certificate host mismatch nilclosed
server: nil certificate host mismatch nilclosed
expired: nil 10: certificate has expired nilclosed
selfsigned: nil 18: self.signed certificate nilclosed
deep: true nil 1$
--- error_log
lua ssl certificate does not match host "other.example"
lua ssl certificate verify error: (10: certificate has expired)
attempt to send data on a closed socket


=== TEST 5: the same certificates stand up to none
--- modes: plain hup workers
--- lua
    for _, name in ipairs { "server", "expired", "selfsigned", "deep", "revoked" } do
        local sock = open(name)
        ngx.print(sock:sslhandshake(false, "other.example"), " ", get(sock))
    end
--- response_body
true hello
true hello
true hello
true hello
true hello
--- no_error_log
[error]


=== TEST 6: names that match: a plain one, a wild one, an address, none
--- modes: plain hup workers
--- lua
    for _, host in ipairs { "test.example", "a.wild.example", "127.0.0.1", "" } do
        ngx.say(open("server"):sslhandshake(false, host, true))
    end
    ngx.say(open("server"):sslhandshake(false, nil, true))
--- response_body
true
true
true
true
true


=== TEST 7: nothing trusted, too deep, revoked, and errors that are not logged
--- config
    location = /t {
        lua_socket_log_errors off;
        content_by_lua_block {
            ngx.say((select(2, open("revoked"):sslhandshake(false, nil, true))))
            for _, uri in ipairs { "untrusting", "shallow", "crl" } do
                local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
                ngx.print(get(sock, "/" .. uri))
            end
        }
    }
    location = /untrusting {
        lua_socket_log_errors off;
        lua_ssl_trusted_certificate "";
        content_by_lua_block { ngx.say((select(2, open("server"):sslhandshake(false, nil, true)))) }
    }
    location = /shallow {
        lua_socket_log_errors off;
        lua_ssl_verify_depth 0;
        content_by_lua_block { ngx.say((select(2, open("deep"):sslhandshake(false, nil, true)))) }
    }
    location = /crl {
        lua_socket_log_errors off;
        lua_ssl_crl $TEST_NGINX_CERTS/ca.crl;
        content_by_lua_block {
            ngx.say((select(2, open("revoked"):sslhandshake(false, nil, true))))
            ngx.say(open("server"):sslhandshake(false, nil, true))
        }
    }
--- response_body_like
^nil
20: unable to get local issuer certificate
(?:22: certificate chain too long|20: unable to get local issuer certificate)
23: certificate revoked
true$
--- no_error_log
[error]


=== TEST 8: the server's name is sent, unless it is an address
--- modes: plain hup workers
--- lua
    local function try(host)
        local sock = open("tls12")
        sock:sslhandshake(false, host)
        ngx.print(get(sock, "/reused"))
    end
    try("test.example")
    try("127.0.0.1")
    try("::1")
    try(nil)
    ngx.say(open("server"):sslhandshake(nil, string.rep("x", 300)))
    ngx.say(open("server"):sslhandshake(nil, "a\0b"))
--- response_body
. TLSv1.2 test.example
. TLSv1.2 
. TLSv1.2 
. TLSv1.2 
nilSSL_set_tlsext_host_name failed
nilSSL_set_tlsext_host_name failed


=== TEST 9: a session makes the next handshake short, with TLS 1.2 and 1.3
--- lua
    for _, name in ipairs { "tls12", "tls13" } do
        local session
        for _ = 1, 3 do
            local sock = open(name)
            session = assert(sock:sslhandshake(session, "test.example", true))
            ngx.print(get(sock, "/reused"))
            sock:close()
        end
    end
--- response_body
. TLSv1.2 test.example
r TLSv1.2 test.example
r TLSv1.2 test.example
. TLSv1.3 test.example
r TLSv1.3 test.example
r TLSv1.3 test.example


=== TEST 10: getsslsession, and sessions that outlive their sockets
--- lua
    local sock = open("tls13")
    ngx.say(sock:getsslsession())
    sock:sslhandshake(false)
    get(sock)
    local session = sock:getsslsession()
    sock:close()
    sock = nil
    collectgarbage()
    local other = open("tls13")
    other:sslhandshake(session)
    session = nil
    collectgarbage()
    ngx.print(get(other, "/reused"))
    ngx.say(ngx.socket.tcp():getsslsession())
--- response_body
nilnot ssl connection
r TLSv1.3 
nilclosed


=== TEST 11: a session of other trust is no way around verification
--- lua
    local sock = open("selfsigned")
    local session = sock:sslhandshake(nil, "test.example")
    get(sock)
    sock:close()
    ngx.say((select(2, open("selfsigned"):sslhandshake(session, "test.example", true))))
    sock = open("server")
    session = sock:sslhandshake(nil, "test.example", true)
    get(sock)
    ngx.say((select(2, open("server"):sslhandshake(session, "other.example", true))))
--- response_body_like
^18: self.signed certificate
certificate host mismatch$
--- error_log
lua ssl certificate verify error


=== TEST 12: connections in pools have shaken hands already
--- lua
    local function fetch(sock)
        sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        sock:receiveuntil("\r\n\r\n")()
        return sock:receive(6)
    end
    local pool, session = { pool = "tls" .. ngx.var.connection }, nil
    for _ = 1, 3 do
        local sock = open("tls13", pool)
        local before = session
        session = sock:sslhandshake(session, "test.example", true)
        ngx.print(sock:getreusedtimes(), " ", rawequal(before, session), " ", fetch(sock))
        assert(sock:setkeepalive())
    end
    local sock = open("tls13", pool)
    ngx.print(sock:sslhandshake(false), " ", get(sock))
--- response_body
0 false hello
1 true hello
2 true hello
true hello


=== TEST 13: what the server says of itself after the handshake does not spoil a pooled connection
--- lua
    -- the tickets of TLS 1.3 come when nobody reads
    local pool = { pool = "quiet" .. ngx.var.connection }
    local sock = open("tls13", pool)
    sock:sslhandshake()
    ngx.sleep(0.02)
    ngx.say(sock:setkeepalive())
    ngx.sleep(0.02)
    sock = open("tls13", pool)
    ngx.print(sock:getreusedtimes(), " ", get(sock))
--- response_body
1
1 hello


=== TEST 14: a pooled connection that has unread data, or a peer that said goodbye, is not kept
--- lua
    local sock = open("server")
    sock:sslhandshake()
    sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    sock:receive()
    ngx.say(sock:setkeepalive())
    sock:receiveuntil("\r\n\r\n")()
    sock:receive(6)
    sock:send("GET / HTTP/1.0\r\n\r\n")
    sock:receiveuntil("\r\n\r\n")()
    sock:receive(6)
    ngx.sleep(0.3)
    ngx.say(sock:setkeepalive())
--- response_body
nilunread data in buffer
nilclosed


=== TEST 15: client certificates: none, of the script, of the configuration
--- config
    location = /conf {
        lua_ssl_certificate $TEST_NGINX_CERTS/client.crt;
        lua_ssl_certificate_key $TEST_NGINX_CERTS/client.key;
        content_by_lua_block {
            local sock = open("mutual")
            sock:sslhandshake()
            ngx.print(get(sock, "/who"))
        }
    }
--- lua
    local ssl = require "ngx.ssl"
    local function who(sock)
        assert(sock:sslhandshake())
        ngx.print(get(sock, "/who"))
    end
    who(open("mutual"))
    local sock = open("mutual")
    ngx.say(sock:setclientcert(ssl.parse_pem_cert(slurp("client.crt")), ssl.parse_pem_priv_key(slurp("client.key"))))
    collectgarbage()
    who(sock)
    -- it stays set, until it is cleared
    sock:connect("unix:$TEST_NGINX_HTML_DIR/mutual.sock")
    who(sock)
    sock:connect("unix:$TEST_NGINX_HTML_DIR/mutual.sock")
    ngx.say(sock:setclientcert(nil, nil))
    who(sock)
    ngx.print(get(ngx.socket.connect("127.0.0.1", ngx.var.server_port), "/conf"))
--- response_body
NONE 
true
SUCCESS CN=tester
SUCCESS CN=tester
true
NONE 
SUCCESS CN=tester


=== TEST 16: certificates and keys that do not fit
--- lua
    local ssl = require "ngx.ssl"
    local cert, key = ssl.parse_pem_cert(slurp("client.crt")), ssl.parse_pem_priv_key(slurp("client.key"))
    local sock = open("mutual")
    ngx.say(sock:setclientcert("cert", "key"))
    ngx.say(sock:setclientcert(cert, "key"))
    ngx.say(sock:setclientcert(cert, nil))
    ngx.say(sock:setclientcert(nil, key))
    ngx.say(sock:setclientcert(key, cert))
    ngx.say(sock:setclientcert(1LL, key))
    sock:setclientcert(cert, ssl.parse_pem_priv_key(slurp("server.key")))
    ngx.say(sock:sslhandshake())
    ngx.say(sock:send("x"))
    ngx.say(sock:settrustedstore("store"))
    ngx.say(sock:settrustedstore(key))
    ngx.say(sock:settrustedstore(nil))
--- response_body
nilbad cert arg: cdata expected, got string
nilbad pkey arg: cdata expected, got string
nilclient certificate must be supplied with corresponding private key
nilclient certificate must be supplied with corresponding private key
nilbad cert arg: got a pkey
nilbad cert arg: pointer expected, got ctype<int64_t>
nilssl set client private key failed
nilclosed
nilbad store arg: cdata expected, got string
nilbad store arg: got a pkey
true
--- error_log
attempt to send data on a closed socket


=== TEST 17: a store that another library has made
--- lua
    local ffi = require "ffi"
    pcall(ffi.cdef, [[
        typedef struct x509_store_st X509_STORE;
        X509_STORE *X509_STORE_new(void);
        void X509_STORE_free(X509_STORE *);
        int X509_STORE_load_locations(X509_STORE *, const char *, const char *);
    ]])
    local store = ffi.gc(ffi.C.X509_STORE_new(), ffi.C.X509_STORE_free)
    local sock = open("selfsigned")
    ngx.say(sock:settrustedstore(store))
    ffi.C.X509_STORE_load_locations(store, "$TEST_NGINX_CERTS/selfsigned.crt", nil)
    ngx.say(sock:sslhandshake(false, "test.example", true))
    sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock")
    ngx.say(sock:sslhandshake(false, "test.example", true))
    sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock")
    sock:settrustedstore(nil)
    ngx.say(sock:sslhandshake(false, "test.example", true))
--- response_body_like
^true
true
nil(?:20: unable to get local issuer certificate|21: unable to verify the first certificate)
true$
--- error_log
lua ssl certificate verify error


=== TEST 18: protocols and ciphers
--- modes: plain hup workers
--- config
    location = /old {
        lua_ssl_protocols TLSv1.2;
        content_by_lua_block {
            local sock = open("server")
            sock:sslhandshake()
            ngx.print(get(sock, "/reused"))
            ngx.say(open("tls13"):sslhandshake())
        }
    }
    location = /new {
        lua_ssl_protocols TLSv1.2 TLSv1.3;
        lua_ssl_ciphers ECDHE-ECDSA-AES128-SHA256;
        lua_ssl_conf_command MaxProtocol TLSv1.2;
        content_by_lua_block {
            local sock = open("server")
            sock:sslhandshake()
            ngx.print(get(sock, "/reused"))
        }
    }
--- lua
    ngx.print(get(ngx.socket.connect("127.0.0.1", ngx.var.server_port), "/old"))
    ngx.print(get(ngx.socket.connect("127.0.0.1", ngx.var.server_port), "/new"))
--- response_body
. TLSv1.2 
nilhandshake failed
. TLSv1.2 
--- error_log
SSL_do_handshake() failed


=== TEST 19: a protocol of the application is agreed on
--- lua
    local sock = open("server")
    sock:setalpn("h2", "http/1.1")
    sock:sslhandshake()
    ngx.say(sock:getalpn())
    ngx.say(open("server"):getalpn())
    ngx.say(pcall(sock.setalpn, sock, ""))
    ngx.say(pcall(sock.setalpn, sock, "h2", 1))
    ngx.say(sock:setalpn())
    ngx.say(ngx.socket.tcp():getalpn())
--- response_body
http/1.1
nil
falsebad argument #1 to 'setalpn' (string of 1 to 255 bytes expected, got 0 bytes)
falsebad argument #2 to 'setalpn' (string of 1 to 255 bytes expected, got number)
true
nilclosed


=== TEST 20: much in both directions
--- lua
    local sock = open("server")
    sock:sslhandshake()
    local big = get(sock, "/big")
    ngx.say(#big, " ", ngx.md5(big) == ngx.md5(string.rep("0123456789abcdef", 131072)))
    sock = open("server")
    sock:sslhandshake()
    local body = string.rep("abcdefghijklmnop", 500000)
    sock:send { "POST /length HTTP/1.0\r\nContent-Length: ", #body, "\r\n\r\n" }
    ngx.say(sock:send(body))
    sock:receiveuntil("\r\n\r\n")()
    ngx.say(sock:receive("*a") == ngx.md5(body))
--- response_body
2097152 true
8000000
true
--- modes: plain hup workers
--- timeout: 20


=== TEST 21: a peer that takes nothing
--- modes: plain hup workers
--- lua
    local sock = open("server")
    sock:settimeouts(1000, 50, 1000)
    sock:sslhandshake()
    sock:send("POST /slow HTTP/1.0\r\nContent-Length: 100000000\r\n\r\n")
    ngx.say(sock:send(string.rep("x", 20000000)))
    ngx.say(sock:send("x"))
--- response_body
niltimeout
nilclosed
--- error_log
lua tcp socket write timed out


=== TEST 22: a server that does not speak TLS
--- lua
    local sock = open("plain")
    ngx.say(sock:sslhandshake())
    ngx.say(sock:receive())
--- response_body
nilhandshake failed
nilclosed
--- error_log
SSL_do_handshake() failed


=== TEST 23: a peer that closes in the handshake
--- tcp_listen: 7001
--- tcp_reply:
--- lua
    local sock = ngx.socket.connect("127.0.0.1", 7001)
    ngx.say(sock:sslhandshake())
    ngx.say(sock:close())
--- response_body
nilhandshake failed
nilclosed
--- error_log eval
qr{in SSL handshake|SSL_do_handshake}


=== TEST 24: a peer that never answers, one that is still waited for when the thread is killed
--- lua
    -- the request is a body that the server waits for: it says nothing until it has all of it
    local function stalled()
        local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
        sock:send("POST /eat HTTP/1.0\r\nContent-Length: 1000000\r\n\r\n")
        return sock
    end
    local sock = stalled()
    sock:settimeout(30)
    local begun = ngx.now()
    ngx.say(sock:sslhandshake())
    ngx.update_time()
    ngx.say(ngx.now() - begun < 5, " ", sock:send("x"))
    sock = stalled()
    local t = ngx.thread.spawn(function() sock:sslhandshake() end)
    ngx.say(sock:sslhandshake())
    ngx.say(sock:receive())
    ngx.say(sock:close())
    ngx.say(ngx.thread.kill(t))
    -- what was half a handshake is not used for anything else
    ngx.say(sock:send("x"))
    ngx.say(sock:sslhandshake())
    ngx.say(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"), " ", sock:sslhandshake(false), " ", get(sock) == "hello\n")
--- config
    location = /eat { content_by_lua_block { ngx.req.read_body() } }
--- response_body
niltimeout
true nilclosed
nilsocket busy connecting
nilsocket busy connecting
nilsocket busy connecting
1
nilclosed
nilclosed
1 true true
--- error_log
attempt to send data on a closed socket
--- no_error_log
[alert]


=== TEST 25: the client goes while a handshake waits
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
            sock:send("POST /eat HTTP/1.0\r\nContent-Length: 1000000\r\n\r\n")
            ngx.timer.at(0.02, function() sock = nil end)
            ngx.thread.spawn(function() sock:sslhandshake() end)
            ngx.exit(204)
        }
    }
    location = /eat { content_by_lua_block { ngx.req.read_body() } }
--- error_code: 204
--- no_error_log
[error]


=== TEST 26: what came in the clear is not taken for what TLS protects
--- modes: plain hup workers
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /starttls HTTP/1.1\r\nHost: a\r\n\r\n")
    sock:receive()
    ngx.say(sock:sslhandshake())
--- config
    location = /starttls { return 200 "go ahead"; }
--- response_body
nilunread data in buffer


=== TEST 27: a closed socket, and one of another request
--- lua
    ngx.say(ngx.socket.tcp():sslhandshake())
    local sock = open("server")
    local result
    ngx.timer.at(0, function()
        local a, b = select(2, pcall(sock.sslhandshake, sock)), select(2, pcall(sock.getsslsession, sock))
        result = a .. " " .. b
    end)
    for _ = 1, 200 do
        if result then break end
        ngx.sleep(0.01)
    end
    ngx.say(result)
    ngx.say(sock:getsslpointer())
    sock:sslhandshake()
    ngx.say(type(sock:getsslpointer()), " ", type(sock:getsslctx()), " ", sock:getsslpointer() ~= sock:getsslctx())
--- response_body
nilclosed
bad request bad request
nilnot ssl connection
cdata cdata true


=== TEST 28: wrong arguments
--- modes: plain hup workers
--- lua
    local sock = open("server")
    local function try(...) ngx.say((select(2, pcall(sock.sslhandshake, ...)))) end
    try()
    try(sock, nil, nil, nil, nil, nil)
    try(sock, "session")
    try(sock, {})
    try(sock, 1LL)
    try(sock, nil, 1)
    try(sock, nil, {})
--- response_body
ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen 0
ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen 6
bad argument #1 to 'sslhandshake' (session or boolean expected, got string)
bad argument #1 to 'sslhandshake' (session or boolean expected, got table)
bad argument #1 to 'sslhandshake' (session or boolean expected, got cdata)
bad argument #2 to 'sslhandshake' (string expected, got number)
bad argument #2 to 'sslhandshake' (string expected, got table)


=== TEST 29: the status of the certificate is asked for
--- modes: plain hup workers
--- lua
    local sock = open("server")
    ngx.print(sock:sslhandshake(false, "test.example", true, true), " ", get(sock))
--- response_body
true hello


=== TEST 30: two threads on one connection
--- modes: plain hup workers
--- lua
    local sock = open("server")
    sock:sslhandshake()
    local reader = ngx.thread.spawn(function() return sock:receive() end)
    ngx.say(sock:sslhandshake())
    sock:send("GET / HTTP/1.0\r\n\r\n")
    ngx.say(ngx.thread.wait(reader))
--- response_body
nilsocket busy reading
trueHTTP/1.1 200 OK


=== TEST 31: the sender is killed in the middle of a record
--- modes: plain hup workers
--- lua
    local sock = open("server")
    sock:sslhandshake()
    sock:send("POST /slow HTTP/1.0\r\nContent-Length: 100000000\r\n\r\n")
    local sender = ngx.thread.spawn(function() sock:send(string.rep("x", 20000000)) end)
    ngx.say(sock:send("y"))
    ngx.say(ngx.thread.kill(sender))
    ngx.say(sock:send("y"))
--- response_body
nilsocket busy writing
1
nilclosed
--- error_log
attempt to send data on a closed socket


=== TEST 32: one side is closed, the other goes on
--- lua
    local sock = open("server")
    sock:sslhandshake()
    sock:send("GET / HTTP/1.0\r\n\r\n")
    sock:receive()
    ngx.say(sock:shutdown("send"))
    sock:receiveuntil("\r\n\r\n")()
    ngx.print((sock:receive("*a")))
    ngx.say(sock:send("x"))
--- response_body
1
hello
niltls error
--- no_error_log
[alert]


=== TEST 33: a pooled connection that was never verified does not pass for one that was
--- lua
    local pool = { pool = "unverified" .. ngx.var.connection }
    for _, verify in ipairs { 0, 1, 2 } do
        local sock = open("selfsigned", pool)
        ngx.say(sock:sslhandshake(false, "test.example", verify == 1))
        ngx.say(sock:getreusedtimes())
        sock:setkeepalive()
    end
    pool = { pool = "verified" .. ngx.var.connection }
    for _, name in ipairs { "test.example", "test.example", "other.example" } do
        local sock = open("server", pool)
        ngx.say(sock:sslhandshake(false, name, true))
        sock:setkeepalive()
    end
--- response_body_like
^true
0
nil18: self.signed certificate
nilclosed
true
0
true
true
nilcertificate host mismatch$
--- error_log
lua ssl certificate verify error: (18: self


=== TEST 34: a thousand handshakes leave nothing behind
--- lua
    local before, session = 0
    for i = 1, 1000 do
        local sock = open("server")
        session = assert(sock:sslhandshake(session, "test.example", true))
        sock:close()
        if i == 100 then before = descriptors.settled() end
    end
    ngx.say(descriptors.more_than(before + 5) <= 0)
--- modes: plain
--- once
--- timeout: 30
--- response_body
true
