# What an upstream {} says about holding itself up: what is refused, where it stands, and what is to be written instead.
# No server is started, so that the modes make no difference:
# modes: plain
use strict;
use warnings;
use lib 't/lib';
use AutoscaleLua::Env;
use Test::More;

my $SCRATCH = AutoscaleLua::Env::scratch();
mkdir "$SCRATCH/logs";    # where an nginx that is not Debian's writes until it has read what to do
my $ZONE = 'autoscale_zone main:4m keys=64;';

# What `nginx -t` says of these lines in http {} and in an upstream {}, whose first line is the fifth one of the file.
sub verdict {
    my ($http, $upstream) = @_;
    open my $out, '>', "$SCRATCH/nginx.conf" or die "nginx.conf: $!\n";
    my $modules = AutoscaleLua::Env::load_modules() =~ s/\n+/ /gr;
    print $out "$modules error_log stderr; pid $SCRATCH/nginx.pid;\nevents {}\nhttp { $http\n",
        "upstream app { server 127.0.0.1:1;\n$upstream\n}\nserver { location / { proxy_pass http://app; } } }\n";
    close $out;
    my $output = `nginx -t -p $SCRATCH/ -c $SCRATCH/nginx.conf 2>&1`;
    return ($? == 0, $output);
}

# [http {}, upstream {}, what is said; undef: it is taken without a word]
my @CASES = (
    [$ZONE, 'autoscale_balance peak_ewma;', undef],
    [$ZONE, 'autoscale_balance peak_ewma decay=2s slow_start=1m feedback=$upstream_http_x_load;', undef],
    [$ZONE, 'autoscale_balance least_request slow_start=0; keepalive 4;', undef],
    [$ZONE, 'server 127.0.0.1:2 weight=2 max_conns=3 max_fails=4 fail_timeout=5s down; server 127.0.0.1:3 backup; '
        . 'zone app 64k; autoscale_balance least_request;', undef],
    ['', 'autoscale_balance off;', undef],
    ['', 'least_conn; autoscale_balance off;', undef],
    ['', 'autoscale_balance peak_ewma;',
        qr/"autoscale_balance" needs the memory that all workers share: write "autoscale_zone main:8m;" in http \{\}/],
    [$ZONE, 'autoscale_balance;', qr/invalid number of arguments in "autoscale_balance" directive/],
    [$ZONE, 'autoscale_balance peek_ewma;', qr/unknown rule "peek_ewma" \(did you mean "peak_ewma"\?\)/],
    [$ZONE, 'autoscale_balance peak_ewma decay=5;', qr/"5" has no unit; write 5ms, 5s, 5m or 5h/],
    [$ZONE, 'autoscale_balance peak_ewma decay=0;', qr/invalid decay "0": write 100ms to 1h/],
    [$ZONE, 'autoscale_balance least_request decay=5s;', qr/unknown parameter "decay="/],
    [$ZONE, 'autoscale_balance peak_ewma feedback=load;', qr/write one variable, such as \$upstream_http_x_load/],
    [$ZONE, 'autoscale_balance off decay=5s;', qr/"off" stands alone/],
    [$ZONE, 'autoscale_balance peak_ewma; autoscale_balance least_request;', qr/"autoscale_balance" directive is duplicate/],
    [$ZONE, 'autoscale_balance off; autoscale_balance least_request;', qr/"autoscale_balance" directive is duplicate/],
    [$ZONE, 'autoscale_balance peak_ewma; balancer_by_lua_block { return }',
        qr/"autoscale_balance" and "balancer_by_lua" both choose the peer: write one of them/],
    [$ZONE, 'balancer_by_lua_block { return } autoscale_balance peak_ewma;',
        qr/"autoscale_balance" and "balancer_by_lua" both choose the peer: write one of them/],
);

for my $case (@CASES) {
    my ($http, $upstream, $said) = @$case;
    my ($accepted, $output) = verdict($http, $upstream);
    my $name = ($http ? '' : 'without a zone: ') . $upstream;
    if (!defined $said) {
        ok($accepted && $output !~ /\[(?:warn|alert|emerg)\]/, $name) or diag($output);
    } else {
        ok(!$accepted, "$name is refused");
        like($output, $said, "$name: what is said");
        like($output, qr/nginx\.conf:5\b/, "$name: where");
    }
}

# A second method is nginx's business: the last one holds, and it says so.
for my $upstream ('least_conn; autoscale_balance peak_ewma;', 'autoscale_balance peak_ewma; least_conn;') {
    my ($accepted, $output) = verdict($ZONE, $upstream);
    ok($accepted, "$upstream is taken");
    like($output, qr/\[warn\].* load balancing method redefined in .*nginx\.conf:5\b/, "$upstream: a warning");
}

done_testing();
