use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: braces in strings, long strings and comments do not end a block
--- config
    location = /t {
        content_by_lua_block {
            -- a brace in a comment }
            --[[ and in a long one } } ]]
            --[==[ with ]] inside } ]==]
            local a = "}" .. '}' .. "\"}" .. '\'}' .. [[}
}]] .. [=[ ]] } ]=]
            local t = { { {} }, function() return {} end }
            ngx.say(a, #t)
        }
    }
--- response_body
}}"}'}}
} ]] } 2


=== TEST 2: a block on one line, and several in a row
--- config
    location = /t { content_by_lua_block { ngx.say("one") } }
    location = /u { access_by_lua_block { if a then end } content_by_lua_block {ngx.say("two")} }
--- request eval
["GET /t", "GET /u"]
--- response_body eval
["one\n", "two\n"]


=== TEST 3: a megabyte of Lua, braces and all
--- config eval
    "location = /t { content_by_lua_block {\nlocal t = {}\n"
    . join('', map { "t[$_] = [[ } " . ('x' x 1000) . " ]] -- }\n" } 1 .. 1000)
    . "ngx.say(#t, ' ', #t[1000])\n} }"
--- response_body
1000 1004


=== TEST 4: lines count from the block's start, also behind long ones
--- config eval
    "location = /t { content_by_lua_block {\n" . ("-- " . ('y' x 5000) . "\n") x 3 . "error('here')\n} }"
--- error_code: 500
--- response_body_like: 500
--- error_log eval
qr/content_by_lua\(nginx\.conf:\d+\):5: here/


=== TEST 5: included files have blocks, and are named in messages
--- config
    include "../html/inc.conf";
--- user_files
>>> inc.conf
location = /t {
    content_by_lua_block {
        error("in the file")
    }
}
--- error_code: 500
--- response_body_like: 500
--- error_log eval
qr/content_by_lua\([^)]*inc\.conf:2\):2: in the file/


=== TEST 6: a long file name keeps its end
--- config
    include "../html/a-very-long-directory-name-indeed/and-a-file-name-that-is-long-too.conf";
--- user_files
>>> a-very-long-directory-name-indeed/and-a-file-name-that-is-long-too.conf
location = /t { content_by_lua_block { error("x") } }
--- error_code: 500
--- response_body_like: 500
--- error_log eval
qr/: content_by_lua\(\.\.\.[^ ]*is-long-too\.conf:1\):1: x/


=== TEST 7: `$` in a block is Lua's
--- config
    location = /t { content_by_lua_block { ngx.say("$uri ${uri} \$") } }
--- error_code: 500
--- response_body_like: 500
--- must_die
--- error_log
invalid escape sequence


=== TEST 8: nothing in a block is taken for nginx's variables
--- config
    location = /t { content_by_lua_block { ngx.say("$uri ${uri} #;") } }
--- response_body
$uri ${uri} #;


=== TEST 9: the old string form takes nginx's escapes
--- config
    location = /t { content_by_lua 'ngx.say("it\'s a \\"string\\"\\n", "\\t|")'; }
--- response_body eval
qq{it's a "string"\n\t|\n}


=== TEST 10: with double quotes too
--- config
    location = /t { content_by_lua "ngx.say('a', \"b\", '\\\\')"; }
--- response_body
ab\


=== TEST 11: a long bracket without its end names its line
--- config
    location = /t {
        content_by_lua_block {
            local a = [==[ ]] }
        }
    }
--- must_die
--- error_log
Lua code block missing the closing long bracket "]==]"


=== TEST 12: a block without its end
--- config
    location = /t {
        content_by_lua_block { if true then ngx.say({
--- must_die
--- error_log
[emerg]


=== TEST 13: code that does not compile fails the configuration test, with file and line
--- config
    location = /t {
        content_by_lua_block {
            local a =
            = 1
        }
    }
--- must_die
--- error_log eval
qr/failed to load inlined Lua code: content_by_lua\(nginx\.conf:\d+\):3: unexpected symbol near '=' in .*nginx\.conf:\d+/


=== TEST 14: an empty block is refused
--- config
    location = /t { content_by_lua_block {} }
--- must_die
--- error_log
invalid location config: no runnable Lua code


=== TEST 15: one with a space in it does nothing
--- config
    location = /t { rewrite_by_lua_block { } return 200 "ok"; }
--- response_body: ok


=== TEST 16: a script may use `...`, which is empty, and `return` values
--- config
    location = /t { content_by_lua_block { ngx.say(select("#", ...)) return 1, 2 } }
--- response_body
0


=== TEST 17: a stray `end` does not close what surrounds the code
--- config
    location = /t { content_by_lua_block { ngx.say(1) end, function() ngx.say(2) } }
--- must_die
--- error_log eval
qr/'<eof>' expected near 'end'/


=== TEST 18: a script is the main chunk of its traceback
--- lua
    ngx.say(debug.traceback("here"))
    ngx.say(debug.getinfo(1, "S").what)
--- response_body_like
^here
stack traceback:
\tcontent_by_lua\(nginx\.conf:\d+\):\d+: in main chunk
main


=== TEST 19: locals of a script live for one request
--- lua
    local n = 0
    local function add() n = n + 1 return n end
    ngx.say(add(), add())
--- request eval
["GET /t", "GET /t"]
--- response_body eval
["12\n", "12\n"]


=== TEST 20: a block may not stand where its phase has no place
--- config
    location = /t { init_by_lua_block { local a = 1 } }
--- must_die
--- error_log
"init_by_lua_block" directive is not allowed here


=== TEST 21: content in a server is misplaced
--- config
    content_by_lua_block { ngx.say(1) }
--- must_die
--- error_log
"content_by_lua_block" directive is not allowed here


=== TEST 22: two of one phase at one level are one too many
--- config
    location = /t {
        access_by_lua_block { local a = 1 }
        access_by_lua_file html/a.lua;
    }
--- must_die
--- error_log
"access_by_lua_file" directive is duplicate


=== TEST 23: also in http
--- http_config
    init_by_lua_block { local a = 1 }
    init_by_lua_block { local a = 2 }
--- config
    location = /t { return 200; }
--- must_die
--- error_log
"init_by_lua_block" directive is duplicate


=== TEST 24: a block takes no argument
--- config
    location = /t { content_by_lua_block x { ngx.say(1) } }
--- must_die
--- error_log
invalid number of arguments in "content_by_lua_block" directive
