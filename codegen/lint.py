"""What must hold between the spec, the facts, the header and the outputs."""

import re
import subprocess

import tests_of
from model import parse_ids


def run(plan, repository, cuda_home):
    model = plan.model
    problems = []
    problems += check_entries(model)
    problems += check_ids(model)
    problems += check_ids_against_head(model, repository)
    problems += check_handles(model)
    problems += check_parameters(plan)
    problems += check_hooks(model)
    problems += check_proc_address(model)
    problems += check_mock(model)
    problems += check_exports(model, cuda_home)
    problems += check_tests(model, repository)
    return problems


def check_entries(model):
    """Every function has a class or a reason, and a reason is a sentence."""
    for function in model.functions:
        if not function.chapter or not (function.call_class or function.unsupported):
            yield f"{function.name} has neither a class nor a reason."
        if function.unsupported and not re.match(r"[A-Z].{15,}[.]$", function.unsupported):
            yield f"The reason of {function.name} is no sentence: '{function.unsupported}'."
    for name, (chapter, spec) in model.entries.items():
        flavour = re.search(r"_pt[ds][sz]$", name)
        if flavour:
            yield (f"{name} in {chapter}.toml follows {name.removesuffix(flavour[0])}; it needs no "
                   f"entry.")


def check_ids(model):
    """Numbers are 1, 2, 3, ... with no name twice; positions in DriverTable depend on it."""
    numbers = sorted(model.ids.values())
    if numbers != list(range(1, len(numbers) + 1)):
        yield "The numbers in ids.lock are not 1 to n, each once."
    known = {f.name for f in model.functions}
    for name in sorted(set(model.ids) - known):
        yield f"ids.lock has {name}, which is no function of the CUDA driver."
    lines = (model.root / "spec/ids.lock").read_text().splitlines()
    names = [line.split(" = ")[0] for line in lines if " = " in line]
    if len(names) != len(set(names)):
        yield "ids.lock has a name twice."


def check_ids_against_head(model, repository):
    """What is committed stays: a number is never changed or taken back."""
    shown = subprocess.run(["git", "-C", str(repository), "show", "HEAD:codegen/spec/ids.lock"],
                           capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        return  # no history here, as in a source archive
    yield from changed_ids(parse_ids(shown.stdout), model.ids)


def changed_ids(before, after):
    for name, number in before.items():
        if after.get(name) != number:
            yield (f"ids.lock is append-only, but {name} was {number} and is now "
                   f"{after.get(name, 'gone')}.")


def check_handles(model):
    numbers = [handle["number"] for handle in model.handles.values()]
    if len(set(numbers)) != len(numbers) or not all(1 <= n <= 0x7F for n in numbers):
        yield "The numbers in handles.toml must be different and from 1 to 127."
    results = model.facts["enums"]["CUresult"]["values"]
    for name, handle in model.handles.items():
        if handle["invalid"] not in results:
            yield f"The handle type {name} has the unknown result '{handle['invalid']}'."
        for other in handle.get("accepts", []):
            if other not in model.handles:
                yield f"The handle type {name} accepts the unknown type '{other}'."
    for cuda in model.facts["handles"]:
        if cuda not in model.handle_of:
            yield f"No handle type in handles.toml stands for {cuda}."


def check_parameters(plan):
    """Overrides name real parameters, and every parameter of a remote call is accounted for.

    A derived call lists an argument per parameter (plan.py refuses what it cannot derive). A call
    with wire.args has two hand-written bodies; a field must exist for every handle that it uses.
    """
    for function in plan.functions:
        names = {p.name for p in function.params}
        if function.derived_from:
            continue
        for name in function.spec.get("params", {}):
            if name not in names:
                yield f"{function.name} has no parameter {name}; it has {', '.join(sorted(names))}."
        for param in function.params:
            count = param.spec.get("count")
            for word in re.findall(r"[A-Za-z_]\w*", str(count or "")):
                if word not in names:
                    yield (f"The count of {param.name} of {function.name} names '{word}', which is "
                           f"no parameter.")
    for body in plan.handlers:
        function = body.function
        if "args" in function.spec.get("wire", {}):
            yield from check_hand_written_wire(plan, function)
        elif len(body.arguments) != len(function.params):
            yield f"Not every parameter of {function.name} crosses the wire."


def check_hand_written_wire(plan, function):
    record = plan.record_of[f"Args_{function.name}"]
    handles = {f.handle for f in record.fields if f.handle}
    for param in function.params:
        handle = plan.model.handle_of.get(param.type.base)
        direct = param.type.pointers == 0 or param.spec.get("creates")
        local = handle and plan.model.handles[handle].get("local", False)
        if handle and direct and not local and handle not in handles:
            yield (f"{function.name} has the parameter {param.name}, a {handle}, but no id of that "
                   f"type in wire.args.")


def check_hooks(model):
    """A hook that is set is one of the two; classes without a record have no worker."""
    for function in model.functions:
        hooks = function.spec.get("hook", [])
        if set(hooks) - {"client", "worker"} or len(set(hooks)) != len(hooks):
            yield f"hook of {function.name} is {hooks}; it may hold \"client\" and \"worker\"."
        if hooks and function.call_class in ("local", "cached"):
            yield (f"{function.name} is {function.call_class}, so its client body is always "
                   f"hand-written.")
        if function.unsupported and len(function.spec) > 1:
            yield f"{function.name} is unsupported, so its entry must hold nothing else."


def check_proc_address(model):
    """The facts give each function one place, and no two functions the same one."""
    symbols = [row["symbol"] for row in model.proc_address]
    names = [f.name for f in model.functions]
    if sorted(symbols) != sorted(names):
        yield "The symbols in proc_address are not the functions of the driver."
    places = {}
    for row in model.proc_address:
        place = (row["base"], row["version"], row["flavour"])
        if place in places:
            yield f"{row['symbol']} and {places[place]} have the same name, version and flavour."
        places[place] = row["symbol"]
        if not 2000 <= row["version"] <= model.facts["cuda_version"]:
            yield f"{row['symbol']} has the version {row['version']}."


def check_mock(model):
    for name in model.mock["behaviours"]:
        function = model.by_name.get(name)
        if function is None or function.unsupported or function.flavour:
            yield f"mock.toml names {name}, which is no supported plain function."


def check_tests(model, repository):
    """Every supported function is called by a test that runs in-process and through gpud."""
    tests = tests_of.find(repository)
    if not tests:
        return  # no sources of tests here
    for function in model.functions:
        if function.call_class and not function.flavour \
                and not tests_of.of_function(tests, function):
            yield (f"{function.name} is supported, but no test of {' or '.join(tests_of.FOLDERS)} "
                   f"calls it.")


def check_exports(model, cuda_home):
    """The facts name exactly what the toolkit's stub libcuda exports, where there is one."""
    stub = cuda_home / "lib64/stubs/libcuda.so" if cuda_home else None
    if stub is None or not stub.exists():
        return
    listed = subprocess.run(["nm", "-D", "--defined-only", str(stub)], capture_output=True,
                            text=True, check=True).stdout
    symbols = {line.split()[-1] for line in listed.splitlines()}
    exported = {symbol for symbol in symbols if symbol.startswith("cu")}
    names = {f.name for f in model.functions}
    for name in sorted(exported - names):
        yield f"The toolkit's libcuda exports {name}, which the facts do not have."
    for name in sorted(names - exported):
        yield f"The facts have {name}, which the toolkit's libcuda does not export."
