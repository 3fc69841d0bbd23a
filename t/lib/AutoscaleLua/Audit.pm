# After each block: nothing alarming in the error log, no worker gone but by
# its own exit(0), nothing that valgrind minds. Test::Nginx reads the log only
# up to the response; most of what a module gets wrong shows when the worker
# shuts down, so the log is read again when nginx has stopped.
package AutoscaleLua::Audit;

use strict;
use warnings;
use Test::More ();
use Test::Nginx::Util ();
use AutoscaleLua::Env;

my $ALARM = qr/\[alert\]|\[emerg\]|exited on signal|exited with (?:fatal )?code [1-9]|panicked at|Assertion .* failed/;

# Lines of `--- allow_log`: what this block provokes on purpose.
sub allowed {
    my $block = shift;
    my $text = $block->allow_log;
    return () if !defined $text;
    return ref $text eq 'ARRAY' ? @$text : ref $text ? ($text) : map { quotemeta } grep { length } split /\n/, $text;
}

sub alarming {
    my ($block, @lines) = @_;
    # the warning that every `lua_code_cache off` brings
    my @allowed = (qr/lua_code_cache is off/, allowed($block));
    push @allowed, qr/\[emerg\]/ if defined $block->must_die || defined $block->reload_fails;
    return grep { my $line = $_; $line =~ $ALARM && !grep { $line =~ $_ } @allowed } @lines;
}

sub slurp {
    my $file = shift;
    open my $in, '<', $file or return;
    return <$in>;
}

sub report {
    my ($what, @lines) = @_;
    Test::More::ok(!@lines, $what) or Test::More::diag(@lines > 40 ? @lines[0 .. 39] : @lines);
}

sub audit {
    my $block = shift;
    my $name = $block->name;
    report("$name - log is quiet, no worker died", alarming($block, slurp($Test::Nginx::Util::ErrLogFile)));
    return if $AutoscaleLua::Env::MODE ne 'valgrind';
    my @files = glob AutoscaleLua::Env::scratch() . '/valgrind.*';
    # lines between dashes are its remarks about itself: a system call that it does not know
    report("$name - valgrind is content", grep { !/^--\d+--/ } map { slurp($_) } @files);
    unlink @files;
}

# Under reload the log is removed before the next block starts: read it now.
sub after_block {
    my $block = shift;
    return if defined $block->SKIP;
    AutoscaleLua::Reload::remember_workers();
    audit($block) if $Test::Nginx::Util::UseHup;
}

# Otherwise when nginx has stopped, just before its files are removed; for the
# last block that is at the end of the file.
{
    no warnings 'redefine';
    my $original = \&Test::Nginx::Util::check_prev_block_shutdown_error_log;
    *Test::Nginx::Util::check_prev_block_shutdown_error_log = sub () {
        $original->();
        my $block = $Test::Nginx::Util::PrevBlock;
        return if !defined $block || defined $block->SKIP;
        audit($block) if !AutoscaleLua::Reload::master_runs();
    };
}

# Test::Nginx waits for a reload by asking for the version twenty times with
# curl. Here the master's children tell: a reload is over when no worker from
# before it still accepts.
package AutoscaleLua::Reload;

use Time::HiRes qw(sleep time);
use IO::Socket::INET;

my %before;

sub master_pid {
    my ($pid) = AutoscaleLua::Audit::slurp($Test::Nginx::Util::PidFile);
    return $pid && $pid =~ /^(\d+)/ ? $1 : undef;
}

sub master_runs { my $pid = master_pid(); return $pid && -e "/proc/$pid" }

# pid => accepting? of the workers
sub workers {
    my $master = master_pid() or return;
    my ($list) = AutoscaleLua::Audit::slurp("/proc/$master/task/$master/children");
    my %workers;
    for my $pid (split ' ', $list // '') {
        my ($title) = AutoscaleLua::Audit::slurp("/proc/$pid/cmdline");
        $workers{$pid} = $title !~ /shutting down/ if defined $title && $title =~ /worker process/;
    }
    return %workers;
}

sub remember_workers { %before = workers() }

sub served_version {
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $Test::Nginx::Util::ServerPort, Timeout => 2)
        or return '';
    print $socket "GET /ver HTTP/1.0\r\nHost: Test-Nginx\r\n\r\n";
    my $answer = join '', <$socket>;
    return $answer =~ /\r\n\r\n(.*)/s ? $1 : '';
}

sub wait_for_reload {
    my $name = shift;
    my $end = time + 20;
    while (time < $end) {
        my %now = workers();
        my @accepting = grep { $now{$_} } keys %now;
        if (@accepting >= $Test::Nginx::Util::Workers && !grep { $before{$_} } @accepting) {
            return if served_version() eq $Test::Nginx::Util::ConfigVersion;
        }
        sleep 0.01;
    }
    Test::More::fail("$name - nginx took the new configuration within 20 s");
}

{
    no warnings 'redefine';
    *Test::Nginx::Util::test_config_version = sub ($$) { wait_for_reload(@_) };
}

1;
