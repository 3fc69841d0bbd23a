# The shape of every test file: these three lines, then blocks.
# modes: plain hup workers valgrind
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a content block answers
--- config
    location = /hello {
        content_by_lua_block {
            ngx.say("hello, ", ngx.var.arg_name or "nobody")
        }
    }
--- request
GET /hello?name=Lua
--- response_body
hello, Lua


=== TEST 2: `--- lua` is the content block of /t, which is the default request
--- lua
    ngx.header["X-Answer"] = 6 * 7
    ngx.print("done")
--- response_headers
X-Answer: 42
--- response_body: done


=== TEST 3: `--- backend` is a server behind http://backend
--- config
    location = /t {
        access_by_lua_block {
            ngx.req.set_header("X-Seen", ngx.get_phase())
        }
        proxy_pass http://backend;
    }
--- backend
    location / {
        return 200 "the backend got $http_x_seen\n";
    }
--- response_body
the backend got access


=== TEST 4: an error in Lua is a 500 and a log line that names the place
--- lua
    error("oops")
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log
oops


=== TEST 5: what a block stores in a shared dict, the next request finds
--- http_config
    lua_shared_dict smoke 64k;
--- lua
    local smoke = ngx.shared.smoke
    if ngx.var.arg_first then smoke:set("n", 0) end
    ngx.say(smoke:incr("n", 1))
--- request eval
["GET /t?first=1", "GET /t"]
--- response_body eval
["1\n", "2\n"]


=== TEST 6: a Lua block without its end stops nginx from starting
--- config
    location = /t {
        content_by_lua_block { local text = "}"
    }
--- must_die
--- error_log
[emerg]
