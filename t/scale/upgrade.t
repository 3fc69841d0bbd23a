# Another binary beside the one that runs (kill -USR2): two masters, two memories, one that writes. A nginx of the block's own beside the
# harness's, which only looks on.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use File::Temp;

daemon(1995, "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/scaled-target", 1995);
my $dirs = File::Temp->newdir;

# What is started: by its name, with the state file or without.
sub gateway {
    my ($name, $state) = @_;
    my $dir = "$dirs/$name";
    mkdir $_ or die "$_: $!" for $dir, "$dir/logs";
    open my $conf, '>', "$dir/nginx.conf" or die $!;
    print $conf AutoscaleLua::Env::load_modules(), $> ? '' : "user root;\n", <<"EOC";
worker_processes 2;
pid logs/pid;
error_log logs/error.log info;
events { worker_connections 256; }
http {
    access_log off;
    autoscale_zone main:8m keys=16 $state;
    autoscale_target once webhook:http://127.0.0.1:1995/once-$name max=99;
    autoscale_target each webhook:http://127.0.0.1:1995/each-$name max=99;
    autoscale_policy once target=once { up upstream.backend.latency >= 0ms for=1r by=+1; cooldown up=1h; }
    autoscale_policy each target=each { up upstream.backend.latency >= 0ms for=1r by=+1; cooldown up=10ms; }
    upstream backend { server unix:$dir/backend; }
    server { listen 127.0.0.1:8101; location / { proxy_pass http://backend/; } }
    server { listen unix:$dir/backend; location / { return 200 "ok\n"; } }
}
EOC
    close $conf;
}
gateway(kept => "state=$dirs/kept/state");

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', <<"HTTP" . <<'HTTP2');
    init_by_lua_block {
        dirs = "$dirs"
HTTP
        http = require "autoscale.http"
        function slurp(path)
            local file = io.open(path)
            if not file then return "" end
            local text = file:read("*a")
            file:close()
            return text
        end
        function sh(command)
            local pipe = io.popen("(" .. command .. ") 2>&1; true")
            local said = pipe:read("*a")
            pipe:close()
            return (said:gsub("%s+$", ""))
        end
        function within(seconds, f)
            for _ = 1, seconds * 50 do
                local value = f()
                if value then return value end
                ngx.sleep(0.02)
            end
            return false
        end
        -- without this nginx's own sockets; by its whole name, which the new binary is found by
        function start(name)
            os.execute(([[bash -c 'for fd in /proc/$$/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval "exec $fd>&-"; done
                exec "$(type -P nginx)" -p %s/%s/ -e logs/error.log -c %s/%s/nginx.conf' >/dev/null 2>&1 </dev/null]]):format(dirs, name, dirs, name))
        end
        function log(name) return slurp(dirs .. "/" .. name .. "/logs/error.log") end
        function count(name, text) return select(2, log(name):gsub(text, "")) end
        function pid(name, file) return (slurp(dirs .. "/" .. name .. "/logs/" .. file):gsub("%s", "")) end
        function is_gone(pid) return sh("kill -0 " .. pid) ~= "" end
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
                within(3, function() return told(name) ~= before end)
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
    start("kept")
    assert(within(5, function() return count("kept", "this worker leads now") == 1 end))
    ngx.say(steps("each-kept", 2), "; ", told("once-kept"))
    local old = pid("kept", "pid")
    sh("kill -USR2 " .. old)
    assert(within(5, function() return pid("kept", "pid") ~= old and pid("kept", "pid") ~= "" end))
    local new = pid("kept", "pid")
    -- both serve; whoever gets them, these are nobody's or one's
    for _ = 1, 4 do hit() end
    ngx.say("the old one: ", within(4, function() return count("kept", "this one leads no more") == 1 end))
    ngx.say("the new one: ", within(6, function() return count("kept", "this worker leads now") == 2 end))
    ngx.say(count("kept", "has been read again: 2 policies go on"))
    sh("kill -WINCH " .. old)
    within(3, function() return sh("pgrep -P " .. old) == "" end)
    local numbers = steps("each-kept", 2)
    sh("kill -QUIT " .. old)
    ngx.say("gone: ", within(5, function() return is_gone(old) end))
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
    ngx.say("the new one: ", within(12, function() return count("kept", "this worker leads now") == 3 end))
    sh("kill -QUIT " .. pid("kept", "pid"))
    ngx.say("the old one: ", within(8, function() return count("kept", "this worker leads now") == 4 end))
    numbers = steps("each-kept", 1)
    last, wrong = 1, 0
    for to in numbers:gmatch("%d+") do
        if tonumber(to) ~= last + 1 then wrong = wrong + 1 end
        last = tonumber(to)
    end
    ngx.say(wrong, " wrong", wrong > 0 and ": " .. numbers or "", "; ", told("once-kept"))
    sh("kill -QUIT " .. old)
    within(5, function() return is_gone(old) end)
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
