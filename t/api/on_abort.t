use lib 't/lib';
use AutoscaleLua;

add_block_preprocessor(sub {
    my $block = shift;
    my $http = <<'EOC';
    lua_shared_dict seen 64k;
    init_worker_by_lua_block {
        -- asks for `path` and goes away; what the server has noted then
        function go_away(path, key, body)
            ngx.shared.seen:delete(key)
            local sock = assert(ngx.socket.connect("127.0.0.1", ngx.var.server_port))
            sock:send("POST " .. path .. " HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #(body or "") .. "\r\n\r\n" .. (body or ""))
            ngx.sleep(0.03)
            sock:close()
            for _ = 1, 100 do
                if ngx.shared.seen:get(key) then break end
                ngx.sleep(0.01)
            end
            return ngx.shared.seen:get(key)
        end
        function note(key, value) ngx.shared.seen:set(key, value) end
    }
EOC
    $block->set_value("http_config", $http . ($block->http_config // '')) if ($block->http_config // '') !~ /init_/;
    $block->set_value("config", "lua_check_client_abort on;\n" . ($block->config // ''));
});

run_tests();

__DATA__

=== TEST 1: the function runs when the client goes, in each phase that may wait
--- config
    server_rewrite_by_lua_block {
        if ngx.var.uri == "/server_rewrite" then
            ngx.on_abort(function() note("server_rewrite", "server_rewrite gone") ngx.exit(499) end) ngx.sleep(10)
        end
    }
    location = /server_rewrite { return 204; }
    location = /rewrite {
        rewrite_by_lua_block { ngx.on_abort(function() note("rewrite", "rewrite gone") ngx.exit(499) end) ngx.sleep(10) }
    }
    location = /access {
        access_by_lua_block { ngx.on_abort(function() note("access", "access gone") ngx.exit(499) end) ngx.sleep(10) }
    }
    location = /content {
        content_by_lua_block { ngx.on_abort(function() note("content", "content gone") ngx.exit(499) end) ngx.sleep(10) }
    }
--- lua
    for _, phase in ipairs { "server_rewrite", "rewrite", "access", "content" } do
        ngx.say(go_away("/" .. phase, phase))
    end
--- response_body
server_rewrite gone
rewrite gone
access gone
content gone


=== TEST 2: where it is refused
--- refused: set header_filter body_filter log balancer timer init init_worker
--- lua
    ngx.on_abort(function() end)
--- result


=== TEST 3: without a function the request ends with 499, and its threads with it
--- config
    location = /wait {
        content_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.2) note("late", "not cancelled") end)
            ngx.sleep(10)
        }
        log_by_lua_block { note("status", ngx.status) }
    }
    location = /early {
        rewrite_by_lua_block { ngx.sleep(10) }
        log_by_lua_block { note("early", ngx.status) }
    }
--- lua
    ngx.say(go_away("/wait", "status"), " ", go_away("/early", "early"))
    ngx.sleep(0.25)
    ngx.say(ngx.shared.seen:get("late"))
--- response_body
499 499
nil


=== TEST 4: off: the script goes on
--- config
    location = /wait {
        lua_check_client_abort off;
        content_by_lua_block { ngx.sleep(0.1) note("off", "finished " .. select(2, ngx.on_abort(print))) }
    }
--- lua
    ngx.say(go_away("/wait", "off"))
--- response_body
finished lua_check_client_abort is off


=== TEST 5: a function that does nothing lets the script finish, and runs once
--- config
    location = /wait {
        content_by_lua_block {
            local n = 0
            ngx.on_abort(function() n = n + 1 end)
            for _ = 1, 5 do ngx.sleep(0.02) end
            note("calls", "called " .. n)
        }
    }
--- lua
    ngx.say(go_away("/wait", "calls"))
--- response_body
called 1


=== TEST 6: the function may wait itself
--- config
    location = /wait {
        content_by_lua_block {
            ngx.on_abort(function()
                ngx.sleep(0.02)
                local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
                note("waited", sock and "connected" or "not connected")
            end)
            ngx.sleep(0.05)
        }
    }
--- lua
    ngx.say(go_away("/wait", "waited"))
--- response_body
connected


=== TEST 7: an error in it is logged, the script goes on
--- config
    location = /wait {
        content_by_lua_block {
            ngx.on_abort(function() error("in the callback") end)
            ngx.sleep(0.1)
            note("error", "went on")
        }
    }
--- lua
    ngx.say(go_away("/wait", "error"))
--- response_body
went on
--- error_log
lua user thread aborted: runtime error:
in the callback


=== TEST 8: only one, and only a function
--- lua
    ngx.say(ngx.on_abort(function() end))
    ngx.say(ngx.on_abort(function() end))
    ngx.say(pcall(ngx.on_abort))
    ngx.say(pcall(ngx.on_abort, 1))
--- response_body
1
nilduplicate call
falsebad argument #1 to 'on_abort' (function expected, got no value)
falsebad argument #1 to 'on_abort' (function expected, got number)


=== TEST 9: while the body is read, by whichever way
--- config
    location = /read_body {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.on_abort(function() note("read", "after the body") ngx.exit(499) end)
            ngx.sleep(10)
        }
    }
    location = /socket {
        content_by_lua_block {
            ngx.req.socket():receive("*a")
            ngx.on_abort(function() note("socket", "after the socket") ngx.exit(499) end)
            ngx.sleep(10)
        }
    }
--- lua
    ngx.say(go_away("/read_body", "read", "body"))
    ngx.say(go_away("/socket", "socket", "body"))
--- response_body
after the body
after the socket


=== TEST 10: reading from the socket, the reader learns of it
--- config
    location = /socket {
        content_by_lua_block {
            ngx.on_abort(function() note("reader", "the function") end)
            local _, err = ngx.req.socket(true):receive()
            note("reader", err)
        }
    }
--- lua
    ngx.say(go_away("/socket", "reader"))
--- response_body
client aborted


=== TEST 11: a client that had gone before the script began to wait
--- config
    location = /slow {
        content_by_lua_block {
            local sleeps = io.popen("sleep 0.2")
            sleeps:read("*a")
            sleeps:close()
            ngx.on_abort(function() note("before", "noticed") ngx.exit(499) end)
            ngx.sleep(10)
        }
    }
--- modes: workers
--- lua
    local seen = go_away("/slow", "before")
    ngx.say(seen)
--- response_body
noticed


=== TEST 12: with output on its way
--- config
    location = /more {
        content_by_lua_block {
            ngx.on_abort(function() note("more", "gone") ngx.exit(499) end)
            ngx.say("begun")
            ngx.flush(true)
            ngx.sleep(0.2)
            note("more", "finished")
        }
    }
--- lua
    ngx.say(go_away("/more", "more"))
--- response_body
gone


=== TEST 13: while a subrequest runs
--- config
    location = /sub { content_by_lua_block { ngx.sleep(0.3) note("sub", "not cancelled") } }
    location = /ends { content_by_lua_block { ngx.location.capture("/sub") } log_by_lua_block { note("ends", ngx.status) } }
    location = /exits {
        content_by_lua_block {
            ngx.on_abort(function() note("exits", "exits") ngx.exit(499) end)
            ngx.location.capture("/sub")
        }
    }
--- lua
    ngx.say(go_away("/ends", "ends"), " ", go_away("/exits", "exits"))
    ngx.sleep(0.35)
    ngx.say(ngx.shared.seen:get("sub"))
--- response_body
499 exits
nil
