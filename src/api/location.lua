-- ngx.location.capture and capture_multi: all arguments are checked before the first subrequest is made.

local error = error
local next = next
local pairs = pairs
local select = select
local tostring = tostring
local type = type

return function(ngx, _, base)
    local check, wait, op = base.check, base.wait, base.ops.capture
    local can_capture = base.phases("rewrite", "access", "precontent", "content")
    local init = base.phases("init")
    local cur = base.cur
    local encode_args, new_ctx_slot = base.encode_args, base.new_ctx_slot
    local GET = ngx.HTTP_GET
    local new_table = base.new_table

    local FORWARDS_BODY, SHARES_VARS, COPIES_VARS = 1, 2, 4

    local location = {}
    ngx.location = location

    -- Errors point at the caller of the API function, which has called `read` or `add`, which has called these.

    local function args_option(args)
        local t = type(args)
        if t == "nil" then
            return ""
        elseif t == "table" then
            return next(args) == nil and "" or encode_args(args)
        elseif t == "string" or t == "number" then
            return tostring(args)
        end
        error("Bad args option value", 4)
    end

    local function flag(options, name)
        local value = options[name]
        if value ~= nil and type(value) ~= "boolean" then
            error("Bad " .. name .. " option value", 4)
        end
        return value
    end

    local function flags_of(options)
        local flags = 0
        if options.always_forward_body then
            flags = flags + FORWARDS_BODY
        end
        if flag(options, "share_all_vars") then
            flags = flags + SHARES_VARS
        end
        if flag(options, "copy_all_vars") then
            flags = flags + COPIES_VARS
        end
        return flags
    end

    local function method_option(method)
        if method == nil then
            return GET
        elseif type(method) ~= "number" then
            error("Bad http request method", 4)
        end
        return method
    end

    local function body_option(body)
        local t = type(body)
        if t == "nil" then
            return false
        elseif t ~= "string" and t ~= "number" then
            error("Bad http request body", 4)
        end
        return tostring(body)
    end

    -- Adds the variables to the end of the plan; how many they are.
    local function add_vars(plan, at, vars)
        if type(vars) ~= "table" then
            error("Bad vars option value", 4)
        end
        local n = 0
        for name, value in pairs(vars) do
            if type(name) ~= "string" then
                error('attempt to use a non-string key in the "vars" option table', 4)
            end
            local t = type(value)
            if t ~= "string" and t ~= "number" then
                error("attempt to use bad variable value type " .. t, 4)
            end
            plan[at + 1], plan[at + 2] = name, tostring(value)
            at, n = at + 2, n + 1
        end
        return n
    end

    -- The options of one subrequest, the URI's number being `index`: arguments, method, body, flags, context.
    local function read(options, index)
        if type(options) ~= "table" then
            error("expecting table as the 2nd argument for subrequest " .. index .. ", but got " .. type(options), 3)
        end
        local args = args_option(options.args)
        local flags = flags_of(options)
        local method = method_option(options.method)
        local ctx = options.ctx
        if ctx ~= nil and type(ctx) ~= "table" then
            error("Bad ctx option value type " .. type(ctx) .. ", expected a Lua table", 3)
        end
        return args, method, body_option(options.body), flags, ctx
    end

    local function check_uri(uri)
        local t = type(uri)
        if t == "string" then
            return uri
        elseif t == "number" then
            return tostring(uri)
        end
        error("bad uri argument (string expected, got " .. t .. ")", 3)
    end

    -- A plan of `count` subrequests is an array: their number, and seven entries and the variables of each.
    local function new_plan(count)
        local plan = new_table(1 + 7 * count, 0)
        plan[1] = count
        return plan
    end

    -- Adds one subrequest to the plan behind entry `at`; the plan's new end. Its context goes to `contexts`.
    local function add(plan, at, uri, args, method, body, flags, ctx, vars, contexts)
        if ctx then
            contexts[#contexts + 1] = at + 6
            contexts[#contexts + 1] = ctx
        end
        plan[at + 1], plan[at + 2], plan[at + 3], plan[at + 4] = uri, args, method, body
        plan[at + 5], plan[at + 6] = flags, 0
        local n = 0
        if vars ~= nil then
            n = add_vars(plan, at + 7, vars)
        end
        plan[at + 7] = n
        return at + 7 + 2 * n
    end

    -- The tables of `ctx` options get slots last: an error in between would lose them.
    local function give_slots(plan, contexts)
        for i = 1, #contexts, 2 do
            plan[contexts[i]] = new_ctx_slot(contexts[i + 1])
        end
        return plan
    end

    local function refuse_early()
        if cur.phase == init then
            error("no request object found", 3)
        end
    end

    local function one(response, err)
        if not response then
            error(err, 2)
        end
        return response
    end

    function location.capture(...)
        local n = select("#", ...)
        if n ~= 1 and n ~= 2 then
            error("expecting one or two arguments", 2)
        end
        refuse_early()
        check(can_capture)
        local uri, options = ...
        if options == nil then
            return one(wait(op, check_uri(uri)))
        end
        local args, method, body, flags, ctx = read(options, 0)
        uri = check_uri(uri)
        local vars = options.vars
        if vars ~= nil then
            local plan, contexts = new_plan(1), {}
            add(plan, 1, uri, args, method, body, flags, ctx, vars, contexts)
            return one(wait(op, give_slots(plan, contexts)))
        end
        return one(wait(op, uri, args, method, body, flags, ctx and new_ctx_slot(ctx)))
    end

    local function all(response, ...)
        if not response then
            error((...), 2)
        end
        return response, ...
    end

    function location.capture_multi(...)
        local n = select("#", ...)
        if n ~= 1 then
            error("only one argument is expected, but got " .. n, 2)
        end
        local list = ...
        if type(list) ~= "table" then
            error("bad argument #1 to 'capture_multi' (table expected, got " .. type(list) .. ")", 2)
        end
        local count = #list
        if count == 0 then
            error("at least one subrequest should be specified", 2)
        end
        refuse_early()
        check(can_capture)
        local plan, contexts, at = new_plan(count), {}, 1
        for i = 1, count do
            local entry = list[i]
            if entry == nil then
                error("only array-like tables are allowed", 2)
            elseif type(entry) ~= "table" then
                error("the query argument " .. (i - 1) .. " is not a table, but a " .. type(entry), 2)
            end
            n = #entry
            if n ~= 1 and n ~= 2 then
                error("query argument " .. (i - 1) .. " expecting one or two arguments", 2)
            end
            local uri, options = entry[1], entry[2]
            local args, method, body, flags, ctx, vars = "", 0, false, 0, nil, nil
            if options ~= nil then
                args, method, body, flags, ctx = read(options, i - 1)
                vars = options.vars
            end
            at = add(plan, at, check_uri(uri), args, method, body, flags, ctx, vars, contexts)
        end
        return all(wait(op, give_slots(plan, contexts)))
    end
end
