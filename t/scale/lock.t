# autoscale_leader redis: two gateways besides the harness's own nginx, which only looks on, and a real Redis. What leads writes to a
# stream, or to t/lib/AutoscaleLua/message-fake.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use AutoscaleLua::Gateways;

my $lib = "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua";
redis(6379);
daemon(7000, "$lib/message-fake", 7000);

# Gateways by name; the blocks start and stop them.
my %gateways = (a => 8101, b => 8102, m => 8103, u => 8104, c => 8105, d => 8106, e => 8107, f => 8108);
my %leaders = (m => 'redis:127.0.0.1/multi ttl=2s', u => 'redis:127.0.0.1:7000/error.noauth ttl=2s', map({ $_ => 'redis:127.0.0.1/slow ttl=2s' } qw(c d)), map { $_ => 'redis:127.0.0.1/gap ttl=2s' } qw(e f));
for my $name (keys %gateways) {
    my $leader = $leaders{$name} // 'redis:127.0.0.1/lead ttl=2s';
    my $target = $name =~ /[cd]/ ? "redis:127.0.0.1:7000/publish/$name secret_file=DIR/secret"
        : 'redis:127.0.0.1/xadd/' . ($name =~ /[ef]/ ? 'gaps' : 'orders');
    my $cooldown = $name =~ /[ef]/ ? '3s' : '10ms';
    my $dir = gateway($name, $name eq 'm' ? 2 : 1, <<"EOC");
    autoscale_zone main:8m keys=16;
    autoscale_leader $leader;
    autoscale_target orders $target max=99;
    autoscale_policy $name target=orders { up upstream.backend.latency >= 0ms for=1r by=+1; cooldown up=$cooldown; }
    upstream backend { server unix:DIR/backend; }
    server { listen 127.0.0.1:$gateways{$name}; location / { proxy_pass http://backend/; } }
    server { listen unix:DIR/backend; location / { return 200 "ok\n"; } }
EOC
    open my $secret, '>', "$dir/secret" or die $!;
    print $secret 'slow:word';
    close $secret;
}

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', <<'HTTP' . gateways_lua() . <<'HTTP2');
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
HTTP
        testing = require "testing"
        wait_for, sh, redis = testing.wait_for, testing.sh, testing.redis
        stop, logged, count, log = gateways.stop, gateways.logged, gateways.count, gateways.log
        master, workers, signal = gateways.master, gateways.workers, gateways.signal
        ports = { a = 8101, b = 8102, m = 8103, u = 8104, c = 8105, d = 8106, e = 8107, f = 8108 }
        function start(name)
            local before = count(name, "this worker leads now")
            gateways.start(name)
            return wait_for(function() return count(name, "this worker leads now") > before end)
        end
        -- the fences of a gateway, in their order
        function fences(name)
            local all = {}
            for fence in log(name):gmatch("it holds lock \"[^\"]+\", with fence (%d+)") do all[#all + 1] = tonumber(fence) end
            return all
        end
        function leads(name) return count(name, "this gateway leads:") > count(name, "this gateway leads no more") end
        function hit(name)
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 1000, 100)
            assert(sock:connect("127.0.0.1", ports[name]))
            sock:send("GET / HTTP/1.0\r\n\r\n")
            sock:receive("*a")
            sock:close()
        end
        -- who has written, in order
        function writers(stream)
            local all = {}
            for i, entry in ipairs(redis():xrange(stream or "orders", "-", "+")) do all[i] = entry[2][4] end
            return table.concat(all, " ")
        end
        function told()
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", 7005))
            return (sock:receive("*a"))
        end
    }
HTTP2
});

worker_connections(256);
timeout(20);
run_tests();

__DATA__

=== TEST 1: of two gateways one leads and writes; the other follows at once when that one stops in good order
--- lua
    assert(start("a"))
    ngx.say("a leads: ", wait_for(function() return leads("a") end, 3))
    assert(start("b"))
    hit("b")
    hit("a")
    ngx.say(wait_for(function() return writers() == "a" end, 3), " b: ", leads("b"))
    ngx.say(redis():get("lead"):match("^%x+%..+%.%d+%.%d+/%x+%.%d+$") ~= nil, " ", redis():pttl("lead") > 1000)
    ngx.say("stopped: ", stop("a"), " ", redis():get("lead") == ngx.null or redis():get("lead"):find(workers("b"), 1, true) ~= nil)
    ngx.say("b leads: ", wait_for(function() return leads("b") end, 1.5))
    -- what it had wanted, and a had no time to answer, it writes itself: the same number
    hit("b")
    ngx.say(wait_for(function() return writers():find("^a b") ~= nil end, 3))
    ngx.say("fence grows: ", fences("b")[1] > fences("a")[1])
    stop("b")
--- response_body
a leads: true
true b: false
true true
stopped: true true
b leads: true
true
fence grows: true


=== TEST 2: a worker that is stopped past the end of its lock writes nothing when it goes on
--- lua
    redis():del("orders", "orders:fence")
    assert(start("a"))
    assert(wait_for(function() return leads("a") end, 3))
    assert(start("b"))
    signal("a", "STOP")
    local stopped = ngx.now()
    ngx.say("b leads: ", wait_for(function() return leads("b") end, 4), " ", ngx.now() - stopped > 0.5)
    -- a finds a request when it wakes, before anybody has told it that it leads no more
    pcall(hit, "a")
    hit("b")
    ngx.say(wait_for(function() return writers() == "b" end, 3))
    signal("a", "CONT")
    ngx.say(wait_for(function() return logged("a", "this gateway leads no more") end, 3))
    hit("a")
    ngx.sleep(1)
    ngx.say(writers():find("a") == nil, " a: ", leads("a"), ", b: ", leads("b"))
    stop("a")
    stop("b")
--- response_body
b leads: true true
true
true
true a: false, b: true


=== TEST 3: an order on its way to a server when the worker is stopped does not leave it once the lock is another's
--- lua
    assert(start("c"))
    assert(wait_for(function() return leads("c") end, 3))
    assert(start("d"))
    hit("c")
    -- it has logged in, and waits for the answer
    assert(wait_for(function() return told():find("AUTH slow") end, 2))
    signal("c", "STOP")
    ngx.say("d leads: ", wait_for(function() return leads("d") end, 4))
    signal("c", "CONT")
    ngx.say(wait_for(function() return logged("c", "no longer the leader") or logged("c", "another gateway writes now") end, 2))
    ngx.sleep(0.6)
    ngx.say(told():find("PUBLISH c", 1, true) == nil, " ", logged("c", "no longer the leader"))
    hit("d")
    ngx.say(wait_for(function() return told():find("PUBLISH d", 1, true) ~= nil end, 3))
    stop("c")
    stop("d")
--- response_body
d leads: true
true
true true
true


=== TEST 4: while Redis is away nobody new leads, and the one that does stops in time
--- lua
    redis():del("lead", "orders", "orders:fence")
    assert(start("a"))
    assert(wait_for(function() return leads("a") end, 3))
    local pid = testing.redis_pid()
    sh("kill -STOP " .. pid)
    local away = ngx.now()
    ngx.say("a leads: ", not wait_for(function() return not leads("a") end, 2.5))
    ngx.update_time()
    ngx.say("before its end: ", ngx.now() - away < 2.2)
    assert(start("b"))
    ngx.sleep(0.5)
    ngx.say("b leads: ", leads("b"), ", trouble: ", logged("b", "autoscale_leader redis:127.0.0.1:6379: "))
    sh("kill -CONT " .. pid)
    ngx.say("one leads: ", wait_for(function() return leads("a") ~= leads("b") end, 4), " ", logged("a", "it is there again"))
    stop("a")
    stop("b")
--- response_body
a leads: false
before its end: true
b leads: false, trouble: true
one leads: true true


=== TEST 5: the next worker of the same gateway takes over from one that was killed, with a greater fence
--- lua
    assert(start("m"))
    assert(wait_for(function() return leads("m") end, 3))
    local holder = redis():get("multi"):match("%d+$")
    sh("kill -KILL " .. holder)
    ngx.say(wait_for(function() return #fences("m") == 2 end, 4))
    ngx.say(fences("m")[2] > fences("m")[1], " ", redis():get("multi"):match("%d+$") ~= holder)
    ngx.say("one at a time: ", #fences("m"))
    -- a reload: the new worker goes on
    sh("kill -HUP " .. master("m"))
    ngx.say(wait_for(function() return #fences("m") == 3 end, 5), " ", (fences("m")[3] or 0) > fences("m")[2])
    ngx.sleep(2.2)
    ngx.say("and stays: ", #fences("m"))
    stop("m")
    ngx.say("given back: ", redis():exists("multi"))
--- response_body
true
true true
one at a time: 2
true true
and stays: 3
given back: 0


=== TEST 6: a server that refuses is named once
--- lua
    assert(start("u"))
    ngx.say(wait_for(function() return logged("u", "autoscale_leader redis:127.0.0.1:7000: NOAUTH said the server") end, 3))
    ngx.sleep(1)
    ngx.say(count("u", "NOAUTH"), " ", leads("u"))
    stop("u")
--- response_body
true
1 false


=== TEST 7: decided while the lock changes hands: written once, by who gets it; what the one before had time for is left to it
--- lua
    assert(start("e"))
    assert(wait_for(function() return leads("e") end, 3))
    assert(start("f"))
    hit("f")
    hit("e")
    ngx.say("e writes: ", wait_for(function() return writers("gaps") == "e" end, 3))
    -- more than two ticks, and then e is seen to be alive
    ngx.sleep(4)
    sh("kill -STOP " .. master("e") .. "; kill -KILL " .. workers("e") .. " " .. master("e"))
    hit("f")
    ngx.say("f leads: ", leads("f"), ", would: ", wait_for(function() return logged("f", "would go from 2 to 3") end, 1))
    ngx.say("f writes: ", wait_for(function() return writers("gaps") == "e f" end, 4))
    ngx.sleep(1.2)
    ngx.say(writers("gaps"), ", ", wait_for(function() return logged("f", "decision 2 is written: 3 replicas") end, 1))
    stop("f")
--- response_body
e writes: true
f leads: false, would: true
f writes: true
e f, true


=== TEST 8: an order under way when its worker is killed, and nobody holds the lock: the next worker keeps it, and writes it once
--- lua
    redis():del("orders", "orders:fence")
    gateways.forget_log("m")
    assert(start("m"))
    assert(wait_for(function() return leads("m") end, 3))
    local holder = redis():get("multi"):match("%d+$")
    local pid = testing.redis_pid()
    sh("kill -STOP " .. pid)
    hit("m")
    ngx.say("decided: ", wait_for(function() return logged("m", "from 1 to 2") end, 1))
    sh("kill -KILL " .. holder)
    ngx.say("another one: ", wait_for(function() return count("m", "this worker leads now") == 2 end, 4))
    -- ticks in which it may not write
    ngx.sleep(2.5)
    ngx.say("leads: ", #fences("m") > 1, ", dropped: ", logged("m", "is dropped"))
    sh("kill -CONT " .. pid)
    ngx.say("written: ", wait_for(function() return logged("m", "decision 1 is written: 2 replicas") end, 4))
    ngx.sleep(1.2)
    ngx.say(writers(), ", decided: ", count("m", "from %d to %d"))
    stop("m")
--- response_body
decided: true
another one: true
leads: false, dropped: false
written: true
m, decided: 1


=== TEST 9: T22: a worker that leads is stopped: another one leads within two ticks; when the first goes on, it writes nothing
--- lua
    redis():del("orders", "orders:fence", "multi")
    gateways.forget_log("m")
    assert(start("m"))
    assert(wait_for(function() return leads("m") end, 3))
    hit("m")
    ngx.say("written: ", wait_for(function() return writers() == "m" end, 2))
    local holder = redis():get("multi"):match("%d+$")
    sh("kill -STOP " .. holder)
    ngx.update_time()
    local stopped = ngx.now()
    -- the one that is stopped is woken for it, too
    pcall(hit, "m")
    ngx.say("another one: ", wait_for(function() return count("m", "this worker leads now") == 2 end, 4))
    ngx.update_time()
    ngx.say("within two ticks: ", ngx.now() - stopped < 2.5)
    ngx.say("written: ", wait_for(function() return writers() ~= "m" end, 3))
    sh("kill -CONT " .. holder)
    ngx.sleep(1.5)
    hit("m")
    wait_for(function() return select(2, writers():gsub("m", "")) > 2 end, 2)
    ngx.sleep(0.5)
    local to = {}
    for i, entry in ipairs(redis():xrange("orders", "-", "+")) do to[i] = entry[2][10] end
    ngx.say(table.concat(to, " "), ", leaders: ", count("m", "this worker leads now"))
    stop("m")
--- response_body
written: true
another one: true
within two ticks: true
written: true
2 3 4, leaders: 2
