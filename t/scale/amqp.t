# Orders in a real RabbitMQ, read back by another client (python3-pika). It takes seconds to start, and is the file's own.
# modes: plain
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

my $lib = "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua";
my $log = daemon(5672, "$lib/rabbitmq", 5672);

add_block_preprocessor(sub {
    my $block = shift;
    my $http = "autoscale_zone main:16m keys=16;\n";
    for (split /\n/, $block->targets // '') {
        my ($name, $rest) = /^(\w+) (.*)/ or next;
        $http .= "autoscale_target $name $rest max=20 timeout=2s;\n";
        $http .= "autoscale_policy $name target=$name { up upstream.backend.latency >= 0ms for=1r by=+2; }\n";
    }
    $block->set_value('http_config', $http . <<"HTTP");
    lua_package_path "\$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        read, wait_for = testing.read, testing.wait_for
        lib, log = "$lib", "$log"
        function hit()
            testing.gets_logged("this worker leads now")
            ngx.sleep(0.1)
            ngx.location.capture("/hit")
        end
        function fate(name)
            local said = wait_for(function()
                return read("logs/error.log"):match('"' .. name .. '": decision 1,? ([^\\n]+)')
            end)
            return (said:gsub("%d+ ms", "N ms"):gsub("to %d, is not written after N ms, ", ""))
        end
        -- what is in the queue
        function queued() return testing.sh(lib .. "/amqp-read 5672 scale") end
    }
HTTP
    $block->set_value('backend', 'location / { return 200 "ok\n"; }');
    $block->set_value('config', 'location = /hit { proxy_pass http://backend/; }');
});

worker_connections(256);
timeout(15);
run_tests();

__DATA__

=== TEST 1: a message is confirmed, persistent, named by its order, and in the queue
--- targets
exchange amqp:127.0.0.1/orders/up.shop
--- lua
    hit()
    ngx.say(fate("exchange"))
    local said = queued()
    local head, json = said:match("^(.-|)({.*})$")
    ngx.say(((head or said):gsub("%x%x%x%x%x%x%x%x+", "X")))
    local order = require("cjson").decode(json)
    ngx.say(order.target, " ", order.from, " ", order.to, " ", order.id == head:match("exchange%.1%.%x+"))
    -- it was a farewell, and no lost connection
    ngx.say(read(log):find("client unexpectedly closed", 1, true) == nil)
--- response_body
is written: 3 replicas, after N ms
orders|up.shop|application/json|2|exchange.1.X|autoscale-lua|True|
exchange 1 3 true
true


=== TEST 2: what no queue gets, what there is not, and what one may not is a failure
--- user_files
>>> app
app:word
>>> wrong
app:wrong
--- targets
default amqp:127.0.0.1//scale
app amqp:127.0.0.1//scale secret_file=html/app
unroutable amqp:127.0.0.1/orders/down.shop
nowhere amqp:127.0.0.1//nowhere
missing amqp:127.0.0.1/nonesuch/x
denied amqp:127.0.0.1/orders/up.shop secret_file=html/app
wrong amqp:127.0.0.1//scale secret_file=html/wrong
--- lua
    hit()
    for _, name in ipairs { "default", "app", "unroutable", "nowhere", "missing", "denied", "wrong" } do
        -- what newer ones say in more words
        ngx.say(name, ": ", (fate(name):gsub("write access", "access")))
    end
    ngx.say(testing.count(queued() .. "\n", "\n"), " ", read("logs/error.log"):find("app:wrong", 1, true))
--- response_body
default: is written: 3 replicas, after N ms
app: is written: 3 replicas, after N ms
unroutable: it is tried again: amqp: unroutable: 312 NO_ROUTE
nowhere: it is tried again: amqp: unroutable: 312 NO_ROUTE
missing: it is given up: amqp: 404 NOT_FOUND - no exchange 'nonesuch' in vhost '/'
denied: it is given up: amqp: 403 ACCESS_REFUSED - access to exchange 'orders' in vhost '/' refused for user 'app'
wrong: it is given up: amqp: 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.
2 nil
