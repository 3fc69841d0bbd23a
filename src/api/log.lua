-- ngx.log and print: the error log.

local debug_getinfo = debug.getinfo
local concat = table.concat
local error = error
local getmetatable = getmetatable
local match = string.match
local select = select
local sub = string.sub
local tonumber = tonumber
local tostring = tostring
local type = type

return function(ngx, native, base)
    local ngx_null = ngx.null
    local takes, write = native.log_takes, native.log_write
    local NOTICE = ngx.NOTICE

    local function refuse(name, n, why)
        error("bad argument #" .. n .. " to '" .. name .. "' (" .. why .. ")", 5)
    end

    -- Argument `n` as text.
    local function text(value, name, n)
        local t = type(value)
        if t == "string" or t == "number" then
            return value
        end
        if t == "nil" or t == "boolean" then
            return tostring(value)
        end
        if t == "table" then
            local meta = getmetatable(value)
            if type(meta) == "table" and meta.__tostring then
                return tostring(value)
            end
            refuse(name, n, "expected table to have __tostring metamethod")
        end
        if value == ngx_null then
            return "null"
        end
        refuse(name, n, "string, number, boolean, or nil expected, got " .. t)
    end

    -- `FILE:LINE: FUNCTION(): ` of the function that called ngx.log or print.
    local function place(info)
        if not info then
            return "?:0: "
        end
        local line = info.currentline > 0 and info.currentline or info.linedefined
        local where = match(info.short_src, "[^/\\]*$") .. ":" .. line .. ": "
        -- "Lua" is a function, "main" a chunk, "C" not one of the user's
        if info.namewhat ~= "" and sub(info.what, 1, 1) == "L" then
            where = where .. info.name .. "(): "
        end
        return where
    end

    local function log(level, name, first, ...)
        local parts = { "[lua] ", place(debug_getinfo(3, "Sln")) }
        for i = 1, select("#", ...) do
            parts[i + 2] = text((select(i, ...)), name, first + i - 1)
        end
        local message = concat(parts)
        write(level, message, #message)
    end

    function ngx.log(level, ...)
        local number = tonumber(level)
        if not number then
            error("bad argument #1 to 'log' (number expected, got " ..
                  (level == nil and "no value" or type(level)) .. ")", 2)
        end
        local rc = takes(number)
        if rc < 0 then
            error("bad argument #1 to 'log' (bad log level: " .. level .. ")", 2)
        end
        if rc == 1 then
            -- not a tail call: `log` counts on this frame
            log(number, "log", 1, ...)
            return
        end
    end

    function _G.print(...)
        if takes(NOTICE) == 1 then
            log(NOTICE, "print", 1, ...)
            return
        end
    end

    base.log = ngx.log
end
