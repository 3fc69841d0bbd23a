# ngx.req.get_uri_args, get_post_args, set_uri_args, ngx.encode_args, ngx.decode_args: query strings.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: arguments are unescaped, several of a key are an array, one without a value is true
--- http_config
    init_by_lua_block {
        -- key=value of a table, sorted
        function show(args, err)
            local keys, out = {}, {}
            for key in pairs(args) do keys[#keys + 1] = key end
            table.sort(keys)
            for _, key in ipairs(keys) do
                local value = args[key]
                if type(value) == "table" then
                    for i, v in ipairs(value) do value[i] = tostring(v) end
                    value = "{" .. table.concat(value, ",") .. "}"
                end
                out[#out + 1] = key .. "=" .. tostring(value)
            end
            return table.concat(out, " ") .. " " .. tostring(err)
        end
    }
--- lua
    ngx.say(show(ngx.req.get_uri_args()))
--- request
GET /t?a=1&b%20c=%41+d&flag&empty=&a=2&=none&a&&%zz=%zz
--- response_body
%zz=%zz a={1,2,true} b c=A d empty= flag=true nil


=== TEST 2: there may be none, and $args can be changed
--- lua
    ngx.say(next(ngx.req.get_uri_args()))
    ngx.var.args = "a=3&b=4"
    ngx.say(ngx.req.get_uri_args().a, ngx.req.get_uri_args().b)
--- response_body
nil
34


=== TEST 3: the limit is a hundred unless the script names one, and zero is none
--- lua
    for _, max in ipairs { -1, 0, 2, 300 } do
        local args, err = ngx.req.get_uri_args(max)
        local n = 0
        for _ in pairs(args) do n = n + 1 end
        ngx.say(max, ": ", n, " ", args.a1, " ", args.a200, " ", err)
    end
    ngx.say((select(2, ngx.req.get_uri_args())))
    ngx.say((select(2, ngx.req.get_uri_args(nil))))
--- request eval
"GET /t?" . CORE::join("&", map { "a$_=%3$_" } 1 .. 200)
--- response_body
-1: 100 1 nil truncated
0: 200 1 200 nil
2: 2 1 nil truncated
300: 200 1 200 nil
truncated
truncated


=== TEST 4: a table that is given is used again
--- lua
    local tab = { old = 1, 2, 3 }
    local args = ngx.req.get_uri_args(nil, tab)
    ngx.say(args == tab, " ", args.old, " ", args[1], " ", args.a)
    ngx.var.args = ""
    ngx.say(ngx.req.get_uri_args(10, tab) == tab, " ", next(tab))
--- request
GET /t?a=1
--- response_body
true nil nil 1
true nil


=== TEST 5: a query string is set as text, of which only spaces and control characters are escaped
--- lua
    for _, args in ipairs { "a=3&b=hello%20world", "a b\n\127&c=ü+%", "", 42 } do
        ngx.req.set_uri_args(args)
        ngx.say("[", ngx.var.args, "] ", ngx.var.is_args)
    end
--- request
GET /t?old=1
--- response_body
[a=3&b=hello%20world] ?
[a%20b%0A%7F&c=ü+%] ?
[] 
[42] ?


=== TEST 6: a query string is set as a table, of which keys and values are escaped
--- lua
    for _, args in ipairs { { ["a b"] = "c&d=" }, { a = { 1, "x y", true, false } }, { a = true }, { a = false }, {} } do
        ngx.req.set_uri_args(args)
        ngx.say("[", ngx.var.args, "] ", ngx.encode_args(args))
    end
--- response_body
[a%20b=c%26d%3D] a%20b=c%26d%3D
[a=1&a=x%20y&a] a=1&a=x%20y&a
[a] a
[] 
[] 


=== TEST 7: the upstream gets the arguments that are set
--- config
    location = /t {
        access_by_lua_block {
            ngx.req.set_uri_args({ q = "a b&c" })
        }
        proxy_pass http://backend;
    }
--- backend
    location / { return 200 "$request_uri\n"; }
--- request
GET /t?old=1
--- response_body
/t?q=a%20b%26c


=== TEST 8: encoding and decoding undo each other
--- lua
    local before = { ["key &="] = "value +%\r\n\0\255", list = { "1", true, "" }, flag = true }
    local text = ngx.encode_args(before)
    local after, err = ngx.decode_args(text)
    ngx.say(after["key &="] == before["key &="], " ", after.flag, " ", #after.list, after.list[1], after.list[2],
            after.list[3], ".", err)
    ngx.say(ngx.encode_args(ngx.decode_args("a=%20")), " ", select("#", ngx.req.get_uri_args()), " ",
            select("#", ngx.req.get_headers()))
    ngx.say(#ngx.encode_args({ a = ("x"):rep(100000) }))
    ngx.say(#ngx.decode_args("a=" .. ("%41"):rep(100000)).a)
--- response_body
true true 31true.nil
a=%20 1 1
100002
100000


=== TEST 9: decoding stops at its limit, which is a hundred unless given
--- lua
    local many = ("a=b&"):rep(150)
    local function count(...)
        local tab, err = ngx.decode_args(...)
        return tab.a and #tab.a or 0, " ", err
    end
    ngx.say(count(many))
    ngx.say(count(many, 120))
    ngx.say(count(many, 0))
    ngx.say(count(many, -1))
    ngx.say(count("a&b&a&a&a", 3))
    ngx.say(next(ngx.decode_args("")))
    ngx.say(ngx.decode_args(12)["12"])
--- response_body
100 truncated
120 truncated
150 nil
150 nil
2 truncated
nil
true


=== TEST 10: post arguments come from a body that was read
--- lua
    ngx.say(pcall(ngx.req.get_post_args))
    ngx.req.read_body()
    local args, err = ngx.req.get_post_args()
    ngx.say(args.a[1], args.a[2], " ", args["b c"], " ", args.d, " ", err)
    args, err = ngx.req.get_post_args(2)
    ngx.say(args.a[1], args.a[2], " ", args["b c"], " ", err)
--- request
POST /t
a=1&a=2&b%20c=+x&d
--- response_body
falseno request body found; maybe you should turn on lua_need_request_body?
12  x true nil
12 nil truncated


=== TEST 11: there are no post arguments in an empty or discarded body, nor in one in a file
--- config
    location = /empty {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(next(ngx.req.get_post_args()))
        }
    }
    location = /discarded {
        content_by_lua_block {
            ngx.req.discard_body()
            ngx.req.read_body()
            ngx.say(next(ngx.req.get_post_args()))
        }
    }
    location = /file {
        client_body_in_file_only clean;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.req.get_post_args())
        }
    }
--- pipelined_requests eval
["GET /empty", "POST /discarded\r\na=1", "POST /file\r\na=1"]
--- response_body eval
["nil\n", "nil\n", "nilrequest body in temp file not supported\n"]


=== TEST 12: post arguments of a chunked body, which nginx keeps in pieces
--- lua
    ngx.req.read_body()
    local args = ngx.req.get_post_args()
    ngx.say(args.hello, " ", args.b, " ", ngx.req.get_body_data())
--- raw_request eval
"POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n6\r\nlo=wor\r\n6\r\nld&b=1\r\n0\r\n\r\n"
--- response_body
world 1 hello=world&b=1


=== TEST 13: arguments are read in every phase of a request
--- phases: server_rewrite set rewrite access content header_filter body_filter log balancer
--- lua
    ngx.req.set_uri_args({ a = ngx.req.get_uri_args(10).a .. "1" })
    return ngx.decode_args(ngx.encode_args(ngx.req.get_uri_args())).a
--- request
GET /t?a=0
--- result
01


=== TEST 14: there are no request arguments outside a request, but query strings there are
--- phases: init init_worker
--- lua
    local ok, err = pcall(ngx.req.get_uri_args)
    local ok2, err2 = pcall(ngx.req.set_uri_args, "a")
    local ok3, err3 = pcall(ngx.req.get_post_args)
    if ok or ok2 or ok3 or err ~= err2 or err2 ~= err3 then return "no" end
    return ngx.decode_args(ngx.encode_args({ a = "b c" })).a
--- result
b c


=== TEST 15: wrong arguments are refused at the line of the call
--- lua
    local function try(f)
        local ok, err = pcall(f)
        ngx.say(ok, " ", (err:gsub("^content_by_lua%(nginx.conf:%d+%):", "")))
    end
    try(function() ngx.req.set_uri_args() end)
    try(function() ngx.req.set_uri_args(nil) end)
    try(function() ngx.req.set_uri_args(true) end)
    try(function() ngx.req.set_uri_args(ngx.null) end)
    try(function() ngx.req.set_uri_args({ "a" }) end)
    try(function() ngx.req.set_uri_args({ a = print }) end)
    try(function() ngx.req.set_uri_args({ a = { { } } }) end)
    try(function() local s = ngx.encode_args() end)
    try(function() local s = ngx.encode_args(1) end)
    try(function() local s = ngx.encode_args({ a = ngx.null }) end)
    try(function() local s = ngx.decode_args() end)
    try(function() local s = ngx.decode_args({}) end)
    try(function() local s = ngx.decode_args("a", "b") end)
    try(function() local s = ngx.decode_args("a", 1, 2) end)
    try(function() local s = ngx.req.get_uri_args("a") end)
    try(function() local s = ngx.req.get_post_args(1, 2) end)
--- response_body
false 6: expecting 1 argument but seen 0
false 7: bad argument #1 to 'set_uri_args' (string, number, or table expected, but got nil)
false 8: bad argument #1 to 'set_uri_args' (string, number, or table expected, but got boolean)
false 9: bad argument #1 to 'set_uri_args' (string, number, or table expected, but got userdata)
false 10: attempt to use a non-string key in the "args" option table
false 11: attempt to use function as query arg value
false 12: attempt to use table as query arg value
false 13: expecting 1 argument but seen 0
false 14: bad argument #1 to 'encode_args' (table expected, got number)
false 15: attempt to use userdata as query arg value
false 16: expecting 1 or 2 arguments but seen 0
false 17: bad argument #1 to 'decode_args' (string expected, got table)
false 18: bad argument #2 to 'decode_args' (number expected, got string)
false 19: expecting 1 or 2 arguments but seen 3
false 20: bad argument #1 to 'get_uri_args' (number expected, got string)
false 21: expecting 0 or 1 arguments but seen 2
