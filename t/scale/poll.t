# External signals: polled by one worker, in the zone with their age, stale when they are gone.
use lib 't/lib';
use AutoscaleLua;
use IO::Socket::INET;
$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
# modes: plain workers

# connections to this port are made, and nobody ever answers
my $silent = IO::Socket::INET->new(Listen => 16, LocalAddr => '127.0.0.1', LocalPort => 1996) or die $!;

# wait(f) calls f until it is true; asked() counts polls.
add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    $block->set_value('timeout', 10) if !defined $block->timeout;
    my $conf = $block->http_config // '';
    $block->set_value('http_config', $conf . <<'CONF');
autoscale_zone main:4m keys=64;
lua_shared_dict poll 1m;
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    testing = require "testing"
    as = require "ngx.autoscale"
    function wait(f, seconds) return testing.wait_for(f, seconds or 5) end
    function asked() return (ngx.shared.poll:incr("asked", 1, 0)) end
}
CONF
});

run_tests();

__DATA__

=== TEST 1: Prometheus text: one metric is the signal itself and its field; samples of all labels add up
--- http_config
    autoscale_signal queue http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics every=100ms stale=30s metric=queue_depth;
--- config
    location = /metrics {
        default_type text/plain;
        return 200 '# TYPE queue_depth gauge\nqueue_depth{shard="a"} 5 1395066363000\nqueue_depth{shard="b"} 7.5\nother 3\n';
    }
--- lua
    local value = wait(function() return (as.get("ext.queue")) end)
    local _, age, samples = as.get("ext.queue")
    ngx.say(value, " ", age >= 0 and age < 5, " ", samples)
    ngx.say((as.get("ext.queue.queue_depth")))
    ngx.say(wait(function() return select(3, as.get("ext.queue.max@1m")) >= 3 end), " ", (as.get("ext.queue.max@1m")))
    ngx.say(select(2, as.get("ext.queue.other")))
--- response_body_like
^12.5 true 1
12.5
true 12.5
signal "ext.queue.other": there is no external signal "queue.other".*$


=== TEST 2: several metrics are fields; without metric= all are
--- http_config
    autoscale_signal two http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics every=100ms stale=30s metric=a,b:sum;
    autoscale_signal all http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics every=100ms stale=30s;
--- config
    location = /metrics { return 200 'a 1\nb:sum 2e3\nc 3\nc_bucket{le="1"} 9\n'; }
--- lua
    wait(function() return (as.get("ext.two.b:sum")) and (as.get("ext.all.c")) end)
    ngx.say((as.get("ext.two.a")), " ", (as.get("ext.two.b:sum")), " ", (as.get("ext.two.c")))
    ngx.say((as.get("ext.all.a")), " ", (as.get("ext.all.b:sum")), " ", (as.get("ext.all.c")), " ", (as.get("ext.all.c_bucket")))
--- response_body
1 2000 nil
1 2000 3 nil


=== TEST 3: JSON at a pointer, a number or a text that is one; an instant query of Prometheus
--- http_config
    autoscale_signal jobs http://127.0.0.1:$TEST_NGINX_SERVER_PORT/json every=100ms stale=30s path=/queues/1/~1ready;
    autoscale_signal query http://127.0.0.1:$TEST_NGINX_SERVER_PORT/query?q=sum(x) every=100ms stale=30s path=/data/result/0/value/1;
--- config
    location = /json { return 200 '{"queues": [{"/ready": 1}, {"/ready": 42, "x": [[{}]]}]}'; }
    location = /query {
        return 200 '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1435781451.781,"0.25"]}]}}';
    }
--- lua
    ngx.say(wait(function() return (as.get("ext.jobs")) end), " ", wait(function() return (as.get("ext.query")) end))
--- response_body
42 0.25


=== TEST 4: a poll that fails is one line in the log, and so is its end; the value stays, and its age grows
--- modes: plain
--- once
--- http_config
    autoscale_signal queue http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics?key=secret every=100ms stale=400ms metric=depth;
--- config
    location = /metrics {
        content_by_lua_block {
            local n = asked()
            if ngx.shared.poll:get("broken") then return ngx.exit(503) end
            ngx.say("depth ", n)
        }
    }
--- lua
    local poll = ngx.shared.poll
    wait(function() return (as.get("ext.queue") or 0) >= 2 end)
    poll:set("broken", true)
    wait(function() return select(2, as.get("ext.queue")) > 0.5 end)
    local value, age = as.get("ext.queue")
    ngx.say(value >= 2, " ", age > 0.5)
    local before = poll:get("asked")
    poll:delete("broken")
    ngx.say(wait(function() return as.get("ext.queue") > value and select(2, as.get("ext.queue")) < 0.2 end))
    -- it was asked less and less often meanwhile
    ngx.say(before - value <= 5)
--- response_body
true true
true
true
--- allow_log
cannot be had
--- grep_error_log eval: qr/signal "ext.queue".*?(?=,|$)/
--- grep_error_log_out eval
qr/^signal "ext.queue" of http:\/\/127.0.0.1:\d+\/metrics cannot be had: it answered 503
signal "ext.queue" of http:\/\/127.0.0.1:\d+\/metrics is well again after \d failure\(s\)
$/


=== TEST 5: a metric that vanishes goes stale while the others are fresh
--- modes: plain
--- once
--- http_config
    autoscale_signal two http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics every=100ms stale=300ms metric=a,b;
--- config
    location = /metrics {
        content_by_lua_block {
            ngx.say("a 1")
            if not ngx.shared.poll:get("gone") then ngx.say("b 2") end
        }
    }
--- lua
    wait(function() return (as.get("ext.two.b")) end)
    ngx.shared.poll:set("gone", true)
    wait(function() return select(2, as.get("ext.two.b")) > 0.4 end)
    local a, b = select(2, as.get("ext.two.a")), select(2, as.get("ext.two.b"))
    ngx.say(a < 0.3, " ", b > 0.4, " ", (as.get("ext.two.b")))
--- response_body
true true 2
--- allow_log
cannot be had
--- error_log
cannot be had: there is no metric "b"


=== TEST 6: why there is no value is said
--- once
--- modes: plain
--- http_config
    autoscale_signal empty http://127.0.0.1:$TEST_NGINX_SERVER_PORT/empty every=100ms stale=30s path=/data/result/0/value/1;
    autoscale_signal bad http://127.0.0.1:$TEST_NGINX_SERVER_PORT/bad every=100ms stale=30s path=/data/result/0/value/1;
    autoscale_signal html http://127.0.0.1:$TEST_NGINX_SERVER_PORT/html every=100ms stale=30s path=/a;
    autoscale_signal nan http://127.0.0.1:$TEST_NGINX_SERVER_PORT/nan every=100ms stale=30s metric=a;
    autoscale_signal moved http://127.0.0.1:$TEST_NGINX_SERVER_PORT/moved every=100ms stale=30s metric=a;
    autoscale_signal refused http://127.0.0.1:11/ every=100ms stale=30s metric=a;
    autoscale_signal nobody http://nobody.test/ every=100ms stale=30s metric=a;
    autoscale_signal hangs http://127.0.0.1:$TEST_NGINX_SERVER_PORT/hangs every=100ms stale=30s metric=a;
    autoscale_signal large http://127.0.0.1:$TEST_NGINX_SERVER_PORT/large every=500ms stale=30s path=/a;
    autoscale_signal cut http://127.0.0.1:$TEST_NGINX_SERVER_PORT/cut every=100ms stale=30s metric=a;
--- config
    location = /empty { return 200 '{"status":"success","data":{"resultType":"vector","result":[]}}'; }
    location = /bad { return 422 '{"status":"error","errorType":"execution","error":"query timed out"}'; }
    location = /html { return 200 '<html>'; }
    location = /nan { return 200 'a 1\na NaN\n'; }
    location = /moved { return 302 /nan; }
    location = /hangs { content_by_lua_block { ngx.sleep(2) } }
    location = /large { content_by_lua_block { for i = 1, 80 do ngx.print((" "):rep(65536)) end ngx.print("1") } }
    location = /cut {
        content_by_lua_block {
            ngx.header.content_length = 1000
            ngx.print("a 1\n")
            ngx.flush(true)
            ngx.exit(ngx.ERROR)
        }
    }
--- lua
    ngx.sleep(1.2)
    for _, name in ipairs { "empty", "bad", "html", "nan", "moved", "refused", "nobody", "hangs", "large", "cut" } do
        ngx.say((as.get("ext." .. name)))
    end
--- response_body eval: "nil\n" x 10
--- allow_log
cannot be had
Connection refused
--- error_log eval
[map { qr/signal "ext.$_/ } 'empty" .*the result of the query is empty', 'bad" .*it answered 422, the query failed: query timed out',
 'html" .*it is not JSON', 'nan" .*metric "a" is not a finite number', 'moved" .*it answered 302',
 'refused" .*connect: connection refused', 'nobody" .*connect: .*resolver', 'hangs" .*total: timeout',
 'large" .*longer than 4194304 bytes', 'cut" .*read: closed in the middle']


=== TEST 7: ten megabytes of metrics with two that are wanted
--- modes: plain
--- once
--- http_config
    autoscale_signal big http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics every=10s stale=30s metric=first,last;
--- config
    location = /metrics {
        content_by_lua_block {
            ngx.print("first 1\n")
            local lines = ('nobody_wants_this{with="labels"} 123456\n'):rep(1600)
            for _ = 1, 160 do ngx.print(lines) end
            ngx.print("last 2\n")
        }
    }
--- lua
    ngx.say(wait(function() return (as.get("ext.big.last")) end, 9), " ", (as.get("ext.big.first")))
--- response_body
2 1


=== TEST 8: one worker polls, over one connection, and no more often than it is told to
--- modes: workers
--- once
--- http_config
    autoscale_signal queue http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics every=100ms stale=30s metric=depth;
--- config
    location = /metrics {
        content_by_lua_block {
            local poll, port = ngx.shared.poll, ngx.var.remote_port
            if poll:get("port") ~= port then
                poll:set("port", port)
                poll:incr("connections", 1, 0)
            end
            ngx.say("depth ", asked())
        }
    }
--- lua
    local poll = ngx.shared.poll
    ngx.say("workers: ", ngx.worker.count())
    wait(function() return (as.get("ext.queue") or 0) >= 5 end)
    local start, before = ngx.now(), poll:get("asked")
    ngx.sleep(0.5)
    ngx.update_time()
    -- no sooner than every 90 ms
    ngx.say(poll:get("asked") - before <= (ngx.now() - start) / 0.09 + 1)
    ngx.say("connections: ", poll:get("connections"))
--- response_body
workers: 2
true
connections: 1


=== TEST 9: when the worker that polls is killed, another one goes on, and so do the new ones of a reload
--- modes: workers
--- once
--- http_config
    autoscale_signal queue http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics every=200ms stale=30s metric=depth;
--- config
    location = /metrics { content_by_lua_block { ngx.say("depth ", asked()) } }
    location = /kill {
        content_by_lua_block {
            -- the worker that polls has a connection to this server's port
            wait(function() return (as.get("ext.queue") or 0) >= 2 end)
            local poller
            for _, pid in ipairs(ngx.worker.pids()) do
                local inodes, pipe = {}, io.popen("ls -l /proc/" .. pid .. "/fd 2>/dev/null")
                for line in pipe:lines() do
                    local inode = line:match("socket:%[(%d+)%]")
                    if inode then inodes[inode] = true end
                end
                pipe:close()
                local port = string.format(":%04X", ngx.var.server_port)
                for line in io.lines("/proc/net/tcp") do
                    local to, state, inode = line:match("^%s*%d+: %S+ %S+(:%x+) (%x+) %S+ %S+ %S+%s+%d+%s+%d+ (%d+)")
                    if to == port and state == "01" and inodes[inode] then poller = pid end
                end
            end
            ngx.say("killed")
            -- it may be this one: the answer is on its way, and nothing is accepted from here on
            ngx.eof()
            os.execute("kill -KILL " .. poller)
        }
    }
    location = /hup {
        content_by_lua_block {
            testing.reload()
            ngx.say("reloaded")
        }
    }
    location = /t {
        content_by_lua_block {
            ngx.sleep(0.4)
            local depth, age = as.get("ext.queue"), nil
            ngx.say(wait(function() return as.get("ext.queue") > depth end), " ", select(2, as.get("ext.queue")) < 2)
        }
    }
--- request eval: ["GET /kill", "GET /t", "GET /hup", "GET /t"]
--- response_body eval: ["killed\n", "true true\n", "reloaded\n", "true true\n"]
--- allow_log
exited on signal 9
cannot be had


=== TEST 10: an address that cannot be
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    autoscale_signal queue http://127.0.0.1:99999/ metric=depth;
--- lua
    ngx.say("never")
--- error_log
invalid url "http://127.0.0.1:99999/"


=== TEST 11: a signal without a zone has nowhere to go
--- must_die
--- http_config
    autoscale_signal queue http://127.0.0.1:1/ metric=depth;
--- lua
    ngx.say("never")
--- error_log
"autoscale_signal" needs the memory that all workers share


=== TEST 12: JSON brings one number, so it has no fields
--- must_die
--- http_config
    autoscale_zone main:4m keys=64;
    upstream app { server 127.0.0.1:1; }
    autoscale_target app pool:app;
    autoscale_signal queue http://127.0.0.1:1/ path=/depth;
    autoscale_policy p target=app { track ext.queue.depth per=10; }
--- lua
    ngx.say("never")
--- error_log
it brings one number: write ext.queue


=== TEST 13: a policy that tracks a signal which was never had takes nothing away, and says why
--- once
--- http_config
    upstream app { server 127.0.0.1:11; server 127.0.0.1:12; server 127.0.0.1:13; }
    autoscale_target app pool:app min=2;
    autoscale_signal queue http://127.0.0.1:$TEST_NGINX_SERVER_PORT/metrics every=100ms stale=300ms metric=depth;
    autoscale_policy queue target=app { track ext.queue per=10; }
--- config
    location = /metrics { return 503; }
--- lua
    local log = io.open(ngx.config.prefix() .. "logs/error.log")
    ngx.say(wait(function()
        log:seek("set", 0)
        return log:read("*a"):find('policy "queue": stays at 2: [^\n]*ext%.queue has no fresh value') and true
    end))
    log:close()
--- response_body
true
--- allow_log
cannot be had


=== TEST 14: over TLS a certificate must be of somebody who is trusted
--- modes: plain
--- once
--- http_config
    lua_ssl_trusted_certificate $TEST_NGINX_CERTS/ca.crt;
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate $TEST_NGINX_CERTS/server.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        location / { return 200 "depth 8\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 ssl;
        ssl_certificate $TEST_NGINX_CERTS/selfsigned.crt;
        ssl_certificate_key $TEST_NGINX_CERTS/server.key;
        location / { return 200 "depth 9\n"; }
    }
    autoscale_signal good https://127.0.0.1:$TEST_NGINX_RAND_PORT_1/ every=200ms stale=30s metric=depth;
    autoscale_signal bad https://127.0.0.1:$TEST_NGINX_RAND_PORT_2/ every=200ms stale=30s metric=depth;
--- lua
    ngx.say(wait(function() return (as.get("ext.good")) end))
    ngx.sleep(0.5)
    ngx.say((as.get("ext.bad")))
--- response_body
8
nil
--- allow_log
cannot be had
--- error_log eval: qr/signal "ext.bad" .* cannot be had: tls: /


=== TEST 15: a worker that is to stop does not wait for an answer
--- modes: plain
--- once
--- http_config
    autoscale_signal silent http://127.0.0.1:1996/ every=1m stale=5m metric=depth;
--- config
    location = /hup {
        content_by_lua_block {
            ngx.sleep(0.2)
            ngx.shared.poll:set("pid", ngx.worker.pid())
            testing.reload()
            ngx.say("reloaded")
        }
    }
    location = /t {
        content_by_lua_block {
            local former = ngx.shared.poll:get("pid")
            ngx.say(wait(function() return not io.open("/proc/" .. former .. "/cmdline") end, 3))
        }
    }
    location = /wait { content_by_lua_block { ngx.sleep(0.5) ngx.say("waited") } }
--- request eval: ["GET /hup", "GET /wait", "GET /t"]
--- response_body eval: ["reloaded\n", "waited\n", "true\n"]
