-- ngx.now and ngx.time, dates, and what resty.core.time adds.

local error = error
local tonumber = tonumber
local type = type

return function(ngx, native, base)
    local str, text = base.str, base.text
    local update, now_text = native.time_update, native.time_text
    local http, cookie, parse = native.time_http, native.time_cookie, native.time_parse
    -- nginx moves the pointer on with each update
    local clock = base.cast("as_time * volatile *", base.boot.wall_clock)
    local msec = base.cast("volatile uintptr_t *", base.boot.msec)

    function ngx.now()
        local t = clock[0]
        return tonumber(t.sec) + tonumber(t.msec) / 1000
    end

    function ngx.time()
        return tonumber(clock[0].sec)
    end

    function ngx.update_time()
        update()
    end

    function ngx.today()
        now_text(0, str)
        return text(str)
    end

    function ngx.localtime()
        now_text(1, str)
        return text(str)
    end

    function ngx.utctime()
        now_text(2, str)
        return text(str)
    end

    function ngx.http_time(seconds)
        if type(seconds) ~= "number" then
            error("number argument only", 2)
        end
        http(seconds, str)
        return text(str)
    end

    function ngx.cookie_time(seconds)
        if type(seconds) ~= "number" then
            error("number argument only", 2)
        end
        cookie(seconds, str)
        return text(str)
    end

    function ngx.parse_http_time(s)
        if type(s) ~= "string" then
            error("string argument only", 2)
        end
        local seconds = parse(s, #s)
        if seconds ~= seconds then
            return nil
        end
        return seconds
    end

    local M = { version = base.version }

    -- Milliseconds of a clock that never goes back.
    function M.monotonic_msec()
        return tonumber(msec[0])
    end

    function M.monotonic_time()
        return tonumber(msec[0]) / 1000
    end

    base.module("resty.core.time", M)
end
