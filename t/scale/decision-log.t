# autoscale_log: one JSON object a line, in a file that nginx reopens or by syslog; what goes wrong with it stops nothing.
# modes: plain workers
BEGIN { $ENV{AUTOSCALE_TEST_REPEAT} //= 1 }
use lib 't/lib';
use AutoscaleLua;
use Fcntl qw(O_NONBLOCK O_RDWR);
use IO::Socket::UNIX;
use JSON::PP ();
use POSIX ();
use Socket qw(SOCK_DGRAM);

our $DIR = AutoscaleLua::Env::scratch();

# A syslog server, whose datagrams a block reads with --- syslog.
our $SYSLOG = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$DIR/syslog", Blocking => 0) or die "syslog: $!";
chmod 0777, "$DIR/syslog";

# A pipe that is full, and that nobody reads.
POSIX::mkfifo("$DIR/pipe", 0666) or die "mkfifo: $!";
sysopen our $PIPE, "$DIR/pipe", O_RDWR | O_NONBLOCK or die "pipe: $!";
1 while syswrite $PIPE, 'x' x 4096;

our $HTTP = <<'CONF';
    autoscale_zone main:4m keys=16;
    lua_shared_dict told 64k;
    autoscale_target orders webhook:http://127.0.0.1:1984/told min=1 max=10;
    lua_package_path "$TEST_NGINX_LUA/?.lua;;";
    init_by_lua_block {
        testing = require "testing"
        wait, read, count = testing.wait_for, testing.read, testing.count
        -- the text of a file once it has so many lines
        function lines(path, n)
            return wait(function()
                local text = read(path)
                return select(2, text:gsub("\n", "")) >= n and text
            end) or "too few: " .. read(path)
        end
        function settled(n)
            return wait(function()
                local d = require("ngx.autoscale").decisions { last = 1 }[1]
                return d and d.result and (d.id or 0) >= n and d.result
            end)
        end
    }
CONF

our $POLICY = <<'CONF';
    autoscale_policy p target=orders {
        up custom.load > 50 by=+2;
        cooldown up=1h;
    }
CONF

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $HTTP . $block->http_config) if !defined $block->must_die;
    $block->set_value('timeout', 20);
    $block->set_value('config', ($block->config // '') . "location = /told { return 200; }\n");
});

# Lines of JSON as those of their fields that are the same each time.
add_response_body_check(sub {
    my ($block, $body) = @_;
    my $name = $block->name;
    return if !defined $block->json;
    my $json = JSON::PP->new->canonical;
    my $text = join '', map {
        my $line = eval { $json->decode($_) } // die "no JSON: $_\n";
        my @numbers = grep { defined $line->{$_} } qw(id current wish after_limits after_cooldown);
        my $inputs = join ',', map { "$_->{signal}=$_->{value}" } @{ $line->{signals} // [] };
        join(' ', $line->{policy}, $line->{target}, $line->{action}, (map { "$_=$line->{$_}" } @numbers), $inputs,
            $line->{result} // '') . "\n";
    } split /\n/, $body;
    Test::More::is($text, $block->json, "$name - lines of JSON");
});

add_response_body_check(sub {
    my ($block) = @_;
    return if !defined $block->syslog;
    my $text = '';
    while (defined $SYSLOG->recv(my $datagram, 65536)) {
        $text .= "$datagram\n";
    }
    Test::More::like($text, $block->syslog, $block->name . ' - datagrams');
});

run_tests();

__DATA__

=== TEST 1: a line for a decision, and one for what its write led to
--- http_config eval
$::POLICY . 'autoscale_log logs/decisions.log;'
--- lua
    local as = require "ngx.autoscale"
    lines("logs/decisions.log", 1)
    as.observe("load", 100)
    ngx.print(lines("logs/decisions.log", 3))
--- json
p orders stay current=1 wish=1 after_limits=1 after_cooldown=1 custom.load.avg@5s= 
p orders scale id=1 current=1 wish=3 after_limits=3 after_cooldown=3 custom.load.avg@5s=100 
p orders written id=1  3 replicas


=== TEST 2: level=acted has what was done only
--- http_config eval
$::POLICY . 'autoscale_log logs/decisions.log level=acted;'
--- lua
    local as = require "ngx.autoscale"
    wait(function() return as.policy("p"):explain() end)
    as.observe("load", 100)
    ngx.print(lines("logs/decisions.log", 2))
--- json
p orders scale id=1 current=1 wish=3 after_limits=3 after_cooldown=3 custom.load.avg@5s=100 
p orders written id=1  3 replicas


=== TEST 3: level=all has every tick
--- http_config eval
$::POLICY . 'autoscale_log logs/decisions.log level=all;'
--- lua
    ngx.print(lines("logs/decisions.log", 3):match("^.-\n.-\n.-\n"))
--- json
p orders stay current=1 wish=1 after_limits=1 after_cooldown=1 custom.load.avg@5s= 
p orders stay current=1 wish=1 after_limits=1 after_cooldown=1 custom.load.avg@5s= 
p orders stay current=1 wish=1 after_limits=1 after_cooldown=1 custom.load.avg@5s= 


=== TEST 4: what a script asks for is logged, too, and what was refused
--- http_config
    autoscale_log logs/decisions.log;
--- lua
    local as = require "ngx.autoscale"
    as.scale("orders", { replicas = 4, reason = "a \"sale\"" })
    lines("logs/decisions.log", 2)
    as.scale("orders", { replicas = 5 })
    ngx.print(lines("logs/decisions.log", 3))
--- json
target:orders orders scale id=1 current=1 wish=4 after_limits=4 after_cooldown=4  
target:orders orders written id=1  4 replicas
target:orders orders stay current=4 wish=5 after_limits=5 after_cooldown=4  


=== TEST 5: USR1 reopens the file
--- http_config
    autoscale_log logs/decisions.log level=acted;
--- lua
    local as = require "ngx.autoscale"
    as.scale("orders", { replicas = 4 })
    local before = lines("logs/decisions.log", 2)
    local path = ngx.config.prefix() .. "logs/decisions.log"
    os.rename(path, path .. ".1")
    os.execute("kill -USR1 " .. read("logs/nginx.pid"))
    wait(function() return io.open(path) end)
    -- the workers follow the master
    ngx.sleep(0.2)
    as.scale("orders", { delta = -1 })
    as.scale("orders", { replicas = 1 })
    ngx.sleep(0.3)
    ngx.say(lines("logs/decisions.log.1", 2) == before, " ", read("logs/decisions.log"))
--- response_body
true 


=== TEST 6: a full disk costs no request and no decision, and is told once when it begins and once when it ends
--- http_config eval
symlink '/dev/full', "$::DIR/full.log";
"$::POLICY autoscale_log $::DIR/full.log level=all; init_worker_by_lua_block { directory = '$::DIR' }"
--- lua
    local as = require "ngx.autoscale"
    as.observe("load", 100)
    ngx.say(settled(1))
    wait(function() return count(read("logs/error.log"), "decision log .- cannot be written") > 0 end)
    ngx.sleep(1.5)
    ngx.say(count(read("logs/error.log"), "decision log .- cannot be written: No space left on device"))
    -- there is room again
    local path = directory .. "/full.log"
    os.remove(path)
    os.execute("kill -USR1 " .. read("logs/nginx.pid"))
    local text = lines(path, 4)
    ngx.say(count(text, '"action":"scale","reason":"from 1 to 3'), " ", count(text, '"action":"written"'))
    local log = read("logs/error.log")
    ngx.say(count(log, "decision log .- cannot be written"), " ", log:match("is written again: %d+ lines late, (%d+ lost)"))
--- response_body
3 replicas
1
1 1
1 0 lost
--- error_log
No space left on device


=== TEST 7: a pipe that is full is not waited for
--- http_config eval
"$::POLICY autoscale_log $::DIR/pipe level=all; init_worker_by_lua_block { directory = '$::DIR' }"
--- lua
    local as = require "ngx.autoscale"
    as.observe("load", 100)
    ngx.say(settled(1))
    local pipe = assert(io.open(directory .. "/pipe"))
    pipe:setvbuf("no")
    ngx.say(#pipe:read(65536))
    wait(function() return read("logs/error.log"):find("is written again", 1, true) end)
    local log = read("logs/error.log")
    ngx.say(count(log, "decision log .- cannot be written"), " ", log:match("is written again: %d+ lines late, (%d+ lost)"))
    local actions = {}
    for i = 1, 3 do
        actions[i] = pipe:read("*l"):match('"action":"(%w+)"')
    end
    ngx.say(table.concat(actions, " "))
--- response_body_like
3 replicas
65536
1 0 lost
(stay )*(scale|written|stay).*
--- error_log
operation would block


=== TEST 8: by syslog, in nginx's own words
--- http_config eval
"$::POLICY autoscale_log syslog:server=unix:$::DIR/syslog,tag=scaler,severity=notice,nohostname level=acted;"
--- lua
    local as = require "ngx.autoscale"
    wait(function() return as.policy("p"):explain() end)
    as.observe("load", 100)
    ngx.say(settled(1))
    ngx.sleep(0.1)
--- response_body
3 replicas
--- syslog eval
qr/^<189>\w{3} [ \d]\d \d\d:\d\d:\d\d scaler: \{"time":.*"action":"scale".*\}\n<189>\w{3} .* scaler: \{"time":.*"action":"written".*\}\n\z/


=== TEST 9: a syslog server that is not there is told once
--- http_config eval
"$::POLICY autoscale_log syslog:server=unix:$::DIR/nobody level=all;"
--- lua
    local as = require "ngx.autoscale"
    as.observe("load", 100)
    ngx.say(settled(1))
    ngx.sleep(1.2)
    local log = read("logs/error.log")
    ngx.say(count(log, "decision log .- cannot be written: No such file"), " ", count(log, "connect%(%) failed"))
    ngx.say(#as.decisions { policy = "p" } > 0)
--- response_body
3 replicas
1 0
true
--- error_log
cannot be written


=== TEST 10: a syslog server without an address
--- http_config
    autoscale_log syslog:tag=x;
--- must_die
--- error_log
write syslog:server=ADDRESS


=== TEST 11: nginx's own complaint about syslog settings
--- http_config
    autoscale_log syslog:server=127.0.0.1,severity=loud;
--- must_die
--- error_log
unknown syslog severity "loud"
