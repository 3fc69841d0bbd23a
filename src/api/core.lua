-- Constants, ngx.ctx, ngx.get_phase, ngx.log.

local debug_getinfo = debug.getinfo
local concat = table.concat
local error = error
local getmetatable = getmetatable
local select = select
local tostring = tostring
local type = type

return function(ngx, native, base)
    ngx.OK, ngx.ERROR, ngx.AGAIN, ngx.DONE, ngx.DECLINED = 0, -1, -2, -4, -5
    ngx.null = base.boot.null

    local levels = { "STDERR", "EMERG", "ALERT", "CRIT", "ERR", "WARN", "NOTICE", "INFO", "DEBUG" }
    for i, name in ipairs(levels) do
        ngx[name] = i - 1
    end

    local methods = {
        GET = 2, HEAD = 4, POST = 8, PUT = 16, DELETE = 32, MKCOL = 64, COPY = 128, MOVE = 256, OPTIONS = 512,
        PROPFIND = 1024, PROPPATCH = 2048, LOCK = 4096, UNLOCK = 8192, PATCH = 16384, TRACE = 32768,
    }
    for name, bit in pairs(methods) do
        ngx["HTTP_" .. name] = bit
    end

    local statuses = {
        CONTINUE = 100, SWITCHING_PROTOCOLS = 101, OK = 200, CREATED = 201, ACCEPTED = 202, NO_CONTENT = 204,
        PARTIAL_CONTENT = 206, SPECIAL_RESPONSE = 300, MOVED_PERMANENTLY = 301, MOVED_TEMPORARILY = 302,
        SEE_OTHER = 303, NOT_MODIFIED = 304, TEMPORARY_REDIRECT = 307, PERMANENT_REDIRECT = 308, BAD_REQUEST = 400,
        UNAUTHORIZED = 401, PAYMENT_REQUIRED = 402, FORBIDDEN = 403, NOT_FOUND = 404, NOT_ALLOWED = 405,
        NOT_ACCEPTABLE = 406, REQUEST_TIMEOUT = 408, CONFLICT = 409, GONE = 410, UPGRADE_REQUIRED = 426,
        TOO_MANY_REQUESTS = 429, CLOSE = 444, ILLEGAL = 451, INTERNAL_SERVER_ERROR = 500, NOT_IMPLEMENTED = 501,
        METHOD_NOT_IMPLEMENTED = 501, BAD_GATEWAY = 502, SERVICE_UNAVAILABLE = 503, GATEWAY_TIMEOUT = 504,
        VERSION_NOT_SUPPORTED = 505, INSUFFICIENT_STORAGE = 507,
    }
    for name, code in pairs(statuses) do
        ngx["HTTP_" .. name] = code
    end

    local cur, null = base.cur, base.null

    -- ngx.ctx: one table per request, in a slot that the request's end frees
    local slots = base.ctx_slots

    local function new_slot(table)
        local slot = slots[0]
        if slot == 0 then
            slot = #slots + 1
        else
            slots[0] = slots[slot]
        end
        slots[slot] = table
        cur.req.ctx_slot = slot
    end

    function base.getters.ctx()
        if cur.req == null then
            error("no request ctx found", 3)
        end
        local slot = cur.req.ctx_slot
        if slot ~= 0 then
            return slots[slot]
        end
        local table = {}
        new_slot(table)
        return table
    end

    function base.setters.ctx(table)
        if type(table) ~= "table" then
            error("bad argument #-1 to '?' (table expected, got " .. type(table) .. ")", 3)
        end
        if cur.req == null then
            error("no request ctx found", 3)
        end
        local slot = cur.req.ctx_slot
        if slot ~= 0 then
            slots[slot] = table
        else
            new_slot(table)
        end
    end

    local phase_name = base.phase_name
    function ngx.get_phase()
        return phase_name() or error("no request found", 2)
    end

    -- One argument of ngx.log as text.
    local function text(value, n)
        local t = type(value)
        if t == "string" or t == "number" then
            return value
        end
        if t == "nil" or t == "boolean" then
            return tostring(value)
        end
        if t == "table" then
            local meta = getmetatable(value)
            if meta and meta.__tostring then
                return tostring(value)
            end
            error("bad argument #" .. n .. " to 'log' (expected table to have __tostring metamethod)", 4)
        end
        if value == ngx.null then
            return "null"
        end
        error("bad argument #" .. n .. " to 'log' (string, number, boolean, or nil expected, got " .. t .. ")", 4)
    end

    local log_takes, log_write = native.log_takes, native.log_write

    local function log(level, first, ...)
        -- the caller's caller: the line that the user wrote
        local info = debug_getinfo(3, "Sln")
        local parts = { "[lua] ", info and info.short_src:match("[^/]*$") or "?", ":", info and info.currentline or 0, ": " }
        local name = info and info.name
        if name then
            parts[5] = ": " .. name .. "(): "
        end
        for i = 1, select("#", ...) do
            parts[#parts + 1] = text((select(i, ...)), first + i - 1)
        end
        local message = concat(parts)
        log_write(level, message, #message)
    end

    function ngx.log(level, ...)
        if type(level) ~= "number" then
            error("bad argument #1 to 'log' (number expected, got " .. (level == nil and "no value" or type(level)) .. ")", 2)
        end
        local takes = log_takes(level)
        if takes < 0 then
            error("bad argument #1 to 'log' (bad log level: " .. level .. ")", 2)
        end
        if takes == 1 then
            log(level, 2, ...)
        end
    end

    function _G.print(...)
        if log_takes(6) == 1 then
            log(6, 1, ...)
        end
    end
end
