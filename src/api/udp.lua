-- ngx.socket.udp: datagrams, and waiting for them.

return function(ngx, _, base)
    local classic = base.classic

    local methods = {}
    for _, name in ipairs { "bind", "close", "receive", "send", "setpeername", "settimeout" } do
        methods[name] = classic["udp_" .. name]
    end

    ngx.socket.udp = base.bind(classic.udp_new, { __index = methods })
end
