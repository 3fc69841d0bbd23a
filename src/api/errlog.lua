-- ngx.errlog: the lines that lua_capture_error_log kept, and the error log as it is.

local error = error
local tonumber = tonumber
local type = type

return function(_, native, base)
    local int, num, str, text = base.int, base.num, base.str, base.text
    local take, log_takes, log_write = native.errlog_take, native.log_takes, native.log_write

    local errlog = { version = base.version }
    base.module("ngx.errlog", errlog)

    local NOT_SET = "directive \"lua_capture_error_log\" is not set"

    function errlog.set_filter_level(level)
        if not level then
            return nil, "missing \"level\" argument"
        end
        local number = tonumber(level)
        if not number then
            error("bad argument #1 to 'set_filter_level' (number expected, got " .. type(level) .. ")", 2)
        end
        local rc = native.errlog_filter(number)
        if rc == -1 then
            return nil, NOT_SET
        end
        if rc ~= 0 then
            return nil, "bad log level: " .. level
        end
        return true
    end

    -- level, time and text of up to `max` lines, oldest first, flat in one table
    function errlog.get_logs(max, logs)
        max = max or 10
        logs = logs or {}
        local n = 0
        for _ = 1, max do
            local rc = take(int, num, str)
            if rc < 0 then
                return nil, NOT_SET
            end
            if rc == 0 then
                break
            end
            logs[n + 1], logs[n + 2], logs[n + 3] = int[0], num[0], text(str)
            n = n + 3
        end
        logs[n + 1] = nil
        return logs
    end

    function errlog.get_sys_filter_level()
        return native.errlog_level()
    end

    function errlog.raw_log(level, message)
        if type(level) ~= "number" then
            error("bad argument #1 to 'raw_log' (must be a number)", 2)
        end
        if type(message) ~= "string" then
            error("bad argument #2 to 'raw_log' (must be a string)", 2)
        end
        if log_takes(level) < 0 then
            error("bad log level", 2)
        end
        log_write(level, message, #message)
    end
end
