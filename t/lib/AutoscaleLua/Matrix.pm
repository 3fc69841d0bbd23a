# Drives t/phase/matrix.t: sends one request for each row and phase, reads what
# the rows answered, and makes a test of each cell. The requests go over plain
# sockets, because many of the rows end their connection on purpose.
package AutoscaleLua::Matrix;

use strict;
use warnings;
use IO::Socket::INET;
use POSIX ();
use Test::More ();
use Test::Nginx::Util ();
use Test::Nginx::Socket ();
use Time::HiRes qw(sleep time);
use AutoscaleLua::Env;

my $PATIENCE = $AutoscaleLua::Env::MODE eq 'valgrind' ? 120 : 20;    # seconds
my %LONE = map { $_ => 1 } qw(init init_worker exit_worker timer);
my %SHAKING = map { $_ => 1 } qw(ssl_client_hello ssl_cert ssl_session_fetch ssl_session_store);

# The answer's body; undef if the connection ended without one.
sub ask {
    my ($method, $path, $body) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $Test::Nginx::Util::ServerPort, Timeout => 5)
        or return undef;
    my $length = defined $body ? 'Content-Length: ' . length($body) . "\r\n" : '';
    print $socket "$method $path HTTP/1.1\r\nHost: matrix\r\nConnection: close\r\n$length"
        . "Content-Type: application/x-www-form-urlencoded\r\n\r\n" . ($body // '');
    my $answer = join '', <$socket>;
    return undef if $answer !~ s/\A.*?\r\n\r\n//s;
    # chunks, as far as there are any: the texts here never look like a chunk's size
    $answer =~ s/^[0-9a-f]+\r\n|\r\n//mg;
    return $answer;
}

# Asks until there is an answer: a row may have stopped the worker.
sub insist {
    my $path = shift;
    my $end = time + $PATIENCE;
    while (time < $end) {
        my $answer = ask('GET', $path);
        return $answer if defined $answer;
        sleep 0.02;
    }
    return '';
}

# What was seen in a phase: row -> outcome; in how many processes.
sub answers {
    my $phase = shift;
    my (%answers, %processes);
    for my $line (split /\n/, insist("/answers?of=$phase")) {
        my ($row, $outcome) = split /\t/, $line, 2;
        $processes{$row}++;
        # of processes that differ, the one that is wrong is told about below
        push @{$answers{$row}}, $outcome // '';
    }
    my ($most) = sort { $b <=> $a } values %processes, 0;
    return (\%answers, $most);
}

# Waits until a phase without a request has run in as many processes.
sub await {
    my ($phase, $wanted) = @_;
    my $end = time + $PATIENCE;
    while (time < $end) {
        my ($answers, $processes) = answers($phase);
        return $answers if $processes >= $wanted;
        sleep 0.05;
    }
    return (answers($phase))[0];
}

# Test::Nginx knows the master's pid; its workers stop on a reload.
sub reload {
    my $pid = AutoscaleLua::Reload::master_pid();
    AutoscaleLua::Reload::remember_workers();
    kill HUP => $pid;
}

sub collect {
    my ($phase, $cells) = @_;
    if (!$LONE{$phase}) {
        for my $cell (@$cells) {
            my $start = time;
            # a handshake is made by a request of its own
            my $path = $SHAKING{$phase} ? '/shake' : "/$phase";
            ask('POST', "$path?phase=$phase&row=$cell->{number}&a=1", 'x=1');
            my $took = time - $start;
            Test::More::fail("$cell->{name} in $phase: answered after $took s") if $took > $PATIENCE;
        }
        my ($answers) = answers($phase);
        return map { $_->{name} => $answers->{$_->{number}} } @$cells;
    }
    my $workers = $Test::Nginx::Util::Workers;
    if ($phase eq 'exit_worker') {
        insist('/forget?of=exit_worker');
        reload();
    }
    return %{await($phase, $phase eq 'init' ? 1 : $workers)};
}

sub run {
    my $block = shift;
    my (%plan, @phases);
    for my $line (split /\n/, insist('/plan')) {
        my ($number, $name, $phase, $expected) = split /\t/, $line, 4;
        push @phases, $phase if !$plan{$phase};
        push @{$plan{$phase}}, {number => $number, name => $name, expected => $expected // ''};
    }
    Test::More::is(insist('/gaps'), "looked\n", 'each API has a row, each row an API');
    Test::More::note(insist('/count'));
    # timer comes early, before a row stops the workers; exit_worker last, as it stops them all
    my %order = (timer => -1, exit_worker => 1);
    for my $phase (sort { ($order{$a} // 0) <=> ($order{$b} // 0) } @phases) {
        my @cells = grep { $_->{expected} !~ /^skip: / } @{$plan{$phase}};
        my %seen = collect($phase, \@cells);
        for my $cell (@cells) {
            my @outcomes = @{$seen{$cell->{name}} // ['no answer']};
            my ($wrong) = grep { $_ ne $cell->{expected} } @outcomes;
            Test::More::is($wrong // $outcomes[0], $cell->{expected}, "$cell->{name} in $phase");
        }
    }
    Test::More::cmp_ok(scalar @phases, '==', 20, 'twenty phases');
}

Test::Nginx::Socket::add_response_body_check(sub {
    my ($block, $body, $request, $repeat, $dry_run) = @_;
    return if $dry_run || !defined $block->matrix;
    run($block);
});

1;
