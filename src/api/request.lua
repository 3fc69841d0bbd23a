-- ngx.req: headers, method, URI and more; arguments are in args.lua, the body in body.lua.

local error = error
local find = string.find
local gsub = string.gsub
local lower = string.lower
local rawget = rawget
local select = select
local setmetatable = setmetatable
local tostring = tostring
local type = type

return function(ngx, native, base)
    local cur, null = base.cur, base.null
    local str, int = base.str, base.int
    local text = base.text
    local pairs_buffer, pairs_room = base.pairs_buffer, base.pairs_room
    local new_pairs = base.new_pairs
    local to_table = base.pairs_to_table
    local to_number, to_string = base.to_number, base.to_string

    local req = ngx.req or {}
    ngx.req = req

    -- get_headers: names are in lower case, and found in any case and with underscores

    local headers_meta = {
        __index = function(headers, name)
            local t = type(name)
            if t ~= "string" and t ~= "number" then
                return nil
            end
            local key = lower(name)
            local value = rawget(headers, key)
            if value == nil and find(key, "_", 1, true) then
                value = rawget(headers, (gsub(key, "_", "-")))
            end
            return value
        end,
    }
    base.headers_meta = headers_meta

    local get_headers = native.req_headers

    function req.get_headers(max, raw)
        if cur.req == null then
            error(base.refusal(), 2)
        end
        max, raw = max and to_number(max, 1, "get_headers") or -1, raw and 1 or 0
        local buffer = pairs_buffer
        local n = get_headers(max, raw, buffer, pairs_room, int)
        if n > pairs_room then
            buffer = new_pairs(n)
            n = get_headers(max, raw, buffer, n, int)
        end
        local headers = to_table(buffer, n)
        if raw == 0 then
            setmetatable(headers, headers_meta)
        end
        if int[0] ~= 0 then
            return headers, "truncated"
        end
        return headers
    end

    -- set_header: a value, or several in an array; nil or an empty one removes the header

    local change_header = native.req_change_header
    local REPLACE, ADD, REMOVE = 0, 1, 2

    -- The error points at the caller of the API function, which must not be left by a tail call.
    local function change(name, value, how)
        if cur.req == null then
            error(base.refusal(), 3)
        end
        local rc = change_header(name, #name, value, #value, how)
        if rc ~= 0 then
            error(rc == -2 and "no memory" or "failed to set header", 3)
        end
    end

    local function to_name(name)
        if name == nil then
            error("bad 'name' argument: string expected, got nil", 3)
        end
        return type(name) == "string" and name or tostring(name)
    end

    function req.set_header(name, value)
        name = to_name(name)
        if value == nil then
            change(name, "", REMOVE)
        elseif type(value) ~= "table" then
            change(name, tostring(value), REPLACE)
        elseif #value == 0 then
            change(name, "", REMOVE)
        else
            change(name, tostring(value[1]), REPLACE)
            for i = 2, #value do
                change(name, tostring(value[i]), ADD)
            end
        end
    end

    -- require("ngx.req").add_header

    local function add_header(name, value)
        name = to_name(name)
        if value == nil then
            error("bad 'value' argument: string or table expected, got nil", 2)
        elseif type(value) ~= "table" then
            change(name, tostring(value), ADD)
        elseif #value == 0 then
            error("bad 'value' argument: non-empty table expected", 2)
        else
            for i = 1, #value do
                change(name, tostring(value[i]), ADD)
            end
        end
    end

    base.module("ngx.req", function()
        return { version = base.version, add_header = add_header }
    end)

    function req.clear_header(name)
        change(type(name) == "string" and name or tostring(name), "", REMOVE)
    end

    local methods = {}
    local names = "GET HEAD POST PUT DELETE MKCOL COPY MOVE OPTIONS PROPFIND PROPPATCH LOCK UNLOCK PATCH TRACE"
    for name in names:gmatch("%u+") do
        methods[ngx["HTTP_" .. name]] = name
    end

    local get_method, set_method = native.req_method, native.req_set_method

    function req.get_method()
        if cur.req == null then
            error(base.refusal(), 2)
        end
        return methods[get_method(str)] or text(str)
    end

    function req.set_method(method)
        if cur.req == null then
            error(base.refusal(), 2)
        end
        if type(method) ~= "number" then
            error("bad method number", 2)
        end
        if set_method(method) ~= 0 then
            error("unsupported HTTP method: " .. method, 2)
        end
    end

    local versions = { [9] = 0.9, [1000] = 1.0, [1001] = 1.1, [2000] = 2.0, [3000] = 3.0 }
    local http_version = native.req_http_version

    function req.http_version()
        if cur.req == null then
            error(base.refusal(), 2)
        end
        return versions[http_version()]
    end

    local raw_header = native.req_raw_header

    function req.raw_header(no_request_line)
        if cur.req == null then
            error(base.refusal(), 2)
        end
        if raw_header(no_request_line and 1 or 0, str) ~= 0 then
            error("http2 requests not supported yet", 2)
        end
        return text(str)
    end

    local start_time = native.req_start_time

    function req.start_time()
        if cur.req == null then
            error(base.refusal(), 2)
        end
        return start_time()
    end

    local is_internal = native.req_is_internal

    function req.is_internal()
        if cur.req == null then
            error(base.refusal(), 2)
        end
        return is_internal() == 1
    end

    -- set_uri: with `jump` it ends the script, and nginx chooses a location for the new URI

    local unsafe_uri, set_uri = native.req_unsafe_uri, native.req_set_uri
    local can_jump = base.phases("server_rewrite", "rewrite")
    local check, wait, jump_op = base.check, base.wait, base.ops.jump

    local function check_boolean(value, n, name)
        if type(value) ~= "boolean" then
            error("bad argument #" .. n .. " to '" .. name .. "' (boolean expected, got " ..
                  (value == nil and "nil" or type(value)) .. ")", 3)
        end
    end

    function req.set_uri(...)
        local n = select("#", ...)
        if n < 1 or n > 3 then
            error("expecting 1, 2 or 3 arguments but seen " .. n, 2)
        end
        if cur.req == null then
            error(base.refusal(), 2)
        end
        local uri, jump, binary = ...
        uri = to_string(uri, 1, "set_uri")
        if #uri == 0 then
            error("attempt to use zero-length uri", 2)
        end
        if n == 3 then
            check_boolean(binary, 3, "set_uri")
        end
        if not binary and unsafe_uri(uri, #uri, str) ~= 0 then
            error(text(str) .. " (maybe you want to set the 'binary' argument?)", 2)
        end
        if n > 1 then
            check_boolean(jump, 2, "set_uri")
            if jump then
                check(can_jump)
            end
        end
        if jump then
            local _, err = wait(jump_op, uri)
            error(err, 2)
        end
        if set_uri(uri, #uri) ~= 0 then
            error("no memory", 2)
        end
    end
end
