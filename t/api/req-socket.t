use lib 't/lib';
use AutoscaleLua;
use Digest::MD5 ();
use File::Temp ();

my $Dir = File::Temp->newdir;
my $Cert = "$Dir/cert.pem";
system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=a -keyout $Cert.key -out $Cert 2>$Dir/log") == 0
    or die "no certificate: ", do { local (@ARGV, $/) = "$Dir/log"; <> };
our $Tls = "listen 127.0.0.1:1987 ssl; ssl_certificate $Cert; ssl_certificate_key $Cert.key;";

# What the blocks below ask the server for, as a client that writes what it wants when it wants.
our $Client = <<'EOC';
    lua_socket_log_errors off;
    location = /after { content_by_lua_block { ngx.say("next") } }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    (my $config = $block->config // '') =~ s/LISTEN_TLS/$main::Tls/;
    $block->set_value("config", $main::Client . $config);
    my $http = <<'EOC';
    init_worker_by_lua_block {
        -- sends each part, waiting a little between them, and gives back all that comes until the server closes
        function talk(...)
            local sock = assert(ngx.socket.connect("127.0.0.1", ngx.var.server_port))
            sock:settimeout(3000)
            for i = 1, select("#", ...) do
                if i > 1 then ngx.sleep(0.03) end
                local part = select(i, ...)
                assert(sock:send(part))
            end
            local got, _, partial = sock:receive("*a")
            sock:close()
            return got or partial
        end
        -- the bodies of the responses, without headers and chunks
        function bodies(text)
            return (text:gsub("HTTP/1.1 %d+ .-\r\n\r\n", "|"):gsub("%x+\r\n(.-)\r\n", "%1"):gsub("|0\r\n\r\n", "|"))
        end
        function post(path, length, rest)
            return "POST " .. path .. " HTTP/1.1\r\nHost: a\r\nContent-Length: " .. length .. "\r\n" .. (rest or "") .. "\r\n"
        end
        function last(path)
            return "GET " .. path .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        end
    }
EOC
    $block->set_value("http_config", $http . ($block->http_config // '')) if ($block->http_config // '') !~ /init_/;
});

run_tests();

__DATA__

=== TEST 1: the body, in each phase of a request that may wait
--- phases: server_rewrite rewrite access content
--- request
POST /t
hello world
--- lua
    local sock = assert(ngx.req.socket())
    local first, some, until_d = sock:receive(5), sock:receiveany(3), sock:receiveuntil("d")()
    local _, err, partial = sock:receive(1)
    return first, some, until_d, err, #partial
--- result
hello,  wo, rl, closed, 0


=== TEST 2: phases in which no body can be read
--- refused: set header_filter body_filter log balancer timer init init_worker
--- lua
    ngx.req.socket()
--- result


=== TEST 3: a body that comes in pieces ends at its length, and the next request is intact
--- config
    location = /read {
        content_by_lua_block {
            local sock = ngx.req.socket()
            local line = sock:receive()
            local all, err, partial = sock:receive("*a")
            ngx.say("[", line, "] [", ((all or partial):gsub("\r", "\\r"):gsub("\n", "\\n")), "]")
        }
    }
--- lua
    ngx.say(bodies(talk(post("/read", 12) .. "on", "e\r\nt", "wo\r\nth" .. last("/after"))))
--- response_body eval
"|[one] [two\\r\\nth]\n|next\n\n"


=== TEST 4: what a script leaves unread is thrown away
--- config
    location = /some { content_by_lua_block { local s = ngx.req.socket() ngx.say(s:receive(3)) } }
    location = /none { content_by_lua_block { local s = ngx.req.socket() ngx.say("none") } }
    location = /refuse { access_by_lua_block { ngx.req.socket():receive(1) ngx.exit(403) } error_page 403 /after; }
    location = /fail { content_by_lua_block { ngx.req.socket():receive(1) ngx.exit(409) } }
--- lua
    local text = bodies(talk(post("/some", 10) .. "abcdefghij" .. post("/none", 5) .. "01", "234" .. post("/refuse", 4) .. "12",
                             "34" .. post("/some", 200000) .. string.rep("x", 100000), string.rep("y", 100000) .. last("/after")))
    ngx.say(text)
    ngx.say((bodies(talk(post("/fail", 6) .. "abcdef" .. last("/after"))):match("|[^|]*$")))
--- response_body eval
"|abc\n|none\n|next\n|xxx\n|next\n\n|next\n\n"


=== TEST 5: what is left of a body is not taken for a request, whoever makes the response
--- config
    location = /static { access_by_lua_block { ngx.req.socket():receive(3) } return 200 "static\n"; }
    location = /exec { access_by_lua_block { ngx.req.socket():receive(3) ngx.exec("/after") } }
    location = /evil { content_by_lua_block { ngx.say("evil") } }
--- lua
    local evil = "abc" .. last("/evil")
    for _, path in ipairs { "/static", "/exec" } do
        ngx.say(bodies(talk(post(path, #evil) .. evil:sub(1, 3), evil:sub(4))))
    end
--- response_body eval
"|static\n\n|next\n\n"


=== TEST 6: one phase goes on where another has stopped
--- config
    location = /two {
        access_by_lua_block { ngx.ctx.sock = ngx.req.socket() ngx.ctx.first = ngx.ctx.sock:receive(3) }
        content_by_lua_block {
            local rest, err, partial = ngx.ctx.sock:receive("*a")
            ngx.say(ngx.ctx.first, " ", rest)
        }
    }
--- lua
    ngx.say(bodies(talk(post("/two", 6) .. "ab", "cd", "ef" .. last("/after"))))
--- response_body eval
"|abc def\n|next\n\n"


=== TEST 7: a client that goes before its body has come
--- http_config
    lua_shared_dict seen 64k;
--- config
    location = /read {
        content_by_lua_block {
            local data, err, partial = ngx.req.socket():receive(10)
            ngx.shared.seen:set("got", tostring(data) .. " " .. err .. " " .. partial)
        }
    }
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send(post("/read", 10) .. "abc")
    ngx.sleep(0.02)
    sock:close()
    for _ = 1, 100 do
        if ngx.shared.seen:get("got") then break end
        ngx.sleep(0.01)
    end
    ngx.say(ngx.shared.seen:get("got"))
--- response_body
nil client aborted abc


=== TEST 8: a client that is too slow, and one that goes on
--- config
    location = /read {
        lua_socket_read_timeout 50ms;
        content_by_lua_block {
            local sock = ngx.req.socket()
            local data, err, partial = sock:receive(6)
            ngx.say(data, " ", err, " ", partial)
            ngx.flush(true)
            sock:settimeout(2000)
            ngx.say(sock:receive(3))
        }
    }
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send(post("/read", 6, "Connection: close\r\n") .. "abc")
    ngx.say((sock:receiveuntil("abc")():match("nil timeout")))
    sock:send("def")
    ngx.say((sock:receive("*a"):match("def")))
--- response_body
nil timeout
def


=== TEST 9: why there is no socket
--- config
    location = /read { content_by_lua_block { ngx.req.read_body() ngx.say(ngx.req.socket()) } }
    location = /drop { content_by_lua_block { ngx.req.discard_body() ngx.say(ngx.req.socket()) } }
    location = /none { content_by_lua_block { ngx.say(ngx.req.socket()) ngx.say(pcall(ngx.req.socket, 1, 2)) } }
    location = /twice { content_by_lua_block { local s = ngx.req.socket() ngx.say(ngx.req.socket()) s:receive("*a") } }
    location = /late {
        content_by_lua_block {
            ngx.thread.spawn(ngx.req.read_body)
            ngx.say(ngx.req.socket()) ngx.say(ngx.req.socket(true))
        }
    }
--- lua
    ngx.say(bodies(talk(last("/none"))))
    ngx.say(bodies(talk(post("/read", 1, "Connection: close\r\n") .. "x")))
    ngx.say(bodies(talk(post("/drop", 3, "Connection: close\r\n") .. "x", "yz")))
    ngx.say(bodies(talk(post("/drop", 3, "Connection: close\r\n") .. "xyz")))
    ngx.say(bodies(talk(post("/twice", 1, "Connection: close\r\n") .. "x")))
    ngx.say(bodies(talk("POST /none HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n")))
    ngx.say(bodies(talk(post("/late", 2, "Connection: close\r\n") .. "x", "y")))
--- response_body eval
"|nilno body\nfalseexpecting zero arguments, but got 2\n\n"
    . "|nilrequest body already exists\n\n"
    . "|nilrequest body discarded\n\n"
    . "|nilno body\n\n"
    . "|nilrequest body already exists\n\n"
    . "|nilchunked request bodies not supported yet\nfalseexpecting zero arguments, but got 2\n\n"
    . "|nilrequest body already exists\nnilpending request body reading in some other thread\n\n"


=== TEST 10: two threads must not read at the same time; a killed one leaves the body to others
--- config
    location = /read {
        content_by_lua_block {
            local sock = ngx.req.socket()
            local reader = ngx.thread.spawn(function() return sock:receive(100) end)
            ngx.say(sock:receive(1))
            ngx.say(ngx.thread.kill(reader))
            ngx.say(sock:receive(4))
        }
    }
--- lua
    ngx.say(bodies(talk(post("/read", 4, "Connection: close\r\n") .. "ab", "cd")))
--- response_body eval
"|nilsocket busy reading\n1\nabcd\n\n"


=== TEST 11: Expect: 100-continue
--- config
    location = /read { content_by_lua_block { ngx.say(ngx.req.socket():receive(2)) } }
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send(post("/read", 2, "Expect: 100-continue\r\nConnection: close\r\n"))
    ngx.say(sock:receive())
    sock:send("ab")
    ngx.say((bodies(sock:receive("*a")):match("|(%w+)")))
--- response_body
HTTP/1.1 100 Continue
ab


=== TEST 12: a large body, in pieces of what is there
--- config
    location = /sum {
        lua_socket_buffer_size 1k;
        content_by_lua_block {
            local sock, n, pieces, all = ngx.req.socket(), 0, 0, {}
            while true do
                local data, err = sock:receiveany(8192)
                if not data then break end
                n, pieces = n + #data, pieces + 1
                all[pieces] = data
            end
            ngx.say(n, " ", pieces > 1, " ", ngx.md5(table.concat(all)))
        }
    }
--- lua
    local body = string.rep("0123456789abcdef", 65536)
    local got = bodies(talk(post("/sum", #body) .. body .. last("/after")))
    ngx.say(got)
--- response_body eval
"|1048576 true " . Digest::MD5::md5_hex("0123456789abcdef" x 65536) . "\n|next\n\n"


=== TEST 13: the raw connection, both ways at once
--- config
    location = /raw {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:send("HTTP/1.1 101 Switching Protocols\r\n\r\n")
            local echo = ngx.thread.spawn(function()
                while true do
                    local line, err = sock:receive()
                    if not line then return err end
                    sock:send("got " .. line .. "\n")
                    if line == "quit" then return "quit" end
                end
            end)
            for i = 1, 3 do sock:send("tick\n") ngx.sleep(0.03) end
            local _, why = ngx.thread.wait(echo)
            sock:send { "end: ", why }
        }
    }
--- lua
    local text = talk("GET /raw HTTP/1.1\r\nHost: a\r\n\r\none\n", "two\n", "quit\nignored")
    local _, ticks = text:gsub("tick\n", "")
    ngx.say(ticks, " ", (text:gsub("tick\n", ""):gsub("^HTTP.-\r\n\r\n", "")))
--- response_body
3 got one
got two
got quit
end: quit


=== TEST 14: after a response that was begun; printing is over then
--- config
    location = /raw {
        content_by_lua_block {
            ngx.header.content_length = 10
            ngx.print("12345")
            local sock = assert(ngx.req.socket(true))
            local said = { select(2, ngx.say("x")), select(2, ngx.print("x")), select(2, ngx.flush()), select(2, ngx.eof()) }
            local same = true
            for i = 1, 4 do same = same and said[i] == "raw request socket acquired" end
            local _, twice = ngx.req.socket(true)
            sock:send(same and twice == "duplicate call" and "67890" or said[1] or "wrong")
        }
    }
--- lua
    ngx.say(bodies(talk("GET /raw HTTP/1.1\r\nHost: a\r\n\r\n")))
--- response_body
|1234567890


=== TEST 15: the body may be read from the raw connection, a chunked one too
--- config
    location = /raw {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            local line = sock:receiveuntil("\r\n0\r\n\r\n")()
            sock:send("raw: " .. line)
        }
    }
--- lua
    ngx.say(talk("POST /raw HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc", "\r\n0\r\n\r\n"))
--- response_body eval
"raw: 3\r\nabc\n"


=== TEST 16: in rewrite and access, and no header is sent behind its back
--- config
    location = /rewrite { rewrite_by_lua_block { ngx.req.socket(true):send("raw rewrite") } content_by_lua_block { ngx.say("not me") } }
    location = /access { access_by_lua_block { ngx.req.socket(true):send("raw access") } content_by_lua_block { ngx.say("not me") } }
    location = /error { content_by_lua_block { ngx.req.socket(true):send("raw error") error("oops") } }
    location = /exit { content_by_lua_block { ngx.req.socket(true):send("raw exit") ngx.exit(444) } }
    location = /404 { content_by_lua_block { ngx.req.socket(true):send("raw 404") ngx.exit(404) } }
--- lua
    for _, path in ipairs { "rewrite", "access", "error", "exit", "404" } do
        ngx.say(talk("GET /" .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n"))
    end
--- response_body
raw rewrite
raw access
raw error
raw exit
raw 404
--- error_log
oops


=== TEST 17: HTTP/1.0 output that waits for its length stands in the way
--- config
    location = /raw { content_by_lua_block { ngx.print("x") ngx.print(select(2, ngx.req.socket(true))) } }
--- lua
    ngx.say((talk("GET /raw HTTP/1.0\r\n\r\n"):gsub("^.*\r\n\r\n", "")))
--- response_body
xhttp 1.0 buffering


=== TEST 18: a client that takes nothing of a raw connection
--- http_config
    lua_shared_dict seen 64k;
--- config
    location = /raw {
        lua_socket_send_timeout 50ms;
        content_by_lua_block {
            local sock = ngx.req.socket(true)
            local ok, err = sock:send(string.rep("x", 20000000))
            ngx.shared.seen:set("got", tostring(ok) .. " " .. err .. " " .. select(2, sock:send("y")))
            ngx.exit(444)
        }
    }
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /raw HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ = 1, 200 do
        if ngx.shared.seen:get("got") then break end
        ngx.sleep(0.01)
    end
    ngx.say(ngx.shared.seen:get("got"))
--- response_body
nil timeout closed


=== TEST 19: much at once through a raw connection
--- config
    location = /raw {
        content_by_lua_block {
            local sock = ngx.req.socket(true)
            local data = sock:receive(1000000)
            sock:send { data, "\n", ngx.md5(data) }
        }
    }
--- lua
    local body = string.rep("0123456789", 100000)
    local text = talk("GET /raw HTTP/1.1\r\nHost: a\r\n\r\n" .. body)
    ngx.say(text == body .. "\n" .. ngx.md5(body))
--- response_body
true


=== TEST 20: a socket of a request that is over
--- http_config
--- config
    location = /keep { content_by_lua_block { kept = nil package.loaded.kept = ngx.req.socket() ngx.say("kept") } }
    location = /use { content_by_lua_block { ngx.say(package.loaded.kept:receive(1)) } }
--- modes: plain
--- lua
    ngx.say(bodies(talk(post("/keep", 3) .. "abc" .. last("/use"))))
--- response_body eval
"|kept\n|nilclosed\n\n"


=== TEST 21: only what a request's socket can do is there
--- request
POST /t
x
--- lua
    local sock = ngx.req.socket()
    ngx.say(sock.send, sock.connect, sock.setkeepalive, sock.close)
    sock = nil
    ngx.say(select(2, pcall(ngx.thread.wait, 1)) ~= nil)
--- response_body
nilnilnilnil
true


=== TEST 22: HTTP/2 has no connection of its own, and says so
--- config
    listen 127.0.0.1:1986 http2;
    location = /h2 {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.req.socket)))
            ngx.say(select(2, pcall(ngx.req.socket, true)))
        }
    }
--- lua
    local function frame(kind, flags, stream, payload)
        return string.char(0, 0, #payload, kind, flags, 0, 0, 0, stream) .. payload
    end
    local sock = assert(ngx.socket.connect("127.0.0.1", 1986))
    sock:settimeout(2000)
    -- GET /h2, by HPACK's static table and literals
    sock:send { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(4, 0, 0, ""),
                frame(1, 5, 1, string.char(0x82, 0x86, 0x04, 3) .. "/h2" .. string.char(0x01, 1) .. "a") }
    ngx.say((sock:receiveuntil("supported yet", { inclusive = true })():match("http v.*")))
    ngx.say((sock:receiveuntil("supported yet", { inclusive = true })():match("http v.*")))
--- response_body
http v2 not supported yet
http v2 not supported yet


=== TEST 23: ngx.exit(444) in the middle of a body
--- config
    location = /cut { content_by_lua_block { ngx.req.socket():receive(2) ngx.exit(444) } }
--- lua
    ngx.say("[", talk(post("/cut", 5) .. "abc"), "]")
    ngx.say("[", talk(post("/cut", 5) .. "abcde" .. last("/after")), "]")
--- response_body
[]
[]


=== TEST 24: a client that resets the connection
--- http_config
    lua_shared_dict seen 64k;
--- config
    location = /raw {
        content_by_lua_block {
            local sock = ngx.req.socket(true)
            sock:send("hello")
            local data, err = sock:receive()
            ngx.shared.seen:set("raw", tostring(data) .. " " .. err)
            ngx.sleep(0.01)
            sock:send("x")
        }
    }
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /raw HTTP/1.1\r\nHost: a\r\n\r\n")
    -- what is closed with unread data is reset
    ngx.sleep(0.05)
    sock:close()
    for _ = 1, 100 do
        if ngx.shared.seen:get("raw") then break end
        ngx.sleep(0.01)
    end
    ngx.say(ngx.shared.seen:get("raw"))
--- response_body
nil connection reset by peer


=== TEST 25: over TLS
--- config
    LISTEN_TLS
    # nginx never frees the last session of an upstream: valgrind minds
    proxy_ssl_session_reuse off;
    location = /t { proxy_request_buffering off; proxy_pass https://127.0.0.1:1987/read; }
    location = /raw_t { proxy_http_version 1.1; proxy_pass https://127.0.0.1:1987/raw; }
    location = /read {
        content_by_lua_block {
            local sock = ngx.req.socket()
            ngx.say(ngx.var.scheme, " ", sock:receive(5), " ", #sock:receive("*a"))
        }
    }
    location = /raw {
        content_by_lua_block {
            local sock = ngx.req.socket(true)
            local body = string.rep("x", 100000)
            sock:send { "HTTP/1.1 200 OK\r\nContent-Length: ", #body + 5, "\r\n\r\n", sock:receive(5), body }
        }
    }
--- request eval
["POST /t\nhello" . "x" x 100000, "POST /raw_t\nhello"]
--- response_body eval
["https hello 100000\n", "hello" . "x" x 100000]


=== TEST 26: a subrequest has no body to read, nor a connection
--- config
    location = /sub {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.req.socket)))
            ngx.say(select(2, pcall(ngx.req.socket, true)))
        }
    }
--- lua
    ngx.print(ngx.location.capture("/sub", { method = ngx.HTTP_POST, body = "x" }).body)
--- response_body
attempt to read the request body in a subrequest
attempt to read the request body in a subrequest


=== TEST 27: what a script has not read of the body is for the upstream, or for whoever reads next
--- backend
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.var.http_content_length, ":", ngx.req.get_body_data() or "")
        }
    }
--- config
    location = /proxy {
        access_by_lua_block {
            local n = tonumber(ngx.var.arg_n)
            local sock = ngx.req.socket()
            if n > 0 then sock:receive(n) end
        }
        proxy_pass http://backend;
    }
    location = /again {
        access_by_lua_block {
            local sock, all = ngx.req.socket(), {}
            for i = 1, 10 do all[i] = sock:receive(1) end
            ngx.req.init_body(4)
            for i = 10, 1, -1 do ngx.req.append_body(all[i]) end
            ngx.req.finish_body()
        }
        proxy_pass http://backend;
    }
    location = /replaced {
        access_by_lua_block {
            ngx.req.socket():receive(3)
            ngx.req.init_body()
            ngx.req.append_body("another")
            ngx.req.finish_body()
        }
        proxy_pass http://backend;
    }
    location = /read_body {
        client_body_buffer_size 1m;
        rewrite_by_lua_block { ngx.req.socket():receive(4) }
        content_by_lua_block { ngx.req.read_body() ngx.say(ngx.req.get_body_data()) }
    }
--- lua
    local size = 10
    for _, n in ipairs { 0, 3, 5, 9, 10 } do
        ngx.print(bodies(talk(post("/proxy?n=" .. n, size, "Connection: close\r\n") .. "abcde", "fghij")))
    end
    ngx.print(bodies(talk(post("/proxy?n=3", size, "Connection: close\r\n") .. "abcdefghij")))
    local large = string.rep("x", 300000)
    local text = bodies(talk(post("/read_body", #large + 4, "Connection: close\r\n") .. "head" .. large:sub(1, 5),
        large:sub(6)))
    ngx.say(#text)
    ngx.print(bodies(talk(post("/again", size, "Connection: close\r\n") .. "abcde", "fghij")))
    ngx.print(bodies(talk(post("/replaced", size, "Connection: close\r\n") .. "abcde", "fghij")))
    ngx.print(bodies(talk(post("/read_body", size, "Connection: close\r\n") .. "abcde", "fghij")))
--- response_body
|10:abcdefghij
|7:defghij
|5:fghij
|1:j
|0:
|7:defghij
300002
|10:jihgfedcba
|7:another
|efghij
