"""Goal: programs of other people's Python packages give the same on a remote GPU as on a local one.

Method: one program of python/ runs twice, in-process on the CPU device and under `farwarp run` against a
gpud, with the packages of its environment as they come from PyPI. Every case that it prints must be "ok",
unless exceptions.toml lists it with a reason and with how it must fail; a listed case that succeeds is an
error as well. Both runs must print the same bytes, digests of the results included.

usage: test_python.py BUILD_FOLDER APPS_FOLDER ENVIRONMENT PROGRAM [remote | PART]

With "remote" it runs under `farwarp run` only. PART is what a program that has parts is told to run.
"""

import difflib
import pathlib
import sys
import tempfile
import tomllib

from packages import SKIPPED, Environment

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "samples"))
import gpud_process  # noqa: E402
from gpud_process import Build, Gpud, run  # noqa: E402

FOLDER = pathlib.Path(__file__).resolve().parent
gpud_process.PATIENCE_S = 600  # compilers run in these programs, on a machine that may be busy

# Wheels carry machine code, which the CPU device does not run, for the GPUs that there are, and PTX for those
# to come. Of this compute capability there is none.
DEVICE = "quiet=1,cc=99.0,memory=2GiB"
# Numba compiles for the very GPU that there is, so it must be one.
NUMBA_DEVICE = "quiet=1,cc=9.0,memory=2GiB"


class PythonBuild(Build):
    def __init__(self, folder, apps, name, program):
        super().__init__(folder)
        # CuPy and Numba compile either to PTX or to machine code; these ask for PTX.
        self.settings = {"CUPY_COMPILE_WITH_PTX": "1", "CUPY_CACHE_DIR": f"{apps}/{name}-cache",
                         "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
                         # XLA runs the ptxas of this toolkit. Its tuning tries kernels out by time.
                         "CUDA_ROOT": f"{self.folder}/lib/cpu-toolkit",
                         "XLA_FLAGS": "--xla_gpu_enable_libnvjitlink=false --xla_gpu_autotune_level=0",
                         "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_PLATFORMS": "cuda",
                         "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.device = NUMBA_DEVICE if program.startswith("numba") else DEVICE

    def environment(self, **more):
        return super().environment(FARWARP_CPU_DEVICE=self.device, **self.settings, **more)


def known_exceptions(program, part):
    """What exceptions.toml says of a program, or of a part of it."""
    table = tomllib.loads((FOLDER / "exceptions.toml").read_text())
    for word in [program, *part]:
        table = table.get(word, {})
    return table


def complaints(exceptions, lines, where):
    """What is wrong with the lines that a program printed, as sentences."""
    wrong, seen = [], set()
    for line in lines:
        name, _, outcome = line.partition(" ")
        seen.add(name)
        expected = exceptions.get(name)
        if expected is None and not outcome.startswith("ok "):
            wrong.append(f"{where}: {line}")
        elif expected is not None and expected["fails"] not in outcome:
            wrong.append(f"{where}: {line}; exceptions.toml says that it fails with "
                         f"{expected['fails']!r} because {expected['reason']}")
    wrong += [f"{where}: exceptions.toml lists {name}, which did not run."
              for name in exceptions if name not in seen]
    return wrong


def main():
    build_folder, apps, name, program, *words = sys.argv[1:]
    remote_only, part = words == ["remote"], [word for word in words if word != "remote"]
    environment = Environment(apps, name)
    if not environment.ready():
        print(f"Skipped: the packages of {environment.requirements.name} could not be fetched.")
        sys.exit(SKIPPED)
    build = PythonBuild(build_folder, apps, name, program)
    command = [environment.python, FOLDER / "python" / f"{program}.py", *part]
    exceptions = known_exceptions(program, part)
    printed, wrong = {}, []
    with Gpud(build) as gpud, tempfile.TemporaryDirectory(prefix="farwarp-apps-") as folder:
        trace = f"{folder}/trace"
        prefix_remote, remote = build.remote(gpud.unix)
        prefix_remote[2:2] = ["--trace", trace]
        for where, prefix, variables in (("in-process", [], build.in_process()),
                                         ("through gpud", prefix_remote, remote)):
            if where == "in-process" and remote_only:
                continue
            done = run([*prefix, *command], variables)
            printed[where] = lines = done.stdout.decode(errors="replace").splitlines()
            wrong += complaints(exceptions, lines, where)
            if done.returncode != 0 or not lines:
                wrong.append(f"{where}: it ended with {done.returncode} after {len(lines)} cases: "
                             f"{done.stderr.decode(errors='replace')[-3000:]}")
        unsupported = build.unsupported(trace)
    if len(printed) == 2:
        wrong += difflib.unified_diff(*printed.values(), *printed.keys(), lineterm="")
    assert not wrong, "\n".join(wrong)
    print(f"{len(lines)} cases, equal results; {len(exceptions)} exceptions.")
    print("Calls that are not supported:\n" + (unsupported or "none"))


main()
