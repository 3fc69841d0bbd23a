"""How fast autoscale_balance decides, and what a peer costs: `ci/bench balance`.

A worker makes decisions one after the other, by `pick` of ngx.autoscale: the choice that the method makes for a proxied
request, with the call from Lua around it. All peers are up, nothing is in flight and none has answered yet, so that
what is kept of a peer from one decision to the next is of no help.
Memory of a peer: what a worker keeps for itself, from the difference between few peers and many; and what the zone sets
aside, which is its size over the peers that it has room for, with their share of everything else in it.
"""
import json
import re
import socket
import statistics

PORT = 1989
PEERS = (10, 100, 1000)
DECISIONS, ROUNDS = 200_000, 5
ZONE_MB = 512

CONF = """
    autoscale_zone main:%(zone)dm keys=16 tick=1s;
    upstream app { zone app 16m; %(peers)s autoscale_balance peak_ewma; }
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


def address(i):
    return "127.%d.%d.%d:9" % (1 + i // 62500, i // 250 % 250, 1 + i % 250)


def main(start):
    rows, private = [], {}
    for count in PEERS:
        servers = "\n".join("server %s;" % address(i) for i in range(count))
        nginx = start(CONF % {"zone": ZONE_MB, "peers": servers, "port": PORT})
        try:
            get("/decide?n=%d" % (DECISIONS // 10))
            speeds = [float(get("/decide?n=%d" % DECISIONS)) for _ in range(ROUNDS)]
            private[count] = private_kb(nginx.workers()[0])
            room = json.loads(get("/status"))["zone"]["peers"]
        finally:
            nginx.stop()
        rows.append((count, statistics.median(speeds), min(speeds), max(speeds)))
    few, many = PEERS[0], PEERS[-1]
    per_peer = (private[many] - private[few]) * 1024 / (many - few)
    print("\n| peers | decisions/s (median of %d) | spread | one decision |\n|---|---|---|---|" % ROUNDS)
    for count, median, least, most in rows:
        print("| %d | %s | %s to %s | %.2f us |" % (count, f"{median:,.0f}", f"{least:,.0f}", f"{most:,.0f}", 1e6 / median))
    print("\nMemory of a peer: %.0f bytes in each worker; %.0f KB of the zone (%d MB have room for %s peers)."
          % (per_peer, ZONE_MB * 1024 / room, ZONE_MB, f"{room:,}"))
