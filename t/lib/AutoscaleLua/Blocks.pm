# Sections beyond Test::Nginx's own, and what every block gets.
package AutoscaleLua::Blocks;

use strict;
use warnings;
use Test::More ();
use Test::Nginx::Util ();
use AutoscaleLua::Env;

my $repeats;

sub add {
    my ($block, $section, $text) = @_;
    my $old = $block->$section;
    $block->set_value($section, $text . (defined $old ? $old : ''));
}

# Filters (`eval`, `chomp`, …) may not have run: read a section as one string.
sub text {
    my ($block, $section) = @_;
    my $value = $block->$section;
    return defined $value ? "$value" : undef;
}

sub prepare {
    my $block = shift;
    $repeats //= Test::Nginx::Util::repeat_each();
    my $once = defined $block->once || defined $block->must_die;
    Test::Nginx::Util::repeat_each($once ? 1 : $repeats);

    # A nginx that should die but does not must not keep the harness waiting.
    $Test::Nginx::Util::DaemonEnabled =
        $AutoscaleLua::Env::MODE eq 'valgrind' && !defined $block->must_die ? 'off' : 'on';

    my $modes = text($block, 'modes');
    my $wants_all = $ENV{AUTOSCALE_TEST_EVERY_BLOCK};
    if (defined $modes && !$wants_all && !grep { $_ eq $AutoscaleLua::Env::MODE } split ' ', $modes) {
        Test::More->builder->skip($block->name . " - runs in: $modes");
        $block->set_value('SKIP', 1);
        return;
    }
    slow_down($block) if $AutoscaleLua::Env::MODE eq 'valgrind';
    add($block, 'main_config', AutoscaleLua::Env::load_modules());
    lua($block);
    backend($block);
}

# Under valgrind a worker takes longer to do what a block waits for.
sub slow_down {
    my $block = shift;
    for my $section (qw(wait timeout)) {
        my $seconds = text($block, $section);
        $block->set_value($section, 5 * $seconds) if defined $seconds && $seconds =~ /^\s*[\d.]+\s*$/;
    }
    # what a phase after the response logs
    $block->set_value(wait => 0.3) if defined $block->error_log && !defined $block->wait;
}

# --- lua: the body of content_by_lua_block of `location = /t`
sub lua {
    my $block = shift;
    my $code = text($block, 'lua');
    if (defined $code) {
        add($block, 'config', "location = /t { content_by_lua_block {\n$code\n} }\n");
    }
    if (defined $block->config && !grep { defined $block->$_ } qw(request raw_request pipelined_requests http2 must_die)) {
        $block->set_value('request', "GET /t\n");
    }
}

# --- backend: the body of a second server, reached as `proxy_pass http://backend`
sub backend {
    my $block = shift;
    my $body = text($block, 'backend');
    return if !defined $body;
    add($block, 'http_config', <<"CONF");
upstream backend { server 127.0.0.1:\$TEST_NGINX_RAND_PORT_9; }
server { listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_9; server_name backend;
$body
}
CONF
}

1;
