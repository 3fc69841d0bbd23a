use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: the phase knows its name
--- lua
    return (ngx.get_phase():gsub("server_", ""))
--- result: rewrite
--- phases: server_rewrite rewrite


=== TEST 2: an API that is allowed everywhere
--- lua
    return ngx.md5("a"), 6 * 7, nil
--- result: 0cc175b9c0f1b6a831c399e269772661, 42, nil
--- phases: set rewrite access content header_filter body_filter log balancer init init_worker exit_worker server_rewrite


=== TEST 3: output is refused where no body can be written
--- lua
    ngx.say("a")
--- refused: set header_filter body_filter log balancer


=== TEST 4: each phase takes a script from a file
--- http_config
    init_by_lua_file html/hook.lua;
    init_worker_by_lua_file html/hook.lua;
    exit_worker_by_lua_file html/hook.lua;
    upstream backend_of_script {
        server 127.0.0.1:$TEST_NGINX_SERVER_PORT;
        balancer_by_lua_file html/hook.lua;
    }
--- config
    server_rewrite_by_lua_file html/hook.lua;
    location = /t {
        set_by_lua_file $hook html/hook.lua;
        rewrite_by_lua_file html/hook.lua;
        access_by_lua_file html/hook.lua;
        header_filter_by_lua_file html/hook.lua;
        body_filter_by_lua_file html/hook.lua;
        log_by_lua_file html/hook.lua;
        proxy_pass http://backend_of_script/content;
    }
    location = /content {
        content_by_lua_file html/hook.lua;
    }
--- user_files
>>> hook.lua
ngx.log(ngx.WARN, "hook of ", ngx.get_phase())
--- once
--- error_log eval
[map { qr/hook of $_\b/ } qw(init init_worker server_rewrite set rewrite access
                             balancer content header_filter body_filter log)]
--- shutdown_error_log
hook of exit_worker


=== TEST 5: and from a string
--- http_config
    init_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
    init_worker_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
    exit_worker_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
    upstream backend_of_script {
        server 127.0.0.1:$TEST_NGINX_SERVER_PORT;
        balancer_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
    }
--- config
    server_rewrite_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
    location = /t {
        set_by_lua $hook 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
        rewrite_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
        access_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
        header_filter_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
        body_filter_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
        log_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
        proxy_pass http://backend_of_script/content;
    }
    location = /content {
        content_by_lua 'ngx.log(ngx.WARN, "hook of ", ngx.get_phase())';
    }
--- once
--- error_log eval
[map { qr/hook of $_\b/ } qw(init init_worker server_rewrite set rewrite access
                             balancer content header_filter body_filter log)]
--- shutdown_error_log
hook of exit_worker
