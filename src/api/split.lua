-- require "ngx.autoscale", splits: how far one is, and a new beginning after a rollback.

local getmetatable = getmetatable
local setmetatable = setmetatable
local sub = string.sub
local type = type

return function(_, _, base)
    local classic = base.classic
    local state, restart = classic.split_state, classic.split_restart

    local Split = {}
    Split.__index = Split

    -- The split of a variable, which may be written with its dollar.
    function base.autoscale.split(name)
        if type(name) ~= "string" then
            return nil, "the variable's name is a " .. type(name) .. ": write as.split(\"$backend\")"
        end
        name = sub(name, 1, 1) == "$" and sub(name, 2) or name
        local found, err = state(name)
        if not found then
            return nil, err
        end
        return setmetatable({ name = name }, Split)
    end

    local function not_one(split, method)
        if getmetatable(split) ~= Split then
            return "that is not a split: write as.split(\"$backend\"):" .. method .. "(), with a colon"
        end
    end

    -- { upstream = which one may grow, share = 0 to 1, phase = "running", "done" or "rolled_back" }
    function Split:state()
        local err = not_one(self, "state")
        if err then
            return nil, err
        end
        return state(self.name)
    end

    -- Begins anew with the shares of the configuration.
    function Split:restart()
        local err = not_one(self, "restart")
        if err then
            return nil, err
        end
        return restart(self.name)
    end
end
