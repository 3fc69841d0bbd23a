use lib 't/lib';
use AutoscaleLua;

# What a socket is to Lua: a table with methods that may be replaced, around an object that only we make.
our $Peer = <<'EOC';
    location = /say { content_by_lua_block { ngx.header.content_length = 6 ngx.print("hello\n") } }
EOC

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("config", $main::Peer . ($block->config // ''));
});

run_tests();

__DATA__

=== TEST 1: what is not a socket's own object is refused
--- lua
    local tcp, udp = ngx.socket.tcp(), ngx.socket.udp()
    local semaphore = require("ngx.semaphore").new(1)
    for _, object in ipairs { io.stdout, newproxy(), newproxy(true), udp[1], semaphore[1], ngx.null, "x", 7 } do
        tcp[1] = object
        local ok, err = pcall(tcp.close, tcp)
        if ok or err ~= "bad argument #1 to 'close' (table expected, got table)" then
            ngx.say(tostring(object), " ", tostring(err))
        end
    end
    ngx.say(pcall(semaphore.wait, udp, 0))
    ngx.say(getmetatable(udp[1]))
--- response_body
falsenot a semaphore object
false


=== TEST 2: a method that was replaced in the metatable's table is the one that is called
--- lua
    local sock = ngx.socket.tcp()
    local methods = getmetatable(sock).__index
    local own = methods.receive
    methods.receive = function(self, n)
        methods.receive = own
        return self.mark .. n
    end
    sock.mark = "replaced "
    ngx.say(sock:receive(3))
    ngx.say(sock:receive(3))
--- response_body
replaced 3
nilclosed
--- error_log
attempt to receive data on a closed socket


=== TEST 3: the collector closes a socket that nobody holds
--- lua
    local fd
    local weak = setmetatable({}, { __mode = "v" })
    coroutine.wrap(function()
        weak[1] = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
        fd = weak[1]:getfd()
    end)()
    -- what is open and no file cannot be opened, but is there
    local ENXIO, ENOENT = 6, 2
    ngx.say(select(3, io.open("/proc/self/fd/" .. fd)) == ENXIO)
    collectgarbage()
    collectgarbage()
    ngx.say(weak[1], " ", select(3, io.open("/proc/self/fd/" .. fd)) == ENOENT)
--- response_body
true
nil true


=== TEST 4: a connect that was queued goes on after the script that gave the connection back has had its turn
--- config
    location = /t {
        content_by_lua_block {
            local options = { pool = "turns" .. ngx.var.connection, pool_size = 1, backlog = 2 }
            local port, order = ngx.var.server_port, {}
            local function use(name)
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", port, options))
                order[#order + 1] = name .. " has it"
                sock:setkeepalive()
                order[#order + 1] = name .. " gave it back"
            end
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", port, options))
            ngx.timer.at(0, function() use("one") end)
            ngx.timer.at(0, function() use("two") end)
            ngx.sleep(0.02)
            sock:setkeepalive()
            order[#order + 1] = "first gave it back"
            for _ = 1, 100 do
                if #order == 5 then break end
                ngx.sleep(0.005)
            end
            ngx.say(table.concat(order, "\n", 1, 1), "\n", #order)
        }
    }
--- response_body
first gave it back
5


=== TEST 5: options that inherit, and options that raise
--- lua
    local sock = ngx.socket.tcp()
    local options = setmetatable({}, { __index = { pool = "inherited" .. ngx.var.connection } })
    for _ = 1, 2 do
        ngx.say(sock:connect("127.0.0.1", ngx.var.server_port, options), " ", sock:getreusedtimes())
        sock:setkeepalive()
    end
    ngx.say(pcall(sock.connect, sock, "127.0.0.1", 1, setmetatable({}, { __index = function(_, name)
        error("no " .. name, 0)
    end })))
--- response_body
1 0
1 1
falseno pool


=== TEST 6: a wait that is resumed by somebody else than the driver leaves the socket free
--- lua
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    local co = coroutine._create(function() return sock:receive() end)
    ngx.say(coroutine._resume(co) and coroutine._status(co))
    sock:send("GET /say HTTP/1.0\r\n\r\n")
    ngx.say(sock:receive())
--- response_body
suspended
HTTP/1.1 200 OK


=== TEST 7: errors point at the line that called the method
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            local function try(f)
                ngx.say((select(2, pcall(f)):gsub("^.*:(%d+): ", "%1 ")))
            end
            try(function() sock:connect({}) end)
            try(function()
                local n = sock:receive(-1)
                return n
            end)
            try(function() local ok = sock.sslhandshake({}) return ok end)
            try(function() ngx.sleep("x") end)
        }
    }
--- response_body
6 bad argument #1 to 'connect' (string expected, got table)
8 bad argument #1 to 'receive' (bad pattern argument)
11 bad argument #1 to 'sslhandshake' (table expected, got table)
12 bad argument #1 to 'sleep' (number expected, got string)


=== TEST 8: numbers are sent as Lua writes them
--- config
    location = /echo { content_by_lua_block { ngx.req.read_body() ngx.print(ngx.req.get_body_data()) } }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
            local numbers = { 0, 7, -12, 99999999999999, 1e14, -1e14, 1.5, 0.1, 1e-7, 1e300, 2^53, 1/0, -1/0 }
            local texts = {}
            for i, n in ipairs(numbers) do
                texts[i] = tostring(n)
            end
            local expected = table.concat(texts)
            sock:send { "POST /echo HTTP/1.0\r\nContent-Length: ", #expected, "\r\n\r\n", { numbers } }
            sock:receiveuntil("\r\n\r\n")()
            ngx.say(sock:receive("*a") == expected)
        }
    }
--- response_body
true
