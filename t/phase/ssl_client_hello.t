# ssl_client_hello_by_lua and ngx.ssl.clienthello: what a client's first message says, and what may be decided by it.
use lib 't/lib';
use AutoscaleLua;

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

our $Lua = <<'EOC';
lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
lua_socket_log_errors off;
lua_shared_dict seen 64k;
init_by_lua_block {
    hello = require "ngx.ssl.clienthello"
    function note(...)
        local list = { n = select("#", ...), ... }
        for i = 1, list.n do list[i] = tostring(list[i]) end
        ngx.shared.seen:rpush("seen", table.concat(list, " "))
    end
    function try(name, alpn)
        local sock = ngx.socket.tcp()
        sock:settimeout(10000)
        assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
        local ok, err = sock:sslhandshake(false, name, false)
        if not ok then
            sock:close()
            return nil, err
        end
        sock:send("GET / HTTP/1.0\r\n\r\n")
        sock:receiveuntil("\r\n\r\n")()
        local body = sock:receive("*a")
        sock:close()
        return body
    end
    function seen()
        repeat
            local line = ngx.shared.seen:lpop("seen")
            if line then ngx.say(line) end
        until not line
    end
}
EOC
our $Server = <<'EOC';
    listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate $TEST_NGINX_CERTS/server.crt;
    ssl_certificate_key $TEST_NGINX_CERTS/server.key;
    location / { return 200 "$ssl_protocol"; }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    my $server = defined $block->server ? "server {\n$main::Server" . $block->server . "}\n" : '';
    $block->set_value('http_config', ($block->http_config // '') . $main::Lua . $server) if !defined $block->must_die;
});

run_tests();

__DATA__

=== TEST 1: what the message says
--- server
    ssl_client_hello_by_lua_block {
        note(ngx.get_phase(), hello.get_client_hello_server_name())
        note(table.concat(hello.get_supported_versions(), " "))
        note(#hello.get_client_hello_ext(0), hello.get_client_hello_ext(65000), hello.get_client_hello_ext("0") ~= nil)
        local kinds = {}
        for _, kind in ipairs(hello.get_client_hello_ext_present()) do kinds[kind] = true end
        note(kinds[0], kinds[43], kinds[65000])
        local ciphers = {}
        for _, cipher in ipairs(hello.get_client_hello_ciphers()) do ciphers[cipher] = true end
        note(ciphers[0x1301], ciphers[0x0a0a])
    }
--- config
    lua_ssl_protocols TLSv1.2 TLSv1.3;
    location = /t { content_by_lua_block { try("test.example") seen() } }
--- request
    GET /t
--- response_body
ssl_client_hello test.example
TLSv1.2 TLSv1.3
17 nil true
true true nil
true nil


=== TEST 2: a message without a name, and without the versions' extension
--- server
    ssl_client_hello_by_lua_block {
        note(hello.get_client_hello_server_name())
        note(hello.get_supported_versions())
        note(require("ngx.ssl").server_name())
    }
--- config
    lua_ssl_protocols TLSv1.2;
    location = /t { content_by_lua_block { ngx.say(try()) seen() } }
--- request
    GET /t
--- response_body
TLSv1.2
nil
nil
nil


=== TEST 3: protocols by the server's name
--- server
    ssl_client_hello_by_lua_block {
        ngx.sleep(0.001)
        local name = hello.get_client_hello_server_name()
        assert(hello.set_protocols({ "TLSv" .. name }))
    }
--- lua
    ngx.say(try("1.2"))
    ngx.say(try("1.3"))
--- response_body
TLSv1.2
TLSv1.3


=== TEST 4: none that the client has
--- server
    ssl_client_hello_by_lua_block { hello.set_protocols({ "TLSv1.3" }) }
--- config
    lua_ssl_protocols TLSv1.2;
    location = /t { content_by_lua_block { ngx.say(try("a")) } }
--- request
    GET /t
--- response_body
nilhandshake failed
--- error_log eval
qr/\[info\] .* SSL_do_handshake\(\) failed \(SSL: error:\w+:SSL routines::unsupported protocol\) while SSL handshaking/


=== TEST 5: it waits, and it runs for resumed sessions, too
--- server
    ssl_client_hello_by_lua_block { ngx.sleep(0.001) note("hello") }
    ssl_certificate_by_lua_block { note("certificate") }
--- lua
    local sock, session = ngx.socket.tcp(), nil
    for _ = 1, 2 do
        assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
        session = assert(sock:sslhandshake(session, "test.example", true))
        -- a ticket of TLS 1.3 comes behind the handshake
        sock:send("GET / HTTP/1.0\r\n\r\n")
        sock:receive("*a")
        sock:close()
    end
    seen()
--- response_body
hello
certificate
hello


=== TEST 6: an error, and ngx.exit, end the handshake
--- server
    ssl_client_hello_by_lua_block {
        local name = hello.get_client_hello_server_name()
        if name:find("late") then ngx.sleep(0.001) end
        if name:find("exit") then ngx.exit(ngx.ERROR) end
        if name:find("fine") then ngx.exit(ngx.OK) end
        error("not this one")
    }
--- lua
    for _, name in ipairs { "now", "late", "exit", "late-exit", "fine", "late-fine" } do ngx.say(try(name)) end
--- response_body
nilhandshake failed
nilhandshake failed
nilhandshake failed
nilhandshake failed
TLSv1.3
TLSv1.3
--- error_log eval
[qr/\[error\] .* runtime error: ssl_client_hello_by_lua\(nginx\.conf:\d+\):6: not this one/,
 qr/context: ssl_client_hello_by_lua\*, client: unix:, server: unix:\S+server\.sock/,
 qr/\[info\] .* SSL_do_handshake\(\) failed \(SSL: error:\w+:SSL routines::callback failed\) while SSL handshaking/]
--- grep_error_log: not this one
--- grep_error_log_out
not this one
not this one
--- once


=== TEST 7: of servers at one address the first one's script runs, whatever the name
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        ssl_certificate $TEST_NGINX_CERTS/server.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_client_hello_by_lua_file html/first.lua;
    }
--- server
    server_name test.example;
    ssl_client_hello_by_lua_block { note("second") }
--- user_files
>>> first.lua
ngx.sleep(0)
note("first")
--- lua
    try("test.example")
    seen()
--- response_body
first


=== TEST 8: arguments that are none
--- server
    ssl_client_hello_by_lua_block {
        note(hello.set_protocols({ "TLSv9" }))
        note(pcall(hello.set_protocols))
        note(pcall(hello.get_client_hello_ext, "one"))
    }
--- lua
    try("a")
    seen()
--- response_body
nil invalid protocols failed
false bad argument #1 to 'set_protocols' (table expected, got nil)
false bad argument #1 to 'get_client_hello_ext' (number expected, got string)


=== TEST 9: outside of its phase there is no message
--- server
    ssl_certificate_by_lua_block { note(pcall(hello.get_client_hello_server_name)) }
--- lua
    try("a")
    seen()
    ngx.say(pcall(hello.get_client_hello_ext, 0))
--- response_body
false API disabled in the current context
falseAPI disabled in the current context


=== TEST 10: a client whose keys do not fit is asked for another message, and the script not again
--- server
    ssl_protocols TLSv1.3;
    ssl_ecdh_curve secp384r1;
    ssl_client_hello_by_lua_block { ngx.sleep(0.001) note("hello") }
    ssl_certificate_by_lua_block { ngx.sleep(0.001) note("certificate") }
--- lua
    ngx.say(try("a"))
    seen()
--- response_body
TLSv1.3
hello
certificate


=== TEST 11: a reload while handshakes wait
--- server
    ssl_client_hello_by_lua_block {
        ngx.sleep(0.3)
    }
--- modes: plain
--- once
--- lua
    local thread = ngx.thread.spawn(try, "a")
    ngx.sleep(0.05)
    os.execute("kill -HUP " .. require("ngx.process").get_master_pid())
    local _, body = ngx.thread.wait(thread)
    ngx.say(body)
--- response_body
TLSv1.3


=== TEST 12: what the script may not use
--- server
    ssl_client_hello_by_lua_block {
        note(pcall(ngx.say, "a"))
        note(select(2, pcall(function() return ngx.var.uri end)):match(": (API.*)"))
        note(pcall(ngx.location.capture, "/"))
        note(pcall(ngx.req.get_headers))
    }
--- lua
    try("a")
    seen()
--- response_body
false API disabled in the context of ssl_client_hello_by_lua*
API disabled in the current context
false API disabled in the context of ssl_client_hello_by_lua*
false API disabled in the current context


=== TEST 13: a timer that it makes outlives the handshake
--- server
    ssl_client_hello_by_lua_block {
        assert(ngx.timer.at(0, function() print("from the timer") note("timer", ngx.get_phase()) end))
    }
--- lua
    ngx.say(try("a"))
    ngx.sleep(0.01)
    seen()
--- response_body
TLSv1.3
timer timer
--- error_log eval
qr/from the timer, context: ngx\.timer, client: unix:, server: unix:\S+server\.sock/


=== TEST 14: connections without TLS at the same address are none of its business
--- server
    listen 127.0.0.1:1986;
    ssl_client_hello_by_lua_block { note("hello") }
--- lua
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", 1986))
    sock:send("GET / HTTP/1.0\r\n\r\n")
    sock:receiveuntil("\r\n\r\n")()
    ngx.say("[", sock:receive("*a"), "]")
    seen()
--- response_body
[]


=== TEST 15: nobody speaks TLS
--- config
--- must_die
--- http_config
    server { ssl_client_hello_by_lua_block { note() } }
--- error_log eval
qr/\[emerg\] .* no ssl configured for the server: "ssl_client_hello_by_lua_block" at nginx\.conf:\d+ needs/
