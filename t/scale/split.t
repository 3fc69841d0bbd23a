# autoscale_split: traffic shared out between upstreams, with guards, steps and a rollback.
# modes: plain workers hup
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;

add_block_preprocessor(sub {
    my $block = shift;
    my $split = $block->split // 'stable 50%; canary 50%; key $arg_user;';
    my $name = $block->variable // 'backend';
    $block->set_value('http_config', "autoscale_zone main:4m keys=16;\n" . <<'HTTP' . ($block->http_config // "autoscale_split \$$name { $split }\n"));
    upstream stable { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
    upstream canary { server 127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1; return 200 "s"; }
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2; location / { return 200 "c"; } location = /ask/bad { return 500; } }
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        logged, wait_for = testing.is_logged, testing.wait_for
        -- what so many users get
        function ask(users, uri)
            local seen = {}
            for i = 1, users do
                seen[i] = ngx.location.capture(uri or "/ask", { args = { user = "u" .. i } }).body
            end
            return table.concat(seen)
        end
        function share(text) return select(2, text:gsub("c", "")) end
    }
HTTP
    $block->set_value('config', "location /ask { proxy_pass http://\$$name; }\n" . ($block->config // ''));
});

# longer than anything here waits for
timeout(20);
run_tests();

__DATA__

=== TEST 1: a key stays where it is, and the shares are as configured
--- variable: sticky
--- lua
    local first = ask(300)
    ngx.say(#first, " ", first == ask(300))
    local c = share(first)
    -- 150 expected, with a deviation of 8.7
    ngx.say(c > 105 and c < 195 or c)
--- response_body
300 true
true


=== TEST 2: without a key each request goes anywhere
--- variable: loose
--- split: stable 50%; canary 50%;
--- lua
    local first = ask(100)
    ngx.say(first ~= ask(100))
    local all = ask(300)
    ngx.say(share(all) > 105 and share(all) < 195 or share(all))
--- response_body
true
true


=== TEST 3: an arm that grows keeps its users, and is done at its maximum
--- variable: growing
--- split: stable 80%; canary 20%; step +30% every=1s max=50%; key $arg_user;
--- lua
    local as = require "ngx.autoscale"
    local before = ask(200)
    ngx.say(wait_for(function() return as.split("$growing"):state().phase == "done" end))
    local state = as.split("growing"):state()
    ngx.say(state.upstream, " ", state.share)
    local after, kept = ask(200), true
    for i = 1, 200 do
        kept = kept and not (before:sub(i, i) == "c" and after:sub(i, i) == "s")
    end
    ngx.say(kept, " ", share(after) > share(before))
--- error_log
autoscale_split $growing: "canary" has 50% from now on, after 20%
--- modes: plain workers
--- response_body
true
canary 0.5
true true


=== TEST 4: T20: a guard that does not hold takes everything away at once, until a script begins anew
--- variable: guarded
--- split: stable 50%; canary 50%; guard canary.error_rate@1m <= stable.error_rate@1m + 1% min=20r;
--- lua
    local as = require "ngx.autoscale"
    ask(100, "/ask/bad")
    ngx.say(wait_for(function() return as.split("guarded"):state().phase == "rolled_back" end))
    ngx.say(ask(50) == ("s"):rep(50))
    ngx.say(logged('autoscale_split $guarded: "canary" has nothing from now on, after 50%: "guard canary.error_rate'))
    ngx.say(as.split("guarded"):restart(), " ", as.split("guarded"):state().share)
--- error_log
it begins anew, by a script
--- modes: plain workers
--- response_body
true
true
true
true 0.5


=== TEST 5: where the gateway only observes, it says what it would do
--- http_config
    autoscale observe;
    autoscale_split $watched { stable 50%; canary 50%; guard canary.error_rate@1m < 1% min=10r; }
--- variable: watched
--- lua
    local as = require "ngx.autoscale"
    ask(100, "/ask/bad")
    ngx.say(wait_for(function() return logged('only observed, it would roll back: "guard canary.error_rate@1m') end))
    ngx.say(as.split("watched"):state().phase)
--- modes: plain workers
--- response_body
true
running


=== TEST 6: how far it is outlives a reload, and another text begins anew
--- http_config
    include ../html/split*.conf;
--- user_files
>>> split.conf
autoscale_split $kept { stable 50%; canary 50%; guard canary.error_rate@1m < 1% min=10r; key $arg_user; }
--- variable: kept
--- config
    location = /reload { content_by_lua_block {
        local as = require "ngx.autoscale"
        if ngx.var.arg_share then
            local share = tonumber(ngx.var.arg_share)
            testing.write("html/split.conf", "autoscale_split $kept { stable ", 100 - share, "%; canary ", share,
                          "%; guard canary.error_rate@1m < 99% min=10r; key $arg_user; }\n")
        end
        testing.reload()
        ngx.say(wait_for(function() return ngx.worker.exiting() end))
    } }
    location = /state { content_by_lua_block {
        local as = require "ngx.autoscale"
        local state = as.split("kept"):state()
        ngx.say(state.phase, " ", state.share)
    } }
    location = /spoil { content_by_lua_block {
        local as = require "ngx.autoscale"
        ask(60, "/ask/bad")
        ngx.say(wait_for(function() return as.split("kept"):state().phase == "rolled_back" end))
    } }
--- modes: plain
--- request eval
["GET /spoil", "GET /reload", "GET /state", "GET /reload?share=40", "GET /state"]
--- response_body eval
["true\n", "true\n", "rolled_back 0\n", "true\n", "running 0.4\n"]


=== TEST 7: a name that is not known is refused with what is near
--- variable: named
--- lua
    local as = require "ngx.autoscale"
    ngx.say(select(2, as.split("name")))
    ngx.say(select(2, as.split()))
    ngx.say(select(2, as.split("named").state()))
--- response_body
there is no autoscale_split $name (did you mean "named"?)
the variable's name is a nil: write as.split("$backend")
that is not a split: write as.split("$backend"):state(), with a colon
