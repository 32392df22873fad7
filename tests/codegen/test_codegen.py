"""Goal: the generator reads the spec right, and every mistake in the spec is found and named.

Method: the committed spec must be without a fault; then one fault at a time is put into a copy of
it, and the sentence that names it must appear. The layouts, the outputs and --show are checked for
all calls.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CODEGEN = REPOSITORY / "codegen"
sys.path.insert(0, str(CODEGEN))

import generate  # noqa: E402
import import_headers  # noqa: E402
import lint  # noqa: E402
import tests_of  # noqa: E402
import show  # noqa: E402
from model import Model, SpecError, parse_ids  # noqa: E402
from plan import Plan  # noqa: E402


class CommittedSpec(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.plan = Plan(Model())

    def test_has_no_fault(self):
        self.assertEqual(lint.run(self.plan, REPOSITORY, None), [])

    def test_has_every_function_of_the_driver(self):
        self.assertEqual(len(self.plan.functions), 637)
        undeclared = [f.name for f in self.plan.functions if not f.declared]
        self.assertEqual(undeclared, ["cuProfilerInitialize", "cuProfilerStart", "cuProfilerStop"])

    def test_gives_per_thread_forms_the_meaning_of_their_function(self):
        form = self.plan.model.by_name["cuMemcpyHtoD_v2_ptds"]
        self.assertEqual((form.call_class, form.plain), ("async", "cuMemcpyHtoD_v2"))
        self.assertEqual(self.plan.model.by_name["cuMemcpyHtoD_v2"].per_thread_form, form.name)

    def test_gives_superseded_versions_the_meaning_of_the_newer_one(self):
        old = {o.function.name: o for o in self.plan.old_versions}
        alloc = old["cuMemAlloc"]
        self.assertEqual((alloc.newer.name, alloc.undo), ("cuMemAlloc_v2", "cuMemFree_v2"))
        self.assertEqual(alloc.results, [("dptr", [])])
        self.assertFalse(alloc.saturates)
        self.assertTrue(old["cuMemGetInfo"].saturates)
        self.assertEqual(old["cuMemcpyHtoD"].arguments, ["dstDevice", "srcHost", "ByteCount"])
        self.assertIn("srcDevice", old["cuMemcpy2D"].structs[0][1])
        # Where the newer version is not supported, the old one is not either.
        by_name = self.plan.model.by_name
        self.assertTrue(by_name["cuGraphicsResourceGetMappedPointer"].unsupported)

    def test_finds_the_tests_of_a_function(self):
        said = tests_of.calls_in('EXPECT_OK(cuMemFree_v2(p)); // cuCtxCreate_v2\n"cuMemAlloc_v2"')
        self.assertEqual(said, {"cuMemFree_v2"})
        names = tests_of.of_function({"cuInit": ["b", "a", "initialization"]},
                                     self.plan.model.by_name["cuInit"])
        self.assertEqual(names, ["initialization", "a", "b"])
        self.assertEqual(tests_of.shown(["a", "b", "c", "d"]), "a, b, c and 1 more")

    def test_layouts_do_not_overlap_and_are_aligned(self):
        for record in self.plan.records:
            end = 0
            for field in sorted(record.fields, key=lambda f: f.offset):
                align = 8 if field.wire == "struct" else field.bytes
                self.assertGreaterEqual(field.offset, end, record.name)
                self.assertEqual(field.offset % align, 0, f"{record.name}.{field.name}")
                end = field.offset + field.bytes
            self.assertLessEqual(end, record.fixed_bytes, record.name)
            self.assertLess(record.fixed_bytes - end, 8, record.name)
            self.assertEqual(record.fixed_bytes % 8, 0, record.name)

    def test_facts_hold_no_text_of_the_headers(self):
        def strings(value):
            if isinstance(value, dict):
                for key, inner in value.items():
                    yield key
                    yield from strings(inner)
            elif isinstance(value, list):
                for inner in value:
                    yield from strings(inner)
            elif isinstance(value, str):
                yield value
        for path in (CODEGEN / "facts").glob("*.json"):
            for text in strings(json.loads(path.read_text())):
                self.assertLess(len(text), 120, text)
                self.assertLess(text.count(" "), 6, text)

    def test_show_knows_every_call(self):
        for function in self.plan.functions:
            text = show.describe(self.plan, function.name)
            self.assertIn(f"number    {function.number}\n", text)
        self.assertIn("CUDA_ERROR_NOT_SUPPORTED", show.describe(self.plan, "cuGraphicsMapResources"))
        self.assertIn("Near: cuMemAlloc", show.describe(self.plan, "cuMemAllocate"))
        shown = show.describe(self.plan, "cuMemAlloc_v2")
        for part in ("CUdeviceptr* dptr", "sync", "from  3020", "bytes: u64", "address: u64",
                     "gpud/worker/calls/memory.cc"):
            self.assertIn(part, shown)

    def test_outputs_name_their_source_and_are_the_same_every_time(self):
        texts = generate.render(self.plan)
        for name, text in texts.items():
            first = text.splitlines()[0]
            self.assertRegex(first, r"^// Generated by codegen/generate.py from .*spec")
            self.assertRegex(name, r"_gen(_test)?\.(h|cc)$")
        self.assertEqual(texts, generate.render(Plan(Model())))


class Outputs(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def run_generator(self, **options):
        defaults = dict(out=None, coverage=False, check=False, show=None, assign_ids=False,
                        list=False, cuda_home=None)
        with contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()) as text:
            result = generate.run(argparse.Namespace(**{**defaults, **options}))
        return result, text.getvalue()

    def test_check_finds_a_stale_output(self):
        out = self.folder / "gen"
        self.assertEqual(self.run_generator(check=True, out=out)[0], 1)
        self.assertEqual(self.run_generator(out=out)[0], 0)
        self.assertEqual(self.run_generator(check=True, out=out), (0, ""))
        changed = out / "handle_types_gen.h"
        changed.write_text(changed.read_text() + "\n")
        result, text = self.run_generator(check=True, out=out)
        self.assertEqual(result, 1)
        self.assertIn("handle_types_gen.h is not what the spec says", text)
        self.assertNotIn("wire_records", text)

    def test_files_that_do_not_change_are_not_touched(self):
        self.run_generator(out=self.folder)
        before = {p.name: p.stat().st_mtime_ns for p in self.folder.iterdir()}
        os.utime(self.folder / "wire_records_gen.h", ns=(1, 1))
        self.run_generator(out=self.folder)
        after = {p.name: p.stat().st_mtime_ns for p in self.folder.iterdir()}
        self.assertEqual(after, {**before, "wire_records_gen.h": 1})


class Faults(unittest.TestCase):
    """One fault in a copy of the spec, and what must be said about it."""

    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copytree(CODEGEN / "spec", self.root / "spec")
        shutil.copytree(CODEGEN / "facts", self.root / "facts")

    def edit(self, path, old, new):
        file = self.root / path
        text = file.read_text()
        self.assertIn(old, text, path)
        file.write_text(text.replace(old, new, 1))

    def entry(self, chapter, name, text):
        """Replaces the table of a function."""
        file = self.root / f"spec/driver/{chapter}.toml"
        before, mark, after = file.read_text().partition(f"[{name}]\n")
        self.assertTrue(mark, name)
        rest = re.search(r"^(\[|#)", after, re.M)
        file.write_text(before + text + "\n\n" + (after[rest.start():] if rest else ""))

    def expect(self, sentence):
        try:
            problems = lint.run(Plan(Model(self.root)), pathlib.Path("/nonexistent"), None)
        except SpecError as error:
            problems = error.problems
        self.assertTrue(any(sentence in problem for problem in problems),
                        f"{sentence!r} in {problems}")

    def test_copy_is_without_fault(self):
        self.assertEqual(lint.run(Plan(Model(self.root)), pathlib.Path("/nonexistent"), None), [])

    def test_function_without_entry(self):
        self.entry("stream", "cuStreamQuery", "")
        self.expect("cuStreamQuery has no entry")

    def test_entry_without_function(self):
        self.edit("spec/driver/stream.toml", "[cuStreamQuery]",
                  "[cuStreamFrobnicate]\nclass = \"sync\"\n\n[cuStreamQuery]")
        self.expect("cuStreamFrobnicate in stream.toml is no function of the CUDA driver")

    def test_two_entries(self):
        self.edit("spec/driver/graphics_interop.toml", '"cuGraphicsMapResources",',
                  '"cuGraphicsMapResources", "cuInit",')
        self.expect("cuInit has two entries")

    def test_neither_class_nor_reason(self):
        self.entry("stream", "cuStreamQuery", "[cuStreamQuery]\ncontext = false")
        self.expect("cuStreamQuery in stream.toml needs either a class or a reason")

    def test_class_that_is_none(self):
        self.entry("stream", "cuStreamQuery", "[cuStreamQuery]\nclass = \"lazy\"")
        self.expect("cuStreamQuery has the class 'lazy'")

    def test_key_that_is_none(self):
        self.entry("stream", "cuStreamQuery",
                   "[cuStreamQuery]\nclass = \"sync\"\nasynchronous = true")
        self.expect("unknown keys: asynchronous")

    def test_reason_that_is_no_sentence(self):
        self.edit("spec/driver/graph.toml",
                  "External semaphores belong to graphics libraries on the client's machine.", "todo")
        self.expect("is no sentence: 'todo'")

    def test_title_missing(self):
        self.edit("spec/driver/graph.toml", 'title = "Graph Management"', "")
        self.expect("graph.toml has no title")

    def test_parameter_that_is_none(self):
        self.edit("spec/driver/context.toml", "params.leastPriority.null", "params.least.null")
        self.expect("has no parameter least; it has greatestPriority, leastPriority")

    def test_key_of_a_parameter_that_is_none(self):
        self.edit("spec/driver/stream.toml", "params.phStream.creates", "params.phStream.makes")
        self.expect("params.phStream of cuStreamCreate has unknown keys: makes")

    def test_handle_result_that_nobody_creates(self):
        self.entry("event", "cuEventCreate", "[cuEventCreate]\nclass = \"sync\"")
        self.expect("What cuEventCreate does with its parameter phEvent")

    def test_pointer_that_cannot_be_derived(self):
        self.entry("memory", "cuMemcpyHtoD_v2", "[cuMemcpyHtoD_v2]\nclass = \"async\"")
        self.expect("What cuMemcpyHtoD_v2 does with its parameter srcHost (const void *)")

    def test_result_of_an_asynchronous_call(self):
        self.entry("memory", "cuMemGetInfo_v2", "[cuMemGetInfo_v2]\nclass = \"async\"")
        self.expect("cuMemGetInfo_v2 is async, so it can have no reply fields")

    def test_per_thread_form_without_a_stream(self):
        self.entry("memory", "cuMemsetD8_v2", "[cuMemsetD8_v2]\nclass = \"async\"")
        self.expect("cuMemsetD8_v2 has a per-thread form and no stream")

    def test_per_thread_form_of_other_parameters(self):
        self.edit("spec/driver/memory.toml", 'per_thread = "cuMemsetD8Async"',
                  'per_thread = "cuMemsetD16Async"')
        self.expect("per_thread of cuMemsetD8_v2 must name a function with the same parameters")

    def test_waiting_without_a_worker_hook(self):
        self.entry("event", "cuEventSynchronize",
                   "[cuEventSynchronize]\nclass = \"sync\"\nwaits = true")
        self.expect("cuEventSynchronize waits, so its worker handler must be hand-written")

    def test_way_via_a_local_call(self):
        self.edit("spec/driver/module.toml", 'via = ["cuModuleLoadDataEx"]', 'via = ["cuInit"]')
        self.expect("goes via cuInit, which does not cross the wire")

    def test_hook_that_is_none(self):
        self.edit("spec/driver/library.toml", 'hook = ["client"]\nnote',
                  'hook = ["client", "gpu"]\nnote')
        self.expect("it may hold \"client\" and \"worker\"")

    def test_hook_of_a_local_call(self):
        self.entry("stream", "cuStreamIsCapturing",
                   "[cuStreamIsCapturing]\nclass = \"local\"\nhook = [\"client\"]")
        self.expect("cuStreamIsCapturing is local, so its client body is always hand-written")

    def test_wire_of_a_generated_body(self):
        self.entry("stream", "cuStreamQuery",
                   "[cuStreamQuery]\nclass = \"sync\"\nwire.args = [\"x: u32\"]")
        self.expect("cuStreamQuery gives wire.args, so both its bodies must be hand-written")

    def test_wire_type_that_is_none(self):
        self.edit("spec/driver/memory.toml", '"bytes: u64"', '"bytes: size_t"')
        self.expect("cuMemAlloc_v2 has the unknown type 'size_t'")

    def test_wire_id_of_no_type(self):
        self.edit("spec/driver/execution.toml", "id<stream>", "id<river>")
        self.expect("unknown handle type 'river'")

    def test_handle_that_does_not_cross_the_wire(self):
        self.edit("spec/driver/context.toml", '"dev: i32", "context: id<context>"', '"dev: i32"')
        self.expect("cuCtxCreate_v2 has the parameter pctx, a context, but no id of that type")

    def test_two_fields_of_one_name(self):
        self.edit("spec/driver/memory.toml", '"src: u64", "bytes: u64"', '"src: u64", "src: u64"')
        self.expect("has two fields of the same name")

    def test_structure_that_nobody_allowed(self):
        self.edit("spec/structs.toml", "[CUlaunchAttribute]", "[CUlaunchConfig]")
        self.expect("CUlaunchAttribute crosses the wire but is not in structs.toml")

    def test_structure_with_pointers_that_nobody_guards(self):
        file = self.root / "spec/structs.toml"
        file.write_text("[CUlaunchAttribute]\n")
        self.expect("CUlaunchAttribute holds pointers or handles")

    def test_handle_type_without_a_result(self):
        self.edit("spec/handles.toml", "CUDA_ERROR_INVALID_CONTEXT", "CUDA_ERROR_NO_SUCH_CONTEXT")
        self.expect("unknown result 'CUDA_ERROR_NO_SUCH_CONTEXT'")

    def test_handle_types_with_one_number(self):
        self.edit("spec/handles.toml", "number = 2\n", "number = 1\n")
        self.expect("The numbers in handles.toml must be different")

    def test_number_missing(self):
        self.edit("spec/ids.lock", "cuStreamQuery = ", "# ")
        self.expect("cuStreamQuery has no number in ids.lock")

    def test_number_twice(self):
        self.edit("spec/ids.lock", "cuArrayCreate = 5", "cuArrayCreate = 6")
        self.expect("not 1 to n, each once")

    def test_number_that_changed(self):
        before = {"cuInit": 1, "cuMemAlloc": 2, "cuOld": 3}
        self.assertEqual(list(lint.changed_ids(before, {"cuInit": 1, "cuMemAlloc": 2, "cuOld": 3,
                                                        "cuNew": 4})), [])
        said = list(lint.changed_ids(before, {"cuInit": 1, "cuMemAlloc": 5}))
        self.assertEqual(len(said), 2)
        self.assertIn("cuMemAlloc was 2 and is now 5", said[0])
        self.assertIn("cuOld was 3 and is now gone", said[1])

    def test_new_functions_get_the_next_numbers(self):
        self.edit("spec/ids.lock", "cuWaitExternalSemaphoresAsync_ptsz = 637\n", "")
        generate.assign_ids(self.root)
        ids = parse_ids((self.root / "spec/ids.lock").read_text())
        self.assertEqual(ids["cuWaitExternalSemaphoresAsync_ptsz"], 637)
        self.assertEqual(ids, parse_ids((CODEGEN / "spec/ids.lock").read_text()))

    def test_symbol_table_with_a_symbol_at_two_places(self):
        path = self.root / "facts/proc_address_13_0.json"
        rows = json.loads(path.read_text())
        for row in rows:
            if row["symbol"] == "cuCtxCreate_v4":
                row["version"] = 11040  # that of cuCtxCreate_v3
        path.write_text(json.dumps(rows))
        self.expect("have the same name, version and flavour")

    def test_mock_behaviour_of_no_call(self):
        self.edit("spec/mock.toml", '"cuDriverGetVersion"', '"cuDriverGetWeather"')
        self.expect("mock.toml names cuDriverGetWeather")


class Shapes(unittest.TestCase):
    """Parameters that no supported call has yet: the first one that does finds them working."""

    SHAPES = [  # chapter, entry
        ("unified_addressing", '[cuMemAdvise_v2]\nclass = "async"'),  # a structure by value
        ("memory", '[cuArray3DCreate_v2]\nclass = "sync"\n'  # a structure by pointer
                   'params.pHandle.creates = true'),
        ("memory", '[cuIpcOpenEventHandle]\nclass = "sync"\nparams.phEvent.creates = true'),
        ("texture_object", '[cuTexObjectDestroy]\nclass = "async"\n'  # a handle that is a number
                           'params.texObject.destroys = true'),
        ("module", '[cuModuleGetTexRef]\nclass = "sync"\n'  # a string
                   'params.pTexRef.creates = true'),
        ("texture_reference", '[cuTexRefSetBorderColor]\nclass = "async"\n'  # an array
                              'params.pBorderColor = { dir = "in", count = "4" }'),
        ("texture_reference", '[cuTexRefGetAddressMode]\nclass = "sync"'),  # an enumeration back
    ]

    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copytree(CODEGEN / "spec", self.root / "spec")
        shutil.copytree(CODEGEN / "facts", self.root / "facts")
        with open(self.root / "spec/structs.toml", "a") as file:
            for struct in ("CUmemLocation", "CUDA_ARRAY3D_DESCRIPTOR", "CUipcEventHandle"):
                if f"[{struct}]" not in (CODEGEN / "spec/structs.toml").read_text():
                    file.write(f"\n[{struct}]\n")
        for chapter, entry in self.SHAPES:
            self.support(chapter, entry)

    def support(self, chapter, entry):
        """Takes a function out of the unsupported ones, if it is there, and gives it the entry."""
        name = re.match(r"\[(\w+)\]", entry)[1]
        path = self.root / f"spec/driver/{chapter}.toml"
        text = path.read_text()
        if f"[{name}]" in text:
            return  # supported by now
        text = re.sub(rf'"{name}"(, *)?', "", text)
        title, _, rest = text.partition("\n\n")
        path.write_text(f"{title}\n\n{entry}\n\n{rest}")

    def test_they_compile(self):
        compiler = os.environ.get("FARWARP_TEST_CXX")
        home = os.environ.get("FARWARP_TEST_CUDA_HOME")
        if not compiler or not home:
            self.skipTest("FARWARP_TEST_CXX and FARWARP_TEST_CUDA_HOME are not set")
        texts = generate.render(Plan(Model(self.root)))
        for name, text in texts.items():
            (self.root / name).write_text(text)
        for name in ("client_calls_gen.cc", "worker_dispatch_gen.cc", "wire_records_gen.cc",
                     "wire_records_gen_test.cc"):
            subprocess.run([compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Werror",
                            "-D__CUDA_API_VERSION_INTERNAL",
                            f"-I{REPOSITORY}/tests/codegen/loopback",
                            f"-I{self.root}", f"-I{REPOSITORY}", "-isystem", f"{home}/include",
                            str(self.root / name)], check=True)

    def test_the_worker_checks_the_count_of_an_array(self):
        text = generate.render(Plan(Model(self.root)))["worker_dispatch_gen.cc"]
        self.assertIn("if (args.pBorderColor.size() != static_cast<size_t>(4))", text)


class Import(unittest.TestCase):
    """The rule that pairs versions and symbols, on names made up for it."""

    def test_newest_version_belongs_to_newest_symbol(self):
        functions = [{"name": n} for n in ("cuA_v2", "cuA", "cuA_v2_ptsz")]
        rows = import_headers.proc_address_facts(
            functions, {("cuA", ""): {3020, 2000}, ("cuA", "_ptsz"): {7000}})
        self.assertEqual({r["symbol"]: (r["base"], r["version"], r["flavour"]) for r in rows},
                         {"cuA": ("cuA", 2000, ""), "cuA_v2": ("cuA", 3020, ""),
                          "cuA_v2_ptsz": ("cuA", 7000, "_ptsz")})

    def test_versions_that_do_not_match_are_an_error(self):
        with self.assertRaisesRegex(SystemExit, "cuA has 1 symbols"):
            import_headers.proc_address_facts([{"name": "cuA"}], {})

    def test_committed_facts_are_those_of_the_header(self):
        home = os.environ.get("FARWARP_TEST_CUDA_HOME", "")
        try:
            import clang.cindex  # noqa: F401
        except ImportError:
            self.skipTest("libclang for Python is not installed")
        if "#define CUDA_VERSION 13000" not in header_text(home):
            self.skipTest("the toolkit at hand is not CUDA 13.0")
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            sys.argv = ["import_headers.py", "--cuda-home", home, "--out", folder]
            import_headers.main()
            for path in (CODEGEN / "facts").glob("*.json"):
                self.assertEqual((pathlib.Path(folder) / path.name).read_text(), path.read_text())


def header_text(home):
    path = pathlib.Path(home) / "include/cuda.h"
    return path.read_text(errors="replace") if home and path.exists() else ""


if __name__ == "__main__":
    unittest.main()
