"""How fast autoscale_balance decides, and what a peer costs: `ci/bench balance`.

A worker makes decisions one after the other, by `pick` of ngx.autoscale: the choice that the method makes for a proxied
request, with the call from Lua around it. All peers are up and nothing is in flight: once before anybody has answered,
and once when all have.
Memory of a peer: what a worker keeps for itself, from the difference between few peers and many; and what the zone sets
aside, which is its size over the peers that it has room for, with their share of everything else in it.
"""
import concurrent.futures
import json
import os
import re
import socket
import statistics
import tempfile

PORT = 1989
PEERS = (10, 100, 1000)
DECISIONS, ROUNDS = 200_000, 5
ZONE_MB = 512

CONF = """
    autoscale_zone main:%(zone)dm keys=16 tick=1s;
    upstream app { zone app 16m; %(peers)s autoscale_balance peak_ewma; }
    server { %(listens)s return 200; }
    server {
        listen 127.0.0.1:%(port)d;
        location / { proxy_pass http://app; }
        location = /status { autoscale_status json; }
        location = /decide {
            content_by_lua_block {
                local pick, n = require("ngx.autoscale").pick, tonumber(ngx.var.arg_n)
                ngx.update_time()
                local began = ngx.now()
                for _ = 1, n do
                    if not pick("app") then error("nobody") end
                end
                ngx.update_time()
                local answer = string.format("%%.0f", n / math.max(ngx.now() - began, 0.001))
                ngx.header["Content-Length"] = #answer
                ngx.print(answer)
            }
        }
    }
"""


def get(uri):
    with socket.create_connection(("127.0.0.1", PORT), 60) as client:
        client.sendall(b"GET %s HTTP/1.0\r\nHost: bench\r\n\r\n" % uri.encode())
        data = b""
        while True:
            more = client.recv(65536)
            if not more:
                break
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head:
        raise RuntimeError("%s: %r" % (uri, head[:80]))
    return body


def private_kb(pid):
    with open("/proc/%d/smaps_rollup" % pid) as fh:
        return sum(int(kb) for kb in re.findall(r"^Private_(?:Clean|Dirty): *(\d+) kB", fh.read(), re.M))


def speeds():
    get("/decide?n=%d" % (DECISIONS // 10))
    return [float(get("/decide?n=%d" % DECISIONS)) for _ in range(ROUNDS)]


def meet(count):
    """Requests, many at a time, until all peers have answered; says how many have."""
    known = 0
    for _ in range(30):
        with concurrent.futures.ThreadPoolExecutor(16) as clients:
            list(clients.map(get, ["/"] * max(count, 64)))
        peers = json.loads(get("/status"))["upstreams"][0]["peers"]
        known = sum(peer["totals"]["2xx"] > 0 for peer in peers)
        if known == count:
            break
    return known


def main(start):
    rows, private = [], {}
    for count in PEERS:
        with tempfile.TemporaryDirectory() as sockets:
            at = ["unix:" + os.path.join(sockets, str(i)) for i in range(count)]
            servers = "\n".join("server %s;" % address for address in at)
            listens = "\n".join("listen %s;" % address for address in at)
            nginx = start(CONF % {"zone": ZONE_MB, "peers": servers, "listens": listens, "port": PORT})
            try:
                rows.append((count, "nobody", speeds()))
                private[count] = private_kb(nginx.workers()[0])
                room = json.loads(get("/status"))["zone"]["peers"]
                known = meet(count)
                rows.append((count, "all" if known == count else "%d" % known, speeds()))
            finally:
                nginx.stop()
    few, many = PEERS[0], PEERS[-1]
    per_peer = (private[many] - private[few]) * 1024 / (many - few)
    print("\n| peers | have answered | decisions/s (median of %d) | spread | one decision |\n|---|---|---|---|---|" % ROUNDS)
    for count, known, runs in rows:
        median = statistics.median(runs)
        print("| %d | %s | %s | %s to %s | %.2f us |" % (
            count, known, f"{median:,.0f}", f"{min(runs):,.0f}", f"{max(runs):,.0f}", 1e6 / median))
    print("\nMemory of a peer: %.0f bytes in each worker; %.0f KB of the zone (%d MB have room for %s peers)."
          % (per_peer, ZONE_MB * 1024 / room, ZONE_MB, f"{room:,}"))
