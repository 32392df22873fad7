"""CuPy: arrays, kernels of its own making, and kernels from source by NVRTC.

Everything is computed with NumPy as well, and compared.
"""

import threading

import cupy
import numpy
from cases import case, main


def same(device, host, **tolerance):
    """The device's array as NumPy's, after it was found equal to `host`."""
    found = cupy.asnumpy(device)
    if tolerance:
        numpy.testing.assert_allclose(found, host, **tolerance)
    else:
        numpy.testing.assert_array_equal(found, host)
    return found


def random(*shape, dtype=numpy.float32, seed=1):
    values = numpy.random.default_rng(seed).random(shape) * 100
    return values.astype(dtype)


@case
def copies_there_and_back():
    host = random(1000, 7)
    return same(cupy.asarray(host), host), same(cupy.asarray(host).T.copy(), host.T)


@case
def large_copies():
    host = numpy.arange(3 << 20, dtype=numpy.int32)
    return same(cupy.asarray(host) + 1, host + 1)


@case
def ufuncs():
    host = random(5000) + 1
    device = cupy.asarray(host)
    return [same(getattr(cupy, name)(device), getattr(numpy, name)(host), rtol=2e-6)
            for name in ("sqrt", "negative", "square", "floor", "rint", "log", "tanh", "arctan")]


@case
def arithmetic_of_each_type():
    results = []
    for dtype in (numpy.int8, numpy.uint16, numpy.int32, numpy.uint64, numpy.float16, numpy.float64):
        a, b = random(777, dtype=dtype, seed=2), random(777, dtype=dtype, seed=3)
        results.append(same(cupy.asarray(a) * cupy.asarray(b), a * b))
    return results


@case
def complex_numbers():
    host = (random(500) + 1j * random(500, seed=5)).astype(numpy.complex64)
    return same(cupy.asarray(host) * 2j + 1, host * 2j + 1, rtol=1e-6)


@case
def broadcasting_and_views():
    a, b = random(40, 1), random(1, 50)
    sums = cupy.asarray(a) + cupy.asarray(b)
    return same(sums[3:30:2, ::-1], (a + b)[3:30:2, ::-1])


@case
def indexing():
    host = random(300, 4)
    device = cupy.asarray(host)
    rows = numpy.array([5, 250, 5, 0])
    changed = device.copy()
    changed[device > 50] = -1
    return (same(device[cupy.asarray(rows)], host[rows]), same(device[device > 50], host[host > 50]),
            same(changed, numpy.where(host > 50, -1, host).astype(numpy.float32)))


@case
def reductions():
    host = random(300, 70, dtype=numpy.int32)
    device = cupy.asarray(host)
    return [same(getattr(device, name)(axis=axis), getattr(host, name)(axis=axis))
            for name in ("sum", "max", "min", "argmax", "any") for axis in (None, 0, 1)]


@case
def float_reductions():
    host = random(100, 99, dtype=numpy.float64)
    device = cupy.asarray(host)
    return [same(getattr(device, name)(axis=1), getattr(host, name)(axis=1), rtol=1e-12)
            for name in ("sum", "mean", "std", "prod")]


@case
def sorting():
    host = random(20000)
    keys = random(3000, dtype=numpy.int64)
    return (same(cupy.sort(cupy.asarray(host)), numpy.sort(host)),
            same(cupy.argsort(cupy.asarray(host)), numpy.argsort(host, kind="stable")),
            same(cupy.sort(cupy.asarray(keys)), numpy.sort(keys)))


@case
def scans():
    host = random(30000, dtype=numpy.int32)
    return (same(cupy.cumsum(cupy.asarray(host)), numpy.cumsum(host)),
            same(cupy.cumsum(cupy.asarray(host.reshape(300, 100)), axis=1),
                 numpy.cumsum(host.reshape(300, 100), axis=1)))


@case
def unique_histogram_and_where():
    host = random(4000, dtype=numpy.int32)
    device = cupy.asarray(host)
    return (same(cupy.unique(device), numpy.unique(host)),
            same(cupy.bincount(device, minlength=100), numpy.bincount(host, minlength=100)),
            same(cupy.nonzero(device % 3 == 0)[0], numpy.nonzero(host % 3 == 0)[0]))


@case
def elementwise_kernel():
    kernel = cupy.ElementwiseKernel("T x, T y, float32 weight", "T z",
                                    "T difference = x - y; z = difference * difference * weight",
                                    "weighted_squares")
    x, y = random(1500), random(1500, seed=9)
    return same(kernel(cupy.asarray(x), cupy.asarray(y), 2), (x - y) ** 2 * 2, rtol=1e-6)


@case
def reduction_kernel():
    kernel = cupy.ReductionKernel("T x", "T y", "x * x", "a + b", "y = a", "0", "squares_summed")
    host = random(200, 30, dtype=numpy.int64)
    return same(kernel(cupy.asarray(host), axis=1), (host * host).sum(axis=1))


@case
def raw_kernel_with_shared_memory():
    kernel = cupy.RawKernel(r"""
        extern "C" __global__ void reverse_blocks(const float* in, float* out) {
          extern __shared__ float tile[];
          const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
          tile[threadIdx.x] = in[at];
          __syncthreads();
          out[at] = tile[blockDim.x - 1 - threadIdx.x];
        }""", "reverse_blocks")
    host = random(20 * 128)
    out = cupy.empty_like(host)
    kernel((20,), (128,), (cupy.asarray(host), out), shared_mem=128 * 4)
    return same(out, host.reshape(20, 128)[:, ::-1].ravel())


@case
def raw_kernel_with_atomics():
    kernel = cupy.RawKernel(r"""
        extern "C" __global__ void count(const int* values, int n, int* bins) {
          __shared__ int local[16];
          if (threadIdx.x < 16) local[threadIdx.x] = 0;
          __syncthreads();
          for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
            atomicAdd(&local[values[i] & 15], 1);
          __syncthreads();
          if (threadIdx.x < 16) atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
        }""", "count")
    host = random(50000, dtype=numpy.int32)
    bins = cupy.zeros(16, dtype=numpy.int32)
    kernel((8,), (256,), (cupy.asarray(host), numpy.int32(host.size), bins))
    return same(bins, numpy.bincount(host & 15, minlength=16).astype(numpy.int32))


@case
def raw_module_with_templates_and_globals():
    module = cupy.RawModule(code=r"""
        __constant__ float factor;
        template <typename T> __global__ void scale(T* values, int n) {
          const int at = blockIdx.x * blockDim.x + threadIdx.x;
          if (at < n) values[at] = static_cast<T>(values[at] * factor);
        }""", options=("-std=c++17",), name_expressions=("scale<float>", "scale<double>"))
    factor = cupy.ndarray(1, numpy.float32, module.get_global("factor"))
    factor[0] = 2.5
    results = []
    for name, dtype in (("scale<float>", numpy.float32), ("scale<double>", numpy.float64)):
        host = random(700, dtype=dtype)
        device = cupy.asarray(host)
        module.get_function(name)((6,), (128,), (device, numpy.int32(700)))
        results.append(same(device, host * dtype(2.5)))
    return results


@case
def kernel_attributes():
    kernel = cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
    kernel((1,), (1,), ())
    return kernel.max_threads_per_block, kernel.const_size_bytes


@case
def fused_function():
    @cupy.fuse()
    def line(x, y):
        return cupy.maximum(x * 3 + y, 10)
    x, y = random(900), random(900, seed=4)
    return same(line(cupy.asarray(x), cupy.asarray(y)), numpy.maximum(x * 3 + y, 10), rtol=1e-6)


@case
def streams_and_events():
    host = random(10000)
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
    results = []
    for number, stream in enumerate(streams):
        with stream:
            results.append(cupy.asarray(host) * (number + 1))
    after = cupy.cuda.Event()
    after.record(streams[2])
    streams[0].wait_event(after)
    with streams[0]:
        total = results[0] + results[2]
    for stream in streams:
        stream.synchronize()
    assert all(stream.done for stream in streams) and after.done
    return same(total, host + host * 3), same(results[1], host * 2)


@case
def pinned_memory():
    host = random(60000)
    pinned = cupy.cuda.alloc_pinned_memory(host.nbytes)
    staged = numpy.frombuffer(pinned, numpy.float32, host.size)
    staged[:] = host
    device = cupy.empty(host.size, numpy.float32)
    stream = cupy.cuda.Stream(non_blocking=True)
    device.set(staged, stream=stream)
    with stream:
        device *= 2
    device.get(stream=stream, out=staged)
    stream.synchronize()
    numpy.testing.assert_array_equal(staged, host * 2)
    return staged.copy()


@case
def memory_pools():
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    array = cupy.zeros(1 << 20, dtype=numpy.uint8)
    held = pool.used_bytes() - before
    del array
    pool.free_all_blocks()
    stream_ordered = cupy.cuda.MemoryAsyncPool()
    with cupy.cuda.using_allocator(stream_ordered.malloc):
        array = cupy.arange(5000) * 2
        found = same(array, numpy.arange(5000) * 2)
        del array
    return held, found


@case
def out_of_memory():
    free, total = cupy.cuda.runtime.memGetInfo()
    assert 0 < free <= total
    try:
        cupy.empty(total * 2, dtype=numpy.uint8)
    except cupy.cuda.memory.OutOfMemoryError:
        return same(cupy.arange(10), numpy.arange(10))
    raise AssertionError("Twice the device's memory was given out.")


@case
def threads():
    host = random(2000)
    results = [None] * 4

    def work(number):
        with cupy.cuda.Stream(non_blocking=True) as stream:
            device = cupy.asarray(host)
            for _ in range(5):
                device = device + number
            stream.synchronize()
            results[number] = cupy.asnumpy(device)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected = [host] * 4
    for _ in range(5):
        expected = [array + numpy.float32(number) for number, array in enumerate(expected)]
    for found, wanted in zip(results, expected):
        numpy.testing.assert_array_equal(found, wanted)
    return results


@case
def bad_launch_is_refused():
    kernel = cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
    try:
        kernel((1,), (2000,), ())
    except cupy.cuda.driver.CUDADriverError as error:
        return str(error).split(":")[0], same(cupy.arange(9).sum(), 36)
    raise AssertionError("A block of 2000 threads was launched.")


@case
def device_properties():
    device = cupy.cuda.Device(0)
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    assert device.attributes["MultiProcessorCount"] == properties["multiProcessorCount"]
    return (properties["name"], device.compute_capability, device.pci_bus_id,
            properties["warpSize"], properties["maxThreadsPerBlock"])


main()
