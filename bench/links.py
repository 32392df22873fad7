#!/usr/bin/env python3
"""Copies over emulated networks, compressed and not.

Makes two network namespaces with a link of a given rate between them (ip netns, tc tbf), runs gpud on
the CPU device in one and link_bench in the other, with compression off and then auto, several times in
turn, and prints a table of the medians in Markdown. Needs root and a built tree; removes what it made.

usage: links.py BUILD_FOLDER [--rate GBIT ...] [--rounds N] [--mib N]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

NEAR, FAR = "fwbench-near", "fwbench-far"
ADDRESS = {NEAR: "10.199.77.1", FAR: "10.199.77.2"}


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def make_link(gbit):
    for space in (NEAR, FAR):
        ip("netns", "add", space)
    ip("link", "add", "fwbench0", "netns", NEAR, "type", "veth", "peer", "name", "fwbench1", "netns", FAR)
    for space, device in ((NEAR, "fwbench0"), (FAR, "fwbench1")):
        inside = ["-n", space]
        ip(*inside, "addr", "add", f"{ADDRESS[space]}/24", "dev", device)
        ip(*inside, "link", "set", device, "up")
        ip(*inside, "link", "set", "lo", "up")
        if gbit:
            subprocess.run(["tc", *inside, "qdisc", "add", "dev", device, "root", "tbf", "rate",
                            f"{gbit}gbit", "burst", f"{max(int(gbit * 256), 64)}kb", "latency", "20ms"],
                           check=True)


def remove_link():
    for space in (NEAR, FAR):
        subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL)


def within(space, *command):
    return ["ip", "netns", "exec", space, *map(str, command)]


class Gpud:
    def __init__(self, build):
        self.folder = tempfile.TemporaryDirectory(prefix="farwarp-links-")
        ready, ready_for_gpud = os.pipe()
        self.log = open(f"{self.folder.name}/log", "w")
        self.process = subprocess.Popen(
            within(FAR, build / "bin/gpud", "--device", "cpu", "--insecure", "--listen",
                   f"tcp:{ADDRESS[FAR]}:0", "--ready-fd", ready_for_gpud),
            pass_fds=[ready_for_gpud], stdout=self.log, stderr=self.log)
        os.close(ready_for_gpud)
        with open(ready) as lines:
            said = [line.split() for line in lines]
        self.server = said[0][1].removeprefix("tcp:")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        self.folder.cleanup()


def measure(build, server, mode, mib, text):
    environment = os.environ | {"FARWARP_COMPRESSION": mode}
    done = subprocess.run(
        within(NEAR, build / "bin/farwarp", "run", "--insecure", "--server", server, "--",
               build / "bin/link_bench", mib, text),
        env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rate", type=float, nargs="*", default=[1, 10], help="Gbit/s; 0: not limited")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=64)
    options = parser.parse_args()
    build = options.build.resolve()
    root = pathlib.Path(__file__).resolve().parent.parent
    with tempfile.NamedTemporaryFile(suffix=".txt") as text:
        for source in sorted(root.glob("*/**/*.cc")):
            if "build" not in source.parts:
                text.write(source.read_bytes())
        text.flush()
        for gbit in options.rate:
            remove_link()
            make_link(gbit)
            gpud = Gpud(build)
            try:
                rates = {}
                for _ in range(options.rounds):
                    for mode in ("off", "auto"):
                        for figure in measure(build, gpud.server, mode, options.mib, text.name):
                            for way in ("to_device", "to_host"):
                                rates.setdefault((figure["kind"], way), {}).setdefault(mode, []).append(
                                    figure[way])
            finally:
                gpud.stop()
                remove_link()
            print(f"\n{gbit:g} Gbit/s, {options.mib} MiB, medians of {options.rounds}, MB/s\n")
            print("| data | way | plain | auto | auto / plain |\n|---|---|---|---|---|")
            for (kind, way), modes in rates.items():
                plain, auto = (statistics.median(modes[mode]) / 1e6 for mode in ("off", "auto"))
                print(f"| {kind} | {way.replace('_', ' ')} | {plain:.0f} | {auto:.0f} | {auto / plain:.2f} |")


main()
