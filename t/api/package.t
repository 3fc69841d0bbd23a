use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: `;;` is the default path, before, between or after one's own
--- http_config
    lua_package_path "/first/?.lua;;/last/?.lua";
    lua_package_cpath "/first/?.so;;";
--- lua
    ngx.say(package.path:match("^/first/%?%.lua;%./%?%.lua;.*;/last/%?%.lua$") and "path")
    ngx.say(package.cpath:match("^/first/%?%.so;%./%?%.so;.*loadall%.so;?$") and "cpath")
--- response_body
path
cpath


=== TEST 2: without it, one's own is all there is
--- http_config
    lua_package_path "/only/?.lua";
    lua_package_cpath "";
--- lua
    ngx.say(package.path)
    ngx.say(#package.cpath > 0)
--- response_body
/only/?.lua
true


=== TEST 3: $prefix is where nginx stands
--- http_config
    lua_package_path "$prefix/html/?.lua;${prefix}lua/?.lua";
--- lua
    local p = ngx.config.prefix()
    ngx.say(package.path == p .. "/html/?.lua;" .. p .. "lua/?.lua")
    ngx.say(require("mod").name)
--- user_files
>>> mod.lua
return { name = "mod of html" }
--- response_body
true
mod of html


=== TEST 4: a module is loaded once, and shared by requests
(not with two workers: each loads a module of its own)
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> counter.lua
local M = { n = 0 }
function M.next() M.n = M.n + 1 return M.n end
return M
--- lua
    local counter = require "counter"
    ngx.say(counter == require "counter", " ", package.loaded.counter == counter, " ", counter.next())
--- once
--- request eval
["GET /t", "GET /t"]
--- modes: plain hup valgrind
--- response_body eval
["true true 1\n", "true true 2\n"]


=== TEST 5: a module that is not there says where it was looked for, at the user's line
--- http_config
    lua_package_path "/nowhere/?.lua";
--- lua
    local ok, err = pcall(function()
        require "no.such"
    end)
    ngx.say(err)
--- response_body_like
^content_by_lua\(nginx\.conf:\d+\):\d+: module 'no\.such' not found:
\tno field package\.preload\['no\.such'\]
\tno file '/nowhere/no/such\.lua'


=== TEST 6: one that fails to compile names file and line
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> broken.lua
local a = 1
local b = = 2
--- lua
    ngx.say(select(2, pcall(require, "broken")))
--- response_body_like
error loading module 'broken' from file '.*/broken\.lua':
\t.*/broken\.lua:2: unexpected symbol near '='


=== TEST 7: one that raises an error is not tried again
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> raises.lua
error("not today", 0)
--- lua
    ngx.say(select(2, pcall(require, "raises")))
    ngx.say(select(2, pcall(require, "raises")))
--- once
--- response_body
not today
loop or previous error loading module 'raises'


=== TEST 8: ngx is a module too
--- lua
    return require("ngx") == ngx and package.loaded.ngx == ngx
--- result: true
--- phases: set rewrite access content header_filter body_filter log balancer init init_worker exit_worker


=== TEST 9: a global that a request makes is said once, where it is made
--- config
    location = /t {
        content_by_lua_block {
            local function careless()
                leaked = (leaked or 0) + 1
            end
            careless()
            careless()
            ngx.say(leaked)
        }
    }
--- once
--- response_body
2
--- grep_error_log eval: qr/\[warn\] .*writing a global Lua variable \('leaked'\) which may lead to race conditions between concurrent requests, so prefer the use of 'local' variables|content_by_lua\(nginx\.conf:\d+\):3: in function 'careless'/
--- grep_error_log_out eval
qr/^\[warn\] .*prefer the use of 'local' variables
content_by_lua\(nginx\.conf:\d+\):3: in function 'careless'\n$/


=== TEST 10: in init_by_lua and init_worker_by_lua globals are meant
--- http_config
    init_by_lua_block { from_init = 1 }
    init_worker_by_lua_block { from_worker = 2 }
--- lua
    ngx.say(from_init, from_worker)
--- response_body
12
--- no_error_log
writing a global


=== TEST 11: the environment names the path when no directive does
--- main_config
env LUA_PATH=/from/env/?.lua;
--- config
    location = /t {
        content_by_lua_block { ngx.say(type(package.path)) }
    }
--- response_body
string


=== TEST 12: a second directive of the same name is refused
--- http_config
    lua_package_path "/a/?.lua";
    lua_package_path "/b/?.lua";
--- config
    location = /t { return 200; }
--- must_die
--- error_log
"lua_package_path" directive is duplicate


=== TEST 13: an embedded zero in a path is not nginx syntax, and a server block is the wrong place
--- config
    lua_package_path "/a/?.lua";
--- must_die
--- error_log
"lua_package_path" directive is not allowed here
