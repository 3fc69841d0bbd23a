"""How soon the loop acts: `ci/bench scale`.

Requests become slow; from the moment the client has the answer that makes a rule true until
- the first peer of the pool is active that was not (`in the gateway`: a client asks as fast as it can),
- the first byte of the PATCH reaches a Kubernetes API server (`outward`: a rule on requests, and a rule on ticks).
The gateway has two workers, so that most requests end in another worker than the one that leads.
"""
import json
import re
import select
import socket
import statistics
import threading
import time

PORT, API_PORT, SLOW_PORT = 1986, 1987, 1988
PEERS = 64
ROUNDS, TICK_ROUNDS = 60, 20

CONF = """
    autoscale_zone main:32m keys=16 tick=1s;
    upstream app { zone app 256k; server 127.0.0.1:%(slow)d; }
    upstream pool { zone pool 256k; %(peers)s }
    autoscale_target pool pool:pool min=1;
    autoscale_target requests kubernetes:bench/deployment/requests api=http://127.0.0.1:%(api)d max=100000;
    autoscale_target ticks kubernetes:bench/deployment/ticks api=http://127.0.0.1:%(api)d max=100000;
    autoscale_policy pool target=pool {
        up upstream.app.latency > 20ms for=11r by=+1;
        cooldown up=1ms;
    }
    autoscale_policy requests target=requests {
        up upstream.app.latency > 20ms for=11r by=+1;
        cooldown up=1ms;
    }
    autoscale_policy ticks target=ticks {
        up upstream.app.latency@1s > 20ms by=+1;
        cooldown up=1ms;
    }
    server {
        listen 127.0.0.1:%(port)d reuseport;
        location / { proxy_pass http://app; }
        location = /active {
            content_by_lua_block {
                local active = 0
                for peer in require "ngx.autoscale".peers("pool") do
                    if peer.state == "up" then active = active + 1 end
                end
                ngx.header["Content-Length"] = 4
                ngx.print(string.format("%%4d", active))
            }
        }
    }
    server {
        listen 127.0.0.1:%(slow)d;
        location / {
            content_by_lua_block {
                ngx.sleep(tonumber(ngx.var.arg_ms or 0) / 1000)
                ngx.header["Content-Length"] = 2
                ngx.print("ok")
            }
        }
    }
"""


class Api(threading.Thread):
    """The scale of every deployment of a cluster; notes when the first byte of each PATCH came."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", API_PORT), backlog=64)
        self.replicas, self.version, self.patched = {}, 1, {}

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        while True:
            came = None
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                came = came or time.monotonic()
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            length = int((re.search(rb"(?i)content-length: *(\d+)", head) or [0, 0])[1])
            while len(data) < length:
                data += connection.recv(65536)
            body, data = data[:length], data[length:]
            name = re.search(rb"/deployments/(\w+)", head)[1].decode()
            if head.startswith(b"PATCH"):
                self.version += 1
                self.replicas[name] = json.loads(body)["spec"]["replicas"]
                self.patched.setdefault(name, []).append(came)
            n = self.replicas.setdefault(name, 1)
            answer = json.dumps({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {"name": name, "namespace": "bench", "resourceVersion": str(self.version)},
                "spec": {"replicas": n},
                "status": {"replicas": n, "readyReplicas": n, "selector": "app=" + name}}).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                               % (len(answer), answer))


class Client:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, uri):
        self.socket.sendall(b"GET %s HTTP/1.1\r\nHost: bench\r\n\r\n" % uri.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.socket.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        if b" 200 " not in head:
            raise RuntimeError("unexpected answer: %r" % head[:80])
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        while len(body) < length:
            body += self.socket.recv(65536)
        return body


def until(holds, seconds, what):
    """Waits without sleeping for long; when it came to hold."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError("it did not come to pass within %d s: %s" % (seconds, what))
        select.select([], [], [], 0.0002)
    return time.monotonic()


def slow_requests(clients, count):
    """Sent by turns over connections of both workers; when the last answer had come."""
    for n in range(count):
        clients[n % len(clients)].get("/?ms=30")
    return time.monotonic()


def on_requests(api, clients):
    """A rule that looks at requests: the pool, and the PATCH."""
    inside, outside = [], []
    looker = Client()
    active = lambda: int(looker.get("/active"))
    until(lambda: active() == 1, 10, "one active peer at the beginning")
    for n in range(ROUNDS):
        patched, before = len(api.patched.get("requests", [])), active()
        began = slow_requests(clients, 11)
        inside.append(until(lambda: active() > before, 10, "another active peer") - began)
        until(lambda: len(api.patched.get("requests", [])) > patched, 10, "a PATCH")
        outside.append(api.patched["requests"][patched] - began)
        # a fast one, so that the next eleven are eleven
        clients[0].get("/")
        time.sleep(0.02 + n % 7 / 100)
    return inside, outside


def on_ticks(api, clients):
    """A rule that looks at a window, once a tick."""
    outside = []
    for n in range(TICK_ROUNDS):
        time.sleep(2.5 + n % 10 / 10)
        patched = len(api.patched.get("ticks", []))
        began = slow_requests(clients, 1)
        until(lambda: len(api.patched.get("ticks", [])) > patched, 10, "a PATCH of the tick's rule")
        outside.append(api.patched["ticks"][patched] - began)
    return outside


def row(name, values, bar):
    values = sorted(1000 * max(0.0, v) for v in values)
    p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
    verdict = "" if bar is None else ("held" if p99 <= bar else "MISSED")
    return "| %s | %d | %.1f | %.1f | %s | %s |" % (
        name, len(values), statistics.median(values), p99, "" if bar is None else "%d" % bar, verdict)


def main(nginx):
    """`nginx(conf, workers)` starts the gateway; it is stopped by the caller. False when a bar was missed."""
    peers = " ".join("server 127.0.0.1:%d;" % (20000 + n) for n in range(PEERS))
    api = Api()
    api.start()
    nginx(CONF % {"slow": SLOW_PORT, "port": PORT, "api": API_PORT, "peers": peers}, 2)
    clients = [Client() for _ in range(8)]
    clients[0].get("/")
    # the leader has asked the API how many there are
    until(lambda: {"requests", "ticks"} <= api.replicas.keys(), 20, "the scales were read")
    inside, outside = on_requests(api, clients)
    ticks = on_ticks(api, clients)
    rows = [row("in the gateway, a rule on requests: a peer of the pool is active", inside, 10),
            row("outward, a rule on requests: first byte of the PATCH", outside, None),
            row("outward, a rule on a window, tick of 1 s: first byte of the PATCH", ticks, 1020)]
    print("\nFrom overload to action, in milliseconds\n")
    print("| action | rounds | median | p99 | bar | |\n|---|---:|---:|---:|---:|---|")
    print("\n".join(rows))
    return not any("MISSED" in line for line in rows)
