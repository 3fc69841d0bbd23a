-- ngx.exit, ngx.sleep.

local error = error
local type = type

return function(ngx, native, base)
    local band = require("bit").band
    local check = base.check
    local wait = base.wait
    local ops = base.ops
    local cur = base.cur
    local yielding = base.yielding
    local can_exit = yielding + base.phases("header_filter", "balancer")
    local exit_later = native.exit_later

    function ngx.exit(code)
        check(can_exit)
        if type(code) ~= "number" then
            error("bad argument #1 to 'exit' (number expected, got " .. (code == nil and "nil" or type(code)) .. ")", 2)
        end
        if band(cur.phase, yielding) ~= 0 then
            return wait(ops.exit, code)
        end
        exit_later(code)
    end

    function ngx.sleep(seconds)
        check(yielding)
        seconds = base.to_number(seconds, 1, "sleep")
        if seconds < 0 then
            error("invalid sleep duration \"" .. seconds .. "\"", 2)
        end
        wait(ops.sleep, seconds * 1000)
    end
end
