# The cells of t/run/lua/waits.lua as streams of HTTP/2, all of a phase on one connection: those that end in one way must
# not disturb those that end in another.
package AutoscaleLua::Waits;

use strict;
use warnings;
use Test::More ();
use Time::HiRes qw(sleep time);
use AutoscaleLua::Http2;

my $PORT = 1995;
my $PATIENCE = $AutoscaleLua::Env::MODE eq 'valgrind' ? 60 : 5;    # seconds

sub begin_stream {
    my ($client, $cell) = @_;
    my $name = "$cell->{phase}-$cell->{number}-$cell->{ending}.wild.example" =~ tr/_/-/r;
    my $path = "/$cell->{phase}?row=" . escaped($cell->{row}) . "&ending=$cell->{ending}&cell=$name";
    $cell->{id} = $client->request($path, body => $cell->{client} eq 'body', deaf => $cell->{client} eq 'deaf');
    $client->data($cell->{id}, '01234') if $cell->{client} eq 'body';
}

# Begins the cells as streams of a connection, and waits until their scripts run. Last those of a thread, whose wait has
# an end.
sub begin_streams {
    my @cells = sort { ($a->{row} =~ /worker_thread/) <=> ($b->{row} =~ /worker_thread/) } @_;
    my $before = (state())[4];
    my $client = AutoscaleLua::Http2->new($PORT);
    begin_stream($client, $_) for @cells;
    my ($begun, $end) = (0, time + $PATIENCE);
    while ($begun < @cells && time < $end) {
        $client->ends(undef, time + 0.002);
        $begun = (state())[4] - $before;
    }
    Test::More::is($begun, scalar @cells, "the scripts of $cells[0]{phase} have begun");
    return $client;
}

# What the client sees of a stream that has ended: its status, or that there is none.
sub seen {
    my ($client, $cell, $end) = @_;
    return 'nothing' if !$client->ends($cell->{id}, $end);
    my $stream = $client->stream($cell->{id});
    return $stream->{ended} eq 'end' ? $stream->{status} : $stream->{ended} // 'the end of the connection';
}

sub expect_seen {
    my $cell = shift;
    return 'reset by us' if $cell->{ending} eq 'reset';
    return $cell->{status} if $cell->{ending} eq 'completes' || $cell->{status} == 502;
    return 'reset';
}

sub settled {
    my ($cell, $end) = @_;
    while (1) {
        my ($noted, $status) = state(%$cell);
        $noted = $cell->{noted} if grep { $_ eq $noted } split /\|/, $cell->{noted};
        return "noted: $noted, status: $status" if "$noted $status" eq "$cell->{noted} $cell->{status}" || time > $end;
        sleep 0.002;
    }
}

sub check_streams {
    my ($cells, $client) = @_;
    my $end = time + $PATIENCE;
    for my $cell (@$cells) {
        my ($is, $wanted) = ('', '');
        ($is, $wanted) = (', seen: ' . seen($client, $cell, $end), ', seen: ' . expect_seen($cell)) if $client;
        Test::More::is(settled($cell, $end) . $is, "noted: $cell->{noted}, status: $cell->{status}$wanted",
            "$cell->{row} in a stream's $cell->{phase}: $cell->{ending}");
    }
}

# Whether all is given back: timers, and descriptors but for those there were.
sub check_rest {
    my ($phase, $descriptors) = @_;
    my ($wanted, $is, $end) = ("timers: 0, descriptors: $descriptors", '', time + $PATIENCE);
    while ($is ne $wanted && time < $end) {
        my (undef, undef, $timers, $pid) = state();
        $is = "timers: $timers, descriptors: " . scalar descriptors($pid);
        sleep 0.002 if $is ne $wanted;
    }
    Test::More::is($is, $wanted, "nothing is left of the streams of $phase");
}

sub streams_of_phase {
    my ($descriptors, @cells) = @_;
    my @gone = grep { $_->{ending} eq 'gone' } @cells;
    my @others = grep { $_->{ending} ne 'gone' } @cells;
    my $goes = begin_streams(@gone);
    sleep 0.005;
    $goes->close;
    my $stays = begin_streams(@others);
    sleep 0.005;
    for my $cell (@others) {
        $stays->reset($cell->{id}) if $cell->{ending} eq 'reset';
        $stays->data($cell->{id}, '56789', last => 1) if $cell->{ending} eq 'completes' && $cell->{client} eq 'body';
        $stays->read_on($cell->{id}) if $cell->{ending} eq 'completes' && $cell->{client} eq 'deaf';
    }
    check_streams(\@gone);
    check_streams(\@others, $stays);
    my %after = (id => $stays->request('/t'));
    Test::More::is(seen($stays, \%after, time + $PATIENCE), 204, "the connection of $cells[0]{phase} is as good as before");
    $stays->close;
    check_rest($cells[0]{phase}, $descriptors);
}

sub streams {
    my (@phases, %cells);
    for my $cell (plan('/plan_of_streams')) {
        push @phases, $cell->{phase} if !$cells{ $cell->{phase} };
        push @{ $cells{ $cell->{phase} } }, $cell;
    }
    Test::More::cmp_ok(scalar @phases, '>', 6, 'there are phases');
    my ($resolves) = grep { $_->{row} =~ /looked up/ && $_->{ending} eq 'completes' } @{ $cells{content} };
    begin_streams({%$resolves})->close;
    my $pid = (state())[3];
    my $descriptors = descriptors($pid);
    streams_of_phase($descriptors, @{ $cells{$_} }) for @phases;
    nothing_kept();
}

# Each wait in each phase at once, a connection for each phase, when the worker is told to stop.
sub stop_streams {
    my %cells;
    push @{ $cells{ $_->{phase} } }, $_ for grep { $_->{ending} eq 'gone' } plan('/plan_of_streams');
    my @clients = map { begin_streams(@{ $cells{$_} }) } sort keys %cells;
    my $old = (state())[3];
    kill HUP => AutoscaleLua::Reload::master_pid();
    my $end = time + $PATIENCE;
    Test::More::ok($_->ends(undef, $end), 'a connection with streams that wait ends') for @clients;
    $_->close for @clients;
    replaced($old, $end);
}

# A cell that is in no plan.
sub cell {
    my ($phase, $row, $noted, $status, %more) = @_;
    return { phase => $phase, row => $row, ending => 'x', number => 0, client => '-', noted => $noted, status => $status, %more };
}

# A client goes whose body nobody reads any more: one with a connection of its own, and a stream whose body comes as a whole.
sub abandoned {
    my $plain = cell('abandon', 'plain', '-', 499, client => 'body');
    my $socket = begin($plain, 'x');
    sleep 0.002 until (state())[4] == 1;
    close $socket;
    my $streams = [ map { cell('abandon', $_, '-', 499, client => 'body') } 'cut', 'whole', 'half' ];
    my $client = begin_streams(@$streams);
    my ($cut, $whole, $half) = map { $_->{id} } @$streams;
    $client->data($cut, '5');
    $client->data($whole, '56789', last => 1);
    $client->reset($_) for $cut, $whole;
    check_streams([$plain]);
    check_streams([ @$streams[0, 1] ]);
    Test::More::ok(!$client->ends($half, time + 0.01), 'their neighbour waits');
    $client->close;
    check_streams([ $streams->[2] ]);
}

sub told {
    my @cells = (
        cell('abort', 'reset', 'told', 499),
        cell('abort', 'stays', 'watched, slept', 200, ending => 'completes'),
        cell('unwatched', 'reset', 'not watched, slept', 200),
        cell('unwatched', 'stays', 'not watched, slept', 200, ending => 'completes'),
    );
    my $client = begin_streams(@cells);
    $client->reset($_->{id}) for @cells[0, 2];
    check_streams([ @cells[0, 2] ]);
    check_streams([ @cells[1, 3] ], $client);
}

sub finish_streams {
    my @cells = map { cell($_, 'stays', '', 200, ending => 'completes') } 'abort', 'unwatched';
    my $client = begin_streams(@cells);
    my $old = (state())[3];
    kill HUP => AutoscaleLua::Reload::master_pid();
    my $end = time + $PATIENCE;
    Test::More::is(seen($client, $_, $end), 200, "the stream of $_->{phase} is answered") for @cells;
    Test::More::ok($client->ends(undef, $end), 'then the connection ends');
    $client->close;
    replaced($old, $end);
}

1;
