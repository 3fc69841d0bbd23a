-- ngx.semaphore: scripts of one worker that wait for each other, of whatever request.

local error = error
local floor = math.floor
local setmetatable = setmetatable
local type = type

return function(_, native, base)
    local band = require("bit").band
    local new, free, count = native.semaphore_new, native.semaphore_free, native.semaphore_count
    local post, take = native.semaphore_post, native.semaphore_wait
    local gc, wait, prepared = base.gc, base.wait, base.ops.prepared
    local cur, yielding = base.cur, base.yielding
    local handle = base.new("as_handle[1]")
    local WAIT, TIMED_OUT = 2, 1

    local methods = {}
    local meta = { __index = methods }

    local function checked(self)
        if type(self) ~= "table" or not self.semaphore then
            error("not a semaphore object", 3)
        end
        return self.semaphore
    end

    function methods:post(n)
        local semaphore = checked(self)
        n = n or 1
        if type(n) ~= "number" or n < 1 or n ~= floor(n) then
            error("no resource: the number must be a positive integer", 2)
        end
        post(semaphore, n)
        return true
    end

    function methods:wait(seconds)
        local semaphore = checked(self)
        if type(seconds) ~= "number" or seconds < 0 or seconds ~= seconds then
            error("invalid timeout: a number of seconds, zero or more, is expected", 2)
        end
        if band(cur.phase, yielding) == 0 and seconds > 0 then
            error("API disabled in the context of " .. base.context(), 2)
        end
        local code = take(semaphore, seconds)
        if code == WAIT then
            return wait(prepared)
        end
        if code == TIMED_OUT then
            return nil, "timeout"
        end
        return true
    end

    function methods:count()
        return count(checked(self))
    end

    local M = { version = base.version }

    function M.new(n)
        n = n or 0
        if type(n) ~= "number" or n < 0 or n ~= floor(n) then
            error("no negative number", 2)
        end
        new(n, handle)
        return setmetatable({ semaphore = gc(handle[0].object, free) }, meta)
    end

    base.module("ngx.semaphore", M)
end
