# The module ngx.re: split and opt.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: pieces between matches, in every phase
--- lua
    return table.concat(require("ngx.re").split("a,b,,c", ",", "jo"), "|")
--- result: a|b||c
--- phases: server_rewrite set rewrite access content header_filter body_filter log init init_worker exit_worker


=== TEST 2: what is between, before and behind
--- lua
    local split = require("ngx.re").split
    local function show(...)
        local res, err = split(...)
        ngx.say(res and #res .. ": " .. table.concat(res, "|") or err)
    end
    show("a,b,c", ",")
    show("abc", ",")
    show("", ",")
    show(",a,", ",")
    show(",,,", ",", "jo")
    show("a, b;c", "[,;] *")
    show("a,b,c", "(,)")
    show("a,b;c", "(,)|;")
    show(12345, 3)
    show("a,b", "(")
    show("a\xff", ",", "u")
--- response_body
3: a|b|c
1: abc
0: 
2: |a
0: 
3: a|b|c
5: a|,|b|,|c
4: a|,|b|c
2: 12|45
pcre_compile() failed: missing ) in "("
pcre_exec() failed: -10


=== TEST 3: empty matches split between characters, and others still count
--- lua
    local split = require("ngx.re").split
    ngx.say(table.concat(split("abc", ""), "|"))
    ngx.say(table.concat(split("章亦春", "", "u"), "|"))
    ngx.say(table.concat(split("abc,d,e", ",|(?=b)"), "|"))
    ngx.say(table.concat(split("a1b2", "(?=[0-9])", "jo"), "|"))
    ngx.say(table.concat(split("abcd", "", "", nil, 3), "|"))
--- response_body
a|b|c
章|亦|春
a|bc|d|e
a|1b|2
a|b|cd


=== TEST 4: a bound, a beginning, and a table of the caller's
--- lua
    local split = require("ngx.re").split
    ngx.say(table.concat(split("a,b,c,d", ",", nil, nil, 2), "|"))
    ngx.say(table.concat(split("a,b,,", ",", nil, nil, 10), "|"))
    ngx.say(table.concat(split("a,b,c,d", ",", nil, nil, 0), "|"))
    ngx.say(table.concat(split("a,b,c,d", ",", nil, { pos = 3 }), "|"))
    ngx.say(#split("a,b", ",", nil, { pos = 9 }))
    local mine = { 1, 2, 3, 4, 5 }
    ngx.say(split("a,b", ",", nil, nil, nil, mine) == mine, " ", mine[1], mine[2], " ", mine[3])
    ngx.say(select(2, pcall(split, "a", ",", nil, nil, nil, "no table")))
--- response_body
a|b,c,d
a|b||
a|b|c|d
b|c|d
0
true ab nil
res is not a table


=== TEST 5: the JIT's stack is set before anything is compiled
--- http_config
    init_by_lua_block {
        local opt = require("ngx.re").opt
        opt("jit_stack_size", 256 * 1024)
        ngx.re.match("a", "a", "j")
        opt("jit_stack_size", 1024 * 1024)
    }
--- lua
    ngx.say(#ngx.re.match(("a"):rep(2000) .. "x", "^((?:(a)|b(c))+)x", "jo")[0])
    ngx.say(select(2, pcall(require("ngx.re").opt, "jit_stack_size", 64 * 1024)))
    ngx.say(select(2, pcall(require("ngx.re").opt, "other", 1)))
    ngx.say(select(2, pcall(require("ngx.re").opt, "jit_stack_size", "big")))
--- response_body
2001
changing jit stack size is not allowed when some regexs have already been compiled and cached
unrecognized option name
bad argument #2 to 'opt' (number expected, got string)


=== TEST 6: with the default stack, what needs more is an error
--- lua
    local m, err = ngx.re.match(("a"):rep(2000) .. "x", "^((?:(a)|b(c))+)x", "jo")
    ngx.say(tostring(m), " ", tostring(err))
--- response_body
nil pcre_exec() failed: -27
