use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

# Debian's lua-nginx-memcached (lua-resty-memcached), unmodified, with a real server.
daemon(11211, qw(memcached -u nobody -l 127.0.0.1 -p 11211 -U 0));

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("http_config", qq{
        init_by_lua_block {
            function connect()
                local memc = assert(require("nginx.memcached"):new())
                memc:set_timeout(1000)
                assert(memc:connect("127.0.0.1", 11211))
                return memc
            end
        }
    });
});
run_tests();

__DATA__

=== TEST 1: set, get, flags and a miss, in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    local memc = connect()
    memc:flush_all()
    assert(memc:set("dog", "an animal", 0, 7))
    local value, flags, err = memc:get("dog")
    local miss = memc:get("no such key")
    memc:set_keepalive(10000, 10)
    return value .. " " .. flags .. " " .. tostring(miss) .. " " .. tostring(err)
--- result
an animal 7 nil nil


=== TEST 2: several keys at once
--- lua
    local memc = connect()
    memc:set("a", "1")
    memc:set("b", string.rep("x", 100000))
    local results = memc:get({ "a", "b", "c" })
    ngx.say(results.a[1], " ", #results.b[1], " ", results.c)
--- response_body
1 100000 nil


=== TEST 3: counters, cas, delete
--- lua
    local memc = connect()
    memc:set("n", "10")
    ngx.say(memc:incr("n", 5), " ", memc:decr("n", 1))
    local value, flags, unique = memc:gets("n")
    ngx.say(memc:cas("n", "20", unique))
    ngx.say(memc:cas("n", "30", unique))
    ngx.say(memc:delete("n"), " ", (memc:get("n")))
--- response_body
15 14
1
nilEXISTS
1 nil


=== TEST 4: connections are used again, and a version is told
--- lua
    local memc = connect()
    memc:set_keepalive(10000, 10)
    memc = connect()
    ngx.say(memc:get_reused_times() > 0, " ", (memc:version():gsub("%d", "N")))
--- response_body_like
^true N