use lib 't/lib';
use AutoscaleLua;
use AutoscaleLua::Daemon;

# Debian's lua-nginx-dns (lua-resty-dns), unmodified, and nginx's own resolver under connect(), with a real server.
daemon(5353, qw(dnsmasq --keep-in-foreground --no-resolv --no-hosts --no-daemon --port=5353 --listen-address=127.0.0.1
    --bind-interfaces --user=root --pid-file= --cache-size=0 --address=/one.test/127.0.0.1 --address=/six.test/::1
    --cname=alias.test,target.test --host-record=target.test,127.0.0.9 --txt-record=text.test,hello,world
    --mx-host=mail.test,mx.test,10 --srv-host=_http._tcp.test,target.test,8080,1,2 --address=/nowhere.test/),
    map { "--host-record=many.test,127.0.1.$_" } 1 .. 20);

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("http_config", q{
        init_by_lua_block {
            function ask(name, kind, options)
                local resolver = require "nginx.dns.resolver"
                local r = assert(resolver:new(options or { nameservers = { { "127.0.0.1", 5353 } }, retrans = 2, timeout = 500 }))
                return r:query(name, { qtype = kind and r["TYPE_" .. kind] })
            end
        }
    });
});
run_tests();

__DATA__

=== TEST 1: addresses, in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    local four, six = assert(ask("one.test")), assert(ask("six.test", "AAAA"))
    return four[1].address .. " " .. six[1].address
--- result
127.0.0.1 0:0:0:0:0:0:0:1


=== TEST 2: other records
--- lua
    ngx.say(ask("text.test", "TXT")[1].txt[1])
    local mx = ask("mail.test", "MX")[1]
    ngx.say(mx.exchange, " ", mx.preference)
    local srv = ask("_http._tcp.test", "SRV")[1]
    ngx.say(srv.target, " ", srv.port)
    for _, answer in ipairs(ask("alias.test")) do
        ngx.say(answer.cname or answer.address)
    end
--- response_body
hello
mx.test 10
target.test 8080
target.test
127.0.0.9


=== TEST 3: twenty addresses
--- lua
    local seen = {}
    for _, answer in ipairs(assert(ask("many.test"))) do
        seen[answer.address] = true
    end
    local n = 0
    for _ in pairs(seen) do n = n + 1 end
    ngx.say(n)
--- response_body
20


=== TEST 4: a name that is not there
--- lua
    local answers = ask("nowhere.test")
    ngx.say(answers.errcode, " ", answers.errstr)
--- response_body
3 name error


=== TEST 5: a server that does not answer
--- lua
    local answers, err = ask("one.test", nil, { nameservers = { { "127.0.0.1", 5399 } }, retrans = 1, timeout = 100 })
    ngx.say(answers, " ", (string.find(err, "refused", 1, true) or string.find(err, "timeout", 1, true)) and "no answer" or err)
--- response_body
nil no answer
--- error_log
recv() failed


=== TEST 6: connect asks nginx's resolver
--- config
    resolver 127.0.0.1:5353 ipv6=off;
    resolver_timeout 500ms;
    location = /who { content_by_lua_block { ngx.print(ngx.var.server_addr) } }
    location = /t {
        content_by_lua_block {
            local function who(name)
                local sock = ngx.socket.tcp()
                local ok, err = sock:connect(name, ngx.var.server_port)
                if not ok then
                    return err
                end
                sock:send("GET /who HTTP/1.0\r\n\r\n")
                sock:receiveuntil("\r\n\r\n")()
                return sock:receive("*a")
            end
            ngx.say(who("one.test"))
            ngx.say(who("alias.test"))
            ngx.say((who("many.test"):gsub("%d+$", "N")))
            ngx.say(who("nowhere.test"))
        }
    }
--- response_body
127.0.0.1
127.0.0.9
127.0.1.N
nowhere.test could not be resolved (3: Host not found)


=== TEST 7: a thread that is killed while a name is looked up
--- config
    resolver 127.0.0.1:5399;
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            local t = ngx.thread.spawn(function() return sock:connect("one.test", 80) end)
            ngx.say(ngx.thread.kill(t))
            ngx.say(sock:connect("127.0.0.1", ngx.var.server_port))
        }
    }
--- response_body
1
1
