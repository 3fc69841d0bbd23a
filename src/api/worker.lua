-- ngx.worker, ngx.process, and os.getenv before the environment is set.

local error = error
local os = os
local type = type

return function(ngx, native, base)
    local cur = base.cur
    local int = base.int
    local getenv = os.getenv

    local worker = {}
    ngx.worker = worker

    local exiting, pid, id, count = native.worker_exiting, native.worker_pid, native.worker_id, native.worker_count

    function worker.exiting()
        return exiting() ~= 0
    end

    function worker.pid()
        return pid()
    end

    function worker.id()
        local n = id()
        if n < 0 then
            return nil
        end
        return n
    end

    function worker.count()
        return count()
    end

    local int_array = base.array("int32_t[?]")
    local before_workers = base.phases("init", "init_worker")
    local band = require("bit").band

    function worker.pids()
        if band(cur.phase, before_workers) ~= 0 then
            return nil, "API disabled in the current context"
        end
        local n = native.worker_pids(int, 0)
        local buffer = int_array(n)
        n = native.worker_pids(buffer, n)
        local list = {}
        for i = 1, n do
            list[i] = buffer[i - 1]
        end
        return list
    end

    local kinds = { [0] = "single", "master", "signaller", "worker", "helper" }
    local process = { version = base.version }
    base.module("ngx.process", process)

    function process.type()
        return kinds[native.process_kind()]
    end

    function process.get_master_pid()
        return native.process_master_pid()
    end

    function process.signal_graceful_exit()
        native.process_quit()
    end

    function process.enable_privileged_agent(connections)
        if base.phase_name() ~= "init" then
            return nil, "API disabled in the current context"
        end
        if connections ~= nil and (type(connections) ~= "number" or connections < 0) then
            return nil, "bad 'connections' argument: number expected and greater than 0"
        end
        return nil, "missing privileged agent process patch in the nginx core"
    end

    -- The environment of `env` directives is set after init_by_lua has run; there it is looked up in the configuration.
    local str = base.str
    local init = base.phases("init")

    function os.getenv(name)
        if cur.phase ~= init then
            os.getenv = getenv
            return getenv(name)
        end
        if type(name) ~= "string" then
            error("bad argument #1 to 'getenv' (string expected, got " .. type(name) .. ")", 2)
        end
        if native.process_env(name, #name, str) == 1 then
            return base.text(str)
        end
        return getenv(name)
    end
end
