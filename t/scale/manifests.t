# nginx-conf/kubernetes: manifests that the API takes, and an nginx.conf that nginx takes.
use lib 't/lib';
use AutoscaleLua::Env;
use Test::More;
use strict;
use warnings;

my $root = $AutoscaleLua::Env::ROOT;
my $dir = AutoscaleLua::Env::scratch();
chdir $dir or die $!;

# kubernetes-validate of PyPI, where ci/setup could install it
my $validator = "$root/build/python/bin/kubernetes-validate";
my @checker = ('/usr/bin/python3', "$root/t/lib/AutoscaleLua/check-manifests");
my $run = sub { my $pid = open my $out, '-|', @checker, @_ or die $!; local $/; <$out> };

is($run->("$root/nginx-conf/kubernetes"), "13 documents\n", 'the manifests have what they need, and refer to what is there');
SKIP: {
    skip 'kubernetes-validate is not installed', 1 if !-x $validator;
    is($run->("$root/nginx-conf/kubernetes", $validator), "13 documents\n", 'they fit the schemas of Kubernetes');
}

# a checker that finds nothing wrong with anything would be none
mkdir "$dir/bad";
for my $case (
    [ 'gateway.yaml', qr/resourceNames: \[order-processing\]/, 'resourceNames: [other]', qr/may not patch the scale of deployment order-processing/ ],
    [ 'gateway.yaml', qr/verbs: \[create\]/, 'verbs: [list]', qr/may not create the Lease gateway/ ],
    [ 'gateway.yaml', qr/fieldPath: metadata\.name\b/, 'fieldPath: metadata.uid', qr/downward API/ ],
    [ 'gateway.yaml', qr/kind: Role$/m, 'kind: Rolle', qr/unknown kind/ ],
    [ 'external-metrics.yaml', qr/averageValue: "20"/, 'averageValu: "20"', undef ],
    [ 'external-metrics.yaml', qr/key\.tenant~1/, 'key.tenant/', qr/cannot be asked for/ ],
    [ 'keda.yaml', qr/targetValue: "50"/, 'targetValue: 50', qr/no string/ ],
) {
    my ($name, $from, $to, $says) = @$case;
    open my $in, '<', "$root/nginx-conf/kubernetes/$name" or die $!;
    my $text = do { local $/; <$in> };
    $text =~ s/$from/$to/ or die "$name has no $from";
    unlink glob "$dir/bad/*";
    open my $out, '>', "$dir/bad/$name" or die $!;
    print $out $text;
    close $out;
    SKIP: {
        skip 'kubernetes-validate is not installed', 1 if !$says && !-x $validator;
        like($run->("$dir/bad", $says ? () : $validator), $says // qr/Kubernetes 1\.37/, "$to is found in $name");
    }
}

# the names of the cluster, of which there is none here, as nginx says
sub test { (my $said = `nginx -t -q -p '$dir/' -e stderr -c '$dir/nginx.conf' 2>&1`) =~ s/^.*\[warn\].* this is no pod .*\n//mg; "$?: $said" }
$run->("$root/nginx-conf/kubernetes");
open my $in, '<', "$dir/nginx.conf" or die $!;
my $conf = do { local $/; <$in> };
$conf =~ s/^load_module .*;$/AutoscaleLua::Env::load_modules()/em or die;
$conf =~ s/[\w.-]+\.svc\.cluster\.local/127.0.0.1/g;
open my $out, '>', "$dir/nginx.conf" or die $!;
print $out $conf;
close $out;
is(test(), '0: ', 'nginx accepts the ConfigMap');

# what the comments of the others show
my %shown;
for my $name (qw(external-metrics keda)) {
    open my $in, '<', "$root/nginx-conf/kubernetes/$name.yaml" or die $!;
    my @lines = grep { /^#   \S/ .. /^#$/ } grep { /^#/ && !/kubectl|jsonpath/ } <$in>;
    $shown{$name} = join '', map { s/^#//r } @lines;
}
$shown{'external-metrics'} =~ s{/etc/nginx/tls/tls\.(crt|key)}{$root/t/cert/server.$1}g;
$shown{'external-metrics'} =~ s{/etc/nginx/front-proxy/ca\.crt}{$root/t/cert/ca.crt};
$conf =~ s/^(\s*# for people)/$shown{'external-metrics'}$1/m or die;
$conf =~ s/(listen 8081;)/$1$shown{keda}/ or die;
open $out, '>', "$dir/nginx.conf" or die $!;
print $out $conf;
close $out;
is(test(), '0: ', 'nginx accepts what the comments show');
like($conf, qr/ssl_verify_client on.*autoscale_status external_metrics.*autoscale_status keda/s, 'which is both');

done_testing();
