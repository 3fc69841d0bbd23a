"""What the clients of ci/soak ask for: one row for each route, and the servers
behind them, which fail now and then on purpose.

To have another API in the soak, add a row to ROUTES: a path, the body of its
location, and what is a right answer. Each is asked for with TLS, too.
"""
import asyncio
import hashlib
import os
import re
import struct

from soak_tls import NAMES

GATEWAY, GATEWAY_TLS, TLS, BACKEND, REDIS, FAULTY_REDIS, UDP, DNS = 8080, 8444, 8443, 8081, 6379, 6380, 8053, 5353


class Route:
    """A path, its location, and how its answers are judged.

    right    the body; or a function of (status, body, sent) that tells
    may_fail an answer that is right while something behind it fails on purpose
    sends    the lengths of bodies to send; none for GET
    slowly   the client takes its time to read
    lone     the connection is not used again
    """

    def __init__(self, path, conf, right, may_fail=None, sends=(), slowly=False, lone=False):
        self.path, self.conf, self.right, self.may_fail = path, conf, right, may_fail
        self.sends, self.slowly, self.lone = sends, slowly, lone

    def judge(self, status, body, sent):
        """"right", "failed" (on purpose, it seems) or "wrong"."""
        if callable(self.right):
            good = self.right(status, body, sent)
        else:
            good = status == 200 and body == self.right
        if good:
            return "right"
        return "failed" if self.may_fail and self.may_fail(status, body) else "wrong"


def content(lua):
    return "content_by_lua_block { %s }" % lua


def md5(status, body, sent):
    return status == 200 and body.strip().decode() == hashlib.md5(sent).hexdigest()


def says_failed(status, body):
    return status == 200 and body.startswith(b"failed: ")


def gateway_error(status, body):
    return status in (502, 504)


ROUTES = [
    Route("/hello", content('ngx.say("hello")'), b"hello\n"),
    Route("/dict", content("""
        local n = ngx.shared.counts:incr("n", 1, 0)
        ngx.shared.counts:set("k" .. n % 500, string.rep("x", n % 300), 5)
        ngx.say(n > 0)"""), b"true\n"),
    Route("/sleep", content('ngx.sleep(0.05) ngx.say("slept")'), b"slept\n"),
    Route("/threads", content("""
        local function f(n) ngx.sleep(n / 1000) return n end
        local a, b, c = ngx.thread.spawn(f, 3), ngx.thread.spawn(f, 1), ngx.thread.spawn(f, 20)
        local sum = select(2, ngx.thread.wait(a)) + select(2, ngx.thread.wait(b))
        ngx.thread.kill(c)
        ngx.say(sum)"""), b"4\n"),
    Route("/exits", content("""
        ngx.thread.spawn(function() ngx.sleep(0.002) ngx.say("left") ngx.exit(200) end)
        ngx.thread.spawn(function() ngx.socket.connect("127.0.0.1", BACKEND):receive() end)
        ngx.sleep(10)"""), b"left\n"),
    Route("/execs", """access_by_lua_block {
        ngx.thread.spawn(function() ngx.sleep(0.001) ngx.exec("/hello") end)
        ngx.sleep(10) }""", b"hello\n"),
    Route("/timer", content("""
        local s = require("ngx.semaphore").new()
        local ok, err = ngx.timer.at(0, function() ngx.sleep(0.001) s:post() end)
        if not ok then
            ngx.say(err == "process exiting" or err == "too many pending timers" or err)
            return
        end
        ngx.say(s:wait(5))"""), b"true\n"),
    Route("/turn", content("""
        local ok = turns:wait(5)
        ngx.sleep(0.002)
        turns:post()
        ngx.say(ok)"""), b"true\n"),
    Route("/thread_pool", content("""
        ngx.say(select(2, ngx.run_worker_thread("soak", "soak_thread", "twice", 21)))"""), b"42\n"),
    Route("/abort", "lua_check_client_abort on;" + content("""
        ngx.on_abort(function() ngx.shared.counts:incr("aborts", 1, 0) ngx.exit(499) end)
        ngx.sleep(0.03)
        ngx.say("stayed")"""), b"stayed\n"),
    Route("/flush", "lua_check_client_abort on;" + content("""
        local block = string.rep("0123456789abcdef", 2048)
        for _ = 1, 20 do
            ngx.print(block)
            if not ngx.flush(true) then return end
        end"""), lambda status, body, _: status == 200 and len(body) == 20 * 32768, slowly=True),
    Route("/socket", content("""
        local sock = ngx.socket.tcp()
        sock:settimeout(1000)
        local ok, err = sock:connect("127.0.0.1", BACKEND)
        if ok then ok, err = sock:send("GET /socket HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n") end
        local head, body
        if ok then head, err = sock:receiveuntil("\\r\\n\\r\\n")() end
        if head then body, err = sock:receive(3) end
        if body == "ok\\n" then sock:setkeepalive(10000, 20) end
        ngx.say(body == "ok\\n" and "ok" or "failed: " .. tostring(err))"""), b"ok\n", says_failed),
    Route("/redis", content("""
        local red = require("nginx.redis"):new()
        red:set_timeout(500)
        local value
        local ok, err = red:connect("127.0.0.1", FAULTY_REDIS, { pool_size = 8, backlog = 100 })
        if ok then ok, err = red:set("key", "a value") end
        if ok then value, err = red:get("key") end
        if value == "a value" then
            red:set_keepalive(5000, 8)
            ngx.say("ok")
        else
            red:close()
            ngx.say("failed: ", err)
        end"""), b"ok\n", says_failed),
    Route("/tls", content("""
        local sock = ngx.socket.tcp()
        sock:settimeout(2000)
        local answer
        local ok, err = sock:connect("127.0.0.1", TLS)
        if ok then
            ok, err = sock:sslhandshake(session, "test.example", true)
            if ok and ok ~= true then session = ok end
        end
        if ok then ok, err = sock:send("GET /hello HTTP/1.1\\r\\nHost: test.example\\r\\n\\r\\n") end
        if ok then answer, err = sock:receiveuntil("hello\\n\\r\\n0\\r\\n\\r\\n")() end
        if answer then sock:setkeepalive(2000, 5) else sock:close() end
        ngx.say(answer and "ok" or "failed: " .. tostring(err))"""), b"ok\n", says_failed),
    Route("/udp", content("""
        local sock = ngx.socket.udp()
        sock:settimeout(300)
        local ok, err = sock:setpeername("127.0.0.1", UDP)
        if ok then ok, err = sock:send("ping") end
        local answer
        if ok then answer, err = sock:receive() end
        sock:close()
        ngx.say(answer == "pong" and "ok" or "failed: " .. tostring(err))"""), b"ok\n", says_failed),
    Route("/name", content("""
        local sock = ngx.socket.tcp()
        sock:settimeout(1000)
        local ok, err = sock:connect("n" .. math.random(1000) .. ".test", BACKEND)
        if ok then sock:close() end
        ngx.say(ok and "ok" or "failed: " .. tostring(err))"""), b"ok\n", says_failed),
    Route("/capture", content("""
        local a, b = ngx.location.capture_multi { { "/hello" }, { "/proxy" } }
        local c = ngx.location.capture("/sleep")
        ngx.print(a.body, (b.status == 200 or b.status == 502 or b.status == 504) and c.body)"""), b"hello\nslept\n"),
    Route("/body", content("""
        ngx.req.read_body()
        local data = ngx.req.get_body_data()
        if not data then
            local file = io.open(ngx.req.get_body_file())
            data = file:read("*a")
            file:close()
        end
        ngx.say(ngx.md5(data))"""), md5, sends=(10, 1000, 30000)),
    Route("/reqsock", "lua_check_client_abort on;" + content("""
        local sock, pieces = assert(ngx.req.socket()), {}
        while true do
            local data, err = sock:receiveany(4096)
            if not data then break end
            pieces[#pieces + 1] = data
        end
        ngx.say(ngx.md5(table.concat(pieces)))"""), md5, sends=(10, 1000, 30000, 300000)),
    Route("/raw", content("""
        local sock = assert(ngx.req.socket(true))
        sock:send("HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nraw\\n")"""),
          b"raw\n", lone=True),
    Route("/proxy", """
        access_by_lua_block { ngx.ctx.began = ngx.now() }
        header_filter_by_lua_block { ngx.header["X-Filtered"] = "yes" }
        body_filter_by_lua_block { ngx.ctx.length = (ngx.ctx.length or 0) + #ngx.arg[1] }
        log_by_lua_block { ngx.shared.counts:incr("proxied", 1, 0) }
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 1s;
        proxy_pass http://backend;""", b"ok\n", gateway_error),
    Route("/balanced", """
        proxy_read_timeout 1s;
        proxy_pass http://balanced;""", b"ok\n", gateway_error),
    Route("/metrics", content("""
        local autoscale = require "ngx.autoscale"
        autoscale.incr("asked", 1)
        autoscale.observe("random", math.random())
        ngx.say("counted")"""), b"counted\n"),
    Route("/pipe", content("""
        local proc = assert(require("ngx.pipe").spawn { "cat" })
        local n = proc:write("hello\\n")
        proc:shutdown("stdin")
        local line = proc:stdout_read_line()
        ngx.say(n, " ", line, " ", table.concat({ tostring(proc:wait()) }))"""), b"6 hello true\n"),
    Route("/pipe_ends", content("""
        local spawn = require("ngx.pipe").spawn
        local left, killed, ended = spawn { "sleep", "60" }, spawn { "sleep", "60" }, spawn("exit 3")
        ngx.sleep(math.random() * 0.01)
        killed:kill(9)
        local _, how, code = killed:wait()
        local _, way, status = ended:wait()
        ngx.say(how, " ", code, " ", way, " ", status, " ", left:pid() > 0)"""), b"signal 9 exit 3 true\n"),
    Route("/http", content("""
        local res, err = require("autoscale.http").get("http://127.0.0.1:BACKEND/",
            { timeout = 1000, keepalive = { idle = 5000, size = 10 } })
        ngx.say(res and res.body == "ok\\n" and res.status == 200 and "ok" or "failed: " .. tostring(err))"""),
          b"ok\n", says_failed),
    Route("/http_post", content("""
        local pieces, sent, n = {}, {}, 0
        local res, err = require("autoscale.http").post("http://127.0.0.1:GATEWAY/body", function()
            n = n + 1
            sent[n] = n < 6 and string.rep(n, math.random(9000)) or nil
            if n == 3 then ngx.sleep(0.001) end
            return sent[n]
        end, { timeout = 5000, stream = true, keepalive = { idle = 2000, size = 5 } })
        while res do
            local piece, why = res.reader()
            if not piece then err = why break end
            pieces[#pieces + 1] = piece
        end
        local right = ngx.md5(table.concat(sent)) .. "\\n"
        ngx.say(err and "failed: " .. err or table.concat(pieces) == right and "ok" or table.concat(pieces))"""),
          b"ok\n", says_failed),
    Route("/https", content("""
        local res, err = require("autoscale.http").get("https://127.0.0.1:TLS/hello",
            { timeout = 5000, tls = { server_name = "test.example" }, keepalive = { idle = 1000, size = 5 } })
        ngx.say(res and res.body == "hello\\n" and "ok" or "failed: " .. tostring(err))"""), b"ok\n", says_failed),
    Route("/https_other", content("""
        local res, err = require("autoscale.http").get("https://127.0.0.1:TLS/hello",
            { timeout = 5000, tls = { server_name = "other.example" } })
        ngx.say(not res and err:find("certificate") and "refused" or "failed: " .. tostring(err))"""),
          b"refused\n", lambda status, body: says_failed(status, body) and body != b"failed: nil\n"),
    Route("/kept", """
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 1s;
        proxy_pass http://kept;""", b"ok\n", gateway_error),
    Route("/held", """
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 1s;
        proxy_pass http://held;""", b"ok\n", lambda status, body: status in (502, 503, 504)),
    Route("/precontent", """
        set $made "";
        precontent_by_lua_block {
            local sock = ngx.socket.tcp()
            if sock:connect("127.0.0.1", BACKEND) then sock:close() end
            ngx.sleep(0.001)
            ngx.var.made = "made"
        }
        content_by_lua_block { ngx.say(ngx.var.made) }""", b"made\n"),
    Route("/thread_regex", content("""
        ngx.say(select(2, ngx.run_worker_thread("soak", "soak_thread", "regex", math.random(1000))))"""), b"20\n"),
    Route("/thread_dict", content("""
        ngx.say(select(2, ngx.run_worker_thread("soak", "soak_thread", "dict", math.random(1000))))"""), b"0\n"),
    Route("/status", "autoscale_status json;", lambda status, body, _: status == 200 and body.startswith(b"{")),
]

# What the error log may say of what is done to the gateway on purpose.
EXPLAINED = re.compile("|".join([
    r"upstream prematurely closed connection", r"upstream sent invalid header", r"upstream timed out",
    r"recv\(\) failed \(104: Connection reset by peer\)", r"send\(\) failed \((32|104): ",
    r"connect\(\) failed \(111: Connection refused\)", r"no live upstreams",
]))

CONF = """
load_module %(module)s;
daemon off;
worker_processes 2;
worker_shutdown_timeout 5s;
thread_pool soak threads=4;
pid %(dir)s/nginx.pid;
error_log %(dir)s/error.log error;
%(user)s
events { worker_connections 2048; }
http {
    access_log off;
    client_body_temp_path %(dir)s/body; proxy_temp_path %(dir)s/proxy; fastcgi_temp_path %(dir)s/fastcgi;
    uwsgi_temp_path %(dir)s/uwsgi; scgi_temp_path %(dir)s/scgi;
    keepalive_requests 100000;
    client_max_body_size 1m;
    lua_package_path "%(dir)s/?.lua;;";
    lua_socket_log_errors off;
    lua_ssl_trusted_certificate %(root)s/t/cert/ca.crt;
    lua_shared_dict counts 1m;
    lua_shared_dict threads 128k;
    lua_shared_dict certs 64k;
    lua_shared_dict sessions 1m;
    resolver 127.0.0.1:%(dns)d ipv6=off valid=1s;
    resolver_timeout 400ms;
    autoscale_zone soak:8m;
    upstream backend { server 127.0.0.1:%(backend)d max_fails=0; keepalive 8; }
    upstream held {
        zone held 64k;
        server 127.0.0.1:%(backend)d;
        server 127.0.0.2:%(backend)d;
        server 127.0.0.3:%(backend)d;
        autoscale_balance peak_ewma;
        autoscale_protect limit=4 queue=100 timeout=1s;
        autoscale_eject;
        keepalive 8;
    }
    upstream balanced {
        server 0.0.0.1;
        balancer_by_lua_block { assert(require("ngx.balancer").set_current_peer("127.0.0.1", %(backend)d)) }
    }
    upstream kept {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", %(backend)d))
            assert(balancer.enable_keepalive(1, 50))
        }
    }
    init_worker_by_lua_block {
        turns = require("ngx.semaphore").new(4)
        assert(ngx.timer.every(0.5, function() ngx.shared.counts:incr("ticks", 1, 0) end))
    }
    server {
        listen 127.0.0.1:%(gateway)d backlog=4096;
        listen 127.0.0.1:%(gateway_tls)d ssl backlog=4096;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;
        ssl_certificate %(root)s/t/cert/selfsigned.crt;
        ssl_certificate_key %(root)s/t/cert/server.key;
        ssl_client_hello_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeout(500)
            if sock:connect("127.0.0.1", %(backend)d) and sock:send("GET /hello HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
                and sock:receiveuntil("\\r\\n\\r\\n")() and sock:receive(3) == "ok\\n" then
                sock:setkeepalive(2000, 5)
            else
                sock:close()
            end
        }
        ssl_certificate_by_lua_block {
            local ssl, certs = require "ngx.ssl", ngx.shared.certs
            local name = ssl.server_name()
            ngx.sleep(math.random() * 0.01)
            local file = ({ %(names)s })[name]
            if not file then return ngx.exit(ngx.ERROR) end
            local function pem(what)
                local text = certs:get(what)
                if not text then
                    local fh = assert(io.open("%(root)s/t/cert/" .. what))
                    text = fh:read("*a")
                    fh:close()
                    certs:set(what, text, 1)
                    ngx.sleep(0.001)
                end
                return text
            end
            local cert = assert(ssl.parse_pem_cert(pem(file .. ".crt")))
            local key = assert(ssl.parse_pem_priv_key(pem(file .. ".key")))
            assert(ssl.clear_certs())
            assert(ssl.set_cert(cert))
            assert(ssl.set_priv_key(key))
        }
        %(locations)s
        location = /rest {
            content_by_lua_block {
                collectgarbage()
                collectgarbage()
                ngx.say(ngx.worker.pid(), " ", ngx.timer.pending_count(), " ", ngx.timer.running_count(), " ",
                    math.floor(collectgarbage("count")))
            }
        }
    }
    ssl_session_fetch_by_lua_block {
        local sessions = require "ngx.ssl.session"
        ngx.sleep(math.random() * 0.005)
        local session = ngx.shared.sessions:get(sessions.get_session_id())
        if session then assert(sessions.set_serialized_session(session)) end
    }
    ssl_session_store_by_lua_block {
        local sessions = require "ngx.ssl.session"
        ngx.shared.sessions:set(sessions.get_session_id(), sessions.get_serialized_session(), 600)
    }
    server {
        listen 127.0.0.1:%(tls)d ssl backlog=4096;
        ssl_certificate %(root)s/t/cert/server.crt;
        ssl_certificate_key %(root)s/t/cert/server.key;
        ssl_session_cache shared:soak_tls:1m;
        location = /hello { content_by_lua_block { ngx.say("hello") } }
    }
}
"""

# What threads of the pool run.
THREAD = """
local M = {}
function M.twice(n) return 2 * n end
function M.regex(seed)
    local right = 0
    for i = 1, 20 do
        local text = "k" .. seed .. "-" .. i
        local m = ngx.re.match(text, "^k([0-9]+)-([0-9]+)$", i % 2 == 0 and "jo" or "")
        local s = ngx.re.gsub(text, "-", "$0-", "jo")
        if m and m[1] == tostring(seed) and m[2] == tostring(i) and s == "k" .. seed .. "--" .. i then
            right = right + 1
        end
    end
    return right
end
-- How many values were not whole.
function M.dict(seed)
    local dict, wrong = ngx.shared.threads, 0
    for i = 1, 100 do
        local text = ("x"):rep(1 + (i * seed) % 900)
        dict:set("k" .. (i * seed) % 200, text .. #text)
        local got = dict:get("k" .. i)
        if got and (not got:find("^x+[0-9]+$") or #got:match("^x+") ~= tonumber(got:match("[0-9]+$"))) then
            wrong = wrong + 1
        end
    end
    return wrong
end
return M
"""

# What ci/soak --self-check adds to every request; each must be found.
LEAKS = {
    "descriptor": 'if math.random() < 0.1 then leaked[#leaked + 1] = io.open("/dev/null") end',
    "memory": 'leaked[#leaked + 1] = string.rep("x", 3000) .. #leaked',
    "timer": "if math.random() < 0.005 then ngx.timer.at(3600, function() end) end",
    "socket": """if math.random() < 0.05 and ngx.timer.running_count() < 100 then
        ngx.timer.at(0, function()
            local sock = ngx.socket.udp()
            sock:setpeername("127.0.0.1", 9)
            ngx.sleep(3600)
            sock:close()
        end)
    end""",
    "program": 'if math.random() < 0.001 then leaked[#leaked + 1] = io.popen("exec sleep 3600") end',
    "handshake": """if math.random() < 0.001 and ngx.shared.certs:get("server.crt") then
        ngx.shared.certs:set("deep.crt", ngx.shared.certs:get("server.crt"), 0.05)
        ngx.shared.certs:set("deep.key", ngx.shared.certs:get("server.key"), 0.05)
    end""",
    "answer": 'if math.random() < 0.001 then ngx.say("wrong") end',
    "error": 'if math.random() < 0.001 then ngx.timer.at(0, function() error("injected") end) end',
    "hang": "if math.random() < 0.01 then ngx.sleep(30) end",
    "crash": "if math.random() < 0.001 then require('ffi').cast('int *', 0)[0] = 1 end",
}


def write_conf(directory, module, root, leak):
    ports = {"BACKEND": BACKEND, "FAULTY_REDIS": FAULTY_REDIS, "TLS": TLS, "UDP": UDP, "GATEWAY": GATEWAY}
    locations = "server_rewrite_by_lua_block { leaked = leaked or {} %s }\n        " % LEAKS[leak] if leak else ""
    for route in ROUTES:
        conf = re.sub(r"\b(%s)\b" % "|".join(ports), lambda m: str(ports[m.group(1)]), route.conf)
        locations += "location = %s { %s }\n        " % (route.path, conf)
    facts = {"module": module, "dir": directory, "root": root, "gateway": GATEWAY, "gateway_tls": GATEWAY_TLS, "tls": TLS,
             "backend": BACKEND, "dns": DNS, "user": "user root;" if os.geteuid() == 0 else "", "locations": locations,
             "names": ", ".join('["%s"] = "%s"' % (name, file[:-4]) for name, file in NAMES.items())}
    with open(os.path.join(directory, "nginx.conf"), "w") as fh:
        fh.write(CONF % facts)
    with open(os.path.join(directory, "soak_thread.lua"), "w") as fh:
        fh.write(THREAD)


# ---------------------------------------------------------------- servers

class Servers:
    """What stands behind the gateway. `faults` counts what failed on purpose."""

    def __init__(self, rng):
        self.rng = rng
        self.faults = 0
        self.open = []

    async def start(self):
        loop = asyncio.get_running_loop()
        self.open.append(await asyncio.start_server(self.backend, ["127.0.0.1", "127.0.0.2", "127.0.0.3"], BACKEND))
        self.open.append(await asyncio.start_server(self.redis, "127.0.0.1", FAULTY_REDIS))
        for answer, port in ((self.pong, UDP), (self.name, DNS)):
            transport, _ = await loop.create_datagram_endpoint(lambda a=answer: Datagrams(a), ("127.0.0.1", port))
            self.open.append(transport)

    def stop(self):
        for server in self.open:
            server.close()

    async def backend(self, reader, writer):
        """Answers `ok`, unless it is its turn to fail."""
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                fate = self.rng.random()
                if fate < 0.04:
                    self.faults += 1
                    if fate < 0.015:
                        return
                    if fate < 0.02:
                        writer.transport.abort()
                        return
                    if fate < 0.03:
                        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut")
                        return
                    writer.write(b"HTTP/1.1 200 OK\r\n\x01\r\n\r\n")
                    return
                if fate < 0.10:
                    await asyncio.sleep(self.rng.random() * 0.2)
                elif fate < 0.103:
                    self.faults += 1
                    await asyncio.sleep(1.5)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def redis(self, reader, writer):
        """Passes what comes on to the real one, unless it is its turn to fail."""
        try:
            real_reader, real_writer = await asyncio.open_connection("127.0.0.1", REDIS)
        except OSError:
            writer.close()
            return

        async def back():
            while data := await real_reader.read(65536):
                fate = self.rng.random()
                if fate < 0.005:
                    self.faults += 1
                    writer.write(data[:2])
                    writer.close()
                    break
                if fate < 0.01:
                    self.faults += 1
                    writer.transport.abort()
                    break
                if fate < 0.012:
                    self.faults += 1
                    await asyncio.sleep(0.7)
                writer.write(data)
        task = asyncio.create_task(back())
        try:
            while data := await reader.read(65536):
                if task.done():
                    break
                real_writer.write(data)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            task.cancel()
            real_writer.close()
            writer.close()

    def pong(self, data, send):
        if self.rng.random() < 0.01:
            self.faults += 1
        else:
            asyncio.get_running_loop().call_later(self.rng.random() * 0.01, send, b"pong")

    def name(self, query, send):
        """An address for each name (RFC 1035), no answer, or a failure."""
        fate = self.rng.random()
        if fate < 0.04:
            self.faults += 1
            if fate < 0.02:
                return
            send(query[:2] + b"\x81\x82" + query[4:])
            return
        end = query.index(b"\0", 12) + 5
        record = b"\xc0\x0c" + struct.pack(">HHIH4B", 1, 1, 1, 4, 127, 0, 0, 1)
        send(query[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + query[12:end] + record)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer):
        self.answer = answer

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.answer(data, lambda reply: self.transport.sendto(reply, address))
