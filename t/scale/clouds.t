# nginx-conf/lua/cloud: orders become calls of clouds, signed as each wants it. t/lib plays the clouds and checks the
# signatures with means of its own.
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use Test::More;

my $root = $AutoscaleLua::Env::ROOT;
my $log = daemon(9180, '/usr/bin/python3', "$root/t/lib/AutoscaleLua/cloud-fake", 9180);
(my $dir = $log) =~ s{/log$}{};
$ENV{TEST_NGINX_CLOUD_DIR} = $dir;

for my $name (qw(aws-asg gcp-mig azure-vmss)) {
    mkdir "$dir/build";
    open my $in, '<', "$root/nginx-conf/$name.conf" or die $!;
    my $conf = do { local $/; <$in> };
    $conf =~ s/^load_module .*;$/AutoscaleLua::Env::load_modules()/em or die;
    open my $secret, '>', "$dir/build/order.secret" or die $!;
    print $secret "x\n";
    open my $out, '>', "$dir/$name.conf" or die $!;
    print $out $conf;
    close $_ for $secret, $out;
    my $said = `nginx -t -q -p '$dir/' -e stderr -c '$dir/$name.conf' 2>&1`;
    is("$?: $said", '0: ', "nginx-conf/$name.conf - nginx accepts it");
}

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', qq{
        lua_package_path "$root/nginx-conf/lua/?.lua;;";
        lua_shared_dict orders 1m;
        init_by_lua_block {
            fake, dir = "http://127.0.0.1:9180", "$dir/"
            cjson = require "cjson"
            -- a new name whose first word is `word`
            local names = 0
            function new(word)
                names = names + 1
                return word .. "-" .. ngx.worker.pid() .. "-" .. names .. "-" .. math.floor(ngx.now() * 1000)
            end
            local function get(path)
                return cjson.decode(require("autoscale.http").get(fake .. path).body)
            end
            function seen(group) return table.concat(get("/seen?group=" .. group), " ") end
            function issued(who) return get("/issued?who=" .. who) end
            -- sends an order, signed by somebody else's code; `change` says what is different
            function send(order, change)
                local http = require "autoscale.http"
                change = change or {}
                local body, time = cjson.encode(order), change.time or ngx.time()
                local uri = "/sign?id=" .. order.id .. "&time=" .. time
                if change.secret then uri = uri .. "&secret=" .. change.secret end
                local headers = {
                    ["webhook-id"] = change.id or order.id, ["webhook-timestamp"] = tostring(time),
                    ["webhook-signature"] = change.signature or http.post(fake .. uri, body).body,
                }
                if change.without then headers[change.without] = nil end
                local res = assert(http.post("http://127.0.0.1:1984/order/" .. (change.to or "aws"), change.body or body,
                                             { headers = headers }))
                return res.status, res.body:gsub("\\n\$", "") .. (res.headers.retry_after or "")
            end
        }
    } . ($block->http_config // ''));
    $block->set_value('config', ($block->config // '') . q{
        location /order/ {
            client_max_body_size 1m;
            client_body_buffer_size 1k;
            content_by_lua_block {
                local cloud = ngx.var.uri:match("[^/]+$")
                require("cloud.order").handle({ secret_file = dir .. "secret", orders = "orders" }, function(order)
                    local options = {
                        aws = { group = order.target, region = "eu-west-1", endpoint = fake,
                                credentials_file = dir .. "aws-credentials", profile = order.by },
                        gcp = { project = "p", zone = "europe-west1-b", group = order.target, endpoint = fake,
                                credentials_file = dir .. "sa" .. (order.by or "") .. ".json" },
                        azure = { subscription = "the-sub", resource_group = "rg", scale_set = order.target, endpoint = fake,
                                  login = fake, metadata = fake, tenant_id = "the-tenant", client_id = order.by or "the-client",
                                  client_secret_file = dir .. "azure-secret" },
                        identity = { subscription = "the-sub", resource_group = "rg", scale_set = order.target, endpoint = fake,
                                     metadata = fake, identity = true },
                    }
                    return require("cloud." .. cloud:gsub("identity", "azure")).resize(options[cloud], order)
                end)
            }
        }
    });
});

# modes: plain
run_tests();

__DATA__

=== TEST 1: signatures are those of AWS' test suite for Signature Version 4
--- lua
    -- aws-sig-v4-test-suite; the values can be had as fixtures of the AWS SDKs
    local sigv4 = require "cloud.sigv4"
    local by = { id = "AKIDEXAMPLE", secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" }
    local all = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    local form = "application/x-www-form-urlencoded"
    local session = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8"
        .. "YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHN"
        .. "VXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
    for _, case in ipairs {
        { "get-vanilla", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
        { "get-unreserved", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f", path = "/" .. all },
        { "get-utf8", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85", path = "/\225\136\180" },
        { "get-header-value-order", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
          headers = { ["My-Header1"] = "value4,value1,value3,value2" } },
        { "get-header-value-trim", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
          headers = { ["My-Header1"] = " value1", ["My-Header2"] = ' "a   b   c"' } },
        { "get-vanilla-query-order-key-case", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
          query = { Param2 = "value2", Param1 = "value1" } },
        { "get-vanilla-query-unreserved", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
          query = { [all] = all } },
        { "get-vanilla-utf8-query", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
          query = { ["\225\136\180"] = "bar" } },
        { "post-vanilla", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b", method = "POST" },
        { "post-sts-header-before", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead", method = "POST",
          headers = { ["X-Amz-Security-Token"] = session } },
        { "post-vanilla-query-nonunreserved", "66c82657c86e26fb25238d0e69f011edc4c6df5ae71119d7cb98ed9b87393c1e",
          method = "POST", query = { ["@#$%^"] = "", ["+"] = '/,?><`";:\\|][{}' } },
        { "post-x-www-form-urlencoded", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
          method = "POST", body = "Param1=value1", headers = { ["Content-Type"] = form } },
        { "post-x-www-form-urlencoded-parameters", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
          method = "POST", body = "Param1=value1", headers = { ["Content-Type"] = form .. "; charset=utf8" } },
    } do
        local headers = { Host = "example.amazonaws.com", ["X-Amz-Date"] = "20150830T123600Z" }
        for name, value in pairs(case.headers or {}) do
            headers[name] = value
        end
        local request = {
            method = case.method or "GET", path = case.path or "/", query = case.query and sigv4.query(case.query),
            headers = headers, body = case.body,
        }
        local got = sigv4.authorization(request, by, "us-east-1", "service")
        if got:match("Signature=(.*)") ~= case[2] then
            ngx.say(case[1], ": ", got)
        end
    end
    ngx.say("done")
--- response_body
done


=== TEST 2: digests are those of the standards
--- lua
    local crypto = require "cloud.crypto"
    -- FIPS 180-4's "abc", RFC 4231's second case
    ngx.say(crypto.hex(crypto.sha256("abc")))
    ngx.say(crypto.hex(crypto.sha256("")))
    ngx.say(crypto.hex(crypto.hmac_sha256("Jefe", "what do ya want for nothing?")))
    ngx.say(crypto.equal("abc", "abc"), crypto.equal("abc", "abd"), crypto.equal("abc", "ab"), crypto.equal("", ""))
--- response_body
ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843
truefalsefalsetrue


=== TEST 3: an order sets the capacity of an Auto Scaling group, once
--- lua
    local order = { id = new("o"), target = new("web"), to = 5, fence = 3, reason = "load" }
    ngx.say(send(order))
    ngx.say(send(order))
    ngx.say(seen(order.target))
    order.id, order.to = new("o"), 0
    ngx.say(send(order))
    ngx.say(seen(order.target))
--- response_body
200{"replicas":5}
200{"replicas":5,"repeated":true}
5
200{"replicas":0}
5 0


=== TEST 4: a session's token is signed with the rest
--- lua
    local order = { id = new("o"), target = new("web"), to = 5, by = "session" }
    ngx.say(send(order), " ", seen(order.target))
--- response_body
200 5


=== TEST 5: what was not signed with the secret, or not now, does nothing
--- lua
    local order = { id = new("o"), target = new("web"), to = 5 }
    local function try(change) ngx.say(send(order, change)) end
    try { secret = "other" }
    try { body = cjson.encode { id = order.id, target = order.target, to = 500 } }
    try { id = new("o") }
    try { signature = "v1,AAAA" }
    try { signature = "v1,!" }
    try { signature = "v1a,AAAA nonsense" }
    try { time = ngx.time() - 400 }
    try { time = ngx.time() + 400 }
    try { without = "webhook-signature" }
    try { without = "webhook-timestamp" }
    try { without = "webhook-id" }
    ngx.say("[", seen(order.target), "]")
    -- and nothing of it spoils the good one
    ngx.say(send(order))
--- response_body_like
^(401\{"error":"wrong signature: do both sides read the same secret_file\?"\}
){6}401\{"error":"signed 40\d s ago: do both clocks agree\?"\}
401\{"error":"signed (40\d|399) s ahead: do both clocks agree\?"\}
(401\{"error":"not signed: webhook-id, webhook-timestamp and webhook-signature are needed, once each"\}
){3}\[\]
200\{"replicas":5\}
--- allow_log
order


=== TEST 6: one good signature of several is enough, as while a secret is changed
--- lua
    local order = { id = new("o"), target = new("web"), to = 5 }
    local time, body = ngx.time(), cjson.encode(order)
    local good = require("autoscale.http").post(fake .. "/sign?id=" .. order.id .. "&time=" .. time, body).body
    ngx.say(send(order, { time = time, body = body, signature = "v1,AAAA " .. good }))
--- response_body
200{"replicas":5}


=== TEST 7: what is signed and is no order is refused
--- lua
    for _, change in ipairs {
        { to = "5" }, { to = -1 }, { to = 1.5 }, { to = 1e9 }, { fence = "x" }, { target = 1 },
    } do
        local order = { id = new("o"), target = new("web"), to = 5 }
        for name, value in pairs(change) do
            order[name] = value
        end
        ngx.say((send(order)))
    end
    local order = { id = new("o"), target = new("web"), to = 5, padding = ("x"):rep(100000) }
    ngx.say((send(order)))
    ngx.say(require("autoscale.http").get("http://127.0.0.1:1984/order/aws").status)
--- response_body
400
400
400
400
400
400
200
405
--- allow_log
not carried out


=== TEST 8: an older leader is refused, and so it stays
--- lua
    local target = new("web")
    local function lead(fence, to)
        return send { id = new("o"), target = target, to = to, fence = fence }
    end
    ngx.say(lead(7, 3))
    ngx.say(lead(6, 9))
    ngx.say(lead(8, 4))
    ngx.say(lead(7, 9))
    ngx.say(seen(target))
--- response_body
200{"replicas":3}
409{"error":"the leader of fence 6 has given way to that of 7"}
200{"replicas":4}
409{"error":"the leader of fence 7 has given way to that of 8"}
3 4
--- allow_log
not carried out


=== TEST 9: orders of one target are carried out one at a time
--- lua
    local target = new("slow")
    local function later()
        return send { id = new("o"), target = target, to = 4 }
    end
    local first = ngx.thread.spawn(later)
    ngx.sleep(0.15)
    ngx.say(later())
    ngx.say((select(2, ngx.thread.wait(first))))
    ngx.say(later())
    ngx.say(seen(target))
--- response_body
503{"error":"another order for this target is being carried out"}1
200
200{"replicas":4}
4 4


=== TEST 10: what AWS refuses is said in its words, and whether to try again
--- lua
    for _, word in ipairs { "none", "busy", "down", "skewed" } do
        ngx.say(send { id = new("o"), target = new(word), to = 5 })
    end
    for _, by in ipairs { "wrong", "nobody" } do
        ngx.say(send { id = new("o"), target = new("web"), to = 5, by = by })
    end
--- response_body_like
^424\{"error":"AWS: answered 400 ValidationError AutoScalingGroup name not found - none-.*"\}
503\{"error":"AWS: answered 400 ScalingActivityInProgress Scaling activity is in progress"\}1
503\{"error":"AWS: answered 503"\}7
424\{"error":"AWS: answered 403 SignatureDoesNotMatch Signature expired: \w+ is now earlier than the time: this machine's clock is (1000|999) s slow"\}
424\{"error":"AWS: answered 403 SignatureDoesNotMatch The request signature we calculated does not match the signature you provided\."\}
424\{"error":"[^"]+aws-credentials: no aws_access_key_id and aws_secret_access_key in \[nobody\]"\}
--- allow_log
not carried out
--- no_error_log
hidden
wrong


=== TEST 11: an order that failed can be tried again under its id
--- lua
    local order = { id = new("o"), target = new("web"), to = 5, by = "wrong" }
    ngx.say((send(order)))
    order.by = nil
    ngx.say(send(order))
    ngx.say(seen(order.target))
--- response_body
424
200{"replicas":5}
5
--- allow_log
not carried out


=== TEST 12: an order resizes a managed instance group by a service account's signed word, asked for once
--- lua
    local before = issued("scaler@p.iam.gserviceaccount.com")
    local target = new("web")
    for to = 3, 5 do
        ngx.say(send({ id = new("o"), target = target, to = to }, { to = "gcp" }))
    end
    ngx.say(seen(target), " ", issued("scaler@p.iam.gserviceaccount.com") - before <= 1)
--- response_body
200{"replicas":3}
200{"replicas":4}
200{"replicas":5}
3 4 5 true


=== TEST 13: a token that ends soon is asked for anew, and one that is refused once more
--- lua
    local function count() return issued("short@p.iam.gserviceaccount.com") end
    local target, before = new("web"), count()
    local function resize(by) return (send({ id = new("o"), target = target, to = 3, by = by }, { to = "gcp" })) end
    ngx.say(resize("-short"))
    ngx.sleep(1.1)
    ngx.update_time()
    ngx.say(resize("-short"), " ", count() - before)
    ngx.say(resize())
    require("autoscale.http").get(fake .. "/revoke")
    ngx.say(resize())
    ngx.say(seen(target))
--- response_body
200
200 2
200
200
3 3 3 3


=== TEST 14: Google's errors, and those of the key
--- lua
    for _, case in ipairs { { "none" }, { "quota" }, { "web", "-broken" }, { "web", "-missing" } } do
        local status, body = send({ id = new("o"), target = new(case[1]), to = 5, by = case[2] }, { to = "gcp" })
        ngx.say(status, " ", body)
    end
    ngx.say(require("cloud.crypto").rs256("", "x"))
    local file = io.popen("openssl genpkey -algorithm ed25519 2>/dev/null")
    ngx.say(require("cloud.crypto").rs256(file:read("*a"), "x"))
    file:close()
    file = io.popen("openssl genpkey -algorithm rsa -aes256 -pass pass:secret 2>/dev/null")
    ngx.say(require("cloud.crypto").rs256(file:read("*a"), "x"))
    file:close()
--- response_body_like
^424 \{"error":"Google: answered 404 404 The resource 'none-.*' was not found"\}
424 \{"error":"Google: QUOTA_EXCEEDED Quota 'CPUS' exceeded"\}
424 \{"error":"the service account's key: not a private key in PEM.*"\}
424 \{"error":".*sa-missing.json: No such file or directory"\}
nilnot a private key in PEM.*
nilnot an RSA key
nilnot a private key in PEM.*
--- allow_log
not carried out


=== TEST 15: what OpenSSL refused leaves no error behind for nginx's own connections
--- lua
    local crypto = require "cloud.crypto"
    for _ = 1, 50 do
        crypto.rs256("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "x")
        collectgarbage()
    end
    require("ffi").cdef "unsigned long ERR_peek_error(void);"
    ngx.say(tonumber(require("ffi").C.ERR_peek_error()))
--- response_body
0


=== TEST 16: an order sets the capacity of a scale set, by an application's secret
--- lua
    local before, target = issued("azure"), new("web")
    for to = 3, 4 do
        ngx.say(send({ id = new("o"), target = target, to = to }, { to = "azure" }))
    end
    ngx.say(seen(target), " ", issued("azure") - before <= 1)
--- response_body
200{"replicas":3}
200{"replicas":4}
3 4 true


=== TEST 17: or by the identity of the machine
--- lua
    local target = new("web")
    ngx.say(send({ id = new("o"), target = target, to = 3 }, { to = "identity" }))
    ngx.say(seen(target))
--- response_body
200{"replicas":3}
3


=== TEST 18: Azure's errors; no secret is in them
--- lua
    local function fails(word, by)
        ngx.say(send({ id = new("o"), target = new(word), to = 5, by = by }, { to = "azure" }))
    end
    fails("conflict")
    fails("web", "other-client")
--- response_body
424{"error":"Azure: answered 409 OperationNotAllowed Operation is not allowed"}
424{"error":"Azure's token: answered 401 invalid_client AADSTS7000215: Invalid client secret provided."}
--- allow_log
not carried out
--- no_error_log
p@ss
p%40ss


=== TEST 19: a cloud that cannot be reached is worth another try
--- config
    location = /unreachable {
        content_by_lua_block {
            require("cloud.order").handle({ secret_file = dir .. "secret", orders = "orders" }, function(order)
                return require("cloud.aws").resize({ group = "web", region = "eu-west-1", endpoint = "http://127.0.0.1:1",
                                                     credentials_file = dir .. "aws-credentials" }, order)
            end)
        }
    }
--- lua
    ngx.say(send({ id = new("o"), target = new("web"), to = 5 }, { to = "../unreachable" }))
--- response_body
503{"error":"AWS: connect: connection refused"}1
--- allow_log
not carried out
connect() failed


=== TEST 20: what a policy decides arrives at the cloud
--- http_config
    autoscale_zone main:4m keys=16;
    autoscale_target machines webhook:http://127.0.0.1:1984/policy secret_file=$TEST_NGINX_CLOUD_DIR/secret min=2 max=9
        timeout=10s;
    autoscale_policy machines target=machines {
        up upstream.backend.rate > 0 by=+3;
        cooldown up=60s;
    }
--- backend
    location / { return 200; }
--- config
    location = /p { proxy_pass http://backend; }
    location = /policy {
        content_by_lua_block {
            require("cloud.order").handle({ secret_file = dir .. "secret", orders = "orders" }, function(order)
                return require("cloud.aws").resize({ group = "policy-" .. order.target, region = "eu-west-1", endpoint = fake,
                                                     credentials_file = dir .. "aws-credentials" }, order)
            end)
        }
    }
--- lua
    ngx.location.capture("/p")
    for _ = 1, 200 do
        if seen("policy-machines") ~= "" then break end
        ngx.sleep(0.02)
    end
    ngx.say(seen("policy-machines"))
--- response_body
5
