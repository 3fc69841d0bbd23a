# ngx.req.get_headers, set_header, clear_header, raw_header: the request's headers.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: headers are found in any case and with underscores; several of a name are an array
--- lua
    local h, err = ngx.req.get_headers()
    ngx.say(h["x-foo"], " ", h["X-Foo"], " ", h.x_foo, " ", h.X_FOO, " ", h.none, " ", h[1])
    ngx.say(table.concat(h.x_many, ","), " ", rawget(h, "X-Foo"), " ", err)
--- more_headers
X-Foo: bar
X-Many: a
X-Many: b
X-Many: c
--- response_body
bar bar bar bar nil nil
a,b,c nil nil


=== TEST 2: raw headers keep their names, and only these names find them
--- lua
    local h = ngx.req.get_headers(0, true)
    ngx.say(h["X-Foo"], " ", h["x-foo"], " ", h["X_foo"], " ", getmetatable(h))
--- more_headers
X-Foo: bar
--- response_body
bar nil nil nil


=== TEST 3: the limit is a hundred headers unless the script names one, and zero is none
--- lua
    for _, max in ipairs { -1, 0, 2, 200 } do
        local h, err = ngx.req.get_headers(max)
        local n = 0
        for _ in pairs(h) do n = n + 1 end
        ngx.say(max, ": ", n, " ", err)
    end
    local h, err = ngx.req.get_headers()
    ngx.say(h["x-1"], " ", h["x-150"], " ", err)
--- more_headers eval
CORE::join "\n", map { "X-$_: $_" } 1 .. 150
--- response_body
-1: 100 truncated
0: 152 nil
2: 2 truncated
200: 152 nil
1 nil truncated


=== TEST 4: a header is replaced in its place, set anew, given several values, and removed
--- lua
    local function show(name) 
        local v = ngx.req.get_headers()[name]
        ngx.say(name, ": ", type(v) == "table" and "{" .. table.concat(v, ",") .. "}" or v)
    end
    ngx.req.set_header("x-a", "2")
    show "x-a"
    ngx.req.set_header("X-New", 3.5)
    show "x-new"
    ngx.req.set_header("X-New", { "a", 1, true })
    show "x-new"
    ngx.req.set_header("X-New", "one")
    show "x-new"
    ngx.req.set_header("X-New", {})
    show "x-new"
    ngx.req.clear_header("x-a")
    show "x-a"
    ngx.req.set_header("X-B", nil)
    show "x-b"
    ngx.req.set_header("X-C", "")
    show "x-c"
    ngx.req.clear_header("X-Absent")
    show "host"
--- more_headers
X-A: 1
X-B: 1
X-C: 1
X-A: 1b
--- response_body
x-a: 2
x-new: 3.5
x-new: {a,1,true}
x-new: one
x-new: nil
x-a: nil
x-b: nil
x-c: nil
host: localhost


=== TEST 5: what is set goes to the upstream, also in the place of what was removed
--- config
    location = /t {
        access_by_lua_block {
            for i = 1, 60 do
                ngx.req.set_header("X-" .. i, { "a" .. i, "b" .. i })
            end
            for i = 1, 60, 2 do
                ngx.req.clear_header("X-" .. i)
            end
            for i = 1, 60, 3 do
                ngx.req.set_header("X-" .. i, "c" .. i)
            end
            ngx.req.clear_header("User-Agent")
        }
        proxy_pass http://backend;
    }
--- backend
    location / {
        content_by_lua_block {
            local h = ngx.req.get_headers(0)
            local n = 0
            for i = 1, 60 do
                local v = h["x-" .. i]
                local want
                if i % 3 == 1 then
                    want = "c" .. i
                elseif i % 2 == 0 then
                    want = "a" .. i .. ",b" .. i
                end
                if type(v) == "table" then v = table.concat(v, ",") end
                if v == want then n = n + 1 else ngx.say(i, ": ", v, " is not ", want) end
            end
            ngx.say(n, " as they should be, ", h.user_agent, ", ", h.host)
        }
    }
--- more_headers
User-Agent: me
--- response_body
60 as they should be, nil, backend


=== TEST 6: a list of headers that loses them all takes new ones
--- lua
    for round = 1, 3 do
        for name in pairs(ngx.req.get_headers(0)) do
            ngx.req.clear_header(name)
        end
        ngx.say(next(ngx.req.get_headers()))
        for i = 1, 50 do
            ngx.req.set_header("X-" .. i, i)
        end
        local n = 0
        for name, value in pairs(ngx.req.get_headers(0)) do
            if name == "x-" .. value then n = n + 1 end
        end
        ngx.say(n)
    end
--- more_headers eval
CORE::join "\n", map { "X-$_: $_" } 1 .. 45
--- response_body
nil
50
nil
50
nil
50


=== TEST 7: nginx's own fields follow: conditions, ranges, forwarded addresses, cookies, credentials
--- config
    location = /t {
        access_by_lua_block {
            ngx.req.set_header("Cookie", { "a=1", "b=2" })
            ngx.req.set_header("X-Forwarded-For", "10.0.0.1")
            ngx.req.set_header("Authorization", "Basic bHVhOnNlY3JldA==")
            ngx.req.set_header("Referer", "http://here/")
            ngx.req.set_header("Content-Type", { "text/a", "text/b" })
        }
        proxy_set_header X-Seen "$cookie_a $cookie_b $proxy_add_x_forwarded_for $remote_user $http_referer $content_type";
        proxy_pass http://backend;
    }
--- backend
    location / {
        return 200 "$http_x_seen\n";
    }
--- more_headers
Cookie: a=0
Cookie: c=3
X-Forwarded-For: 192.0.2.1
Authorization: Basic bmdpbng6
--- response_body
1 2 10.0.0.1, 127.0.0.1 lua http://here/ text/b


=== TEST 8: a condition that a script sets is one that nginx checks
--- config
    location = /t {
        access_by_lua_block {
            local args = ngx.req.get_uri_args()
            if args.since then
                ngx.req.set_header("If-Modified-Since", ngx.var.arg_since)
            else
                ngx.req.set_header("Range", "bytes=1-2")
            end
        }
        alias $TEST_NGINX_SERVER_ROOT/html/file.txt;
        if_modified_since before;
    }
--- user_files
>>> file.txt
0123456789
--- pipelined_requests eval
["GET /t?range", "GET /t?since=Fri,%2031%20Dec%202100%2023:59:59%20GMT"]
--- more_headers
Range: bytes=5-6
--- error_code eval
[206, 206]
--- response_body eval
["12", "56"]


=== TEST 9: the Host header sets $host and $http_host, and is checked as nginx checks it
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(ngx.var.host, " ", ngx.var.http_host)
            ngx.req.set_header("Host", "Other.Test:8080")
            ngx.say(ngx.var.host, " ", ngx.var.http_host)
            for _, bad in ipairs { "a/b", "a..b", ":80" } do
                ngx.say(pcall(ngx.req.set_header, "Host", bad))
            end
            ngx.say(ngx.var.host, " ", ngx.var.http_host)
            ngx.req.clear_header("host")
            ngx.say(ngx.var.http_host)
        }
    }
--- response_body
localhost localhost
other.test Other.Test:8080
falsefailed to set header
falsefailed to set header
falsefailed to set header
other.test Other.Test:8080
nil


=== TEST 10: Content-Length is a number and nothing else
--- lua
    ngx.req.set_header("Content-Length", 12)
    ngx.say(ngx.var.content_length, " ", ngx.var.http_content_length)
    ngx.say(pcall(ngx.req.set_header, "Content-Length", "12 or so"))
    ngx.req.clear_header("Content-Length")
    ngx.say(ngx.req.get_headers().content_length)
--- response_body
12 12
falsefailed to set header
nil


=== TEST 11: the browser of a User-Agent that a script sets is the one nginx knows
--- config
    location = /t {
        access_by_lua_block {
            ngx.req.set_header("User-Agent", ngx.req.get_uri_args().agent)
        }
        modern_browser gecko 1.0;
        modern_browser opera 1.0;
        content_by_lua_block {
            ngx.say(ngx.var.modern_browser or "", ngx.var.ancient_browser or "", " ", ngx.var.http_user_agent)
        }
    }
--- request
GET /t?agent=Mozilla/5.0%20(X11;%20rv:9.0)%20Gecko/20100101
--- more_headers
User-Agent: MSIE 6.0; Windows
--- response_body_like: ^\S+ Mozilla/5.0 \(X11; rv:9.0\) Gecko/20100101$


=== TEST 12: line ends and other control characters cannot add a header
--- config
    location = /t {
        access_by_lua_block {
            ngx.req.set_header("X-A\r\nX-Evil: 1", "a\r\nX-Evil: 2\0")
            ngx.req.set_header("X B", { "c\nd", "tab\there" })
        }
        proxy_pass http://backend;
    }
--- backend
    ignore_invalid_headers off;
    location / {
        content_by_lua_block {
            local h = ngx.req.get_headers()
            ngx.say(h.x_evil, " ", h["x-a%0d%0ax-evil%3a%201"], " ", table.concat(h["x%20b"], "|"))
        }
    }
--- response_body eval
"nil a%0D%0AX-Evil: 2%00 c%0Ad|tab\there\n"


=== TEST 13: headers are read and set in each phase of a request
--- config
    location = /t {
        set_by_lua_block $a { ngx.req.set_header("X-1", "set") return ngx.req.get_headers().x_0 }
        rewrite_by_lua_block { ngx.req.set_header("X-2", ngx.req.get_headers().x_1 .. " rewrite") }
        access_by_lua_block { ngx.req.set_header("X-3", ngx.req.get_headers().x_2 .. " access") }
        content_by_lua_block { ngx.req.set_header("X-4", ngx.req.get_headers().x_3 .. " content") ngx.say(ngx.var.a) }
        header_filter_by_lua_block { ngx.req.set_header("X-5", ngx.req.get_headers().x_4 .. " header_filter") }
        log_by_lua_block { ngx.req.set_header("X-6", "x") ngx.log(ngx.WARN, ngx.req.get_headers().x_5, " log") }
    }
    server_rewrite_by_lua_block { ngx.req.set_header("X-0", "server_rewrite") }
--- response_body
server_rewrite
--- error_log
set rewrite access content header_filter log


=== TEST 14: outside a request there are no headers
--- http_config
    init_by_lua_block {
        for _, f in ipairs { "get_headers", "set_header", "clear_header", "raw_header" } do
            local ok, err = pcall(ngx.req[f], "a", "b")
            print(f, ": ", err)
        end
    }
    init_worker_by_lua_block {
        -- one of them, so that the lines of two do not mix
        if ngx.worker.id() ~= 0 then return end
        for _, f in ipairs { "get_headers", "set_header", "clear_header", "raw_header" } do
            local ok, err = pcall(ngx.req[f], "a", "b")
            ngx.log(ngx.WARN, f, " in worker: ", err)
        end
    }
--- lua
    ngx.say("ok")
--- response_body
ok
--- grep_error_log eval
qr/\w+ in worker: .*?context/
--- grep_error_log_out eval
[qr/^(get_headers in worker: API disabled in the current context
set_header in worker: API disabled in the current context
clear_header in worker: API disabled in the current context
raw_header in worker: API disabled in the current context
)+$/, ""]


=== TEST 15: wrong arguments are refused at the line of the call
--- lua
    local function try(f)
        local ok, err = pcall(f)
        ngx.say(ok, " ", (err:gsub("^content_by_lua%(nginx.conf:%d+%):", "")))
    end
    try(function()
        ngx.req.set_header(nil, "a")
    end)
    try(function()
        ngx.req.set_header("Host", "a/b") return 1
    end)
    try(function()
        ngx.req.get_headers({}) return 1
    end)
--- response_body
false 7: bad 'name' argument: string expected, got nil
false 10: failed to set header
false 13: bad argument #1 to 'get_headers' (number expected, got table)


=== TEST 16: the raw header is as the client sent it
--- config
    location = /t {
        content_by_lua_block {
            ngx.req.set_header("X-A", "changed")
            ngx.print(ngx.req.raw_header(), "--\n", ngx.req.raw_header(true))
        }
    }
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: a\r\nX-A:  b: c  \r\nBad\@Name: x\r\nEmpty:\r\nConnection: close\r\n\r\n"
--- response_body eval
my $h = "Host: a\r\nX-A:  b: c  \r\nBad\@Name: x\r\nEmpty:\r\nConnection: close\r\n\r\n";
"GET /t HTTP/1.1\r\n$h--\n$h"


=== TEST 17: the raw header is whole when it fills several buffers, and has no part of the body
--- config
    location = /t {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.md5(ngx.req.raw_header()), " ", ngx.md5(ngx.req.raw_header(true)), " ", ngx.req.get_body_data())
        }
    }
--- http_config
    client_header_buffer_size 100;
    large_client_header_buffers 8 1k;
--- raw_request eval
"POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n"
. CORE::join('', map { "X-$_: " . ($_ x 70) . "\r\n" } 10 .. 40) . "\r\nhello"
--- response_body eval
use Digest::MD5 'md5_hex';
my $raw = "Host: a\r\nContent-Length: 5\r\nConnection: close\r\n"
    . CORE::join('', map { "X-$_: " . ($_ x 70) . "\r\n" } 10 .. 40) . "\r\n";
md5_hex("POST /t HTTP/1.1\r\n$raw") . " " . md5_hex($raw) . " hello\n"


=== TEST 18: HTTP/2 has headers but no raw header
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_8 http2;
        location / {
            content_by_lua_block {
                ngx.req.set_header("X-B", ngx.req.get_headers().x_a .. "!")
                ngx.say(ngx.req.get_headers().x_b, " ", pcall(ngx.req.raw_header))
            }
        }
    }
--- config
    location = /t {
        grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_8;
    }
--- more_headers
X-A: a
--- response_body
a! falsehttp2 requests not supported yet


=== TEST 19: a request line that nginx refuses comes with no headers, and none can be set
--- config
    error_page 400 = /t;
    location = /t {
        content_by_lua_block {
            ngx.req.set_header("Cookie", "a=b")
            ngx.req.set_header("X-A", { "a", "b" })
            ngx.say(next(ngx.req.get_headers()), " ", type(ngx.req.raw_header()))
        }
    }
--- raw_request eval
"GeT /t HTTP/1.1\r\n\r\n"
--- response_body
nil string


=== TEST 20: add_header of ngx.req adds to what is there, and replaces what nginx keeps one of
--- lua
    local add_header = require("ngx.req").add_header
    add_header("X-A", 2)
    add_header("x-a", { "3", true })
    add_header("User-Agent", "me")
    add_header(12, "a")
    local h = ngx.req.get_headers()
    ngx.say(table.concat(h.x_a, ","), " ", h.user_agent, " ", h[12])
    for _, bad in ipairs { { "X" }, { nil, "a" }, { "X", {} } } do
        ngx.say(pcall(function()
            add_header(bad[1], bad[2])
        end))
    end
--- more_headers
X-A: 1
User-Agent: you
--- response_body_like chomp
^1,2,3,true me a
false.*:11: bad 'value' argument: string or table expected, got nil
false.*:11: bad 'name' argument: string expected, got nil
false.*:11: bad 'value' argument: non-empty table expected
$
