-- table.new, clear, nkeys, clone, isempty, isarray: LuaJIT's own where it has them (OpenResty's branch has all), else
-- the same in Lua.

local error = error
local next = next
local pairs = pairs
local pcall = pcall
local table = table
local type = type

local ours = {}

function ours.new()
    return {}
end

function ours.clear(t)
    for key in next, t do
        t[key] = nil
    end
end

function ours.nkeys(t)
    local n = 0
    for _ in next, t do
        n = n + 1
    end
    return n
end

-- a shallow copy, without the metatable
function ours.clone(t)
    local copy = {}
    for key, value in next, t do
        copy[key] = value
    end
    return copy
end

function ours.isempty(t)
    return next(t) == nil
end

-- whether all keys are whole numbers; there may be holes
function ours.isarray(t)
    for key in next, t do
        if type(key) ~= "number" or key % 1 ~= 0 then
            return false
        end
    end
    return true
end

return function(_, _, base)
    local function install(name, f)
        local module = "table." .. name
        local found, native = pcall(require, module)
        if found then
            return native
        end
        local function checked(t, ...)
            if type(t) ~= "table" and name ~= "new" then
                error("bad argument #1 to '" .. name .. "' (table expected, got " ..
                      (t == nil and "no value" or type(t)) .. ")", 2)
            end
            return f(t, ...)
        end
        base.module(module, function()
            table[name] = checked
            return checked
        end)
        return checked
    end

    for name, f in pairs(ours) do
        base["table_" .. name] = install(name, f)
    end
end
