-- ndk.set_var.DIRECTIVE(value): directives of the Nginx Development Kit, called from Lua. There only with the kit.

local error = error
local setmetatable = setmetatable
local tostring = tostring
local type = type

return function(_, native, base)
    if native.ndk_loaded() == 0 then
        return
    end

    local cur, null = base.cur, base.null
    local str, text = base.str, base.text
    local find, call = native.ndk_find, native.ndk_call
    local functions = {}

    local function lookup(_, name)
        name = tostring(name)
        local found = functions[name]
        if found then
            return found
        end
        local place = find(name, #name)
        if place < 0 then
            error("ndk.set_var: directive \"" .. name .. "\" not found or does not use ndk_set_var_value", 2)
        end
        local function f(value)
            if cur.req == null then
                error("no request found", 2)
            end
            if type(value) ~= "string" then
                value = tostring(value)
            end
            local rc = call(place, value, #value, str)
            if rc ~= 0 then
                error("calling directive " .. name .. " failed with code " .. rc, 2)
            end
            return text(str)
        end
        functions[name] = f
        return f
    end

    local ndk = {
        set_var = setmetatable({}, {
            __index = lookup,
            __newindex = function()
                error("not allowed", 2)
            end,
        }),
    }
    _G.ndk = ndk
    base.module("ndk", ndk)
    package.loaded.ndk = ndk
end
