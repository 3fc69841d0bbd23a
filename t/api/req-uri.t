# ngx.req.set_uri, get_method, set_method, http_version, start_time, is_internal.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a URI is set, and the upstream gets it
--- config
    location = /t {
        access_by_lua_block { ngx.req.set_uri("/a b/ü.txt") }
        proxy_pass http://backend;
    }
--- backend
    location / { return 200 "$request_uri $uri\n"; }
--- request
GET /t?q=1
--- response_body
/a%20b/%C3%BC.txt?q=1 /a b/ü.txt


=== TEST 2: with jump a location is chosen for the new URI, and the script goes no further
--- config
    location = /t {
        rewrite_by_lua_block {
            ngx.req.set_uri_args("a=1")
            ngx.req.set_uri("/other.txt", true)
            ngx.log(ngx.ERR, "not reached")
        }
        content_by_lua_block { ngx.say("not here") }
    }
    location ~ \.txt$ {
        rewrite_by_lua_block { ngx.ctx.seen = ngx.var.uri }
        content_by_lua_block { ngx.say(ngx.ctx.seen, " ", ngx.var.args, " ", ngx.req.is_internal()) }
    }
--- response_body
/other.txt a=1 true
--- no_error_log
[error]


=== TEST 3: a script that has waited jumps too, and so does a coroutine in it
--- config
    location = /t {
        rewrite_by_lua_block {
            ngx.sleep(0.001)
            coroutine.wrap(function() ngx.sleep(0) ngx.req.set_uri("/other", true) end)()
        }
    }
    location = /other {
        rewrite_by_lua_block { ngx.sleep(0.001) }
        content_by_lua_block { ngx.say("other") }
    }
--- response_body
other


=== TEST 4: the server's rewrite phase jumps before a location is chosen
--- config
    server_rewrite_by_lua_block {
        if ngx.var.uri == "/t" then
            ngx.req.set_uri("/other", true)
        end
    }
    location = /t { return 500; }
    location = /other { return 200 "other\n"; }
--- response_body
other


=== TEST 5: jumps without end are stopped
--- config
    location = /t {
        rewrite_by_lua_block { ngx.req.set_uri("/t", true) }
    }
--- error_code: 500
--- error_log
rewrite or internal redirection cycle while processing "/t"


=== TEST 6: a location that nginx's rewrite has left does not run its script
--- config
    location = /t {
        rewrite ^ /other last;
        rewrite_by_lua_block { ngx.log(ngx.ERR, "not reached") }
    }
    location = /other { return 200 "other\n"; }
--- response_body
other
--- no_error_log
[error]


=== TEST 7: without jump the location stays
--- config
    location = /t {
        rewrite_by_lua_block { ngx.req.set_uri("/other", false) }
        content_by_lua_block { ngx.say("here, ", ngx.var.uri) }
    }
    location = /other { return 500; }
--- response_body
here, /other


=== TEST 8: only the rewrite phases jump
--- refused: set access content header_filter body_filter log balancer
--- lua
    ngx.req.set_uri("/other", true)
--- result
API disabled in the context of


=== TEST 9: a URI is set in every phase of a request
--- phases: server_rewrite set rewrite access content header_filter body_filter log balancer
--- lua
    local uri = ngx.var.uri
    ngx.req.set_uri("/other", false)
    local other = ngx.var.uri
    ngx.req.set_uri(uri)
    return other
--- result
/other


=== TEST 10: what cannot be a URI is refused at the line of the call
--- lua
    local function try(...)
        local args, n = { ... }, select("#", ...)
        local ok, err = pcall(function()
            ngx.req.set_uri(unpack(args, 1, n))
        end)
        ngx.say(ok, " ", (err or ""):gsub("^content_by_lua%(nginx.conf:%d+%):", ""), " ", ngx.var.uri)
    end
    try()
    try("")
    try({})
    try("/a\r\nb")
    try("/\0")
    try("/a", 1)
    try("/a", false, 1)
    try("/a", false, false, false)
    try("/tab\tü")
    try("/a\r\nb", false, true)
--- response_body eval
"false 5: expecting 1, 2 or 3 arguments but seen 0 /t
false 5: attempt to use zero-length uri /t
false 5: bad argument #1 to 'set_uri' (string expected, got table) /t
false 5: unsafe byte \"0x0d\" in uri \"/a\\x0D\\x0Ab\" (maybe you want to set the 'binary' argument?) /t
false 5: unsafe byte \"0x00\" in uri \"/\\x00\" (maybe you want to set the 'binary' argument?) /t
false 5: bad argument #2 to 'set_uri' (boolean expected, got number) /t
false 5: bad argument #3 to 'set_uri' (boolean expected, got number) /t
false 5: expecting 1, 2 or 3 arguments but seen 4 /t
true  /tab\t\x{c3}\x{bc}
true  /a\r\nb
"


=== TEST 11: the method is read and set, and the upstream gets it
--- config
    location = /t {
        access_by_lua_block {
            ngx.ctx.was = ngx.req.get_method()
            ngx.req.set_method(ngx.HTTP_PUT)
        }
        proxy_set_header X-Was $request_method;
        proxy_pass http://backend;
    }
--- backend
    location / { content_by_lua_block { ngx.say(ngx.req.get_method(), " ", ngx.req.get_headers().x_was) } }
--- response_body
PUT PUT


=== TEST 12: each method that has a constant, and none that has not
--- lua
    for _, name in ipairs { "GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS", "PROPFIND",
                            "PROPPATCH", "LOCK", "UNLOCK", "PATCH", "TRACE" } do
        ngx.req.set_method(ngx["HTTP_" .. name])
        if ngx.req.get_method() ~= name or ngx.var.request_method ~= name then
            ngx.say(name, " is ", ngx.req.get_method())
        end
    end
    ngx.req.set_method(ngx.HTTP_GET)
    ngx.say(select(2, pcall(ngx.req.set_method, 1234)))
    ngx.say(select(2, pcall(ngx.req.set_method, "GET")))
    ngx.say(select(2, pcall(ngx.req.set_method)))
    ngx.say(ngx.req.get_method())
--- response_body
unsupported HTTP method: 1234
bad method number
bad method number
GET


=== TEST 13: a method that nginx does not know has its name
--- lua
    ngx.say(ngx.req.get_method())
--- raw_request eval
"PURGE /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
--- response_body
PURGE


=== TEST 14: method, version, time and origin are known in every phase of a request
--- phases: server_rewrite set rewrite access content header_filter body_filter log balancer
--- lua
    local age = ngx.now() - ngx.req.start_time()
    ngx.req.set_method(ngx.HTTP_GET)
    return ngx.req.get_method() .. " " .. ngx.req.http_version() .. " " .. tostring(ngx.req.is_internal()) .. " " ..
           tostring(age >= 0 and age < 60)
--- result
GET 1.1 false true


=== TEST 15: outside a request they are not
--- phases: init_worker
--- lua
    local function refuses(f, ...)
        local ok, err = pcall(f, ...)
        return not ok and err:find("API disabled in the current context", 1, true) and "." or tostring(err)
    end
    local req = ngx.req
    return refuses(req.get_method) .. refuses(req.set_method, 2) .. refuses(req.http_version) .. refuses(req.start_time) ..
           refuses(req.is_internal) .. refuses(req.set_uri, "/a")
--- result
......


=== TEST 16: HTTP/1.0 has its version
--- lua
    ngx.say(ngx.req.http_version())
--- raw_request eval
"GET /t HTTP/1.0\r\nHost: a\r\n\r\n"
--- response_body
1


=== TEST 17: so has HTTP/2
--- config
    location = /t { grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_8; }
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_8 http2;
        location / { content_by_lua_block { ngx.say(ngx.req.http_version()) } }
    }
--- response_body
2


=== TEST 18: a request of HTTP/0.9 has no headers, and none can be set
--- lua
    ngx.req.set_header("X-A", "a")
    ngx.log(ngx.WARN, "version ", ngx.req.http_version(), " ", next(ngx.req.get_headers()), ".")
--- raw_request eval
"GET /t\r\n"
--- ignore_response
--- error_log
version 0.9 nil.


=== TEST 19: a request that was moved is internal
--- config
    location = /t { error_page 404 /moved; return 404; }
    location = /moved { content_by_lua_block { ngx.say(ngx.req.is_internal()) } }
--- error_code: 404
--- response_body
true
