# What nginx -t says of `autoscale_policy` and its neighbours: what is right it takes, what is wrong it names with file and line, and
# with what to write instead. The grammar itself is tested where it is read, in src/logic.
# No server is started, so that the modes make no difference:
# modes: plain
use strict;
use warnings;
use lib 't/lib';
use AutoscaleLua::Env;
use Test::More;

my $SCRATCH = AutoscaleLua::Env::scratch();
mkdir "$SCRATCH/logs";

# What `nginx -t` says of these lines in http {}; the first of them is line 4.
sub verdict {
    my $lines = shift;
    my $modules = AutoscaleLua::Env::load_modules();
    $modules =~ s/\n/ /g;
    my $text = "$modules error_log stderr; pid $SCRATCH/nginx.pid;\nevents {}\nhttp {\n$lines\n}\n";
    open my $out, '>', "$SCRATCH/nginx.conf" or die "nginx.conf: $!\n";
    print $out $text;
    close $out;
    my $output = `nginx -t -p $SCRATCH/ -c $SCRATCH/nginx.conf 2>&1`;
    return ($? == 0, $output);
}

sub accepts {
    my ($title, $lines) = @_;
    my ($taken, $output) = verdict($lines);
    ok($taken, $title) or diag($output);
}

# Refused at a line of the file, with these words.
sub refuses {
    my ($title, $line, $words, $lines) = @_;
    my ($taken, $output) = verdict($lines);
    ok(!$taken, "$title is refused");
    my ($said) = $output =~ /\[emerg\] \d+#\d+: (.*)/;
    like($said // $output, qr/\Q$words\E.* in \Q$SCRATCH\E\/nginx\.conf:$line$/, "$title: what and where");
}

my $ZONE = 'autoscale_zone main:8m;';
my $APP = "$ZONE upstream app { server 127.0.0.1:1; }";

accepts('everything of the documentation', <<"CONF");
    $APP
    autoscale_key tenant \$http_x_tenant;
    autoscale observe;
    autoscale_leader local ttl=5s;
    autoscale_log logs/decisions.log level=acted;
    autoscale_signal queue http://127.0.0.1:1/metrics every=1s stale=10s metric=depth,age;
    autoscale_signal model http://127.0.0.1:1/ path=/queue/0/depth;
    autoscale_target app pool:app min=1;
    autoscale_target orders kubernetes:shop/deployment/orders min=2 max=40 api=https://127.0.0.1:1 timeout=3s;
    autoscale_target pager webhook:https://example.com/hook;
    autoscale_policy orders target=orders {
        up       upstream.app.latency > 500ms for=11r by=+2;  # the eleventh
        up       "ext.queue.depth" > 1k by=+50%;
        down     upstream.app.latency < 150ms for=10m by=-1;
        limit    max=30 rate=10;
        cooldown up=60s down=300s;
        schedule "45 8 * * 1-5" before=15m for=1h tz=Europe/Berlin min=12;
        by_lua_block { local t = { ["}"] = "{" } --[[ } ]] return t and nil }
        do notify pager;
        do throttle tenant 50;
    }
    autoscale_policy pool target=app { track self.rate per=100; }
    server { listen 127.0.0.1:1; autoscale off; location / { autoscale on; } }
CONF

accepts('a block over many reads of the file',
    "$APP autoscale_target app pool:app;\nautoscale_policy p target=app {\n" . ("# padding }\n" x 4000)
    . "by_lua_block {\n" . ("-- }\n" x 4000) . "return nil }\ntrack self.rate per=10;\n}\nserver { listen 127.0.0.1:1; }");

refuses('a policy without memory', 5, '"autoscale_policy" needs the memory that all workers share', <<'CONF');

    autoscale_policy p { up self.rate > 1 by=+1; do shed batch; }
CONF
refuses('an unknown target kind', 5, 'unknown target "kubernets" (did you mean "kubernetes"?)', <<"CONF");
    $APP
    autoscale_target orders kubernets:shop/deployment/orders max=9;
CONF
refuses('an unknown upstream', 6, 'there is no upstream "ap" (did you mean "app"?)', <<"CONF");
    $APP

    autoscale_target orders pool:ap;
    server { listen 127.0.0.1:1; }
CONF
refuses('an unknown line', 7, 'unknown line of a policy "ups"', <<"CONF");
    $APP
    autoscale_target app pool:app;
    autoscale_policy p target=app {
        ups self.rate > 1 by=+1;
    }
CONF
refuses('an unknown signal', 8, 'unknown metric "latencies"', <<"CONF");
    $APP
    autoscale_target app pool:app;
    autoscale_policy p target=app {
        track self.rate per=10;
        up upstream.app.latencies > 1 by=+1;
    }
CONF
refuses('an unknown external signal', 6, 'there is no signal "queu" (did you mean "queue"?)', <<"CONF");
    $APP autoscale_target app pool:app;
    autoscale_signal queue http://127.0.0.1:1/ path=/n;
    autoscale_policy p target=app { track ext.queu per=10; }
    server { listen 127.0.0.1:1; }
CONF
refuses('a key that no autoscale_key names', 5, 'there is no key "tenant"', <<"CONF");
    $APP
    autoscale_policy p { up key.tenant/a.rate > 5 by=+1; do throttle tenant 5; }
CONF
refuses('an unknown unit', 7, '500mss', <<"CONF");
    $APP
    autoscale_target app pool:app;
    autoscale_policy p target=app {
        up upstream.app.latency > 500mss by=+1;
    }
CONF
refuses('min above max', 5, 'min=5 max=2', <<"CONF");
    $APP
    autoscale_target app pool:app min=5 max=2;
CONF
refuses('bounds that do not meet', 6, 'min=5 is more than max=3', <<"CONF");
    $APP
    autoscale_target app pool:app min=5;
    autoscale_policy p target=app { track self.rate per=10; limit max=3; }
    server { listen 127.0.0.1:1; }
CONF
refuses('a schedule that is none', 7, 'cron minute "61" is outside 0-59', <<"CONF");
    $APP
    autoscale_target app pool:app;
    autoscale_policy p target=app {
        schedule "61 8 * * 1-5" min=2;
    }
CONF
refuses('a time zone that does not exist', 7, 'Europe/Berlyn', <<"CONF");
    $APP
    autoscale_target app pool:app;
    autoscale_policy p target=app {
        schedule "0 8 * * *" tz=Europe/Berlyn min=2;
    }
CONF
refuses('routes in a circle', 6, 'requests would go in a circle', <<"CONF");
    $APP
    upstream other { server 127.0.0.1:2; }
    autoscale_policy a { up upstream.app.latency > 1s by=+1; do route other; }
    autoscale_policy b { up upstream.other.latency > 1s by=+1; do route app; }
    server { listen 127.0.0.1:1; }
CONF
refuses('two policies for one target', 7, 'two would fight over it', <<"CONF");
    $APP
    autoscale_target app pool:app;
    autoscale_policy a target=app { track self.rate per=10; }
    autoscale_policy b target=app { track self.rate per=20; }
    server { listen 127.0.0.1:1; }
CONF
refuses('two policies of one name', 6, 'policy "a" is duplicate', <<"CONF");
    $APP autoscale_target app pool:app;
    autoscale_policy a target=app { track self.rate per=10; }
    autoscale_policy a target=app { track self.rate per=20; }
CONF
refuses('a second leader', 6, '"autoscale_leader" directive is duplicate', <<"CONF");
    $APP
    autoscale_leader local;
    autoscale_leader local;
CONF
refuses('a credential in a URL', 5, 'credentials belong into a file', <<"CONF");
    $APP
    autoscale_target pager webhook:https://me:secret\@example.com/;
CONF
refuses('a block that does not end', 5, 'the block that begins in line 5 is not closed by "}"', <<"CONF");
    $APP
    autoscale_policy p { schedule "0 8 * * 1 min=1; do shed batch; }
CONF
refuses('an include in a policy', 7, 'a policy includes no file', <<"CONF");
    $APP
    autoscale_target app pool:app;
    autoscale_policy p target=app {
        include lines.conf;
    }
CONF
refuses('a mode that does not exist', 5, 'on | observe | off', <<"CONF");
    $APP
    autoscale maybe;
CONF
refuses('the mode twice', 6, '"autoscale" directive is duplicate', <<"CONF");
    $APP
    autoscale on;
    autoscale off;
CONF

unlike((verdict("$APP autoscale_target pager webhook:https://me:secret\@example.com/;"))[1], qr/secret\@/,
    'a credential is not shown');

done_testing();
