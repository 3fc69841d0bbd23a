# autoscale_zone state=FILE: what outlives nginx.
use lib 't/lib';
use AutoscaleLua;
# modes: plain workers
use AutoscaleLua::State qw(entry);
use File::Temp ();

# Each block has a nginx of its own; their files lie here.
my $dir = File::Temp::tempdir(CLEANUP => 1);
chmod 0777, $dir;
mkdir "$dir/closed", 0755;

sub write_file { my ($name, $text) = @_; open my $out, '>:raw', "$dir/$name" or die $!; print $out $text; close $out }

# What is said about peers, by name; of a pool, where the name is a reference to its own.
sub state_file {
    my ($version, @said) = @_;
    my @entries;
    while (my ($name, $word) = splice @said, 0, 2) { push @entries, ref $name ? entry(pool => $$name, $word) : entry(peer => $name, $word) }
    return AutoscaleLua::State::state_file($version, @entries);
}

my @weights = ('app/127.0.0.1:12' => 9 << 16, 'gone/127.0.0.1:12' => 5 << 16);
write_file('foreign', "not a state file\n");
write_file('whole', state_file(1, @weights));
write_file('pool', state_file(1, \'app' => 2));
write_file('newer', state_file(9, @weights));
write_file('cut', substr state_file(1, @weights), 0, -9);
write_file('changed', state_file(1, @weights) =~ s/12/13/r);
write_file('whole.4711.tmp', 'what a worker was writing when it was killed');

add_block_preprocessor(sub {
    my $block = shift;
    chomp(my $user = $block->user // '');
    $Test::Nginx::Util::WorkerUser = $user || undef;
    # who is not root cannot give workers another user
    $block->set_value('SKIP', 1) if $user && $>;
    return if defined $block->must_die;
    $block->set_value('timeout', 10) if !defined $block->timeout;
    my $file = $block->state // 'gateway';
    chomp $file;
    # where the zone is said: a block may change it
    write_file("$file.conf", "autoscale_zone main:4m keys=64 state=$dir/$file;\n");
    $block->set_value('http_config', <<"CONF" . ($block->http_config // ''));
include $dir/$file.conf;
upstream app { server 127.0.0.1:11; server 127.0.0.1:12; }
lua_package_path "\$TEST_NGINX_LUA/?.lua;;";
init_by_lua_block {
    testing = require "testing"
    dir = "$dir"
    function logged(pattern) return testing.wait_for(function() return testing.error_log():find(pattern) and true end) end
    function exists(name)
        local file = io.open(dir .. "/" .. name)
        return file and file:close() or false
    end
    function weights()
        local all = {}
        for peer in require("ngx.autoscale").peers("app") do all[#all + 1] = peer.weight end
        return table.concat(all, " ")
    end
}
CONF
});

run_tests();

__DATA__

=== TEST 1: what was said about a peer is written when nginx stops
--- once
--- lua
    local as = require "ngx.autoscale"
    ngx.say(weights())
    assert(as.set("app", "127.0.0.1:12", { weight = 7 }))
    -- the first one was written when the first worker began: so that who may not is known at once
    ngx.sleep(0.1)
    ngx.say(exists("gateway"))
--- response_body
1 1
true


=== TEST 2: and is there when it starts again
--- once
--- lua
    ngx.say(weights())
--- response_body
1 7
--- error_log eval: qr/state file ".*gateway" has been read: 0 policies, 1 peers/


=== TEST 3: the file of another writer is read, as far as it is about what there is
--- state: whole
--- once
--- lua
    ngx.say(weights(), " ", exists("whole.4711.tmp"))
--- response_body
1 9 false


=== TEST 4: what is no state file is set aside, and nginx begins without
--- state: foreign
--- once
--- lua
    ngx.sleep(0.1)
    ngx.say(weights(), " ", exists("foreign.bad"), " ", exists("foreign"))
--- response_body
1 1 true true
--- error_log eval: qr/\[error\].*state file ".*foreign" is not used: it is not a state file; set aside as ".*foreign.bad"/


=== TEST 5: one of another version too
--- state: newer
--- once
--- lua
    ngx.say(weights(), " ", exists("newer.bad"))
--- response_body
1 1 true
--- error_log
is not used: it is of version 9, this is version 1


=== TEST 6: and one that is cut off
--- state: cut
--- once
--- lua
    ngx.say(weights(), " ", exists("cut.bad"))
--- response_body
1 1 true
--- error_log
is not used: it is damaged


=== TEST 7: or changed
--- state: changed
--- once
--- lua
    ngx.say(weights(), " ", exists("changed.bad"))
--- response_body
1 1 true
--- error_log
is not used: it is damaged


=== TEST 8: a directory that the workers may not write to is told of, with what to do
--- state: closed/gateway
--- once
--- user: nobody nogroup
--- lua
    ngx.sleep(0.1)
    ngx.say(weights(), " ", exists("closed/gateway"))
--- response_body
1 1 false
--- allow_log
cannot be written
--- error_log eval
qr/\[error\].*state file ".*closed\/gateway" cannot be written: Permission denied .*; the workers run as "nobody", who must be able to make files in "(.*closed)": chown nobody \1/


=== TEST 9: a reload keeps the memory, and what was said since is not undone by the file
--- state: reload
--- once
--- config
    location = /set {
        content_by_lua_block {
            ngx.sleep(0.1)
            assert(require("ngx.autoscale").set("app", "127.0.0.1:11", { weight = 5 }))
            testing.reload()
            ngx.sleep(0.5)
            ngx.say(exists("reload"))
        }
    }
    location = /t { content_by_lua_block { ngx.say(weights()) } }
--- request eval: ["GET /set", "GET /t"]
--- response_body eval: ["true\n", "5 1\n"]
--- no_error_log
has been read


=== TEST 10: a policy goes on where it was: T10 acts on the gateway's memory, and its cooldown outlives nginx
--- state: policy
--- once
--- timeout: 10
--- http_config
    autoscale_target hook webhook:http://127.0.0.1:11/ max=9;
    autoscale_policy memory target=hook {
        up self.mem > 0% by=+1;
        cooldown up=1h;
        mode observe;
    }
--- lua
    ngx.say(logged('"memory": would go from 1 to 2'))
--- response_body
true


=== TEST 11: ... so the next one does not decide again what was decided
--- state: policy
--- once
--- timeout: 10
--- http_config
    autoscale_target hook webhook:http://127.0.0.1:11/ max=9;
    autoscale_policy memory target=hook {
        up self.mem > 0% by=+1;
        cooldown up=1h;
        mode observe;
    }
--- lua
    ngx.say(logged('but the cooldown lasts 35%d+'))
--- response_body
true
--- error_log
has been read: 1 policies, 0 peers
--- no_error_log
would go from


=== TEST 12: a directory that is not there is a mistake
--- must_die
--- http_config
    autoscale_zone main:4m keys=64 state=/nowhere/at/all/gateway.state;
--- lua
    ngx.say("never")
--- error_log
invalid state=/nowhere/at/all/gateway.state: the directory does not exist


=== TEST 13: a directory is no file
--- must_die
--- http_config
    autoscale_zone main:4m keys=64 state=/tmp;
--- lua
    ngx.say("never")
--- error_log
invalid state=/tmp: write the name of a file


=== TEST 14: a pool has as many active peers as it had
--- once
--- state: pool
--- http_config
    autoscale_target app pool:app min=1;
    upstream other { server 127.0.0.1:11; server 127.0.0.1:12; }
    autoscale_target other pool:other min=1;
--- lua
    for _, name in ipairs { "app", "other" } do
        for peer in require("ngx.autoscale").peers(name) do ngx.print(peer.state, " ") end
    end
    ngx.say()
--- response_body eval: "up up up standby \n"


=== TEST 15: a worker that drains with an older memory leaves the file of the younger one alone
--- state: resized
--- once
--- config
    location = /resize {
        content_by_lua_block {
            ngx.sleep(0.1)
            -- for this memory alone: the next one begins with what was written before
            assert(require("ngx.autoscale").set("app", "127.0.0.1:11", { weight = 5 }))
            testing.write(dir .. "/resized.conf", "autoscale_zone main:5m keys=64 state=", dir, "/resized;")
            testing.reload()
            ngx.sleep(1)
            ngx.say(weights())
        }
    }
    location = /t {
        content_by_lua_block {
            ngx.say(logged("is left as it is: who wrote it knows more"))
            local file = assert(io.open(dir .. "/resized"))
            ngx.say(weights(), " ", file:read("*a"):find("app/127.0.0.1:11", 1, true))
        }
    }
--- request eval: ["GET /resize", "GET /t"]
--- response_body eval: ["5 1\n", "true\n1 1 nil\n"]
