# balancer_by_lua and require "ngx.balancer": a script chooses the peer of each attempt.
use lib 't/lib';
use AutoscaleLua;
use IO::Socket::INET;

# what the TLS blocks answer with
my $scratch = AutoscaleLua::Env::scratch();
$ENV{TEST_NGINX_SCRATCH} = $scratch;
system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test -days 2"
    . " -keyout $scratch/key.pem -out $scratch/cert.pem 2>/dev/null") == 0
    or die "openssl cannot make a certificate\n";

my @held;
# ports that were free a moment ago, under names that eval sections know too
for my $name (qw(ONE TWO THREE NOBODY)) {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "no free port: $!\n";
    $ENV{"TEST_NGINX_$name"} = $socket->sockport;
    push @held, $socket;
}
@held = ();

# two backends that say who they are, and a port where nobody listens
add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->no_fleet;
    my $conf = <<'CONF';
server { listen 127.0.0.1:$TEST_NGINX_ONE;
    location / { return 200 "one\n"; }
    location /host { return 200 "$http_host\n"; }
    location /header { return 200 "$http_x_try\n"; }
    location /count { return 200 "$connection_requests\n"; } }
server { listen 127.0.0.1:$TEST_NGINX_TWO;
    location / { return 200 "two\n"; }
    location /missing { return 404; }
    location /broken { return 500; } }
CONF
    $block->set_value('http_config', ($block->http_config // '') . $conf);
});

run_tests();

__DATA__

=== TEST 1: each request goes where its script says, and $upstream_addr tells
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", ngx.var.arg_port))
        }
    }
--- config
    location = /t {
        proxy_pass http://app/;
        add_header X-Addr $upstream_addr;
    }
--- request eval
["GET /t?port=$ENV{TEST_NGINX_ONE}", "GET /t?port=$ENV{TEST_NGINX_TWO}"]
--- response_body eval
["one\n", "two\n"]
--- response_headers eval
["X-Addr: 127.0.0.1:$ENV{TEST_NGINX_ONE}", "X-Addr: 127.0.0.1:$ENV{TEST_NGINX_TWO}"]


=== TEST 2: without a peer it is round robin over the block's servers
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_ONE;
        server 127.0.0.1:$TEST_NGINX_TWO;
        balancer_by_lua_block { ngx.ctx.ran = true }
    }
--- config
    location = /t {
        proxy_pass http://app/;
        log_by_lua_block { ngx.log(ngx.NOTICE, "ran: ", ngx.ctx.ran) }
    }
--- request eval
["GET /t", "GET /t", "GET /t"]
--- response_body_like eval
["one|two", "one|two", "one|two"]
--- error_log
ran: true


=== TEST 3: round robin under a script retries, and respects backup servers
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_NOBODY;
        server 127.0.0.1:$TEST_NGINX_ONE backup;
        balancer_by_lua_block { ngx.log(ngx.NOTICE, "asked") }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- response_body
one
--- grep_error_log: asked
--- grep_error_log_out
asked
asked
--- once


=== TEST 4: the script is in a file
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_file html/choose.lua;
    }
--- user_files
>>> choose.lua
require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.arg_port)
--- config
    location = /t { proxy_pass http://app/; }
--- request eval
"GET /t?port=$ENV{TEST_NGINX_TWO}"
--- response_body
two


=== TEST 5: a file that is not there is a 500
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_file html/none.lua;
    }
--- config
    location = /t { proxy_pass http://app/; }
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log
failed to load external Lua file


=== TEST 6: an error in the script is a 500 and a log line that names the place
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            error("no idea")
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log eval
qr/\[error\].*failed to run balancer_by_lua\*: balancer_by_lua\(nginx\.conf:\d+\):2: no idea/


=== TEST 7: whatever a script throws is a 500
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local what = ngx.var.arg_what
            if what == "table" then error({}) end
            if what == "nil" then error() end
            local function deep() return 1 + deep() end
            deep()
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- request eval
["GET /t?what=table", "GET /t?what=nil", "GET /t?what=stack"]
--- error_code eval
[500, 500, 500]
--- error_log
failed to run balancer_by_lua*: 


=== TEST 8: a mistake in the block stops nginx from starting
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block { local x = = 1 }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- must_die
--- error_log
failed to load inlined Lua code: balancer_by_lua(nginx.conf:
--- no_fleet


=== TEST 9: an upstream has one script
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block { }
        balancer_by_lua_block { }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- must_die
--- error_log
is duplicate
--- no_fleet


=== TEST 10: outside of an upstream there is no such directive
--- config
    location = /t { balancer_by_lua_block { } }
--- must_die
--- error_log
"balancer_by_lua_block" directive is not allowed here
--- no_fleet


=== TEST 11: an earlier balancing method is replaced where the script names a peer
--- http_config
    upstream app {
        least_conn;
        server 0.0.0.1;
        balancer_by_lua_block {
            require("ngx.balancer").set_current_peer("127.0.0.1", $TEST_NGINX_ONE)
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- response_body
one


=== TEST 12: exit with a status answers with that status
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block { ngx.exit(tonumber(ngx.var.arg_code)) }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- pipelined_requests eval
["GET /t?code=403", "GET /t?code=503", "GET /t?code=429", "GET /t?code=500"]
--- error_code eval
[403, 503, 429, 500]
--- response_body_like eval
["403 Forbidden", "503 Service Temporarily Unavailable", "429 Too Many Requests", "500 Internal Server Error"]


=== TEST 13: exit with a status sends no body to HEAD
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block { ngx.exit(403) }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- request eval
["HEAD /t", "HEAD /t"]
--- error_code eval
[403, 403]
--- response_body eval
["", ""]


=== TEST 14: the error page of the exit's status is used, and not that of 500
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block { ngx.exit(tonumber(ngx.var.arg_code)) }
    }
--- config
    error_page 403 /forbidden;
    error_page 404 /far;
    error_page 500 /broken;
    location = /t { proxy_pass http://app/; }
    location = /forbidden { return 200 "my 403\n"; }
    location = /broken { return 200 "my 500\n"; }
    location = /far { proxy_pass http://127.0.0.1:$TEST_NGINX_ONE/; }
--- pipelined_requests eval
["GET /t?code=403", "GET /t?code=404", "GET /t?code=404", "GET /t?code=500"]
--- error_code eval
[403, 404, 404, 500]
--- response_body eval
["my 403\n", "one\n", "one\n", "my 500\n"]


=== TEST 15: exit with OK goes on, exit with ERROR is a 500
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_ONE;
        balancer_by_lua_block { ngx.exit(ngx[ngx.var.arg_code]) }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- request eval
["GET /t?code=OK", "GET /t?code=ERROR", "GET /t?code=HTTP_OK"]
--- error_code eval
[200, 500, 500]


=== TEST 16: exit with DECLINED uses up an attempt, and never loops
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_ONE;
        server 127.0.0.1:$TEST_NGINX_TWO;
        balancer_by_lua_block {
            ngx.log(ngx.NOTICE, "asked")
            ngx.exit(ngx.DECLINED)
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- error_code: 502
--- grep_error_log: asked
--- grep_error_log_out
asked
asked


=== TEST 17: exit 444 closes the connection
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block { ngx.exit(444) }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- error_code:
--- response_body:
--- ignore_response


=== TEST 18: more tries lead to the next peer, which learns how the last one failed
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            local state, status = balancer.get_last_failure()
            ngx.log(ngx.NOTICE, "last: ", state, " ", status, ";")
            ngx.ctx.n = (ngx.ctx.n or 0) + 1
            if ngx.ctx.n == 1 then
                assert(balancer.set_more_tries(2))
                assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_NOBODY))
            elseif ngx.ctx.n == 2 then
                assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_TWO))
            else
                assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_ONE))
            end
        }
    }
--- config
    location = /t {
        proxy_pass http://app/missing;
        proxy_next_upstream error http_404;
        add_header X-Addr $upstream_addr;
        add_header X-Status $upstream_status;
    }
--- response_body
one
--- response_headers eval
["X-Addr: 127.0.0.1:$ENV{TEST_NGINX_NOBODY}, 127.0.0.1:$ENV{TEST_NGINX_TWO}, 127.0.0.1:$ENV{TEST_NGINX_ONE}\nX-Status: 502, 404, 200"]
--- grep_error_log eval: qr/last: [^;]*/
--- grep_error_log_out
last: nil nil
last: failed 502
last: next 404


=== TEST 19: tries are bounded by proxy_next_upstream_tries, which the script is told
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            local ok, err = balancer.set_more_tries(5)
            ngx.log(ngx.NOTICE, "more: ", ok, " ", err, ";")
            assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_NOBODY))
        }
    }
--- config
    location = /t {
        proxy_pass http://app/;
        proxy_next_upstream_tries 3;
    }
--- error_code: 502
--- grep_error_log eval: qr/more: [^;]*/
--- grep_error_log_out
more: true reduced tries due to limit
more: true reduced tries due to limit
more: true reduced tries due to limit


=== TEST 20: without more tries a placeholder's upstream has one attempt
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            ngx.log(ngx.NOTICE, "asked")
            assert(require("ngx.balancer").set_current_peer("127.0.0.1", $TEST_NGINX_NOBODY))
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- error_code: 502
--- grep_error_log: asked
--- grep_error_log_out
asked


=== TEST 21: IPv6 and unix sockets are peers too
--- http_config
    server { listen [::1]:$TEST_NGINX_THREE; location / { return 200 "six\n"; } }
    server { listen unix:$TEST_NGINX_SCRATCH/app.sock; location / { return 200 "unix\n"; } }
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            if ngx.var.arg_kind == "six" then
                assert(balancer.set_current_peer("[0:0::1]", $TEST_NGINX_THREE))
            else
                assert(balancer.set_current_peer("unix:$TEST_NGINX_SCRATCH/app.sock"))
            end
        }
    }
--- config
    location = /t {
        proxy_pass http://app/;
        add_header X-Addr $upstream_addr;
    }
--- request eval
["GET /t?kind=six", "GET /t?kind=unix"]
--- response_body eval
["six\n", "unix\n"]
--- response_headers_like eval
["X-Addr: \\[::1\\]:$ENV{TEST_NGINX_THREE}", "X-Addr: unix:/.*/app.sock"]


=== TEST 22: an address may bring its own port
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            assert(require("ngx.balancer").set_current_peer("127.0.0.1:$TEST_NGINX_TWO", 1))
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- response_body
two


=== TEST 23: what is no address is refused with a reason
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_ONE;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            local function try(...)
                local ok, err = balancer.set_current_peer(...)
                ngx.log(ngx.NOTICE, "try: ", ok, " ", err, ";")
            end
            try("example.com", 80)
            try("", 80)
            try("127.0.0.1", 65536)
            try("127.0.0.1", -1)
            try("127.0.0.1", 80.5)
            try("127.0.0.1", 0/0)
            try("127.0.0.1:99999")
            try("unix:")
            try("unix:/" .. ("x"):rep(200))
            try("[::1", 80)
            try("127.0.0.1/x", 80)
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- response_body
one
--- grep_error_log eval: qr/try: [^;]*/
--- grep_error_log_out
try: nil no host allowed
try: nil no host
try: nil invalid port
try: nil invalid port
try: nil invalid port
try: nil invalid port
try: nil invalid port
try: nil no path in the unix domain socket
try: nil too long path in the unix domain socket
try: nil invalid host
try: nil invalid host


=== TEST 24: arguments of the wrong type point at the user's line
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_ONE;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            local function try(f, ...)
                local ok, err = pcall(function(...) balancer[f](...) end, ...)
                ngx.log(ngx.NOTICE, "try: ", err, ";")
            end
            try("set_current_peer", nil, 80)
            try("set_current_peer", "127.0.0.1", {})
            try("set_current_peer", "127.0.0.1", 80, 7)
            try("set_more_tries", "x")
            try("set_timeouts", 0)
            try("set_timeouts", nil, -1)
            try("set_timeouts", nil, nil, "1")
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- response_body
one
--- grep_error_log eval: qr/try: balancer_by_lua\(nginx\.conf:\d+\):4: [^;]*/
--- grep_error_log_out eval
my $lines = CORE::join '', map { qr/try: balancer_by_lua\(nginx\.conf:\d+\):4: \Q$_\E\n/ }
    "bad argument #1 to 'set_current_peer' (string expected, got nil)",
    "bad argument #2 to 'set_current_peer' (number expected, got table)",
    "bad argument #3 to 'set_current_peer' (string expected, got number)",
    "bad argument #1 to 'set_more_tries' (number expected, got string)",
    "bad connect timeout", "bad send timeout", "bad read timeout";
qr/\A$lines\z/


=== TEST 25: in other phases the functions say no
--- lua
    local balancer = require "ngx.balancer"
    ngx.say(balancer.set_current_peer("127.0.0.1", 80))
    ngx.say(balancer.set_more_tries(1))
    ngx.say(balancer.get_last_failure())
    ngx.say(balancer.set_timeouts(1, 1, 1))
    ngx.say(balancer.recreate_request())
--- response_body
nilno upstream found
nilno upstream found
nilnilno upstream found
falseno upstream found
nilno upstream found


=== TEST 26: after the balancer has run, its functions say no
--- config
    location = /t {
        proxy_pass http://127.0.0.1:$TEST_NGINX_ONE/;
        log_by_lua_block {
            local balancer = require "ngx.balancer"
            local _, err = balancer.set_current_peer("127.0.0.1", 80)
            ngx.log(ngx.NOTICE, "log says ", err)
        }
    }
--- response_body
one
--- error_log
log says API disabled in the current context


=== TEST 27: in init there is no request
--- http_config
    init_by_lua_block {
        local ok, err = pcall(require("ngx.balancer").set_current_peer, "127.0.0.1", 80)
        SAID = err
    }
--- lua
    ngx.say(SAID)
--- response_body
no request found


=== TEST 28: what waits is not for this phase
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            ngx.sleep(0.01)
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- error_code: 500
--- error_log eval
qr/balancer_by_lua\(nginx\.conf:\d+\):2: API disabled in the context of balancer_by_lua\*/


=== TEST 29: a connection is kept by the keepalive directive and found again by its address
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            assert(require("ngx.balancer").set_current_peer("127.0.0.1", $TEST_NGINX_ONE))
        }
        keepalive 4;
    }
--- config
    location = /t {
        proxy_pass http://app/count;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
["1\n", "2\n", "3\n"]
--- once


=== TEST 30: a read timeout set by the script holds for its request alone
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            if ngx.var.arg_timeout then
                assert(balancer.set_timeouts(nil, nil, tonumber(ngx.var.arg_timeout)))
            end
            assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_THREE))
        }
    }
    server { listen 127.0.0.1:$TEST_NGINX_THREE;
        location / { content_by_lua_block { ngx.sleep(0.3) ngx.say("slow") } } }
--- config
    location = /t { proxy_pass http://app/; }
--- request eval
["GET /t?timeout=0.05", "GET /t"]
--- error_code eval
[504, 200]


=== TEST 31: the request is composed anew for the next attempt
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            ngx.ctx.n = (ngx.ctx.n or 0) + 1
            if ngx.ctx.n == 1 then
                assert(balancer.set_more_tries(1))
                assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_NOBODY))
            else
                ngx.var.try = "second"
                assert(balancer.recreate_request())
                assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_ONE))
            end
        }
    }
--- config
    location = /t {
        set $try first;
        proxy_set_header X-Try $try;
        proxy_pass http://app/header;
    }
--- request
POST /t
the body goes along
--- response_body
second


=== TEST 32: a body follows a request that was composed anew, once
--- http_config
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.recreate_request())
            assert(balancer.recreate_request())
            assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_SERVER_PORT))
        }
    }
--- config
    location = /t { proxy_pass http://app/echo; }
    location = /echo {
        content_by_lua_block { ngx.say(ngx.var.content_length) }
    }
--- request
POST /t
0123456789
--- response_body
10


=== TEST 33: the host is the TLS name, and a kept connection serves no other name
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_THREE ssl;
        listen [::1]:$TEST_NGINX_THREE ssl;
        listen unix:$TEST_NGINX_SCRATCH/tls.sock ssl;
        ssl_certificate $TEST_NGINX_SCRATCH/cert.pem;
        ssl_certificate_key $TEST_NGINX_SCRATCH/key.pem;
        location / { return 200 "$ssl_server_name $connection_requests\n"; }
    }
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local addr = ngx.var.arg_addr
            if addr == "unix" then addr = "unix:$TEST_NGINX_SCRATCH/tls.sock" end
            assert(require("ngx.balancer").set_current_peer(addr, $TEST_NGINX_THREE, ngx.var.arg_host))
        }
        keepalive 16;
    }
--- config
    location = /t {
        proxy_pass https://app/;
        proxy_ssl_server_name on;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
--- pipelined_requests eval
[map { my $addr = $_; map { "GET /t?addr=$addr$_" } "&host=a.test", "&host=b.test", "&host=a.test", "", "&host=b.test" }
    "127.0.0.1", "[::1]", "unix"]
--- response_body eval
[map { ("a.test 1\n", "b.test 1\n", "a.test 2\n", "app 1\n", "b.test 2\n") } 1 .. 3]
--- once


=== TEST 34: a host given for one attempt is not that of the next
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_THREE ssl;
        ssl_certificate $TEST_NGINX_SCRATCH/cert.pem;
        ssl_certificate_key $TEST_NGINX_SCRATCH/key.pem;
        location / { return 200 "$ssl_server_name\n"; }
    }
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            if balancer.get_last_failure() then
                assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_THREE))
            else
                assert(balancer.set_more_tries(1))
                assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_NOBODY, "first.test"))
            end
        }
    }
--- config
    location = /t {
        proxy_pass https://app/;
        proxy_ssl_server_name on;
    }
--- response_body
app


=== TEST 35: a zone in the upstream does not disturb the script
--- http_config
    upstream app {
        zone app 64k;
        server 127.0.0.1:$TEST_NGINX_TWO;
        balancer_by_lua_block {
            if ngx.var.arg_one then
                assert(require("ngx.balancer").set_current_peer("127.0.0.1", $TEST_NGINX_ONE))
            end
        }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- request eval
["GET /t", "GET /t?one=1", "GET /t"]
--- response_body eval
["two\n", "one\n", "two\n"]


=== TEST 36: with lua_code_cache off the script runs in the request's own VM
--- http_config
    lua_code_cache off;
    upstream app {
        server 0.0.0.1;
        balancer_by_lua_block {
            COUNT = (COUNT or 0) + 1
            ngx.log(ngx.NOTICE, "count ", COUNT)
            assert(require("ngx.balancer").set_current_peer("127.0.0.1", $TEST_NGINX_ONE))
        }
    }
--- allow_log
lua_code_cache is off
--- config
    location = /t { proxy_pass http://app/; }
--- request eval
["GET /t", "GET /t"]
--- response_body eval
["one\n", "one\n"]
--- error_log
count 1
--- no_error_log
count 2
--- allow_log
lua_code_cache is off



=== TEST 37: the phase is called balancer
--- http_config
    upstream app {
        server 127.0.0.1:$TEST_NGINX_ONE;
        balancer_by_lua_block { ngx.log(ngx.NOTICE, "phase ", ngx.get_phase(), ";") }
    }
--- config
    location = /t { proxy_pass http://app/; }
--- response_body
one
--- error_log
phase balancer;
