use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a worker knows itself
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(ngx.worker.pid() == tonumber(ngx.var.pid))
            ngx.say(ngx.worker.exiting())
            ngx.say(ngx.worker.id() >= 0 and ngx.worker.id() < ngx.worker.count())
        }
    }
--- response_body
true
false
true


=== TEST 2: the master has no number, and counts workers while it loads the configuration
--- http_config
    init_by_lua_block { package.loaded["t.init"] = { ngx.worker.count(), ngx.worker.id() } }
--- lua
    local early = package.loaded["t.init"]
    ngx.say(early[1] == ngx.worker.count(), " ", early[2])
--- response_body
true nil


=== TEST 3: pids are those of the workers, in phases that come after their start
--- lua
    local pids = ngx.worker.pids()
    local found = false
    for _, pid in ipairs(pids) do
        found = found or pid == ngx.worker.pid()
    end
    ngx.say(found, " ", #pids >= ngx.worker.count())
--- response_body
true true


=== TEST 4: before that they are refused
--- lua
    return ngx.worker.pids()
--- result: nil, API disabled in the current context
--- phases: init init_worker


=== TEST 5: the process says what it is
--- lua
    local process = require "ngx.process"
    return process.type()
--- result: worker
--- phases: set rewrite access content header_filter body_filter log balancer init_worker exit_worker


=== TEST 6: init_by_lua runs in the master
--- http_config
    init_by_lua_block {
        local process = require "ngx.process"
        package.loaded["t.type"] = process.type()
    }
--- lua
    local process = require "ngx.process"
    ngx.say(package.loaded["t.type"], " ", process.get_master_pid() ~= ngx.worker.pid(), " ", process.get_master_pid() > 0)
--- response_body
master true true


=== TEST 7: a privileged agent is refused: stock nginx has none
--- http_config
    init_by_lua_block {
        local process = require "ngx.process"
        package.loaded["t.agent"] = { process.enable_privileged_agent() }
        package.loaded["t.bad"] = { process.enable_privileged_agent("x") }
    }
--- lua
    local process = require "ngx.process"
    ngx.say(package.loaded["t.agent"][2])
    ngx.say(package.loaded["t.bad"][2])
    ngx.say(select(2, process.enable_privileged_agent()))
--- response_body
missing privileged agent process patch in the nginx core
bad 'connections' argument: number expected and greater than 0
API disabled in the current context


=== TEST 8: a worker that asks to exit finishes its request, and another takes its place
--- config
    location = /t {
        content_by_lua_block {
            require("ngx.process").signal_graceful_exit()
            ngx.say("going")
        }
    }
--- once
--- response_body
going
--- error_log
gracefully shutting down
--- wait: 0.2


=== TEST 9: ngx.config says what nginx was built with, and where it stands
--- lua
    local c = ngx.config
    ngx.say(c.subsystem, " ", c.ngx_lua_version, " ", type(c.debug))
    local a, b, d = ngx.var.nginx_version:match("(%d+)%.(%d+)%.(%d+)")
    ngx.say(c.nginx_version == a * 1000000 + b * 1000 + d)
    ngx.say(c.nginx_configure():find("--with-compat", 1, true) ~= nil)
    ngx.say(ngx.var.document_root == c.prefix() .. "html")
--- response_body
http 10023 boolean
true
true
true


=== TEST 10: os.getenv sees `env` directives from init_by_lua on
--- main_config
env T_GIVEN=a=b;
env T_EMPTY=;
--- http_config
    init_by_lua_block {
        package.loaded["t.env"] = { os.getenv("T_GIVEN"), os.getenv("T_EMPTY"), os.getenv("T_NONE") or "none" }
    }
--- lua
    local early = package.loaded["t.env"]
    ngx.say(early[1], " ", #early[2], " ", early[3])
    ngx.say(os.getenv("T_GIVEN"), " ", #os.getenv("T_EMPTY"), " ", os.getenv("T_NONE"))
--- response_body
a=b 0 none
a=b 0 nil


=== TEST 11: without a master the only process is "single", from init_by_lua on
--- user_files
>>> single.conf
daemon off;
master_process off;
pid single.pid;
error_log stderr;
events {}
http {
    init_by_lua_block {
        local process = require "ngx.process"
        print("init: ", process.type(), " ", process.get_master_pid() == ngx.worker.pid())
    }
    init_worker_by_lua_block {
        local process = require "ngx.process"
        io.stdout:write(process.type(), " ", tostring(process.get_master_pid() == ngx.worker.pid()), " ",
                        tostring(ngx.worker.id()), "\n")
        io.stdout:flush()
        ngx.timer.at(0, process.signal_graceful_exit)
    }
}
--- lua
    local root = ngx.config.prefix()
    local f = assert(io.open(root .. "conf/nginx.conf"))
    local load = {}
    for line in f:lines() do
        load[#load + 1] = line:match("^%s*load_module%s.*;")
    end
    f:close()
    f = assert(io.open(root .. "html/single.conf"))
    local conf = f:read("*a")
    f:close()
    f = assert(io.open(root .. "html/whole.conf", "w"))
    f:write(table.concat(load, "\n"), "\n", conf)
    f:close()
    local ffi = require "ffi"
    ffi.cdef "char **ngx_argv;"
    local nginx = ffi.string(ffi.C.ngx_argv[0])
    local proc = assert(require("ngx.pipe").spawn { nginx, "-p", root .. "html", "-c", root .. "html/whole.conf" })
    ngx.say(proc:stdout_read_line())
    ngx.say(select(2, proc:wait()), " ", proc:pid() > 0)
--- main_config
env PATH;
--- response_body
single true 0
exit true
