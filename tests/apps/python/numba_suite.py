"""Parts of numba-cuda's own tests, which come with its package: one line for each test.

    numba_suite.py PART | MODULE...
"""

import importlib
import os
import sys
import unittest

# Not here: tests that want more packages, a compiler or several GPUs, or that look at machine code; and
# test_cuda_memory and test_deallocations, which register memory of the heap: gpud has to refuse that when the worker
# has something of its own at that address.
PARTS = {
    "driver": """
    cudadrv.test_array_attr cudadrv.test_context_stack cudadrv.test_cuda_array_slicing
    cudadrv.test_cuda_auto_context cudadrv.test_cuda_devicerecord cudadrv.test_cuda_ndarray
    cudadrv.test_detect cudadrv.test_emm_plugins cudadrv.test_events
    cudadrv.test_host_alloc cudadrv.test_init cudadrv.test_inline_ptx cudadrv.test_is_fp16
    cudadrv.test_linkable_code cudadrv.test_linker cudadrv.test_managed_alloc
    cudadrv.test_module_callbacks cudadrv.test_nvrtc cudadrv.test_nvvm_driver cudadrv.test_pinned
    cudadrv.test_profiler cudadrv.test_reset_device cudadrv.test_runtime cudadrv.test_select_device
    cudadrv.test_streams cudapy.test_multithreads
    """,
    "kernels": """
    cudapy.test_boolean cudapy.test_complex_kernel cudapy.test_constmem
    cudapy.test_enums cudapy.test_exception
    cudapy.test_forall cudapy.test_idiv cudapy.test_laplace cudapy.test_localmem
    cudapy.test_matmul cudapy.test_montecarlo cudapy.test_powi cudapy.test_random
    cudapy.test_record_dtype cudapy.test_reduction cudapy.test_sm cudapy.test_sync cudapy.test_transpose
    cudapy.test_vectorize cudapy.test_warp_ops
    """,
}


class Lines(unittest.TestResult):
    """Prints a line when a test is over. `out` is apart from what tests and kernels print."""

    def __init__(self, out):
        super().__init__()
        self.out = out
        self.failed_parts = {}

    def say(self, test, outcome):
        name = test.id().replace("numba.cuda.tests.", "").replace("numba_cuda.", "").replace(" ", "_")
        print(name, outcome, file=self.out, flush=True)

    def addSuccess(self, test):
        part = self.failed_parts.pop(test.id(), None)
        self.say(test, "ok -" if part is None else f"failed {part}")

    def addSkip(self, test, reason):
        self.say(test, "ok skipped")

    def addExpectedFailure(self, test, err):
        self.say(test, "ok as expected")

    def addUnexpectedSuccess(self, test):
        self.say(test, "failed unexpected success")

    def addFailure(self, test, err):
        self.say(test, f"failed {self.words(err)}")

    def addError(self, test, err):
        self.addFailure(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.failed_parts[test.id()] = self.words(err)

    def stopTest(self, test):
        part = self.failed_parts.pop(test.id(), None)
        if part is not None:
            self.say(test, f"failed {part}")
        super().stopTest(test)

    @staticmethod
    def words(err):
        lines = [line for line in str(err[1]).splitlines() if line.strip()]
        return f"{err[0].__name__}: {lines[0][:200] if lines else ''}"


def main():
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from numba import cuda
    package = importlib.import_module("numba.cuda.tests").__name__ if cuda else ""
    part = PARTS.get(sys.argv[1])
    for name in part.split() if part else sys.argv[1:]:
        module = importlib.import_module(f"{package}.{name}")
        unittest.defaultTestLoader.loadTestsFromModule(module).run(Lines(out))


if __name__ == "__main__":  # some tests start processes, which import this again
    main()
