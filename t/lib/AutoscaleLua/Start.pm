# Test::Nginx tries for thirty seconds to start an nginx that refuses its
# configuration, and then gives up on all remaining files. Here such a block
# fails at once, with nginx's reason, and the next one runs. Loaded before
# Test::Nginx::Util, whose calls of `system` it takes.
package AutoscaleLua::Start;

use strict;
use warnings;
use Test::More ();

my $starting;    # the block that nginx is being started for
my $refused;

sub reason {
    my ($reason) = grep { /\[emerg\]/ } reverse AutoscaleLua::Audit::slurp($Test::Nginx::Util::ErrLogFile);
    return $reason // 'no reason given';
}

sub run_command {
    my $status = CORE::system(@_);
    return $status if $status == 0 || !$starting || defined $starting->must_die || $_[0] !~ / -c \S+nginx\.conf/;
    my $reason = reason();
    return $status if $reason =~ /Address already in use/ && ++$refused < 10;
    die "nginx did not start: $reason";
}

BEGIN {
    no warnings 'once';
    *Test::Nginx::Util::system = \&run_command;
}

# Wraps the harness's run of one block; called when Test::Nginx is loaded.
sub install {
    no warnings 'redefine';
    my $original = \&Test::Nginx::Util::run_test;
    *Test::Nginx::Util::run_test = sub ($) {
        my $block = shift;
        ($starting, $refused) = ($block, 0);
        return if eval { $original->($block); 1 };
        my $error = $@;
        Test::More::fail($block->name . ' - ran to its end');
        Test::More::diag($error);
        $block->set_value('SKIP', 1);
    };
}

1;
