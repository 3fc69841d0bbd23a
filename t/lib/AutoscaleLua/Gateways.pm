# Other nginx beside the one that runs the test, each in a directory of its own: made here, started and stopped by the
# blocks with t/lib/lua/gateways.lua.
package AutoscaleLua::Gateways;

use strict;
use warnings;
use Exporter 'import';
use File::Temp ();
use AutoscaleLua::Env;

our @EXPORT = qw(gateway gateways_lua);
my $dirs;

# The directory of a gateway, which is also its prefix.
sub directory {
    my ($name) = @_;
    $dirs //= File::Temp->newdir;
    return "$dirs/$name";
}

# gateway(NAME, WORKERS, HTTP): an nginx with so many workers and this inside http {}, in which DIR is its directory.
sub gateway {
    my ($name, $workers, $http) = @_;
    my $dir = directory($name);
    mkdir $_ or die "$_: $!" for $dir, "$dir/logs";
    $http =~ s/\bDIR\b/$dir/g;
    open my $conf, '>', "$dir/nginx.conf" or die $!;
    print $conf AutoscaleLua::Env::load_modules(), $> ? '' : "user root;\n", <<"CONF";
worker_processes $workers;
pid logs/pid;
error_log logs/error.log info;
events { worker_connections 256; }
http {
    access_log off;
$http
}
CONF
    close $conf;
    return $dir;
}

# For init_by_lua_block: the library, which knows the directories from here.
sub gateways_lua {
    directory('');
    return "gateways = require 'gateways' gateways.dirs = '$dirs'\n";
}

1;
