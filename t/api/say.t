use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: every kind of value has its text
--- lua
    ngx.print("a", 1, 1.5, -0.25, 1e15, 2^53, 0/0 ~= 0/0, nil, true, ngx.null, "\n")
    ngx.say(nil)
    ngx.say(false)
    ngx.say(ngx.null)
    ngx.say(3)
    ngx.say()
    ngx.print()
    ngx.print("")
    ngx.say("b", "c")
    ngx.say("b", 2, nil)
    ngx.say(1, 2, 3, 4, 5)
--- response_body
a11.5-0.251e+159.007199254741e+15trueniltruenull
nil
false
null
3

bc
b2nil
12345


=== TEST 2: tables are written out, those in them as well
--- lua
    ngx.say({ "a", 1, { true, { nil, "b" } }, {}, ngx.null }, "!", { [3] = "c" })
    ngx.print({ "x" }, "\n")
--- response_body
a1truenilbnull!nilnilc
x


=== TEST 3: what has no text is refused at the line of the caller, and nothing is written
--- lua
    local function try(...)
        ngx.say(select(2, pcall(...)))
    end
    try(ngx.say, print)
    try(ngx.print, "a", coroutine.create(print))
    try(ngx.say, 1, 2, 3, 4, 5, print)
    try(ngx.say, { a = 1 })
    try(ngx.say, "x", { 1, { [0] = 1 } })
    try(ngx.print, { 1.5, print })
    try(ngx.say, { [1.5] = "x" })
    local ok, err = pcall(function()
        ngx.say(print)
    end)
    ngx.say((err:gsub("conf:%d+", "conf")))
--- response_body
bad argument #1 to 'say' (string, number, boolean, nil, ngx.null, or array table expected, but got function)
bad argument #2 to 'print' (string, number, boolean, nil, ngx.null, or array table expected, but got thread)
bad argument #6 to 'say' (string, number, boolean, nil, ngx.null, or array table expected, but got function)
bad argument #1 to 'say' (non-array table found)
bad argument #2 to 'say' (non-array table found)
bad argument #1 to 'print' (bad data type function found)
bad argument #1 to 'say' (non-array table found)
content_by_lua(nginx.conf):13: bad argument #1 to 'say' (string, number, boolean, nil, ngx.null, or array table expected, but got function)


=== TEST 4: output is possible in each phase that answers
--- lua
    local a, b = ngx.print("")
    return a, b, ngx.headers_sent
--- result: 1, nil, true
--- phases: server_rewrite rewrite access content


=== TEST 5: output is refused elsewhere
--- lua
    ngx.print("a")
--- refused: set header_filter body_filter log balancer init_worker


=== TEST 6: there is no request when the configuration is read
--- lua
    ngx.say("a")
--- result: no request found
--- refused: init


=== TEST 7: pieces larger than any buffer arrive in order
--- lua
    local sum = 0
    for i = 1, 200 do
        local s = string.rep(string.char(97 + i % 26), i * 37)
        sum = sum + #s
        ngx.print(s)
    end
    ngx.say(sum)
--- response_body eval
my $s = ''; $s .= chr(97 + $_ % 26) x ($_ * 37) for 1 .. 200; $s . length($s) . "\n"


=== TEST 8: a script that waits does not withhold what it has printed
--- config
    location = /t {
        content_by_lua_block {
            ngx.say("first")
            ngx.sleep(0.05)
            ngx.say(package.loaded["t.seen"] and "was seen" or "was withheld")
            package.loaded["t.seen"] = nil
        }
        body_filter_by_lua_block {
            if ngx.arg[1]:find("first") then package.loaded["t.seen"] = true end
        }
    }
--- response_body
first
was seen


=== TEST 9: a plain coroutine.yield is a wait, too
--- lua
    ngx.say("a")
    coroutine.yield()
    ngx.say("b")
--- response_body
a
b


=== TEST 10: a client of HTTP/1.0 learns the length of the whole
--- lua
    ngx.say("hello, ")
    local ok, err = ngx.flush()
    ngx.say(err)
    ngx.sleep(0.01)
    ngx.say(tostring(ngx.headers_sent))
--- request
GET /t HTTP/1.0
--- response_headers
Content-Length: 24
--- response_body
hello, 
buffering
false


=== TEST 11: unless the location says that it need not
--- config
    location = /t {
        lua_http10_buffering off;
        content_by_lua_block {
            ngx.say("hello")
            ngx.say(tostring(ngx.headers_sent))
        }
    }
--- request
GET /t HTTP/1.0
--- response_headers
!Content-Length
--- response_body
hello
true


=== TEST 12: or a length was set
--- lua
    ngx.header.content_length = 6
    ngx.say("hello")
    assert(ngx.flush())
--- request
GET /t HTTP/1.0
--- response_headers
Content-Length: 6
--- response_body
hello


=== TEST 13: HEAD has a header and no body
--- lua
    ngx.header["X-A"] = "1"
    local a = ngx.say("one")
    local b, err = ngx.say("two")
    ngx.log(ngx.WARN, "say: ", a, " ", b, " ", err)
--- request
HEAD /t
--- response_headers
X-A: 1
--- response_body
--- error_log
say: 1 nil header only


=== TEST 14: after the end nothing can be added
--- lua
    ngx.say("a")
    ngx.say(ngx.eof())
    local ok, err = ngx.say("b")
    local ok2, err2 = ngx.eof()
    ngx.log(ngx.WARN, "after: ", ok, " ", err, ", ", ok2, " ", err2)
--- response_body_like: ^a\n
--- error_log
after: nil seen eof, nil seen eof


=== TEST 15: the end is for no argument
--- lua
    ngx.say(select(2, pcall(ngx.eof, 1)))
--- response_body
no argument is expected


=== TEST 16: a script goes on after the end, and the next request on the connection is answered
--- config
    location = /t {
        content_by_lua_block {
            ngx.say("early")
            ngx.eof()
            ngx.sleep(0.05)
            package.loaded["t.worked"] = true
        }
    }
    location = /u {
        content_by_lua_block {
            ngx.say(package.loaded["t.worked"])
            package.loaded["t.worked"] = nil
        }
    }
--- pipelined_requests eval
["GET /t", "GET /u"]
--- response_body eval
["early\n", "true\n"]


=== TEST 17: a hundred thousand pieces in compiled code, while a Lua filter looks at all of them
--- config
    location = /t {
        content_by_lua_block {
            local print = ngx.print
            for i = 1, 100000 do
                print("0123456789")
            end
        }
        body_filter_by_lua_block {
            local ctx = ngx.ctx
            ctx.n = (ctx.n or 0) + #ngx.arg[1]
            ctx.calls = (ctx.calls or 0) + 1
            ngx.arg[1] = ngx.arg[2] and ctx.n .. (jit.status() and " jit" or "") .. (ctx.calls < 1000 and " few" or " many") or nil
        }
    }
--- response_body chop
1000000 jit few


=== TEST 18: the same, each piece seen by the filter on its own
--- config
    location = /t {
        content_by_lua_block {
            local print, flush = ngx.print, ngx.flush
            for i = 1, 20000 do
                print("0123456789")
                flush()
            end
        }
        body_filter_by_lua_block {
            local ctx = ngx.ctx
            ctx.n = (ctx.n or 0) + #ngx.arg[1]
            ngx.arg[1] = ngx.arg[2] and ctx.n or nil
        }
    }
--- response_body chop
200000


=== TEST 19: a request body that nobody read is not taken for the next request
--- lua
    ngx.say("ok")
--- pipelined_requests eval
["POST /t\nGET /t HTTP/1.1", "GET /t"]
--- response_body eval
["ok\n", "ok\n"]


=== TEST 20: what a script prints before it fails arrives, and no error page behind it
--- lua
    ngx.say("half of it")
    error("no more")
--- ignore_response
--- error_log
no more
--- no_error_log
[alert]
--- once
