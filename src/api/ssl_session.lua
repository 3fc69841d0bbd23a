-- ngx.ssl.session and ngx.ssl.proxysslverify.

return function(_, native, base)
    local text, gc = base.text, base.gc
    local to_number, to_string = base.to_number, base.to_string
    local read, found = native.ssl_session_read, native.ssl_session_found
    local out, handle = base.new("as_str[1]"), base.new("as_handle[1]")
    local check = base.check_ssl
    local ID, SESSION = 0, 1

    local function read_text(what)
        if read(what, out) ~= 0 then
            return nil, text(out)
        end
        return text(out)
    end

    local M = { version = base.version }

    function M.get_session_id()
        check()
        return read_text(ID)
    end

    function M.get_serialized_session()
        check()
        return read_text(SESSION)
    end

    function M.set_serialized_session(session)
        check()
        session = to_string(session, 1, "set_serialized_session")
        if found(session, #session, out) ~= 0 then
            return nil, text(out)
        end
        return true
    end

    base.module("ngx.ssl.session", M)

    local verify_result, set_verify_result = native.ssl_verify_result, native.ssl_set_verify_result
    local verify_cert, free = native.ssl_verify_chain, native.ssl_x509_free
    local check_verify = base.ssl_checker("proxy_ssl_verify")

    local V = { version = base.version }

    function V.set_verify_result(number)
        check_verify()
        if set_verify_result(to_number(number, 1, "set_verify_result"), out) ~= 0 then
            return nil, text(out)
        end
        return true
    end

    function V.get_verify_result()
        check_verify()
        local number = verify_result(out)
        if number < 0 then
            return nil, text(out)
        end
        return number
    end

    function V.get_verify_cert()
        check_verify()
        if verify_cert(handle, out) ~= 0 then
            return nil, text(out)
        end
        return gc(handle[0].object, free)
    end

    base.module("ngx.ssl.proxysslverify", V)
end
