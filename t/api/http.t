use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

# autoscale.http against nginx itself, and against servers that behave badly (t/lib/AutoscaleLua/rude-server).
my $port = 8890;
daemon($port, $^X, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/rude-server", $port);

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

sub tls_server {
    my ($port, $crt, $key, $more) = @_;
    return <<"EOC";
server {
    listen 127.0.0.1:$port ssl;
    ssl_certificate \$TEST_NGINX_CERTS/$crt.crt;
    ssl_certificate_key \$TEST_NGINX_CERTS/$key.key;
    $more
    location / { return 200 "\$ssl_server_name \$ssl_alpn_protocol \$ssl_client_s_dn \$http_host \$connection_requests"; }
}
EOC
}

our $Servers = join '', tls_server(8893, 'server', 'server', ''), tls_server(8894, 'expired', 'server', ''),
    tls_server(8895, 'selfsigned', 'server', ''),
    tls_server(8896, 'server', 'server', 'ssl_client_certificate $TEST_NGINX_CERTS/ca.crt; ssl_verify_client optional;'),
    tls_server(8897, 'deep', 'deep', ''),
    'server { listen unix:$TEST_NGINX_HTML_DIR/http.sock; location / { return 200 "$request_uri $http_host"; } }', "\n",
    <<'EOC';
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    http = require "autoscale.http"
    descriptors = require "descriptors"
    raw = "http://127.0.0.1:8890"
    -- a result in one line
    function shown(res, err)
        return res and res.status .. " " .. tostring(res.body) or "nil " .. tostring(err)
    end
}
EOC

our $Own = <<'EOC';
    location = /hello { return 200 "hello"; }
    location = /seen { return 200 "$request_method $request_uri|$http_x_a|$http_user_agent|$http_host|$http_cookie|$http_authorization"; }
    location = /echo {
        client_max_body_size 100m;
        client_body_buffer_size 100m;
        content_by_lua_block {
            ngx.req.read_body()
            local data = ngx.req.get_body_data() or ""
            ngx.print(ngx.req.get_method(), " ", #data, " ", ngx.md5(data), " ", ngx.var.http_content_length, " ",
                ngx.var.http_transfer_encoding)
        }
    }
    location = /sleep { content_by_lua_block { ngx.sleep(1) } }
    location = /number { return 200 "$connection $connection_requests"; }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $main::Servers . ($block->http_config // ''));
    $block->set_value('config', $main::Own . ($block->config // ''));
});

worker_connections(256);
run_tests();

__DATA__

=== TEST 1: a request, in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    local res, err = http.request { url = "http://127.0.0.1:" .. ngx.var.server_port .. "/hello" }
    return res.status .. " " .. res.body .. " " .. res.version .. " " .. res.url:match("/%w+$") .. " " .. tostring(err)
--- result
200 hello 1.1 /hello nil


=== TEST 2: in a timer
--- config
    location = /t {
        content_by_lua_block {
            local port, result = ngx.var.server_port, nil
            ngx.timer.at(0, function() result = shown(http.get("http://127.0.0.1:" .. port .. "/hello")) end)
            for _ = 1, 100 do
                if result then break end
                ngx.sleep(0.005)
            end
            ngx.say(result)
        }
    }
--- response_body
200 hello


=== TEST 3: phases that cannot wait have no requests
--- refused: set header_filter body_filter log balancer init_worker exit_worker
--- lua
    return require("autoscale.http").get("http://127.0.0.1/")
--- result
API disabled in the context of


=== TEST 4: method, query, headers
--- lua
    local url = "http://127.0.0.1:" .. ngx.var.server_port
    local function body(options, path)
        options.url = url .. path
        local res, err = http.request(options)
        ngx.say(res and res.body:gsub(":%d+", "") or err)
    end
    body({}, "/seen?a=b#c")
    body({ method = "DELETE", headers = { ["x-A"] = 7, ["User-Agent"] = "me", Host = "other" } }, "/seen")
    body({ headers = { Cookie = "c=1", Authorization = "Basic x", Connection = "keep-alive" } }, "/seen?a b")
    local res = http.request { url = raw .. "/show", headers = { ["X-Many"] = { "a", 2 } } }
    ngx.say((res.body:gsub("\r", ""):gsub("%s+$", "")))
--- response_body
GET /seen?a=b||autoscale-lua/0.1.0|127.0.0.1||
DELETE /seen|7|me|other||
GET /seen?a%20b||autoscale-lua/0.1.0|127.0.0.1|c=1|Basic x
GET /show HTTP/1.1
Host: 127.0.0.1:8890
X-Many: a
X-Many: 2
User-Agent: autoscale-lua/0.1.0



=== TEST 5: bodies as a string, a table, a function
--- lua
    local url = "http://127.0.0.1:" .. ngx.var.server_port .. "/echo"
    local function say(res, err) ngx.say(res and res.body or err) end
    local md5 = ngx.md5
    say(http.post(url, "abc"))
    say(http.post(url, { "a", { "b", 3 } }))
    say(http.post(url, 12))
    say(http.post(url, ""))
    say(http.post(url))
    say(http.request { url = url, method = "PUT", body = "x" })
    local large = string.rep("0123456789", 200000)
    local res = http.post(url, large)
    ngx.say(res.body == "POST 2000000 " .. md5(large) .. " 2000000 nil")
    local function counter(n, piece)
        return function()
            n = n - 1
            if n >= 0 then return piece end
        end
    end
    say(http.post(url, counter(3, "piece")))
    say(http.post(url, counter(3, "piece"), { headers = { ["Content-Length"] = 15 } }))
    say(http.post(url, counter(0)))
    say(http.post(url, counter(2, { "a", "" , 1 })))
    res = http.post(url, counter(20, large:sub(1, 100000)))
    ngx.say(res.body == "POST 2000000 " .. md5(large) .. " nil chunked")
    -- a function may wait itself
    local n = 0
    say(http.post(url, function() n = n + 1 ngx.sleep(0.002) return n < 4 and "abc" or nil end))
--- response_body
POST 3 900150983cd24fb0d6963f7d28e17f72 3 nil
POST 3 99a7dd8f21187921b3b62d328a98a10e 3 nil
POST 2 c20ad4d76fe97759aa27a0c99bff6710 2 nil
POST 0 d41d8cd98f00b204e9800998ecf8427e 0 nil
POST 0 d41d8cd98f00b204e9800998ecf8427e 0 nil
PUT 1 9dd4e461268c8034f5c8564e155c67a6 1 nil
true
POST 15 497b23a7581423738455b151743519d1 nil chunked
POST 15 497b23a7581423738455b151743519d1 15 nil
POST 0 d41d8cd98f00b204e9800998ecf8427e nil chunked
POST 4 8dbb40f7f7bb5a67b98c95563ac0f086 nil chunked
true
POST 9 97ac82a5b825239e782d0339e2d7b910 nil chunked


=== TEST 6: a body that its function gives up, or that is not as long as was said
--- lua
    local url = "http://127.0.0.1:" .. ngx.var.server_port .. "/echo"
    ngx.say(shown(http.post(url, function() return nil, "no more" end)))
    ngx.say(shown(http.post(url, function() return function() end end)))
    ngx.say(pcall(http.post, url, function() error("broken", 0) end))
    local function once(s)
        return function()
            local piece = s
            s = nil
            return piece
        end
    end
    ngx.say(shown(http.post(url, once("abc"), { headers = { ["content-length"] = 2 } })))
    ngx.say(shown(http.post(url, once("abc"), { headers = { ["content-length"] = 4 } })))
    ngx.say(shown(http.post(url, "abc", { headers = { ["content-length"] = 4 } })))
    ngx.say(shown(http.post(url, "abc", { headers = { ["content-length"] = "x" } })))
    ngx.say(shown(http.post(url, "abc", { headers = { ["content-length"] = 3 } })))
--- response_body
nil no more
nil string, number, boolean, nil, or array table expected, got function
falsebroken
nil send: the body is longer than its content-length
nil send: the body is shorter than its content-length
nil bad value of header "content-length"
nil bad value of header "content-length"
200 POST 3 900150983cd24fb0d6963f7d28e17f72 3 nil


=== TEST 7: headers of a response: any case, repeated ones as a table
--- lua
    local res = http.get(raw .. "/repeated")
    local cookies = res.headers["Set-Cookie"]
    ngx.say(table.concat(cookies, " "), " ", res.headers.set_cookie == cookies, " ", res.headers["CONTENT-length"],
        " ", tostring(res.headers.none), " ", tostring(res.headers[1]), " ", res.body == "")
    local names = {}
    for name in pairs(res.headers) do names[#names + 1] = name end
    table.sort(names)
    ngx.say(table.concat(names, " "))
--- response_body
a b c true 0 nil nil true
content-length set-cookie


=== TEST 8: chunks, no length, one byte after the other, an informational answer before
--- lua
    for _, path in ipairs { "/chunked", "/until-close", "/slowly", "/continue", "/no-body", "/not-modified" } do
        ngx.say(shown(http.get(raw .. path)))
    end
    ngx.say(http.get(raw .. "/until-close").version)
    local res = http.request { method = "HEAD", url = raw .. "/head" }
    ngx.say(res.status, " ", res.body == "", " ", res.headers.content_length)
--- response_body
200 abcde
200 until the end
200 abc
200 ok
204 
304 
1
200 true 100


=== TEST 9: a streamed body
--- lua
    local res = http.get(raw .. "/chunked", { stream = true })
    local pieces = {}
    for piece in res.reader do pieces[#pieces + 1] = piece end
    ngx.say(table.concat(pieces), " ", tostring(res.body), " ", tostring(res.reader()))
    res = http.get(raw .. "/huge", { stream = true })
    local n = 0
    repeat n = n + #res.reader() until n > 5000000
    ngx.say(res:close(), " ", res.reader())
    res = http.get(raw .. "/no-body", { stream = true })
    ngx.say(tostring(res.reader()))
    res = http.get(raw .. "/cut-length", { stream = true })
    ngx.say(res.reader(), " ", select(2, res.reader()), " ", select(2, res.reader()))
--- response_body
abcde nil nil
true nilclosed
nil
12345 read: closed in the middle of the response closed


=== TEST 10: a body of 1 GB, or of any size, is not read beyond max_body
--- lua
    ngx.say(shown(http.get(raw .. "/huge")))
    ngx.say(shown(http.get(raw .. "/huge", { max_body = 1000 })))
    ngx.say(shown(http.get(raw .. "/endless", { max_body = 1000000 })))
    ngx.say(shown(http.get(raw .. "/plain", { max_body = 4 })))
    ngx.say(shown(http.get(raw .. "/plain", { max_body = 5 })))
    ngx.say(shown(http.get(raw .. "/no-body", { max_body = 0 })))
    local res = http.get(raw .. "/endless", { max_body = 200000, stream = true })
    local n, piece, err = 0, nil, nil
    repeat
        piece, err = res.reader()
        n = n + #(piece or "")
    until not piece
    ngx.say(n <= 200000, " ", err)
    ngx.say(collectgarbage("count") < 20000)
--- response_body
nil body too large: more than 16777216 bytes
nil body too large: more than 1000 bytes
nil body too large: more than 1000000 bytes
nil body too large: more than 4 bytes
200 plain
204 
true body too large: more than 200000 bytes
true


=== TEST 11: responses that are none
--- lua
    for _, path in ipairs { "/close", "/cut-header", "/cut-length", "/cut-chunk", "/cut-chunks", "/reset", "/no-status",
        "/bad-status", "/http2", "/bad-header", "/two-lengths", "/bad-length", "/bad-chunk", "/huge-chunk", "/many-headers",
        "/long-header", "/switching" } do
        local res, err = http.get(raw .. path)
        ngx.say(path, " ", res and res.status or err:gsub("%(.*", "(…)"))
    end
--- response_body
/close read: closed
/cut-header read: closed in the middle of the response
/cut-length read: closed in the middle of the response
/cut-chunk read: closed in the middle of the response
/cut-chunks read: closed in the middle of the response
/reset read: connection reset by peer
/no-status read: bad response (…)
/bad-status read: bad response (…)
/http2 read: bad response (…)
/bad-header read: bad response (…)
/two-lengths read: bad response (…)
/bad-length read: bad response (…)
/bad-chunk read: bad response (…)
/huge-chunk read: bad response (…)
/many-headers read: bad response (…)
/long-header read: bad response (…)
/switching read: bad response (…)


=== TEST 12: each part has its timeout
--- lua
    -- made before the clock is looked at
    local all, part = string.rep("x", 20000000), string.rep("x", 1000000)
    local function late(options)
        ngx.update_time()
        local begun = ngx.now()
        local res, err = http.request(options)
        ngx.update_time()
        local took = ngx.now() - begun
        ngx.say(res and "?" or err, took < 0.6 and "" or " took " .. took)
    end
    late { url = raw .. "/never", timeout = 50 }
    late { url = raw .. "/never", timeout = { read = 50 } }
    late { url = raw .. "/never", timeout = { total = 50 } }
    late { url = raw .. "/pause", timeout = 50 }
    late { url = raw .. "/pause", timeout = { read = 5000, total = 60 } }
    late { url = raw .. "/deaf", method = "POST", body = all, timeout = { send = 50 } }
    late { url = raw .. "/deaf", method = "POST", body = function() return part end, timeout = { send = 50 } }
    late { url = "https://127.0.0.1:8892/", timeout = { connect = 50 } }
    late { url = "https://127.0.0.1:8892/", timeout = { total = 50 } }
    late { url = "https://silent:1/", proxy = "http://127.0.0.1:8891", timeout = { connect = 50 } }
    late { url = "http://127.0.0.1:8892/", timeout = 50 }
    -- bytes that come count as progress, and not for all of it
    ngx.say(shown(http.get(raw .. "/slowly", { timeout = { read = 250 } })))
    late { url = raw .. "/slowly", timeout = { total = 60 } }
--- response_body
read: timeout
read: timeout
total: timeout
read: timeout
total: timeout
send: timeout
send: timeout
tls: timeout
total: timeout
proxy: timeout
read: timeout
200 abc
total: timeout


=== TEST 13: the location's lua_socket_* timeouts are the default
--- config
    location = /t {
        lua_socket_read_timeout 50ms;
        content_by_lua_block { ngx.say(shown(http.get(raw .. "/never"))) }
    }
--- response_body
nil read: timeout


=== TEST 14: servers that are not there
--- lua
    ngx.say(shown(http.get("http://127.0.0.1:1/")))
    ngx.say(shown(http.get("http://unix:/no/such.sock:/")))
    ngx.say(shown(http.get("http://name.test/")))
    ngx.say(shown(http.get("https://127.0.0.1:8890/plain", { timeout = 300 })))
--- response_body_like
^nil connect: connection refused
nil connect: no such file or directory
nil connect: no resolver defined to resolve "name.test"
nil tls: (handshake failed|timeout)


=== TEST 15: URLs that are none, methods, headers
--- lua
    ngx.say(shown(http.get("")))
    ngx.say(shown(http.get("ftp://a/")))
    ngx.say(shown(http.get("http://u:p@a/")))
    ngx.say(shown(http.get("http://a/\r\nX: y")))
    ngx.say(shown(http.get("http://a/" .. string.rep("x", 40000))):sub(1, 30), " ")
    ngx.say(shown(http.request { url = raw, method = "A B" }))
    ngx.say(shown(http.request { url = raw, method = "CONNECT" }))
    ngx.say(shown(http.request { url = raw, method = "" }))
    for _, header in ipairs { { "", "x" }, { "a b", "x" }, { "a\r\nb", "x" }, { "x", "a\r\nb: c" }, { "x", "a\0" }, { "x", "a\n" },
        { "Transfer-Encoding", "chunked" }, { "Expect", "100-continue" }, { "Upgrade", "x" }, { "connection", "upgrade" },
        { "TE", "trailers" }, { "Keep-Alive", "x" } } do
        ngx.say(shown(http.get(raw .. "/plain", { headers = { [header[1]] = header[2] } })))
    end
    local many = {}
    for i = 1, 1001 do many["x" .. i] = "y" end
    ngx.say(shown(http.get(raw .. "/plain", { headers = many })))
    ngx.say(shown(http.get(raw .. "/plain", { headers = { ["x"] = "\xc3\xa4\tb" } })))
    ngx.say(shown(http.get(raw .. "/plain", { proxy = "socks5://a" })))
    ngx.say(shown(http.get(raw .. "/plain", { proxy = "http://" })))
--- response_body
nil bad url "": it is to begin with http:// or https://
nil bad url "ftp://a/": it is to begin with http:// or https://
nil bad url "http://u:p@a/": user and password belong into a header
nil bad url "http://a/\r\nX: y": a control character
nil bad url "http://a/xxxxxxxx 
nil bad method "A B"
nil bad method "CONNECT"
nil bad method ""
nil bad header ""
nil bad header "a b"
nil bad header "a\r\nb"
nil bad value of header "x"
nil bad value of header "x"
nil bad value of header "x"
nil header "Transfer-Encoding" is set by the client
nil header "Expect" is set by the client
nil header "Upgrade" is set by the client
nil header "connection" is set by the client
nil header "TE" is set by the client
nil header "Keep-Alive" is set by the client
nil too many headers
200 plain
nil bad proxy: it is to begin with http://
nil bad proxy: no host


=== TEST 16: misuse is an error at the script's line
--- lua
    local function fails(f, ...) ngx.say((select(2, pcall(f, ...)):gsub("^.-:%d+: ", ""))) end
    local url = raw .. "/plain"
    fails(http.request)
    fails(http.request, "x")
    fails(http.request, {})
    fails(http.get, {})
    fails(http.get, url, "x")
    fails(http.post, url, "x", 1)
    fails(http.request, { url = url, headrs = {} })
    fails(http.request, { url = url, method = 1 })
    fails(http.request, { url = url, headers = "x" })
    fails(http.request, { url = url, headers = { "x" } })
    fails(http.request, { url = url, headers = { x = true } })
    fails(http.request, { url = url, body = true })
    fails(http.request, { url = url, body = { {}, function() end } })
    fails(http.request, { url = url, timeout = "x" })
    fails(http.request, { url = url, timeout = -1 })
    fails(http.request, { url = url, timeout = { reed = 1 } })
    fails(http.request, { url = url, timeout = { read = 0 / 0 } })
    fails(http.request, { url = url, tls = true })
    fails(http.request, { url = url, tls = { verify = 1 } })
    fails(http.request, { url = url, tls = { cert = "x" } })
    fails(http.request, { url = url, tls = { alpn = "h2" } })
    fails(http.request, { url = url, proxy = 1 })
    fails(http.request, { url = url, redirects = 1.5 })
    fails(http.request, { url = url, redirects = 21 })
    fails(http.request, { url = url, keepalive = true })
    fails(http.request, { url = url, keepalive = { size = -1 } })
    fails(http.request, { url = url, stream = 1 })
    fails(http.request, { url = url, max_body = "x" })
    local function line(f) return tonumber((select(2, pcall(f)):match(":(%d+): "))) end
    local function here() return debug.getinfo(2, "l").currentline end
    ngx.say(line(function() http.get({}) end) == here())
    ngx.say(line(function() http.get(url, { body = true }) end) == here())
    ngx.say(line(function() http.post(url, true) end) == here())
    ngx.say(line(function() http.request { url = url, tls = { verify = 1 } } end) == here())
    ngx.say(line(function() http.request { url = url, timeout = { reed = 1 } } end) == here())
    ngx.say(line(function() http.request { url = url, headers = { x = { {} } } } end) == here())
--- response_body
bad argument #1 to 'request' (table expected, got nil)
bad argument #1 to 'request' (table expected, got string)
bad argument #1 to 'request' (bad "url" option: string expected, got nil)
bad argument #1 to 'get' (string expected, got table)
bad argument #2 to 'get' (table expected, got string)
bad argument #3 to 'post' (table expected, got number)
bad argument #1 to 'request' (unknown option "headrs")
bad argument #1 to 'request' (bad "method" option: string expected, got number)
bad argument #1 to 'request' (bad "headers" option: table expected, got string)
bad argument #1 to 'request' (bad "headers" option: names are strings, got number)
bad argument #1 to 'request' (bad "headers.x" option: string, number or table of them expected, got boolean)
bad argument #1 to 'request' (bad "body" option: string, table or function expected, got boolean)
bad argument #1 to 'request' (bad "body" option: bad data type function found)
bad argument #1 to 'request' (bad "timeout" option: number expected, got string)
bad argument #1 to 'request' (bad "timeout" option: -1)
bad argument #1 to 'request' (unknown option "timeout.reed")
bad argument #1 to 'request' (bad "timeout.read" option: nan)
bad argument #1 to 'request' (bad "tls" option: table expected, got boolean)
bad argument #1 to 'request' (bad "tls.verify" option: boolean expected, got number)
bad argument #1 to 'request' ("tls.cert" and "tls.key" belong together)
bad argument #1 to 'request' (unknown option "tls.alpn")
bad argument #1 to 'request' (bad "proxy" option: string expected, got number)
bad argument #1 to 'request' (bad "redirects" option: 1.5)
bad argument #1 to 'request' (bad "redirects" option: 20 at most)
bad argument #1 to 'request' (bad "keepalive" option: table or false expected, got boolean)
bad argument #1 to 'request' (bad "keepalive.size" option: -1)
bad argument #1 to 'request' (bad "stream" option: boolean expected, got number)
bad argument #1 to 'request' (bad "max_body" option: number expected, got string)
true
true
true
true
true
true


=== TEST 17: connections are kept, and not when the script or the server says so
--- lua
    local function pid(options) return http.get(raw .. "/pid", options).body end
    local first = pid()
    ngx.say(pid() == first, " ", pid { keepalive = { idle = 1000, size = 1 } } == first)
    ngx.say(pid { keepalive = false } == first, " ", pid { headers = { Connection = "close" } } == first)
    ngx.say(pid() == first)
    -- at the same time there are several, of which two are kept
    local threads = {}
    for i = 1, 4 do threads[i] = ngx.thread.spawn(pid, { keepalive = { size = 2 } }) end
    local pids = {}
    for i = 1, 4 do
        local _, p = ngx.thread.wait(threads[i])
        pids[p] = true
    end
    local again = 0
    threads = {}
    for i = 1, 4 do threads[i] = ngx.thread.spawn(pid, { keepalive = { size = 2 } }) end
    for i = 1, 4 do
        local _, p = ngx.thread.wait(threads[i])
        again = again + (pids[p] and 1 or 0)
    end
    ngx.say(again)
    -- a streamed body gives its connection back at its end
    local res = http.get(raw .. "/pid?stream", { stream = true })
    local p = res.reader()
    ngx.say(pid() == p)
--- response_body
true true
false false
true
2
true
--- modes: plain
--- once


=== TEST 18: an idle connection ends with its time
--- lua
    local function pid(options) return http.get(raw .. "/pid", options).body end
    local first = pid { keepalive = { idle = 20 } }
    ngx.sleep(0.05)
    ngx.say(pid { keepalive = { idle = 20 } } == first)
--- response_body
false


=== TEST 19: what came behind a response is not taken for the next one
--- lua
    for _ = 1, 2 do ngx.say(shown(http.get(raw .. "/extra"))) end
--- response_body
200 ok
200 ok


=== TEST 20: a connection that the server was about to close: what may be sent twice is
--- lua
    -- on each connection the server answers one request, reads the second and closes
    for _ = 1, 3 do ngx.say(shown(http.get(raw .. "/stale"))) end
    ngx.say(shown(http.request { method = "PUT", url = raw .. "/stale", body = "x" }))
    ngx.say(shown(http.post(raw .. "/stale", "x")))
    ngx.say(shown(http.post(raw .. "/stale", "x")))
--- response_body
200 fresh
200 fresh
200 fresh
200 fresh
nil read: closed
200 fresh
--- modes: plain
--- once


=== TEST 21: a connection that the server closes while it is idle is not used
--- config
    keepalive_timeout 20ms;
    location = /t {
        content_by_lua_block {
            local url = "http://127.0.0.1:" .. ngx.var.server_port .. "/number"
            local first = http.get(url).body
            ngx.sleep(0.1)
            ngx.say(http.post(url, "x").body == first)
        }
    }
--- response_body
false


=== TEST 22: an answer that comes before the body is sent
--- lua
    local n = 0
    local function piece()
        n = n + 1
        return n <= 2000 and string.rep("x", 100000) or nil
    end
    ngx.say(shown(http.post(raw .. "/early", piece)), " ", n < 2000)
    ngx.say(shown(http.post(raw .. "/early", string.rep("x", 30000000))))
--- response_body
413 no! true
413 no!


=== TEST 23: redirects are followed as far as the script allows
--- lua
    local to = raw .. "/to/302/"
    ngx.say(shown(http.get(to .. "/plain")), " ", http.get(to .. "/plain").headers.location)
    local res = http.get(to .. "/plain", { redirects = 1 })
    ngx.say(shown(res), " ", res.url)
    ngx.say(shown(http.get(raw .. "/to/302//to/301//to/307//plain", { redirects = 3 })))
    ngx.say(shown(http.get(raw .. "/to/302//to/301//to/307//plain", { redirects = 2 })))
    ngx.say(shown(http.get(to .. "../../plain", { redirects = 1 })))
    ngx.say(shown(http.get(to .. "?", { redirects = 5 })))
    ngx.say(shown(http.get(to .. "ftp://a/", { redirects = 5 })))
    ngx.say(shown(http.get(to .. "http://unix:/tmp/x:/", { redirects = 5 })))
    ngx.say(shown(http.get(raw .. "/to/304//plain", { redirects = 5 })))
    res = http.get(to .. "/chunked", { redirects = 1, stream = true })
    ngx.say(res.reader(), " ", res.url)
--- response_body
302 gone /plain
200 plain http://127.0.0.1:8890/plain
200 plain
nil too many redirects: more than 2
200 plain
nil too many redirects: more than 5
nil redirect: bad url "ftp://a/": it is to begin with http:// or https://
nil redirect: to a unix socket
304 
abc http://127.0.0.1:8890/chunked


=== TEST 24: the method and the body behind a redirect
--- lua
    local function line(status, method, body)
        local res, err = http.request {
            url = raw .. "/to/" .. status .. "//show", method = method, body = body, redirects = 1,
            headers = { ["Content-Type"] = body and "text/x", ["X-A"] = "kept" },
        }
        if not res then return ngx.say(err) end
        ngx.say(status, " ", res.body:match("^%u+"), " ", res.body:match("[Cc]ontent%-[Tt]ype: (%S+)") or "-", " ",
            res.body:match("\r\n\r\n(.*)"), " ", res.body:match("X%-A: (%S+)"))
    end
    for _, status in ipairs { 301, 302, 303, 307, 308 } do line(status, "POST", "abc") end
    for _, status in ipairs { 301, 303, 308 } do line(status, "PUT", "abc") end
    line(303, "POST", coroutine.wrap(function() coroutine.yield("abc") end))
    line(307, "POST", coroutine.wrap(function() coroutine.yield("abc") end))
--- response_body
301 GET -  kept
302 GET -  kept
303 GET -  kept
307 POST text/x abc kept
308 POST text/x abc kept
301 PUT text/x abc kept
303 GET -  kept
308 PUT text/x abc kept
303 GET -  kept
redirect: the body cannot be sent again


=== TEST 25: secrets do not go to another server
--- lua
    local function sees(to)
        local res = assert(http.get(raw .. "/to/302/" .. to, { redirects = 1, headers = {
            Authorization = "Bearer x", Cookie = "a=b", ["X-A"] = "1", Host = "named",
        } }))
        local seen = res.body:lower()
        ngx.say(seen:find("bearer x") and "authorization " or "", seen:find("a=b") and "cookie " or "",
            seen:find("named") and "host " or "", seen:find("|1|") or seen:find("x%-a: 1") and "x-a")
    end
    sees("/show")
    sees(raw .. "/show")
    sees("//127.0.0.1:8890/show")
    sees("http://127.0.0.1:" .. ngx.var.server_port .. "/seen")
--- response_body_like
^authorization cookie host x-a
authorization cookie host x-a
authorization cookie host x-a
\d+


=== TEST 26: TLS: verified by default, with what lua_ssl_* says
--- http_config
    lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
--- lua
    local function ask(port, tls) return shown(http.get("https://127.0.0.1:" .. port .. "/", { tls = tls })) end
    ngx.say(ask(8893))
    ngx.say(ask(8893, { server_name = "test.example" }))
    ngx.say(ask(8893, { server_name = "x.wild.example" }))
    ngx.say(ask(8893, { server_name = "other.example" }))
    ngx.say(ask(8893, { server_name = "other.example", verify = false }))
    ngx.say(ask(8894, { server_name = "test.example" }))
    ngx.say(ask(8894, { verify = false }))
    ngx.say(ask(8895, { server_name = "test.example" }))
    ngx.say(ask(8897, { server_name = "test.example" }))
--- response_body
200  http/1.1  127.0.0.1:8893 1
200 test.example http/1.1  127.0.0.1:8893 1
200 x.wild.example http/1.1  127.0.0.1:8893 1
nil tls: certificate host mismatch
200 other.example http/1.1  127.0.0.1:8893 1
nil tls: 10: certificate has expired
200  http/1.1  127.0.0.1:8894 1
nil tls: 18: self-signed certificate
200 test.example http/1.1  127.0.0.1:8897 1
--- modes: plain
--- once


=== TEST 27: TLS: trust and identity by the request's own files
--- lua
    local certs = "$TEST_NGINX_CERTS/"
    local function ask(port, tls)
        tls.server_name = "test.example"
        return shown(http.get("https://127.0.0.1:" .. port .. "/", { tls = tls }))
    end
    -- without a word the system's certificates are trusted, and ours is not among them
    ngx.say(ask(8893, {}))
    ngx.say(ask(8893, { ca = certs .. "ca.crt" }))
    ngx.say(ask(8897, { ca = certs .. "ca.crt" }))
    ngx.say(ask(8895, { ca = certs .. "selfsigned.crt" }))
    ngx.say(ask(8896, { ca = certs .. "ca.crt", cert = certs .. "client.crt", key = certs .. "client.key" }))
    ngx.say(ask(8896, { ca = certs .. "ca.crt" }))
    -- connections of different settings are not mixed up
    ngx.say(ask(8893, {}))
    ngx.say(ask(8893, { ca = certs .. "ca.crt" }))
    ngx.say((ask(8893, { ca = "/no/such" })))
    ngx.say((ask(8893, { ca = certs .. "server.key" }):gsub('"/.*/', '"')))
    ngx.say((ask(8893, { ca = certs .. "ca.crt", cert = certs .. "client.key", key = certs .. "client.key" }):gsub('"/.*/', '"')))
    ngx.say((ask(8893, { ca = certs .. "ca.crt", cert = certs .. "client.crt", key = certs .. "client.enc.key" }):gsub('"/.*/', '"')))
    ngx.say(ask(8893, { ca = certs .. "ca.crt", cert = certs .. "client.crt", key = certs .. "server.key" }))
--- response_body_like
^nil tls: 20: unable to get local issuer certificate
200 test.example http/1.1  127.0.0.1:8893 1
200 test.example http/1.1  127.0.0.1:8897 1
200 test.example http/1.1  127.0.0.1:8895 1
200 test.example http/1.1 CN=tester 127.0.0.1:8896 1
200 test.example http/1.1  127.0.0.1:8896 1
nil tls: 20: unable to get local issuer certificate
200 test.example http/1.1  127.0.0.1:8893 2
nil tls: "/no/such": no such file or directory
nil tls: "server.key": no certificate in PEM format
nil tls: "client.key": no certificate in PEM format
nil tls: "client.enc.key": no private key in PEM format
nil tls: ssl set client private key failed
--- modes: plain
--- once


=== TEST 28: through a proxy: absolute URLs in the clear, a tunnel for TLS
--- lua
    local proxy = "http://127.0.0.1:8891"
    local function first(res, err) ngx.say(res and res.body:match("^[^\r\n]*") or err) end
    first(http.get("http://name.test:81/a?b", { proxy = proxy }))
    local res = http.get("http://name.test/", { proxy = "http://user:p@ss@127.0.0.1:8891/" })
    ngx.say(res.body:match("[Pp]roxy%-[Aa]uthorization: (%S+ %S+)"), " ", res.body:match("Host: (%S+)"))
    local tls = { ca = "$TEST_NGINX_CERTS/ca.crt" }
    first(http.get("https://test.example:8893/", { proxy = proxy, tls = tls }))
    first(http.get("https://test.example:8893/", { proxy = proxy, tls = tls }))
    first(http.get("https://other.example:8893/", { proxy = proxy, tls = tls }))
    for _, name in ipairs { "refused", "garbage", "closed", "endless", "talks", "nobody" } do
        first(http.get("https://" .. name .. ":2/", { proxy = proxy, tls = tls }))
    end
    first(http.get("https://test.example/", { proxy = "http://127.0.0.1:1" }))
    first(http.get("http://unix:$TEST_NGINX_HTML_DIR/http.sock:/direct", { proxy = proxy }))
    first(http.get("http://127.0.0.1:" .. ngx.var.server_port .. "/hello", { proxy = false }))
--- response_body
GET http://name.test:81/a?b HTTP/1.1
Basic dXNlcjpwQHNz name.test
test.example http/1.1  test.example:8893 1
test.example http/1.1  test.example:8893 2
tls: certificate host mismatch
proxy: answered 407
proxy: bad response
proxy: closed
proxy: bad response
proxy: bad response
proxy: answered 502
connect: connection refused
/direct localhost
hello
--- modes: plain
--- once


=== TEST 29: unix sockets
--- lua
    local url = "http://unix:$TEST_NGINX_HTML_DIR/http.sock:"
    ngx.say(shown(http.get(url .. "/a?b")), " ", http.get(url .. "/a").url == url .. "/a")
    ngx.say(shown(http.get(url, { headers = { Host = "named" } })))
--- response_body
200 /a?b localhost true
200 / named


=== TEST 30: IPv6
--- http_config
    server { listen [::1]:8898; location / { return 200 "$http_host"; } }
--- lua
    ngx.say(shown(http.get("http://[::1]:8898/")))
    ngx.say(shown(http.get("http://[0::1]:8898/")))
--- response_body
200 [::1]:8898
200 [::1]:8898


=== TEST 31: a response belongs to its request
--- http_config
    init_worker_by_lua_block { kept = {} }
--- config
    location = /make {
        content_by_lua_block { kept.res = http.get(raw .. "/chunked", { stream = true }) ngx.say(kept.res.status) }
    }
    location = /use {
        content_by_lua_block { ngx.say(pcall(kept.res.reader)) }
    }
--- request eval
["GET /make", "GET /use"]
--- response_body_like eval
["200", "falsebad request|falsecontent_by_lua.*bad request"]
--- modes: plain


=== TEST 32: two threads do not read one body at once
--- lua
    local res = http.get(raw .. "/pause", { stream = true })
    ngx.say(res.reader())
    local thread = ngx.thread.spawn(res.reader)
    ngx.say(res.reader())
    ngx.say(res:close())
    ngx.thread.kill(thread)
    ngx.say(res.reader())
    ngx.say(res:close())
--- response_body
abc
nilbusy
false
nilclosed
true


=== TEST 33: a thread that is killed while it waits leaves nothing
--- lua
    local before = descriptors.settled()
    for _, path in ipairs { "/never", "/pause" } do
        for _ = 1, 20 do
            local thread = ngx.thread.spawn(http.get, raw .. path)
            ngx.sleep(0.001)
            ngx.thread.kill(thread)
        end
    end
    local thread = ngx.thread.spawn(http.get, "https://127.0.0.1:8892/")
    ngx.sleep(0.001)
    ngx.thread.kill(thread)
    thread = ngx.thread.spawn(http.post, raw .. "/deaf", string.rep("x", 20000000))
    ngx.sleep(0.01)
    ngx.thread.kill(thread)
    ngx.say(math.max(descriptors.more_than(before), 0))
--- response_body
0
--- modes: plain
--- once


=== TEST 34: a thousand requests leave no descriptor open
--- lua
    local url = "http://127.0.0.1:" .. ngx.var.server_port .. "/hello"
    local before = descriptors.settled()
    local well = 0
    for i = 1, 1000 do
        local res
        if i % 3 == 0 then
            res = http.get(url, { stream = true, keepalive = false })
            if i % 2 == 0 then for _ in res.reader do end else res:close() end
        else
            res = http.get(url, { keepalive = i % 2 == 0 and { size = 1 } or false })
        end
        well = well + (res and res.status == 200 and 1 or 0)
    end
    -- one is kept, and it has two ends here
    ngx.say(well, " ", descriptors.more_than(before + 2) <= 0)
--- response_body
1000 true
--- modes: plain
--- once


=== TEST 35: what a script does not read is closed when it ends
--- config
    location = /leave {
        content_by_lua_block {
            for _ = 1, 20 do
                held = { http.get(raw .. "/huge", { stream = true }), held }
            end
            ngx.say("left")
        }
    }
    location = /t {
        content_by_lua_block {
            local before = descriptors.settled()
            local res = http.get("http://127.0.0.1:" .. ngx.var.server_port .. "/leave", { keepalive = false })
            ngx.print(res.body)
            ngx.say(descriptors.more_than(before))
        }
    }
--- response_body
left
0
--- modes: plain
--- once


=== TEST 36: a client that goes away ends the request
--- config
    location = /asks {
        lua_check_client_abort on;
        content_by_lua_block { http.get(raw .. "/never") ngx.log(ngx.ERR, "went on") }
    }
    location = /t {
        content_by_lua_block {
            local before = descriptors.settled()
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", ngx.var.server_port)
            sock:send("GET /asks HTTP/1.0\r\n\r\n")
            local during = descriptors.settled(before + 3)
            sock:close()
            ngx.say(during - before, " ", descriptors.more_than(before))
        }
    }
--- response_body
3 0
--- modes: plain
--- once
--- no_error_log
went on
