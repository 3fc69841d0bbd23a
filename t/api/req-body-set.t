# ngx.req.set_body_data, set_body_file, init_body, append_body, finish_body: a body that a script makes.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a body is replaced, and the upstream gets the new one with its length
--- config
    location = /t {
        access_by_lua_block {
            ngx.req.read_body()
            ngx.req.set_body_data("first")
            ngx.req.set_body_data("a new body, of " .. ngx.req.get_body_data())
        }
        proxy_pass http://backend;
    }
--- backend
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.req.get_headers().content_length, " ", ngx.req.get_body_data())
        }
    }
--- pipelined_requests eval
["POST /t\nhello", "GET /t", "POST /t\n" . ("x" x 9000)]
--- response_body eval
[map { "20 a new body, of first\n" } 1 .. 3]


=== TEST 2: an empty body, a large one, one of all bytes
--- config
    location = /t {
        client_body_buffer_size 1k;
        access_by_lua_block {
            ngx.req.read_body()
            local body = ""
            if ngx.var.arg_large then
                body = ("0123456789"):rep(100000)
            elseif ngx.var.arg_bytes then
                local bytes = {}
                for i = 0, 255 do bytes[i] = string.char(i) end
                body = table.concat(bytes, "", 0)
            end
            ngx.req.set_body_data(body)
            ngx.req.set_header("X-MD5", ngx.md5(body))
        }
        proxy_pass http://backend;
    }
--- backend
    client_max_body_size 2m;
    location / {
        client_body_buffer_size 2m;
        content_by_lua_block {
            ngx.req.read_body()
            local body = ngx.req.get_body_data() or ""
            ngx.say(#body, " ", ngx.md5(body) == ngx.req.get_headers().x_md5, " ", ngx.req.get_headers().content_length)
        }
    }
--- pipelined_requests eval
["POST /t\nhello", "POST /t?large=1\nhello", "POST /t?bytes=1\n" . ("x" x 9000)]
--- response_body eval
["0 true 0\n", "1000000 true 1000000\n", "256 true 256\n"]


=== TEST 3: the file of a body that is replaced goes at once
--- config
    location = /t {
        client_body_in_file_only clean;
        content_by_lua_block {
            ngx.req.read_body()
            local name = ngx.req.get_body_file()
            ngx.say(io.open(name) ~= nil)
            ngx.req.set_body_data("x")
            ngx.say(io.open(name) ~= nil, " ", ngx.req.get_body_file(), " ", ngx.req.get_body_data())
        }
    }
--- request
POST /t
hello
--- response_body
true
false nil x


=== TEST 4: a file is the body, kept or deleted as asked
--- config
    location = /t {
        access_by_lua_block {
            local name = ngx.var.document_root .. "/body.txt"
            local file = io.open(name, "w")
            file:write("from a file")
            file:close()
            ngx.req.read_body()
            ngx.req.set_body_data("not this")
            ngx.req.set_body_file(name, ngx.var.arg_clean == "1")
            if ngx.req.get_body_file() ~= name or ngx.req.get_body_data() then
                ngx.log(ngx.ERR, "wrong body")
            end
        }
        proxy_pass http://backend;
    }
    location = /there {
        content_by_lua_block {
            local file = io.open(ngx.var.document_root .. "/body.txt")
            ngx.say(file ~= nil)
            if file then file:close() end
        }
    }
--- backend
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.req.get_headers().content_length, " ", ngx.req.get_body_data())
        }
    }
--- pipelined_requests eval
["POST /t\nhello", "GET /there", "POST /t?clean=1\nhello", "GET /there"]
--- response_body eval
["11 from a file\n", "true\n", "11 from a file\n", "false\n"]
--- no_error_log
[error]


=== TEST 5: a deleted file goes when the body is replaced
--- config
    location = /t {
        content_by_lua_block {
            local name = ngx.var.document_root .. "/body.txt"
            local function write(text)
                local file = io.open(name, "w")
                file:write(text)
                file:close()
            end
            local function there()
                local file = io.open(name)
                if file then file:close() end
                return file ~= nil
            end
            ngx.req.read_body()
            write("one")
            ngx.req.set_body_file(name, true)
            ngx.say(there())
            ngx.req.set_body_data("two")
            ngx.say(there())
            write("")
            ngx.req.set_body_file(name, true)
            ngx.say(there(), " ", ngx.req.get_body_file(), " ", ngx.req.get_body_data(), " ", ngx.req.get_headers().content_length)
        }
    }
--- response_body
true
false
false nil nil 0


=== TEST 6: what is no file, or not there, leaves the body as it is
--- lua
    ngx.req.read_body()
    ngx.say((select(2, pcall(ngx.req.set_body_file, "/no/such/file"))))
    ngx.say((select(2, pcall(ngx.req.set_body_file, "/dev"))))
    ngx.say(ngx.req.get_body_data(), " ", ngx.req.get_headers().content_length)
--- request
POST /t
hello
--- response_body
open() "/no/such/file" failed (No such file or directory (os error 2))
"/dev" is not a regular file
hello 5


=== TEST 7: a body is written piece by piece, into memory and beyond into a file
--- config
    location = /t {
        client_body_buffer_size 8k;
        access_by_lua_block {
            local args = ngx.req.get_uri_args()
            ngx.req.read_body()
            if args.size then
                ngx.req.init_body(tonumber(args.size))
            else
                ngx.req.init_body()
            end
            for i = 1, args.n do
                ngx.req.append_body(("%09d,"):format(i))
            end
            ngx.req.finish_body()
            ngx.req.set_header("X-File", ngx.req.get_body_file() and "file" or "memory")
        }
        proxy_pass http://backend;
    }
--- backend
    location / {
        client_body_buffer_size 100k;
        content_by_lua_block {
            ngx.req.read_body()
            local body, h = ngx.req.get_body_data() or "", ngx.req.get_headers()
            local n = 0
            for i in body:gmatch("%d+") do
                if tonumber(i) == n + 1 then n = n + 1 end
            end
            ngx.say(h.x_file, " ", #body, " ", n, " ", h.content_length)
        }
    }
--- pipelined_requests eval
["POST /t?n=0\nhello", "POST /t?n=2\nhello", "POST /t?n=100&size=1000\nhello", "POST /t?n=101&size=1000\nhello",
 "POST /t?n=5000\nhello", "POST /t?n=3&size=0\nhello", "POST /t?n=3&size=1\n" . ("x" x 10000), "POST /t?n=0&size=0\nhello",
 "GET /t?n=2&size=100"]
--- response_body eval
["memory 0 0 0\n", "memory 20 2 20\n", "memory 1000 100 1000\n", "file 1010 101 1010\n",
 "file 50000 5000 50000\n", "file 30 3 30\n", "file 30 3 30\n", "memory 0 0 0\n", "memory 20 2 20\n"]


=== TEST 8: a body is begun again
--- lua
    ngx.req.read_body()
    for i = 1, 3 do
        ngx.req.init_body(4)
        ngx.req.append_body("body number ")
        ngx.req.append_body(i)
        ngx.req.finish_body()
        local file = io.open(ngx.req.get_body_file())
        ngx.say(file:read("*a"), " ", ngx.req.get_headers().content_length)
        file:close()
    end
--- request
POST /t
hello
--- response_body
body number 1 13
body number 2 13
body number 3 13


=== TEST 9: nothing is replaced that was not read, or not begun
--- config
    location = /unread {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.req.set_body_data, "x")))
            ngx.say(select(2, pcall(ngx.req.set_body_file, "/x")))
            ngx.say(select(2, pcall(ngx.req.init_body)))
            ngx.say(select(2, pcall(ngx.req.append_body, "x")))
            ngx.say(select(2, pcall(ngx.req.finish_body)))
        }
    }
    location = /read {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(select(2, pcall(ngx.req.append_body, "x")))
            ngx.say(select(2, pcall(ngx.req.finish_body)))
        }
    }
--- pipelined_requests eval
["POST /unread\nhello", "GET /read"]
--- response_body eval
["request body not read yet\nrequest body not read yet\nrequest body not read yet\n"
 . "request_body not initialized\nrequest_body not initialized\n",
 "request_body not initialized\nrequest_body not initialized\n"]


=== TEST 10: nothing is replaced that is being thrown away
--- lua
    ngx.req.discard_body()
    ngx.say(select(2, pcall(ngx.req.set_body_data, "x")))
    ngx.say(select(2, pcall(ngx.req.set_body_file, "/x")))
    ngx.say(select(2, pcall(ngx.req.init_body)))
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nx", "abc"]
--- raw_request_middle_delay: 0.05
--- response_body
request body already discarded asynchronously
request body already discarded asynchronously
request body already discarded asynchronously


=== TEST 11: wrong arguments are refused at the line of the call
--- lua
    ngx.req.read_body()
    local function try(f)
        local ok, err = pcall(f)
        ngx.say(ok, " ", (err:gsub("^content_by_lua%(nginx.conf:%d+%):", "")))
    end
    try(function() ngx.req.set_body_data() end)
    try(function() ngx.req.set_body_data({}) end)
    try(function() ngx.req.set_body_data("a", "b") end)
    try(function() ngx.req.set_body_file() end)
    try(function() ngx.req.set_body_file("a", 1) end)
    try(function() ngx.req.set_body_file("a", true, 1) end)
    try(function() ngx.req.init_body(-1) end)
    try(function() ngx.req.init_body("a") end)
    try(function() ngx.req.init_body(1, 2) end)
    try(function() ngx.req.append_body() end)
    try(function() ngx.req.append_body(nil) end)
    try(function() ngx.req.finish_body(1) end)
--- response_body
false 7: expecting 1 arguments but seen 0
false 8: bad argument #1 to 'set_body_data' (string expected, got table)
false 9: expecting 1 arguments but seen 2
false 10: expecting 1 or 2 arguments but seen 0
false 11: bad argument #2 to 'set_body_file' (boolean expected, got number)
false 12: expecting 1 or 2 arguments but seen 3
false 13: bad size argument: -1
false 14: bad argument #1 to 'init_body' (number expected, got string)
false 15: expecting 0 or 1 argument but seen 2
false 16: expecting 1 arguments but seen 0
false 17: bad argument #1 to 'append_body' (string expected, got nil)
false 18: expecting 0 argument but seen 1
