-- What every prelude file stands on: the FFI, the running phase, argument checks, waiting.
-- It gets one table from Rust and returns ngx, native, base.

local boot = ...
local ffi = require "ffi"
local bit = require "bit"

local band = bit.band
local co_yield = coroutine.yield
local error = error
local ffi_string = ffi.string
local tonumber = tonumber
local tostring = tostring
local type = type

ffi.cdef(boot.cdef)

-- natives are function pointers: no symbol is looked up, and a test can put a Lua function in their place
local native = {}
for name, row in pairs(boot.natives) do
    native[name] = ffi.cast(row[1], row[2])
end

local ngx = {}
local base = {
    -- of the lua-resty-core whose functions these are
    version = "0.1.25",
    ops = boot.ops,
    boot = boot,
    classic = boot.classics,
    -- (classic, values...): a function whose upvalues these are
    bind = boot.bind,
    -- { phase = bit, req = NULL or { ctx_slot, started }, host = the same of whatever runs }
    cur = ffi.cast("as_cur *", boot.cur),
    new = ffi.new,
    array = ffi.typeof,
    cast = ffi.cast,
    copy = ffi.copy,
    gc = ffi.gc,
    istype = ffi.istype,
    new_tab = require "table.new",
    sizeof = ffi.sizeof,
    string = ffi_string,
    null = ffi.cast("void *", 0),
    new_table = require "table.new",
    clear_table = require "table.clear",
}

local cur = base.cur

-- Out-parameters. Shared: what a native leaves in them is read before the next native is called.
base.str = ffi.new("as_str[1]")
base.num = ffi.new("double[1]")
base.int = ffi.new("int32_t[1]")

-- The text that a native left in an as_str.
function base.text(str)
    return ffi_string(str[0].data, str[0].len)
end

-- Sum of the bits of the named phases.
function base.phases(...)
    local mask = 0
    for i = 1, select("#", ...) do
        mask = mask + assert(boot.phases[select(i, ...)])
    end
    return mask
end

-- Phases of a request whose script may wait, and all that may.
base.request_yielding, base.yielding = boot.request_yielding, boot.yielding
-- Phases of a TLS handshake whose script may wait, and all of them.
base.ssl_yielding = base.phases("ssl_client_hello", "ssl_cert", "ssl_session_fetch", "proxy_ssl_cert",
    "proxy_ssl_verify")
base.ssl = base.ssl_yielding + base.phases("ssl_session_store")
-- Phases that belong to a request.
base.request = base.request_yielding + base.phases("set", "header_filter", "body_filter", "log", "balancer")

local names = {}
for name, phase in pairs(boot.phases) do
    names[phase] = name
end

function base.phase_name()
    return names[cur.phase]
end

-- The running phase as messages name it.
function base.context()
    local name = names[cur.phase] or "unknown"
    if name == "timer" then
        return "ngx.timer"
    end
    -- "ssl_cert" and "proxy_ssl_cert" are those of the ..._ssl_certificate_by_lua* directives
    return string.gsub(name, "_cert$", "_certificate") .. "_by_lua*"
end

-- Refuses a call outside of the phases of `mask`; the error points at the caller of the API function.
function base.check(mask)
    if band(cur.phase, mask) == 0 then
        -- what works without a request somewhere is refused by the phase's name
        if cur.phase == boot.phases.init and band(mask, boot.phases.init_worker) == 0 then
            error("no request found", 3)
        end
        error("API disabled in the context of " .. base.context(), 3)
    end
end

-- What to say of a call that needs a request, where there is none.
function base.refusal()
    if cur.phase == boot.phases.init then
        return "no request found"
    end
    return "API disabled in the current context"
end

-- Yields operation `op` to the driver; returns what it answers.
local tag = boot.tag
function base.wait(op, ...)
    return co_yield(tag, op, ...)
end
base.tag = tag

-- A string for a native: strings and numbers as they are, others are refused at the user's line.
function base.to_string(value, n, name)
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

-- A number, or a string that reads as one.
function base.to_number(value, n, name)
    local number = tonumber(value)
    if not number then
        error("bad argument #" .. n .. " to '" .. name .. "' (number expected, got " ..
              (value == nil and "nil" or type(value)) .. ")", 3)
    end
    return number
end

-- Fields of `ngx` that are computed when read or written: name -> function.
base.getters = {}
base.setters = {}

setmetatable(ngx, {
    __index = function(_, key)
        local getter = base.getters[key]
        if getter then
            return getter()
        end
    end,
    __newindex = function(t, key, value)
        local setter = base.setters[key]
        if setter then
            return setter(value)
        end
        rawset(t, key, value)
    end,
})

-- Makes `require(name)` answer `what`: the module's table, or a function that makes it on first use.
local preload = package.preload
function base.module(name, what)
    if type(what) == "function" then
        preload[name] = what
    else
        preload[name] = function()
            return what
        end
    end
end

-- The tables behind ngx.ctx by slot; [0] is the first free slot, a free slot holds the next one.
base.ctx_slots = { [0] = 0 }

_G.ngx = ngx
package.loaded.ngx = ngx

return ngx, native, base
