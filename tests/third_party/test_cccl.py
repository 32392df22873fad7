"""Runs cccl.cu's program in-process on the CPU device and through gpud. Its goal and method stand there.

usage: test_cccl.py BUILD_FOLDER PROGRAM
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "samples"))
from gpud_process import Build, Gpud, run  # noqa: E402

ALGORITHMS = 11


def check(way, done):
    said = done.stdout.decode(errors="replace")
    print(f"--- {way}\n{said}{done.stderr.decode(errors='replace')}")
    assert done.returncode == 0, f"The run {way} ended with {done.returncode}."
    assert said.count(": equal\n") == ALGORITHMS, f"Not all of {ALGORITHMS} results were compared {way}."


def main():
    build, program = Build(sys.argv[1]), sys.argv[2]
    check("in-process", run([program], build.in_process()))
    with Gpud(build) as gpud:
        words, environment = build.remote(gpud.unix)
        check("through gpud", run([*words, program], environment))


if __name__ == "__main__":
    main()
