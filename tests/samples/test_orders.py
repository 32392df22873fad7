"""Goal: programs without races give the same bytes whatever order blocks, warps and lanes run in.

Method: programs run in-process on the CPU device, first in the natural order on one thread, then in
orders made from several numbers and on several numbers of threads (FARWARP_CPU_DEVICE=order=,threads=).
Every run must end with 0 and print what the first printed.

usage: test_orders.py BUILD_FOLDER PROGRAM [ARGUMENT]...
"""

import sys

from gpud_process import Build, run

ORDERS = ((1, 1), (2, 2), (3, 5))


def main():
    build, command = Build(sys.argv[1]), sys.argv[2:]
    command[0] = build.sample(command[0])

    def output(device):
        done = run(command, build.in_process() | {"FARWARP_CPU_DEVICE": device})
        assert done.returncode == 0, (f"With {device} the program ended with {done.returncode}: "
                                      f"{done.stdout!r} {done.stderr!r}")
        return done.stdout

    expected = output("threads=1")
    assert expected, "The program prints nothing, so that nothing is compared."
    for order, threads in ORDERS:
        device = f"order={order},threads={threads}"
        assert (have := output(device)) == expected, (
            f"With {device} the program prints {have!r}; in the natural order it prints {expected!r}.")
    print(f"{len(ORDERS)} orders, equal output.")


main()
