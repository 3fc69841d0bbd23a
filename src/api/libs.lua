-- resty.core and its modules as libraries require them: what they use of `resty.core.base` on our own base, and the
-- names of the rest, whose functions are the ngx.* API itself. The last file of the prelude: the others come first.

local byte = string.byte
local error = error
local find = string.find
local select = select
local ceil = math.ceil

return function(_, _, base)
    local ffi = require "ffi"
    local preload = package.preload
    local cur, null = base.cur, base.null

    -- types that libraries name in definitions of their own
    ffi.cdef [[
        typedef struct { size_t len; const unsigned char *data; } ngx_str_t;
        typedef struct ngx_http_request_s ngx_http_request_t;
        typedef struct { int len; const unsigned char *data; } ngx_http_lua_ffi_str_t;
    ]]

    local char_array = ffi.typeof("char[?]")
    local buffer_size = 4096
    local buffer, size_ptr, error_ptr

    local core = {
        version = base.version,
        new_tab = base.table_new,
        clear_tab = base.table_clear,
        FFI_OK = 0, FFI_NO_REQ_CTX = -100, FFI_BAD_CONTEXT = -101, FFI_ERROR = -1, FFI_AGAIN = -2, FFI_BUSY = -3,
        FFI_DONE = -4, FFI_DECLINED = -5, FFI_ABORT = -6,
    }

    function core.get_errmsg_ptr()
        error_ptr = error_ptr or ffi.new("char *[1]")
        return error_ptr
    end

    function core.get_size_ptr()
        size_ptr = size_ptr or ffi.new("size_t[1]")
        return size_ptr
    end

    function core.get_string_buf_size()
        return buffer_size
    end

    function core.set_string_buf_size(size)
        if size > 0 then
            buffer, buffer_size = nil, ceil(size)
        end
    end

    -- a buffer for what a C function fills at once: shared, unless it is large or must be the caller's own
    function core.get_string_buf(size, must_alloc)
        if size > buffer_size or must_alloc then
            return char_array(size)
        end
        buffer = buffer or char_array(buffer_size)
        return buffer
    end

    -- puts `value` into the first free place of `t`; t[0] heads the list of those that were freed
    function core.ref_in_table(t, value)
        if value == nil then
            return -1
        end
        local ref = t[0]
        if ref and ref ~= 0 then
            t[0] = t[ref]
        else
            ref = #t + 1
        end
        t[ref] = value
        return ref
    end

    function core.allows_subsystem(...)
        for i = 1, select("#", ...) do
            if select(i, ...) == "http" then
                return
            end
        end
        error("unsupported subsystem: http", 2)
    end

    -- whether a request is running; the value itself is of no use outside
    function core.get_request()
        local req = cur.req
        if req ~= null then
            return req
        end
    end

    base.module("resty.core.base", core)

    -- by hand, because string.gsub does not compile
    local function replace_byte(s, from, to)
        if not find(s, from, 1, true) then
            return s
        end
        local n = #s
        local bytes = core.get_string_buf(n)
        ffi.copy(bytes, s, n)
        local old, new = byte(from), byte(to)
        for i = 0, n - 1 do
            if bytes[i] == old then
                bytes[i] = new
            end
        end
        return ffi.string(bytes, n)
    end

    local modules = {
        ["resty.core.ctx"] = {
            get_ctx_table = base.get_ctx,
        },
        ["resty.core.misc"] = {
            register_ngx_magic_key_getter = function(key, getter)
                base.getters[key] = getter
            end,
            register_ngx_magic_key_setter = function(key, setter)
                base.setters[key] = setter
            end,
        },
        ["resty.core.utils"] = {
            str_replace_char = replace_byte,
        },
    }
    for _, name in ipairs {
        "base64", "exit", "hash", "ndk", "param", "phase", "regex", "request", "response", "shdict", "time", "uri",
        "var", "worker", "coroutine",
    } do
        modules["resty.core." .. name] = {}
    end
    for name, module in pairs(modules) do
        if not preload[name] then
            module.version = base.version
            module._VERSION = base.version
            base.module(name, module)
        end
    end
    base.module("resty.core", { version = base.version })

    -- written for OpenResty's module alone, and not part of ours
    for _, name in ipairs {
        "ngx.balancer", "ngx.base64", "ngx.ocsp", "ngx.pipe", "ngx.proxyssl", "ngx.re", "ngx.req", "ngx.resp",
        "ngx.semaphore", "ngx.ssl.clienthello", "ngx.ssl.proxysslcert", "ngx.ssl.proxysslverify",
        "ngx.ssl.session", "ngx.upstream", "resty.core.socket", "resty.core.socket.tcp",
    } do
        if not preload[name] then
            base.absent(name)
        end
    end

    -- loaded from the start, as on OpenResty
    for name in pairs(modules) do
        require(name)
    end
    require "resty.core.base"
    require "resty.core"
end
