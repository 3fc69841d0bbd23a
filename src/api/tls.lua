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
    local classic = base.classic
    local shake, session_of, session_free = classic.tls_handshake, classic.tls_session, native.tls_session_free
    local certificate, openssl, trust = classic.tls_certificate, classic.tls_openssl, classic.tls_trust
    local offer = classic.tls_offer
    local check, yielding = base.check, base.yielding
    local gc, cast, istype, ctype, kinds = base.gc, base.cast, base.istype, base.array, base.ssl_kinds
    local session_type, pointer_type = ctype("as_tls_session *"), ctype("void *")

    -- What Lua libraries compare and pass on is a value of the FFI, as it is in lua-resty-core.
    local function session(self)
        local address, err = session_of(self)
        if not address then
            return nil, err
        end
        return gc(cast(session_type, address), session_free)
    end

    function methods.sslhandshake(self, reused, name, verify, ask_status, ...)
        local more = select("#", ...)
        if not self or more > 0 then
            error("ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen " ..
                  (self and 5 + more or 0), 2)
        end
        check(yielding)
        local kind = type(reused)
        local given = kind == "cdata" and istype(session_type, reused) and reused or nil
        if not given and reused ~= nil and kind ~= "boolean" then
            error("bad argument #1 to 'sslhandshake' (session or boolean expected, got " .. kind .. ")", 2)
        end
        if name == nil then
            name = ""
        elseif type(name) ~= "string" then
            error("bad argument #2 to 'sslhandshake' (string expected, got " .. type(name) .. ")", 2)
        end
        local now, err = shake(self, given, name, verify, ask_status)
        if now == nil then
            return nil, err
        end
        if given and not now then
            return given
        end
        if reused == false then
            return true
        end
        return session(self)
    end

    methods.getsslsession = session

    function methods:getsslpointer()
        local connection, err = openssl(self)
        if not connection then
            return nil, err
        end
        return cast(pointer_type, connection)
    end

    function methods:getsslctx()
        local connection, context = openssl(self)
        if not connection then
            return nil, context
        end
        return cast(pointer_type, context)
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
            return certificate(self)
        end
        if not cert or not key then
            return nil, "client certificate must be supplied with corresponding private key"
        end
        local why = unfit(cert, "cert") or unfit(key, "pkey")
        if why then
            return nil, why
        end
        if not certificate(self, cert, key) then
            return nil, "no memory"
        end
        return true
    end

    function methods:settrustedstore(store)
        local why = store ~= nil and unfit(store, "store")
        if why then
            return nil, why
        end
        if not trust(self, store) then
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
        return offer(self, wire)
    end

    -- The protocol that the last handshake agreed on; nil when none was.
    methods.getalpn = classic.tls_protocol
end
