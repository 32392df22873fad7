#!/usr/bin/env python3
"""Builds CUDA programs that others wrote, runs each in two ways, and judges what they say.

Goal: a program that nobody here wrote runs on the CPU device and finds its own results right, in its own
process and through gpud. Method: the sources that the person who runs this has are copied, built with nvcc
as their Makefiles do (with PTX, so that any device can run them) and run with the arguments of
third_party.toml. A program passes in a way when it ends with 0, says what its collection says for a
success and nothing that means a failure. Where it prints no verdict, both ways must print the same. What
is known not to work is an exception in the table, with the reason and with what the program then says; an
exception that is not needed any more is an error, and so is every failure without an exception.

    third_party.py BUILD_FOLDER --hecbench DIR --cuda-samples DIR [--only NAME...] [--summary FILE]

Nothing is fetched. docs/third_party.md says how to get the sources.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "samples"))
from gpud_process import Build, Gpud  # noqa: E402

TABLE = pathlib.Path(__file__).with_name("third_party.toml")
WAYS = ("in-process", "remote")
SOURCES = (".cu", ".cuh", ".cpp", ".h", ".hpp")
# Output beyond this is not read; programs that print more than this in a test are at fault.
OUTPUT_BYTES_MAX = 4 << 20


class ThirdPartyBuild(Build):
    """Two devices, because some programs want peers; the rest of the device is as it comes, or `device`."""

    def __init__(self, folder, device=""):
        super().__init__(folder)
        self.device = ",".join(filter(None, ["quiet=1", "count=2", device]))

    def environment(self, **more):
        return super().environment(FARWARP_CPU_DEVICE=self.device, **more)


@dataclasses.dataclass
class Program:
    """One line of the table, with what its collection says for all of its programs."""

    collection: str
    name: str
    folder: str
    build: str
    passes: list  # regular expressions; each must be found, or at least one of a nested list
    fails: list  # regular expressions; none may be found
    arguments: list = dataclasses.field(default_factory=list)
    input: str = ""  # what it reads from stdin
    compare: bool = False  # no verdict of its own: both ways must print the same
    ignore: list = dataclasses.field(default_factory=list)  # lines that may differ between the ways
    unordered: bool = False  # of `compare`: in any order, because blocks print as they run
    exit_status: int = 0
    time_limit_s: float = 300
    sources: list = dataclasses.field(default_factory=list)  # default: all in the folder
    flags: list = dataclasses.field(default_factory=list)  # {sources} is the collection's folder
    kernels: dict = dataclasses.field(default_factory=dict)  # source -> fatbin or PTX beside the program
    constants: dict = dataclasses.field(default_factory=dict)  # sizes in the source to change
    device: str = ""  # settings of the CPU device besides, as in FARWARP_CPU_DEVICE
    needs: list = dataclasses.field(default_factory=list)  # files of the toolkit

    @property
    def id(self):
        return f"{self.collection}/{self.name}"


@dataclasses.dataclass
class Expectation:
    """How a program must fail, in which ways, and why."""

    reason: str
    says: re.Pattern
    ways: tuple


@dataclasses.dataclass
class Run:
    """What one run of a program gave; `fault` is empty when it was as it must be."""

    fault: str
    output: str
    seconds: float
    unsupported: str = ""  # the calls that were answered with "not supported", a line each


class Table:
    """The programs to run, and the exceptions. Raises ValueError with a sentence for a wrong table."""

    def __init__(self, text):
        tables = tomllib.loads(text)
        exceptions = tables.pop("exceptions", [])
        self.repositories = {name: table.pop("repository") for name, table in tables.items()}
        self.programs = {}
        for collection, table in tables.items():
            for name, line in table.pop("programs").items():
                made = Program(collection, name, **self.settings(table, name, line))
                self.programs[made.id] = made
        self.exceptions = {}
        for entry in exceptions:
            expectation = Expectation(entry["reason"], re.compile(entry["says"]),
                                      tuple(entry.get("ways", WAYS)))
            for name in entry["programs"]:
                if name not in self.programs:
                    raise ValueError(f"An exception names {name}, which is no program of the table.")
                for way in expectation.ways:
                    if (name, way) in self.exceptions:
                        raise ValueError(f"{name} has two exceptions for {way}.")
                    self.exceptions[name, way] = expectation

    @staticmethod
    def settings(collection, name, line):
        settings = collection | line
        settings["folder"] = settings["folder"].format(name=name)
        settings["arguments"] = settings.get("arguments", "").split()
        return settings


class Builder:
    """Copies a program's sources into a work folder and builds them there; unchanged ones only once."""

    def __init__(self, sources, work, cuda, farwarp):
        self.sources, self.work, self.cuda, self.farwarp = sources, work, cuda, farwarp

    def missing(self, program):
        """Returns the files of the toolkit that `program` needs and that are not there."""
        return [need for need in program.needs if not (self.cuda / need).exists()]

    def build(self, program):
        """Returns (folder, executable, fault); a fault is a text that says why there is no executable."""
        source = self.sources[program.collection] / program.folder
        if not source.is_dir():
            return None, None, f"There is no folder {source}."
        folder = self.work / program.collection / program.folder
        stamp = folder.parent / f"{folder.name}.built"
        commands, executable = getattr(self, f"commands_{program.build}")(program, folder)
        digest = self.digest(source, [commands, program.constants])
        if not (executable.exists() and stamp.exists() and stamp.read_text() == digest):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(source, folder)
            if fault := self.define(folder, program.constants):
                return None, None, fault
            for command in commands:
                done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                                      env=os.environ | {"PATH": f"{self.cuda}/bin:{os.environ['PATH']}"})
                if done.returncode:
                    said = (done.stdout + done.stderr).decode(errors="replace")
                    return None, None, f"{' '.join(command)} ended with {done.returncode}:\n{said}"
            stamp.write_text(digest)
        return folder, executable, ""

    @staticmethod
    def define(folder, constants):
        """Gives constants and variables of a copied program other values; returns a fault, or ""."""
        files = [path for path in sorted(folder.glob("*")) if path.suffix in SOURCES]
        for name, value in constants.items():
            changed = 0
            for file in files:
                text, found = re.subn(rf"^(\s*#define\s+{name}\s+)\S+|^(\s*(?:\w+\s+)+{name}\s*=\s*)[^;]+",
                                      lambda match: (match[1] or match[2]) + str(value),
                                      file.read_text(errors="surrogateescape"), flags=re.MULTILINE)
                if found:
                    file.write_text(text, errors="surrogateescape")
                changed += found
            if not changed:
                return f"No file of {folder.name} defines {name}."
        return ""

    @staticmethod
    def digest(source, commands):
        sums = hashlib.sha256(repr(commands).encode())
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            sums.update(str(file.relative_to(source)).encode() + b"\0" + file.read_bytes())
        return sums.hexdigest()

    def commands_make(self, program, folder):
        """As HeCBench's Makefiles want it; -arch=compute_90 makes PTX and no machine code."""
        return [["make", f"CC={self.cuda}/bin/nvcc", "ARCH=compute_90"]], folder / "main"

    def commands_nvcc(self, program, folder):
        """As the CMake files of cuda-samples do, with PTX only."""
        source = self.sources[program.collection]
        files = program.sources or sorted(
            path.name for path in (source / program.folder).iterdir() if path.suffix in (".cu", ".cpp")
            and path.name not in program.kernels)
        nvcc = [f"{self.cuda}/bin/nvcc", "-std=c++17", "--extended-lambda", "-arch=compute_90",
                f"-I{source}/Common", f"-I{self.cuda}/include", f"-L{self.cuda}/lib64",
                f"-L{self.farwarp}/lib/cpu"]  # the last one has libcuda
        made = [[*nvcc, "-fatbin" if image.endswith(".fatbin") else "-ptx", kernel, "-o", image]
                for kernel, image in program.kernels.items()]
        executable = folder / "farwarp_program"
        return [*made, [*nvcc, "-O2", *files, "-o", executable.name,
                 *(flag.format(sources=source) for flag in program.flags)]], executable


class Runner:
    """Runs built programs on the CPU device, in-process and through a gpud."""

    def __init__(self, folder, stack, cuda, patience):
        """`folder`: Farwarp's build. `stack`: an ExitStack, which ends the gpuds."""
        self.folder, self.stack = folder, stack
        self.cuda, self.patience = cuda, patience
        self.lock = threading.Lock()  # guards gpuds
        self.gpuds = {}  # by the setting of the device

    def gpud(self, farwarp):
        """The gpud that has the device of `farwarp`, started when it is first wanted."""
        with self.lock:
            if farwarp.device not in self.gpuds:
                self.gpuds[farwarp.device] = self.stack.enter_context(Gpud(farwarp))
            return self.gpuds[farwarp.device]

    def run(self, program, folder, executable, way):
        """Runs `program` to its end, or to its time limit; returns a Run."""
        farwarp = ThirdPartyBuild(self.folder, program.device)
        words, environment = (([], farwarp.in_process()) if way == "in-process"
                              else farwarp.remote(self.gpud(farwarp).unix))
        trace = folder / "farwarp.trace"
        if words:
            words[2:2] = ["--trace", trace]
        libraries = [f"{self.cuda}/lib64", environment.get("LD_LIBRARY_PATH", "")]
        environment |= {"LD_LIBRARY_PATH": ":".join(filter(None, libraries))}
        limit = program.time_limit_s * self.patience
        began = time.monotonic()
        # Its own process group, so that what it starts ends with it.
        process = subprocess.Popen(
            [str(word) for word in (*words, executable, *program.arguments)], cwd=folder, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        try:
            said, _ = process.communicate(program.input.encode(), timeout=limit)
            late = False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            late = True
        output = said[:OUTPUT_BYTES_MAX].decode(errors="replace")
        if late:
            output += f"\nIt was ended at its time limit of {limit:g} s."
        seconds = time.monotonic() - began
        unsupported = farwarp.unsupported(trace) if words else ""
        trace.unlink(missing_ok=True)
        return Run(judge(program, process.returncode, output), output, seconds, unsupported)


def judge(program, status, output):
    """Returns why `output` and exit status `status` are no success of `program`, or ""."""
    if status != program.exit_status:
        return f"It ended with {status}, which must be {program.exit_status}."
    for pattern in program.fails:
        if found := re.search(pattern, output, re.MULTILINE):
            return f"It says \"{found.group()}\"."
    if program.compare or not program.passes:
        return ""
    if not any(re.search(pattern, output, re.MULTILINE) for pattern in program.passes):
        return "It does not say that its result is right."
    return ""


def comparable(program, output):
    """The lines of `output` that must be the same in both ways."""
    lines = [line for line in output.splitlines()
             if not any(re.search(pattern, line) for pattern in program.ignore)]
    return sorted(lines) if program.unordered else lines


def verdict(expectation, run):
    """Returns ("pass" | "expected" | "FAIL", why) of a run, with what the table expects of it."""
    if expectation is None:
        return ("FAIL", run.fault) if run.fault else ("pass", "")
    if not run.fault:
        return "FAIL", f"It passes, so this exception must go: {expectation.reason}"
    if not expectation.says.search(run.output):
        return "FAIL", f"{run.fault} It must say /{expectation.says.pattern}/: {expectation.reason}"
    return "expected", expectation.reason


def runProgram(program, table, builder, runner, ways):
    """Builds and runs one program. Returns lines (id, way, verdict, why, seconds) and the outputs."""
    if missing := builder.missing(program):
        why = f"The toolkit has no {', '.join(missing)}."
        return [(program.id, way, "not run", why, 0) for way in ways], {}
    folder, executable, fault = builder.build(program)
    lines, outputs = [], {}
    if fault:
        run = Run(fault, fault, 0)
        for way in ways:
            lines.append((program.id, way, *verdict(table.exceptions.get((program.id, way)), run), 0))
        return lines, {"build": fault}
    runs = {way: runner.run(program, folder, executable, way) for way in ways}
    if program.compare and len(runs) == 2 and not any(run.fault for run in runs.values()):
        if comparable(program, runs[WAYS[0]].output) != comparable(program, runs[WAYS[1]].output):
            runs[WAYS[1]].fault = "It does not print what it prints in-process."
    for way, run in runs.items():
        outputs[way] = run.output
        if run.unsupported:
            outputs["unsupported"] = run.unsupported
        judged = verdict(table.exceptions.get((program.id, way)), run)
        lines.append((program.id, way, *judged, run.seconds))
    return lines, outputs


def writeSummary(path, lines, ways):
    """Writes a table of all verdicts, and their counts, as Markdown."""
    by_program = {}
    for name, way, judged, why, seconds in lines:
        by_program.setdefault(name, {})[way] = (judged, why, seconds)
    text = ["| Program | " + " | ".join(ways) + " | Why |", "|---|" + "---|" * (len(ways) + 1)]
    for name, results in sorted(by_program.items()):
        cells = [f"{judged}, {seconds:.1f} s" for judged, _, seconds in results.values()]
        whys = dict.fromkeys(why.splitlines()[0] for _, why, _ in results.values() if why)
        text.append(f"| {name} | {' | '.join(cells)} | {' '.join(whys)} |")
    path.write_text("\n".join([*text, "", *counts(lines, ways)]) + "\n")


def counts(lines, ways):
    for way in ways:
        judged = [line[2] for line in lines if line[1] == way]
        yield (f"{way}: {judged.count('pass')} of {len(judged)} programs pass, "
               f"{judged.count('expected')} fail as expected, {judged.count('FAIL')} fail, "
               f"{judged.count('not run')} were not run.")


def parseArguments():
    """Returns the table and the arguments; which folders there can be is for the table to say."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--table", type=pathlib.Path, default=TABLE, help="instead of third_party.toml")
    table = Table(first.parse_known_args()[0].table.read_text())
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], parents=[first])
    parser.add_argument("build", type=pathlib.Path, help="the build folder of Farwarp")
    for name, repository in table.repositories.items():
        variable = name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", type=pathlib.Path, metavar="DIR", dest=name,
                            default=os.environ.get(variable) and pathlib.Path(os.environ[variable]),
                            help=f"a copy of {repository}; default: ${variable}")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="parts of the names of programs to run")
    parser.add_argument("--way", choices=WAYS, help="run in this way only")
    parser.add_argument("--work", type=pathlib.Path, help="where to build (BUILD/third_party)")
    parser.add_argument("--cuda", type=pathlib.Path, help="the CUDA toolkit",
                        default=os.environ.get("CUDA_HOME", "build/cuda"))
    parser.add_argument("--jobs", type=int, default=1, help="programs to build and run at a time")
    parser.add_argument("--patience", type=float, default=1, help="factor on the time limits")
    parser.add_argument("--build-only", action="store_true", help="build, and run nothing")
    parser.add_argument("--summary", type=pathlib.Path, help="write the table of results here")
    return table, parser.parse_args()


def chosenPrograms(table, arguments):
    """The programs whose sources are there and that --only names. Exits with a sentence if none."""
    sources = {name: getattr(arguments, name).resolve() for name in table.repositories
               if getattr(arguments, name)}
    if not sources:
        sys.exit("No sources were given. Get one or both, and name the folders:\n" + "\n".join(
            f"  git clone --depth 1 {repository}    then --{name} DIR"
            for name, repository in table.repositories.items()))
    chosen = [program for program in table.programs.values() if program.collection in sources
              and (not arguments.only or any(part in program.id for part in arguments.only))]
    if not chosen:
        sys.exit(f"No program of the table has any of {arguments.only} in its name.")
    return sources, chosen


def runAll(arguments, table, chosen, builder, ways, work):
    """Runs the chosen programs, printing each verdict as it comes; returns all lines."""
    lines = []
    with contextlib.ExitStack() as stack:
        runner = Runner(arguments.build, stack, builder.cuda, arguments.patience)
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(arguments.jobs))
        jobs = [pool.submit(runProgram, program, table, builder, runner, ways) for program in chosen]
        for job in concurrent.futures.as_completed(jobs):
            new, outputs = job.result()
            lines += new
            for name, way, judged, why, seconds in new:
                print(f"{judged:8} {name} {way} {seconds:.1f} s {why}", flush=True)
            if "unsupported" in outputs:
                print("".join(f"         not supported: {line}\n" for line in outputs["unsupported"].splitlines()),
                      end="", flush=True)
            for way, output in outputs.items():
                path = work / "output" / f"{new[0][0].replace('/', '.')}.{way}.txt"
                path.write_text(output)
    return lines


def main():
    table, arguments = parseArguments()
    sources, chosen = chosenPrograms(table, arguments)
    work = (arguments.work or arguments.build / "third_party").resolve()
    (work / "output").mkdir(parents=True, exist_ok=True)
    builder = Builder(sources, work, arguments.cuda.resolve(), arguments.build.resolve())
    if arguments.build_only:
        faults = [fault for program in chosen if not builder.missing(program)
                  and (fault := builder.build(program)[2])]
        sys.exit("\n".join(faults) or None)
    ways = (arguments.way,) if arguments.way else WAYS
    lines = runAll(arguments, table, chosen, builder, ways, work)
    if arguments.summary:
        writeSummary(arguments.summary, lines, ways)
    print("\n".join(counts(lines, ways)))
    print(f"What the programs said is in {work}/output.")
    sys.exit(any(line[2] == "FAIL" for line in lines))


if __name__ == "__main__":
    main()
