use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

# Debian's lua-nginx-kafka (lua-resty-kafka), unmodified, with a cluster of two brokers that t/lib plays.
daemon(9093, $^X, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/kafka-broker", 9092, 9093);

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("http_config", q{
        lua_socket_log_errors off;
        init_by_lua_block {
            function producer(options, brokers, cluster)
                options = options or {}
                options.retry_backoff = 5
                options.max_retry = options.max_retry or 2
                return require("nginx.kafka.producer"):new(brokers or { { host = "127.0.0.1", port = 9092 } }, options, cluster)
            end
            -- what is kept of a topic's partition, read with the library's own pieces
            function kept(topic, partition)
                local request = require "nginx.kafka.request"
                local r = request:new(request.FetchRequest, 7, "reader")
                for _, n in ipairs { -1, 0, 0, 1 } do r:int32(n) end
                r:string(topic)
                r:int32(1)
                r:int32(partition)
                r:int64(0LL)
                r:int32(1000000)
                local broker = require("nginx.kafka.broker"):new("127.0.0.1", 9092, { socket_timeout = 1000 })
                local answer = assert(broker:send_receive(r))
                assert(answer.correlation_id == 7 and answer:int32() == 1 and answer:string() == topic)
                assert(answer:int32() == 1 and answer:int32() == partition and answer:int16() == 0)
                local n, seen = tonumber(answer:int64()), {}
                answer:int32()
                for i = 1, n do
                    answer:int64()
                    answer:int32()
                    answer:int32()
                    local version = math.floor(answer:int16() / 256)
                    if version == 1 then answer:int64() end
                    seen[i] = answer:bytes() .. "=" .. answer:bytes()
                end
                return seen
            end
            -- several blocks and repetitions share the brokers
            local topics = 0
            function topic(name)
                topics = topics + 1
                return name .. "-" .. ngx.worker.pid() .. "-" .. topics
            end
        }
    });
});
run_tests();

__DATA__

=== TEST 1: a message is sent and can be read, in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    local p, t = producer(), topic("sync")
    local first = assert(p:send(t, nil, "hello"))
    -- without a key, the partitions take turns
    p:send(t, nil, "again")
    p:send(t, "key", string.rep("x", 100000))
    local a, b = kept(t, 0), kept(t, 1)
    local all = table.concat(a, ",") .. "," .. table.concat(b, ",")
    return tostring(first) .. " " .. #a + #b .. " " .. #all
        .. " " .. tostring(all:find("=hello", 1, true) ~= nil) .. " " .. tostring(all:find("key=xxx", 1, true) ~= nil)
--- result
1LL 3 100018 true true


=== TEST 2: a key chooses the partition, and that its broker
--- lua
    local p, t = producer(), topic("keys")
    for i = 1, 20 do
        assert(p:send(t, "k" .. i, "v" .. i))
    end
    local wrong = 0
    for partition = 0, 1 do
        for _, message in ipairs(kept(t, partition)) do
            if ngx.crc32_short(message:match("^[^=]+")) % 2 ~= partition then wrong = wrong + 1 end
        end
    end
    ngx.say(#kept(t, 0) + #kept(t, 1), " ", wrong, " ", #kept(t, 0) > 0, " ", #kept(t, 1) > 0)
--- response_body
20 0 true true


=== TEST 3: connections are used again
--- lua
    local p, t = producer(), topic("reuse")
    for _ = 1, 3 do assert(p:send(t, "k", "v")) end
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", ngx.crc32_short("k") % 2 == 0 and 9092 or 9093)
    ngx.say(sock:getreusedtimes() > 1)
--- response_body
true


=== TEST 4: a later version of the protocol
--- lua
    local p, t = producer { api_version = 2 }, topic("v2")
    assert(p:send(t, "k", "v"))
    ngx.say(kept(t, ngx.crc32_short("k") % 2)[1])
--- response_body
k=v


=== TEST 5: asynchronous: a timer sends what was gathered, in order
--- lua
    local p, t = producer({ producer_type = "async", flush_time = 10 }, nil, topic("cluster")), topic("async")
    for i = 1, 50 do
        assert(p:send(t, "k", "m" .. i))
    end
    local partition = ngx.crc32_short("k") % 2
    for _ = 1, 200 do
        if #kept(t, partition) == 50 then break end
        ngx.sleep(0.005)
    end
    local all = kept(t, partition)
    ngx.say(#all, " ", all[1], " ", all[50], " ", tostring((p:offset())))
--- response_body
50 k=m1 k=m50 50LL


=== TEST 6: asynchronous: a full batch does not wait for the timer
--- lua
    local p, t = producer({ producer_type = "async", flush_time = 100000, batch_num = 5 }, nil, topic("cluster")), topic("batch")
    for i = 1, 5 do
        assert(p:send(t, "k", "m" .. i))
    end
    local partition = ngx.crc32_short("k") % 2
    for _ = 1, 200 do
        if #kept(t, partition) == 5 then break end
        ngx.sleep(0.005)
    end
    ngx.say(#kept(t, partition))
--- response_body
5


=== TEST 7: asynchronous: what is still there when the worker stops
--- once
--- lua
    local p = producer({ producer_type = "async", flush_time = 100000 }, nil, "last")
    for i = 1, 3 do assert(p:send("last words", "k", tostring(i))) end
    ngx.say(#kept("last words", ngx.crc32_short("k") % 2))
--- response_body
0


=== TEST 8: that has arrived
--- lua
    for _ = 1, 200 do
        -- a worker that a reload has replaced may be at it still
        if #kept("last words", ngx.crc32_short("k") % 2) == 3 then break end
        ngx.sleep(0.005)
    end
    ngx.say(table.concat(kept("last words", ngx.crc32_short("k") % 2), " "))
--- response_body
k=1 k=2 k=3


=== TEST 9: a code that is an error, one that passes, and a topic that is not there
--- lua
    ngx.say(producer():send("error-10", nil, "too large"))
    ngx.say(producer():send("error-5", nil, "no leader"))
    ngx.say(tostring(producer():send(topic("moves"), nil, "in the end")))
    ngx.say(producer():send("unknown", nil, "to nobody"))
--- response_body
nilMessageSizeTooLargefalse
nilLeaderNotAvailabletrue
1LL
nilnot found topic


=== TEST 10: brokers that are away, silent, or go in the middle of an answer
--- lua
    local dead = { { host = "127.0.0.1", port = 9 } }
    ngx.say(producer({}, dead):send("any", nil, "x"))
    ngx.say(tostring(producer({}, { dead[1], { host = "127.0.0.1", port = 9092 } }):send(topic("second"), nil, "x")))
    ngx.say(producer():send("away", nil, "x"))
    ngx.say(producer({ socket_timeout = 20 }):send("silent", nil, "x"))
    ngx.say(producer():send("cut", nil, "x"))
--- response_body
nilnot found topic
1LL
nilconnection refusedtrue
niltimeoutnil
nilclosedtrue
--- error_log
all brokers failed in fetch topic metadata


=== TEST 11: asynchronous: what could not be sent is given back
--- lua
    local given
    local p = producer({ producer_type = "async", flush_time = 5, error_handle = function(t, partition, queue, n, err, retryable)
        given = table.concat({ t, tostring(queue[1]), queue[2], n, err, tostring(retryable) }, " ")
    end }, nil, topic("cluster"))
    p:send("error-10", "k", "v")
    for _ = 1, 200 do
        if given then break end
        ngx.sleep(0.005)
    end
    ngx.say(given)
--- response_body
error-10 k v 2 MessageSizeTooLarge false


=== TEST 12: fifty at once
--- lua
    local t, threads = topic("many"), {}
    for i = 1, 50 do
        threads[i] = ngx.thread.spawn(function() return producer():send(t, "k" .. i, "v" .. i) end)
    end
    local sent = 0
    for i = 1, 50 do
        local ok, offset = ngx.thread.wait(threads[i])
        if ok and offset then sent = sent + 1 end
    end
    ngx.say(sent, " ", #kept(t, 0) + #kept(t, 1))
--- response_body
50 50
