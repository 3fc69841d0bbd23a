# Workers are killed while they change a shared dictionary, again and again: it stays usable, by the workers that live
# and by the new ones; with a master to clean up, and without.
# It starts its own nginx, with its own number of workers:
# modes: plain
use strict;
use warnings;
use lib 't/lib';
use AutoscaleLua::Env;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

my $KILLS = $ENV{DICT_KILLS} // 30;
my $PORT = 1984;
my $dir = AutoscaleLua::Env::scratch() . '/fault';
my $load = AutoscaleLua::Env::load_modules();
mkdir $dir;
mkdir "$dir/logs";

sub spew { open my $out, '>', $_[0] or die "$_[0]: $!"; print $out $_[1]; close $out }
sub slurp { open my $in, '<', $_[0] or return ''; local $/; return <$in> // '' }

spew("$dir/nginx.conf", <<"CONF");
${\($> ? '' : "user root;\n")}$load
worker_processes 2;
error_log $dir/logs/error.log info;
pid $dir/nginx.pid;
events { }
http {
    access_log off;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
    lua_shared_dict hot 100k;
    lua_shared_dict unused 100k;
    lua_shared_dict big 8m;
    init_by_lua_block {
        for i = 1, 20000 do
            ngx.shared.big:set("key" .. i, i)
        end
    }
    server {
        listen 127.0.0.1:$PORT;
        location = /change {
            content_by_lua_block {
                local hot, random, text = ngx.shared.hot, math.random, ("x"):rep(400)
                math.randomseed(tonumber(ngx.var.arg_seed))
                local i, stop = 0, os.clock() + 0.4
                while os.clock() < stop do
                    i = i + 1
                    local key = "key" .. random(200)
                    hot:set(key, text:sub(1, random(400)))
                    hot:incr("count" .. random(9), 1, 0, random(2) == 1 and 0.001 or 0)
                    hot:get(key)
                    hot:rpush("list" .. random(3), text:sub(1, random(100)))
                    hot:lpop("list" .. random(3))
                    if i % 50 == 0 then
                        hot:delete(key)
                        hot:flush_expired(3)
                        -- what takes long to remove is likely to be interrupted
                        for _ = 1, 300 do
                            hot:rpush("listlong", "x")
                        end
                        hot:delete("listlong")
                    end
                end
                ngx.say("not killed")
            }
        }
        # nearly all the time with the lock held
        location = /hold {
            content_by_lua_block {
                local stop = os.clock() + 1
                while os.clock() < stop do
                    ngx.shared.big:flush_all()
                end
            }
        }
        location = /check {
            content_by_lua_block {
                local hot = ngx.shared.hot
                local n = 0
                for _, key in ipairs(hot:get_keys(0)) do
                    local value, err = hot:get(key)
                    local kind = key:match("^%a+")
                    if kind == "key" then
                        assert(value == nil or value:match("^x+\$"), key)
                    elseif kind == "count" then
                        assert(value == nil or value % 1 == 0, key)
                    else
                        assert(value == nil and (err == nil or err == "value is a list"), key)
                    end
                    n = n + 1
                end
                hot:flush_all()
                hot:flush_expired()
                assert(hot:free_space() == ngx.shared.unused:free_space(), "memory is lost")
                for i = 1, 1000 do
                    assert(hot:set("key" .. i, ("x"):rep(30)))
                    assert(hot:get("key" .. i) == ("x"):rep(30))
                end
                assert(ngx.shared.big:incr("probe", 1, 0))
                ngx.say("ok ", n)
            }
        }
    }
}
CONF

system('nginx', '-p', $dir, '-e', "$dir/logs/error.log", '-c', "$dir/nginx.conf") == 0 or BAIL_OUT(slurp("$dir/logs/error.log"));
my ($master) = slurp("$dir/nginx.pid") =~ /(\d+)/;

sub workers { return split ' ', slurp("/proc/$master/task/$master/children") }
sub wait_until {
    my ($what, $seconds) = @_;
    for (my $end = time + ($seconds // 20); time < $end; sleep 0.005) { return 1 if $what->() }
    return 0;
}

sub ask {
    my ($path, $answer) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $PORT, Timeout => 5) or return;
    print $socket "GET $path HTTP/1.0\r\nHost: t\r\n\r\n";
    return $socket if !$answer;
    my $text = '';
    eval {
        local $SIG{ALRM} = sub { die "no answer\n" };
        alarm 3;
        $text .= $_ while <$socket>;
        alarm 0;
    };
    alarm 0;
    return $text;
}

# A worker may be busy with what a killed one left: ask until one has time.
sub is_usable {
    my $answer = '';
    wait_until(sub { ($answer = ask('/check', 1) // '') =~ /^ok \d+/m }, 60) or diag($answer);
    return $answer =~ /^ok \d+/m;
}

my $TORN = qr/a process was killed while it changed the dictionary/;
sub torn { return scalar(() = slurp("$dir/logs/error.log") =~ /$TORN/g) }

srand 1;
my ($usable, $respawned, $kills) = (0, 0, 0);
# on a busy machine the workers may be asleep whenever they are killed: up to five times as many kills
for my $n (1 .. 5 * $KILLS) {
    last if $n > $KILLS && torn() > 0;
    $kills = $n;
    my @busy = map { ask("/change?seed=$n$_") } 1 .. 3;
    sleep 0.005 + rand 0.03;
    my @before = workers();
    kill KILL => @before;
    my %old = map { $_ => 1 } @before;
    $respawned += wait_until(sub { 2 == grep { !$old{$_} } workers() });
    $usable += is_usable();
}
is($respawned, $kills, 'new workers replace those that were killed');
is($usable, $kills, 'the dictionary is usable after each kill, and holds nothing but what was stored');

my $log = slurp("$dir/logs/error.log");
my $torn = torn();
note "$torn of $kills kills tore the dictionary";
cmp_ok($torn, '>', 0, 'some of them did tear it, and the log says so');
unlike($log, qr/exited on signal (?!9)/, 'no worker ended by another signal');
unlike($log, qr/ngx_slab_(?:alloc|free)|panicked|beyond|cannot be used any more/, 'no allocator complains');

# The worker that is busy.
sub holder {
    my @workers = @_;
    my @before = map { cpu($_) } @workers;
    sleep 0.15;
    my %spent = map { $workers[$_] => cpu($workers[$_]) - $before[$_] } 0 .. $#workers;
    return (sort { $spent{$b} <=> $spent{$a} } @workers)[0];
}

sub cpu { my @f = split ' ', slurp("/proc/$_[0]/stat") =~ s/^.*\)//sr; return ($f[11] // 0) + ($f[12] // 0) }

# one worker dies with the lock in hand, the other waits for it meanwhile
my ($answered, $rounds) = (0, 10);
for (1 .. $rounds) {
    my $hold = ask('/hold');
    my $busy = holder(workers());
    my $waiting = ask('/check');
    kill KILL => $busy;
    $answered += is_usable();
    wait_until(sub { 2 == grep { $_ != $busy } workers() });
}
is($answered, $rounds, 'a lock whose holder died is free again');

# the same when nobody is left to clean up
my @workers = workers();
kill KILL => $master;
my $hold = ask('/hold');
my $busy = holder(@workers);
kill KILL => $busy;
ok(is_usable(), 'a worker frees the lock of a dead one when there is no master');
kill KILL => grep { $_ != $busy } @workers;

done_testing();
END { kill KILL => $master if $master && -e "/proc/$master" }
