# ngx.re.gmatch, ngx.re.sub, ngx.re.gsub: all matches, replaced by text or by functions.
# modes: plain hup workers valgrind
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: gmatch and gsub, in every phase
--- lua
    local words = {}
    for m in ngx.re.gmatch("hello, world", "([a-z])[a-z]*", "jo") do words[#words + 1] = m[1] end
    local s, n = ngx.re.gsub("hello, world", "[a-z]+", "<$0>", "jo")
    return table.concat(words), s, n, (ngx.re.sub("ab", ".", function(m) return m[0] .. m[0] end))
--- result: hw, <hello>, <world>, 2, aab
--- phases: server_rewrite set rewrite access content header_filter body_filter log init init_worker exit_worker


=== TEST 2: an iterator that is done stays done
--- lua
    for _, options in ipairs { "", "o", "jo", "d" } do
        local it = ngx.re.gmatch("a1b2", "[0-9]", options)
        ngx.print(it()[0], it()[0], tostring(it()), tostring(it()), " ")
    end
    ngx.say(tostring((ngx.re.gmatch("a", "z"))()))
    ngx.say(ngx.re.gmatch("a", "("))
    local it = ngx.re.gmatch("a\xff", "a", "u")
    ngx.say(it())
    ngx.say(it())
--- response_body
12nilnil 12nilnil 12nilnil 12nilnil nil
nilpcre_compile() failed: missing ) in "("
nilpcre_exec() failed: -10
nil


=== TEST 3: empty matches go on by a character, a whole one in UTF-8
--- lua
    local function all(s, p, o)
        local out = {}
        for m in ngx.re.gmatch(s, p, o) do out[#out + 1] = "[" .. m[0] .. "]" end
        return table.concat(out)
    end
    ngx.say(all("abc", "", "jo"), " ", all("a1b", "[0-9]*"), " ", all("", "x*"), " ", all("章亦春", "x?", "u"))
    ngx.say(ngx.re.gsub("abc", "", "-"), " ", ngx.re.gsub("a1b", "[0-9]*", "-", "jo"))
    ngx.say(ngx.re.gsub("章亦春", "", "-", "u"), " ", ngx.re.gsub("章亦春", "", function() return "-" end, "uj"))
    ngx.say(ngx.re.gsub("", "", "x"), " ", ngx.re.gsub("", "a", "x"), " ", ngx.re.sub("", "$", "x"))
    ngx.say(ngx.re.gsub("a\nb", "^|$", "|", "m"))
--- response_body
[][][][] [][1][][] [] [][][][]
-a-b-c- -a--b-4
-章-亦-春- -章-亦-春-4
x  x1
|a|
|b|4


=== TEST 4: \K and lookbehind
--- lua
    ngx.say(ngx.re.gsub("foobar foobaz", [[foo\Kba]], "X"))
    ngx.say(ngx.re.gsub("foobar foobaz", [[foo\Kba]], function(m) return "<" .. m[0] .. ">" end, "jo"))
    ngx.say(ngx.re.gsub("a1b1", "(?<=[a-z])1", "2", "jo"))
    ngx.say(ngx.re.gsub("abab", [[a\K]], "-"))
--- response_body
fooXr fooXz2
foo<ba>r foo<ba>z2
a2b22
a-ba-b2


=== TEST 5: a replacement names captures by number
--- lua
    local function show(...) ngx.say(ngx.re.sub(...)) end
    show("hello, 1234", "([0-9])([0-9])(x)?", "[$0][$1][${2}][$3][$14]", "jo")
    show("hello, 1234", "[0-9]", "${0}00")
    show("hello, 1234", "[0-9]", "$$")
    show("hello", "l", "")
    show("hello", "z", "x")
    show("hello", "l", 12)
    show(1234, 2, true)
--- response_body
hello, [12][1][2][][]341
hello, 1002341
hello, $2341
helo1
hello0
he12lo1
1true341


=== TEST 6: a replacement that is none
--- lua
    for _, text in ipairs { "[$0] [$hello]", "${1", "a$" } do
        for _, options in ipairs { "", "jo" } do
            ngx.say(ngx.re.sub("hello, 1234", "[0-9]", text, options))
        end
    end
--- response_body
nilnilfailed to compile the replacement template
nilnilfailed to compile the replacement template
nilnilfailed to compile the replacement template
nilnilfailed to compile the replacement template
nilnilfailed to compile the replacement template
nilnilfailed to compile the replacement template
--- error_log
attempt to use named capturing variable "hello" (named captures not supported yet)
the closing bracket in "1" variable is missing
lua script: invalid capturing variable name found in "a$"


=== TEST 7: a function may return what is no string, and match itself
--- lua
    ngx.say(ngx.re.gsub("a1b2", "[0-9]", function(m) return m[0] * 2 end, "jo"))
    ngx.say(ngx.re.gsub("a1b2", "[0-9]", function() end))
    ngx.say(ngx.re.gsub("a1b2", "[0-9]", function(m) return "$0" end))
    ngx.say(ngx.re.gsub("ab cd", "([a-z])([a-z])", function(m)
        return m[2] .. ngx.re.gsub(m[1] .. "xyz", "([a-z])([a-z])", "$2$1", "jo") .. m[1]
    end, "jo"))
    local ok, err = pcall(ngx.re.gsub, "abc", "b", function() error("oops", 0) end, "jo")
    ngx.say(ok, " ", err)
    ngx.say(ngx.re.gsub("abc", "b", "x", "jo"))
--- response_body
a2b42
anilbnil2
a$0b$02
bxazya dxczyc2
false oops
axc1


=== TEST 8: a function may wait
--- lua
    ngx.say(ngx.re.gsub("a1b2", "[0-9]", function(m) ngx.sleep(0.001) return "<" .. m[0] .. ">" end, "jo"))
--- response_body
a<1>b<2>2


=== TEST 9: a result far longer than its subject
--- lua
    local s, n = ngx.re.gsub(("a"):rep(5000), "a", ("b"):rep(1000), "jo")
    ngx.say(#s, " ", n, " ", (s:find("[^b]")))
    s, n = ngx.re.gsub(("a"):rep(5000), "a", function() return ("b"):rep(1000) end, "jo")
    ngx.say(#s, " ", n)
    ngx.say(#ngx.re.gsub("x\0y\0", "\\x00", "\0\0"))
--- response_body
5000000 5000 nil
5000000 5000
6


=== TEST 10: errors of matching come third
--- lua
    ngx.say(select(3, ngx.re.sub("a\xff", "a", "b", "u")))
    ngx.say(select(3, ngx.re.gsub("a\xff", "a", function() return "b" end, "uj")))
    ngx.say(select(3, ngx.re.sub("a", "(", "b")))
--- response_body
pcre_exec() failed: -10
pcre_exec() failed: -10
pcre_compile() failed: missing ) in "("
