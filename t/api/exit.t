use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a status of an error is answered by nginx, in each phase that answers
--- config
    server_rewrite_by_lua_block { if ngx.var.uri == "/s" then ngx.exit(403) end }
    location = /r { rewrite_by_lua_block { ngx.exit(403) } content_by_lua_block { ngx.say(1) } }
    location = /a { access_by_lua_block { ngx.exit(403) } content_by_lua_block { ngx.say("in") } }
    location = /c { content_by_lua_block { ngx.exit(403) ngx.say("on") } }
    location = /w { content_by_lua_block { ngx.sleep(0.01) ngx.exit(403) ngx.say("on") } }
    location = /x { access_by_lua_block { ngx.sleep(0.01) ngx.exit(403) } content_by_lua_block { ngx.say("in") } }
    location = /y { rewrite_by_lua_block { ngx.sleep(0.01) ngx.exit(403) } content_by_lua_block { ngx.say("in") } }
--- pipelined_requests eval
[map "GET /$_", qw(s r a c w x y)]
--- error_code eval
[(403) x 7]
--- response_body_like eval
[("403 Forbidden") x 7]


=== TEST 2: a good status ends the response with what was printed
--- config
    location = /r { rewrite_by_lua_block { ngx.status = 201 ngx.say("r") ngx.exit(201) } content_by_lua_block { ngx.say("later") } }
    location = /a { access_by_lua_block { ngx.say("a") ngx.exit(200) } content_by_lua_block { ngx.say("later") } }
    location = /c { content_by_lua_block { ngx.say("c") ngx.exit(200) ngx.say("on") } }
    location = /e { content_by_lua_block { ngx.exit(202) ngx.say("on") } }
    location = /w { access_by_lua_block { ngx.say("w") ngx.sleep(0.01) ngx.exit(200) } content_by_lua_block { ngx.say("later") } }
--- pipelined_requests eval
[map "GET /$_", qw(r a c e w)]
--- error_code eval
[201, 200, 200, 202, 200]
--- response_body eval
["r\n", "a\n", "c\n", "", "w\n"]


=== TEST 3: OK lets an early phase go on, and ends the content
--- config
    location = /t {
        rewrite_by_lua_block { ngx.exit(ngx.OK) ngx.exit(500) }
        access_by_lua_block { ngx.sleep(0.01) ngx.exit(0) ngx.exit(500) }
        content_by_lua_block { ngx.say("content") ngx.exit(ngx.OK) ngx.say("more") }
    }
--- response_body
content


=== TEST 4: a phase whose output has begun is the last one
--- config
    location = /r { rewrite_by_lua_block { ngx.say("rewrite") } content_by_lua_block { ngx.say("content") } }
    location = /a { access_by_lua_block { ngx.say("access") } content_by_lua_block { ngx.say("content") } }
    location = /h { access_by_lua_block { ngx.send_headers() } content_by_lua_block { ngx.say("content") } }
--- pipelined_requests eval
[map "GET /$_", qw(r a h)]
--- response_body eval
["rewrite\n", "access\n", ""]


=== TEST 5: a status that comes too late is logged, and the response is complete
--- lua
    ngx.say("a")
    ngx.exit(404)
--- response_body
a
--- error_log
attempt to set status 404 via ngx.exit after sending out the response status 200


=== TEST 6: the status that was sent is none
--- lua
    ngx.status = 404
    ngx.say("own page")
    ngx.exit(404)
--- error_code: 404
--- response_body
own page
--- no_error_log
[error]


=== TEST 7: a client of HTTP/1.0 gets what was held back, and no error page
--- lua
    ngx.status = 404
    ngx.say("own page")
    ngx.exit(404)
--- request
GET /t HTTP/1.0
--- error_code: 404
--- response_headers
Content-Length: 9
--- response_body
own page


=== TEST 8: error pages of nginx
--- config
    error_page 410 = /gone;
    location = /t { access_by_lua_block { ngx.ctx.before = 1 ngx.exit(410) } content_by_lua_block { ngx.say(1) } }
    location = /gone { content_by_lua_block { ngx.say("gone ", ngx.ctx.before, " ", ngx.status) } }
--- request
GET /t
--- error_code: 410
--- response_body
gone nil 410


=== TEST 9: an exit inside functions, pcall and coroutines leaves them all
--- lua
    pcall(function()
        local co = coroutine.wrap(function()
            xpcall(function() ngx.exit(405) end, print)
        end)
        co()
        ngx.say("after wrap")
    end)
    ngx.say("after pcall")
--- error_code: 405
--- response_body_like: 405 Not Allowed


=== TEST 10: 444 closes the connection without a word
--- lua
    ngx.exit(444)
--- ignore_response
--- no_error_log
[error]
--- once


=== TEST 11: ngx.ERROR does, too
--- config
    location = /t { access_by_lua_block { ngx.exit(ngx.ERROR) } content_by_lua_block { ngx.say(1) } }
--- ignore_response
--- no_error_log
[error]
--- once


=== TEST 12: bad arguments
--- lua
    local function try(...)
        ngx.say(select(2, pcall(ngx.exit, ...)))
    end
    try()
    try("x")
    try({})
    try(ngx.AGAIN)
    try(ngx.DONE)
--- response_body
bad argument #1 to 'exit' (number expected, got nil)
bad argument #1 to 'exit' (number expected, got string)
bad argument #1 to 'exit' (number expected, got table)
bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE
bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE


=== TEST 13: refused where nothing can be left
--- lua
    ngx.exit(403)
--- refused: set body_filter log


=== TEST 14: and where there is no request
--- lua
    ngx.exit(403)
--- refused: init_worker exit_worker


=== TEST 15: nor while the configuration is read
--- lua
    ngx.exit(403)
--- refused: init
--- result: no request found


=== TEST 16: in a header filter it changes the answer
--- config
    location = /t { return 200 "fine\n"; header_filter_by_lua_block { ngx.exit(403) } }
--- error_code: 403
--- response_body_like: 403 Forbidden


=== TEST 17: or cuts it
--- config
    location = /t { return 200 "fine\n"; header_filter_by_lua_block { ngx.exit(ngx.ERROR) } }
--- ignore_response
--- no_error_log
[alert]
--- once


=== TEST 18: or leaves it alone
--- config
    location = /t { return 200 "fine\n"; header_filter_by_lua_block { ngx.exit(ngx.OK) ngx.header.x_on = "yes" } }
--- response_headers
X-On: yes
--- response_body
fine


=== TEST 19: a script that fails before its output is a 500, also after waiting
--- config
    location = /b { content_by_lua_block { ngx.sleep(0.01) error("late") } }
--- request
GET /b
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log
late


=== TEST 20: unknown statuses go out as they are
--- lua
    ngx.exit(599)
--- error_code: 599
--- response_body


=== TEST 21: a connection that is kept answers the next request
--- config
    location = /b { content_by_lua_block { ngx.say("b") ngx.exit(200) } }
--- pipelined_requests eval
["GET /b", "POST /b\nabc", "GET /b"]
--- response_body eval
["b\n", "b\n", "b\n"]


=== TEST 22: 204 has no body, and what is printed under it goes nowhere
--- config
    location = /a { content_by_lua_block { ngx.exit(204) ngx.say("on") } }
    location = /t { content_by_lua_block { ngx.status = 204 ngx.say("on") ngx.exit(204) } }
--- error_code: 204
--- response_headers
!Transfer-Encoding
--- response_body:
--- no_error_log
[error]
