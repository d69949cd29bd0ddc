#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run weft-bench beside other runtimes and print the ratios.

What counts is the ratio within one run on one machine, side by side: the programs take turns
(A B C, A B C, ...), a run that other processes disturbed is repeated, and the median is shown
with its range. Nothing is built here.

--weft is the program weft-bench. --peers is a folder of programs, all of them optional:

  tokio_latest, tokio_deb   PROGRAM WORKERS WORKLOAD      WORKERS is ct, 1, 2, ...
  gobench                   PROGRAM WORKERS WORKLOAD      no ct
  uv_peer                   PROGRAM WORKLOAD              single-threaded; shown for orientation,
                                                          never the "best peer"
      Each prints lines `metric value unit` with the names that weft-bench uses; the variable N in
      its environment is the count. Aliases are known: skynet_chan, yield_one_selfwake, ...
  the same programs with   echo PORT BUFSIZE   as the workload: a TCP echo server on 127.0.0.1
  echo_c                    echo_c epollet PORT BUFSIZE   the bare edge-triggered epoll loop
  load                      load -p PORT -n CONNECTIONS -s BYTES -k IN_FLIGHT -d SECONDS
                                 -w WARM_UP -P SERVER_PID
      prints one line `NAME key=value ...` with rps, p50, p99, p999 (us) and srv_us (CPU of the
      server per request, us).

For echo the server is pinned to core 0 and the load generator to core 1.
"""

import argparse
import json
import os
import platform
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time

# ---------------------------------------------------------------------------------------------
# What is run


class Workload:
    """A workload of weft-bench: its count, the metrics it prints, and whether it has a twin."""

    def __init__(self, name, count, metrics=None, twin=True, scaled=True):
        self.name, self.count, self.twin, self.scaled = name, count, twin, scaled
        self.metrics = metrics or [name]


WORKLOADS = [
    Workload("spawn_join", 1_000_000),
    Workload("spawn_joinset", 1_000_000, twin=False),
    Workload("spawn_detached", 1_000_000),
    Workload("chained_spawn", 1_000_000),
    Workload("skynet", 1_000_000, scaled=False),
    Workload("yield_one", 3_000_000),
    Workload("yield_many", 5_000),
    Workload("timers", 1_000_000,
             ["timers_cpu", "timers_wall", "timers_spawn", "timers_p50", "timers_p99"]),
    Workload("idle_ticks", 1,
             ["idle_ticks_p50", "idle_ticks_p99", "idle_ticks_max", "idle_ticks_ticks"],
             scaled=False),
    Workload("blocked", 1, ["blocked_p50", "blocked_p99", "blocked_max", "blocked_ticks"],
             scaled=False),
    Workload("hog", 1, ["hog_p50", "hog_p99", "hog_max", "hog_ticks"], scaled=False),
    Workload("spawn_blocking_seq", 200_000, twin=False),
    Workload("spawn_blocking_64", 200_000, twin=False),
    Workload("pool_seq", 200_000, twin=False),
    Workload("pool_64", 200_000, twin=False),
    Workload("futures_unordered", 100, twin=False),
    Workload("ping_pong", 1_000_000, twin=False),
    Workload("mpsc_1p1c", 5_000_000, twin=False),
    Workload("mpsc_8p1c", 5_000_000, twin=False),
    Workload("oneshot", 1_000_000, twin=False),
    Workload("mutex", 500_000, twin=False),
    Workload("timeout_ready", 2_000_000),
    Workload("timeout_armed", 2_000_000),
    Workload("xthread", 20_000, ["xthread_rt"], twin=False),
    Workload("memory", 1_000_000, ["memory", "memory_pte"]),
]

# What a peer calls a metric, where that has another name here.
ALIASES = {"fs_unordered": "futures_unordered"}

HIGHER_IS_BETTER = {"idle_ticks_ticks", "blocked_ticks", "hog_ticks"}


class Peer:
    """A program to compare with. `special` maps a workload to the names it has there; a second
    name is a second way of doing the same (a yield by waking oneself), shown as a peer apart."""

    def __init__(self, name, program, workers=True, current_thread=False, best=True,
                 only=None, special=None):
        self.name, self.program, self.workers = name, program, workers
        self.current_thread, self.best, self.only = current_thread, best, only
        self.special = special or {}

    def runs(self, workers):
        return self.current_thread if workers == "ct" else self.workers or workers == "1"

    def command(self, folder, workers, *workload):
        path = os.path.join(folder, self.program)
        return [path] + ([workers] if self.workers else []) + list(workload)

    def variants(self, workload):
        if self.only is not None and workload not in self.only:
            return []
        names = self.special.get(workload, [workload])
        return [(self.name if i == 0 else f"{self.name} (alt)", n) for i, n in enumerate(names)]


SELF_WAKE = {"yield_one": ["yield_one", "yield_one_sw"],
             "yield_many": ["yield_many", "yield_many_sw"],
             "futures_unordered": ["fs_unordered"],
             "pool_seq": ["spawn_blocking_seq"], "pool_64": ["spawn_blocking_64"]}

PEERS = [
    Peer("tokio", "tokio_latest", current_thread=True, special=SELF_WAKE),
    Peer("tokio-1.24", "tokio_deb", current_thread=True, special=SELF_WAKE),
    Peer("go", "gobench", special={"skynet": ["skynet_chan"]}),
    Peer("libuv", "uv_peer", workers=False, current_thread=True, best=False,
         only={"timers", "timeout_armed", "memory"}),
]


def canonical(metric):
    """The name under which a metric is compared: without the count, alias resolved."""
    metric = re.sub(r"_\d{3,}$", "", metric)
    metric = re.sub(r"_\d{3,}_s$", "_s", metric)
    metric = re.sub(r"_(selfwake|chan)$", "", metric)
    return ALIASES.get(metric, metric)


# ---------------------------------------------------------------------------------------------
# Running one program, and knowing whether it was alone on the machine


def busy_ticks():
    """CPU ticks that the whole machine spent not idle, since it started."""
    with open("/proc/stat", encoding="ascii") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    return sum(v) - v[3] - v[4] - v[7]


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Watch:
    """Tells how much of one core others used meanwhile, in per cent. Children must be reaped
    before the end. A tick is 10 ms, so that nothing can be said of a short run."""

    def __enter__(self):
        self.ticks, self.own, self.start = busy_ticks(), children_seconds(), time.monotonic()
        self.foreign = 0.0
        return self

    def __exit__(self, *unused):
        wall = time.monotonic() - self.start
        others = (busy_ticks() - self.ticks) / os.sysconf("SC_CLK_TCK")
        others -= children_seconds() - self.own
        if wall >= 0.15:
            self.foreign = max(0.0, others) / wall * 100


def parse_lines(text):
    """`metric value unit` lines; a metric that is printed twice keeps the first."""
    found = {}
    for line in text.splitlines():
        field = line.split()
        if len(field) != 3:
            continue
        try:
            found.setdefault(canonical(field[0]), (float(field[1]), field[2]))
        except ValueError:
            continue
    return found


def pinned(core):
    return (lambda: os.sched_setaffinity(0, {core})) if core is not None else None


def run_program(command, count, limit):
    env = dict(os.environ, **({"N": str(count)} if count is not None else {}))
    try:
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return None, "took too long"
    except OSError as e:
        return None, str(e)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        return None, f"status {done.returncode}: {last[0]}"
    return parse_lines(done.stdout), ""


class Results:
    """Every value, in order: (section, row, program, metric) -> list."""

    def __init__(self, verbose):
        self.values, self.units, self.noisy, self.runs = {}, {}, set(), []
        self.failed, self.verbose = {}, verbose

    def add(self, key, program, found, foreign, noisy):
        for metric, (value, unit) in found.items():
            self.values.setdefault((*key, metric, program), []).append(value)
            self.units[metric] = unit
            if noisy:
                self.noisy.add((*key, metric, program))
            self.runs.append({"section": key[0], "row": key[1], "program": program,
                              "metric": metric, "value": value, "unit": unit,
                              "foreign_percent": round(foreign, 1), "disturbed": noisy})
        if self.verbose:
            text = " ".join(f"{m}={v:g}" for m, (v, _) in found.items())
            print(f"  {key[0]} {key[1]} {program}: {text} [{foreign:.0f} %]", file=sys.stderr)

    def fail(self, key, program, why):
        print(f"compare: {key[0]} {key[1]} {program}: {why}", file=sys.stderr)
        self.failed[(*key, program)] = self.failed.get((*key, program), 0) + 1

    def hopeless(self, key, program):
        return self.failed.get((*key, program), 0) >= 2

    def summary(self, section, row, metric, program):
        v = self.values.get((section, row, metric, program))
        return (statistics.median(v), min(v), max(v)) if v else None


def attempt(args, results, key, program, run):
    """One undisturbed run, or the last of a few disturbed ones with a mark. run gives what it
    found, or None and the reason. Network interrupts count as foreign, so echo may have more."""
    allowed = args.foreign + (10 if key[0] == "echo" else 0)
    if results.hopeless(key, program):
        return
    for left in range(args.repeat, -1, -1):
        with Watch() as watch:
            found, why = run()
        if found is None:
            results.fail(key, program, why)
            return
        if watch.foreign <= allowed or left == 0:
            break
        time.sleep(1)
    results.add(key, program, found, watch.foreign, watch.foreign > allowed)


# ---------------------------------------------------------------------------------------------
# The micro workloads


def micro_contestants(args, workload, workers):
    """(program, command) of everybody who takes part, weft first."""
    count = micro_count(args, workload)
    weft = [args.weft, workload.name, "--workers", workers, "--n", str(count)]
    found = []
    if "fiber" in args.forms:
        found.append(("weft", weft))
    if "stackless" in args.forms and workload.twin:
        found.append(("weft_s", weft + ["--stackless"]))
    for peer in args.available:
        if peer.runs(workers):
            for name, there in peer.variants(workload.name):
                found.append((name, peer.command(args.peers, workers, there)))
    return [(n, c) for n, c in found if args.only is None or args.only.search(n)]


def micro_count(args, workload):
    return max(100, int(workload.count * args.scale)) if workload.scaled else workload.count


def run_micro(args, results):
    for workers in args.workers:
        for workload in args.workloads:
            contestants = micro_contestants(args, workload, workers)
            key = (workload.name, workers)
            for _ in range(args.reps):
                for program, command in contestants:
                    count = micro_count(args, workload)
                    attempt(args, results, key, program,
                            lambda c=command, n=count: run_program(c, n, args.limit))


def number(x):
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.3g}"


def cell(results, section, row, metric, program, spread=False):
    s = results.summary(section, row, metric, program)
    if s is None:
        return "-"
    text = number(s[0]) + (f" ({number(s[1])}-{number(s[2])})" if spread else "")
    return text + ("*" if (section, row, metric, program) in results.noisy else "")


def markdown(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |" for r in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def micro_table(args, results, summary):
    seen = {program for _, _, _, program in results.values}
    names = [n for p in args.available for n in (p.name, f"{p.name} (alt)") if n in seen]
    ranked = [n for n in names if not any(p.name == n and not p.best for p in args.available)]
    rows = [["workload", "unit", "workers", "weft", *names, "best peer", "weft / best"]]

    for workers in args.workers:
        for workload in args.workloads:
            for metric in workload.metrics:
                for program, shown in (("weft", metric), ("weft_s", metric + "_s")):
                    mine = results.summary(workload.name, workers, shown, program)
                    if mine is None:
                        continue
                    pick = max if metric in HIGHER_IS_BETTER else min
                    have = {n: results.summary(workload.name, workers, metric, n) for n in ranked}
                    have = {n: s[0] for n, s in have.items() if s is not None}
                    best = pick(have, key=have.get) if have else None
                    ratio = mine[0] / have[best] if best and have[best] else None
                    rows.append([
                        shown, results.units[shown], workers,
                        cell(results, workload.name, workers, shown, program, spread=True),
                        *[cell(results, workload.name, workers, metric, n) for n in names],
                        best or "-", f"{ratio:.2f}" if ratio is not None else "-"])
                    summary.append({"metric": shown, "unit": results.units[shown],
                                    "workers": workers, "weft": mine, "best_peer": best,
                                    "best": have.get(best), "ratio": ratio})
    return markdown(rows) if len(rows) > 1 else ""


# ---------------------------------------------------------------------------------------------
# Echo


RAW = "epollet"


def echo_servers(args):
    """(program, command) with {port} and {buffer} to fill in; the bare loop first."""
    found = [(RAW, [os.path.join(args.peers, "echo_c"), "epollet", "{port}", "{buffer}"])]
    weft = [args.weft, "echo", "--port", "{port}", "--bufsize", "{buffer}", "--workers"]
    found.append(("weft/1", [*weft, "1"]))
    found.append(("weft/ct", [*weft, "ct"]))
    found.append(("weft_s/1", [*weft, "1", "--stackless"]))
    for peer in args.available:
        for workers in ("1", "ct") if peer.workers else ("1",):
            if peer.runs(workers):
                name = f"{peer.name}/{workers}" if peer.workers else peer.name
                command = peer.command(args.peers, workers, "echo", "{port}", "{buffer}")
                found.append((name, command))
    return [(n, c) for n, c in found
            if os.path.exists(c[0]) and (args.only is None or n == RAW or args.only.search(n))]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_server(server, port):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


class EchoCase:
    """CONNECTIONS[xIN_FLIGHT][:BYTES], for example 1000, 50x16, 50:16384."""

    def __init__(self, text):
        m = re.fullmatch(r"(\d+)(?:x(\d+))?(?::(\d+))?", text)
        if not m:
            raise argparse.ArgumentTypeError(f"not CONNECTIONS[xIN_FLIGHT][:BYTES]: {text}")
        self.text, self.connections = text, m[1]
        self.in_flight, self.size = m[2] or "1", m[3] or "64"
        self.buffer = "2048" if int(self.size) <= 2048 else "65536"


def run_echo_once(args, command, case):
    port = free_port()
    command = [a.format(port=port, buffer=case.buffer) for a in command]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              preexec_fn=pinned(0))
    try:
        if not wait_for_server(server, port):
            return None, "the server does not answer"
        load = [os.path.join(args.peers, "load"), "-p", str(port), "-n", case.connections,
                "-s", case.size, "-k", case.in_flight, "-d", str(args.echo_seconds),
                "-w", "0.4", "-P", str(server.pid)]
        done = subprocess.run(load, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=args.limit, check=False, preexec_fn=pinned(1))
    except subprocess.TimeoutExpired:
        return None, "took too long"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(2)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    if done.returncode != 0:
        return None, f"load: status {done.returncode}: {done.stderr.strip()[-200:]}"
    pairs = dict(p.split("=", 1) for p in done.stdout.split() if "=" in p)
    units = {"rps": "1/s", "srv_us": "us", "p50": "us", "p99": "us", "p999": "us"}
    return {k: (float(pairs[k]), u) for k, u in units.items() if k in pairs}, ""


def run_echo(args, results):
    servers = echo_servers(args)
    for case in args.echo:
        for _ in range(args.reps):
            for program, command in servers:
                attempt(args, results, ("echo", case.text), program,
                        lambda c=command, k=case: run_echo_once(args, c, k))


def echo_table(args, results, summary):
    rows = [["connections", "server", "requests/s", "server us/request", "p50 us", "p99 us",
             "p99.9 us", f"us / {RAW}", f"p99 / {RAW}"]]
    for case in args.echo:
        def value(program, metric, row=case.text):
            s = results.summary("echo", row, metric, program)
            return s[0] if s else None

        for program, _ in echo_servers(args):
            if value(program, "rps") is None:
                continue
            ratios = []
            for metric in ("srv_us", "p99"):
                mine, raw = value(program, metric), value(RAW, metric)
                ratios.append(mine / raw if mine and raw else None)
            rows.append([case.text, program,
                         *[cell(results, "echo", case.text, m, program, spread=m == "srv_us")
                           for m in ("rps", "srv_us", "p50", "p99", "p999")],
                         *[f"{r:.2f}" if r else "-" for r in ratios]])
            summary.append({"connections": case.text, "server": program,
                            **{m: value(program, m) for m in ("rps", "srv_us", "p50", "p99",
                                                              "p999")},
                            "cpu_ratio": ratios[0], "p99_ratio": ratios[1]})
    return markdown(rows) if len(rows) > 1 else ""


# ---------------------------------------------------------------------------------------------


def machine():
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release()}


def parse_arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weft", required=True, metavar="PATH", help="the program weft-bench")
    p.add_argument("--peers", required=True, metavar="DIR", help="the folder of peer programs")
    p.add_argument("--workers", default="1,2", metavar="LIST",
                   help="of 1, 2, ..., ct (default 1,2)")
    p.add_argument("--workloads", metavar="LIST",
                   help="default: all micro workloads; none: only echo. Known: "
                        + ", ".join(w.name for w in WORKLOADS))
    p.add_argument("--forms", default="fiber,stackless", metavar="LIST",
                   help="of fiber, stackless (default both; stackless rows end in _s)")
    p.add_argument("--only", metavar="REGEX", type=re.compile,
                   help="take only programs whose name matches, such as '^(weft|go)'")
    p.add_argument("--reps", type=int, default=5, help="rounds (default 5)")
    p.add_argument("--scale", type=float, default=1.0,
                   help="factor on the counts (default 1; 0.05 for a quick look)")
    p.add_argument("--echo", default="50,1000,10000", metavar="LIST",
                   help="cases CONNECTIONS[xIN_FLIGHT][:BYTES], or none (default 50,1000,10000)")
    p.add_argument("--echo-seconds", type=float, default=2.0, metavar="S",
                   help="length of one echo run (default 2)")
    p.add_argument("--foreign", type=float, default=15.0, metavar="PERCENT",
                   help="a run is disturbed if others used more of one core (default 15)")
    p.add_argument("--repeat", type=int, default=3, metavar="N",
                   help="repeat a disturbed run so often, then keep it, marked * (default 3)")
    p.add_argument("--limit", type=float, default=90.0, metavar="S",
                   help="time limit for one run (default 90)")
    p.add_argument("--json", metavar="FILE", help="write every run and the summary there")
    p.add_argument("-v", "--verbose", action="store_true", help="show each run on stderr")
    args = p.parse_args()

    known = {w.name: w for w in WORKLOADS}
    wanted = known if args.workloads is None else [
        w for w in args.workloads.split(",") if w not in ("", "none")]
    unknown = [w for w in wanted if w not in known]
    if unknown:
        p.error(f"unknown workload: {', '.join(unknown)}")
    args.workloads = [known[w] for w in wanted]
    args.workers = args.workers.split(",")
    args.forms = args.forms.split(",")
    try:
        args.echo = [EchoCase(c) for c in args.echo.split(",") if c not in ("", "none")]
    except argparse.ArgumentTypeError as e:
        p.error(str(e))
    if not os.access(args.weft, os.X_OK):
        p.error(f"not a program: {args.weft}")
    args.weft = os.path.abspath(args.weft)
    args.available = [x for x in PEERS if os.access(os.path.join(args.peers, x.program), os.X_OK)]
    if args.echo and not os.access(os.path.join(args.peers, "load"), os.X_OK):
        p.error("the folder of peers has no load generator; --echo none goes without")
    if args.echo and len(os.sched_getaffinity(0)) < 2:
        p.error("echo needs two cores; --echo none goes without")
    return args


def main():
    args = parse_arguments()
    results, micro, echo = Results(args.verbose), [], []

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        run_micro(args, results)
        run_echo(args, results)
    except KeyboardInterrupt:
        print("compare: stopped; what there is follows", file=sys.stderr)

    for table in (micro_table(args, results, micro), echo_table(args, results, echo)):
        if table:
            print(table, end="\n\n")
    if results.noisy:
        print("* disturbed by other processes, however often it was repeated.")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"machine": machine(), "reps": args.reps, "scale": args.scale,
                       "micro": micro, "echo": echo, "runs": results.runs}, f, indent=1)
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
