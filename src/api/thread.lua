-- ngx.thread: threads of a script. Their coroutines are the driver's: what they wait for does not stop their parent.

local error = error
local rawequal = rawequal
local running = coroutine.running
local select = select
local type = type

return function(ngx, _, base)
    local check, wait, ops = base.check, base.wait, base.ops
    local yielding = base.yielding
    local threads = base.threads

    local thread = {}

    local function spawned(parent, co, number)
        if not co then
            return nil, "too many threads"
        end
        threads[co] = { number = number, parent = parent }
        return co
    end

    function thread.spawn(f, ...)
        check(yielding)
        if type(f) ~= "function" then
            local got = f == nil and "no value" or type(f)
            error("bad argument #1 to 'spawn' (function expected, got " .. got .. ")", 2)
        end
        return spawned(running(), wait(ops.thread_spawn, f, ...))
    end

    -- The thread that `co` is, if the caller may ask for its end.
    local function own(co, n, name)
        local found = threads[co]
        if not found then
            error("bad argument #" .. n .. " to '" .. name .. "' (user thread expected)", 3)
        end
        return found
    end

    local function ended(list, which, ...)
        list[which].gone = true
        return ...
    end

    local function ended_one(one, _, ...)
        one.gone = true
        return ...
    end

    local function wait_many(me, list, n, co, ...)
        local one = own(co, n, "wait")
        if not rawequal(one.parent, me) then
            error("only the parent coroutine can wait on the thread", 3)
        end
        list[n] = one
        if select("#", ...) > 0 then
            return wait_many(me, list, n + 1, ...)
        end
    end

    local unpack = unpack
    local function numbers(list)
        local result = {}
        for i, one in ipairs(list) do
            result[i] = one.number
        end
        return unpack(result)
    end

    function thread.wait(co, ...)
        check(yielding)
        local me = running()
        if select("#", ...) == 0 then
            local one = own(co, 1, "wait")
            if not rawequal(one.parent, me) then
                error("only the parent coroutine can wait on the thread", 2)
            end
            if one.gone then
                return nil, "already waited or killed"
            end
            return ended_one(one, wait(ops.thread_wait, one.number))
        end
        local list = {}
        wait_many(me, list, 1, co, ...)
        for i = 1, #list do
            if list[i].gone then
                return nil, "already waited or killed"
            end
        end
        return ended(list, wait(ops.thread_wait, numbers(list)))
    end

    function thread.kill(co)
        check(yielding)
        local one = own(co, 1, "kill")
        if not rawequal(one.parent, running()) then
            return nil, "killer not parent"
        end
        if one.gone then
            return nil, "already waited or killed"
        end
        local ok, err = wait(ops.thread_kill, one.number)
        if ok then
            one.gone = true
            return ok
        end
        return nil, err
    end

    ngx.thread = thread
end
