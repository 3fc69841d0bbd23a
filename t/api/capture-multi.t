# Many subrequests at once: capture_multi, threads, nesting, coroutines, and what ends a request meanwhile.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: responses come in the order of the calls, whoever ends first
--- config
    location /sleep/ {
        content_by_lua_block {
            local ms = tonumber(ngx.var.uri:match("%d+"))
            ngx.sleep(ms / 1000)
            package.loaded.order = (package.loaded.order or "") .. ms .. " "
            ngx.print(ms)
        }
    }
    location = /now { return 200 "now"; }
--- lua
    package.loaded.order = nil
    local a, b, c, d, e = ngx.location.capture_multi { { "/sleep/30" }, { "/sleep/1" }, { "/now" }, { "/sleep/15", { args = "x" } } }
    return a.body, b.body, c.body, d.body, e, (package.loaded.order:gsub(" $", ""))
--- result: 30, 1, now, 15, nil, 1 15 30
--- phases: rewrite access content


=== TEST 2: phases that cannot wait
--- lua
    ngx.location.capture_multi { { "/sub" } }
--- refused: server_rewrite set header_filter body_filter log balancer init_worker exit_worker timer


=== TEST 3: options are each one's own
--- config
    location = /sub {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.req.get_method(), " ", ngx.var.args, " ", ngx.req.get_body_data(), " ", ngx.var.whom, " ", ngx.ctx.n)
        }
    }
    location = /never { set $whom ""; return 200; }
--- lua
    local one, two = { n = 1 }, { n = 2 }
    local a, b, c = ngx.location.capture_multi {
        { "/sub?1", { method = ngx.HTTP_POST, body = "a", vars = { whom = "x" }, ctx = one } },
        { "/sub?2", { method = ngx.HTTP_PUT, body = "b", vars = { whom = "y" }, ctx = two } },
        { "/sub" },
    }
    ngx.say(a.body, "\n", b.body, "\n", c.body)
--- response_body
POST 1 a x 1
PUT 2 b y 2
GET nil nil  nil


=== TEST 4: hundreds at once
--- config
    location = /sub { content_by_lua_block { ngx.sleep(0.001 * (tonumber(ngx.var.args) % 7)) ngx.print(ngx.var.args) } }
--- lua
    local list = {}
    for i = 1, 1500 do list[i] = { "/sub?" .. i } end
    local all = { ngx.location.capture_multi(list) }
    for i = 1, 1500 do assert(all[i].body == tostring(i) and all[i].status == 200, i) end
    ngx.say(#all)
--- response_body
1500
--- timeout: 20


=== TEST 5: a plan that cannot be carried out begins nothing
--- config
    location = /sub { content_by_lua_block { package.loaded.begun = (package.loaded.begun or 0) + 1 } }
--- lua
    package.loaded.begun = nil
    local ok, err = pcall(ngx.location.capture_multi, { { "/sub" }, { "/sub", { vars = { query_string = "1" }, ctx = {} } }, { "/sub" } })
    ngx.sleep(0.01)
    ngx.say(ok, " ", err, " ", package.loaded.begun)
    ngx.say(pcall(ngx.location.capture_multi, { { "/sub" }, { "/../" } }))
    ngx.location.capture("/sub")
    ngx.say(package.loaded.begun)
--- response_body
false failed to adjust the subrequest: 500 nil
falseunsafe uri in argument #1: /../
1
--- error_log
not changeable


=== TEST 6: subrequests make subrequests
--- config
    location = /one { content_by_lua_block { ngx.print("1(", ngx.location.capture("/two").body, ")", ngx.is_subrequest) } }
    location = /two { rewrite_by_lua_block { ngx.print("2(", ngx.location.capture("/three").body, ")") ngx.exit(200) } }
    location = /three { content_by_lua_block { ngx.sleep(0.001) ngx.print("3") } }
--- lua
    local a, b = ngx.location.capture_multi { { "/one" }, { "/two" } }
    ngx.say(a.body, " ", b.body)
--- response_body
1(2(3))true 2(3)


=== TEST 7: subrequests without end are refused
--- config
    location = /loop {
        content_by_lua_block {
            package.loaded.depth = package.loaded.depth + 1
            local ok, res = pcall(ngx.location.capture, "/loop")
            ngx.print(ok and res.body or res)
        }
    }
--- lua
    package.loaded.depth = 0
    ngx.say(ngx.location.capture("/loop").body, " ", package.loaded.depth)
--- response_body
failed to issue subrequest: -1 51
--- error_log
lua subrequests cycle while processing "/loop"


=== TEST 8: one after the other, without end
--- config
    location = /sub { content_by_lua_block { ngx.print("x") } }
--- lua
    local n = 0
    for _ = 1, 2000 do n = n + #ngx.location.capture("/sub").body end
    ngx.say(n)
--- response_body
2000
--- timeout: 20


=== TEST 9: threads wait for subrequests of their own
--- config
    location = /sub { content_by_lua_block { ngx.sleep(0.001 * tonumber(ngx.var.args)) ngx.print(ngx.var.args) } }
--- lua
    local function get(n) return ngx.location.capture("/sub", { args = tostring(n) }).body end
    local a, b = ngx.thread.spawn(get, 20), ngx.thread.spawn(get, 10)
    local own = get(5)
    local _, first = ngx.thread.wait(a, b)
    local _, second = ngx.thread.wait(a)
    return own, first, second
--- result: 5, 10, 20
--- phases: rewrite access content


=== TEST 10: inside coroutines of the script
--- config
    location = /sub { content_by_lua_block { ngx.sleep(0.001) ngx.print(ngx.var.args) } }
--- lua
    local co = coroutine.wrap(function(a)
        local res = ngx.location.capture("/sub?" .. a)
        local b = coroutine.yield(res.body)
        local x, y = ngx.location.capture_multi { { "/sub?" .. b }, { "/sub?z" } }
        return x.body .. y.body
    end)
    return co("one"), co("two")
--- result: one, twoz
--- phases: rewrite access content


=== TEST 11: a thread that waits for a subrequest cannot be killed
--- config
    location = /sub { content_by_lua_block { ngx.sleep(0.02) ngx.print("done") } }
--- lua
    local thread = ngx.thread.spawn(function() return ngx.location.capture("/sub").body end)
    ngx.say(ngx.thread.kill(thread))
    ngx.say(ngx.thread.wait(thread))
    ngx.say(ngx.thread.kill(thread))
--- response_body
nilpending subrequests
truedone
nilalready waited or killed


=== TEST 12: a request does not end while its subrequests run
--- config
    location = /sub { content_by_lua_block { ngx.sleep(0.01) ngx.print("done") } }
    location = /elsewhere { return 200 "elsewhere"; }
--- lua
    local thread = ngx.thread.spawn(function() return ngx.location.capture("/sub").body end)
    for _, f in ipairs {
        function() ngx.exit(0) end, function() ngx.exit(403) end, function() ngx.exec("/elsewhere") end,
        function() ngx.redirect("/elsewhere") end,
    } do
        local ok, err = pcall(f)
        assert(not ok)
        package.loaded.messages = (package.loaded.messages or "") .. err:match("attempt to abort with pending subrequests") .. ";"
    end
    local _, body = ngx.thread.wait(thread)
    local messages = package.loaded.messages
    package.loaded.messages = nil
    return body, #messages
--- result: done, 168
--- phases: rewrite access content


=== TEST 13: a jump does not end it either
--- config
    location = /sub { content_by_lua_block { ngx.sleep(0.01) ngx.print("done") } }
    location = /t {
        rewrite_by_lua_block {
            local thread = ngx.thread.spawn(function() return ngx.location.capture("/sub").body end)
            local _, err = pcall(ngx.req.set_uri, "/sub", true)
            local _, no_redirect = pcall(ngx.redirect, "/sub")
            local _, body = ngx.thread.wait(thread)
            ngx.say(body, " ", err, " ", err == no_redirect, " ", ngx.var.uri, " ", ngx.header.location)
        }
    }
--- request
GET /t
--- response_body
done attempt to abort with pending subrequests true /t nil


=== TEST 14: codes that cut the connection end all of it
--- config
    location = /sub { content_by_lua_block { ngx.sleep(10) } }
    location = /back { proxy_pass http://backend; }
    location = /cut {
        content_by_lua_block {
            ngx.thread.spawn(function() ngx.location.capture_multi { { "/sub" }, { "/back" } } end)
            ngx.sleep(0.01)
            ngx.exit(tonumber(ngx.var.arg_code))
        }
    }
    location = /cutearly {
        access_by_lua_block {
            ngx.thread.spawn(function() ngx.location.capture_multi { { "/back" }, { "/sub" } } end)
            ngx.sleep(0.01)
            ngx.exit(tonumber(ngx.var.arg_code))
        }
    }
    location /proxy/ { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/; }
--- backend
    location / { content_by_lua_block { ngx.sleep(10) } }
--- lua
    for _, name in ipairs { "cut", "cutearly" } do
        for _, code in ipairs { 444, 499, 408, -1 } do
            local res = ngx.location.capture("/proxy/" .. name .. "?code=" .. code)
            ngx.say(name, " ", code, " ", res.status)
        end
    end
--- response_body
cut 444 502
cut 499 502
cut 408 502
cut -1 502
cutearly 444 502
cutearly 499 502
cutearly 408 502
cutearly -1 502
--- error_log
prematurely closed connection


=== TEST 15: a script that fails while others wait for subrequests
--- config
    location = /sub { content_by_lua_block { ngx.sleep(10) } }
    location = /back { proxy_pass http://backend; }
    location = /fail {
        content_by_lua_block {
            ngx.thread.spawn(function() ngx.location.capture("/sub") end)
            ngx.thread.spawn(function() ngx.location.capture("/back") end)
            ngx.sleep(0.01)
            error("on purpose")
        }
    }
    location = /failearly {
        rewrite_by_lua_block {
            ngx.thread.spawn(function() ngx.location.capture("/sub") end)
            error("on purpose")
        }
    }
    location = /ends {
        content_by_lua_block {
            ngx.thread.spawn(function() ngx.say(ngx.location.capture("/quick").body) error("in a thread") end)
        }
    }
    location = /quick { content_by_lua_block { ngx.sleep(0.001) ngx.print("quick") } }
    location /proxy/ { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/; }
--- backend
    location / { content_by_lua_block { ngx.sleep(10) } }
--- lua
    for _, name in ipairs { "fail", "failearly", "ends" } do
        local res = ngx.location.capture("/proxy/" .. name)
        ngx.say(name, " ", res.status, " ", res.status == 200 and res.body:gsub("\n", ""))
    end
--- response_body
fail 502 false
failearly 502 false
ends 200 quick
--- error_log
on purpose


=== TEST 16: a subrequest that cuts the connection takes its parent with it
--- config
    location = /sub { content_by_lua_block { ngx.exit(444) } }
    location = /inner { content_by_lua_block { ngx.say("before") ngx.location.capture("/sub") ngx.say("never") } }
    location /proxy/ { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/; }
--- lua
    ngx.say(ngx.location.capture("/proxy/inner").status)
--- response_body
502
--- error_log
prematurely closed connection


=== TEST 17: an upstream that is not there, that is slow, that dies in the middle
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_8;
        location = /length { content_by_lua_block { ngx.header.content_length = 1000 ngx.print("part") ngx.flush(true) ngx.exit(444) } }
        location = /chunks { content_by_lua_block { ngx.print("part") ngx.flush(true) ngx.exit(444) } }
        location = /slow { content_by_lua_block { ngx.sleep(10) } }
        location = /stalls { content_by_lua_block { ngx.print("part") ngx.flush(true) ngx.sleep(10) } }
    }
--- config
    proxy_read_timeout 50ms;
    proxy_http_version 1.1;
    location /up/ { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_8/; }
    location /unbuffered/ { proxy_buffering off; proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_8/; }
    location /none { proxy_pass http://127.0.0.1:1; }
--- lua
    for _, uri in ipairs { "/none", "/up/slow", "/up/length", "/up/chunks", "/unbuffered/length", "/unbuffered/chunks", "/unbuffered/stalls" } do
        local res = ngx.location.capture(uri)
        ngx.say(uri, " ", res.status, " [", res.body, "] ", res.truncated)
    end
    local res = ngx.location.capture("/up/stalls")
    ngx.say(res.status, " ", res.truncated)
--- response_body
/none 502 [] false
/up/slow 504 [] false
/up/length 200 [part] true
/up/chunks 200 [part] true
/unbuffered/length 200 [part] true
/unbuffered/chunks 200 [part] true
/unbuffered/stalls 200 [part] true
200 true
--- error_log
prematurely closed connection
upstream timed out


=== TEST 18: a client that leaves
--- config
    location = /sub { content_by_lua_block { ngx.sleep(0.1) ngx.print("x") } }
--- lua
    local res = ngx.location.capture("/sub")
    ngx.say(res.body)
    ngx.flush(true)
    ngx.location.capture("/sub")
--- timeout: 0.03
--- abort
--- ignore_response
--- wait: 0.3


=== TEST 19: output that has not left when a subrequest begins
--- config
    location = /sub { content_by_lua_block { ngx.print(("y"):rep(1e5)) ngx.flush(true) ngx.sleep(0.001) ngx.print("z") ngx.flush(true) } }
--- lua
    for i = 1, 20 do
        ngx.print(("x"):rep(1e5))
        local res = ngx.location.capture("/sub")
        assert(#res.body == 100001, #res.body)
    end
    ngx.say("end")
--- response_body eval
("x" x 2000000) . "end\n"


=== TEST 20: in a request that nginx itself has made part of another one
--- config
    location = /page { ssi on; content_by_lua_block { ngx.header.content_type = "text/html" ngx.print('<!--#include virtual="/a" --> <!--#include virtual="/b" -->') } }
    location = /a { content_by_lua_block { ngx.print("a", ngx.location.capture("/sub?20").body) } }
    location = /b { content_by_lua_block { ngx.print("b", ngx.location.capture("/sub?1").body) } }
    location = /sub { content_by_lua_block { ngx.sleep(0.001 * tonumber(ngx.var.args)) ngx.print(ngx.var.args) } }
--- request
GET /page
--- response_body chop
a20 b1


=== TEST 21: stale responses of a cache are used as for a client
--- http_config
    proxy_cache_path html/cache keys_zone=c:1m;
--- config
    location = /cached {
        proxy_cache c;
        proxy_cache_valid 200 1h;
        proxy_cache_key $uri;
        add_header X-Cache $upstream_cache_status;
        proxy_pass http://backend;
    }
--- backend
    location / { content_by_lua_block { package.loaded.n = (package.loaded.n or 0) + 1 ngx.print(("x"):rep(1e5), package.loaded.n) } }
--- lua
    package.loaded.n = nil
    os.execute("rm -rf html/cache/*")
    local a, b = ngx.location.capture("/cached?" .. ngx.now()), ngx.location.capture("/cached")
    ngx.say(#a.body, " ", a.body == b.body, " ", a.truncated, b.truncated)
--- response_body
100001 true falsefalse
