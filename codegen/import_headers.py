#!/usr/bin/env python3
"""Extracts the facts about the CUDA driver API from the toolkit's headers into facts/*.json.

Run by hand when a new toolkit is taken up, never by the build:

    codegen/import_headers.py --cuda-home build/cuda --out codegen/facts

Only names, types, numbers and layouts are taken; no sentence of a header ends up in the facts.
Needs libclang (Debian: python3-clang-14). Everything else in codegen reads the JSON files.
"""

import argparse
import json
import pathlib
import re
import sys

TYPEDEF_HEADERS = ["cudaTypedefs.h", "cudaProfilerTypedefs.h"]
# Functions that libcuda exports and cuda.h does not declare. Their header, cudaProfiler.h, is in
# another package; their typedefs are in cudaProfilerTypedefs.h. CUoutput_mode is a plain C enum.
UNDECLARED = {
    "cuProfilerInitialize": [("configFile", "const char *"), ("outputFile", "const char *"),
                             ("outputMode", "int")],
    "cuProfilerStart": [],
    "cuProfilerStop": [],
}
SUFFIX = re.compile(r"(_v\d+)?(_pt[ds][sz])?$")


def parse(cuda_home, header):
    global ci  # only parsing needs libclang; the rules below are also tested without it
    import clang.cindex as ci
    resource = clang_include()
    args = ["-x", "c", "-std=c11", f"-I{cuda_home}/include", f"-I{resource}",
            "-D__CUDA_API_VERSION_INTERNAL"]
    unit = ci.Index.create().parse("facts.c", args=args,
                                   unsaved_files=[("facts.c", f"#include <{header}>\n")])
    errors = [d.spelling for d in unit.diagnostics if d.severity >= ci.Diagnostic.Error]
    if errors:
        sys.exit(f"{header} does not parse: {errors[0]}")
    return unit


def clang_include():
    """libclang has no headers of its own; stddef.h comes from the newest installed clang."""
    found = sorted(pathlib.Path("/usr/lib").glob("llvm-*/lib/clang/*/include"))
    if not found:
        sys.exit("The headers of clang (stddef.h) are missing; install libclang-common-14-dev.")
    return found[-1]


def chapters_by_line(text):
    """The manual's chapters as (first line, group name), from the header's defgroup marks."""
    marks = []
    for number, line in enumerate(text.splitlines(), 1):
        found = re.search(r"\\defgroup (CUDA_\w+)", line)
        if found:
            marks.append((number, found[1].removesuffix("_DEPRECATED")))
    return marks


def base_of(name):
    return SUFFIX.sub("", name)


def function_facts(unit, marks, internal):
    functions = {}
    for cursor in unit.cursor.get_children():
        if cursor.kind != ci.CursorKind.FUNCTION_DECL or not cursor.spelling.startswith("cu"):
            continue
        group = ""
        for line, name in marks:
            if line <= cursor.location.line:
                group = name
        functions[cursor.spelling] = {
            "name": cursor.spelling,
            "returns": cursor.result_type.spelling,
            "params": [{"name": p.spelling, "type": p.type.spelling}
                       for p in cursor.get_arguments()],
            "group": group,
            "line": cursor.location.line,
        }
    # Versions that stand in the internal part behind the last chapter belong where their base is.
    chapter = {}
    for function in functions.values():
        if function["line"] not in internal:
            chapter.setdefault(base_of(function["name"]), function["group"])
    for function in functions.values():
        if function["line"] in internal:
            function["group"] = chapter.get(base_of(function["name"]), "CUDA_GRAPH")
        del function["line"]
    # The header declares it behind the coredump functions, with no chapter of its own.
    functions["cuGetExportTable"]["group"] = "CUDA_DRIVER_ENTRY_POINT"
    for name, params in UNDECLARED.items():
        functions[name] = {"name": name, "returns": "CUresult", "group": "CUDA_PROFILER",
                           "params": [{"name": n, "type": t} for n, t in params],
                           "undeclared": True}
    return [functions[name] for name in sorted(functions)]


def internal_lines(text, marks):
    """The lines that declare the other versions of functions: they lie between two chapters."""
    lines = text.splitlines()
    first = max(n for n, line in enumerate(lines, 1)
                if line.strip() == "#if defined(__CUDA_API_VERSION_INTERNAL)")
    return range(first, next(line for line, _ in marks if line > first))


def enum_facts(unit):
    enums = {}
    for cursor in unit.cursor.get_children():
        if cursor.kind != ci.CursorKind.TYPEDEF_DECL:
            continue
        canonical = cursor.underlying_typedef_type.get_canonical()
        if canonical.kind != ci.TypeKind.ENUM:
            continue
        declaration = canonical.get_declaration()
        values = {c.spelling: c.enum_value for c in declaration.get_children()
                  if c.kind == ci.CursorKind.ENUM_CONSTANT_DECL}
        enums[cursor.spelling] = {"bytes": canonical.get_size(), "values": values}
    return enums


def struct_facts(unit):
    structs = {}
    for cursor in unit.cursor.get_children():
        if cursor.kind != ci.CursorKind.TYPEDEF_DECL:
            continue
        canonical = cursor.underlying_typedef_type.get_canonical()
        if canonical.kind != ci.TypeKind.RECORD or canonical.get_size() < 0:
            continue
        structs[cursor.spelling] = record_facts(canonical)
    return structs


def record_facts(record):
    fields = []
    for field in record.get_fields():
        fact = {"name": field.spelling, "type": field.type.spelling,
                "offset": field.get_field_offsetof() // 8, "bytes": field.type.get_size()}
        canonical = field.type.get_canonical()
        element = canonical
        while element.kind == ci.TypeKind.CONSTANTARRAY:
            element = element.element_type.get_canonical()
        if element.kind == ci.TypeKind.POINTER:
            fact["kind"] = "pointer"
        elif element.kind == ci.TypeKind.ENUM:
            fact["kind"] = "enum"
        elif element.kind == ci.TypeKind.RECORD:
            fact["kind"] = "record"
            if "unnamed" in field.type.spelling or "anonymous" in field.type.spelling:
                fact["type"] = ""
            fact["record"] = record_facts(element)
        fields.append(fact)
    is_union = record.get_declaration().kind == ci.CursorKind.UNION_DECL
    return {"bytes": record.get_size(), "align": record.get_align(), "union": is_union,
            "fields": fields}


def typedef_facts(unit):
    """Scalar and handle typedefs: name -> what it stands for."""
    scalars, handles, callbacks = {}, {}, []
    for cursor in unit.cursor.get_children():
        if cursor.kind != ci.CursorKind.TYPEDEF_DECL:
            continue
        if not cursor.spelling.startswith(("CU", "cu")):
            continue
        canonical = cursor.underlying_typedef_type.get_canonical()
        if canonical.kind == ci.TypeKind.POINTER:
            pointee = canonical.get_pointee()
            if pointee.kind == ci.TypeKind.FUNCTIONPROTO:
                callbacks.append(cursor.spelling)
            elif pointee.get_size() < 0:
                handles[cursor.spelling] = pointee.spelling.removeprefix("struct ")
        elif canonical.kind not in (ci.TypeKind.ENUM, ci.TypeKind.RECORD):
            scalars[cursor.spelling] = canonical.spelling
    return scalars, handles, callbacks


def introduction_versions(cuda_home):
    """(base name, flavour) -> versions, from the names of the PFN_ types."""
    versions = {}
    pattern = re.compile(r"\*\s*PFN_(cu\w+?)_v(\d+)(_pt[ds][sz])?\)")
    for header in TYPEDEF_HEADERS:
        text = (cuda_home / "include" / header).read_text(errors="replace")
        for found in pattern.finditer(text):
            key = (found[1], found[3] or "")
            versions.setdefault(key, set()).add(int(found[2]))
    return versions


def suffix_number(symbol):
    found = re.search(r"_v(\d+)(_pt[ds][sz])?$", symbol)
    return int(found[1]) if found else 1


def proc_address_facts(functions, versions):
    """One row per exported symbol: under which name, version and flavour cuGetProcAddress gives it.

    Versions and symbols of one base name are both sorted; the newest version belongs to the newest
    symbol. A name that is an own function and not a version of another is its own base
    (cuStreamGetCaptureInfo_v2 is a version, cuGraphInstantiateWithFlags is not).
    """
    symbols = {}
    for function in functions:
        name = function["name"]
        flavour = re.search(r"(_pt[ds][sz])?$", name)[0]
        symbols.setdefault((base_of(name), flavour), []).append(name)
    rows = []
    for (base, flavour), names in sorted(symbols.items()):
        names.sort(key=suffix_number)
        known = sorted(versions.get((base, flavour), ()))
        if len(known) != len(names):
            sys.exit(f"{base}{flavour} has {len(names)} symbols ({', '.join(names)}) and "
                     f"{len(known)} versions ({known}); the rule that pairs them does not hold.")
        for name, version in zip(names, known):
            rows.append({"base": base, "version": version, "flavour": flavour, "symbol": name})
    return rows


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--cuda-home", type=pathlib.Path, required=True)
    arguments.add_argument("--out", type=pathlib.Path,
                           default=pathlib.Path(__file__).parent / "facts")
    options = arguments.parse_args()
    header = options.cuda_home / "include" / "cuda.h"
    text = header.read_text(errors="replace")
    version = int(re.search(r"#define CUDA_VERSION (\d+)", text)[1])
    unit = parse(options.cuda_home, "cuda.h")
    marks = chapters_by_line(text)
    functions = function_facts(unit, marks, internal_lines(text, marks))
    scalars, handles, callbacks = typedef_facts(unit)
    facts = {"cuda_version": version, "functions": functions, "scalars": scalars,
             "handles": handles, "callbacks": callbacks, "enums": enum_facts(unit),
             "structs": struct_facts(unit)}
    tag = f"{version // 1000}_{version % 1000 // 10}"
    write(options.out / f"cuda_driver_{tag}.json", facts)
    write(options.out / f"proc_address_{tag}.json",
          proc_address_facts(functions, introduction_versions(options.cuda_home)))


def write(path, value):
    path.write_text(json.dumps(value, indent=1, sort_keys=False) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
