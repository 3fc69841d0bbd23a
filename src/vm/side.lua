-- What a VM in a thread of its own knows of ngx: what can be computed without nginx.

local c, setup, boundary = ...

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

-- ngx.re and ngx.shared are the worker's, with natives that use this VM's own memory
do
    local ffi = require "ffi"
    ffi.cdef(boundary.cdef)
    local side, native = boundary.side, {}
    for name, row in pairs(boundary.natives) do
        native[name] = ffi.cast(row[1], row[2])
    end
    local dict_get, dict_pop, dict_keys = native.side_dict_get, native.side_dict_pop, native.side_dict_keys
    local re_compile, re_replace = native.side_re_compile, native.side_re_replace

    function native.dict_get(dict, key, len, stale, value)
        return dict_get(side, dict, key, len, stale, value)
    end

    function native.dict_pop(dict, head, key, len, value)
        return dict_pop(side, dict, head, key, len, value)
    end

    function native.dict_keys(dict, max, value)
        return dict_keys(side, dict, max, value)
    end

    function native.re_compile(pattern, len, options, options_len, limits, info, str)
        return re_compile(side, pattern, len, options, options_len, limits, info, str)
    end

    function native.re_replace(code, subject, len, template, all, str)
        return re_replace(side, code, subject, len, template, all, str)
    end

    native.re_available, native.re_template = native.side_re_available, native.side_re_template

    local base = {
        version = "0.1.25", boot = setup, string = ffi.string, new = ffi.new, cast = ffi.cast, gc = ffi.gc,
        num = ffi.new("double[1]"), str = ffi.new("as_str[1]"), new_tab = require "table.new",
        -- modules that need the worker are not served here
        module = function() end,
    }

    function base.text(str)
        return ffi.string(str[0].data, str[0].len)
    end

    for name, source in pairs(boundary.files) do
        loadstring(source, "=autoscale_lua." .. name)()(ngx, native, base)
    end
    if native.re_available() == 0 then
        ngx.re = setmetatable({}, { __index = function()
            error("no support for 'ngx.re' in threads: nginx was built without PCRE2", 2)
        end })
    end
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
