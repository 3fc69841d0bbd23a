# Workers that have no descriptor left cannot look whether the others are there: nobody is declared dead for that.
# modes: workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
worker_connections(256);
run_tests();

__DATA__

=== TEST 1: two ticks without descriptors: what is in flight counts as before, who waits is served
--- modes: workers
--- http_config
    autoscale_zone main:8m;
    lua_shared_dict told 64k;
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    upstream app { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; autoscale_protect limit=1 queue=10 timeout=9s; }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / { content_by_lua_block {
            testing.wait_for(function() return told:get("go") end, 20)
            ngx.say("served")
        } }
    }
    init_by_lua_block {
        testing, queue, told = require "testing", require "queue", ngx.shared.told
        local ffi = require "ffi"
        ffi.cdef [[
            struct limit { unsigned long soft, hard; };
            int getrlimit(int, struct limit *);
            int setrlimit(int, const struct limit *);
        ]]
        local NOFILE, limit = 7, ffi.new("struct limit")
        -- how many descriptors this worker may have: none beyond the first three, or as many as before
        function may_open(nothing)
            assert(ffi.C.getrlimit(NOFILE, limit) == 0)
            limit.soft = nothing and 3 or limit.hard
            assert(ffi.C.setrlimit(NOFILE, limit) == 0)
            return io.open("/proc/self/stat") == nil
        end
        function lines(what) return testing.count_plain(testing.error_log(), what) end
    }
    init_worker_by_lua_block {
        ngx.timer.at(0, function()
            while not ngx.worker.exiting() and not told:get("over") do
                local short = told:get("short") or false
                if short ~= was_short then
                    was_short = short
                    told:set("worker " .. ngx.worker.id(), may_open(short) and "cannot" or "can")
                end
                ngx.sleep(0.01)
            end
        end)
    }
--- config
    location = /held { proxy_pass http://app; }
    location = /status { autoscale_status json; }
    location = /t {
        content_by_lua_block {
            local function both(state)
                return testing.wait_for(function()
                    return told:get("worker 0") == state and told:get("worker 1") == state
                end)
            end
            local held = {}
            for i = 1, 6 do held[i] = ngx.thread.spawn(queue.get, "/held", { timeout = 20000 }) end
            queue.comes_to(1, 5)
            ngx.say(queue.levels())
            told:set("short", true)
            ngx.say("without: ", both("cannot"))
            ngx.sleep(2.2)
            told:delete("short")
            ngx.say("with: ", both("can"))
            ngx.say(queue.levels(), ", dead: ", lines("died"))
            told:set("go", true)
            for i = 1, 6 do
                local _, status, text = ngx.thread.wait(held[i])
                ngx.print(status, " ", text, " ")
            end
            ngx.say(queue.left())
            told:set("over", true)
        }
    }
--- timeout: 20
--- response_body
"active":1,"waiting":1,"queued":5
without: true
with: true
"active":1,"waiting":1,"queued":5, dead: 0
200 served 200 served 200 served 200 served 200 served 200 served nothing left
