use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

example(8090, 'websocket.conf');

# Debian's lua-nginx-websocket (lua-resty-websocket), unmodified: its server and its client, over this nginx.
our $Config = <<'EOC';
    location = /echo {
        lua_socket_log_errors off;
        content_by_lua_block {
            local server = require "nginx.websocket.server"
            local ws, err = server:new { timeout = 2000, max_payload_len = 200000 }
            if not ws then
                ngx.log(ngx.WARN, "no websocket: ", err)
                return ngx.exit(444)
            end
            while true do
                local data, kind, err = ws:recv_frame()
                if not data then
                    if kind ~= "close" and not string.find(err or "", "closed", 1, true) then
                        ngx.log(ngx.WARN, "failed to receive: ", err)
                    end
                    return ngx.exit(444)
                end
                if kind == "close" then
                    ws:send_close(1000, "bye " .. data)
                    return
                elseif kind == "ping" then
                    ws:send_pong(data)
                elseif kind == "text" then
                    ws:send_text(data)
                elseif kind == "binary" then
                    ws:send_binary(data)
                end
            end
        }
    }
EOC

worker_connections(256);
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("config", $main::Config . ($block->config // ''));
    $block->set_value("http_config", q{
        init_by_lua_block {
            function connect()
                local ws = require("nginx.websocket.client"):new { timeout = 2000, max_payload_len = 200000 }
                assert(ws:connect("ws://127.0.0.1:" .. ngx.var.server_port .. "/echo"))
                return ws
            end
        }
    });
});
run_tests();

__DATA__

=== TEST 1: text, binary, ping
--- lua
    local ws = connect()
    ws:send_text("hello")
    ngx.say(ws:recv_frame())
    ws:send_binary("\0\1\2")
    local data, kind = ws:recv_frame()
    ngx.say(#data, kind)
    ws:send_ping("are you there")
    ngx.say(ws:recv_frame())
--- response_body
hellotextnil
3binary
are you therepongnil


=== TEST 2: a large frame
--- lua
    local ws = connect()
    local text = string.rep("0123456789", 15000)
    ws:send_text(text)
    local data, kind = ws:recv_frame()
    ngx.say(data == text, " ", kind)
--- response_body
true text


=== TEST 3: it is closed with a code and words
--- lua
    local ws = connect()
    ws:send_close(1000, "enough")
    local data, kind, code = ws:recv_frame()
    ngx.say(data, " ", kind, " ", code)
--- response_body
bye enough close 1000


=== TEST 4: one thread reads while another writes
--- lua
    local ws = connect()
    local reader = ngx.thread.spawn(function()
        local all = {}
        for i = 1, 20 do
            all[i] = ws:recv_frame()
        end
        return table.concat(all, ",")
    end)
    for i = 1, 20 do
        ws:send_text(tostring(i))
        if i % 5 == 0 then
            ngx.sleep(0.001)
        end
    end
    local ok, all = ngx.thread.wait(reader)
    ngx.say(all)
--- response_body
1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20


=== TEST 5: many at once
--- lua
    local threads = {}
    for i = 1, 20 do
        threads[i] = ngx.thread.spawn(function()
            local ws = connect()
            for n = 1, 5 do
                ws:send_text(i .. " " .. n)
                assert(ws:recv_frame() == i .. " " .. n)
            end
            ws:send_close()
            return true
        end)
    end
    local good = 0
    for i = 1, 20 do
        local ok, result = ngx.thread.wait(threads[i])
        if ok and result then good = good + 1 end
    end
    ngx.say(good)
--- response_body
20


=== TEST 6: a client that asks for no websocket
--- request
GET /echo
--- error_code:
--- ignore_response
--- error_log
no websocket


=== TEST 7: the example of nginx-conf, between a browser and a backend
--- lua
    local ws = require("nginx.websocket.client"):new { timeout = 2000 }
    assert(ws:connect("ws://127.0.0.1:8090/chat"))
    for _, word in ipairs { "hello", "again" } do
        ws:send_text(word)
        ngx.say((ws:recv_frame()))
    end
    ws:send_ping("there?")
    local data, kind = ws:recv_frame()
    ngx.say(kind, " ", data)
    ws:send_close()
    data, kind = ws:recv_frame()
    ngx.say(data, " ", kind)
    local sock = ngx.socket.connect("127.0.0.1", 8090)
    sock:send("GET /chat HTTP/1.0\r\n\r\n")
    ngx.say(sock:receive())
--- response_body
hello hello
again again
pong there?
nil nil
HTTP/1.1 400 Bad Request
