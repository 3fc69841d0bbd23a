# modes: plain
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Targets;

# Kubernetes targets against a fake API server (t/lib/AutoscaleLua/outward-fake) that refuses, hangs and forgets. In all blocks the
# number is 3 and has to become 5; what counts is that it is set once, whatever happens on the way.
fake();
our $Away = pod();
our $Api = 'api=https://127.0.0.1:9443 ca_file=$TEST_NGINX_CERTS/ca.crt token_file=$TEST_NGINX_SECRETS/token';

sub workloads { return scaled(map { ($_ => "kubernetes:shop/deployment/$_ $Api timeout=2s") } @_) . $FAKE_LUA }
run_tests();

__DATA__

=== TEST 1: T22: it is read and patched once, whatever the API server does meanwhile, and others' changes stay
--- once
--- http_config eval
main::workloads(qw(web a-conflict-10 b-busy-1 c-date-1 d-broken-2 e-deaf-1 f-late-1 g-cut-1 h-scaleonly i-refuse-2
        moved-moved-1 zero-zero-1 refused-refuse huge-huge))
    . main::scaled_more('deaf-deaf' => "kubernetes:shop/deployment/deaf-deaf $main::Api timeout=300ms")
    . 'lua_package_path "$TEST_NGINX_LUA/?.lua;;";'
--- lua
    show { "web", "a-conflict-10", "b-busy-1", "c-date-1", "d-broken-2", "e-deaf-1", "h-scaleonly", "i-refuse-2" }
    -- whose answer got lost is looked at again, and that is all
    for _, name in ipairs { "f-late-1", "g-cut-1" } do
        ngx.say(name, ": ", noted(name, "SET", "PATCH"))
    end
    for _, name in ipairs { "moved-moved-1", "zero-zero-1", "refused-refuse", "huge-huge", "deaf-deaf" } do
        ngx.say(name, ": ", noted(name, "SET"))
    end
    -- rights may come: it is tried until its time is over
    require("testing").gets_logged("PATCH scale was answered 403: forbidden", 5)
    ngx.say(noted("refused-refuse", "PATCH"):match("^PATCH refuse, PATCH refuse"))
--- response_body
web: SET 5, PATCH 200
a-conflict-10: PATCH 409, PATCH 409, PATCH 409, PATCH 409, PATCH 409, PATCH 409, PATCH 409, PATCH 409, PATCH 409, PATCH 409, SET 5, PATCH 200
b-busy-1: PATCH busy, SET 5, PATCH 200
c-date-1: PATCH date, SET 5, PATCH 200
d-broken-2: PATCH broken, PATCH broken, SET 5, PATCH 200
e-deaf-1: PATCH deaf, SET 5, PATCH 200
h-scaleonly: SET 5, PATCH 200
i-refuse-2: PATCH refuse, PATCH refuse, SET 5, PATCH 200
f-late-1: SET 5, PATCH late
g-cut-1: SET 5, PATCH cut
moved-moved-1: SET 9
zero-zero-1: SET 0
refused-refuse: 
huge-huge: 
deaf-deaf: 
PATCH refuse, PATCH refuse
--- error_log
somebody scaled it to zero
PATCH scale was answered 403: forbidden: no such right
GET: body too large: more than 1048576 bytes
PATCH: read: timeout
--- timeout: 20


=== TEST 2: a token that was rotated is read again; kinds of other groups are looked up
--- once
--- http_config eval
main::scaled('r-rotated-1' => "kubernetes:shop/statefulset/r-rotated-1 $main::Api",
    fleet => "kubernetes:shop/example.com.fleet/fleet $main::Api",
    log => "kubernetes:shop/example.com.log/log $main::Api",
    nowhere => "kubernetes:shop/nowhere.com.log/nowhere $main::Api") . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    show { "r-rotated-1" }
    -- it may have met the token that was no longer valid, too
    await(function() return noted("fleet", "PATCH"):find "200" end)
    ngx.say("fleet: ", noted("fleet", "SET", "PATCH 200"))
--- response_body
r-rotated-1: PATCH 401, SET 5, PATCH 200
fleet: SET 5, PATCH 200
--- error_log
the cluster has no kind "example.com.log" that can be scaled
GET /apis/nowhere.com was answered 404
--- timeout: 20


=== TEST 3: a leader is killed between read and patch: the next one does what is left
--- once
--- http_config eval
main::workloads('k-killget-1')
--- config
    location = /wait { content_by_lua_block { ngx.sleep(10) } }
    location = /t {
        content_by_lua_block {
            await(function() return noted("k-killget-1", "SET") ~= "" end)
            -- time for what must not happen
            ngx.sleep(1.5)
            ngx.say(noted("k-killget-1", "SET", "PATCH"))
        }
    }
--- request eval
["GET /wait", "GET /t"]
--- error_code eval
["", 200]
--- response_body eval
["", "SET 5, PATCH 200\n"]
--- allow_log
exited on signal 9
--- timeout: 20


=== TEST 4: a leader is killed after the patch: the next one finds it done
--- once
--- http_config eval
main::workloads('l-killpatch-1')
--- config
    location = /wait { content_by_lua_block { ngx.sleep(10) } }
    location = /t {
        content_by_lua_block {
            await(function() return noted("l-killpatch-1", "SET") ~= "" end)
            -- time for what must not happen
            ngx.sleep(1.5)
            ngx.say(noted("l-killpatch-1", "SET", "PATCH"))
        }
    }
--- request eval
["GET /wait", "GET /t"]
--- error_code eval
["", 200]
--- response_body eval
["", "SET 5, PATCH killpatch\n"]
--- allow_log
exited on signal 9
--- timeout: 20


=== TEST 5: a server that is another one is told nothing
--- once
--- http_config eval
main::scaled(name => 'kubernetes:shop/deployment/name api=https://127.0.0.2:9443 ca_file=$TEST_NGINX_CERTS/ca.crt token_file=$TEST_NGINX_SECRETS/token',
    unknown => 'kubernetes:shop/deployment/unknown api=https://127.0.0.1:9443 ca_file=$TEST_NGINX_CERTS/selfsigned.crt token_file=$TEST_NGINX_SECRETS/token',
    system => 'kubernetes:shop/deployment/system api=https://127.0.0.1:9443') . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    await(function() return is_logged '"system": the target' end)
    for _, name in ipairs { "name", "unknown", "system" } do
        ngx.say(name, ": ", noted(name, ""))
    end
--- response_body
name: 
unknown: 
system: 
--- error_log
"name": the target does not tell its replicas: GET: tls: certificate host mismatch
"unknown": the target does not tell its replicas: GET: tls: 20: unable to get local issuer certificate
"system": the target does not tell its replicas: GET: tls: 20: unable to get local issuer certificate
--- timeout: 10


=== TEST 6: in a pod nothing has to be said: service, token and CA are there
--- skip_eval: 2: $::Away
--- once
--- http_config eval
main::scaled(pod => 'kubernetes:shop/deployment/pod') . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    show { "pod" }
--- response_body
pod: SET 5, PATCH 200
--- timeout: 20


=== TEST 7: a CA file that is not there fails the configuration
--- http_config
    autoscale_zone main:8m;
    autoscale_target t kubernetes:shop/deployment/web max=5 api=https://127.0.0.1:9443 ca_file=/nowhere/ca.crt;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
ca_file "/nowhere/ca.crt": no such file or directory in


=== TEST 8: so does one without certificates
--- http_config
    autoscale_zone main:8m;
    autoscale_target t kubernetes:shop/deployment/web max=5 api=https://127.0.0.1:9443 ca_file=$TEST_NGINX_SECRETS/token;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
has no certificate in PEM format


=== TEST 9: a token is not sent in the clear
--- http_config
    autoscale_zone main:8m;
    autoscale_target t kubernetes:shop/deployment/web max=5 api=http://127.0.0.1:9443 token_file=$TEST_NGINX_SECRETS/token;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
a token would be sent in the clear


=== TEST 10: a token is one word
--- http_config
    autoscale_zone main:8m;
    autoscale_target t kubernetes:shop/deployment/web max=5 api=https://127.0.0.1:9443 token_file=$TEST_NGINX_CERTS/ca.crt;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
holds no token
