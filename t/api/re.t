# ngx.re.match and ngx.re.find: results, options, positions, the cache, errors.
# modes: plain hup workers
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a match gives the whole and its captures, in every phase
--- lua
    local m = ngx.re.match("hello, 1234", "([0-9])([0-9]+)(x)?", "jo")
    local from, to = ngx.re.find("hello, 1234", "[0-9]+", "jo")
    return m[0], m[1], m[2], m[3], m[4], from, to
--- result: 1234, 1, 234, false, nil, 8, 11
--- phases: server_rewrite set rewrite access content header_filter body_filter log init init_worker exit_worker


=== TEST 2: what does not match is nil, without an error
--- lua
    for _, options in ipairs { "", "o", "j", "jo", "d", "u" } do
        ngx.say(select("#", ngx.re.match("abc", "z", options)), " ", ngx.re.match("abc", "z", options),
                " ", ngx.re.find("abc", "z", options))
    end
--- response_body
1 nil nil
1 nil nil
1 nil nil
1 nil nil
1 nil nil
1 nil nil


=== TEST 3: each option does what it says
--- lua
    local function show(...)
        local m = ngx.re.match(...)
        ngx.say(m and m[0] or "no")
    end
    show("xab", "ab", "a")
    show("hello", "HELLO", "i")
    show("a\nb", "^b$", "m")
    show("a\nb", "a.b", "s")
    show("ab", "a b # blanks and comments", "x")
    show("one\nonetwo", "one|onetwo$", "d")
    show("章亦", "^.", "u")
    show("章亦", "^.", "U")
    show("a]b", "a[]", "J")
    show("hello", "HEL LO", "xijosma")
--- response_body
no
hello
b
a
b
ab
one
章
章
no
hello


=== TEST 4: captures have names, and with option D lists
--- lua
    local m = ngx.re.match("hello, 1234", "(?<first>[0-9])(?<rest>[0-9]+)(?<none>x)?", "jo")
    ngx.say(m.first, " ", m.rest, " ", m.none, " ", m[2])
    m = ngx.re.match("hello, world", [[(?<word>\w+), (?<word>\w+)(?<word>x)?]], "D")
    ngx.say(#m.word, " ", m.word[1], " ", m.word[2])
    m = ngx.re.match("a", "(?<a_name_longer_than_the_others>a)(?<b>b)?", "jo")
    ngx.say(m.a_name_longer_than_the_others, " ", m.b)
--- response_body
1 234 false 234
2 hello world
a false


=== TEST 5: many captures
--- lua
    local pattern, subject = ("(.)"):rep(200), ("abcdefghij"):rep(20)
    local m = ngx.re.match(subject, pattern, "jo")
    ngx.say(#m, " ", m[1], m[10], m[200], " ", m[0] == subject)
    ngx.say(table.concat(ngx.re.match("abc", "(a)(b)(c)", "jo"), "-"))
--- response_body
200 ajj true
a-b-c


=== TEST 6: ctx.pos says where to begin, and then where the match ended
--- lua
    local ctx = { pos = 2 }
    local m = ngx.re.match("1234, hello", "[0-9]+", "jo", ctx)
    ngx.say(m[0], " ", ctx.pos)
    m = ngx.re.match("1234, hello", "[0-9]+", "", ctx)
    ngx.say(m, " ", ctx.pos)
    ctx = {}
    ngx.say(ngx.re.find("1234, hello", "[a-z]+", "", ctx), " ", ctx.pos)
    ctx.pos = -3
    ngx.say(ngx.re.find("1234", "", "", ctx), " ", ctx.pos)
    ctx.pos = 5
    ngx.say(ngx.re.find("1234", "$", "", ctx), " ", ctx.pos)
    for _, options in ipairs { "", "jo", "d", "ju" } do
        ctx.pos = 6
        ngx.say(select(2, ngx.re.match("1234", "$", options, ctx)), ", pos ", ctx.pos)
    end
    ctx.pos = 1e18
    ngx.say(select(3, ngx.re.find("1234", "$", "jo", ctx)))
--- response_body
234 5
nil 5
7 12
1 1
5 5
pcre_exec() failed: -24, pos 6
pcre_exec() failed: -24, pos 6
pcre_exec() failed: -24, pos 6
pcre_exec() failed: -24, pos 6
pcre_exec() failed: -24


=== TEST 7: a table of the caller's takes the captures
--- lua
    local mine = {}
    local m = ngx.re.match("ab", "(a)(?<b>b)", "jo", nil, mine)
    ngx.say(m == mine, " ", mine[0], mine[1], mine[2], mine.b)
--- response_body
true ababb


=== TEST 8: find tells where a capture is
--- lua
    local function show(...) ngx.say(table.concat({ tostring((...)), tostring((select(2, ...))), tostring((select(3, ...))) }, " ")) end
    local find = ngx.re.find
    show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, 0))
    show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, 2))
    show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, -1))
    show(find("hello, 1234", "([0-9])|(h)", "jo", nil, 1))
    show(find("hello, 1234", "([0-9])", "jo", nil, 2))
    show(find("hello", "", "jo"))
    show(find("hello", "(", "jo"))
--- response_body
8 11 nil
9 11 nil
8 11 nil
nil nil nil
nil nil nth out of bound
1 0 nil
nil nil pcre_compile() failed: missing ) in "("


=== TEST 9: subjects and patterns need not be strings
--- lua
    ngx.say(ngx.re.match(1234, "2.")[0], " ", ngx.re.match(nil, ".*")[0], " ", ngx.re.match(true, ".*", "o")[0])
    ngx.say(ngx.re.match("a12b", 12)[0], " ", ngx.re.match("a12b", 12, "jo")[0])
    ngx.say(#ngx.re.match("a\0b\0c", "b\\0")[0], " ", (ngx.re.find("a\0b", "\\x00", "jo")))
--- response_body
23 nil true
12 12
2 2


=== TEST 10: wrong arguments are errors at the line of the script
--- lua
    local function try(f, ...)
        local _, err = pcall(f, ...)
        ngx.say(err)
    end
    try(function() ngx.re.match("a", nil) end)
    try(function() ngx.re.find("a", {}, "jo") end)
    try(function() ngx.re.match("a", "a", {}) end)
    try(function() ngx.re.match("a", "a", "Hm") end)
    try(function() ngx.re.find("a", "a", "jo ") end)
    try(function() local ok = ngx.re.gsub("a", "a", "b", "jZ") end)
--- response_body_like
^content_by_lua\S+:6: bad argument #2 to 'match' \(string expected, got nil\)
content_by_lua\S+:7: bad argument #2 to 'find' \(string expected, got table\)
content_by_lua\S+:8: bad argument #3 to 'match' \(string expected, got table\)
content_by_lua\S+:9: unknown flag "H" \(flags "Hm"\)
content_by_lua\S+:10: unknown flag " " \(flags "jo "\)
content_by_lua\S+:11: unknown flag "Z" \(flags "jZ"\)


=== TEST 11: patterns that are none
--- lua
    for _, pattern in ipairs { "(abc", "[a", "*a", "a)b", "a{2,1}", "(?<x>a)(?<x>b)" } do
        for _, options in ipairs { "", "jo" } do
            local m, err = ngx.re.match("a", pattern, options)
            ngx.say(m, " ", (err:gsub(" at .*", " at …")))
        end
    end
--- response_body
nil pcre_compile() failed: missing ) in "(abc"
nil pcre_compile() failed: missing ) in "(abc"
nil pcre_compile() failed: missing terminating ] for character class in "[a"
nil pcre_compile() failed: missing terminating ] for character class in "[a"
nil pcre_compile() failed: nothing to repeat in "*a" at …
nil pcre_compile() failed: nothing to repeat in "*a" at …
nil pcre_compile() failed: unmatched parentheses in "a)b" at …
nil pcre_compile() failed: unmatched parentheses in "a)b" at …
nil pcre_compile() failed: numbers out of order in {} quantifier in "a{2,1}" at …
nil pcre_compile() failed: numbers out of order in {} quantifier in "a{2,1}" at …
nil pcre_compile() failed: two named subpatterns have the same name in "(?<x>a)(?<x>b)" at …
nil pcre_compile() failed: two named subpatterns have the same name in "(?<x>a)(?<x>b)" at …


=== TEST 12: a subject that is not UTF-8 is refused, unless U says to trust it
--- lua
    for _, options in ipairs { "u", "uj", "ud", "iujo" } do
        local m, err = ngx.re.match("a\xff\xfe", "a.", options)
        ngx.say(m, " ", err)
    end
    ngx.say(#ngx.re.match("a\xc3\xa4b", "a(.)", "jU")[1])
    ngx.say(#ngx.re.match("a\xc3\xa4b", "a(.)", "ju")[1])
    ngx.say(#ngx.re.match("a\xc3\xa4b", "a(.)", "j")[1])
--- response_body
nil pcre_exec() failed: -10
nil pcre_exec() failed: -10
nil pcre_exec() failed: -10
nil pcre_exec() failed: -10
2
2
1


=== TEST 13: lua_regex_match_limit ends what would take for ever
--- http_config
    lua_regex_match_limit 1000;
--- lua
    local s, p = ("a"):rep(30) .. "!", "^(a+)+$"
    for _, options in ipairs { "", "o", "jo" } do
        ngx.say(select(2, ngx.re.match(s, p, options)))
        ngx.say(select(3, ngx.re.find(s, p, options)))
        ngx.say(select(3, ngx.re.gsub(s, p, "", options)))
        ngx.say(ngx.re.match(s, "a+", options)[0] .. "!" == s)
    end
--- response_body
pcre_exec() failed: -8
pcre_exec() failed: -8
pcre_exec() failed: -8
true
pcre_exec() failed: -8
pcre_exec() failed: -8
pcre_exec() failed: -8
true
pcre_exec() failed: -8
pcre_exec() failed: -8
pcre_exec() failed: -8
true


=== TEST 14: a full cache throws out what is not used, and results stay right
--- http_config
    lua_regex_cache_max_entries 8;
--- lua
    for _ = 1, 3 do
        for i = 1, 50 do
            local m = ngx.re.match("x" .. i .. "y", "x(" .. i .. ")y", "jo")
            assert(m and m[1] == tostring(i))
            assert(ngx.re.find("often", "f(t)", "jo", nil, 1) == 3)
            assert(ngx.re.sub("x" .. i, "([0-9]+)", "<$1-" .. i .. ">", "jo") == "x<" .. i .. "-" .. i .. ">")
        end
        collectgarbage()
    end
    ngx.say("ok")
--- response_body
ok


=== TEST 15: no cache at all
--- http_config
    lua_regex_cache_max_entries 0;
--- lua
    for _ = 1, 5 do
        assert(ngx.re.match("ab", "(b)", "jo")[1] == "b")
        assert(ngx.re.gsub("ab", "(b)", "[$1]", "jo") == "a[b]")
    end
    ngx.say(select("#", require("ngx.re").opt("jit_stack_size", 65536)))
--- response_body
0


=== TEST 16: an expression that is thrown out while it is used lives on
--- http_config
    lua_regex_cache_max_entries 1;
--- lua
    local it = ngx.re.gmatch("a b c", "[a-z]", "jo")
    local out = {}
    for m in it do
        out[#out + 1] = m[0]
        ngx.re.match("1", "[0-9]" .. ("x?"):rep(#out), "jo")
        collectgarbage()
    end
    out[#out + 1] = ngx.re.gsub("a b", "[a-z]", function(m)
        ngx.re.match("1", "[0-9]y?", "jo")
        collectgarbage()
        return m[0] .. m[0]
    end, "jo")
    ngx.say(table.concat(out, ","))
--- response_body
a,b,c,aa bb


=== TEST 17: the debug log tells whether the JIT compiled
--- log_level: debug
--- lua
    ngx.say(ngx.re.match("a", "a", "j")[0])
--- response_body
a
--- error_log
pcre JIT compiling result: 1


=== TEST 18: compiled in init, used in the workers
--- http_config
    init_by_lua_block {
        local m = ngx.re.match("init", "(i)(n)", "jo")
        package.loaded["t.re"] = function(s) return ngx.re.match(s, "(i)(n)", "jo") end
    }
--- lua
    ngx.say(package.loaded["t.re"]("begin")[0])
--- response_body
in


=== TEST 19: recursion too deep for the machine's stack is an error, not a crash
--- lua
    for _, options in ipairs { "jo", "j" } do
        local m, err = ngx.re.match(("a"):rep(100000), "^(a|b(?1)|(?=a)a)*$", options)
        ngx.say(m and "matched" or err)
    end
    local _, err = ngx.re.match(("("):rep(300) .. "x" .. (")"):rep(300), ("("):rep(300) .. "x" .. (")"):rep(300), "jo")
    ngx.say((tostring(err):gsub(" in .*", "")))
--- response_body_like
^(?:matched|pcre_exec\(\) failed: -\d+)
(?:matched|pcre_exec\(\) failed: -\d+)
.*parentheses.*


=== TEST 20: a zero byte in a pattern is itself, or an error with PCRE 8; the pattern does not end there
--- lua
    local m, err = ngx.re.match("a\0b", "a\0c")
    ngx.say(tostring(m), " ", tostring(err))
    m, err = ngx.re.match("a\0b", "a\0b")
    ngx.say(m and #m[0] or err)
--- response_body_like
^nil (?:nil|pcre_compile\(\) failed: pattern contains a null character.*)
(?:3|pcre_compile\(\) failed: pattern contains a null character.*)$
