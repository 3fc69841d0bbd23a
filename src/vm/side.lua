-- What a VM in a thread of its own knows of ngx: what can be computed without nginx.

local c, setup = ...

local concat = table.concat
local error = error
local find, gmatch, sub = string.find, string.gmatch, string.sub
local pairs, ipairs = pairs, ipairs
local pcall = pcall
local require = require
local tonumber = tonumber
local tostring = tostring
local type = type

package.path, package.cpath = setup.path, setup.cpath

local ngx = {
    null = setup.null,
    config = {
        subsystem = "http",
        debug = setup.debug,
        nginx_version = setup.nginx_version,
        ngx_lua_version = setup.ngx_lua_version,
        prefix = function() return setup.prefix end,
        nginx_configure = function() return setup.configure end,
    },
}

local function text(value)
    return value and tostring(value) or ""
end

for _, name in ipairs { "md5", "md5_bin", "sha1_bin" } do
    local f = c[name]
    ngx[name] = function(s) return f(text(s)) end
end

function ngx.encode_base64(s, no_padding)
    return (no_padding and c.encode_base64_bare or c.encode_base64)(text(s))
end

function ngx.decode_base64(s)
    if type(s) ~= "string" then
        error("string argument only", 2)
    end
    return c.decode_base64(s)
end

function ngx.hmac_sha1(key, s)
    return c.hmac_sha1(text(key), text(s))
end

function ngx.quote_sql_str(s)
    return c.quote_sql_str(text(s))
end

function ngx.escape_uri(s)
    return c.escape(text(s))
end

function ngx.unescape_uri(s)
    return c.unescape(text(s))
end

local function crc32(s)
    return tonumber(c.crc32(text(s)))
end
ngx.crc32_short, ngx.crc32_long = crc32, crc32

function ngx.encode_args(args)
    if type(args) ~= "table" then
        error("bad argument #1 to 'encode_args' (table expected, got " .. type(args) .. ")", 2)
    end
    local parts = {}
    local function add(key, value)
        if value == true then
            parts[#parts + 1] = c.escape(key)
        elseif value ~= false then
            parts[#parts + 1] = c.escape(key) .. "=" .. c.escape(tostring(value))
        end
    end
    for key, value in pairs(args) do
        key = tostring(key)
        if type(value) == "table" then
            for _, one in ipairs(value) do
                add(key, one)
            end
        else
            add(key, value)
        end
    end
    return concat(parts, "&")
end

function ngx.decode_args(s, max)
    local args, n = {}, 0
    max = max or 100
    for piece in gmatch(text(s), "[^&]+") do
        n = n + 1
        if max > 0 and n > max then
            return args, "truncated"
        end
        local equals = find(piece, "=", 1, true)
        local key = c.unescape(equals and sub(piece, 1, equals - 1) or piece)
        local value = equals and c.unescape(sub(piece, equals + 1)) or true
        local seen = args[key]
        if key ~= "" and seen == nil then
            args[key] = value
        elseif key ~= "" and type(seen) == "table" then
            seen[#seen + 1] = value
        elseif key ~= "" then
            args[key] = { seen, value }
        end
    end
    return args
end

_G.ngx = ngx
package.loaded.ngx = ngx

local function result(ok, ...)
    if ok then
        return ok, ...
    end
    return false, tostring((...))
end

return function(module, name, ...)
    local ok, loaded = pcall(require, module)
    if not ok then
        return false, tostring(loaded)
    end
    if type(loaded) ~= "table" then
        return false, "invalid lua module"
    end
    local f = loaded[name]
    if type(f) ~= "function" then
        return false, "invalid function"
    end
    return result(pcall(f, ...))
end
