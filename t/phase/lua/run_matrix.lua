-- Runs rows of the matrix and keeps what they answered in the shared dictionary `matrix_seen`.

local matrix = require "matrix"
local seen = ngx.shared.matrix_seen

local M = {}

local function text(ok, ...)
    if not ok then
        -- the place must be the line of the call
        return "error: " .. tostring((...)):gsub("^%S*/matrix%.lua:%d+: ", "")
    end
    local list = { n = select("#", ...), ... }
    for i = 1, list.n do
        list[i] = tostring(list[i])
    end
    return table.concat(list, ", ", 1, list.n)
end

local function answer(row)
    return text(pcall(row.call))
end

-- One row, in a phase of a request that names it; a filter is entered several times, its first run counts.
function M.one(phase)
    local number = tonumber(ngx.var.arg_row)
    local row = number and matrix.rows[number]
    local key = phase .. " " .. tostring(number)
    if not row or ngx.var.arg_phase ~= phase or not seen:add(key, "ended") then
        return
    end
    seen:set(key, answer(row))
end

-- One row, in a handshake whose server's name says which.
function M.shaking(phase)
    local of, number = (require("ngx.ssl").server_name() or ""):match("^([%w_]+)%.(%d+)%.matrix$")
    local row = of == phase and matrix.rows[tonumber(number)]
    local key = phase .. " " .. tostring(number)
    if row and seen:add(key, "ended") then
        seen:set(key, answer(row))
    end
end

-- Shakes hands with a server whose name says which row is to be run.
function M.shake(phase, number)
    local sock = ngx.socket.tcp()
    sock:settimeout(5000)
    if sock:connect("127.0.0.1", matrix.tls_port) then
        sock:sslhandshake(nil, phase .. "." .. number .. ".matrix", false)
        sock:close()
    end
    ngx.say("shaken")
end

-- All rows, in a phase without a request; kept at once, so that nobody reads a half of it.
function M.all(phase)
    local lines = {}
    for _, row in ipairs(matrix.rows) do
        if not row.expected[phase]:find("^skip: ") then
            lines[#lines + 1] = row.name .. "\t" .. answer(row)
        end
    end
    seen:set(phase .. " " .. ngx.worker.pid(), table.concat(lines, "\n"))
end

-- All rows, each in a timer of its own, because some end it; and what came of them when they had the time to end.
function M.all_in_timers()
    local outcomes = {}
    local start
    function start(i)
        local row = matrix.rows[i]
        if not row then
            -- the slowest row waits for an answer of this very worker
            assert(ngx.timer.at(0.5, function()
                local lines = {}
                for name, outcome in pairs(outcomes) do
                    lines[#lines + 1] = name .. "\t" .. outcome
                end
                seen:set("timer " .. ngx.worker.pid(), table.concat(lines, "\n"))
            end))
            return
        end
        assert(ngx.timer.at(0, function(early)
            if early then
                return
            end
            start(i + 1)
            if not row.expected.timer:find("^skip: ") then
                outcomes[row.name] = "ended"
                outcomes[row.name] = answer(row)
            end
        end))
    end
    start(1)
end

-- What there is to run: NUMBER NAME PHASE EXPECTED, by tabs.
function M.plan()
    for i, row in ipairs(matrix.rows) do
        for _, phase in ipairs(matrix.phases) do
            ngx.say(i, "\t", row.name, "\t", phase, "\t", row.expected[phase])
        end
    end
end

-- What was seen in `phase`: NUMBER OUTCOME of a request's, NAME OUTCOME of another's.
function M.answers(phase)
    for _, key in ipairs(seen:get_keys(0)) do
        local of, number = key:match("^(%S+) (%d+)$")
        if of == phase then
            local value = seen:get(key)
            ngx.say(value:find("\t") and value or number .. "\t" .. value)
        end
    end
end

-- Forgets what was seen in `phase`.
function M.forget(phase)
    for _, key in ipairs(seen:get_keys(0)) do
        if key:match("^(%S+) ") == phase then
            seen:delete(key)
        end
    end
    ngx.say("forgotten")
end

-- What a result says of a phase that an API does not work in.
local function is_refusal(result)
    return result:find("API disabled", 1, true) or result:find("no request found", 1, true)
        or result:find("no upstream found", 1, true)
end

-- APIs without a row, rows without an API, and phases in which an API should work but is refused.
function M.gaps()
    local found = require("surface")()
    for name in pairs(found) do
        if not matrix.index[name] then
            ngx.say("no row for ", name)
        end
    end
    for name in pairs(matrix.index) do
        -- the first call of os.getenv in a worker puts LuaJIT's own back
        if not found[name] and name ~= "os.getenv" then
            ngx.say("a row for ", name, ", which is not there")
        end
    end
    for name, phases in pairs(require "documented") do
        for _, phase in ipairs(phases) do
            if is_refusal(matrix.index[name].expected[phase]) then
                ngx.say(name, " should work in ", phase)
            end
        end
    end
    ngx.say("looked")
end

-- How many APIs there are, and how many of them some phase refuses.
function M.count()
    local refused = 0
    for _, row in ipairs(matrix.rows) do
        for _, result in pairs(row.expected) do
            if is_refusal(result) then
                refused = refused + 1
                break
            end
        end
    end
    ngx.say(#matrix.rows, " APIs, ", refused, " of them refused in some phase")
end

return M
