-- Every public API in every phase: rows of what it answers where. t/phase/matrix.t runs them; t/phase/lua/surface.lua
-- finds what has no row. The phases that OpenResty documents for each are in t/phase/lua/documented.lua.
--
--   row(NAME, CLASS, RESULT, CALL, EXCEPTIONS)
--
-- CALL runs in each of the phases, alone in a request that is `POST /PHASE?row=N&a=1` with the body `x=1`.
-- RESULT is what its values look like, joined with ", "; "ended" stands for a call that never returned; an error reads
-- "error: " and its text without the place, which must be the line of the call. CLASS says where an API is refused:
--
--   any       nowhere
--   request   where there is no request
--   yielding  outside of server_rewrite, rewrite, access, precontent, content
--   waiting   the same, but for timers and the handshakes that may wait
--
-- EXCEPTIONS has other results by phase, or "skip: REASON".

local M = { rows = {}, index = {} }

local PHASES = "init init_worker exit_worker set server_rewrite rewrite access precontent content "
    .. "header_filter body_filter log balancer timer "
    .. "ssl_client_hello ssl_cert ssl_session_fetch ssl_session_store proxy_ssl_cert proxy_ssl_verify"
local yielding = { server_rewrite = true, rewrite = true, access = true, precontent = true, content = true }
local lone = { init = true, init_worker = true, exit_worker = true, timer = true }
-- Handshakes are not of a request, and of all of them but one may wait.
local shaking = { ssl_client_hello = true, ssl_cert = true, ssl_session_fetch = true, proxy_ssl_cert = true,
    proxy_ssl_verify = true }
M.shaking = shaking
local directives = { timer = "ngx.timer", ssl_cert = "ssl_certificate_by_lua*",
    proxy_ssl_cert = "proxy_ssl_certificate_by_lua*" }

M.phases = {}
for phase in PHASES:gmatch("%S+") do
    M.phases[#M.phases + 1] = phase
end

local NO_REQUEST = "error: no request found"
local DISABLED = "error: API disabled in the current context"

local function refused_in(phase)
    return "error: API disabled in the context of " .. (directives[phase] or phase .. "_by_lua*")
end

local classes = {}

function classes.any(_, result)
    return result
end

function classes.request(phase, result)
    if lone[phase] or shaking[phase] or phase == "ssl_session_store" then
        return phase == "init" and NO_REQUEST or DISABLED
    end
    return result
end

function classes.yielding(phase, result)
    return yielding[phase] and result or phase == "init" and NO_REQUEST or refused_in(phase)
end

function classes.waiting(phase, result)
    return (phase == "timer" or shaking[phase]) and result or classes.yielding(phase, result)
end

-- The same exception for several phases: { ["set log"] = "x" }.
local function row(name, class, result, call, exceptions)
    local expected = {}
    for _, phase in ipairs(M.phases) do
        expected[phase] = classes[class](phase, result)
    end
    for phases, other in pairs(exceptions or {}) do
        for phase in phases:gmatch("%S+") do
            assert(expected[phase], phase)
            expected[phase] = other
        end
    end
    local r = { name = name, call = call, expected = expected }
    M.rows[#M.rows + 1] = r
    M.index[name] = r
end

local SHAKING = "ssl_client_hello ssl_cert ssl_session_fetch ssl_session_store proxy_ssl_cert proxy_ssl_verify"
local LONE = "init init_worker exit_worker timer " .. SHAKING
-- The response's header has left.
local SENT = "body_filter log"

-- constants

local function constants(path, list)
    for name, value in pairs(list) do
        row(path .. "." .. name, "any", tostring(value), function()
            return require(path)[name]
        end)
    end
end

constants("ngx", {
    OK = 0, ERROR = -1, AGAIN = -2, DONE = -4, DECLINED = -5,
    STDERR = 0, EMERG = 1, ALERT = 2, CRIT = 3, ERR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8,
    HTTP_GET = 2, HTTP_HEAD = 4, HTTP_POST = 8, HTTP_PUT = 16, HTTP_DELETE = 32, HTTP_MKCOL = 64, HTTP_COPY = 128,
    HTTP_MOVE = 256, HTTP_OPTIONS = 512, HTTP_PROPFIND = 1024, HTTP_PROPPATCH = 2048, HTTP_LOCK = 4096,
    HTTP_UNLOCK = 8192, HTTP_PATCH = 16384, HTTP_TRACE = 32768,
    HTTP_CONTINUE = 100, HTTP_SWITCHING_PROTOCOLS = 101, HTTP_OK = 200, HTTP_CREATED = 201, HTTP_ACCEPTED = 202,
    HTTP_NO_CONTENT = 204, HTTP_PARTIAL_CONTENT = 206, HTTP_SPECIAL_RESPONSE = 300, HTTP_MOVED_PERMANENTLY = 301,
    HTTP_MOVED_TEMPORARILY = 302, HTTP_SEE_OTHER = 303, HTTP_NOT_MODIFIED = 304, HTTP_TEMPORARY_REDIRECT = 307,
    HTTP_PERMANENT_REDIRECT = 308, HTTP_BAD_REQUEST = 400, HTTP_UNAUTHORIZED = 401, HTTP_PAYMENT_REQUIRED = 402,
    HTTP_FORBIDDEN = 403, HTTP_NOT_FOUND = 404, HTTP_NOT_ALLOWED = 405, HTTP_NOT_ACCEPTABLE = 406,
    HTTP_REQUEST_TIMEOUT = 408, HTTP_CONFLICT = 409, HTTP_GONE = 410, HTTP_UPGRADE_REQUIRED = 426,
    HTTP_TOO_MANY_REQUESTS = 429, HTTP_CLOSE = 444, HTTP_ILLEGAL = 451, HTTP_INTERNAL_SERVER_ERROR = 500,
    HTTP_NOT_IMPLEMENTED = 501, HTTP_METHOD_NOT_IMPLEMENTED = 501, HTTP_BAD_GATEWAY = 502,
    HTTP_SERVICE_UNAVAILABLE = 503, HTTP_GATEWAY_TIMEOUT = 504, HTTP_VERSION_NOT_SUPPORTED = 505,
    HTTP_INSUFFICIENT_STORAGE = 507,
})

row("ngx.null", "any", "userdata, userdata: NULL", function()
    return type(ngx.null), tostring(ngx.null)
end)

-- output

row("ngx.print", "yielding", "1", function() return ngx.print("a", 1, { "b" }) end)
row("ngx.say", "yielding", "1", function() return ngx.say("a", nil, true) end)
row("ngx.flush", "yielding", "1", function()
    if yielding[ngx.get_phase()] then
        ngx.print("a")
    end
    return ngx.flush()
end)
row("ngx.eof", "yielding", "1", function() return ngx.eof() end)
row("ngx.send_headers", "yielding", "1", function() return ngx.send_headers() end)
row("ngx.headers_sent", "request", "false", function() return ngx.headers_sent end,
    { [SENT] = "true" })
row("ngx.status", "request", "201", function()
    ngx.status = 201
    return ngx.status
end, { [SENT] = "200" })
row("ngx.header", "request", "v, nil", function()
    ngx.header["X-Matrix"] = "v"
    local v = ngx.header["X-Matrix"]
    ngx.header["X-Matrix"] = nil
    return v, ngx.header["X-Matrix"]
end, { [SENT] = "nil, nil" })
row("ngx.resp.get_headers", "request", "table", function() return type(ngx.resp.get_headers()) end)

-- control

row("ngx.exit", "waiting", "ended", function() return ngx.exit(204) end,
    { ["header_filter balancer ssl_session_store"] = "" })
row("ngx.exec", "yielding", "ended", function() return ngx.exec("/done", "b=2") end)
row("ngx.redirect", "yielding", "ended", function() return ngx.redirect("/done", 307) end)
row("ngx.sleep", "waiting", "", function() return ngx.sleep(0.001) end)
row("ngx.get_phase", "any", "", function() return ngx.get_phase() end)
for _, phase in ipairs(M.phases) do
    M.index["ngx.get_phase"].expected[phase] = phase
end
row("ngx.is_subrequest", "request", "false", function() return ngx.is_subrequest end)
row("ngx.ctx", "request", "1, 2", function()
    ngx.ctx.a = 1
    local a = ngx.ctx.a
    ngx.ctx = { a = 2 }
    return a, ngx.ctx.a
end, { ["init_worker exit_worker timer " .. SHAKING] = "1, 2" })
row("ngx.var", "request", "POST, set, nil", function()
    ngx.var.matrix = "set"
    return ngx.var.request_method, ngx.var.matrix, ngx.var.no_such_variable
end)
row("ngx.arg", "request", DISABLED, function()
    local value = ngx.arg[1]
    if ngx.get_phase() == "body_filter" then
        ngx.arg[1] = "y" .. value
        return value, ngx.arg[1], ngx.arg[2]
    end
    return value
end, { set = "alpha", body_filter = "x, yx, false" })

-- the error log

row("ngx.log", "any", "", function() return ngx.log(ngx.NOTICE, "matrix", 1, nil, true) end)
row("print", "any", "", function() return print("matrix", 1, nil, true) end)
row("ngx.errlog.raw_log", "any", "", function() return require("ngx.errlog").raw_log(ngx.NOTICE, "matrix") end)
row("ngx.errlog.get_sys_filter_level", "any", "7", function()
    return require("ngx.errlog").get_sys_filter_level()
end)
row("ngx.errlog.set_filter_level", "any", "true", function()
    return require("ngx.errlog").set_filter_level(ngx.ERR)
end)
row("ngx.errlog.get_logs", "any", "table", function() return type(require("ngx.errlog").get_logs(1)) end)

-- the request

local req = ngx.req

-- Phases in which the body has not been read, unless the row does.
local function read_body()
    if yielding[ngx.get_phase()] then
        req.read_body()
    end
end

row("ngx.req.get_method", "request", "POST", function() return req.get_method() end)
row("ngx.req.set_method", "request", "PUT", function()
    req.set_method(ngx.HTTP_PUT)
    return req.get_method()
end)
row("ngx.req.http_version", "request", "1.1", function() return req.http_version() end)
row("ngx.req.raw_header", "request", "POST", function() return req.raw_header():match("^%u+") end)
row("ngx.req.start_time", "request", "true", function() return ngx.now() - req.start_time() < 60 end)
row("ngx.req.is_internal", "request", "false", function() return req.is_internal() end)
row("ngx.req.get_headers", "request", "matrix, nil", function()
    return req.get_headers().host, req.get_headers().x_none
end)
row("ngx.req.set_header", "request", "1", function()
    req.set_header("X-A", 1)
    return req.get_headers()["X-A"]
end)
row("ngx.req.clear_header", "request", "nil", function()
    req.set_header("X-A", "1")
    req.clear_header("x-a")
    return req.get_headers().x_a
end)
row("ngx.req.add_header", "request", "1, 2", function()
    local add = require("ngx.req").add_header
    add("X-A", 1)
    add("X-A", 2)
    return unpack(req.get_headers()["x-a"])
end)
row("ngx.req.get_uri_args", "request", "1", function() return req.get_uri_args().a end)
row("ngx.req.set_uri_args", "request", "c=3", function()
    req.set_uri_args({ c = 3 })
    return ngx.var.args
end)
row("ngx.req.set_uri", "request", "/other", function()
    req.set_uri("/other")
    return ngx.var.uri
end)
row("ngx.req.get_post_args", "request", "1", function()
    read_body()
    return req.get_post_args().x
end, {
    ["set"] = "error: no request body found; maybe you should turn on lua_need_request_body?",
})
row("ngx.req.read_body", "yielding", "", function() return req.read_body() end)
row("ngx.req.discard_body", "request", "", function() return req.discard_body() end)
row("ngx.req.get_body_data", "request", "x=1", function()
    read_body()
    return req.get_body_data()
end, { set = "nil" })
row("ngx.req.get_body_file", "request", "nil", function()
    read_body()
    return req.get_body_file()
end)
row("ngx.req.set_body_data", "request", "y=2", function()
    read_body()
    req.set_body_data("y=2")
    return req.get_body_data()
end, { set = "error: request body not read yet" })
row("ngx.req.set_body_file", "request", "true", function()
    read_body()
    req.set_body_file(M.file)
    return req.get_body_file() == M.file
end, { set = "error: request body not read yet" })
for name, result in pairs { init_body = "", append_body = "", finish_body = "abc" } do
    row("ngx.req." .. name, "request", result, function()
        read_body()
        req.init_body()
        if name == "init_body" then
            return
        end
        req.append_body("abc")
        if name == "append_body" then
            return
        end
        req.finish_body()
        return req.get_body_data()
    end, { set = "error: request body not read yet" })
end

-- the response

row("ngx.resp.add_header", "request", "1, 2", function()
    ngx.resp.add_header("X-A", "1")
    ngx.resp.add_header("X-A", "2")
    return unpack(ngx.resp.get_headers()["X-A"] or {})
end, { [SENT] = "" })
row("ngx.resp.set_status", "request", "201", function()
    ngx.resp.set_status(201, "Made")
    return ngx.status
end, { [SENT] = "200" })
row("ngx.resp.bypass_if_checks", "request", "", function() return require("ngx.resp").bypass_if_checks() end)

-- text

row("ngx.escape_uri", "any", "a%20b", function() return ngx.escape_uri("a b") end)
row("ngx.unescape_uri", "any", "a b", function() return ngx.unescape_uri("a%20b") end)
row("ngx.encode_args", "any", "a=1", function() return ngx.encode_args({ a = 1 }) end)
row("ngx.decode_args", "any", "1", function() return ngx.decode_args("a=1").a end)
row("ngx.encode_base64", "any", "YQ==", function() return ngx.encode_base64("a") end)
row("ngx.decode_base64", "any", "a", function() return ngx.decode_base64("YQ==") end)
row("ngx.decode_base64mime", "any", "ab", function() return ngx.decode_base64mime("YW\r\nI=") end)
row("ngx.base64.encode_base64url", "any", "-_8", function()
    return require("ngx.base64").encode_base64url("\251\255")
end)
row("ngx.base64.decode_base64url", "any", "a", function() return require("ngx.base64").decode_base64url("YQ") end)
row("ngx.crc32_short", "any", "3904355907", function() return ngx.crc32_short("a") end)
row("ngx.crc32_long", "any", "3904355907", function() return ngx.crc32_long("a") end)
row("ngx.md5", "any", "0cc175b9c0f1b6a831c399e269772661", function() return ngx.md5("a") end)
row("ngx.md5_bin", "any", "0cc175b9", function()
    return (ngx.md5_bin("a"):sub(1, 4):gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end)
row("ngx.sha1_bin", "any", "86f7e437", function()
    return (ngx.sha1_bin("a"):sub(1, 4):gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end)
row("ngx.hmac_sha1", "any", "QOfUQcrbF7B/BQNBqiOmgg7YHIs=", function()
    return ngx.encode_base64(ngx.hmac_sha1("k", "a"))
end)
row("ngx.quote_sql_str", "any", "'a\\'b'", function() return ngx.quote_sql_str("a'b") end)

-- time

row("ngx.now", "any", "true", function() return ngx.now() > 1e9 end)
row("ngx.time", "any", "true", function() return ngx.time() > 1e9 and ngx.time() % 1 == 0 end)
row("ngx.update_time", "any", "", function() return ngx.update_time() end)
row("ngx.today", "any", "true", function() return ngx.today():find("^%d%d%d%d%-%d%d%-%d%d$") == 1 end)
row("ngx.localtime", "any", "true", function()
    return ngx.localtime():find("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d$") == 1
end)
row("ngx.utctime", "any", "true", function()
    return ngx.utctime():find("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d$") == 1
end)
row("ngx.http_time", "any", "Thu, 01 Jan 1970 00:00:00 GMT", function() return ngx.http_time(0) end)
row("ngx.cookie_time", "any", "Thu, 01-Jan-70 00:00:00 GMT", function() return ngx.cookie_time(0) end)
row("ngx.parse_http_time", "any", "1", function() return ngx.parse_http_time("Thu, 01 Jan 1970 00:00:01 GMT") end)
row("resty.core.time.monotonic_msec", "any", "true", function()
    return require("resty.core.time").monotonic_msec() > 0
end)
row("resty.core.time.monotonic_time", "any", "true", function()
    return require("resty.core.time").monotonic_time() > 0
end)

-- regular expressions

row("ngx.re.match", "any", "12, 2", function()
    local m = ngx.re.match("a12", "(\\d)(\\d)", "jo")
    return m[0], m[2]
end)
row("ngx.re.find", "any", "2, 3", function() return ngx.re.find("a12", "\\d+", "jo") end)
row("ngx.re.gmatch", "any", "1, 2, nil", function()
    local next_match = ngx.re.gmatch("a1b2", "\\d", "jo")
    return next_match()[0], next_match()[0], next_match()
end)
row("ngx.re.sub", "any", "aX2, 1", function() return ngx.re.sub("a12", "\\d", "X", "jo") end)
row("ngx.re.gsub", "any", "a<1><2>, 2", function() return ngx.re.gsub("a12", "(\\d)", "<$1>", "jo") end)
row("ngx.re.split", "any", "a, b, c", function() return unpack(require("ngx.re").split("a,b,c", ",", "jo")) end)
row("ngx.re.opt", "any", "false, changing jit stack size is not allowed", function()
    ngx.re.match("a", "a", "jo")
    local ok, err = pcall(require("ngx.re").opt, "jit_stack_size", 65536)
    return ok, err:match("^.-not allowed")
end)

-- shared dictionaries

local dict = ngx.shared.matrix_scratch

-- Methods by name; each cell has keys of its own, because workers share the dictionary.
local function dictionary(methods)
    for name, method in pairs(methods) do
        row("ngx.shared.DICT." .. name, "any", method[1], function()
            local key = table.concat({ name, ngx.get_phase(), ngx.worker.pid() }, " ")
            dict:delete(key)
            return method[2](dict, key)
        end)
    end
end

dictionary {
    set = { "true, nil, false", function(d, k) return d:set(k, 1) end },
    safe_set = { "true, nil, false", function(d, k) return d:safe_set(k, 1) end },
    add = { "false, exists, false", function(d, k) d:set(k, 1) return d:add(k, 1) end },
    safe_add = { "false, exists, false", function(d, k) d:set(k, 1) return d:safe_add(k, 1) end },
    replace = { "false, not found, false", function(d, k) return d:replace(k, 1) end },
    delete = { "nil", function(d, k) d:set(k, 1) d:delete(k) return d:get(k) end },
    get = { "v, 7", function(d, k) d:set(k, "v", 0, 7) return d:get(k) end },
    get_stale = { "v, nil, false", function(d, k) d:set(k, "v") return d:get_stale(k) end },
    incr = { "5, nil, false", function(d, k) return d:incr(k, 2, 3) end },
    lpush = { "1", function(d, k) return d:lpush(k, "a") end },
    rpush = { "1", function(d, k) return d:rpush(k, "a") end },
    lpop = { "a", function(d, k) d:rpush(k, "a") d:rpush(k, "b") return d:lpop(k) end },
    rpop = { "b", function(d, k) d:rpush(k, "a") d:rpush(k, "b") return d:rpop(k) end },
    llen = { "2", function(d, k) d:rpush(k, "a") d:rpush(k, "b") return d:llen(k) end },
    ttl = { "true", function(d, k) d:set(k, 1, 60) return d:ttl(k) > 50 end },
    expire = { "true", function(d, k) d:set(k, 1) return d:expire(k, 60) end },
    get_keys = { "table", function(d) return type(d:get_keys(1)) end },
    flush_all = { "", function() return ngx.shared.matrix_flushed:flush_all() end },
    flush_expired = { "number", function() return type(ngx.shared.matrix_flushed:flush_expired()) end },
    capacity = { "1048576", function(d) return d:capacity() end },
    free_space = { "true", function(d) return d:free_space() >= 0 end },
}

-- workers, process, configuration

row("ngx.worker.exiting", "any", "false", function() return ngx.worker.exiting() end, { exit_worker = "true" })
row("ngx.worker.pid", "any", "number", function() return type(ngx.worker.pid()) end)
row("ngx.worker.id", "any", "number", function() return type(ngx.worker.id()) end, { init = "nil" })
row("ngx.worker.count", "any", "true", function() return ngx.worker.count() > 0 end)
row("ngx.worker.pids", "any", "true", function()
    local pids, err = ngx.worker.pids()
    if not pids then
        return pids, err
    end
    for _, pid in ipairs(pids) do
        if pid == ngx.worker.pid() then
            return true
        end
    end
end, { ["init init_worker"] = "nil, API disabled in the current context" })
row("ngx.process.type", "any", "worker", function() return require("ngx.process").type() end,
    { init = "master" })
row("ngx.process.get_master_pid", "any", "number", function() return type(require("ngx.process").get_master_pid()) end)
row("ngx.process.enable_privileged_agent", "any", "nil, API disabled in the current context", function()
    return require("ngx.process").enable_privileged_agent()
end, { init = "nil, missing privileged agent process patch in the nginx core" })
row("ngx.process.signal_graceful_exit", "any", "", function()
    return require("ngx.process").signal_graceful_exit()
end, {
    init = "skip: stops the master",
    ["init_worker timer"] = "skip: each new worker would stop at once",
    balancer = "skip: the worker would wait for an answer from itself",
})
row("os.getenv", "any", "is set", function() return os.getenv("MATRIX") end)
row("ngx.config.subsystem", "any", "http", function() return ngx.config.subsystem end)
row("ngx.config.debug", "any", "boolean", function() return type(ngx.config.debug) end)
row("ngx.config.nginx_version", "any", "true", function() return ngx.config.nginx_version >= 1022001 end)
row("ngx.config.ngx_lua_version", "any", "true", function() return ngx.config.ngx_lua_version >= 10023 end)
row("ngx.config.prefix", "any", "/", function() return ngx.config.prefix():sub(-1) end)
row("ngx.config.nginx_configure", "any", "string", function() return type(ngx.config.nginx_configure()) end)

-- coroutines

-- the functions, and by two other names each
for _, alias in ipairs { "", "_", "__" } do
    local function co(name)
        return coroutine[alias .. name]
    end
    local function add(name, result, call)
        row("coroutine." .. alias .. name, "any", result, call)
    end
    add("create", "thread", function() return type(co("create")(function() end)) end)
    add("resume", "true, 3", function()
        return co("resume")(coroutine.create(function(a, b) return a + b end), 1, 2)
    end)
    add("yield", "true, y", function()
        return coroutine.resume(coroutine.create(function() co("yield")("y") end))
    end)
    add("wrap", "1, 2", function()
        local f = co("wrap")(function() coroutine.yield(1) coroutine.yield(2) end)
        return f(), f()
    end)
    add("status", "suspended", function() return co("status")(coroutine.create(function() end)) end)
end
row("coroutine.running", "any", "thread", function()
    return coroutine.wrap(function() return type((coroutine.running())) end)()
end)
row("coroutine.isyieldable", "any", "true", function()
    return coroutine.wrap(function() return coroutine.isyieldable() end)()
end)

row("require", "any", "table, false", function()
    return type(require("ngx.re")), pcall(require, "no.such.module") and true or false
end)

-- timers, threads, semaphores

for _, name in ipairs { "at", "every" } do
    row("ngx.timer." .. name, "any", "1", function() return ngx.timer[name](3600, function() end) end,
        { init = NO_REQUEST, exit_worker = refused_in("exit_worker") })
end
row("ngx.timer.running_count", "any", "number", function() return type(ngx.timer.running_count()) end)
row("ngx.timer.pending_count", "any", "number", function() return type(ngx.timer.pending_count()) end)
row("ngx.thread.spawn", "waiting", "thread", function() return type(ngx.thread.spawn(function() end)) end)
row("ngx.thread.wait", "waiting", "true, 7", function()
    return ngx.thread.wait(ngx.thread.spawn(function() ngx.sleep(0) return 7 end))
end)
row("ngx.thread.kill", "waiting", "1", function()
    return ngx.thread.kill(ngx.thread.spawn(function() ngx.sleep(10) end))
end)

-- OpenResty's own words in init, and no subrequests in server_rewrite, which each of them would run through again
local no_capture = {
    init = "error: no request object found",
    server_rewrite = "error: API disabled in the context of server_rewrite_by_lua*",
    timer = "error: API disabled in the context of ngx.timer",
}
row("ngx.location.capture", "yielding", "204, , false", function()
    local res = ngx.location.capture("/other")
    return res.status, res.body, res.truncated
end, no_capture)
row("ngx.location.capture_multi", "yielding", "204, 204", function()
    local a, b = ngx.location.capture_multi { { "/other" }, { "/done" } }
    return a.status, b.status
end, no_capture)

local function semaphore(n)
    return require("ngx.semaphore").new(n)
end

row("ngx.semaphore.new", "any", "table", function() return type(semaphore(1)) end)
row("ngx.semaphore:post", "any", "true", function() return semaphore(0):post(2) end)
row("ngx.semaphore:count", "any", "3", function() return semaphore(3):count() end)
row("ngx.semaphore:wait", "any", "true", function() return semaphore(1):wait(0) end)

-- processes

row("ngx.pipe.spawn", "any", "true", function() return require("ngx.pipe").spawn({ "true" }) ~= nil end,
    { init = DISABLED })

-- Methods of a program that has something to say on both streams.
for name, method in pairs {
    pid = { "any", "true", function(proc) return proc:pid() > 1 end },
    kill = { "any", "true", function(proc) return proc:kill(9) end },
    shutdown = { "any", "true", function(proc) return proc:shutdown("stdin") end },
    set_timeouts = { "any", "", function(proc) return proc:set_timeouts(1, 2, 3, 4) end },
    wait = { "waiting", "false, signal, 9", function(proc) proc:kill(9) return proc:wait() end },
    write = { "waiting", "2", function(proc) return proc:write("ab") end },
    stdout_read_line = { "waiting", "out", function(proc) return proc:stdout_read_line() end },
    stdout_read_bytes = { "waiting", "o", function(proc) return proc:stdout_read_bytes(1) end },
    stdout_read_any = { "waiting", "o", function(proc) return proc:stdout_read_any(1) end },
    stdout_read_all = { "waiting", "4", function(proc)
        proc:shutdown("stdin")
        local all = proc:stdout_read_all()
        return #all
    end },
    stderr_read_line = { "waiting", "err", function(proc) return proc:stderr_read_line() end },
    stderr_read_bytes = { "waiting", "e", function(proc) return proc:stderr_read_bytes(1) end },
    stderr_read_any = { "waiting", "e", function(proc) return proc:stderr_read_any(1) end },
    stderr_read_all = { "waiting", "4", function(proc)
        proc:shutdown("stdin")
        local all = proc:stderr_read_all()
        return #all
    end },
} do
    row("ngx.pipe:" .. name, method[1], method[2], function()
        return method[3](require("ngx.pipe").spawn("echo out; echo err >&2; exec cat"))
    end, { init = DISABLED })
end

-- sockets

row("ngx.socket.tcp", "waiting", "table", function() return type(ngx.socket.tcp()) end)
row("ngx.socket.stream", "waiting", "table", function() return type(ngx.socket.stream()) end)
row("ngx.socket.connect", "waiting", "table", function() return type(ngx.socket.connect("127.0.0.1", M.port)) end)

local function http(name, ...)
    local res = assert(require("autoscale.http")[name](...))
    return res.status
end

row("autoscale.http.request", "waiting", "204", function()
    return http("request", { url = "http://127.0.0.1:" .. M.port .. "/done", keepalive = false })
end)
row("autoscale.http.get", "waiting", "204", function()
    return http("get", "http://127.0.0.1:" .. M.port .. "/done", { keepalive = false })
end)
row("autoscale.http.post", "waiting", "204", function()
    return http("post", "http://127.0.0.1:" .. M.port .. "/done", "x", { keepalive = false })
end)

-- Methods of a connected socket.
local function tcp(methods)
    for name, method in pairs(methods) do
        row("ngx.socket.tcp:" .. name, "waiting", method[1], function()
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", M.port))
            return method[2](sock)
        end)
    end
end

local function ask(sock)
    assert(sock:send("GET /done HTTP/1.1\r\nHost: matrix\r\n\r\n"))
    return sock
end

tcp {
    connect = { "1", function(sock) return sock:connect("127.0.0.1", M.port) end },
    send = { "4", function(sock) return sock:send("GET ") end },
    receive = { "HTTP/1.1 204 No Content", function(sock) return ask(sock):receive() end },
    receiveany = { "HTTP", function(sock) return ask(sock):receiveany(4) end },
    receiveuntil = { "HTTP/1.1", function(sock) return ask(sock):receiveuntil(" ")() end },
    settimeout = { "", function(sock) return sock:settimeout(1000) end },
    settimeouts = { "", function(sock) return sock:settimeouts(1000, 1000, 1000) end },
    setkeepalive = { "1", function(sock) return sock:setkeepalive(1000, 10) end },
    getreusedtimes = { "number", function(sock) return type(sock:getreusedtimes()) end },
    close = { "1", function(sock) return sock:close() end },
    shutdown = { "1", function(sock) return sock:shutdown("send") end },
    getfd = { "number", function(sock) return type(sock:getfd()) end },
    setoption = { "true", function(sock) return sock:setoption("keepalive", true) end },
    getoption = { "1", function(sock)
        sock:setoption("tcp-nodelay", true)
        return sock:getoption("tcp-nodelay")
    end },
    bind = { "1", function(sock) return sock:bind("127.0.0.1") end },
    -- the other side does not speak TLS
    sslhandshake = { "nil, handshake failed", function(sock) return sock:sslhandshake() end },
    getsslsession = { "nil, not ssl connection", function(sock) return sock:getsslsession() end },
    getsslpointer = { "nil, not ssl connection", function(sock) return sock:getsslpointer() end },
    getsslctx = { "nil, not ssl connection", function(sock) return sock:getsslctx() end },
    setclientcert = { "true", function(sock) return sock:setclientcert(nil, nil) end },
    settrustedstore = { "true", function(sock) return sock:settrustedstore(nil) end },
    setalpn = { "true", function(sock) return sock:setalpn("h2") end },
    getalpn = { "nil", function(sock) return sock:getalpn() end },
}

row("ngx.socket.udp", "waiting", "table", function() return type(ngx.socket.udp()) end)

-- Methods of a socket whose peer never answers.
local function udp(methods)
    for name, method in pairs(methods) do
        row("ngx.socket.udp:" .. name, "waiting", method[1], function()
            local sock = ngx.socket.udp()
            assert(sock:setpeername("127.0.0.1", 9))
            return method[2](sock)
        end)
    end
end

udp {
    setpeername = { "1", function(sock) return sock:setpeername("127.0.0.1", 9) end },
    send = { "1", function(sock) return sock:send("x") end },
    receive = { "nil, timeout", function(sock)
        sock:settimeout(1)
        return sock:receive()
    end },
    settimeout = { "", function(sock) return sock:settimeout(1000) end },
    close = { "1", function(sock) return sock:close() end },
    bind = { "1", function(sock) return sock:bind("127.0.0.1") end },
}

row("ngx.req.socket", "yielding", "x=1, nil, closed", function()
    local sock = ngx.req.socket()
    local body = sock:receive(3)
    local more, err = sock:receive(1)
    return body, more, err
end)
row("ngx.on_abort", "yielding", "nil, lua_check_client_abort is off", function()
    return ngx.on_abort(function() end)
end)
row("ngx.run_worker_thread", "waiting", "false, thread pool none not found", function()
    return ngx.run_worker_thread("none", "module", "f")
end)
-- certificates and keys

local function ssl(name, result)
    row("ngx.ssl." .. name, "any", "nil, " .. result, function() return require("ngx.ssl")[name]("none") end)
end

-- what needs a connection that speaks TLS: `shaken` in handshakes
local NO_CONNECTION = "init init_worker exit_worker"

local function tls(module, name, plain, shaken, call, exceptions)
    local all = { [SHAKING] = shaken, [NO_CONNECTION] = NO_REQUEST }
    row(module .. "." .. name, "any", plain, function() return call(require(module)[name]) end, all)
    for phases, other in pairs(exceptions or {}) do
        for phase in phases:gmatch("%S+") do
            M.index[module .. "." .. name].expected[phase] = other
        end
    end
end

local function kind()
    return function(f) return (type((f()))) end
end

tls("ngx.ssl", "clear_certs", "nil, bad request", "true", function(f) return f() end)
for _, name in ipairs({ "set_cert", "set_priv_key" }) do
    local what = name == "set_cert" and "cert" or "pkey"
    local refused = "error: bad argument #1 to '" .. name .. "' (" .. what .. " by ngx.ssl.parse_*() expected, got nil)"
    tls("ngx.ssl", name, refused, refused, function(f)
        local ok, err = f()
        return ok, err
    end)
end
tls("ngx.ssl", "set_der_cert", "nil, d2i_X509_bio() failed", "nil, d2i_X509_bio() failed", function(f)
    return f("none")
end)
tls("ngx.ssl", "set_der_priv_key", "nil, d2i_PrivateKey_bio() failed", "nil, d2i_PrivateKey_bio() failed", function(f)
    return f("none")
end)
for _, name in ipairs({ "raw_server_addr", "raw_client_addr" }) do
    tls("ngx.ssl", name, "nil, nil, bad request", "4, inet, nil", function(f)
        local address, family, err = f()
        return address and #address, family, err
    end, { ["proxy_ssl_cert proxy_ssl_verify"] = name == "raw_client_addr" and "nil, nil, no address" or nil })
end
tls("ngx.ssl", "server_port", "nil", "number", kind())
tls("ngx.ssl", "server_name", "nil", "string", kind())
tls("ngx.ssl", "get_tls1_version", "nil", "number", kind())
tls("ngx.ssl", "get_tls1_version_str", "nil", "string", kind())
tls("ngx.ssl", "get_client_random", "nil, bad request", "32", function(f) return f(0) end)
tls("ngx.ssl", "get_server_random", "nil, bad request", "32", function(f) return f(0) end)
tls("ngx.ssl", "get_session_master_key", "nil, bad request", "0", function(f) return f(0) end,
    { ssl_session_store = "48" })
-- there are keys before all is agreed on, but they are worth nothing: OpenSSL says when it has some
tls("ngx.ssl", "export_keying_material", "nil, nil, bad request", "string, 16, nil", function(f)
    local key, err = f(16, "label")
    return type(key), key and #key, err
end, { ["ssl_client_hello ssl_cert ssl_session_fetch"] = "nil, nil, nil" })
tls("ngx.ssl", "export_keying_material_early", "nil, bad request", "nil", function(f) return f(16, "label") end)
local NOT_HERE = "nil, API disabled in the current context"
tls("ngx.ssl", "verify_client", NOT_HERE, NOT_HERE, function(f) return f() end, { ssl_cert = "true" })
tls("ngx.ssl", "get_req_ssl_pointer", "nil", "cdata", kind())
tls("ngx.ssl", "get_upstream_ssl_pointer", "nil", "nil", kind())
for _, name in ipairs({ "get_req_shared_ssl_ciphers", "get_shared_ssl_ciphers" }) do
    tls("ngx.ssl", name, "nil", "nil", kind(), { ["ssl_cert ssl_session_store"] = "table" })
end
row("ngx.ssl.ssl_session_reused", "any", "nil, bad ssl", function()
    return require("ngx.ssl").ssl_session_reused()
end)
for _, module in ipairs({ "ngx.ssl", "ngx.proxyssl" }) do
    constants(module, { SSL3_VERSION = 768, TLS1_VERSION = 769, TLS1_1_VERSION = 770, TLS1_2_VERSION = 771,
        TLS1_3_VERSION = 772 })
end

local function only_in(phases, module, name, result, call)
    tls(module, name, DISABLED, DISABLED, call, { [phases] = result })
end

local hello, HELLO = "ngx.ssl.clienthello", "ssl_client_hello"
only_in(HELLO, hello, "get_client_hello_server_name", "string", function(f) return (type((f()))) end)
only_in(HELLO, hello, "get_client_hello_ext", "string, nil", function(f) return type((f(43))), (f(65000)) end)
only_in(HELLO, hello, "get_client_hello_ext_present", "table", function(f) return (type((f()))) end)
only_in(HELLO, hello, "get_client_hello_ciphers", "table", function(f) return (type((f()))) end)
only_in(HELLO, hello, "get_supported_versions", "table", function(f) return (type((f()))) end)
only_in(HELLO, hello, "set_protocols", "nil, invalid protocols failed", function(f)
    local ok, err = f({ "none" })
    return ok, err
end)

tls("ngx.ssl.session", "get_session_id", "nil, bad request", "nil, uninitialized session id len in lua context",
    function(f)
        local id, err = f()
        return id and #id, err
    end, { ["ssl_session_fetch ssl_cert ssl_session_store"] = "64, nil" })
tls("ngx.ssl.session", "get_serialized_session", "nil, bad request", "nil, bad session in lua context", function(f)
    local session, err = f()
    return type(session), err
end, { ssl_session_store = "string, nil" })
tls("ngx.ssl.session", "set_serialized_session", "nil, bad request", "nil, failed to de-serialize session",
    function(f) return f("none") end)

for _, name in ipairs({ "set_cert", "set_priv_key" }) do
    only_in("proxy_ssl_cert", "ngx.ssl.proxysslcert", name, M.index["ngx.ssl." .. name].expected.ssl_cert, function(f)
        local ok, err = f()
        return ok, err
    end)
end
only_in("proxy_ssl_cert", "ngx.ssl.proxysslcert", "clear_certs", "true", function(f)
    local ok = f()
    return ok
end)
only_in("proxy_ssl_cert", "ngx.ssl.proxysslcert", "set_der_cert", "nil, d2i_X509_bio() failed", function(f)
    local ok, err = f("none")
    return ok, err
end)
only_in("proxy_ssl_cert", "ngx.ssl.proxysslcert", "set_der_priv_key", "nil, d2i_PrivateKey_bio() failed", function(f)
    local ok, err = f("none")
    return ok, err
end)
local verify = "ngx.ssl.proxysslverify"
only_in("proxy_ssl_verify", verify, "get_verify_result", "20", function(f)
    local result = f()
    return result
end)
only_in("proxy_ssl_verify", verify, "set_verify_result", "true", function(f)
    local ok = f(0)
    return ok
end)
only_in("proxy_ssl_verify", verify, "get_verify_cert", "cdata", function(f) return (type((f()))) end)
for name, result in pairs({ get_tls1_version = "771", get_tls1_version_str = "TLSv1.2" }) do
    only_in("proxy_ssl_cert proxy_ssl_verify", "ngx.proxyssl", name, result, function(f)
        local version = f()
        return version
    end)
end

for name, result in pairs({ get_ocsp_responder_from_der_chain = "d2i_X509_bio() failed",
    create_ocsp_request = "d2i_X509_bio() failed", validate_ocsp_response = "d2i_OCSP_RESPONSE() failed" }) do
    row("ngx.ocsp." .. name, "any", "nil, " .. result, function()
        return require("ngx.ocsp")[name]("none", name:find("^validate") and "none")
    end)
end
-- sockets do not ask for it
tls("ngx.ocsp", "set_ocsp_status_resp", "nil, bad request", "true, no status req", function(f)
    local ok, err = f("none")
    return ok, err
end)

ssl("parse_pem_cert", "PEM_read_bio_X509_AUX() failed")
ssl("parse_der_cert", "d2i_X509_bio() failed")
ssl("cert_pem_to_der", "PEM_read_bio_X509_AUX() failed")
ssl("parse_pem_priv_key", "PEM_read_bio_PrivateKey() failed")
ssl("parse_der_priv_key", "d2i_PrivateKey_bio() failed")
ssl("priv_key_pem_to_der", "PEM_read_bio_PrivateKey() failed")

-- tables

row("table.new", "any", "0", function() return #require("table.new")(4, 4) end)
row("table.clear", "any", "nil", function()
    local t = { 1 }
    require("table.clear")(t)
    return t[1]
end)
row("table.nkeys", "any", "2", function() return require("table.nkeys")({ 1, a = 1 }) end)
row("table.clone", "any", "1, false", function()
    local t = { a = 1 }
    local u = require("table.clone")(t)
    return u.a, t == u
end)
row("table.isempty", "any", "true, false", function()
    local isempty = require("table.isempty")
    return isempty({}), isempty({ 1 })
end)
row("table.isarray", "any", "true, false", function()
    local isarray = require("table.isarray")
    return isarray({ 1 }), isarray({ a = 1 })
end)

-- upstreams and balancers

local function upstream(name)
    return function(...) return require("ngx.upstream")[name](...) end
end

-- Documented for the phases of a request alone, and of no use before the configuration is read.
local function upstreams(name, result, call)
    row("ngx.upstream." .. name, "any", result, call, { init = refused_in("init") })
end

upstreams("get_upstreams", "table", function() return type(upstream("get_upstreams")()) end)
upstreams("get_servers", "1", function() return #upstream("get_servers")("matrix_plain") end)
upstreams("get_primary_peers", "1", function() return #upstream("get_primary_peers")("matrix_plain") end)
upstreams("get_backup_peers", "0", function() return #upstream("get_backup_peers")("matrix_plain") end)
upstreams("set_peer_down", "true", function() return upstream("set_peer_down")("matrix_plain", false, 0, false) end)
row("ngx.upstream.current_upstream_name", "request", "nil", function()
    return upstream("current_upstream_name")()
end, { [LONE] = "error: no request object found", balancer = "matrix_balancer" })

local function balancer(name)
    return function(...) return require("ngx.balancer")[name](...) end
end

local function balancers(name, result, call, elsewhere)
    elsewhere = elsewhere or "nil, no upstream found"
    row("ngx.balancer." .. name, "any", elsewhere, call, { balancer = result, init = NO_REQUEST })
end

balancers("set_current_peer", "true", function()
    return balancer("set_current_peer")("127.0.0.1", M.port)
end)
balancers("set_more_tries", "true", function() return balancer("set_more_tries")(1) end)
balancers("get_last_failure", "nil", function() return balancer("get_last_failure")() end,
    "nil, nil, no upstream found")
balancers("set_timeouts", "true", function() return balancer("set_timeouts")(1, 1, 1) end,
    "false, no upstream found")
balancers("recreate_request", "true", function()
    if ngx.get_phase() == "balancer" then
        balancer("set_current_peer")("127.0.0.1", M.port)
    end
    return balancer("recreate_request")()
end)
balancers("enable_keepalive", "true", function()
    balancer("set_current_peer")("127.0.0.1", M.port)
    return balancer("enable_keepalive")()
end)
balancers("bind_to_local_addr", "true", function() return balancer("bind_to_local_addr")("127.0.0.1") end)
balancers("set_upstream_tls", "true", function() return balancer("set_upstream_tls")(false) end)

-- metrics

local function autoscale(name)
    return function(...) return require("ngx.autoscale")[name](...) end
end

local EARLY = { init = "nil, no zone yet: workers have it, from init_worker_by_lua on" }

row("ngx.autoscale.get", "any", "nil, number, 0", function()
    local value, age, n = autoscale("get")("upstream.matrix_idle.latency")
    if not n then
        return value, age
    end
    return value, type(age), n
end, EARLY)
row("ngx.autoscale.incr", "any", "true", function() return autoscale("incr")("matrix") end, EARLY)
row("ngx.autoscale.observe", "any", "true", function() return autoscale("observe")("matrix_seen", 1) end, EARLY)
row("ngx.autoscale.peers", "any", "1", function()
    local each, err = autoscale("peers")("matrix_plain")
    if not each then
        return each, err
    end
    local n = 0
    for _ in each do
        n = n + 1
    end
    return n
end, EARLY)
row("ngx.autoscale.set", "any", "true", function()
    return autoscale("set")("matrix_plain", "127.0.0.1:" .. M.port, { weight = 1 })
end, EARLY)
row("ngx.autoscale.pick", "any", "true", function()
    local addr, err = autoscale("pick")("matrix_plain")
    if not addr then
        return addr, err
    end
    return addr == "127.0.0.1:" .. M.port
end, EARLY)

row("ngx.autoscale.peer_add", "any", "true", function()
    return autoscale("peer_add")("matrix_members", "127.0.0.9:" .. M.port)
end, EARLY)
row("ngx.autoscale.peer_remove", "any", "true", function()
    local ok, err = autoscale("peer_add")("matrix_members", "127.0.0.8:" .. M.port)
    if not ok then
        return ok, err
    end
    return autoscale("peer_remove")("matrix_members", "127.0.0.8:" .. M.port, { drain = 0 })
end, EARLY)

-- a target with room for nothing, so that nothing is written
row("ngx.autoscale.scale", "any", "number", function()
    local id, err = autoscale("scale")("matrix", { replicas = 1 })
    if not id then
        return id, err
    end
    return type(id)
end, EARLY)
row("ngx.autoscale.notify", "any", "true", function() return autoscale("notify")("matrix", { a = 1 }) end, EARLY)
row("ngx.autoscale.policy", "any", "matrix", function()
    local policy, err = autoscale("policy")("matrix")
    if not policy then
        return policy, err
    end
    return policy.name
end, EARLY)
row("ngx.autoscale.admit", "any", "number, 0", function()
    local ticket, wait = autoscale("admit") { key = "matrix", rate = 1e6, burst = 1000 }
    if not ticket then
        return ticket, wait
    end
    return type(ticket), wait
end, EARLY)
row("ngx.autoscale.settle", "any", "true", function()
    local ticket, err = autoscale("admit") { key = "matrix", concurrency = 1000 }
    if not ticket then
        return ticket, err
    end
    return autoscale("settle")(ticket)
end, EARLY)
row("ngx.autoscale.decisions", "any", "table", function()
    local list, err = autoscale("decisions")()
    if not list then
        return list, err
    end
    return type(list)
end, EARLY)

row("ngx.autoscale.split", "any", "split matrix", function()
    local split, err = autoscale("split")("$matrix_split")
    if not split then
        return split, err
    end
    return "split " .. split:state().upstream:match("matrix")
end, EARLY)

-- what libraries require of lua-resty-core

constants("resty.core.base", {
    FFI_OK = 0, FFI_NO_REQ_CTX = -100, FFI_BAD_CONTEXT = -101, FFI_ERROR = -1, FFI_AGAIN = -2, FFI_BUSY = -3,
    FFI_DONE = -4, FFI_DECLINED = -5, FFI_ABORT = -6,
})

local core = require "resty.core.base"

row("resty.core.base.allows_subsystem", "any", "error: unsupported subsystem: http", function()
    core.allows_subsystem("stream", "http")
    core.allows_subsystem("stream")
end)
row("resty.core.base.new_tab", "any", "0", function() return #core.new_tab(2, 2) end)
row("resty.core.base.clear_tab", "any", "nil", function()
    local t = { 1 }
    core.clear_tab(t)
    return t[1]
end)
row("resty.core.base.get_errmsg_ptr", "any", "true", function()
    return core.get_errmsg_ptr() == core.get_errmsg_ptr()
end)
row("resty.core.base.get_size_ptr", "any", "true", function() return core.get_size_ptr() == core.get_size_ptr() end)
row("resty.core.base.get_string_buf_size", "any", "4096", function() return core.get_string_buf_size() end)
row("resty.core.base.set_string_buf_size", "any", "8192", function()
    core.set_string_buf_size(8192)
    local size = core.get_string_buf_size()
    core.set_string_buf_size(4096)
    return size
end)
row("resty.core.base.get_string_buf", "any", "cdata", function() return type(core.get_string_buf(8)) end)
row("resty.core.base.ref_in_table", "any", "1", function() return core.ref_in_table({}, "a") end)
row("resty.core.base.get_request", "any", "true", function() return core.get_request() ~= nil end, { [LONE] = "false" })
row("resty.core.ctx.get_ctx_table", "request", "table", function()
    return type(require("resty.core.ctx").get_ctx_table())
end, { ["init_worker exit_worker timer " .. SHAKING] = "table" })
row("resty.core.misc.register_ngx_magic_key_getter", "any", "got", function()
    local register = require("resty.core.misc").register_ngx_magic_key_getter
    register("matrix_key", function() return "got" end)
    local got = ngx.matrix_key
    register("matrix_key", nil)
    return got
end)
row("resty.core.misc.register_ngx_magic_key_setter", "any", "put", function()
    local put
    local register = require("resty.core.misc").register_ngx_magic_key_setter
    register("matrix_key", function(value) put = value end)
    ngx.matrix_key = "put"
    register("matrix_key", nil)
    return put
end)
row("resty.core.utils.str_replace_char", "any", "a-b", function()
    return require("resty.core.utils").str_replace_char("a_b", "_", "-")
end)

return M
