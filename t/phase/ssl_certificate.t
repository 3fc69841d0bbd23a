# ssl_certificate_by_lua: which certificate a client is shown, decided while it waits. The client is a script's socket.
use lib 't/lib';
use AutoscaleLua;

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

our $Lua = <<'EOC';
lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
lua_socket_log_errors off;
lua_shared_dict seen 64k;
init_by_lua_block {
    function slurp(name)
        local f = assert(io.open("$TEST_NGINX_CERTS/" .. name))
        local s = f:read("*a")
        f:close()
        return s
    end
    -- shows the certificate that ca has issued
    function show()
        local ssl = require "ngx.ssl"
        assert(ssl.clear_certs())
        assert(ssl.set_cert(assert(ssl.parse_pem_cert(slurp("server.crt")))))
        assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(slurp("server.key")))))
    end
    -- What a command says that may need this very worker. It is not waited for, so that it is not our child.
    function run(command)
        local out = "$TEST_NGINX_HTML_DIR/said"
        os.remove(out)
        os.execute("{ { " .. command .. "; } > " .. out .. ".new 2>/dev/null; mv " .. out .. ".new " .. out .. "; } &")
        for _ = 1, 400 do
            local f = io.open(out)
            if f then
                local said = f:read("*a")
                f:close()
                return said
            end
            ngx.sleep(0.01)
        end
        return "it said nothing"
    end
    -- what a client that verifies gets to see
    function try(name, session)
        local sock = ngx.socket.tcp()
        sock:settimeout(10000)
        assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
        local ok, err = sock:sslhandshake(session == nil and false or session, name or "test.example", true)
        if not ok then
            sock:close()
            return nil, err
        end
        sock:send("GET / HTTP/1.0\r\nHost: " .. (name or "test.example") .. "\r\n\r\n")
        sock:receiveuntil("\r\n\r\n")()
        local body = sock:receive("*a")
        sock:close()
        return body, ok
    end
}
EOC
our $Server = <<'EOC';
    listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate $TEST_NGINX_CERTS/selfsigned.crt;
    ssl_certificate_key $TEST_NGINX_CERTS/server.key;
    location / { return 200 "$ssl_protocol"; }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    my $server = defined $block->server ? "server {\n$main::Server" . $block->server . "}\n" : '';
    $block->set_value('http_config', $main::Lua . $server . ($block->http_config // ''));
});

run_tests();

__DATA__

=== TEST 1: a certificate by the script, in both versions of the protocol
--- server
    ssl_certificate_by_lua_block { show() }
--- config
    location = /12 { lua_ssl_protocols TLSv1.2; content_by_lua_block { ngx.say((try())) } }
    location = /13 { lua_ssl_protocols TLSv1.3; content_by_lua_block { ngx.say((try())) } }
--- request eval
["GET /12", "GET /13"]
--- response_body eval
["TLSv1.2\n", "TLSv1.3\n"]


=== TEST 2: without the script the client would have refused
--- server
--- lua
    ngx.say(try())
--- response_body
nil18: self-signed certificate


=== TEST 3: the script waits: for a timer, a socket, a thread, a semaphore
--- server
    ssl_certificate_by_lua_block {
        ngx.sleep(0.001)
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
        assert(sock:send("GET /word HTTP/1.0\r\n\r\n"))
        sock:receiveuntil("\r\n\r\n")()
        ngx.shared.seen:set("word", sock:receive("*a"))
        local semaphore = require("ngx.semaphore").new()
        local thread = ngx.thread.spawn(function() return semaphore:wait(1) end)
        ngx.sleep(0)
        semaphore:post()
        local _, ok = ngx.thread.wait(thread)
        ngx.shared.seen:set("semaphore", ok)
        show()
    }
--- config
    location = /word { return 200 "password"; }
    location = /t {
        content_by_lua_block {
            ngx.say((try()))
            ngx.say(ngx.shared.seen:get("word"), " ", ngx.shared.seen:get("semaphore"))
        }
    }
--- request
    GET /t
--- response_body
TLSv1.3
password true


=== TEST 4: many clients wait at the same time
--- server
    ssl_certificate_by_lua_block { ngx.sleep(0.05) show() }
--- lua
    local threads = {}
    for i = 1, 20 do threads[i] = ngx.thread.spawn(try) end
    local begun, ok = ngx.now(), 0
    for i = 1, 20 do
        local _, body = ngx.thread.wait(threads[i])
        if body == "TLSv1.3" then ok = ok + 1 end
    end
    ngx.update_time()
    ngx.say(ok, " ", ngx.now() - begun < 2)
--- response_body
20 true


=== TEST 5: an error ends the handshake, and is logged once, with its place
--- server
    ssl_certificate_by_lua_block {
        if require("ngx.ssl").server_name() == "late" then ngx.sleep(0.001) end
        error("no certificate today")
    }
--- lua
    ngx.say(try("test.example"))
    ngx.say(try("late"))
--- response_body
nilhandshake failed
nilhandshake failed
--- error_log eval
[qr/\[error\] .* lua entry thread aborted: runtime error: ssl_certificate_by_lua\(nginx\.conf:\d+\):3: no certificate today/,
 qr/context: ssl_certificate_by_lua\*, client: unix:, server: unix:\S+server\.sock/,
 qr/\[info\] .* SSL_do_handshake\(\) failed \(SSL: error:\w+:SSL routines::cert cb error\) while SSL handshaking/]
--- grep_error_log: no certificate today
--- grep_error_log_out
no certificate today
no certificate today
--- once


=== TEST 6: ngx.exit ends the script, and with an error the handshake
--- server
    ssl_certificate_by_lua_block {
        local name = require("ngx.ssl").server_name()
        if name == "yes" then show() ngx.exit(ngx.OK) end
        if name == "no" then ngx.exit(ngx.ERROR) end
        if name == "late" then ngx.sleep(0.001) ngx.exit(ngx.ERROR) end
        if name == "status" then ngx.exit(403) end
        ngx.log(ngx.ERR, "not reached")
    }
--- lua
    -- the name that the certificate has is another one
    local body, err = try("yes")
    ngx.say(body, " ", err)
    for _, name in ipairs { "no", "late", "status" } do ngx.say(try(name)) end
--- response_body
nil certificate host mismatch
nilhandshake failed
nilhandshake failed
nilhandshake failed
--- no_error_log
not reached


=== TEST 7: ngx.ctx goes from one script of the handshake to the next, and to each request
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        ssl_certificate $TEST_NGINX_CERTS/server.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_client_hello_by_lua_block { ngx.ctx.a = 1 ngx.sleep(0.001) }
        ssl_certificate_by_lua_block { ngx.ctx.b = ngx.ctx.a + 1 }
        location / {
            content_by_lua_block {
                ngx.print(ngx.ctx.a, ngx.ctx.b, ngx.ctx.c)
                ngx.ctx.b, ngx.ctx.c = 8, 9
                ngx.print(ngx.ctx.b, ngx.ctx.c, rawget(ngx.ctx, "a"))
            }
        }
    }
--- lua
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
    assert(sock:sslhandshake(false, "test.example", true))
    for i = 1, 2 do
        sock:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        local body, line = {}, nil
        repeat line = sock:receive() until line == ""
        repeat
            local size = tonumber(sock:receive(), 16)
            body[#body + 1] = sock:receive(size)
            sock:receive()
        until size == 0
        ngx.say(table.concat(body))
    end
    sock:close()
--- response_body
12nil89nil
12nil89nil


=== TEST 8: a resumed session needs no certificate
--- server
    ssl_session_cache shared:tls:1m;
    ssl_certificate_by_lua_block { ngx.shared.seen:incr("runs", 1, 0) show() }
--- config
    location = /t {
        lua_ssl_protocols TLSv1.2;
        content_by_lua_block {
            ngx.shared.seen:set("runs", 0)
            local body, session = try("test.example", nil)
            local sock = ngx.socket.tcp()
            assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
            session = assert(sock:sslhandshake(nil, "test.example", true))
            sock:close()
            ngx.say(ngx.shared.seen:get("runs"))
            ngx.say((try("test.example", session)), " ", ngx.shared.seen:get("runs"))
        }
    }
--- request
    GET /t
--- response_body
2
TLSv1.2 2


=== TEST 9: each server has its own script, chosen by the name that the client says
--- server
    server_name test.example;
    ssl_certificate_by_lua_block { ngx.sleep(0.001) show() ngx.shared.seen:set("script", "first") }
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        server_name a.wild.example;
        ssl_certificate $TEST_NGINX_CERTS/selfsigned.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_certificate_by_lua_block { show() ngx.sleep(0.001) ngx.shared.seen:set("script", "second") }
    }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        server_name b.wild.example;
        ssl_certificate $TEST_NGINX_CERTS/deep.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/deep.key;
        location / { return 200 "none"; }
    }
--- config
    lua_ssl_verify_depth 2;
    location = /t {
        content_by_lua_block {
            for _, name in ipairs { "test.example", "a.wild.example", "b.wild.example" } do
                ngx.shared.seen:set("script", "none")
                ngx.say(try(name) and name, " ", ngx.shared.seen:get("script"))
            end
        }
    }
--- request
    GET /t
--- response_body
test.example first
a.wild.example second
b.wild.example none


=== TEST 10: a script only for a name is asked although the first server has none
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        ssl_certificate $TEST_NGINX_CERTS/selfsigned.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
    }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        server_name test.example;
        ssl_certificate $TEST_NGINX_CERTS/selfsigned.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_certificate_by_lua_file html/show.lua;
        location / { return 200 "second"; }
    }
--- user_files
>>> show.lua
ngx.sleep(0.001)
show()
--- lua
    ngx.say((try()))
--- response_body
second


=== TEST 11: a server without certificates of its own has those of the first, but not its script
--- server
    server_name test.example;
    ssl_certificate_by_lua_block { show() }
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        server_name a.wild.example;
    }
--- lua
    ngx.say(try("a.wild.example"))
--- response_body
nilhandshake failed
--- error_log
no ssl_certificate_by_lua* defined in server a.wild.example
--- allow_log
no ssl_certificate_by_lua* defined in server a.wild.example


=== TEST 12: a client that goes away takes the script with it
--- server
    ssl_certificate_by_lua_block {
        ngx.shared.seen:set("waits", true)
        ngx.sleep(0.3)
        ngx.log(ngx.ERR, "not reached")
    }
--- lua
    ngx.shared.seen:delete("waits")
    local sock = ngx.socket.tcp()
    sock:settimeout(50)
    assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
    ngx.say(sock:sslhandshake(false, "test.example", true))
    ngx.say(ngx.shared.seen:get("waits"))
    sock:close()
    ngx.sleep(0.35)
--- response_body
niltimeout
true
--- error_log
peer closed connection in SSL handshake
--- no_error_log
not reached


=== TEST 13: client_header_timeout is for the whole handshake, with what the script waits for
--- server
    client_header_timeout 100ms;
    ssl_certificate_by_lua_block {
        ngx.sleep(1)
        ngx.log(ngx.ERR, "not reached")
    }
--- lua
    local begun = ngx.now()
    ngx.say(try())
    ngx.update_time()
    ngx.say(ngx.now() - begun < 0.9)
--- response_body
nilhandshake failed
true
--- error_log
client timed out
--- no_error_log
not reached


=== TEST 14: a first message in pieces, and one that is none
--- server
    ssl_certificate_by_lua_block { show() }
--- lua
    local sock = ngx.socket.tcp()
    sock:settimeout(500)
    assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
    for i = 1, 5 do
        sock:send(("\22\3\1\0\200"):sub(i, i))
        ngx.sleep(0.001)
    end
    sock:close()
    assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
    sock:send("\22\3\1\0\5hello")
    local answer = sock:receive("*a")
    ngx.say("alert ", answer:byte(1), " of ", #answer)
    sock:close()
    ngx.say((try()))
--- response_body
alert 21 of 7
TLSv1.3
--- error_log eval
[qr/peer closed connection in SSL handshake .*while SSL handshaking/,
 qr/\[(?:info|crit)\] .* SSL_do_handshake\(\) failed \(SSL: error:/]


=== TEST 15: certificates by variables are set before the script, which may leave it at that
--- http_config
    map $ssl_server_name $pair { default server; }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        server_name test.example;
        ssl_certificate $TEST_NGINX_CERTS/$pair.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/$pair.key;
        ssl_certificate_by_lua_block { ngx.sleep(0.001) }
        location / { return 200 "by variables"; }
    }
--- lua
    ngx.say((try()))
--- response_body
by variables


=== TEST 16: HTTP/2 is agreed on as before
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl http2;
        ssl_certificate $TEST_NGINX_CERTS/selfsigned.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_certificate_by_lua_block { ngx.ctx.shown = "shown" ngx.sleep(0.001) show() }
        location / { content_by_lua_block { ngx.say(ngx.var.server_protocol, " ", ngx.ctx.shown) } }
    }
--- lua
    ngx.print(run("curl -s --cacert $TEST_NGINX_CERTS/ca.crt --unix-socket $TEST_NGINX_HTML_DIR/server.sock "
        .. "--http2 https://test.example/"))
--- response_body
HTTP/2.0 shown


=== TEST 17: early data arrives after the script
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        ssl_protocols TLSv1.3;
        ssl_early_data on;
        ssl_session_cache shared:early:1m;
        ssl_certificate $TEST_NGINX_CERTS/server.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_client_hello_by_lua_block { ngx.sleep(0.01) }
        ssl_certificate_by_lua_block { ngx.sleep(0.01) }
        location / { return 200 "early=$ssl_early_data reused=$ssl_session_reused\n"; }
    }
--- lua
    local client = "openssl s_client -unix $TEST_NGINX_HTML_DIR/server.sock -tls1_3 "
    local session = " $TEST_NGINX_HTML_DIR/session"
    -- the server ends the connection, and with it the client
    ngx.print(run("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | " .. client .. "-ign_eof -sess_out" .. session
        .. " | grep early="))
    -- the answer comes before the client has shaken hands: it must not be the end of the connection
    ngx.print(run("printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' > $TEST_NGINX_HTML_DIR/early; sleep 0.5 | " .. client
        .. "-sess_in" .. session .. " -early_data $TEST_NGINX_HTML_DIR/early | grep -o 'early data was.*\\|reused=r' -i | sort"))
--- response_body
early= reused=.
Early data was accepted
reused=r


=== TEST 18: the script of a server without TLS
--- config
--- must_die
--- http_config
    server { listen 127.0.0.1:1986; ssl_certificate_by_lua_block { show() } }
--- error_log eval
qr/\[emerg\] .* no ssl configured for the server: "ssl_certificate_by_lua_block" at nginx\.conf:\d+ needs "listen \.\.\. ssl;", "ssl_certificate" and "ssl_certificate_key" in the same server \{\}/


=== TEST 19: a script for all servers, of which none has TLS
--- config
--- must_die
--- http_config
    ssl_certificate_by_lua_block { show() }
--- error_log
no ssl configured for the server


=== TEST 20: a script that is no Lua, and a second one
--- config
--- must_die
--- http_config
    server { listen 127.0.0.1:1986; ssl_certificate_by_lua_block { show( } }
--- error_log eval
qr/\[emerg\] .*failed to load inlined Lua code: ssl_certificate_by_lua\(nginx\.conf:\d+\):1: unexpected symbol near/


=== TEST 21: two scripts in a server
--- config
--- must_die
--- http_config
    server { ssl_certificate_by_lua_block { show() } ssl_certificate_by_lua_block { show() } }
--- error_log eval
qr/"ssl_certificate_by_lua_block" directive is duplicate in \S+nginx\.conf:\d+/


=== TEST 22: a file that is not there
--- server
    ssl_certificate_by_lua_file html/none.lua;
--- lua
    ngx.say(try())
--- response_body
nilhandshake failed
--- error_log eval
qr/\[error\] .* failed to load external Lua file "\S+html\/none\.lua": cannot open/


=== TEST 23: one script for all servers that have TLS
--- server
--- http_config
    ssl_certificate_by_lua_block { show() }
--- lua
    ngx.say((try()))
--- response_body
TLSv1.3
