use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

# Debian's lua-nginx-redis (lua-resty-redis), unmodified, with a real server.
daemon(6379, qw(redis-server --port 6379 --bind 127.0.0.1 --save), '', qw(--appendonly no));

worker_connections(256);
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("http_config", qq{
        init_by_lua_block {
            function connect()
                local red = require("nginx.redis"):new()
                red:set_timeout(1000)
                assert(red:connect("127.0.0.1", 6379))
                return red
            end
        }
    });
});
run_tests();

__DATA__

=== TEST 1: set, get, null, and numbers, in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    local red = connect()
    red:set("dog", "an animal")
    local null = red:get("no such key") == ngx.null
    red:del("n")
    red:incrby("n", 5)
    local ok = red:set_keepalive(10000, 10)
    red = connect()
    return red:get("dog") .. " " .. tostring(null) .. " " .. red:incr("n") .. " " .. ok
--- result
an animal true 6 1


=== TEST 2: connections are used again
--- lua
    local red = connect()
    red:set_keepalive(10000, 10)
    red = connect()
    ngx.say(red:get_reused_times() > 0)
--- response_body
true


=== TEST 3: a pipeline
--- lua
    local red = connect()
    red:init_pipeline()
    red:set("cat", "Marry")
    red:get("cat")
    red:get("no such key")
    red:incr("cat")
    local results = assert(red:commit_pipeline())
    ngx.say(results[1], " ", results[2], " ", results[3] == ngx.null, " ", results[4][1], " ", results[4][2])
--- response_body_like eval
qr/^OK Marry true false ERR value is not an integer/

=== TEST 4: a transaction
--- lua
    local red = connect()
    red:del("list")
    red:multi()
    red:rpush("list", "a", "b")
    red:lrange("list", 0, -1)
    local results = red:exec()
    ngx.say(results[1], " ", table.concat(results[2], ","))
--- response_body
2 a,b


=== TEST 5: a subscriber waits in one thread while another publishes
--- lua
    local sub = connect()
    local subscribed = sub:subscribe("news" .. ngx.var.connection)
    local reader = ngx.thread.spawn(function() return sub:read_reply() end)
    local pub = connect()
    ngx.say(pub:publish("news" .. ngx.var.connection, "hello"))
    local ok, message = ngx.thread.wait(reader)
    ngx.say(subscribed[1], " ", message[1], " ", message[3])
--- response_body
1
subscribe message hello


=== TEST 6: a reply that does not come in time
--- lua
    local red = connect()
    red:set_timeout(20)
    ngx.say(red:blpop("nothing", 1))
--- response_body
niltimeout
--- error_log
lua tcp socket read timed out


=== TEST 7: in a timer, and a large value
--- lua
    local value, got = string.rep("x", 1000000)
    ngx.timer.at(0, function()
        local red = connect()
        red:set("large", value)
        got = red:get("large")
        red:set_keepalive()
    end)
    for _ = 1, 200 do
        if got then break end
        ngx.sleep(0.005)
    end
    ngx.say(got == value)
--- response_body
true


=== TEST 8: many requests at once share the worker
--- lua
    local threads = {}
    for i = 1, 50 do
        threads[i] = ngx.thread.spawn(function()
            local red = connect()
            red:set("key" .. i, i)
            local value = red:get("key" .. i)
            red:set_keepalive()
            return tonumber(value)
        end)
    end
    local sum = 0
    for i = 1, 50 do
        local ok, value = ngx.thread.wait(threads[i])
        sum = sum + value
    end
    ngx.say(sum)
--- response_body
1275
