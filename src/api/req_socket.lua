-- ngx.req.socket: the client's connection as a socket. ngx.on_abort: a function for when the client goes.

local error = error
local select = select
local type = type

return function(ngx, native, base)
    local classic = base.classic
    local send, watched = classic.out_send, native.abort_is_watched
    local check, request_yielding = base.check, base.request_yielding
    local wait, ops = base.wait, base.ops
    local FLUSH = 1

    local tcp = base.tcp_methods
    local readers, both = {}, {}
    for _, name in ipairs { "receive", "receiveany", "receiveuntil", "settimeout", "settimeouts" } do
        readers[name], both[name] = tcp[name], tcp[name]
    end
    both.send = tcp.send

    local open = base.bind(classic.req_socket, { __index = readers }, { __index = both })

    function ngx.req.socket(...)
        local n = select("#", ...)
        if n > 1 then
            error("expecting zero arguments, but got " .. n, 2)
        end
        check(request_yielding)
        local raw = (...) and true or false
        if raw then
            -- what was printed before goes first
            send(FLUSH)
        end
        return open(raw)
    end

    function ngx.on_abort(f)
        check(request_yielding)
        if type(f) ~= "function" then
            error("bad argument #1 to 'on_abort' (function expected, got " ..
                  (f == nil and "no value" or type(f)) .. ")", 2)
        end
        if watched() == 0 then
            return nil, "lua_check_client_abort is off"
        end
        if wait(ops.on_abort, f) then
            return 1
        end
        return nil, "duplicate call"
    end
end
