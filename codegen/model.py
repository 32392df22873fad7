"""Reads the facts and the spec, and joins them: one Function per entry point of libcuda.

Nothing here knows what code will be generated; that is plan.py. Mistakes in the spec are collected
as full sentences and raised together as SpecError.
"""

import json
import pathlib
import re
import tomllib
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent
FACTS = "cuda_driver_13_0.json"
PROC_ADDRESS = "proc_address_13_0.json"

CLASSES = ("local", "cached", "async", "sync")
INTERNAL_BASE = 0xF000  # numbers of internal calls on the wire lie above it
FUNCTION_KEYS = {"class", "unsupported", "hook", "context", "params", "wire", "waits", "cpu", "via",
                 "per_thread", "note", "shared", "capture", "undo"}
CAPTURES = ("node", "stream", "unsafe", "default", "free")
PARAM_KEYS = {"dir", "null", "creates", "destroys", "field", "count", "read"}
WIRE_SCALARS = {  # wire type -> (C++ type, bytes)
    "u8": ("uint8_t", 1), "u16": ("uint16_t", 2), "u32": ("uint32_t", 4), "u64": ("uint64_t", 8),
    "i32": ("int32_t", 4), "i64": ("int64_t", 8), "f32": ("float", 4), "f64": ("double", 8),
}
C_SCALARS = {  # C type -> wire type
    "unsigned char": "u8", "char": "u8", "unsigned short": "u16", "unsigned int": "u32",
    "int": "i32",
    "unsigned long": "u64", "unsigned long long": "u64", "size_t": "u64", "float": "f32",
    "double": "f64", "long long": "i64",
}


class SpecError(Exception):
    """Everything that is wrong with the spec; str() has one sentence per line."""

    def __init__(self, problems):
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass
class CType:
    """What a parameter's C type is made of."""
    spelling: str
    base: str            # the type without const and pointers
    pointers: int        # 0 for a value, 1 for T*, 2 for T**
    const: bool          # const T*
    kind: str            # scalar, enum, handle, struct, callback, void, char

    @property
    def declaration(self):
        return self.spelling.replace(" *", "*").replace("* ", "*")


@dataclass
class Param:
    name: str
    type: CType
    spec: dict = field(default_factory=dict)


@dataclass
class Field:
    """One field of a wire record."""
    name: str
    wire: str            # u32, id, enum, struct, bytes, string, array
    of: str = ""         # the handle type, enum, structure, or the array's element wire type
    param: str = ""      # the parameter that it carries, when derived


@dataclass
class Function:
    name: str
    params: list
    chapter: str
    number: int
    base: str            # the name that cuGetProcAddress takes
    version: int         # first CUDA version that gives this symbol for `base`
    flavour: str         # "", "_ptds" or "_ptsz"
    declared: bool       # cuda.h declares it
    spec: dict
    derived_from: str = ""   # whose spec a derived entry follows
    per_thread_form: str = ""  # name of the _ptds or _ptsz form of this function
    mock_steps: list = field(default_factory=list)  # set by plan.py

    @property
    def unsupported(self):
        return self.spec.get("unsupported", "")

    @property
    def call_class(self):
        return self.spec.get("class", "")

    @property
    def plain(self):
        """The function that a _ptds or _ptsz form belongs to, or the function itself."""
        return self.name.removesuffix(self.flavour) if self.flavour else self.name

    @property
    def client_hook(self):
        return self.call_class in ("local", "cached") or "client" in self.spec.get("hook", [])

    @property
    def shared(self):
        """Its body is in driver/, the same for the client and the CPU device."""
        return bool(self.spec.get("shared"))

    @property
    def stream_param(self):
        """The name of its stream, or nothing."""
        streams = [p.name for p in self.params
                   if p.type.base == "CUstream" and p.type.pointers == 0]
        return streams[0] if streams else ""

    @property
    def capture(self):
        """What the call does while a stream captures: one of CAPTURES."""
        if self.unsupported:
            return "free"
        derived = "stream" if self.stream_param and not self.shared else "free"
        return self.spec.get("capture", derived)

    @property
    def worker_hook(self):
        return "worker" in self.spec.get("hook", [])

    @property
    def remote(self):
        """Has a record of its own."""
        return self.call_class in ("async", "sync") and not self.spec.get("via")

    @property
    def on_cpu_device(self):
        return bool(self.call_class) and not self.spec.get("cpu")


class Model:
    def __init__(self, root=ROOT):
        self.root = pathlib.Path(root)
        self.problems = []
        self.facts = json.loads((self.root / "facts" / FACTS).read_text())
        self.proc_address = json.loads((self.root / "facts" / PROC_ADDRESS).read_text())
        self.handles = load_toml(self.root / "spec/handles.toml")
        self.structs = load_toml(self.root / "spec/structs.toml")
        self.mock = load_toml(self.root / "spec/mock.toml")
        self.handle_of = {cuda: name for name, handle in self.handles.items()
                          for cuda in handle["cuda"]}
        self.ids = read_ids(self.root / "spec/ids.lock")
        self.chapters = {}      # chapter -> title
        self.entries = {}       # function -> (chapter, spec)
        self.load_chapters()
        self.functions = self.join()
        self.by_name = {f.name: f for f in self.functions}
        self.internal = self.load_internal(self.root / "spec/internal.toml")

    def problem(self, text):
        self.problems.append(text)

    def raise_problems(self):
        if self.problems:
            raise SpecError(self.problems)

    # The spec ------------------------------------------------------------------------------------

    def load_chapters(self):
        for path in sorted((self.root / "spec/driver").glob("*.toml")):
            chapter = path.stem
            content = load_toml(path)
            self.chapters[chapter] = content.pop("title", "")
            if not self.chapters[chapter]:
                self.problem(f"{path.name} has no title.")
            for group in content.pop("unsupported", []):
                for name in group["functions"]:
                    self.add_entry(chapter, name, {"unsupported": group["reason"]})
            for name, spec in content.items():
                self.add_entry(chapter, name, spec)

    def add_entry(self, chapter, name, spec):
        if name in self.entries:
            self.problem(f"{name} has two entries, in {self.entries[name][0]}.toml and "
                         f"{chapter}.toml.")
        self.entries[name] = (chapter, spec)
        unknown = set(spec) - FUNCTION_KEYS
        if unknown:
            self.problem(f"{name} in {chapter}.toml has unknown keys: "
                         f"{', '.join(sorted(unknown))}.")
        if ("class" in spec) == ("unsupported" in spec):
            self.problem(f"{name} in {chapter}.toml needs either a class or a reason why it is "
                         f"unsupported.")
        if "class" in spec and spec["class"] not in CLASSES:
            self.problem(f"{name} has the class '{spec['class']}'; it must be one of "
                         f"{', '.join(CLASSES)}.")
        if spec.get("capture", "free") not in CAPTURES:
            self.problem(f"capture of {name} is '{spec['capture']}'; it must be one of "
                         f"{', '.join(CAPTURES)}.")

    def load_internal(self, path):
        """Calls that are no functions of CUDA: records and worker handlers, and nothing else."""
        functions = []
        for name, spec in load_toml(path).items():
            number = spec.pop("number", 0)
            if not 1 <= number <= 0xFFF or spec.get("hook") != ["client", "worker"] or \
                    "args" not in spec.get("wire", {}):
                self.problem(f"The internal call {name} needs a number from 1 to 4095, both hooks, "
                             f"and wire.args.")
            functions.append(Function(name=name, params=[], chapter="shared_memory",
                                      number=INTERNAL_BASE + number, base="", version=0,
                                      flavour="", declared=False, spec=spec))
        functions.sort(key=lambda f: f.number)
        if [f.number for f in functions] != [INTERNAL_BASE + 1 + i for i in range(len(functions))]:
            self.problem("The numbers in internal.toml are not 1 to n, each once.")
        return functions

    # Joining -------------------------------------------------------------------------------------

    def join(self):
        address = {row["symbol"]: row for row in self.proc_address}
        facts = {fact["name"]: fact for fact in self.facts["functions"]}
        families = {}
        for row in self.proc_address:
            families.setdefault(row["base"], []).append(row)
        for name in sorted(set(self.entries) - set(facts)):
            self.problem(f"{name} in {self.entries[name][0]}.toml is no function of the CUDA "
                         f"driver.")
        functions = []
        for name, fact in facts.items():
            row = address[name]
            chapter, spec, source = self.find_entry(name, row, families[row["base"]], facts)
            function = Function(
                name=name, chapter=chapter, spec=spec, derived_from=source,
                params=[self.make_param(name, p, spec) for p in fact["params"]],
                number=self.ids.get(name, 0), base=row["base"], version=row["version"],
                flavour=row["flavour"], declared=not fact.get("undeclared", False))
            functions.append(function)
            if not function.number:
                self.problem(f"{name} has no number in ids.lock; `generate.py --assign-ids` "
                             f"appends it.")
        functions.sort(key=lambda f: f.number)
        names = {f.name: f for f in functions}
        for function in functions:
            if function.flavour and function.plain in names:
                names[function.plain].per_thread_form = function.name
        return functions

    def find_entry(self, name, row, family, facts):
        """The spec of a function: its own, its plain form's, or that of an old version."""
        if name in self.entries:
            return (*self.entries[name], "")
        if row["flavour"]:
            plain = name.removesuffix(row["flavour"])
            if plain in self.entries:
                return (*self.entries[plain], plain)
        newest = max((r for r in family if not r["flavour"]), key=lambda r: r["version"])["symbol"]
        if newest in self.entries and newest != name:
            chapter, spec = self.entries[newest]
            types = " ".join(p["type"] for p in facts[name]["params"])
            if "unsupported" in spec:
                return chapter, dict(spec), newest
            if "_v1" in types or row["version"] <= 4000:
                return self.old_version(name)
        self.problem(f"{name} has no entry in codegen/spec/driver.")
        return "", {"unsupported": "?"}, ""

    def old_version(self, name):
        """The spec of a function of CUDA 4 or older: its generated body calls the _v2 form."""
        newer = name + "_v2"
        chapter, spec = self.entries.get(newer, ("", {"unsupported": "?"}))
        if "class" not in spec:
            self.problem(f"{name} is an old version of {newer}, which has no class.")
            return chapter, dict(spec), newer
        old = {"class": spec["class"], "old_version_of": newer, "shared": True, "capture": "free",
               "context": spec.get("context", True),
               "note": f"As {newer}, with sizes and addresses of 32 bits."}
        if spec["class"] in ("async", "sync"):
            old |= {"hook": ["client"], "via": spec.get("via", [newer])}
        return chapter, old, newer

    def make_param(self, function, fact, spec):
        overrides = spec.get("params", {}).get(fact["name"], {})
        unknown = set(overrides) - PARAM_KEYS
        if unknown:
            self.problem(f"params.{fact['name']} of {function} has unknown keys: "
                         f"{', '.join(sorted(unknown))}.")
        return Param(fact["name"], self.parse_type(fact["type"]), overrides)

    def parse_type(self, spelling):
        const = spelling.startswith("const ")
        rest = spelling.removeprefix("const ").strip()
        pointers = rest.count("*")
        base = rest.replace("*", "").strip()
        return CType(spelling, base, pointers, const, self.kind_of(base))

    def kind_of(self, base):
        if base == "void":
            return "void"
        if base in self.handle_of:
            return "handle"
        if base in self.facts["enums"]:
            return "enum"
        if base in self.facts["callbacks"]:
            return "callback"
        if base in self.facts["structs"]:
            return "struct"
        if base in C_SCALARS or base in self.facts["scalars"]:
            return "scalar"
        self.problem(f"The type '{base}' is not known.")
        return "void"

    def wire_scalar(self, base):
        return C_SCALARS[self.facts["scalars"].get(base, base)]

    def enum_mask(self, enum):
        """The largest value that the C++ enumeration can hold, as 32 bits."""
        values = self.facts["enums"][enum]["values"].values()
        if min(values) < 0:
            return 0xFFFFFFFF
        return (1 << max(max(values).bit_length(), 1)) - 1


def load_toml(path):
    with open(path, "rb") as file:
        return tomllib.load(file)


def read_ids(path):
    return parse_ids(path.read_text()) if path.exists() else {}


def parse_ids(text):
    """`name = number` per line; text behind # is a comment."""
    ids = {}
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, number = re.fullmatch(r"(\w+) = (\d+)", line).groups()
            ids[name] = int(number)
    return ids
