# autoscale_protect in front of backends that do not speak HTTP/1: real FastCGI (t/lib/AutoscaleLua/fastcgi-responder), and gRPC to
# another server of nginx. Each is parked in the queue, then served, with its body as it was; who finds no room is refused.
# modes: plain workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

daemon(1997, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/fastcgi-responder", 1997);

add_block_preprocessor(sub {
    my $block = shift;
    my $server = $block->server;
    $block->set_value('http_config', <<"HTTP" . <<'HTTP2' . ($block->http_config // ''));
    autoscale_zone main:8m;
    lua_shared_dict seen 1m;
    upstream app { $server autoscale_protect limit=1 queue=3 timeout=8s; }
HTTP
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing, queue = require "testing", require "queue"
        begin, comes_to = queue.begin, queue.comes_to
        -- a body that is long enough for a file, and differs everywhere
        function long(name)
            local parts = {}
            for i = 1, 20000 do parts[i] = name .. i end
            return table.concat(parts, ",")
        end
    }
HTTP2
    $block->set_value('config', ($block->config // '') . 'location = /status { autoscale_status json; }');
});

worker_connections(256);
timeout(20);
run_tests();

__DATA__

=== TEST 1: FastCGI: parked, then served in order, bodies as they were; the next one is refused
--- server: server 127.0.0.1:1997;
--- config
    client_body_buffer_size 8k;
    fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param QUERY_STRING $query_string;
    fastcgi_param CONTENT_LENGTH $content_length;
    fastcgi_connect_timeout 5s;
    location = /f { fastcgi_pass app; }
    location = /unbuffered { fastcgi_request_buffering off; fastcgi_buffering off; fastcgi_pass app; }
    location = /var { set $to app; fastcgi_pass $to; }
--- lua
    local go, r = ngx.config.prefix() .. "html/go", {}
    local bodies = { "first", long("a"), long("b"), "short" }
    begin(r, "/f?hold=" .. go, { body = bodies[1] })
    comes_to(1, 0)
    for i, path in ipairs { "/f", "/unbuffered", "/var" } do
        begin(r, path, { body = bodies[i + 1] })
        comes_to(1, i)
    end
    local full = begin({}, "/f", { body = long("c") })
    queue.is_over(full)
    ngx.say(full[1], " ", tonumber(full[4]:match("Retry%-After: (%d+)")) >= 1)
    -- nobody was served meanwhile
    ngx.say(queue.levels())
    testing.write(go, "")
    for i, one in ipairs(queue.finish(r)) do
        ngx.say(one[1], " ", one[4]:match("X%-Seen: ([^\r]*)") == "POST " .. #bodies[i], " ", one[2] == bodies[i])
    end
    ngx.say(queue.left())
    os.remove(go)
--- response_body
503 true
"active":1,"waiting":1,"queued":3
200 true true
200 true true
200 true true
200 true true
nothing left


=== TEST 2: FastCGI: a client that goes while it waits is not asked for, and takes its place with it
--- server: server 127.0.0.1:1997;
--- config
    fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param QUERY_STRING $query_string;
    location = /f { fastcgi_pass app; }
    location = /goes {
        fastcgi_pass app;
        log_by_lua_block { ngx.shared.seen:set("goes", ngx.var.status .. " " .. (ngx.var.upstream_addr or "nobody")) }
    }
--- lua
    local go, r = ngx.config.prefix() .. "html/go", {}
    begin(r, "/f?hold=" .. go)
    comes_to(1, 0)
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", ngx.var.server_port))
    sock:send("GET /goes HTTP/1.0\r\n\r\n")
    comes_to(1, 1)
    begin(r, "/f")
    comes_to(1, 2)
    sock:close()
    comes_to(1, 1)
    testing.write(go, "")
    ngx.say(queue.statuses(queue.finish(r)), ", ", ngx.shared.seen:get("goes"), ", ", queue.left())
    os.remove(go)
--- response_body
200 200, 499 nobody, nothing left
--- error_log
client closed its connection while the request waited


=== TEST 3: gRPC: parked, then served with trailers, messages as they were; the next one is refused
--- server: server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 http2;
        client_max_body_size 1m;
        client_body_buffer_size 1m;
        location / {
            add_trailer grpc-status $http_x_ends;
            content_by_lua_block {
                ngx.req.read_body()
                if ngx.var.http_x_hold then testing.wait_for(function() return ngx.shared.seen:get("go") end) end
                ngx.header.content_type = "application/grpc"
                ngx.header.x_seen = ngx.var.server_protocol .. " " .. ngx.var.request_uri .. " " .. (ngx.var.http_te or "")
                ngx.print(ngx.req.get_body_data())
            }
        }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 http2;
        client_max_body_size 1m;
        client_body_buffer_size 8k;
        location / { grpc_pass grpc://app; }
        location /memory/ { client_body_buffer_size 1m; grpc_buffer_size 4k; grpc_pass grpc://app; }
    }
--- config
    location /shop.Cart/ { grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
--- lua
    local pipe = require "ngx.pipe"
    local root = ngx.config.prefix() .. "html/"
    -- one message, as a client of gRPC frames it: whether it is compressed, its length, itself
    local function message(text)
        local n = #text
        return string.char(0, math.floor(n / 2 ^ 24), math.floor(n / 2 ^ 16) % 256, math.floor(n / 2 ^ 8) % 256, n % 256) .. text
    end
    local function call(name, path, body, ...)
        testing.write(root .. name .. ".in", body)
        local command = { "curl", "-s", "-m", "15", "--http2-prior-knowledge", "-H", "te: trailers", "-H",
            "content-type: application/grpc", "-H", "x-ends: 7", "--data-binary", "@" .. root .. name .. ".in",
            "-D", root .. name .. ".head", "-o", root .. name .. ".out", ... }
        command[#command + 1] = "http://127.0.0.1:$TEST_NGINX_RAND_PORT_2" .. path
        local proc = assert(pipe.spawn(command))
        proc:set_timeouts(20000, 20000, 20000, 20000)
        local ok, why, code = proc:wait()
        local head = testing.read(root .. name .. ".head")
        return {
            status = head:match("^HTTP/2 (%d+)"), body = testing.read(root .. name .. ".out"), code = ok and 0 or why .. code,
            seen = head:match("x%-seen: ([^\r]*)"), ends = head:match("grpc%-status: (%d+)"),
        }
    end
    local texts = { message("first"), message(long("a")), message(long("b")), message("") .. message("two") }
    local paths = { "/shop.Cart/Add", "/shop.Cart/List", "/memory/List", "/shop.Cart/Two" }
    local threads = {}
    for i, path in ipairs(paths) do
        threads[i] = ngx.thread.spawn(call, "call" .. i, path, texts[i], i == 1 and "-Hx-hold: 1" or "-Hx-other: 1")
        comes_to(1, i - 1)
    end
    -- whoever speaks gRPC takes this for UNAVAILABLE. It may be there before the message was sent, which not every curl bears
    local full = begin({}, "/shop.Cart/Full", { body = message("full") })
    queue.is_over(full)
    ngx.say(full[1], " ", tonumber(full[4]:match("retry%-after: (%d+)")) >= 1, " ", full[4]:match("x%-seen"))
    ngx.say(queue.levels())
    ngx.shared.seen:set("go", true)
    for i, thread in ipairs(threads) do
        local _, r = ngx.thread.wait(thread)
        ngx.say(r.code, " ", r.status, " ", r.body == texts[i], " ", r.seen, " ", r.ends)
    end
    ngx.say(queue.left())
--- response_body
503 true nil
"active":1,"waiting":1,"queued":3
0 200 true HTTP/2.0 /shop.Cart/Add trailers 7
0 200 true HTTP/2.0 /shop.Cart/List trailers 7
0 200 true HTTP/2.0 /memory/List trailers 7
0 200 true HTTP/2.0 /shop.Cart/Two trailers 7
nothing left
