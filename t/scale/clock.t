# The wall clock is set while gateways run: libfaketime sets it for each of them, by a file that is read anew each time; the clock
# that nobody sets stays as it is. Gateways of the blocks' own besides the harness's nginx, which only looks on, and a real Redis.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use File::Temp;

daemon(6379, qw(redis-server --bind 127.0.0.1 --port 6379 --appendonly no --save), '');
my ($faketime) = glob '/usr/lib/*/faketime/libfaketimeMT.so.1';
die "libfaketime is not there\n" if !$faketime;

my $dirs = File::Temp->newdir;
my %ports = (a => 8101, b => 8102, c => 8103);

# An hour from now, on the clock.
my (undef, $minute, $hour) = gmtime(time + 3600);

sub gateway {
    my ($name, $leader, $targets) = @_;
    my $dir = "$dirs/$name";
    mkdir $_ or die "$_: $!" for $dir, "$dir/logs";
    open my $clock, '>', "$dir/clock" or die $!;
    print $clock '+0';
    close $clock;
    open my $conf, '>', "$dir/nginx.conf" or die $!;
    print $conf AutoscaleLua::Env::load_modules(), $> ? '' : "user root;\n", <<"EOC";
daemon off;
# nginx takes from its environment what is not named, and libfaketime looks there each time
env FAKETIME_TIMESTAMP_FILE;
env FAKETIME_NO_CACHE;
env FAKETIME_DONT_FAKE_MONOTONIC;
env NO_FAKE_STAT;
pid logs/pid;
error_log logs/error.log info;
events { worker_connections 256; }
http {
    access_log off;
    autoscale_zone main:8m keys=16 state=$dir/state;
    autoscale_log logs/decisions.log;
    autoscale_leader $leader;
    $targets
    upstream backend { server unix:$dir/backend; }
    upstream pool { server 127.0.0.1:11; server 127.0.0.1:12; }
    init_by_lua_block { as = require "ngx.autoscale" }
    server {
        listen 127.0.0.1:$ports{$name};
        location / { proxy_pass http://backend/; }
        location = /seen {
            content_by_lua_block { ngx.print(select(3, as.get("upstream.backend.latency\@60s")) or 0) }
        }
        location = /scale { content_by_lua_block { ngx.print(as.scale("asked", { replicas = tonumber(ngx.var.arg_n) })) } }
    }
    server { listen unix:$dir/backend; location / { return 200 "ok\\n"; } }
}
EOC
    close $conf;
}

my $each = 'up upstream.backend.latency >= 0ms for=1r by=+1;';
my $orders = "autoscale_target orders redis:127.0.0.1/xadd/orders max=99;";
gateway($_ => 'redis:127.0.0.1/lead ttl=2s', "$orders autoscale_policy $_ target=orders { $each cooldown up=2s; }") for qw(a b);
gateway(c => 'local', <<"EOC");
    autoscale_target slow redis:127.0.0.1/xadd/slow max=99;
    autoscale_target once redis:127.0.0.1/xadd/once max=99;
    autoscale_target asked redis:127.0.0.1/xadd/asked max=99;
    autoscale_target pool pool:pool min=1;
    autoscale_policy slow target=slow { $each cooldown up=1s; }
    autoscale_policy once target=once { $each cooldown up=2h; }
    autoscale_policy asked target=asked { up custom.never > 1 by=+1; cooldown up=10ms; }
    autoscale_policy day target=pool { schedule "$minute $hour * * *" before=5m for=5m min=2; }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    my $ports = join ', ', map { "$_ = $ports{$_}" } keys %ports;
    $block->set_value('http_config', <<"HTTP" . <<'HTTP2');
    init_by_lua_block {
        dirs, faketime, ports = "$dirs", "$faketime", { $ports }
HTTP
        cjson = require "cjson"
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
        -- the clock of a gateway goes so many seconds wrong from now on
        function set(name, offset)
            local path = dirs .. "/" .. name .. "/clock"
            local file = assert(io.open(path .. ".new", "w"))
            file:write(("%+d\n"):format(offset))
            file:close()
            os.rename(path .. ".new", path)
        end
        function log(name) return slurp(dirs .. "/" .. name .. "/logs/error.log") end
        function logged(name, text) return log(name):find(text, 1, true) ~= nil end
        function count(name, text) return select(2, log(name):gsub(text, "")) end
        function start(name)
            local before = count(name, "this worker leads now")
            -- without this nginx's own sockets, which would be found in use when it is gone
            os.execute(([[bash -c 'for fd in /proc/$$/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval "exec $fd>&-"; done
                export LD_PRELOAD=%s FAKETIME_TIMESTAMP_FILE=%s/%s/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
                exec nginx -p %s/%s/ -e logs/error.log -c %s/%s/nginx.conf' >/dev/null 2>&1 </dev/null &]]):format(
                    faketime, dirs, name, dirs, name, dirs, name))
            return within(5, function() return count(name, "this worker leads now") > before end)
        end
        function master(name) return (slurp(dirs .. "/" .. name .. "/logs/pid"):gsub("%s", "")) end
        function stop(name)
            local pid = master(name)
            sh("kill -QUIT " .. pid)
            return within(5, function() return sh("kill -0 " .. pid) ~= "" end)
        end
        function get(name, uri)
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 1000, 1000)
            assert(sock:connect("127.0.0.1", ports[name]))
            sock:send("GET " .. (uri or "/") .. " HTTP/1.0\r\n\r\n")
            local answer = sock:receive("*a")
            sock:close()
            return answer:match("\r\n\r\n(.*)$")
        end
        function redis()
            local red = require("nginx.redis"):new()
            assert(red:connect("127.0.0.1", 6379))
            return red
        end
        -- the orders in a stream, the oldest first
        function orders(stream)
            local all = {}
            local red = redis()
            local entries = red:xrange(stream, "-", "+")
            red:close()
            for i, entry in ipairs(entries) do
                all[i] = {}
                for n = 1, #entry[2], 2 do all[i][entry[2][n]] = entry[2][n + 1] end
            end
            return all
        end
        -- asks a gateway for something until there are n orders; they, and the seconds that it took
        function ask_until(name, stream, n)
            ngx.update_time()
            local begun = ngx.now()
            within(8, function()
                get(name)
                return #orders(stream) >= n
            end)
            ngx.update_time()
            return orders(stream), ngx.now() - begun
        end
        -- how many hours a time (RFC 3339) is off
        function hours(time)
            local y, mo, d, h, mi, s = time:match("(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
            local utc = os.time { year = y, month = mo, day = d, hour = h, min = mi, sec = s, isdst = false }
            local now = os.time(os.date("!*t", math.floor(ngx.now())))
            return math.floor((utc - now) / 3600 + 0.5)
        end
        -- the decisions that a gateway has logged, the oldest first
        function decided(name, policy)
            local all = {}
            for line in slurp(dirs .. "/" .. name .. "/logs/decisions.log"):gmatch("[^\n]+") do
                local d = cjson.decode(line)
                if d.policy == policy and d.action == "scale" then all[#all + 1] = d end
            end
            return all
        end
    }
HTTP2
});

worker_connections(256);
timeout(40);
run_tests();

__DATA__

=== TEST 1: an hour back and an hour forth: one order each time, the same cooldown, the same window, the same leader
--- lua
    assert(start("a"))
    assert(within(3, function() return logged("a", "this gateway leads: ") end))
    assert(start("b"))
    for n, offset in ipairs { 0, -3600, 0, 3600 } do
        local seen = tonumber(get("a", "/seen"))
        set("a", offset)
        local all, took = ask_until("a", "orders", n)
        local last = all[#all]
        -- the first one has no cooldown before it
        ngx.say(#all, ": ", last.policy, " ", last.from, " to ", last.to, ", ", hours(last.time), " h, ",
            n == 1 or took > 1.5 and took < 5 or took, ", ", tonumber(get("a", "/seen")) > seen)
    end
    ngx.say("a leads: ", count("a", "this gateway leads: "), " time, b: ", logged("b", "this gateway leads: "))
    local all = decided("a", "a")
    for i, d in ipairs(all) do all[i] = hours(d.time) end
    ngx.say("log: ", table.concat(all, " "))
--- response_body
1: a 1 to 2, 0 h, true, true
2: a 2 to 3, -1 h, true, true
3: a 3 to 4, 0 h, true, true
4: a 4 to 5, 1 h, true, true
a leads: 1 time, b: false
log: 0 -1 0 1


=== TEST 2: a leader whose clock is an hour fast hands over to one whose clock is an hour slow
--- lua
    -- both run since the block before
    set("b", -3600)
    ngx.say("stopped: ", stop("a"))
    ngx.say("b leads: ", within(3, function() return logged("b", "this gateway leads: ") end))
    local all = ask_until("b", "orders", 5)
    local last, fences, ids = all[#all], {}, {}
    for i, order in ipairs(all) do
        fences[i], ids[order.id] = tonumber(order.fence), true
    end
    local different = 0
    for _ in pairs(ids) do different = different + 1 end
    ngx.say(#all, ": ", last.policy, ", ", hours(last.time), " h, ", different, " ids, fence grows: ", fences[5] > fences[4])
    stop("b")
--- response_body
stopped: true
b leads: true
5: b, -1 h, 5 ids, fence grows: true


=== TEST 3: an order that cannot be written yet is neither given up nor written twice, by a worker or the next one
--- lua
    redis():flushall()
    assert(start("c"))
    ngx.say("led: ", #ask_until("c", "slow", 1))
    local pid = sh("pgrep -f 'redis-server 127.0.0.1:6379'")
    for n, offset in ipairs { -3600, 3600 } do
        sh("kill -STOP " .. pid)
        ngx.say("decided: ", within(4, function()
            get("c")
            return #decided("c", "slow") == n + 1
        end))
        set("c", offset)
        -- the next one leads by a clock that is an hour off
        sh("pkill -KILL -P " .. master("c"))
        ngx.say("another one: ", within(4, function() return count("c", "this worker leads now") == n + 1 end))
        -- some ticks
        ngx.sleep(2)
        sh("kill -CONT " .. pid)
        ngx.say("written: ", within(8, function() return #orders("slow") == n + 1 end))
        ngx.sleep(1.2)
        local all = orders("slow")
        -- what the one before had sent is there, or what the next one has sent: that one's fence is greater
        ngx.say(#all, ", fence: ", tonumber(all[n + 1].fence) >= tonumber(all[n].fence))
    end
    ngx.say("dropped: ", logged("c", "is dropped"), ", once: ", #orders("once"))
--- response_body
led: 1
decided: true
another one: true
written: true
2, fence: true
decided: true
another one: true
written: true
3, fence: true
dropped: false, once: 1


=== TEST 4: after a start an hour earlier or later the cooldown is what it was, and what a script asks for is done
--- lua
    -- c runs since the block before, an hour fast
    for n, offset in ipairs { 0, -3600, 3600 } do
        if n > 1 then
            ngx.say("stopped: ", stop("c"))
            set("c", offset)
            assert(start("c"))
        end
        local id = get("c", "/scale?n=" .. n + 1)
        ngx.say(id ~= "", ", asked: ", within(5, function() return #orders("asked") == n end))
        get("c")
        ngx.sleep(1.1)
        ngx.say("once: ", #orders("once"))
    end
--- response_body
true, asked: true
once: 1
stopped: true
true, asked: true
once: 1
stopped: true
true, asked: true
once: 1


=== TEST 5: the calendar goes by the clock that is set
--- lua
    -- c runs since the block before, an hour fast
    ngx.say(within(3, function() return logged("c", 'from 1 to 2: 2 wanted by "schedule') end))
    set("c", 0)
    local last
    ngx.say(within(3, function()
        local all = decided("c", "day")
        last = all[#all]
        return last.reason:find "^from 2 to 1: " ~= nil
    end))
    ngx.say(hours(last.time), " h")
    stop("c")
--- response_body
true
true
0 h
