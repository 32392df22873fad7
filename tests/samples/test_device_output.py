"""Goal: what kernels print reaches the program's own stdout and stderr through gpud, in order with what
the program prints, and a failed assertion and a trap do to the program what they do in-process.

Method: kernels/samples/device_output.cu runs in-process on the CPU device and through gpud, over a Unix
socket and over TCP. Both must print the same bytes to each stream and end alike. The lines of a flood from
many threads come in any order, but each comes once and whole; they are more than all pipes and buffers on
the way hold. What must be there is also said here, so that two empty outputs do not count as equal.

usage: test_device_output.py BUILD_FOLDER
"""

import sys

from gpud_process import Build, Gpud, run

FLOOD_LINES = 30000  # 2.2 MB


class QuietBuild(Build):
    """The CPU device does not explain a trap on stderr, in either way of running."""

    def environment(self, **more):
        return super().environment(FARWARP_CPU_DEVICE="quiet=1", **more)


def outcome(command, environment, in_any_order=False):
    done = run(command, environment)
    lines = done.stdout.splitlines(keepends=True)
    return done.returncode, sorted(lines) if in_any_order else lines, done.stderr.splitlines()


def check(build, servers, arguments, expected, in_any_order=False):
    command = [build.sample("deviceOutput"), *arguments]
    local = outcome(command, build.in_process(), in_any_order)
    assert local[0] == 0, f"{arguments} ended with {local[0]} in-process: {local[2]}"
    for line in expected:
        assert any(line in have for have in [*local[1], *local[2]]), f"{line} is missing in-process."
    for server in servers:
        words, environment = build.remote(server)
        remote = outcome([*words, *command], environment, in_any_order)
        assert remote[1] == local[1], f"{arguments} printed other lines through {server}: {remote}"
        assert remote == local, f"{arguments} went otherwise through {server}: {remote}"


def main():
    build = QuietBuild(sys.argv[1])
    with Gpud(build) as gpud:
        servers = [gpud.unix, gpud.tcp]
        check(build, servers, ["order"], [b"kernel 19 says hello  9.50"])
        check(build, servers, ["unwaited"], [b"kernel 1 says hello  0.50"])
        check(build, servers, ["flood", FLOOD_LINES], [b"line %08d " % (FLOOD_LINES - 1)], True)
        check(build, servers, ["assert"], [b"thread: [1,0,0] Assertion `value == 0", b"cudaErrorAssert"])
        check(build, servers, ["trap"], [b"cudaErrorLaunchFailure"])
    assert "Assertion" not in gpud.output(), "The assertion's text went to gpud's log."


main()
