# What is decided, as scripts see it and ask for it: as.scale, as.notify, as.policy, as.decisions, $autoscale_decision.
# modes: plain workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;

# Targets that are this nginx itself, which keeps what it was told.
our $HTTP = <<'CONF';
    autoscale_zone main:4m keys=16;
    lua_shared_dict told 64k;
    autoscale_target orders webhook:http://127.0.0.1:1984/told/orders min=1 max=10;
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        wait = testing.wait_for
        function told(name)
            return wait(function() return ngx.shared.told:get(name) end)
        end
        -- the n-th record of a policy that has something to say, the oldest first
        function decision(policy, n)
            return wait(function()
                local list = assert(require("ngx.autoscale").decisions { policy = policy })
                return list[#list - n + 1]
            end)
        end
    }
CONF

our $CONFIG = <<'CONF';
    location /told/ {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.shared.told:incr(ngx.var.uri .. " n", 1, 0)
            ngx.shared.told:set(ngx.var.uri, ngx.req.get_body_data())
        }
    }
CONF

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $HTTP . ($block->http_config // '')) if !defined $block->bare;
    $block->set_value('timeout', 20);
    $block->set_value('config', $CONFIG . ($block->config // ''));
});

run_tests();

__DATA__

=== TEST 1: a script scales a target that no policy scales, within its bounds
--- lua
    local as = require "ngx.autoscale"
    local id, err = as.scale("orders", { replicas = 4, reason = "a sale\nbegins" })
    ngx.say(type(id), " ", err)
    ngx.say(told("/told/orders"):match('"to":%d+'))
    local d = wait(function()
        local d = decision("target:orders", 1)
        return d.result and d
    end)
    ngx.say(d.action, " ", d.target, " ", d.current, " ", d.after_cooldown, " ", d.result)
    ngx.say(d.reason)
    ngx.say(d.id, " ", d.latency_ms > 0, " ", math.abs(d.unix - ngx.time()) < 10, " ", d.time:match("^20..%-..%-..T") ~= nil)
    as.scale("orders", { replicas = 99 })
    d = decision("target:orders", 2)
    ngx.say(d.action, ": ", (d.reason:gsub("%d+%.%d s", "N s")))
    ngx.say(ngx.shared.told:get("/told/orders n"))
--- response_body
number nil
"to":4
scale orders 1 4 4 replicas
from 1 to 4: 4 wanted by a script: a sale begins
1 true true true
stay: stays at 4: 99 wanted by a script, but the cooldown lasts N s more
1


=== TEST 2: a change by so many, and how much at most
--- http_config
    autoscale_target free webhook:http://127.0.0.1:1984/told/free;
--- lua
    local as = require "ngx.autoscale"
    ngx.say(type(as.scale("orders", { delta = 20 })))
    local d = decision("target:orders", 1)
    ngx.say(d.current, " ", d.wish, " ", d.after_limits, " ", d.after_cooldown)
    ngx.say(d.reason)
    ngx.say(told("/told/orders"):match('"to":%d+'))
    ngx.say(as.scale("free", { replicas = 2 }))
--- response_body
number
1 21 10 10
from 1 to 10: 21 wanted by a script
"to":10
niltarget "free" has no maximum: write max= in autoscale_target


=== TEST 3: bad arguments are told what to write instead
--- lua
    local as = require "ngx.autoscale"
    local function try(name, ...)
        local value, err = as[name](...)
        ngx.say(name, ": ", value, " ", err)
    end
    try("scale")
    try("scale", "orders")
    try("scale", "orders", 5)
    try("scale", "orders", {})
    try("scale", "orders", { replicas = 1, delta = 1 })
    try("scale", "orders", { replicas = -1 })
    try("scale", "orders", { replicas = 1.5 })
    try("scale", "orders", { replicas = "4" })
    try("scale", "orders", { delta = 0 })
    try("scale", "orders", { replica = 4 })
    try("scale", "orders", { replicas = 4, reason = true })
    try("scale", "order", { replicas = 4 })
    try("notify", nil, {})
    try("notify", "orders", "text")
    try("notify", "orders", { 1, 2 })
    try("notify", "orders", { a = { print } })
    try("notify", "orders", { a = 0 / 0 })
    try("notify", "orders", { a = { 1, b = 2 } })
    try("notify", "orders", { [1.5] = 2 })
    local circle = {}
    circle.a = circle
    local _, err = as.notify("orders", circle)
    ngx.say(err:match("is too deep: .*"))
    try("notify", "orders", { a = ("x"):rep(5000) })
    try("notify", "pager", { a = 1 })
    try("policy")
    try("policy", "nobody")
    try("decisions", 5)
    try("decisions", { policy = 5 })
    try("decisions", { last = 0 })
    try("decisions", { polices = "x" })
--- response_body
scale: nil the target's name is nil: write as.scale(target, { replicas = N, reason = "why" }), or delta = N instead of replicas
scale: nil the options are nil: write as.scale(target, { replicas = N, reason = "why" }), or delta = N instead of replicas
scale: nil the options are 5: write as.scale(target, { replicas = N, reason = "why" }), or delta = N instead of replicas
scale: nil neither replicas nor delta: write as.scale(target, { replicas = N, reason = "why" }), or delta = N instead of replicas
scale: nil both replicas and delta: write as.scale(target, { replicas = N, reason = "why" }), or delta = N instead of replicas
scale: nil replicas is -1: write a whole number of 0 or more
scale: nil replicas is 1.5: write a whole number of 0 or more
scale: nil replicas is a string: write a whole number of 0 or more
scale: nil delta is 0: write a whole number such as 2 or -1
scale: nil unknown option replica: write as.scale(target, { replicas = N, reason = "why" }), or delta = N instead of replicas
scale: nil the reason is a boolean: write as.scale(target, { replicas = N, reason = "why" }), or delta = N instead of replicas
scale: nil there is no target "order" (did you mean "orders"?)
notify: nil the target's name is nil: write as.notify(target, { text = "…" })
notify: nil the message is a string: write as.notify(target, { text = "…" })
notify: nil the message is a list: write as.notify(target, { text = "…" })
notify: nil the message.a[1] is a function: write strings, numbers, booleans, ngx.null and tables of them
notify: nil the message.a is nan, which JSON has no word for
notify: nil the message.a has items and fields: write a list or a table of fields
notify: nil the message has a key that is a number: write strings
is too deep: there may be 16 tables in each other
notify: nil a text of 5008 bytes: there may be 1920
notify: nil there is no target "pager"
policy: nil the policy's name is nil: write as.policy("name")
policy: nil there is no policy "nobody"
decisions: nil the options are 5: write as.decisions({ policy = "name", last = 20 })
decisions: nil policy is 5: write as.decisions({ policy = "name", last = 20 })
decisions: nil last is 0: write as.decisions({ policy = "name", last = 20 })
decisions: nil unknown option polices: write as.decisions({ policy = "name", last = 20 })


=== TEST 4: a message is told as it is
--- lua
    local as = require "ngx.autoscale"
    ngx.say(as.notify("orders", { text = "a \"quoted\"\nline \1", list = { 1, 2.5, true, ngx.null }, deep = { a = {} } }))
    local body = told("/told/orders")
    ngx.say(body:match('"text":("[^,]*")'))
    ngx.say(body:match('"list":(%[.-%])'))
    ngx.say(body:match('"deep":({.-}})'))
--- response_body
true
"a \"quoted\"\nline \u0001"
[1,2.5,true,null]
{"a":{}}


=== TEST 5: a policy is held, explains itself, and goes on
--- http_config
    autoscale_policy load target=orders {
        up   custom.load > 50 by=+2;
        down custom.load < 10 by=-1;
    }
--- lua
    local as = require "ngx.autoscale"
    local policy = as.policy("load")
    ngx.say(policy:hold(60))
    as.observe("load", 100)
    local reason = wait(function()
        as.observe("load", 100)
        local reason = policy:explain()
        return reason and reason:find("holds", 1, true) and reason
    end)
    ngx.say((reason:gsub("%d+%.%d s", "N s")))
    local state = policy:state()
    ngx.say(state.policy, " ", state.target, " ", state.mode, " ", state.replicas, " ", state.min, " ", state.max)
    ngx.say(state.held > 50, " ", state.decisions, " ", state.in_force, " ", state.pending, " ", state.evaluated < 5)
    ngx.say(policy:resume())
    local d = wait(function()
        as.observe("load", 100)
        for _, d in ipairs(as.decisions { policy = "load" }) do
            if d.result then return d end
        end
    end)
    ngx.say(d.id, " ", d.action, " ", d.current, " ", d.after_cooldown, " ", d.rule)
    ngx.say((d.reason:gsub("%(it is .-%)", "(it is N)")))
    ngx.say(d.signals[1].signal, " ", d.signals[1].value, " ", d.signals[1].samples > 0, " ", d.signals[1].stale)
    ngx.say(#d.rules, " ", d.rules[1].says, " ", d.rules[2].says)
    state = policy:state()
    ngx.say(state.replicas, " ", state.cooldown_up > 50, " ", state.cooldown_down > 290, " ", state.in_force, " ", state.held)
    local last
    reason, last = wait(function()
        as.observe("load", 100)
        local reason = policy:explain()
        return reason:find("cooldown", 1, true) and reason
    end), select(2, policy:explain())
    ngx.say((reason:gsub("%d+%.%d s", "N s"):gsub("%(it is .-%)", "(it is N)")))
    ngx.say(last.policy, " ", last.action, " ", last.current, " ", last.wish)
    ngx.say(as.policy("lod"))
    ngx.say(policy:hold(0))
    ngx.say(policy.hold(60))
--- response_body
true
stays at 1: 3 wanted by "up custom.load > 50 by=+2" (it is 100), but a script holds the policy for N s more
load orders on 1 1 10
true 0 nil nil true
true
1 scale 1 3 up custom.load > 50 by=+2
from 1 to 3: 3 wanted by "up custom.load > 50 by=+2" (it is N)
custom.load.avg@5s 100 true nil
2 3 replicas not so
3 true true 1 nil
stays at 3: 5 wanted by "up custom.load > 50 by=+2" (it is N), but the cooldown lasts N s more
load stay 3 5
nilthere is no policy "lod" (did you mean "load"?)
nilthe seconds are 0: write how long nothing is to be done, such as hold(600)
nilthat is not a policy: write as.policy("name"):hold(seconds), with a colon


=== TEST 6: T11: explain says why nothing was done
--- http_config
    autoscale_policy load target=orders {
        down custom.load < 10 by=-1;
        down custom.queue < 10 by=-1;
    }
--- lua
    local as = require "ngx.autoscale"
    local policy = as.policy("load")
    local function says(what)
        return wait(function()
            as.observe("load", 1)
            local reason = policy:explain()
            return reason and reason:find(what, 1, true) and reason
        end)
    end
    ngx.say(says("fresh"))
    local _, last = policy:explain()
    ngx.say(last.rules[1].says, ", ", last.rules[2].says, ", ", last.signals[2].stale)
--- response_body
stays at 1: no rule asks for a change; "down custom.queue < 10 by=-1": custom.queue.avg@5s has no fresh value
0 replicas, custom.queue.avg@5s has no fresh value, true


=== TEST 7: the decision in force for the request's upstream is a variable
--- backend
    location / { return 200; }
--- http_config
    autoscale_policy rate target=orders { up upstream.backend.rate > 0 by=+1; cooldown up=1m; }
--- config
    location = /p {
        proxy_pass http://backend;
        header_filter_by_lua_block { ngx.header["X-Decision"] = "<" .. (ngx.var.autoscale_decision or "") .. ">" }
    }
    location = /t {
        content_by_lua_block {
            local function seen()
                return ngx.location.capture("/p").header["X-Decision"]
            end
            ngx.say(seen())
            told("/told/orders")
            ngx.say(wait(function() local d = seen() return d ~= "<>" and d end))
            ngx.say("<", ngx.var.autoscale_decision, ">")
        }
    }
--- response_body
<>
<rate.1>
<nil>


=== TEST 8: a threshold that adapts: twice what is usual
--- modes: plain
--- http_config
    autoscale_policy load target=orders { up custom.load@1s > 2x baseline@1m by=+3; }
--- lua
    local as = require "ngx.autoscale"
    local policy = as.policy("load")
    local function explain(value, what)
        return wait(function()
            as.observe("load", value)
            local reason, last = policy:explain()
            return reason and (last.rules[1].says:find(what) or reason:find(what)) and last
        end)
    end
    ngx.say(explain(10, "has seen").rules[1].says)
    ngx.say(explain(10, "not so").reason:match("stays at 1"))
    ngx.say(explain(100, "from 1 to 4").reason:gsub("%(.-%)", ""))
--- response_body_like chop
has seen [0-9.]+ s of 6 s
stays at 1
from 1 to 4: 4 wanted by "up custom\.load@1s > 2x baseline@1m by=\+3"


=== TEST 9: records of all policies, the newest first, and the newest few
--- http_config
    autoscale_target other webhook:http://127.0.0.1:1984/told/other min=1 max=10;
--- lua
    local as = require "ngx.autoscale"
    as.scale("orders", { replicas = 2 })
    decision("target:orders", 1)
    as.scale("other", { replicas = 3 })
    decision("target:other", 1)
    as.scale("orders", { replicas = 4 })
    decision("target:orders", 2)
    local function list(options)
        local names = {}
        for _, d in ipairs(as.decisions(options)) do
            names[#names + 1] = d.policy .. " " .. d.wish
        end
        ngx.say(table.concat(names, ", "))
    end
    list()
    list { last = 1 }
    list { policy = "target:orders" }
    ngx.say(#as.decisions { policy = "nobody" })
--- response_body
target:orders 4, target:other 3, target:orders 2
target:orders 4
target:orders 4, target:orders 2
0


=== TEST 10: there is nothing to ask without a policy and a target, nor before there are workers
--- bare
--- http_config
    autoscale_zone main:4m keys=16;
    init_by_lua_block {
        early = { require("ngx.autoscale").scale("orders", { replicas = 1 }) }
    }
--- lua
    local as = require "ngx.autoscale"
    ngx.say(early[1], " ", early[2])
    ngx.say(as.scale("orders", { replicas = 1 }))
    ngx.say(as.policy("p"))
    ngx.say(as.decisions())
--- response_body
nil no zone yet: workers have it, from init_worker_by_lua on
nilno autoscale_policy and no autoscale_target in http {}
nilno autoscale_policy and no autoscale_target in http {}
nilno autoscale_policy and no autoscale_target in http {}


=== TEST 11: a reload keeps what was decided
--- config
    location = /hup {
        content_by_lua_block {
            require("ngx.autoscale").scale("orders", { replicas = 4 })
            wait(function() return decision("target:orders", 1).result end)
            ngx.shared.told:set("worker", ngx.worker.pid())
            testing.reload()
            ngx.sleep(1)
            ngx.say("reloaded")
        }
    }
--- lua
    local d = require("ngx.autoscale").decisions()[1]
    ngx.say(d.policy, " ", d.after_cooldown, " ", d.result, " ", ngx.shared.told:get("worker") ~= ngx.worker.pid())
--- request eval
["GET /hup", "GET /t"]
--- response_body eval
["reloaded\n", "target:orders 4 4 replicas true\n"]


=== TEST 12: the page shows what was decided, and why
--- config
    location = /page { autoscale_status html; }
--- http_config
    autoscale_policy load target=orders { up custom.load > 50 by=+2; }
--- lua
    local as = require "ngx.autoscale"
    wait(function() return as.policy("load"):explain() end)
    as.scale("orders", { delta = 1, reason = "<a sale>" })
    decision("load", 2)
    local page = ngx.location.capture("/page").body
    ngx.say(page:match("from 1 to 2: 2 wanted by a script: [^<]*"))
--- response_body
from 1 to 2: 2 wanted by a script: &lt;a sale&gt;


=== TEST 13: a leader that is killed takes nothing of it along
--- config
    location = /kill {
        content_by_lua_block {
            local as = require "ngx.autoscale"
            as.observe("load", 100)
            wait(function()
                local d = decision("load", 1)
                return d.result or decision("load", 2).result
            end)
            ngx.say("killed")
        }
        log_by_lua_block { os.execute("kill -KILL " .. ngx.worker.pid()) }
    }
--- http_config
    autoscale_policy load target=orders { up custom.load > 50 by=+2; cooldown up=1h; }
--- lua
    ngx.sleep(0.3)
    local as = require "ngx.autoscale"
    local done
    for _, d in ipairs(as.decisions { policy = "load" }) do
        done = done or d.id and d
    end
    ngx.say(done.id, " ", done.action, " ", done.after_cooldown, " ", done.result)
    local reason = as.policy("load"):explain()
    ngx.say(reason ~= nil, " ", as.policy("load"):state().in_force)
--- request eval
["GET /kill", "GET /t"]
--- response_body eval
["killed\n", "1 scale 3 3 replicas\ntrue 1\n"]
--- allow_log
exited on signal 9
