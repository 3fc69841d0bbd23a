# Every directive in every place of a configuration: accepted where OpenResty documents it (the "context" lines of
# lua-nginx-module 0.10.23's README; DESIGN's table for ours), refused elsewhere. The list of directives to be tested
# is the README's, which ci/reference makes from the code.
# No server is started, so that the modes make no difference:
# modes: plain
use strict;
use warnings;
use lib 't/lib';
use AutoscaleLua::Env;
use Test::More;

my $ROOT = $AutoscaleLua::Env::ROOT;
my $SCRATCH = AutoscaleLua::Env::scratch();
my $CERTS = "$ROOT/t/cert";
my $EVERYWHERE = 'http, server, location, location if';

# What is written after a directive's name so that it is complete.
my %BY_LUA = (_by_lua_block => '{ return }', _by_lua_file => "$SCRATCH/script.lua;", _by_lua => '"return";');

# directive => [contexts, the rest of the line]
my %DIRECTIVES = (
    lua_capture_error_log => ['http', '32k;'],
    lua_check_client_abort => [$EVERYWHERE, 'on;'],
    lua_code_cache => [$EVERYWHERE, 'on;'],
    lua_http10_buffering => [$EVERYWHERE, 'off;'],
    lua_load_resty_core => ['http', 'on;'],
    lua_malloc_trim => ['http', '10;'],
    lua_need_request_body => [$EVERYWHERE, 'on;'],
    lua_package_cpath => ['http', '"/x/?.so;;";'],
    lua_package_path => ['http', '"/x/?.lua;;";'],
    lua_regex_cache_max_entries => ['http', '10;'],
    lua_regex_match_limit => ['http', '10;'],
    lua_sa_restart => ['http', 'off;'],
    lua_shared_dict => ['http', 'dict 64k;'],
    lua_max_pending_timers => ['http', '10;'],
    lua_max_running_timers => ['http', '10;'],
    lua_worker_thread_vm_pool_size => ['http', '10;'],
    lua_socket_buffer_size => [$EVERYWHERE, '4k;'],
    lua_socket_connect_timeout => [$EVERYWHERE, '1s;'],
    lua_socket_keepalive_timeout => [$EVERYWHERE, '1s;'],
    lua_socket_log_errors => [$EVERYWHERE, 'off;'],
    lua_socket_pool_size => [$EVERYWHERE, '4;'],
    lua_socket_read_timeout => [$EVERYWHERE, '1s;'],
    lua_socket_send_lowat => [$EVERYWHERE, '0;'],
    lua_socket_send_timeout => [$EVERYWHERE, '1s;'],
    lua_ssl_certificate =>
        ['http, server, location', "$CERTS/client.crt; lua_ssl_certificate_key $CERTS/client.key;"],
    lua_ssl_certificate_key =>
        ['http, server, location', "$CERTS/client.key; lua_ssl_certificate $CERTS/client.crt;"],
    lua_ssl_ciphers => ['http, server, location', 'HIGH;'],
    lua_ssl_conf_command => ['http, server, location', 'MinProtocol TLSv1.2;'],
    lua_ssl_crl => ['http, server, location', "$CERTS/ca.crl;"],
    lua_ssl_protocols => ['http, server, location', 'TLSv1.2 TLSv1.3;'],
    lua_ssl_trusted_certificate => ['http, server, location', "$CERTS/ca.crt;"],
    lua_ssl_verify_depth => ['http, server, location', '2;'],
    lua_thread_cache_max_entries => ['http', '10;'],
    lua_transform_underscores_in_response_headers => [$EVERYWHERE, 'off;'],
    lua_use_default_type => [$EVERYWHERE, 'off;'],
    balancer_keepalive => ['upstream', '8;'],
    access_by_lua_no_postpone => ['http', 'on;'],
    precontent_by_lua_no_postpone => ['http', 'on;'],
    rewrite_by_lua_no_postpone => ['http', 'on;'],
    autoscale_balance => ['upstream', 'least_request slow_start=5s;', 'autoscale_zone main:8m;'],
    autoscale_eject => ['upstream', 'failures=3;', 'autoscale_zone main:8m;'],
    autoscale_key => ['http, server, location', 'tenant $host;', 'autoscale_zone main:8m;'],
    autoscale => ['http, server, location', 'observe;'],
    autoscale_leader => ['http', 'local ttl=5s;'],
    autoscale_limit => ['http', 'few concurrency=20;', 'autoscale_zone main:8m;'],
    autoscale_log => ['http', 'logs/decisions.log level=all;'],
    autoscale_peers => ['upstream', 'file:html/peers; autoscale_balance least_request;', 'autoscale_zone main:8m;'],
    autoscale_protect => ['upstream', 'limit=8 queue=10;', 'autoscale_zone main:8m;'],
    autoscale_policy => ['http', 'orders target=orders { track self.rate per=10; }',
        'autoscale_zone main:8m; autoscale_target orders webhook:http://127.0.0.1:1/ max=4;'],
    autoscale_signal => ['http', 'queue http://127.0.0.1:1/depth path=/n;', 'autoscale_zone main:8m;'],
    autoscale_split => ['http', '$split { a 90%; b 10%; }',
        'autoscale_zone main:8m; upstream a { server 127.0.0.1:1; } upstream b { server 127.0.0.1:2; }'],
    autoscale_target => ['http', 'orders webhook:http://127.0.0.1:1/ max=4;', 'autoscale_zone main:8m;'],
    autoscale_status => ['location', 'json;', 'autoscale_zone main:8m;'],
    autoscale_zone => ['http', 'main:8m;'],
);
my %HOOKS = (
    init => 'http',
    init_worker => 'http',
    exit_worker => 'http',
    server_rewrite => 'http, server',
    rewrite => $EVERYWHERE,
    access => $EVERYWHERE,
    precontent => $EVERYWHERE,
    content => 'location, location if',
    header_filter => $EVERYWHERE,
    body_filter => $EVERYWHERE,
    log => $EVERYWHERE,
    balancer => 'upstream',
);
for my $hook (keys %HOOKS) {
    $DIRECTIVES{"$hook$_"} = [$HOOKS{$hook}, $BY_LUA{$_}] for keys %BY_LUA;
}
$DIRECTIVES{"set$_"} = ['server, server if, location, location if', '$result ' . $BY_LUA{$_}] for keys %BY_LUA;

my $TLS = "ssl_certificate $CERTS/server.crt; ssl_certificate_key $CERTS/server.key;";
my %HANDSHAKES = (
    ssl_client_hello => ['http, server', $TLS],
    ssl_certificate => ['http, server', $TLS],
    ssl_session_fetch => ['http'],
    ssl_session_store => ['http'],
    proxy_ssl_certificate => [$EVERYWHERE],
    proxy_ssl_verify => [$EVERYWHERE],
);
for my $hook (keys %HANDSHAKES) {
    my ($contexts, @extra) = @{$HANDSHAKES{$hook}};
    $DIRECTIVES{"$hook$_"} = [$contexts, $BY_LUA{$_}, @extra] for qw(_by_lua_block _by_lua_file);
}

# Where each context is.
my %PLACES = (
    main => 'LINE events {} http { EXTRA }',
    events => 'events { LINE } http { EXTRA }',
    http => 'events {} http { EXTRA LINE }',
    upstream => 'events {} http { EXTRA upstream u { server 127.0.0.1:1; LINE } }',
    server => 'events {} http { EXTRA server { LINE } }',
    'server if' => 'events {} http { EXTRA server { if ($host) { LINE } } }',
    location => 'events {} http { EXTRA server { location / { LINE } } }',
    'location if' => 'events {} http { EXTRA server { location / { if ($host) { LINE } } } }',
    'limit_except' => 'events {} http { EXTRA server { location / { limit_except GET { LINE } } } }',
);

sub write_file {
    my ($name, $text) = @_;
    open my $out, '>', "$SCRATCH/$name" or die "$name: $!\n";
    print $out $text;
    close $out;
}

# What `nginx -t` says of this configuration, and whether it takes it.
sub verdict {
    my $text = shift;
    write_file('nginx.conf', AutoscaleLua::Env::load_modules() . "error_log stderr;\npid $SCRATCH/nginx.pid;\n$text\n");
    my $output = `nginx -t -p $SCRATCH/ -c $SCRATCH/nginx.conf 2>&1`;
    return ($? == 0, $output);
}

write_file('script.lua', "return\n");
mkdir "$SCRATCH/logs";

for my $name (sort keys %DIRECTIVES) {
    my ($contexts, $rest, $extra) = @{$DIRECTIVES{$name}};
    my %allowed = map { $_ => 1 } split /, /, $contexts;
    for my $place (sort keys %PLACES) {
        my $text = $PLACES{$place};
        $text =~ s/LINE/$name $rest/;
        $text =~ s/EXTRA/$extra \/\/ ''/e;
        my ($accepted, $output) = verdict($text);
        if ($allowed{$place}) { ok($accepted, "$name in $place") or diag($output) }
        else { like($output, qr/"$name" directive is not allowed here/, "$name not in $place") }
    }
}

# The README's rows are the code's: `ci/reference --check` sees to it.
sub slurp {
    my $file = shift;
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    return <$in>;
}

my %known;
my ($table) = slurp("$ROOT/README.md") =~ /<!-- directives:[^\n]*-->\n(.*?)<!-- \/directives -->/s;
for my $row (split /\n/, $table) {
    my ($names) = $row =~ /^\| (`.*?`) \|/ or next;
    my @names = $names =~ /`(\w+)`/g;
    my ($hook) = $names[0] =~ /^(\w+)_by_lua_block$/;
    $known{$_ =~ /^_by_lua/ ? "$hook$_" : $_} = 1 for @names;
}
is_deeply([sort keys %DIRECTIVES], [sort keys %known], 'each directive of the code is tested here');

# And what it does is tested elsewhere.
my $tests = join '', map { slurp($_) } grep { !m{/contexts\.t$} } glob "$ROOT/t/*/*.t";
for my $name (sort keys %known) {
    my $argument = $name =~ /_block$/ ? qr/\{/ : $name =~ /_by_lua$/ ? qr/["']/ : qr/\S/;
    ok($tests =~ /(?:^|[\s"'{])$name[ \t]+(?:\$\w+[ \t]+)?$argument/m, "a test uses $name");
}

done_testing();
