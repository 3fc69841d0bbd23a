-- TLS on the sockets of ngx.socket.tcp.

local char = string.char
local concat = table.concat
local error = error
local find = string.find
local select = select
local tostring = tostring
local type = type

return function(_, native, base)
    local methods = base.tcp_methods
    local shake, session_of, session_free = native.tls_handshake, native.tls_session, native.tls_session_free
    local certificate, no_certificate = native.tls_certificate, native.tls_no_certificate
    local openssl, trust, offer, protocol = native.tls_openssl, native.tls_trust, native.tls_offer, native.tls_protocol
    local check, own, yielding, text = base.check, base.own, base.yielding, base.text
    local gc, cast, istype, ctype = base.gc, base.cast, base.istype, base.array
    local wait, prepared, kinds = base.wait, base.ops.prepared, base.ssl_kinds
    local handle, out, message = base.new("as_handle[1]"), base.new("as_str[1]"), base.new("as_str[1]")
    local session_type = ctype("as_tls_session *")
    local WAIT, DONE, NOT_OURS = 1, 2, -2
    local VERIFY, ASK_STATUS = 1, 2

    -- What an operation that failed answers. Called in tail position: level 2 is the user's line.
    local function failed(rc)
        if rc == NOT_OURS then
            error("bad request", 2)
        end
        return nil, text(message)
    end

    local function session(self)
        local rc = session_of(own(self, "sslhandshake"), handle, message)
        if rc ~= 0 then
            return failed(rc)
        end
        return gc(cast(session_type, handle[0].object), session_free)
    end

    function methods.sslhandshake(self, reused, name, verify, ask_status, ...)
        local more = select("#", ...)
        if not self or more > 0 then
            error("ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen " ..
                  (self and 5 + more or 0), 2)
        end
        check(yielding)
        local given = istype(session_type, reused) and reused or nil
        if not given and reused ~= nil and type(reused) ~= "boolean" then
            error("bad argument #1 to 'sslhandshake' (session or boolean expected, got " .. type(reused) .. ")", 2)
        end
        if name == nil then
            name = ""
        elseif type(name) ~= "string" then
            error("bad argument #2 to 'sslhandshake' (string expected, got " .. type(name) .. ")", 2)
        end
        local flags = (verify and VERIFY or 0) + (ask_status and ASK_STATUS or 0)
        local rc = shake(own(self, "sslhandshake"), given, name, #name, flags, message)
        if rc == WAIT then
            local ok, err = wait(prepared)
            if not ok then
                return nil, err
            end
        elseif rc ~= DONE then
            return failed(rc)
        elseif given then
            return given
        end
        if reused == false then
            return true
        end
        return session(self)
    end

    function methods:getsslsession()
        return session(self)
    end

    local function address(self, which)
        local rc = openssl(own(self, "getsslsession"), which, handle, message)
        if rc ~= 0 then
            return failed(rc)
        end
        return handle[0].object
    end

    function methods:getsslpointer()
        return address(self, 0)
    end

    function methods:getsslctx()
        return address(self, 1)
    end

    -- Why `object` cannot be OpenSSL's object of this kind; nil when it may be.
    local function unfit(object, kind)
        if type(object) ~= "cdata" then
            return "bad " .. kind .. " arg: cdata expected, got " .. type(object)
        end
        if not find(tostring(ctype(object)), "[*&]>$") then
            return "bad " .. kind .. " arg: pointer expected, got " .. tostring(ctype(object))
        end
        local is = kinds[object]
        if is and is ~= kind then
            return "bad " .. kind .. " arg: got a " .. is
        end
    end

    function methods:setclientcert(cert, key)
        if not cert and not key then
            no_certificate(own(self, "setclientcert"))
            return true
        end
        if not cert or not key then
            return nil, "client certificate must be supplied with corresponding private key"
        end
        local why = unfit(cert, "cert") or unfit(key, "pkey")
        if why then
            return nil, why
        end
        if certificate(own(self, "setclientcert"), cert, key) ~= 0 then
            return nil, "no memory"
        end
        return true
    end

    function methods:settrustedstore(store)
        local why = store ~= nil and unfit(store, "store")
        if why then
            return nil, why
        end
        if trust(own(self, "settrustedstore"), store) ~= 0 then
            return nil, "bad store arg: no X509_STORE"
        end
        return true
    end

    -- The protocols that handshakes offer (ALPN, RFC 7301), the one most wanted first; without arguments none are.
    function methods:setalpn(...)
        local wire = {}
        for i = 1, select("#", ...) do
            local name = select(i, ...)
            if type(name) ~= "string" or #name == 0 or #name > 255 then
                error("bad argument #" .. i .. " to 'setalpn' (string of 1 to 255 bytes expected, got " ..
                      (type(name) == "string" and #name .. " bytes" or type(name)) .. ")", 2)
            end
            wire[i] = char(#name) .. name
        end
        wire = concat(wire)
        if #wire > 65535 then
            error("bad argument #1 to 'setalpn' (too many protocols)", 2)
        end
        offer(own(self, "setalpn"), wire, #wire)
        return true
    end

    -- The protocol that the last handshake agreed on; nil when none was.
    function methods:getalpn()
        local rc = protocol(own(self, "getalpn"), out, message)
        if rc ~= 0 then
            return failed(rc)
        end
        return out[0].len > 0 and text(out) or nil
    end
end
