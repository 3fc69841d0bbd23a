-- require "ngx.autoscale", limits by key: as.admit and as.settle.
--
-- A limit is named (autoscale_limit) or described in the call:
--
--   as.admit{ key = tenant, limit = "NAME" }
--   as.admit{ key = tenant, rate = "100/s", burst = 50 }          a leaky bucket; burst beyond the one that is due
--   as.admit{ key = { tenant, route }, window = "1m", limit = 1000, cost = tokens }
--   as.admit{ key = tenant, concurrency = 20 }
--
-- `ticket, waited` when it is let in; `nil, err, retry_after` when it is not: "rejected", "timeout" (after max_wait),
-- "too large" (it costs more than there ever is), "no memory". With max_wait it waits, in phases that may wait.

local concat = table.concat
local error = error
local floor = math.floor
local pairs = pairs
local tostring = tostring
local type = type

return function(_, native, base)
    local band = require("bit").band
    local admit_limit, admit_take, admit_settle = native.admit_limit, native.admit_take, native.admit_settle
    local queue, sleep = base.classic.admit_queue, base.classic.admit_sleep
    local cur, yielding = base.cur, base.yielding
    local out, text = base.str, base.text
    local values = base.new("double[2]")
    local M = base.autoscale

    local QUEUES, WAITS, REJECTED, TOO_LARGE, FULL = 1, 2, -1, -3, -4
    local MOST = 1e9

    local function bad(name, expected, value, level)
        error("bad option " .. name .. " (" .. expected .. " expected, got "
              .. (type(value) == "number" and tostring(value) or type(value)) .. ")", level or 4)
    end

    local function whole(name, value, least, most, level)
        if type(value) ~= "number" or not (value >= least and value <= most) or floor(value) ~= value then
            bad(name, "a whole number from " .. least .. " to " .. most, value, level or 4)
        end
        return value
    end

    -- The numbers of limits, by what describes them: of { kind, first, second }. Their number is bounded by the module.
    local named, rates, windows, concurrencies = {}, {}, {}, {}
    local counted = 0

    local function learn(what, first, second)
        if type(first) == "number" then
            first = tostring(first)
        end
        local number = admit_limit(what, first, #first, second, out)
        if number < 0 then
            return nil, text(out)
        end
        if counted >= 8192 then
            named, rates, windows, concurrencies, counted = {}, {}, {}, {}, 0
        end
        counted = counted + 1
        return number
    end

    -- Only what is known to be a limit is kept. The tables are looked up after `learn`, which may have begun anew.
    local function learn_pair(what, first, second)
        local number, err = learn(what, first, second)
        if not number then
            return nil, err
        end
        local all = what == 1 and rates or windows
        local numbers = all[first] or {}
        all[first], numbers[second] = numbers, number
        return number
    end

    local OPTIONS = { key = true, cost = true, priority = true, max_wait = true, limit = true, rate = true,
        burst = true, window = true, concurrency = true }

    local function text_or_number(name, value)
        local t = type(value)
        if t ~= "string" and t ~= "number" or value ~= value then
            bad(name, "a string or a number", value, 5)
        end
        return value
    end

    -- The limit of options that are new; the fast path is in `admit`.
    local function find(options)
        for name in pairs(options) do
            if not OPTIONS[name] then
                error("unknown option " .. tostring(name), 3)
            end
        end
        local limit, rate, window, concurrency = options.limit, options.rate, options.window, options.concurrency
        if rate ~= nil then
            if window ~= nil or concurrency ~= nil or limit ~= nil then
                error("rate goes with burst: write one kind of limit", 3)
            end
            local burst = options.burst == nil and 0 or whole("burst", options.burst, 0, MOST, 5)
            return learn_pair(1, text_or_number("rate", rate), burst)
        end
        if options.burst ~= nil then
            error("burst goes with rate", 3)
        end
        if window ~= nil then
            if concurrency ~= nil then
                error("window goes with limit: write one kind of limit", 3)
            end
            whole("limit", limit, 1, 134217727, 5)
            return learn_pair(2, text_or_number("window", window), limit)
        end
        if concurrency ~= nil then
            if limit ~= nil then
                error("concurrency goes alone: write one kind of limit", 3)
            end
            local number, err = learn(3, "", whole("concurrency", concurrency, 1, 65535, 5))
            if number then
                concurrencies[concurrency] = number
            end
            return number, err
        end
        if type(limit) ~= "string" then
            bad("limit", "the name of an autoscale_limit, or rate, window or concurrency", limit)
        end
        local number, err = learn(0, limit, 0)
        if number then
            named[limit] = number
        end
        return number, err
    end

    -- A key of several parts, each with its length in front: no two lists of parts are the same text.
    local function compose(key)
        if type(key) == "number" then
            return tostring(key)
        end
        if type(key) ~= "table" or #key == 0 then
            bad("key", "a string, a number or a list of them", key)
        end
        local parts = {}
        for i = 1, #key do
            local part = key[i]
            local t = type(part)
            if t == "number" then
                part = tostring(part)
            elseif t ~= "string" then
                bad("key[" .. i .. "]", "a string or a number", part)
            end
            parts[2 * i - 1], parts[2 * i] = #part .. ":", part
        end
        return concat(parts)
    end

    local function refused(rc)
        if rc == REJECTED then
            return nil, "rejected", values[1]
        end
        if rc == TOO_LARGE then
            return nil, "too large"
        end
        if rc == FULL then
            return nil, "no memory"
        end
        return nil, "no limits here: workers have them, from init_worker_by_lua on"
    end

    local function go_on(rc, number, key, cost, priority, max_wait)
        if rc == WAITS then
            return sleep(values[0], values[1])
        end
        if rc == QUEUES then
            return queue(number, key, cost, priority, max_wait)
        end
        return refused(rc)
    end

    function M.admit(options)
        if type(options) ~= "table" then
            error("bad argument #1 to 'admit' (table expected, got "
                  .. (options == nil and "nil" or type(options)) .. ")", 2)
        end
        local number
        local rate, window, concurrency = options.rate, options.window, options.concurrency
        if rate then
            number = rates[rate]
            number = number and not (window or concurrency or options.limit) and number[options.burst or 0]
        elseif window then
            number = windows[window]
            number = number and not (concurrency or options.burst) and number[options.limit]
        elseif concurrency then
            number = not (options.limit or options.burst) and concurrencies[concurrency]
        elseif options.limit then
            number = not options.burst and named[options.limit]
        end
        if not number then
            local err
            number, err = find(options)
            if not number then
                return nil, err
            end
        end
        local key = options.key
        if type(key) ~= "string" then
            key = compose(key)
        end
        local cost, priority, max_wait = options.cost or 1, options.priority or 0, options.max_wait or 0
        if type(cost) ~= "number" or cost < 1 or cost > MOST or floor(cost) ~= cost then
            whole("cost", cost, 1, MOST)
        end
        if priority ~= 0 then
            whole("priority", priority, 0, 9)
        end
        if max_wait ~= 0 then
            if type(max_wait) ~= "number" or not (max_wait >= 0 and max_wait <= 86400) then
                bad("max_wait", "seconds from 0 to 86400", max_wait, 3)
            end
            if band(cur.phase, yielding) == 0 then
                error("API disabled in the context of " .. base.context() .. " with max_wait", 2)
            end
        end
        local rc = admit_take(number, key, #key, cost, priority, max_wait, values, 2)
        if rc == 0 then
            return values[0], 0
        end
        return go_on(rc, number, key, cost, priority, max_wait)
    end

    function M.settle(ticket, cost)
        if type(ticket) ~= "number" then
            error("bad argument #1 to 'settle' (a ticket expected, got "
                  .. (ticket == nil and "nil" or type(ticket)) .. ")", 2)
        end
        if cost == nil then
            cost = -1
        elseif type(cost) ~= "number" or not (cost >= 0 and cost <= MOST) or floor(cost) ~= cost then
            error("bad argument #2 to 'settle' (a whole number from 0 to " .. MOST .. " expected, got "
                  .. (type(cost) == "number" and tostring(cost) or type(cost)) .. ")", 2)
        end
        if admit_settle(ticket, cost) == 0 then
            return true
        end
        return nil, "no such ticket"
    end
end
