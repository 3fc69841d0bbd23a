-- Other nginx beside the one that runs the test, made by `AutoscaleLua::Gateways` and called by their names.
-- Blocks start and stop them; what still runs dies with the file's namespace.
local testing = require "testing"

local M = {}

local function file(name, what)
    return M.dirs .. "/" .. name .. "/logs/" .. what
end

function M.log(name) return testing.read(file(name, "error.log")) end
function M.forget_log(name) os.remove(file(name, "error.log")) end
function M.logged(name, text) return M.log(name):find(text, 1, true) ~= nil end
function M.count(name, pattern) return testing.count(M.log(name), pattern) end

-- The process that a pid file names, the master's if none is said; and the master's workers, one a line.
function M.master(name, pid_file) return (testing.read(file(name, pid_file or "pid")):gsub("%s", "")) end
function M.workers(name) return testing.sh("pgrep -P " .. M.master(name)) end

-- Sends a signal to the workers.
function M.signal(name, what)
    testing.sh("kill -" .. what .. " " .. M.workers(name):gsub("%s+", " "))
end

function M.is_gone(pid) return testing.sh("kill -0 " .. pid) ~= "" end

-- Starts one. It does not get this nginx's own sockets, which would be found in use when this one is gone, and
-- is called by its whole name, which a new binary is found by.
function M.start(name)
    local dir = M.dirs .. "/" .. name
    local closed = [[for fd in /proc/$$/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval "exec $fd>&-"; done]]
    local begun = ([[exec "$(type -P nginx)" -p %s/ -e logs/error.log -c %s/nginx.conf]]):format(dir, dir)
    os.execute("bash -c '" .. closed .. "\n" .. begun .. "' >/dev/null 2>&1 </dev/null")
end

-- Stops one, in good order if nothing else is said; whether it is gone in five seconds.
function M.stop(name, signal)
    local pid = M.master(name)
    testing.sh("kill -" .. (signal or "QUIT") .. " " .. pid)
    return testing.wait_for(function() return M.is_gone(pid) end, 5)
end

return M
