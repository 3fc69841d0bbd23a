# modes: plain hup workers valgrind
use lib 't/lib';
use AutoscaleLua;

$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', <<'EOC');
init_by_lua_block {
    ssl = require "ngx.ssl"
    function slurp(name)
        local f = assert(io.open("$TEST_NGINX_CERTS/" .. name))
        local s = f:read("*a")
        f:close()
        return s
    end
}
EOC
});

run_tests();

__DATA__

=== TEST 1: certificates, from one format to the other
--- lua
    local pem = slurp("deep.crt")
    local der = ssl.cert_pem_to_der(pem)
    -- both certificates of the file, as they are written in it
    local expected = pem:gsub("%-%-%-%-%-[^\n]*\n", "|"):gsub("\n", "")
    local found = {}
    for base64 in expected:gmatch("[^|]+") do found[#found + 1] = ngx.decode_base64(base64) end
    ngx.say(#found, " ", der == table.concat(found))
    ngx.say(type(ssl.parse_der_cert(der)), " ", type(ssl.parse_pem_cert(pem)))
    ngx.say(type(ssl.parse_der_cert(found[1])))
--- response_body
2 true
cdata cdata
cdata


=== TEST 2: keys, from one format to the other, with a passphrase and without
--- lua
    local der = ssl.priv_key_pem_to_der(slurp("client.key"))
    ngx.say(ssl.priv_key_pem_to_der(slurp("client.enc.key"), "secret") == der)
    ngx.say(ssl.priv_key_pem_to_der(slurp("client.enc.key"), "wrong"))
    ngx.say(ssl.priv_key_pem_to_der(slurp("client.enc.key")))
    ngx.say(ssl.priv_key_pem_to_der(slurp("client.enc.key"), ("x"):rep(100000)))
    ngx.say(type(ssl.parse_der_priv_key(der)), " ", type(ssl.parse_pem_priv_key(slurp("client.key"))), " ",
            type(ssl.parse_pem_priv_key(slurp("client.enc.key"), "secret")))
--- response_body
true
nilPEM_read_bio_PrivateKey() failed
nilPEM_read_bio_PrivateKey() failed
nilPEM_read_bio_PrivateKey() failed
cdata cdata cdata


=== TEST 3: what is none
--- lua
    local cert, key = slurp("server.crt"), slurp("server.key")
    for _, text in ipairs { "", "nonsense", key, cert:sub(1, 100), cert .. cert:gsub("MII", "***") } do
        ngx.say((select(2, ssl.parse_pem_cert(text))))
    end
    for _, text in ipairs { "", "nonsense", cert, key:sub(1, 100) } do
        ngx.say((select(2, ssl.parse_pem_priv_key(text))))
    end
    local der = ssl.cert_pem_to_der(cert)
    for _, text in ipairs { "", "nonsense", der:sub(1, 100), der .. "x" } do
        ngx.say((select(2, ssl.parse_der_cert(text))))
    end
    ngx.say((select(2, ssl.parse_der_priv_key(der))))
    ngx.say((select(2, ssl.cert_pem_to_der(key))))
    ngx.say((select(2, ssl.priv_key_pem_to_der(cert))))
--- response_body
PEM_read_bio_X509_AUX() failed
PEM_read_bio_X509_AUX() failed
PEM_read_bio_X509_AUX() failed
PEM_read_bio_X509_AUX() failed
PEM_read_bio_X509() failed
PEM_read_bio_PrivateKey() failed
PEM_read_bio_PrivateKey() failed
PEM_read_bio_PrivateKey() failed
PEM_read_bio_PrivateKey() failed
d2i_X509_bio() failed
d2i_X509_bio() failed
d2i_X509_bio() failed
d2i_X509_bio() failed
d2i_PrivateKey_bio() failed
PEM_read_bio_X509_AUX() failed
PEM_read_bio_PrivateKey() failed
--- no_error_log
[error]


=== TEST 4: wrong arguments
--- lua
    ngx.say((select(2, pcall(ssl.parse_pem_cert))))
    ngx.say((select(2, pcall(ssl.parse_der_cert, {}))))
    ngx.say((select(2, pcall(ssl.priv_key_pem_to_der, true))))
--- response_body
bad argument #1 to 'parse_pem_cert' (string expected, got nil)
bad argument #1 to 'parse_der_cert' (string expected, got table)
bad argument #1 to 'priv_key_pem_to_der' (string expected, got boolean)
