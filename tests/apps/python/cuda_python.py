"""cuda.bindings of NVIDIA's cuda-python: the driver, the runtime and NVRTC, called from Python."""

import ctypes

import numpy
from cases import case, main
from cuda.bindings import driver, nvrtc, runtime

SOURCE = rb"""
__constant__ int offset;
extern "C" __global__ void saxpy(float a, const float* x, const float* y, float* out, size_t n) {
  const size_t at = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
  if (at < n) out[at] = a * x[at] + y[at];
}
extern "C" __global__ void add_offset(int* values, int n) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at < n) values[at] += offset;
}
extern "C" __global__ void sum_blocks(const int* in, int* out) {
  extern __shared__ int tile[];
  tile[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) tile[threadIdx.x] += tile[threadIdx.x + half];
  }
  if (threadIdx.x == 0) atomicAdd(out, tile[0]);
}
extern "C" __global__ void fault(int* where) { *where = 1; }
"""
TO_DEVICE = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
TO_HOST = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost


def ok(answer):
    """What a call returned beside its result, which must be success."""
    result, *rest = answer
    if int(result) != 0:
        raise RuntimeError(f"{type(result).__name__}.{result.name}")
    return rest[0] if len(rest) == 1 else tuple(rest)


def ptx():
    program = ok(nvrtc.nvrtcCreateProgram(SOURCE, b"kernels.cu", 0, [], []))
    ok(nvrtc.nvrtcCompileProgram(program, 1, [b"--gpu-architecture=compute_75"]))
    text = b"\0" * ok(nvrtc.nvrtcGetPTXSize(program))
    ok(nvrtc.nvrtcGetPTX(program, text))
    ok(nvrtc.nvrtcDestroyProgram(program))
    return text


def context():
    ok(driver.cuInit(0))
    device = ok(driver.cuDeviceGet(0))
    ok(driver.cuCtxSetCurrent(ok(driver.cuDevicePrimaryCtxRetain(device))))
    return device


class Kernels:
    """The kernels of SOURCE, loaded into the current context."""

    def __init__(self):
        context()
        self.module = ok(driver.cuModuleLoadData(ptx()))

    def __getattr__(self, name):
        return ok(driver.cuModuleGetFunction(self.module, name.encode()))


def upload(host):
    address = ok(runtime.cudaMalloc(host.nbytes))
    ok(runtime.cudaMemcpy(address, host.ctypes.data, host.nbytes, TO_DEVICE))
    return address


def download(address, like):
    host = numpy.empty_like(like)
    ok(runtime.cudaMemcpy(host.ctypes.data, address, host.nbytes, TO_HOST))
    return host


def launch(kernel, blocks, threads, values, types, shared=0, stream=0):
    ok(driver.cuLaunchKernel(kernel, blocks, 1, 1, threads, 1, 1, shared, stream, (values, types), 0))


@case
def versions():
    assert ok(runtime.cudaDriverGetVersion()) == ok(driver.cuDriverGetVersion())
    return ok(driver.cuDriverGetVersion()), ok(runtime.cudaRuntimeGetVersion())


@case
def device_properties():
    device = context()
    properties = ok(runtime.cudaGetDeviceProperties(0))
    name = ok(driver.cuDeviceGetName(256, device)).rstrip(b" \0")
    assert properties.name == name and bytes(properties.uuid.bytes) == ok(
        driver.cuDeviceGetUuid(device)).bytes
    attribute = driver.CUdevice_attribute
    return name, properties.major, properties.minor, properties.totalGlobalMem, [
        ok(driver.cuDeviceGetAttribute(which, device))
        for which in (attribute.CU_DEVICE_ATTRIBUTE_WARP_SIZE,
                      attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                      attribute.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)]


@case
def saxpy_with_driver_memory():
    kernels = Kernels()
    x, y = (numpy.arange(10001, dtype=numpy.float32) * k for k in (1, 3))
    addresses = [ok(driver.cuMemAlloc(x.nbytes)) for _ in range(3)]
    for address, host in zip(addresses, (x, y)):
        ok(driver.cuMemcpyHtoD(address, host.ctypes.data, host.nbytes))
    stream = ok(driver.cuStreamCreate(0))
    launch(kernels.saxpy, 40, 256, (2.0, *addresses, x.size),
           (ctypes.c_float, None, None, None, ctypes.c_size_t), stream=stream)
    out = numpy.empty_like(x)
    ok(driver.cuMemcpyDtoHAsync(out.ctypes.data, addresses[2], out.nbytes, stream))
    ok(driver.cuStreamSynchronize(stream))
    for address in addresses:
        ok(driver.cuMemFree(address))
    ok(driver.cuStreamDestroy(stream))
    numpy.testing.assert_array_equal(out, 2 * x + y)
    return out


@case
def parameters_as_an_array_of_addresses():
    kernels = Kernels()
    x = numpy.arange(999, dtype=numpy.float32)
    device = upload(x)
    values = (ctypes.c_float(5), ctypes.c_void_p(device), ctypes.c_void_p(device),
              ctypes.c_void_p(device), ctypes.c_size_t(x.size))
    addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    ok(driver.cuLaunchKernel(kernels.saxpy, 4, 1, 1, 256, 1, 1, 0, 0, ctypes.addressof(addresses), 0))
    found = download(device, x)
    numpy.testing.assert_array_equal(found, x * 6)
    return found


@case
def constants_of_a_module():
    kernels = Kernels()
    address, size = ok(driver.cuModuleGetGlobal(kernels.module, b"offset"))
    assert size == 4
    ok(driver.cuMemcpyHtoD(address, numpy.array([17], dtype=numpy.int32).ctypes.data, 4))
    host = numpy.arange(300, dtype=numpy.int32)
    device = upload(host)
    launch(kernels.add_offset, 2, 256, (device, host.size), (ctypes.c_void_p, ctypes.c_int))
    found = download(device, host)
    numpy.testing.assert_array_equal(found, host + 17)
    return found


@case
def shared_memory_and_atomics():
    kernels = Kernels()
    host = numpy.arange(64 * 128, dtype=numpy.int32)
    device, total = upload(host), upload(numpy.zeros(1, dtype=numpy.int32))
    launch(kernels.sum_blocks, 64, 128, (device, total), (ctypes.c_void_p, ctypes.c_void_p), shared=512)
    found = download(total, numpy.zeros(1, dtype=numpy.int32))
    assert found[0] == host.sum()
    return found


@case
def libraries_and_kernels():
    context()
    library = ok(driver.cuLibraryLoadData(ptx(), [], [], 0, [], [], 0))
    assert ok(driver.cuLibraryGetKernelCount(library)) == 4
    kernel = ok(driver.cuLibraryGetKernel(library, b"sum_blocks"))
    assert ok(driver.cuKernelGetName(kernel)) == b"sum_blocks"
    return [ok(driver.cuKernelGetParamInfo(kernel, at)) for at in range(2)]


@case
def events_and_streams_of_the_runtime():
    streams = [ok(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)) for _ in range(2)]
    begin, end = ok(runtime.cudaEventCreate()), ok(runtime.cudaEventCreate())
    buffer = ok(runtime.cudaMalloc(1 << 20))
    ok(runtime.cudaEventRecord(begin, streams[0]))
    ok(runtime.cudaMemsetAsync(buffer, 7, 1 << 20, streams[0]))
    ok(runtime.cudaEventRecord(end, streams[0]))
    ok(runtime.cudaStreamWaitEvent(streams[1], end, 0))
    host = numpy.zeros(1 << 20, dtype=numpy.uint8)
    ok(runtime.cudaMemcpyAsync(host.ctypes.data, buffer, host.nbytes, TO_HOST, streams[1]))
    ok(runtime.cudaStreamSynchronize(streams[1]))
    assert ok(runtime.cudaEventElapsedTime(begin, end)) >= 0 and (host == 7).all()
    ok(runtime.cudaFree(buffer))
    return host


@case
def stream_ordered_memory():
    stream = ok(runtime.cudaStreamCreate())
    host = numpy.arange(5000, dtype=numpy.int64)
    address = ok(runtime.cudaMallocAsync(host.nbytes, stream))
    ok(runtime.cudaMemcpyAsync(address, host.ctypes.data, host.nbytes, TO_DEVICE, stream))
    found = numpy.zeros_like(host)
    ok(runtime.cudaMemcpyAsync(found.ctypes.data, address, host.nbytes, TO_HOST, stream))
    ok(runtime.cudaFreeAsync(address, stream))
    ok(runtime.cudaStreamSynchronize(stream))
    numpy.testing.assert_array_equal(found, host)
    return found


@case
def pinned_memory_and_pitched_copies():
    pitch_address, pitch = ok(runtime.cudaMallocPitch(300, 20))
    host = numpy.random.default_rng(3).integers(0, 255, (20, 300), dtype=numpy.uint8)
    ok(runtime.cudaMemcpy2D(pitch_address, pitch, host.ctypes.data, 300, 300, 20, TO_DEVICE))
    pinned = ok(runtime.cudaHostAlloc(6000, 0))
    ok(runtime.cudaMemcpy2D(pinned, 300, pitch_address, pitch, 300, 20, TO_HOST))
    found = numpy.frombuffer((ctypes.c_uint8 * 6000).from_address(pinned), dtype=numpy.uint8).copy()
    ok(runtime.cudaFreeHost(pinned))
    numpy.testing.assert_array_equal(found.reshape(20, 300), host)
    return found


@case
def pointer_attributes():
    device, pinned = ok(runtime.cudaMalloc(64)), ok(runtime.cudaHostAlloc(64, 0))
    kind = runtime.cudaMemoryType
    found = [ok(runtime.cudaPointerGetAttributes(address)).type for address in (device, pinned)]
    assert found == [kind.cudaMemoryTypeDevice, kind.cudaMemoryTypeHost]
    return found


@case
def contexts_of_its_own():
    device = context()
    parameters = () if ok(runtime.cudaRuntimeGetVersion()) < 13000 else (None,)  # CUDA 13 added some
    own = ok(driver.cuCtxCreate(*parameters, 0, device))
    assert int(ok(driver.cuCtxGetCurrent())) == int(own)
    address = ok(driver.cuMemAlloc(4096))
    ok(driver.cuMemsetD32(address, 5, 1024))
    host = numpy.zeros(1024, dtype=numpy.uint32)
    ok(driver.cuMemcpyDtoH(host.ctypes.data, address, 4096))
    ok(driver.cuCtxDestroy(own))
    assert (host == 5).all()
    return host


@case
def errors_keep_their_names():
    host = numpy.zeros(16, dtype=numpy.uint8)
    results = [driver.cuMemAlloc(1 << 60)[0], driver.cuModuleLoadData(b"this is no module\0")[0],
               driver.cuDeviceGet(99)[0], runtime.cudaSetDevice(99)[0],
               runtime.cudaMemcpy(1, host.ctypes.data, 16, TO_DEVICE)[0]]
    assert all(int(result) != 0 for result in results)
    return [result.name for result in results], ok(driver.cuGetErrorName(results[0]))


@case
def a_context_that_faulted_stays_broken():
    """Last, because nothing works in the primary context after it."""
    kernels = Kernels()
    launch(kernels.fault, 1, 1, (0,), (ctypes.c_void_p,))
    results = [driver.cuCtxSynchronize()[0].name, driver.cuCtxSynchronize()[0].name,
               runtime.cudaMalloc(16)[0].name]
    assert results[0] == "CUDA_ERROR_ILLEGAL_ADDRESS", results
    return results


main()
