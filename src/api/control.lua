-- ngx.exit, ngx.exec, ngx.redirect, ngx.sleep.

local byte = string.byte
local error = error
local find = string.find
local format = string.format
local gsub = string.gsub
local select = select
local tonumber = tonumber
local tostring = tostring
local type = type

return function(ngx, native, base)
    local band = require("bit").band
    local check = base.check
    local wait = base.wait
    local ops = base.ops
    local cur = base.cur
    local yielding, request_yielding = base.yielding, base.request_yielding
    local can_exit = yielding + base.phases("header_filter", "balancer", "ssl_session_store")
    local exit_later, exec_split = native.exit_later, native.exec_split
    local is_sent = native.header_is_sent
    local to_string = base.string
    local parts = base.new("as_str[2]")

    function ngx.exit(code)
        local number = tonumber(code)
        if not number then
            error("bad argument #1 to 'exit' (number expected, got " .. (code == nil and "nil" or type(code)) .. ")", 2)
        end
        check(can_exit)
        if number == ngx.AGAIN or number == ngx.DONE then
            error("bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE", 2)
        end
        if band(cur.phase, yielding) ~= 0 then
            local _, err = wait(ops.exit, number)
            error(err, 2)
        end
        exit_later(number)
    end

    -- A string, or a number as one, as C functions of the standard library take it.
    local function string_argument(value, n, name)
        local t = type(value)
        if t == "string" then
            return value
        end
        if t == "number" then
            return tostring(value)
        end
        error("bad argument #" .. n .. " to '" .. name .. "' (string expected, got " ..
              (value == nil and "nil" or t) .. ")", 3)
    end

    function ngx.exec(...)
        local n = select("#", ...)
        if n ~= 1 and n ~= 2 then
            error("expecting one or two arguments, but got " .. n, 2)
        end
        check(request_yielding)
        local uri, args = ...
        uri = string_argument(uri, 1, "exec")
        if uri == "" then
            error("The uri argument is empty", 2)
        end
        if exec_split(uri, #uri, parts, 2) < 0 then
            error("unsafe uri", 2)
        end
        local path, own = to_string(parts[0].data, parts[0].len), to_string(parts[1].data, parts[1].len)
        local t = type(args)
        if t == "table" then
            args = ngx.encode_args(args)
        elseif t == "nil" then
            args = ""
        elseif t ~= "string" and t ~= "number" then
            error("bad argument #2 to 'exec' (string, number, or table expected, but got " .. t .. ")", 2)
        end
        if own ~= "" then
            args = args == "" and own or own .. "&" .. args
        end
        if is_sent() == 1 then
            error("attempt to call ngx.exec after sending out response headers", 2)
        end
        local _, err = wait(ops.exec, path, tostring(args))
        error(err, 2)
    end

    local redirects = {
        [301] = true, [302] = true, [303] = true, [307] = true, [308] = true,
    }

    local function escape(c)
        return format("\\x%02X", byte(c))
    end

    function ngx.redirect(...)
        local n = select("#", ...)
        if n ~= 1 and n ~= 2 then
            error("expecting one or two arguments", 2)
        end
        local uri, status = ...
        uri = string_argument(uri, 1, "redirect")
        if n == 2 then
            local number = tonumber(status)
            if not number then
                error("bad argument #2 to 'redirect' (number expected, got " .. type(status) .. ")", 2)
            end
            if not redirects[number] then
                error("only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, ngx.HTTP_PERMANENT_REDIRECT, " ..
                      "ngx.HTTP_SEE_OTHER, and ngx.HTTP_TEMPORARY_REDIRECT are allowed", 2)
            end
            status = number
        else
            status = 302
        end
        check(request_yielding)
        if is_sent() == 1 then
            error("attempt to call ngx.redirect after sending out the headers", 2)
        end
        local unsafe = find(uri, "[%z\1-\31\127]")
        if unsafe then
            error(format("unsafe byte \"0x%02x\" in redirect uri \"%s\"", byte(uri, unsafe),
                         (gsub(uri, "[%z\1-\31\"\\\127-\255]", escape))), 2)
        end
        local _, err = wait(ops.redirect, uri, status)
        error(err, 2)
    end

    ngx.sleep = base.classic.sleep_for
end
