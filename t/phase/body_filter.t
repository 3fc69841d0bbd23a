use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: every piece is seen, the end at last
--- config
    location = /t {
        content_by_lua_block { ngx.print("one") ngx.flush() ngx.print("two") ngx.flush() ngx.print("three") }
        body_filter_by_lua_block {
            ngx.ctx.log = (ngx.ctx.log or "") .. "[" .. ngx.arg[1] .. "]" .. tostring(ngx.arg[2])
            if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. ngx.ctx.log end
        }
    }
--- response_body chop
onetwothree[one]false[two]false[three]false[]true


=== TEST 2: replaced by a string, a number, a table; dropped by nil and by nothing
--- config
    location = /t {
        content_by_lua_block {
            for i = 1, 5 do
                ngx.print("piece ", i)
                ngx.flush()
            end
        }
        body_filter_by_lua_block {
            local n = (ngx.ctx.n or 0) + 1
            ngx.ctx.n = n
            ngx.arg[1] = ({ "s ", 1.5, { " t", 1, { "u" } }, nil, "" })[n]
            if n == 4 then ngx.arg[1] = nil end
        }
    }
--- response_body chop
s 1.5 t1u


=== TEST 3: the end can be brought forward: what follows is dropped
--- config
    location = /t {
        content_by_lua_block { ngx.say("a") ngx.flush() ngx.say("b") ngx.flush() ngx.say("c") }
        body_filter_by_lua_block {
            if ngx.arg[1]:find("b") then
                ngx.arg[1] = "end\n"
                ngx.arg[2] = true
            end
        }
    }
--- response_body
a
end


=== TEST 4: and taken back
--- config
    location = /t {
        content_by_lua_block { ngx.say("a") ngx.flush() ngx.say("b") }
        body_filter_by_lua_block {
            ngx.arg[2] = true
            ngx.arg[2] = ngx.ctx.last
            if ngx.arg[1]:find("b") then ngx.ctx.last = true end
        }
    }
--- response_body
a
b


=== TEST 5: what is set is read back
--- config
    location = /t {
        return 200 "abc";
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block {
            local before = ngx.arg[1]
            ngx.arg[1] = nil
            local none = ngx.arg[1]
            ngx.arg[1] = "x"
            ngx.arg[1] = { before, "|", none, "|", ngx.arg[1], "|", tostring(ngx.arg[2]), "|", tostring(ngx.arg[3]) }
        }
    }
--- response_body chop
abc||x|true|nil


=== TEST 6: bad values are errors
--- config
    location = /t {
        return 200 "abc";
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block {
            local function try(n, value)
                local ok, err = pcall(function() ngx.arg[n] = value end)
                return ok and "ok" or err:gsub("^.-:%d+: ", "")
            end
            local out = table.concat({ try(1, print), try(1, { true }), try(1, { a = 1 }), try(3, "x"), try(1, true) }, "\n")
            ngx.arg[1] = out
        }
    }
--- response_body chop
bad chunk data type: function
bad argument #3 to '__newindex' (bad data type boolean found)
bad argument #3 to '__newindex' (non-array table found)
bad index: 3
bad chunk data type: boolean


=== TEST 7: an error, or returning ngx.ERROR, cuts the response
--- config
    location = /t {
        content_by_lua_block {
            ngx.print("a")
            local ok, err = ngx.flush()
            ngx.log(ngx.WARN, "flush: ", ok, " ", err)
        }
        body_filter_by_lua_block { error("in the filter") }
    }
--- ignore_response
--- error_log
failed to run body_filter_by_lua*: body_filter_by_lua(nginx.conf
flush: nil nginx output filter error
--- once


=== TEST 8: a body from a file is seen in memory
--- config
    location = /t.txt {
        sendfile on;
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block {
            ngx.ctx.n = (ngx.ctx.n or 0) + #ngx.arg[1]
            ngx.arg[1] = ngx.arg[2] and ngx.ctx.n or nil
        }
    }
--- user_files eval
">>> t.txt\n" . "x" x 100000
--- request
GET /t.txt
--- response_body_like chop
^10000[01]$


=== TEST 9: a body from an upstream that went to disk
--- config
    location = /t {
        proxy_pass http://backend;
        proxy_buffers 2 4k;
        proxy_buffer_size 4k;
        proxy_busy_buffers_size 4k;
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block { ngx.arg[1] = ngx.arg[1]:upper() }
    }
--- backend
    location / { content_by_lua_block { for i = 1, 2000 do ngx.print("line ", i, "; ") end } }
--- response_body eval
CORE::join '', map { "LINE $_; " } 1 .. 2000


=== TEST 10: growing a body for a slow client keeps its order
--- config
    location = /t {
        content_by_lua_block {
            for i = 1, 200 do
                ngx.print(string.rep(string.char(65 + i % 26), 5000))
                ngx.flush(true)
            end
        }
        body_filter_by_lua_block { ngx.arg[1] = ngx.arg[1] .. ngx.arg[1]:lower() }
    }
    location = /slow { proxy_pass http://127.0.0.1:$server_port/t; proxy_buffering off; proxy_http_version 1.1; limit_rate_after 200k; limit_rate 8m; }
--- request
GET /slow
--- response_body eval
CORE::join '', map { my $c = chr(65 + $_ % 26); ($c x 5000) . (lc($c) x 5000) } 1 .. 200


=== TEST 11: both filters of a location, and compression behind them
--- config
    gzip on;
    gzip_types text/plain;
    gzip_min_length 1;
    location = /t {
        content_by_lua_block { ngx.header.content_length = 6 ngx.print("abcdef") }
        header_filter_by_lua_block { ngx.header.content_length = nil ngx.header.x_seen = "yes" }
        body_filter_by_lua_block { if ngx.arg[1] ~= "" then ngx.arg[1] = ngx.arg[1] .. "ghi" end }
    }
--- response_headers
X-Seen: yes
--- response_body chop
abcdefghi


=== TEST 12: HEAD has no body to filter
--- config
    location = /t {
        content_by_lua_block { ngx.say("a") }
        body_filter_by_lua_block { ngx.log(ngx.ERR, "ran") }
    }
--- request
HEAD /t
--- response_body
--- no_error_log
[error]


=== TEST 13: a script's own pieces may be no more than one
--- config
    location = /t {
        content_by_lua_block { for i = 1, 10 do ngx.say(i) end }
        body_filter_by_lua_block {
            ngx.ctx.n = (ngx.ctx.n or 0) + 1
            if ngx.arg[2] then ngx.arg[1] = "calls: " .. ngx.ctx.n else ngx.arg[1] = nil end
        }
    }
--- response_body chop
calls: 2


=== TEST 14: ngx.arg is for filters and set_by_lua alone
--- lua
    return ngx.arg[1]
--- refused: rewrite access content header_filter log balancer
--- result: API disabled in the current context


=== TEST 15: not to be written in other phases
--- lua
    ngx.arg[1] = "x"
--- refused: set content log
--- result: API disabled in the current context


=== TEST 16: the words of set_by_lua
--- config
    location = /t {
        set $a "x y";
        set_by_lua $b "return ngx.arg[1] .. '|' .. ngx.arg[2] .. '|' .. tostring(ngx.arg[3]) .. '|' .. tostring(ngx.arg[9])" $a "$arg_q-" "";
        content_by_lua_block { ngx.say(ngx.var.b) }
    }
--- request
GET /t?q=1
--- response_body
x y|1-|nil|nil
