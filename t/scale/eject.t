# autoscale_eject: a peer that fails gets nothing for a while, from no worker, and shows itself one request at a time.
use lib 't/lib';
use AutoscaleLua;
use IO::Socket::INET;
$ENV{TEST_NGINX_CERTS} = "$AutoscaleLua::Env::ROOT/t/cert";
# modes: plain workers

# connections to this port are made, and nobody ever answers
my $silent = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => 1996) or die $!;

# Four backends that do what the dict says of them; nobody listens at E, and nobody answers at S.
add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    my $http = $block->http_config // <<'CONF';
upstream app { server A; server B; server C; server D; autoscale_eject failures=3 time=200ms; }
CONF
    my %port = map { (substr('ABCDE', $_ - 1, 1) => "127.0.0.1:\$TEST_NGINX_RAND_PORT_$_") } 1 .. 5;
    $port{S} = '127.0.0.1:1996';
    $http =~ s/\bserver\s+\K([ABCDES])\b/$port{$1}/g;
    my $names = join ', ', map { "[\"$port{$_}\"] = \"\l$_\"" } sort keys %port;
    $http = "autoscale_zone main:4m keys=64;\nlua_shared_dict how 64k;\n$http";
    for my $number (1 .. 4) {
        my $name = substr('abcd', $number - 1, 1);
        $http .= <<"CONF";
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_$number;
    access_log off;
    location / { content_by_lua_block { behave("$name", false) } }
    location /health { content_by_lua_block { behave("$name", true) } }
}
CONF
    }
    $http .= <<'CONF';
init_by_lua_block {
    as = require "ngx.autoscale"
    local names = { NAMES }

    function behave(name, is_check)
        local how = ngx.shared.how
        local what = how:get((is_check and "check " or "") .. name) or how:get("all") or "ok"
        how:incr(is_check and "checks" or "requests", 1, 0)
        if is_check then how:set("host", ngx.var.http_host .. " " .. ngx.req.get_method() .. " " .. ngx.var.request_uri) end
        if what == "slow" then ngx.sleep(0.04)
        elseif what == "later" then ngx.sleep(0.3)
        elseif what == "half" then if how:incr("half", 1, 0) % 2 == 0 then return ngx.exit(500) end
        elseif what == "close" then return ngx.exit(444)
        elseif what == "cut" then ngx.header.content_length = 1000 ngx.print("cut") ngx.flush(true) return ngx.exit(444)
        elseif tonumber(what) then ngx.status = tonumber(what) end
        ngx.say(name)
    end

    -- what a peer does from now on
    function set(peer, what)
        ngx.shared.how:set(peer, what)
    end
    function check(peer, what)
        ngx.shared.how:set("check " .. peer, what)
    end

    -- one request through the front, by a connection of its own: any worker may take it
    function fetch(uri)
        local socket = ngx.socket.tcp()
        socket:settimeouts(1000, 1000, 2000)
        assert(socket:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_SERVER_PORT") or 1984)))
        socket:send("GET " .. (uri or "/p") .. " HTTP/1.0\r\nHost: front\r\n\r\n")
        local answer = socket:receive("*a") or ""
        socket:close()
        return tonumber(answer:match("^HTTP/%S+ (%d+)")) or 0, (answer:match("\r\n\r\n(.-)\n?$") or "")
    end

    -- n requests: how many each peer answered well, and what else there was
    function get(n, uri)
        local seen, list = {}, {}
        for _ = 1, n do
            local status, body = fetch(uri)
            local what = status == 200 and body or tostring(status)
            seen[what] = (seen[what] or 0) + 1
        end
        for what, count in pairs(seen) do list[#list + 1] = what .. ":" .. count end
        table.sort(list)
        return table.concat(list, " ")
    end

    function states(upstream)
        local all = {}
        for peer in as.peers(upstream or "app") do all[#all + 1] = names[peer.addr] .. ":" .. peer.state end
        return table.concat(all, " ")
    end

    function wait_for(f, ...)
        for _ = 1, 300 do
            local value = f(...)
            if value then return value end
            ngx.sleep(0.01)
        end
        return nil
    end
    function has(peer, state)
        return wait_for(function() return (" " .. states() .. " "):find(" " .. peer .. ":" .. state .. " ", 1, true) and true end)
    end

    -- the log's lines about peers, without what differs
    function log(pattern)
        local file, lines = io.open(ngx.config.prefix() .. "logs/error.log"), {}
        for line in file:lines() do
            local said = line:match("peer %S+ of upstream .*") or line:match("upstream \"%w+\": .*")
            if said and said:find(pattern or "", 1, true) then
                for addr, name in pairs(names) do said = said:gsub(addr, name, 1) end
                lines[#lines + 1] = (said:gsub(", client: .*", ""):gsub(" of upstream \"app\"", ""))
            end
        end
        file:close()
        return lines
    end
    function says(pattern, from)
        return wait_for(function() return log(pattern)[from or 1] end) or "nobody said " .. pattern
    end
}
CONF
    $http =~ s/NAMES/$names/;
    $block->set_value('http_config', $http);
    $block->set_value('config', ($block->config // '') . <<'CONF');
location /p { proxy_pass http://app; proxy_read_timeout 60ms; proxy_connect_timeout 200ms; proxy_next_upstream off; }
location /next { proxy_pass http://app; proxy_read_timeout 60ms; }
CONF
    $block->set_value('timeout', 12) if !defined $block->timeout;
    $block->set_value('once', 1) if !defined $block->once;
    $block->set_value('allow_log', ($block->allow_log // '') . "connect() failed\ntimed out\nprematurely closed\nno live upstreams");
});

run_tests();

__DATA__

=== TEST 1: three failures in a row eject a peer; it shows itself, and is well again
--- lua
    ngx.say(get(8))
    set("b", "500")
    ngx.say(get(12))
    ngx.say(states())
    ngx.say(get(6))
    ngx.say(says("is ejected"))
    set("b", "ok")
    ngx.say(has("b", "probation"))
    ngx.say(get(20))
    ngx.say(states(), " ", says("is well again"))
    ngx.say(#log("is ejected"), " ", #log("is on probation"), " ", #log("is well"))
--- response_body_like
^a:2 b:2 c:2 d:2
500:3 a:3 c:3 d:3
a:up b:ejected c:up d:up
a:2 c:2 d:2
peer b is ejected for 200ms: 3 failures in a row
true
a:5 b:5 c:5 d:5
a:up b:up c:up d:up peer b is well again
1 1 1
--- modes: plain
