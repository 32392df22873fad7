#!/usr/bin/env python3
"""Runs many calls and copies in one session and watches the memory of both sides.

usage: bench/soak.py [--build FOLDER] [--transport tcp|unix] [--calls N] [--gib N] [--save NAME]

The program checks every result. Its resident memory and that of its worker are sampled at each percent;
beyond the first quarter neither may grow by more than --slack-mib. The full run is 10^7 calls and 100 GB.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys

import compare


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=compare.ROOT / "build" / "dev")
    parser.add_argument("--transport", choices=("tcp", "unix"), default="unix")
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--gib", type=float, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slack-mib", type=float, default=8)
    parser.add_argument("--save", metavar="NAME", help="write bench/results/NAME.json")
    options = parser.parse_args()
    bench = compare.Bench(options.build.resolve(), False)
    facts = compare.machine()
    samples, last = [], {}
    with bench.gpud(options.transport, "cpu") as server:
        command = [bench.bin / "farwarp", "run", "--insecure", "--server", server["direct"], "--",
                   bench.bin / "soak_program", str(options.calls), str(options.gib), str(options.seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            for line in program.stdout:
                last = json.loads(line)
                # The program, or its worker, may be gone behind its last line.
                with contextlib.suppress(OSError):
                    worker = max(resident_mib(pid) for pid in compare.children(server["pid"]))
                    samples.append((resident_mib(program.pid), worker))
        if program.returncode != 0:
            print(f"The program ended with {program.returncode} (seed {options.seed}).")
            return 1
    quarter = max(1, len(samples) // 4)
    table = {}
    failed = False
    for side, name in enumerate(("client", "worker")):
        early = max(sample[side] for sample in samples[:quarter])
        late = max(sample[side] for sample in samples[quarter:] or samples)
        table[name] = {"first_quarter_mib": round(early, 1), "later_mib": round(late, 1)}
        grown = late - early
        print(f"{name}: {early:.1f} MiB in the first quarter, {late:.1f} MiB later")
        if grown > options.slack_mib:
            print(f"The memory of the {name} grew by {grown:.1f} MiB; the limit is {options.slack_mib} MiB.")
            failed = True
    print(f"{last['calls']} calls, {last['launches']} launches, {last['copies']} copies, "
          f"{last['bytes'] / 1e9:.1f} GB in {last['seconds']} s; all results right (seed {options.seed})")
    if options.save:
        data = {"machine": facts, "transport": options.transport, "seed": options.seed, "result": last,
                "memory": table, "samples_mib": [[round(value, 1) for value in s] for s in samples]}
        path = compare.ROOT / "bench" / "results" / f"{options.save}.json"
        path.write_text(json.dumps(data) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    sys.exit(main())
