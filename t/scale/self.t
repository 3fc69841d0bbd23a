# What the gateway uses itself: self.cpu and self.mem, 0 to 1 of what it may use.
use lib 't/lib';
use AutoscaleLua;
# modes: plain workers

add_block_preprocessor(sub {
    my $block = shift;
    my $conf = $block->http_config // '';
    $block->set_value('http_config', $conf . <<'CONF');
autoscale_zone main:4m keys=64;
lua_package_path "$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    testing = require "testing"
    wait = testing.wait_for
    as = require "ngx.autoscale"
}
CONF
});

run_tests();

__DATA__

=== TEST 1: T10 memory is a share, sampled at each tick by one worker
--- once
--- timeout: 10
--- lua
    local mem = wait(function() return (as.get("self.mem")) end)
    ngx.say(mem > 0 and mem < 1, " ", (as.get("self.mem.max@1m")) >= mem)
    local n = select(3, as.get("self.mem@1m"))
    ngx.sleep(2.1)
    local more = select(3, as.get("self.mem@1m")) - n
    ngx.say(more >= 1 and more <= 3, " ", select(2, as.get("self.mem")) < 2.5)
--- response_body
true true
true true


=== TEST 2: T8 a worker that is busy is seen in the gateway's CPU and acted on, one that waits is not
--- once
--- timeout: 12
--- http_config
    autoscale_target hook webhook:http://127.0.0.1:11/ max=9;
    autoscale_policy cpu target=hook {
        up self.cpu@2s > 3% by=+1;
        cooldown up=1h;
        mode observe;
    }
--- lua
    local function cpus()
        local mask = io.open("/proc/self/status"):read("*a"):match("Cpus_allowed:%s*([%x,]+)")
        local count = 0
        for digit in mask:gmatch("%x") do
            for bit = 0, 3 do count = count + math.floor(tonumber(digit, 16) / 2 ^ bit) % 2 end
        end
        return count
    end
    wait(function() return (as.get("self.cpu")) end)
    local began, used = ngx.now(), os.clock()
    repeat
        local deadline = os.clock() + 0.2
        while os.clock() < deadline do end
        ngx.sleep(0)
    until ngx.now() > began + 3.2
    ngx.sleep(0.01)
    -- what this worker had, which is not all of a processor when other programs run
    local had = (os.clock() - used) / (ngx.now() - began) / cpus()
    local busy = as.get("self.cpu.max@4s")
    ngx.sleep(3.2)
    local idle = as.get("self.cpu@2s")
    ngx.log(ngx.INFO, "had ", had, " busy ", busy, " idle ", idle)
    ngx.say(busy > had / 2, " ", busy <= 1, " ", idle < busy / 2)
--- response_body
true true true
--- error_log
autoscale policy "cpu": would go from 1 to 2


=== TEST 3: both are shown with everything else
--- once
--- timeout: 10
--- config
    location = /status { autoscale_status prometheus; }
    location = /wait { content_by_lua_block { ngx.say(wait(function() return (as.get("self.cpu")) end) ~= nil) } }
--- request eval: ["GET /wait", "GET /status"]
--- response_body_like eval
['^true$', '(?s)autoscale_gateway_load_ratio\{resource="cpu"\} [0-9.e-]+\nautoscale_gateway_load_ratio\{resource="mem"\} [0-9.e-]+\n']
