# require "ngx.balancer": connections that are kept, where they come from, TLS for each attempt, and TLS sessions. The
# backends count: $connection_requests says how often a connection has been used.
use lib 't/lib';
use AutoscaleLua;
use IO::Socket::INET;

my $scratch = AutoscaleLua::Env::scratch();
$ENV{TEST_NGINX_SCRATCH} = $scratch;
$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";

my @held;
for my $name (qw(ONE TWO TLS NOBODY)) {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "no free port: $!\n";
    $ENV{"TEST_NGINX_$name"} = $socket->sockport;
    push @held, $socket;
}
@held = ();

# what most blocks share: a script that does as the request's arguments say, and a location that goes through it
my $script = <<'LUA';
balancer_by_lua_block {
    local balancer = require "ngx.balancer"
    local arg = ngx.req.get_uri_args()
    assert(balancer.set_current_peer(arg.ip or "127.0.0.1", arg.port or $TEST_NGINX_ONE, arg.host))
    if arg.from then assert(balancer.bind_to_local_addr(arg.from)) end
    if arg.tls then assert(balancer.set_upstream_tls(arg.tls == "on")) end
    if not arg.once then
        assert(balancer.enable_keepalive(tonumber(arg.idle), tonumber(arg.requests)))
    end
}
LUA

add_block_preprocessor(sub {
    my $block = shift;
    my $conf = ($block->http_config // '') . <<'CONF';
proxy_http_version 1.1;
proxy_set_header Connection "";
server { listen 127.0.0.1:$TEST_NGINX_ONE; listen 127.0.0.2:$TEST_NGINX_ONE;
    location / { return 200 "one $connection_requests\n"; }
    location /from { return 200 "$remote_addr $connection_requests\n"; }
    location /close { add_header Connection close; return 200 "one $connection_requests\n"; }
    location /short { keepalive_timeout 10ms; return 200 "one $connection_requests\n"; }
    location /slow { content_by_lua_block { ngx.say("one ", ngx.var.connection_requests) ngx.flush(true) ngx.sleep(0.3) ngx.say("end") } }
    location /breaks { content_by_lua_block {
        if ngx.var.connection_requests == "2" then ngx.exit(444) end
        ngx.say("one ", ngx.var.connection_requests) } } }
server { listen 127.0.0.1:$TEST_NGINX_TWO;
    location / { return 200 "two $connection_requests\n"; } }
server { listen 127.0.0.1:$TEST_NGINX_TLS ssl;
    ssl_certificate $TEST_NGINX_CERTS/server.crt;
    ssl_certificate_key $TEST_NGINX_CERTS/server.key;
    ssl_verify_client optional_no_ca;
    location / { return 200 "$ssl_server_name $connection_requests\n"; }
    location /session { keepalive_timeout 0; return 200 "$ssl_session_reused $connection_requests\n"; }
    location /client { return 200 "$ssl_client_s_dn $connection_requests\n"; } }
CONF
    $conf =~ s/SCRIPT/$script/g;
    $block->set_value('http_config', $conf);
});

run_tests();

__DATA__

=== TEST 1: a connection is used again
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
["one 1\n", "one 2\n", "one 3\n"]
--- once


=== TEST 2: only if the script says so, for this attempt
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
["GET /t?once=1", "GET /t", "GET /t?once=1", "GET /t"]
--- response_body eval
["one 1\n", "one 1\n", "one 1\n", "one 2\n"]
--- once


=== TEST 3: each address has its own
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
["GET /t", "GET /t?port=$ENV{TEST_NGINX_TWO}", "GET /t?ip=127.0.0.2", "GET /t?port=$ENV{TEST_NGINX_TWO}", "GET /t", "GET /t?ip=127.0.0.2"]
--- response_body eval
["one 1\n", "two 1\n", "one 1\n", "two 2\n", "one 2\n", "one 2\n"]
--- once


=== TEST 4: each upstream has its own
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
    upstream other { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass http://app/; }
    location = /other { proxy_pass http://other/; }
--- pipelined_requests eval
["GET /t", "GET /other", "GET /t"]
--- response_body eval
["one 1\n", "one 1\n", "one 2\n"]
--- once


=== TEST 5: with TLS each name has its own, be it the script's or nginx's, in whatever letters
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    proxy_ssl_server_name on;
    location = /host { proxy_pass https://app/; }
    location = /name { proxy_pass https://app/; proxy_ssl_name $arg_name; }
--- pipelined_requests eval
[map { "GET $_" =~ s/\?/?port=$ENV{TEST_NGINX_TLS}&/r } qw(
    /host?host=a.test /host?host=b.test /host?host=A.test /host? /host?host=b.test
    /name?name=a.test /name?name=b.test /name?name=a.test)]
--- response_body eval
["a.test 1\n", "b.test 1\n", "a.test 2\n", "app 1\n", "b.test 2\n", "a.test 1\n", "b.test 1\n", "a.test 2\n"]
--- once


=== TEST 6: a connection without a verified peer serves nobody who wants it verified
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /any { proxy_pass https://app/; proxy_ssl_name localhost; }
    location = /sure { proxy_pass https://app/; proxy_ssl_name localhost; proxy_ssl_verify on;
        proxy_ssl_trusted_certificate $TEST_NGINX_CERTS/client.crt; }
--- pipelined_requests eval
[map { "GET /$_?port=$ENV{TEST_NGINX_TLS}" } qw(any sure any)]
--- error_code eval
[200, 502, 200]
--- response_body_like eval
[qw(1 502 2)]
--- allow_log
upstream SSL certificate verify error
--- once


=== TEST 7: nor does one with a client's certificate serve another client, though it depends on the request alone
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass https://app/client;
        proxy_ssl_certificate $TEST_NGINX_CERTS/$arg_cert.crt;
        proxy_ssl_certificate_key $TEST_NGINX_CERTS/$arg_cert.key; }
--- pipelined_requests eval
[map { "GET /t?port=$ENV{TEST_NGINX_TLS}&cert=$_" } qw(client deep client)]
--- response_body_like eval
["1\$", "1\$", "2\$"]
--- once


=== TEST 8: a script turns TLS off and on, and connections with and without it are not mixed
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass https://app/; proxy_ssl_server_name on; add_header X-Addr $upstream_addr; }
--- pipelined_requests eval
["GET /t?tls=off", "GET /t?tls=off", "GET /t?port=$ENV{TEST_NGINX_TLS}", "GET /t?tls=off&port=$ENV{TEST_NGINX_TLS}",
    "GET /t?tls=on&port=$ENV{TEST_NGINX_TLS}"]
--- error_code eval
[200, 200, 200, 400, 200]
--- response_body_like eval
["one 1", "one 2", "app 1", "plain HTTP request was sent to HTTPS port", "app 2"]
--- once


=== TEST 9: TLS is refused where there are no settings for it
--- http_config
    upstream app { server 0.0.0.1; balancer_by_lua_block {
        local balancer = require "ngx.balancer"
        assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_ONE))
        ngx.ctx.answer = { balancer.set_upstream_tls(true) }
        assert(balancer.set_upstream_tls(false))
    } }
--- config
    location = /t { proxy_pass http://app/; header_filter_by_lua_block { ngx.header.x_answer = ngx.ctx.answer[2] } }
--- response_headers
X-Answer: no TLS settings: the location passes requests on without TLS


=== TEST 10: a connection serves as many requests as the script allows; 0 is without end
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
[("GET /t?requests=2") x 4, ("GET /t?requests=0") x 3]
--- response_body eval
["one 1\n", "one 2\n", "one 1\n", "one 2\n", "one 1\n", "one 2\n", "one 3\n"]
--- once


=== TEST 11: without a number it serves 100
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /app { proxy_pass http://app/; }
    location = /t { content_by_lua_block {
        local bodies = {}
        for i = 1, 101 do bodies[i] = ngx.location.capture("/app").body end
        ngx.print(bodies[1], bodies[100], bodies[101])
    } }
--- response_body
one 1
one 100
one 1
--- once


=== TEST 12: it is closed when it has waited long enough; 0 is for ever
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /app { proxy_pass http://app/; }
    location = /t { content_by_lua_block {
        for _, idle in ipairs { "0.02", "0.02", "0", "0" } do
            ngx.print(ngx.location.capture("/app", { args = { idle = idle } }).body)
            ngx.sleep(0.06)
        end
    } }
--- response_body
one 1
one 1
one 1
one 2
--- once


=== TEST 13: no more are kept than there is room for: the one that has waited longest goes
--- http_config
    upstream app { server 0.0.0.1; balancer_keepalive 2; SCRIPT }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
[map { "GET /t?$_" } "", "port=$ENV{TEST_NGINX_TWO}", "", "ip=127.0.0.2", "", "port=$ENV{TEST_NGINX_TWO}"]
--- response_body eval
["one 1\n", "two 1\n", "one 2\n", "one 1\n", "one 3\n", "two 1\n"]
--- once


=== TEST 14: one that its peer closes is gone at once, and costs no attempt
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t {
        access_by_lua_block { ngx.sleep(0.05) }
        proxy_pass http://app/short;
        add_header X-Addr $upstream_addr;
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_headers eval
[("X-Addr: 127.0.0.1:$ENV{TEST_NGINX_ONE}") x 2]
--- response_body eval
["one 1\n", "one 1\n"]
--- once


=== TEST 15: one whose peer does not want it kept is not
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass http://app/close; }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["one 1\n", "one 1\n"]
--- once


=== TEST 16: nor is one whose client left before the end of the answer
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /slow { proxy_pass http://app/slow; proxy_buffering off; }
    location = /app { proxy_pass http://app/; }
    location = /t { content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        assert(sock:send("GET /slow HTTP/1.0\r\n\r\n"))
        repeat local line = assert(sock:receive()) until line == ""
        sock:close()
        ngx.sleep(0.05)
        ngx.print(ngx.location.capture("/app").body)
    } }
--- response_body
one 1
--- once


=== TEST 17: a kept connection that breaks is tried anew, without using up the only try
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass http://app/breaks; }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["one 1\n", "one 1\n"]
--- allow_log
upstream prematurely closed connection
--- once


=== TEST 18: a script says for each attempt whether it is kept
--- http_config
    upstream app { server 0.0.0.1; balancer_by_lua_block {
        local balancer = require "ngx.balancer"
        if balancer.get_last_failure() then
            assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_ONE))
            if ngx.var.arg_again then assert(balancer.enable_keepalive()) end
        else
            assert(balancer.set_more_tries(1))
            assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_NOBODY))
            assert(balancer.enable_keepalive())
        end
    } }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
["GET /t", "GET /t?again=1", "GET /t?again=1"]
--- response_body eval
["one 1\n", "one 1\n", "one 2\n"]
--- allow_log
Connection refused
--- once


=== TEST 19: connections come from the address that the script names, and each has its own
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass http://app/from; }
--- pipelined_requests eval
[map { "GET /t?$_" } qw(from=127.0.0.11 from=127.0.0.12 from=127.0.0.11 a=b from=127.0.0.12 a=b)]
--- response_body eval
["127.0.0.11 1\n", "127.0.0.12 1\n", "127.0.0.11 2\n", "127.0.0.1 1\n", "127.0.0.12 2\n", "127.0.0.1 2\n"]
--- once


=== TEST 20: nginx's own keepalive around the script takes what it would keep
--- http_config
    upstream app { server 0.0.0.1; SCRIPT keepalive 4; }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
["GET /t", "GET /t?once=1", "GET /t"]
--- response_body eval
["one 1\n", "one 2\n", "one 3\n"]
--- once


=== TEST 21: nginx's own keepalive before the script has what the script leaves to the block; since 1.29.7, where it stands makes no difference
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_ONE;
        keepalive 4;
        balancer_by_lua_block {
            if ngx.var.arg_port then
                assert(require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.arg_port))
            end
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
["GET /t", "GET /t?port=$ENV{TEST_NGINX_TWO}", "GET /t", "GET /t?port=$ENV{TEST_NGINX_TWO}"]
--- response_body eval
["one 1\n", "two 1\n", "one 2\n", AutoscaleLua::Env::nginx_version() < 1029007 ? "two 1\n" : "two 2\n"]
--- once


=== TEST 22: and so has any other method before the script
--- http_config
    upstream app {
        hash $arg_key;
        server 127.0.0.1:$TEST_NGINX_ONE;
        server 127.0.0.1:$TEST_NGINX_TWO;
        balancer_by_lua_block { }
    }
--- config
    location = /app { proxy_pass http://app/; }
    location = /t { content_by_lua_block {
        local seen = {}
        for key = 1, 16 do
            local first = ngx.location.capture("/app?key=" .. key).body
            assert(ngx.location.capture("/app?key=" .. key).body == first)
            seen[first] = true
        end
        ngx.say(seen["one 1\n"], " ", seen["two 1\n"])
    } }
--- response_body
true true


=== TEST 23: an upstream needs no server, as long as the script names a peer
--- http_config
    upstream app { balancer_by_lua_block {
        if ngx.var.arg_port then assert(require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.arg_port)) end
    } }
    upstream late { balancer_by_lua_block { } server 127.0.0.1:$TEST_NGINX_TWO; }
--- config
    location = /t { proxy_pass http://app/; }
    location = /late { proxy_pass http://late/; }
--- request eval
["GET /t?port=$ENV{TEST_NGINX_ONE}", "GET /t", "GET /late", "GET /late"]
--- error_code eval
[200, 500, 200, 200]
--- response_body_like eval
["one 1", "500", "two 1", "two 1"]
--- allow_log
lua balancer: no peer set
--- once


=== TEST 24: the next handshake with a peer is a short one, with the same name alone
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass https://app/session; proxy_ssl_server_name on; }
    location = /never { proxy_pass https://app/session; proxy_ssl_session_reuse off; }
--- pipelined_requests eval
[map { "GET /$_&once=1&port=$ENV{TEST_NGINX_TLS}" }
    qw(t?host=a.test t?host=a.test t?host=b.test t?host=b.test t?host=a.test never?a never?a)]
--- response_body eval
[". 1\n", "r 1\n", ". 1\n", "r 1\n", "r 1\n", ". 1\n", ". 1\n"]
--- once


=== TEST 25: bad arguments, and a script that has not named its peer yet
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_ONE; balancer_by_lua_block {
        local balancer = require "ngx.balancer"
        ngx.log(ngx.NOTICE, "try: ", select(2, balancer.enable_keepalive()), ";")
        ngx.log(ngx.NOTICE, "try: ", select(2, balancer.bind_to_local_addr("nowhere")), ";")
        local function try(f, ...)
            local ok, err = pcall(function(...) balancer[f](...) end, ...)
            ngx.log(ngx.NOTICE, "try: ", err, ";")
        end
        try("enable_keepalive", true)
        try("enable_keepalive", -1)
        try("enable_keepalive", 0/0)
        try("enable_keepalive", nil, "1")
        try("enable_keepalive", nil, -1)
        try("bind_to_local_addr", 80)
    } }
--- config
    location = /t { proxy_pass http://app/; }
--- response_body
one 1
--- grep_error_log eval: qr/try: (?:balancer_by_lua\(nginx\.conf:\d+\):6: )?[^;]*/
--- grep_error_log_out eval
my $lines = CORE::join '', (map { "try: $_\n" } "no current peer set", "invalid addr nowhere"),
    map { qr/try: balancer_by_lua\(nginx\.conf:\d+\):6: \Q$_\E\n/ }
    "bad argument #1 to 'enable_keepalive' (number expected, got boolean)",
    "bad argument #1 to 'enable_keepalive' (expected >= 0)",
    "bad argument #1 to 'enable_keepalive' (expected >= 0)",
    "bad argument #2 to 'enable_keepalive' (number expected, got string)",
    "bad argument #2 to 'enable_keepalive' (expected >= 0)",
    "bad argument #1 to 'bind_to_local_addr' (string expected, got number)";
qr/\A$lines\z/


=== TEST 26: room for none is a mistake
--- http_config
    upstream app { server 0.0.0.1; balancer_keepalive 0; SCRIPT }
--- config
    location = /t { proxy_pass http://app/; }
--- must_die
--- error_log
invalid value "0" in "balancer_keepalive" directive


=== TEST 27: a worker that is to stop does not wait for its idle connections, with TLS or without
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
    lua_shared_dict seen 64k;
--- config
    location = /plain { proxy_pass http://app/; }
    location = /tls { proxy_pass https://app/; }
    location = /t { content_by_lua_block {
        ngx.location.capture("/plain?idle=0")
        ngx.location.capture("/tls?idle=0&port=$TEST_NGINX_TLS")
        local pid = ngx.worker.pid()
        assert(ngx.shared.seen:add("old", pid))
        os.execute("kill -HUP " .. require("ngx.process").get_master_pid())
        while not ngx.worker.exiting() do ngx.sleep(0.01) end
        ngx.say("reloads")
    } }
    location = /gone { content_by_lua_block {
        local pid = ngx.shared.seen:get("old")
        for _ = 1, 100 do
            local stat = io.open("/proc/" .. pid .. "/stat")
            if not stat then ngx.say("gone") return end
            stat:close()
            ngx.sleep(0.02)
        end
        ngx.say("still there")
    } }
--- request eval
["GET /t", "GET /gone"]
--- response_body eval
["reloads\n", "gone\n"]
--- once
--- modes: plain


=== TEST 28: where a script chooses the certificate, a connection serves nobody else
--- http_config
    upstream app { server 0.0.0.1; SCRIPT }
--- config
    location = /t { proxy_pass https://app/; proxy_ssl_certificate_by_lua_block { return } }
    location = /reused { proxy_pass https://app/session; proxy_ssl_certificate_by_lua_block { return } }
    location = /plain { proxy_pass https://app/; }
--- pipelined_requests eval
[map { "GET /$_?port=$ENV{TEST_NGINX_TLS}" } qw(t t reused reused plain plain)]
--- response_body eval
[" 1\n", " 1\n", ". 1\n", ". 1\n", " 1\n", " 2\n"]
--- once
