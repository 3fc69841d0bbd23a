use lib 't/lib';
use AutoscaleLua;
worker_connections(1024);
run_tests();

__DATA__

=== TEST 1: as long as it was asked for, in each phase that may
--- phases: server_rewrite rewrite access precontent content timer
--- lua
    ngx.update_time()
    local began = ngx.now()
    ngx.sleep(0.02)
    ngx.sleep("0.01")
    ngx.update_time()
    local took = ngx.now() - began
    -- timers go by another clock than ngx.now(), and both count whole milliseconds
    return took > 0.027 and took < 3 or took
--- result
true


=== TEST 2: not at all: others have their turn
--- lua
    local order = {}
    local other = ngx.thread.spawn(function()
        order[#order + 1] = "a"
        ngx.sleep(0)
        order[#order + 1] = "b"
    end)
    order[#order + 1] = "c"
    ngx.sleep(0.0001)
    ngx.sleep(0)
    ngx.thread.wait(other)
    ngx.say(table.concat(order))
--- response_body
acb


=== TEST 3: wrong arguments
--- lua
    ngx.say(pcall(ngx.sleep))
    ngx.say(pcall(ngx.sleep, "soon"))
    ngx.say(pcall(ngx.sleep, {}))
    ngx.say(pcall(ngx.sleep, -1))
--- response_body
falsebad argument #1 to 'sleep' (number expected, got nil)
falsebad argument #1 to 'sleep' (number expected, got string)
falsebad argument #1 to 'sleep' (number expected, got table)
falseinvalid sleep duration "-1"


=== TEST 4: where nothing waits
--- refused: set header_filter body_filter log balancer init_worker exit_worker
--- lua
    ngx.sleep(0.001)
--- result
API disabled


=== TEST 5: two hundred requests sleep, others are answered
--- config
    location = /sleep { content_by_lua_block { ngx.sleep(0.3) ngx.print("slept") } }
    location = /ping { content_by_lua_block { ngx.print("pong") } }
    location = /t {
        content_by_lua_block {
            local socks = {}
            for i = 1, 200 do
                socks[i] = assert(ngx.socket.connect("127.0.0.1", ngx.var.server_port))
                socks[i]:send("GET /sleep HTTP/1.0\r\n\r\n")
            end
            local ping = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
            ping:send("GET /ping HTTP/1.0\r\n\r\n")
            local pong = ping:receive("*a"):match("%a+$")
            local slept = 0
            for i = 1, 200 do
                if socks[i]:receive("*a"):match("%a+$") == "slept" then slept = slept + 1 end
            end
            ngx.say(pong, " ", slept)
        }
    }
--- modes: plain
--- response_body
pong 200


=== TEST 6: a worker that is to stop waits for who sleeps no time at all
--- modes: plain workers
--- once
--- lua
    local file = assert(io.open(ngx.config.prefix() .. "logs/nginx.pid"))
    os.execute("kill -HUP " .. file:read("*a"))
    local over, turns = ngx.now() + 0.8, 0
    repeat
        ngx.sleep(0)
        ngx.update_time()
        turns = turns + 1
    until ngx.now() > over
    ngx.say(turns > 1, " ", ngx.worker.exiting())
--- response_body
true true
