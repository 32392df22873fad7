"""Goal: a session does what a driver would, for one thread and many, across fork, at exit, and when gpud
or its worker dies in the middle.

Method: the probe against a gpud on the CPU device; what it must print is in each check below.

usage: test_session.py BUILD_FOLDER PROGRAMS
"""

import os
import re
import sys

from testing import PATIENCE_S, Build, Gpud, results

NOT_INITIALIZED, DEINITIALIZED, CONTEXT_IS_DESTROYED = 3, 4, 709


def check_calls(build, server):
    words = ["version", "init", "count", "ctx", "alloc", "set", "sync", "small", "large", "pinned",
             "beside", "bad", "info", "threads", "free", "release"]
    got, said = build.probe(*words, FARWARP_SERVER=server)
    assert said == "", said
    assert got.pop("version") >= 13000, got
    assert got == {word: 0 for word in words[1:]}, got


def check_before_init(build, server):
    got, said = build.probe("count", "alloc", "forkinit", "init", "alloc", "ctx", "alloc", "reset",
                            "info", FARWARP_SERVER=server)
    assert said == "", said
    assert got["count"] == NOT_INITIALIZED and got["forkinit"] == 0, got
    assert got["alloc"] == 0 and got["reset"] == 0 and got["info"] == CONTEXT_IS_DESTROYED, got


def check_reset(build, server):
    """The primary context lives again after a reset, with the same handle and without its memory."""
    got, said = build.probe("init", "ctx", "alloc", "reset", "ctx", "free", "small", "release",
                            FARWARP_SERVER=server)
    assert said == "", said
    assert got["free"] == 1 and got["ctx"] == 0 and got["release"] == 0, got


def check_fork(build, server):
    got, said = build.probe("init", "ctx", "alloc", "fork", "small", "large", FARWARP_SERVER=server)
    assert said == "", said
    assert got["fork"] == NOT_INITIALIZED, got
    assert got["small"] == 0 and got["large"] == 0, got


def check_exit(build, server):
    """Destructors of the program still work; what comes after them is answered and harmless."""
    got, said = build.probe("init", "ctx", "alloc", FARWARP_SERVER=server, PROBE_LATE="1")
    assert got["alloc"] == 0, got
    # The order in which libraries end is the linker's affair: before the client or after it.
    assert said in ("later 0\n", f"later {DEINITIALIZED}\n"), said
    done = build.start_probe("init", "ctx", "alloc", FARWARP_SERVER=server, PROBE_LATE="1")
    out, _ = done.communicate(timeout=PATIENCE_S)
    assert "late 0 0\n" in out, out


def check_stats(build, server):
    got, said = build.probe("init", "ctx", "alloc", "set", "sync", "free", FARWARP_SERVER=server,
                            FARWARP_STATS="1")
    assert all(value == 0 for value in got.values()), got
    assert re.search(r"calls +\d+ \(\d+ answered here, 3 sent without waiting, 2 waited for\)", said), said
    assert "kernel time" in said and "exact" in said, said


def check_killed(build, victim):
    """After gpud or the worker died: the same error for each call, one line, no hang, a normal exit."""
    with Gpud(build) as gpud:
        probe = build.start_probe("init", "ctx", "alloc", "wait", "set", "sync", "info", "small",
                                  "free", "release", FARWARP_SERVER=gpud.server)
        while (line := probe.stdout.readline()) != "ready\n":
            assert line, probe.communicate()
        workers = gpud.workers()
        assert len(workers) >= 1, gpud.said()
        if victim == "gpud":
            gpud.kill()
        else:
            for pid in workers:
                os.kill(pid, 9)
        out, said = probe.communicate("\n", timeout=PATIENCE_S)
        got = results(out)
        assert probe.returncode == 0, (probe.returncode, out, said)
        later = [got[word] for word in ("sync", "info", "small", "free", "release")]
        assert got["wait"] == 0 and len(set(later)) == 1 and later[0] not in (0, 1), got
        assert said.count("\n") == 1 and gpud.server in said, said
        print(f"{victim} killed: {later[0]}; {said.strip()}")


def main():
    build = Build(*sys.argv[1:3])
    with Gpud(build) as gpud:
        for check in (check_calls, check_before_init, check_reset, check_fork, check_exit,
                      check_stats):
            check(build, gpud.server)
            print(f"{check.__name__} passed")
    check_killed(build, "worker")
    check_killed(build, "gpud")


main()
