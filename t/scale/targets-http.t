# modes: plain
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use AutoscaleLua::Targets;

# Targets that are told over HTTP: webhooks, Consul and Kafka's REST proxy as t/lib/AutoscaleLua/outward-fake plays them, and etcd itself.
fake();
$ENV{ETCD_UNSUPPORTED_ARCH} = 'arm64';
daemon(2379, 'etcd', '--data-dir', 'data', '--log-outputs', 'stdout');
run_tests();

__DATA__

=== TEST 1: a webhook is told what to become, signed, under one key however often
--- once
--- http_config eval
main::told((map { ($_ => "webhook:http://127.0.0.1:9444/hook/$_ timeout=2s secret_file=\$TEST_NGINX_SECRETS/secret") }
    qw(a b-busy-1 c-broken-2 d-late-1 e-cut-1 f-capped-1 g-refuse)),
    plain => 'webhook:http://127.0.0.1:9444/hook/plain') . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    load()
    for _, name in ipairs { "b-busy-1", "c-broken-2", "d-late-1", "e-cut-1" } do
        await(function() return noted(name, "POST"):find "200" end)
    end
    for _, name in ipairs { "a", "b-busy-1", "c-broken-2", "d-late-1", "e-cut-1", "f-capped-1", "g-refuse", "plain" } do
        local last = seen(name)
        local body = require("cjson").decode(last.body)
        ngx.say(name, ": ", noted(name, "POST", "EARLY"), ", ", body.from, " to ", body.to)
        assert(last.headers["Idempotency-Key"] == '"' .. body.id .. '"' and last.headers["webhook-id"] == body.id)
        assert(body.policy == name and body.target == name and body.reason:find "custom.load" and body.fence > 0)
        assert(body.time:find "^20%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$")
    end
--- response_body
a: POST 200 signed, 1 to 5
b-busy-1: POST busy signed, POST 200 signed, 1 to 5
c-broken-2: POST broken signed, POST broken signed, POST 200 signed, 1 to 5
d-late-1: POST late signed, POST 200 signed, 1 to 5
e-cut-1: POST cut signed, POST 200 signed, 1 to 5
f-capped-1: POST capped signed, 1 to 5
g-refuse: POST refuse signed, 1 to 5
plain: POST 200 unsigned, 1 to 5
--- error_log
autoscale policy "f-capped-1": decision 1 is written: 4 replicas
it is given up: POST was answered 403
--- timeout: 20


=== TEST 2: etcd has the order, and an older leader does not overwrite a newer one
--- once
--- http_config eval
main::told(etcd => 'etcd:127.0.0.1/scale/web', later => 'etcd:127.0.0.1/scale/later', other => 'etcd:127.0.0.1/scale/other')
    . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    local http, cjson = require "autoscale.http", require "cjson"
    local function etcd(what, message)
        return cjson.decode(http.post("http://127.0.0.1:2379/v3/kv/" .. what, cjson.encode(message)).body)
    end
    local function value(key)
        local found = etcd("range", { key = ngx.encode_base64(key) })
        return found.kvs and cjson.decode(ngx.decode_base64(found.kvs[1].value)) or {}
    end
    local function put(key, text)
        etcd("put", { key = ngx.encode_base64(key), value = ngx.encode_base64(text) })
    end
    if etcd("range", { key = ngx.encode_base64("scale/later") }).kvs == nil then
        -- written before anything is decided: the first tick is a second away
        put("scale/later", [[{"id":"x","policy":"p","target":"t","from":1,"to":2,"reason":"","time":"","fence":9007199254740991}]])
        put("scale/other", "not ours")
    end
    load()
    await(function() return value("scale/web").to == 5 end)
    local web = value("scale/web")
    ngx.say(web.target, " ", web.from, " ", web.to, " ", web.fence > 0)
    ngx.sleep(0.5)
    ngx.say(value("scale/later").to)
--- response_body
etcd 1 5 true
2
--- error_log
a later leader has written (fence 9007199254740991)
--- timeout: 20


=== TEST 3: Consul has the order, by compare-and-swap, whoever else writes
--- once
--- http_config eval
main::told((map { ($_ => "consul:127.0.0.1:9444/scale/$_ timeout=2s token_file=\$TEST_NGINX_SECRETS/token") }
    qw(consul b-conflict-3 y-late-1 x-broken-1 z-refuse))) . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    load()
    await(function() return noted("b-conflict-3", "PUT"):find "True" and noted("x-broken-1", "PUT"):find "True" end)
    for _, name in ipairs { "consul", "b-conflict-3", "y-late-1", "x-broken-1", "z-refuse" } do
        local value = seen(name).value
        ngx.say(name, ": ", noted(name, "PUT"), ", ", value and require("cjson").decode(value).to)
    end
--- response_body
consul: PUT True, 5
b-conflict-3: PUT False, PUT False, PUT False, PUT True, 5
y-late-1: PUT True, 5
x-broken-1: PUT broken, PUT True, 5
z-refuse: PUT refuse, nil
--- timeout: 20


=== TEST 4: Kafka's proxy gets a record, and may say in a good answer that it was lost
--- once
--- http_config eval
main::told((map { ($_ => "kafka:127.0.0.1:9444/$_ timeout=2s token_file=\$TEST_NGINX_SECRETS/token") }
    qw(kafka b-lost-1 c-never d-busy-1))) . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    load()
    await(function() return noted("d-busy-1", "POST"):find "200" and noted("b-lost-1", "POST"):find "200" end)
    for _, name in ipairs { "kafka", "b-lost-1", "c-never", "d-busy-1" } do
        local last = seen(name)
        local record = require("cjson").decode(last.body).records[1]
        ngx.say(name, ": ", noted(name, "POST", "EARLY"), ", ", record.key, " ", record.value.to, " ", last.headers["Content-Type"], " ",
            last.headers.Authorization:sub(1, 6))
    end
--- response_body
kafka: POST 200, kafka 5 application/vnd.kafka.json.v2+json Bearer
b-lost-1: POST lost, POST 200, b-lost-1 5 application/vnd.kafka.json.v2+json Bearer
c-never: POST never, c-never 5 application/vnd.kafka.json.v2+json Bearer
d-busy-1: POST busy, POST 200, d-busy-1 5 application/vnd.kafka.json.v2+json Bearer
--- error_log
it is given up: error 1: broker gone
--- timeout: 20


=== TEST 5: webhooks and Kafka can be notified of decisions, other kinds cannot
--- once
--- http_config eval
main::told(notifier => 'webhook:http://127.0.0.1:9444/hook/notifier') =~ s/by=\+4;/by=+4; do notify bell; do notify topic; do notify key;/r . '
    autoscale_target bell webhook:http://127.0.0.1:9444/hook/bell-broken-1 secret_file=$TEST_NGINX_SECRETS/secret;
    autoscale_target topic kafka:127.0.0.1:9444/topic;
    autoscale_target key consul:127.0.0.1:9444/key;
' . $AutoscaleLua::Targets::FAKE_LUA
--- lua
    load()
    await(function() return noted("bell-broken-1", "POST"):find "200" and noted("topic", "POST"):find "200" end)
    ngx.say(noted("bell-broken-1", "POST"))
    ngx.say(noted("topic", "POST"))
    local bell, topic = seen "bell-broken-1", seen "topic"
    local message = require("cjson").decode(bell.body)
    ngx.say(message.policy, " ", require("cjson").decode(topic.body).records[1].value.policy)
    ngx.say(bell.headers["webhook-id"]:find "^notify%-" == 1)
--- response_body
POST broken signed, POST 200 signed
POST 200
notifier notifier
true
--- error_log
autoscale target "key" is not notified: a target of kind consul cannot be notified
--- timeout: 20


=== TEST 6: a secret that is not there fails the configuration
--- http_config
    autoscale_zone main:8m;
    autoscale_target t webhook:http://127.0.0.1:9444/hook max=5 secret_file=/nowhere;
--- config
    location = /t { return 200; }
--- must_die
--- error_log
secret_file "/nowhere": no such file or directory in


=== TEST 7: away from any pod a cluster without an address is warned of
--- once
--- http_config
    autoscale_zone main:8m;
    autoscale_target t kubernetes:shop/deployment/web max=5;
--- lua
    ngx.sleep(0.2)
--- error_log
autoscale_target "t": no api=, and this is no pod (KUBERNETES_SERVICE_HOST is not set)
the target does not tell its replicas: no api= is configured, and this is no pod
