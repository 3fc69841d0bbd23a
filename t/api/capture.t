# ngx.location.capture: what a subrequest gets, and what its response is as a value.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a response as a table
--- config
    location = /sub {
        content_by_lua_block {
            ngx.status = 201
            ngx.header["X-One"] = "1"
            ngx.header["X-Many"] = { "a", "b", "c" }
            ngx.header.content_type = "text/x"
            ngx.print("hello ", ngx.var.uri, "?", ngx.var.args)
        }
    }
--- lua
    local res = ngx.location.capture("/sub?a=1")
    return res.status, res.body, res.truncated, res.header["X-One"], table.concat(res.header["X-Many"], "+"),
           res.header["Content-Type"], ngx.is_subrequest
--- result: 201, hello /sub?a=1, false, 1, a+b+c, text/x, false
--- phases: rewrite access content


=== TEST 2: phases that cannot wait, and those without a request
--- config
    location = /sub { return 200; }
--- lua
    ngx.location.capture("/sub")
--- refused: server_rewrite set header_filter body_filter log balancer init_worker exit_worker timer


=== TEST 3: while nginx starts
--- lua
    ngx.location.capture("/sub")
--- refused: init
--- result: no request object found


=== TEST 4: arguments that cannot be
--- lua
    local capture, multi = ngx.location.capture, ngx.location.capture_multi
    local function try(f, ...)
        local ok, err = pcall(f, ...)
        ngx.say(ok, " ", (tostring(err):gsub("^[^ ]*:%d+: ", "")))
    end
    try(capture)
    try(capture, "/", {}, 1)
    try(capture, true)
    try(capture, "/../x")
    try(capture, "/", 1)
    try(capture, "/", { args = true })
    try(capture, "/", { args = { f = print } })
    try(capture, "/", { method = "GET" })
    try(capture, "/", { body = {} })
    try(capture, "/", { ctx = 1 })
    try(capture, "/", { vars = 1 })
    try(capture, "/", { vars = { 1 } })
    try(capture, "/", { vars = { a = true } })
    try(capture, "/", { share_all_vars = 1 })
    try(capture, "/", { copy_all_vars = 1 })
    try(multi)
    try(multi, {}, {})
    try(multi, "/")
    try(multi, {})
    try(multi, { "/" })
    try(multi, { {} })
    try(multi, { { "/", {}, {} } })
    try(multi, { { "/" }, { "/", 1 } })
--- response_body
false expecting one or two arguments
false expecting one or two arguments
false bad uri argument (string expected, got boolean)
false unsafe uri in argument #1: /../x
false expecting table as the 2nd argument for subrequest 0, but got number
false Bad args option value
false attempt to use function as query arg value
false Bad http request method
false Bad http request body
false Bad ctx option value type number, expected a Lua table
false Bad vars option value
false attempt to use a non-string key in the "vars" option table
false attempt to use bad variable value type boolean
false Bad share_all_vars option value
false Bad copy_all_vars option value
false only one argument is expected, but got 0
false only one argument is expected, but got 2
false bad argument #1 to 'capture_multi' (table expected, got string)
false at least one subrequest should be specified
false the query argument 0 is not a table, but a string
false query argument 0 expecting one or two arguments
false query argument 0 expecting one or two arguments
false expecting table as the 2nd argument for subrequest 1, but got number


=== TEST 5: an error names the line of the script
--- lua
    ngx.location.capture("/", { body = true })
--- error_code: 500
--- response_body_like: 500
--- error_log eval
qr/content_by_lua\(nginx\.conf:\d+\):2: Bad http request body/


=== TEST 6: args come after those of the URI
--- config
    location = /sub { return 200 "[$args]"; }
--- lua
    local function of(uri, args) return ngx.location.capture(uri, { args = args }).body end
    ngx.say(of("/sub", "a=1"), of("/sub?b=2", "a=1"), of("/sub?b=2", { c = "&" }), of("/sub", { d = { 1, 2 } }),
            of("/sub", { e = true }), of("/sub", {}), of("/sub?f", {}), of("/sub", 42), of("/sub", ""), of("/%73ub?%20"))
--- response_body
[a=1][b=2&a=1][b=2&c=%26][d=1&d=2][e][][f][42][][%20]


=== TEST 7: methods
--- config
    location = /sub { content_by_lua_block { ngx.print(ngx.req.get_method()) } }
--- lua
    for _, name in ipairs { "GET", "POST", "PUT", "DELETE", "OPTIONS", "MKCOL", "COPY", "MOVE", "PROPFIND", "PROPPATCH",
                            "LOCK", "UNLOCK", "PATCH", "TRACE" } do
        local res = ngx.location.capture("/sub", { method = ngx["HTTP_" .. name] })
        assert(res.body == name, res.body)
    end
    local head = ngx.location.capture("/sub", { method = ngx.HTTP_HEAD })
    ngx.say(head.status, " [", head.body, "] ", head.truncated, " ", ngx.req.get_method())
    ngx.say(pcall(ngx.location.capture, "/sub", { method = 3 }))
--- response_body
200 [] false GET
falsefailed to adjust the subrequest: -1
--- error_log
unsupported HTTP method: 3


=== TEST 8: a body of its own
--- config
    location = /sub {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.req.get_method(), ":", ngx.req.get_body_data(), ":", ngx.req.get_headers()["Content-Length"], ":",
                      ngx.var.content_length)
        }
    }
--- lua
    ngx.req.read_body()
    ngx.say(ngx.location.capture("/sub", { body = "hello" }).body)
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_POST, body = 12 }).body)
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_PUT, body = "" }).body)
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_PUT, body = ("x"):rep(3) }).body)
    ngx.say(ngx.req.get_body_data(), ":", ngx.req.get_headers()["Content-Length"])
--- request
POST /t
outside
--- response_body
GET:hello:5:5
POST:12:2:2
PUT:nil:0:0
PUT:xxx:3:3
outside:7


=== TEST 9: the parent's body goes on where the method has one, or where it is asked for
--- config
    location = /sub {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.req.get_body_data(), ":", ngx.req.get_headers()["Content-Length"])
        }
    }
--- lua
    ngx.req.read_body()
    for _, options in ipairs {
        {}, { method = ngx.HTTP_POST }, { method = ngx.HTTP_PUT }, { method = ngx.HTTP_DELETE }, { always_forward_body = true },
        { method = ngx.HTTP_DELETE, always_forward_body = true },
    } do
        ngx.say(ngx.location.capture("/sub", options).body)
    end
    ngx.say(ngx.req.get_headers()["Content-Length"])
--- request
POST /t
0123456789
--- response_body
nil:nil
0123456789:10
0123456789:10
nil:nil
0123456789:10
0123456789:10
10


=== TEST 10: a subrequest that replaces or extends the body leaves its parent's alone
--- config
    client_body_in_file_only on;
    location = /sub {
        content_by_lua_block {
            ngx.req.read_body()
            local file = ngx.req.get_body_file()
            ngx.req.set_body_data("sub's own")
            ngx.print(file ~= nil, ":", ngx.req.get_body_data(), ":", ngx.req.get_headers()["Content-Length"])
        }
    }
    location = /append {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(pcall(ngx.req.append_body, "more"))
        }
    }
    location = /back { proxy_pass http://backend; }
--- backend
    location / { content_by_lua_block { ngx.req.read_body() ngx.print(ngx.req.get_method(), " ", ngx.req.get_body_data() or ngx.req.get_body_file() ~= nil, " ", ngx.var.content_length) } }
--- lua
    ngx.req.read_body()
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_POST }).body)
    ngx.say(ngx.location.capture("/append", { method = ngx.HTTP_POST }).body)
    ngx.say(ngx.location.capture("/back", { method = ngx.HTTP_POST }).body)
    local file = io.open(ngx.req.get_body_file())
    ngx.say(file:read("*a"), ":", ngx.req.get_headers()["Content-Length"])
    file:close()
    ngx.req.set_body_data("changed")
    ngx.say(ngx.location.capture("/back", { method = ngx.HTTP_PUT }).body)
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_PUT }).body)
    ngx.say(ngx.req.get_body_data())
--- request
POST /t
of the parent
--- response_body
true:sub's own:9
falserequest_body not initialized
POST of the parent 13
of the parent:13
PUT changed 7
false:sub's own:9
changed


=== TEST 11: a body that arrives in chunks has a length in the subrequest
--- config
    location = /sub {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.req.get_body_data(), ":", ngx.req.get_headers()["Content-Length"])
        }
    }
--- lua
    ngx.req.read_body()
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_POST }).body)
    ngx.say(ngx.location.capture("/sub").body)
    ngx.say(ngx.location.capture("/sub", { always_forward_body = true }).body)
    ngx.say(ngx.req.get_headers()["Content-Length"])
--- raw_request eval
"POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
--- response_body
hello:5
nil:nil
hello:5
nil


=== TEST 12: request headers are inherited, and changes stay where they are made
--- config
    location = /sub {
        content_by_lua_block {
            local before = ngx.req.get_headers()["X-A"]
            ngx.req.set_header("X-A", "sub")
            ngx.req.set_header("X-B", "new")
            ngx.req.clear_header("Cookie")
            ngx.req.set_header("User-Agent", "sub")
            ngx.sleep(0.02)
            local h = ngx.req.get_headers()
            ngx.print(before, " ", h["X-A"], " ", h["X-B"], " ", h.cookie, " ", ngx.var.http_user_agent, " ", ngx.var.cookie_a,
                      " ", ngx.var.http_x_forwarded_for)
        }
    }
--- lua
    local function sub() return ngx.location.capture("/sub").body end
    local thread = ngx.thread.spawn(sub)
    ngx.sleep(0.01)
    local h = ngx.req.get_headers()
    ngx.say(h["X-A"], " ", h["X-B"], " ", h.cookie, " ", ngx.var.http_user_agent, " ", ngx.var.cookie_a)
    ngx.req.set_header("X-A", "main")
    ngx.req.set_header("Cookie", "a=2")
    local _, body = ngx.thread.wait(thread)
    ngx.say(body)
    ngx.say(sub())
    h = ngx.req.get_headers()
    ngx.say(h["X-A"], " ", h["X-B"], " ", h.cookie, " ", ngx.var.http_user_agent, " ", ngx.var.cookie_a)
--- more_headers
X-A: client
Cookie: a=1
User-Agent: browser
X-Forwarded-For: 1.2.3.4
--- response_body
client nil a=1 browser 1
client sub new nil sub nil 1.2.3.4
main sub new nil sub nil 1.2.3.4
main nil a=2 browser 2


=== TEST 13: more headers than one part of nginx's list has
--- config
    location = /sub {
        content_by_lua_block {
            ngx.req.set_header("X-1", "sub")
            ngx.req.set_header("X-29", nil)
            local n, h = 0, ngx.req.get_headers(0)
            for i = 1, 30 do if h["X-" .. i] == "v" .. i then n = n + 1 end end
            ngx.print(n, " ", h["X-1"], " ", ngx.var.http_host, " ", ngx.req.get_headers().host)
        }
    }
--- lua
    local res = ngx.location.capture("/sub")
    local n, h = 0, ngx.req.get_headers(0)
    for i = 1, 30 do if h["X-" .. i] == "v" .. i then n = n + 1 end end
    ngx.say(res.body, " ", n)
--- more_headers eval
CORE::join("\n", map { "X-$_: v$_" } 1 .. 30)
--- response_body
28 sub localhost localhost 30


=== TEST 14: variables: none, copied, shared, and set
--- config
    location = /sub {
        set $dog "$dog woof";
        content_by_lua_block { ngx.print("[", ngx.var.dog, "|", ngx.var.cat, "]") }
    }
    location = /plain { content_by_lua_block { ngx.print("[", ngx.var.dog, "|", ngx.var.cat, "]") } }
    location = /never { set $cat ""; return 200; }
--- lua
    ngx.var.dog, ngx.var.cat = "rex", "tom"
    local function of(options) return ngx.location.capture("/sub", options).body end
    ngx.say(of(), ngx.var.dog)
    ngx.say(of { copy_all_vars = true }, ngx.var.dog)
    ngx.say(of { share_all_vars = true }, ngx.var.dog)
    ngx.say(of { vars = { cat = "felix" }, copy_all_vars = true }, ngx.var.cat)
    ngx.say(ngx.location.capture("/plain", { vars = { cat = 9 }, share_all_vars = true, copy_all_vars = true }).body, ngx.var.cat)
    ngx.say(of { copy_all_vars = false, share_all_vars = false }, ngx.var.dog)
--- response_body
[ woof|]rex
[rex woof|tom]rex
[rex woof|tom]rex woof
[rex woof woof|felix]tom
[rex woof|9]9
[ woof|]rex woof


=== TEST 15: variables that cannot be set
--- lua
    ngx.say(pcall(ngx.location.capture, "/x", { vars = { no_such_variable = "1" } }))
    ngx.say(pcall(ngx.location.capture, "/x", { vars = { query_string = "1" } }))
    ngx.say(ngx.location.capture("/none").status)
--- response_body
falsefailed to adjust the subrequest: -1
falsefailed to adjust the subrequest: 500
404
--- error_log
variable "no_such_variable" cannot be assigned a value (maybe you forgot to define it first?)
variable "query_string" not changeable


=== TEST 16: ngx.ctx is its own, or a table that is given
--- config
    location = /sub { content_by_lua_block { ngx.print(ngx.ctx.n) ngx.ctx.n = (ngx.ctx.n or 0) + 1 } }
--- lua
    ngx.ctx.n = 10
    ngx.print(ngx.location.capture("/sub").body, " ", ngx.ctx.n, " ")
    local given = { n = 5 }
    ngx.print(ngx.location.capture("/sub", { ctx = given }).body, " ", given.n, " ")
    ngx.print(ngx.location.capture("/sub", { ctx = given }).body, " ", given.n, " ")
    ngx.print(ngx.location.capture("/sub", { ctx = ngx.ctx }).body, " ", ngx.ctx.n, " ")
    ngx.say(pcall(ngx.location.capture, "/../", { ctx = given }), " ", ngx.ctx.n)
--- response_body
nil 10 5 6 6 7 10 11 false 11


=== TEST 17: a request with a VM of its own shares it with its subrequests
--- http_config
    lua_code_cache off;
--- config
    location = /sub { content_by_lua_block { ngx.ctx.n = (ngx.ctx.n or 0) + 1 ngx.print(package.loaded.mine) } }
--- lua
    package.loaded.mine = "here"
    local t = {}
    ngx.say(ngx.location.capture("/sub", { ctx = t }).body, " ", t.n)
--- response_body
here 1


=== TEST 18: what the module's own answers are as values
--- config
    location = /none { content_by_lua_block { ngx.exit(404) } }
    location = /moved { return 301 /elsewhere; }
    location = /empty { return 204; }
    location = /created { return 201; }
    location = /nothing { content_by_lua_block { } }
    location = /broken { content_by_lua_block { error("on purpose") } }
    location = /half { content_by_lua_block { ngx.say("half") ngx.flush() error("on purpose") } }
    location = /exit { content_by_lua_block { ngx.print("body") ngx.exit(200) } }
    location = /page { error_page 404 /exit; return 404; }
--- lua
    for _, name in ipairs { "/none", "/moved", "/empty", "/created", "/nothing", "/broken", "/half", "/exit", "/page", "/absent" } do
        local res = ngx.location.capture(name)
        ngx.say(name, " ", res.status, " [", res.body, "] ", res.truncated, " ", res.header.Location)
    end
--- response_body
/none 404 [] false nil
/moved 301 [] false /elsewhere
/empty 204 [] false nil
/created 201 [] false nil
/nothing 200 [] false nil
/broken 500 [] false nil
/half 200 [half
] true nil
/exit 200 [body] false nil
/page 404 [] false nil
/absent 404 [] false nil
--- error_log
on purpose


=== TEST 19: files, with what nginx says of them, and filters of the location
--- user_files
>>> a.txt
0123456789
--- config
    location = /a.txt { }
    location /upper/ {
        alias html/;
        header_filter_by_lua_block { ngx.header["X-Filter"] = "yes" ngx.header.content_length = nil }
        body_filter_by_lua_block { ngx.arg[1] = ngx.arg[1]:upper():gsub("0", "zero") }
    }
    root html;
--- lua
    local res = ngx.location.capture("/a.txt")
    ngx.say(res.status, " ", #res.body, " ", res.header["Content-Length"], " ", type(res.header["Content-Length"]), " ",
            res.header["Content-Type"], " ", #res.header["Last-Modified"])
    res = ngx.location.capture("/upper/a.txt")
    ngx.print(res.status, " ", res.header["X-Filter"], " ", res.header["Content-Length"], " ", res.truncated, " ", res.body)
--- response_body
200 11 11 number text/plain 29
200 yes nil false zero123456789


=== TEST 20: a header filter that refuses
--- config
    location = /sub {
        header_filter_by_lua_block { ngx.exit(403) }
        return 200 "never seen";
    }
--- lua
    local res = ngx.location.capture("/sub")
    ngx.say(res.status, " ", res.body:match("403 Forbidden"), " ", res.truncated)
    ngx.say("and the client's response goes on")
--- response_body
403 403 Forbidden false
and the client's response goes on


=== TEST 21: internal locations, rewrites, redirects inside, other scripts
--- config
    location = /internal { internal; return 200 "internal"; }
    location = /rewritten { rewrite ^ /internal last; }
    location = /exec { content_by_lua_block { ngx.exec("/internal") } }
    location = /execlua { rewrite_by_lua_block { ngx.exec("/lua", "a=2") } }
    location = /lua { content_by_lua_block { ngx.print("lua ", ngx.var.args, " ", ngx.is_subrequest) } }
    location = /try { try_files /absent @named; }
    location @named { return 200 "named"; }
    location = /rewrite { rewrite_by_lua_block { ngx.print("rewrite") ngx.exit(200) } }
    location = /access { access_by_lua_block { ngx.exit(403) } return 200 "access is the parent's"; }
--- lua
    for _, name in ipairs { "internal", "rewritten", "exec", "execlua", "try", "rewrite", "access" } do
        local res = ngx.location.capture("/" .. name)
        ngx.say(res.status, " ", res.body, " ", res.truncated)
    end
--- response_body
200 internal false
200 internal false
200 internal false
200 lua a=2 true false
200 named false
200 rewrite false
200 access is the parent's false


=== TEST 22: a proxied response, and one that is larger than all buffers
--- config
    proxy_buffers 2 4k;
    proxy_buffer_size 4k;
    proxy_busy_buffers_size 4k;
    location /back/ { proxy_pass http://backend/; }
    location /unbuffered/ { proxy_buffering off; proxy_pass http://backend/; }
    location /nofile/ { proxy_max_temp_file_size 0; proxy_pass http://backend/; }
    location /limited/ { proxy_limit_rate 100m; proxy_max_temp_file_size 0; proxy_pass http://backend/; }
--- backend
    location = /small { return 200 "small"; }
    location = /chunks { content_by_lua_block { for i = 1, 2000 do ngx.print(("x"):rep(1000)) end } }
    location = /length { content_by_lua_block { ngx.header.content_length = 2e6 for i = 1, 2000 do ngx.print(("y"):rep(1000)) end } }
--- lua
    for _, how in ipairs { "/back/", "/unbuffered/", "/nofile/", "/limited/" } do
        for _, what in ipairs { "small", "chunks", "length" } do
            local res = ngx.location.capture(how .. what)
            local right = res.body == "small" or res.body == ("x"):rep(2e6) or res.body == ("y"):rep(2e6)
            ngx.say(res.status, " ", #res.body, " ", right, " ", res.truncated)
        end
    end
--- response_body eval
"200 5 true false\n200 2000000 true false\n200 2000000 true false\n" x 4
--- timeout: 20


=== TEST 23: a large file, and a large body made by Lua
--- user_files eval
[["large.txt" => "0123456789abcdef" x 131072]]
--- config
    location = /large.txt { root html; }
    location = /lua { content_by_lua_block { for i = 1, 512 do ngx.print(("0123456789abcdef"):rep(256)) if i % 100 == 0 then ngx.flush(true) ngx.sleep(0) end end } }
--- lua
    local expected = ("0123456789abcdef"):rep(131072)
    for _, name in ipairs { "/large.txt", "/lua" } do
        local res = ngx.location.capture(name)
        ngx.say(res.status, " ", #res.body, " ", res.body == expected, " ", res.truncated)
    end
--- response_body
200 2097152 true false
200 2097152 true false


=== TEST 24: the client's response has no part of the subrequest's
--- config
    add_header X-All all always;
    location = /sub { add_header X-Sub sub; content_by_lua_block { ngx.say("of the subrequest") ngx.flush(true) ngx.eof() } }
    location = /none { internal; content_by_lua_block { ngx.say("sub") } }
--- lua
    ngx.say("first")
    ngx.flush(true)
    ngx.location.capture("/sub")
    ngx.say("second")
    ngx.location.capture("/none")
    ngx.say("third")
--- response_body
first
second
third
--- response_headers
X-All: all
! X-Sub


=== TEST 25: a client of HTTP/1.0
--- config
    location = /sub { content_by_lua_block { ngx.say("sub") ngx.flush(true) ngx.say("more") } }
--- lua
    ngx.print(ngx.location.capture("/sub").body)
    ngx.say("end")
--- request
GET /t HTTP/1.0
--- response_body
sub
more
end
--- response_headers
Content-Length: 13


=== TEST 26: an HTTP/2 client gets a clear answer
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_8 http2;
        location / { content_by_lua_block { ngx.say(pcall(ngx.location.capture, "/sub")) } }
    }
--- config
    location = /t { grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_8; }
--- request
GET /t
--- response_body
falsehttp2 requests not supported yet


=== TEST 27: files that other threads read
--- user_files eval
[["large.txt" => "0123456789abcdef" x 131072]]
--- config
    location = /large.txt { root html; aio threads; sendfile off; output_buffers 2 16k; }
--- lua
    local expected = ("0123456789abcdef"):rep(131072)
    local list = {}
    for i = 1, 8 do list[i] = { "/large.txt" } end
    for _, res in ipairs { ngx.location.capture_multi(list) } do
        assert(res.status == 200 and res.body == expected and not res.truncated)
    end
    ngx.sleep(0.01)
    ngx.say("all")
--- response_body
all


=== TEST 28: a header filter whose refusal has a page of its own
--- config
    log_subrequest on;
    location = /sub {
        error_page 403 /page;
        header_filter_by_lua_block { if ngx.status == 200 and ngx.var.uri == "/sub" then ngx.exit(403) end }
        content_by_lua_block { ngx.say("never seen") }
    }
    location = /page { return 200 "the page"; }
--- lua
    local res = ngx.location.capture("/sub")
    ngx.say(res.status, " ", res.body, " ", res.truncated)
    ngx.sleep(0.001)
    ngx.say(ngx.location.capture("/page").body)
--- response_body
403 the page false
the page


=== TEST 29: the client's timers are not those of a subrequest
--- config
    send_timeout 50ms;
    location = /large.txt { root html; aio threads; sendfile off; output_buffers 1 4k; }
    location = /back { proxy_buffering off; proxy_pass http://backend; }
--- backend
    location / { content_by_lua_block { for _ = 1, 5 do ngx.print("x") ngx.flush(true) ngx.sleep(0.005) end } }
--- user_files eval
[["large.txt" => "0123456789abcdef" x 16384]]
--- lua
    local a, b = ngx.location.capture_multi { { "/large.txt" }, { "/back" } }
    ngx.sleep(0.1)
    ngx.say(#a.body, " ", b.body)
--- response_body
262144 xxxxx


=== TEST 30: what a filter script of the location makes of the body
--- config
    location = /sub {
        header_filter_by_lua_block { ngx.header.content_length = nil ngx.header["X-Seen"] = tostring(ngx.is_subrequest) }
        body_filter_by_lua_block {
            ngx.ctx.n = (ngx.ctx.n or 0) + #ngx.arg[1]
            if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. ngx.ctx.n end
        }
        log_by_lua_block { ngx.log(ngx.WARN, "log of ", ngx.var.uri) }
        content_by_lua_block { ngx.print("abc") ngx.flush() ngx.sleep(0.001) ngx.print("def") }
    }
    log_subrequest on;
--- lua
    local res = ngx.location.capture("/sub")
    ngx.say(res.body, " ", res.header["X-Seen"], " ", ngx.ctx.n)
--- response_body
abcdef6 true nil
--- error_log
log of /sub


=== TEST 31: a body that nobody has read
--- config
    location = /sub { content_by_lua_block { ngx.req.read_body() ngx.print(tostring(ngx.req.get_body_data())) } }
--- lua
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_POST }).body)
    ngx.req.discard_body()
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_POST, body = "own" }).body)
--- request
POST /t
hello
--- response_body
nil
own


=== TEST 32: a body that the location has read first
--- config
    lua_need_request_body on;
    location = /sub { content_by_lua_block { ngx.print(tostring(ngx.req.get_body_data())) } }
--- lua
    ngx.say(ngx.location.capture("/sub", { method = ngx.HTTP_POST }).body)
    ngx.say(ngx.location.capture("/sub").body)
    ngx.say(ngx.location.capture("/sub", { body = "own" }).body)
--- request
POST /t
hello
--- response_body
hello
nil
own


=== TEST 33: a body that is replaced while a subrequest sends it
--- config
    client_body_buffer_size 1k;
    location = /back { proxy_pass http://backend; }
--- backend
    client_body_buffer_size 100k;
    location / { content_by_lua_block { ngx.sleep(0.02) ngx.req.read_body() ngx.print(#ngx.req.get_body_data(), ngx.req.get_body_data():sub(1, 1)) } }
--- lua
    local function send() return ngx.location.capture("/back", { method = ngx.HTTP_POST }).body end
    ngx.req.read_body()
    local a = ngx.thread.spawn(send)
    ngx.req.set_body_data(("b"):rep(50000))
    local b = ngx.thread.spawn(send)
    ngx.sleep(0.001)
    ngx.req.set_body_data(("c"):rep(50000))
    local c = ngx.thread.spawn(send)
    ngx.req.set_body_data("")
    local _, first = ngx.thread.wait(a)
    local _, second = ngx.thread.wait(b)
    local _, third = ngx.thread.wait(c)
    ngx.say(first, " ", second, " ", third)
--- request eval
"POST /t\n" . ("a" x 50000)
--- response_body
50000a 50000b 50000c
