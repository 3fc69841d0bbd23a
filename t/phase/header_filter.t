use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: it runs once a response, after the status is known, wherever that was made
--- config
    header_filter_by_lua_block { ngx.header.x_n = (ngx.ctx.n or 0) + 1 ngx.ctx.n = ngx.header.x_n }
    location = /static { return 200 "s\n"; }
    location = /lua { content_by_lua_block { ngx.say("l") ngx.flush() ngx.say("m") } }
    location = /exit { access_by_lua_block { ngx.exit(403) } content_by_lua_block { ngx.say(1) } }
    location = /own { header_filter_by_lua_block { ngx.header.x_n = "own" } return 200 "o\n"; }
--- pipelined_requests eval
["GET /static", "GET /lua", "GET /exit", "GET /own", "GET /none"]
--- error_code eval
[200, 200, 403, 200, 404]
--- response_headers eval
["X-N: 1", "X-N: 1", "X-N: 1", "X-N: own", "X-N: 1"]
--- response_body_like eval
["s", "l\nm", "403", "o", "404"]


=== TEST 2: it runs before the script's next line
--- config
    location = /t {
        content_by_lua_block {
            ngx.print("a")
            ngx.say(" ", ngx.ctx.seen)
        }
        header_filter_by_lua_block { ngx.ctx.seen = "seen" }
    }
--- response_body
a seen


=== TEST 3: an error in it ends the request, and the worker lives
--- config
    location = /t { return 200 "x"; header_filter_by_lua_block { error("in the filter") } }
--- ignore_response
--- error_log
failed to run header_filter_by_lua*: header_filter_by_lua(nginx.conf
in the filter
--- no_error_log
[alert]
--- once


=== TEST 4: its error is what a script's output comes to
--- config
    location = /t {
        content_by_lua_block {
            local ok, err = ngx.say("a")
            local ok2, err2 = ngx.say("b")
            ngx.log(ngx.WARN, "said: ", ok, " ", err, ", ", ok2, " ", err2)
        }
        header_filter_by_lua_block { error("no") }
    }
--- ignore_response
--- error_log
said: nil nginx output filter error, nil nginx output filter error
--- once


=== TEST 5: an exit in it, with an error page whose filter exits again
--- config
    error_page 410 = /gone;
    location = /t { return 200 "fine"; header_filter_by_lua_block { ngx.exit(410) } }
    location = /gone { return 200 "gone"; header_filter_by_lua_block { ngx.exit(403) } }
--- error_code: 403
--- response_body_like: 403 Forbidden


=== TEST 6: from a file
--- config
    location = /t { return 200 "x\n"; header_filter_by_lua_file html/f.lua; }
    location = /none { return 200 "x\n"; header_filter_by_lua_file html/none.lua; }
--- user_files
>>> f.lua
#!/usr/bin/lua
ngx.header.x_file = "yes"
--- response_headers
X-File: yes
--- response_body
x


=== TEST 7: in an if block, and in its absence
--- config
    location = /t {
        if ($arg_a) { header_filter_by_lua_block { ngx.header.x_in = "if" } }
        header_filter_by_lua_block { ngx.header.x_in = "location" }
        content_by_lua_block { ngx.say("x") }
    }
--- pipelined_requests eval
["GET /t?a=1", "GET /t"]
--- response_headers eval
["X-In: if", "X-In: location"]
--- response_body eval
["x\n", "x\n"]
