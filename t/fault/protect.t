# Workers come, go and are killed while requests wait for an upstream: nobody waits for ever, nothing is left behind.
# It starts its own servers, with its own number of workers:
# modes: plain
use strict;
use warnings;
use lib 't/lib';
use AutoscaleLua::Env;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

my $KILLS = $ENV{PROTECT_KILLS} // 8;
my $PORT = 1984;
my $load = AutoscaleLua::Env::load_modules();
my $root = AutoscaleLua::Env::scratch() . '/protect';
my %master;

sub spew { open my $out, '>', $_[0] or die "$_[0]: $!"; print $out $_[1]; close $out }
sub slurp { open my $in, '<', $_[0] or return ''; local $/; return <$in> // '' }

sub start {
    my ($name, $workers, $http) = @_;
    my $dir = "$root/$name";
    mkdir $_ for $root, $dir, "$dir/logs";
    my $temp = join ' ', map { "${_}_temp_path $dir/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    spew("$dir/nginx.conf", <<"CONF");
${\($> ? '' : "user root;\n")}$load
worker_processes $workers;
error_log $dir/logs/error.log info;
pid $dir/nginx.pid;
worker_shutdown_timeout 1500ms;
events { }
http { access_log off; $temp $http }
CONF
    system('nginx', '-p', $dir, '-e', "$dir/logs/error.log", '-c', "$dir/nginx.conf") == 0 or BAIL_OUT(slurp("$dir/logs/error.log"));
    ($master{$name}) = slurp("$dir/nginx.pid") =~ /(\d+)/;
}

# says how many it has at a time
start('backend', 1, <<'CONF');
    server {
        listen 127.0.0.1:1985 backlog=4096;
        location / { content_by_lua_block {
            now = (now or 0) + 1
            most = math.max(most or 0, now)
            ngx.sleep(tonumber(ngx.var.arg_s) or 0.02)
            now = now - 1
            ngx.say("ok")
        } }
        location = /most { content_by_lua_block { ngx.say("most ", most) most = 0 } }
    }
CONF
start('gateway', 2, <<"CONF");
    autoscale_zone main:8m;
    upstream app { zone app 64k; server 127.0.0.1:1985; keepalive 8; autoscale_protect limit=2 queue=100 timeout=8s; }
    server {
        listen 127.0.0.1:$PORT reuseport;
        location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://app; }
        location = /pid { return 200 \$pid; }
        location = /status { autoscale_status json; }
    }
CONF

sub workers { return split ' ', slurp("/proc/$master{gateway}/task/$master{gateway}/children") }
sub wait_until {
    my ($what, $seconds) = @_;
    for (my $end = time + ($seconds // 10); time < $end; sleep 0.01) { return 1 if $what->() }
    return 0;
}

sub send_to { my ($socket, $path) = @_; local $SIG{PIPE} = 'IGNORE'; print $socket "GET $path HTTP/1.1\r\nHost: t\r\n\r\n"; }

# What has come within so many seconds: a status, 'closed', or 'nothing'.
sub answer {
    my ($socket, $seconds) = @_;
    my ($text, $end) = ('', time + ($seconds // 10));
    while (time < $end) {
        IO::Select->new($socket)->can_read($end - time) or last;
        sysread($socket, $text, 4096, length $text) or return 'closed';
        return ($1, $2) if $text =~ /^HTTP\/1\.1 (\d+).*?\r\n\r\n(.+)/s;
    }
    return 'nothing';
}

# A connection to the worker with this pid.
sub connect_to {
    my $pid = shift;
    for (1 .. 200) {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $PORT, Timeout => 5) or next;
        send_to($socket, '/pid');
        my ($status, $body) = answer($socket, 2);
        return $socket if ($body // '') eq $pid;
    }
    die "no connection to worker $pid";
}

sub begin { my ($pid, $path) = @_; my $socket = connect_to($pid); send_to($socket, $path); return $socket }

sub left {
    my $json = '';
    my $done = wait_until(sub {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $PORT, Timeout => 5) or return 0;
        send_to($socket, '/status');
        my (undef, $body) = answer($socket, 2);
        ($json) = ($body // '') =~ /"name":"app",("active":\d+,"waiting":\d+,"queued":\d+)/;
        return ($json // '') eq '"active":0,"waiting":0,"queued":0';
    });
    diag($json // 'no status') if !$done;
    return $done;
}

sub most { my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => 1985); send_to($s, '/most'); my (undef, $b) = answer($s); return $b =~ /most (\d+)/ ? $1 : -1 }

sub two { wait_until(sub { 2 == workers() }); return workers() }

# one worker has the places, the other one's requests wait
my ($a, $b) = two();
my @holders = map { begin($a, '/?s=0.3') } 1 .. 2;
sleep 0.05;
my @waiters = map { begin($b, '/?s=0.02') } 1 .. 5;
is(join(' ', map { (answer($_))[0] } @holders, @waiters), join(' ', (200) x 7), 'who has room wakes the other worker');
note "workers $a $b, now: ", join ' ', workers();
cmp_ok(most(), '<=', 3, 'no more at a time than may be, but for a race');
ok(left(), 'nothing is left');

# the one whose requests wait is killed
@holders = map { begin($a, '/?s=0.4') } 1 .. 2;
sleep 0.05;
@waiters = map { begin($b, '/?s=0.02') } 1 .. 5;
sleep 0.05;
kill KILL => $b;
my @others = map { begin($a, '/?s=0.02') } 1 .. 5;
is(join(' ', map { (answer($_))[0] } @waiters), join(' ', ('closed') x 5), 'those of a killed worker are gone');
is(join(' ', map { (answer($_))[0] } @holders, @others), join(' ', (200) x 7), 'and in nobody\'s way');
ok(left(), 'nothing is left of them');

# the one that has the places is killed
wait_until(sub { 2 == grep { $_ != $b } workers() });
($a, $b) = two();
@holders = map { begin($a, '/?s=5') } 1 .. 2;
sleep 0.05;
@waiters = map { begin($b, '/?s=0.02') } 1 .. 5;
sleep 0.05;
my $began = time;
kill KILL => $a;
is(join(' ', map { (answer($_))[0] } @waiters), join(' ', (200) x 5), 'places of a killed worker are free again');
cmp_ok(time - $began, '<', 3, 'soon');
ok(left(), 'nothing is left of it');

# a reload while requests wait in both
wait_until(sub { 2 == grep { $_ != $a } workers() });
($a, $b) = two();
@holders = map { begin($_, '/?s=0.5') } $a, $b;
sleep 0.05;
@waiters = map { begin($_, '/?s=0.02') } $a, $b, $a, $b;
sleep 0.05;
kill HUP => $master{gateway};
wait_until(sub { my @new = grep { $_ != $a && $_ != $b } workers(); @new == 2 });
my ($new) = grep { $_ != $a && $_ != $b } workers();
push @waiters, begin($new, '/?s=0.02');
is(join(' ', map { (answer($_))[0] } @holders, @waiters), join(' ', (200) x 7), 'workers that drain serve those that wait in them');
ok(left(), 'nothing is left of them');

# what drains for too long is closed: soon enough that nobody has waited in it for so long that he is refused
($a, $b) = two();
@holders = map { begin($a, '/?s=5') } 1 .. 2;
sleep 0.05;
@waiters = map { begin($a, '/?s=0.02') } 1 .. 3;
kill HUP => $master{gateway};
is(join(' ', map { (answer($_, 6))[0] } @holders, @waiters), join(' ', ('closed') x 5), 'worker_shutdown_timeout ends those that wait');
ok(left(), 'nothing is left of those');
wait_until(sub { 2 == workers() });

# under load, again and again
srand 1;
my ($answered, $lost) = (0, 0);
for (1 .. $KILLS) {
    my @all = map {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $PORT, Timeout => 5);
        send_to($socket, '/?s=0.01') if $socket;
        $socket // ();
    } 1 .. 30;
    sleep 0.01 + rand 0.1;
    my @pids = workers();
    my $victim = $pids[rand @pids];
    kill KILL => $victim;
    for (@all) {
        my ($status) = answer($_, 10);
        $answered++ if $status eq '200';
        $lost++ if $status ne '200' && $status ne 'closed';
    }
    wait_until(sub { 2 == grep { $_ != $victim } workers() });
}
is($lost, 0, 'whoever was not of a killed worker was answered');
cmp_ok($answered, '>', $KILLS * 5, 'and those were some');
ok(left(), 'nothing is left of all that');

my $log = slurp("$root/gateway/logs/error.log");
my @alarms = grep { /\[alert\]|\[emerg\]|panicked|Assertion/ && !/exited on signal 9/ } split /\n/, $log;
is(join("\n", @alarms), '', 'nothing alarming was logged');

done_testing();
END { local $?; for (values %master) { kill TERM => $_ if -e "/proc/$_" } }
