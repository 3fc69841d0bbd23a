use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: cjson, as Debian ships it
--- lua
    local cjson = require "cjson"
    ngx.say(cjson.encode { a = { 1, 2, cjson.null } })
    ngx.say(cjson.decode('{"b":null}').b == ngx.null)
    ngx.say(cjson.null == ngx.null, " ", type(ngx.null), " ", cjson.encode { ngx.null })
    ngx.say(select(2, require("cjson.safe").decode("{")) ~= nil)
--- response_body
{"a":[1,2,null]}
true
true userdata [null]
true


=== TEST 2: resty.lrucache, as Debian ships it
--- lua
    local lrucache = require "resty.lrucache"
    local cache = assert(lrucache.new(2))
    cache:set("a", 1)
    cache:set("b", 2)
    cache:set("c", 3, 60)
    ngx.say(cache:get("a"), " ", cache:get("b"), " ", cache:get("c"), " ", cache:count())
    local foa = assert(require("resty.lrucache.pureffi").new(10))
    foa:set("x", { y = 1 })
    ngx.say(foa:get("x").y)
--- response_body
nil 2 3 2
1


=== TEST 3: nginx.string and its relatives, as Debian ships them
--- lua
    local str = require "nginx.string"
    ngx.say(str.to_hex("abc\0"), " ", str.atoi("42"))
    local md5 = require("nginx.md5"):new()
    md5:update("a")
    ngx.say(str.to_hex(md5:final()))
    local sha1 = require("nginx.sha1"):new()
    sha1:update("a")
    ngx.say(str.to_hex(sha1:final()))
    local sha256 = require("nginx.sha256"):new()
    sha256:update("a")
    ngx.say(str.to_hex(sha256:final()))
    ngx.say(#require("nginx.random").bytes(16))
    local aes = require("nginx.aes"):new("0123456789abcdef")
    ngx.say(aes:decrypt(aes:encrypt("secret")))
--- response_body
61626300 42
0cc175b9c0f1b6a831c399e269772661
86f7e437faa5a7fce15d1ddcb9eaeaea377667b8
ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb
16
secret


=== TEST 4: nginx.cookie, as Debian ships it
--- config
    location = /t {
        content_by_lua_block {
            local cookie = assert(require("nginx.cookie"):new())
            ngx.say(cookie:get("a"), " ", cookie:get("b"))
            assert(cookie:set { key = "c", value = "3", path = "/", httponly = true })
            ngx.say(table.concat((function(t) local k = {} for n in pairs(t) do k[#k + 1] = n end table.sort(k) return k end)(cookie:get_all()), ","))
        }
    }
--- more_headers
Cookie: a=1; b=two
--- response_body
1 two
a,b


=== TEST 5: resty.core is loaded from inside, whatever lies on the path
--- http_config
    lua_package_path "/nowhere/?.lua";
--- lua
    local core = require "resty.core"
    ngx.say(package.loaded["resty.core"] == core, " ", core.version)
    for _, name in ipairs { "base", "base64", "ctx", "exit", "hash", "misc", "ndk", "phase", "regex", "request",
                            "response", "shdict", "time", "uri", "utils", "var", "worker" } do
        assert(type(require("resty.core." .. name)) == "table", name)
    end
    ngx.say(require("resty.core.utils").str_replace_char("a-b-c", "-", "_"))
    local mine = {}
    ngx.say(require("resty.core.ctx").get_ctx_table(mine) == mine, " ", ngx.ctx == mine)
--- response_body
true 0.1.25
a_b_c
true true


=== TEST 6: what libraries use of resty.core.base
--- lua
    local base = require "resty.core.base"
    local ffi = require "ffi"
    base.allows_subsystem("http", "stream")
    ngx.say(select(2, pcall(base.allows_subsystem, "stream")))
    ngx.say(base.FFI_OK, base.FFI_ERROR, base.FFI_DECLINED, " ", base.get_string_buf_size())
    local buf = base.get_string_buf(100)
    ngx.say(buf == base.get_string_buf(4096), " ", buf == base.get_string_buf(10, true), " ", buf == base.get_string_buf(4097))
    base.set_string_buf_size(8192)
    ngx.say(base.get_string_buf_size(), " ", ffi.sizeof(base.get_string_buf(1)))
    base.set_string_buf_size(4096)
    base.get_size_ptr()[0] = 7
    ngx.say(tonumber(base.get_size_ptr()[0]), " ", base.get_errmsg_ptr() == base.get_errmsg_ptr())
    local t = {}
    ngx.say(base.ref_in_table(t, "a"), base.ref_in_table(t, "b"), base.ref_in_table(t, nil))
    t[1], t[0] = 0, 1
    ngx.say(base.ref_in_table(t, "c"), t[1], t[0])
    ngx.say(#base.new_tab(3, 0), " ", next(base.clear_tab and (function() local x = { 1 } base.clear_tab(x) return x end)()))
    ngx.say(base.get_request() ~= nil, " ", ffi.sizeof("ngx_str_t"))
--- response_body
unsupported subsystem: http
0-1-5 4096
true false false
8192 8192
7 true
12-1
1c0
0 nil
true 16


=== TEST 7: fields of ngx can be added by libraries
--- lua
    local misc = require "resty.core.misc"
    local value = 1
    misc.register_ngx_magic_key_getter("t_magic", function() return value end)
    misc.register_ngx_magic_key_setter("t_magic", function(v) value = v * 2 end)
    ngx.t_magic = 21
    ngx.say(ngx.t_magic)
    ngx.say(ngx.no_such_field)
--- response_body
42
nil


=== TEST 8: a module that is a part of OpenResty's is not found, though its file lies on the path
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> resty/core/socket.lua
return {}
--- lua
    local ok, err = pcall(function()
        require "resty.core.socket"
    end)
    ngx.say(ok, " ", err)
    ngx.say(select(2, pcall(require, "resty.core.socket")))
--- response_body_like
^false content_by_lua\(nginx\.conf:\d+\):\d+: module 'resty\.core\.socket' not found:
.*
module 'resty\.core\.socket' not found:


=== TEST 9: ffi and jit are LuaJIT's own
--- lua
    ngx.say(type(jit.version), " ", jit.status(), " ", require("ffi").abi("64bit"))
--- response_body
string true true
