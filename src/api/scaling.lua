-- require "ngx.autoscale", the outer loop: what scripts ask the leader for, and what was decided.

local concat = table.concat
local floor = math.floor
local format = string.format
local gsub = string.gsub
local byte = string.byte
local getmetatable = getmetatable
local pairs = pairs
local setmetatable = setmetatable
local tostring = tostring
local type = type

return function(ngx, _, base)
    local classic = base.classic
    local command, known = classic.scaling_command, classic.scaling_policy
    local state, explain, decisions = classic.scaling_state, classic.scaling_explain, classic.scaling_decisions
    local SCALE, CHANGE, NOTIFY, HOLD = 1, 2, 3, 4
    local MOST_REPLICAS = 1000000
    local M = base.autoscale

    -- "a number", "nil"; for messages
    local function a(value)
        local t = type(value)
        return t == "nil" and "nil" or t == "number" and tostring(value) or "a " .. t
    end

    local function whole(value)
        return type(value) == "number" and floor(value) == value and value >= -MOST_REPLICAS and value <= MOST_REPLICAS
    end

    -- Refuses options that do not exist: a typing mistake would be an option that is not obeyed.
    local function unknown(options, names)
        for name in pairs(options) do
            if not names[name] then
                return "unknown option " .. tostring(name)
            end
        end
    end

    local SCALE_OPTIONS = { replicas = true, delta = true, reason = true }
    local HOW = ": write as.scale(target, { replicas = N, reason = \"why\" }), or delta = N instead of replicas"

    function M.scale(target, options)
        if type(target) ~= "string" then
            return nil, "the target's name is " .. a(target) .. HOW
        end
        if type(options) ~= "table" then
            return nil, "the options are " .. a(options) .. HOW
        end
        local err = unknown(options, SCALE_OPTIONS)
        if err then
            return nil, err .. HOW
        end
        local replicas, delta, reason = options.replicas, options.delta, options.reason
        if reason ~= nil and type(reason) ~= "string" then
            return nil, "the reason is " .. a(reason) .. HOW
        end
        if (replicas == nil) == (delta == nil) then
            return nil, (delta == nil and "neither replicas nor delta" or "both replicas and delta") .. HOW
        end
        if delta ~= nil then
            if not whole(delta) or delta == 0 then
                return nil, "delta is " .. a(delta) .. ": write a whole number such as 2 or -1"
            end
            return command(CHANGE, target, delta, reason or "")
        end
        if not whole(replicas) or replicas < 0 then
            return nil, "replicas is " .. a(replicas) .. ": write a whole number of 0 or more"
        end
        return command(SCALE, target, replicas, reason or "")
    end

    local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
    local function escape(c)
        return escapes[c] or format("\\u%04x", byte(c))
    end

    local function quote(text)
        return '"' .. gsub(text, '[%z\1-\31\\"\127]', escape) .. '"'
    end

    local DEEPEST = 16
    local NULL = ngx.null

    -- Puts the JSON of `value` at the end of `out`; on failure what is wrong with it. `at` says where it is.
    local function encode(value, out, at, depth)
        local t = type(value)
        if t == "string" then
            out[#out + 1] = quote(value)
        elseif t == "number" then
            if value ~= value or value == 1 / 0 or value == -1 / 0 then
                return at .. " is " .. tostring(value) .. ", which JSON has no word for"
            end
            out[#out + 1] = format(floor(value) == value and value > -1e15 and value < 1e15 and "%d" or "%.17g", value)
        elseif t == "boolean" then
            out[#out + 1] = tostring(value)
        elseif value == NULL then
            out[#out + 1] = "null"
        elseif t ~= "table" then
            return at .. " is a " .. t .. ": write strings, numbers, booleans, ngx.null and tables of them"
        elseif depth >= DEEPEST then
            return at .. " is too deep: there may be " .. DEEPEST .. " tables in each other"
        elseif #value > 0 then
            local count = 0
            for _ in pairs(value) do
                count = count + 1
            end
            if count ~= #value then
                return at .. " has items and fields: write a list or a table of fields"
            end
            for i = 1, #value do
                out[#out + 1] = i == 1 and "[" or ","
                local err = encode(value[i], out, at .. "[" .. i .. "]", depth + 1)
                if err then
                    return err
                end
            end
            out[#out + 1] = "]"
        else
            local separator = "{"
            for key, field in pairs(value) do
                if type(key) ~= "string" then
                    return at .. " has a key that is a " .. type(key) .. ": write strings"
                end
                out[#out + 1] = separator
                out[#out + 1] = quote(key)
                out[#out + 1] = ":"
                local err = encode(field, out, at .. "." .. key, depth + 1)
                if err then
                    return err
                end
                separator = ","
            end
            out[#out + 1] = separator == "{" and "{}" or "}"
        end
    end

    function M.notify(target, message)
        local how = ": write as.notify(target, { text = \"…\" })"
        if type(target) ~= "string" then
            return nil, "the target's name is " .. a(target) .. how
        end
        if type(message) ~= "table" or #message > 0 then
            return nil, "the message is " .. (type(message) == "table" and "a list" or a(message)) .. how
        end
        local out = {}
        local err = encode(message, out, "the message", 0)
        if err then
            return nil, err
        end
        local ticket
        ticket, err = command(NOTIFY, target, 0, concat(out))
        if not ticket then
            return nil, err
        end
        return true
    end

    local Policy = {}
    Policy.__index = Policy

    function M.policy(name)
        if type(name) ~= "string" then
            return nil, "the policy's name is " .. a(name) .. ": write as.policy(\"name\")"
        end
        local ok, err = known(name)
        if not ok then
            return nil, err
        end
        return setmetatable({ name = name }, Policy)
    end

    local function not_one(policy, method)
        if getmetatable(policy) ~= Policy then
            return "that is not a policy: write as.policy(\"name\"):" .. method .. ", with a colon"
        end
    end

    local function hold(policy, seconds)
        local ticket, err = command(HOLD, policy.name, seconds, "")
        if not ticket then
            return nil, err
        end
        return true
    end

    function Policy:hold(seconds)
        local err = not_one(self, "hold(seconds)")
        if err then
            return nil, err
        end
        if type(seconds) ~= "number" or not (seconds > 0 and seconds <= 1e8) then
            return nil, "the seconds are " .. a(seconds) .. ": write how long nothing is to be done, such as hold(600)"
        end
        return hold(self, seconds)
    end

    function Policy:resume()
        local err = not_one(self, "resume()")
        if err then
            return nil, err
        end
        return hold(self, 0)
    end

    function Policy:state()
        local err = not_one(self, "state()")
        if err then
            return nil, err
        end
        return state(self.name)
    end

    -- Why it did what it did, or did nothing, and the whole of that evaluation.
    function Policy:explain()
        local last
        local err = not_one(self, "explain()")
        if err then
            return nil, err
        end
        last, err = explain(self.name)
        if not last then
            return nil, err
        end
        return last.reason, last
    end

    local DECISIONS_OPTIONS = { policy = true, last = true }

    function M.decisions(options)
        local how = ": write as.decisions({ policy = \"name\", last = 20 })"
        if options == nil then
            return decisions(nil, 20)
        end
        if type(options) ~= "table" then
            return nil, "the options are " .. a(options) .. how
        end
        local err = unknown(options, DECISIONS_OPTIONS)
        if err then
            return nil, err .. how
        end
        local policy, last = options.policy, options.last
        if policy ~= nil and type(policy) ~= "string" then
            return nil, "policy is " .. a(policy) .. how
        end
        if last ~= nil and not (whole(last) and last > 0) then
            return nil, "last is " .. a(last) .. how
        end
        return decisions(policy, last or 20)
    end
end
