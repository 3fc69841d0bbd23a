# ngx.shared.DICT: dictionaries that all workers share.
# modes: plain hup workers
use lib 't/lib';
use AutoscaleLua;
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . 'lua_shared_dict d 1m; lua_shared_dict small 100k;')
        if !defined $block->must_die;
});
run_tests();

__DATA__

=== TEST 1: a dictionary works in every phase
--- lua
    local d = ngx.shared.d
    d:set("k", 1)
    return d:get("k"), d:incr("k", 2), d:delete("k"), (d:get("k"))
--- result: 1, 3, true, nil
--- phases: set server_rewrite rewrite access content header_filter body_filter log balancer init init_worker exit_worker


=== TEST 2: values keep their types
--- lua
    local d = ngx.shared.d
    for _, v in ipairs { "text", "", "\0\255", 0, -1.5, 1e300, true, false, ("x"):rep(70000) } do
        local ok, err, forcible = d:set("k", v)
        local back, flags = d:get("k")
        ngx.say(type(v), " ", ok, " ", err, " ", forcible, " ", back == v, " ", flags)
    end
    d:set("k", 0 / 0)
    local nan = d:get("k")
    ngx.say("nan ", nan ~= nan)
--- response_body
string true nil false true nil
string true nil false true nil
string true nil false true nil
number true nil false true nil
number true nil false true nil
number true nil false true nil
boolean true nil false true nil
boolean true nil false true nil
string true nil false true nil
nan true


=== TEST 3: nil deletes, and so does delete
--- lua
    local d = ngx.shared.d
    d:set("k", 1)
    ngx.say(d:set("k", nil), d:get("k"))
    d:set("k", 1)
    ngx.say(d:delete("k"))
    ngx.say(d:get("k"))
    ngx.say(d:delete("k"))
--- response_body
truenil
truenilfalse
nil
truenilfalse


=== TEST 4: keys: text of up to 65535 bytes, other things as tostring shows them
--- lua
    local d = ngx.shared.d
    for _, key in ipairs { "", ("k"):rep(65536) } do
        ngx.say(d:get(key))
        ngx.say(d:get_stale(key))
        ngx.say(d:set(key, 1))
        ngx.say(d:safe_add(key, 1))
        ngx.say(d:incr(key, 1))
        ngx.say(d:lpush(key, 1))
        ngx.say(d:rpop(key))
        ngx.say(d:llen(key))
        ngx.say(d:ttl(key))
        ngx.say(d:expire(key, 1))
    end
    ngx.say(d:get(nil))
    ngx.say(d:set(nil, 1))
    ngx.say(d:delete(nil))
    ngx.say(d:incr(nil, 1))
    ngx.say(d:rpush(nil, 1))
    ngx.say(d:lpop(nil))
    ngx.say(d:llen(nil))
    ngx.say(d:ttl(nil))
    ngx.say(d:expire(nil, 1))
    local long = ("k"):rep(65535)
    d:set(long, "long")
    d:set(12, "number")
    d:set(true, "boolean")
    ngx.say(d:get(long), " ", d:get("12"), " ", d:get("true"))
    d:delete(long)
--- response_body eval
CORE::join "", map({ my $why = $_; map("nil$why\n", 1 .. 10) } 'empty key', 'key too long'), map("nilnil key\n", 1 .. 9), "long number boolean\n"


=== TEST 5: values that no dictionary takes
--- lua
    local d = ngx.shared.d
    d:delete("k")
    ngx.say(d:set("k", {}))
    ngx.say(d:set("k", ngx.null))
    ngx.say(d:set("k", print))
    ngx.say(d:lpush("k", true))
    ngx.say(d:lpush("k"))
    ngx.say(d:add("k", nil))
    ngx.say(d:replace("k", nil))
    ngx.say(d:safe_set("k", nil))
    ngx.say(d:get("k"))
--- response_body
nilbad value type
nilbad value type
nilbad value type
nilbad value type
nilbad value type
falseattempt to add or replace nil valuesfalse
falseattempt to add or replace nil valuesfalse
falseattempt to add or replace nil valuesfalse
nil


=== TEST 6: what is not a dictionary is refused at the caller's line
--- lua
    local d = ngx.shared.d
    local function try(f, ...)
        local ok, err = pcall(f, ...)
        ngx.say(ok, " ", err)
    end
    for _, name in ipairs { "get", "set", "incr", "lpush", "llen", "ttl", "flush_all", "get_keys", "capacity" } do
        try(d[name], "k", 1)
        try(d[name], { 1 }, "k", 1)
        try(d[name], {}, "k", 1)
        try(d[name], { ngx.null }, "k", 1)
    end
    local ok, err = pcall(function()
        d.get("k")
    end)
    ngx.say(err:match(":%d+: (.*)"), " ", err:match(":(%d+):") ~= nil)
--- response_body eval
("false bad \"zone\" argument\n" x 36) . "bad \"zone\" argument true\n"


=== TEST 7: flags are 32 bits without a sign, and none when 0
--- lua
    local d = ngx.shared.d
    for _, flags in ipairs { 0, 1, 4294967295, -1, 7.9 } do
        d:set("k", "v", 0, flags)
        ngx.say(d:get("k"))
    end
    d:set("k", false, 0, 3)
    ngx.say(d:get("k"))
    ngx.say(d:get_stale("k"))
    d:set("k", 1)
    ngx.say(d:get_stale("k"))
--- response_body
v
v1
v4294967295
v4294967295
v7
false3
false3false
1nilfalse


=== TEST 8: add stores what is not there, replace what is
--- lua
    local d = ngx.shared.d
    d:delete("k")
    ngx.say(d:replace("k", 1))
    ngx.say(d:add("k", 2))
    ngx.say(d:add("k", 3))
    ngx.say(d:safe_add("k", 3))
    ngx.say(d:get("k"))
    ngx.say(d:replace("k", "four"))
    ngx.say(d:get("k"))
--- response_body
falsenot foundfalse
truenilfalse
falseexistsfalse
falseexistsfalse
2
truenilfalse
four


=== TEST 9: what has expired is not there, except for get_stale
--- lua
    local d = ngx.shared.d
    d:set("k", "old", 0.02, 5)
    d:set("for ever", 1, 0)
    ngx.say(d:get("k"))
    ngx.say(d:get_stale("k"))
    local ttl = d:ttl("k")
    ngx.say(ttl > 0 and ttl <= 0.02, " ", d:ttl("for ever"), " ", d:ttl("none"))
    ngx.sleep(0.03)
    ngx.say(d:get("k"))
    ngx.say(d:get_stale("k"))
    ngx.say(d:ttl("k"))
    ngx.say(d:expire("k", 10))
    ngx.say(d:replace("k", 1))
    ngx.say(d:incr("k", 1))
    ngx.say(d:add("k", "new"))
    ngx.say(d:get_stale("k"))
--- response_body
old5
old5false
true 0 nilnot found
nil
old5true
nilnot found
nilnot found
falsenot foundfalse
nilnot found
truenilfalse
newnilfalse


=== TEST 10: expire gives more time, or all of it
--- lua
    local d = ngx.shared.d
    d:set("k", 1, 0.02)
    ngx.say(d:expire("k", 100))
    local ttl = d:ttl("k")
    ngx.say(ttl > 99 and ttl <= 100)
    ngx.say(d:expire("k", 0), d:ttl("k"))
    ngx.say(d:expire("none", 1))
    ngx.say(pcall(d.expire, d, "k"))
    ngx.say(pcall(d.set, d, "k", 1, -1))
    d:set("k", 1, 0.0001)
    ngx.say(d:ttl("k"))
    d:set("k", 1, 2147483648)
    ngx.say(d:ttl("k"))
--- response_body
true
true
true0
nilnot found
falsebad "exptime" argument
falsebad "exptime" argument
0.001
2147483648


=== TEST 11: incr
--- lua
    local d = ngx.shared.d
    d:delete("n")
    d:set("text", "1")
    d:set("bool", true)
    ngx.say(d:incr("n", 1))
    ngx.say(d:incr("n", 1, 10))
    ngx.say(d:incr("n", 0.5))
    ngx.say(d:incr("n", "-2"))
    ngx.say(d:incr("n", 1, 100))
    ngx.say(d:incr("text", 1))
    ngx.say(d:incr("bool", 1, 5))
    ngx.say(d:get("n"))
--- response_body
nilnot found
11nilfalse
11.5
9.5
10.5nilfalse
nilnot a number
nilnot a number
10.5


=== TEST 12: incr with init_ttl lets what it makes expire
--- lua
    local d = ngx.shared.d
    d:delete("n")
    ngx.say(d:incr("n", 1, 0, 0.02))
    ngx.say(d:incr("n", 1, 0, 100))
    ngx.sleep(0.03)
    ngx.say(d:get("n"))
    ngx.say(d:incr("n", 5, 0, "0.02"))
    for _, args in ipairs { { 1, 0, -1 }, { 1, nil, 1 }, { 1, 0, "x" }, { 1, "x" }, { nil } } do
        local _, err = pcall(d.incr, d, "n", args[1], args[2], args[3])
        ngx.say(err)
    end
--- response_body
1nilfalse
2nilfalse
nil
5nilfalse
bad "init_ttl" argument
must provide "init" when providing "init_ttl"
bad init_ttl arg: number expected, got string
bad init arg: number expected, got string
bad value arg: cannot convert 'nil' to 'double'


=== TEST 13: lists are pushed and popped at both ends
--- lua
    local d = ngx.shared.d
    d:delete("l")
    ngx.say(d:llen("l"), d:lpop("l"))
    ngx.say(d:rpush("l", "b"), d:lpush("l", "a"), d:rpush("l", 3), d:rpush("l", ""), d:llen("l"))
    ngx.say(d:get("l"))
    ngx.say(d:get_stale("l"))
    ngx.say(d:incr("l", 1))
    ngx.say(d:lpop("l"), d:rpop("l"), "|", d:rpop("l") + 1, d:lpop("l"), d:lpop("l"), d:llen("l"))
    d:set("l", "text")
    ngx.say(d:lpush("l", 1))
    ngx.say(d:rpop("l"))
    ngx.say(d:llen("l"))
    d:delete("l")
    d:rpush("l", ("long"):rep(5000))
    d:set("l", "over a list")
    ngx.say(d:get("l"))
--- response_body
0nil
12344
nilvalue is a list
nilvalue is a list
nilnot a number
a|4bnil0
nilvalue not a list
nilvalue not a list
nilvalue not a list
over a list


=== TEST 14: a list expires as a whole, and a push starts a new one
--- lua
    local d = ngx.shared.d
    d:delete("l")
    d:rpush("l", 1)
    d:rpush("l", 2)
    d:expire("l", 0.01)
    ngx.sleep(0.02)
    ngx.say(d:llen("l"), d:lpop("l"))
    ngx.say(d:rpush("l", 3), d:ttl("l"), d:lpop("l"))
--- response_body
0nil
103


=== TEST 15: flush_all lets all expire, flush_expired gives their memory back
--- lua
    local d = ngx.shared.small
    d:flush_all()
    d:flush_expired()
    local before = d:free_space()
    for i = 1, 20 do
        d:set("k" .. i, ("v"):rep(1000), i <= 5 and 0.01 or 0)
    end
    ngx.say(d:free_space() < before)
    ngx.sleep(0.02)
    ngx.say(d:flush_expired(2), " ", d:flush_expired(), " ", d:flush_expired(), " ", #d:get_keys())
    ngx.say(d:flush_all())
    ngx.say(d:get("k9"), " ", #d:get_keys(), " ", (d:get_stale("k9")) == ("v"):rep(1000))
    ngx.say(d:flush_expired(0), " ", d:free_space() == before, " ", d:get_stale("k9"))
--- response_body
true
2 3 0 15

nil 0 true
15 true nil


=== TEST 16: get_keys, those not used for longest first
--- lua
    local d = ngx.shared.small
    d:flush_all()
    d:flush_expired()
    ngx.say(#d:get_keys())
    for i = 1, 1100 do
        d:set("k" .. i, i)
    end
    d:set("expired", 1, 0.001)
    ngx.sleep(0.01)
    local keys = d:get_keys()
    ngx.say(#keys, " ", keys[1], " ", keys[1024])
    ngx.say(#d:get_keys(0), " ", #d:get_keys(3), " ", d:get_keys(3)[3])
    local seen = {}
    for _, key in ipairs(d:get_keys(0)) do
        seen[key] = d:get(key)
    end
    ngx.say(seen.k1, " ", seen.k1100, " ", seen.expired)
    ngx.say(pcall(d.get_keys, d, "x"))
--- response_body
0
1024 k1 k1024
1100 3 k3
1 1100 nil
falsebad argument #1 to 'get_keys' (number expected, got string)


=== TEST 17: a full dictionary gives up what was not used for longest
--- lua
    local d = ngx.shared.small
    d:flush_all()
    d:flush_expired()
    local n, forcible = 0, nil
    repeat
        n = n + 1
        if n % 100 == 0 then
            d:get("k1")
        end
        forcible = select(3, d:set("k" .. n, ("v"):rep(60)))
    until forcible
    ngx.say(n > 600, " ", d:get("k1") ~= nil, " ", d:get("k2"), " ", d:get("k" .. n) ~= nil)
    ngx.say(d:safe_set("more", ("v"):rep(60)))
    ngx.say(d:safe_add("more", ("v"):rep(60)))
    ngx.say(d:get("more"))
    ngx.say(d:add("more", ("v"):rep(60)))
    ngx.say(d:rpush("list", ("v"):rep(60)))
    ngx.say(d:set("too big", ("v"):rep(200000)))
--- response_body
true true nil true
falseno memoryfalse
falseno memoryfalse
nil
trueniltrue
nilno memory
falseno memorytrue
--- no_error_log
ngx_slab_alloc


=== TEST 18: incr makes room, too, but what has expired goes without force
--- lua
    local d = ngx.shared.small
    d:flush_all()
    d:flush_expired()
    local n = 0
    repeat
        n = n + 1
    until not d:safe_set("n" .. n, n)
    ngx.say(d:incr("one more", 1, 0))
    ngx.say(d:get("n1"))
    d:flush_all()
    ngx.say(d:incr("and one", 1, 0))
--- response_body
1niltrue
nil
1nilfalse


=== TEST 19: capacity is the zone's size, free_space that of unused pages
--- lua
    local d = ngx.shared.small
    d:flush_all()
    d:flush_expired()
    ngx.say(d:capacity(), " ", d:free_space() % 4096, " ", d:free_space() > 80000)
--- response_body
102400 0 true


=== TEST 20: dictionaries are tables of their own with the methods in their metatable
--- lua
    local d, small = ngx.shared.d, ngx.shared.small
    local names = {}
    for name, dict in pairs(ngx.shared) do
        names[#names + 1] = name .. " " .. type(dict)
    end
    table.sort(names)
    ngx.say(table.concat(names, ", "))
    ngx.say(getmetatable(d) == getmetatable(small), " ", getmetatable(d).__index.get == d.get, " ", ngx.shared.none)
    d:set("k", "d")
    small:set("k", "small")
    ngx.say(d:get("k"), " ", small:get("k"), " ", d.get(small, "k"))
    ngx.say(type(require "resty.core.shdict"))
--- response_body
d table, small table
true true nil
d small small
table


=== TEST 21: without a dictionary ngx.shared is an empty table
--- http_config
    lua_shared_dict only 12k;
--- lua
    ngx.say(type(ngx.shared.only), " ", ngx.shared["no such"])
--- response_body
table nil


=== TEST 22: the smallest dictionary holds something
--- http_config
    lua_shared_dict tiny 12k;
--- lua
    local d = ngx.shared.tiny
    for i = 1, 1000 do
        assert(d:set("k" .. i, i))
    end
    ngx.say(d:get("k1000"), " ", #d:get_keys(0) > 50)
--- response_body
1000 true


=== TEST 23: long keys and values of all lengths
--- lua
    local d = ngx.shared.d
    for n = 1, 600 do
        local key, value = ("k"):rep(n), ("v"):rep(n - 1)
        assert(d:set(key, value))
        assert(d:get(key) == value, n)
    end
    for n = 600, 1, -1 do
        assert(d:get(("k"):rep(n)) == ("v"):rep(n - 1), n)
        assert(d:set(("k"):rep(n), n))
        assert(d:get(("k"):rep(n)) == n)
        d:delete(("k"):rep(n))
    end
    ngx.say("done")
--- response_body
done


=== TEST 24: the operations compile
--- lua
    local d = ngx.shared.d
    d:set("text", "text")
    d:set("n", 0)
    local function work()
        for i = 1, 300 do
            d:set("k", i)
            d:set("t", "text", 10, 3)
            d:add("k", true)
            d:get("text")
            d:get("k")
            d:get("missing")
            d:incr("n", 1)
            d:incr("n", 1, 0)
            d:delete("t")
            d:ttl("k")
        end
    end
    work()
    work()
    -- a trace that is a loop: the one around all of them
    local util, looped = require "jit.util", false
    for i = 1, 100 do
        local trace = util.traceinfo(i)
        looped = looped or trace and trace.linktype == "loop" or false
    end
    ngx.say(looped)
--- response_body
true
--- once


=== TEST 25: a name is used once
--- http_config
    lua_shared_dict d 1m;
    lua_shared_dict d 2m;
--- config
--- must_die
--- error_log
lua_shared_dict "d" is already defined as "d"


=== TEST 26: a name that another zone has
--- http_config
    upstream u { zone d 1m; server 127.0.0.1:1; }
    lua_shared_dict d 1m;
--- config
--- must_die
--- error_log
lua_shared_dict "d" needs a name that no other zone has


=== TEST 27: a zone that is too small
--- http_config
    lua_shared_dict d 8k;
--- config
--- must_die
--- error_log
invalid lua shared dict size "8k" of "d": it must be at least 12k


=== TEST 28: a size that is none
--- http_config
    lua_shared_dict d lots;
--- config
--- must_die
--- error_log
invalid lua shared dict size "lots": write a size such as "10m"


=== TEST 29: an empty name
--- http_config
    lua_shared_dict "" 1m;
--- config
--- must_die
--- error_log
invalid lua shared dict name ""


=== TEST 30: not in a server
--- config
    lua_shared_dict d 1m;
--- must_die
--- error_log
"lua_shared_dict" directive is not allowed here
