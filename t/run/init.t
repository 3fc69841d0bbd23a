use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: init_by_lua runs once, before any worker; what it makes is shared
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
    init_by_lua_block { settings = require "settings" settings.pid = ngx.worker.pid() }
--- user_files
>>> settings.lua
return { answer = 42 }
--- lua
    ngx.say(settings.answer, " ", settings.pid ~= ngx.worker.pid(), " ", settings == require "settings")
--- response_body
42 true true


=== TEST 2: an error in it stops nginx, with message and place
--- http_config
    init_by_lua_block {
        error("not ready")
    }
--- config
    location = /t { return 200; }
--- must_die
--- error_log eval
qr/init_by_lua error: init_by_lua\(nginx\.conf:\d+\):2: not ready/


=== TEST 3: so does a mistake in it
--- http_config
    init_by_lua_block { local a = = 1 }
--- config
    location = /t { return 200; }
--- must_die
--- error_log eval
qr/init_by_lua error: init_by_lua\(nginx\.conf:\d+\):1: unexpected symbol near '='/


=== TEST 4: an error in init_worker_by_lua is logged, and the worker serves
--- http_config
    init_worker_by_lua_block { error("worker trouble") }
--- config
    location = /t { return 200 "served"; }
--- once
--- response_body: served
--- error_log eval
[qr/\[error\] .*init_worker_by_lua error: init_worker_by_lua\(nginx\.conf:\d+\):1: worker trouble/, "stack traceback:"]


=== TEST 5: exit_worker_by_lua runs when the worker stops
--- http_config
    exit_worker_by_lua_block { ngx.log(ngx.WARN, "goodbye from ", ngx.get_phase()) }
--- config
    location = /t { return 200; }
--- shutdown_error_log
goodbye from exit_worker


=== TEST 6: an error in it is logged
--- http_config
    exit_worker_by_lua_block { error("no goodbye") }
--- config
    location = /t { return 200; }
--- shutdown_error_log eval
qr/exit_worker_by_lua error: exit_worker_by_lua\(nginx\.conf:\d+\):1: no goodbye/


=== TEST 7: nginx -t compiles, but runs no init_by_lua
--- http_config
    init_by_lua_block {
        local file = io.open(ngx.config.prefix() .. "html/runs", "a")
        file:write("x")
        file:close()
    }
--- config
    location = /t {
        content_by_lua_block {
            local function runs()
                local file = io.open(ngx.config.prefix() .. "html/runs")
                local text = file:read("*a")
                file:close()
                return #text
            end
            local before = runs()
            local conf = ngx.config.prefix() .. "conf/nginx.conf"
            local p = io.popen("nginx -t -p " .. ngx.config.prefix() .. " -c " .. conf .. " 2>&1")
            local out = p:read("*a")
            p:close()
            ngx.say(out:find("test is successful", 1, true) and "successful" or out)
            ngx.say(runs() == before)
        }
    }
--- main_config
env PATH;
--- once
--- response_body
successful
true


=== TEST 8: in init_by_lua there is no request
--- lua
    return ngx.req.get_method()
--- refused: init
--- result:


=== TEST 9: ngx.log in init_by_lua goes to the new configuration's log
--- http_config
    error_log logs/error.log info;
    init_by_lua_block { ngx.log(ngx.WARN, "from init") }
--- config
    location = /t { return 200 "x"; }
--- once
--- response_body: x
--- error_log eval
qr/\[warn\] .*\[lua\] init_by_lua\(nginx\.conf:\d+\):1: from init/


=== TEST 10: lua_sa_restart: a signal does not interrupt what a script waits for in the system
--- config
    location = /t {
        content_by_lua_block {
            local ffi = require "ffi"
            pcall(ffi.cdef, "int sigaction(int, const void *, void *);")
            -- SA_RESTART of SIGHUP, in Linux's 64-bit layout: handler, mask of 128 bytes, flags
            local action = ffi.new("unsigned char[256]")
            ffi.C.sigaction(1, nil, action)
            local flags = ffi.cast("int *", action + 8 + 128)[0]
            ngx.say(bit.band(flags, 0x10000000) ~= 0)
        }
    }
--- response_body
true


=== TEST 11: off leaves signals as nginx set them
--- http_config
    lua_sa_restart off;
--- config
    location = /t {
        content_by_lua_block {
            local ffi = require "ffi"
            pcall(ffi.cdef, "int sigaction(int, const void *, void *);")
            local action = ffi.new("unsigned char[256]")
            ffi.C.sigaction(1, nil, action)
            local flags = ffi.cast("int *", action + 8 + 128)[0]
            ngx.say(bit.band(flags, 0x10000000) ~= 0)
        }
    }
--- response_body
false


=== TEST 12: lua_malloc_trim works every so many requests
(not with two workers: each worker counts its own requests)
--- http_config
    lua_malloc_trim 2;
--- config
    location = /t { return 200 "x"; }
    location = /count {
        content_by_lua_block {
            local file = io.open(ngx.config.prefix() .. "logs/error.log")
            local _, n = file:read("*a"):gsub("malloc_trim%(1%) returned %d", "")
            file:close()
            ngx.print(n)
        }
    }
--- log_level: debug
--- modes: plain hup valgrind
--- once
--- request eval
["GET /count", "GET /t", "GET /count", "GET /t", "GET /count"]
--- response_body eval
["0", "x", "1", "x", "2"]


=== TEST 13: zero turns it off, even with log_by_lua
--- http_config
    lua_malloc_trim 0;
--- config
    location = /t { return 200 "x"; log_by_lua_block { local a = 1 } }
--- log_level: debug
--- response_body: x
--- no_error_log
malloc_trim(1)


=== TEST 14: numbers must be numbers
--- http_config
    lua_malloc_trim often;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
invalid number "often"


=== TEST 15: lua_thread_cache_max_entries 0 keeps no coroutine, and nothing else changes
--- http_config
    lua_thread_cache_max_entries 0;
--- lua
    ngx.sleep(0.001)
    ngx.say(coroutine.wrap(function() return "ok" end)())
--- response_body
ok


=== TEST 16: a flag must be on or off
--- http_config
    lua_sa_restart maybe;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
invalid value "maybe"


=== TEST 17: lua_load_resty_core is accepted, with a warning
--- http_config
    lua_load_resty_core off;
--- lua
    ngx.say(require("resty.core").version)
--- response_body
0.1.25
--- once
--- error_log eval
qr/\[warn\] .*lua_load_resty_core is deprecated/


=== TEST 18: ndk.set_var is there when the kit is, and only then
--- lua
    ngx.say(type(ndk), " ", package.loaded.ndk == ndk)
--- response_body
nil true


=== TEST 19: ndk.set_var calls the kit's directives
--- skip_eval: 2: !-f "/usr/lib/nginx/modules/ndk_http_module.so" || !-f "/usr/lib/nginx/modules/ngx_http_set_misc_module.so"
--- main_config
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_set_misc_module.so;
--- lua
    ngx.say(ndk.set_var.set_escape_uri(" %"))
    ngx.say(ndk.set_var.set_md5(12), " ", ndk.set_var.set_md5 == ndk.set_var.set_md5)
    ngx.say(select(2, pcall(function() return ndk.set_var.no_such end)))
    ngx.say(select(2, pcall(function() ndk.set_var.x = 1 end)))
    ngx.say(require("ndk") == ndk)
--- response_body_like
^%20%25
c20ad4d76fe97759aa27a0c99bff6710 true
content_by_lua\(nginx\.conf:\d+\):4: ndk\.set_var: directive "no_such" not found or does not use ndk_set_var_value
content_by_lua\(nginx\.conf:\d+\):5: not allowed
true


=== TEST 20: ndk.set_var works wherever there is a request
--- skip_eval: 2: !-f "/usr/lib/nginx/modules/ndk_http_module.so" || !-f "/usr/lib/nginx/modules/ngx_http_set_misc_module.so"
--- main_config
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_set_misc_module.so;
--- lua
    return ndk.set_var.set_md5("a")
--- phases: server_rewrite set rewrite access content header_filter body_filter log balancer
--- result: 0cc175b9c0f1b6a831c399e269772661


=== TEST 21: and nowhere else
--- skip_eval: 2: !-f "/usr/lib/nginx/modules/ndk_http_module.so" || !-f "/usr/lib/nginx/modules/ngx_http_set_misc_module.so"
--- main_config
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_set_misc_module.so;
--- lua
    return ndk.set_var.set_md5("a")
--- refused: init init_worker exit_worker
--- result: no request found
