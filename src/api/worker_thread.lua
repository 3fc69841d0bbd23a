-- ngx.run_worker_thread: a function of a module, in a thread of an nginx thread pool.

local package = package
local select = select
local tostring = tostring
local type = type

return function(ngx, _, base)
    local check, yielding = base.check, base.yielding
    local wait, ops = base.wait, base.ops

    local function is_text(value)
        local t = type(value)
        return t == "string" or t == "number"
    end

    function ngx.run_worker_thread(...)
        check(yielding)
        if select("#", ...) < 3 then
            return false, "expecting at least 3 arguments"
        end
        local pool, module, name = ...
        if not is_text(pool) then
            return false, "threadpool should be a string"
        end
        if not is_text(module) then
            return false, "module name should be a string"
        end
        if not is_text(name) then
            return false, "function name should be a string"
        end
        return wait(ops.worker_thread, tostring(pool), tostring(module), tostring(name), package.path, package.cpath,
                    select(4, ...))
    end
end
