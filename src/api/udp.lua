-- ngx.socket.udp: datagrams, and waiting for them.

local error = error
local floor = math.floor
local select = select
local setmetatable = setmetatable
local sub = string.sub
local tonumber = tonumber
local tostring = tostring
local type = type

return function(ngx, native, base)
    local new, free, set_peer, send = native.udp_new, native.udp_free, native.udp_set_peer, native.udp_send
    local receive, set_timeout = native.udp_receive, native.udp_timeout
    local close, bind = native.udp_close, native.udp_bind
    local text, sendable = base.text, base.sendable
    local check, own, yielding = base.check, base.own, base.yielding
    local gc, wait, prepared = base.gc, base.wait, base.ops.prepared
    local handle, out, message = base.new("as_handle[1]"), base.new("as_str[1]"), base.new("as_str[1]")
    local WAIT, NOT_OURS = 1, -2
    local MAX_DATAGRAM = 65536

    local methods = {}
    local meta = { __index = methods }

    local function wrong(n, name, why)
        error("bad argument #" .. n .. " to '" .. name .. "' (" .. why .. ")", 3)
    end

    local function name_of(value)
        return value == nil and "nil" or type(value)
    end

    -- What a native's code comes to. Called in tail position: level 2 is the user's line.
    local function finish(rc)
        if rc == 0 then
            return 1
        end
        if rc == WAIT then
            return wait(prepared)
        end
        if rc == NOT_OURS then
            error("bad request", 2)
        end
        return nil, text(message)
    end

    function methods:setpeername(host, port)
        check(yielding)
        if type(host) == "number" then
            host = tostring(host)
        elseif type(host) ~= "string" then
            wrong(1, "setpeername", "string expected, got " .. name_of(host))
        end
        local number = 0
        if port ~= nil then
            number = tonumber(port)
            if not number then
                wrong(2, "setpeername", "number expected, got " .. type(port))
            end
            if number < 0 or number > 65535 or number ~= floor(number) then
                return nil, "bad port number: " .. tostring(port)
            end
        end
        if host == "" or host == "unix:" then
            return nil, "failed to parse host name \"" .. host .. "\": no host"
        end
        return finish(set_peer(own(self, "setpeername"), host, #host, number, message))
    end

    function methods:send(data)
        check(yielding)
        local why
        data, why = sendable(data)
        if not data then
            wrong(1, "send", why)
        end
        return finish(send(own(self, "send"), data, #data, message))
    end

    function methods:receive(size)
        check(yielding)
        if size ~= nil then
            local n = tonumber(size)
            if not n then
                wrong(1, "receive", "number expected, got " .. type(size))
            end
            size = n
        end
        local rc = receive(own(self, "receive"), size or MAX_DATAGRAM, out, message)
        if rc == 0 then
            return text(out)
        end
        return finish(rc)
    end

    -- Zero and nil stand for what is configured.
    function methods:settimeout(ms)
        ms = tonumber(ms or 0)
        if not ms or ms < 0 or ms > 0x7fffffff then
            wrong(1, "settimeout", "bad timeout value")
        end
        set_timeout(own(self, "settimeout"), ms == 0 and -1 or ms)
    end

    function methods:close()
        return finish(close(own(self, "close"), message))
    end

    function methods:bind(address)
        if type(address) ~= "string" then
            wrong(1, "bind", "string expected, got " .. name_of(address))
        end
        if sub(address, 1, 5) == "unix:" or bind(own(self, "bind"), address, #address) ~= 0 then
            return nil, "bad address"
        end
        return 1
    end

    function ngx.socket.udp(...)
        local n = select("#", ...)
        if n > 0 then
            error("expecting zero arguments, but got " .. n, 2)
        end
        check(yielding)
        if new(handle) ~= 0 then
            error("no memory", 2)
        end
        return setmetatable({ gc(handle[0].object, free) }, meta)
    end
end
