-- ngx.var: nginx's variables. A name is turned into a number once; -1 is the number of names that are not remembered.

local error = error
local setmetatable = setmetatable
local tostring = tostring
local type = type

return function(ngx, native, base)
    local var_id, var_get, var_set, var_capture = native.var_id, native.var_get, native.var_set, native.var_capture
    local out, text = base.str, base.text
    local phase_name = base.phase_name

    local ids = {}

    local function no_request()
        error(phase_name() == "init" and "no request found" or "API disabled in the current context", 3)
    end

    local function id_of(name)
        if type(name) ~= "string" then
            error("bad variable name", 3)
        end
        local id = var_id(name, #name)
        if id >= 0 then
            ids[name] = id
        end
        return id
    end

    local function get(_, name)
        local rc
        local id = ids[name]
        if id then
            rc = var_get(id, nil, 0, out)
        elseif type(name) == "number" then
            rc = var_capture(name, out)
        else
            rc = var_get(id_of(name), name, #name, out)
        end
        if rc == 0 then
            return text(out)
        end
        if rc ~= 1 then
            no_request()
        end
        return nil
    end

    local function set(_, name, value)
        local id = ids[name] or id_of(name)
        local rc
        if value == nil then
            rc = var_set(id, name, #name, nil, 0, 0, out)
        else
            if type(value) ~= "string" then
                value = tostring(value)
            end
            rc = var_set(id, name, #name, value, #value, 1, out)
        end
        if rc ~= 0 then
            if rc == -2 then
                error(text(out), 2)
            end
            no_request()
        end
    end

    ngx.var = setmetatable({}, { __index = get, __newindex = set })
end
