# Test::Nginx::Socket for this module: three lines of prologue and a test runs
# against the built module, in the mode that ci/test asks for, alone on its own
# network, and with the error log audited after every block. t/README.md tells
# how to write one.
package AutoscaleLua;

use strict;
use warnings;
use AutoscaleLua::Env;          # these two first: Test::Nginx reads what they set when loaded
use AutoscaleLua::Start;
use Test::Nginx::Socket -Base;
use AutoscaleLua::Audit;
use AutoscaleLua::Blocks;
use AutoscaleLua::Phases;

no_long_string();
no_shuffle();
master_on();
log_level($ENV{TEST_NGINX_LOG_LEVEL} // 'info');
workers(AutoscaleLua::Env::workers());
repeat_each(AutoscaleLua::Env::repeats());
timeout(AutoscaleLua::Env::timeout());
plan('no_plan');
AutoscaleLua::Start::install();

add_block_preprocessor(\&AutoscaleLua::Blocks::prepare);
add_test_cleanup_handler(\&AutoscaleLua::Audit::after_block);

1;
