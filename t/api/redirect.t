use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: 302 unless another status is given
--- config
    location = /a { content_by_lua_block { ngx.redirect("http://other.test/x?y=1") ngx.say("on") } }
    location = /b { content_by_lua_block { ngx.redirect("/x", 301) } }
    location = /c { content_by_lua_block { ngx.redirect("/x", ngx.HTTP_SEE_OTHER) } }
    location = /d { content_by_lua_block { ngx.redirect("/x", 307) } }
    location = /e { content_by_lua_block { ngx.redirect("x", "308") } }
--- pipelined_requests eval
[map "GET /$_", "a" .. "e"]
--- error_code eval
[302, 301, 303, 307, 308]
--- response_headers eval
["Location: http://other.test/x?y=1", "Location: /x", "Location: /x", "Location: /x", "Location: x"]
--- response_body_like eval
["302 Found", "301 Moved", "303 See", "307 Temporary", "308 Permanent"]


=== TEST 2: in each phase that answers
--- config
    server_rewrite_by_lua_block { if ngx.var.uri == "/s" then ngx.redirect("/to") end }
    location = /r { rewrite_by_lua_block { ngx.redirect("/to") } content_by_lua_block { ngx.say("no") } }
    location = /a { access_by_lua_block { ngx.sleep(0.01) ngx.redirect("/to") } content_by_lua_block { ngx.say("no") } }
--- pipelined_requests eval
[map "GET /$_", qw(s r a)]
--- error_code eval
[302, 302, 302]
--- response_headers eval
[("Location: /to") x 3]
--- response_body_like eval
[("302 Found") x 3]


=== TEST 3: bad arguments
--- lua
    local function try(...)
        ngx.header["X-" .. select("#", ...)] = "x"
        return select(2, pcall(ngx.redirect, ...))
    end
    ngx.say(table.concat({
        try(), try(1, 2, 3), try(nil), try({}), try("/a", 404), try("/a", "x"), try("/a", {}),
        try("/a\r\nX-Evil: 1"), try("/\"\\\127é"),
    }, "\n"))
--- response_headers
!Location
!X-Evil
--- response_body
expecting one or two arguments
expecting one or two arguments
bad argument #1 to 'redirect' (string expected, got nil)
bad argument #1 to 'redirect' (string expected, got table)
only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and ngx.HTTP_TEMPORARY_REDIRECT are allowed
bad argument #2 to 'redirect' (number expected, got string)
bad argument #2 to 'redirect' (number expected, got table)
unsafe byte "0x0d" in redirect uri "/a\x0D\x0AX-Evil: 1"
unsafe byte "0x7f" in redirect uri "/\x22\x5C\x7F\xC3\xA9"


=== TEST 4: too late once output has begun
--- lua
    ngx.say("a")
    ngx.say(select(2, pcall(ngx.redirect, "/b")))
--- response_body
a
attempt to call ngx.redirect after sending out the headers


=== TEST 5: refused where nothing can be answered
--- lua
    ngx.redirect("/a")
--- refused: set header_filter body_filter log balancer
