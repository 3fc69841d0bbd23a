-- package.path and package.cpath, require, and the guard of global variables.

local error = error
local gsub = string.gsub
local rawset = rawset
local tostring = tostring
local traceback = debug.traceback
local type = type

return function(ngx, _, base)
    local boot = base.boot
    local package = package

    -- `;;` stands for the path so far, `$prefix` and `${prefix}` for where nginx stands
    local function expand(path, default)
        local function prefix()
            return boot.prefix
        end
        path = gsub(path, ";;", ";\1;")
        path = gsub(gsub(path, "%$prefix", prefix), "%${prefix}", prefix)
        return (gsub(path, "\1", function()
            return default
        end))
    end

    if boot.package_path and boot.package_path ~= "" then
        package.path = expand(boot.package_path, package.path)
    end
    if boot.package_cpath and boot.package_cpath ~= "" then
        package.cpath = expand(boot.package_cpath, package.cpath)
    end

    local loaded, preload = package.loaded, package.preload
    local load = require

    -- Modules that cannot work here, though a file of the name may lie on the path.
    local absent = {}
    function base.absent(name)
        absent[name] = true
    end

    -- LuaJIT does not compile calls of its `require`; a module that is there is found without one
    function _G.require(name)
        local module = loaded[name]
        -- while it loads, its place holds something else
        if type(module) == "table" then
            return module
        end
        if absent[name] and not preload[name] then
            error("module '" .. name .. "' not found:\n\tit needs functions that this nginx module does not have", 2)
        end
        return load(name)
    end

    -- A global that a request sets is seen by all others: said once, when it is new.
    local log, WARN = ngx.log, ngx.WARN
    local quiet = { init = true, init_worker = true }
    local function guard(globals, key, value)
        rawset(globals, key, value)
        if not quiet[ngx.get_phase()] then
            log(WARN, "writing a global Lua variable ('", tostring(key), "') which may lead to race conditions ",
                "between concurrent requests, so prefer the use of 'local' variables", traceback("", 2))
        end
    end

    setmetatable(_G, { __newindex = guard })
end
