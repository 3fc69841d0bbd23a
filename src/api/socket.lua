-- ngx.socket.tcp: sockets whose operations let other requests run while they wait.

local error = error
local floor = math.floor
local select = select
local sub = string.sub
local setmetatable = setmetatable
local tonumber = tonumber
local tostring = tostring
local type = type

return function(ngx, native, base)
    local new, free, connect, send = native.socket_tcp, native.socket_free, native.socket_connect, native.socket_send
    local receive, receive_until = native.socket_receive, native.socket_receive_until
    local until_new, until_free = native.socket_until, native.socket_until_free
    local text, to_text, sendable = base.text, base.string, base.sendable
    local check, own, yielding = base.check, base.own, base.yielding
    local gc, wait, prepared = base.gc, base.wait, base.ops.prepared
    local handle, out, message = base.new("as_handle[1]"), base.new("as_str[1]"), base.new("as_str[1]")
    local number = base.new("double[1]")
    local WAIT, END, NOT_OURS, WAIT_SEND = 1, 2, -2, -3
    local LINE, SIZE, ALL, ANY = 0, 1, 2, 3

    local methods = {}
    local meta = { __index = methods }

    -- What an operation that failed answers. Called in tail position: level 2 is the user's line.
    local function failed(rc)
        if rc == NOT_OURS then
            error("bad request", 2)
        end
        return nil, text(message)
    end

    -- The same of one that may have received a part.
    local function failed_receive(rc)
        if rc == NOT_OURS then
            error("bad request", 2)
        end
        return nil, text(message), to_text(out[0].data, out[0].len)
    end

    local function wrong(n, name, why)
        error("bad argument #" .. n .. " to '" .. name .. "' (" .. why .. ")", 3)
    end

    local function option_number(options, name, least)
        local value = options[name]
        if value == nil then
            return nil
        end
        if type(value) ~= "number" then
            error("bad argument #3 to 'connect' (bad \"" .. name .. "\" option type: " .. type(value) .. ")", 4)
        end
        if value < least or value ~= floor(value) then
            error("bad argument #3 to 'connect' (bad \"" .. name .. "\" option value: " .. value .. ")", 4)
        end
        return value
    end

    -- The pool that `options` ask for: its name, size and backlog.
    local function pool_of(options, default)
        if type(options) ~= "table" then
            error("bad argument #3 to 'connect' (table expected, got " .. type(options) .. ")", 3)
        end
        local pool = options.pool
        if pool ~= nil and type(pool) ~= "string" and type(pool) ~= "number" then
            error("bad argument #3 to 'connect' (bad \"pool\" option type: " .. type(pool) .. ")", 3)
        end
        local size, backlog = option_number(options, "pool_size", 1), option_number(options, "backlog", 0)
        if backlog and not size then
            size = -1
        end
        return tostring(pool or default), size or -1, backlog or -1
    end

    function methods:connect(host, port, options)
        check(yielding)
        if type(host) == "number" then
            host = tostring(host)
        elseif type(host) ~= "string" then
            wrong(1, "connect", "string expected, got " .. (host == nil and "nil" or type(host)))
        end
        local pool
        if sub(host, 1, 5) == "unix:" then
            if type(port) == "table" then
                options = port
            end
            port, pool = 0, host
        else
            local given = port
            port = tonumber(port)
            if not port then
                return nil, "missing the port number"
            end
            if port < 0 or port > 65535 or port ~= floor(port) then
                return nil, "bad port number: " .. tostring(given)
            end
            pool = host .. ":" .. port
        end
        local size, backlog = -1, -1
        if options ~= nil then
            pool, size, backlog = pool_of(options, pool)
        end
        local rc = connect(own(self, "connect"), host, #host, port, pool, #pool, size, backlog, message)
        if rc == 0 then
            return 1
        end
        if rc == WAIT then
            return wait(prepared)
        end
        return failed(rc)
    end

    function methods:send(data)
        check(yielding)
        local why
        data, why = sendable(data)
        if not data then
            wrong(1, "send", why)
        end
        local rc = send(own(self, "send"), data, #data, message)
        if rc >= 0 then
            return rc
        end
        if rc == WAIT_SEND then
            return wait(prepared)
        end
        return failed(rc)
    end

    local function got(rc)
        if rc == 0 then
            return text(out)
        end
        if rc == WAIT then
            return wait(prepared)
        end
        if rc == END then
            return nil, nil, nil
        end
        return failed_receive(rc)
    end

    function methods:receive(pattern)
        check(yielding)
        local kind, n = LINE, 0
        if pattern ~= nil and pattern ~= "*l" then
            n = tonumber(pattern)
            if n then
                if n < 0 then
                    wrong(1, "receive", "bad pattern argument")
                end
                kind = SIZE
            elseif pattern == "*a" then
                kind, n = ALL, 0
            else
                wrong(1, "receive", "bad pattern argument")
            end
        end
        return got(receive(own(self, "receive"), kind, n, out, message))
    end

    function methods:receiveany(...)
        check(yielding)
        if select("#", ...) ~= 1 then
            error("expecting 2 arguments (including the object), but got " .. 1 + select("#", ...), 2)
        end
        local max = tonumber((...))
        if not max or max <= 0 then
            wrong(2, "?", "bad max argument")
        end
        return got(receive(own(self, "receiveany"), ANY, floor(max), out, message))
    end

    function methods:receiveuntil(pattern, options)
        check(yielding)
        if type(pattern) == "number" then
            pattern = tostring(pattern)
        elseif type(pattern) ~= "string" then
            wrong(1, "receiveuntil", "string expected, got " .. (pattern == nil and "nil" or type(pattern)))
        end
        local inclusive = 0
        if options ~= nil then
            if type(options) ~= "table" then
                wrong(2, "receiveuntil", "table expected, got " .. type(options))
            end
            local given = options.inclusive
            if given ~= nil and type(given) ~= "boolean" then
                wrong(2, "receiveuntil", "bad \"inclusive\" option value type: " .. type(given))
            end
            inclusive = given and 1 or 0
        end
        if until_new(pattern, #pattern, inclusive, handle) ~= 0 then
            return nil, "pattern is empty"
        end
        local state = gc(handle[0].object, until_free)
        return function(size)
            check(yielding)
            if size ~= nil then
                local n = tonumber(size)
                if not n or n < 0 then
                    error("bad argument #1 to '?' (bad pattern argument)", 2)
                end
                if n == 0 then
                    return ""
                end
                size = n
            end
            return got(receive_until(own(self, "receiveuntil"), state, size or -1, out, message))
        end
    end

    local timeouts = native.socket_timeouts

    -- Zero and nil stand for what is configured.
    local function timeout(value)
        value = tonumber(value or 0)
        if not value or value < 0 or value > 0x7fffffff then
            error("bad timeout value", 3)
        end
        return value == 0 and -1 or value
    end

    function methods:settimeout(ms)
        ms = timeout(ms)
        timeouts(own(self, "settimeout"), ms, ms, ms)
    end

    function methods:settimeouts(connecting, sending, reading)
        timeouts(own(self, "settimeouts"), timeout(connecting), timeout(sending), timeout(reading))
    end

    local keepalive, reused, close = native.socket_keepalive, native.socket_reused, native.socket_close

    function methods:setkeepalive(ms, size)
        check(yielding)
        ms = ms and (tonumber(ms) == 0 and 0 or timeout(ms)) or -1
        if size ~= nil then
            size = tonumber(size)
            if not size or size <= 0 then
                wrong(3, "?", "bad \"pool_size\" option value: " .. tostring(size))
            end
        end
        local rc = keepalive(own(self, "setkeepalive"), ms, size or -1, message)
        if rc == 0 then
            return 1
        end
        return failed(rc)
    end

    function methods:getreusedtimes()
        local n = reused(own(self, "getreusedtimes"), message)
        if n >= 0 then
            return n
        end
        return failed(n)
    end

    function methods:close()
        local rc = close(own(self, "close"), message)
        if rc == 0 then
            return 1
        end
        return failed(rc)
    end

    local shutdown, fd, bind = native.socket_shutdown, native.socket_fd, native.socket_bind
    local set_option, get_option = native.socket_set_option, native.socket_option

    function methods:shutdown(direction)
        if direction ~= "send" then
            wrong(1, "shutdown", "expected direction: \"send\"")
        end
        local rc = shutdown(own(self, "shutdown"), message)
        if rc == 0 then
            return 1
        end
        return failed(rc)
    end

    function methods:getfd()
        local rc = fd(own(self, "getfd"), message)
        if rc >= 0 then
            return rc
        end
        return failed(rc)
    end

    local options = { keepalive = 0, reuseaddr = 1, ["tcp-nodelay"] = 2, sndbuf = 3, rcvbuf = 4 }

    function methods:setoption(name, value)
        if name == nil then
            return nil, "missing the \"option\" argument"
        end
        if value == nil then
            return nil, "missing the \"value\" argument"
        end
        local option = options[name]
        if not option then
            return nil, "unsupported option " .. tostring(name)
        end
        if type(value) == "boolean" then
            value = value and 1 or 0
        end
        local rc = set_option(own(self, "setoption"), option, tonumber(value) or 0, message)
        if rc == 0 then
            return true
        end
        return failed(rc)
    end

    function methods:getoption(name)
        if name == nil then
            return nil, "missing the \"option\" argument"
        end
        local option = options[name]
        if not option then
            return nil, "unsupported option " .. tostring(name)
        end
        local rc = get_option(own(self, "getoption"), option, number, message)
        if rc == 0 then
            return number[0]
        end
        return failed(rc)
    end

    function methods:bind(address)
        if type(address) ~= "string" then
            wrong(1, "bind", "string expected, got " .. (address == nil and "nil" or type(address)))
        end
        if bind(own(self, "bind"), address, #address) ~= 0 then
            return nil, "bad address"
        end
        return 1
    end

    local socket = ngx.socket or {}
    ngx.socket = socket

    function socket.tcp(...)
        if select("#", ...) > 0 then
            error("expecting zero arguments, but got " .. select("#", ...), 2)
        end
        check(yielding)
        if new(handle) ~= 0 then
            error("no memory", 2)
        end
        return setmetatable({ gc(handle[0].object, free) }, meta)
    end
    socket.stream = socket.tcp

    function socket.connect(...)
        check(yielding)
        local tcp = socket.tcp()
        local ok, err = tcp:connect(...)
        if not ok then
            return nil, err
        end
        return tcp
    end

    base.tcp_methods = methods
end
