# nginx's clock and the dates.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: dates, in every phase
--- lua
    return ngx.http_time(1290079655), ngx.cookie_time(1290079655), ngx.parse_http_time("Thu, 18 Nov 2010 11:27:35 GMT"),
        ngx.now() - ngx.time() < 1, ngx.today() == ngx.localtime():sub(1, 10), #ngx.utctime()
--- result: Thu, 18 Nov 2010 11:27:35 GMT, Thu, 18-Nov-10 11:27:35 GMT, 1290079655, true, true, 19
--- phases: server_rewrite set rewrite access content header_filter body_filter log init init_worker exit_worker


=== TEST 2: the clock is nginx's own until it is updated
--- lua
    local before, steady = ngx.now(), true
    local stop = os.clock() + 0.02
    while os.clock() < stop do steady = steady and ngx.now() == before end
    ngx.update_time()
    ngx.say(steady, " ", ngx.now() > before, " ", math.abs(ngx.time() - os.time()) <= 1)
--- response_body
true true true


=== TEST 3: the clock goes on in compiled code
--- lua
    local turns, from = 0, ngx.now()
    repeat
        ngx.update_time()
        turns = turns + 1
    until ngx.now() - from > 0.02
    ngx.say(turns > 1)
--- response_body
true


=== TEST 4: now as text, here and in UTC
--- lua
    local unix = ngx.time()
    ngx.say(ngx.localtime() == os.date("%Y-%m-%d %H:%M:%S", unix), " ", ngx.utctime() == os.date("!%Y-%m-%d %H:%M:%S", unix),
            " ", ngx.today() == os.date("%Y-%m-%d", unix))
--- response_body
true true true


=== TEST 5: the years at the ends
--- lua
    ngx.say(ngx.http_time(0), " ", ngx.http_time(-5), " ", ngx.http_time(1.9))
    ngx.say(ngx.cookie_time(2145916799), " ", ngx.cookie_time(2145916800))
    ngx.say(ngx.http_time(1e300), " ", ngx.http_time(0 / 0))
--- response_body
Thu, 01 Jan 1970 00:00:00 GMT Thu, 01 Jan 1970 00:00:00 GMT Thu, 01 Jan 1970 00:00:01 GMT
Thu, 31-Dec-37 23:59:59 GMT Fri, 01-Jan-2038 00:00:00 GMT
Fri, 31 Dec 9999 23:59:59 GMT Thu, 01 Jan 1970 00:00:00 GMT


=== TEST 6: the three formats of a date, and what is none
--- lua
    for _, s in ipairs { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
                         "Thu, 18 Nov 2010 11:61:35 GMT", "nonsense", "" } do
        ngx.say(ngx.parse_http_time(s))
    end
--- response_body
784111777
784111777
784111777
nil
nil
nil


=== TEST 7: wrong arguments are errors at the line of the script
--- lua
    local function try(f) ngx.say(select(2, pcall(f))) end
    try(function() ngx.http_time("1") end)
    try(function() ngx.cookie_time() end)
    try(function() ngx.parse_http_time(1) end)
--- response_body_like
^\S+:3: number argument only
\S+:4: number argument only
\S+:5: string argument only


=== TEST 8: resty.core.time has a clock that never goes back
--- lua
    local time = require "resty.core.time"
    local before = time.monotonic_msec()
    ngx.sleep(0.01)
    ngx.say(time.monotonic_msec() > before, " ", math.abs(time.monotonic_time() * 1000 - time.monotonic_msec()) < 1)
--- response_body
true true
