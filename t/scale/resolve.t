# autoscale_balance where the peers' names are resolved while nginx runs: `server ... resolve`, in nginx itself since 1.27.3.
# What makes names mean something else is t/lib/AutoscaleLua/members-fake.
# modes: plain workers
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use File::Temp ();

my $secrets = File::Temp->newdir;
open my $token, '>', "$secrets/token" or die $!;
close $token;
my $certs = "$AutoscaleLua::Env::ROOT/t/cert";
my $fake = "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/members-fake";
daemon(9544, 'python3', $fake, 9543, "$certs/server.crt", "$certs/server.key", "$secrets/token");

# The backend listens on every address of the loopback, and says which of them it was asked at.
add_block_preprocessor(sub {
    my $block = shift;
    my $more = $block->more // '';
    $block->set_value('skip_eval', '2: AutoscaleLua::Env::nginx_version() < 1027003');
    $block->set_value('timeout', 30);
    $block->set_value('http_config', <<"CONF" . <<'LUA');
autoscale_zone main:4m keys=64;
lua_shared_dict seen 1m;
resolver 127.0.0.1:9545 valid=1s ipv6=off;
resolver_timeout 1s;
proxy_http_version 1.1;
proxy_set_header Connection "";
upstream app {
    zone app 128k;
    server app.test:\$TEST_NGINX_RAND_PORT_1 resolve;
    autoscale_balance peak_ewma slow_start=0;
    keepalive 8;
    $more
}
CONF
server {
    listen $TEST_NGINX_RAND_PORT_1;
    location / {
        content_by_lua_block {
            ngx.shared.seen:incr("at " .. ngx.var.server_addr, 1, 0)
            ngx.sleep(tonumber(ngx.var.arg_s) or 0)
            ngx.say(ngx.var.server_addr)
            ngx.shared.seen:incr("done", 1, 0)
        }
    }
}
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    local http, json, testing = require "autoscale.http", require "cjson", require "testing"

    -- what the name means from now on
    function name(...)
        local value = { A = { ... }, ttl = 1 }
        local url = "http://127.0.0.1:9544/set/names/app.test"
        assert(assert(http.request { method = "PUT", url = url, body = json.encode(value) }).status == 200)
    end

    -- the peers, once they are these; both workers see the list that they share
    function shows(wanted)
        local deadline, list = ngx.now() + 10, {}
        repeat
            list = {}
            for _, peer in ipairs(require("ngx.upstream").get_primary_peers("app")) do
                list[#list + 1] = peer.name:match("^[%d.]+")
            end
            table.sort(list)
            if table.concat(list, " ") == wanted then return wanted end
            ngx.sleep(0.02)
        until ngx.now() > deadline
        return "they are " .. table.concat(list, " ")
    end

    -- asks this very server, over a connection of its own, so that each worker is asked now and then
    function get(path)
        local answer = assert(http.get("http://127.0.0.1:" .. ngx.var.server_port .. path, { keepalive = false }))
        return answer.status == 200 and (answer.body:gsub("%s+$", "")) or tostring(answer.status)
    end

    -- who answers `n` requests at once, each once
    function answers(n)
        local list, threads = {}, {}
        for i = 1, n do
            threads[i] = ngx.thread.spawn(get, "/p?s=0.3")
            ngx.sleep(0.01)
        end
        for i = 1, n do list[i] = select(2, ngx.thread.wait(threads[i])) end
        return testing.distinct(list)
    end
}
LUA
    $block->set_value('config', <<'CONF');
location /p { proxy_pass http://app; }
location = /hup {
    content_by_lua_block {
        local file = assert(io.open(ngx.config.prefix() .. "logs/nginx.pid"))
        os.execute("kill -HUP " .. file:read("*a"))
        ngx.say("reloaded")
    }
}
CONF
});

run_tests();

__DATA__

=== TEST 1: peers come and go while requests run, and no request fails
--- once
--- lua
    name("127.0.0.1", "127.0.0.2")
    ngx.say(shows("127.0.0.1 127.0.0.2"), ": ", answers(8))
    local wrong, count, stop = {}, 0, false
    local function ask()
        repeat
            local who = get("/p?s=0.01")
            count = count + 1
            if not who:find("^127") then wrong[#wrong + 1] = who end
        until stop
    end
    local threads = {}
    for i = 1, 6 do threads[i] = ngx.thread.spawn(ask) end
    for _, addresses in ipairs { "127.0.0.3", "127.0.0.1 127.0.0.3", "127.0.0.2 127.0.0.4 127.0.0.5" } do
        local list = {}
        for address in addresses:gmatch("%S+") do list[#list + 1] = address end
        name((unpack or table.unpack)(list))
        ngx.say(shows(addresses))
    end
    stop = true
    for i = 1, 6 do ngx.thread.wait(threads[i]) end
    ngx.say(answers(12), ", ", #wrong, " went wrong: ", table.concat(wrong, " "))
    ngx.log(ngx.NOTICE, count, " requests")
--- response_body
127.0.0.1 127.0.0.2: 127.0.0.1 127.0.0.2
127.0.0.3
127.0.0.1 127.0.0.3
127.0.0.2 127.0.0.4 127.0.0.5
127.0.0.2 127.0.0.4 127.0.0.5, 0 went wrong: 


=== TEST 2: who is gone finishes what it has, and is a new one when it comes again
--- once
--- lua
    name("127.0.0.1", "127.0.0.2")
    shows("127.0.0.1 127.0.0.2")
    local threads = {}
    for i = 1, 4 do threads[i] = ngx.thread.spawn(get, "/p?s=4") ngx.sleep(0.02) end
    name("127.0.0.3")
    ngx.say(shows("127.0.0.3"), ": ", answers(4), ", ", ngx.shared.seen:get("done"), " are done")
    local list = {}
    for i = 1, 4 do list[i] = select(2, ngx.thread.wait(threads[i])) end
    table.sort(list)
    ngx.say(table.concat(list, " "))
    name("127.0.0.1")
    ngx.say(shows("127.0.0.1"), ": ", answers(4))
--- response_body
127.0.0.3: 127.0.0.3, 4 are done
127.0.0.1 127.0.0.1 127.0.0.2 127.0.0.2
127.0.0.1: 127.0.0.1


=== TEST 3: who waits goes to those who are there when its turn comes
--- once
--- more
    autoscale_protect limit=1 queue=10 timeout=8s;
--- lua
    name("127.0.0.1")
    shows("127.0.0.1")
    local threads = {}
    for i = 1, 3 do threads[i] = ngx.thread.spawn(get, i == 1 and "/p?s=4" or "/p?s=0.2") ngx.sleep(0.1) end
    name("127.0.0.2", "127.0.0.3")
    ngx.say(shows("127.0.0.2 127.0.0.3"), ": ", ngx.shared.seen:get("at 127.0.0.1"), " was there before")
    local list = {}
    for i = 1, 3 do list[i] = select(2, ngx.thread.wait(threads[i])) end
    table.sort(list)
    ngx.say((table.concat(list, " "):gsub("[23]%f[%D]", "N")))
--- response_body
127.0.0.2 127.0.0.3: 1 was there before
127.0.0.1 127.0.0.N 127.0.0.N


=== TEST 4: nobody is there at first, and a reload forgets nobody
--- modes: plain
--- once
--- lua
    name()
    shows("")
    ngx.say(get("/p"))
    name("127.0.0.4", "127.0.0.5")
    ngx.say(shows("127.0.0.4 127.0.0.5"), ": ", answers(4))
    local late = ngx.thread.spawn(get, "/p?s=0.8")
    ngx.sleep(0.05)
    get("/hup")
    ngx.sleep(0.4)
    ngx.say(answers(4))
    ngx.say((select(2, ngx.thread.wait(late)):gsub("%d$", "N")))
--- response_body
502
127.0.0.4 127.0.0.5: 127.0.0.4 127.0.0.5
127.0.0.4 127.0.0.5
127.0.0.N
--- allow_log
could not be resolved
