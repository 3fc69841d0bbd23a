-- What many tests need inside nginx: to wait for what will be, to read what nginx has written, to change its files.
local M = {}

-- What f returns once that is true; false when it has not become so in 8 seconds, or in so many.
function M.wait_for(f, seconds)
    local deadline = ngx.now() + (seconds or 8)
    repeat
        local value = f()
        if value then return value end
        ngx.sleep(0.01)
    until ngx.now() > deadline
    return false
end

local function absolute(path)
    return path:sub(1, 1) == "/" and path or ngx.config.prefix() .. path
end

-- The text of a file, by its path or by its name in the server root; "" when there is none.
function M.read(path)
    local file = io.open(absolute(path))
    if not file then return "" end
    local text = file:read("*a")
    file:close()
    return text or ""
end

-- Gives a file another content, which a reader sees whole or not at all.
function M.write(path, ...)
    path = absolute(path)
    local file = assert(io.open(path .. ".new", "w"))
    assert(file:write(...))
    file:close()
    assert(os.rename(path .. ".new", path))
end

-- What a shell command says. One that fails is worth a line in the log, so that none does.
function M.sh(command)
    local pipe = io.popen("(" .. command .. ") 2>&1; true")
    local said = pipe:read("*a")
    pipe:close()
    return (said:gsub("%s+$", ""))
end

-- How often there is a pattern in a text.
function M.count(text, pattern)
    return select(2, text:gsub(pattern, ""))
end

-- How often there is `what` in a text, as it stands there.
function M.count_plain(text, what)
    return M.count(text, (what:gsub("%p", "%%%0")))
end

-- The different values of a list, in order and in one line.
function M.distinct(list)
    local seen, values = {}, {}
    for _, value in ipairs(list) do
        if not seen[value] then
            seen[value] = true
            values[#values + 1] = value
        end
    end
    table.sort(values)
    return table.concat(values, " ")
end

function M.error_log()
    return M.read("logs/error.log")
end

-- Whether a text is in the error log.
function M.is_logged(text)
    return M.error_log():find(text, 1, true) ~= nil
end

-- Whether it comes to be there.
function M.gets_logged(text, seconds)
    return M.wait_for(function() return M.is_logged(text) end, seconds)
end

-- The master's process id.
function M.master()
    return (M.read("logs/nginx.pid"):gsub("%s", ""))
end

-- Begins a reload.
function M.reload()
    os.execute("kill -HUP " .. M.master())
end

-- The peers of an upstream in their order, "a:up b:ejected"; names are by address.
function M.peer_states(upstream, names)
    local all = {}
    for peer in require("ngx.autoscale").peers(upstream) do
        all[#all + 1] = (names[peer.addr] or peer.addr) .. ":" .. peer.state
    end
    return table.concat(all, " ")
end

-- A new connection to the Redis of `AutoscaleLua::Daemon::redis`.
function M.new_redis(port)
    local red = require("nginx.redis"):new()
    assert(red:connect("127.0.0.1", port or 6379))
    return red
end

-- One connection for the whole request: who polls must not use up worker_connections.
function M.redis(port)
    local kept, key = ngx.ctx, "testing.redis:" .. (port or 6379)
    kept[key] = kept[key] or M.new_redis(port)
    return kept[key]
end

-- The process id of that Redis.
function M.redis_pid()
    return M.sh("pgrep -f 'redis-server 127.0.0.1:6379'")
end

return M
