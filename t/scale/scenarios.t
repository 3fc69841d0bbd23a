# The design's scenarios end to end, those that no other file has: what the calendar, a window and a slope know, and what is no
# reason to act. Signals are polled from this nginx, which answers what a test has set; targets are pools of it, and requests
# tell how many of their peers are asked.
# modes: plain workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::State qw(state_file entry policy season SLOT);
use File::Temp ();

# State files lie here.
my $dir = File::Temp::tempdir(CLEANUP => 1);
chmod 0777, $dir;

our $HTTP = <<'CONF';
    autoscale_zone main:16m keys=16;
    lua_shared_dict now 64k;
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        as = require "ngx.autoscale"

        -- what f returns once that is true, or nothing after twelve seconds
        function wait(f) return testing.wait_for(f, 12) end

        -- ends the test with what was awaited in vain
        function never(what, policy)
            ngx.say("never: ", what, policy and "; it says: " .. tostring(as.policy(policy):explain()) or "")
            ngx.exit(200)
        end

        -- has signals be so from their next poll on; returns once all have been polled
        function set(values)
            for name, value in pairs(values) do ngx.shared.now:set(name, value) end
            local polled = wait(function()
                for name, value in pairs(values) do
                    if as.get("ext." .. name) ~= value then return false end
                end
                return true
            end)
            if not polled then never("polled what was set") end
        end

        -- decisions that changed something, the oldest first
        function changes(policy)
            local list = {}
            for _, d in ipairs(as.decisions { policy = policy, last = 100 }) do
                if d.id then table.insert(list, 1, d) end
            end
            return list
        end

        -- the n-th of them once it is carried out
        function change(policy, n)
            local d = wait(function()
                local d = changes(policy)[n]
                return d and d.result and d
            end)
            return d or never("change " .. n .. " of " .. policy, policy)
        end

        -- what a policy says of itself, once it was looked at and once there is `what` in it
        function explains(policy, what)
            return wait(function()
                local reason = as.policy(policy):explain()
                return reason and reason:find(what or "", 1, true) and reason
            end) or never(policy .. " says: " .. tostring(what), policy)
        end

        -- how many peers of an upstream answer requests; once there are n of them, where that is told
        function peers(upstream, n)
            local count
            wait(function()
                local seen = {}
                count = 0
                for _ = 1, 8 do
                    local who = ngx.location.capture("/to/" .. upstream).body
                    if not seen[who] then seen[who], count = true, count + 1 end
                end
                return count == (n or count)
            end)
            return count
        end
    }
CONF

our $CONFIG = <<'CONF';
    location /now/ {
        content_by_lua_block { ngx.say('{"value":', ngx.shared.now:get(ngx.var.uri:sub(6)) or ngx.var.arg_first, '}') }
    }
    location ~ ^/to/(?<upstream>\w+)$ { proxy_pass http://$upstream/who; }
    location = /who { return 200 $server_addr; }
CONF

# `pools: a b` are upstreams of four peers and targets of the same names, `signals: x=1` is ext.x, 1 at first; `state` is what an
# earlier nginx has left.
add_block_preprocessor(sub {
    my $block = shift;
    my ($conf, $http) = ('', $HTTP);
    if (defined $block->state) {
        open my $out, '>:raw', "$dir/state" or die $!;
        print $out $block->state;
        close $out;
        $http =~ s/keys=16/$& state=$dir\/state/;
    }
    for my $pool (split ' ', $block->pools) {
        my $servers = join ' ', map { "server 127.0.0.$_:\$TEST_NGINX_SERVER_PORT;" } 1 .. 4;
        $conf .= "upstream $pool { $servers }\nautoscale_target $pool pool:$pool min=1;\n";
    }
    for my $signal (split ' ', $block->signals // '') {
        my ($name, $first) = split /=/, $signal;
        my $url = "http://127.0.0.1:\$TEST_NGINX_SERVER_PORT/now/$name?first=$first";
        $conf .= "autoscale_signal $name $url every=100ms stale=30s path=/value;\n";
    }
    $block->set_value('http_config', $http . $conf . $block->http_config);
    $block->set_value('config', $CONFIG);
    $block->set_value('timeout', 40);
});

# The minute that begins so many seconds from now at the earliest, as a cron expression and in seconds since 1970.
sub due {
    my ($in, $offset) = @_;
    my $at = time + $in;
    $at += 60 - $at % 60;
    my (undef, $minute, $hour) = gmtime($at + ($offset // 0));
    return (qq{"$minute $hour * * *"}, $at);
}

# A sale in ten minutes, for which there is a floor from two seconds hence on; the same by a clock in India; and two that are far off.
sub sale {
    my ($cron, $at) = due(600);
    my $begin = time + 2;
    my $before = $at - $begin;
    my ($india) = due(600, 19800);
    my ($later) = due(6 * 3600);
    my ($earlier) = due(-6 * 3600);
    return <<"CONF";
    init_worker_by_lua_block { begin, before = $begin, "before=${before}s" }
    autoscale_policy sale target=sale { schedule $cron before=${before}s for=1h min=3; }
    autoscale_policy abroad target=abroad { schedule $india before=15m tz=Asia/Kolkata min=4; }
    autoscale_policy later target=later { schedule $later before=15m for=1h min=3; schedule $earlier before=15m for=1h min=4; }
CONF
}

# Four weeks of a load of 18, of 38 in one hour of each of the five days that begin with today's, give or take what repeats in no
# week, and pools of two. The hour begins with the next quarter of an hour, for `later` an hour afterwards; `away` has seen nothing in
# the last two hours.
sub weeks {
    my $now = int time / SLOT;
    my $load = sub {
        my ($begin) = @_;
        return sub {
            my ($slot) = @_;
            my $into = ($slot - $begin) % 672;
            return ($into < 5 * 96 && $into % 96 < 4 ? 38 : 18) + ($slot * 7919 % 101 - 50) / 200;
        };
    };
    my ($next, $later) = map { $load->($now + $_) } 1, 5;
    my %seasons = (map({ $_ => [ time, $next ] } qw(morning watched observed)), later => [ time, $later ], away => [ time - 7200, $next ]);
    return state_file(1, map { (entry('pool', $_, 2), policy($_, season(@{ $seasons{$_} }))) } sort keys %seasons);
}

run_tests();

__DATA__

=== TEST 1: T3, T13: the floor is there before the sale and not earlier, for one far off there is none; forecasts learn first
--- pools: sale abroad later foreseen observed
--- signals: load=10
--- http_config eval
main::sale() . <<'CONF'
    autoscale_policy foreseen target=foreseen { track ext.load per=10; forecast period=1d lead=5m; }
    autoscale_policy observed target=observed { track ext.load per=10; forecast period=1w lead=15m observe; }
CONF
--- lua
    local function say(...)
        local text = table.concat({ ... }, ", "):gsub('"%d+ %d+ %* %* %*"', "CRON"):gsub(before, "before=W")
        ngx.say((text:gsub("has seen [%d.]+ s", "has seen N s")))
    end
    for _, policy in ipairs { "foreseen", "observed" } do
        say(explains(policy, "has seen"), #changes(policy) .. " changes", peers(policy) .. " peer")
    end
    set { load = 30 }

    local d = change("sale", 1)
    say(d.reason, tostring(d.unix >= begin), d.result, peers("sale", 3) .. " peers")
    say(change("abroad", 1).reason, peers("abroad", 4) .. " peers")
    say(explains("later"), #changes("later") .. " changes", peers("later") .. " peer")
    say(explains("sale", "stays at 3: no rule asks for a change"), #changes("sale") .. " change")

    -- what is tracked asks for more, and nobody else does
    for _, policy in ipairs { "foreseen", "observed" } do
        d = change(policy, 1)
        say(d.reason, d.rules[2].says, peers(policy, 3) .. " peers")
    end
--- response_body
stays at 1: no rule asks for a change; "forecast period=1d lead=5m": has seen N s of 172800 s, 0 changes, 1 peer
stays at 1: no rule asks for a change; "forecast period=1w lead=15m observe": has seen N s of 1209600 s, 0 changes, 1 peer
from 1 to 3: 3 wanted by "schedule CRON before=W for=1h min=3", true, 3 replicas, 3 peers
from 1 to 4: 4 wanted by "schedule CRON before=15m tz=Asia/Kolkata min=4", 4 peers
stays at 1: no rule asks for a change, 0 changes, 1 peer
stays at 3: no rule asks for a change, 1 change
from 1 to 3: 3 wanted by "track ext.load per=10" (it is 30), has seen N s of 172800 s, 3 peers
from 1 to 3: 3 wanted by "track ext.load per=10" (it is 30), has seen N s of 1209600 s, 3 peers


=== TEST 2: T13: from four weeks of history in the state file, replicas are there before the load is; who observes only says so
--- pools: morning later away watched observed
--- signals: load=18
--- state eval: main::weeks()
--- http_config
    autoscale_policy morning  target=morning  { track ext.load per=10; forecast period=1w lead=15m; }
    autoscale_policy later    target=later    { track ext.load per=10; forecast period=1w lead=15m; }
    autoscale_policy away     target=away     { track ext.load per=10; forecast period=1w lead=15m; }
    autoscale_policy watched  target=watched  { track ext.load per=10; forecast period=1w lead=15m observe; }
    autoscale_policy observed target=observed { track ext.load per=10; forecast period=1w lead=15m; mode observe; }
--- lua
    local function say(policy, d, count)
        ngx.say(policy, ": ", d.reason, "; ", d.rules[2].says, "; ", peers(policy, count), " peers")
    end
    -- the last look, once it had the load
    local function looked(policy)
        return wait(function()
            local _, last = as.policy(policy):explain()
            return last and last.rules[1].says == "2 replicas" and last
        end) or never(policy, policy)
    end
    for _, policy in ipairs { "morning", "away" } do
        local d = change(policy, 1)
        d.reason = d.reason:gsub(" %(it is 18%)", "")
        say(policy, d, 4)
    end
    for _, policy in ipairs { "later", "watched", "observed" } do say(policy, looked(policy), 2) end
    -- nor has any other change been made, and the load itself has not come
    ngx.say(#changes("morning"), #changes("away"), #changes("later"), #changes("watched"), ", ", (as.get("ext.load")))
--- response_body
morning: from 2 to 4: 4 wanted by "forecast period=1w lead=15m"; at least 4 replicas; 4 peers
away: from 2 to 4: 4 wanted by "forecast period=1w lead=15m"; at least 4 replicas; 4 peers
later: stays at 2: no rule asks for a change; at least 2 replicas; 2 peers
watched: stays at 2: no rule asks for a change; "forecast period=1w lead=15m observe": would ask for at least 4 replicas; would ask for at least 4 replicas; 2 peers
observed: would go from 2 to 4: 4 wanted by "forecast period=1w lead=15m" (it is 18); at least 4 replicas; 2 peers
1100, 18


=== TEST 3: T7: what swings beyond both lines is no reason, what stays beyond one for long enough is
--- pools: swing steady
--- signals: swing=50 steady=50
--- http_config
    autoscale_policy swing target=swing {
        up   ext.swing > 80 for=3x by=+1;
        down ext.swing < 20 for=3x by=-1;
        cooldown up=0s down=0s;
        # each tick that has seen one end has the signal go to the other one
        by_lua_block {
            local value = as.get("ext.swing")
            if value == 95 or value == 5 then
                ngx.shared.now:set("swing", 100 - value)
                ngx.shared.now:incr("swing at " .. value, 1, 0)
            end
        }
    }
    autoscale_policy steady target=steady {
        up   ext.steady > 80 for=3x by=+1;
        down ext.steady < 20 for=3x by=-1;
        cooldown up=0s down=0s;
        # in how many ticks it was so, with so many replicas
        by_lua_block {
            ngx.shared.now:incr("steady at " .. (as.get("ext.steady") or "?") .. " with " .. replicas, 1, 0)
        }
    }
--- lua
    local now = ngx.shared.now
    -- there is one to take away
    assert(as.scale("swing", { replicas = 2 }))
    ngx.say(change("swing", 1).reason)
    set { swing = 95, steady = 95 }
    local up = change("steady", 1)
    ngx.say((up.reason:gsub("%(.*", "")), peers("steady", 2), " peers, ", now:get("steady at 95 with 1") >= 3)
    set { steady = 5 }
    local down = change("steady", 2)
    ngx.say((down.reason:gsub("%(.*", "")), peers("steady", 1), " peer, ", now:get("steady at 5 with 2") >= 3)
    ngx.say(wait(function() return (now:get("swing at 95") or 0) >= 3 and (now:get("swing at 5") or 0) >= 3 end))
    ngx.say(#changes("swing"), " change, ", peers("swing"), " peers")
--- response_body
from 1 to 2: 2 wanted by a script
from 1 to 2: 2 wanted by "up ext.steady > 80 for=3x by=+1" 2 peers, true
from 2 to 1: 1 wanted by "down ext.steady < 20 for=3x by=-1" 1 peer, true
true
1 change, 2 peers


=== TEST 4: T9, T15: an average over a window acts later than the level does, a slope earlier
--- pools: high average climbing slow
--- signals: load=40 latency=1000
--- http_config
    autoscale_policy high target=high { up ext.load > 70 by=+1; cooldown up=1h; }
    autoscale_policy average target=average { up ext.load.avg@5s > 70 by=+1; cooldown up=1h; }
    autoscale_policy climbing target=climbing {
        up slope(ext.latency@2s) > 30 for=2x by=+2;
        up ext.latency > 5k by=+1;
        cooldown up=1h;
    }
    autoscale_policy slow target=slow { up ext.latency > 5k by=+1; cooldown up=1h; }
--- lua
    -- flat, however high, is no slope
    ngx.say(wait(function()
        local reason, last = as.policy("climbing"):explain()
        return reason and last.signals[1].value == 0 and last.rules[1].says
    end), ", ", wait(function() return select(3, as.get("ext.load.avg@5s")) >= 10 end))
    ngx.say(#changes("climbing"), #changes("slow"), #changes("high"), #changes("average"))

    set { load = 99 }
    local begun = ngx.now()
    wait(function()
        ngx.shared.now:set("latency", 1000 + 100 * (ngx.now() - begun))
        return changes("climbing")[1]
    end)
    local early = change("climbing", 1)
    ngx.say((early.reason:gsub("%(it is .*", "")), peers("climbing", 3), " peers")
    ngx.say(early.signals[1].value > 30, " ", early.signals[2].value < 5000, ", ", early.rules[2].says)
    ngx.say(explains("slow"))
    set { latency = 6000 }
    local late = change("slow", 1)
    ngx.say(late.reason, ", ", late.unix > early.unix, ", ", #changes("climbing"), " change")

    late, early = change("average", 1), change("high", 1)
    ngx.say(early.reason)
    ngx.say((late.reason:gsub("%(it is .*", "")), peers("average", 2), " peers")
    local seen = late.signals[1]
    ngx.say(seen.signal, " ", seen.value > 70 and seen.value < 99, " ", seen.samples > 10, ", ", late.unix > early.unix)
--- response_body
not so, true
0000
from 1 to 3: 3 wanted by "up slope(ext.latency@2s) > 30 for=2x by=+2" 3 peers
true true, not so
stays at 1: no rule asks for a change
from 1 to 2: 2 wanted by "up ext.latency > 5k by=+1" (it is 6000), true, 1 change
from 1 to 2: 2 wanted by "up ext.load > 70 by=+1" (it is 99)
from 1 to 2: 2 wanted by "up ext.load.avg@5s > 70 by=+1" 2 peers
ext.load.avg@5s true true, true
