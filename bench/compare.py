#!/usr/bin/env python3
"""Measures Farwarp beside bare baselines and prints the table of its speed goals.

usage: bench/compare.py [--build FOLDER] [--quick] [--only GROUP,...] [--save NAME]

Every figure is measured beside its baseline in the same run: short slices of both take turns, and the
ratio is the median over the pairs. CPU time per operation stands beside it, because clocks on small
shared machines drift. --save writes bench/results/NAME.md and NAME.json. Groups: tcp, unix, tls,
delay, first, sessions.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0))
GROUPS = ("tcp", "unix", "tls", "delay", "first", "sessions")


class Row:
    """One line of the table. `value` is None when it was not measured; `note` then says why."""

    def __init__(self, figure, goal, value=None, met=None, unit="", raw="", own="", cpu="", note=""):
        self.figure, self.goal, self.value, self.met = figure, goal, value, met
        self.unit, self.raw, self.own, self.cpu, self.note = unit, raw, own, cpu, note

    @property
    def verdict(self):
        if self.value is None:
            return "not measured"
        return "met" if self.met else "MISSED"

    def cells(self):
        value = "" if self.value is None else f"{self.value:.3g}{self.unit}"
        return [self.figure, self.goal, value, self.verdict, self.raw, self.own, self.cpu, self.note]


HEADS = ["figure", "goal", "measured", "", "baseline", "Farwarp", "CPU per operation, caller + other end",
         "note"]


def at_most(limit):
    return f"<= {limit:g}", lambda value: value <= limit


def at_least(limit):
    return f">= {limit:g}", lambda value: value >= limit


def us(value):
    return f"{value / 1000:.3g} ms" if value >= 1000 else f"{value:.3g} us"


class Bench:
    def __init__(self, build, quick):
        self.bin = build / "bin"
        self.quick = quick

    def run(self, *arguments):
        command = [str(self.bin / arguments[0]), *arguments[1:]]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        return json.loads(done.stdout)

    def rows(self, transport, only=""):
        arguments = ["driver_bench", "rows", "--transport", transport]
        if only:
            arguments += ["--only", only]
        if self.quick:
            arguments.append("--quick")
        return {row["id"]: row for row in self.run(*arguments)}

    @contextlib.contextmanager
    def gpud(self, transport, device, delay_ms=-1.0):
        """A gpud, and a line before it that delays; yields what `driver_bench serve` says."""
        command = [self.bin / "driver_bench", "serve", "--transport", transport, "--device", device,
                   "--delay-ms", str(delay_ms)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            try:
                yield json.loads(server.stdout.readline())
            finally:
                server.stdin.close()
                server.wait(30)

    def probe(self, server, *arguments):
        """Starts session_probe as a user would. `server`: an address, and a fingerprint or "" after it."""
        address, fingerprint = server if isinstance(server, tuple) else (server, "")
        command = [self.bin / "farwarp", "run", *([] if fingerprint else ["--insecure"]), "--server", address,
                   "--", self.bin / "session_probe", *arguments]
        environment = dict(os.environ, FARWARP_FINGERPRINT=fingerprint) if fingerprint else None
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                env=environment)


def finish(process):
    out, _ = process.communicate(timeout=300)
    if process.returncode != 0:
        raise RuntimeError(f"session_probe ended with {process.returncode}.")
    return json.loads(out.splitlines()[-1])


def paired(row, figure, goal, rate=False, note=""):
    """A row of `driver_bench rows`: the ratio of times, or of rates when `rate`."""
    text, test = goal
    if row is None:
        return Row(figure, text, note=note or "not part of this run")
    ratio = 1 / row["ratio_of_times"] if rate else row["ratio_of_times"]
    sides = [row["raw"], row["own"]]
    cpu = " / ".join(f"{s['near_cpu_us']:.3g} + {s['far_cpu_us']:.3g} us" for s in sides
                     if "near_cpu_us" in s)
    return Row(figure, text, ratio, test(ratio), "x", us(sides[0]["us"]), us(sides[1]["us"]), cpu, note)


def socket_rows(name, rows):
    table = [paired(rows.get("waiting_call"), f"waiting call / ping-pong of 64 B, {name}", at_most(1.2))]
    launches = rows.get("launches")
    table.append(paired(launches, f"launches / raw framing, {name}", at_least(0.8), rate=True))
    if launches:
        own = launches["own"]
        rate = 1 / own["us"]
        goal, test = at_least(5)
        table.append(Row(f"launches per second, {name}", goal + " M/s", rate, test(rate), " M/s"))
        for side, key in (("client", "near_cpu_us"), ("gpud", "far_cpu_us")):
            goal, test = at_most(100)
            nanoseconds = own[key] * 1000
            table.append(Row(f"{side} CPU per launch, {name}", goal + " ns", nanoseconds, test(nanoseconds),
                             " ns"))
    isolated = rows.get("isolated_launch")
    if isolated:
        goal, test = at_most(10)
        value = isolated["own"]["us"]
        table.append(Row(f"isolated launch handed to the socket, {name}", goal + " us", value, test(value),
                         " us", note="time of the call, which sends"))
    table.append(paired(rows.get("small_htod"), f"64 B to the device and a wait / ping-pong, {name}",
                        at_most(1.3)))
    table.append(paired(rows.get("small_dtoh"), f"64 B to the host / ping-pong, {name}", at_most(1.3)))
    for size in (16, 256):
        for key, way in (("htod", "to the device"), ("dtoh", "to the host")):
            table.append(paired(rows.get(f"{key}_{size}"), f"{size} MiB {way} / raw socket, {name}",
                                at_least(0.95), rate=True))
    if name == "Unix":
        for key, way in (("htod", "to the device"), ("dtoh", "to the host")):
            table.append(paired(rows.get(f"{key}_16"), f"same host, 16 MiB {way} / raw Unix socket", at_least(3),
                                rate=True, note="through shared memory, as the rows above"))
    during = rows.get("call_during_bulk")
    if during:
        idle, busy = during["raw"]["us"], during["own"]["us"]
        table.append(Row(f"waiting call while a bulk copy runs, {name}", "<= 2x idle + 100 us", busy,
                         busy <= 2 * idle + 100, " us", us(idle), us(busy)))
    return table


def tls_rows(bench):
    """Bulk beside bare OpenSSL; and calls of two sessions in turns, one with TLS and one without."""
    rows = bench.rows("tls", "htod_16,dtoh_16")
    table = [paired(rows.get(key), f"TLS, 16 MiB {way} / bare OpenSSL", at_least(0.95), rate=True)
             for key, way in (("htod_16", "to the device"), ("dtoh_16", "to the host"))]
    extra, plain_us, tls_us = [], [], []
    with bench.gpud("tcp", "empty") as plain, bench.gpud("tls", "empty") as tls:
        for _ in range(5 if bench.quick else 15):
            took = []
            for server in ((plain["direct"], ""), (tls["direct"], tls["fingerprint"])):
                process = bench.probe(server, "calls", "0.2")
                process.stdout.readline()
                process.stdin.write("x")
                process.stdin.flush()
                result = finish(process)
                took.append(result["seconds"] / result["count"] * 1e6)
            plain_us.append(took[0])
            tls_us.append(took[1])
            extra.append(took[1] - took[0])
    goal, test = at_most(6)
    value = statistics.median(extra)
    table.append(Row("TLS, extra time of a waiting call", goal + " us", value, test(value), " us",
                     us(statistics.median(plain_us)), us(statistics.median(tls_us))))
    return table


def delay_rows(bench):
    """Launches over a line that delays and over one that does not, in turns."""
    seconds = "0.3" if bench.quick else "1"
    rates = {0.0: [], 10.0: []}
    with bench.gpud("tcp", "empty", 0) as near, bench.gpud("tcp", "empty", 10) as far:
        for _ in range(3 if bench.quick else 7):
            for delay_ms, server in ((0.0, near), (10.0, far)):
                result = finish(bench.probe(server["delayed"], "launches", seconds))
                rates[delay_ms].append(result["count"] / result["seconds"])
    ratio = statistics.median(far / near for near, far in zip(rates[0.0], rates[10.0]))
    goal, test = at_least(0.9)
    near, far = (statistics.median(rates[delay]) / 1e6 for delay in (0.0, 10.0))
    return [Row("launch rate at 10 ms of added latency / none", goal, ratio, test(ratio), "x",
                f"{near:.3g} M/s", f"{far:.3g} M/s", note="both through the same proxy")]


def resident_kib(pid):
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0])
    return fields["Rss"]


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def first_rows(bench):
    repetitions = 3 if bench.quick else 9
    firsts, cpu, grown, worker_kib = [], [], [], []
    with bench.gpud("tcp", "cpu") as server:
        for _ in range(repetitions):
            process = bench.probe(server["direct"], "first")
            result = json.loads(process.stdout.readline())
            firsts.append(result["first_ms"])
            cpu.append(result["cpu_ms"])
            grown.append(result["grown_kib"] / 1024)
            worker_kib += [resident_kib(pid) for pid in children(server["pid"])]
            process.communicate("x")
    near, far = [], []
    with bench.gpud("tcp", "cpu", 0) as quick, bench.gpud("tcp", "cpu", 30) as slow:
        for _ in range(repetitions):
            for server, list_ in ((quick, near), (slow, far)):
                process = bench.probe(server["delayed"], "first")
                list_.append(json.loads(process.stdout.readline())["first_ms"])
                process.communicate("x")
    trips = (statistics.median(far) - statistics.median(near)) / 30
    with bench.gpud("tcp", "empty") as server:
        process = bench.probe(server["direct"], "first")
        process.stdout.readline()
        empty_worker = max(resident_kib(pid) for pid in children(server["pid"])) / 1024
        process.communicate("x")
    first, rss = statistics.median(firsts), statistics.median(grown)
    table = []
    for figure, limit, value, unit, note in (
            ("connect to first result on a warm gpud, CPU device", 30, first, " ms",
             f"from cuInit to the first bytes, with {statistics.median(cpu):.2g} ms of the program's CPU time"),
            ("round trips to the first result at 30 ms", 8, trips, "", "added time / 30 ms"),
            ("memory of the client library at rest", 8, rss, " MiB", "growth of the resident set"),
            ("memory of a worker at rest beside the device", 12, empty_worker, " MiB",
             f"resident set with an empty driver; with the CPU device "
             f"{statistics.median(worker_kib) / 1024:.3g} MiB")):
        goal, test = at_most(limit)
        table.append(Row(figure, goal + unit, value, test(value), unit, note=note))
    return table


def sessions_rows(bench):
    """One session that makes small calls, then 64."""
    many = 16 if bench.quick else 64
    seconds = "1" if bench.quick else "3"

    def rate(count, server):
        processes = [bench.probe(server["direct"], "calls", seconds) for _ in range(count)]
        for process in processes:
            process.stdout.readline()
        for process in processes:
            process.stdin.write("x")
            process.stdin.flush()
        results = [finish(process) for process in processes]
        return sum(result["count"] / result["seconds"] for result in results)

    with bench.gpud("unix", "empty") as server:
        ones, all_ = [], []
        for _ in range(3):
            ones.append(rate(1, server))
            all_.append(rate(many, server))
    ratio = statistics.median(a / o for a, o in zip(all_, ones))
    goal, test = at_least(0.9 * CORES)
    return [Row(f"{many} sessions of small calls: total rate / one session's", goal, ratio, test(ratio), "x",
                f"{statistics.median(ones) / 1e3:.3g} k/s", f"{statistics.median(all_) / 1e3:.3g} k/s",
                note=f"{CORES} cores, shared by clients and workers")]


def unmeasured_rows():
    rows = []
    if CORES < 4:
        rows.append(Row("waiting call / ping-pong, both sides spinning", "<= 1.6",
                        note=f"spinning needs spare cores; this machine has {CORES}"))
    return rows


def markdown(rows, head):
    lines = [head, "", "| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plain(rows):
    cells = [HEADS[:6]] + [row.cells()[:6] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(6)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    for row in rows:
        if row.note:
            print(f"  {row.figure}: {row.note}")


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "?")
    load = os.getloadavg()[0]
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True,
                            text=True).stdout.strip()
    return {"date": datetime.date.today().isoformat(), "processor": model, "cores": CORES,
            "kernel": platform.release(), "load_average": round(load, 1), "commit": commit,
            "sides": "client, gpud and baselines on one machine, over the loopback or a Unix socket"}


def save(name, rows, facts, quick):
    folder = ROOT / "bench" / "results"
    head = (f"# The speed goals, measured\n\n{facts['date']}, commit {facts['commit']}. {facts['processor']}, "
            f"{facts['cores']} cores, Linux {facts['kernel']}, load average {facts['load_average']} at the "
            f"start. Client, gpud and baselines ran on this one machine; gpud ran a driver that does nothing "
            f"unless a row says otherwise.\n\n    bench/compare.py {'--quick ' if quick else ''}--save {name}")
    (folder / f"{name}.md").write_text(markdown(rows, head))
    data = {"machine": facts, "rows": [{"figure": row.figure, "goal": row.goal, "value": row.value,
                                        "unit": row.unit.strip(), "verdict": row.verdict,
                                        "baseline": row.raw, "farwarp": row.own, "cpu": row.cpu,
                                        "note": row.note} for row in rows]}
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "dev")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter slices")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, separated by commas")
    parser.add_argument("--save", metavar="NAME", help="write bench/results/NAME.md and NAME.json")
    options = parser.parse_args()
    groups = options.only.split(",")
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"There is no group \"{unknown.pop()}\"; there are {', '.join(GROUPS)}.")
    bench = Bench(options.build.resolve(), options.quick)
    facts = machine()
    rows = []
    for group in groups:
        if group in ("tcp", "unix"):
            rows += socket_rows("TCP" if group == "tcp" else "Unix", bench.rows(group))
        else:
            rows += {"tls": tls_rows, "delay": delay_rows, "first": first_rows, "sessions": sessions_rows}[group](bench)
    rows += unmeasured_rows()
    plain(rows)
    if options.save:
        save(options.save, rows, facts, options.quick)
    missed = sum(row.verdict == "MISSED" for row in rows)
    print(f"\n{missed} of {len(rows)} figures miss their goal.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
