"""Starting gpud and running programs against it, for the tests in this folder. Standard library only."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

# How long anything may take before a test calls it hung. Only ever waited out by a failing test.
PATIENCE_S = 120


class Build:
    """The files of a build folder, and the environments in which its programs run."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        # A sanitizer's runtime must come with the program, so there the driver library is found by the
        # loader's search path instead of being preloaded.
        self.preloads = os.environ.get("FARWARP_TEST_PRELOAD", "1") == "1"
        # The variable with which clients trust the gpud that runs, as gpud init prints it.
        self.trust = {}

    def sample(self, name, variant=""):
        return self.folder / "kernels" / (f"{name}_{variant}" if variant else name)

    def environment(self, **more):
        """This process's environment without what would lead a program elsewhere, and with `more`."""
        kept = {key: value for key, value in os.environ.items()
                if not key.startswith("FARWARP_") and key not in ("LD_PRELOAD", "LD_LIBRARY_PATH")}
        return kept | more

    def in_process(self):
        """Environment in which a program's CUDA calls run on the CPU device in its own process."""
        if self.preloads:
            return self.environment(LD_PRELOAD=str(self.folder / "lib/cpu/libcuda.so.1"))
        return self.environment(LD_LIBRARY_PATH=str(self.folder / "lib/cpu"))

    def remote(self, server):
        """Words to put before a program so that its CUDA calls go to `server`, and the environment."""
        if self.preloads:
            return ([self.folder / "bin/farwarp", "run", "--server", server, "--"],
                    self.environment(**self.trust))
        return [], self.environment(LD_LIBRARY_PATH=str(self.folder / "lib/farwarp-links"),
                                    FARWARP_SERVER=server, **self.trust)


    def unsupported(self, trace):
        """The calls of a trace that were answered with "not supported": a line each, or nothing."""
        if not pathlib.Path(trace).exists():
            return ""  # the program made no call
        shown = run([self.folder / "bin/farwarp", "trace", trace, "--unsupported"], self.environment())
        assert shown.returncode == 0, shown.stderr.decode()
        return shown.stdout.decode()


def run(command, environment):
    """Runs `command` to its end and returns the CompletedProcess with stdout and stderr as bytes."""
    return subprocess.run([str(word) for word in command], env=environment, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=PATIENCE_S)


def wait_until(condition, what):
    """Waits until `condition()` holds and returns its value; after PATIENCE_S the test fails."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.005)
    raise AssertionError(f"Within {PATIENCE_S} s this did not happen: {what}.")


def children(pid):
    """The process ids of the children of process `pid`, zombies left out."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(entry.name))
    return found


class Gpud:
    """A gpud, listening on a Unix socket and on a TCP port that the system chose.

    `device` is cpu for the CPU device or cuda for the driver of this machine.
    As a context manager it is ready when the block is entered; at the end SIGTERM must end it with 0
    and leave no worker behind.
    """

    def __init__(self, build, device="cpu"):
        self.build = build
        self.device = device

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="farwarp-test-")
        folder = pathlib.Path(self.temporary.name)
        self.unix = f"unix:{folder}/gpud.sock"
        self.session_log = folder / "sessions.jsonl"
        self.log = open(folder / "gpud.log", "w+b")
        said = subprocess.run([self.build.folder / "bin/gpud", "init", "--folder", folder / "tls"],
                              check=True, stdout=subprocess.PIPE, stderr=self.log).stdout.decode()
        name, value = said.strip().split("=", 1)
        self.build.trust = {name: value}
        ready, ready_for_gpud = os.pipe()
        self.process = subprocess.Popen(
            [self.build.folder / "bin/gpud", "--device", self.device, "--listen", self.unix,
             "--listen", "tcp:127.0.0.1:0", "--tls-folder", folder / "tls", "--warm-workers", "0",
             "--session-log", self.session_log, "--content-folder", folder / "content",
             "--ready-fd", str(ready_for_gpud)],
            env=self.build.environment(), pass_fds=[ready_for_gpud], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log)
        os.close(ready_for_gpud)
        listening = []
        with open(ready) as lines:  # "listening ENDPOINT" for each, then "ready"; ends early if gpud does
            for line in lines:
                words = line.split()
                if words == ["ready"]:
                    break
                listening.append(words[1])
            else:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"gpud did not become ready; it said: {self.output()}")
        [tcp] = [endpoint for endpoint in listening if endpoint.startswith("tcp:")]
        self.tcp = tcp.removeprefix("tcp:")
        return self

    def workers(self):
        return children(self.process.pid)

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def __exit__(self, kind, *_):
        workers = self.workers()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE_S)
            if kind is None:
                assert status == 0, f"gpud ended with {status} after SIGTERM: {self.output()}"
                wait_until(lambda: not any(map(alive, workers)), "the workers end with gpud")
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.said = self.output()
            self.log.close()
            self.output = lambda: self.said
            self.temporary.cleanup()


def alive(pid):
    return pathlib.Path(f"/proc/{pid}").exists()
