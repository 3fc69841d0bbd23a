# Another binary beside the one that runs (kill -USR2): two masters, two memories, one that writes. A nginx of the block's own beside the
# harness's, which only looks on.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use AutoscaleLua::Gateways;

daemon(1995, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/scaled-target", 1995);
gateway('kept', 2, <<'EOC');
    autoscale_zone main:8m keys=16 state=DIR/state;
    autoscale_target once webhook:http://127.0.0.1:1995/once-kept max=99;
    autoscale_target each webhook:http://127.0.0.1:1995/each-kept max=99;
    autoscale_policy once target=once { up upstream.backend.latency >= 0ms for=1r by=+1; cooldown up=1h; }
    autoscale_policy each target=each { up upstream.backend.latency >= 0ms for=1r by=+1; cooldown up=10ms; }
    upstream backend { server unix:DIR/backend; }
    server { listen 127.0.0.1:8101; location / { proxy_pass http://backend/; } }
    server { listen unix:DIR/backend; location / { return 200 "ok\n"; } }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', <<'HTTP' . gateways_lua() . <<'HTTP2');
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
HTTP
        http, testing = require "autoscale.http", require "testing"
        wait_for, sh, count, pid, is_gone = testing.wait_for, testing.sh, gateways.count, gateways.master, gateways.is_gone
        function hit() http.request { url = "http://127.0.0.1:8101/", headers = { Connection = "close" } } end
        -- what a target was told: the numbers, in their order
        function told(name)
            local all = {}
            for to in http.get("http://127.0.0.1:1995/log/" .. name).body:gmatch(" (%d+)\n") do all[#all + 1] = to end
            return table.concat(all, " ")
        end
        -- requests, each after the order that the one before led to
        function steps(name, n)
            for _ = 1, n do
                local before = told(name)
                hit()
                wait_for(function() return told(name) ~= before end, 3)
            end
            return told(name)
        end
    }
HTTP2
});

worker_connections(256);
timeout(30);
run_tests();

__DATA__

=== TEST 1: the new nginx leads when the old one has stopped to, and knows what that one has decided; it gives the lead back when it goes
--- lua
    gateways.start("kept")
    assert(wait_for(function() return count("kept", "this worker leads now") == 1 end, 5))
    ngx.say(steps("each-kept", 2), "; ", told("once-kept"))
    local old = pid("kept", "pid")
    sh("kill -USR2 " .. old)
    assert(wait_for(function() return pid("kept", "pid") ~= old and pid("kept", "pid") ~= "" end, 5))
    local new = pid("kept", "pid")
    -- both serve; whoever gets them, these are nobody's or one's
    for _ = 1, 4 do hit() end
    ngx.say("the old one: ", wait_for(function() return count("kept", "this one leads no more") == 1 end, 4))
    ngx.say("the new one: ", wait_for(function() return count("kept", "this worker leads now") == 2 end, 6))
    ngx.say(count("kept", "has been read again: 2 policies go on"))
    sh("kill -WINCH " .. old)
    wait_for(function() return sh("pgrep -P " .. old) == "" end, 3)
    local numbers = steps("each-kept", 2)
    sh("kill -QUIT " .. old)
    ngx.say("gone: ", wait_for(function() return is_gone(old) end, 5))
    numbers = steps("each-kept", 1)
    -- each number once, one more each time
    local last, wrong = 1, 0
    for to in numbers:gmatch("%d+") do
        if tonumber(to) ~= last + 1 then wrong = wrong + 1 end
        last = tonumber(to)
    end
    ngx.say(wrong, " wrong", wrong > 0 and ": " .. numbers or "", ", ", last > 5, "; ", told("once-kept"))
    -- back: the newer one goes, the older one leads on
    old, new = new, nil
    sh("kill -USR2 " .. old)
    ngx.say("the new one: ", wait_for(function() return count("kept", "this worker leads now") == 3 end, 12))
    sh("kill -QUIT " .. pid("kept", "pid"))
    ngx.say("the old one: ", wait_for(function() return count("kept", "this worker leads now") == 4 end, 8))
    numbers = steps("each-kept", 1)
    last, wrong = 1, 0
    for to in numbers:gmatch("%d+") do
        if tonumber(to) ~= last + 1 then wrong = wrong + 1 end
        last = tonumber(to)
    end
    ngx.say(wrong, " wrong", wrong > 0 and ": " .. numbers or "", "; ", told("once-kept"))
    sh("kill -QUIT " .. old)
    wait_for(function() return is_gone(old) end, 5)
--- response_body
2 3; 2
the old one: true
the new one: true
1
gone: true
0 wrong, true; 2
the new one: true
the old one: true
0 wrong; 2
