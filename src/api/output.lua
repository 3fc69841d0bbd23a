-- ngx.print, ngx.say, ngx.flush, ngx.eof, ngx.send_headers.

local concat = table.concat
local error = error
local floor = math.floor
local next = next
local select = select
local tostring = tostring
local type = type

return function(ngx, native, base)
    local append = native.out_append
    local check, allowed = base.check, base.request_yielding
    local send = base.classic.out_send
    local wait = base.wait
    local op_drain = base.ops.drain
    local null = ngx.null
    local new_table = base.new_table

    -- The text of `array`, the texts of arrays in it included. `strict` allows strings and numbers alone.
    -- On failure nil and what is wrong.
    local flatten
    function flatten(array, parts, strict)
        local max = 0
        for key in next, array do
            if type(key) ~= "number" or key < 1 or floor(key) ~= key then
                return nil, "non-array table found"
            end
            if key > max then
                max = key
            end
        end
        for i = 1, max do
            local value = array[i]
            local t = type(value)
            if t == "string" or t == "number" then
                parts[#parts + 1] = value
            elseif t == "table" then
                local ok, why = flatten(value, parts, strict)
                if not ok then
                    return nil, why
                end
            elseif (t == "boolean" or t == "nil") and not strict then
                parts[#parts + 1] = tostring(value)
            elseif t == "userdata" and value == null and not strict then
                parts[#parts + 1] = "null"
            else
                return nil, "bad data type " .. t .. " found"
            end
        end
        return true
    end

    function base.flatten(array, strict)
        local parts = {}
        local ok, why = flatten(array, parts, strict)
        return ok and concat(parts), why
    end

    -- One value that is no string as text; `level` is that of the user's line.
    local function text(value, n, name, level)
        local t = type(value)
        if t == "string" then
            return value
        end
        if t == "number" or t == "nil" or t == "boolean" then
            return tostring(value)
        end
        local why
        if t == "table" then
            local s
            s, why = base.flatten(value)
            if s then
                return s
            end
        elseif t == "userdata" and value == null then
            return "null"
        else
            why = "string, number, boolean, nil, ngx.null, or array table expected, but got " .. t
        end
        error("bad argument #" .. n .. " to '" .. name .. "' (" .. why .. ")", level + 1)
    end

    local reasons = {
        [-3] = "seen eof",
        [-4] = "header only",
        [-5] = "nginx output filter error",
        [-6] = "no memory",
        [-7] = "buffering",
        [-8] = "nothing to flush",
        [-9] = "raw request socket acquired",
    }

    -- What a code other than 0 comes to. Only called in tail position, so that level 2 is the user's line.
    local function finish(rc)
        if rc == 1 then
            rc = send(0)
            if rc == 0 then
                return 1
            end
        end
        if rc == -1 or rc == -2 then
            check(allowed)
        end
        return nil, reasons[rc]
    end

    -- The number of arguments decides: functions of fixed arity are what the JIT compiles on their own.

    local function put(s, newline)
        local rc = append(s, #s, newline)
        if rc == 0 then
            return 1
        end
        return finish(rc)
    end

    local function put_two(a, b, newline)
        local rc = append(a, #a, 0)
        if rc >= 0 then
            local rest = append(b, #b, newline)
            if rest ~= 0 then
                rc = rest
            end
        end
        if rc == 0 then
            return 1
        end
        return finish(rc)
    end

    local function put_three(a, b, c, newline)
        local rc = append(a, #a, 0)
        if rc >= 0 then
            append(b, #b, 0)
            local rest = append(c, #c, newline)
            if rest ~= 0 then
                rc = rest
            end
        end
        if rc == 0 then
            return 1
        end
        return finish(rc)
    end

    local function put_many(name, newline, n, ...)
        local parts = new_table(n, 0)
        for i = 1, n do
            parts[i] = text((select(i, ...)), i, name, 2)
        end
        local s = concat(parts)
        local rc = append(s, #s, newline)
        if rc == 0 then
            return 1
        end
        return finish(rc)
    end

    -- ngx.print and ngx.say, which ends the line
    local function writer(name, newline)
        return function(...)
            local n = select("#", ...)
            local a, b, c = ...
            if n == 1 then
                if type(a) ~= "string" then
                    a = text(a, 1, name, 2)
                end
                return put(a, newline)
            end
            if n == 2 then
                if type(a) ~= "string" then
                    a = text(a, 1, name, 2)
                end
                if type(b) ~= "string" then
                    b = text(b, 2, name, 2)
                end
                return put_two(a, b, newline)
            end
            if n == 3 then
                if type(a) ~= "string" then
                    a = text(a, 1, name, 2)
                end
                if type(b) ~= "string" then
                    b = text(b, 2, name, 2)
                end
                if type(c) ~= "string" then
                    c = text(c, 3, name, 2)
                end
                return put_three(a, b, c, newline)
            end
            return put_many(name, newline, n, ...)
        end
    end
    ngx.print, ngx.say = writer("print", 0), writer("say", 1)

    function ngx.flush(...)
        local n = select("#", ...)
        local waits = ...
        if n > 1 then
            error("attempt to pass " .. n .. " arguments, but accepted 0 or 1", 2)
        end
        if n == 1 and type(waits) ~= "boolean" then
            error("bad argument #1 to 'flush' (boolean expected, got " .. type(waits) .. ")", 2)
        end
        local rc = send(waits and 2 or 1)
        if rc == 0 then
            return 1
        end
        if rc == 2 then
            return wait(op_drain)
        end
        return finish(rc)
    end

    function ngx.eof(...)
        if select("#", ...) ~= 0 then
            error("no argument is expected", 2)
        end
        local rc = send(3)
        if rc == 0 then
            return 1
        end
        return finish(rc)
    end

    function ngx.send_headers()
        local rc = send(4)
        if rc == 0 then
            return 1
        end
        return finish(rc)
    end
end
