-- ngx.arg

local error = error
local setmetatable = setmetatable
local tonumber = tonumber
local tostring = tostring
local type = type

return function(ngx, native, base)
    local arg_get, arg_body, arg_eof = native.arg_get, native.arg_body, native.arg_eof
    local set_body, set_eof = native.arg_set_body, native.arg_set_eof
    local str, text = base.str, base.text
    local flatten, refusal = base.flatten, base.refusal

    local function get(_, n)
        local number = tonumber(n) or 0
        local rc = arg_get(number, str)
        if rc == 0 then
            return text(str)
        end
        if rc == 1 then
            if number == 1 then
                arg_body(str)
                return text(str)
            end
            if number == 2 then
                return arg_eof() == 1
            end
            return nil
        end
        if rc == -1 then
            error(refusal(), 2)
        end
        return nil
    end

    local function set(_, n, value)
        if arg_eof() < 0 then
            error(refusal(), 2)
        end
        local number = tonumber(n)
        if number ~= 1 and number ~= 2 then
            error("bad index: " .. tostring(n), 2)
        end
        local rc
        if number == 2 then
            rc = set_eof(value and 1 or 0)
        else
            local t = type(value)
            if t == "table" then
                local s, why = flatten(value, true)
                if not s then
                    error("bad argument #3 to '__newindex' (" .. why .. ")", 2)
                end
                value = s
            elseif t == "number" then
                value = tostring(value)
            elseif t == "nil" then
                value = ""
            elseif t ~= "string" then
                error("bad chunk data type: " .. t, 2)
            end
            rc = set_body(value, #value)
        end
        if rc ~= 0 then
            error("no memory", 2)
        end
    end

    ngx.arg = setmetatable({}, { __index = get, __newindex = set })
end
