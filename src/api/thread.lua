-- ngx.thread: threads of a script. Their coroutines are the driver's: what they wait for does not stop their parent.

local error = error
local running = coroutine.running
local type = type

return function(ngx, _, base)
    local check, wait, ops = base.check, base.wait, base.ops
    local yielding = base.yielding
    local join, kill = base.classic.thread_wait, base.classic.thread_kill
    local WAIT, NOT_A_THREAD, NOT_YOURS = 1, -1, -2

    local thread = {}

    local function spawned(co)
        if not co then
            return nil, "too many threads"
        end
        return co
    end

    function thread.spawn(f, ...)
        check(yielding)
        if type(f) ~= "function" then
            local got = f == nil and "no value" or type(f)
            error("bad argument #1 to 'spawn' (function expected, got " .. got .. ")", 2)
        end
        return spawned(wait(ops.thread_spawn, running(), f, ...))
    end

    local reasons = {
        [-3] = "already waited or killed",
        [-4] = "already terminated",
        [-5] = "pending subrequests",
    }

    local function joined(first, ...)
        if first == WAIT then
            return wait(ops.prepared)
        end
        if type(first) == "boolean" then
            return first, ...
        end
        if first == NOT_A_THREAD then
            error("attempt to wait on a coroutine that is not a user thread", 2)
        end
        if first == NOT_YOURS then
            error("only the parent coroutine can wait on the thread", 2)
        end
        return nil, reasons[first]
    end

    function thread.wait(...)
        check(yielding)
        if ... == nil then
            error("at least one coroutine should be specified", 2)
        end
        return joined(join(...))
    end

    function thread.kill(co)
        check(yielding)
        local code = kill(co)
        if code == 0 then
            return 1
        end
        if code == NOT_A_THREAD then
            if type(co) ~= "thread" then
                error("bad argument #1 to 'kill' (lua thread expected)", 2)
            end
            return nil, "not user thread"
        end
        return nil, code == NOT_YOURS and "killer not parent" or reasons[code]
    end

    ngx.thread = thread
end
