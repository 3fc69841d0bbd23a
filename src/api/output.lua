-- ngx.print, ngx.say, ngx.flush, ngx.eof, ngx.send_headers, ngx.headers_sent.

local error = error
local select = select
local tostring = tostring
local type = type
local concat = table.concat

return function(ngx, native, base)
    local cur = base.cur
    local check = base.check
    local append = native.out_append
    local send = base.classic.out_send
    local allowed = base.phases("server_rewrite", "rewrite", "access", "content")
    local null = base.null
    local ngx_null = ngx.null

    local flatten

    -- One value as text for ngx.print, `what` being how an error names it.
    local function text(value, n, level)
        local t = type(value)
        if t == "string" then
            return value
        end
        if t == "number" or t == "nil" or t == "boolean" then
            return tostring(value)
        end
        if t == "table" then
            local parts = {}
            flatten(value, parts, n, level + 1)
            return concat(parts)
        end
        if value == ngx_null then
            return "null"
        end
        error("bad argument #" .. n .. " to 'print' (string, number, boolean, nil, ngx.null, or array table expected, got "
              .. t .. ")", level + 1)
    end

    function flatten(array, parts, n, level)
        for key in pairs(array) do
            if type(key) ~= "number" or key < 1 or key % 1 ~= 0 then
                error("bad argument #" .. n .. " to 'print' (non-array table found)", level + 1)
            end
        end
        for i = 1, #array do
            local value = array[i]
            local t = type(value)
            if t == "table" then
                flatten(value, parts, n, level + 1)
            elseif t == "string" or t == "number" or t == "boolean" or t == "nil" then
                parts[#parts + 1] = tostring(value)
            elseif value == ngx_null then
                parts[#parts + 1] = "null"
            else
                error("bad argument #" .. n .. " to 'print' (bad data type " .. t .. " found)", level + 1)
            end
        end
    end

    local reasons = {
        [-1] = "seen eof",
        [-2] = "no memory",
    }

    local function finish(rc)
        if rc == 0 then
            return 1
        end
        if rc == 1 then
            if send(0) < 0 then
                return nil, "nginx output filter error"
            end
            return 1
        end
        return nil, reasons[rc] or "nginx output filter error"
    end

    function ngx.print(...)
        check(allowed)
        local n = select("#", ...)
        if n == 1 then
            local s = text(..., 1, 2)
            return finish(append(s, #s))
        end
        local parts = {}
        for i = 1, n do
            parts[i] = text((select(i, ...)), i, 2)
        end
        local s = concat(parts)
        return finish(append(s, #s))
    end

    function ngx.say(...)
        check(allowed)
        local n = select("#", ...)
        if n == 1 then
            local s = text(..., 1, 2) .. "\n"
            return finish(append(s, #s))
        end
        local parts = {}
        for i = 1, n do
            parts[i] = text((select(i, ...)), i, 2)
        end
        parts[n + 1] = "\n"
        local s = concat(parts)
        return finish(append(s, #s))
    end

    function ngx.flush()
        check(allowed)
        send(1)
        return 1
    end

    function ngx.eof()
        check(allowed)
        send(2)
        return 1
    end

    function ngx.send_headers()
        check(allowed)
        send(3)
        return 1
    end

    function base.getters.headers_sent()
        return cur.req ~= null and cur.req.started ~= 0
    end
end
