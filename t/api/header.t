use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a field is set, replaced, read in any case, and taken away
--- lua
    ngx.header["X-Foo"] = "a"
    ngx.header["X-Foo"] = 7
    ngx.header.X_Bar = true
    ngx.header.x_gone = "x"
    ngx.header["X-Gone"] = nil
    ngx.header["X-Empty"] = ""
    ngx.say(ngx.header["x-foo"], " ", ngx.header.x_BAR, " ", ngx.header.x_gone, " ", ngx.header.x_empty)
--- response_headers
X-Foo: 7
X-Bar: true
!X-Gone
!X-Empty
--- response_body
7 true nil nil


=== TEST 2: a table is several lines, and replaces all there were
--- lua
    ngx.header["Set-Cookie"] = { "a=1", "b=2", 3 }
    ngx.header["Set-Cookie"] = { "c=3", "d=4" }
    ngx.header["X-None"] = { "x" }
    ngx.header["X-None"] = {}
    local c = ngx.header["Set-Cookie"]
    ngx.say(type(c), " ", table.concat(c, ";"), " ", ngx.header["X-None"])
    ngx.header.late = 1
--- raw_response_headers_like: Set-Cookie: c=3\r\nSet-Cookie: d=4\r\n
--- raw_response_headers_unlike: a=1|X-None|late
--- response_body
table c=3;d=4 nil
--- error_log
attempt to set ngx.header.HEADER after sending out response headers


=== TEST 3: a line end in a name or value cannot start another field
--- lua
    ngx.header["X-A: b\r\nX-Evil"] = "1"
    ngx.header["X-B"] = "v\r\nX-Evil: 2\0\127\tc"
    ngx.say("ok")
--- raw_response_headers_like eval
qr/X-A%3A%20b%0D%0AX-Evil: 1\r\nX-B: v%0D%0AX-Evil: 2%00%7F\tc\r\n/
--- raw_response_headers_unlike: \nX-Evil


=== TEST 4: underscores stay where the location says so
--- config
    lua_transform_underscores_in_response_headers off;
    location = /t {
        content_by_lua_block {
            ngx.header.x_foo_bar = "1"
            ngx.say(ngx.header.x_foo_bar, " ", ngx.header["X-Foo-Bar"])
        }
    }
--- raw_response_headers_like: x_foo_bar: 1\r\n
--- response_body
1 nil


=== TEST 5: the content type is set, with a charset, and can be none at all
--- config
    default_type text/plain;
    charset utf-8;
    location = /a { content_by_lua_block { ngx.header.content_type = "text/html; charset=koi8-r" ngx.say(ngx.header.content_type) } }
    location = /b { content_by_lua_block { ngx.header["Content-Type"] = nil ngx.say(ngx.header.content_type) } }
    location = /c { content_by_lua_block { ngx.say("c") } }
    location = /d { lua_use_default_type off; content_by_lua_block { ngx.say("d") } }
    location = /e { content_by_lua_block { ngx.header.content_type = { "text/a", "text/html" } ngx.say("e") } }
--- pipelined_requests eval
["GET /a", "GET /b", "GET /c", "GET /d", "GET /e"]
--- response_headers eval
["Content-Type: text/html; charset=koi8-r", "!Content-Type", "Content-Type: text/plain; charset=utf-8", "!Content-Type", "Content-Type: text/html; charset=utf-8"]
--- response_body eval
["text/html; charset=koi8-r\n", "nil\n", "c\n", "d\n", "e\n"]


=== TEST 6: fields that nginx makes itself are replaced in place
--- lua
    ngx.header.Server = "mine"
    ngx.header.date = "Sun, 06 Nov 1994 08:49:37 GMT"
    ngx.header.etag = '"x"'
    ngx.header.last_modified = "Sun, 06 Nov 1994 08:49:37 GMT"
    ngx.header.Cache_Control = { "private", "max-age=1" }
    ngx.header.Cache_Control = { "public", "no-store" }
    ngx.header.link = { "</a>", "</b>", "</c>" }
    ngx.header.link = "</d>"
    ngx.header.refresh = "5"
    ngx.header.expires = "Thu, 01 Jan 1970 00:00:01 GMT"
    ngx.header["WWW-Authenticate"] = "Basic"
    ngx.header["Content-Encoding"] = "identity"
    ngx.header["Accept-Ranges"] = "none"
    ngx.header["Content-Range"] = "bytes 0-1/2"
    ngx.header.content_length = 5
    ngx.print(#ngx.header.last_modified, ngx.header.content_length, ngx.header.server == "mine" and "ok")
--- response_headers
Server: mine
Date: Sun, 06 Nov 1994 08:49:37 GMT
ETag: "x"
Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT
Cache-Control: public, no-store
Link: </d>
Refresh: 5
Expires: Thu, 01 Jan 1970 00:00:01 GMT
WWW-Authenticate: Basic
Content-Encoding: identity
Accept-Ranges: none
Content-Range: bytes 0-1/2
Content-Length: 5
--- response_body: 295ok


=== TEST 7: and taken away
--- lua
    for _, name in ipairs { "Server", "Date", "ETag", "Last-Modified", "Cache-Control", "Link", "Refresh", "Location" } do
        ngx.header[name] = "Sun, 06 Nov 1994 08:49:37 GMT"
        ngx.header[name] = nil
    end
    ngx.header.content_length = 99
    ngx.header.content_length = nil
    ngx.say(ngx.header.content_length, ngx.header.last_modified, ngx.header.cache_control)
--- response_headers
!Server
!Date
!ETag
!Last-Modified
!Cache-Control
!Link
!Refresh
!Location
!Content-Length
Transfer-Encoding: chunked
--- response_body
nilnilnil


=== TEST 8: a length that is none is an error
--- lua
    local ok, err = pcall(function() ngx.header.content_length = "many" end)
    ngx.say(err:gsub("^.-:%d+: ", "") .. "")
    ngx.say(ngx.header.content_length)
--- response_body
failed to set header
nil


=== TEST 9: header filters change what an upstream has sent
--- config
    location = /t {
        proxy_pass http://backend;
        header_filter_by_lua_block {
            ngx.header["X-Up"] = (ngx.header["X-Up"] or "none") .. "!"
            ngx.header.cache_control = "no-store"
            ngx.header.set_cookie = nil
        }
    }
--- backend
    location / {
        add_header X-Up yes;
        add_header Cache-Control "private";
        add_header Cache-Control "max-age=3";
        add_header Set-Cookie "a=1";
        add_header Set-Cookie "b=1";
        return 200 "up\n";
    }
--- response_headers
X-Up: yes!
Cache-Control: no-store
!Set-Cookie
--- response_body
up


=== TEST 10: a status is set and read, as a number or its text
--- lua
    local before = ngx.status
    ngx.status = "404"
    ngx.say(before, " ", ngx.status)
    ngx.status = 500
    ngx.say(ngx.status)
--- error_code: 404
--- response_body
0 404
404
--- error_log
attempt to set ngx.status after sending out response headers


=== TEST 11: the status line of a status that nginx does not know, and one with a reason
--- config
    location = /a { content_by_lua_block { ngx.status = 654 ngx.say("a") } }
    location = /b { content_by_lua_block { require("ngx.resp").set_status(654, "My Own") ngx.say("b") } }
--- pipelined_requests eval
["GET /a", "GET /b"]
--- error_code eval
[654, 654]
--- response_body eval
["a\n", "b\n"]


=== TEST 12: the status of a response that nginx makes is seen in every later phase
--- config
    location = /t {
        return 403;
        header_filter_by_lua_block { ngx.header["X-Status"] = ngx.status }
        log_by_lua_block { ngx.log(ngx.WARN, "status: ", ngx.status) }
    }
--- error_code: 403
--- response_headers
X-Status: 403
--- error_log
status: 403


=== TEST 13: an error page keeps the status of the error, unless a script sets one
--- config
    error_page 404 /page;
    error_page 403 /other;
    location = /a { return 404; }
    location = /b { return 403; }
    location = /page { content_by_lua_block { ngx.say(ngx.status) } }
    location = /other { content_by_lua_block { ngx.status = 201 ngx.say(ngx.status) } }
--- pipelined_requests eval
["GET /a", "GET /b"]
--- error_code eval
[404, 201]
--- response_body eval
["404\n", "201\n"]


=== TEST 14: all fields, those of nginx among them
--- lua
    ngx.header.content_type = "text/x"
    ngx.header["X-One"] = "1"
    ngx.header["X-Two"] = { "a", "b" }
    local h, err = ngx.resp.get_headers()
    ngx.say(h["content-type"], " ", h.X_One, " ", table.concat(h["X-Two"], ","), " ", h.connection, " ", h["X-one"], " ", err)
    local raw = ngx.resp.get_headers(0, true)
    ngx.say(raw["X-One"], " ", raw["x-one"])
--- response_body_like
^text/x 1 a,b (keep-alive|close) 1 nil
1 nil


=== TEST 15: a hundred unless more are asked for
--- lua
    for i = 1, 120 do
        ngx.header["X-" .. i] = i
    end
    local function count(...)
        local h, err = ngx.resp.get_headers(...)
        local n = 0
        for _ in pairs(h) do n = n + 1 end
        return n .. ":" .. tostring(err)
    end
    ngx.say(count(), " ", count(10), " ", count(0), " ", count(500))
--- response_body
100:truncated 10:truncated 121:nil 121:nil


=== TEST 16: more than a hundred lines of one field
--- lua
    local list = {}
    for i = 1, 150 do list[i] = "v" .. i end
    ngx.header["X-Many"] = list
    ngx.say(#ngx.header["X-Many"])
--- response_body
100


=== TEST 17: ngx.resp adds lines
--- lua
    local resp = require "ngx.resp"
    resp.add_header("X-A", "1")
    resp.add_header("X-A", "2")
    resp.add_header("X-A", { 3, "4" })
    resp.add_header("X-A", {})
    resp.add_header("Cache-Control", "private")
    resp.add_header("Cache-Control", "max-age=1")
    ngx.say(table.concat(ngx.header["X-A"], ","), " ", table.concat(ngx.header.cache_control, ","))
    local ok, err = pcall(resp.add_header, "X-A", nil)
    ngx.say(err)
--- response_headers
X-A: 1, 2, 3, 4
Cache-Control: private, max-age=1
--- response_body
1,2,3,4 private,max-age=1
invalid header value


=== TEST 18: the header is open in each phase before it is sent
--- lua
    ngx.header["X-T"] = { "a", "b" }
    local seen = table.concat(ngx.header["X-T"])
    ngx.header["X-T"] = nil
    ngx.status = 200
    return seen, ngx.header["X-T"], ngx.status, ngx.headers_sent, ngx.is_subrequest
--- result: ab, nil, 200, false, false
--- phases: server_rewrite rewrite access content header_filter set


=== TEST 19: and closed, but legible, after it
--- lua
    ngx.header["X-T"] = "a"
    ngx.status = 404
    return ngx.header["X-T"], ngx.status, ngx.headers_sent, ngx.resp.get_headers()["x-t"]
--- result: nil, 200, true, nil
--- phases: body_filter log


=== TEST 20: there is none outside requests
--- lua
    ngx.header["X-T"] = "a"
--- result: API disabled in the current context
--- refused: init_worker


=== TEST 21: none to read, either
--- lua
    return ngx.header["X-T"]
--- result: no request found
--- refused: init


=== TEST 22: and no status
--- lua
    return ngx.status
--- result: no request found
--- refused: init


=== TEST 23: a status that is no number
--- lua
    ngx.say((select(2, pcall(function() ngx.status = {} end)):gsub("^.-:%d+: ", "")))
--- response_body
number expected, got table


=== TEST 24: sending the header alone
--- lua
    ngx.header["X-A"] = "1"
    local before = ngx.headers_sent
    ngx.say(ngx.send_headers(), " ", before, " ", ngx.headers_sent)
    ngx.header["X-B"] = "2"
--- response_headers
X-A: 1
!X-B
--- response_body
1 false true
--- error_log
attempt to set ngx.header.HEADER after sending out response headers


=== TEST 25: a conditional request is the script's to answer when it says so
--- config
    location = /b {
        content_by_lua_block {
            require("ngx.resp").bypass_if_checks()
            ngx.header.last_modified = "Sun, 06 Nov 1994 08:49:37 GMT"
            ngx.say("b")
        }
    }
--- more_headers
If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT
--- request
GET /b
--- response_body
b


=== TEST 26: which nginx does otherwise
--- lua
    ngx.header.last_modified = "Sun, 06 Nov 1994 08:49:37 GMT"
    ngx.say("a")
--- more_headers
If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT
--- error_code: 304
--- response_body:


=== TEST 27: what is wrong with a status is said of the line that sets it
--- lua
    ngx.say(select(2, pcall(function() ngx.status = "none" end)))
    ngx.timer.at(0, function()
        ngx.log(ngx.WARN, "told: ", select(2, pcall(function() ngx.status = 200 end)))
    end)
    ngx.sleep(0.01)
--- response_body_like
^content_by_lua\(nginx\.conf:\d+\):\d+: number expected, got string$
--- error_log eval
qr/told: content_by_lua\(nginx\.conf:\d+\):\d+: API disabled in the current context/
