use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

# autoscale.http and names, by nginx's resolver with a real server.
daemon(5353, qw(dnsmasq --keep-in-foreground --no-resolv --no-hosts --no-daemon --port=5353 --listen-address=127.0.0.1
    --bind-interfaces --user=root --pid-file= --cache-size=0 --host-record=one.test,127.0.0.1 --host-record=six.test,::1
    --host-record=some.test,127.0.0.1 --host-record=some.test,127.0.0.9 --host-record=some.test,127.0.0.8
    --local=/test/));
$ENV{TEST_NGINX_EXAMPLE_LOG} = example(8090, 'http-client.conf');

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', q{
        resolver 127.0.0.1:5353;
        resolver_timeout 1s;
        init_by_lua_block { http = require "autoscale.http" }
        server { listen 127.0.0.1:8899; listen [::1]:8899; location / { return 200 "$http_host"; } }
    });
});
run_tests();

__DATA__

=== TEST 1: a name with one address
--- lua
    ngx.say(http.get("http://ONE.test:8899/").body)
    ngx.say(http.get("http://six.test:8899/").body)
--- response_body
one.test:8899
six.test:8899


=== TEST 2: of several addresses one that answers is found
--- lua
    local well = 0
    for _ = 1, 20 do
        local res = http.get("http://some.test:8899/", { keepalive = false })
        well = well + (res and res.status == 200 and 1 or 0)
    end
    ngx.say(well)
--- response_body
20


=== TEST 3: a name without addresses
--- lua
    ngx.say(http.get("http://nowhere.test/"))
--- response_body
nilconnect: nowhere.test could not be resolved (3: Host not found)


=== TEST 4: a name server that does not answer
--- config
    resolver 127.0.0.1:5354;
    resolver_timeout 100ms;
    location = /late { content_by_lua_block { ngx.say(http.get("http://one.test:8899/", { timeout = 30 })) } }
    location = /gives_up {
        content_by_lua_block { ngx.say(http.get("http://one.test:8899/", { timeout = { connect = 2000 } })) }
    }
--- request eval
["GET /late", "GET /gives_up"]
--- response_body eval
["nilconnect: timeout\n", "nilconnect: one.test could not be resolved (110: Operation timed out)\n"]
--- allow_log
recv() failed


=== TEST 5: the example of nginx-conf asks who may, and tells what has failed
--- lua
    local function ask(uri, word)
        return http.get("http://127.0.0.1:8090" .. uri, { headers = { Authorization = word } })
    end
    local res = ask("/page", "Bearer open")
    ngx.print(res.status, " ", res.body)
    ngx.update_time()
    local uri = "/closed?" .. ngx.worker.pid() .. "-" .. ngx.now()
    ngx.say(ask(uri, "Bearer none").status)
    ngx.say(ask("/page").status)
    -- nobody waits for the webhook
    local told
    for _ = 1, 200 do
        local log = assert(io.open("$TEST_NGINX_EXAMPLE_LOG"))
        told = log:read("*a"):find("told: 403 " .. uri .. ",", 1, true)
        log:close()
        if told then break end
        ngx.sleep(0.01)
    end
    ngx.say(told and "told" or "not told")
--- response_body
200 served
403
403
told
