-- ngx.pipe: other programs, and talking to them while other requests run.

local concat = table.concat
local error = error
local find = string.find
local floor = math.floor
local ipairs = ipairs
local setmetatable = setmetatable
local tonumber = tonumber
local tostring = tostring
local type = type

return function(_, _, base)
    local classic = base.classic
    local spawn, set_timeout = classic.pipe_spawn, classic.pipe_timeout
    local read, write, await = classic.pipe_read, classic.pipe_write, classic.pipe_wait
    local send_signal, shutdown = classic.pipe_kill, classic.pipe_shutdown
    local check, yielding = base.check, base.yielding
    local STDIN, STDOUT, STDERR = 0, 1, 2
    local LINE, BYTES, ALL, ANY = 0, 1, 2, 3
    local MAX_TIMEOUT = 0xffffffff

    local methods = {}
    local meta = { __index = methods }

    -- The handle of a process; the error points at the caller of the method.
    local function own(self)
        local child = type(self) == "table" and self[1]
        if not child then
            error("not a process instance", 3)
        end
        return child
    end

    for name, from in pairs { stdout = STDOUT, stderr = STDERR } do
        methods[name .. "_read_all"] = function(self)
            check(yielding)
            return read(own(self), from, ALL, 0)
        end

        methods[name .. "_read_line"] = function(self)
            check(yielding)
            return read(own(self), from, LINE, 0)
        end

        methods[name .. "_read_bytes"] = function(self, len)
            check(yielding)
            local child = own(self)
            local n = tonumber(len)
            if not n or n < 0 or n ~= n then
                error("bad len argument", 2)
            end
            if n == 0 then
                return ""
            end
            return read(child, from, BYTES, n)
        end

        methods[name .. "_read_any"] = function(self, max)
            check(yielding)
            local child = own(self)
            local n = tonumber(max)
            if not n or n <= 0 or n ~= n then
                error("bad max argument", 2)
            end
            return read(child, from, ANY, n < 1 and 1 or floor(n))
        end
    end

    function methods:write(data)
        check(yielding)
        local child = own(self)
        local t = type(data)
        if t == "table" then
            data = concat(data)
        elseif t == "number" then
            data = tostring(data)
        elseif t ~= "string" then
            error("bad data arg: string, number, or table expected, got " .. t, 2)
        end
        return write(child, data)
    end

    function methods:wait()
        check(yielding)
        return await(own(self))
    end

    local directions = { stdin = STDIN, stdout = STDOUT, stderr = STDERR }

    function methods:shutdown(direction)
        local child = own(self)
        local what = directions[direction]
        if not what then
            error("bad shutdown arg: " .. tostring(direction), 2)
        end
        return shutdown(child, what)
    end

    function methods:kill(signal)
        local child = own(self)
        if type(signal) ~= "number" then
            error("bad signal arg: number expected, got " .. tostring(signal), 2)
        end
        if signal < -1 or signal > 0xffff then
            signal = -1
        end
        return send_signal(child, signal)
    end

    function methods:pid()
        own(self)
        return self[2]
    end

    local timeouts = { [0] = "write_timeout", "stdout_read_timeout", "stderr_read_timeout", "wait_timeout" }

    -- The error points at the caller of the function that calls this.
    local function check_timeout(n, ms)
        if ms and (type(ms) ~= "number" or not (ms >= 0 and ms <= MAX_TIMEOUT)) then
            error("bad " .. timeouts[n] .. " option", 3)
        end
    end

    function methods:set_timeouts(writing, reading_stdout, reading_stderr, waiting)
        local child = own(self)
        check_timeout(0, writing)
        check_timeout(1, reading_stdout)
        check_timeout(2, reading_stderr)
        check_timeout(3, waiting)
        if writing then
            set_timeout(child, 0, writing)
        end
        if reading_stdout then
            set_timeout(child, 1, reading_stdout)
        end
        if reading_stderr then
            set_timeout(child, 2, reading_stderr)
        end
        if waiting then
            set_timeout(child, 3, waiting)
        end
    end

    -- The program and its arguments, each with a zero byte at its end.
    local function arguments(args)
        local t = type(args)
        if t == "string" then
            args = { "/bin/sh", "-c", args }
        elseif t ~= "table" then
            error("bad args arg: table expected, got " .. t, 3)
        end
        local list, n = {}, 0
        for i, arg in ipairs(args) do
            if type(arg) ~= "string" then
                arg = tostring(arg)
            end
            if find(arg, "\0", 1, true) then
                error("bad value at index " .. i .. " of args arg: it contains a zero byte", 3)
            end
            list[i], n = arg, i
        end
        if n == 0 then
            error("bad args arg: non-empty table expected", 3)
        end
        list[n + 1] = ""
        return concat(list, "\0")
    end

    -- The same of the environment; empty when it is to be the worker's own.
    local function environment(environ)
        if type(environ) ~= "table" then
            error("bad environ option: table expected, got " .. type(environ), 3)
        end
        local list, n = {}, 0
        for i, entry in ipairs(environ) do
            local bad = "bad value at index " .. i .. " of environ option: "
            if type(entry) ~= "string" then
                error(bad .. "string expected, got " .. type(entry), 3)
            end
            if not find(entry, "=", 2, true) then
                error(bad .. "'name=[value]' format expected, got '" .. entry .. "'", 3)
            end
            if find(entry, "\0", 1, true) then
                error(bad .. "it contains a zero byte", 3)
            end
            list[i], n = entry, i
        end
        if n == 0 then
            return ""
        end
        list[n + 1] = ""
        return concat(list, "\0")
    end

    local M = { version = base.version }
    local defaults = {}

    function M.spawn(args, opts)
        if base.phase_name() == "init" then
            error("API disabled in the current context", 2)
        end
        args, opts = arguments(args), opts or defaults
        local buffer_size, environ = 4096, ""
        if opts.buffer_size then
            buffer_size = tonumber(opts.buffer_size)
            if not buffer_size or buffer_size < 1 or buffer_size ~= buffer_size then
                error("bad buffer_size option", 2)
            end
        end
        if opts.environ then
            environ = environment(opts.environ)
        end
        for n = 0, 3 do
            check_timeout(n, opts[timeouts[n]])
        end
        local child, pid = spawn(args, environ, opts.merge_stderr, buffer_size)
        if not child then
            return nil, pid
        end
        for n = 0, 3 do
            set_timeout(child, n, opts[timeouts[n]] or 10000)
        end
        return setmetatable({ child, pid }, meta)
    end

    base.module("ngx.pipe", M)
end
