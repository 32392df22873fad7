"""Goal: third_party.py lets pass what is right, and nothing else.

Method: it runs a small program of our own, which behaves as its argument says, with tables in which every
kind of line occurs: a success, a wrong result, no verdict, a program that never ends, output that differs
between the ways, exceptions that hold, do not hold, or are not needed, and a program that cannot be built.

usage: test_third_party.py BUILD_FOLDER CUDA_TOOLKIT
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

TABLE = """
[ours]
repository = "https://example.org/ours"
folder = "programs/tiny"
build = "nvcc"
passes = ['are right']
fails = ['WRONG']

[ours.programs]
right = { arguments = "right" }
wrong = { arguments = "wrong" }
silent = { arguments = "silent" }
late = { arguments = "late", time_limit_s = 1 }
same = { arguments = "silent", compare = true }
different = { arguments = "process", compare = true }
ignored = { arguments = "process", compare = true, ignore = ['process'] }
known = { arguments = "wrong" }
known_otherwise = { arguments = "wrong" }
known_no_more = { arguments = "right" }
known_remotely = { arguments = "right" }
constant = { arguments = "right", constants = { COUNT = 7 }, passes = ['^The 7 squares are right'] }
no_constant = { constants = { DISCOUNT = 7 } }
unbuilt = { folder = "programs/none" }
unbuilt_known = { folder = "programs/none" }
needy = { needs = ["lib/libnone.so"] }

[[exceptions]]
programs = ["ours/known"]
reason = "A reason."
says = 'are WRONG'

[[exceptions]]
programs = ["ours/known_otherwise", "ours/known_no_more"]
reason = "Another reason."
says = 'Out of paper'

[[exceptions]]
programs = ["ours/known_remotely"]
ways = ["remote"]
reason = "A reason for one way."
says = 'Out of paper'

[[exceptions]]
programs = ["ours/unbuilt_known"]
reason = "The collection is small."
says = 'There is no folder'
"""

# What is said of each program, in-process and remotely.
WANTED = {
    "right": ("pass", "pass"),
    "wrong": ('FAIL.*It says "WRONG"', 'FAIL.*It says "WRONG"'),
    "silent": ("FAIL.*does not say that", "FAIL.*does not say that"),
    "late": ("FAIL.*ended with -9", "FAIL.*ended with -9"),
    "same": ("pass", "pass"),
    "different": ("pass", "FAIL.*not print what it prints in-process"),
    "ignored": ("pass", "pass"),
    "known": ("expected.*A reason", "expected.*A reason"),
    "known_otherwise": ("FAIL.*must say.*paper.*Another", "FAIL.*must say.*paper.*Another"),
    "known_no_more": ("FAIL.*exception must go", "FAIL.*exception must go"),
    "known_remotely": ("pass", "FAIL.*exception must go"),
    "constant": ("pass", "pass"),
    "no_constant": ("FAIL.*No file of tiny defines DISCOUNT", "FAIL.*No file of tiny defines DISCOUNT"),
    "unbuilt": ("FAIL.*There is no folder", "FAIL.*There is no folder"),
    "unbuilt_known": ("expected.*small", "expected.*small"),
    "needy": ("not run.*no lib/libnone.so", "not run.*no lib/libnone.so"),
}


def runRunner(build, cuda, folder, *words):
    """Runs third_party.py; returns its exit status and all it says."""
    environment = {key: value for key, value in os.environ.items() if key != "OURS"}
    done = subprocess.run(
        [sys.executable, HERE / "third_party.py", build, "--cuda", cuda, "--table", folder / "table.toml",
         "--work", folder / "work", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
    return done.returncode, done.stdout


def main():
    build, cuda = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="farwarp-third-party-") as name:
        folder = pathlib.Path(name)
        (folder / "table.toml").write_text(TABLE)
        tiny = folder / "sources/programs/tiny"
        tiny.mkdir(parents=True)
        (tiny / "tiny.cu").write_bytes((HERE / "tiny.cu").read_bytes())

        status, said = runRunner(build, cuda, folder)
        assert status == 1 and "git clone --depth 1 https://example.org/ours" in said, said

        summary = folder / "summary.md"
        status, said = runRunner(build, cuda, folder, "--ours", folder / "sources", "--summary", summary)
        print(said)
        assert status == 1, "Programs failed, and the runner ended with 0."
        for program, wanted in WANTED.items():
            for way, pattern in zip(("in-process", "remote"), wanted):
                lines = re.findall(f"^(\\w+|not run) +ours/{program} {way} [0-9.]+ s (.*)$", said, re.MULTILINE)
                assert len(lines) == 1, f"{program} {way} has {len(lines)} verdicts."
                assert re.match(pattern, " ".join(lines[0])), f"{program} {way}: {lines[0]} is not {pattern}"
        assert "in-process: 6 of 16 programs pass, 2 fail as expected, 7 fail, 1 were not run." in summary.read_text()
        assert "| ours/right | pass" in summary.read_text()

        status, said = runRunner(build, cuda, folder, "--ours", folder / "sources", "--only", "ours/known",
                                 "--way", "in-process")
        assert "of 4 programs" in said, said
        status, said = runRunner(build, cuda, folder, "--ours", folder / "sources", "--only", "ours/right")
        assert status == 0, said


if __name__ == "__main__":
    main()
