# ngx.req.read_body, discard_body, get_body_data, get_body_file, and the directive lua_need_request_body.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: the body is read in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    local before = ngx.req.get_body_data()
    ngx.req.read_body()
    ngx.req.read_body()
    return tostring(before) .. " " .. ngx.req.get_body_data() .. " " .. tostring(ngx.req.get_body_file())
--- request
POST /t
hello
--- result
nil hello nil


=== TEST 2: it is not read in the phases that may not
--- refused: set header_filter body_filter log balancer
--- lua
    ngx.req.read_body()
--- request
POST /t
hello
--- result
API disabled in the context of


=== TEST 3: a body that comes in pieces is waited for, in one phase after the other
--- config
    server_rewrite_by_lua_block {
        ngx.sleep(0.001)
        ngx.req.read_body()
        ngx.sleep(0.001)
        ngx.ctx.first = ngx.req.get_body_data()
    }
    location = /t {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.ctx.first == ngx.req.get_body_data(), " ", #ngx.ctx.first)
        }
    }
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3000\r\n\r\n", map { $_ x 1000 } 'a' .. 'c']
--- raw_request_middle_delay: 0.03
--- response_body
true 3000


=== TEST 4: the content phase waits for it, and a coroutine may be the one that waits
--- lua
    ngx.say("before")
    coroutine.wrap(function() ngx.req.read_body() end)()
    ngx.say(ngx.req.get_body_data(), " ", ngx.req.get_body_data(3), " ", ngx.req.get_body_data(99))
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 6\r\n\r\n", "abc", "def"]
--- raw_request_middle_delay: 0.03
--- response_body
before
abcdef abc abcdef


=== TEST 5: a body larger than the buffer is in a file
--- config
    location = /t {
        client_body_buffer_size 1k;
        content_by_lua_block {
            ngx.req.read_body()
            local name = ngx.req.get_body_file()
            ngx.say(ngx.req.get_body_data(), " ", name:find("client_body_temp", 1, true) ~= nil)
            local file = io.open(name)
            ngx.say(ngx.md5(file:read("*a")))
            file:close()
        }
    }
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n", map { $_ x 25000 } 'a' .. 'd']
--- raw_request_middle_delay: 0.02
--- response_body eval
use Digest::MD5 'md5_hex';
"nil true\n" . md5_hex(CORE::join '', map { $_ x 25000 } 'a' .. 'd') . "\n"


=== TEST 6: chunked bodies, small and large, in pieces
--- config
    location = /t {
        client_body_buffer_size 1k;
        content_by_lua_block {
            ngx.req.read_body()
            local body = ngx.req.get_body_data()
            local where = body and "memory" or "file"
            if not body then
                local file = io.open(ngx.req.get_body_file())
                body = file:read("*a")
                file:close()
            end
            ngx.log(ngx.WARN, where, " ", #body, " ", ngx.md5(body), ".")
        }
    }
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "lo\r\n0\r\n\r\n"
 . "POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" . ("a" x 4096),
 "\r\n1000\r\n" . ("b" x 4096) . "\r\n", "0\r\n\r\n"]
--- raw_request_middle_delay: 0.02
--- ignore_response
--- error_log eval
use Digest::MD5 'md5_hex';
["memory 5 " . md5_hex("hello") . ".", "file 8192 " . md5_hex(("a" x 4096) . ("b" x 4096)) . "."]


=== TEST 7: HTTP/2 has bodies
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_8 http2;
        location / {
            client_body_buffer_size 1k;
            access_by_lua_block { ngx.req.read_body() }
            content_by_lua_block {
                ngx.say(ngx.req.get_body_data(), " ", ngx.req.get_body_file() ~= nil, " ", ngx.req.get_headers().content_length)
            }
        }
    }
--- config
    location = /t {
        access_by_lua_block {
            ngx.req.read_body()
            if ngx.var.arg_large then
                ngx.req.set_body_data(("x"):rep(100000))
            end
        }
        grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_8;
    }
--- pipelined_requests eval
["POST /t\nhello", "POST /t?large=1\nhello"]
--- response_body eval
["hello false 5\n", "nil true 100000\n"]


=== TEST 8: a request without a body has none, and nothing is waited for
--- lua
    ngx.req.read_body()
    ngx.say(ngx.req.get_body_data(), " ", ngx.req.get_body_file())
--- response_body
nil nil


=== TEST 9: a client that waits to be asked is asked when the script reads
--- lua
    ngx.req.read_body()
    ngx.say(ngx.req.get_body_data())
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "hello"]
--- raw_request_middle_delay: 0.05
--- error_code: 100
--- response_body_like: ^HTTP/1.1 200 OK.*hello


=== TEST 10: and is not when it does not
--- config
    location = /t {
        lingering_timeout 100ms;
        content_by_lua_block { ngx.say("no, thanks") }
    }
--- raw_request eval
"POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
--- response_body
no, thanks


=== TEST 11: a client that leaves while its body is read takes the script with it
--- config
    location = /t {
        access_by_lua_block {
            ngx.req.read_body()
            ngx.log(ngx.ERR, "not reached")
        }
        content_by_lua_block { ngx.say("not reached") }
        log_by_lua_block { ngx.log(ngx.WARN, "status ", ngx.status) }
    }
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n", "some"]
--- raw_request_middle_delay: 0.03
--- timeout: 0.1
--- abort
--- ignore_response
--- wait: 0.2
--- error_log
status 400
client prematurely closed connection
--- no_error_log
[error]


=== TEST 12: a client that sends no more is not waited for longer than client_body_timeout
--- config
    location = /t {
        client_body_timeout 100ms;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.log(ngx.ERR, "not reached")
        }
        log_by_lua_block { ngx.log(ngx.WARN, "status ", ngx.status) }
    }
--- raw_request eval
"POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome"
--- ignore_response
--- wait: 0.2
--- error_log
status 408
--- no_error_log
[error]


=== TEST 13: a body over the limit ends the request with 413
--- config
    location = /t {
        client_max_body_size 10;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say("not reached")
        }
    }
--- raw_request eval
"POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n0\r\n\r\n"
--- error_code: 413
--- response_body_like: 413 Request Entity Too Large
--- error_log
client intended to send too large chunked body


=== TEST 14: with the directive the body is there before the script of each phase
--- config
    lua_need_request_body on;
    location = /rewrite {
        rewrite_by_lua_block { ngx.ctx.body = ngx.req.get_body_data() }
        content_by_lua_block { ngx.say("rewrite ", ngx.ctx.body) }
    }
    location = /access {
        access_by_lua_block { ngx.ctx.body = ngx.req.get_body_data() }
        content_by_lua_block { ngx.say("access ", ngx.ctx.body) }
    }
    location = /content {
        content_by_lua_block { ngx.say("content ", ngx.var.request_body) }
    }
    location = /off {
        lua_need_request_body off;
        content_by_lua_block { ngx.say("off ", ngx.req.get_body_data()) }
    }
--- pipelined_requests eval
["POST /rewrite\nhello", "POST /access\nhello", "POST /content\nhello", "POST /off\nhello"]
--- response_body eval
["rewrite hello\n", "access hello\n", "content hello\n", "off nil\n"]


=== TEST 15: with the directive a body that comes in pieces is waited for
--- config
    lua_need_request_body on;
    location = /t {
        rewrite_by_lua_block { ngx.sleep(0.001) ngx.ctx.a = ngx.req.get_body_data() }
        access_by_lua_block { ngx.sleep(0.001) ngx.ctx.b = ngx.req.get_body_data() }
        content_by_lua_block { ngx.sleep(0.001) ngx.say(ngx.ctx.a, " ", ngx.ctx.b, " ", ngx.req.get_body_data()) }
    }
    location = /content {
        content_by_lua_block { ngx.sleep(0.001) ngx.say(ngx.req.get_body_data()) }
    }
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", "he", "llo"]
--- raw_request_middle_delay: 0.03
--- response_body
hello hello hello


=== TEST 16: also when it is the content's script that needs it
--- config
    location = /t {
        lua_need_request_body on;
        content_by_lua_block { ngx.sleep(0.001) ngx.say(ngx.req.get_body_data()) }
    }
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", "he", "llo"]
--- raw_request_middle_delay: 0.03
--- response_body
hello


=== TEST 17: with the directive, a client that leaves is noticed
--- config
    location = /t {
        lua_need_request_body on;
        content_by_lua_block { ngx.log(ngx.ERR, "not reached") }
        log_by_lua_block { ngx.log(ngx.WARN, "status ", ngx.status) }
    }
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n", "some"]
--- raw_request_middle_delay: 0.03
--- timeout: 0.1
--- abort
--- ignore_response
--- wait: 0.2
--- error_log
status 400
--- no_error_log
[error]


=== TEST 18: what is discarded is gone, and the connection serves the next request
--- config
    location = /t {
        content_by_lua_block {
            ngx.req.discard_body()
            ngx.req.read_body()
            ngx.say(ngx.req.get_body_data(), " ", ngx.req.get_body_file())
        }
    }
    location = /unread {
        content_by_lua_block { ngx.say("unread") }
    }
    location = /exit {
        access_by_lua_block { ngx.say("exit") ngx.exit(200) }
    }
--- pipelined_requests eval
["POST /t\nhello", "POST /unread\nhello", "POST /exit\nhello", "POST /t\nhello"]
--- response_body eval
["nil nil\n", "unread\n", "exit\n", "nil nil\n"]


=== TEST 19: a body that was read goes to the upstream
--- config
    location = /t {
        client_body_buffer_size 4k;
        access_by_lua_block { ngx.req.read_body() }
        proxy_pass http://backend;
    }
--- backend
    location / {
        client_body_buffer_size 100k;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(#ngx.req.get_body_data())
        }
    }
--- pipelined_requests eval
["POST /t\nhello", "POST /t\n" . ("x" x 50000)]
--- response_body eval
["5\n", "50000\n"]


=== TEST 20: what was sent to the upstream is still there in the log phase
--- config
    location = /t {
        access_by_lua_block { ngx.req.read_body() }
        proxy_pass http://backend;
        log_by_lua_block { ngx.log(ngx.WARN, "body is ", ngx.req.get_body_data(), " ", ngx.req.get_body_file()) }
    }
--- backend
    location / { return 200 "ok\n"; }
--- request
POST /t
hello
--- response_body
ok
--- wait: 0.1
--- error_log
body is hello nil


=== TEST 21: there is no body outside a request
--- phases: init_worker
--- lua
    local out = {}
    for _, name in ipairs { "read_body", "discard_body", "get_body_data", "get_body_file", "set_body_data", "set_body_file",
                            "init_body", "append_body", "finish_body" } do
        local arg = name:find("set") or name:find("append")
        local ok, err = pcall(ngx.req[name], arg and "x")
        if not arg then ok, err = pcall(ngx.req[name]) end
        out[#out + 1] = not ok and err:find("API disabled in the c", 1, true) and "." or name .. tostring(err)
    end
    return table.concat(out)
--- result
.........


=== TEST 22: no function takes more than it knows of
--- lua
    for _, name in ipairs { "read_body", "discard_body", "get_body_file", "finish_body" } do
        ngx.say(select(2, pcall(ngx.req[name], 1)))
    end
    ngx.say(select(2, pcall(ngx.req.get_body_data, 1, 2)))
--- response_body
expecting 0 arguments but seen 1
expecting 0 arguments but seen 1
expecting 0 arguments but seen 1
expecting 0 argument but seen 1
expecting 0 or 1 arguments but seen 2
