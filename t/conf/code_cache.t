use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: off is said at start
--- http_config
    lua_code_cache off;
--- config
    location = /t { content_by_lua_block { ngx.say("ok") } }
--- once
--- response_body
ok
--- allow_log
lua_code_cache is off
--- error_log eval
qr/\[alert\] .*lua_code_cache is off; this will hurt performance in .*nginx\.conf:\d+/


=== TEST 2: off: each request has globals and modules of its own
--- http_config
    lua_code_cache off;
    lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> mod.lua
local M = { n = 0 }
return M
--- config
    location = /t {
        access_by_lua_block { seen = (seen or 0) + 1 local m = require "mod" m.n = m.n + 1 }
        content_by_lua_block { ngx.say(seen, " ", require("mod").n, " ", ngx.ctx.x) ngx.ctx.x = 1 }
    }
--- request eval
["GET /t", "GET /t"]
--- response_body eval
["1 1 nil\n", "1 1 nil\n"]
--- allow_log
lua_code_cache is off


=== TEST 3: off: init_by_lua runs again for each request
--- http_config
    lua_code_cache off;
    init_by_lua_block { made = { at = "init" } }
--- config
    location = /t { content_by_lua_block { ngx.say(made.at) made.at = "changed" } }
--- request eval
["GET /t", "GET /t"]
--- response_body eval
["init\n", "init\n"]
--- allow_log
lua_code_cache is off


=== TEST 4: off: a changed file counts at once
--- http_config
    lua_code_cache off;
--- config
    location = /write {
        content_by_lua_block {
            local file = assert(io.open(ngx.config.prefix() .. "html/page.lua", "w"))
            file:write("ngx.say('version ", ngx.var.arg_v, "')")
            file:close()
            ngx.say("written")
        }
    }
    location = /t { content_by_lua_file html/page.lua; }
--- request eval
["GET /write?v=1", "GET /t", "GET /write?v=2", "GET /t"]
--- response_body eval
["written\n", "version 1\n", "written\n", "version 2\n"]
--- allow_log
lua_code_cache is off


=== TEST 5: on: it does not
(not with two workers: each worker has a cache of its own)
--- config
    location = /write {
        content_by_lua_block {
            local file = assert(io.open(ngx.config.prefix() .. "html/kept.lua", "w"))
            file:write("ngx.say('version ", ngx.var.arg_v, "')")
            file:close()
            ngx.say("written")
        }
    }
    location = /t { content_by_lua_file html/kept.lua; }
--- modes: plain hup valgrind
--- once
--- request eval
["GET /write?v=1", "GET /t", "GET /write?v=2", "GET /t"]
--- response_body eval
["written\n", "version 1\n", "written\n", "version 1\n"]


=== TEST 6: off in a location alone
(not with two workers: each worker has a counter of its own)
--- config
    location = /on { content_by_lua_block { n_on = (n_on or 0) + 1 ngx.say(n_on) } }
    location = /off {
        lua_code_cache off;
        content_by_lua_block { n_off = (n_off or 0) + 1 ngx.say(n_off) }
    }
--- modes: plain hup valgrind
--- once
--- request eval
["GET /on", "GET /off", "GET /on", "GET /off"]
--- response_body eval
["1\n", "1\n", "2\n", "1\n"]
--- allow_log
lua_code_cache is off


=== TEST 7: off: waiting, coroutines and every phase work
--- http_config
    lua_code_cache off;
--- config
    location = /t {
        set_by_lua_block $x { return "set" }
        rewrite_by_lua_block { ngx.sleep(0.001) ngx.ctx.a = 1 }
        content_by_lua_block {
            coroutine.wrap(function() ngx.sleep(0.001) ngx.say(ngx.var.x, ngx.ctx.a) end)()
        }
        header_filter_by_lua_block { ngx.header["X-A"] = ngx.ctx.a }
        body_filter_by_lua_block { ngx.ctx.b = true }
        log_by_lua_block { ngx.log(ngx.WARN, "in log: ", ngx.ctx.b, ".") }
    }
--- response_body
set1
--- response_headers
X-A: 1
--- error_log
in log: true.
--- allow_log
lua_code_cache is off


=== TEST 8: off: an init_by_lua that fails later is a 500
--- http_config
    lua_code_cache off;
    init_by_lua_block {
        local file = io.open(ngx.config.prefix() .. "html/flag")
        if file then file:close() error("no longer") end
    }
--- config
    location = /flag {
        lua_code_cache on;
        content_by_lua_block { io.open(ngx.config.prefix() .. "html/flag", "w"):close() ngx.say("set") }
    }
    location = /clear {
        lua_code_cache on;
        content_by_lua_block { os.remove(ngx.config.prefix() .. "html/flag") ngx.say("cleared") }
    }
    location = /t { content_by_lua_block { ngx.say("ok") } }
--- once
--- request eval
["GET /t", "GET /flag", "GET /t", "GET /clear", "GET /t"]
--- error_code eval
[200, 200, 500, 200, 200]
--- response_body_like eval
["ok", "set", "500", "cleared", "ok"]
--- allow_log
lua_code_cache is off
