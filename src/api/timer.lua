-- ngx.timer: functions that the event loop calls later, outside of any request.

local error = error
local select = select
local tonumber = tonumber
local type = type

return function(ngx, native, base)
    local add = base.classic.timer_add
    local pending, running = native.timer_pending, native.timer_running
    local init, exit_worker = base.phases("init"), base.phases("exit_worker")
    local band = require("bit").band
    local cur = base.cur

    local function checked(name, n, delay, f)
        if n < 2 then
            error("expecting at least 2 arguments but got " .. n, 3)
        end
        delay = tonumber(delay) or delay
        if type(delay) ~= "number" then
            error("bad argument #1 to '" .. name .. "' (number expected, got " ..
                  (delay == nil and "nil" or type(delay)) .. ")", 3)
        end
        if delay < 0 or delay ~= delay then
            error("bad argument #1 to '" .. name .. "' (delay cannot be negative)", 3)
        end
        if type(f) ~= "function" then
            error("bad argument #2 to '" .. name .. "' (Lua function expected)", 3)
        end
        if band(cur.phase, init) ~= 0 then
            error("no request found", 3)
        end
        if band(cur.phase, exit_worker) ~= 0 then
            error("API disabled in the context of " .. base.context(), 3)
        end
        return delay
    end

    local timer = {}

    function timer.at(...)
        local delay = checked("at", select("#", ...), ...)
        return add(delay * 1000, false, select(2, ...))
    end

    function timer.every(...)
        local delay = checked("every", select("#", ...), ...)
        if delay == 0 then
            error("bad argument #1 to 'every' (delay cannot be zero)", 2)
        end
        return add(delay * 1000, true, select(2, ...))
    end

    function timer.pending_count()
        return pending()
    end

    function timer.running_count()
        return running()
    end

    ngx.timer = timer
end
