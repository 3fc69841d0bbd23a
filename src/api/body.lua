-- ngx.req: the request body, read, looked at, replaced.

local error = error
local select = select
local type = type

return function(ngx, native, base)
    local cur, null = base.cur, base.null
    local str = base.str
    local text = base.text
    local check, wait, ops = base.check, base.wait, base.ops
    local to_number, to_string = base.to_number, base.to_string
    local yielding = base.request_yielding

    local req = ngx.req or {}
    ngx.req = req

    -- Refuses a call with the wrong number of arguments, or outside a request, at the user's line.
    local function expect(n, least, most, what)
        if n < least or n > most then
            error("expecting " .. what .. " but seen " .. n, 3)
        end
        if cur.req == null then
            error(base.refusal(), 3)
        end
    end

    local read_body = native.req_read_body

    function req.read_body(...)
        check(yielding)
        expect(select("#", ...), 0, 0, "0 arguments")
        local rc = read_body()
        if rc == 1 then
            wait(ops.read_body)
        elseif rc ~= 0 then
            wait(ops.exit, rc)
        end
    end

    local discard_body = native.req_discard_body

    function req.discard_body(...)
        expect(select("#", ...), 0, 0, "0 arguments")
        if discard_body() ~= 0 then
            error("failed to discard request body", 2)
        end
    end

    local body_data, body_file = native.req_body_data, native.req_body_file

    function req.get_body_data(...)
        local n = select("#", ...)
        expect(n, 0, 1, "0 or 1 arguments")
        local max = 0
        if n == 1 then
            max = ...
            max = max and to_number(max, 1, "get_body_data") or 0
        end
        local rc = body_data(max, str)
        if rc == 0 then
            return text(str)
        end
        if rc == -2 then
            error("no memory", 2)
        end
        return nil
    end

    function req.get_body_file(...)
        expect(select("#", ...), 0, 0, "0 arguments")
        if body_file(str) == 0 then
            return text(str)
        end
        return nil
    end

    -- Raises why a body was not changed, at the user's line.
    local function must(rc)
        if rc ~= 0 then
            error(text(str), 3)
        end
    end

    local set_body_data, set_body_file = native.req_set_body_data, native.req_set_body_file

    function req.set_body_data(...)
        local n = select("#", ...)
        expect(n, 1, 1, "1 arguments")
        local data = to_string((...), 1, "set_body_data")
        must(set_body_data(data, #data, str))
    end

    function req.set_body_file(...)
        local n = select("#", ...)
        expect(n, 1, 2, "1 or 2 arguments")
        local name, clean = ...
        name = to_string(name, 1, "set_body_file")
        if n == 2 and type(clean) ~= "boolean" then
            error("bad argument #2 to 'set_body_file' (boolean expected, got " ..
                  (clean == nil and "nil" or type(clean)) .. ")", 2)
        end
        must(set_body_file(name, #name, clean and 1 or 0, str))
    end

    -- a body that is written piece by piece

    local init_body, append_body, finish_body = native.req_init_body, native.req_append_body, native.req_finish_body

    function req.init_body(...)
        local n = select("#", ...)
        expect(n, 0, 1, "0 or 1 argument")
        local size = -1
        if n == 1 then
            size = to_number((...), 1, "init_body")
            if size < 0 then
                error("bad size argument: " .. size, 2)
            end
        end
        must(init_body(size, str))
    end

    function req.append_body(...)
        local n = select("#", ...)
        expect(n, 1, 1, "1 arguments")
        local data = to_string((...), 1, "append_body")
        must(append_body(data, #data, str))
    end

    function req.finish_body(...)
        expect(select("#", ...), 0, 0, "0 argument")
        must(finish_body(str))
    end
end
