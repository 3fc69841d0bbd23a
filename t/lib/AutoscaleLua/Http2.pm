# An HTTP/2 client (RFC 9113) that does what a test asks, also what no good client does: it stops reading a stream, resets
# it, goes in the middle. Without TLS, by prior knowledge; header fields are sent as literals (RFC 7541), and of those
# that come only the status is read.
package AutoscaleLua::Http2;

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

my ($DATA, $HEADERS, $RST_STREAM, $SETTINGS, $PING, $GOAWAY, $WINDOW_UPDATE) = (0, 1, 3, 4, 6, 7, 8);
my ($END_STREAM, $END_HEADERS, $ACK) = (1, 4, 1);
my $CANCEL = 8;
my @STATUS = (200, 204, 206, 304, 400, 404, 500);    # of HPACK's static table, from 8 on
my $MUCH = 1 << 30;

sub new {
    my ($class, $port) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5)
        // die "no connection: $!";
    binmode $socket;
    my $self = bless { socket => $socket, in => '', next => 1, streams => {} }, $class;
    $self->write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . frame($SETTINGS, 0, 0, '') . frame($WINDOW_UPDATE, 0, 0, pack 'N', $MUCH));
    return $self;
}

sub frame {
    my ($type, $flags, $stream, $payload) = @_;
    return substr(pack('N', length $payload), 1) . pack('C C N', $type, $flags, $stream) . $payload;
}

sub write {
    my ($self, $bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $n = syswrite $self->{socket}, $bytes;
    # what a test sends is short
    die "sent too little\n" if defined $n && $n < length $bytes;
    return defined $n;
}

# A literal that is not to be remembered, its name by its number in the static table or as text; up to 16 KiB.
sub integer {
    my ($n, $bits) = @_;
    my $most = (1 << $bits) - 1;
    return chr $n if $n < $most;
    my $bytes = chr $most;
    for ($n -= $most; $n >= 128; $n >>= 7) { $bytes .= chr($n & 127 | 128) }
    return $bytes . chr $n;
}

sub literal {
    my ($name, $value) = @_;
    my $named = $name =~ /^\d+$/ ? integer($name, 4) : "\0" . integer(length $name, 7) . $name;
    return $named . integer(length $value, 7) . $value;
}

# Begins a request, with a body to come if `body` is true; "deaf" is one of which nothing is read. Its stream's number.
sub request {
    my ($self, $path, %more) = @_;
    my $id = $self->{next};
    $self->{next} += 2;
    $self->{streams}{$id} = { length => 0 };
    my $method = $more{body} ? literal(2, 'POST') : literal(2, 'GET');
    my $fields = $method . literal(6, 'http') . literal(1, 'waits') . literal(4, $path);
    $fields .= literal($_, $more{fields}{$_}) for sort keys %{ $more{fields} // {} };
    $self->write(frame($HEADERS, $END_HEADERS | ($more{body} ? 0 : $END_STREAM), $id, $fields)
            . ($more{deaf} ? '' : frame($WINDOW_UPDATE, 0, $id, pack 'N', $MUCH)));
    return $id;
}

sub data {
    my ($self, $id, $bytes, %more) = @_;
    return $self->write(frame($DATA, $more{last} ? $END_STREAM : 0, $id, $bytes));
}

sub read_on {
    my ($self, $id) = @_;
    return $self->write(frame($WINDOW_UPDATE, 0, $id, pack 'N', $MUCH));
}

sub reset {
    my ($self, $id) = @_;
    $self->{streams}{$id}{ended} = 'reset by us';
    return $self->write(frame($RST_STREAM, 0, $id, pack 'N', $CANCEL));
}

sub close { close $_[0]{socket} }

# What is known of a stream: its status, the length of its body, how it has ended ("end", "reset", "reset by us"), if it has.
sub stream { $_[0]{streams}{ $_[1] } }

# Reads for at most that long, until the stream has ended (without a number: the connection). Whether it has.
sub ends {
    my ($self, $id, $end) = @_;
    my $select = IO::Select->new($self->{socket});
    until (defined $id && $self->{streams}{$id}{ended} || $self->{closed}) {
        my $left = $end - time;
        $select->can_read($left > 0 ? $left : 0) or return 0;
        $self->{closed} = 1 if !sysread $self->{socket}, $self->{in}, 1 << 18, length $self->{in};
        $self->frames;
    }
    return 1;
}

# Takes the frames that have come as a whole.
sub frames {
    my $self = shift;
    while (length $self->{in} >= 9) {
        my ($high, $low, $type, $flags, $id) = unpack 'C n C C N', $self->{in};
        my $length = $high << 16 | $low;
        last if length $self->{in} < 9 + $length;
        my $payload = substr $self->{in}, 9, $length;
        substr($self->{in}, 0, 9 + $length) = '';
        $self->write(frame($type, $ACK, 0, $type == $PING ? $payload : '')) if ($type == $SETTINGS || $type == $PING) && !($flags & $ACK);
        $self->{goaway} = 1 if $type == $GOAWAY;
        my $stream = $self->{streams}{$id} or next;
        $stream->{status} = status($payload) if $type == $HEADERS && !defined $stream->{status};
        $stream->{length} += $length if $type == $DATA;
        # the connection's window, of which all streams have a part
        $self->write(frame($WINDOW_UPDATE, 0, 0, pack 'N', $length)) if $type == $DATA && $length;
        $stream->{ended} //= 'end' if ($type == $HEADERS || $type == $DATA) && $flags & $END_STREAM;
        $stream->{ended} //= 'reset' if $type == $RST_STREAM;
    }
}

# nginx sends the status first, by its number in the static table or as three digits; before that there may be a new
# size of the dynamic table.
sub status {
    my @bytes = unpack 'C*', shift;
    if (@bytes && ($bytes[0] & 0xe0) == 0x20) {
        my $size = shift(@bytes) & 0x1f;
        if ($size == 0x1f) { 1 while shift(@bytes) & 0x80 }
    }
    return $STATUS[ $bytes[0] - 0x88 ] if $bytes[0] & 0x80;
    return join '', map { chr } @bytes[ 2 .. 4 ];
}

1;
