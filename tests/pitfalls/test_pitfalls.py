"""Goal: none of the traps that remote CUDA is known for catches a program.

Method: each trap has a test that is named after it. Most are programs that were caught elsewhere, in
pitfalls_test.cc, run in-process and through gpud with equal results of all calls; those that need a process or
a server of their own are functions of this file, some are both.

usage: test_pitfalls.py BUILD_FOLDER PROGRAM NAME
"""

import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "samples"))
from gpud_process import Build, Gpud, children, run, wait_until  # noqa: E402

DEVICE = "quiet=1,memory=1GiB"
OTHER_VERSION = 1  # PreambleStatus of a server that speaks another version


class PitfallsBuild(Build):
    def environment(self, **more):
        return super().environment(FARWARP_CPU_DEVICE=DEVICE, **more)


def traced_calls(build, server, *program):
    """Runs a program with a trace; gives {name: (calls, waits)} and the text of --stats."""
    with tempfile.TemporaryDirectory(prefix="farwarp-pitfalls-") as folder:
        words, environment = build.remote(server)
        done = run([*words, *program],
                   environment | {"FARWARP_TRACE": f"{folder}/trace", "FARWARP_STATS": "1"})
        assert done.returncode == 0, done
        shown = run([build.folder / "bin/farwarp", "trace", f"{folder}/trace"], build.environment())
        assert shown.returncode == 0, shown
    rows = re.findall(r"^ *(\d+) +(\d+) .* (?:local|cached|async|sync|unsupported) +(\w+)$",
                      shown.stdout.decode(), re.MULTILINE)
    return {name: (int(calls), int(waits)) for calls, waits, name in rows}, done.stderr.decode()


def startup_chatter(build, gpud):
    """A program reaches its first launch with a handful of round trips, and sends what it needs only."""
    calls, stats = traced_calls(build, gpud.unix, build.sample("vectorAdd"), "1000")
    asked = sum(count for count, _ in calls.values())
    waits = sum(waited for _, waited in calls.values())
    assert waits <= 12, f"{waits} round trips: {calls}"
    assert asked == 0 or sum(waited for name, (_, waited) in calls.items() if "Attribute" in name) == 0, calls
    size, unit = re.search(r"bytes +([\d.]+) (\w+) to gpud", stats).groups()
    assert unit in ("B", "KiB") and (unit == "B" or float(size) < 64), stats


def device_printf_and_assert(build, gpud):
    """What kernels print appears in the program's own output, in order; an assertion on its stderr."""
    words, environment = build.remote(gpud.unix)
    for mode, stream in (("order", "stdout"), ("assert", "stderr")):
        command = [build.sample("deviceOutput"), mode]
        local = run(command, build.in_process())
        remote = run([*words, *command], environment)
        assert local.returncode == remote.returncode, (local, remote)
        assert local.stdout == remote.stdout and local.stdout, (local, remote)
        text = getattr(remote, stream)
        assert (b"kernel 3 says hello" in text) if mode == "order" else (b"zero is expected" in text), text


def another_protocol_version(build, gpud):
    """Client and gpud of different versions say so, instead of misunderstanding each other later."""
    with tempfile.TemporaryDirectory(prefix="farwarp-pitfalls-") as folder, \
            socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/later.sock"
        listener.bind(path)
        listener.listen()
        words, environment = build.remote(f"unix:{path}")
        client = subprocess.Popen([*map(str, words), str(build.sample("vectorAdd")), "10"], env=environment,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        preamble = connection.recv(32, socket.MSG_WAITALL)
        (version,) = struct.unpack_from("<H", preamble, 8)
        # What a gpud of a later version answers: its own number, and that it refuses.
        connection.sendall(preamble[:8] + struct.pack("<HHI16x", version + 1, 0, OTHER_VERSION))
        connection.close()
        said = client.communicate()[1].decode()
    assert f"protocol version {version + 1}" in said and client.returncode != 0, said
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(gpud.unix.removeprefix("unix:"))
        connection.sendall(preamble[:8] + struct.pack("<H", version + 1) + preamble[10:])
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer[:8] == preamble[:8], answer
    assert struct.unpack_from("<HHI", answer, 8) == (version, 0, OTHER_VERSION), answer


def no_silent_cpu_fallback(build, _):
    """gpud without a GPU does not start, unless it is told to use the CPU device."""
    with tempfile.TemporaryDirectory(prefix="farwarp-pitfalls-") as folder:
        environment = build.environment(LD_LIBRARY_PATH=folder)
        # This one is found before any that the machine may have.
        (pathlib.Path(folder) / "libcuda.so.1").write_bytes(b"no library")
        for words in (["--device", "cuda"], []):
            done = run([build.folder / "bin/gpud", *words, "--listen", f"unix:{folder}/gpud.sock"], environment)
            assert done.returncode not in (0, None) and done.returncode > 0, done
            assert not (pathlib.Path(folder) / "gpud.sock").exists(), done


def idle_gpud(build, _):
    """The first program after a time in which nobody came is served like any other."""
    greeting_s = 3  # that a connection has for its greeting; gpud is idle for longer
    with tempfile.TemporaryDirectory(prefix="farwarp-pitfalls-") as folder:
        server = f"unix:{folder}/gpud.sock"
        ready, ready_for_gpud = os.pipe()
        gpud = subprocess.Popen(
            [build.folder / "bin/gpud", "--device", "cpu", "--listen", server, "--warm-workers", "1",
             "--preamble-timeout-ms", str(1000 * greeting_s), "--ready-fd", str(ready_for_gpud)],
            env=build.environment(), pass_fds=[ready_for_gpud], stderr=subprocess.DEVNULL)
        os.close(ready_for_gpud)
        try:
            with open(ready) as lines:
                assert any(line.split() == ["ready"] for line in lines), "gpud did not become ready."
            wait_until(lambda: children(gpud.pid), "a worker is kept ready")
            time.sleep(greeting_s + 0.5)
            words, environment = build.remote(server)
            done = run([*words, build.sample("vectorAdd"), "100"], environment)
            assert done.returncode == 0, done
        finally:
            gpud.terminate()
            gpud.wait()


def idle_link(build, gpud):
    """A TCP connection that was idle is alive and quick: probes keep it open, and nothing waits for more bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words, environment = build.remote("127.0.0.1:%d" % listener.getsockname()[1])
        client = subprocess.Popen([*map(str, words), str(build.sample("vectorAdd")), "10"], env=environment,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        connection, _ = listener.accept()
        try:
            connection.recv(32, socket.MSG_WAITALL)
            timers = socket_options(client.pid)
        finally:
            connection.close()
            client.wait()
    assert timers, "The client has no TCP connection."
    assert all(timer == "02" for timer in timers), f"The kernel sends no probes: {timers}"
    assert gpud.process.poll() is None


def socket_options(pid):
    """The kind of timer of each established TCP connection that process `pid` has: 02 is keep-alive."""
    mine = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            if match := re.match(r"socket:\[(\d+)\]", str(link.readlink())):
                mine.add(match[1])
        except FileNotFoundError:
            continue
    rows = [line.split() for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [row[5].split(":")[0] for row in rows if row[9] in mine and row[3] == "01"]


def run_program(build, gpud, program, name):
    """The test of pitfalls_test.cc in both ways; all calls must give the same."""
    noted = {}
    words, environment = build.remote(gpud.unix)
    for where, prefix, variables in (("in-process", [], build.in_process()), ("through gpud", words, environment)):
        with tempfile.TemporaryDirectory(prefix="farwarp-pitfalls-") as folder:
            notes = pathlib.Path(folder) / "notes"
            done = run([*prefix, program, f"--gtest_filter=Pitfalls.{name}"],
                       variables | {"FARWARP_CONFORMANCE_NOTES": str(notes)})
            said = (done.stdout + done.stderr).decode(errors="replace")
            assert done.returncode == 0, f"{where}: it ended with {done.returncode}:\n{said}"
            assert "[  PASSED  ] 1 test" in said, f"{where}: {said}"
            noted[where] = sorted(notes.read_text().splitlines())  # threads note as they come
    assert noted["in-process"] == noted["through gpud"] or name == "driver_loaded_by_an_absolute_path", noted


def main():
    build, program, name = PitfallsBuild(sys.argv[1]), sys.argv[2], sys.argv[3]
    own = globals().get(name)
    with Gpud(build) as gpud:
        if own is not None:
            own(build, gpud)
        if own is None:
            run_program(build, gpud, program, name)
    print(f"{name}: not caught.")


if __name__ == "__main__":
    main()
