# The harness must be able to fail: each block here does something that has to
# be noticed, and a run of it in a perl of its own must say so.
# modes: plain hup workers valgrind
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);

my $dir = tempdir(CLEANUP => 1);
my $mode = $ENV{AUTOSCALE_TEST_MODE} || 'plain';

# [what must be noticed, the block, what the run must print, `valgrind` if only that can]
my @cases = (
    ['an alert after the response', <<'B', qr/not ok .*log is quiet/],
--- config
    location = /t { log_by_lua_block { ngx.log(ngx.ALERT, "trouble") } return 200 "ok"; }
--- response_body: ok
B
    ['an alert while the worker shuts down', <<'B', qr/not ok .*log is quiet/],
--- http_config
    exit_worker_by_lua_block { ngx.log(ngx.ALERT, "late trouble") }
--- config
    location = /t { return 200 "ok"; }
--- response_body: ok
B
    ['a worker that is killed', <<'B', qr/not ok .*log is quiet/],
--- config
    location = /t { return 200 "ok"; log_by_lua_block {
        local ffi = require "ffi"
        ffi.cdef "int getpid(void); int kill(int, int);"
        ffi.C.kill(ffi.C.getpid(), 9)
    } }
--- response_body: ok
B
    ['a wrong answer', <<'B', qr/not ok .*response_body/],
--- lua
    ngx.print("no")
--- response_body: ok
B
    ['an API that is not refused', <<'B', qr/not ok .*response/],
--- lua
    return 1
--- refused: content
B
    ['an API that is refused', <<'B', qr/not ok /],
--- lua
    ngx.say("a") return 1
--- result: 1
--- phases: log
B
    ['an nginx that refuses its configuration', <<'B', qr/not ok .*TEST 1.*\nok .*TEST 2/s],
--- config
    no_such_directive on;
--- response_body: ok

=== TEST 2: and the next block runs
--- lua
    ngx.print("ok")
--- response_body: ok
B
    ['a leak', <<'B', qr/not ok .*valgrind is content/, 'valgrind'],
--- lua
    local ffi = require "ffi"
    ffi.cdef "void *malloc(size_t);"
    ffi.C.malloc(4321)
    ngx.print("ok")
--- response_body: ok
B
);

for my $case (@cases) {
    my ($what, $block, $expected, $only) = @$case;
    next if ($only // 'plain') ne ($mode eq 'valgrind' ? 'valgrind' : 'plain');
    open my $out, '>', "$dir/case.t" or die "$dir/case.t: $!";
    print $out "use lib 't/lib';\nuse AutoscaleLua;\nrun_tests();\n__DATA__\n\n=== TEST 1: $what\n$block";
    close $out;
    my $said = `$^X $dir/case.t 2>&1`;
    like($said, $expected, "$what is noticed");
    $said =~ m{# kept: (\S+/t-\w+)$}m and system 'rm', '-rf', $1;
}

done_testing();
