"""Runs a conformance test twice: in-process on the CPU device, and under `farwarp run` against a gpud.

Goal: a program of the driver API cannot tell a remote GPU from a local one. Method: the program asserts
what CUDA documents, and notes the result of every call; both runs must pass and note the same.

    run_conformance.py BUILD_FOLDER PROGRAM
"""

import difflib
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "samples"))
from gpud_process import Build, Gpud, run  # noqa: E402

# Two devices, for copies between them, and little memory, so that running out of it is quick.
DEVICE = "quiet=1,count=2,memory=1GiB"


class ConformanceBuild(Build):
    def environment(self, **more):
        return super().environment(FARWARP_CPU_DEVICE=DEVICE, **more)


def run_noted(command, environment, where):
    with tempfile.TemporaryDirectory(prefix="farwarp-conformance-") as folder:
        notes = pathlib.Path(folder) / "notes"
        done = run(command, environment | {"FARWARP_CONFORMANCE_NOTES": str(notes)})
        sys.stdout.write(f"--- {where}\n{done.stdout.decode(errors='replace')}"
                         f"{done.stderr.decode(errors='replace')}")
        assert done.returncode == 0, f"The run {where} ended with {done.returncode}."
        return notes.read_text().splitlines()


def main():
    build = ConformanceBuild(sys.argv[1])
    program = sys.argv[2]
    local = run_noted([program], build.in_process(), "in-process")
    with Gpud(build) as gpud:
        words, environment = build.remote(gpud.unix)
        remote = run_noted([*words, program], environment, "through gpud")
    difference = list(difflib.unified_diff(local, remote, "in-process", "through gpud", lineterm=""))
    assert not difference, "The results differ:\n" + "\n".join(difference)
    assert len(local) > 10, "The program noted no results."
    print(f"{len(local)} calls, equal results.")


if __name__ == "__main__":
    main()
