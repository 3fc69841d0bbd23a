#!/usr/bin/env python3
"""Drives load through the demo's gateway and shows what becomes of it. Started by ci/demo with its directory.

Without --once: live view until Ctrl-C. With it: a fixed script. One table sets peers chosen by Lua beside plain round
robin over the same fleet. Then ten times the load comes at once to a pool of which one peer is active and seven stand
by, first with "autoscale on", then with "observe": what is decided is printed as it is decided. The exit status says
whether the pool did what it is for. Open loop: a request is sent when it is due, whatever happened to those before it,
and its latency counts from then.
"""
import asyncio
import json
import os
import pathlib
import signal
import sys
import time

GATEWAY = ("127.0.0.1", 8080)
FLEET = (9001, 9002, 9003, 9004)
POOL = tuple(range(9001, 9009))
USUAL, FLASH = 80, 800  # requests a second; one peer serves 200
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
        self.sent = 0
        self.by_peer = dict.fromkeys(POOL, 0)
        self.checkout = [0, 0]  # served, sent

    def quantile(self, q):
        values = sorted(self.latencies)
        return values[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


async def request(client, path, batch, due, tally):
    tally.checkout[1] += not batch
    tally.sent += 1
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
    for port in (*POOL, GATEWAY[1]):
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
            await load(path, rate, 0.4)  # let it find its feet
            tally = await load(path, rate, 1.4)
            rows.append((name, label, tally))
            await asyncio.sleep(0.2)
    await set_fleet({})
    print(f"\n| {'stage':22} | {'peers chosen by':15} | p50 ms | p99 ms | errors | shed | checkout served | share of each peer % |")
    print(f"|{'-' * 24}|{'-' * 17}|-------:|-------:|-------:|-----:|----------------:|----------------------|")
    for name, label, t in rows:
        total = max(1, sum(t.by_peer.values()))
        shares = " ".join(f"{100 * n / total:3.0f}" for n in map(t.by_peer.get, FLEET))
        print(f"| {name:22} | {label:15} | {1000 * t.quantile(0.5):6.0f} | {1000 * t.quantile(0.99):6.0f} "
              f"| {t.errors:6} | {t.shed:4} | {100 * t.checkout[0] / max(1, t.checkout[1]):14.1f}% | {shares:20} |")
    print("\nLatency counts from when a request was due; requests shed got 503 with Retry-After at once.")


class Gateway:
    """The gateway's own word: its decisions, and the pool."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.log = self.directory / "decisions.log"
        self.at = 0
        self.client = Client(GATEWAY)

    def decisions(self):
        """What was decided since the last call."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(self.at)
            *lines, _ = log.read().split(b"\n")
        self.at += sum(len(line) + 1 for line in lines)
        return [json.loads(line) for line in lines]

    async def active(self):
        """How many peers of the pool take requests."""
        status = json.loads((await self.client.get("/autoscale"))[2])
        peers = next(u["peers"] for u in status["upstreams"] if u["name"] == "shop")
        return sum(p["state"] == "up" for p in peers)

    async def reload(self, mode):
        """Has it run with `autoscale MODE`."""
        conf = self.directory / "demo.conf"
        conf.write_text(conf.read_text().replace("autoscale on;", f"autoscale {mode};"))
        os.kill(int((self.directory / "gateway.pid").read_text()), signal.SIGHUP)
        await asyncio.sleep(1)
        self.client.close()


class Flash:
    """Ten times the load at once, and what was decided about it."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.tally = Tally()
        self.most = 0
        self.scaled = self.would = 0
        self.first = None  # seconds from the flash to the first decision
        self.last = None

    async def run(self, seconds):
        await load("/shop/", USUAL, 1, Tally())
        self.gateway.decisions()
        start, wall = time.perf_counter(), time.time()
        running = asyncio.create_task(load("/shop/", FLASH, seconds, self.tally))
        while not running.done():
            await asyncio.sleep(0.1)
            await self.look(wall)
        again = f", and {self.would - 1} times more the same" if self.would > 1 else ""
        print(f"  {time.perf_counter() - start:6.2f} s   all requests of the flash have ended{again}", flush=True)
        return wall

    async def calm(self, wall, goal, patience):
        """The usual load, until the pool is down to `goal`."""
        end = time.perf_counter() + patience
        while await self.active() > goal and time.perf_counter() < end:
            await load("/shop/", USUAL, 0.5, Tally())
            await self.look(wall)
        return await self.active()

    async def active(self):
        return await self.gateway.active()

    async def look(self, wall):
        for d in self.gateway.decisions():
            if d["action"] not in ("scale", "would", "failed"):
                continue
            at = time.mktime(time.strptime(d["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
            at += float("0" + d["time"][19:].rstrip("Z")) - wall
            if d["action"] == "failed":
                print(f"  {at:6.2f} s   failed: {d['result']}", flush=True)
                continue
            self.scaled += d["action"] == "scale"
            self.would += d["action"] == "would"
            self.first = at if self.first is None else self.first
            # with observe the same is decided again and again
            if d["action"] == "scale" or d["reason"] != self.last:
                print(f"  {at:6.2f} s   {d['reason']}", flush=True)
            self.last = d["reason"]
        self.most = max(self.most, await self.active())

    def row(self, name):
        t = self.tally
        first = f"{1000 * self.first:.0f}" if self.first is not None else "-"
        return (f"| {name:17} | {100 * len(t.latencies) / max(1, t.sent):8.1f}% | {1000 * t.quantile(0.5):6.0f} | "
                f"{1000 * t.quantile(0.99):6.0f} | {t.errors:6} | {self.most:10} | {first:>23} |")


async def flashes(directory):
    """Both flashes; what is wrong with them."""
    gateway, wrong = Gateway(directory), []
    print(f"\ndemo: {USUAL} requests/s for one active peer of eight, then {FLASH}/s at once; what is decided:", flush=True)
    on = Flash(gateway)
    wall = await on.run(4)
    left = await on.calm(wall, 1, 12)
    print("\ndemo: the same with \"autoscale observe\": decided and logged, not done:", flush=True)
    await gateway.reload("observe")
    observed = Flash(gateway)
    wall = await observed.run(2)
    await observed.look(wall)
    print(f"\n| {FLASH} requests/s with | served    | p50 ms | p99 ms | errors | peers used | first decision after ms |")
    print(f"|{'-' * 19}|{'-' * 10}:|-------:|-------:|-------:|-----------:|------------------------:|")
    print(on.row("autoscale on"))
    print(observed.row("autoscale observe"))
    if on.most < 4 or not on.scaled:
        wrong.append(f"the pool did not grow: {on.most} active, {on.scaled} decisions")
    if left != 1:
        wrong.append(f"the pool did not shrink again: {left} active")
    if len(on.tally.latencies) < 0.95 * on.tally.sent:
        wrong.append(f"only {len(on.tally.latencies)} of {on.tally.sent} requests of the flash were served")
    if observed.most != 1 or observed.scaled or not observed.would:
        wrong.append(f"observe did something: {observed.most} active, {observed.scaled} done, {observed.would} observed")
    return wrong


async def live(directory):
    client = Client(GATEWAY)
    for stage in range(10**9):
        if stage % (len(STAGES) + 1) == len(STAGES):
            await live_flash(directory)
            continue
        name, rate, states = STAGES[stage % (len(STAGES) + 1)]
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


async def live_flash(directory):
    print(f"\033[H\033[2Jautoscale-lua demo: {USUAL} requests/s, then {FLASH}/s at once   Ctrl-C stops\n")
    await set_fleet({})
    flash = Flash(Gateway(directory))
    await flash.calm(await flash.run(4), 1, 12)
    await asyncio.sleep(3)


async def main():
    directory = sys.argv[1]
    await ready()
    if "--once" not in sys.argv[2:]:
        return await live(directory)
    await once()
    wrong = await flashes(directory)
    if wrong:
        sys.exit("".join(f"demo: {what}\n" for what in wrong))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print()
