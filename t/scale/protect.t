# autoscale_protect: who waits, who is let go, who is refused. What ends workers is in t/fault/protect.t.
# modes: plain workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;

# The upstream is `app`, with the parameters of `--- protect`; its backend notes who was there, in which order, and how many at a time.
add_block_preprocessor(sub {
    my $block = shift;
    my $protect = $block->protect // 'limit=1 queue=10 timeout=2s';
    my $zone = $block->zone // 'main:8m';
    my $server = $block->server // 'server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;';
    $block->set_value('http_config', ($block->http_config // '') . <<"HTTP" . <<'HTTP2');
    autoscale_zone $zone;
    lua_shared_dict seen 1m;
    upstream app { zone app 64k; $server autoscale_protect $protect; keepalive 8; }
HTTP
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        client_body_buffer_size 64k;
        location / {
            content_by_lua_block {
                ngx.req.read_body()
                local seen, arg = ngx.shared.seen, ngx.req.get_uri_args()
                local now = seen:incr("now", 1, 0)
                if now > (seen:get("most") or 0) then seen:set("most", now) end
                seen:rpush("order", arg.n or "?")
                if arg.hold then testing.wait_for(function() return seen:get(arg.hold) end) end
                ngx.sleep(tonumber(arg.s) or 0.1)
                seen:incr("now", -1)
                ngx.say("body ", #(ngx.req.get_body_data() or ""))
            }
        }
        location /fail { content_by_lua_block { ngx.shared.seen:incr("tries", 1, 0) ngx.exit(500) } }
        location /stream {
            content_by_lua_block {
                ngx.header["Content-Type"] = "text/event-stream"
                ngx.say("data: 1\n")
                ngx.flush(true)
                ngx.sleep(tonumber(ngx.var.arg_s) or 1)
                ngx.say("data: 2\n")
            }
        }
    }
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing, queue = require "testing", require "queue"
        get, all, statuses, left, comes_to = queue.get, queue.all, queue.statuses, queue.left, queue.comes_to
        begin, finish = queue.begin, queue.finish

        function order()
            local list = {}
            while true do
                local n = ngx.shared.seen:lpop("order")
                if not n then return table.concat(list, " ") end
                list[#list + 1] = n
            end
        end
    }
HTTP2
    $block->set_value('config', ($block->config // '') . <<'CONF');
    location = /status { autoscale_status json; }
    location /p/ {
        add_header X-Queue $autoscale_queue_time always;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://app/;
    }
CONF
});

# longer than anything here waits for
timeout(20);
run_tests();

__DATA__

=== TEST 1: what finds no room waits, and goes on when there is some
--- lua
    local r = all{ {0, "/p/?s=0.2&n=a"}, {0.05, "/p/?n=b", { body = "hello" }}, {0.1, "/p/?n=c"} }
    ngx.say(statuses(r), " ", order(), " most ", ngx.shared.seen:get("most"))
    ngx.say(r[2][2], " ", r[3][2])
    ngx.say(r[1][4]:match("X%-Queue: ([%d.]+)") == "0.000", " ", tonumber(r[2][4]:match("X%-Queue: ([%d.]+)")) > 0.1)
    ngx.say(left())
--- response_body
200 200 200 a b c most 1
body 5 body 0
true true
nothing left



=== TEST 2: however a request comes to its upstream
--- http_config
    proxy_cache_path cache keys_zone=c:1m;
--- config
    location /var { set $to app; proxy_pass http://$to/$is_args$args; }
    location /cache { proxy_cache c; proxy_cache_lock on; proxy_cache_valid 200 1m; add_header X-Cache $upstream_cache_status; proxy_pass http://app/; }
    location /unbuffered { proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://app/; }
    location /capture { content_by_lua_block { local r = ngx.location.capture("/p/?n=sub") ngx.status = r.status ngx.print(r.body) } }
    location /lua { access_by_lua_block { ngx.req.read_body() ngx.sleep(0.001) } proxy_pass http://app/; }
    location /discard { access_by_lua_block { ngx.req.discard_body() } proxy_pass http://app/; }
    location /again { error_page 502 = @again; proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    location @again { add_header X-Status "$upstream_status" always; proxy_pass http://app; }
    location /fcgi { fastcgi_pass app; }
    location /ignore { proxy_ignore_client_abort on; proxy_pass http://app/; }
--- lua
    local body = { body = ("x"):rep(20000) }
    for _, path in ipairs{ "/var", "/cache", "/unbuffered", "/capture", "/lua", "/discard", "/again", "/ignore" } do
        local r = all{ {0, "/p/?s=0.1"}, {0.03, path .. "?s=0.02", path ~= "/cache" and body or nil} }
        ngx.say(path, " ", statuses(r), " ", r[2][2], " ", r[2][3] > 0.05 or r[2][3], " ", r[2][4]:match("X%-Status: ([^\r]*)") or "")
    end
    local r = all{ {0, "/p/?s=0.1"}, {0.03, "/cache?m=1"}, {0.04, "/cache?m=1"}, {0.3, "/cache?m=1"} }
    ngx.say(statuses(r), " ", r[2][4]:match("X%-Cache: (%u+)"), " ", r[4][4]:match("X%-Cache: (%u+)"))
    -- what answers is no FastCGI server
    r = all{ {0, "/p/?s=0.1"}, {0.03, "/fcgi"} }
    ngx.say(statuses(r), " ", r[2][3] > 0.04)
    ngx.say(left(), " most ", ngx.shared.seen:get("most"))
--- response_body
/var 200 200 body 20000 true 
/cache 200 200 body 0 true 
/unbuffered 200 200 body 20000 true 
/capture 200 200 body 0 true 
/lua 200 200 body 20000 true 
/discard 200 200 body 0 true 
/again 200 200 body 20000 true 502 : 200
/ignore 200 200 body 20000 true 
200 200 200 200 MISS HIT
200 502 true
nothing left most 1
--- allow_log
upstream sent unsupported FastCGI protocol version



=== TEST 3: over HTTP/2 too
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_3 http2;
        location / { proxy_pass http://app; }
    }
--- lua
    local procs = {}
    local function curl(name, more)
        local pipe = require "ngx.pipe"
        local proc = assert(pipe.spawn({ "curl", "-s", "-m", "8", "--http2-prior-knowledge", unpack(more) }))
        procs[name] = proc
        local text = proc:stdout_read_all()
        proc:wait()
        return text
    end
    local url = "http://127.0.0.1:$TEST_NGINX_RAND_PORT_3/"
    local first = ngx.thread.spawn(curl, "a", { url .. "?hold=go&s=0&n=a" })
    comes_to(1, 0)
    local second = ngx.thread.spawn(curl, "b", { url .. "?n=b" })
    comes_to(1, 1)
    local third = ngx.thread.spawn(curl, "c", { "-d", "hello", url .. "?n=c" })
    comes_to(1, 2)
    -- it gives up while it waits, and takes nobody's place
    procs.b:kill(15)
    comes_to(1, 1)
    ngx.shared.seen:set("go", true)
    for _, thread in ipairs{ first, second, third } do
        local _, text = ngx.thread.wait(thread)
        ngx.print(text == "" and "nothing\n" or text)
    end
    ngx.say(order(), " ", left())
--- response_body
body 0
nothing
body 5
a c nothing left



=== TEST 4: a full queue, and one that takes too long, say when to come again
--- protect: limit=1 queue=1 timeout=100ms
--- lua
    local r = all{ {0, "/p/?s=0.4&n=a"}, {0.05, "/p/?n=b"}, {0.1, "/p/?n=c"}, {0.6, "/p/?n=d"} }
    ngx.say(statuses(r), " ", order())
    for i = 2, 3 do
        local again = tonumber(r[i][4]:match("Retry%-After: (%d+)"))
        ngx.say(again >= 1, " ", r[i][3] < 0.2, " ", r[i][4]:match("X%-Queue: (%d)"))
    end
    local _, json = get("/status")
    ngx.say(json:match('"rejected":%d+'), " ", left())
--- response_body
200 503 503 200 a d
true true 0
true true 0
"rejected":2 nothing left
--- error_log
upstream "app" has no room: 1 refused



=== TEST 5: a client that goes while it waits takes its place with it
--- lua
    local r = all{ {0, "/p/?s=0.3&n=a"}, {0.05, "/p/?n=b", { hang_up = 0.05 }}, {0.07, "/p/?n=c"} }
    ngx.say(statuses(r), " ", order(), " ", left())
--- response_body
200 gone 200 a c nothing left
--- error_log
client closed its connection while the request waited



=== TEST 6: a script that ends while its capture waits
--- config
    location /short {
        content_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.05) ngx.say("enough") ngx.exit(200) end)
            ngx.location.capture("/p/?n=b")
        }
    }
--- lua
    local r = all{ {0, "/p/?s=0.2&n=a"}, {0.02, "/short", { timeout = 1000 }} }
    ngx.say(r[1][1], " ", r[2][1])
    ngx.say(left())
--- response_body
200 200
nothing left
--- error_log_like: .
--- allow_log
attempt to abort with pending subrequests



=== TEST 7: the most urgent first
--- protect: limit=1 queue=10 timeout=4s priority=$arg_p
--- lua
    local r = {}
    begin(r, "/p/?hold=go&s=0&n=a")
    comes_to(1, 0)
    for i, args in ipairs{ "p=batch&n=e", "n=c", "n=d", "p=0&n=b" } do
        begin(r, "/p/?s=0.01&" .. args)
        comes_to(1, i)
    end
    ngx.shared.seen:set("go", true)
    finish(r)
    ngx.say(order(), " ", left())
--- response_body
a b c d e nothing left



=== TEST 8: keys take turns, and the longest flow makes way when the queue is full
--- protect: limit=1 queue=4 timeout=4s fair=$arg_t
--- lua
    local r = {}
    begin(r, "/p/?hold=go&s=0&n=a")
    comes_to(1, 0)
    for i = 1, 4 do
        begin(r, "/p/?t=x&s=0.01&n=x" .. i)
        comes_to(1, i)
    end
    begin(r, "/p/?t=y&s=0.01&n=y1")
    queue.is_over(r[2])
    queue.is_over(begin(r, "/p/?t=x&s=0.01&n=x5"))
    ngx.shared.seen:set("go", true)
    finish(r)
    ngx.say(statuses(r), " ", order())
    ngx.say(left())
--- response_body
200 503 200 200 200 200 503 a x2 y1 x3 x4
nothing left



=== TEST 9: with observe nobody waits, with off nobody looks
--- config
    location /observe { autoscale observe; proxy_pass http://app/; }
    location /off { autoscale off; proxy_pass http://app/; }
--- lua
    local r = all{ {0, "/p/?s=0.2"}, {0.05, "/observe?s=0.01"}, {0.05, "/off?s=0.01"} }
    ngx.say(statuses(r), " ", r[2][3] < 0.1, " ", r[3][3] < 0.1, " most ", ngx.shared.seen:get("most"))
    ngx.say(left())
--- response_body_like
200 200 200 true true most [23]
nothing left
--- error_log
upstream "app" has no room: 1 would have had to wait (observe)



=== TEST 10: a stream holds no place once it has begun
--- lua
    local r = all{ {0, "/p/stream?s=0.5"}, {0.05, "/p/?n=a"}, {0.06, "/p/?n=b"} }
    ngx.say(statuses(r), " ", r[2][3] < 0.3, " ", r[3][3] < 0.4, " ", r[1][2]:find("data: 2", 1, true) ~= nil)
    ngx.say(left())
--- response_body
200 200 200 true true true
nothing left



=== TEST 11: retries have a budget
--- protect: limit=100 retry_budget=20%
--- server: server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 max_fails=0; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 max_fails=0; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 max_fails=0;
--- config
    location /storm { proxy_next_upstream error timeout http_500; proxy_pass http://app/fail; }
--- lua
    local list = {}
    for round = 1, 20 do
        for i = 1, 20 do list[i] = { 0, "/storm" } end
        all(list)
    end
    local tries = ngx.shared.seen:get("tries")
    -- ten a second over ten seconds, whatever is asked, and a few that were under way
    ngx.say(tries >= 400 + 80 and tries <= 400 + 125 or tries)
    ngx.say(left())
--- response_body
true
nothing left
--- error_log
has spent its retry budget



=== TEST 12: limits are learnt, and nobody is refused for it
--- protect: limit=auto
--- lua
    local list = {}
    for i = 1, 60 do list[i] = { i * 0.008, "/p/?s=0.01" } end
    local r = all(list)
    local bad = 0
    for i = 1, 60 do if r[i][1] ~= "200" then bad = bad + 1 end end
    ngx.say(bad, " ", left())
--- response_body
0 nothing left



=== TEST 13: what cannot be is refused with what to write
--- http_config eval
"upstream b { server 127.0.0.1:1; autoscale_protect limit=none; }"
--- must_die
--- error_log
invalid limit "none": write auto, or how many requests the upstream gets at a time



=== TEST 14: a request that has failed holds no place while another answers its client
--- protect: limit=1 queue=1 timeout=100ms
--- server: server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
--- config
    location /dead { error_page 502 = @slow; proxy_pass http://app/; }
    location @slow { content_by_lua_block { ngx.sleep(0.3) ngx.say("slow") } }
    location /capture {
        content_by_lua_block {
            ngx.location.capture("/p/")
            ngx.sleep(0.3)
            ngx.say("slow")
        }
    }
--- lua
    for _, path in ipairs{ "/dead", "/capture" } do
        local r = all{ {0, path}, {0.05, "/dead"} }
        ngx.say(statuses(r), " ", r[2][2], " ", r[2][4]:match("X%-Queue: (%S+)") or "")
    end
    ngx.say(left())
--- response_body_like
200 200 slow .*
200 200 slow .*
nothing left
--- error_log
Connection refused



=== TEST 15: what a server line allows is waited for, too
--- protect: limit=auto queue=10 timeout=2s
--- server: server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 max_conns=2; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 max_conns=1;
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        location / { content_by_lua_block { ngx.sleep(0.1) ngx.say("other") } }
    }
--- lua
    local list = {}
    for i = 1, 6 do list[i] = { i * 0.005, "/p/?s=0.1" } end
    ngx.say(statuses(all(list)), " ", left())
--- response_body
200 200 200 200 200 200 nothing left



=== TEST 16: what is refused leaves the cache to others
--- http_config
    proxy_cache_path cache keys_zone=c:1m;
--- protect: limit=1 queue=1 timeout=50ms
--- config
    location /cache { proxy_cache c; proxy_cache_lock on; proxy_cache_valid 200 1m; add_header X-Cache $upstream_cache_status; proxy_pass http://app/; }
--- lua
    local r = all{ {0, "/p/?s=0.3"}, {0.05, "/cache?m=1"}, {0.1, "/cache?m=2", { hang_up = 0.01 }}, {0.4, "/cache?m=1"} }
    ngx.say(statuses(r), " ", left())
--- response_body
200 503 gone 200 nothing left
--- no_error_log
stalled cache updating



=== TEST 17: who answers in place of a refusal does not say when to come again
--- protect: limit=1 queue=1 timeout=50ms
--- config
    location /instead { error_page 503 = @instead; proxy_pass http://app/; }
    location @instead { return 200 "instead"; }
    location /own { error_page 503 = @own; proxy_pass http://app/; }
    location @own { content_by_lua_block { ngx.header["Retry-After"] = "77" ngx.say("own") } }
    location /same { error_page 503 @same; proxy_pass http://app/; }
    location @same { return 503 "same"; }
--- lua
    local paths = { "/p/", "/instead", "/own", "/same" }
    local first = ngx.thread.spawn(get, "/p/?s=0.5")
    ngx.sleep(0.05)
    for _, path in ipairs(paths) do
        local r = { get(path) }
        ngx.say(path, " ", r[1], " ", r[4]:match("Retry%-After: (%d+)") or "none")
    end
    ngx.thread.wait(first)
    ngx.say(left())
--- response_body_like
/p/ 503 [1-9]\d*
/instead 200 none
/own 200 77
/same 503 [1-9]\d*
nothing left



=== TEST 18: a client that goes in the moment in which its turn has come is not asked for
--- modes: plain
--- config
    location /first/ {
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://app/;
        # the upstream is let go, and who is next knows it, but has not gone on yet
        log_by_lua_block { require("ffi").C.close(client) }
    }
    location /next/ {
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://app/;
        log_by_lua_block { ngx.shared.seen:set("next", ngx.var.status .. " " .. (ngx.var.upstream_addr or "nobody")) }
    }
--- lua
    local ffi = require "ffi"
    ffi.cdef [[
        struct to { uint16_t family, port; uint32_t addr; char rest[8]; };
        int socket(int, int, int);
        int connect(int, const struct to *, unsigned);
        long write(int, const char *, size_t);
        int close(int);
    ]]
    local bit = require "bit"
    local port = tonumber(ngx.var.server_port)
    local to = ffi.new("struct to", 2, ffi.abi("le") and bit.rshift(bit.bswap(port), 16) or port)
    ffi.copy(ffi.cast("char *", to) + 4, "\127\0\0\1", 4)
    local first = ngx.thread.spawn(get, "/first/?hold=go&s=0&n=a")
    comes_to(1, 0)
    -- no socket of nginx, so that a script of another request can close it
    client = ffi.C.socket(2, 1, 0)
    assert(ffi.C.connect(client, to, 16) == 0)
    local request = "GET /next/?n=b HTTP/1.1\r\nHost: x\r\n\r\n"
    assert(ffi.C.write(client, request, #request) == #request)
    comes_to(1, 1)
    ngx.shared.seen:set("go", true)
    local _, status = ngx.thread.wait(first)
    ngx.say(status, " ", testing.wait_for(function() return ngx.shared.seen:get("next") end))
    ngx.say(order(), " ", left())
--- response_body
200 499 nobody
a nothing left
--- error_log
client closed its connection while the request waited



=== TEST 19: who waits goes to a peer that comes, before any worker's next tick
--- zone: main:8m tick=60s
--- protect: limit=auto queue=10 timeout=9s
--- server: autoscale_balance least_request slow_start=0; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 max_conns=1;
--- http_config
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2; location / { return 200 "other"; } }
--- lua
    local r = {}
    begin(r, "/p/?hold=go&s=0&n=a")
    comes_to(1, 0)
    for i = 1, 4 do begin(r, "/p/?s=0&n=b") comes_to(1, i) end
    assert(require("ngx.autoscale").peer_add("app", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
    for i = 2, 5 do queue.is_over(r[i]) end
    -- the first one has its place still
    ngx.say(queue.levels())
    ngx.shared.seen:set("go", true)
    for _, one in ipairs(finish(r)) do ngx.print(one[1], " ", one[2], ", ") end
    ngx.say(left())
--- response_body
"active":1,"waiting":1,"queued":0
200 body 0, 200 other, 200 other, 200 other, 200 other, nothing left


=== TEST 20: a kept connection that its peer has closed costs no budget
--- modes: plain
--- protect: limit=100 retry_budget=20%
--- server: server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 max_fails=0; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 max_fails=0; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 max_fails=0;
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        location / {
            content_by_lua_block {
                if ngx.var.connection_requests == "2" then
                    ngx.shared.seen:incr("closed", 1, 0)
                    ngx.exit(444)
                end
                ngx.say("here")
            }
        }
        location /fail { content_by_lua_block { ngx.shared.seen:incr("tries", 1, 0) ngx.exit(500) } }
    }
--- config
    location /kept/ {
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream error timeout http_500;
        proxy_pass http://app/;
    }
--- lua
    local good, n = 0, 0
    repeat
        n = n + 1
        if get("/kept/") == "200" then good = good + 1 end
    until ngx.shared.seen:get("closed") == 120 or n == 1000
    ngx.say(n == good or good .. " of " .. n, " ", ngx.shared.seen:get("closed"))
    ngx.say(get("/kept/fail"))
    ngx.say(ngx.shared.seen:get("tries"))
--- response_body_like
^true 120
500.*
3$
--- no_error_log
has spent its retry budget


=== TEST 21: a backend that speaks HTTP/2: who waited is sent there, bodies and kept connections and all, and nobody is ejected
--- modes: plain
--- skip_eval: 2: AutoscaleLua::Env::nginx_version() < 1029004
--- server: server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; server 127.0.0.1:1 backup; autoscale_eject failures=1;
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        http2 on;
        client_body_buffer_size 64k;
        location / {
            content_by_lua_block {
                ngx.req.read_body()
                ngx.shared.seen:rpush("order", ngx.var.arg_n or "?")
                ngx.sleep(tonumber(ngx.var.arg_s) or 0.05)
                ngx.say(ngx.req.http_version(), " body ", #(ngx.req.get_body_data() or ""), " ", ngx.var.connection_requests)
            }
        }
    }
--- config
    location /h2/ { proxy_http_version 2; proxy_pass http://app/; }
    location /unbuffered/ { proxy_http_version 2; proxy_buffering off; proxy_request_buffering off; proxy_pass http://app/; }
--- lua
    local r = all{ {0, "/h2/?s=0.2&n=a"}, {0.05, "/h2/?n=b", { body = "hello" }},
                   {0.1, "/unbuffered/?n=c", { body = ("x"):rep(20000) }}, {0.15, "/unbuffered/?n=d"} }
    ngx.say(statuses(r), " ", order())
    for i = 1, 4 do ngx.say(r[i][2]) end
    for peer in require("ngx.autoscale").peers("app") do
        if not peer.backup then ngx.say(peer.state) end
    end
    ngx.say(left())
--- response_body
200 200 200 200 a b c d
2 body 0 1
2 body 5 2
2 body 20000 3
2 body 0 4
up
nothing left



=== TEST 22: when a place at a fast peer becomes free, one goes there, and nobody to a slow one that has places all the time
--- protect: limit=auto queue=10 timeout=9s
--- server: autoscale_balance peak_ewma slow_start=0; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 max_conns=1; server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 max_conns=2;
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        location / { content_by_lua_block { ngx.shared.seen:incr("slow", 1, 0) ngx.sleep(0.3) ngx.say("slow") } }
    }
--- lua
    local function four()
        ngx.shared.seen:set("slow", 0)
        local r = all{ {0, "/p/?s=0.02"}, {0, "/p/?s=0.02"}, {0, "/p/?s=0.02"}, {0, "/p/?s=0.02"} }
        assert(statuses(r) == "200 200 200 200", statuses(r))
        return ngx.shared.seen:get("slow")
    end
    -- the first ones are for getting to know both; a machine that stands still may make one of the others think that the fast one hangs
    local slow = {}
    for i = 1, 15 do
        slow[i] = four()
        if i > 4 and slow[i] == 0 then break end
    end
    ngx.say("to the slow one ", slow[1], " at first, then ", slow[#slow])
    ngx.say(left())
--- response_body_like
^to the slow one [1-9] at first, then 0
nothing left$
