"""Goal: a sample that goes wrong says so, so that the other tests of this folder can fail at all.

Method: every sample runs with arguments it must refuse (2, naming the argument and its limits), and with
no driver at all (3, naming the call and the error); with a driver that accepts every call and executes no
kernel it must find its result wrong (1).

usage: test_exit_codes.py BUILD_FOLDER
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
        idle = build.folder / "lib/mock"
        check(build, name, ["64"], build.environment(LD_LIBRARY_PATH=str(idle)), 1, [": wrong"])


main()
