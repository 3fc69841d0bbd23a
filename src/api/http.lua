-- autoscale.http: requests to other servers, whose waits let other requests run.

local error = error
local floor = math.floor
local gsub, lower = string.gsub, string.lower
local pairs, ipairs = pairs, ipairs
local rawget = rawget
local setmetatable = setmetatable
local tostring = tostring
local type = type

return function(_, _, base)
    local classic = base.classic
    local new, add_header, set_timeouts = classic.http_new, classic.http_header, classic.http_timeouts
    local set_limits, set_keepalive, set_tls = classic.http_limits, classic.http_keepalive, classic.http_tls
    local set_proxy, set_body = classic.http_proxy, classic.http_body
    local send, begin, write = classic.http_send, classic.http_begin, classic.http_write
    local read, close = classic.http_read, classic.http_close
    local check, yielding = base.check, base.yielding

    -- Errors of misuse point at the line that has called the API function: `level` counts from the function that calls.

    local function misused(name, what, level)
        error("bad argument #1 to '" .. name .. "' (" .. what .. ")", level + 1)
    end

    local function wrong_type(name, option, expected, value, level)
        misused(name, "bad \"" .. option .. "\" option: " .. expected .. " expected, got " .. type(value), level + 1)
    end

    -- A number that is no less than zero, or -1 when it is not given.
    local function amount(name, option, value, level, whole)
        if value == nil then
            return -1
        end
        if type(value) ~= "number" then
            wrong_type(name, option, "number", value, level + 1)
        end
        if not (value >= 0 and value < 2 ^ 53) or whole and value ~= floor(value) then
            misused(name, "bad \"" .. option .. "\" option: " .. value, level + 1)
        end
        return value
    end

    local function string_option(name, option, value, level)
        if value == nil then
            return ""
        end
        if type(value) ~= "string" then
            wrong_type(name, option, "string", value, level + 1)
        end
        return value
    end

    -- Refuses what is not among the `known` fields: a misspelt option would be one that does nothing.
    local function only(name, prefix, options, known, level)
        for key in pairs(options) do
            if not known[key] then
                misused(name, "unknown option \"" .. prefix .. tostring(key) .. "\"", level + 1)
            end
        end
    end

    local function set(...)
        local known = {}
        for _, key in ipairs { ... } do
            known[key] = true
        end
        return known
    end

    local OPTIONS = set("method", "url", "headers", "body", "timeout", "tls", "proxy", "redirects", "keepalive",
        "stream", "max_body")
    local TIMEOUT = set("connect", "send", "read", "total")
    local TLS = set("verify", "server_name", "ca", "cert", "key")
    local KEEPALIVE = set("idle", "size")

    local function timeout_option(name, call, timeout, level)
        if type(timeout) ~= "table" then
            local ms = amount(name, "timeout", timeout, level + 1)
            return set_timeouts(call, ms, ms, ms, -1)
        end
        only(name, "timeout.", timeout, TIMEOUT, level + 1)
        set_timeouts(call, amount(name, "timeout.connect", timeout.connect, level + 1),
            amount(name, "timeout.send", timeout.send, level + 1),
            amount(name, "timeout.read", timeout.read, level + 1),
            amount(name, "timeout.total", timeout.total, level + 1))
    end

    local function tls_option(name, call, tls, level)
        if type(tls) ~= "table" then
            wrong_type(name, "tls", "table", tls, level + 1)
        end
        only(name, "tls.", tls, TLS, level + 1)
        if tls.verify ~= nil and type(tls.verify) ~= "boolean" then
            wrong_type(name, "tls.verify", "boolean", tls.verify, level + 1)
        end
        if (tls.cert == nil) ~= (tls.key == nil) then
            misused(name, "\"tls.cert\" and \"tls.key\" belong together", level + 1)
        end
        local server_name = string_option(name, "tls.server_name", tls.server_name, level + 1)
        local ca = string_option(name, "tls.ca", tls.ca, level + 1)
        local cert = string_option(name, "tls.cert", tls.cert, level + 1)
        local key = string_option(name, "tls.key", tls.key, level + 1)
        return set_tls(call, tls.verify ~= false, server_name, ca, cert, key)
    end

    local function keepalive_option(name, call, keepalive, level)
        if keepalive == false then
            return set_keepalive(call, -1, 0)
        end
        if type(keepalive) ~= "table" then
            wrong_type(name, "keepalive", "table or false", keepalive, level + 1)
        end
        only(name, "keepalive.", keepalive, KEEPALIVE, level + 1)
        set_keepalive(call, amount(name, "keepalive.idle", keepalive.idle, level + 1),
            amount(name, "keepalive.size", keepalive.size, level + 1, true))
    end

    -- A value of a header as a string.
    local function header_value(name, key, value, level)
        local t = type(value)
        if t ~= "string" and t ~= "number" then
            wrong_type(name, "headers." .. key, "string, number or table of them", value, level + 1)
        end
        return tostring(value)
    end

    -- Adds the headers; false and why when one of them cannot be.
    local function headers_option(name, call, headers, level)
        if type(headers) ~= "table" then
            wrong_type(name, "headers", "table", headers, level + 1)
        end
        for key, value in pairs(headers) do
            if type(key) ~= "string" then
                misused(name, "bad \"headers\" option: names are strings, got " .. type(key), level + 1)
            end
            if type(value) == "table" then
                for _, one in ipairs(value) do
                    one = header_value(name, key, one, level + 1)
                    local ok, why = add_header(call, key, one)
                    if not ok then
                        return ok, why
                    end
                end
            else
                local ok, why = add_header(call, key, header_value(name, key, value, level + 1))
                if not ok then
                    return ok, why
                end
            end
        end
        return true
    end

    -- Sets the body; gives back the function that makes it, if it is one.
    local function body_option(name, call, body, level)
        local t = type(body)
        if t == "function" then
            return body
        end
        if t ~= "string" and t ~= "table" and t ~= "number" then
            wrong_type(name, "body", "string, table or function", body, level + 1)
        end
        local ok, why = set_body(call, body)
        if not ok then
            misused(name, "bad \"body\" option: " .. why, level + 1)
        end
    end

    -- The request if setting an option went well.
    local function checked(call, ok, why)
        if ok then
            return call
        end
        return nil, why
    end

    -- A request with all its options, and the function that makes its body; or nil and why there is none.
    local function prepare(name, options, level)
        local method = options.method == nil and "GET" or string_option(name, "method", options.method, level + 1)
        local url = options.url
        if type(url) ~= "string" then
            wrong_type(name, "url", "string", url, level + 1)
        end
        only(name, "", options, OPTIONS, level + 1)
        local redirects = amount(name, "redirects", options.redirects, level + 1, true)
        if redirects > 20 then
            misused(name, "bad \"redirects\" option: 20 at most", level + 1)
        end
        local max_body = amount(name, "max_body", options.max_body, level + 1, true)
        if options.stream ~= nil and type(options.stream) ~= "boolean" then
            wrong_type(name, "stream", "boolean", options.stream, level + 1)
        end
        local call, why = new(method, url)
        if not call then
            return nil, why
        end
        if max_body < 0 and options.stream then
            max_body = 2 ^ 53
        end
        set_limits(call, redirects, max_body)
        if options.timeout ~= nil then
            timeout_option(name, call, options.timeout, level + 1)
        end
        if options.tls ~= nil then
            call, why = checked(call, tls_option(name, call, options.tls, level + 1))
            if not call then
                return nil, why
            end
        end
        if options.keepalive ~= nil then
            keepalive_option(name, call, options.keepalive, level + 1)
        end
        if options.proxy then
            local proxy = string_option(name, "proxy", options.proxy, level + 1)
            call, why = checked(call, set_proxy(call, proxy))
            if not call then
                return nil, why
            end
        end
        if options.headers ~= nil then
            call, why = checked(call, headers_option(name, call, options.headers, level + 1))
            if not call then
                return nil, why
            end
        end
        if options.body == nil then
            return call
        end
        return call, body_option(name, call, options.body, level + 1)
    end

    local headers_meta = {
        __index = function(headers, key)
            if type(key) == "string" then
                return rawget(headers, (gsub(lower(key), "_", "-")))
            end
        end,
    }

    -- Sends what `make` makes, until it or the server has had enough; nil and why when it has failed.
    local function upload(call, make)
        local ok, why = begin(call)
        while ok do
            local chunk
            chunk, why = make()
            if chunk == nil then
                if why == nil then
                    return true
                end
                break
            end
            ok, why = write(call, chunk)
            if ok == false then
                return true
            end
        end
        close(call)
        return nil, why
    end

    local function run(call, make, streams)
        if make then
            local ok, why = upload(call, make)
            if not ok then
                return nil, why
            end
        end
        local response, why = send(call, streams)
        if not response then
            return nil, why
        end
        setmetatable(response.headers, headers_meta)
        if streams then
            response.reader = function()
                return read(call)
            end
            response.close = function()
                return close(call)
            end
        end
        return response
    end

    local M = { version = base.version }

    function M.request(options)
        check(yielding)
        if type(options) ~= "table" then
            error("bad argument #1 to 'request' (table expected, got " .. type(options) .. ")", 2)
        end
        local call, make = prepare("request", options, 2)
        if not call then
            return nil, make
        end
        return run(call, make, options.stream)
    end

    -- The options with what the shorter forms say beside them.
    local function with(options, method, url, body)
        local all = {}
        for key, value in pairs(options or all) do
            all[key] = value
        end
        all.method, all.url = method, url
        if body ~= nil then
            all.body = body
        end
        return all
    end

    local function wrong_argument(n, name, expected, value)
        local got = " expected, got " .. type(value)
        error("bad argument #" .. n .. " to '" .. name .. "' (" .. expected .. got .. ")", 3)
    end

    function M.get(url, options)
        check(yielding)
        if type(url) ~= "string" then
            wrong_argument(1, "get", "string", url)
        end
        if options ~= nil and type(options) ~= "table" then
            wrong_argument(2, "get", "table", options)
        end
        options = with(options, "GET", url)
        local call, make = prepare("get", options, 2)
        if not call then
            return nil, make
        end
        return run(call, make, options.stream)
    end

    function M.post(url, body, options)
        check(yielding)
        if type(url) ~= "string" then
            wrong_argument(1, "post", "string", url)
        end
        if options ~= nil and type(options) ~= "table" then
            wrong_argument(3, "post", "table", options)
        end
        options = with(options, "POST", url, body)
        local call, make = prepare("post", options, 2)
        if not call then
            return nil, make
        end
        return run(call, make, options.stream)
    end

    base.module("autoscale.http", M)
end
