#!/usr/bin/env python3
"""Generates everything that follows from the spec of the CUDA driver calls.

    generate.py --out DIR             write the generated sources; unchanged ones are not touched
    generate.py --coverage            write docs/coverage.md
    generate.py --show cuMemAlloc_v2  everything there is to know about one call
    generate.py --check [--out DIR]   run the lints; fail when DIR or docs/coverage.md is stale
    generate.py --list                print the names of the generated files
    generate.py --assign-ids          append numbers for functions that have none to spec/ids.lock
"""

import argparse
import functools
import pathlib
import sys
import types

import jinja2

import lint
import show
import tests_of
from model import CLASSES, Model, ROOT, SpecError
from plan import Plan

REPOSITORY = ROOT.parent
COVERAGE = REPOSITORY / "docs" / "coverage.md"

# Output -> folder below the output folder. The template is templates/<name>.j2.
OUTPUTS = [
    "driver_calls_gen.h", "driver_calls_gen.cc", "proc_address_gen.h", "proc_address_gen.cc",
    "handle_types_gen.h", "wire_records_gen.h", "wire_records_gen.cc", "client_calls_gen.h",
    "client_calls_gen.cc", "graph_calls_gen.h", "old_versions_gen.cc", "worker_dispatch_gen.h", "worker_dispatch_gen.cc", "cpu_calls_gen.h",
    "cpu_exports_gen.cc", "traced_calls_gen.cc", "stub_exports_gen.h", "stub_exports_gen.cc", "mock_calls_gen.h",
    "mock_driver_gen.cc", "mock_exports_gen.cc", "wire_records_gen_test.cc",
    "stand_ins_gen_test.cc",
]


def cstring(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def make_environment():
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"), trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["cstring"] = cstring
    environment.globals["m"] = environment.get_template("macros.j2").module
    return environment


def context_of(plan):
    """The names that templates see."""
    model = plan.model
    for record in plan.records:
        used = sum(f.bytes for f in record.fields)
        record.has_holes = used != record.fixed_bytes
    for body in plan.handlers:
        body.driver_arguments = ", ".join(driver_argument(a) for a in body.arguments)
    return {
        "functions": model.functions,
        "internal": model.internal,
        "handles": {name: with_defaults(handle) for name, handle in model.handles.items()},
        "pointer_handles": set(model.facts["handles"]),
        "reasons": sorted({f.unsupported for f in model.functions if f.unsupported}),
        "proc_entries": proc_entries(model),
        "old_versions": plan.old_versions,
        "records": plan.records,
        "bodies": plan.bodies,
        "handlers": plan.handlers,
        "chapters": chapter_list(model),
        "coverage": [coverage_row(chapter) for chapter in chapter_list(model)],
        "total": coverage_row(types.SimpleNamespace(name="", title="", functions=model.functions)),
        "behaviours": set(plan.mock_behaviours),
        "cuda_version": model.facts["cuda_version"],
    }


def with_defaults(handle):
    return {"special": [], "accepts": [], **handle}


def driver_argument(argument):
    """How a worker handler passes a decoded argument on to the driver."""
    if argument.role == "enum":
        return f"static_cast<{argument.cast}>(args.{argument.field})"
    if argument.role in ("value", "struct"):
        return f"args.{argument.field}"
    if argument.role == "struct_in":
        return f"&args.{argument.field}"
    if argument.role == "string":
        return f"args.{argument.field}.data()"
    if argument.role == "array":
        # Some arrays that CUDA only reads are not const in cuda.h.
        return f"const_cast<{argument.ctype.base}*>(args.{argument.field}.data())"
    if argument.role in ("use", "destroy"):
        return argument.name
    return f"&{argument.name}"


def proc_entries(model):
    """Rows of the cuGetProcAddress table by base name and version."""
    position = {f.name: i for i, f in enumerate(model.functions)}
    rows = [types.SimpleNamespace(base=f.base, version=f.version, index=position[f.name],
                                  per_thread=bool(f.flavour), symbol=f.name)
            for f in model.functions]
    return sorted(rows, key=lambda r: (r.base, r.version, r.per_thread))


def chapter_list(model):
    chapters = []
    for name, title in model.chapters.items():
        members = [f for f in model.functions if f.chapter == name]
        plain = [f for f in members if not f.flavour and f.call_class]
        chapters.append(types.SimpleNamespace(
            name=name, title=title, functions=members,
            plain_supported=plain, by_reason=reasons_of(members),
            client_calls=[f for f in plain if f.client_hook and not f.shared],
            shared_calls=[f for f in plain if f.shared],
            recorded_calls=[f for f in plain if f.capture == "node"],
            worker_calls=[f for f in plain if f.remote and f.worker_hook],
            cpu_calls=[f for f in plain if f.on_cpu_device and not f.shared]))
    return chapters


def reasons_of(members):
    """(reason, names) of what a chapter does not support."""
    reasons = {}
    for function in sorted(members, key=lambda f: f.name):
        if function.unsupported and not function.flavour:
            reasons.setdefault(function.unsupported, []).append(function.name)
    return list(reasons.items())


def coverage_row(chapter):
    plain = [f for f in chapter.functions if not f.flavour]
    counts = {name: sum(f.call_class == name for f in plain) for name in CLASSES}
    return {"title": chapter.title, "anchor": chapter.title.lower().replace(" ", "-"),
            "functions": len(plain), "supported": sum(counts.values()), **counts}


def render(plan):
    """Output name -> text."""
    environment = make_environment()
    context = context_of(plan)
    texts = {}
    for name in OUTPUTS:
        head = (f"// Generated by codegen/generate.py from codegen/templates/{name}.j2 and "
                f"codegen/spec; do not edit.\n")
        texts[name] = head + environment.get_template(name + ".j2").render(context)
    return texts


def render_coverage(plan):
    tests = tests_of.find(REPOSITORY)
    context = context_of(plan)
    context["tests_of"] = lambda f: tests_of.shown(tests_of.of_function(tests, f))
    return make_environment().get_template("coverage.md.j2").render(context)


def write_if_changed(path, text):
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


def stale_outputs(plan, out):
    stale = [path for path, text in [(COVERAGE, render_coverage(plan))]
             if not path.exists() or path.read_text() != text]
    if out:
        stale += [out / name for name, text in render(plan).items()
                  if not (out / name).exists() or (out / name).read_text() != text]
    return [f"{path} is not what the spec says; run codegen/generate.py "
            f"{'--coverage' if path == COVERAGE else '--out ' + str(out)}." for path in stale]


def assign_ids(root):
    """Appends numbers for new functions; nothing that is there changes."""
    model = Model(root)
    path = root / "spec/ids.lock"
    number = max(model.ids.values(), default=0)
    with open(path, "a") as file:
        for name in sorted(f.name for f in model.functions if not f.number):
            number += 1
            file.write(f"{name} = {number}\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=pathlib.Path)
    arguments.add_argument("--coverage", action="store_true")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--show", metavar="CALL")
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--assign-ids", action="store_true")
    arguments.add_argument("--cuda-home", type=pathlib.Path,
                           help="toolkit whose stub libcuda --check compares the exports with")
    options = arguments.parse_args()
    try:
        return run(options)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 1


def run(options):
    if options.list:
        print("\n".join(OUTPUTS))
        return 0
    if options.assign_ids:
        assign_ids(ROOT)
    plan = Plan(Model())
    if options.show:
        print(show.describe(plan, options.show))
    if options.check:
        problems = lint.run(plan, REPOSITORY, options.cuda_home) + stale_outputs(plan, options.out)
        print("\n".join(problems) or "The spec, the facts and the outputs agree.",
              file=sys.stderr if problems else sys.stdout)
        return 1 if problems else 0
    if options.out:
        for name, text in render(plan).items():
            write_if_changed(options.out / name, text)
    if options.coverage:
        write_if_changed(COVERAGE, render_coverage(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
