# Drives t/run/cancel.t: runs each cell of t/run/lua/waits.lua, ends it in its
# way, and looks at what is left of it: descriptors, timers, Lua objects.
package AutoscaleLua::Waits;

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More ();
use Test::Nginx::Util ();
use Test::Nginx::Socket ();
use Time::HiRes qw(sleep time);
use AutoscaleLua::Env;

my $PATIENCE = $AutoscaleLua::Env::MODE eq 'valgrind' ? 30 : 5;    # seconds

sub connect_to_nginx {
    my $port = shift // $Test::Nginx::Util::ServerPort;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5)
        // die "no connection: $!";
}

# A connection that is kept, so that asking changes no count of descriptors.
my $control;

sub ask {
    my $path = shift;
    $control //= connect_to_nginx();
    print $control "GET $path HTTP/1.1\r\nHost: waits\r\n\r\n";
    my $answer = '';
    while ($answer !~ /\r\n\r\n/) { sysread $control, $answer, 65536, length $answer or die "no answer to $path\n" }
    my ($head, $body) = split /\r\n\r\n/, $answer, 2;
    my ($length) = $head =~ /^Content-Length: (\d+)/mi or die "no length: $head\n";
    while (length $body < $length) { sysread $control, $body, 65536, length $body or die "cut: $path\n" }
    return $body;
}

sub escaped { join '', map { sprintf '%%%02x', ord } split //, shift }

# A client's first message of TLS 1.2 (RFC 5246), with a server's name (RFC 6066) and a session that nobody knows.
sub client_hello {
    my $name = shift;
    my $extensions = join '', map { pack 'n n/a*', @$_ }
        [ 0, pack('n/a*', pack 'C n/a*', 0, $name) ],
        [ 10, pack 'n*', 4, 23, 29 ],                            # groups: P-256, X25519
        [ 11, pack 'C*', 1, 0 ],
        [ 13, pack 'n*', 8, 0x0403, 0x0804, 0x0401, 0x0601 ];    # signatures by ECDSA and RSA
    my $suites = pack 'n*', 0xc02b, 0xc02f, 0xc02c, 0xc030;
    my $random = join '', map { chr int rand 256 } 1 .. 32;
    my $hello = pack('n', 0x0303) . $random
        . pack('C/a*', $random) . pack('n/a*', $suites) . pack('C/a*', "\0") . pack('n/a*', $extensions);
    my $message = pack('C', 1) . substr(pack('N/a*', $hello), 1);
    return pack 'C n n/a*', 22, 0x0301, $message;
}

sub begin {
    my ($cell, $ending) = @_;
    my $name = "$cell->{phase}-$cell->{number}-$ending.wild.example" =~ tr/_/-/r;
    my $socket = connect_to_nginx($cell->{shakes} ? 1994 : ());
    if ($cell->{shakes}) {
        print $socket client_hello($name);
        $socket->flush;
        return $socket;
    }
    setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 65536 if $cell->{client} eq 'deaf';
    my $body = $cell->{client} eq 'body' ? "Content-Length: 10\r\n\r\n01234" : "\r\n";
    print $socket "GET /$cell->{phase}?row=" . escaped($cell->{row})
        . "&ending=$ending&cell=$name HTTP/1.1\r\nHost: waits\r\nConnection: close\r\n$body";
    $socket->flush;
    return $socket;
}

# Whether the connection ends in time.
sub ends {
    my ($socket, $end) = @_;
    my $select = IO::Select->new($socket);
    while (1) {
        my $left = $end - time;
        $select->can_read($left > 0 ? $left : 0) or return 0;
        return 1 if !sysread $socket, my $text, 1 << 20;
    }
}

# What a client sees of its handshake: the server's part of it, or an alert or the end.
sub sees {
    my $socket = shift;
    IO::Select->new($socket)->can_read($PATIENCE) or return 'waits';
    my $type = "";
    return sysread($socket, $type, 1) && ord $type == 22 ? 'goes on' : 'refused';
}

sub descriptors {
    my $pid = shift;
    opendir my $dir, "/proc/$pid/fd" or return ();
    return map { "$_ " . (readlink "/proc/$pid/fd/$_" // '') } grep { /^\d/ } readdir $dir;
}

# What is noted of a cell, its request's status, how many timers there are, the worker, how many cells have begun.
sub state {
    my %cell = (phase => '-', row => '-', ending => '-', @_);
    return split /\t/, ask("/state?phase=$cell{phase}&ending=$cell{ending}&row=" . escaped($cell{row}));
}

# Asks until the cell has come to this, at most so long; what it has come to.
sub settle {
    my ($cell, $expected, $shaken) = @_;
    my $end = time + $PATIENCE;
    my $seen;
    while (1) {
        my ($noted, $status, $timers, $pid) = state(%$cell);
        $status = $shaken if defined $shaken;
        # some may come to one thing or to another
        $noted = $cell->{noted} if grep { $_ eq $noted } split /\|/, $cell->{noted};
        $seen = "noted: $noted, status: $status, timers: $timers, descriptors: " . scalar descriptors($pid);
        return $seen if $seen eq $expected || time > $end;
        sleep 0.002;
    }
}

sub run_cell {
    my ($cell, $descriptors) = @_;
    my $socket = begin($cell, $cell->{ending});
    if ($cell->{ending} eq 'completes' && $cell->{client} eq 'body') {
        sleep 0.005;
        print $socket '56789';
        $socket->flush;
    }
    my ($late, $shaken) = '';
    if ($cell->{ending} eq 'gone') { sleep 0.008 }
    elsif ($cell->{shakes}) { $shaken = sees($socket) }
    elsif (!ends($socket, time + $PATIENCE)) { $late = ', and the connection does not end' }
    close $socket;
    my $expected = "noted: $cell->{noted}, status: $cell->{status}, timers: 0, descriptors: $descriptors";
    Test::More::is(settle($cell, $expected, $shaken) . $late, $expected, "$cell->{row} in $cell->{phase}: $cell->{ending}");
}

sub plan {
    my $of = shift // '/plan';
    my @cells;
    for (split /\n/, ask($of)) {
        my %cell;
        @cell{qw(phase row ending client noted status number shakes)} = split /\t/;
        push @cells, \%cell;
    }
    return @cells;
}

sub each_ending {
    my @cells = plan();
    Test::More::cmp_ok(scalar @cells, '>', 1000, 'there are cells');
    # what is opened once for all: the resolver's socket
    begin($_, 'completes') for grep { $_->{row} =~ /looked up/ && $_->{phase} eq 'content' } @cells;
    sleep 0.05;
    my $pid = (state())[3];
    my $descriptors = descriptors($pid);
    run_cell($_, $descriptors) for @cells;
    nothing_kept();
}

sub nothing_kept {
    my $kept;
    for (1 .. 100) {
        $kept = ask('/kept');
        last if $kept == 0;
        sleep 0.02;    # a thread of the pool may be at it still
    }
    Test::More::is($kept, 0, 'no wait is kept by Lua');
}

# Each wait in each phase at once, when the worker is told to stop.
sub stop {
    my @cells = grep { $_->{ending} eq 'gone' || $_->{phase} eq 'timer' && $_->{ending} eq 'exit' } plan();
    # what a thread does has an end, and the rest of a handshake is nginx's, which gives it its usual time
    @cells = grep { !($_->{shakes} && $_->{row} eq 'ngx.run_worker_thread') } @cells;
    my ($old, @waiting) = all_wait(@cells);
    kill HUP => AutoscaleLua::Reload::master_pid();
    all_end($old, @waiting);
}

# Has cells wait for what never comes; the worker, and each with its connection.
sub all_wait {
    my @cells = @_;
    my @waiting = map { [ $_, begin($_, 'gone') ] } @cells;
    my (undef, undef, undef, $old, $begun) = state();
    for (1 .. 500) {
        last if $begun == @cells;
        sleep 0.01;
        $begun = (state())[4];
    }
    Test::More::is($begun, scalar @cells, 'all have begun');
    return ($old, @waiting);
}

sub all_end {
    my ($old, @waiting) = @_;
    my $end = time + $PATIENCE;
    for (@waiting) {
        my ($cell, $socket) = @$_;
        Test::More::ok(ends($socket, $end), "$cell->{row} in $cell->{phase}: its connection ends");
        close $socket;
    }
    replaced($old, $end);
}

# Each wait in each handshake at once, when the worker is told to stop at once. That it did not crash is in the log.
sub end_at_once {
    my ($old, @waiting) = all_wait(grep { $_->{ending} eq 'gone' && $_->{phase} =~ /ssl/ } plan());
    kill TERM => $old;
    all_end($old, @waiting);
}

# The worker stays for the handshakes until their clients go.
sub end_gently {
    my ($old, @waiting) = all_wait(grep { $_->{ending} eq 'gone' && $_->{phase} =~ /ssl/ } plan());
    kill QUIT => $old;
    sleep 0.05;
    Test::More::ok(-e "/proc/$old", 'the worker stays');
    close $_->[1] for @waiting;
    replaced($old, time + $PATIENCE);
}

# Whether the worker that was told to stop does so.
sub replaced {
    my ($old, $end) = @_;
    undef $control;
    sleep 0.01 while -e "/proc/$old" && time < $end;
    Test::More::ok(!-e "/proc/$old", 'the worker ends');
    Test::More::isnt((state())[3], $old, 'there is another one');
}

sub pooled {
    ask('/pooled');
    my $old = (state())[3];
    undef $control;
    kill HUP => AutoscaleLua::Reload::master_pid();
    replaced($old, time + $PATIENCE);
}

Test::Nginx::Socket::add_response_body_check(sub {
    my ($block, $body, $request, $repeat, $dry_run) = @_;
    return if $dry_run || !defined $block->waits;
    my $what = $block->waits;
    $what =~ s/\s//g;
    undef $control;
    no strict 'refs';
    &$what();
});

1;
