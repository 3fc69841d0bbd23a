-- The public surface of the module, found by walking what a worker's Lua state holds: NAME -> its type. Nothing is
-- listed here by name, so that nothing new can be forgotten.

local type = type

-- Modules that LuaJIT brings itself.
local luajits = { ["ffi"] = true, ["jit.profile"] = true, ["jit.util"] = true, ["string.buffer"] = true,
    ["thread.exdata"] = true, ["thread.exdata2"] = true }

-- Fields that say which version of lua-resty-core a module stands for.
local versions = { version = true, _VERSION = true }

return function()
    local found = {}

    local function note(path, value)
        found[path] = type(value)
    end

    -- What a table holds, and tables in it. A table that computes its fields is one thing, by its own name.
    local function walk(path, t)
        for key, value in pairs(t) do
            if not versions[key] then
                local name = path .. "." .. key
                if type(value) == "table" and not getmetatable(value) then
                    walk(name, value)
                else
                    note(name, value)
                end
            end
        end
    end

    -- ngx: its fields, the dictionaries' methods in place of dictionaries, and the fields that functions compute
    for key, value in pairs(ngx) do
        if key == "shared" then
            local _, dict = next(value)
            local methods = getmetatable(dict).__index
            for name, method in pairs(methods) do
                if type(method) == "function" then
                    note("ngx.shared.DICT." .. name, method)
                end
            end
        elseif type(value) == "table" and not getmetatable(value) then
            walk("ngx." .. key, value)
        else
            note("ngx." .. key, value)
        end
    end
    -- the functions compute them through upvalues of ngx's metatable: a table "base" with getters and setters
    for _, event in ipairs { "__index", "__newindex" } do
        local i = 1
        repeat
            local name, base = debug.getupvalue(getmetatable(ngx)[event], i)
            if name == "base" then
                for _, list in ipairs { base.getters, base.setters } do
                    for key in pairs(list) do
                        note("ngx." .. key)
                    end
                end
            end
            i = i + 1
        until not name
    end

    -- modules that are served from inside
    local modules = {}
    for _, list in ipairs { package.preload, package.loaded } do
        for name in pairs(list) do
            if name:find("^ngx%.") or name:find("^resty%.core") or name:find("^ndk") or package.preload[name] then
                modules[name] = not luajits[name]
            end
        end
    end
    for name, ours in pairs(modules) do
        local module = ours and require(name)
        if type(module) == "table" then
            walk(name, module)
        elseif module then
            note(name, module)
        end
    end

    -- objects: their methods
    local objects = {
        ["ngx.pipe"] = require("ngx.pipe").spawn { "true" },
        ["ngx.semaphore"] = require("ngx.semaphore").new(),
        ["ngx.socket.tcp"] = ngx.socket.tcp(),
        ["ngx.socket.udp"] = ngx.socket.udp(),
    }
    for name, object in pairs(objects) do
        for key, method in pairs(getmetatable(object).__index) do
            note(name .. ":" .. key, method)
        end
    end

    -- functions of the standard library that were replaced or added: LuaJIT's own are in C, or built-in bytecode
    local function is_ours(value)
        if type(value) ~= "function" then
            return false
        end
        local info = debug.getinfo(value, "S")
        return info.what ~= "C" and not info.short_src:find("^%[builtin:")
    end

    for name, value in pairs(_G) do
        if is_ours(value) then
            note(name, value)
        elseif type(value) == "table" and package.loaded[name] == value and value ~= ngx and value ~= _G then
            for key, member in pairs(value) do
                -- coroutine has aliases of LuaJIT's own functions
                if is_ours(member) or name == "coroutine" then
                    note(name .. "." .. key, member)
                end
            end
        end
    end
    return found
end
