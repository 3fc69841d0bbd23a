-- Constants, ngx.ctx, ngx.get_phase.

local error = error
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
    local handshake_slot = native.ssl_ctx_slot

    -- ngx.ctx: one table per request, in a slot that the request's end frees
    local slots = base.ctx_slots

    -- A slot for the table of whoever is to release it.
    function base.new_ctx_slot(table)
        local slot = slots[0]
        if slot == 0 then
            slot = #slots + 1
        else
            slots[0] = slots[slot]
        end
        slots[slot] = table
        return slot
    end
    local new_ctx_slot = base.new_ctx_slot

    local function new_slot(table)
        cur.host.ctx_slot = new_ctx_slot(table)
    end

    -- Scripts that start and stop a worker have a table of their own.
    local init = base.phases("init")
    local lone, lone_phase

    local function lone_ctx(level)
        if cur.phase == init then
            error("no request found", level)
        end
        if lone_phase ~= cur.phase then
            lone, lone_phase = {}, cur.phase
        end
        return lone
    end

    -- `given` becomes the request's table if it has none yet
    local function get_ctx(given)
        local host = cur.host
        if host == null then
            return lone_ctx(2)
        end
        local slot = host.ctx_slot
        if slot ~= 0 then
            return slots[slot]
        end
        local table = given or {}
        -- what scripts kept while the client shook hands shows through
        local shaken = cur.req ~= null and handshake_slot() or 0
        if shaken ~= 0 then
            setmetatable(table, { __index = slots[shaken] })
        end
        new_slot(table)
        return table
    end
    base.getters.ctx = get_ctx
    base.get_ctx = get_ctx

    function base.setters.ctx(table)
        if type(table) ~= "table" then
            error("ctx should be a table while getting a " .. type(table), 2)
        end
        local host = cur.host
        if host == null then
            lone_ctx(3)
            lone = table
            return
        end
        local slot = host.ctx_slot
        if slot ~= 0 then
            slots[slot] = table
        else
            new_slot(table)
        end
    end

    local phase_name = base.phase_name
    function ngx.get_phase()
        return phase_name() or "init"
    end
end
