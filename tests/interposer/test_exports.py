"""Goal: the stub is exactly the driver to the world: all its functions, what it stands in front of in
libc, no library but libc, and the client library shows the two functions that the stub asks for.

Method: nm and readelf on the libraries, compared with the names in codegen/facts, which come from the
exports of the toolkit's own stub and from cuda.h.

usage: test_exports.py BUILD_FOLDER PROGRAMS FACTS.json
"""

import json
import pathlib
import subprocess
import sys

from testing import Build

# Not driver functions: dlopen sends loads of libcuda by other names here, and signal handlers of the
# program share SIGSEGV with the client (interposer/stub).
BESIDES = {"dlopen", "sigaction", "signal"}


def output(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True,
                          text=True).stdout


def exports(library):
    return {line.split()[2].split("@")[0] for line in output("nm", "-D", "--defined-only", library)
            .splitlines() if line.split()[1] != "A"}


def dynamic(library, tag):
    return {line.split("[")[1].rstrip("]") for line in output("readelf", "-d", library).splitlines()
            if f"({tag})" in line}


def main():
    build = Build(*sys.argv[1:3])
    wanted = {function["name"] for function in json.loads(pathlib.Path(sys.argv[3]).read_text())
              ["functions"]}
    assert len(wanted) > 600, f"the facts name only {len(wanted)} functions"
    found = exports(build.stub)
    assert not wanted - found, f"not exported: {sorted(wanted - found)}"
    assert not found - wanted - BESIDES, f"leaked: {sorted(found - wanted - BESIDES)}"
    assert BESIDES <= found
    assert dynamic(build.stub, "SONAME") == {"libcuda.so.1"}
    assert dynamic(build.stub, "NEEDED") == {"libc.so.6"}, dynamic(build.stub, "NEEDED")
    client = exports(build.folder / "lib/libfarwarp_client.so")
    assert client == {"farwarp_client_table", "farwarp_client_sigaction"}, \
        f"leaked by the client: {sorted(client)[:20]}"
    needed = dynamic(build.folder / "lib/libfarwarp_client.so", "NEEDED")
    assert not any("http" in name for name in needed), needed
    for name in ("libcuda.so", "libcuda.so.1"):
        assert (build.links / name).resolve() == build.stub, name


main()
