"""libcudart itself, called by ctypes, in the version that the environment brings.

A kernel is registered as nvcc's code registers it, so that the way of its image to the driver, which
changed with the runtime's versions, is part of the test. Nothing else initialises the driver.
"""

import ctypes
import pathlib
import struct
import sys

import numpy
from cases import case, main

PTX = b"""
.version 6.4
.target sm_50
.address_size 64
.visible .global .align 4 .u32 bias = 5;
.visible .entry add_bias(.param .u64 values, .param .u32 count) {
  .reg .pred %p; .reg .b32 %r<7>; .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [values]; ld.param.u32 %r1, [count];
  mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;
  mad.lo.s32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p, %r5, %r1;
  @%p ret;
  cvta.to.global.u64 %rd1, %rd1;
  mul.wide.u32 %rd2, %r5, 4; add.u64 %rd3, %rd1, %rd2;
  ld.global.u32 %r6, [%rd3]; ld.global.u32 %r4, [bias]; add.u32 %r6, %r6, %r4;
  st.global.u32 [%rd3], %r6;
  ret;
}
"""


class Runtime:
    """The one libcudart of the environment; calls that fail raise."""

    def __init__(self):
        for folder in map(pathlib.Path, sys.path):
            for library in sorted(folder.glob("nvidia/*/lib/libcudart.so.*")):
                self.library = ctypes.CDLL(str(library))
                return
        raise RuntimeError("No libcudart is below nvidia/ in any folder of sys.path.")

    def __getattr__(self, name):
        function = getattr(self.library, name)

        def call(*arguments):
            if result := function(*arguments):
                self.library.cudaGetErrorName.restype = ctypes.c_char_p
                raise RuntimeError(f"{name}: {self.library.cudaGetErrorName(result).decode()}")
        return call


runtime = Runtime()
TO_DEVICE, TO_HOST = 1, 2


def fatbin(ptx):
    """A fatbin with one entry: PTX, not compressed, for compute capability 5.0."""
    text = ptx + b"\0" * (8 - len(ptx) % 8)
    entry = struct.pack("<HHIQIIHHIIIQQQ", 1, 0x0101, 64, len(text), 0, 0, 4, 6, 50, 0, 0, 0x11, 0, 0)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entry) + len(text)) + entry + text


class Registered:
    """PTX's kernel and variable, known to the runtime under addresses of our own."""

    def __init__(self):
        self.image = ctypes.create_string_buffer(fatbin(PTX))
        self.wrapper = (ctypes.c_uint64 * 3)(0x1466243B1, ctypes.addressof(self.image), 0)
        self.kernel, self.variable = ctypes.c_int(), ctypes.c_int()
        register = {name: getattr(runtime.library, f"__cudaRegister{name}")
                    for name in ("FatBinary", "Function", "Var", "FatBinaryEnd")}
        register["FatBinary"].restype = ctypes.c_void_p
        handle = ctypes.c_void_p(register["FatBinary"](ctypes.byref(self.wrapper)))
        register["Function"](handle, ctypes.byref(self.kernel), b"add_bias", b"add_bias", -1, None, None,
                             None, None, None)
        register["Var"](handle, ctypes.byref(self.variable), b"bias", b"bias", 0, ctypes.c_size_t(4), 0, 0)
        register["FatBinaryEnd"](handle)


def allocate(nbytes):
    address = ctypes.c_void_p()
    runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(nbytes))
    return address


def upload(host):
    address = allocate(host.nbytes)
    runtime.cudaMemcpy(address, ctypes.c_void_p(host.ctypes.data), ctypes.c_size_t(host.nbytes), TO_DEVICE)
    return address


def download(address, host):
    runtime.cudaMemcpy(ctypes.c_void_p(host.ctypes.data), address, ctypes.c_size_t(host.nbytes), TO_HOST)
    return host


class Dim3(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


registered = Registered()


@case
def versions():
    found = ctypes.c_int()
    runtime.cudaRuntimeGetVersion(ctypes.byref(found))
    driver = ctypes.c_int()
    runtime.cudaDriverGetVersion(ctypes.byref(driver))
    return found.value, driver.value


@case
def a_registered_kernel():
    host = numpy.arange(1000, dtype=numpy.uint32)
    device = upload(host)
    values = (ctypes.c_void_p(device.value), ctypes.c_uint(host.size))
    pointers = (ctypes.c_void_p * 2)(*map(ctypes.addressof, values))
    runtime.cudaLaunchKernel(ctypes.byref(registered.kernel), Dim3(8, 1, 1), Dim3(128, 1, 1), pointers,
                             ctypes.c_size_t(0), None)
    runtime.cudaDeviceSynchronize()
    found = download(device, numpy.empty_like(host))
    numpy.testing.assert_array_equal(found, host + 5)
    return found


@case
def a_registered_variable():
    value = ctypes.c_int(11)
    runtime.cudaMemcpyToSymbol(ctypes.byref(registered.variable), ctypes.byref(value), ctypes.c_size_t(4),
                               ctypes.c_size_t(0), TO_DEVICE)
    address, size = ctypes.c_void_p(), ctypes.c_size_t()
    runtime.cudaGetSymbolAddress(ctypes.byref(address), ctypes.byref(registered.variable))
    runtime.cudaGetSymbolSize(ctypes.byref(size), ctypes.byref(registered.variable))
    found = download(address, numpy.zeros(1, dtype=numpy.uint32))
    assert found[0] == 11 and size.value == 4
    return found


@case
def kernel_attributes_and_occupancy():
    attributes = (ctypes.c_byte * 512)()
    runtime.cudaFuncGetAttributes(attributes, ctypes.byref(registered.kernel))
    blocks = ctypes.c_int()
    runtime.cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        ctypes.byref(blocks), ctypes.byref(registered.kernel), 128, ctypes.c_size_t(0))
    assert blocks.value > 0
    return blocks.value


@case
def streams_events_and_asynchronous_copies():
    stream, begin, end = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    runtime.cudaStreamCreateWithFlags(ctypes.byref(stream), 1)
    for event in (begin, end):
        runtime.cudaEventCreate(ctypes.byref(event))
    device, nbytes = allocate(1 << 20), ctypes.c_size_t(1 << 20)
    host = numpy.zeros(1 << 20, dtype=numpy.uint8)
    runtime.cudaEventRecord(begin, stream)
    runtime.cudaMemsetAsync(device, 3, nbytes, stream)
    runtime.cudaEventRecord(end, stream)
    runtime.cudaMemcpyAsync(ctypes.c_void_p(host.ctypes.data), device, nbytes, TO_HOST, stream)
    runtime.cudaStreamSynchronize(stream)
    elapsed = ctypes.c_float(-1)
    runtime.cudaEventElapsedTime(ctypes.byref(elapsed), begin, end)
    assert elapsed.value >= 0 and (host == 3).all()
    return host


@case
def pinned_memory_and_pointer_attributes():
    pinned = ctypes.c_void_p()
    runtime.cudaHostAlloc(ctypes.byref(pinned), ctypes.c_size_t(4096), 0)
    kinds = []
    for address in (pinned, allocate(64)):
        attributes = (ctypes.c_int * 64)()
        runtime.cudaPointerGetAttributes(attributes, address)
        kinds.append(attributes[0])
    runtime.cudaFreeHost(pinned)
    assert kinds == [1, 2]
    return kinds


@case
def stream_ordered_memory():
    address = ctypes.c_void_p()
    runtime.cudaMallocAsync(ctypes.byref(address), ctypes.c_size_t(1 << 16), None)
    runtime.cudaMemsetAsync(address, 9, ctypes.c_size_t(1 << 16), None)
    found = download(address, numpy.zeros(1 << 16, dtype=numpy.uint8))
    runtime.cudaFreeAsync(address, None)
    assert (found == 9).all()
    return found


@case
def reset_and_again():
    runtime.cudaDeviceReset()
    found = download(upload(numpy.arange(50)), numpy.zeros(50, dtype=int))
    numpy.testing.assert_array_equal(found, numpy.arange(50))
    return found


main()
