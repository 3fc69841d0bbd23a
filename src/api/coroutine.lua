-- coroutine.*: an operation yielded inside a user's coroutine is passed on, level by level, to the driver, and its
-- results come back the same way. In phases that cannot wait, everything is Lua's own.

local co_create, co_resume, co_status = coroutine.create, coroutine.resume, coroutine.status
local co_running, co_wrap, co_yield = coroutine.running, coroutine.wrap, coroutine.yield
local coroutine = coroutine
local error = error
local rawequal = rawequal
local setmetatable = setmetatable
local traceback = debug.traceback
local gsub = string.gsub

return function(_, _, base)
    local band = require("bit").band
    local cur = base.cur
    local tag = base.tag
    local yielding = base.yielding

    local state = base.classic.thread_state
    -- of a thread of ngx.thread: for others it runs until it has ended, and then until somebody has waited for it
    local states = { "running", "zombie", "dead" }

    -- What other threads find of the coroutines between a thread and what it waits for: the last one waits, and counts
    -- as running, the others wait for it. To Lua all of them are suspended.
    local amid = setmetatable({}, { __mode = "k" })

    function coroutine.status(co)
        if cur.threads ~= 0 then
            local of_thread = states[state(co)]
            if of_thread == nil or of_thread == "running" then
                return amid[co] or of_thread or co_status(co)
            end
            return of_thread
        end
        return co_status(co)
    end

    -- Lua takes a coroutine that waits for another one for a running one.
    local function refused(co, err, ...)
        if err == "cannot resume running coroutine" and co_status(co) == "normal" then
            return false, "cannot resume normal coroutine"
        end
        return false, err, ...
    end

    local relay

    -- The wait of `me`, which passes on what `co` waits for, is over.
    local function waited(me, co, ...)
        amid[me] = nil
        if amid[co] == "running" then
            amid[co] = nil
        end
        return relay(co, co_resume(co, ...))
    end

    function relay(co, ok, ...)
        if ok then
            if (...) == tag then
                if cur.threads ~= 0 then
                    local me = co_running()
                    amid[me], amid[co] = "normal", amid[co] or "running"
                    return waited(me, co, co_yield(...))
                end
                return relay(co, co_resume(co, co_yield(...)))
            end
            return ok, ...
        end
        return refused(co, ...)
    end

    -- Why another thread must not resume `co`, if so.
    local function busy(co)
        local doing = states[state(co)]
        if doing == nil or doing == "running" then
            doing = amid[co] or doing
        end
        return doing and "cannot resume " .. doing .. " coroutine"
    end

    function coroutine.resume(co, ...)
        if cur.threads ~= 0 then
            local refusal = busy(co)
            if refusal then
                return false, refusal
            end
        end
        return relay(co, co_resume(co, ...))
    end

    -- What the driver logs of the coroutines that an error has passed through on its way up: the error, their
    -- tracebacks, how many.
    local wrapped = { "", "", 0 }
    base.wrapped = wrapped

    local function note(co, err)
        if not rawequal(wrapped[1], err) then
            wrapped[1], wrapped[2], wrapped[3] = err, "", 0
        end
        local frames = gsub(traceback(co), "^[^\n]*\n", "")
        wrapped[2] = wrapped[2] .. "coroutine " .. wrapped[3] .. ":\n" .. frames .. "\n"
        wrapped[3] = wrapped[3] + 1
    end

    local function unwrap(co, ok, ...)
        if ok then
            return ...
        end
        note(co, (...))
        error((...), 0)
    end

    function coroutine.wrap(f)
        if band(cur.phase, yielding) == 0 then
            return co_wrap(f)
        end
        local co = co_create(f)
        return function(...)
            if cur.threads ~= 0 and amid[co] then
                error("cannot resume " .. amid[co] .. " coroutine", 2)
            end
            return unwrap(co, relay(co, co_resume(co, ...)))
        end
    end

    -- the untouched functions, for those who know that nothing inside waits
    coroutine._create, coroutine._resume, coroutine._status = co_create, co_resume, co_status
    coroutine._wrap, coroutine._yield = co_wrap, co_yield
    -- and ours, by the names that libraries for OpenResty know them
    for _, name in ipairs { "create", "resume", "status", "wrap", "yield" } do
        coroutine["__" .. name] = coroutine[name]
    end
end
