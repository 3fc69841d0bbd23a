-- What the blocks of t/fault/upstream.t share: a server that answers byte by byte, the scripts of the proxy before it,
-- and clients that leave in the middle. A case is an argument of the request, by which each of them notes what it sees.
local descriptors = require "descriptors"

local M = { port = 1990, sent = {}, seen = {}, kept = setmetatable({}, { __mode = "k" }) }

M.header = "HTTP/1.1 200 OK\r\nContent-Length: 40\r\nConnection: close\r\n\r\n"
M.body = ("0123456789"):rep(4)

-- An object that nothing may keep once its script has ended.
local function canary()
    local object = {}
    M.kept[object] = true
    return object
end

-- The server.
function M.serve()
    local case, guard = ngx.var.arg_case, canary()
    local sock = assert(ngx.req.socket(true))
    local text = (M.header .. M.body):sub(1, tonumber(ngx.var.arg_cut or -1))
    for i = 1, #text do
        if not sock:send(text:sub(i, i)) then return guard end
        M.sent[case] = i
        ngx.sleep(0.001)
    end
    return guard
end

-- The proxy.
function M.access()
    ngx.ctx.guard = canary()
    local case = ngx.var.arg_case
    M.seen[case] = { header = 0, bytes = 0, ends = 0 }
    M.sent[case] = 0
    local thread = ngx.thread.spawn(function() ngx.sleep(0.001) return canary() end)
    ngx.sleep(tonumber(ngx.var.arg_wait or 0))
    ngx.thread.wait(thread)
end

function M.header_filter()
    local seen = M.seen[ngx.var.arg_case]
    seen.header = seen.header + 1
    -- a filter may not wait, but start what does
    ngx.timer.at(0, function() ngx.sleep(0.001) return canary() end)
end

function M.body_filter()
    local seen = M.seen[ngx.var.arg_case]
    seen.bytes = seen.bytes + #ngx.arg[1]
    if ngx.arg[2] then seen.ends = seen.ends + 1 end
    seen.all = (seen.all or "") .. ngx.arg[1]
    ngx.arg[1] = ngx.arg[1]:upper()
end

function M.log()
    local seen = M.seen[ngx.var.arg_case]
    seen.logged = (seen.logged or 0) + 1
    seen.status = ngx.status
    seen.whole = ngx.ctx.guard ~= nil and (seen.all or "") == M.body:sub(1, seen.bytes)
    ngx.timer.at(0, function() ngx.sleep(0.001) seen.after = canary() and true end)
end

-- Clients: each has a connection, and a way to leave.
local clients = {}

local function connect(port)
    local sock = ngx.socket.tcp()
    sock:settimeout(5000)
    assert(sock:connect("127.0.0.1", port, { pool = "clients" }))
    return sock
end

function clients.http1(path)
    local sock = connect(ngx.var.server_port)
    assert(sock:send("GET " .. path .. " HTTP/1.0\r\n\r\n"))
    return { sock = sock, leave = function() sock:close() end }
end

local function frame(kind, flags, stream, payload)
    return string.char(0, 0, #payload, kind, flags, 0, 0, 0, stream) .. payload
end

-- A stream of HTTP/2: a GET by HPACK's static table and literals (RFC 7541), and a neighbour that is to be answered
-- whatever becomes of the first.
function clients.http2(path)
    local sock = connect(1991)
    local function get(what) return string.char(0x82, 0x86, 0x04, #what) .. what .. string.char(0x01, 1) .. "a" end
    assert(sock:send { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(4, 0, 0, ""), frame(1, 5, 1, get(path)) })
    return {
        sock = sock,
        leave = function()
            assert(sock:send { frame(3, 0, 1, "\0\0\0\8"), frame(1, 5, 3, get("/ping")) })
            assert(sock:receiveuntil("pong")())
            sock:close()
        end,
    }
end

local function wait_until(what)
    for _ = 1, 2000 do
        if what() then return true end
        ngx.sleep(0.001)
    end
    return false
end

-- When a client leaves.
local STAGES = {
    access = function(case) return M.seen[case] end,
    header = function(case) return (M.sent[case] or 0) > 20 end,
    body = function(case) return (M.sent[case] or 0) > #M.header + 10 and M.seen[case].header == 1 end,
    never = function(case) return M.seen[case] and M.seen[case].logged end,
}

-- A client that asks for `path` and leaves at that stage; what is seen of it. The upstream leaves after so many bytes.
function M.run(client, path, stage, cut)
    local case = client .. path:sub(2) .. stage
    local wait = stage == "access" and 0.05 or 0.001
    path = path .. "?case=" .. case .. "&wait=" .. wait .. (cut and "&cut=" .. cut or "")
    M.seen[case], M.sent[case] = nil, nil
    local c = clients[client](path)
    if not wait_until(function() return STAGES[stage](case) end) then return "does not come so far" end
    c.leave()
    if not wait_until(function() return M.seen[case].after end) then return "is not logged" end
    local seen = M.seen[case]
    return table.concat({
        "status " .. seen.status, "header " .. seen.header, "ends " .. seen.ends, "logged " .. seen.logged,
        seen.whole and "whole" or "wrong", seen.bytes == 0 and "nothing" or seen.bytes < #M.body and "some" or "all",
    }, ", ")
end

-- Whether nothing is kept: Lua objects, timers, and descriptors but for so many.
function M.rest(before)
    local n, timers, open
    wait_until(function()
        collectgarbage()
        n = 0
        for _ in pairs(M.kept) do n = n + 1 end
        timers, open = ngx.timer.running_count() + ngx.timer.pending_count(), descriptors.open()
        return n + timers == 0 and open <= before
    end)
    return n .. " objects, " .. timers .. " timers, " .. open - before .. " descriptors"
end

return M
