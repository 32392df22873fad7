"""Decides what is generated for each call. Templates only loop over the results and name things.

    Plan(model)  ->  .functions   every entry point, in the order of its number
                     .records     Args_ and Reply_ structures with their layouts
                     .bodies      generated client bodies
                     .handlers    worker handlers, generated or hand-written
"""

import re
from dataclasses import dataclass, field

from model import Field, Function, WIRE_SCALARS

ALIGN = 8


@dataclass
class WireField:
    """A field of a record with everything the templates need."""
    name: str
    wire: str
    of: str
    cpp: str             # type of the member
    offset: int = 0      # in the fixed part
    bytes: int = 0       # in the fixed part
    tail: bool = False
    element: str = ""    # C++ element type of an array
    element_bytes: int = 0
    mask: int = 0        # largest value of an enumeration, when not every 32-bit value is one
    enum_checks: list = field(default_factory=list)  # (offset, mask) in each element
    handle: str = ""     # handle type of an id
    param: str = ""


@dataclass
class Record:
    name: str            # Args_cuMemAlloc_v2
    call: str
    fields: list         # in the order of the spec
    fixed_bytes: int = 0

    @property
    def fixed(self):
        return [f for f in self.fields if not f.tail]

    @property
    def tails(self):
        return [f for f in self.fields if f.tail]

    @property
    def used_bytes(self):
        return max((f.offset + f.bytes for f in self.fields), default=0)


@dataclass
class Argument:
    """One parameter of a generated client body and worker handler."""
    name: str            # of the parameter
    field: str           # of the record
    role: str            # value, enum, use, create, destroy, string, array, out, out_null, struct
    ctype: object = None
    handle: str = ""
    mask: int = 0
    cast: str = ""       # C++ type that the record's value is cast to for the driver
    count: str = ""      # C++ expression over the parameters: elements of an array
    args_count: str = ""  # the same over the fields of the record
    allow_null: bool = False
    special: list = field(default_factory=list)


@dataclass
class OldVersion:
    """A function of CUDA 4 or older, whose sizes and addresses have 32 bits, by its _v2 form."""
    function: Function
    newer: Function
    arguments: list   # what the newer function is called with
    wide: list        # (type, name) of its variables for results, and for structures, which are read
    structs: list     # (name, fields) of structures that are read
    results: list     # (name, fields) of results; of numbers, fields is empty
    saturates: bool   # a size that does not fit is told as the largest one
    undo: str         # takes back an allocation that cannot be told


@dataclass
class Body:
    function: Function
    arguments: list
    asynchronous: bool
    has_reply: bool

    @property
    def needs(self):
        context = self.function.spec.get("context", True)
        return "kNeedsInit | kNeedsContext" if context else "kNeedsInit"

    def of_role(self, *roles):
        return [a for a in self.arguments if a.role in roles]


def padded(size, align=ALIGN):
    return (size + align - 1) // align * align


class Plan:
    def __init__(self, model):
        self.model = model
        self.functions = model.functions
        self.records = []
        self.record_of = {}
        self.bodies = []
        self.handlers = []
        self.mock_behaviours = model.mock["behaviours"]
        for function in self.functions:
            if function.remote and not function.flavour:
                self.plan_remote(function)
            elif function.call_class in ("async", "sync") and not function.flavour:
                self.check_via(function)
        for function in model.internal:
            self.plan_remote(function)
        self.old_versions = [self.plan_old_version(f) for f in self.functions
                             if "old_version_of" in f.spec]
        for function in self.functions:
            function.mock_steps = self.mock_steps(function) if not function.unsupported else []
        self.check_structs()
        model.raise_problems()

    def problem(self, text):
        self.model.problem(text)

    # Calls ---------------------------------------------------------------------------------------

    def plan_remote(self, function):
        arguments = []
        spec_wire = function.spec.get("wire", {})
        derived = "args" not in spec_wire
        if not derived and not (function.client_hook and function.worker_hook):
            self.problem(f"{function.name} gives wire.args, so both its bodies must be "
                         f"hand-written: hook = [\"client\", \"worker\"].")
            return
        if derived:
            arguments = self.derive_arguments(function)
            args = [self.argument_field(a) for a in arguments if a.role not in ("out", "out_null")]
            reply = [self.argument_field(a) for a in arguments if a.role in ("out", "out_null")]
        else:
            args = self.explicit_fields(function, "args")
            reply = self.explicit_fields(function, "reply")
        if function.call_class == "async" and reply:
            self.problem(f"{function.name} is async, so it can have no reply fields.")
        self.add_record("Args", function, args)
        self.add_record("Reply", function, reply)
        body = Body(function, arguments, function.call_class == "async", bool(reply))
        if not function.client_hook:
            self.bodies.append(body)
        self.handlers.append(body)
        if function.spec.get("waits") and not function.worker_hook:
            self.problem(f"{function.name} waits, so its worker handler must be hand-written.")
        if function.spec.get("per_thread"):
            self.check_per_thread(function)
        elif function.per_thread_form and not function.worker_hook and \
                not any(a.handle == "stream" for a in arguments):
            self.problem(f"{function.name} has a per-thread form and no stream; per_thread must "
                         f"name the function that takes one.")

    def plan_old_version(self, function):
        newer = self.model.by_name[function.spec["old_version_of"]]
        plan = OldVersion(function, newer, [], [], [], [], True, newer.spec.get("undo", ""))
        for old, new in zip(function.params, newer.params, strict=True):
            same = old.type.spelling == new.type.spelling
            if same or old.type.pointers == 0:  # numbers become wider by themselves
                plan.arguments.append(old.name)
                continue
            wide = f"{old.name}_wide"
            plan.wide.append((new.type.base, wide))
            plan.arguments.append(f"{old.name} == nullptr ? nullptr : &{wide}")
            facts = self.model.facts["structs"].get(old.type.base, {"fields": []})
            fields = [member["name"] for member in facts["fields"]]
            if old.type.const:
                plan.structs.append((old.name, fields))
            else:
                plan.results.append((old.name, fields))
                plan.saturates &= new.type.base == "size_t"
        return plan

    def check_via(self, function):
        for target in function.spec["via"]:
            other = self.model.by_name.get(target)
            if other is None or not other.remote:
                self.problem(f"{function.name} goes via {target}, which does not cross the wire.")
        if not function.client_hook or function.worker_hook or "wire" in function.spec:
            self.problem(f"{function.name} goes via another call: it has a client hook and nothing "
                         f"else.")

    def check_per_thread(self, function):
        other = self.model.by_name.get(function.spec["per_thread"])
        own = [p.type.spelling for p in function.params]
        if other is None or [p.type.spelling for p in other.params] != own + ["CUstream"]:
            self.problem(f"per_thread of {function.name} must name a function with the same "
                         f"parameters and a stream behind them.")

    # Arguments -----------------------------------------------------------------------------------

    def derive_arguments(self, function):
        arguments = []
        for param in function.params:
            argument = self.derive_argument(function, param)
            if argument is None:
                self.problem(f"What {function.name} does with its parameter {param.name} "
                             f"({param.type.spelling}) cannot be derived; describe it under "
                             f"params.{param.name} or hand-write both bodies.")
            else:
                arguments.append(argument)
        fields = {a.name: f"args.{a.field}" for a in arguments}
        for argument in arguments:
            argument.args_count = re.sub(r"[A-Za-z_]\w*", lambda name: fields.get(name[0], name[0]),
                                         argument.count)
        return arguments

    def derive_argument(self, function, param):
        ctype, spec = param.type, param.spec
        name = spec.get("field", param.name)
        handle = self.model.handle_of.get(ctype.base, "")
        base = dict(name=param.name, field=name, ctype=ctype, handle=handle,
                    allow_null=spec.get("null", False))
        if ctype.pointers == 0:
            return self.derive_value(param, base)
        if ctype.pointers != 1 or ctype.kind in ("void", "callback"):
            return None
        if ctype.const or spec.get("dir") == "in":
            if ctype.base == "char" and not spec.get("count"):
                return Argument(role="string", **base)
            if spec.get("count") and ctype.kind == "scalar":
                return Argument(role="array", count=spec["count"], **base)
            if ctype.kind == "struct" and not spec.get("count"):
                return Argument(role="struct_in", **base)
            return None
        if handle:
            return Argument(role="create", **base) if spec.get("creates") else None
        if spec.get("dir", "out") == "out" and ctype.kind in ("scalar", "enum", "struct") \
                and not spec.get("count") and ctype.base != "char":
            return Argument(role="out_null" if spec.get("null") else "out", **base)
        return None

    def derive_value(self, param, base):
        ctype = param.type
        if ctype.kind == "scalar":
            return Argument(role="value", cast=ctype.base, **base)
        if ctype.kind == "enum":
            mask = self.model.enum_mask(ctype.base)
            return Argument(role="enum", cast=ctype.base, mask=mask, **base)
        if ctype.kind == "struct":
            return Argument(role="struct", **base)
        if ctype.kind == "handle":
            special = self.model.handles[base["handle"]].get("special", [])
            role = "destroy" if param.spec.get("destroys") else "use"
            return Argument(role=role, special=special, **base)
        return None

    def argument_field(self, argument):
        ctype = argument.ctype
        if argument.role in ("use", "create", "destroy"):
            return Field(argument.field, "id", argument.handle, argument.name)
        if argument.role == "string":
            return Field(argument.field, "string", "", argument.name)
        if argument.role == "array":
            return Field(argument.field, "array", self.model.wire_scalar(ctype.base), argument.name)
        if ctype.kind == "struct":
            return Field(argument.field, "struct", ctype.base, argument.name)
        if ctype.kind == "enum":
            return Field(argument.field, "enum", ctype.base, argument.name)
        return Field(argument.field, self.model.wire_scalar(ctype.base), "", argument.name)

    def explicit_fields(self, function, which):
        fields = []
        for text in function.spec["wire"].get(which, []):
            name, _, wire = text.partition(":")
            name, wire = name.strip(), wire.strip()
            kind, _, of = wire.removesuffix(">").partition("<")
            if kind not in WIRE_SCALARS and kind not in ("id", "enum", "struct", "bytes", "string",
                                                         "array"):
                self.problem(f"wire.{which} of {function.name} has the unknown type '{wire}'.")
                continue
            if kind == "id" and of not in self.model.handles:
                self.problem(f"wire.{which} of {function.name} has an id of the unknown handle "
                             f"type '{of}'.")
                continue
            fields.append(Field(name, kind, of))
        return fields

    # Records -------------------------------------------------------------------------------------

    def add_record(self, prefix, function, fields):
        record = Record(f"{prefix}_{function.name}", function.name,
                        [self.wire_field(f) for f in fields])
        names = [f.name for f in record.fields]
        if len(set(names)) != len(names):
            self.problem(f"{record.name} has two fields of the same name.")
        self.lay_out(record)
        self.records.append(record)
        self.record_of[record.name] = record

    def wire_field(self, spec):
        result = WireField(spec.name, spec.wire, spec.of, "", param=spec.param)
        if spec.wire in WIRE_SCALARS:
            result.cpp, result.bytes = WIRE_SCALARS[spec.wire]
        elif spec.wire == "id":
            result.cpp, result.bytes, result.handle = "uint64_t", 8, spec.of
        elif spec.wire == "enum":
            result.cpp, result.bytes = "uint32_t", 4
            result.mask = self.limited_mask(spec.of)
        elif spec.wire == "struct":
            result.cpp, result.bytes = spec.of, self.struct_bytes(spec.of)
        else:
            self.tail_field(result, spec)
        return result

    def tail_field(self, result, spec):
        result.tail, result.bytes = True, 4  # the fixed part holds its count
        if spec.wire == "string":
            result.cpp = "std::string_view"
        elif spec.wire == "bytes":
            result.cpp = "std::span<const std::byte>"
        else:
            if spec.of in WIRE_SCALARS:
                result.element, result.element_bytes = WIRE_SCALARS[spec.of]
            else:
                struct = spec.of.removeprefix("struct<").removesuffix(">")
                result.of = struct
                result.element, result.element_bytes = struct, self.struct_bytes(struct)
                result.enum_checks = self.struct_enums(struct)
            result.cpp = f"std::span<const {result.element}>"

    def limited_mask(self, enum):
        mask = self.model.enum_mask(enum)
        return 0 if mask == 0xFFFFFFFF else mask

    def struct_bytes(self, struct):
        facts = self.model.facts["structs"].get(struct)
        if facts is None:
            self.problem(f"The structure {struct} in a record is not known.")
            return 0
        if struct not in self.model.structs:
            self.problem(f"The structure {struct} crosses the wire but is not in structs.toml.")
        return facts["bytes"]

    def struct_enums(self, struct):
        """(offset, mask) of the enumerations in a structure's first level."""
        checks = []
        for member in self.model.facts["structs"].get(struct, {}).get("fields", []):
            if member.get("kind") == "enum" and self.limited_mask(member["type"]):
                checks.append((member["offset"], self.limited_mask(member["type"])))
        return checks

    def lay_out(self, record):
        """Fixed fields by falling size, so that there is no hole but at the end; then the tails."""
        def size_class(f):
            return 8 if f.wire == "struct" else f.bytes
        offset = 0
        for f in sorted(record.fields, key=lambda f: (-size_class(f), f.wire != "struct")):
            f.offset = offset
            offset += padded(f.bytes) if f.wire == "struct" else f.bytes
        record.fixed_bytes = padded(offset)

    def check_structs(self):
        for name, entry in self.model.structs.items():
            facts = self.model.facts["structs"].get(name)
            if facts is None:
                self.problem(f"structs.toml names {name}, which is no structure of the CUDA "
                             f"driver.")
            elif has_pointers(facts, self.model.handle_of) and not entry.get("pointers"):
                self.problem(f"{name} holds pointers or handles; its entry in structs.toml must "
                             f"say under `pointers` who keeps them from being followed.")

    # The mock driver -----------------------------------------------------------------------------

    def mock_steps(self, function):
        """What the mock driver does with parameters: check, destroy, demand, create or clear."""
        steps = []
        for param in function.params:
            ctype = param.type
            handle = self.model.handle_of.get(ctype.base, "")
            if ctype.pointers == 0 and handle:
                kind = "destroy" if param.spec.get("destroys") else "check"
                steps.append({"kind": kind, "handle": handle, "value": param.name})
            elif ctype.pointers == 0 or param.spec.get("dir") == "in":
                continue
            elif ctype.pointers == 2 and ctype.base in ("void", "char") and \
                    param.name in ("pp", "pfn", "pStr", "name", "ppExportTable"):
                steps.append({"kind": "demand", "name": param.name})
            elif ctype.pointers == 1 and not ctype.const and ctype.base != "char" \
                    and ctype.kind not in ("void", "callback") and not param.spec.get("count"):
                steps += self.mock_result(param, handle)
        return steps

    def mock_result(self, param, handle):
        demand = [] if param.spec.get("null") else [{"kind": "demand", "name": param.name}]
        if not handle:
            return demand + [{"kind": "clear", "name": param.name}]
        pointer = param.type.base in self.model.facts["handles"]
        cast = f"{'static_cast' if pointer else 'reinterpret_cast'}<{param.type.base}>"
        return demand + [{"kind": "create", "name": param.name, "handle": handle, "cast": cast}]

    # What other parts ask ------------------------------------------------------------------------

    def handler_of(self, name):
        return next((h for h in self.handlers if h.function.name == name), None)


def has_pointers(facts, handle_of):
    for member in facts["fields"]:
        if member.get("kind") == "pointer" or member["type"].split("[")[0].strip() in handle_of:
            return True
        if "record" in member and has_pointers(member["record"], handle_of):
            return True
    return False
