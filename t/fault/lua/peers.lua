-- What the blocks of t/fault/peers.t share: connections to the peer of t/lib/AutoscaleLua/moody-peer, their cost.
local ffi = require "ffi"
ffi.cdef [[
    struct limit { unsigned long soft, hard; };
    int getrlimit(int, struct limit *);
    int setrlimit(int, const struct limit *);
]]

local M = { peer = 1990, full = 1991, dns = 1992, tls = 1993 }

-- A connection to a peer that is told how to behave.
function M.open(...)
    local sock = ngx.socket.tcp()
    sock:settimeout(2000)
    assert(sock:connect("127.0.0.1", M.peer, { pool = "moody" }))
    assert(sock:send(string.format(...) .. "\n"))
    return sock
end

-- Runs `f` while the worker may have only so many MiB more than it has.
function M.with_memory(more, f)
    local AS, before, limit = 9, ffi.new("struct limit"), ffi.new("struct limit")    -- RLIMIT_AS
    assert(ffi.C.getrlimit(AS, before) == 0)
    local file = assert(io.open("/proc/self/statm"))
    limit.soft, limit.hard = file:read("*n") * 4096 + more * 1048576, before.hard
    file:close()
    assert(ffi.C.setrlimit(AS, limit) == 0)
    f()
    assert(ffi.C.setrlimit(AS, before) == 0)
end

-- The worker's resident memory in MiB.
function M.memory()
    local f = assert(io.open("/proc/self/statm"))
    local pages = f:read("*a"):match("^%d+ (%d+)")
    f:close()
    return pages * 4096 / 1048576
end

-- Runs `f` while another client asks the worker for something, again and again; how often it was answered meanwhile.
function M.with_pings(port, f)
    local answered, stop = 0, false
    local pings = ngx.thread.spawn(function()
        while not stop do
            local sock = ngx.socket.tcp()
            sock:settimeout(2000)
            assert(sock:connect("127.0.0.1", port, { pool = "pings" }))
            sock:send("GET /ping HTTP/1.0\r\n\r\n")
            if assert(sock:receive("*a")):find("pong", 1, true) then answered = answered + 1 end
            sock:close()
            ngx.sleep(0.001)
        end
    end)
    local result = f()
    stop = true
    ngx.thread.wait(pings)
    return answered, result
end

return M
