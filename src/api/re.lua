-- ngx.re.match, find, gmatch, sub, gsub, and the module ngx.re (split, opt).

local byte = string.byte
local concat = table.concat
local error = error
local setmetatable = setmetatable
local sub = string.sub
local tostring = tostring
local type = type

local NO_MATCH = -1
local BAD_OPTIONS = -1

return function(ngx, native, base)
    ngx.re = {}
    base.module("resty.core.regex", { version = base.version, no_pcre = native.re_available() == 0 or nil })

    if native.re_available() == 0 then
        setmetatable(ngx.re, {
            __index = function(_, key)
                error("no support for 'ngx.re." .. tostring(key) .. "': nginx was built without PCRE", 2)
            end,
        })
        base.module("ngx.re", function()
            error("no support for 'ngx.re' module: nginx was built without PCRE", 2)
        end)
        return
    end

    local exec, replace_all = native.re_exec, native.re_replace
    local free, free_template = native.re_free, native.re_template_free
    local gc, text = base.gc, base.text
    local str = base.str
    local new_tab = base.new_tab
    local info = base.new("as_regex_info[1]")
    local slot = base.new("as_template_slot[1]")
    local limits = base.new("as_regex_limits[1]")
    limits[0].backtracking = base.boot.regex_match_limit or 0
    local max = base.boot.regex_cache_max_entries or 1024

    -- What is compiled under option `o`: options -> { pattern -> entry }, and replacement text -> entry. Both share one
    -- bound, kept by the CLOCK algorithm (Corbato 1968): the hand goes round the ring and throws out the first
    -- entry that was not used since it last came by.
    local sets, templates = {}, {}
    local ring, filled, hand = {}, 0, 0

    local function keep(home, key, entry)
        if max < 1 then
            return
        end
        entry.home, entry.key, entry.used = home, key, true
        if filled < max then
            filled = filled + 1
            ring[filled] = entry
        else
            local old
            repeat
                hand = hand % max + 1
                old = ring[hand]
                local used = old.used
                old.used = false
            until not used
            -- a match that goes on with it keeps it alive; then the collector has it
            old.home[old.key] = nil
            ring[hand] = entry
        end
        entry.cached = true
        home[key] = entry
    end

    -- The names of captures: { number, name, number, name, … }, or nil if there are none.
    local function name_list()
        local size, names_str = info[0].name_entry, info[0].names
        local table = base.string(names_str.data, names_str.len)
        if table == "" then
            return nil
        end
        local names = {}
        for at = 1, #table, size do
            local high, low = byte(table, at, at + 1)
            names[#names + 1] = high * 256 + low
            names[#names + 1] = table:match("^%Z*", at + 2)
        end
        return names
    end

    local function bad_argument(n, name, expected, value)
        local got = value == nil and "nil" or type(value)
        error("bad argument #" .. n .. " to '" .. name .. "' (" .. expected .. " expected, got " .. got .. ")", 4)
    end

    -- Compiles `pattern` for the API function `name`, at whose caller errors point: by tail calls it is one level up.
    local function compile(pattern, options, name)
        local t = type(options)
        if t == "number" then
            options = tostring(options)
        elseif t ~= "string" then
            bad_argument(name == "sub" and 4 or 3, name, "string", options)
        end
        local rc = native.re_compile(pattern, #pattern, options, #options, limits, info, str)
        if rc == BAD_OPTIONS then
            error(text(str), 3)
        end
        if rc ~= 0 then
            return nil, rc == -128 and "internal error" or text(str)
        end
        local compiled = info[0]
        local entry = {
            -- field by field, so that each hot read is one table lookup
            code = gc(compiled.regex, free),
            offsets = compiled.offsets,
            captures = compiled.captures,
            names = name_list(),
            lists = compiled.lists ~= 0,
            utf = compiled.utf ~= 0,
            cached = false,
        }
        if compiled.once ~= 0 then
            local set = sets[options]
            if not set then
                set = {}
                sets[options] = set
            end
            keep(set, pattern, entry)
        end
        return entry
    end

    -- The compiled form of `pattern`: kept, or made now.
    local function lookup(pattern, options, name)
        if type(pattern) ~= "string" then
            if type(pattern) ~= "number" then
                bad_argument(2, name, "string", pattern)
            end
            pattern = tostring(pattern)
        end
        options = options or ""
        local set = sets[options]
        local entry = set and set[pattern]
        if entry then
            entry.used = true
            return entry
        end
        return compile(pattern, options, name)
    end

    -- Gives back what nobody keeps, without waiting for the collector.
    local function release(entry)
        if not entry.cached then
            free(gc(entry.code, nil))
            entry.code = nil
        end
    end

    local function failure(rc)
        return "pcre_exec() failed: " .. rc
    end

    -- Adds the captures by name: the value, or with option `D` the list of those that took part.
    local function add_names(entry, names, res)
        local lists = entry.lists
        for i = 1, #names, 2 do
            local value, name = res[names[i]], names[i + 1]
            if not lists then
                res[name] = value
            elseif value then
                local list = res[name]
                if list then
                    list[#list + 1] = value
                else
                    res[name] = { value }
                end
            end
        end
    end

    -- Capture `i` of the last match; false stands for one that took no part.
    local function capture(subject, offsets, i)
        local from = offsets[i + i]
        return from >= 0 and sub(subject, from + 1, offsets[i + i + 1])
    end

    -- The captures of the last match.
    local function collect(entry, subject, res)
        local offsets, n, names = entry.offsets, entry.captures, entry.names
        if not res then
            res = new_tab(n, names and #names / 2 or 0)
        end
        res[0] = sub(subject, offsets[0] + 1, offsets[1])
        -- few captures are the rule, and a loop of few turns makes poor machine code
        if n > 0 then
            res[1] = capture(subject, offsets, 1)
            if n > 1 then
                res[2] = capture(subject, offsets, 2)
                if n > 2 then
                    res[3] = capture(subject, offsets, 3)
                    for i = 4, n do
                        res[i] = capture(subject, offsets, i)
                    end
                end
            end
        end
        if names then
            add_names(entry, names, res)
        end
        return res
    end

    -- Where matching starts, counted from 0.
    local function start_of(ctx)
        local pos = ctx.pos
        if not pos or pos <= 0 then
            return 0
        end
        return pos - 1
    end

    function ngx.re.match(subject, pattern, options, ctx, res)
        if type(subject) ~= "string" then
            subject = tostring(subject)
        end
        local entry, err = lookup(pattern, options, "match")
        if not entry then
            return nil, err
        end
        local rc = exec(entry.code, subject, #subject, ctx and start_of(ctx) or 0)
        if rc < 0 then
            release(entry)
            if rc == NO_MATCH then
                return nil
            end
            return nil, failure(rc)
        end
        if ctx then
            ctx.pos = entry.offsets[1] + 1
        end
        res = collect(entry, subject, res)
        if not entry.cached then
            release(entry)
        end
        return res
    end

    function ngx.re.find(subject, pattern, options, ctx, nth)
        if type(subject) ~= "string" then
            subject = tostring(subject)
        end
        local entry, err = lookup(pattern, options, "find")
        if not entry then
            return nil, nil, err
        end
        local rc = exec(entry.code, subject, #subject, ctx and start_of(ctx) or 0)
        if rc < 0 then
            release(entry)
            if rc == NO_MATCH then
                return nil
            end
            return nil, nil, failure(rc)
        end
        local offsets = entry.offsets
        if ctx then
            ctx.pos = offsets[1] + 1
        end
        if not nth or nth < 0 then
            nth = 0
        elseif nth > entry.captures then
            release(entry)
            return nil, nil, "nth out of bound"
        end
        local from, to = offsets[nth + nth] + 1, offsets[nth + nth + 1]
        if not entry.cached then
            release(entry)
        end
        if from <= 0 then
            return nil, nil
        end
        return from, to
    end

    -- Where to look after a match: an empty one is stepped over by a character.
    local function after(entry, subject, from, to)
        if from ~= to then
            return to
        end
        to = to + 1
        if entry.utf then
            local b = byte(subject, to + 1)
            while b and b >= 128 and b < 192 do
                to = to + 1
                b = byte(subject, to + 1)
            end
        end
        return to
    end

    local function iterate(self)
        local entry = self.entry
        if not entry then
            return nil
        end
        local subject, pos = self.subject, self.pos
        local rc = exec(entry.code, subject, #subject, pos)
        if rc < 0 then
            self.entry = nil
            release(entry)
            if rc == NO_MATCH then
                return nil
            end
            return nil, failure(rc)
        end
        local offsets = entry.offsets
        local res = collect(entry, subject)
        -- with \K a match may end before where it was looked for
        local to = after(entry, subject, offsets[0], offsets[1])
        self.pos = to > pos and to or pos + 1
        if self.pos > #subject then
            self.entry = nil
            release(entry)
        end
        return res
    end

    local iterator = { __call = iterate }

    function ngx.re.gmatch(subject, pattern, options)
        local entry, err = lookup(pattern, options, "gmatch")
        if not entry then
            return nil, err
        end
        return setmetatable({ entry = entry, subject = tostring(subject), pos = 0 }, iterator)
    end

    -- The compiled form of a replacement text, kept if the pattern is.
    local function template_of(replacement, entry)
        local template = templates[replacement]
        if template then
            template.used = true
            return template
        end
        if native.re_template(replacement, #replacement, slot) ~= 0 then
            return nil
        end
        template = { code = gc(slot[0].template, free_template), cached = false }
        if entry.cached then
            keep(templates, replacement, template)
        end
        return template
    end

    local function sub_template(subject, entry, replacement, all)
        local template = template_of(replacement, entry)
        if not template then
            release(entry)
            return nil, nil, "failed to compile the replacement template"
        end
        local count = replace_all(entry.code, subject, #subject, template.code, all, str)
        release(entry)
        if not template.cached then
            free_template(gc(template.code, nil))
        end
        if count > 0 then
            return text(str), count
        end
        if count < 0 then
            return nil, nil, failure(count)
        end
        return subject, 0
    end

    -- The function may match too, also by the same expression: what is needed of a match is read before the call.
    local function sub_function(subject, entry, f, all)
        local offsets, len = entry.offsets, #subject
        local parts, n, count, copied, pos = {}, 0, 0, 0, 0
        repeat
            local rc = exec(entry.code, subject, len, pos)
            if rc == NO_MATCH then
                break
            end
            if rc < 0 then
                release(entry)
                return nil, nil, failure(rc)
            end
            local from, to = offsets[0], offsets[1]
            local piece = tostring((f(collect(entry, subject))))
            parts[n + 1] = sub(subject, copied + 1, from)
            parts[n + 2] = piece
            n = n + 2
            count = count + 1
            copied = to
            local past = after(entry, subject, from, to)
            pos = past > pos and past or pos + 1
        until all == 0 or pos > len
        release(entry)
        if count == 0 then
            return subject, 0
        end
        parts[n + 1] = sub(subject, copied + 1)
        return concat(parts), count
    end

    local function substitute(subject, pattern, replacement, options, all)
        local entry, err = lookup(pattern, options, all == 0 and "sub" or "gsub")
        if not entry then
            return nil, nil, err
        end
        subject = tostring(subject)
        if type(replacement) == "function" then
            return sub_function(subject, entry, replacement, all)
        end
        return sub_template(subject, entry, tostring(replacement), all)
    end

    function ngx.re.sub(subject, pattern, replacement, options)
        return substitute(subject, pattern, replacement, options, 0)
    end

    function ngx.re.gsub(subject, pattern, replacement, options)
        return substitute(subject, pattern, replacement, options, 1)
    end

    -- Sets the stack of machine code, for what is compiled from now on; false if there is no memory for it.
    local function set_jit_stack(size)
        limits[0].jit_stack = size
        if native.re_limits(limits) == 1 then
            return true
        end
        limits[0].jit_stack = 0
        return false
    end

    base.re = {
        exec = exec, lookup = lookup, release = release, failure = failure, after = after,
        set_jit_stack = set_jit_stack,
    }

    function base.re.is_cache_empty()
        return filled == 0
    end
end
