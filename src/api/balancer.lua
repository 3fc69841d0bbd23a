-- require "ngx.balancer": the attempt that a balancer_by_lua script chooses a peer for.

local error = error
local tonumber = tonumber
local type = type

return function(_, native, base)
    local set_peer, set_more_tries = native.balancer_set_peer, native.balancer_set_more_tries
    local last_failure, set_timeouts = native.balancer_last_failure, native.balancer_set_timeouts
    local recreate_request, enable_keepalive = native.balancer_recreate_request, native.balancer_enable_keepalive
    local bind, set_tls = native.balancer_bind, native.balancer_set_tls
    local cur, null = base.cur, base.null
    local out, int, text = base.str, base.int, base.text
    local phase_name = base.phase_name

    local M = { version = "0.1.31" }

    -- Nothing runs for a request while the configuration is read; elsewhere the native says what is missing.
    local function need_request()
        if cur.req == null and phase_name() == "init" then
            error("no request found", 3)
        end
    end

    local function bad(n, name, expected, value)
        error("bad argument #" .. n .. " to '" .. name .. "' (" .. expected .. " expected, got "
              .. (value == nil and "nil" or type(value)) .. ")", 3)
    end

    function M.set_current_peer(addr, port, host)
        need_request()
        if type(addr) ~= "string" then
            bad(1, "set_current_peer", "string", addr)
        end
        if type(port) ~= "number" then
            local number = tonumber(port or 0)
            if not number then
                bad(2, "set_current_peer", "number", port)
            end
            port = number
        end
        local rc
        if host == nil then
            rc = set_peer(addr, #addr, port, nil, 0, out)
        elseif type(host) == "string" then
            rc = set_peer(addr, #addr, port, host, #host, out)
        else
            bad(3, "set_current_peer", "string", host)
        end
        if rc == 0 then
            return true
        end
        return nil, text(out)
    end

    function M.set_more_tries(count)
        need_request()
        if type(count) ~= "number" then
            bad(1, "set_more_tries", "number", count)
        end
        local rc = set_more_tries(count, out)
        if rc == 0 then
            return true
        end
        if rc == 1 then
            return true, "reduced tries due to limit"
        end
        return nil, text(out)
    end

    local states = { "keepalive", "next", [4] = "failed" }

    function M.get_last_failure()
        need_request()
        local rc = last_failure(int, out)
        if rc == 0 then
            return nil
        end
        if rc < 0 then
            return nil, nil, text(out)
        end
        return states[rc] or "unknown", int[0]
    end

    -- Seconds as milliseconds; nil is 0, which changes nothing.
    local function timeout(seconds, what)
        if not seconds then
            return 0
        end
        if type(seconds) ~= "number" or seconds <= 0 or seconds ~= seconds then
            error("bad " .. what .. " timeout", 3)
        end
        return seconds * 1000
    end

    function M.set_timeouts(connect, send, read)
        need_request()
        connect = timeout(connect, "connect")
        send = timeout(send, "send")
        read = timeout(read, "read")
        if set_timeouts(connect, send, read, out) == 0 then
            return true
        end
        return false, text(out)
    end

    function M.recreate_request()
        need_request()
        if recreate_request(out) == 0 then
            return true
        end
        return nil, text(out)
    end

    -- A count or a time; `default` stands for none.
    local function not_negative(n, value, default)
        if not value then
            return default
        end
        if type(value) ~= "number" then
            error("bad argument #" .. n .. " to 'enable_keepalive' (number expected, got " .. type(value) .. ")", 3)
        end
        if value < 0 or value ~= value then
            error("bad argument #" .. n .. " to 'enable_keepalive' (expected >= 0)", 3)
        end
        return value
    end

    function M.enable_keepalive(idle_timeout, max_requests)
        need_request()
        idle_timeout = not_negative(1, idle_timeout, 60)
        max_requests = not_negative(2, max_requests, 100)
        if enable_keepalive(idle_timeout * 1000, max_requests, out) == 0 then
            return true
        end
        return nil, text(out)
    end

    function M.bind_to_local_addr(addr)
        need_request()
        if type(addr) ~= "string" then
            bad(1, "bind_to_local_addr", "string", addr)
        end
        if bind(addr, #addr, out) == 0 then
            return true
        end
        return nil, text(out)
    end

    function M.set_upstream_tls(on)
        need_request()
        if set_tls((on == 0 or on == false) and 0 or 1, out) == 0 then
            return true
        end
        return nil, text(out)
    end

    package.loaded["ngx.balancer"] = M
end
