use lib 't/lib';
use AutoscaleLua;

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("main_config", "thread_pool side threads=2 max_queue=8;\n" . ($block->main_config // ''));
    $block->set_value("http_config", "lua_package_path '\$prefix/html/?.lua;;';\n" . ($block->http_config // ''));
    $block->set_value("user_files", ($block->user_files // '') . <<'EOC');
>>> work.lua
local calls = 0
return {
    add = function(a, b) return a + b end,
    back = function(...) return ... end,
    count = function(...) return select("#", ...), (...) end,
    fail = function() error("not today") end,
    fail_table = function() error({}) end,
    sleep = function(s) os.execute("sleep " .. s) return "slept" end,
    calls = function() calls = calls + 1 return calls end,
    function_back = function() return { { print } } end,
    endless = function() local t = {} t.t = t return t end,
    codecs = function()
        local args, why = ngx.decode_args("a=1&b=%20x&a=2&c&=d", 3)
        return ngx.encode_base64("hello"), ngx.decode_base64("aGVsbG8="), tostring(ngx.decode_base64("!")), ngx.md5("a"),
               #ngx.md5_bin("a"), #ngx.sha1_bin("a"), ngx.crc32_short("hello"), ngx.crc32_long("hello"),
               ngx.encode_base64(ngx.hmac_sha1("thisisverysecretstuff", "some string we want to sign")),
               ngx.quote_sql_str("a'b"), ngx.escape_uri("a b"), ngx.unescape_uri("a%20b+c"), ngx.encode_args({ a = { "x y", true } }),
               args.a[2] .. args.b .. tostring(args.c) .. why, ngx.config.subsystem, ngx.config.ngx_lua_version, ngx.config.prefix()
    end,
}
>>> regex.lua
local M = {}
function M.match(...)
    local m, err = ngx.re.match(...)
    return m and { m[0], m[1] or "none", m.name or "none" }, err
end
function M.sub(subject, pattern, by, options) return ngx.re.gsub(subject, pattern, by, options) end
function M.call() return ngx.re.gsub("a1b22", "[0-9]+", function(m) return "<" .. m[0] .. ">" end, "jo") end
function M.find() return ngx.re.find("hello world", "w(o)r", "jo", nil, 1) end
function M.all()
    local list = {}
    for m in ngx.re.gmatch("a=1, b=2", "([a-z])=([0-9])", "jo") do
        list[#list + 1] = m[1] .. m[2]
    end
    return table.concat(list, " ")
end
function M.many(seed, n)
    local right = 0
    for i = 1, n do
        local text = "k" .. seed .. "-" .. i
        local m = ngx.re.match(text, "^k([0-9]+)-([0-9]+)$", i % 2 == 0 and "jo" or "")
        local s = ngx.re.gsub(text, "-", "$0-", "jo")
        if m and m[1] == tostring(seed) and m[2] == tostring(i) and s == "k" .. seed .. "--" .. i then
            right = right + 1
        end
    end
    return right
end
return M
>>> shared.lua
local M = {}
function M.call(method, ...)
    local dict = ngx.shared.threads
    return dict[method](dict, ...)
end
function M.flood(seed, n)
    local dict, wrong = ngx.shared.threads, 0
    for i = 1, n do
        dict:incr("count", 1, 0)
        local key, text = "k" .. (i % 50), ("x"):rep(1 + (i * seed) % 900)
        dict:set(key, text .. #text)
        local got = dict:get(key)
        -- whole, if of another thread
        if got and (not got:find("^x+[0-9]+$") or #got:match("^x+") ~= tonumber(got:match("[0-9]+$"))) then
            wrong = wrong + 1
        end
    end
    return wrong
end
return M
>>> broken.lua
return {
>>> number.lua
return 1
EOC
});

run_tests();

__DATA__

=== TEST 1: a function in a thread, in each phase that may wait
--- phases: server_rewrite rewrite access content
--- lua
    return ngx.run_worker_thread("side", "work", "add", 1, 2)
--- result
true, 3


=== TEST 2: in a timer
--- config
    location = /t {
        content_by_lua_block {
            local result
            ngx.timer.at(0, function() result = { ngx.run_worker_thread("side", "work", "add", 1, 2) } end)
            for _ = 1, 200 do
                if result then break end
                ngx.sleep(0.01)
            end
            ngx.say(result[1], " ", result[2])
        }
    }
--- response_body
true 3


=== TEST 3: phases that cannot wait
--- refused: set header_filter body_filter log balancer init_worker exit_worker
--- lua
    ngx.run_worker_thread("side", "work", "add", 1, 2)
--- result
API disabled


=== TEST 4: values go and come as copies
--- lua
    local t = { 1, "two\0", { deep = { true, [2.5] = "x" } }, key = false }
    local ok, a, b, c, d, e = ngx.run_worker_thread("side", "work", "back", nil, t, ngx.null, "", -0.5)
    ngx.say(ok, " ", a, " ", #b, " ", #b[2], " ", b[3].deep[1], " ", b[3].deep[2.5], " ", b.key, " ", b ~= t)
    ngx.say(c == ngx.null, " [", d, "] ", e)
    ngx.say(ngx.run_worker_thread("side", "work", "count"))
    ngx.say(ngx.run_worker_thread("side", "work", "count", nil, nil))
    ngx.say(select("#", ngx.run_worker_thread("side", "work", "back")))
    ngx.say(#select(2, ngx.run_worker_thread("side", "work", "back", string.rep("x", 5000000))))
--- response_body
true nil 3 4 true x false true
true [] -0.5
true0nil
true2nil
1
5000000


=== TEST 5: what cannot be copied, either way
--- lua
    local endless = {}
    endless[1] = endless
    local function try(...) ngx.say(select(2, ngx.run_worker_thread("side", "work", ...))) end
    try("back", print)
    try("back", { { io.stdout } })
    try("back", coroutine.create(print))
    try("back", endless)
    try("function_back")
    try("endless")
--- response_body
unsupported Lua type: LUA_TFUNCTION in the argument
unsupported Lua type: LUA_TUSERDATA in the argument
unsupported Lua type: LUA_TTHREAD in the argument
suspicious circular references, table depth exceed max depth: 100 in the argument
unsupported Lua type: LUA_TFUNCTION in the return value
suspicious circular references, table depth exceed max depth: 100 in the return value


=== TEST 6: errors
--- lua
    local function try(...) ngx.say((tostring(select(2, ngx.run_worker_thread(...))):gsub("^(.-)\n.*", "%1"):gsub("^.*/", ""))) end
    try("side", "work")
    try({}, "work", "add")
    try("side", {}, "add")
    try("side", "work", {})
    try("none", "work", "add")
    try("side", "absent", "add")
    try("side", "number", "add")
    try("side", "work", "absent")
    try("side", "work", "fail")
    ngx.say((select(2, ngx.run_worker_thread("side", "work", "fail_table")):match("^table: ")))
    ngx.say(select(2, ngx.run_worker_thread("side", "broken", "x")):match("error loading module 'broken'"))
--- response_body
expecting at least 3 arguments
threadpool should be a string
module name should be a string
function name should be a string
thread pool none not found
module 'absent' not found:
invalid lua module
invalid function
work.lua:6: not today
table: 
error loading module 'broken'


=== TEST 7: the event loop goes on meanwhile
--- lua
    local ticks, over = 0, false
    local thread = ngx.thread.spawn(function()
        local ok, x = ngx.run_worker_thread("side", "work", "sleep", 0.3)
        over = true
        return x
    end)
    while not over do ngx.sleep(0.01) ticks = ticks + 1 end
    ngx.say(ticks > 5, " ", select(2, ngx.thread.wait(thread)))
--- response_body
true slept


=== TEST 8: VMs are used again, and there are no more than allowed
--- http_config
    lua_worker_thread_vm_pool_size 1;
--- lua
    local _, before = ngx.run_worker_thread("side", "work", "calls")
    local _, after = ngx.run_worker_thread("side", "work", "calls")
    ngx.say(after - before)
    local slow = ngx.thread.spawn(ngx.run_worker_thread, "side", "work", "sleep", 0.1)
    ngx.say(ngx.run_worker_thread("side", "work", "calls"))
    ngx.say(ngx.thread.wait(slow))
--- response_body
1
falseno available Lua vm
truetrueslept


=== TEST 9: one that nobody waits for any more ends on its own, and its VM is used again
--- http_config
    lua_worker_thread_vm_pool_size 1;
--- config
    location = /exit {
        content_by_lua_block {
            ngx.thread.spawn(ngx.run_worker_thread, "side", "work", "sleep", 0.1)
            ngx.say("exit")
            ngx.exit(200)
        }
    }
--- modes: plain
--- lua
    local thread = ngx.thread.spawn(ngx.run_worker_thread, "side", "work", "sleep", 0.1)
    ngx.say(ngx.thread.kill(thread))
    local function free()
        local ok, why
        for _ = 1, 100 do
            ok, why = ngx.run_worker_thread("side", "work", "add", 1, 1)
            if ok then break end
            ngx.sleep(0.01)
        end
        return why
    end
    ngx.say(free())
    local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /exit HTTP/1.0\r\n\r\n")
    ngx.say((sock:receive("*a"):gsub("^.*\r\n\r\n", "")))
    ngx.say(free())
--- response_body
1
2
exit

2


=== TEST 10: what is there of ngx
--- lua
    local result = { ngx.run_worker_thread("side", "work", "codecs") }
    local same = result[#result] == ngx.config.prefix()
    result[#result] = nil
    for i = 1, #result do ngx.say((tostring(result[i]))) end
    ngx.say(same)
--- response_body
true
aGVsbG8=
hello
nil
0cc175b9c0f1b6a831c399e269772661
16
20
907060870
907060870
R/pvxzHC4NLtj7S+kXFg/NePTmk=
'a\'b'
a%20b
a b c
a=x%20y&a
2 xniltruncated
http
10023
true


=== TEST 11: many at once, more than the queue holds
--- lua
    local threads, done, full = {}, 0, 0
    for i = 1, 20 do threads[i] = ngx.thread.spawn(ngx.run_worker_thread, "side", "work", "sleep", 0.2) end
    for i = 1, 20 do
        local _, ok, why = ngx.thread.wait(threads[i])
        if ok then done = done + 1 elseif why == "ngx_thread_task_post failed" then full = full + 1 end
    end
    ngx.say(done + full, " ", done > 0, " ", full > 0)
--- response_body
20 true true
--- modes: plain hup workers
--- allow_log
thread pool "side" queue overflow


=== TEST 12: regular expressions, in memory of the thread's own
--- lua
    local function run(...)
        local results = { ngx.run_worker_thread("side", "regex", ...) }
        for i = 1, 4 do
            results[i] = type(results[i]) == "table" and table.concat(results[i], " ") or tostring(results[i])
            results[i] = results[i]:gsub("^.*regex%.lua:%d+: ", "")
        end
        ngx.say(table.concat(results, ", ", 1, 4))
    end
    run("match", "hello world", "(?<name>w[a-z]+)", "jo")
    run("match", "HELLO", "h(e)", "i")
    run("match", "hello", "x")
    run("match", "hello", "(")
    run("match", "hello", "h", "?")
    run("sub", "hello world", "(o)", "[$1]", "jo")
    run("sub", "hello", "l", "$", "jo")
    run("call")
    run("find")
    run("all")
    ngx.say((ngx.re.gsub("main too", "o", "0", "jo")))
--- response_body
true, world world world, nil, nil
true, HE E none, nil, nil
true, nil, nil, nil
true, nil, pcre_compile() failed: missing ) in "(", nil
false, unknown flag "?" (flags "?"), nil, nil
true, hell[o] w[o]rld, 2, nil
true, nil, nil, failed to compile the replacement template
true, a<1>b<22>, 2, nil
true, 8, 8, nil
true, a1 b2, nil, nil
main t00


=== TEST 13: threads match while the worker does
--- lua
    local threads = {}
    for i = 1, 4 do
        threads[i] = ngx.thread.spawn(ngx.run_worker_thread, "side", "regex", "many", i, 1000)
    end
    local here = 0
    for i = 1, 40 do
        for j = 1, 50 do
            local m = ngx.re.match("main" .. i .. "-" .. j, "([0-9]+)-([0-9]+)", "jo")
            if m[1] == tostring(i) and m[2] == tostring(j) then
                here = here + 1
            end
        end
        ngx.sleep(0)
    end
    ngx.say(here)
    for i = 1, 4 do
        ngx.say(select(3, ngx.thread.wait(threads[i])))
    end
--- response_body
2000
1000
1000
1000
1000


=== TEST 14: shared dictionaries
--- http_config
    lua_shared_dict threads 100k;
    lua_shared_dict others 100k;
--- lua
    local dict = ngx.shared.threads
    dict:flush_all()
    local function run(...)
        local results = { ngx.run_worker_thread("side", "shared", "call", ...) }
        for i = 1, 4 do
            results[i] = tostring(results[i])
        end
        ngx.say(table.concat(results, ", ", 1, 4))
    end
    dict:set("a", 1, 0, 7)
    run("get", "a")
    run("set", "b", "text")
    ngx.say(dict:get("b"))
    run("add", "b", 1)
    run("incr", "a", 5)
    run("incr", "new", 5, 10)
    run("rpush", "list", "x")
    run("llen", "list")
    run("lpop", "list")
    run("get_stale", "b")
    run("expire", "b", 100)
    run("replace", "none", true)
    run("set", "yes", true)
    run("get", "yes")
    run("delete", "yes")
    run("capacity")
    run("get", ("k"):rep(65536))
    run("set", "t", {})
    local _, keys = ngx.run_worker_thread("side", "shared", "call", "get_keys", 2)
    ngx.say(#keys)
    run("flush_all")
    ngx.say(dict:get("a"))
--- response_body
true, 1, 7, nil
true, true, nil, false
text
true, false, exists, false
true, 6, nil, nil
true, 15, nil, false
true, 1, nil, nil
true, 1, nil, nil
true, x, nil, nil
true, text, nil, false
true, true, nil, nil
true, false, not found, false
true, true, nil, false
true, true, nil, nil
true, true, nil, false
true, 102400, nil, nil
true, nil, key too long, nil
true, nil, bad value type, nil
2
true, nil, nil, nil
nil


=== TEST 15: threads and the worker change one dictionary at once
--- http_config
    lua_shared_dict threads 100k;
--- lua
    local dict = ngx.shared.threads
    dict:flush_all()
    local threads, wrong = {}, 0
    for i = 1, 4 do
        threads[i] = ngx.thread.spawn(ngx.run_worker_thread, "side", "shared", "flood", i * 7, 5000)
    end
    for i = 1, 5000 do
        dict:incr("count", 1, 0)
        dict:set("k" .. i % 50, ("x"):rep(i % 700) .. i % 700)
        if i % 100 == 0 then
            ngx.sleep(0)
        end
    end
    for i = 1, 4 do
        wrong = wrong + select(3, ngx.thread.wait(threads[i]))
    end
    ngx.say(wrong, " wrong, count ", dict:get("count"))
--- response_body
0 wrong, count 25000
