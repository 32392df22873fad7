"""Goal: however a program loads libcuda, it gets the stub, once; every other dlopen is untouched.

Method: the probe loads the driver by several names and paths, with the stub preloaded and without (the
links folder on LD_LIBRARY_PATH); a cuInit without a server then gives the client's own message. A
library that is found only by its caller's RUNPATH must still be found.

usage: test_loading.py BUILD_FOLDER PROGRAMS
"""

import sys
import tempfile

from testing import Build, results, run


def main():
    build = Build(*sys.argv[1:3])
    names = ["libcuda.so.1", "libcuda.so", "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
             "/no/such/folder/libcuda.so.535.54.03", "./libcuda.so"]
    for name in names:
        got, said = build.probe("init", PROBE_LIBRARY=name)
        assert got == {"init": 100}, f"{name}: {got}"
        assert "FARWARP_SERVER is not set" in said, f"{name}: {said}"

    for name in ("libcuda.so.1", "libcuda.so"):
        done = run([build.programs / "farwarp_probe", "init"],
                   build.environment(LD_LIBRARY_PATH=build.links, PROBE_LIBRARY=name))
        assert results(done.stdout) == {"init": 100}, f"{name}: {done}"
        assert "FARWARP_SERVER is not set" in done.stderr, f"{name}: {done}"

    # Not libcuda: the real dlopen decides.
    for name in ("libcuda.1.so", "libcudart.so.99", "/no/libcuda.so/file"):
        done = run([build.programs / "farwarp_probe", "init"], build.preloaded(PROBE_LIBRARY=name))
        assert done.returncode == 8 and "cannot open shared object file" in done.stdout, f"{name}: {done}"

    # Found by the RUNPATH of the library that calls dlopen, which the hook must not hide.
    done = run([build.programs / "farwarp_runpath_main"], build.preloaded())
    assert done.returncode == 0 and done.stdout == "found\n", done

    # A stub without its client says so, and every call fails.
    with tempfile.TemporaryDirectory() as folder:
        lone = f"{folder}/libfarwarp.so"
        with open(build.stub, "rb") as original, open(lone, "wb") as copy:
            copy.write(original.read())
        done = run([build.programs / "farwarp_probe", "init", "count"], build.environment(LD_PRELOAD=lone))
        assert results(done.stdout) == {"init": 303, "count": 303}, done
        assert done.stderr.count("\n") == 1 and "libfarwarp_client.so" in done.stderr, done.stderr


main()
