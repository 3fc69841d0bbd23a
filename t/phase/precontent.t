use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: it runs between access and content, and may wait
--- config
    location = /t {
        access_by_lua_block { ngx.ctx.s = ngx.get_phase() }
        precontent_by_lua_block { ngx.sleep(0.001) ngx.ctx.s = ngx.ctx.s .. "," .. ngx.get_phase() }
        content_by_lua_block { ngx.say(ngx.ctx.s, ",", ngx.get_phase()) }
    }
--- response_body
access,precontent,content


=== TEST 2: it prepares what a proxied request needs
--- backend
    return 200 "$http_x_made $uri $args";
--- config
    location = /t {
        precontent_by_lua_block {
            ngx.sleep(0.001)
            ngx.req.set_header("X-Made", "yes")
            ngx.req.set_uri_args("b=2")
        }
        proxy_pass http://backend;
    }
--- request
GET /t?a=1
--- response_body: yes /t b=2


=== TEST 3: try_files comes first, and a redirect of its own leaves the script of the location that was asked for out
--- config
    location /files/ {
        try_files $uri /fallback;
        precontent_by_lua_block { ngx.header.x_ran = "file" }
    }
    location = /fallback {
        precontent_by_lua_block { ngx.header.x_ran = "fallback" }
        content_by_lua_block { ngx.say("fallback") }
    }
--- user_files
>>> files/here
here
--- request eval
["GET /files/here", "GET /files/nowhere"]
--- response_headers eval
["X-Ran: file", "X-Ran: fallback"]
--- response_body eval
["here\n", "fallback\n"]


=== TEST 4: where it must not be postponed it comes before try_files, which then has its turn
--- http_config
    precontent_by_lua_no_postpone on;
--- config
    location = /t {
        try_files /nowhere @fallback;
        precontent_by_lua_block { if ngx.var.arg_wait then ngx.sleep(0.001) end ngx.header.x_ran = "first" }
        content_by_lua_block { ngx.say("content") }
    }
    location = /exit {
        try_files /nowhere @fallback;
        precontent_by_lua_block { ngx.exit(ngx.OK) }
    }
    location @fallback { content_by_lua_block { ngx.say("fallback") } }
--- request eval
["GET /t", "GET /t?wait=1", "GET /exit"]
--- response_headers eval
["X-Ran: first", "X-Ran: first", ""]
--- response_body eval
[("fallback\n") x 3]


=== TEST 5: a mirror has its subrequest, in whose location a script of its own runs
--- config
    location = /t {
        mirror /mirror;
        precontent_by_lua_block { ngx.log(ngx.WARN, "main ran") }
        content_by_lua_block { ngx.say("content") }
    }
    location = /mirror {
        internal;
        precontent_by_lua_block { ngx.log(ngx.WARN, "mirror ran: ", ngx.is_subrequest) ngx.exit(204) }
    }
--- response_body
content
--- error_log
main ran
mirror ran: true


=== TEST 6: it answers in place of the content, or refuses it
--- config
    location = /say { precontent_by_lua_block { ngx.say("early") } content_by_lua_block { ngx.say("late") } }
    location = /status { precontent_by_lua_block { ngx.exit(403) } content_by_lua_block { ngx.say("late") } }
    location = /waited { precontent_by_lua_block { ngx.sleep(0.001) ngx.exit(503) } content_by_lua_block { ngx.say("late") } }
    location = /done { precontent_by_lua_block { ngx.say("early") ngx.exit(200) } content_by_lua_block { ngx.say("late") } }
    location = /ok { precontent_by_lua_block { ngx.exit(ngx.OK) } content_by_lua_block { ngx.say("late") } }
    location = /declined { precontent_by_lua_block { ngx.exit(ngx.DECLINED) } content_by_lua_block { ngx.say("late") } }
    location = /redirect { precontent_by_lua_block { ngx.redirect("/ok") } content_by_lua_block { ngx.say("late") } }
    location = /fails { precontent_by_lua_block { error("no") } content_by_lua_block { ngx.say("late") } }
--- pipelined_requests eval
[map "GET /$_", qw(say status waited done ok declined redirect fails)]
--- error_code eval
[200, 403, 503, 200, 200, 200, 302, 500]
--- response_body_like eval
[qw(^early$ 403 503 ^early$ late late 302 500)]
--- allow_log
lua entry thread aborted: runtime error: precontent_by_lua(


=== TEST 7: another location by ngx.exec, named or not, after a wait or not
--- config
    location = /uri { precontent_by_lua_block { ngx.exec("/there", "a=1") } content_by_lua_block { ngx.say("late") } }
    location = /named { precontent_by_lua_block { ngx.sleep(0.001) ngx.exec("@there") } content_by_lua_block { ngx.say("late") } }
    location = /there { precontent_by_lua_block { ngx.ctx.here = "yes" } content_by_lua_block { ngx.say(ngx.var.args, ngx.ctx.here) } }
    location @there { content_by_lua_block { ngx.say("named") } }
--- pipelined_requests eval
["GET /uri", "GET /named"]
--- response_body eval
["a=1yes\n", "named\n"]


=== TEST 8: subrequests, sockets, threads and the request's body
--- config
    location = /t {
        precontent_by_lua_block {
            ngx.req.read_body()
            local res = ngx.location.capture("/part")
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:close()
            local ok, value = ngx.thread.wait(ngx.thread.spawn(function() ngx.sleep(0.001) return "thread" end))
            ngx.ctx.s = table.concat({ ngx.req.get_body_data(), res.body, tostring(ok), value }, " ")
        }
        content_by_lua_block { ngx.say(ngx.ctx.s) }
    }
    location = /part { return 200 part; }
--- request
POST /t
body
--- response_body
body part true thread


=== TEST 9: inherited, replaced, and chosen by if
--- config
    precontent_by_lua_block { ngx.header.x_ran = "server" }
    location = /inherited { content_by_lua_block { ngx.say("x") } }
    location = /own { precontent_by_lua 'ngx.header.x_ran = "own"'; content_by_lua_block { ngx.say("x") } }
    location = /file { precontent_by_lua_file html/own.lua; content_by_lua_block { ngx.say("x") } }
    location = /if {
        if ($arg_a) { precontent_by_lua_block { ngx.header.x_ran = "if" } }
        precontent_by_lua_block { ngx.header.x_ran = "own" }
        content_by_lua_block { ngx.say("x") }
    }
--- user_files
>>> own.lua
ngx.header.x_ran = "file"
--- pipelined_requests eval
["GET /inherited", "GET /own", "GET /file", "GET /if?a=1", "GET /if"]
--- response_headers eval
["X-Ran: server", "X-Ran: own", "X-Ran: file", "X-Ran: if", "X-Ran: own"]
--- response_body eval
[("x\n") x 5]


=== TEST 10: the client goes while it waits: the request ends
--- config
    location = /t {
        lua_check_client_abort on;
        precontent_by_lua_block { ngx.sleep(5) }
        content_by_lua_block { ngx.log(ngx.WARN, "content ran") }
        log_by_lua_block { ngx.log(ngx.WARN, "status ", ngx.status) }
    }
--- timeout: 0.1
--- abort
--- ignore_response
--- wait: 0.2
--- error_log
status 499
--- no_error_log
content ran
