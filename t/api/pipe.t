# ngx.pipe: other programs on nginx's event loop. Stock nginx takes the status of any child that ends in a worker
# (its handler of SIGCHLD), so each block here also is one about that.
use lib 't/lib';
use AutoscaleLua;
run_tests();

__DATA__

=== TEST 1: a program is given its input and asked for its output
--- lua
    local proc = assert(require("ngx.pipe").spawn { "wc", "-c" })
    local n = proc:write("hello") + proc:write { " ", "wor", "ld" } + proc:write(10) + proc:write("")
    local ok = proc:shutdown("stdin")
    local count = proc:stdout_read_line()
    return n, ok, count, proc:wait()
--- result: 13, true, 13, true, exit, 0
--- phases: rewrite access precontent content timer


=== TEST 2: in phases that may not wait it is only started
--- lua
    local proc = assert(require("ngx.pipe").spawn { "cat" })
    local told = {}
    for i, name in ipairs { "wait", "write", "stdout_read_line", "stderr_read_all", "stdout_read_any", "stdout_read_bytes" } do
        local ok, err = pcall(function() proc[name](proc, 1) end)
        told[i] = ok and "was not refused" or err:match("API disabled in the context of") and "no"
    end
    return table.concat(told, " "), proc:pid() > 1, proc:shutdown("stdout"), proc:kill(15)
--- result: no no no no no no, true, true, true
--- phases: set header_filter body_filter log balancer init_worker exit_worker


=== TEST 3: init_by_lua has no worker to start one for
--- lua
    require("ngx.pipe").spawn { "true" }
--- result: API disabled in the current context
--- refused: init


=== TEST 4: a string is for the shell
--- lua
    local proc = require("ngx.pipe").spawn("echo $((1 + 2)); echo no >&2; exit 3")
    return proc:stdout_read_line(), proc:stderr_read_line(), select(2, proc:wait()), 0
--- result: 3, no, exit, 0


=== TEST 5: how a program ended is told once, be it before or after it was asked for
--- lua
    local spawn = require("ngx.pipe").spawn
    for _, pause in ipairs { 0, 0.1 } do
        for _, script in ipairs { "exit 0", "exit 7", "kill -9 $$" } do
            local proc = spawn(script)
            ngx.sleep(pause)
            ngx.say(script, ": ", table.concat({ tostring(proc:wait()) }), " ", select(2, proc:wait()))
            proc = spawn(script)
            ngx.sleep(pause)
            local ok, reason, code = proc:wait()
            ngx.say(tostring(ok), " ", reason, " ", code)
        end
    end
--- response_body
exit 0: true exited
true exit 0
exit 7: false exited
false exit 7
kill -9 $$: false exited
false signal 9
exit 0: true exited
true exit 0
exit 7: false exited
false exit 7
kill -9 $$: false exited
false signal 9
--- no_error_log
unknown process
[error]


=== TEST 6: many at once lose no status
--- lua
    local spawn = require("ngx.pipe").spawn
    local threads = {}
    for i = 1, 40 do
        threads[i] = ngx.thread.spawn(function()
            local proc = assert(spawn { "sh", "-c", "exit " .. i })
            return select(3, proc:wait())
        end)
    end
    local right = 0
    for i = 1, 40 do
        local _, code = ngx.thread.wait(threads[i])
        right = right + (code == i and 1 or 0)
    end
    ngx.say(right)
--- response_body
40


=== TEST 7: one thread writes a megabyte while another reads it
--- lua
    local proc = require("ngx.pipe").spawn { "cat" }
    local data = ("0123456789abcdef"):rep(65536)
    local writer = ngx.thread.spawn(function()
        local n, err = proc:write(data)
        proc:shutdown("stdin")
        return n, err
    end)
    local back = proc:stdout_read_all()
    local _, n = ngx.thread.wait(writer)
    ngx.say(n, " ", back == data, " ", (proc:wait()))
--- response_body
1048576 true true


=== TEST 8: reads by line, size, whatever there is, and all
--- lua
    local proc = require("ngx.pipe").spawn([[printf 'one\r\ntwo\n\nabcdefgh' && printf 'err' >&2]])
    proc:stderr_read_all()
    ngx.say("<", proc:stdout_read_line(), "> <", proc:stdout_read_line(), "> <", proc:stdout_read_line(), ">")
    ngx.say(proc:stdout_read_bytes(3), " ", proc:stdout_read_bytes(0), " ", proc:stdout_read_any(2), " ", proc:stdout_read_all())
    ngx.say(proc:stdout_read_line())
    ngx.say(proc:stdout_read_any(10))
    ngx.say(proc:stdout_read_bytes(1))
    ngx.say("<", proc:stdout_read_all(), ">")
--- response_body
<one> <two> <>
abc  de fgh
nilclosed
nilclosed
nilclosed
<>


=== TEST 9: what is cut off is told as a part
--- lua
    local spawn = require("ngx.pipe").spawn
    local proc = spawn("printf abc")
    ngx.say(table.concat({ select(2, proc:stdout_read_line()) }, " "))
    proc = spawn("printf abc")
    ngx.say(table.concat({ select(2, proc:stdout_read_bytes(5)) }, " "))
    proc = spawn("printf abcd; printf efgh >&2; exec sleep 10")
    ngx.say(proc:stdout_read_bytes(1), proc:stderr_read_bytes(1))
    proc:set_timeouts(nil, 20, 20)
    ngx.say(table.concat({ select(2, proc:stdout_read_line()) }, " "))
    ngx.say(table.concat({ select(2, proc:stderr_read_all()) }, " "))
--- response_body
closed abc
closed abc
ae
timeout bcd
timeout fgh


=== TEST 10: writing to a program that does not read, or has gone
--- lua
    local spawn = require("ngx.pipe").spawn
    local proc = spawn({ "sleep", 10 }, { write_timeout = 50 })
    ngx.say(proc:write(("x"):rep(1024 * 1024)))
    proc = spawn { "true" }
    while proc:kill(0) do
        ngx.sleep(0.01)
    end
    ngx.say(proc:write("x"))
    proc:wait()
    ngx.say(proc:write("x"))
    ngx.say(proc:stdout_read_line())
--- response_body
niltimeout
nilclosed
nilclosed
nilclosed


=== TEST 11: waiting has a timeout, and goes on after it
--- lua
    local proc = require("ngx.pipe").spawn("sleep 0.2; exit 4", { wait_timeout = 20 })
    ngx.say(proc:wait())
    proc:set_timeouts(nil, nil, nil, 0)
    ngx.say(select(3, proc:wait()))
--- response_body
niltimeout
4


=== TEST 12: one thread at a time reads, writes, waits
--- lua
    local proc = require("ngx.pipe").spawn { "sleep", 10 }
    proc:set_timeouts(50, 50, 50, 50)
    local calls = {
        function() return proc:write(("x"):rep(1024 * 1024)) end,
        function() return proc:stdout_read_line() end,
        function() return proc:stderr_read_line() end,
        function() return proc:wait() end,
    }
    for _, call in ipairs(calls) do
        local thread = ngx.thread.spawn(call)
        ngx.say(select(2, call()), ", then ", select(3, ngx.thread.wait(thread)))
    end
    for _, call in ipairs(calls) do
        ngx.thread.kill(ngx.thread.spawn(call))
        ngx.say(select(2, call()))
    end
--- response_body
pipe busy writing, then timeout
pipe busy reading, then timeout
pipe busy reading, then timeout
pipe busy waiting, then timeout
timeout
timeout
timeout
timeout


=== TEST 13: closing a direction tells the thread that waits for it
--- lua
    local proc = require("ngx.pipe").spawn { "sleep", 10 }
    for _, case in ipairs { { "stdin", "write", ("x"):rep(1024 * 1024) }, { "stdout", "stdout_read_line" }, { "stderr", "stderr_read_all" } } do
        local thread = ngx.thread.spawn(function() return select(2, proc[case[2]](proc, case[3])) end)
        local closed, again = proc:shutdown(case[1]), proc:shutdown(case[1])
        local _, told = ngx.thread.wait(thread)
        ngx.say(closed, " ", again, " ", told, " ", select(2, proc[case[2]](proc, case[3])))
    end
    proc:kill(9)
    proc:wait()
    ngx.say(proc:shutdown("stdin"))
--- response_body
true true aborted closed
true true aborted closed
true true aborted closed
nilclosed


=== TEST 14: a reader gets what is there when another thread learns of the end
--- lua
    local proc = require("ngx.pipe").spawn("sleep 0.05; echo last words")
    local reader = ngx.thread.spawn(function() return proc:stdout_read_all() end)
    ngx.say(proc:wait())
    ngx.print(select(2, ngx.thread.wait(reader)))
    ngx.say(proc:stdout_read_line())
--- response_body
trueexit0
last words
nilclosed


=== TEST 15: stderr can be merged into stdout
--- lua
    local proc = require("ngx.pipe").spawn("echo a; echo b >&2; echo c", { merge_stderr = true })
    ngx.print(proc:stdout_read_all())
    ngx.say(proc:stderr_read_line())
    ngx.say(proc:shutdown("stderr"))
--- response_body
a
b
c
nilmerged to stdout
nilmerged to stdout


=== TEST 16: an environment of its own, or the worker's
--- main_config
env PIPE_GIVEN=kept;
--- lua
    local spawn = require("ngx.pipe").spawn
    local script = "echo ${PIPE_GIVEN-none} ${PIPE_OWN-none}"
    ngx.say(spawn(script):stdout_read_line())
    ngx.say(spawn(script, { environ = { "PIPE_OWN=x=y" } }):stdout_read_line())
    ngx.say(spawn(script, { environ = {} }):stdout_read_line())
--- response_body
kept none
none x=y
kept none


=== TEST 17: what is no program ends at once, and the log says why
--- user_files
>>> text
no program
>>> script
echo run by the shell: $1
--- lua
    local spawn = require("ngx.pipe").spawn
    local root = ngx.config.prefix() .. "html/"
    for _, name in ipairs { "/no/such/program", "no-such-program", root .. "text", "" } do
        local proc = spawn { name }
        ngx.say(select(3, proc:wait()))
    end
    os.execute("chmod +x " .. root .. "script")
    ngx.say(spawn({ root .. "script", "yes" }):stdout_read_line())
    ngx.say(select(3, spawn({ "/no/such/program" }, { environ = { "A=B" } }):wait()))
--- response_body
1
1
1
1
run by the shell: yes
1
--- error_log
lua pipe child execvp() failed while executing /no/such/program (2: No such file or directory)
lua pipe child execvp() failed while executing no-such-program (2: No such file or directory)
html/text (13: Permission denied)
lua pipe child execvp() failed while executing  (2: No such file or directory)
lua pipe child execvpe() failed while executing /no/such/program (2: No such file or directory)


=== TEST 18: a program inherits nothing but its three descriptors
--- main_config
env PATH;
--- lua
    local proc = require("ngx.pipe").spawn("ls /proc/$$/fd")
    ngx.print(proc:stdout_read_all())
    proc = require("ngx.pipe").spawn { "ls", "-l", "/proc/self/fd" }
    local pipes = 0
    for fd, what in proc:stdout_read_all():gmatch("(%d+) %-> (%S+)") do
        if what:find("^pipe:") then
            pipes = pipes + 1
        elseif not what:find("^/proc/") then
            ngx.say(fd, " ", what)
        end
    end
    ngx.say(pipes)
--- response_body
0
1
2
3


=== TEST 19: no signal is blocked, ignored or handled in it
--- lua
    local proc = require("ngx.pipe").spawn { "cat", "/proc/self/status" }
    local status = proc:stdout_read_all()
    for _, name in ipairs { "SigBlk", "SigIgn", "SigCgt" } do
        ngx.say(status:match(name .. ":%s*(%x+)"))
    end
--- response_body
0000000000000000
0000000000000000
0000000000000000


=== TEST 20: it may run where the master may, whatever worker_cpu_affinity says
--- main_config
worker_cpu_affinity 0001;
--- lua
    local function allowed(file)
        return file:read("*a"):match("Cpus_allowed_list:%s*(%S+)")
    end
    local proc = require("ngx.pipe").spawn { "grep", "Cpus_allowed_list", "/proc/self/status" }
    local mine = proc:stdout_read_all():match("Cpus_allowed_list:%s*(%S+)")
    local master = require("ngx.process").get_master_pid()
    ngx.say(allowed(io.open("/proc/self/status")), " ", mine == allowed(io.open("/proc/" .. master .. "/status")))
--- response_body
0 true


=== TEST 21: signals are sent, to those that live
--- lua
    local spawn = require("ngx.pipe").spawn
    local proc = spawn { "sleep", 10 }
    ngx.say(proc:kill(10000))
    ngx.say(proc:kill(-9))
    ngx.say(proc:kill(0))
    ngx.say(proc:kill(15))
    ngx.say(select(3, proc:wait()))
    ngx.say(proc:kill(9))
    proc = spawn { "true" }
    while proc:kill(0) do
        ngx.sleep(0.01)
    end
    ngx.say(proc:kill(9))
    ngx.say(proc:wait())
--- response_body
nilinvalid signal
nilinvalid signal
true
true
15
nilexited
nilexited
trueexit0


=== TEST 22: bad arguments
--- lua
    local spawn = require("ngx.pipe").spawn
    local proc = spawn { "sleep", 10 }
    local function bad(f, ...)
        ngx.say(select(2, pcall(f, ...)))
    end
    bad(spawn)
    bad(spawn, {})
    bad(spawn, { "a\0b" })
    bad(spawn, "a\0b")
    bad(spawn, { "true" }, { buffer_size = 0 })
    bad(spawn, { "true" }, { buffer_size = "x" })
    bad(spawn, { "true" }, { environ = "A=B" })
    bad(spawn, { "true" }, { environ = { "A" } })
    bad(spawn, { "true" }, { environ = { "=A" } })
    bad(spawn, { "true" }, { environ = { 1 } })
    bad(spawn, { "true" }, { environ = { "A=\0" } })
    bad(spawn, { "true" }, { wait_timeout = -1 })
    bad(spawn, { "true" }, { write_timeout = "x" })
    bad(proc.set_timeouts, proc, 2 ^ 32)
    bad(proc.set_timeouts, proc, 1, -1)
    bad(proc.stdout_read_bytes, proc, -1)
    bad(proc.stdout_read_bytes, proc)
    bad(proc.stderr_read_any, proc, 0)
    bad(proc.write, proc, true)
    bad(proc.shutdown, proc, "both")
    bad(proc.shutdown, proc)
    bad(proc.kill, proc, "9")
    for _, name in ipairs { "wait", "write", "kill", "shutdown", "pid", "set_timeouts", "stdout_read_all" } do
        bad(proc[name])
    end
--- response_body
bad args arg: table expected, got nil
bad args arg: non-empty table expected
bad value at index 1 of args arg: it contains a zero byte
bad value at index 3 of args arg: it contains a zero byte
bad buffer_size option
bad buffer_size option
bad environ option: table expected, got string
bad value at index 1 of environ option: 'name=[value]' format expected, got 'A'
bad value at index 1 of environ option: 'name=[value]' format expected, got '=A'
bad value at index 1 of environ option: string expected, got number
bad value at index 1 of environ option: it contains a zero byte
bad wait_timeout option
bad write_timeout option
bad write_timeout option
bad stdout_read_timeout option
bad len argument
bad len argument
bad max argument
bad data arg: string, number, or table expected, got boolean
bad shutdown arg: both
bad shutdown arg: nil
bad signal arg: number expected, got 9
not a process instance
not a process instance
not a process instance
not a process instance
not a process instance
not a process instance
not a process instance


=== TEST 23: one that has ended leaves no zombie, though nobody has asked for it
--- lua
    local proc = require("ngx.pipe").spawn { "true" }
    local file
    for _ = 1, 100 do
        file = io.open("/proc/" .. proc:pid() .. "/status")
        if not file then
            break
        end
        file:close()
        ngx.sleep(0.01)
    end
    ngx.say(file and "a zombie" or "gone", " ", (proc:wait()))
--- response_body
gone true


=== TEST 24: a collected one is killed, and leaves no zombie
--- lua
    local pid = require("ngx.pipe").spawn({ "sleep", 1000 }):pid()
    collectgarbage()
    collectgarbage()
    for _ = 1, 100 do
        local file = io.open("/proc/" .. pid .. "/status")
        if not file then
            return ngx.say("gone")
        end
        file:close()
        ngx.sleep(0.01)
    end
    ngx.say("still there")
--- response_body
gone


=== TEST 25: the end of a request is the end of its children, however it ends
--- http_config
    lua_shared_dict pids 100k;
--- config
    location = /returns {
        content_by_lua_block {
            package.loaded["t.proc"] = require("ngx.pipe").spawn { "sleep", 1000 }
            ngx.print(package.loaded["t.proc"]:pid())
        }
    }
    location = /exits {
        access_by_lua_block {
            local proc = require("ngx.pipe").spawn { "sleep", 1000 }
            ngx.thread.spawn(function() proc:wait() end)
            ngx.thread.spawn(function() proc:stdout_read_all() end)
            ngx.shared.pids:set("exits", proc:pid())
            ngx.exit(503)
        }
    }
    location = /leaves {
        lua_check_client_abort on;
        content_by_lua_block {
            local proc = require("ngx.pipe").spawn { "sleep", 1000 }
            ngx.shared.pids:set("leaves", proc:pid())
            ngx.say("begun")
            ngx.flush(true)
            proc:wait()
        }
    }
    location = /t {
        content_by_lua_block {
            local function ask(uri, last)
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", ngx.var.server_port)
                -- a response to HTTP/1.0 would be held back until it is whole
                sock:send("GET " .. uri .. (last and " HTTP/1.1\r\nHost: t" or " HTTP/1.0") .. "\r\n\r\n")
                local answer
                if last then
                    answer = sock:receiveuntil(last)()
                else
                    answer = sock:receive("*a")
                end
                sock:close()
                return answer
            end
            local pids = ngx.shared.pids
            pids:set("returns", tonumber(ask("/returns"):match("%d+$")))
            ask("/exits")
            ask("/leaves", "begun")
            for _, name in ipairs { "returns", "exits", "leaves" } do
                local state = "still there"
                for _ = 1, 200 do
                    local file = io.open("/proc/" .. pids:get(name) .. "/status")
                    if not file then
                        state = "gone"
                        break
                    end
                    file:close()
                    ngx.sleep(0.01)
                end
                ngx.say(name, ": ", state)
            end
            local proc = package.loaded["t.proc"]
            ngx.say(proc and select(2, proc:kill(9)) or "exited", " ", proc and select(2, proc:stdout_read_line()) or "closed")
        }
    }
--- response_body
returns: gone
exits: gone
leaves: gone
exited closed


=== TEST 26: one of a worker's start lives, is of use to all its requests, and ends with the worker
--- http_config
    lua_shared_dict pids 100k;
    init_worker_by_lua_block {
        local proc = require("ngx.pipe").spawn { "cat" }
        package.loaded["t.cat"] = proc
        ngx.shared.pids:set(ngx.worker.pid(), proc:pid())
    }
--- config
    location = /cat {
        content_by_lua_block {
            local proc = package.loaded["t.cat"]
            proc:write(ngx.var.arg_a .. "\n")
            ngx.say(proc:stdout_read_line())
        }
    }
    location = /quit {
        content_by_lua_block {
            require("ngx.process").signal_graceful_exit()
            ngx.say("quits")
        }
    }
    location = /gone {
        content_by_lua_block {
            local pids, left = ngx.shared.pids, nil
            for _ = 1, 200 do
                left = 0
                for _, worker in ipairs(pids:get_keys()) do
                    local file = tonumber(worker) ~= ngx.worker.pid() and io.open("/proc/" .. pids:get(worker) .. "/status")
                    if file then
                        file:close()
                        left = left + 1
                    end
                end
                if left == 0 and #pids:get_keys() > 1 then
                    break
                end
                ngx.sleep(0.01)
            end
            ngx.say(left, " left of ", #pids:get_keys())
        }
    }
--- request eval
["GET /cat?a=one", "GET /cat?a=two", "GET /quit", "GET /gone"]
--- response_body eval
["one\n", "two\n", "quits\n", "0 left of 2\n"]
--- modes: plain
--- once
--- no_error_log
open socket


=== TEST 27: io.popen and os.execute learn how their programs ended
--- lua
    assert(require("ngx.pipe").spawn { "true" }):wait()
    local status = {}
    for i = 1, 20 do
        local f = io.popen("exit 0")
        f:read("*a")
        status[i] = tostring(f:close())
    end
    ngx.say(table.concat(status):gsub("true", "t"), " ", (os.execute("exit 0")))
--- response_body_like: ^t{20} (?:0|true)$


=== TEST 28: other requests read what this one has started
--- config
    location = /t {
        content_by_lua_block {
            package.loaded["t.pipe"] = require("ngx.pipe").spawn("read line; echo \"$line\"; echo err >&2; exit 5")
            local a, b, c = ngx.location.capture_multi { { "/read" }, { "/wait" }, { "/write" } }
            ngx.print(a.body, b.body, c.body)
        }
    }
    location = /read { content_by_lua_block { ngx.say(package.loaded["t.pipe"]:stdout_read_line()) } }
    location = /write { content_by_lua_block { ngx.say(package.loaded["t.pipe"]:write("hi\n")) } }
    location = /wait { content_by_lua_block { ngx.say(select(3, package.loaded["t.pipe"]:wait())) } }
--- response_body
hi
5
3


=== TEST 29: a wait that cannot be yielded leaves the pipe free
--- lua
    local proc = require("ngx.pipe").spawn("read line; echo hi")
    ngx.say(pcall(string.gsub, "a", "a", function() return proc:stdout_read_line() end))
    proc:write("\n")
    ngx.say(proc:stdout_read_line())
--- response_body
falseattempt to yield across C-call boundary
hi


=== TEST 30: with lua_code_cache off too
--- http_config
    lua_code_cache off;
--- lua
    local proc = require("ngx.pipe").spawn("echo hi; exec sleep 1000")
    ngx.say(proc:stdout_read_line())
--- response_body
hi


=== TEST 31: where nginx has no connection left, the end of a program is noticed all the same
--- lua
    local spawn = require("ngx.pipe").spawn
    local threads, right = {}, 0
    for i = 1, 80 do
        threads[i] = ngx.thread.spawn(function()
            return select(3, assert(spawn { "sh", "-c", "exit " .. i }):wait())
        end)
    end
    for i = 1, 80 do
        local _, code = ngx.thread.wait(threads[i])
        right = right + (code == i and 1 or 0)
    end
    ngx.say(right)
--- response_body
80
--- allow_log
worker_connections are not enough


=== TEST 32: a worker that is killed takes its programs with it
--- http_config
    lua_shared_dict pids 100k;
--- config
    location = /t {
        content_by_lua_block {
            package.loaded["t.proc"] = require("ngx.pipe").spawn { "sleep", 1000 }
            ngx.shared.pids:set("program", package.loaded["t.proc"]:pid())
            ngx.shared.pids:set("worker", ngx.worker.pid())
            ngx.say("here")
            ngx.eof()
            os.execute("kill -9 " .. ngx.worker.pid())
        }
    }
    location = /after {
        content_by_lua_block {
            for _ = 1, 200 do
                local file = io.open("/proc/" .. ngx.shared.pids:get("program") .. "/stat")
                local state = file and file:read("*a"):match("%) (%u)")
                if file then
                    file:close()
                end
                -- where the first process does not reap, it stays a zombie
                if not state or state == "Z" or state == "X" then
                    return ngx.say("gone, ", ngx.shared.pids:get("worker") ~= ngx.worker.pid())
                end
                ngx.sleep(0.01)
            end
            ngx.say("still there")
        }
    }
--- request eval
["GET /t", "GET /after"]
--- response_body eval
["here\n", "gone, true\n"]
--- allow_log
exited on signal 9
--- modes: plain
--- once
