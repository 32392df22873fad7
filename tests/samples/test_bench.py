"""Goal: `farwarp bench` measures both sides and shows them, and says clearly what it cannot do.

Method: it runs against a gpud with the CPU device as the local side; every figure must be in the table
and in the page, and the page must be well-formed. Then without a server, with a driver that is none, and with
a report that cannot be written.

usage: test_bench.py BUILD_FOLDER
"""

import pathlib
import sys
import tempfile
import xml.etree.ElementTree

from gpud_process import Build, Gpud, run

FIGURES = ("first result of a process", "copy of 4 bytes to the host", "launch and wait", "launches",
           "copy to the device, 64 KiB", "copy to the host, 1 MiB", "step of 100 kernels")


def main():
    build = Build(sys.argv[1])
    bench = [build.folder / "bin/farwarp", "bench", "--quick"]
    quiet = build.environment(FARWARP_CPU_DEVICE="quiet=1")
    with tempfile.TemporaryDirectory(prefix="farwarp-bench-") as folder, Gpud(build) as gpud:
        page = pathlib.Path(folder) / "report.html"
        remote = [*bench, "--server", gpud.unix]
        done = run([*remote, "--local", build.folder / "lib/cpu/libcuda.so.1", "--report", page], quiet)
        assert done.returncode == 0, done
        table, report = done.stdout.decode(), page.read_text()
        body = report[report.index("<body>"):report.index("</body>") + len("</body>")]
        xml.etree.ElementTree.fromstring(body)
        for figure in FIGURES:
            [line] = [line for line in table.splitlines() if line.startswith(figure + " ") or
                      line.startswith(figure + ",")]
            assert line.rstrip().endswith(("x slower", "x as slow")), line
            assert figure in report, figure
        assert body.count("<rect") == len(table.splitlines()) - 4, table

        alone = run([*remote, "--local", "none"], quiet)
        assert alone.returncode == 0 and b"slow" not in alone.stdout.replace(b"remote is", b""), alone
        for arguments, words in (([*remote, "--local", "/no/driver.so"], "/no/driver.so"),
                                 ([*remote, "--local", "none", "--report", "/no/such/folder/r.html"],
                                  "/no/such/folder/r.html"),
                                 ([*bench, "--local", "none"], "FARWARP_SERVER")):
            refused = run(arguments, quiet)
            assert refused.returncode != 0 and words in refused.stderr.decode(), refused


main()
