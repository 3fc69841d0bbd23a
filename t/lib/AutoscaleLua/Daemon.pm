# Real servers for clients to talk to: started before the blocks of a file, on
# its own network, and gone with it.
package AutoscaleLua::Daemon;

use strict;
use warnings;
use Exporter 'import';
use File::Temp ();
use IO::Socket::INET;
use AutoscaleLua::Env;

our @EXPORT = qw(daemon example redis);
my (@running, @examples);

# daemon(PORT, COMMAND...): runs the command in a directory of its own, and
# returns once 127.0.0.1:PORT accepts connections (PORT 0: at once). A server
# that does not come up ends the file: its blocks would say nothing. Returns
# the name of the file with what it writes.
sub daemon {
    my ($port, @command) = @_;
    my $dir = File::Temp->newdir;
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        chdir $dir or die "chdir: $!";
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', 'log';
        open STDERR, '>&', \*STDOUT;
        exec @command or die "$command[0]: $!";
    }
    push @running, [ $pid, $dir ];
    return "$dir/log" if !$port;
    for (1 .. 2400) {
        return "$dir/log" if IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 1);
        die "$command[0] ended at once\n" if waitpid($pid, 1) == $pid;
        select undef, undef, undef, 0.05;
    }
    die "$command[0] does not listen on port $port\n";
}

# redis(PORT, OPTIONS...): a real Redis that keeps nothing on the disk, at that port if not 0.
sub redis {
    my ($port, @options) = @_;
    my @command = (qw(redis-server --bind 127.0.0.1 --appendonly no --save), '', '--port', $port);
    return daemon($port, @command, @options);
}

# example(PORT, NAME): the same for nginx with nginx-conf/NAME, as it is but for
# its paths and the user.
sub example {
    my ($port, $name) = @_;
    my $dir = File::Temp->newdir;
    open my $in, '<', "$AutoscaleLua::Env::ROOT/nginx-conf/$name" or die "$name: $!";
    my $conf = do { local $/; <$in> };
    my $user = $> ? '' : 'user root;';
    $conf =~ s/^load_module .*;$/AutoscaleLua::Env::load_modules() . $user/em or die "$name: no module";
    $conf =~ s/^pid .*;$/pid $dir\/pid;/m or die "$name: no pid";
    open my $out, '>', "$dir/nginx.conf" or die $!;
    print $out $conf;
    close $out;
    push @examples, $dir;
    return daemon($port, 'nginx', '-p', "$dir/", '-e', 'stderr', '-c', "$dir/nginx.conf");
}

END {
    my $status = $?;
    for (@running) {
        kill 'TERM', $_->[0];
        waitpid $_->[0], 0;
    }
    $? = $status;
}

1;
