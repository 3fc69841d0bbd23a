# The surroundings of a test file: where the modules lie, which mode it runs
# in, a network and process namespace of its own where the machine allows it.
package AutoscaleLua::Env;

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use File::Spec;
use File::Temp qw(tempdir);

our $ROOT = abs_path(dirname(__FILE__) . '/../../..');
our $MODE = $ENV{AUTOSCALE_TEST_MODE} || 'plain';
my $OWNER = $$;
my $SCRATCH;

# What each mode changes. `repeats` is how often the requests of a block are
# sent to the same nginx.
my %MODES = (
    plain    => {repeats => 2},
    hup      => {repeats => 1, env => {TEST_NGINX_USE_HUP => 1}},
    workers  => {repeats => 2, workers => 2, env => {TEST_NGINX_REUSE_PORT => 1}},
    valgrind => {repeats => 1, timeout => 30, env => {TEST_NGINX_SLEEP => 0.1}},
);
my $mode = $MODES{$MODE} or die "AUTOSCALE_TEST_MODE: unknown mode \"$MODE\"\n";

sub workers { $mode->{workers} // 1 }
sub repeats { $ENV{AUTOSCALE_TEST_REPEAT} // $mode->{repeats} }
sub timeout { $ENV{TEST_NGINX_TIMEOUT} // $mode->{timeout} // 5 }
sub scratch { $SCRATCH }

# load_module lines for AUTOSCALE_LUA_MODULE, a ':'-joined list of .so files.
sub load_modules {
    my $list = $ENV{AUTOSCALE_LUA_MODULE} || "$ROOT/build/ngx_http_autoscale_lua_module.so";
    my @files = map { m{^/} ? $_ : "$ROOT/$_" } grep { length } split /:/, $list;
    for my $file (@files) {
        -f $file or die "$file is not there: run ci/build, or set AUTOSCALE_LUA_MODULE\n";
    }
    return join '', map { "load_module $_;\n" } @files;
}

# Runs this very file again in new network, pid and mount namespaces: ports
# cannot collide, nothing leaves the loopback, and whatever the test leaves
# running dies with it. `sh` stays as pid 1 and reaps. Where the kernel
# refuses, the file runs where it is, on a random port.
sub isolate {
    return if $ENV{AUTOSCALE_TEST_ISOLATED};
    my @unshare = (qw(unshare --net --pid --fork --kill-child --mount --mount-proc), $> ? '--map-root-user' : ());
    if (system("@unshare ip link set lo up >/dev/null 2>&1") == 0) {
        $ENV{AUTOSCALE_TEST_ISOLATED} = 1;
        my @perl = ($^X, (map { "-I$_" } grep { !ref } @INC), $0, @ARGV);
        exec @unshare, 'sh', '-c', 'ip link set lo up; "$@"; exit $?', 'sh', @perl;
        die "exec @unshare: $!\n";
    }
    $ENV{TEST_NGINX_RANDOMIZE} //= 1;
}

# Under build/, where nobody else cleans up, unless that is too long a name for
# the unix sockets that a test may put there (107 bytes).
sub scratch_directory {
    my $parent = "$ROOT/build/test";
    make_path($parent);
    $parent = File::Spec->tmpdir if length $parent > 60;
    my $dir = tempdir("$parent/t-XXXXXX");
    chmod 0755, $dir;
    return $dir;
}

# nginx unloads its modules before it exits, and what their static variables
# hold then looks lost to valgrind. Preloaded, a dlclose that does nothing.
sub keep_modules {
    my $library = "$SCRATCH/keep-modules.so";
    open my $cc, '|-', "cc -shared -fPIC -x c -o $library -" or die "cc: $!\n";
    print $cc "int dlclose(void *handle) { (void) handle; return 0; }\n";
    close $cc or die "cc failed: run ci/setup\n";
    return $library;
}

# Files that start nginx themselves take the binary that Test::Nginx is told to
# take, too: it is the `nginx` of the PATH.
sub use_binary {
    my $binary = abs_path(shift) // die "TEST_NGINX_BINARY is not there\n";
    make_path("$SCRATCH/bin");
    symlink $binary, "$SCRATCH/bin/nginx" or die "symlink: $!\n";
    $ENV{PATH} = "$SCRATCH/bin:$ENV{PATH}";
}

# The version of that nginx as a number: 1.29.7 is 1029007.
sub nginx_version {
    my ($major, $minor, $patch) = `nginx -v 2>&1` =~ m{nginx/(\d+)\.(\d+)\.(\d+)} or die "nginx -v says no version\n";
    return ($major * 1000 + $minor) * 1000 + $patch;
}

sub set_up {
    $ENV{PATH} .= ':/usr/sbin:/sbin';
    $ENV{TEST_NGINX_FAST_SHUTDOWN} = 0;
    $ENV{TEST_NGINX_ROOT} = $ROOT;
    $ENV{TEST_NGINX_LUA} = "$ROOT/t/lib/lua";
    $SCRATCH = scratch_directory();
    use_binary($ENV{TEST_NGINX_BINARY}) if $ENV{TEST_NGINX_BINARY};
    if (!$ENV{TEST_NGINX_RANDOMIZE}) { $ENV{TEST_NGINX_SERVROOT} //= "$SCRATCH/servroot" }
    $ENV{$_} //= $mode->{env}{$_} for keys %{$mode->{env} // {}};
    if ($MODE eq 'valgrind') {
        $ENV{LD_PRELOAD} = keep_modules();
        $ENV{AUTOSCALE_LUA_MALLOC} = 'system';    # which it watches
        $ENV{TEST_NGINX_USE_VALGRIND} = join ' ', qw(--tool=memcheck --vgdb=no --leak-check=full
            --show-leak-kinds=definite --errors-for-leak-kinds=definite --num-callers=40
            --keep-debuginfo=yes),
            "--suppressions=$ROOT/ci/valgrind.suppress", "--log-file=$SCRATCH/valgrind.%p";
    }
}

unshift @INC, "$ROOT/build/perl" if -d "$ROOT/build/perl";
isolate();
set_up();

# A failed file leaves its server root for the developer to look at.
END {
    if ($$ == $OWNER && $SCRATCH) {
        if ($? == 0 && !$ENV{TEST_NGINX_NO_CLEAN}) { remove_tree($SCRATCH) }
        else { print STDERR "# kept: $SCRATCH\n" }
    }
}

1;
