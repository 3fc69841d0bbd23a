# State files of `autoscale_zone state=FILE`, as an earlier nginx would have left them.
package AutoscaleLua::State;

use strict;
use warnings;
use Compress::Raw::Zlib ();
use Exporter 'import';

our @EXPORT_OK = qw(state_file entry policy season SLOT);

# A slot of a week, in seconds; how many a week has, and for how many the last values are kept.
use constant { SLOT => 900, WEEK => 672, LATELY => 64 };
my %KIND = (policy => 1, peer => 2, pool => 3);

# state_file(VERSION, ENTRY...): the bytes of the file, without the name of a boot.
sub state_file {
    my ($version, @entries) = @_;
    my $text = 'autoscal' . pack('Q<*', $version, 0, 1, time * 1000, scalar @entries) . join '', @entries;
    return $text . pack 'Q<', Compress::Raw::Zlib::crc32($text);
}

# entry(KIND, NAME, WORD...)
sub entry {
    my ($kind, $name, @words) = @_;
    return pack('Q<', $KIND{$kind} << 32 | length $name) . $name . "\0" x (-length($name) % 8) . pack 'Q<*', scalar @words, @words;
}

# policy(NAME, SEASON): a policy that remembers nothing but its season.
sub policy {
    my ($name, @season) = @_;
    # numbers and times, 24 rules, 61 parts of a window, 32 events
    my @state = ((0) x (11 + 24 * 9 + 61 * 2 + 32 * 2), @season);
    my $sum = 0xcbf29ce484222325;
    {
        use integer;
        $sum = ($sum ^ $_) * 0x100000001b3 for @state;
        $sum = unpack 'Q', pack 'q', $sum;
    }
    # 8 words of the target and the order under way, 32 of its text
    return entry('policy', $name, (0) x 40, 0x6173706f6c000004, $sum, @state);
}

sub f64 { return unpack 'Q<', pack 'd<', $_[0] }

# season(END, LOAD): what is learnt in the four weeks up to END (seconds since 1970) from LOAD->(number of a slot), for a lead of
# one slot: of each slot of the week its mean over the weeks, the last values as they were, and the mean errors in the weeks after
# the second of a guess by the week and of one by the slot before.
sub season {
    my ($end, $load) = @_;
    my $slot = int $end / SLOT;
    my (@mean, @lately, @error);
    for my $n ($slot - 4 * WEEK .. $slot - 1) {
        my ($value, $seen) = ($load->($n), int(($n - $slot) / WEEK + 4));
        if ($seen >= 2) {
            my $level = $lately[($n - 1) % LATELY] / $mean[($n - 1) % WEEK];
            $error[0] += abs($mean[$n % WEEK] * $level - $value) / $value;
            $error[1] += abs($lately[($n - 1) % LATELY] - $value) / $value;
        }
        $mean[$n % WEEK] += ($value - ($mean[$n % WEEK] // 0)) / ($seen + 1);
        $lately[$n % LATELY] = $value;
    }
    my $judged = 2 * WEEK;
    my @profile = map { unpack('L<', pack 'f<', $_) << 32 | unpack 'L<', pack 'f<', 4 } @mean;
    my @errors = map { f64($_ / $judged) } @error;
    return (0, @profile, map({ f64($_) } @lately), $slot, f64($load->($slot)), 1, @errors, $judged, SLOT * 1000, 1, 1);
}

1;
