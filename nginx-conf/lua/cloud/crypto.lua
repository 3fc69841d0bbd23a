-- SHA-256, HMAC-SHA256 and RS256 by the libcrypto that nginx has loaded (OpenSSL 1.1 or 3), through the FFI.
--
-- Nothing here waits or calls back into Lua. Errors leave nothing in OpenSSL's queue (nginx would take it for its own
-- connection's), and no message has a key in it.

local ffi = require "ffi"

local ffi_gc, ffi_new, ffi_string = ffi.gc, ffi.new, ffi.string

-- untyped pointers, so that a library which declares the same functions with types of its own gets along with this one
ffi.cdef [[
    const void *EVP_sha256(void);
    int EVP_Digest(const void *data, size_t count, unsigned char *md, unsigned int *size, const void *type, void *impl);
    unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *data, size_t n,
                        unsigned char *out, unsigned int *out_len);
    void *EVP_MD_CTX_new(void);
    void EVP_MD_CTX_free(void *ctx);
    int EVP_DigestSignInit(void *ctx, void **pctx, const void *type, void *engine, void *pkey);
    int EVP_DigestUpdate(void *ctx, const void *data, size_t count);
    int EVP_DigestSignFinal(void *ctx, unsigned char *sig, size_t *len);
    void *BIO_new_mem_buf(const void *buf, int len);
    int BIO_free(void *bio);
    void *PEM_read_bio_PrivateKey(void *bio, void **key, void *callback, void *password);
    void EVP_PKEY_free(void *key);
    int EVP_PKEY_base_id(const void *key);
    int EVP_PKEY_get_base_id(const void *key);
    unsigned long ERR_get_error(void);
    void ERR_error_string_n(unsigned long code, char *buf, size_t len);
    void ERR_clear_error(void);
    int CRYPTO_memcmp(const void *a, const void *b, size_t len);
]]

-- nginx's own libcrypto where its symbols can be seen, else the system's
local function library()
    if pcall(function() return ffi.C.EVP_sha256 end) then
        return ffi.C
    end
    for _, name in ipairs { "libcrypto.so.3", "libcrypto.so.1.1", "crypto" } do
        local ok, lib = pcall(ffi.load, name)
        if ok then
            return lib
        end
    end
    error("no libcrypto: nginx has none, and neither has the system")
end

local C = library()

-- EVP_PKEY_base_id was renamed in OpenSSL 3
local base_id = select(2, pcall(function() return C.EVP_PKEY_get_base_id end))
if type(base_id) == "string" then
    base_id = C.EVP_PKEY_base_id
end

local RSA = 6
local DIGEST = 32

local M = {}

-- What OpenSSL has to say of a failure.
local function failure(what)
    local code = C.ERR_get_error()
    C.ERR_clear_error()
    if code == 0 then
        return nil, what
    end
    local text = ffi_new("char[256]")
    C.ERR_error_string_n(code, text, 256)
    return nil, what .. ": " .. ffi_string(text)
end

function M.sha256(data)
    local out = ffi_new("unsigned char[?]", DIGEST)
    if C.EVP_Digest(data, #data, out, nil, C.EVP_sha256(), nil) ~= 1 then
        return failure("SHA-256")
    end
    return ffi_string(out, DIGEST)
end

function M.hmac_sha256(key, data)
    local out, length = ffi_new("unsigned char[?]", DIGEST), ffi_new("unsigned int[1]")
    if C.HMAC(C.EVP_sha256(), key, #key, data, #data, out, length) == nil or length[0] ~= DIGEST then
        return failure("HMAC")
    end
    return ffi_string(out, DIGEST)
end

function M.hex(data)
    return (data:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- Whether two strings are the same; how long it takes says nothing of where they differ.
function M.equal(a, b)
    return #a == #b and C.CRYPTO_memcmp(a, b, #a) == 0
end

-- OpenSSL would ask the terminal for the password of an encrypted key if it were given none.
local no_password = ffi_new("char[1]")

local function private_key(pem)
    local bio = C.BIO_new_mem_buf(pem, #pem)
    if bio == nil then
        return failure("out of memory")
    end
    local key = C.PEM_read_bio_PrivateKey(bio, nil, nil, no_password)
    C.BIO_free(bio)
    if key == nil then
        return failure("not a private key in PEM")
    end
    return ffi_gc(key, C.EVP_PKEY_free)
end

local function sign(ctx, key, data)
    local length = ffi_new("size_t[1]")
    if C.EVP_DigestSignInit(ctx, nil, C.EVP_sha256(), nil, key) ~= 1
        or C.EVP_DigestUpdate(ctx, data, #data) ~= 1
        or C.EVP_DigestSignFinal(ctx, nil, length) ~= 1
    then
        return failure("RS256")
    end
    local out = ffi_new("unsigned char[?]", length[0])
    if C.EVP_DigestSignFinal(ctx, out, length) ~= 1 then
        return failure("RS256")
    end
    return ffi_string(out, length[0])
end

-- Frees what would be freed when it is collected: nobody knows when that would be.
local function free(object, with)
    with(ffi_gc(object, nil))
end

-- The signature of `data`, RSASSA-PKCS1-v1_5 with SHA-256 (RS256 of RFC 7518), by a private key in PEM.
function M.rs256(pem, data)
    C.ERR_clear_error()
    local key, why = private_key(pem)
    if not key then
        return nil, why
    end
    if base_id(key) ~= RSA then
        free(key, C.EVP_PKEY_free)
        return nil, "not an RSA key"
    end
    local ctx = C.EVP_MD_CTX_new()
    if ctx == nil then
        free(key, C.EVP_PKEY_free)
        return failure("out of memory")
    end
    ctx = ffi_gc(ctx, C.EVP_MD_CTX_free)
    local signature
    signature, why = sign(ctx, key, data)
    free(ctx, C.EVP_MD_CTX_free)
    free(key, C.EVP_PKEY_free)
    return signature, why
end

return M
