-- Requests to this very server that come to an autoscale_protect, and what its queue has. The server has
-- `location = /status` with autoscale_status json; the upstream is called app.
local testing = require "testing"

local M = {}

-- asks this very server: status, body, seconds, header of the answer
function M.get(path, more)
    more = more or {}
    local began = ngx.now()
    local sock = ngx.socket.tcp()
    sock:settimeout(more.timeout or 5000)
    assert(sock:connect("127.0.0.1", more.port or tonumber(ngx.var.server_port)))
    local body = more.body or ""
    sock:send((more.method or (body ~= "" and "POST" or "GET")) .. " " .. path .. " HTTP/1.0\r\nHost: x\r\n"
        .. (body ~= "" and "Content-Length: " .. #body .. "\r\n" or "") .. (more.header or "") .. "\r\n" .. body)
    if more.hang_up then
        ngx.sleep(more.hang_up)
        sock:close()
        return "gone"
    end
    local answer, err, part = sock:receive("*a")
    sock:close()
    ngx.update_time()
    answer = answer or part or err
    local head, rest = answer:match("^(.-)\r\n\r\n(.*)$")
    return (head or ""):match("^HTTP/1%.%d (%d+)"), (rest or answer):gsub("%s+$", ""), ngx.now() - began, head
end

-- asks for each at its time: {seconds, path, more}; the results in their order
function M.all(list)
    local threads, results = {}, {}
    for i, one in ipairs(list) do
        threads[i] = ngx.thread.spawn(function()
            ngx.sleep(one[1])
            results[i] = { M.get(one[2], one[3]) }
        end)
    end
    for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
    return results
end

function M.statuses(results)
    local list = {}
    for i, r in ipairs(results) do list[i] = r[1] end
    return table.concat(list, " ")
end

-- Begins a request whose result is the next one of the list, as M.all has them.
function M.begin(list, path, more)
    local one = {}
    list[#list + 1] = one
    one.thread = ngx.thread.spawn(function() one[1], one[2], one[3], one[4] = M.get(path, more) end)
    return one
end

-- Returns once one of them has its answer.
function M.is_over(one)
    assert(testing.wait_for(function() return one[1] end), "no answer, or a late one")
end

-- Waits for all of them.
function M.finish(list)
    for _, one in ipairs(list) do ngx.thread.wait(one.thread) end
    return list
end

-- what the upstream has: in flight, not answered yet, in the queue
function M.levels()
    local _, body = M.get("/status")
    return body:match('"name":"app",("active":%d+,"waiting":%d+,"queued":%d+)')
end

-- nothing waits, nothing is in flight
function M.left()
    local is_empty = function() return M.levels() == '"active":0,"waiting":0,"queued":0' end
    return testing.wait_for(is_empty, 2) and "nothing left" or M.levels()
end

-- returns once so many are in flight and so many in the queue
function M.comes_to(active, queued)
    local function is_so()
        return M.levels():find('"active":' .. active .. ",.*\"queued\":" .. queued .. "$")
    end
    assert(testing.wait_for(is_so), "it is " .. M.levels())
end

return M
