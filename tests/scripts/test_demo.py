"""Goal: scripts/demo shows what it promises, and leaves nothing behind however it ends.

Method: the demo runs on what is built already, with a temporary folder of its own. It must end with 0, show
the right result of every sample, and end with a table that has a row for each session with calls, waiting
calls, bytes both ways and kernel time above zero, and a row of sums that is their sum. Then it runs again
and gets SIGTERM as soon as gpud listens. After each, the temporary folder is empty and no process is left.

usage: test_demo.py PRESET
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

DEMO = pathlib.Path(__file__).resolve().parents[2] / "scripts/demo"
SAMPLES = ["vectorAdd", "vectorAdd_shared", "vectorAdd_per_thread", "matrixMul", "reduction", "histogram",
           "streams"]
PATIENCE_S = 240


def start(preset, folder):
    """The demo in a process group of its own, so that what it leaves running can be found."""
    return subprocess.Popen([DEMO, "--built", "--preset", preset], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True,
                            env=os.environ | {"TMPDIR": folder})


def assert_clean(demo, folder):
    left = list(pathlib.Path(folder).iterdir())
    assert not left, f"the demo left {left}"
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        assert int(fields[3]) != demo.pid or fields[0] == "Z", f"the demo left a process: {stat}"


def bytes_of(number, unit):
    return float(number) * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit)


def parse_row(line):
    """program, calls, waiting calls, bytes to and from gpud, launches, kernel time in ms"""
    program, calls, waiting, sent, sent_unit, received, received_unit, launches, kernel_ms = line.split()
    return (program, int(calls), int(waiting), bytes_of(sent, sent_unit),
            bytes_of(received, received_unit), int(launches), float(kernel_ms))


def check_table(lines):
    rows = [parse_row(line) for line in lines]
    assert [row[0] for row in rows] == SAMPLES + ["sum"], rows
    for row in rows:
        assert all(value > 0 for value in row[1:]), f"every figure must be above zero: {row}"
        assert row[2] < row[1], f"not every call waits: {row}"
    for column in (1, 2, 5):
        assert sum(row[column] for row in rows[:-1]) == rows[-1][column], f"column {column}: {rows}"


def run_to_the_end(preset):
    with tempfile.TemporaryDirectory() as folder:
        demo = start(preset, folder)
        output, _ = demo.communicate(timeout=PATIENCE_S)
        assert demo.returncode == 0, f"the demo ended with {demo.returncode}: {output}"
        lines = output.splitlines()
        shown = sum(line.endswith(": right") for line in lines)
        assert shown == len(SAMPLES), f"{shown} right results; there must be {len(SAMPLES)}: {output}"
        head = max(i for i, line in enumerate(lines) if line.startswith("program"))
        check_table([line for line in lines[head + 1 :] if line.strip()])
        assert_clean(demo, folder)


def interrupt(preset):
    with tempfile.TemporaryDirectory() as folder:
        demo = start(preset, folder)
        for line in demo.stdout:
            if line.startswith("gpud listens"):
                break
        demo.send_signal(signal.SIGTERM)
        output, _ = demo.communicate(timeout=PATIENCE_S)
        assert demo.returncode == 143, f"the demo ended with {demo.returncode}: {output}"
        assert_clean(demo, folder)


run_to_the_end(sys.argv[1])
interrupt(sys.argv[1])
