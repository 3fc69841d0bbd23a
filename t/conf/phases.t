use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: the phase knows its name
--- lua
    return (ngx.get_phase():gsub("server_", ""))
--- result: rewrite
--- phases: server_rewrite rewrite


=== TEST 2: an API that is allowed everywhere
--- lua
    return ngx.md5("a"), 6 * 7, nil
--- result: 0cc175b9c0f1b6a831c399e269772661, 42, nil
--- phases: set rewrite access content header_filter body_filter log balancer init init_worker exit_worker server_rewrite


=== TEST 3: output is refused where no body can be written
--- lua
    ngx.say("a")
--- refused: set header_filter body_filter log balancer
