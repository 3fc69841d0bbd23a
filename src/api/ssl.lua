-- ngx.ssl, as far as it needs no connection: certificates and keys, as OpenSSL's own objects.

local setmetatable = setmetatable

return function(_, native, base)
    local chain_new, chain_free, chain_der = native.ssl_chain, native.ssl_chain_free, native.ssl_chain_der
    local key_new, key_free, key_der = native.ssl_key, native.ssl_key_free, native.ssl_key_der
    local text, gc, to_string = base.text, base.gc, base.to_string
    local handle, out = base.new("as_handle[1]"), base.new("as_str[1]")
    local PEM, DER = 0, 1

    -- What each object is: a key that is passed for a certificate would crash OpenSSL.
    local kinds = setmetatable({}, { __mode = "k" })
    base.ssl_kinds = kinds

    local function chain(s, form)
        if chain_new(s, #s, form, handle, out) ~= 0 then
            return nil, text(out)
        end
        local object = gc(handle[0].object, chain_free)
        kinds[object] = "cert"
        return object
    end

    local function key(s, passphrase, form)
        passphrase = passphrase or ""
        if key_new(s, #s, passphrase, #passphrase, form, handle, out) ~= 0 then
            return nil, text(out)
        end
        local object = gc(handle[0].object, key_free)
        kinds[object] = "pkey"
        return object
    end

    local function der(object, err, write)
        if not object then
            return nil, err
        end
        if write(object, out) ~= 0 then
            return nil, text(out)
        end
        return text(out)
    end

    local M = { version = base.version }

    function M.parse_pem_cert(pem)
        return chain(to_string(pem, 1, "parse_pem_cert"), PEM)
    end

    function M.parse_der_cert(data)
        return chain(to_string(data, 1, "parse_der_cert"), DER)
    end

    function M.parse_pem_priv_key(pem, passphrase)
        return key(to_string(pem, 1, "parse_pem_priv_key"), passphrase, PEM)
    end

    function M.parse_der_priv_key(data)
        return key(to_string(data, 1, "parse_der_priv_key"), nil, DER)
    end

    function M.cert_pem_to_der(pem)
        local object, err = chain(to_string(pem, 1, "cert_pem_to_der"), PEM)
        return der(object, err, chain_der)
    end

    function M.priv_key_pem_to_der(pem, passphrase)
        local object, err = key(to_string(pem, 1, "priv_key_pem_to_der"), passphrase, PEM)
        return der(object, err, key_der)
    end

    -- ssl_connection.lua adds what needs one
    base.ssl_module = M
    base.module("ngx.ssl", M)
end
