-- ngx.shared: dictionaries in shared memory.

local error = error
local tonumber = tonumber
local tostring = tostring
local type = type

return function(ngx, native, base)
    local get, incr, incr_init = native.dict_get, native.dict_incr, native.dict_incr_init
    local put_text, put_other = native.dict_put_text, native.dict_put_other
    local push_text, push_number, pop = native.dict_push_text, native.dict_push_number, native.dict_pop
    local dict_ttl, dict_expire, dict_len = native.dict_ttl, native.dict_expire, native.dict_len
    local dict_keys = native.dict_keys
    local flush_all, flush_expired = native.dict_flush_all, native.dict_flush_expired
    local dict_capacity, dict_free_space = native.dict_capacity, native.dict_free_space
    local ffi_string = base.string
    local number = base.num
    -- { number, text, flags, stale }
    local value = base.new("as_dict_value")

    -- why a native refused
    local reasons = {
        "no memory", "exists", "not found", "not a number", "value not a list", "value is a list",
        "attempt to add or replace nil values", "empty key", "key too long",
    }

    local function reason(code)
        return reasons[code] or "internal error"
    end

    -- The native's side of a dictionary. The error points at the caller of the method.
    local function handle(dict)
        if type(dict) == "table" then
            local h = dict[1]
            if type(h) == "cdata" then
                return h
            end
        end
        error('bad "zone" argument', 3)
    end

    local function seconds(exptime)
        if not exptime then
            return 0
        end
        if exptime < 0 then
            -- the method that called store() left its place to it
            error('bad "exptime" argument', 3)
        end
        return exptime
    end

    local function store(h, op, key, v, exptime, flags)
        exptime = seconds(exptime)
        if type(key) ~= "string" then
            if key == nil then
                return nil, "nil key"
            end
            key = tostring(key)
        end
        local t = type(v)
        local rc
        if t == "string" then
            rc = put_text(h, op, key, #key, v, #v, exptime, flags or 0)
        elseif t == "number" then
            rc = put_other(h, op, key, #key, 3, v, exptime, flags or 0)
        elseif t == "boolean" then
            rc = put_other(h, op, key, #key, 1, v and 1 or 0, exptime, flags or 0)
        elseif v == nil then
            rc = put_other(h, op, key, #key, 0, 0, exptime, flags or 0)
        else
            return nil, "bad value type"
        end
        if rc == 0 then
            return true, nil, false
        elseif rc == 1 then
            return true, nil, true
        elseif rc < 0 then
            return nil, "internal error"
        end
        local forcible = rc % 2
        rc = (rc - forcible) / 2
        if rc >= 8 then
            -- the key's fault, not the dictionary's
            return nil, reason(rc)
        end
        return false, reason(rc), forcible == 1
    end

    local methods = {}
    methods.__index = methods

    for name, op in pairs { set = 0, safe_set = 4, add = 1, safe_add = 5, replace = 2 } do
        methods[name] = function(dict, key, v, exptime, flags)
            return store(handle(dict), op, key, v, exptime, flags)
        end
    end

    function methods.delete(dict, key)
        return store(handle(dict), 0, key, nil, nil, nil)
    end

    -- The value that a native left, by its kind.
    local function result(kind)
        if kind == 3 then
            return value.number
        elseif kind == 4 then
            return ffi_string(value.text.data, value.text.len)
        elseif kind == 1 then
            return value.number ~= 0
        end
        return nil
    end

    function methods.get(dict, key)
        local h = handle(dict)
        if type(key) ~= "string" then
            if key == nil then
                return nil, "nil key"
            end
            key = tostring(key)
        end
        local kind = get(h, key, #key, 0, value)
        if kind == 3 then
            return value.number
        elseif kind == 4 then
            return ffi_string(value.text.data, value.text.len)
        elseif kind == 0 then
            return nil
        elseif kind < 0 then
            return nil, reason(-kind)
        elseif kind > 8 then
            return result(kind - 8), value.flags
        end
        return result(kind)
    end

    function methods.get_stale(dict, key)
        local h = handle(dict)
        if type(key) ~= "string" then
            if key == nil then
                return nil, "nil key"
            end
            key = tostring(key)
        end
        local kind = get(h, key, #key, 1, value)
        if kind > 8 then
            local flags = value.flags
            return result(kind - 8), flags ~= 0 and flags or nil, value.stale ~= 0
        elseif kind == 0 then
            return nil
        elseif kind < 0 then
            return nil, reason(-kind)
        end
        return result(kind), nil, false
    end

    -- A number that incr was given as something else.
    local function to_number(v, name)
        local n = tonumber(v)
        if not n then
            error("bad " .. name .. " arg: number expected, got " .. type(v), 3)
        end
        return n
    end

    function methods.incr(dict, key, by, init, init_ttl)
        local h = handle(dict)
        if type(key) ~= "string" then
            if key == nil then
                return nil, "nil key"
            end
            key = tostring(key)
        end
        if type(by) ~= "number" then
            by = tonumber(by)
            if not by then
                error("bad value arg: cannot convert 'nil' to 'double'", 2)
            end
        end
        local rc
        if init then
            if type(init) ~= "number" then
                init = to_number(init, "init")
            end
            if init_ttl == nil then
                init_ttl = 0
            elseif type(init_ttl) ~= "number" then
                init_ttl = to_number(init_ttl, "init_ttl")
            end
            if init_ttl < 0 then
                error('bad "init_ttl" argument', 2)
            end
            rc = incr_init(h, key, #key, by, init, init_ttl, number)
            if rc == 0 then
                return number[0], nil, false
            elseif rc == 1 then
                return number[0], nil, true
            end
        else
            if init_ttl ~= nil then
                if to_number(init_ttl, "init_ttl") < 0 then
                    error('bad "init_ttl" argument', 2)
                end
                error('must provide "init" when providing "init_ttl"', 2)
            end
            rc = incr(h, key, #key, by, number)
            if rc == 0 then
                return number[0]
            end
        end
        return nil, reason((rc - rc % 2) / 2)
    end

    -- lists: what is done at the head, 1, or at the tail, 0

    for name, head in pairs { lpush = 1, rpush = 0 } do
        methods[name] = function(dict, key, v)
            local h = handle(dict)
            if key == nil then
                return nil, "nil key"
            end
            key = tostring(key)
            local t = type(v)
            local n
            if t == "string" then
                n = push_text(h, head, key, #key, v, #v)
            elseif t == "number" then
                n = push_number(h, head, key, #key, v)
            else
                return nil, "bad value type"
            end
            if n < 0 then
                return nil, reason(-n)
            end
            return n
        end
    end

    for name, head in pairs { lpop = 1, rpop = 0 } do
        methods[name] = function(dict, key)
            local h = handle(dict)
            if key == nil then
                return nil, "nil key"
            end
            key = tostring(key)
            local kind = pop(h, head, key, #key, value)
            if kind < 0 then
                return nil, reason(-kind)
            end
            return result(kind)
        end
    end

    -- a number, or why there is none
    for name, ask in pairs { llen = dict_len, ttl = dict_ttl } do
        methods[name] = function(dict, key)
            local h = handle(dict)
            if key == nil then
                return nil, "nil key"
            end
            key = tostring(key)
            local n = ask(h, key, #key)
            if n < 0 then
                return nil, reason(-n)
            end
            return n
        end
    end

    function methods.expire(dict, key, exptime)
        local h = handle(dict)
        if not exptime then
            error('bad "exptime" argument', 2)
        end
        if key == nil then
            return nil, "nil key"
        end
        key = tostring(key)
        local rc = dict_expire(h, key, #key, exptime)
        if rc ~= 0 then
            return nil, reason(rc)
        end
        return true
    end

    function methods.flush_all(dict)
        flush_all(handle(dict))
    end

    -- An optional count.
    local function count(v, default, name)
        if v == nil then
            return default
        end
        local n = tonumber(v)
        if not n then
            error("bad argument #1 to '" .. name .. "' (number expected, got " .. type(v) .. ")", 3)
        end
        return n
    end

    function methods.flush_expired(dict, max_count)
        local h = handle(dict)
        return flush_expired(h, count(max_count, 0, "flush_expired"))
    end

    function methods.get_keys(dict, max_count)
        local h = handle(dict)
        local n = dict_keys(h, count(max_count, 1024, "get_keys"), value)
        if n < 0 then
            return nil, reason(-n)
        end
        local keys, data, at = {}, base.cast("const unsigned char *", value.text.data), 0
        for i = 1, n do
            local len = data[at] + data[at + 1] * 256
            keys[i] = ffi_string(data + at + 2, len)
            at = at + 2 + len
        end
        return keys
    end

    function methods.capacity(dict)
        return dict_capacity(handle(dict))
    end

    function methods.free_space(dict)
        return dict_free_space(handle(dict))
    end

    ngx.shared = {}
    for name, pointer in pairs(base.boot.dicts) do
        ngx.shared[name] = setmetatable({ base.cast("as_dict *", pointer) }, methods)
    end
    package.preload["resty.core.shdict"] = function()
        return { version = "0.1.25" }
    end
end
