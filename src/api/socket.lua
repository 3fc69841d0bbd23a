-- ngx.socket.tcp: sockets whose operations let other requests run while they wait. The methods are C functions: what
-- waits is never compiled, and what is interpreted is to be short.

return function(ngx, _, base)
    local bind, classic = base.bind, base.classic
    local check, yielding = base.check, base.yielding

    local methods = {}
    for _, name in ipairs {
        "bind", "close", "connect", "getfd", "getoption", "getreusedtimes", "receive", "receiveany", "receiveuntil",
        "send", "setkeepalive", "setoption", "settimeout", "settimeouts", "shutdown",
    } do
        methods[name] = classic["socket_" .. name]
    end

    local tcp = bind(classic.socket_tcp, { __index = methods })

    local socket = ngx.socket or {}
    ngx.socket = socket
    socket.tcp, socket.stream = tcp, tcp

    function socket.connect(...)
        check(yielding)
        local sock = tcp()
        local ok, err = sock:connect(...)
        if not ok then
            return nil, err
        end
        return sock
    end

    base.tcp_methods = methods
end
