"""Goal: a sample that goes wrong says so, so that the other tests of this folder can fail at all.

Method: every sample runs with arguments it must refuse (2, naming the argument and its limits), and with
no device at all (3, naming the call and the error). With a library preloaded whose launches succeed and
execute nothing, it must find its result wrong (1) on the CPU device that gives the right one otherwise.

usage: test_exit_codes.py BUILD_FOLDER [NO_LAUNCH_LIBRARY]
"""

import sys

from gpud_process import Build, run
from oracle import EXPECTED

BAD_ARGUMENTS = (["0"], ["-1"], ["many"], ["12x"], [""], ["99999999999999999999"], ["1", "1", "1"])


def check(build, name, arguments, environment, status, words):
    result = run([build.sample(name), *arguments], environment)
    said = (result.stdout + result.stderr).decode()
    assert result.returncode == status, (
        f"{name} {arguments} ended with {result.returncode}; it must be {status}: {said}")
    for word in words:
        assert word in said, f"{name} {arguments} must say \"{word}\"; it said: {said}"


def main():
    build = Build(sys.argv[1])
    for name in EXPECTED:
        for arguments in BAD_ARGUMENTS:
            too_many = len(arguments) > 1
            words = ["the most is"] if too_many else ["SIZE", f'"{arguments[0]}"', "from 1 to "]
            check(build, name, arguments, build.environment(), 2, words)
        check(build, name, [], build.environment(CUDA_VISIBLE_DEVICES="", LD_LIBRARY_PATH="/nowhere"),
              3, ["failed: cudaError"])
        if len(sys.argv) > 2:
            environment = build.in_process()
            environment["LD_PRELOAD"] += ":" + sys.argv[2]
            check(build, f"{name}_shared", ["64"], environment, 1, ["wrong"])


main()
