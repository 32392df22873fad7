"""Goal: what a person does on a GPU host works before one is at hand: packing, unpacking, checking.

Method: scripts/gpu-pack packs the build into a folder, and the check in it, with nothing of the source
tree, runs all its steps on the CPU device. Its verdicts must be good, its steps must have seen something,
and both files must be there. Then a check whose device gives a wrong result must fail and say so.

usage: test_gpu_check.py BUILD_FOLDER
"""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="farwarp-gpu-check-") as folder:
        pack, out = pathlib.Path(folder) / "pack", pathlib.Path(folder) / "out"
        packed = subprocess.run([ROOT / "scripts/gpu-pack", "--built", "--preset", build.name, pack],
                                capture_output=True, text=True)
        print(packed.stdout, packed.stderr)
        assert packed.returncode == 0, "gpu-pack failed"
        check(pack, out)
        refuse_foreign_folder(build, folder)
        notice_wrong_results(pack, out)


def check(pack, out):
    done = subprocess.run([pack / "gpu-check", "--device", "cpu", "--quick", "--out", out],
                          capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, "gpu-check failed"
    steps = {step["step"]: step for step in json.loads((out / "gpu-check.json").read_text())["steps"]}
    verdicts = {name: step["verdict"] for name, step in steps.items()}
    assert verdicts.pop("pytorch") == "nothing to run"
    assert set(verdicts.values()) == {"passed"}, verdicts
    assert len(steps["facts"]["seen"]["native"]["codes"]) > 50
    assert any(name.startswith("farwarp_conformance_") for name in steps["programs"]["seen"])
    assert steps["instructions"]["seen"]["compared"] > 500
    page = (out / "gpu-check.md").read_text()
    assert "launches" in page and "| metering | passed |" in page, page


def refuse_foreign_folder(build, folder):
    foreign = pathlib.Path(folder) / "foreign"
    foreign.mkdir()
    (foreign / "precious").touch()
    done = subprocess.run([ROOT / "scripts/gpu-pack", "--built", "--preset", build.name, foreign],
                          capture_output=True, text=True)
    assert done.returncode != 0 and "no earlier pack" in done.stderr, done.stderr
    assert (foreign / "precious").exists()


def notice_wrong_results(pack, out):
    """A sample that prints something else each time must turn the check red."""
    liar = pack / "build/kernels/liar"
    liar.write_text("#!/bin/sh\necho $$\n")
    liar.chmod(0o755)
    done = subprocess.run([pack / "gpu-check", "--device", "cpu", "--quick", "--steps", "programs", "--out", out],
                          capture_output=True, text=True)
    assert done.returncode == 1 and "liar gives different output" in done.stdout, done.stdout
    liar.unlink()


main()
