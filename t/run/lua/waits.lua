-- Every API that waits, in every phase that may: rows that t/run/cancel.t runs until they complete, and cancels by each
-- way there is. A new API needs one row here; a new phase one line in PHASES below, and its location in cancel.t.
--
--   row(NAME, RESULT, WAIT, MORE)
--
-- WAIT(give) waits: for what comes soon, with the value RESULT as text, when `give` is true, else for what never comes.
-- MORE may have:
--
--   request   true when it needs a request: then not in a timer, and not in handshakes
--   http1     true when streams of HTTP/2 have no such thing
--   not_in    a phase in which it is refused
--   client    "body": half of a body of ten bytes comes, the rest only for one that is to complete;
--             "deaf": it does not read, but for one that is to complete
--   killed    what ngx.thread.kill says of a thread in this wait; "1" if not given
--   gone      what WAIT comes to when the client goes: those that read from it are told. Others end with the request.
--             "A|B" is A or B
--   status, gone_status, exit_status
--             what the log phase sees; if not given 200, 499 unless WAIT comes to something, 444
--   reset_status
--             gone_status for a stream of HTTP/2
--
-- Handshakes of clients have no log phase: their client is the one who sees whether they go on. Which cell is to run is
-- in the server's name, for which there is a certificate: PHASE-NUMBER-ENDING.wild.example, NUMBER being the row's and
-- PHASE having "-" in place of "_".

local M = { rows = {}, noted = {}, ended = {}, begun = 0, peer = 1990, full = 1991, dns = 1992 }

local PHASES = "server_rewrite rewrite access precontent content timer "
    .. "ssl_client_hello ssl_session_fetch ssl_certificate proxy_ssl_certificate proxy_ssl_verify"
local ENDINGS = "completes gone exit kill"

-- Where streams of HTTP/2 have scripts, and how they end: their connection goes, or they alone are reset.
local OF_STREAMS = "server_rewrite rewrite access precontent content subrequest proxy_ssl_certificate proxy_ssl_verify"
local ENDINGS_OF_STREAMS = "completes gone reset exit kill"

-- What becomes of a client's handshake whose script ends with an error.
local REFUSED = { ssl_client_hello = "refused", ssl_certificate = "refused", ssl_session_fetch = "goes on" }
local PROXIES = { proxy_ssl_certificate = true, proxy_ssl_verify = true }

local function row(name, result, wait, more)
    local r = more or {}
    r.name, r.result, r.wait = name, result, wait
    M.rows[#M.rows + 1] = r
    r.number, M.rows[name] = #M.rows, r
end

-- helpers

local numbers = 0

local function unique()
    numbers = numbers + 1
    return numbers
end

local function peer(...)
    local sock = ngx.socket.tcp()
    sock:settimeout(60000)
    assert(sock:connect("127.0.0.1", M.peer, { pool = "never kept" .. unique() }))
    assert(sock:send(string.format(...) .. "\n"))
    return sock
end

-- A line that comes soon, or never.
local function line(give)
    return peer(give and "after 5 hello" or "silence")
end

-- waits of the script itself

row("ngx.sleep", "slept", function(give)
    ngx.sleep(give and 0.005 or 100)
    return "slept"
end)

row("semaphore wait", "true", function(give)
    local s = require("ngx.semaphore").new()
    if give then ngx.timer.at(0.002, function() s:post() end) end
    return s:wait(100)
end)

row("ngx.thread.wait", "true done", function(give)
    return ngx.thread.wait(ngx.thread.spawn(function()
        ngx.sleep(give and 0.005 or 100)
        return "done"
    end))
end)

row("a wait inside a coroutine", "slept", function(give)
    return coroutine.wrap(function()
        coroutine.wrap(function() ngx.sleep(give and 0.005 or 100) end)()
        return "slept"
    end)()
end)

row("ngx.run_worker_thread", "true rested", function(give)
    return ngx.run_worker_thread("waits", "waits_thread", "rest", give and 0.005 or 1)
end)

-- sockets

row("tcp connect", "nil timeout", function(give)
    local sock = ngx.socket.tcp()
    sock:settimeout(give and 5 or 60000)
    return sock:connect("127.0.0.1", M.full)
end)

row("tcp connect, a name that is looked up", "1", function(give)
    local sock = ngx.socket.tcp()
    return sock:connect((give and "5-ms-late-" or "silent-") .. unique() .. ".test", M.peer)
end)

row("tcp connect, a pool that is full", "1 nil", function(give)
    local options = { pool = "full" .. unique(), pool_size = 1, backlog = 1 }
    local first, second = ngx.socket.tcp(), ngx.socket.tcp()
    assert(first:connect("127.0.0.1", M.peer, options))
    if give then ngx.thread.spawn(function() ngx.sleep(0.005) first:close() end) end
    second:settimeout(60000)
    local ok, err = second:connect("127.0.0.1", M.peer, options)
    -- until here, or it is collected and makes room
    first:close()
    return ok, err
end)

row("tcp receive", "hello", function(give) return line(give):receive() end)
row("tcp receive of a size", "hel", function(give) return line(give):receive(3) end)
row("tcp receive of all", "cut", function(give) return (give and peer("cut cut") or peer("say x")):receive("*a") end)
row("tcp receiveany", "hello", function(give) return line(give):receiveany(5) end)
row("tcp receiveuntil", "he", function(give) return line(give):receiveuntil("llo")() end)

row("tcp send", "30000000", function(give)
    return peer(give and "deaf 5" or "deaf 100000"):send(string.rep("x", 30000000))
end)

row("sslhandshake", "true", function(give)
    local sock = peer(give and "relay %d 0" or "silence", M.tls)
    return (sock:sslhandshake(false, nil, false))
end)

row("udp receive", "hello", function(give)
    local sock = ngx.socket.udp()
    sock:settimeout(60000)
    assert(sock:setpeername("127.0.0.1", M.dns))
    sock:send(give and "echo hello" or "silence")
    return sock:receive()
end)

row("udp setpeername, a name that is looked up", "1", function(give)
    local sock = ngx.socket.udp()
    return sock:setpeername((give and "5-ms-late-" or "silent-") .. unique() .. ".test", M.dns)
end)

-- processes

local function program(script)
    local options = {
        wait_timeout = 60000, write_timeout = 60000, stdout_read_timeout = 60000, stderr_read_timeout = 60000,
    }
    return require("ngx.pipe").spawn(script, options)
end

row("pipe wait", "false exit 7", function(give)
    return program(give and "sleep 0.005; exit 7" or "exec sleep 100"):wait()
end)

row("pipe stdout_read_line", "hello", function(give)
    return program(give and "sleep 0.005; echo hello" or "exec sleep 100"):stdout_read_line()
end)

row("pipe stderr_read_all", "hello", function(give)
    return program(give and "sleep 0.005; printf hello >&2" or "exec sleep 100"):stderr_read_all()
end)

row("pipe write", "1000000", function(give)
    return program(give and "sleep 0.005; cat >/dev/null" or "exec sleep 100"):write(string.rep("x", 1000000))
end)

-- requests to other servers

-- The status of what soon comes from the server that speaks TLS, or never from one of another URL.
local function status(give, never, name)
    local url = give and "https://" .. (name or "127.0.0.1") .. ":" .. M.tls .. "/none" or never
    local res, err = require("autoscale.http").get(url, { tls = { verify = false }, keepalive = false })
    return res and res.status, err
end

row("http, a name that is looked up", "404 nil", function(give)
    return status(give, "http://silent-" .. unique() .. ".test/", "5-ms-late-" .. unique() .. ".test")
end)

row("http, connecting", "nil connect: timeout", function(give)
    return require("autoscale.http").get("http://127.0.0.1:" .. M.full, { timeout = give and 5 or 60000 })
end)

row("http, the handshake", "404 nil", function(give) return status(give, "https://127.0.0.1:" .. M.peer) end)
row("http, the answer", "404 nil", function(give) return status(give, "http://127.0.0.1:" .. M.peer) end)

-- the request

row("ngx.location.capture", "200", function(give)
    return ngx.location.capture("/sub?seconds=" .. (give and 0.005 or 100)).status
end, { request = true, http1 = true, not_in = "server_rewrite", killed = "nil pending subrequests" })

row("ngx.location.capture_multi", "200 200", function(give)
    local sub = "/sub?seconds="
    local a, b = ngx.location.capture_multi { { sub .. "0.001" }, { sub .. (give and 0.005 or 100) } }
    return a.status, b.status
end, { request = true, http1 = true, not_in = "server_rewrite", killed = "nil pending subrequests" })

row("ngx.req.read_body", "0123456789", function()
    ngx.req.read_body()
    return ngx.req.get_body_data()
end, { request = true, client = "body", gone_status = 400, reset_status = 499 })

row("ngx.req.socket", "0123456789", function()
    local sock = assert(ngx.req.socket())
    sock:settimeout(60000)
    return sock:receive(10)
end, { request = true, http1 = true, client = "body", gone = "nil client aborted 01234" })

row("ngx.req.socket, raw", "0123456789", function()
    local sock = assert(ngx.req.socket(true))
    sock:settimeout(60000)
    return sock:receive(10)
end, { request = true, http1 = true, client = "body", gone = "nil client aborted 01234", status = 0, gone_status = 0 })

row("ngx.flush", "1", function()
    ngx.print(string.rep("x", 10000000))
    return ngx.flush(true)
end, { request = true, client = "deaf", gone = "-|nil nginx output filter error", exit_status = 200 })

-- one cell

local canaries = setmetatable({}, { __mode = "k" })

local function text(...)
    local values = { ... }
    for i = 1, select("#", ...) do values[i] = tostring(values[i]) end
    return table.concat(values, " ")
end

-- Runs a row's wait until it completes or is ended.
function M.run(phase, name, ending)
    local r, key = assert(M.rows[name], name), phase .. "\t" .. name .. "\t" .. ending
    M.noted[key], M.ended[key] = nil, nil
    local canary = {}
    canaries[canary] = true
    M.begun = M.begun + 1
    local function wait()
        M.noted[key] = text(r.wait(ending == "completes"))
        return canary
    end
    if ending == "exit" then
        ngx.thread.spawn(function() ngx.sleep(0.005) ngx.exit(444) end)
    elseif ending == "kill" then
        local thread = ngx.thread.spawn(wait)
        ngx.sleep(0.002)
        M.noted[key] = text(ngx.thread.kill(thread))
        ngx.exit(444)
    end
    wait()
    ngx.exit(phase == "timer" and 0 or 200)
end

function M.run_in_request(phase)
    local args = ngx.req.get_uri_args()
    return M.run(phase, args.row, args.ending)
end

-- In one that nginx makes, which has no arguments of its own.
function M.run_in_subrequest()
    local args = ngx.decode_args(ngx.var.request_uri:match("?(.*)"))
    return M.run("subrequest", args.row, args.ending)
end

function M.run_in_timer()
    local args = ngx.req.get_uri_args()
    assert(ngx.timer.at(0, function() M.run("timer", args.row, args.ending) end))
    ngx.say("started")
end

-- For each handshake, of which there are others than those of cells.
function M.run_in_handshake(phase)
    local name = require("ngx.ssl").server_name() or ""
    local of, number, ending = name:match("^([%l-]+)-(%d+)-(%l+)%.wild%.example$")
    if of == phase:gsub("_", "-") then
        return M.run(phase, M.rows[tonumber(number)].name, ending)
    end
end

-- A timer that has time until the worker stops, and then uses a connection that it gives back.
function M.keep_when_told_to_stop()
    assert(ngx.timer.at(1000, function()
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", M.peer))
        assert(sock:send("say hello\n"))
        assert(sock:receive() == "hello")
        assert(sock:setkeepalive(600000, 10))
    end))
    ngx.header.content_length = 2
    ngx.print("ok")
end

-- One that is in no table: no thread waits for the body any more, but another waits.
function M.abandon_body()
    local reader = ngx.thread.spawn(ngx.req.read_body)
    ngx.sleep(0.002)
    assert(ngx.thread.kill(reader))
    M.begun = M.begun + 1
    ngx.sleep(100)
end

-- One that is told that its client goes, or is not.
function M.note_abort()
    local args = ngx.req.get_uri_args()
    local key = ngx.var.uri:sub(2) .. "\t" .. args.row .. "\t" .. args.ending
    local _, err = ngx.on_abort(function()
        M.noted[key] = "told"
        ngx.exit(499)
    end)
    M.noted[key] = err and "not watched" or "watched"
    M.begun = M.begun + 1
    ngx.sleep(0.1)
    M.noted[key] = M.noted[key] .. ", slept"
    ngx.exit(200)
end

-- For the log phase.
function M.log()
    local args = ngx.req.get_uri_args()
    M.ended[ngx.var.uri:sub(2) .. "\t" .. args.row .. "\t" .. args.ending] = ngx.status
end

-- What is to be seen of a cell so far.
function M.state()
    local args = ngx.req.get_uri_args()
    local key = args.phase .. "\t" .. args.row .. "\t" .. args.ending
    return table.concat({
        M.noted[key] or "-", M.ended[key] or "-", ngx.timer.running_count() + ngx.timer.pending_count(),
        ngx.worker.pid(), M.begun,
    }, "\t")
end

-- How many waits are not forgotten.
function M.kept()
    collectgarbage()
    collectgarbage()
    local n = 0
    for _ in pairs(canaries) do n = n + 1 end
    return n
end

-- What is to become of a cell: what its wait notes, and its request's status, or what a client sees of its handshake.
local function expected(r, phase, ending)
    if REFUSED[phase] then
        if ending == "completes" then return r.result, "goes on" end
        return ending == "kill" and (r.killed or "1") or "-", ending == "gone" and "-" or REFUSED[phase]
    elseif PROXIES[phase] and (ending == "exit" or ending == "kill") then
        return ending == "kill" and (r.killed or "1") or "-", 502
    elseif ending == "completes" then
        return r.result, r.status or 200
    elseif ending == "gone" then
        return r.gone or "-", r.gone_status or (r.gone and 200) or 499
    elseif ending == "exit" then
        return "-", r.exit_status or 444
    else
        return r.killed or "1", r.exit_status or 444
    end
end

local function line_of(r, phase, ending, noted, seen)
    return table.concat({
        phase, r.name, ending, r.client or "-", noted, seen, r.number, REFUSED[phase] and 1 or 0,
    }, "\t")
end

-- All cells, a line each.
function M.plan()
    local lines = {}
    for _, r in ipairs(M.rows) do
        for phase in PHASES:gmatch("%S+") do
            for ending in ENDINGS:gmatch("%S+") do
                local timer = phase == "timer"
                local alone = timer or REFUSED[phase] or PROXIES[phase]
                if phase ~= r.not_in and not (alone and r.request) and not (timer and ending == "gone") then
                    local noted, seen = expected(r, phase, ending)
                    lines[#lines + 1] = line_of(r, phase, ending, noted, timer and "-" or seen)
                end
            end
        end
    end
    return table.concat(lines, "\n")
end

-- Those of streams.
function M.plan_of_streams()
    local lines = {}
    for phase in OF_STREAMS:gmatch("%S+") do
        local sub = phase == "subrequest"
        for _, r in ipairs(M.rows) do
            for ending in ENDINGS_OF_STREAMS:gmatch("%S+") do
                local leaves = ending == "exit" or ending == "kill"
                if not r.http1 and not ((PROXIES[phase] or sub) and r.request) and not (sub and leaves) then
                    local noted, seen = expected(r, phase, ending == "reset" and "gone" or ending)
                    if r.reset_status and seen == r.gone_status then seen = r.reset_status end
                    lines[#lines + 1] = line_of(r, phase, ending, noted, seen)
                end
            end
        end
    end
    return table.concat(lines, "\n")
end

return M
