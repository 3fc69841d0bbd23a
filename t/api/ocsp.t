# ngx.ocsp: what a responder says of a certificate, on its way to clients. The responder is openssl's, asked when the test
# begins, so that its answers are of today.
use lib 't/lib';
use AutoscaleLua;

my $certs = $ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();
my $answers = $ENV{TEST_NGINX_ANSWERS} = AutoscaleLua::Env::scratch();

# The responder's answer about a certificate: its status as openssl writes it, V good and R revoked.
sub answer {
    my ($name, $status, $asked, $signer, $key) = @_;
    my ($serial) = `openssl x509 -in $certs/staple.crt -noout -serial` =~ /=(\w+)/;
    open my $index, '>', "$answers/index" or die $!;
    print $index join("\t", $status, '490101000000Z', $status eq 'R' ? '240101000000Z' : '', $serial, 'unknown', '/CN=a'), "\n";
    close $index;
    $signer //= "$certs/responder.crt";
    $key //= "$certs/responder.key";
    my $ca = "-CA $certs/responder.crt -rsigner $signer -rkey $key";
    system("openssl ocsp -issuer $certs/responder.crt $asked -no_nonce -reqout $answers/question > /dev/null 2>&1");
    system("openssl ocsp -index $answers/index $ca -reqin $answers/question -respout $answers/$name -ndays 2 > /dev/null 2>&1");
    -s "$answers/$name" or die "openssl has no answer called $name";
}
answer('good', 'V', "-cert $certs/staple.crt");
answer('revoked', 'R', "-cert $certs/staple.crt");
answer('other', 'V', '-serial 0x77');
# somebody whom the authority has charged with answers, and somebody else
my $about = "-cert $certs/staple.crt";
my $new = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=somebody";
open my $usage, '>', "$answers/usage" or die $!;
print $usage "extendedKeyUsage = OCSPSigning\n";
close $usage;
system("$new -x509 -keyout $answers/forger.key -out $answers/forger.crt > /dev/null 2>&1");
system("$new -keyout $answers/delegate.key -out $answers/delegate.csr > /dev/null 2>&1");
system("openssl x509 -req -in $answers/delegate.csr -CA $certs/responder.crt -CAkey $certs/responder.key -set_serial 9 "
    . "-extfile $answers/usage -out $answers/delegate.crt > /dev/null 2>&1");
answer('forged', 'V', $about, "$answers/forger.crt", "$answers/forger.key");
answer('delegated', 'V', $about, "$answers/delegate.crt", "$answers/delegate.key");

our $Lua = <<'EOC';
lua_ssl_trusted_certificate $TEST_NGINX_CERTS/responder.crt;
lua_shared_dict seen 64k;
init_by_lua_block {
    ssl, ocsp = require "ngx.ssl", require "ngx.ocsp"
    local function read(path)
        local f = assert(io.open(path))
        local s = f:read("*a")
        f:close()
        return s
    end
    function slurp(name) return read("$TEST_NGINX_CERTS/" .. name) end
    function said(name) return read("$TEST_NGINX_ANSWERS/" .. name) end
    chain = ssl.cert_pem_to_der(slurp("staple.crt"))
    own = ssl.cert_pem_to_der(slurp("staple.crt"):match("^.-END CERTIFICATE%-+\n"))
}
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $main::Lua . ($block->http_config // ''));
});

run_tests();

__DATA__

=== TEST 1: where to ask
--- lua
    ngx.say(ocsp.get_ocsp_responder_from_der_chain(chain))
    ngx.say(ocsp.get_ocsp_responder_from_der_chain(chain, 10))
    ngx.say(ocsp.get_ocsp_responder_from_der_chain(own))
    ngx.say(ocsp.get_ocsp_responder_from_der_chain(ssl.cert_pem_to_der(slurp("server.crt"))))
    ngx.say(ocsp.get_ocsp_responder_from_der_chain(own .. ssl.cert_pem_to_der(slurp("ca.crt"))))
    ngx.say(ocsp.get_ocsp_responder_from_der_chain(own .. "none"))
    ngx.say(ocsp.get_ocsp_responder_from_der_chain("none"))
    ngx.say(pcall(ocsp.get_ocsp_responder_from_der_chain))
--- response_body
http://127.0.0.1:1985/ocsp
http://127truncated
nilno issuer certificate in chain
nil
nilissuer certificate not next to leaf
nild2i_X509_bio() failed
nild2i_X509_bio() failed
falsebad argument #1 to 'get_ocsp_responder_from_der_chain' (string expected, got nil)


=== TEST 2: what to ask
--- lua
    local question = ocsp.create_ocsp_request(chain)
    ngx.say(#question > 50, " ", question:byte(1))
    ngx.say(ocsp.create_ocsp_request(chain, #question) == question)
    ngx.say((select(2, ocsp.create_ocsp_request(chain, 10)):gsub(#question, "N")))
    ngx.say(ocsp.create_ocsp_request(own))
    ngx.say(ocsp.create_ocsp_request("none"))
--- response_body
true 48
true
output buffer too small: N > 10
nilno issuer certificate in chain
nild2i_X509_bio() failed


=== TEST 3: what is answered, and until when
--- lua
    local ok, next_update = ocsp.validate_ocsp_response(said("good"), chain)
    ngx.say(ok, " ", math.abs(next_update - ngx.time() - 2 * 86400) < 600)
    ngx.say(ocsp.validate_ocsp_response(said("revoked"), chain))
    ngx.say(ocsp.validate_ocsp_response(said("other"), chain))
    ngx.say(ocsp.validate_ocsp_response(said("good"), own))
    ngx.say(ocsp.validate_ocsp_response("none", chain))
    ngx.say(ocsp.validate_ocsp_response("none", chain, 4))
    -- an answer without what was asked for: "try later"
    ngx.say(ocsp.validate_ocsp_response("\48\3\10\1\3", chain))
    local cut = said("good")
    ngx.say(ocsp.validate_ocsp_response(cut:sub(1, -2), chain))
    -- a serial number in what is signed: in both places of it
    local changed = cut:gsub("\2\2\32\1", "\2\2\32\2")
    ngx.say(changed ~= cut, ocsp.validate_ocsp_response(changed, chain))
    ngx.say(ocsp.validate_ocsp_response(said("forged"), chain))
    ngx.say((ocsp.validate_ocsp_response(said("delegated"), chain)))
--- response_body
true true
nilcertificate status "revoked" in the OCSP response
nilcertificate status not found in the OCSP response
nilno issuer certificate in chain
nild2i_OCSP_RESPONSE() failed
nild2i_
nilOCSP response not successful (3: trylater)
nild2i_OCSP_RESPONSE() failed
truenilOCSP_basic_verify() failed
nilOCSP_basic_verify() failed
true


=== TEST 4: a script asks the responder, and shows clients the answer
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        ssl_certificate $TEST_NGINX_CERTS/staple.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_certificate_by_lua_block {
            local host, port, path = ocsp.get_ocsp_responder_from_der_chain(chain):match("//(.-):(%d+)(/.*)")
            local question = ocsp.create_ocsp_request(chain)
            local sock = ngx.socket.tcp()
            assert(sock:connect(host, port))
            sock:send({ "POST ", path, " HTTP/1.0\r\nContent-Length: ", #question, "\r\n\r\n", question })
            sock:receiveuntil("\r\n\r\n")()
            local answer = sock:receive("*a")
            sock:close()
            assert(ocsp.validate_ocsp_response(answer, chain))
            local ok, what = ocsp.set_ocsp_status_resp(answer)
            ngx.shared.seen:set("staple", tostring(ok) .. " " .. tostring(what))
        }
        return 204;
    }
    server {
        listen 127.0.0.1:1985;
        location = /ocsp {
            content_by_lua_block {
                ngx.req.read_body()
                assert(ngx.req.get_body_data() == ocsp.create_ocsp_request(chain))
                ngx.print(said("good"))
            }
        }
    }
--- lua
    local said, command = "$TEST_NGINX_HTML_DIR/said", "openssl s_client -status -unix $TEST_NGINX_HTML_DIR/server.sock"
    os.execute("{ " .. command .. " < /dev/null > " .. said .. ".new 2>&1; mv " .. said .. ".new " .. said .. "; } &")
    local f
    repeat
        ngx.sleep(0.01)
        f = io.open(said)
    until f
    ngx.say(f:read("*a"):match("Cert Status: %w+"))
    f:close()
    os.remove(said)
    ngx.say(ngx.shared.seen:get("staple"))
    -- a script's socket does not ask
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/server.sock"))
    assert(sock:sslhandshake(false, "test.example", true))
    sock:close()
    ngx.say(ngx.shared.seen:get("staple"))
--- response_body
Cert Status: good
true nil
true no status req


=== TEST 5: nginx's own answer is shown as before where the script gives none
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/server.sock ssl;
        ssl_certificate $TEST_NGINX_CERTS/staple.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        ssl_stapling on;
        ssl_stapling_file $TEST_NGINX_ANSWERS/revoked;
        ssl_certificate_by_lua_block {
            local name = ssl.server_name()
            if name == "script" then ocsp.set_ocsp_status_resp(said("good")) end
        }
        return 204;
    }
--- lua
    local function ask(name)
        local said, command = "$TEST_NGINX_HTML_DIR/said", "openssl s_client -status -servername " .. name
            .. " -unix $TEST_NGINX_HTML_DIR/server.sock"
        os.execute("{ " .. command .. " < /dev/null > " .. said .. ".new 2>&1; mv " .. said .. ".new " .. said .. "; } &")
        local f
        repeat
            ngx.sleep(0.01)
            f = io.open(said)
        until f
        ngx.say(f:read("*a"):match("Cert Status: %w+"))
        f:close()
        os.remove(said)
    end
    ask("nginx")
    ask("script")
--- response_body
Cert Status: revoked
Cert Status: good


=== TEST 6: without a connection that speaks TLS
--- lua
    ngx.say(ocsp.set_ocsp_status_resp(said("good")))
    ngx.say(pcall(ocsp.set_ocsp_status_resp))
--- response_body
nilbad request
falsebad argument #1 to 'set_ocsp_status_resp' (string expected, got nil)
