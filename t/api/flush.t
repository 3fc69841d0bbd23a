use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a flush sends what was printed
--- lua
    for i = 1, 3 do
        ngx.say(i)
        assert(ngx.flush(i == 2) == 1)
    end
    ngx.say(ngx.flush(false))
--- response_body
1
2
3
1


=== TEST 2: there may be nothing to flush
--- lua
    local ok, err = ngx.flush()
    local ok2, err2 = ngx.flush(true)
    ngx.send_headers()
    local ok3, err3 = ngx.flush()
    ngx.say(err, ", ", err2, ", ", err3)
    ngx.eof()
    local _, err4 = ngx.flush(true)
    ngx.log(ngx.WARN, "after the end: ", err4)
--- response_body
nothing to flush, nothing to flush, nothing to flush
--- error_log
after the end: seen eof


=== TEST 3: bad arguments
--- lua
    ngx.say(select(2, pcall(ngx.flush, 1)))
    ngx.say(select(2, pcall(ngx.flush, nil)))
    ngx.say(select(2, pcall(ngx.flush, true, true)))
--- response_body
bad argument #1 to 'flush' (boolean expected, got number)
bad argument #1 to 'flush' (boolean expected, got nil)
attempt to pass 2 arguments, but accepted 0 or 1


=== TEST 4: waiting in each phase that may
--- lua
    ngx.print("")
    local a, b = ngx.flush(true)
    return a, b
--- result: 1, nil
--- phases: server_rewrite rewrite access content


=== TEST 5: refused elsewhere
--- lua
    ngx.flush(true)
--- refused: set header_filter body_filter log balancer init_worker


=== TEST 6: waiting means that a rate limit has let it through
--- config
    location = /t {
        limit_rate 2k;
        content_by_lua_block {
            local start = ngx.now()
            ngx.print(string.rep("a", 2048))
            assert(ngx.flush(true))
            ngx.print("b")
            assert(ngx.flush(true))
            ngx.update_time()
            ngx.log(ngx.WARN, ngx.now() - start > 0.4 and "it was slowed" or "it was fast: " .. ngx.now() - start)
        }
    }
--- response_body eval
"a" x 2048 . "b"
--- error_log
it was slowed
--- once


=== TEST 7: megabytes to a slow reader, flushed piece by piece, arrive whole
--- config
    location = /t {
        send_timeout 5s;
        content_by_lua_block {
            local piece = string.rep("0123456789abcdef", 4096)
            for i = 1, 64 do
                ngx.print(piece)
                if not ngx.flush(true) then ngx.log(ngx.ERR, "flush failed") end
            end
        }
    }
    location = /md5 {
        content_by_lua_block { ngx.say(ngx.md5(string.rep("0123456789abcdef", 4096 * 64))) }
    }
    location = /proxied { proxy_pass http://127.0.0.1:$server_port/t; proxy_buffering off; proxy_http_version 1.1; limit_rate_after 100k; limit_rate 8m; }
--- request
GET /proxied
--- response_body eval
"0123456789abcdef" x (4096 * 64)


=== TEST 8: output goes on leaving while the script waits for something else
--- config
    location = /t {
        content_by_lua_block {
            ngx.print(string.rep("x", 4000000))
            ngx.sleep(0.3)
            ngx.print("end")
        }
    }
    location = /proxied {
        proxy_pass http://127.0.0.1:$server_port/t;
        proxy_buffering off; proxy_http_version 1.1;
        limit_rate_after 1m;
        limit_rate 40m;
    }
--- request
GET /proxied
--- response_body eval
"x" x 4000000 . "end"


=== TEST 9: a client that does not read is given up after send_timeout
--- http_config
    lua_shared_dict flush 128k;
--- config
    location = /slow {
        send_timeout 200ms;
        content_by_lua_block {
            local ok, err
            for i = 1, 300 do
                ngx.print(string.rep("x", 100000))
                ok, err = ngx.flush(true)
                if not ok then break end
            end
            ngx.shared.flush:set("end", tostring(err))
        }
    }
    location = /t {
        content_by_lua_block {
            -- a pipe of curl that nobody reads: the socket's buffers fill, then nothing moves
            os.execute("sh -c '(curl -s --limit-rate 1 -m 3 http://127.0.0.1:" .. ngx.var.server_port
                       .. "/slow > /dev/null) 2> /dev/null &'")
            for _ = 1, 200 do
                if ngx.shared.flush:get("end") then break end
                ngx.sleep(0.02)
            end
            ngx.say(ngx.shared.flush:get("end"))
        }
    }
--- once
--- response_body
timeout
