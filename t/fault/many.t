# Very many waits in one worker: timers, threads, sockets. Others are answered meanwhile, and nothing is left.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

daemon(1990, $^X, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/moody-peer", 1990, 1991, 1992);
worker_connections(4096);

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', <<'EOC');
    lua_package_path "$TEST_NGINX_LUA/?.lua;$TEST_NGINX_ROOT/t/fault/lua/?.lua;;";
    lua_socket_log_errors off;
    lua_max_running_timers 20000;
    lua_max_pending_timers 20000;
    init_by_lua_block { peers = require "peers" open = peers.open descriptors = require "descriptors" }
EOC
    $block->set_value('config', ($block->config // '') . "location = /ping { content_by_lua_block { ngx.say('pong') } }\n");
});

run_tests();

__DATA__

=== TEST 1: ten thousand timers that wait for their time, and ten thousand that run and wait
--- timeout: 30
--- lua
    local n, running = 0, 0
    local pings = peers.with_pings(ngx.var.server_port, function()
        for i = 1, 10000 do
            assert(ngx.timer.at(i % 100 / 200, function()
                ngx.sleep(0.5)
                n = n + 1
            end))
        end
        while n < 10000 do
            running = math.max(running, ngx.timer.running_count())
            ngx.sleep(0.01)
        end
    end)
    ngx.say(n, " ", running > 1000 or running, " ", pings > 2 or pings)
    ngx.sleep(0.01)
    ngx.say(ngx.timer.pending_count(), " ", ngx.timer.running_count())
--- response_body
10000 true true
0 0


=== TEST 2: a thousand threads in a request, each waiting for another thing; the client goes
--- config
    lua_check_client_abort on;
    location = /threads {
        content_by_lua_block {
            local semaphore = require("ngx.semaphore").new()
            begun = 0
            for i = 1, 1000 do
                ngx.thread.spawn(function()
                    begun = begun + 1
                    if i % 4 == 0 then ngx.sleep(100)
                    elseif i % 4 == 1 then semaphore:wait(100)
                    elseif i % 40 == 2 then open("silence"):receive()
                    elseif i % 4 == 2 then ngx.thread.wait(ngx.thread.spawn(function() ngx.sleep(100) end))
                    else
                        local sock = ngx.socket.udp()
                        sock:setpeername("127.0.0.1", peers.dns)
                        sock:receive()
                    end
                end)
            end
        }
        log_by_lua_block { ended = ngx.status }
    }
    location = /t {
        content_by_lua_block {
            local before = descriptors.open()
            local client = assert(ngx.socket.connect("127.0.0.1", ngx.var.server_port))
            client:send("GET /threads HTTP/1.1\r\nHost: a\r\n\r\n")
            local pings = peers.with_pings(ngx.var.server_port, function()
                while begun ~= 1000 do ngx.sleep(0.005) end
                ngx.sleep(0.1)
            end)
            ngx.say(begun, " ", descriptors.open() - before > 250, " ", pings > 2 or pings)
            client:close()
            for _ = 1, 200 do
                if ended then break end
                ngx.sleep(0.01)
            end
            ngx.say(ended, " ", descriptors.more_than(before))
        }
    }
--- timeout: 30
--- response_body
1000 true true
499 0


=== TEST 3: ten thousand connections through a pool of thirty, a thousand at a time in its queue
--- timeout: 60
--- config
    location = /t {
        content_by_lua_block {
            local before = descriptors.open()
            local options = { pool = "thirty", pool_size = 30, backlog = 1000 }
            local in_use, most, done, reused = 0, 0, 0, 0
            local port = ngx.var.server_port
            local function one()
                local sock = ngx.socket.tcp()
                sock:settimeout(30000)
                assert(sock:connect("127.0.0.1", peers.peer, options))
                in_use = in_use + 1
                most = math.max(most, in_use)
                if sock:getreusedtimes() > 0 then reused = reused + 1 end
                -- some wait, some do not
                if done % 3 == 0 then ngx.sleep(0) end
                done = done + 1
                in_use = in_use - 1
                if done % 500 == 0 then sock:close() else assert(sock:setkeepalive(10000, 30)) end
            end
            local pings = peers.with_pings(port, function()
                for _ = 1, 10 do
                    local threads = {}
                    for i = 1, 1000 do threads[i] = ngx.thread.spawn(one) end
                    for i = 1, 1000 do assert(ngx.thread.wait(threads[i])) end
                end
            end)
            ngx.say(done, " ", most <= 30 or most, " ", reused > 9000 or reused, " ", pings > 2 or pings)
            ngx.say(descriptors.open() - before <= 30)
            -- the queue has an end
            local options = { pool = "one", pool_size = 1, backlog = 2 }
            local held = ngx.socket.tcp()
            assert(held:connect("127.0.0.1", peers.peer, options))
            local threads, refused = {}, 0
            for i = 1, 5 do
                threads[i] = ngx.thread.spawn(function()
                    local sock = ngx.socket.tcp()
                    local ok, err = sock:connect("127.0.0.1", peers.peer, options)
                    if err == "too many waiting connect operations" then refused = refused + 1 end
                    sock:close()
                end)
            end
            held:close()
            for i = 1, 5 do ngx.thread.wait(threads[i]) end
            ngx.say(refused)
        }
    }
--- response_body
10000 true true true
true
3
