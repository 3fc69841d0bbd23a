-- Escaping, base64, checksums, digests, SQL literals; the module ngx.base64.

local error = error
local select = select
local tostring = tostring
local type = type

return function(ngx, native, base)
    local str, text = base.str, base.text
    local escape_uri, unescape_uri = native.codec_escape_uri, native.codec_unescape_uri
    local encode, encode_url, decode =
        native.codec_encode_base64, native.codec_encode_base64url, native.codec_decode_base64
    local crc32 = native.codec_crc32
    local md5, md5_bin, sha1_bin = native.codec_md5, native.codec_md5_bin, native.codec_sha1_bin
    local hmac_sha1, quote = native.codec_hmac_sha1, native.codec_quote_sql_str

    -- What is no string: nil and false are empty, all else is what tostring makes of it.
    local function as_text(value)
        return value and tostring(value) or ""
    end

    function ngx.escape_uri(s, kind)
        if type(s) ~= "string" then
            s = as_text(s)
        end
        if kind == nil then
            kind = 2
        elseif type(kind) ~= "number" then
            error("\"type\" is not a number", 2)
        elseif not (kind >= 0 and kind <= 6) then
            error("\"type\" " .. kind .. " out of range", 2)
        end
        if escape_uri(s, #s, kind, str) == 0 then
            return s
        end
        return text(str)
    end

    function ngx.unescape_uri(s)
        if type(s) ~= "string" then
            s = as_text(s)
        end
        unescape_uri(s, #s, str)
        return text(str)
    end

    function ngx.encode_base64(s, no_padding)
        if type(s) ~= "string" then
            s = as_text(s)
        end
        if no_padding and no_padding ~= true then
            error("bad no_padding: boolean expected, got " .. type(no_padding), 2)
        end
        encode(s, #s, no_padding and 0 or 1, str)
        return text(str)
    end

    local function decoded(s, kind)
        if type(s) ~= "string" then
            error("string argument only", 3)
        end
        if decode(s, #s, kind, str) ~= 1 then
            return nil
        end
        return text(str)
    end

    function ngx.decode_base64(s)
        local res = decoded(s, 0)
        return res
    end

    function ngx.decode_base64mime(s)
        local res = decoded(s, 2)
        return res
    end

    local M = { version = base.version }

    function M.encode_base64url(s)
        if type(s) ~= "string" then
            return nil, "must provide a string"
        end
        encode_url(s, #s, str)
        return text(str)
    end

    function M.decode_base64url(s)
        if type(s) ~= "string" then
            return nil, "must provide a string"
        end
        if decode(s, #s, 1, str) ~= 1 then
            return nil, "invalid input"
        end
        return text(str)
    end

    base.module("ngx.base64", M)

    function ngx.crc32_short(s)
        if type(s) ~= "string" then
            s = as_text(s)
        end
        return crc32(s, #s)
    end

    -- the same checksum: nginx computes it with a smaller or a larger table
    ngx.crc32_long = ngx.crc32_short

    function ngx.md5(s)
        if type(s) ~= "string" then
            s = as_text(s)
        end
        md5(s, #s, str)
        return text(str)
    end

    function ngx.md5_bin(s)
        if type(s) ~= "string" then
            s = as_text(s)
        end
        md5_bin(s, #s, str)
        return text(str)
    end

    function ngx.sha1_bin(s)
        if type(s) ~= "string" then
            s = as_text(s)
        end
        sha1_bin(s, #s, str)
        return text(str)
    end

    -- Argument `n` of the function called `name`: strings and numbers, as Lua's own library takes them.
    local function checked(value, n, name)
        local t = type(value)
        if t == "string" then
            return value
        end
        if t ~= "number" then
            error("bad argument #" .. n .. " to '" .. name .. "' (string expected, got " .. t .. ")", 3)
        end
        return tostring(value)
    end

    function ngx.hmac_sha1(...)
        local n = select("#", ...)
        if n ~= 2 then
            error("expecting 2 arguments, but got " .. n, 2)
        end
        local key, s = ...
        key, s = checked(key, 1, "hmac_sha1"), checked(s, 2, "hmac_sha1")
        hmac_sha1(key, #key, s, #s, str)
        return text(str)
    end

    function ngx.quote_sql_str(...)
        if select("#", ...) ~= 1 then
            error("expecting one argument", 2)
        end
        local s = checked((...), 1, "quote_sql_str")
        quote(s, #s, str)
        return text(str)
    end

    for _, name in ipairs { "base64", "hash", "uri" } do
        base.module("resty.core." .. name, { version = base.version })
    end
end
