# One block, many phases. A block with `--- phases` is written once and run in
# each phase it names, so that an API is tested wherever it is allowed from one
# text, and refused wherever it is not:
#
#   === TEST 1: ngx.md5
#   --- lua
#       return ngx.md5("a")
#   --- result: 0cc175b9c0f1b6a831c399e269772661
#   --- phases: set rewrite access content header_filter body_filter log
#
#   === TEST 2: ngx.say is refused where no body can be written
#   --- lua
#       ngx.say("a")
#   --- refused: set header_filter body_filter log
#
# `--- lua` is a function's body; what it returns is shown as text, joined with
# ", ", and leaves the phase by whatever way the phase has. `--- result` is one
# line. `--- refused` expects an error; `--- result` then is a part of its text
# (default: "API disabled in the context of").
package AutoscaleLua::Phases;

use strict;
use warnings;
use Test::Base ();

# How each phase runs code and where its result is to be seen. CODE is an
# expression with the result as a string; `seen` names the check.
my $SAY = 'ngx.say(CODE) ngx.exit(200)';
my $PUT = 'package.loaded["t.result"] = CODE';
my $GET = 'location = /t { content_by_lua_block { ngx.say(package.loaded["t.result"]) } }';
my %PHASES = (
    server_rewrite => {config => "server_rewrite_by_lua_block { if ngx.var.uri == '/t' then $SAY end }", seen => 'body'},
    set            => {config => 'location = /t { set_by_lua_block $result { return CODE } return 200 "$result\n"; }', seen => 'body'},
    rewrite        => {config => "location = /t { rewrite_by_lua_block { $SAY } }", seen => 'body'},
    access         => {config => "location = /t { access_by_lua_block { $SAY } }", seen => 'body'},
    precontent     => {config => "location = /t { precontent_by_lua_block { $SAY } }", seen => 'body'},
    content        => {config => "location = /t { content_by_lua_block { $SAY } }", seen => 'body'},
    header_filter  => {config => 'location = /t { header_filter_by_lua_block { ngx.header["X-Result"] = CODE } return 200 "x"; }', seen => 'header'},
    body_filter    => {
        config => 'location = /t { header_filter_by_lua_block { ngx.header.content_length = nil }'
            . ' body_filter_by_lua_block { if ngx.arg[2] then ngx.arg[1] = CODE .. "\n" end } return 200 "x"; }',
        seen => 'body',
    },
    log      => {config => 'location = /t { log_by_lua_block { ngx.log(ngx.WARN, "result: <", CODE, ">") } return 200 "x"; }', seen => 'log'},
    balancer => {
        http   => 'upstream t_balancer { server 0.0.0.1; balancer_by_lua_block { ngx.ctx.result = CODE'
            . ' assert(require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.server_port)) } }',
        config => 'location = /t { proxy_pass http://t_balancer/t_behind;'
            . ' header_filter_by_lua_block { ngx.header["X-Result"] = ngx.ctx.result } } location = /t_behind { return 200 "x"; }',
        seen   => 'header',
    },
    timer => {
        http   => "init_worker_by_lua_block { assert(ngx.timer.at(0, function() $PUT end)) }",
        config => 'location = /t { content_by_lua_block { for _ = 1, 200 do if package.loaded["t.result"] then break end ngx.sleep(0.01) end'
            . ' ngx.say(package.loaded["t.result"]) } }',
        seen   => 'body',
    },
    init        => {http => "init_by_lua_block { $PUT }", config => $GET, seen => 'body'},
    init_worker => {http => "init_worker_by_lua_block { $PUT }", config => $GET, seen => 'body'},
    exit_worker => {
        http   => 'exit_worker_by_lua_block { ngx.log(ngx.WARN, "result: <", CODE, ">") }',
        config => 'location = /t { return 200 "x"; }',
        seen   => 'shutdown',
    },
);

my $JOIN = 'local t = { n = select("#", ...), ... } for i = 1, t.n do t[i] = tostring(t[i]) end return table.concat(t, ", ", 1, t.n)';

# The code as an expression: its results, or its error, as one string.
sub expression {
    my ($code, $refused) = @_;
    my $body = "function()\n$code\nend";
    my $call = $refused
        ? "(function() local ok, err = pcall($body) return ok and 'was not refused' or err end)()"
        : "($body)()";
    return "(function(...) $JOIN end)($call)";
}

sub checks {
    my ($seen, $result, $exact) = @_;
    my $re = quotemeta $result;
    return $exact ? "--- response_body\n$result\n" : "--- response_body_like: $re\n" if $seen eq 'body';
    if ($seen eq 'header') {
        return $exact ? "--- response_headers\nX-Result: $result\n" : "--- raw_response_headers_like: X-Result: .*$re\n";
    }
    my $line = $exact ? "result: <$result>" : $result;
    return ($seen eq 'log' ? '--- error_log' : '--- shutdown_error_log') . "\n$line\n";
}

# Splits a block's text into sections; those we do not know go through as they are.
sub sections {
    my $hunk = shift;
    my ($title, @parts) = split /^(?=--- )/m, $hunk;
    my (%own, @rest);
    for my $part (@parts) {
        if ($part =~ /\A--- (phases|refused|lua|result|http_config|config)(?::[ \t]*(.*?)[ \t]*)?\n(.*)\z/s) {
            my ($name, $inline, $body) = ($1, $2, $3);
            if (!defined $inline) { ($inline = $body) =~ s/\s+\z// }
            $own{$name} = $inline;
        } else {
            push @rest, $part;
        }
    }
    return ($title, \%own, join '', @rest);
}

sub one {
    my ($title, $own, $rest, $phase, $refused) = @_;
    my $row = $PHASES{$phase} or die "unknown phase \"$phase\" in: $title";
    my $code = expression($own->{lua}, $refused);
    my ($http, $config) = map { my $text = $row->{$_} // ''; $text =~ s/\bCODE\b/$code/g; $text } qw(http config);
    my $result = $own->{result} // ($refused ? 'API disabled in the context of' : die "no result in: $title");
    $title =~ s/\s+\z//;
    my $how = $refused ? 'refused in' : 'in';
    return "$title ($how $phase)\n"
        . "--- http_config\n" . ($own->{http_config} // '') . "\n$http\n"
        . "--- config\n" . ($own->{config} // '') . "\n$config\n"
        . ($rest =~ /^--- request/m ? '' : "--- request\nGET /t\n")
        . checks($row->{seen}, $result, !$refused)
        . "$rest\n";
}

sub expand {
    my $spec = shift;
    return $spec if !defined $spec;
    my @hunks = split /^(?====)/m, $spec;
    my $text = '';
    for my $hunk (@hunks) {
        if ($hunk !~ /^--- (?:phases|refused)\b/m) { $text .= $hunk; next }
        my ($title, $own, $rest) = sections($hunk);
        defined $own->{lua} or die "no `--- lua` in: $title";
        $text .= one($title, $own, $rest, $_, 0) for split ' ', $own->{phases} // '';
        # `result` belongs to `phases` when both are there
        my %refusal = defined $own->{phases} ? (%$own, result => undef) : %$own;
        $text .= one($title, \%refusal, $rest, $_, 1) for split ' ', $own->{refused} // '';
    }
    return $text;
}

{
    no warnings 'redefine';
    my $original = \&Test::Base::_spec_init;
    *Test::Base::_spec_init = sub { expand($original->(@_)) };
}

1;
