"""Goal: the CPU device's ptxas takes what programs call NVIDIA's ptxas with, and what it writes is loaded.

Method: it is run as XLA and Triton run it, and the engine's checker reads the images; wrong inputs must
make it fail with a sentence.

usage: ptxas_test.py PTXAS CHECKER
"""

import pathlib
import subprocess
import sys
import tempfile

HEAD = ".version 8.0\n.target sm_75\n.address_size 64\n"
KERNEL = HEAD + ".visible .entry doubled(.param .u64 p) { ret; }\n"


def ran(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def main():
    ptxas, checker = sys.argv[1:]
    status, said = ran(ptxas, "--version")
    assert status == 0 and "V13.0" in said, said

    with tempfile.TemporaryDirectory(prefix="farwarp-ptxas-") as folder:
        source, image = pathlib.Path(folder) / "in.ptx", pathlib.Path(folder) / "out.cubin"
        source.write_text(KERNEL)
        for words in (["-o", image, "-arch=sm_90a", "--warn-on-spills", source],
                      ["-lineinfo", "-v", "--fmad=false", "--gpu-name=sm_80", source, "-o", image],
                      ["--output-file", image, "-maxrregcount", "32", "--gpu-name", "sm_90", source]):
            image.unlink(missing_ok=True)
            assert ran(ptxas, *words) == (0, ""), words
            assert image.read_bytes()[:4] == b"\x7fELF"
            status, said = ran(checker, "check", image)
            assert status == 0 and "doubled: loads" in said, said

        image.unlink()
        for text, words in (("not PTX", ["-o", image, source]), (KERNEL, ["-o", image]),
                            (KERNEL, ["-o", image, f"{folder}/missing.ptx"]),
                            (KERNEL, ["-o", f"{folder}/missing/out", source])):
            source.write_text(text)
            status, said = ran(ptxas, *words)
            assert status == 255 and said.startswith("ptxas fatal"), said
            assert not image.exists()


main()
