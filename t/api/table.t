use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: each function can be required
--- lua
    local new, clear = require "table.new", require "table.clear"
    local nkeys, clone = require "table.nkeys", require "table.clone"
    local isempty, isarray = require "table.isempty", require "table.isarray"
    local t = new(4, 4)
    ngx.say(isempty(t), " ", isarray(t), " ", nkeys(t))
    t[1], t.a = 1, { "inner" }
    ngx.say(isempty(t), " ", isarray(t), " ", nkeys(t))
    local copy = clone(t)
    ngx.say(copy ~= t, " ", copy[1], " ", copy.a == t.a)
    clear(t)
    ngx.say(isempty(t), " ", nkeys(copy))
    ngx.say(isarray { 1, 2, nil, 4 }, " ", isarray { [0] = 1 }, " ", isarray { [1.5] = 1 })
--- response_body
true true 0
false false 2
true 1 true
true 2
true true false


=== TEST 2: without LuaJIT's own the same holds
The prelude's file is run with none of them to be found.
--- config
    location = /t {
        content_by_lua_block {
            local real = require
            local names = { "new", "clear", "nkeys", "clone", "isempty", "isarray" }
            local modules = {}
            local env = setmetatable({
                table = {},
                require = function(name)
                    if name:find("^table%.") then error("module '" .. name .. "' not found") end
                    return real(name)
                end,
            }, { __index = _G })
            local base = { module = function(name, loader) modules[name] = loader() end }
            local file = assert(loadfile("$TEST_NGINX_ROOT/src/api/table.lua"))
            setfenv(file, env)
            setfenv(file(), env)(ngx, {}, base)
            local ours = {}
            for _, name in ipairs(names) do
                assert(modules["table." .. name] == base["table_" .. name])
                ours[name] = modules["table." .. name]
            end
            local t = ours.new(4, 4)
            ngx.say(ours.isempty(t), " ", ours.isarray(t), " ", ours.nkeys(t))
            t[1], t.a = 1, { "inner" }
            ngx.say(ours.isempty(t), " ", ours.isarray(t), " ", ours.nkeys(t))
            local copy = ours.clone(t)
            ngx.say(copy ~= t, " ", copy[1], " ", copy.a == t.a)
            ours.clear(t)
            ngx.say(ours.isempty(t), " ", ours.nkeys(copy))
            ngx.say(ours.isarray { 1, 2, nil, 4 }, " ", ours.isarray { [0] = 1 }, " ", ours.isarray { [1.5] = 1 })
            for _, name in ipairs(names) do
                if name ~= "new" then
                    ngx.say((select(2, pcall(ours[name]))))
                end
            end
        }
    }
--- response_body
true true 0
false false 2
true 1 true
true 2
true true false
bad argument #1 to 'clear' (table expected, got no value)
bad argument #1 to 'nkeys' (table expected, got no value)
bad argument #1 to 'clone' (table expected, got no value)
bad argument #1 to 'isempty' (table expected, got no value)
bad argument #1 to 'isarray' (table expected, got no value)


=== TEST 3: in every phase
--- lua
    return require("table.nkeys") { 1, 2, a = 3 }
--- result: 3
--- phases: set rewrite access content header_filter body_filter log balancer init init_worker exit_worker
