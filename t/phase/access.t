use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: all must let a request in, or one of them
--- config
    location = /all_ok { satisfy all; allow all; access_by_lua_block { ngx.exit(ngx.OK) } content_by_lua_block { ngx.say("in") } }
    location = /all_deny { satisfy all; deny all; access_by_lua_block { ngx.exit(ngx.OK) } content_by_lua_block { ngx.say("in") } }
    location = /all_refused { satisfy all; allow all; access_by_lua_block { ngx.exit(403) } content_by_lua_block { ngx.say("in") } }
    location = /any_lua { satisfy any; deny all; access_by_lua_block { ngx.exit(ngx.OK) } content_by_lua_block { ngx.say("in") } }
    location = /any_return { satisfy any; deny all; access_by_lua_block { } content_by_lua_block { ngx.say("in") } }
    location = /any_wait { satisfy any; deny all; access_by_lua_block { ngx.sleep(0.01) } content_by_lua_block { ngx.say("in") } }
    location = /any_declined { satisfy any; deny all; access_by_lua_block { ngx.exit(ngx.DECLINED) } content_by_lua_block { ngx.say("in") } }
    location = /any_waited { satisfy any; deny all; access_by_lua_block { ngx.sleep(0.01) ngx.exit(ngx.DECLINED) } content_by_lua_block { ngx.say("in") } }
    location = /any_refused { satisfy any; deny all; access_by_lua_block { ngx.exit(403) } content_by_lua_block { ngx.say("in") } }
    location = /any_allowed { satisfy any; allow all; access_by_lua_block { ngx.exit(403) } content_by_lua_block { ngx.say("in") } }
--- pipelined_requests eval
[map "GET /$_", qw(all_ok all_deny all_refused any_lua any_return any_wait any_declined any_waited any_refused any_allowed)]
--- error_code eval
[200, 403, 403, 200, 200, 200, 403, 403, 403, 200]
--- response_body_like eval
[qw(in 403 403 in in in 403 403 403 in)]
--- allow_log
access forbidden by rule


=== TEST 2: it runs after the access rules of nginx
--- config
    location = /t {
        deny all;
        access_by_lua_block { ngx.log(ngx.WARN, "lua ran") }
        content_by_lua_block { ngx.say("in") }
    }
--- error_code: 403
--- response_body_like: 403
--- no_error_log
lua ran


=== TEST 3: or before them, where it must not be postponed
--- http_config
    access_by_lua_no_postpone on;
--- config
    location = /t {
        deny all;
        access_by_lua_block { ngx.log(ngx.WARN, "lua ran") }
        content_by_lua_block { ngx.say("in") }
    }
--- error_code: 403
--- response_body_like: 403
--- error_log
lua ran


=== TEST 4: inherited, replaced, and chosen by if
--- config
    access_by_lua_block { ngx.header.x_access = "server" }
    location = /inherited { content_by_lua_block { ngx.say("x") } }
    location = /own { access_by_lua_block { ngx.header.x_access = "own" } content_by_lua_block { ngx.say("x") } }
    location = /if {
        if ($arg_a) { access_by_lua_block { ngx.header.x_access = "if" } }
        access_by_lua_block { ngx.header.x_access = "own" }
        content_by_lua_block { ngx.say("x") }
    }
--- pipelined_requests eval
["GET /inherited", "GET /own", "GET /if?a=1", "GET /if"]
--- response_headers eval
["X-Access: server", "X-Access: own", "X-Access: if", "X-Access: own"]
--- response_body eval
[("x\n") x 4]


=== TEST 5: internal redirects run it anew, with a fresh ngx.ctx
--- config
    access_by_lua_block { ngx.ctx.n = (ngx.ctx.n or 0) + 1 ngx.sleep(0.001) }
    error_page 404 /page;
    location = /a { rewrite ^ /b last; }
    location = /b { content_by_lua_block { ngx.say(ngx.ctx.n) } }
    location = /c { content_by_lua_block { ngx.exec("/b") } }
    location = /d { content_by_lua_block { ngx.exit(404) } }
    location = /page { content_by_lua_block { ngx.say("page ", ngx.ctx.n) } }
--- pipelined_requests eval
["GET /a", "GET /c", "GET /d"]
--- error_code eval
[200, 200, 404]
--- response_body eval
["1\n", "1\n", "page 1\n"]


=== TEST 6: no reference is left: the worker ends as soon as it is asked to
--- config
    location = /a { access_by_lua_block { ngx.sleep(0.001) ngx.exit(403) } content_by_lua_block { ngx.say("a") } }
    location = /b { access_by_lua_block { ngx.sleep(0.001) ngx.exec("/c") } content_by_lua_block { ngx.say("b") } }
    location = /c { content_by_lua_block { ngx.sleep(0.001) ngx.exec("@d") } }
    location @d { rewrite_by_lua_block { ngx.sleep(0.001) } content_by_lua_block { ngx.say("d") } }
    location = /e { access_by_lua_block { ngx.say("e") ngx.sleep(0.001) } content_by_lua_block { ngx.say("never") } }
    location = /f { rewrite_by_lua_block { ngx.redirect("/c") } content_by_lua_block { ngx.say("never") } }
    location = /g { content_by_lua_block { ngx.sleep(0.001) error("g") } }
--- pipelined_requests eval
[map "GET /$_", qw(a b c e f g)]
--- error_code eval
[403, 200, 200, 200, 302, 500]
--- response_body_like eval
[qw(403 d d e 302 500)]
--- no_shutdown_error_log
open socket
