#!/usr/bin/env python3
"""Fails when a call, a launch or a copied byte costs much more CPU time than it did.

usage: bench/cpu_gate.py [--build FOLDER]

CPU time of both ends, beside that of a bare socket which does the same in the same run, as the least
ratio over several slices: whatever else runs on the machine only adds to it, for both. Wall time plays no
part. The limits are two to three times what was measured when they were set (bench/results), so that they
are met anywhere, and a lost fast path is not.
"""

import argparse
import pathlib
import sys

import compare

# Row of driver_bench: what it is, and the limit of CPU time over the baseline's, both ends together.
LIMITS = {
    "waiting_call": ("a waiting call / a ping-pong of 64 B", 3.5),
    "launches": ("a launch / a record in raw framing", 8.0),
    "htod_16": ("a byte to the device / over a raw socket", 3.0),
    "dtoh_16": ("a byte to the host / over a raw socket", 3.0),
}
ATTEMPTS = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=compare.ROOT / "build" / "dev")
    options = parser.parse_args()
    bench = compare.Bench(options.build.resolve(), True)
    least = {}
    for attempt in range(ATTEMPTS):
        failing = [row for row in LIMITS if least.get(row, float("inf")) > LIMITS[row][1]]
        if not failing:
            break
        for row in bench.run("driver_bench", "rows", "--transport", "tcp", "--quick", "--only",
                             ",".join(failing)):
            least[row["id"]] = min(least.get(row["id"], float("inf")), row["least_cpu_ratio"])
    failed = False
    for row, (what, limit) in LIMITS.items():
        word = "ok" if least[row] <= limit else "TOO MUCH"
        failed |= least[row] > limit
        print(f"{what}: {least[row]:.2f}x the CPU time of the baseline; the limit is {limit}x: {word}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
