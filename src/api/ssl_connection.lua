-- ngx.ssl, as far as it is about a client's connection; ngx.ssl.clienthello, ngx.ssl.proxysslcert and ngx.proxyssl.

local bit = require "bit"

local band, bor = bit.band, bit.bor
local byte = string.byte
local error = error
local find = string.find
local ipairs = ipairs
local tostring = tostring
local type = type

return function(_, native, base)
    local cur, null, text, ctype, cast = base.cur, base.null, base.text, base.array, base.cast
    local to_number, to_string, kinds = base.to_number, base.to_string, base.ssl_kinds
    local out, handle = base.new("as_str[1]"), base.new("as_handle[1]")
    local M = base.ssl_module
    local NONE = -5
    local lone = base.phases("init", "init_worker", "exit_worker")

    -- Where there can be no connection, the error points at the user's line.
    local function check()
        if band(cur.phase, lone) ~= 0 then
            error("no request found", 3)
        end
    end
    base.check_ssl = check

    -- The same for what works in these phases alone.
    local function checker(...)
        local phases = base.phases(...)
        return function()
            if band(cur.phase, lone) ~= 0 then
                error("no request found", 3)
            end
            if band(cur.phase, phases) == 0 then
                error("API disabled in the current context", 3)
            end
        end
    end
    base.ssl_checker = checker

    local function result(rc)
        if rc == 0 then
            return true
        end
        return nil, text(out)
    end

    local function text_result(rc)
        if rc == 0 then
            return text(out)
        end
        if rc == NONE then
            return nil
        end
        return nil, text(out)
    end

    -- A number of two bytes each.
    local function numbers()
        local bytes, list = text(out), {}
        for i = 1, #bytes, 2 do
            local high, low = byte(bytes, i, i + 1)
            list[#list + 1] = high * 256 + low
        end
        return list
    end

    -- An object of OpenSSL's: a pointer, and not one of the other kind. What is none is refused at the user's line.
    local function object(value, kind, name)
        local got = type(value)
        if got ~= "cdata" or not find(tostring(ctype(value)), "[*&]>$") or cast("void *", value) == null then
            local expected = kind .. " by ngx.ssl.parse_*() expected"
            error("bad argument #1 to '" .. name .. "' (" .. expected .. ", got " .. got .. ")", 3)
        end
        local is = kinds[value]
        if is and is ~= kind then
            error("bad argument #1 to '" .. name .. "' (" .. kind .. " expected, got " .. is .. ")", 3)
        end
        return value
    end

    -- Adds to a module what shows a certificate, to clients and to upstreams alike.
    local function add_identity(functions, refuse)
        local clear, set_cert, set_key = native.ssl_clear_certs, native.ssl_set_cert, native.ssl_set_key

        function functions.clear_certs()
            refuse()
            return result(clear(out))
        end

        function functions.set_cert(cert)
            refuse()
            return result(set_cert(object(cert, "cert", "set_cert"), out))
        end

        function functions.set_priv_key(key)
            refuse()
            return result(set_key(object(key, "pkey", "set_priv_key"), out))
        end

        function functions.set_der_cert(der)
            refuse()
            local chain, err = M.parse_der_cert(to_string(der, 1, "set_der_cert"))
            if not chain then
                return nil, err
            end
            return result(set_cert(chain, out))
        end

        function functions.set_der_priv_key(der)
            refuse()
            local key, err = M.parse_der_priv_key(to_string(der, 1, "set_der_priv_key"))
            if not key then
                return nil, err
            end
            return result(set_key(key, out))
        end
    end

    add_identity(M, check)

    local address, port, server_name = native.ssl_address, native.ssl_server_port, native.ssl_server_name
    local address_kinds = { [0] = "unix", "inet", "inet6" }

    local function raw_address(own)
        local kind = address_kinds[address(own, out)]
        if kind then
            return text(out), kind
        end
        return nil, nil, text(out)
    end

    function M.raw_server_addr()
        check()
        return raw_address(1)
    end

    function M.raw_client_addr()
        check()
        return raw_address(0)
    end

    function M.server_port()
        check()
        local n = port(out)
        if n >= 0 then
            return n
        end
        return nil, text(out)
    end

    function M.server_name()
        check()
        return text_result(server_name(0, out))
    end

    -- versions

    local version = native.ssl_version
    local versions = {
        [2] = "SSLv2", [0x300] = "SSLv3",
        [0x301] = "TLSv1", [0x302] = "TLSv1.1", [0x303] = "TLSv1.2", [0x304] = "TLSv1.3",
    }

    local function get_version()
        local n = version(out)
        if n >= 0 then
            return n
        end
        return nil, text(out)
    end

    -- Adds to a module which version a connection speaks.
    local function add_versions(functions, refuse)
        functions.SSL3_VERSION, functions.TLS1_VERSION, functions.TLS1_1_VERSION = 0x300, 0x301, 0x302
        functions.TLS1_2_VERSION, functions.TLS1_3_VERSION = 0x303, 0x304

        function functions.get_tls1_version()
            refuse()
            return get_version()
        end

        function functions.get_tls1_version_str()
            refuse()
            local n, err = get_version()
            if not n then
                return nil, err
            end
            local name = versions[n]
            if not name then
                return nil, "unknown version"
            end
            return name
        end
    end

    add_versions(M, check)

    -- secrets

    local random, export = native.ssl_random, native.ssl_export

    local function bytes(which, length, default, name)
        length = length == nil and default or to_number(length, 1, name)
        local n = random(which, length, out)
        if n < 0 then
            return nil, text(out)
        end
        if length == 0 then
            return n
        end
        return text(out)
    end

    function M.get_client_random(length)
        check()
        return bytes(0, length, 32, "get_client_random")
    end

    function M.get_server_random(length)
        check()
        return bytes(1, length, 32, "get_server_random")
    end

    function M.get_session_master_key(length)
        check()
        return bytes(2, length, 48, "get_session_master_key")
    end

    local function exported(length, label, context, early, name)
        length = to_number(length, 1, name)
        label = to_string(label, 2, name)
        context = context and to_string(context, 3, name)
        local given = context or ""
        return text_result(export(length, label, #label, given, #given, early + (context and 2 or 0), out))
    end

    function M.export_keying_material(length, label, context)
        check()
        return exported(length, label, context, 0, "export_keying_material")
    end

    function M.export_keying_material_early(length, label, context)
        check()
        return exported(length, label, context, 1, "export_keying_material_early")
    end

    -- the client's certificate

    local verify = native.ssl_verify_client
    local cert_phase = base.phases("ssl_cert")

    function M.verify_client(client_certs, depth, trusted_certs)
        check()
        if cur.phase ~= cert_phase then
            return nil, "API disabled in the current context"
        end
        depth = depth and to_number(depth, 2, "verify_client") or -1
        client_certs = client_certs and object(client_certs, "cert", "verify_client")
        trusted_certs = trusted_certs and object(trusted_certs, "cert", "verify_client")
        return result(verify(client_certs, trusted_certs, depth, out))
    end

    -- for libraries that know OpenSSL

    local pointer, ciphers = native.ssl_pointer, native.ssl_shared_ciphers

    local function ssl_pointer(upstream)
        if pointer(upstream, handle, out) ~= 0 then
            return nil, text(out)
        end
        return handle[0].object
    end

    function M.get_req_ssl_pointer()
        check()
        return ssl_pointer(0)
    end

    function M.get_upstream_ssl_pointer()
        check()
        return ssl_pointer(1)
    end

    -- What clients offer only so that servers get used to it (RFC 8701) no server shares.
    local function shared_ciphers()
        check()
        if ciphers(out) ~= 0 then
            return nil, text(out)
        end
        return numbers()
    end
    M.get_req_shared_ssl_ciphers = shared_ciphers
    M.get_shared_ssl_ciphers = shared_ciphers

    -- ngx.ssl.clienthello

    local hello = { version = base.version }
    local extension, hello_numbers = native.hello_extension, native.hello_numbers
    local set_protocols = native.hello_set_protocols
    local EXTENSIONS, CIPHERS, SUPPORTED_VERSIONS = 0, 1, 43

    local check_hello = checker("ssl_client_hello")

    function hello.get_client_hello_server_name()
        check_hello()
        return text_result(server_name(1, out))
    end

    function hello.get_client_hello_ext(kind)
        check_hello()
        return text_result(extension(to_number(kind, 1, "get_client_hello_ext"), out))
    end

    local function hello_list(which)
        local rc = hello_numbers(which, out)
        if rc == 0 then
            return numbers()
        end
        return text_result(rc)
    end

    function hello.get_client_hello_ext_present()
        check_hello()
        return hello_list(EXTENSIONS)
    end

    function hello.get_client_hello_ciphers()
        check_hello()
        return hello_list(CIPHERS)
    end

    -- The oldest that the client wants comes first, as it lists them from the newest on.
    function hello.get_supported_versions()
        check_hello()
        local list, err = text_result(extension(SUPPORTED_VERSIONS, out))
        if err then
            return nil, err
        end
        if not list or #list == 0 or byte(list) ~= #list - 1 then
            return nil
        end
        local names = {}
        for i = #list - 1, 2, -2 do
            local high, low = byte(list, i, i + 1)
            names[#names + 1] = versions[high * 256 + low]
        end
        return names
    end

    local protocol_bits = { SSLv2 = 2, SSLv3 = 4, TLSv1 = 8, ["TLSv1.1"] = 16, ["TLSv1.2"] = 32, ["TLSv1.3"] = 64 }

    function hello.set_protocols(protocols)
        check_hello()
        if type(protocols) ~= "table" then
            error("bad argument #1 to 'set_protocols' (table expected, got " .. type(protocols) .. ")", 2)
        end
        local bits = 0
        for _, name in ipairs(protocols) do
            if not protocol_bits[name] then
                return nil, "invalid protocols failed"
            end
            bits = bor(bits, protocol_bits[name])
        end
        return result(set_protocols(bits, out))
    end

    base.module("ngx.ssl.clienthello", hello)

    -- ngx.ssl.proxysslcert

    local proxy = { version = base.version }
    add_identity(proxy, checker("proxy_ssl_cert"))
    base.module("ngx.ssl.proxysslcert", proxy)

    -- ngx.proxyssl: the connection with the upstream

    local proxyssl = { version = base.version }
    add_versions(proxyssl, checker("proxy_ssl_cert", "proxy_ssl_verify"))
    base.module("ngx.proxyssl", proxyssl)

    function M.ssl_session_reused(ssl)
        if not ssl or type(ssl) ~= "cdata" then
            return nil, "bad ssl"
        end
        return native.ssl_session_reused(ssl) == 1
    end
end
