use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a script in a file, relative to nginx's prefix
--- config
    location = /t { content_by_lua_file html/page.lua; }
--- user_files
>>> page.lua
ngx.say("from the file ", ngx.var.uri)
--- response_body
from the file /t


=== TEST 2: variables in the path
--- config
    location ~ ^/t/(\w+)$ { content_by_lua_file html/$1.lua; }
--- user_files
>>> a.lua
ngx.say("a")
>>> b.lua
ngx.say("b")
--- request eval
["GET /t/a", "GET /t/b", "GET /t/a"]
--- response_body eval
["a\n", "b\n", "a\n"]


=== TEST 3: a file that is not there is 404, and the log says which
--- config
    location ~ ^/t/(\w+)$ { content_by_lua_file html/$1.lua; }
--- request
GET /t/none
--- error_code: 404
--- response_body_like: 404 Not Found
--- error_log eval
qr/failed to load external Lua file ".*\/html\/none\.lua": cannot open .*\/html\/none\.lua: No such file or directory/


=== TEST 4: also with a path that is known
--- config
    location = /u { rewrite_by_lua_file html/none.lua; content_by_lua_block { ngx.say(1) } }
    location = /v { access_by_lua_file html/none.lua; content_by_lua_block { ngx.say(1) } }
--- request eval
["GET /u", "GET /v"]
--- error_code eval
[404, 404]
--- response_body_like eval
["404", "404"]
--- error_log
failed to load external Lua file


=== TEST 5: a directory cannot be a script
--- config
    location = /t { content_by_lua_file html; }
--- error_code: 503
--- response_body_like: 503
--- error_log
failed to load external Lua file


=== TEST 6: a mistake in the file is a 500 that names file and line
--- config
    location = /t { content_by_lua_file html/broken.lua; }
--- user_files
>>> broken.lua
local a = 1
local b = = 2
--- error_code: 500
--- response_body_like: 500
--- error_log eval
qr/failed to load external Lua file ".*broken\.lua": .*broken\.lua:2: unexpected symbol near '='/


=== TEST 7: a first line for the shell is skipped
--- config
    location = /t { content_by_lua_file html/script.lua; }
--- user_files
>>> script.lua
#!/usr/bin/env lua
ngx.say("line ", debug.getinfo(1, "l").currentline)
--- response_body
line 2


=== TEST 8: a file may hold bytecode, stripped or not
--- config
    location ~ ^/t/(\w+)$ {
        access_by_lua_block {
            local strip = ngx.var[1] == "stripped"
            local file = assert(io.open(ngx.config.prefix() .. "html/" .. ngx.var[1] .. ".luac", "wb"))
            file:write(string.dump(assert(loadstring("ngx.say('bytecode ', ngx.var.uri)", "@source.lua")), strip))
            file:close()
        }
        content_by_lua_file html/$1.luac;
    }
--- request eval
["GET /t/stripped", "GET /t/whole"]
--- response_body eval
["bytecode /t/stripped\n", "bytecode /t/whole\n"]


=== TEST 9: bytecode that is broken is refused
--- config
    location = /t { content_by_lua_file html/bad.luac; }
--- user_files eval
[["bad.luac" => "\x1bLJ\x01\x02garbage"]]
--- error_code: 500
--- response_body_like: 500
--- error_log
failed to load external Lua file


=== TEST 10: an empty file does nothing
--- config
    location = /t { rewrite_by_lua_file html/empty.lua; return 200 "ok"; }
--- user_files eval
[["empty.lua" => ""]]
--- response_body: ok


=== TEST 11: the same file in many phases
--- http_config
    init_by_lua_file html/any.lua;
    init_worker_by_lua_file html/any.lua;
--- config
    location = /t {
        set_by_lua_file $x html/any.lua;
        rewrite_by_lua_file html/any.lua;
        access_by_lua_file html/any.lua;
        content_by_lua_block { ngx.say(package.loaded["t.seen"]) package.loaded["t.seen"] = "" }
    }
--- user_files
>>> any.lua
package.loaded["t.seen"] = (package.loaded["t.seen"] or "") .. " " .. ngx.get_phase()
return ""
--- once
--- response_body
 init init_worker set rewrite access


=== TEST 12: a missing init file stops nginx
--- http_config
    init_by_lua_file html/none.lua;
--- config
    location = /t { return 200; }
--- must_die
--- error_log eval
qr/init_by_lua_file error: cannot open .*none\.lua: No such file or directory/


=== TEST 13: a missing init_worker file is logged, and the worker lives
--- http_config
    init_worker_by_lua_file html/none.lua;
--- config
    location = /t { return 200 "alive"; }
--- once
--- response_body: alive
--- error_log
init_worker_by_lua_file error: cannot open
