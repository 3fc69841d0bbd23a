"""Real gateways before peers that are slow, broken or too few: `ci/bench traffic`.

Eight peers work on two requests each; the work (20 ms, exponential) travels with the request and is slept. A client
sends what a seed says, when it says so, and takes the time from when each request was due (`ci/traffic`). Every gateway
gets the same requests; they take turns, a round after the other, and the table has the median of the rounds.
*Wait* is latency less a request's own work. An answer after 500 ms is not served; after 1 s the client hangs up.
Ours has one configuration for everything, told neither slots nor capacity nor shares. A bench reports: missed bars do
not change its exit status. In build/bench lie traffic.json (all numbers of all runs) and, of the last round,
traffic-SCENARIO-GATEWAY.csv (what became of each request).
"""
import argparse
import fcntl
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFS = os.path.join(ROOT, "nginx-conf", "bench", "traffic")
WORK = os.path.join(ROOT, "build", "bench")
OURS = os.path.join(ROOT, "build", "ngx_http_autoscale_lua_module.so")
LUA = "/usr/lib/nginx/modules/ndk_http_module.so:/usr/lib/nginx/modules/ngx_http_lua_module.so"
GATEWAY_PORT, PEER_PORT, CONTROL_PORT = 8080, 7100, 7199
USUAL = ["ours", "nginx", "nginx-lua", "haproxy", "envoy"]
WORKERS = 2
# A run is none when the client was later than this; what a processor costs is none beside so much else on the machine.
LATE_MS, FOREIGN = 1.0, 0.25


# What a table shows: scenario, metric, its name, digits, and the bar of ours: a number that it may not pass, or a
# function of the row of all gateways. `-` before a metric: more is better. No error has a last one: that bar is met.
ROWS = [
    ("healthy-0.7", "wait_p99", "p99 wait, ms", 1, lambda row: row.get("nginx", 23.0)),
    ("healthy-0.7", "stretch_p99", "p99 stretch", 1, 14),
    ("healthy-0.7", "errors", "errors", 0, 0),
    ("healthy-0.7", "cpu_us", "CPU a request, us", 0, lambda row: row.get("nginx", 101.0) * 130 / 101),
    ("healthy-0.9", "wait_p99", "p99 wait, ms", 1, lambda row: row.get("nginx", 62.0)),
    ("healthy-0.9", "stretch_p99", "p99 stretch", 1, 55),
    ("healthy-0.9", "errors", "errors", 0, 0),
    ("slow", "wait_p99", "p99 wait, ms", 1, 30),
    ("slow", "errors", "errors", 0, None),
    ("failing", "errors", "errors", 0, 3),
    ("failing", "error_last_s", "last error, s", 2, 0.1),
    ("brownout", "errors", "errors", 0, 3),
    ("brownout", "error_last_s", "last error, s", 2, 0.1),
    ("hang", "errors", "errors", 0, 2),
    ("hang", "error_last_s", "last error, s", 2, None),
    ("dead", "errors", "errors", 0, 1),
    ("dead", "wait_p99", "p99 wait, ms", 1, None),
    ("flapping", "errors", "errors", 0, 1),
    ("flapping", "wait_p99", "p99 wait, ms", 1, None),
    ("cold", "errors", "errors", 0, 0),
    ("cold", "wait_p99", "p99 wait, ms", 1, 30),
    ("busy", "errors", "errors", 0, None),
    ("busy", "error_last_s", "last error, s", 2, None),
    ("overload", "-capacity", "% of capacity", 1, 97),
    ("overload", "ok_p99", "p99 of 2xx, ms", 0, 150),
    # no later than the answers are
    ("overload", "refusal_p99", "p99 of refusals, ms", 0, 150),
    ("overload", "-retry_after", "% of refusals with Retry-After", 0, 100),
    ("overload", "recovery_s", "recovery, s", 1, 0.5),
    ("overload", "decided_ms", "T16: ms until it acts on the spike", 0, 50),
    ("checkout", "-checkout_served", "checkout served, %", 1, 99.9),
    ("checkout", "checkout_p99", "p99 of checkout, ms", 0, 110),
    ("checkout", "-capacity", "% of capacity", 1, 98),
    ("checkout", "related_lost", "T4: % of the others without answer or Retry-After", 1, 0.1),
    ("tenant", "-others_served", "other tenants served, %", 1, 99.9),
    ("tenant", "others_p99", "p99 of other tenants, ms", 0, 100),
    ("tenant", "-capacity", "% of capacity", 1, 97),
    ("tenant", "others_slower", "T14: others' p99 over that of their work", 2, 1.1),
]


def note(text):
    print("bench: " + text, file=sys.stderr, flush=True)


class Missing(Exception):
    """A gateway that is not there, with what would bring it."""


class Broken(Exception):
    """One run did not work out; the others go on."""


# ----------------------------------------------------------------- gateways

def conf(name):
    return os.path.join(CONFS, name)


class Nginx:
    """An nginx of two workers around a file that lies in http {}, and proxy.conf."""

    def __init__(self, name, make, modules, path):
        self.name, self.make, self.modules = name, make, modules
        for module in modules.split(":") if modules else ():
            if not os.path.isfile(module):
                raise Missing("%s is not there: run %s" % (module, "ci/build" if module == OURS else "ci/setup"))
        with open(path) as fh:
            self.text = fh.read()
        self.left_out = []
        self.version = subprocess.run(["nginx", "-v"], stderr=subprocess.PIPE, text=True).stderr.strip().split("/")[-1]

    def prepare(self):
        """Leaves out directives that a module does not have yet, so that the others can be tried."""
        while True:
            said = self.made().check()
            unknown = re.search(r'(?:unknown directive|this build has no) "(autoscale_\w+)"', said)
            if not unknown:
                break
            name = unknown.group(1)
            self.text = re.sub(r"(?m)^\s*%s\b[^;]*;\n" % name, "", self.text)
            self.left_out.append(name)
            note("%s: this module has no %s; going on without" % (self.name, name))
        if "[emerg]" in said:
            raise Missing(said.strip().splitlines()[0])

    def include(self):
        lua = 'lua_package_path "%s/?.lua;;";\n' % CONFS if self.modules else ""
        return "%sinclude %s;\n%s" % (lua, conf("proxy.conf"), self.text)

    def made(self):
        return self.make("traffic-" + self.name, self.modules, self.include(), WORKERS)

    def start(self):
        self.nginx = self.made()
        self.nginx.wait_for(GATEWAY_PORT)

    def pids(self):
        return self.nginx.workers()

    def stop(self):
        self.nginx.stop()


class Program:
    """A gateway of one process in the foreground."""

    def __init__(self, name, command):
        self.name, self.command, self.left_out = name, command, []

    def prepare(self):
        pass

    def start(self):
        with open(os.path.join(WORK, "traffic-%s.log" % self.name), "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(400):
            if self.process.poll() is not None:
                break
            if listens(GATEWAY_PORT):
                return
            time.sleep(0.025)
        self.stop()
        with open(os.path.join(WORK, "traffic-%s.log" % self.name), errors="replace") as fh:
            raise Broken("%s did not start:\n%s" % (self.name, fh.read()[-2000:]))

    def pids(self):
        return [self.process.pid]

    def stop(self):
        self.process.kill()
        self.process.wait()


def haproxy(name):
    path = shutil.which("haproxy")
    if not path:
        raise Missing("no haproxy found: run ci/setup --traffic")
    gateway = Program(name, [path, "-db", "-f", conf(name + ".cfg")])
    said = subprocess.run([path, "-v"], stdout=subprocess.PIPE, text=True).stdout
    gateway.version = re.search(r"version (\S+)", said).group(1)
    return gateway


def envoy(name):
    path = os.path.join(ROOT, "build", "envoy", "bin", "envoy")
    if not os.path.exists(path):
        raise Missing("no Envoy in build/envoy: run ci/setup --traffic")
    said = subprocess.run([path, "--version"], stdout=subprocess.PIPE, text=True).stdout
    gateway = Program(name, [path, "-c", conf(name + ".yaml"), "--concurrency", str(WORKERS), "-l", "error",
                             "--disable-hot-restart", "--drain-time-s", "1"])
    gateway.version = re.search(r"/(\d+\.\d+\.\d+)/", said).group(1)
    return gateway


def make_gateway(word, make, module):
    """NAME, or FILE.conf (an nginx with our module), either with @MODULE.so."""
    name, _, other = word.partition("@")
    module = os.path.abspath(other) if other else module
    if name.startswith("haproxy"):
        return haproxy(name)
    if name.startswith("envoy"):
        return envoy(name)
    if name.endswith(".conf"):
        gateway = Nginx(os.path.basename(name)[:-5], make, module, name)
    elif name == "ours":
        gateway = Nginx(name, make, module, conf("ours.conf"))
    elif os.path.isfile(conf(name + ".conf")) and name != "proxy":
        gateway = Nginx(name, make, LUA if "lua" in name else "", conf(name + ".conf"))
    else:
        raise Missing("there is no gateway %s; there are %s, and any FILE.conf" % (name, ", ".join(USUAL + ["haproxy-tuned"])))
    if other:
        gateway.name += "@" + os.path.basename(other).rsplit(".", 1)[0]
    return gateway


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


# --------------------------------------------------------------------- runs

def cpu_seconds(pids):
    """Time on a processor of all threads of these, to the nanosecond."""
    total = 0
    for pid in pids:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/schedstat" % (pid, task)) as fh:
                total += int(fh.read().split()[0])
    return total / 1e9


def busy_seconds():
    """What all processors did, of the whole machine and of its neighbours."""
    with open("/proc/stat") as fh:
        user, nice, system, _idle, _wait, irq, soft, stolen = [int(n) for n in fh.readline().split()[1:9]]
    return (user + nice + system + irq + soft + stolen) / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, binary, times):
        self.binary, self.times = binary, times

    def run(self, gateway, scenario, seed):
        """What the client measured, and what the gateway cost."""
        for port in (GATEWAY_PORT, PEER_PORT, CONTROL_PORT):
            if listens(port):
                raise Broken("somebody else has port %d" % port)
        peers = subprocess.Popen([self.binary, "peers", "--port", str(PEER_PORT), "--control", str(CONTROL_PORT),
                                  "--seconds", "120"], stdin=subprocess.DEVNULL)
        try:
            for _ in range(200):
                if listens(CONTROL_PORT):
                    break
                time.sleep(0.01)
            gateway.start()
            try:
                return self.play(gateway, peers.pid, scenario, seed)
            finally:
                gateway.stop()
        finally:
            peers.kill()
            peers.wait()

    def play(self, gateway, peers, scenario, seed):
        pids = gateway.pids()
        cpu, busy, begin, reaped = cpu_seconds(pids), busy_seconds(), time.monotonic(), os.times()
        client = subprocess.Popen(
            [self.binary, "load", scenario, "--seed", str(seed), "--gateway", str(GATEWAY_PORT), "--control", str(CONTROL_PORT)]
            + self.times + ["--dump", os.path.join(WORK, "traffic-%s-%s.csv" % (scenario, gateway.name))], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            said = client.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            client.kill()
            client.wait()
            raise Broken("the client did not end") from None
        if client.returncode:
            raise Broken("the client ended with %d" % client.returncode)
        now, got = os.times(), json.loads(said)
        cpu = cpu_seconds(pids) - cpu
        own = cpu + cpu_seconds([peers]) + now.children_user + now.children_system - reaped.children_user - reaped.children_system
        took = time.monotonic() - begin
        got["foreign"] = max(0.0, (busy_seconds() - busy - own) / took / os.cpu_count())
        got["cpu_us"] = cpu / got["sent"] * 1e6
        if got["others_p99"]:
            got["others_slower"] = got["others_p99"] / got["others_work_p99"]
        return got

    def measured(self, gateway, scenario, seed, attempts):
        """A run; another one if the client was late."""
        for left in reversed(range(attempts)):
            got = self.run(gateway, scenario, seed)
            if got["late_p99"] <= LATE_MS:
                break
            note("%-12s %-10s sends %.2f ms late (p99)%s" % (scenario, gateway.name, got["late_p99"], "; once more" if left else ""))
        return got


def doubtful(run, metric):
    return run["late_p99"] > LATE_MS or metric == "cpu_us" and run["foreign"] > FOREIGN


# ------------------------------------------------------------------- tables

def middle(runs, metric):
    """The median of the rounds; none where most rounds have none."""
    values = [run[metric] for run in runs if run.get(metric) is not None]
    return statistics.median(values) if 2 * len(values) > len(runs) else None


def judged(value, limit, more, metric):
    """The bar as it is shown, and whether it was met."""
    if limit is None:
        return "", ""
    # what was never measured misses its bar; but without an error there is no last one
    met = metric == "error_last_s" if value is None else value >= limit if more else value <= limit
    return "%s %.4g" % (">=" if more else "<=", limit), "met" if met else "**missed**"


def table(results, gateways, scenarios):
    """Markdown; and how many bars our gateway (the first that is not a rival) met and missed."""
    ours = next((g for g in gateways if not g.startswith(tuple(USUAL[1:]))), None)
    print("\n| scenario | measured | %s | bar of ours | |\n|---|---|%s---|---|" % (" | ".join(gateways), "---:|" * len(gateways)))
    met = missed = 0
    for scenario, metric, title, digits, bar in ROWS:
        if scenario not in scenarios:
            continue
        more, metric = metric.startswith("-"), metric.lstrip("-")
        row = {name: middle(results.get((scenario, name), []), metric) for name in gateways}
        there = {name: value for name, value in row.items() if value is not None}
        limit = bar(there) if callable(bar) else bar
        limit, verdict = judged(row.get(ours), limit, more, metric) if results.get((scenario, ours)) else ("", "")
        met, missed = met + (verdict == "met"), missed + ("missed" in verdict)
        cells = ["" if not results.get((scenario, name)) else "-" if row[name] is None else "%.*f" % (digits, row[name])
                 + " ~" * any(doubtful(run, metric) for run in results[scenario, name]) for name in gateways]
        print("| %s | %s | %s | %s | %s |" % (scenario, title, " | ".join(cells), limit, verdict))
    if met or missed:
        print("\n%s: %d of %d bars met." % (ours, met, met + missed))
    return met, missed


def brief(got):
    """A run in a line, for progress."""
    said = "p99: wait %6.1f (gateway %5.1f, peer %5.1f) 2xx %4.0f ms; errors %4d, served %5.1f %%, capacity %5.1f %%, cpu %3.0f us" % (
        got["wait_p99"] or 0, got["held_p99"] or 0, got["queued_p99"] or 0, got["ok_p99"] or 0, got["errors"], got["served"] or 0,
        got["capacity"], got["cpu_us"])
    ends = " ".join("%s:%d" % (k, v) for k, v in got["ends"].items() if k != "200")
    return said + "; late %.2f ms, elsewhere %2.0f %%; %s" % (got["late_p99"], got["foreign"] * 100, ends)


# --------------------------------------------------------------------- main

def build():
    """The peers and the client, with the network that a namespace has not."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    binary = os.path.join(target, "release", "traffic")
    if not os.environ.get("AUTOSCALE_BENCH_ISOLATED"):
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", "--package", "traffic"], cwd=ROOT, check=True)
    return os.path.abspath(binary)


def options(argv):
    ap = argparse.ArgumentParser(prog="ci/bench traffic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--module", help="our module; without it that in build/")
    ap.add_argument("--scenario", nargs="+", action="extend", metavar="NAME", help="only these: " + " ".join(dict.fromkeys(r[0] for r in ROWS)))
    ap.add_argument("--gateway", nargs="+", action="extend", metavar="NAME",
                    help="only these: %s haproxy-tuned, or FILE.conf, an nginx with our module; NAME@MODULE.so is another module" % " ".join(USUAL))
    ap.add_argument("--rounds", type=int, default=None, help="3; with --quick 1")
    ap.add_argument("--seconds", type=float, default=None, help="how long each run is measured: 5; with --quick 2")
    ap.add_argument("--seed", type=int, default=1, help="of the first round")
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--install", action="store_true", help="installs the other gateways first: ci/setup --traffic")
    args = ap.parse_args(argv)
    split = lambda words: [w for word in words for w in word.split(",") if w]
    known = list(dict.fromkeys(row[0] for row in ROWS))
    args.scenario = split(args.scenario) if args.scenario else known
    args.gateway = split(args.gateway) if args.gateway else USUAL
    for name in args.scenario:
        if name not in known:
            ap.error("no scenario %s; there are %s" % (name, " ".join(known)))
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.seconds = args.seconds or (2.0 if args.quick else 5.0)
    args.module = os.path.abspath(args.module) if args.module else OURS
    return args


def find(words, make, module):
    gateways = []
    for word in words:
        try:
            gateway = make_gateway(word, make, module)
            gateway.prepare()
            gateways.append(gateway)
        except Missing as why:
            note("%s is skipped: %s" % (word, why))
    return gateways


def main(argv, isolate, make):
    args = options(argv)
    if args.install and not os.environ.get("AUTOSCALE_BENCH_ISOLATED"):
        subprocess.run([os.path.join(ROOT, "ci", "setup"), "--traffic"], check=True)
    binary = build()
    isolate()
    os.makedirs(WORK, exist_ok=True)
    lock = alone()
    prefer()
    begin = time.monotonic()
    gateways = find(args.gateway, make, args.module)
    if not gateways:
        raise SystemExit("bench: no gateway is left")
    warm, after = (1.2, 1.0) if args.quick else (2.0, 2.0)
    bench = Bench(binary, ["--warm", str(warm), "--measured", str(args.seconds), "--after", str(after)])
    results, failures = {}, []
    for turn in range(args.rounds):
        for scenario in args.scenario:
            for gateway in gateways:
                try:
                    got = bench.measured(gateway, scenario, args.seed + turn, 1 if args.quick else 2)
                except (Broken, OSError) as why:
                    failures.append("%s %s" % (scenario, gateway.name))
                    note("%-12s %-10s FAILED: %s" % (scenario, gateway.name, why))
                    continue
                results.setdefault((scenario, gateway.name), []).append(got)
                note("%-12s %-10s %s" % (scenario, gateway.name, brief(got)))
    with open(os.path.join(WORK, "traffic.json"), "w") as fh:
        json.dump([dict(run, gateway=name) for (_, name), runs in results.items() for run in runs], fh, indent=1)
    tell(args, gateways, results, failures, time.monotonic() - begin)
    del lock


def tell(args, gateways, results, failures, took):
    print("Eight peers of two slots, 20 ms of exponential work, 800 requests/s is all they can do; %s s measured, median of %d."
          % ("%g" % args.seconds, args.rounds))
    print("; ".join("%s = %s%s" % (g.name, g.version, " without " + ", ".join(g.left_out) if g.left_out else "") for g in gateways))
    table(results, [g.name for g in gateways], args.scenario)
    runs = [run for some in results.values() for run in some]
    if runs:
        worst, mean = max(run["late_p99"] for run in runs), statistics.mean(run["foreign"] for run in runs)
        print("\nThe client sent at most %.2f ms late (p99 of a run). Others had %.0f %% of the machine." % (worst, mean * 100))
    print("`~`: the client was more than %g ms late; or, of processor time, others had more than %.0f %% of the machine."
          % (LATE_MS, FOREIGN * 100))
    if failures:
        print("Failed: " + ", ".join(failures))
    print("Took %d min %d s." % divmod(int(took), 60))


def alone():
    """Two of these on one machine measure each other: the second waits. The lock lasts as long as what is returned."""
    try:
        lock = open(os.path.join(tempfile.gettempdir(), "autoscale-bench-traffic.lock"), "w")
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        note("another one runs on this machine: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def prefer():
    """Before other processes of the machine, where that is allowed; and ports enough for clients that hang up."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    try:
        # in turns among themselves; being nice would not do, for Linux shares a processor between sessions first
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        note("cannot go before other processes: keep the machine quiet")
    if os.environ.get("AUTOSCALE_BENCH_ISOLATED"):
        with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as fh:
            fh.write("10000 65000")
