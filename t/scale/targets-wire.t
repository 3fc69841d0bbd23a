# Orders as messages, end to end: real servers of Redis, and t/lib/AutoscaleLua/message-fake for what these do not do.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

my $lib = "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua";
my $certs = $ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
my @redis = (qw(redis-server --bind 127.0.0.1 --appendonly no --save), '');
daemon(6379, @redis, qw(--port 6379));
daemon(6380, @redis, qw(--port 6380 --requirepass pass:word --user app on >word ~* &* +@all));
daemon(6381, @redis, qw(--port 0 --tls-port 6381 --tls-auth-clients no --tls-cert-file), "$certs/server.crt", '--tls-key-file',
    "$certs/server.key", '--tls-ca-cert-file', "$certs/ca.crt");
daemon(7000, "$lib/message-fake", 7000);

# A line of `--- targets` is a target `NAME redis:…`; each has a policy of its own, which the first request to /hit makes scale
# from 1 to 3.
add_block_preprocessor(sub {
    my $block = shift;
    my $http = "autoscale_zone main:16m keys=16;\n";
    for (split /\n/, $block->targets // '') {
        my ($name, $rest) = /^(\w+) (.*)/ or next;
        $http .= "autoscale_target $name $rest max=20;\n";
        $http .= "autoscale_policy $name target=$name { up upstream.backend.latency >= 0ms for=1r by=+2; }\n";
    }
    $block->set_value('http_config', $http . <<'HTTP' . ($block->http_config // ''));
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        read, write, sh, wait_for, redis, times = testing.read, testing.write, testing.sh, testing.wait_for, testing.redis, testing.count_plain
        logged = function(text, seconds) return testing.gets_logged(text, seconds or 5) end
        -- what is said of a policy's first decision
        function fate(name)
            local said = wait_for(function()
                return testing.error_log():match('"' .. name .. '": decision 1,? ([^\n]+)')
            end)
            return (said:gsub("%d+ ms", "N ms"):gsub("to %d, is not written after N ms, ", ""))
        end
        -- the same if it is ever said: the last of several tries may have had no time left for more than to begin
        function comes_to(name, wanted)
            local all = {}
            wait_for(function()
                for said in testing.error_log():gmatch('"' .. name .. '": decision 1,? ([^\n]+)') do
                    local text = said:gsub("%d+ ms", "N ms"):gsub("to %d, is not written after N ms, ", "")
                    all[text] = true
                    all.last = text
                end
                return all[wanted]
            end, 12)
            ngx.say(name, ": ", all[wanted] and wanted or all.last)
        end
        function hit()
            assert(logged("this worker leads now") == true)
            ngx.sleep(0.1)
            ngx.location.capture("/hit")
        end
        function entries(red, stream)
            local all = {}
            for i, entry in ipairs(red:xrange(stream, "-", "+")) do
                local fields = {}
                for n = 1, #entry[2], 2 do fields[#fields + 1] = entry[2][n] .. "=" .. entry[2][n + 1] end
                all[i] = table.concat(fields, " ")
            end
            return all
        end
        -- what the fake was told
        function told()
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", 7005))
            local all = sock:receive("*a")
            sock:close()
            return all
        end
    }
HTTP
    $block->set_value('backend', 'location / { return 200 "ok\n"; }');
    $block->set_value('config', ($block->config // '') . 'location = /hit { proxy_pass http://backend/; }');
});

worker_connections(256);
timeout(30);
run_tests();

__DATA__

=== TEST 1: a stream gets an order with all its fields, and a channel the same in JSON
--- targets
stream redis:127.0.0.1/xadd/orders
channel redis:127.0.0.1/publish/news
--- lua
    local sub = testing.new_redis()
    assert(sub:subscribe("news"))
    hit()
    ngx.say(fate("stream"))
    ngx.say(fate("channel"))
    local all = entries(redis(), "orders")
    ngx.say(#all, " ", (all[1]:gsub("%x%x%x%x%x%x%x%x%x%x%x+", "X"):gsub("time=%S+", "time=T"):gsub("fence=%d+", "fence=F")))
    local message = sub:read_reply()[3]
    ngx.say((message:gsub("%x%x%x%x%x%x%x%x%x%x%x+", "X"):gsub("T[%d:.]+Z", "T"):gsub("%d+%-%d+%-%d+", "D")))
    local order = require("cjson").decode(message)
    ngx.say(order.id:match("^channel.1.%x+$") ~= nil, " ", order.from, " ", order.to, " ", order.fence > 1e12)
--- response_body
is written: 3 replicas, after N ms
is written: 3 replicas, after N ms
1 id=stream.1.X policy=stream target=stream from=1 to=3 reason=from 1 to 3: 3 wanted by "up upstream.backend.latency >= 0ms for=1r by=+2" (so when a request ended) time=T fence=X
{"id":"channel.1.X","policy":"channel","target":"channel","from":1,"to":3,"reason":"from 1 to 3: 3 wanted by \"up upstream.backend.latency >= 0ms for=1r by=+2\" (so when a request ended)","time":"DT","fence":X}
true 1 3 true


=== TEST 2: a login with a user, with a password alone, and one that is wrong and comes right; TLS
--- user_files
>>> user
app:word
>>> password
:pass:word
>>> changed
app:wrong
--- targets
user redis:127.0.0.1:6380/xadd/user secret_file=html/user
password redis:127.0.0.1:6380/xadd/password secret_file=html/password
changed redis:127.0.0.1:6380/xadd/changed secret_file=html/changed
none redis:127.0.0.1:6380/xadd/none
tls redis:tls://127.0.0.1:6381/xadd/tls ca_file=$TEST_NGINX_CERTS/ca.crt
untrusted redis:tls://127.0.0.1:6381/xadd/tls
plain redis:127.0.0.1:6381/xadd/tls timeout=300ms
--- lua
    hit()
    for _, name in ipairs { "user", "password", "changed", "none", "tls", "untrusted", "plain" } do
        -- a server that is spoken to in the clear may say nothing, or leave
        ngx.say(name, " ", (fate(name):gsub("read: .*", "read: ...")))
    end
    ngx.say(testing.error_log():find("wrong", 1, true) == nil)
--- response_body
user is written: 3 replicas, after N ms
password is written: 3 replicas, after N ms
changed it is given up: redis: WRONGPASS (login refused)
none it is given up: redis: ERR Protocol error: unauthenticated multibulk length
tls is written: 3 replicas, after N ms
untrusted it is given up: redis: tls: 19: self-signed certificate in certificate chain
plain it is tried again: redis: read: ...
true


=== TEST 3: a secret that has changed is the one that counts; it is no part of a log, whatever a server says
--- user_files
>>> rotates
app:first
>>> echo
echo:hidden
--- http_config
    autoscale_target rotates redis:127.0.0.1:6380/xadd/rotates secret_file=html/rotates max=20;
    autoscale_policy rotates target=rotates {
        up upstream.backend.latency >= 0ms for=1r by=+1;
        cooldown up=100ms;
    }
--- targets
echo redis:127.0.0.1:7000/xadd/x secret_file=html/echo
--- lua
    local red = redis(6380)
    assert(red:auth("pass:word"))
    red:acl("setuser", "app", "resetpass", ">first")
    hit()
    ngx.say(fate("rotates"))
    red:acl("setuser", "app", "resetpass", ">second")
    write("html/rotates", "app:second\n")
    ngx.sleep(0.2)
    ngx.location.capture("/hit")
    ngx.say(logged("decision 2 is written: 3 replicas"), " ", #entries(red, "rotates"))
    ngx.say(fate("echo"))
    ngx.say(times(told(), "AUTH echo hidden"))
    ngx.say(testing.error_log():match("hidden") or testing.error_log():match("second"))
--- response_body
is written: 2 replicas, after N ms
true 2
it is given up: redis: ERR (login refused)
1
nil


=== TEST 4: an order whose answer was lost is in the stream once; one of a leader that has been followed is not
--- targets
lost redis:127.0.0.1:7006/xadd/lost timeout=2s
late redis:127.0.0.1:6379/xadd/late
other redis:127.0.0.1:6379/xadd/other
--- lua
    local red = redis()
    red:set("late:fence", "9000000000000000")
    red:set("other", "a text")
    hit()
    ngx.say(fate("lost"))
    ngx.say(told():match("lost %d+%-%d+") ~= nil, " ", #entries(red, "lost"))
    ngx.say(fate("late"))
    ngx.say(#entries(red, "late"))
    ngx.say((fate("other"):gsub(" script: .*", "")))
    ngx.say(#red:keys("other:*"), " ", #red:keys("lost:*"), " ", red:ttl("lost:fence") > 3000)
--- response_body
is written: 3 replicas, after N ms
true 1
it is given up: redis: a later leader has written (fence 9000000000000000)
0
it is given up: redis: WRONGTYPE Operation against a key holding the wrong kind of value
0 2 true


=== TEST 5: whatever a server of Redis does, it is named, and tried again if that may help
--- targets
hang redis:127.0.0.1:7000/publish/hang timeout=400ms
cut redis:127.0.0.1:7000/publish/cut timeout=1s
cutstream redis:127.0.0.1:7000/xadd/cut timeout=1s
close redis:127.0.0.1:7000/publish/close timeout=1s
garbage redis:127.0.0.1:7000/publish/garbage timeout=3s
huge redis:127.0.0.1:7000/publish/huge timeout=3s
nobody redis:127.0.0.1:7000/publish/nobody timeout=1s
noauth redis:127.0.0.1:7000/publish/error.noauth timeout=3s
error redis:127.0.0.1:7000/xadd/error.err timeout=3s
loading redis:127.0.0.1:7000/publish/loading-2 timeout=3s
late redis:127.0.0.1:7000/publish/late-1 timeout=3s
refused redis:127.0.0.1:1/publish/x timeout=400ms
silent redis:127.0.0.1:7002/publish/x timeout=400ms
--- lua
    hit()
    for _, pair in ipairs {
        { "hang", "it is tried again: redis: read: timeout" },
        { "cut", "it is tried again: redis: read: closed in the middle of the response" },
        { "cutstream", "it is tried again: redis: read: closed in the middle of the response" },
        { "close", "it is tried again: redis: read: closed" },
        { "garbage", "it is given up: redis: bad reply: not a reply of Redis" },
        { "huge", "it is given up: redis: bad reply: a reply longer than 16384 bytes" },
        { "nobody", "it is tried again: redis: nobody subscribes to the channel" },
        { "noauth", "it is given up: redis: NOAUTH said the server" },
        { "error", "it is given up: redis: ERR said the server" },
        { "loading", "is written: 3 replicas, after N ms" },
        { "late", "is written: 3 replicas, after N ms" },
        { "refused", "it is tried again: redis: connect: connection refused" },
        { "silent", "it is tried again: redis: read: timeout" },
    } do comes_to(pair[1], pair[2]) end
    ngx.say(times(told(), "PUBLISH loading-2"), " ", times(told(), "PUBLISH late-1"), " ", times(told(), "PUBLISH garbage"))
--- response_body
hang: it is tried again: redis: read: timeout
cut: it is tried again: redis: read: closed in the middle of the response
cutstream: it is tried again: redis: read: closed in the middle of the response
close: it is tried again: redis: read: closed
garbage: it is given up: redis: bad reply: not a reply of Redis
huge: it is given up: redis: bad reply: a reply longer than 16384 bytes
nobody: it is tried again: redis: nobody subscribes to the channel
noauth: it is given up: redis: NOAUTH said the server
error: it is given up: redis: ERR said the server
loading: is written: 3 replicas, after N ms
late: is written: 3 replicas, after N ms
refused: it is tried again: redis: connect: connection refused
silent: it is tried again: redis: read: timeout
3 2 1


=== TEST 6: whatever a server of RabbitMQ does, it is named, and tried again if that may help
--- targets
good amqp:127.0.0.1:7001/orders/good timeout=3s
hang amqp:127.0.0.1:7001/orders/hang timeout=400ms
cut amqp:127.0.0.1:7001/orders/cut timeout=1s
close amqp:127.0.0.1:7001/orders/close timeout=1s
nack amqp:127.0.0.1:7001/orders/nack timeout=1s
once amqp:127.0.0.1:7001/orders/nack-1 timeout=3s
late amqp:127.0.0.1:7001//late-1 timeout=3s
return amqp:127.0.0.1:7001/orders/return timeout=1s
missing amqp:127.0.0.1:7001/orders/missing timeout=3s
refused amqp:127.0.0.1:1/orders/x timeout=400ms
silent amqp:127.0.0.1:7002/orders/x timeout=400ms
version amqp:127.0.0.1:7003/orders/x timeout=3s
plain amqp:127.0.0.1:7004/orders/x timeout=3s
--- lua
    hit()
    for _, pair in ipairs {
        { "good", "is written: 3 replicas, after N ms" },
        { "hang", "it is tried again: amqp: read: timeout" },
        { "cut", "it is tried again: amqp: read: closed in the middle of the response" },
        { "close", "it is tried again: amqp: read: closed" },
        { "nack", "it is tried again: amqp: not confirmed by the server (nack)" },
        { "once", "is written: 3 replicas, after N ms" },
        { "late", "is written: 3 replicas, after N ms" },
        { "return", "it is tried again: amqp: unroutable: 312 NO_ROUTE" },
        { "missing", "it is given up: amqp: 404 NOT_FOUND - no exchange" },
        { "refused", "it is tried again: amqp: connect: connection refused" },
        { "silent", "it is tried again: amqp: read: timeout" },
        { "version", "it is given up: amqp: not AMQP 0-9-1" },
        { "plain", "it is given up: amqp: the server does not take PLAIN for a login" },
    } do comes_to(pair[1], pair[2]) end
    ngx.say(times(told(), "publish orders/nack-1"), " ", times(told(), "publish /late-1"), " ", times(told(), "publish orders/missing"))
--- response_body
good: is written: 3 replicas, after N ms
hang: it is tried again: amqp: read: timeout
cut: it is tried again: amqp: read: closed in the middle of the response
close: it is tried again: amqp: read: closed
nack: it is tried again: amqp: not confirmed by the server (nack)
once: is written: 3 replicas, after N ms
late: is written: 3 replicas, after N ms
return: it is tried again: amqp: unroutable: 312 NO_ROUTE
missing: it is given up: amqp: 404 NOT_FOUND - no exchange
refused: it is tried again: amqp: connect: connection refused
silent: it is tried again: amqp: read: timeout
version: it is given up: amqp: not AMQP 0-9-1
plain: it is given up: amqp: the server does not take PLAIN for a login
2 2 1


=== TEST 7: a message that is no order is told as it is, and is in a stream once
--- targets
stream redis:127.0.0.1:7006/xadd/notes timeout=2s
channel redis:127.0.0.1/publish/notes
queue amqp:127.0.0.1:7001/notes/good
--- lua
    local as = require "ngx.autoscale"
    local sub = testing.new_redis()
    assert(sub:subscribe("notes"))
    assert(logged("this worker leads now") == true)
    for _, name in ipairs { "stream", "channel", "queue" } do assert(as.notify(name, { text = "slow" })) end
    ngx.say(sub:read_reply()[3])
    local red = redis()
    ngx.say(wait_for(function() return #entries(red, "notes") == 1 end))
    ngx.say((entries(red, "notes")[1]:gsub("%x%x%x+%-%x+", "X")))
    ngx.say(wait_for(function() return times(told(), "publish notes/good good") == 1 end))
    ngx.say(logged("is not notified", 0.5))
--- response_body
{"text":"slow"}
true
id=notify-X json={"text":"slow"}
true
false
