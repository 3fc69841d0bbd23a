# ssl_session_fetch_by_lua and ssl_session_store_by_lua, with ngx.ssl.session: sessions up to TLS 1.2 wherever scripts put
# them; those of TLS 1.3 stay nginx's.
use lib 't/lib';
use AutoscaleLua;

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

our $Lua = <<'EOC';
lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
lua_socket_log_errors off;
lua_ssl_protocols TLSv1.2;
lua_shared_dict seen 64k;
lua_shared_dict sessions 1m;
init_by_lua_block {
    sessions = require "ngx.ssl.session"
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
    function store()
        local id, session = sessions.get_session_id(), sessions.get_serialized_session()
        ngx.shared.sessions:set(id, session)
        note("store", #id, #session > 50)
    end
    function fetch()
        local id = sessions.get_session_id()
        local session = ngx.shared.sessions:get(id)
        note("fetch", #id, session ~= nil)
        if session then assert(sessions.set_serialized_session(session)) end
    end
    local session
    function shake(new)
        local sock = ngx.socket.tcp()
        sock:settimeout(10000)
        assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
        local ok, err = sock:sslhandshake(not new and session or nil, "test.example", true)
        if not ok then
            ngx.say(err)
            return
        end
        session = ok
        sock:send("GET / HTTP/1.0\r\n\r\n")
        sock:receiveuntil("\r\n\r\n")()
        ngx.say(sock:receive("*a"))
        sock:close()
    end
}
EOC
our $Server = <<'EOC';
server {
    listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets off;
    ssl_certificate $TEST_NGINX_CERTS/server.crt;
    ssl_certificate_key $TEST_NGINX_CERTS/server.key;
    location / { return 200 "$ssl_protocol $ssl_session_reused"; }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $main::Lua . ($block->http_config // '') . $main::Server . ($block->server // '') . "}\n");
});

run_tests();

__DATA__

=== TEST 1: a session goes from one handshake to the next by scripts
--- http_config
    ssl_session_store_by_lua_block { note(ngx.get_phase()) store() }
    ssl_session_fetch_by_lua_block { note(ngx.get_phase()) fetch() }
--- lua
    shake(true)
    shake()
    seen()
--- response_body
TLSv1.2 .
TLSv1.2 r
ssl_session_store
store 64 true
ssl_session_fetch
fetch 64 true


=== TEST 2: the script that looks for a session waits, before and after its answer
--- http_config
    ssl_session_store_by_lua_block { store() }
    ssl_session_fetch_by_lua_block {
        ngx.sleep(0.001)
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
        sock:close()
        fetch()
        ngx.sleep(0.001)
    }
--- server
    ssl_client_hello_by_lua_block { ngx.sleep(0.001) note("hello") }
    ssl_certificate_by_lua_block { ngx.sleep(0.001) note("certificate") }
--- lua
    shake(true)
    shake()
    seen()
--- response_body
TLSv1.2 .
TLSv1.2 r
hello
certificate
store 64 true
hello
fetch 64 true


=== TEST 3: a session that nobody knows costs a whole handshake
--- http_config
    ssl_session_store_by_lua_block { store() }
    ssl_session_fetch_by_lua_block { fetch() }
--- lua
    shake(true)
    ngx.shared.sessions:flush_all()
    shake()
    seen()
--- response_body
TLSv1.2 .
TLSv1.2 .
store 64 true
fetch 64 false
store 64 true


=== TEST 4: so does a script that fails, or ends with an error
--- http_config
    ssl_session_store_by_lua_block { store() }
    ssl_session_fetch_by_lua_block {
        if ngx.shared.seen:get("how") == "error" then error("no luck") end
        ngx.sleep(0)
        ngx.exit(ngx.ERROR)
    }
--- lua
    shake(true)
    for _, how in ipairs { "error", "exit" } do
        ngx.shared.seen:set("how", how)
        shake()
    end
    ngx.shared.seen:flush_all()
--- response_body
TLSv1.2 .
TLSv1.2 .
TLSv1.2 .
--- error_log eval
qr/\[error\] .* runtime error: ssl_session_fetch_by_lua\(nginx\.conf:\d+\):2: no luck/


=== TEST 5: a script that fails to store costs nothing but its line
--- http_config
    ssl_session_store_by_lua_block { error("no room") }
--- lua
    shake(true)
--- response_body
TLSv1.2 .
--- error_log eval
[qr/\[error\] .* failed to run session_store_by_lua\*: ssl_session_store_by_lua\(nginx\.conf:\d+\):1: no room/,
 qr/, context: ssl_session_store_by_lua\*, client: unix:/]


=== TEST 6: to store cannot wait, but make a timer; ngx.exit has nothing to end
--- http_config
    ssl_session_store_by_lua_block {
        note(pcall(ngx.sleep, 0))
        note(pcall(ngx.socket.tcp))
        assert(ngx.timer.at(0, function(_, id) note("later", #id) end, sessions.get_session_id()))
        ngx.exit(ngx.ERROR)
        note("goes on")
    }
--- lua
    shake(true)
    ngx.sleep(0.01)
    seen()
--- response_body
TLSv1.2 .
false API disabled in the context of ssl_session_store_by_lua*
false API disabled in the context of ssl_session_store_by_lua*
goes on
later 64


=== TEST 7: a client with a ticket is not looked for
--- http_config
    ssl_session_fetch_by_lua_block { fetch() }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/tickets.sock ssl;
        ssl_protocols TLSv1.2;
        ssl_certificate $TEST_NGINX_CERTS/server.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        location / { return 200 "$ssl_session_reused"; }
    }
--- lua
    local sock, session = ngx.socket.tcp(), nil
    for _ = 1, 2 do
        assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/tickets.sock"))
        session = assert(sock:sslhandshake(session, "test.example", true))
        sock:send("GET / HTTP/1.0\r\n\r\n")
        sock:receiveuntil("\r\n\r\n")()
        ngx.say(sock:receive("*a"))
        sock:close()
    end
    seen()
--- response_body
.
r


=== TEST 8: TLS 1.3 is left to nginx and its cache
--- http_config
    ssl_session_cache shared:tls:1m;
    ssl_session_store_by_lua_block { store() }
    ssl_session_fetch_by_lua_block { fetch() }
--- config
    lua_ssl_protocols TLSv1.3;
    location = /t {
        content_by_lua_block {
            local sock, session = ngx.socket.tcp(), nil
            for _ = 1, 2 do
                assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
                session = assert(sock:sslhandshake(session, "test.example", true))
                sock:send("GET / HTTP/1.0\r\n\r\n")
                sock:receiveuntil("\r\n\r\n")()
                ngx.say(sock:receive("*a"))
                session = sock:getsslsession() or session
                sock:close()
            end
            seen()
        }
    }
--- request
    GET /t
--- response_body
TLSv1.3 .
TLSv1.3 r


=== TEST 9: a client that could speak TLS 1.3 names a session even if it has none, and is looked for where that is not spoken
--- http_config
    ssl_session_fetch_by_lua_block { fetch() }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/old.sock ssl;
        ssl_protocols TLSv1.2;
        ssl_session_tickets off;
        ssl_certificate $TEST_NGINX_CERTS/server.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
    }
--- config
    lua_ssl_protocols TLSv1.2 TLSv1.3;
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/old.sock"))
            ngx.say(sock:sslhandshake(false, "test.example", true))
            sock:close()
            seen()
        }
    }
--- request
    GET /t
--- response_body
true
fetch 64 false


=== TEST 10: what is no session
--- http_config
    ssl_session_fetch_by_lua_block {
        note(sessions.set_serialized_session("none"))
        note(pcall(sessions.set_serialized_session))
        note(sessions.get_serialized_session())
    }
    ssl_session_store_by_lua_block { return }
--- lua
    shake(true)
    shake()
    seen()
--- response_body
TLSv1.2 .
TLSv1.2 .
nil failed to de-serialize session
false bad argument #1 to 'set_serialized_session' (string expected, got nil)
nil bad session in lua context


=== TEST 11: the session of another server is not taken
--- http_config
    ssl_session_store_by_lua_block { store() }
    ssl_session_fetch_by_lua_block {
        fetch()
    }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/other.sock ssl;
        ssl_session_tickets off;
        ssl_certificate $TEST_NGINX_CERTS/deep.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/deep.key;
        location / { return 200 "$ssl_session_reused"; }
    }
--- config
    lua_ssl_verify_depth 2;
    location = /t {
        content_by_lua_block {
            local sock, session = ngx.socket.tcp(), nil
            for _, name in ipairs { "server", "other" } do
                assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/" .. name .. ".sock"))
                session = assert(sock:sslhandshake(session, "test.example", true))
                sock:send("GET / HTTP/1.0\r\n\r\n")
                sock:receiveuntil("\r\n\r\n")()
                ngx.say(sock:receive("*a"))
                sock:close()
            end
            seen()
        }
    }
--- request
    GET /t
--- response_body
TLSv1.2 .
.
store 64 true
fetch 64 true
store 64 true


=== TEST 12: by files
--- http_config
    ssl_session_store_by_lua_file html/store.lua;
    ssl_session_fetch_by_lua_file html/fetch.lua;
--- user_files
>>> store.lua
store()
>>> fetch.lua
ngx.sleep(0)
fetch()
--- lua
    shake(true)
    shake()
    seen()
--- response_body
TLSv1.2 .
TLSv1.2 r
store 64 true
fetch 64 true
