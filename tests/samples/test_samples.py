"""Goal: an unmodified program gives the same result wherever its CUDA calls go.

Method: one sample program, built in one way, runs with several sizes (a single element, less than a
warp, a ragged last block) in three ways: in-process on the CPU device, through gpud over a Unix socket,
and through gpud over TCP. Every run must end with 0 and its stdout must be, byte for byte, what oracle.py
computes without CUDA. A way that fails does not stop the others, so that one run shows all that is wrong.

usage: test_samples.py BUILD_FOLDER PROGRAM [VARIANT]
"""

import sys

import oracle
from gpud_process import Build, Gpud, run

SIZES = {
    "vectorAdd": (1, 31, 10001),
    "matrixMul": (1, 16, 53),
    "reduction": (1, 33, 30011),
    "histogram": (1, 100, 20011),
    "streams": (1, 3, 5003),
    "textures": (1, 17, 40),
    "graphs": (1, 31, 3001),
    "managedMemory": (1, 1025, 20003),
    "zeroCopy": (1, 1024, 20003),
    "separate": (1, 100, 3001),
    "tensorCores": (1, 3),
    "warpFunctions": (1, 100, 10007),
    "numberFormats": (1, 3001),
    "gridScan": (1, 1000, 10007),
}


def complaint(way, command, environment, expected):
    """Runs `command`; returns a list with one line that says what is not as it must be, or none."""
    result = run(command, environment)
    if (result.returncode, result.stdout) == (0, expected.encode()):
        return []
    return [f"{way}: {' '.join(map(str, command))}: ended with {result.returncode}, which must be 0; "
            f"stdout is {result.stdout!r} and must be {expected.encode()!r}; "
            f"stderr is {result.stderr.decode(errors='replace')!r}"]


def main():
    build = Build(sys.argv[1])
    name, variant = sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""
    program = build.sample(name, variant)
    failures, runs = [], 0
    with Gpud(build) as gpud:
        for size in SIZES[name]:
            expected = oracle.EXPECTED[name](size)
            command = [program, str(size)]
            for way, prefix, environment in (
                ("in-process", [], build.in_process()),
                ("unix socket", *build.remote(gpud.unix)),
                ("tcp", *build.remote(gpud.tcp)),
            ):
                failures += complaint(way, prefix + command, environment, expected)
                runs += 1
    if failures:
        failures.append("gpud's own output: " + gpud.output())
        sys.exit("\n".join(failures))
    print(f"{runs} runs of {program.name} gave the expected bytes.")


main()
