-- ngx.header, ngx.status, ngx.headers_sent, ngx.is_subrequest, ngx.resp.

local error = error
local lower = string.lower
local setmetatable = setmetatable
local tonumber = tonumber
local tostring = tostring
local type = type

return function(ngx, native, base)
    local header_set, header_get = native.header_set, native.header_get
    local header_all, header_count = native.header_all, native.header_count
    local is_sent, is_subrequest = native.header_is_sent, native.is_subrequest
    local status_get, status_set = native.status_get, native.status_set
    local to_string = base.string

    -- Values of one field, and fields of one header, that are looked at unless more are asked for.
    local MAX = 100

    local failures = {
        [-3] = "failed to set header",
        [-4] = "no memory",
    }

    -- Raises what a native's code stands for, at the line of the user; that the header has left is only logged.
    local function failed(rc, level)
        if rc ~= -2 then
            error(failures[rc] or base.refusal(), level + 1)
        end
    end

    local function log_write(level, message)
        if native.log_takes(level) == 1 then
            native.log_write(level, message, #message)
        end
    end

    local function text(value)
        if type(value) == "string" then
            return value
        end
        return tostring(value)
    end

    local function set_lines(name, values, add, level)
        local n = #values
        if n == 0 then
            if add == 0 then
                local rc = header_set(name, #name, "", 0, 0)
                if rc ~= 0 then
                    failed(rc, level + 1)
                end
            end
            return
        end
        for i = 1, n do
            local value = text(values[i])
            local rc = header_set(name, #name, value, #value, i == 1 and add or 1)
            if rc ~= 0 then
                failed(rc, level + 1)
                return
            end
        end
    end

    local function set(_, name, value)
        name = text(name)
        if type(value) == "table" then
            set_lines(name, value, 0, 2)
            return
        end
        if value == nil then
            value = ""
        else
            value = text(value)
        end
        local rc = header_set(name, #name, value, #value, 0)
        if rc ~= 0 then
            failed(rc, 2)
        end
    end

    local values = base.new("as_str[?]", MAX)

    local function get(_, name)
        name = text(name)
        local n = header_get(name, #name, values, MAX)
        if n == 1 then
            return to_string(values[0].data, values[0].len)
        end
        if n == 0 then
            return nil
        end
        if n < 0 then
            error(base.refusal(), 2)
        end
        local list = {}
        for i = 1, n do
            list[i] = to_string(values[i - 1].data, values[i - 1].len)
        end
        return list
    end

    ngx.header = setmetatable({}, { __index = get, __newindex = set })

    function base.getters.headers_sent()
        local sent = is_sent()
        if sent < 0 then
            error(base.refusal(), 2)
        end
        return sent == 1
    end

    function base.getters.is_subrequest()
        local sub = is_subrequest()
        if sub < 0 then
            error(base.refusal(), 2)
        end
        return sub == 1
    end

    function base.getters.status()
        local status = status_get()
        if status < 0 then
            error(base.refusal(), 2)
        end
        return status
    end

    function base.setters.status(status)
        local number = tonumber(status)
        if not number then
            error("number expected, got " .. type(status), 2)
        end
        local rc = status_set(number, "", 0)
        if rc ~= 0 then
            failed(rc, 2)
        end
    end

    local pairs_of = base.array("as_pair[?]")

    local resp = ngx.resp or {}
    ngx.resp = resp

    function resp.get_headers(max, raw)
        if max == nil then
            max = MAX
        else
            max = base.to_number(max, 1, "get_headers")
        end
        local room = header_count()
        if room < 0 then
            error(base.refusal(), 2)
        end
        local pairs = pairs_of(room)
        local n = header_all(pairs, room)
        local truncated
        if max > 0 and n > max then
            log_write(8, "lua exceeding response header limit " .. n .. " > " .. max)
            n, truncated = max, "truncated"
        end
        local headers = {}
        for i = 0, n - 1 do
            local pair = pairs[i]
            local key = to_string(pair.key.data, pair.key.len)
            if not raw then
                key = lower(key)
            end
            local value = to_string(pair.value.data, pair.value.len)
            local before = headers[key]
            if before == nil then
                headers[key] = value
            elseif type(before) == "table" then
                before[#before + 1] = value
            else
                headers[key] = { before, value }
            end
        end
        if not raw then
            setmetatable(headers, base.headers_meta)
        end
        return headers, truncated
    end

    local function add_header(name, value)
        name = text(name)
        if value == nil then
            error("invalid header value", 2)
        end
        if type(value) == "table" then
            set_lines(name, value, 1, 2)
            return
        end
        value = text(value)
        local rc = header_set(name, #name, value, #value, 1)
        if rc ~= 0 then
            failed(rc, 2)
        end
    end

    local function set_status(status, reason)
        local number = tonumber(status)
        if not number then
            error("number expected, got " .. type(status), 2)
        end
        reason = reason and text(reason) or ""
        local rc = status_set(number, reason, #reason)
        if rc ~= 0 then
            failed(rc, 2)
        end
    end

    local function bypass_if_checks()
        if native.header_ignore_conditions() < 0 then
            error(base.refusal(), 2)
        end
    end

    resp.add_header, resp.set_status = add_header, set_status
    base.module("ngx.resp", { add_header = add_header, set_status = set_status, bypass_if_checks = bypass_if_checks })
end
