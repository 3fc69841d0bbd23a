-- coroutine.*: an operation yielded inside a user's coroutine is passed on, level by level, to the driver, and its
-- results come back the same way. Everything else stays Lua's own.

local co_resume, co_yield, co_create, co_wrap = coroutine.resume, coroutine.yield, coroutine.create, coroutine.wrap
local error = error

return function(_, _, base)
    local tag = base.tag

    local function relay(co, ok, first, ...)
        if ok and first == tag then
            return relay(co, co_resume(co, co_yield(first, ...)))
        end
        return ok, first, ...
    end

    function coroutine.resume(co, ...)
        return relay(co, co_resume(co, ...))
    end

    local function unwrap(ok, first, ...)
        if ok then
            return first, ...
        end
        error(first, 0)
    end

    function coroutine.wrap(f)
        local co = co_create(f)
        return function(...)
            return unwrap(relay(co, co_resume(co, ...)))
        end
    end

    -- the untouched functions, for those who know that nothing inside waits
    coroutine._resume, coroutine._wrap = co_resume, co_wrap
end
