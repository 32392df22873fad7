"""Everything there is to know about one call, for `generate.py --show`."""

import difflib


def describe(plan, name):
    function = plan.model.by_name.get(name)
    if function is None:
        near = difflib.get_close_matches(name, plan.model.by_name, n=5)
        hint = f" Near: {', '.join(near)}." if near else ""
        return f"There is no driver function {name}.{hint}"
    lines = signature(function) + status(plan, function) + versions(plan, function)
    record_name = function.plain if function.remote else ""
    for prefix in ("Args", "Reply"):
        record = plan.record_of.get(f"{prefix}_{record_name}")
        if record:
            lines += layout(record)
    return "\n".join(lines + files(plan, function))


def signature(function):
    params = ", ".join(f"{p.type.declaration} {p.name}" for p in function.params)
    lines = [f"CUresult {function.name}({params})"]
    if not function.declared:
        lines.append("  cuda.h does not declare it")
    return lines + ["", f"chapter   {function.chapter}", f"number    {function.number}"]


def status(plan, function):
    if function.unsupported:
        lines = [f"class     not supported: {function.unsupported}"]
    else:
        lines = [f"class     {function.call_class}"]
        lines += [f"hook      {', '.join(hooks(function))}"]
        spec = function.spec
        if spec.get("via"):
            lines.append(f"via       {', '.join(spec['via'])}")
        if spec.get("waits"):
            lines.append("waits     the client waits while the worker goes on")
        lines.append(f"cpu       {'no: ' + spec['cpu'] if spec.get('cpu') else 'yes'}")
        if spec.get("note"):
            lines.append(f"note      {spec['note']}")
    if function.derived_from:
        lines.append(f"entry     follows {function.derived_from}")
    if function.per_thread_form:
        lines.append(f"form      {function.per_thread_form} for per-thread default streams")
    return lines


def hooks(function):
    found = [side for side in ("client", "worker") if getattr(function, f"{side}_hook")]
    return found or ["none; generated"]


def versions(plan, function):
    lines = ["", f"cuGetProcAddress(\"{function.base}\"):"]
    family = [f for f in plan.functions if f.base == function.base]
    for member in sorted(family, key=lambda f: (f.flavour, f.version)):
        mark = "*" if member is function else " "
        flags = "per-thread" if member.flavour else ""
        lines.append(f" {mark} from {member.version:>5}  {flags:<10}  {member.name}")
    return lines


def layout(record):
    lines = ["", f"{record.name}: {record.fixed_bytes} bytes"
             f"{' and the variable fields' if record.tails else ''}"]
    for field in sorted(record.fields, key=lambda f: f.offset):
        kind = f"{field.wire}<{field.of}>" if field.of else field.wire
        what = f"count, u32, of {field.name}: {kind}" if field.tail else f"{field.name}: {kind}"
        lines.append(f"  {field.offset:>4}  {what}")
    for field in record.tails:
        lines.append(f"     +  {field.name}, padded to 8 bytes")
    return lines


def files(plan, function):
    chapter = function.chapter
    lines = ["", f"spec      codegen/spec/driver/{chapter}.toml"]
    if function.unsupported:
        return lines + ["client    client_calls_gen.cc (CUDA_ERROR_NOT_SUPPORTED)"]
    client = f"interposer/calls/{chapter}.cc" if function.client_hook else "client_calls_gen.cc"
    lines.append(f"client    {client}")
    if function.remote:
        worker = "worker_dispatch_gen.cc"
        if function.worker_hook:
            worker = f"gpud/worker/calls/{chapter}.cc"
        lines.append(f"worker    {worker}")
    if function.on_cpu_device:
        lines.append(f"cpu       gpud/device/cpu/calls/{chapter}.cc")
    mock = "mock_driver_gen.cc"
    if function.plain in plan.mock_behaviours:
        mock = "codegen/mock/mock_behaviours.cc"
    return lines + [f"mock      {mock}"]
