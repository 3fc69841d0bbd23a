# Peers from Kubernetes, Consul and name servers, against a fake (t/lib/AutoscaleLua/members-fake) that refuses, forgets and hangs.
# modes: plain
use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;
use File::Temp ();
use HTTP::Tiny;

my $secrets = File::Temp->newdir;
chmod 0755, $secrets;
open my $token, '>', "$secrets/token" or die $!;
print $token "token-1\n";
close $token;
my $certs = "$AutoscaleLua::Env::ROOT/t/cert";
($ENV{TEST_NGINX_CERTS}, $ENV{TEST_NGINX_SECRETS}) = ($certs, "$secrets");
my $fake = "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/members-fake";
daemon(9544, 'python3', $fake, 9543, "$certs/server.crt", "$certs/server.key", "$secrets/token");

# Each block has an upstream `app` with the line that it names. What is to go wrong from the first call on, the fake knows before.
add_block_preprocessor(sub {
    my $block = shift;
    my $line = $block->line // return;
    if (defined $block->faults) {
        my ($service, $faults) = split ' ', $block->faults, 2;
        my $done = HTTP::Tiny->new->put("http://127.0.0.1:9544/set/fault/$service", { content => $faults });
        $done->{success} or die $done->{content};
    }
    $line =~ s/\bAPI\b/api=https:\/\/127.0.0.1:9543 ca_file=\$TEST_NGINX_CERTS\/ca.crt token_file=\$TEST_NGINX_SECRETS\/token/g;
    $block->set_value('http_config', <<"CONF" . <<'LUA');
autoscale_zone main:8m keys=0;
resolver 127.0.0.1:9545 valid=1s;
resolver_timeout 1s;
upstream app { server 127.0.0.1:1 down; autoscale_balance peak_ewma; autoscale_peers $line; }
CONF
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    testing = require "testing"
    as = require "ngx.autoscale"
    local http, json = require "autoscale.http", require "cjson"

    function tell(what, value)
        local res = assert(http.request { method = "PUT", url = "http://127.0.0.1:9544/set/" .. what, body = json.encode(value) })
        assert(res.status == 200, res.body)
    end

    function show(states)
        local all = {}
        for peer in as.peers("app") do
            if peer.source and (states or peer.state == "up") then
                all[#all + 1] = peer.addr .. (peer.weight > 1 and "*" .. peer.weight or "") .. (peer.state ~= "up" and ":" .. peer.state or "")
            end
        end
        table.sort(all)
        return table.concat(all, " ")
    end

    -- the peers, once they are these
    function shows(wanted, seconds, states)
        return testing.wait_for(function() return show(states) == wanted end, seconds) and wanted or "they are " .. show(states)
    end

    function asked(service)
        return (http.get("http://127.0.0.1:9544/log/" .. service).body:gsub("\n", ", "):gsub(", $", ""))
    end

    function ready(...)
        local list = {}
        for _, address in ipairs { ... } do
            list[#list + 1] = { addresses = { address }, conditions = { ready = true, serving = true, terminating = false } }
        end
        return list
    end

    function ends(address, serving)
        return { addresses = { address }, conditions = { ready = false, serving = serving, terminating = true } }
    end
}
LUA
    $block->set_value('timeout', 20);
});

run_tests();

__DATA__

=== TEST 1: EndpointSlices are listed in pages and watched
--- once
--- line: kubernetes:shop/web API drain=60s
--- lua
    tell("slices/web", { { name = "web-a", endpoints = ready("10.1.0.1", "10.1.0.2") }, { name = "web-b", endpoints = ready("10.1.0.3") },
                         { name = "web-c", endpoints = ready("10.1.0.4", "10.1.0.3") } })
    ngx.say(shows("10.1.0.1:80 10.1.0.2:80 10.1.0.3:80 10.1.0.4:80"))
    tell("slices/web", { { name = "web-a", endpoints = ready("10.1.0.1", "10.1.0.5") }, { name = "web-c", endpoints = ready("10.1.0.4") } })
    ngx.say(shows("10.1.0.1:80 10.1.0.4:80 10.1.0.5:80", 1))
    -- whoever terminates drains
    local some = ready("10.1.0.1")
    some[2] = ends("10.1.0.5", true)
    tell("slices/web", { { name = "web-a", endpoints = some }, { name = "web-c", endpoints = ready("10.1.0.4") } })
    ngx.say(shows("10.1.0.1:80 10.1.0.4:80", 1))
    -- nobody is ready: those that still serve are all there are
    tell("slices/web", { { name = "web-a", endpoints = { ends("10.1.0.1", true), ends("10.1.0.5", false) } } })
    ngx.say(shows("10.1.0.1:80", 1))
    -- nobody at all: who was there stays
    tell("slices/web", require("cjson").decode("[]"))
    ngx.sleep(0.3)
    ngx.say(show())
    tell("slices/web", { { name = "web-a", endpoints = ready("10.1.0.9") } })
    ngx.say(shows("10.1.0.9:80", 1))
    ngx.say((asked("web"):gsub("LIST 200, LIST 200", "LIST 200")))
--- response_body
10.1.0.1:80 10.1.0.2:80 10.1.0.3:80 10.1.0.4:80
10.1.0.1:80 10.1.0.4:80 10.1.0.5:80
10.1.0.1:80 10.1.0.4:80
10.1.0.1:80
10.1.0.1:80
10.1.0.9:80
LIST 200, WATCH 200
--- error_log
from "kubernetes:shop/web": names nobody: the 1 peer(s) that it named stay


=== TEST 2: a watch that the server has forgotten begins with a list; one that is cut goes on
--- once
--- faults: old ["gone", "old", "half", "broken", "close"]
--- line: kubernetes:shop/old API drain=0 wait=1s
--- lua
    tell("slices/old", { { name = "a", endpoints = ready("10.2.0.1") } })
    ngx.say(shows("10.2.0.1:80"))
    -- a half line is none, and comes again
    local log
    for i = 2, 200 do
        tell("slices/old", { { name = "a", endpoints = ready("10.2.0.1", "10.2.0." .. i) } })
        ngx.sleep(0.1)
        log = asked("old")
        if log:find("close, WATCH 200", 1, true) then break end
    end
    tell("slices/old", { { name = "a", endpoints = ready("10.2.0.1", "10.2.0.250") } })
    ngx.say(shows("10.2.0.1:80 10.2.0.250:80"))
    ngx.say(log)
--- response_body_like
^10.2.0.1:80
10.2.0.1:80 10.2.0.250:80
LIST 200, WATCH gone, LIST 200, WATCH old, LIST 200, WATCH half, WATCH broken, LIST 200, WATCH close, WATCH 200$
--- allow_log
cannot be had
--- error_log
the watch was cut in the middle of a line
a line of the watch is no change
is well again after


=== TEST 3: a token that was rotated, a server that is away, rights that are missing: what is known stays
--- once
--- faults: sick ["busy", "rotate", "garbage"]
--- line: kubernetes:shop/sick API drain=0 wait=1s
--- lua
    tell("slices/sick", { { name = "a", endpoints = ready("10.3.0.1") } })
    ngx.say(shows("10.3.0.1:80", 15))
    tell("fault/sick", { "refuse" })
    testing.wait_for(function() return asked("sick"):find("WATCH refuse", 1, true) end)
    ngx.say(show())
    tell("slices/sick", { { name = "a", endpoints = ready("10.3.0.2") } })
    ngx.say(shows("10.3.0.2:80"))
    -- it lists, and then watches on
    testing.wait_for(function() return asked("sick"):find("WATCH refuse, LIST 200, WATCH 200", 1, true) end)
    ngx.say(asked("sick"))
--- response_body_like
^10.3.0.1:80
10.3.0.1:80
10.3.0.2:80
LIST busy, LIST 401, LIST garbage, LIST 200, WATCH 200, (?:WATCH 200, )*WATCH refuse, LIST 200, WATCH 200(?:, WATCH 200)*$
--- allow_log
cannot be had
--- error_log
LIST endpointslices was answered 503: no leader
WATCH endpointslices was answered 403: endpointslices is forbidden: cannot watch


=== TEST 4: a watch that hangs is given up, and a line without an end
--- once
--- faults: deaf ["flood", "hang"]
--- line: kubernetes:shop/deaf API drain=0 wait=1s
--- lua
    tell("slices/deaf", { { name = "a", endpoints = ready("10.4.0.1") } })
    ngx.say(shows("10.4.0.1:80"))
    local deadline = ngx.now() + 5
    repeat ngx.sleep(0.05) until asked("deaf"):find("WATCH hang", 1, true) or ngx.now() > deadline
    tell("slices/deaf", { { name = "a", endpoints = ready("10.4.0.2") } })
    ngx.say(shows("10.4.0.2:80", 14))
--- response_body
10.4.0.1:80
10.4.0.2:80
--- allow_log
cannot be had
--- error_log
a line of more than 2097152 bytes
: timeout


=== TEST 5: ports by name and number; which one, if there are several
--- once
--- line: kubernetes:shop/ports:admin API; autoscale_peers kubernetes:shop/ports:8080 API; autoscale_peers kubernetes:shop/ports API
--- lua
    tell("slices/ports", { { name = "a", endpoints = ready("10.5.0.1"), ports = { { name = "http", port = 8080 }, { name = "admin", port = 81 } } } })
    ngx.say(shows("10.5.0.1:8080 10.5.0.1:81"))
--- response_body
10.5.0.1:8080 10.5.0.1:81
--- allow_log
cannot be had
--- error_log
from "kubernetes:shop/ports": cannot be had: write which port: there are http, admin


=== TEST 6: Consul: those that pass, by blocking queries; an index that goes backwards begins anew
--- once
--- line: consul:db@http://127.0.0.1:9544 wait=2s drain=0 token_file=$TEST_NGINX_SECRETS/token
--- lua
    tell("consul/db", { { "10.6.0.1", 5432, 3, "a" }, { "", 5433, 1, "b" }, { "db.local", 5434, 1, "a" } })
    ngx.say(shows("10.6.0.1:5432*3 10.9.9.9:5433"))
    tell("consul/db", { { "10.6.0.2", 5432, 1, "a" } })
    ngx.say(shows("10.6.0.2:5432", 1.5))
    tell("fault/db", { "broken", "garbage" })
    tell("consul/db", { { "10.6.0.3", 5432, 1, "a" } })
    ngx.say(shows("10.6.0.3:5432"))
    -- the servers have lost what they knew
    tell("index", 3)
    tell("consul/db", { { "10.6.0.4", 5432, 1, "a" } })
    ngx.say(shows("10.6.0.4:5432", 5))
    tell("consul/db", require("cjson").decode("[]"))
    -- without an index it is asked no more than once a second
    ngx.sleep(1.8)
    ngx.say(show())
    ngx.say((asked("db"):gsub("passing %d+", "")))
--- response_body_like
^10.6.0.1:5432\*3 10.9.9.9:5433
10.6.0.2:5432
10.6.0.3:5432
10.6.0.4:5432
10.6.0.4:5432
HEALTH (?:, HEALTH )*, broken , garbage (?:, HEALTH )+$
--- allow_log
cannot be had
--- error_log
1 instance(s) are left out
names nobody: the 1 peer(s)
the agent answered 500


=== TEST 7: Consul: instances with a tag
--- once
--- line: consul:db@http://127.0.0.1:9544 tag=blue wait=1s
--- lua
    tell("consul/db", { { "10.6.0.1", 5432, 1, "blue" }, { "10.6.0.2", 5432, 1, "green" } })
    ngx.say(shows("10.6.0.1:5432"))
--- response_body
10.6.0.1:5432


=== TEST 8: a name's addresses, as long as they live; what is not answered changes nothing
--- once
--- line: dns:web.test:8080 drain=0
--- lua
    tell("names/web.test", { A = { "10.7.0.1", "10.7.0.2" }, AAAA = { "fd00::1" } })
    ngx.say(shows("10.7.0.1:8080 10.7.0.2:8080 [fd00::1]:8080"))
    tell("names/web.test", { A = { "10.7.0.2", "10.7.0.3" } })
    ngx.say(shows("10.7.0.2:8080 10.7.0.3:8080"))
    for _, code in ipairs { 2, 3 } do
        tell("names/web.test", { code = code })
        ngx.sleep(1.5)
        ngx.say(show())
    end
    tell("names/web.test", { A = { "10.7.0.9" } })
    ngx.say(shows("10.7.0.9:8080"))
--- response_body
10.7.0.1:8080 10.7.0.2:8080 [fd00::1]:8080
10.7.0.2:8080 10.7.0.3:8080
10.7.0.2:8080 10.7.0.3:8080
10.7.0.2:8080 10.7.0.3:8080
10.7.0.9:8080
--- allow_log
cannot be had
--- grep_error_log eval: qr/from "dns:web.test:8080": \K(?:cannot be had|is well again).*?(?=,|$)/
--- grep_error_log_out eval
qr/^(?:cannot be had: web.test could not be resolved \(3: Host not found\)\nis well again.*\n)?cannot be had: web.test could not be resolved \(\d: [^)]*\)
is well again after \d+ failure\(s\)
$/


=== TEST 9: SRV records say port and weight; those of the first priority are taken
--- once
--- line: dns-srv:_http._tcp.web.test every=200ms drain=0
--- lua
    tell("names/a.test", { A = { "10.8.0.1" } })
    tell("names/b.test", { A = { "10.8.0.2" } })
    tell("names/_http._tcp.web.test", { SRV = { { 10, 5, 81, "a.test" }, { 10, 0, 82, "b.test" }, { 20, 1, 83, "b.test" } } })
    ngx.say(shows("10.8.0.1:81*5 10.8.0.2:82"))
    tell("names/_http._tcp.web.test", { SRV = { { 20, 1, 83, "b.test" } } })
    ngx.say(shows("10.8.0.2:83"))
--- response_body
10.8.0.1:81*5 10.8.0.2:82
10.8.0.2:83
--- allow_log
cannot be had
