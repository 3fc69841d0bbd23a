# Escaping, base64, checksums, digests, SQL literals.
# modes: plain hup workers
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: escaping and back, in every phase
--- lua
    return ngx.escape_uri("a b&ä"), ngx.unescape_uri("a%20b+c%C3%a4%"), ngx.escape_uri("plain")
--- result: a%20b%26%C3%A4, a b cä%, plain
--- phases: server_rewrite set rewrite access content header_filter body_filter log init init_worker exit_worker


=== TEST 2: what is escaped depends on the type
--- lua
    local s = "A9 -._~!*'()/?&=+%\"<>#\1\127\228"
    for kind = 0, 6 do ngx.say(kind, " ", (ngx.escape_uri(s, kind):gsub("\228", "(raw)"))) end
    ngx.say(ngx.escape_uri(s) == ngx.escape_uri(s, 2))
--- response_body
0 A9%20-._~!*'()/%3F&=+%25"<>%23%01%7F%E4
1 A9%20-._~!*'()/%3F&=%2B%25"<>%23%01%7F%E4
2 A9%20-._~!*'()%2F%3F%26%3D%2B%25%22%3C%3E%23%01%7F%E4
3 A9%20-._~!*%27()/?&=+%25%22<>%23%01%7F%E4
4 A9%20-._~!*%27()/?&=+%%22<>#%01%7F%E4
5 A9%20-._~!*'()/?&=+%25"<>#%01(raw)
6 A9%20-._~!*'()/?&=+%25"<>#%01(raw)
true


=== TEST 3: what is no string is made one; nil and false are empty
--- lua
    local function show(name)
        local f, out = ngx[name], {}
        for _, v in ipairs { 12, true } do out[#out + 1] = f(v) == f(tostring(v)) and "=" or "!" end
        out[#out + 1] = f(nil) == f("") and "=" or "!"
        out[#out + 1] = f(false) == f("") and "=" or "!"
        out[#out + 1] = pcall(f, {}) and "=" or "!"
        ngx.say(name, " ", table.concat(out))
    end
    for _, name in ipairs { "escape_uri", "unescape_uri", "encode_base64", "md5", "md5_bin", "sha1_bin", "crc32_short",
                            "crc32_long" } do
        show(name)
    end
--- response_body
escape_uri =====
unescape_uri =====
encode_base64 =====
md5 =====
md5_bin =====
sha1_bin =====
crc32_short =====
crc32_long =====


=== TEST 4: wrong arguments are errors at the line of the script
--- lua
    local function try(f) ngx.say(select(2, pcall(f))) end
    try(function() ngx.escape_uri("a", 7) end)
    try(function() ngx.escape_uri("a", -1) end)
    try(function() ngx.escape_uri("a", "2") end)
    try(function() ngx.encode_base64("a", 1) end)
    try(function() ngx.decode_base64(12) end)
    try(function() ngx.decode_base64mime() end)
    try(function() ngx.hmac_sha1("a") end)
    try(function() ngx.hmac_sha1("a", nil) end)
    try(function() ngx.quote_sql_str() end)
    try(function() ngx.quote_sql_str({}) end)
--- response_body_like
^\S+:3: "type" 7 out of range
\S+:4: "type" -1 out of range
\S+:5: "type" is not a number
\S+:6: bad no_padding: boolean expected, got number
\S+:7: string argument only
\S+:8: string argument only
\S+:9: expecting 2 arguments, but got 1
\S+:10: bad argument #2 to 'hmac_sha1' \(string expected, got nil\)
\S+:11: expecting one argument
\S+:12: bad argument #1 to 'quote_sql_str' \(string expected, got table\)


=== TEST 5: base64
--- lua
    local b64 = require "ngx.base64"
    for _, s in ipairs { "", "a", "ab", "abc", "\251\255\254" } do
        ngx.say(ngx.encode_base64(s), " ", ngx.encode_base64(s, true), " ", b64.encode_base64url(s),
                " ", ngx.decode_base64(ngx.encode_base64(s)) == s,
                " ", b64.decode_base64url(b64.encode_base64url(s)) == s)
    end
    ngx.say(ngx.decode_base64("YQ"), " ", ngx.decode_base64("YQ=="), " ", tostring(ngx.decode_base64("Y")), " ",
            tostring(ngx.decode_base64("Y Q")), " ", tostring(ngx.decode_base64("-_8")))
    ngx.say(ngx.decode_base64mime("Y\r\nW!J\nj"), " ", tostring(ngx.decode_base64mime("Y")))
    ngx.say(b64.decode_base64url("a+b"))
    ngx.say(b64.decode_base64url(1))
    ngx.say(b64.encode_base64url(nil))
    local long = ("x\0y"):rep(100000)
    ngx.say(ngx.decode_base64(ngx.encode_base64(long)) == long)
--- response_body
   true true
YQ== YQ YQ true true
YWI= YWI YWI true true
YWJj YWJj YWJj true true
+//+ +//+ -__- true true
a a nil nil nil
abc nil
nilinvalid input
nilmust provide a string
nilmust provide a string
true


=== TEST 6: digests and checksums of RFC 1321, RFC 3174, RFC 2202 and of zlib
--- lua
    local function hex(s) return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end
    ngx.say(ngx.md5("message digest"), " ", hex(ngx.md5_bin("message digest")) == ngx.md5("message digest"))
    ngx.say(hex(ngx.sha1_bin("abc")))
    ngx.say(hex(ngx.hmac_sha1("Jefe", "what do ya want for nothing?")))
    ngx.say(hex(ngx.hmac_sha1(("\170"):rep(80), "Test Using Larger Than Block-Size Key - Hash Key First")))
    ngx.say(hex(ngx.hmac_sha1("", "")), " ", hex(ngx.hmac_sha1(1, 2)) == hex(ngx.hmac_sha1("1", "2")))
    ngx.say(ngx.crc32_short("hello, world"), " ", ngx.crc32_long("hello, world"), " ", ngx.crc32_long(""),
            " ", ngx.crc32_long("123456789"))
--- response_body
f96b697d7cb7938d525a2f31aaf161d0 true
a9993e364706816aba3e25717850c26c9cd0d89d
effcdf6ae5eb2fa2d27416d5f184df9c259a7c79
aa4ae5e15272d00e95705637ce8a3b55ed402112
fbdb1d1b18aa6c08324b7d64b71fb76370690e1d true
4289425978 4289425978 0 3421780262


=== TEST 7: SQL literals
--- lua
    ngx.say(ngx.quote_sql_str("a'b\"c\\d\n\r\t\0\26\8é"), " ", ngx.quote_sql_str(""), " ", ngx.quote_sql_str(12))
--- response_body
'a\'b\"c\\d\n\r\t\0\Z\bé' '' '12'
