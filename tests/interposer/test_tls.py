"""Goal: over TLS a session does what it does over a Unix socket, also across fork and at the end of a
program that uses OpenSSL itself; who is not believed, or does not encrypt, is told so in one line;
and a module that gpud has seen is not sent again.

Method: the probe against a gpud with keys of its own, over TCP; a Python program that imports ssl before
and after its first CUDA call and uses both in its exit handlers; the management library, loaded by hand.

usage: test_tls.py BUILD_FOLDER PROGRAMS
"""

import subprocess
import sys
import tempfile

from testing import Build, Gpud, run

NOT_INITIALIZED = 3

PYTHON_WITH_SSL = """
import atexit, ctypes, hashlib, sys
if sys.argv[1] == "before":
    import ssl
cuda = ctypes.CDLL("libcuda.so.1")
device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()

def ok(result):
    assert result == 0, result

def check(text):
    there = ctypes.create_string_buffer(len(text))
    ok(cuda.cuMemcpyHtoD_v2(memory, text, ctypes.c_size_t(len(text))))
    ok(cuda.cuMemcpyDtoH_v2(there, memory, ctypes.c_size_t(len(text))))
    assert there.raw == text

ok(cuda.cuInit(0))
ok(cuda.cuDeviceGet(ctypes.byref(device), 0))
ok(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
ok(cuda.cuCtxSetCurrent(context))
ok(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(4 << 20)))
import ssl
with open("/proc/self/maps") as maps:
    files = {line.split()[-1] for line in maps if "/libssl" in line or "/libcrypto" in line}
assert len(files) == 2, f"the program must have its own OpenSSL and see no other: {files}"

def at_exit():
    check(b"at the end" * 1000)
    check(bytes(3 << 20))
    ssl.create_default_context().set_ciphers("DEFAULT")
    print(hashlib.new("sha3_256", b"x").hexdigest()[:8])

atexit.register(at_exit)
check(bytes(range(256)) * 8192)
ssl.create_default_context()
"""


def check_session(build, tls):
    words = ["version", "init", "count", "ctx", "alloc", "small", "large", "pinned", "beside",
             "threads", "fork", "small", "large", "free", "release"]
    got, said = build.probe(*words, **tls)
    assert said == "", said
    assert got.pop("version") >= 13000 and got.pop("fork") == NOT_INITIALIZED, got
    assert set(got.values()) == {0}, got


def check_refusals(build, gpud, tls, insecure):
    wrong = "sha256:" + "ab" * 32
    for environment, words in (
        (tls | {"FARWARP_FINGERPRINT": wrong},
         ["is not the one that FARWARP_FINGERPRINT names", wrong, tls["FARWARP_FINGERPRINT"]]),
        ({"FARWARP_SERVER": gpud.tcp}, ["is not signed by an authority that this machine trusts"]),
        (tls | {"FARWARP_INSECURE": "1"}, ["takes only encrypted connections"]),
        (tls | {"FARWARP_SERVER": insecure.tcp}, ["does not encrypt", "--insecure"]),
    ):
        got, said = build.probe("init", "count", **environment)
        assert got["init"] != 0 and got["count"] != 0, got
        assert said.count("\n") == 1 and environment["FARWARP_SERVER"] in said, said
        assert all(word in said for word in words), (words, said)
    got, said = build.probe("init", "count", FARWARP_SERVER=insecure.tcp, FARWARP_INSECURE="1")
    assert (got, said) == ({"init": 0, "count": 0}, ""), (got, said)


def check_python(build, tls):
    for order in ("before", "after"):
        done = run(["/usr/bin/python3", "-c", PYTHON_WITH_SSL, order], build.preloaded(**tls))
        assert (done.returncode, done.stderr) == (0, ""), (order, done)
        assert len(done.stdout.split()) == 1, done


def check_management(build, gpud, tls):
    """nvmlInit, a count, nvmlShutdown, twice; the reason of a failure is said once."""
    program = """
import ctypes, ssl
nvml = ctypes.CDLL("libnvidia-ml.so.1")
count = ctypes.c_uint()
for _ in range(2):
    print("init", nvml.nvmlInit_v2())
    print("count", nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)), count.value)
    nvml.nvmlShutdown()
"""
    def ask(**environment):
        return run(["/usr/bin/python3", "-c", program],
                   build.environment(LD_LIBRARY_PATH=build.links, **environment))
    for environment in (tls, {"FARWARP_SERVER": gpud.server}):
        done = ask(**environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout == "init 0\ncount 0 1\n" * 2, done
    done = ask(**tls | {"FARWARP_FINGERPRINT": "sha256:" + "00" * 32})
    assert done.returncode == 0 and done.stdout.count("init 9\n") == 2, done
    assert done.stderr.count("\n") == 1, done
    assert done.stderr.startswith("farwarp: The certificate of the gpud at " + gpud.tcp), done


def check_content(build, gpud, tls):
    """A module that one process has sent is not sent by the next, over TCP; over a Unix socket it is."""
    program = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
device, context, module, function = ctypes.c_int(), *(ctypes.c_void_p() for _ in range(3))

def ok(result):
    assert result == 0, result

ok(cuda.cuInit(0))
ok(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
lines = ["// line %d" % i for i in range(20000)]
ptx = "\\n".join([".version 8.0", ".target sm_70", ".address_size 64", *lines,
                  ".visible .entry nothing() { ret; }"])
ok(cuda.cuModuleLoadData(ctypes.byref(module), ptx.encode()))
ok(cuda.cuModuleGetFunction(ctypes.byref(function), module, b"nothing"))
ok(cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None))
ok(cuda.cuCtxSynchronize())
"""
    for environment, known in ((tls, False), (tls, True), (tls, True),
                               ({"FARWARP_SERVER": gpud.server}, False)):
        done = run(["/usr/bin/python3", "-c", program],
                   build.preloaded(FARWARP_STATS="1", **environment))
        assert done.returncode == 0, done
        assert ("KiB of modules that gpud had" in done.stderr) == known, (known, done.stderr)


def main():
    build = Build(*sys.argv[1:3])
    with tempfile.TemporaryDirectory(prefix="farwarp-test-") as folder:
        said = subprocess.run([build.folder / "bin/gpud", "init", "--folder", folder], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        trust = dict([said.strip().split("=", 1)])
        tcp = ["--listen", "tcp:127.0.0.1:0"]
        with (Gpud(build, *tcp, "--tls-folder", folder) as gpud,
              Gpud(build, *tcp, "--insecure") as insecure):
            tls = {"FARWARP_SERVER": gpud.tcp, **trust}
            check_session(build, tls)
            check_refusals(build, gpud, tls, insecure)
            if build.preloads:
                check_python(build, tls)
                check_management(build, gpud, tls)
                check_content(build, gpud, tls)


main()
