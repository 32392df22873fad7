"""Python environments for the programs of this folder, made from packages of PyPI with pinned versions.

    packages.py APPS_FOLDER NAME

makes APPS_FOLDER/NAME from requirements/NAME.txt, unless it is there already, with the source of a package,
for its tests, below `source` where there is a requirements/NAME.source. Exits with 77, which CTest shows as
skipped, when the packages cannot be fetched: a machine without a network can still run the tests that need
none.
"""

import fcntl
import hashlib
import io
import pathlib
import shutil
import subprocess
import sys
import tarfile
import urllib.request

FOLDER = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
SOURCE_BYTES_MAX = 64 << 20
FETCH_LIMIT_S = 1500  # for big packages; what is small takes half a minute


class Environment:
    """A virtual environment: `python` runs it. `ready` tells whether all its packages are there."""

    def __init__(self, apps, name):
        self.requirements = FOLDER / "requirements" / f"{name}.txt"
        self.sources = FOLDER / "requirements" / f"{name}.source"
        self.folder = pathlib.Path(apps).resolve() / name
        self.python = self.folder / "bin/python"
        self.mark = self.folder / "requirements.sha256"

    def wanted(self):
        files = [path.read_bytes() for path in (self.requirements, self.sources) if path.exists()]
        return hashlib.sha256(b"".join(files)).hexdigest()

    def ready(self):
        return self.mark.is_file() and self.mark.read_text() == self.wanted()

    def make(self):
        """Fetches and installs the packages. A sentence that says why it failed, or None."""
        shutil.rmtree(self.folder, ignore_errors=True)
        # Neither needs more than Python itself and the system's pip.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder], check=True)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check",
                 "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-compile",
                 "--retries", "2", "--timeout", "30", "-r", self.requirements],
                stdin=subprocess.DEVNULL, timeout=FETCH_LIMIT_S, text=True, capture_output=True)
        except subprocess.TimeoutExpired:
            return f"The packages were not fetched within {FETCH_LIMIT_S} s."
        if done.returncode != 0:
            return f"pip ended with {done.returncode}: {done.stderr[-2000:]}"
        try:
            self.fetch_source()
        except OSError as error:
            return f"The source was not fetched: {error}."
        self.mark.write_text(self.wanted())
        return None

    def fetch_source(self):
        """Fetches the archive that `sources` names, and unpacks the parts that it names into `source`."""
        if not self.sources.exists():
            return
        [line] = [line for line in self.sources.read_text().splitlines() if not line.startswith("#")]
        where, *parts = line.split()
        address, _, wanted = where.partition("#sha256=")
        with urllib.request.urlopen(address, timeout=60) as answer:
            archive = answer.read(SOURCE_BYTES_MAX)
        found = hashlib.sha256(archive).hexdigest()
        if found != wanted:
            raise OSError(f"{address} has the SHA-256 {found}; it must be {wanted}")
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            # The digest vouches for the names in it.
            files.extractall(self.folder / "unpacked", [
                member for member in files if member.name.split("/")[1:2] in [[part] for part in parts]])
        [top] = (self.folder / "unpacked").iterdir()
        top.rename(self.folder / "source")


def main():
    apps, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    apps.mkdir(parents=True, exist_ok=True)
    environment = Environment(apps, name)
    with open(apps / f"{name}.lock", "w") as lock:  # the presets share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not environment.ready():
            if why := environment.make():
                print(f"The packages of {environment.requirements.name} are not there. {why}")
                sys.exit(SKIPPED)
    print(f"{environment.python} has the packages of {environment.requirements.name}.")


if __name__ == "__main__":
    main()
