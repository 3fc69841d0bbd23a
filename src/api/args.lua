-- Query strings: ngx.encode_args, ngx.decode_args, ngx.req.get_uri_args, get_post_args, set_uri_args.

local debug_getinfo = debug.getinfo
local error = error
local pairs = pairs
local select = select
local tostring = tostring
local type = type

return function(ngx, native, base)
    local cur, null = base.cur, base.null
    local str, int = base.str, base.int
    local string, text = base.string, base.text
    local to_number, to_string = base.to_number, base.to_string
    local new_table, clear_table = base.new_table, base.clear_table

    local req = ngx.req or {}
    ngx.req = req

    -- Where natives leave pairs of texts: room for what a limit of 100 lets through. Whoever needs more makes its own.
    local new_pairs = base.array("as_pair[?]")
    local room = 128
    local buffer = new_pairs(room)
    base.new_pairs, base.pairs_buffer, base.pairs_room = new_pairs, buffer, room

    -- The first `n` of these pairs as a table: a key that comes again has an array of its values.
    local function to_table(list, n, tab)
        tab = tab or new_table(0, n)
        for i = 0, n - 1 do
            local pair = list[i]
            local key = string(pair.key.data, pair.key.len)
            local value = true
            if pair.value.data ~= null then
                value = string(pair.value.data, pair.value.len)
            end
            local seen = tab[key]
            if seen == nil then
                tab[key] = value
            elseif type(seen) == "table" then
                seen[#seen + 1] = value
            else
                tab[key] = { seen, value }
            end
        end
        return tab
    end
    base.pairs_to_table = to_table

    local uri_args = native.req_uri_args

    function req.get_uri_args(max, tab)
        if cur.req == null then
            error(base.refusal(), 2)
        end
        max = max and to_number(max, 1, "get_uri_args") or -1
        if tab then
            clear_table(tab)
        end
        local list = buffer
        local n = uri_args(max, list, room, int)
        if n > room then
            list = new_pairs(n)
            n = uri_args(max, list, n, int)
        end
        if n < 0 then
            error("no memory", 2)
        end
        tab = to_table(list, n, tab)
        if int[0] ~= 0 then
            return tab, "truncated"
        end
        return tab
    end

    local decode_args = native.args_decode

    local function decode(src, max)
        local list = buffer
        local n = decode_args(src, #src, max, list, room, int)
        if n > room then
            list = new_pairs(n)
            n = decode_args(src, #src, max, list, n, int)
        end
        if n < 0 then
            error("no memory")
        end
        local tab = to_table(list, n)
        if int[0] ~= 0 then
            return tab, "truncated"
        end
        return tab
    end

    function ngx.decode_args(...)
        local n = select("#", ...)
        if n ~= 1 and n ~= 2 then
            error("expecting 1 or 2 arguments but seen " .. n, 2)
        end
        local src, max = ...
        src = to_string(src, 1, "decode_args")
        max = n == 2 and to_number(max, 2, "decode_args") or 100
        return decode(src, max)
    end

    local post_args, body_data = native.req_post_args, native.req_body_data
    local UNREAD, IN_FILE, IN_PIECES = -3, -4, -5

    function req.get_post_args(...)
        local n = select("#", ...)
        if n > 1 then
            error("expecting 0 or 1 arguments but seen " .. n, 2)
        end
        if cur.req == null then
            error(base.refusal(), 2)
        end
        local max = n == 1 and to_number((...), 1, "get_post_args") or 100
        local list = buffer
        n = post_args(max, list, room, int)
        if n > room then
            list = new_pairs(n)
            n = post_args(max, list, n, int)
        end
        if n >= 0 then
            local tab = to_table(list, n)
            if int[0] ~= 0 then
                return tab, "truncated"
            end
            return tab
        end
        if n == IN_FILE then
            return nil, "request body in temp file not supported"
        elseif n == UNREAD then
            error("no request body found; maybe you should turn on lua_need_request_body?", 2)
        elseif n == IN_PIECES and body_data(0, str) == 0 then
            return decode(text(str), max)
        end
        error("no memory", 2)
    end

    -- Writing: the pairs are collected on Rust's side.

    local begin, add, written = native.args_begin, native.args_add, native.args_written

    -- What an error calls the type of a value: cdata of this module's is userdata in OpenResty.
    local function kind(value)
        local t = type(value)
        return t == "cdata" and "userdata" or t
    end

    -- One value of a key. Errors point at the caller of the API function that called `write`.
    local function write_value(key, value, level)
        local t = type(value)
        local rc = 0
        if t == "string" then
            rc = add(key, #key, value, #value, 0)
        elseif t == "number" then
            value = tostring(value)
            rc = add(key, #key, value, #value, 0)
        elseif t == "boolean" then
            if value then
                rc = add(key, #key, "", 0, 1)
            end
        else
            error("attempt to use " .. kind(value) .. " as query arg value", level)
        end
        if rc ~= 0 then
            error("no memory", level)
        end
    end

    local function write(tab)
        begin()
        for key, value in pairs(tab) do
            if type(key) ~= "string" then
                error('attempt to use a non-string key in the "args" option table', 3)
            end
            if type(value) == "table" then
                for _, one in pairs(value) do
                    write_value(key, one, 4)
                end
            else
                write_value(key, value, 4)
            end
        end
    end

    -- The table as a query string; for other prelude files too, whose caller an error then points at.
    function base.encode_args(tab)
        write(tab)
        written(str)
        return text(str)
    end

    function ngx.encode_args(...)
        local n = select("#", ...)
        if n ~= 1 then
            error("expecting 1 argument but seen " .. n, 2)
        end
        local tab = ...
        if type(tab) ~= "table" then
            local info = debug_getinfo(1, "n")
            local name = info and info.name or "?"
            error("bad argument #1 to '" .. name .. "' (table expected, got " .. type(tab) .. ")", 2)
        end
        write(tab)
        written(str)
        return text(str)
    end

    local set_args, set_written = native.req_set_args, native.req_set_written_args

    function req.set_uri_args(...)
        local n = select("#", ...)
        if n ~= 1 then
            error("expecting 1 argument but seen " .. n, 2)
        end
        if cur.req == null then
            error(base.refusal(), 2)
        end
        local args = ...
        local t = type(args)
        local rc
        if t == "table" then
            write(args)
            rc = set_written()
        elseif t == "string" or t == "number" then
            args = tostring(args)
            rc = set_args(args, #args)
        else
            error("bad argument #1 to 'set_uri_args' (string, number, or table expected, but got " ..
                  kind(args) .. ")", 2)
        end
        if rc ~= 0 then
            error("no memory", 2)
        end
    end
end
