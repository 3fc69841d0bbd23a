# Targets for a file's blocks: t/lib/AutoscaleLua/outward-fake plays them all.
package AutoscaleLua::Targets;

use strict;
use warnings;
use Exporter 'import';
use File::Temp ();
use MIME::Base64 qw(encode_base64);
use AutoscaleLua::Env;
use AutoscaleLua::Daemon;

our @EXPORT = qw(fake scaled scaled_more told pod gateway $FAKE_LUA);

my $Dir = File::Temp->newdir;
my $Certs = "$AutoscaleLua::Env::ROOT/t/cert";
our $Port = 9443;

# Starts the fake. Blocks may name its certificates, $TEST_NGINX_CERTS, and the directory with the file `token`, $TEST_NGINX_SECRETS.
sub fake {
    chmod 0755, $Dir;
    write_file("$Dir/token", "token-1\n");
    write_file("$Dir/secret", "whsec_" . encode_base64("a secret of tests", "") . "\n");
    ($ENV{TEST_NGINX_CERTS}, $ENV{TEST_NGINX_SECRETS}) = ($Certs, "$Dir");
    my $fake = "$AutoscaleLua::Env::ROOT/t/lib/AutoscaleLua/outward-fake";
    daemon($Port, 'python3', $fake, $Port, "$Certs/server.crt", "$Certs/server.key", "$Dir/token", "$Dir/secret");
    return "$Dir";
}

sub write_file {
    my ($name, $text) = @_;
    open my $out, '>', $name or die "$name: $!";
    print $out $text;
    close $out;
}

# Has what a pod has, as far as the file's own mount namespace allows: the address of the API server in the environment, and the
# service account's files. An empty text, or why not.
sub pod {
    my $account = '/var/run/secrets/kubernetes.io/serviceaccount';
    $ENV{AUTOSCALE_TEST_ISOLATED} or return 'no mount namespace of our own';
    system('mount -t tmpfs none /run 2>/dev/null') == 0 or return 'no tmpfs can be mounted';
    system("mkdir -p $account && cp $Certs/ca.crt $account/ca.crt && ln -s $Dir/token $account/token") == 0 or return 'no /var/run';
    ($ENV{KUBERNETES_SERVICE_HOST}, $ENV{KUBERNETES_SERVICE_PORT}) = ('127.0.0.1', $Port);
    return '';
}

# Configuration for targets that are to be scaled to 5, each by a policy that raises the floor: pairs of a name and what the target's
# directive says after it. With `scaled_more` beside others.
sub scaled { return "autoscale_zone main:8m;\n" . scaled_more(@_) }

sub scaled_more {
    my ($conf, @pairs) = ('', @_);
    while (my ($name, $target) = splice @pairs, 0, 2) {
        $conf .= "autoscale_target $name $target;\n"
            . "autoscale_policy $name target=$name { limit min=5 max=20; up custom.never > 1 by=+1; }\n";
    }
    return $conf;
}

# The same for those that cannot be asked: they begin at 1, and go to 5 once `load()` was called.
sub told {
    my ($conf, @pairs) = ("autoscale_zone main:8m;\n", @_);
    while (my ($name, $target) = splice @pairs, 0, 2) {
        $conf .= "autoscale_target $name $target;\n"
            . "autoscale_policy $name target=$name { limit min=1 max=20; up custom.load > 1 by=+4; }\n";
    }
    return $conf;
}

# Another gateway: nginx with this configuration inside http {}. The command that runs it; its third word is its directory.
sub gateway {
    my ($http) = @_;
    my $dir = "$Dir/gateway";
    mkdir $dir;
    my $user = $> ? '' : 'user root;';
    $http =~ s/\$(TEST_NGINX_\w+)/$ENV{$1}/g;
    write_file("$dir/nginx.conf", AutoscaleLua::Env::load_modules() . "$user pid $dir/pid; daemon off; error_log error.log notice; events {} http { $http }");
    return ('nginx', '-p', "$dir/", '-e', "$dir/error.log", '-c', "$dir/nginx.conf");
}

# What blocks ask the fake in Lua.
our $FAKE_LUA = <<'EOC';
    init_by_lua_block {
        local http = require "autoscale.http"
        -- what the fake has noted of a name, one after the other; only lines that begin with one of the words
        function noted(name, ...)
            local list = {}
            for line in http.get("http://127.0.0.1:9444/log/" .. name).body:gmatch("[^\n]+") do
                for _, word in ipairs { ... } do
                    if line:sub(1, #word) == word then list[#list + 1] = line end
                end
            end
            return table.concat(list, ", ")
        end
        function load()
            require("ngx.autoscale").observe("load", 9)
        end
        function seen(name)
            return require("cjson").decode(http.get("http://127.0.0.1:9445/seen/" .. name).body)
        end
        function is_logged(text)
            local file = assert(io.open(ngx.config.prefix() .. "logs/error.log"))
            local found = file:read("*a"):find(text, 1, true)
            file:close()
            return found ~= nil
        end
        -- asks the API server without a pod's account
        function kubernetes(method, path, object)
            local token = assert(io.open("$TEST_NGINX_SECRETS/token")):read("*l")
            return http.request { method = method, url = "https://127.0.0.1:9443" .. path, tls = { verify = false },
                headers = { Authorization = "Bearer " .. token }, body = object and require("cjson").encode(object) }
        end
        -- waits until `f` says something true, or 15 seconds
        function await(f)
            for _ = 1, 300 do
                local result = f()
                if result then return result end
                ngx.sleep(0.05)
            end
            return "it did not happen"
        end
        -- says what was done to each, when each was patched or time is over
        function show(names)
            await(function()
                for _, name in ipairs(names) do
                    if not noted(name, "PATCH"):find "200" then return end
                end
                return true
            end)
            for _, name in ipairs(names) do
                ngx.say(name, ": ", noted(name, "SET", "PATCH", "EARLY"))
            end
        end
    }
EOC

1;
