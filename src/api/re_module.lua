-- The module ngx.re: split and opt.

local error = error
local sub = string.sub
local tostring = tostring
local type = type

local NO_MATCH = -1

return function(_, native, base)
    local re = base.re
    if not re then
        return
    end
    local exec, lookup, release, failure, after = re.exec, re.lookup, re.release, re.failure, re.after
    local new_tab = base.new_tab
    local M = { version = base.version }

    -- Appends the pieces between the matches to `res`, at most `most` of them; returns how many values were appended
    -- and where the rest begins, or nil and an error. `ctx.pos` follows the matches, counted from 0.
    local function pieces(entry, subject, ctx, most, res)
        local offsets, len = entry.offsets, #subject
        local n, count, from = 0, 1, ctx.pos
        ctx.pos = from > 0 and from - 1 or 0
        while count < most and from <= len do
            local pos = ctx.pos
            if pos > len then
                break
            end
            local rc = exec(entry.code, subject, len, pos)
            if rc == NO_MATCH then
                break
            end
            if rc < 0 then
                return nil, failure(rc)
            end
            local first, last = offsets[0], offsets[1]
            local past = after(entry, subject, first, last)
            ctx.pos = past > pos and past or pos + 1
            -- an empty match where a piece begins splits nothing
            if first < last or first + 1 > from then
                n = n + 1
                res[n] = sub(subject, from, first)
                count = count + 1
                if rc > 1 and offsets[2] >= 0 then
                    n = n + 1
                    res[n] = sub(subject, offsets[2] + 1, offsets[3])
                end
                from = last + 1
            end
        end
        return n, from
    end

    function M.split(subject, pattern, options, ctx, max, res)
        subject = tostring(subject)
        if not ctx then
            ctx = { pos = 1 }
        elseif not ctx.pos then
            ctx.pos = 1
        end
        local bounded = max and max > 0
        if not res then
            res = new_tab(bounded and max < 4 and max or 4, 0)
        elseif type(res) ~= "table" then
            error("res is not a table", 2)
        end
        local len = #subject
        if ctx.pos > len then
            res[1] = nil
            return res
        end
        local entry, err = lookup(pattern, options, "split")
        if not entry then
            return nil, err
        end
        local n, from = pieces(entry, subject, ctx, bounded and max or 1 / 0, res)
        release(entry)
        if not n then
            return nil, from
        end
        if bounded or from <= len then
            n = n + 1
            res[n] = sub(subject, from)
        else
            -- without a bound, empty pieces at the end are left out
            while n > 0 and res[n] == "" do
                res[n] = nil
                n = n - 1
            end
        end
        -- where a table that was used before is shorter now
        res[n + 1] = nil
        return res
    end

    function M.opt(option, value)
        if option ~= "jit_stack_size" then
            error("unrecognized option name", 2)
        end
        if type(value) ~= "number" then
            error("bad argument #2 to 'opt' (number expected, got " .. type(value) .. ")", 2)
        end
        if not re.is_cache_empty() then
            error("changing jit stack size is not allowed when some regexs have already been compiled and cached", 2)
        end
        if not re.set_jit_stack(value < 1 and 1 or value > 0x7fffffff and 0x7fffffff or value) then
            error("pcre jit stack allocation failed", 2)
        end
    end

    base.module("ngx.re", M)
end
