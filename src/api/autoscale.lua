-- require "ngx.autoscale": metrics as values, and a hand on the peers.

local error = error
local floor = math.floor
local tonumber = tonumber
local tostring = tostring
local type = type

return function(_, native, base)
    local as_signal, as_read = native.as_signal, native.as_read
    local as_incr, as_observe = native.as_incr, native.as_observe
    local as_upstream, as_addresses, as_pick = native.as_upstream, native.as_addresses, native.as_pick
    local as_list, as_peer, as_set = native.as_list, native.as_peer, native.as_set
    local as_sources, as_peer_add, as_peer_remove = native.as_sources, native.as_peer_add, native.as_peer_remove
    local out, text = base.str, base.text
    local values = base.new("double[9]")

    local NONE, REFUSED, STALE = -1, -2, -3
    local states = { [0] = "up", "down", "drain", "standby", "ejected", "probation" }
    -- "configured" takes back what was set
    local CONFIGURED = "configured"
    local numbers_of_states = { up = 0, down = 1, drain = 2, [CONFIGURED] = 3 }

    local M = {}
    base.autoscale = M

    local function bad(n, name, expected, value, level)
        error("bad argument #" .. n .. " to '" .. name .. "' (" .. expected .. " expected, got "
              .. (value == nil and "nil" or type(value)) .. ")", level or 3)
    end

    local function refused(rc)
        return nil, rc == REFUSED and text(out) or "internal error"
    end

    -- Signals by text. Of those that are many (a key's value in the name) the oldest are given up.
    local MOST = 512
    local signals, known = {}, 0

    local function learn(signal)
        local number = as_signal(signal, #signal, out)
        if number < 0 then
            return refused(number)
        end
        if known >= MOST then
            signals, known = {}, 0
        end
        signals[signal], known = number, known + 1
        return number
    end

    local function missed(signal, rc)
        if rc == STALE then
            signals[signal] = nil
            local number, err = learn(signal)
            if not number then
                return nil, err
            end
            rc = as_read(number, values, 3, out)
        end
        if rc == 0 then
            return values[0], values[1], values[2]
        end
        if rc == NONE then
            return nil, values[1], 0
        end
        return refused(rc)
    end

    function M.get(signal)
        local number = signals[signal]
        if not number then
            if type(signal) ~= "string" then
                bad(1, "get", "string", signal)
            end
            local err
            number, err = learn(signal)
            if not number then
                return nil, err
            end
        end
        local rc = as_read(number, values, 3, out)
        if rc == 0 then
            return values[0], values[1], values[2]
        end
        return missed(signal, rc)
    end

    local function to_key(key, name)
        if key == nil then
            return ""
        end
        if type(key) == "number" then
            return tostring(key)
        end
        bad(3, name, "string", key, 4)
    end

    -- Called as a tail: the user is one level above.
    local function report(native_report, f, name, value, key)
        if type(name) ~= "string" then
            bad(1, f, "string", name)
        end
        if type(value) ~= "number" then
            bad(2, f, "number", value)
        end
        if type(key) ~= "string" then
            key = to_key(key, f)
        end
        local rc = native_report(name, #name, value, key, #key, out)
        if rc == 0 then
            return true
        end
        return refused(rc)
    end

    function M.incr(name, n, key)
        return report(as_incr, "incr", name, n or 1, key)
    end

    function M.observe(name, value, key)
        return report(as_observe, "observe", name, value, key)
    end

    -- Upstreams by name: { number=, generation=, places = { addr -> place }, addr, addr, … }
    local upstreams = {}

    local function update(upstream)
        for i = #upstream, 1, -1 do
            upstream[i] = nil
        end
        upstream.places = {}
        upstream.generation = as_addresses(upstream.number, out)
        for addr in text(out):gmatch("[^\n]+") do
            upstream[#upstream + 1] = addr
            upstream.places[addr] = #upstream - 1
        end
    end

    local function find(name, f)
        if type(name) ~= "string" then
            bad(1, f, "string", name, 4)
        end
        local number = as_upstream(name, #name, out)
        if number < 0 then
            return refused(number)
        end
        local upstream = { number = number }
        update(upstream)
        upstreams[name] = upstream
        return upstream
    end

    local room = 16
    local excluded = base.new("int32_t[?]", room)

    -- Puts the places of what is excluded into the array; returns how many there are.
    local function exclude_places(upstream, exclude)
        local places = upstream.places
        if type(exclude) == "string" then
            local place = places[exclude]
            if not place then
                return 0
            end
            excluded[0] = place
            return 1
        end
        if type(exclude) ~= "table" then
            error("bad option exclude (an address or a table of them expected, got " .. type(exclude) .. ")", 3)
        end
        local count = #exclude
        if count > room then
            room = 2 * count
            excluded = base.new("int32_t[?]", room)
        end
        local n = 0
        for i = 1, count do
            local place = places[exclude[i]]
            if place then
                excluded[n] = place
                n = n + 1
            end
        end
        return n
    end

    function M.pick(name, options)
        local upstream = upstreams[name]
        if not upstream then
            local err
            upstream, err = find(name, "pick")
            if not upstream then
                return nil, err
            end
        end
        local exclude = options and options.exclude
        local count = exclude and exclude_places(upstream, exclude) or 0
        local place = as_pick(upstream.number, upstream.generation, excluded, count, out)
        if place >= 0 then
            return upstream[place + 1]
        end
        if place == STALE then
            update(upstream)
            count = exclude and exclude_places(upstream, exclude) or 0
            place = as_pick(upstream.number, upstream.generation, excluded, count, out)
            if place >= 0 then
                return upstream[place + 1]
            end
        end
        return refused(place)
    end

    local function number_or_nil(x)
        if x == x then
            return x
        end
    end

    function M.peers(name)
        local upstream, err = upstreams[name]
        if not upstream then
            upstream, err = find(name, "peers")
            if not upstream then
                return nil, err
            end
        end
        local count = as_list(upstream.number, out)
        if count < 0 then
            return refused(count)
        end
        local list = {}
        for i = 1, count do
            if as_peer(upstream.number, i - 1, values, 9, out) == 0 then
                local addr = text(out)
                as_sources(upstream.number, addr, #addr, out)
                local source = text(out)
                list[#list + 1] = {
                    addr = addr,
                    source = source ~= "" and source or nil,
                    active = values[0],
                    waiting = values[1],
                    latency = number_or_nil(values[2]),
                    error_rate = number_or_nil(values[3]),
                    weight = values[4],
                    state = states[values[5]],
                    backup = values[6] ~= 0,
                    down = values[7] ~= 0,
                }
            end
        end
        local i = 0
        return function()
            i = i + 1
            return list[i]
        end
    end

    -- An option that is a whole number within bounds; -1 when it is not given.
    local function whole(options, name, least, most, also)
        local value = options[name]
        if value == nil then
            return -1
        end
        local number = tonumber(value)
        if not number or number < least or number > most or floor(number) ~= number then
            local range = least .. " to " .. most .. (also or "")
            error("bad option " .. name .. " (a whole number from " .. range .. " expected)", 3)
        end
        return number
    end

    function M.set(name, addr, options)
        if type(addr) ~= "string" then
            bad(2, "set", "string", addr)
        end
        if type(options) ~= "table" then
            bad(3, "set", "table", options)
        end
        local weight = options.weight == CONFIGURED and 0 or whole(options, "weight", 1, 65535, ' or "configured"')
        local limit = whole(options, "limit", 0, 2147483647)
        local state = -1
        if options.state ~= nil then
            state = numbers_of_states[options.state]
            if not state then
                error('bad option state ("up", "down", "drain" or "configured" expected)', 2)
            end
        end
        local upstream, err = upstreams[name]
        if not upstream then
            upstream, err = find(name, "set")
            if not upstream then
                return nil, err
            end
        end
        local rc = as_set(upstream.number, addr, #addr, weight, state, limit, out)
        if rc == 0 then
            return true
        end
        return refused(rc)
    end

    -- An option that is a time in seconds; `otherwise` when it is not given.
    local function seconds(options, name, otherwise)
        local value = options[name]
        if value == nil then
            return otherwise
        end
        local number = tonumber(value)
        if not number or not (number >= 0 and number <= 86400) then
            error("bad option " .. name .. " (seconds from 0 to 86400 expected)", 3)
        end
        return number
    end

    -- The upstream called `name`, for a change of its peers by function `f`.
    local function changing(name, addr, options, f)
        if type(addr) ~= "string" then
            bad(2, f, "string", addr, 4)
        end
        if options ~= nil and type(options) ~= "table" then
            bad(3, f, "table", options, 4)
        end
        local upstream = upstreams[name]
        if upstream then
            return upstream
        end
        return find(name, f)
    end

    local NO_OPTIONS = {}
    -- How long a peer that is removed may take to end what it has in flight.
    local DRAIN = 30

    function M.peer_add(name, addr, options)
        local upstream, err = changing(name, addr, options, "peer_add")
        options = options or NO_OPTIONS
        local weight = whole(options, "weight", 1, 65535)
        local slow_start = seconds(options, "slow_start", -1)
        if not upstream then
            return nil, err
        end
        local rc = as_peer_add(upstream.number, addr, #addr, weight, slow_start, out)
        if rc == 0 then
            return true
        end
        return refused(rc)
    end

    function M.peer_remove(name, addr, options)
        local upstream, err = changing(name, addr, options, "peer_remove")
        local drain = seconds(options or NO_OPTIONS, "drain", DRAIN)
        if not upstream then
            return nil, err
        end
        local rc = as_peer_remove(upstream.number, addr, #addr, drain, out)
        if rc == 0 then
            return true
        end
        return refused(rc)
    end

    base.module("ngx.autoscale", M)
end
