use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: it runs after the directives of the rewrite module
--- config
    location = /t {
        rewrite_by_lua_block { ngx.var.a = ngx.var.a .. "lua" }
        set $a "set,";
        content_by_lua_block { ngx.say(ngx.var.a) }
    }
--- response_body
set,lua


=== TEST 2: not if they chose another location
--- config
    location = /t { rewrite ^ /u last; rewrite_by_lua_block { ngx.exit(503) } }
    location = /u { rewrite_by_lua_block { ngx.header.x_u = "yes" } content_by_lua_block { ngx.say("u") } }
--- response_headers
X-U: yes
--- response_body
u


=== TEST 3: or before them, where it must not be postponed
--- http_config
    rewrite_by_lua_no_postpone on;
--- config
    location = /t {
        set $a "set";
        rewrite_by_lua_block { ngx.ctx.a = ngx.var.a }
        content_by_lua_block { ngx.say(ngx.ctx.a == "" and "empty" or ngx.ctx.a) }
    }
--- response_body
empty


=== TEST 4: the phases in their order, all of them waiting
--- config
    server_rewrite_by_lua_block { ngx.sleep(0.001) ngx.ctx.s = "server_rewrite" }
    location = /t {
        set_by_lua_block $a { return ngx.ctx.s .. ",set" }
        rewrite_by_lua_block { ngx.sleep(0.001) ngx.ctx.s = ngx.var.a .. ",rewrite" }
        access_by_lua_block { ngx.sleep(0.001) ngx.ctx.s = ngx.ctx.s .. ",access" }
        content_by_lua_block { ngx.sleep(0.001) ngx.say(ngx.ctx.s, ",content") }
    }
--- response_body
server_rewrite,set,rewrite,access,content


=== TEST 5: in an if block
--- config
    location = /t {
        set $a "";
        if ($arg_x) { rewrite_by_lua_block { ngx.var.a = "if" } }
        rewrite_by_lua_block { ngx.var.a = "location" }
        content_by_lua_block { ngx.say(ngx.var.a) }
    }
--- pipelined_requests eval
["GET /t?x=1", "GET /t"]
--- response_body eval
["if\n", "location\n"]


=== TEST 6: a request line that nginx refuses runs no script
--- config
    server_rewrite_by_lua_block { ngx.log(ngx.ERR, "ran") }
--- raw_request eval
"GET bad\r\n\r\n"
--- ignore_response
--- no_error_log
[error]
