"""Goal: farwarp run --trace records what a program did, and farwarp trace shows it truly.

Method: the sample `streams` runs with a trace and with --stats. The table of farwarp trace and the JSON
for Chrome must agree with each other, with what --stats printed, and with what the program is known to do;
events of a lane must not overlap, and each wait must lie inside the call that waited. Then the file is cut,
damaged and replaced, and two processes trace to one name.

usage: test_trace.py BUILD_FOLDER
"""

import json
import pathlib
import re
import struct
import sys
import tempfile

from gpud_process import Build, Gpud, run

SIZE = 100_000  # numbers of each half; its chunks are larger than what travels inside a record
CHUNKS = 8
SLACK_US = 0.002  # times are rounded to nanoseconds when written


def traced(build, gpud, file, *program, **more):
    words, environment = build.remote(gpud.tcp)
    if words:
        words[2:2] = ["--trace", file, "--stats"]
    return run([*words, *program], environment | {"FARWARP_TRACE": str(file), "FARWARP_STATS": "1"} | more)


def show(build, file, *options):
    done = run([build.folder / "bin/farwarp", "trace", file, *options], build.environment())
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def calls_of(table):
    """{name: (calls, waits)} of the table of calls."""
    found = {}
    for line in table.splitlines():
        if match := re.match(r" *(\d+) +(\d+) +[\d.]+ +[\d.]+ .* (?:local|cached|async|sync|unsupported) +(\w+)$", line):
            found[match[3]] = int(match[1]), int(match[2])
    return found


def lanes_of(events):
    lanes = {}
    for event in events:
        if event["ph"] == "X":
            lanes.setdefault((event["pid"], event["tid"]), []).append(event)
    return lanes


def check_lanes(lanes, nested):
    """Events of a lane follow each other, or lie in each other where calls may call out."""
    for lane, events in lanes.items():
        open_until = []
        for event in sorted(events, key=lambda one: (one["ts"], -one["dur"])):
            end = event["ts"] + event["dur"]
            while open_until and open_until[-1] <= event["ts"] + SLACK_US:
                open_until.pop()
            assert not open_until or (lane[0] in nested and end <= open_until[-1] + SLACK_US), (lane, event)
            open_until.append(end)


def check_agreement(build, file, said):
    status, table, complaint = show(build, file)
    assert status == 0 and not complaint, (status, complaint)
    chrome = file.with_suffix(".json")
    status, printed, complaint = show(build, file, "--chrome", chrome)
    assert status == 0 and not printed and not complaint, (status, printed, complaint)
    events = json.loads(chrome.read_text())["traceEvents"]

    groups = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    program, wire, device = (next(pid for pid, name in groups.items() if part in name)
                             for part in ("calls", "wire", "kernels"))
    calls = [event for event in events if event.get("cat") == "call"]
    messages = [event for event in events if event.get("cat") == "wire"]
    kernels = [event for event in events if event.get("cat") == "kernel"]
    lanes = lanes_of(events)
    assert {lane[0] for lane in lanes} == {program, wire, device}, lanes.keys()
    check_lanes(lanes, nested={program})

    # The table, the events and the program itself.
    by_name = calls_of(table)
    assert sum(count for count, _ in by_name.values()) == len(calls)
    for name, (count, waits) in by_name.items():
        mine = [event for event in calls if event["name"] == name]
        assert (len(mine), sum(event["args"]["waits"] for event in mine)) == (count, waits), name
    assert by_name["cuLaunchKernel"][0] == CHUNKS + 1 == len(kernels), (by_name, len(kernels))
    assert sum("square" in event["name"] for event in kernels) == CHUNKS, kernels

    # --stats counts calls that the client itself makes, too; here it makes none.
    stats = re.search(r"\((\d+) answered here, (\d+) sent without waiting, (\d+) waited for\)", said)
    waits = sum(event["args"]["waits"] for event in calls)
    records = sum(event["args"]["records"] for event in calls)
    assert (records - waits, waits) == (int(stats[2]), int(stats[3])), (records, waits, stats[0])
    assert waits == sum(event["name"] == "call" for event in messages), waits
    assert re.search(rf"launches +{CHUNKS + 1}\n", said), said
    waited_ms = sum(event["args"]["waited_us"] for event in calls) / 1000
    told_ms = float(re.search(r"waited +([\d.]+) ms", said)[1])
    assert 0.5 * told_ms < waited_ms, (waited_ms, told_ms)  # a wait in a trace includes sending
    sizes = {name: sum(event["args"][way] for event in messages if event["name"] == name)
             for name, way in (("put", "to_gpud"), ("get", "from_gpud"))}
    assert sizes == {"put": 2 * SIZE * 4, "get": 3 * SIZE * 4}, sizes

    # Each message that is waited for lies in a call of its thread, and kernels in the time of the trace.
    for message in messages:
        if message["name"] != "call":
            continue
        thread = message["tid"] // 4
        assert any(call["ts"] <= message["ts"] + SLACK_US and
                   message["ts"] + message["dur"] <= call["ts"] + call["dur"] + SLACK_US
                   for call in lanes[program, thread]), message
    last = max(call["ts"] + call["dur"] for call in calls)
    launch = min(call["ts"] for call in calls if call["name"] == "cuLaunchKernel")
    error = 1000.0  # of the two clocks, which are one here
    assert all(launch - error <= kernel["ts"] <= last + error for kernel in kernels), (launch, last)
    return table


def check_damage(build, folder, file):
    good = file.read_bytes()
    bad = folder / "bad"

    def refused(content, status, *words, whole=True):
        bad.write_bytes(content)
        got, table, complaint = show(build, bad)
        assert got == status and all(word in complaint for word in words), (got, complaint)
        assert bool(table) == whole, table
        assert complaint.count("\n") == 1, complaint

    refused(b"", 1, "is not a trace", whole=False)
    refused(b"Dear reader, this is a letter and no trace.", 1, "is not a trace", whole=False)
    refused(good[:7], 1, "is not a trace", whole=False)
    refused(good[:len(good) // 2], 0, "ends early")
    refused(good[:24], 0, "ends early")
    refused(good[:24] + struct.pack("<II", 3, 12) + good[24:], 1, "damaged", "byte 24", "12 bytes")
    refused(good[:24] + struct.pack("<II", 3, 1 << 30), 1, "damaged", "byte 24")
    refused(good[:24] + struct.pack("<II", 3, 16) + bytes(8), 1, "damaged", "too few")
    unknown = struct.pack("<IIQ", 4711, 16, 0)  # of a newer version: skipped
    bad.write_bytes(good[:24] + unknown + good[24:])
    assert show(build, bad) == show(build, file)
    # Every kind of record with any content: no crash, whatever it says.
    for kind in range(10):
        bad.write_bytes(good[:24] + b"".join(
            struct.pack("<II", kind, 8 + size) + b"\xff" * size for size in (56, 64, 128)))
        assert show(build, bad)[0] in (0, 1)
        status, _, complaint = show(build, bad, "--chrome", folder / "bad.json")
        assert status == 0 or "damaged" in complaint, complaint
        json.loads((folder / "bad.json").read_text())
    status, _, complaint = show(build, folder / "none")
    assert status == 1 and "cannot be read" in complaint, complaint
    kept = folder / "kept.json"
    kept.write_text("precious")
    assert show(build, folder / "bad.json", "--chrome", kept)[0] == 1
    assert kept.read_text() == "precious", "A file was overwritten for nothing."


def check_files(build, gpud, folder, file):
    letter = folder / "letter"
    letter.write_text("Dear reader")
    if build.preloads:
        done = traced(build, gpud, letter, "true")
        assert done.returncode == 2 and b"not overwritten" in done.stderr, done
        done = traced(build, gpud, folder / "no/such", "true")
        assert done.returncode == 2 and b"there is no folder" in done.stderr, done
        # A program without a CUDA call leaves nothing.
        assert traced(build, gpud, folder / "nothing", "true").returncode == 0
        assert not (folder / "nothing").exists()
        # An older trace is replaced.
        before = file.stat().st_ino, file.stat().st_mtime_ns
        assert traced(build, gpud, file, build.sample("vectorAdd"), "10").returncode == 0
        assert before != (file.stat().st_ino, file.stat().st_mtime_ns)
        assert "vectorAdd" in show(build, file)[1]
    # Two processes of one program get a file each.
    both = folder / "both"
    sample = build.sample("vectorAdd")
    assert traced(build, gpud, both, "sh", "-c", f"'{sample}' 10 && '{sample}' 10").returncode == 0
    files = sorted(folder.glob("both*"))
    assert len(files) == 2 and all(show(build, one)[0] == 0 for one in files), files


def main():
    build = Build(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="farwarp-trace-") as name, Gpud(build) as gpud:
        folder = pathlib.Path(name)
        file = folder / "streams.trace"
        done = traced(build, gpud, file, build.sample("streams"), str(SIZE))
        assert done.returncode == 0, done
        plain = run([*build.remote(gpud.tcp)[0], build.sample("streams"), str(SIZE)],
                    build.remote(gpud.tcp)[1])
        assert plain.stdout == done.stdout, (plain, done)
        print(check_agreement(build, file, done.stderr.decode()))
        check_damage(build, folder, file)
        check_files(build, gpud, folder, file)


if __name__ == "__main__":
    main()
