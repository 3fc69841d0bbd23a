#!/usr/bin/env python3
"""Drives load through the demo's gateway and shows what becomes of it. Started by ci/demo.

Without arguments: live view until Ctrl-C. With --once: a fixed script and a table that sets peers chosen by Lua beside
plain round robin over the same fleet. Open loop: a request is sent when it is due, whatever happened to those before
it, and its latency counts from then.
"""
import asyncio
import json
import sys
import time

GATEWAY = ("127.0.0.1", 8080)
FLEET = (9001, 9002, 9003, 9004)
PATIENCE = 2.0  # a client waits no longer


class Client:
    """Keep-alive connections to one address, as many as are needed at once."""

    def __init__(self, address):
        self.address = address
        self.idle = []

    async def get(self, path, headers=""):
        """Status and headers' text of one GET; raises OSError or EOFError."""
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(*self.address)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: demo\r\n{headers}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
            low = head.lower()
            if "transfer-encoding: chunked" in low:
                body = b""
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            else:
                body = await reader.readexactly(int(low.split("content-length:", 1)[1].split("\r\n", 1)[0]))
        except BaseException:
            writer.close()
            raise
        if "connection: close" in low:
            writer.close()
        else:
            self.idle.append((reader, writer))
        return int(head.split(" ", 2)[1]), head, body

    def close(self):
        for _, writer in self.idle:
            writer.close()
        self.idle.clear()


class Tally:
    """What became of the requests of one stage."""

    def __init__(self):
        self.latencies = []
        self.errors = 0
        self.shed = 0
        self.by_peer = dict.fromkeys(FLEET, 0)
        self.checkout = [0, 0]  # served, sent

    def quantile(self, q):
        values = sorted(self.latencies)
        return values[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


async def request(client, path, batch, due, tally):
    tally.checkout[1] += not batch
    headers = "X-Class: batch\r\n" if batch else "X-Class: checkout\r\n"
    try:
        status, head, _ = await asyncio.wait_for(client.get(path, headers), PATIENCE)
    except (OSError, EOFError, asyncio.TimeoutError):
        tally.errors += 1
        return
    if status == 200:
        tally.latencies.append(time.perf_counter() - due)
        tally.by_peer[int(head.split("X-Served-By: ", 1)[1][:4])] += 1
        tally.checkout[0] += not batch
    elif status == 503 and "Retry-After" in head:
        tally.shed += 1
    else:
        tally.errors += 1


async def load(path, rate, seconds, tally=None):
    """Sends `rate` requests a second to `path` for a while; every fifth is checkout, the others batch work."""
    tally = tally or Tally()
    client, tasks = Client(GATEWAY), []
    start = time.perf_counter()
    for i in range(int(rate * seconds)):
        due = start + i / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(request(client, path, i % 5 != 0, due, tally)))
    await asyncio.gather(*tasks)
    client.close()
    return tally


async def set_fleet(states):
    """Makes each backend what `states` says (port -> query); those not named are well."""
    for port in FLEET:
        client = Client(("127.0.0.1", port))
        await client.get("/state?" + states.get(port, ""))
        client.close()


async def ready():
    for port in (*FLEET, GATEWAY[1]):
        for attempt in range(100):
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                if attempt == 99:
                    sys.exit(f"demo: nothing listens on 127.0.0.1:{port}; see the messages above")
                await asyncio.sleep(0.1)


STAGES = [  # name, requests a second, what is wrong
    ("all well", 300, {}),
    ("9003 ten times slower", 300, {9003: "slow=0.2"}),
    ("9004 fails", 300, {9004: "fail=1"}),
    ("twice the load", 1400, {}),
]


async def once():
    rows = []
    for name, rate, states in STAGES:
        for label, path in (("round robin", "/plain/"), ("Lua + metrics", "/")):
            print(f"demo: {name}: {rate} requests/s through {label} ...", flush=True)
            await set_fleet(states)
            await load(path, rate, 0.5)  # let it find its feet
            tally = await load(path, rate, 2.5)
            rows.append((name, label, tally))
            await asyncio.sleep(0.3)
    await set_fleet({})
    print(f"\n| {'stage':22} | {'peers chosen by':15} | p50 ms | p99 ms | errors | shed | checkout served | share of each peer % |")
    print(f"|{'-' * 24}|{'-' * 17}|-------:|-------:|-------:|-----:|----------------:|----------------------|")
    for name, label, t in rows:
        total = max(1, sum(t.by_peer.values()))
        shares = " ".join(f"{100 * n / total:3.0f}" for n in t.by_peer.values())
        print(f"| {name:22} | {label:15} | {1000 * t.quantile(0.5):6.0f} | {1000 * t.quantile(0.99):6.0f} "
              f"| {t.errors:6} | {t.shed:4} | {100 * t.checkout[0] / max(1, t.checkout[1]):14.1f}% | {shares:20} |")
    print("\nLatency counts from when a request was due; requests shed got 503 with Retry-After at once.")


async def live():
    client = Client(GATEWAY)
    for stage in range(10**9):
        name, rate, states = STAGES[stage % len(STAGES)]
        await set_fleet(states)
        tally = Tally()
        running = asyncio.create_task(load("/", rate, 8, tally))
        while not running.done():
            before = (len(tally.latencies), tally.shed, tally.errors, dict(tally.by_peer))
            await asyncio.sleep(1)
            status = json.loads((await client.get("/autoscale"))[2])
            show(name, rate, tally, before, status)
        await running


def show(name, rate, tally, before, status):
    served, shed, errors, by_peer = before
    recent = sorted(tally.latencies[served:]) or [float("nan")]
    print("\033[H\033[2J" + f"autoscale-lua demo: {name} ({rate} requests/s)   Ctrl-C stops\n")
    print(f"  served {len(tally.latencies) - served}/s   shed {tally.shed - shed}/s   errors {tally.errors - errors}/s   "
          f"p50 {1000 * recent[len(recent) // 2]:.0f} ms   p99 {1000 * recent[int(0.99 * (len(recent) - 1))]:.0f} ms\n")
    peers = {p["name"]: p for u in status["upstreams"] if u["name"] == "app" for p in u["peers"]}
    print("  peer              served/s   in flight   latency (zone)")
    for port in FLEET:
        rate_now = tally.by_peer[port] - by_peer[port]
        peer = peers.get(f"127.0.0.1:{port}", {})
        latency = peer.get("ewma", {}).get("latency") or 0
        print(f"  127.0.0.1:{port}  {rate_now:9}   {peer.get('active', 0):9}   {1000 * latency:9.1f} ms  "
              + "#" * min(60, rate_now // 5))


async def main():
    await ready()
    await (once() if "--once" in sys.argv[1:] else live())


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print()
