use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: another location answers, with the arguments given
--- config
    location = /a { content_by_lua_block { ngx.exec("/show") ngx.say("on") } }
    location = /b { content_by_lua_block { ngx.exec("/show", "x=1&y") } }
    location = /c { content_by_lua_block { ngx.exec("/show?own=1", "x=1") } }
    location = /d { content_by_lua_block { ngx.exec("/show?own=1", { x = "a b" }) } }
    location = /e { content_by_lua_block { ngx.exec("/sh%6fw", 5) } }
    location = /f { content_by_lua_block { ngx.exec("/show?own", nil) } }
    location = /g { content_by_lua_block { ngx.exec("/show", {}) } }
    location = /show { content_by_lua_block { ngx.say(ngx.var.uri, "?", ngx.var.args) } }
--- pipelined_requests eval
[map "GET /$_?orig=1", "a" .. "g"]
--- response_body eval
["/show?nil\n", "/show?x=1&y\n", "/show?own=1&x=1\n", "/show?own=1&x=a%20b\n", "/show?5\n", "/show?own\n", "/show?nil\n"]


=== TEST 2: from each phase, also after waiting
--- config
    server_rewrite_by_lua_block { if ngx.var.uri == "/s" then ngx.exec("/to", "s") end }
    location = /r { rewrite_by_lua_block { ngx.exec("/to", "r") } content_by_lua_block { ngx.say("no") } }
    location = /a { access_by_lua_block { ngx.exec("/to", "a") } content_by_lua_block { ngx.say("no") } }
    location = /c { content_by_lua_block { ngx.exec("/to", "c") } }
    location = /R { rewrite_by_lua_block { ngx.sleep(0.01) ngx.exec("/to", "R") } content_by_lua_block { ngx.say("no") } }
    location = /A { access_by_lua_block { ngx.sleep(0.01) ngx.exec("/to", "A") } content_by_lua_block { ngx.say("no") } }
    location = /C { content_by_lua_block { ngx.sleep(0.01) ngx.exec("/to", "C") } }
    location = /to {
        access_by_lua_block { ngx.sleep(0.01) }
        content_by_lua_block { ngx.say(ngx.var.args) }
    }
--- pipelined_requests eval
[map "GET /$_", qw(s r a c R A C)]
--- response_body eval
[map "$_\n", qw(s r a c R A C)]


=== TEST 3: a named location, whose name takes no arguments
--- config
    location = /t { access_by_lua_block { ngx.ctx.x = 1 ngx.exec("@named", "a=1") } content_by_lua_block { ngx.say("no") } }
    location @named { content_by_lua_block { ngx.say("named ", ngx.var.uri, " ", ngx.ctx.x) } }
--- response_body
named /t nil
--- error_log
query strings a=1 ignored when exec'ing named location @named


=== TEST 4: a location that does not exist, and one that does not by name
--- config
    location = /a { content_by_lua_block { ngx.exec("/nowhere") } }
    location = /b { content_by_lua_block { ngx.exec("@nowhere") } }
--- pipelined_requests eval
["GET /a", "GET /b"]
--- error_code eval
[404, 500]
--- response_body_like eval
["404 Not Found", "500 Internal"]


=== TEST 5: bad arguments
--- config
    location = /t {
        content_by_lua_block {
            local function try(...)
                return select(2, pcall(ngx.exec, ...))
            end
            local out = {
                try(), try(1, 2, 3), try(nil), try({}), try(""), try("/a", print), try("/a/../../b"), try("/a", true),
                try("/a\0b"),
            }
            ngx.say(table.concat(out, "\n"))
        }
    }
--- response_body
expecting one or two arguments, but got 0
expecting one or two arguments, but got 3
bad argument #1 to 'exec' (string expected, got nil)
bad argument #1 to 'exec' (string expected, got table)
The uri argument is empty
bad argument #2 to 'exec' (string, number, or table expected, but got function)
unsafe uri
bad argument #2 to 'exec' (string, number, or table expected, but got boolean)
unsafe uri


=== TEST 6: too late once output has begun
--- lua
    ngx.say("a")
    ngx.say(select(2, pcall(ngx.exec, "/b")))
--- response_body
a
attempt to call ngx.exec after sending out response headers


=== TEST 7: refused where the request cannot move
--- lua
    ngx.exec("/a")
--- refused: set header_filter body_filter log balancer


=== TEST 8: round and round is stopped by nginx
--- config
    location = /t { content_by_lua_block { ngx.exec("/t") } }
--- error_code: 500
--- error_log
rewrite or internal redirection cycle
