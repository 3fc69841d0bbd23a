# Every public API in every phase: the rows are in t/phase/lua/matrix.lua. One block, because its requests, some 2,800,
# are answered by one nginx; each cell of the matrix is a test.
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Matrix;
run_tests();

__DATA__

=== TEST 1: each API answers, or is refused, as it should be in each phase
--- main_config
env "MATRIX=is set";
--- http_config eval
my $lua = "$AutoscaleLua::Env::ROOT/t/phase/lua";
my $certs = "$AutoscaleLua::Env::ROOT/t/cert";
<<"CONF"
    lua_package_path "$lua/?.lua;;";
    lua_shared_dict matrix_seen 4m;
    lua_shared_dict matrix_scratch 1m;
    lua_shared_dict matrix_flushed 128k;
    lua_capture_error_log 64k;
    autoscale_zone main:8m;
    autoscale_target matrix webhook:http://127.0.0.1:1/ min=1 max=1 timeout=10ms;
    autoscale_policy matrix target=matrix { mode observe; track self.rate per=100; }
    upstream matrix_canary { server 127.0.0.1:1; }
    autoscale_split \$matrix_split { matrix_plain 95%; matrix_canary 5%; }
    init_by_lua_block {
        require("matrix").port = \$TEST_NGINX_SERVER_PORT
        require("matrix").file = "$lua/matrix.lua"
        require("matrix").tls_port = \$TEST_NGINX_SERVER_PORT + 1
        require("run_matrix").all("init")
    }
    init_worker_by_lua_block {
        require("run_matrix").all("init_worker")
        assert(ngx.timer.at(0, function() require("run_matrix").all_in_timers() end))
    }
    exit_worker_by_lua_block { require("run_matrix").all("exit_worker") }
    ssl_session_fetch_by_lua_block { require("run_matrix").shaking("ssl_session_fetch") }
    ssl_session_store_by_lua_block { require("run_matrix").shaking("ssl_session_store") }
    server {
        # a client that could speak TLS 1.3, too, names a session even if it has none
        listen 127.0.0.1:1985 ssl;
        ssl_protocols TLSv1.2;
        ssl_session_tickets off;
        ssl_certificate $certs/server.crt;
        ssl_certificate_key $certs/server.key;
        ssl_verify_client optional_no_ca;
        ssl_client_hello_by_lua_block { require("run_matrix").shaking("ssl_client_hello") }
        ssl_certificate_by_lua_block { require("run_matrix").shaking("ssl_cert") }
        return 204;
    }
    upstream matrix_idle { server 127.0.0.1:\$TEST_NGINX_SERVER_PORT; }
    upstream matrix_plain { server 127.0.0.1:\$TEST_NGINX_SERVER_PORT; }
    upstream matrix_members { server 127.0.0.1:\$TEST_NGINX_SERVER_PORT; autoscale_balance least_request; }
    upstream matrix_balancer {
        server 0.0.0.1;
        balancer_by_lua_block {
            require("run_matrix").one("balancer")
            require("ngx.balancer").set_current_peer("127.0.0.1", \$TEST_NGINX_SERVER_PORT)
        }
    }
CONF
--- config
    set $matrix "";
    server_rewrite_by_lua_block { require("run_matrix").one("server_rewrite") }
    location = /set {
        set_by_lua $x 'return require("run_matrix").one("set")' alpha;
        return 204;
    }
    location = /server_rewrite { return 204; }
    location = /rewrite {
        rewrite_by_lua_block { require("run_matrix").one("rewrite") }
        content_by_lua_block { ngx.exit(204) }
    }
    location = /access {
        access_by_lua_block { require("run_matrix").one("access") }
        content_by_lua_block { ngx.exit(204) }
    }
    location = /precontent {
        precontent_by_lua_block { require("run_matrix").one("precontent") }
        content_by_lua_block { ngx.exit(204) }
    }
    location = /content {
        content_by_lua_block { require("run_matrix").one("content") }
    }
    location = /header_filter {
        access_by_lua_block { ngx.req.read_body() }
        content_by_lua_block { ngx.print("x") }
        header_filter_by_lua_block { require("run_matrix").one("header_filter") }
    }
    location = /body_filter {
        access_by_lua_block { ngx.req.read_body() }
        content_by_lua_block { ngx.print("x") }
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block { require("run_matrix").one("body_filter") }
    }
    location = /log {
        access_by_lua_block { ngx.req.read_body() }
        content_by_lua_block { ngx.print("x") }
        log_by_lua_block { require("run_matrix").one("log") }
    }
    location = /balancer {
        proxy_pass http://matrix_balancer/done;
    }
    location = /shake {
        content_by_lua_block { require("run_matrix").shake(ngx.var.arg_phase, ngx.var.arg_row) }
    }
    location /proxy_ssl_ {
        proxy_pass https://127.0.0.1:1985;
        proxy_ssl_name $arg_phase.$arg_row.matrix;
        proxy_ssl_server_name on;
        proxy_ssl_session_reuse off;
        proxy_ssl_certificate_by_lua_block { require("run_matrix").shaking("proxy_ssl_cert") }
        proxy_ssl_verify_by_lua_block { require("run_matrix").shaking("proxy_ssl_verify") }
    }
    location = /done { return 204; }
    location = /other { return 204; }
    location = /plan { content_by_lua_block { require("run_matrix").plan() } }
    location = /answers { content_by_lua_block { require("run_matrix").answers(ngx.var.arg_of) } }
    location = /forget { content_by_lua_block { require("run_matrix").forget(ngx.var.arg_of) } }
    location = /count { content_by_lua_block { require("run_matrix").count() } }
    location = /gaps { content_by_lua_block { require("run_matrix").gaps() } }
--- request
    GET /done
--- error_code: 204
--- once
--- matrix
