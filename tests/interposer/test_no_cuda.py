"""Goal: a program that makes no CUDA call pays next to nothing for the preloaded stub.

Method: such a program finds itself with one thread, no socket and no client library. It is then run many
times with and without the stub, in turn, and the CPU time of the children is compared; the least
difference of several rounds counts, since other load can only add to it.

usage: test_no_cuda.py BUILD_FOLDER PROGRAMS
"""

import os
import resource
import sys

from testing import Build, run

RUNS = 40
ROUNDS = 8
MOST_S = 0.0003


def cpu_of(program, environment):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(RUNS):
        pid = os.posix_spawn(program, [program], environment,
                             file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
        assert os.waitpid(pid, 0)[1] == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / RUNS


def main():
    build = Build(*sys.argv[1:3])
    program = build.programs / "farwarp_no_cuda"
    done = run([program], build.preloaded(FARWARP_SERVER="unix:/nowhere"))
    assert done.stdout == "threads 1 sockets 0 stub 1 client 0\n", done
    assert done.stderr == "", done.stderr

    differences = []
    for _ in range(ROUNDS):
        without = cpu_of("/bin/true", build.environment())
        differences.append(cpu_of("/bin/true", build.preloaded()) - without)
    assert min(differences) < MOST_S, f"the stub costs {differences} s of CPU time per process"
    print(f"the stub costs {min(differences) * 1e6:.0f} us of CPU time per process")


main()
