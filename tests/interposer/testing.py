"""What the tests of this folder share: running programs with the stub, and a gpud. Standard library."""

import os
import pathlib
import subprocess
import tempfile

# How long anything may take before a test calls it hung. Only ever waited out by a failing test.
PATIENCE_S = 120


class Build:
    """Files of a build folder. `programs` is where CMake put the test programs."""

    def __init__(self, folder, programs):
        self.folder = pathlib.Path(folder).resolve()
        self.programs = pathlib.Path(programs).resolve()
        self.stub = self.folder / "lib/libfarwarp.so"
        self.links = self.folder / "lib/farwarp-links"
        self.farwarp = self.folder / "bin/farwarp"
        # Otherwise the client is linked into the test programs, as sanitizers need it.
        self.preloads = os.environ.get("FARWARP_TEST_PRELOAD") != "0"

    def environment(self, **more):
        kept = {key: value for key, value in os.environ.items()
                if not key.startswith("FARWARP_") and key not in ("LD_PRELOAD", "LD_LIBRARY_PATH")}
        return kept | {key: str(value) for key, value in more.items()}

    def preloaded(self, **more):
        if not self.preloads:
            return self.environment(**more)
        return self.environment(LD_PRELOAD=self.stub, **more)

    def probe(self, *words, **environment):
        """Runs the probe preloaded; gives its results as {word: number}, and its stderr."""
        done = run([self.programs / "farwarp_probe", *words], self.preloaded(**environment))
        assert done.returncode == 0, f"the probe ended with {done.returncode}: {done}"
        return results(done.stdout), done.stderr

    def start_probe(self, *words, **environment):
        return subprocess.Popen([self.programs / "farwarp_probe", *words], text=True,
                                env=self.preloaded(**environment), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(command, environment, **more):
    return subprocess.run([str(word) for word in command], env=environment, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S, **more)


def results(text):
    return {line.split()[0]: int(line.split()[1]) for line in text.splitlines()
            if len(line.split()) == 2 and line.split()[1].lstrip("-").isdigit()}


class Gpud:
    """A gpud on the CPU device, listening on a Unix socket. A context manager."""

    def __init__(self, build, *options):
        self.build = build
        self.options = options

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="farwarp-test-")
        self.server = f"unix:{self.temporary.name}/gpud.sock"
        self.session_log = pathlib.Path(self.temporary.name) / "sessions.jsonl"
        self.log = open(f"{self.temporary.name}/gpud.log", "w+b")
        ready, ready_for_gpud = os.pipe()
        self.process = subprocess.Popen(
            [self.build.folder / "bin/gpud", "--device", "cpu", "--listen", self.server,
             "--session-log", self.session_log,
             "--content-folder", f"{self.temporary.name}/content",
             "--ready-fd", str(ready_for_gpud), *self.options],
            env=self.build.environment(), pass_fds=[ready_for_gpud], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log)
        os.close(ready_for_gpud)
        with open(ready) as lines:
            said = [line.split() for line in lines]
        if ["ready"] not in said:
            self.stop()
            raise AssertionError("gpud did not become ready")
        # HOST:PORT, when it listens on TCP as well.
        self.tcp = next((words[1].removeprefix("tcp:") for words in said
                         if words[0] == "listening" and words[1].startswith("tcp:")), None)
        return self

    def workers(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def kill(self):
        """SIGKILL to gpud and its workers: the machine is gone."""
        for pid in [*self.workers(), self.process.pid]:
            os.kill(pid, 9)
        self.process.wait(PATIENCE_S)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def __exit__(self, *_):
        self.stop()
        self.log.close()
        self.temporary.cleanup()
