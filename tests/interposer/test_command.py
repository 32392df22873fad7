"""Goal: the farwarp command prepares a program's environment and says clearly why it cannot run one.

Method: runs it on small programs: one that prints its environment, a static one, a script, files that
are no programs; and gives it session logs, good and broken.

usage: test_command.py BUILD_FOLDER PROGRAMS VERSION
"""

import json
import os
import pathlib
import sys
import tempfile

from testing import Build, run

USAGE, CANNOT_RUN, NOT_FOUND = 2, 126, 127


def refused(build, arguments, status, *words, **environment):
    done = run([build.farwarp, *arguments], build.environment(**environment))
    assert done.returncode == status, f"{arguments}: {done}"
    said = done.stderr
    for word in words:
        assert word in said, f"{arguments}: \"{word}\" must be in: {said}"
    return said


def check_run(build, folder):
    server = "unix:/tmp/somewhere"
    with_server = ["run", "--server", server, "--"]
    done = run([build.farwarp, *with_server, "env"],
               build.environment(LD_PRELOAD="libm.so.6", LD_LIBRARY_PATH="/before"))
    assert done.returncode == 0, done
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert variables["LD_PRELOAD"] == f"{build.stub}:libm.so.6", variables
    assert variables["LD_LIBRARY_PATH"] == f"{build.links}:/before", variables
    assert variables["FARWARP_SERVER"] == server and "FARWARP_STATS" not in variables
    done = run([build.farwarp, "run", "--stats", "--", "env"],
               build.environment(FARWARP_SERVER="host:1"))
    assert "FARWARP_STATS=1\n" in done.stdout and "FARWARP_SERVER=host:1\n" in done.stdout, done

    # The program's status, arguments and name are its own.
    done = run([build.farwarp, *with_server, "sh", "-c", 'echo "$0" "$@"; exit 7', "a", "--stats"],
               build.environment())
    assert (done.returncode, done.stdout) == (7, "a --stats\n"), done

    refused(build, ["run", "--", "true"], USAGE, "--server", "FARWARP_SERVER")
    refused(build, ["run", "--server", "nonsense", "--", "true"], USAGE, "nonsense")
    refused(build, ["run", "--server", server], USAGE, "PROGRAM")
    refused(build, ["jump"], USAGE)
    refused(build, [*with_server, "no-such-program-here"], NOT_FOUND, "no-such-program-here")
    refused(build, [*with_server, "/no/such/program"], NOT_FOUND, "/no/such/program")
    plain = pathlib.Path(folder, "plain")
    plain.write_text("not a program")
    refused(build, [*with_server, plain], NOT_FOUND, "not an executable file")
    refused(build, [*with_server, build.programs / "farwarp_static"], CANNOT_RUN,
            "statically linked")
    script = pathlib.Path(folder, "script")
    script.write_text(f"#!{build.programs}/farwarp_static\n")
    script.chmod(0o755)
    refused(build, [*with_server, script], CANNOT_RUN, "statically linked")
    script.write_text("#!/usr/bin/env sh\necho from a script\n")
    done = run([build.farwarp, *with_server, script], build.environment())
    assert done.stdout == "from a script\n", done
    if os.getuid() == 0:  # setuid to another user needs root to make
        other = pathlib.Path(folder, "setuid")
        other.write_bytes(pathlib.Path("/bin/true").read_bytes())
        os.chown(other, 65534, 65534)
        other.chmod(0o4755)
        refused(build, [*with_server, other], CANNOT_RUN, "setuid", "LD_PRELOAD")


def check_sessions(build, folder):
    log = pathlib.Path(folder, "sessions.jsonl")
    sessions = [dict(program="one", calls=10, waiting_calls=3, bytes_in=2048, bytes_out=10,
                     launches=4, kernel_ns=1_500_000, unknown="x"),
                dict(program="two", calls=5, waiting_calls=1, bytes_in=1, bytes_out=1, launches=1,
                     kernel_ns=500_000)]
    log.write_text("".join(json.dumps(session) + "\n" for session in sessions))
    done = run([build.farwarp, "sessions", log], build.environment())
    assert done.returncode == 0, done
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[1] == ["one", "10", "3", "2.0", "KiB", "10", "B", "4", "1.500"], rows
    assert rows[3] == ["sum", "15", "4", "2.0", "KiB", "11", "B", "5", "2.000"], rows
    log.write_text(json.dumps(sessions[0]) + "\n{broken\n[1]\n" + json.dumps(sessions[1]) + "\n")
    done = run([build.farwarp, "sessions", log], build.environment())
    assert done.returncode == 1 and "Line 2" in done.stderr and "Line 3" in done.stderr, done
    assert len(done.stdout.splitlines()) == 4, done.stdout
    refused(build, ["sessions", f"{folder}/absent"], 1, "absent")


def main():
    build = Build(*sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        check_run(build, folder)
        check_sessions(build, folder)
    done = run([build.farwarp, "version"], build.environment())
    assert done.stdout == f"farwarp {sys.argv[3]}\n", done
    for arguments in (["--help"], ["run", "--help"], ["sessions", "--help"]):
        done = run([build.farwarp, *arguments], build.environment())
        assert done.returncode == 0 and "Usage" in done.stdout, done


main()
