"""Numba's CUDA target: kernels of Python functions, compiled by NVVM and linked by the driver.

Everything is computed with NumPy as well, and compared.
"""

import math
import os
import tempfile

import numpy
from cases import case, main
from numba import complex64, cuda, float32, float64, guvectorize, int32, vectorize
from numba.cuda import cg
from numba.cuda.random import create_xoroshiro128p_states, xoroshiro128p_uniform_float32


def random(*shape, dtype=numpy.float32, seed=1):
    values = numpy.random.default_rng(seed).random(shape) * 100
    return values.astype(dtype)


def same(found, expected, **tolerance):
    """The array as NumPy's, after it was found equal to `expected`."""
    if hasattr(found, "copy_to_host"):
        found = found.copy_to_host()
    if tolerance:
        numpy.testing.assert_allclose(found, expected, **tolerance)
    else:
        numpy.testing.assert_array_equal(found, expected)
    return found


@cuda.jit
def add_arrays(a, b, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = a[i] + b[i]


@case
def host_arrays_as_arguments():
    a, b = random(1000), random(1000, seed=2)
    out = numpy.zeros_like(a)
    add_arrays[8, 128](a, b, out)
    return same(out, a + b)


@case
def device_arrays_and_slices():
    a = random(64, 8)
    device = cuda.to_device(a)
    part = device[16:32]
    empty = cuda.device_array_like(a[16:32])
    empty.copy_to_device(part)
    ones = cuda.to_device(numpy.ones(512, numpy.float32))
    out = cuda.device_array(512, numpy.float32)
    add_arrays[4, 128](device.ravel(), ones, out)
    return same(empty, a[16:32]), same(out.reshape(64, 8), a + 1), same(device[3], a[3])


@case
def types_of_arguments():
    @cuda.jit
    def scale(out, factor, offset):
        i = cuda.grid(1)
        if i < out.size:
            out[i] = out[i] * factor + offset

    results = []
    for dtype in (numpy.int8, numpy.uint16, numpy.int32, numpy.uint64, numpy.float32, numpy.float64,
                  numpy.complex64, numpy.complex128):
        values = numpy.arange(50).astype(dtype)
        device = cuda.to_device(values)
        scale[1, 64](device, dtype(2), dtype(1))
        results.append(same(device, values * dtype(2) + dtype(1)))
    return results


@case
def two_and_three_dimensions():
    @cuda.jit
    def fill(out):
        x, y, z = cuda.grid(3)
        if x < out.shape[0] and y < out.shape[1] and z < out.shape[2]:
            out[x, y, z] = x * 10000 + y * 100 + z

    out = cuda.device_array((13, 7, 5), numpy.int32)
    fill[(4, 2, 2), (4, 4, 4)](out)
    x, y, z = numpy.mgrid[:13, :7, :5]
    return same(out, x * 10000 + y * 100 + z)


@case
def shared_memory_matrix_product():
    tile = 8

    @cuda.jit
    def product(a, b, c):
        left = cuda.shared.array((tile, tile), float32)
        right = cuda.shared.array((tile, tile), float32)
        x, y = cuda.grid(2)
        tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
        total = float32(0)
        for k in range(a.shape[1] // tile):
            left[tx, ty] = a[x, ty + k * tile]
            right[tx, ty] = b[tx + k * tile, y]
            cuda.syncthreads()
            for j in range(tile):
                total += left[tx, j] * right[j, ty]
            cuda.syncthreads()
        c[x, y] = total

    a, b = random(32, 32), random(32, 32, seed=2)
    c = cuda.device_array((32, 32), numpy.float32)
    product[(4, 4), (tile, tile)](a, b, c)
    return same(c, a @ b, rtol=1e-4)


@case
def dynamic_shared_memory():
    @cuda.jit
    def reverse(values):
        room = cuda.shared.array(0, int32)
        i = cuda.threadIdx.x
        room[i] = values[i]
        cuda.syncthreads()
        values[i] = room[cuda.blockDim.x - 1 - i]

    values = numpy.arange(200, dtype=numpy.int32)
    device = cuda.to_device(values)
    reverse[1, 200, 0, 800](device)
    return same(device, values[::-1])


@case
def local_and_constant_memory():
    table = numpy.array([3, 1, 4, 1, 5, 9, 2, 6], numpy.int32)

    @cuda.jit
    def look_up(out):
        known = cuda.const.array_like(table)
        own = cuda.local.array(8, int32)
        i = cuda.grid(1)
        for k in range(8):
            own[k] = known[(k + i) % 8]
        total = 0
        for k in range(8):
            total = total * 3 + own[k]
        out[i] = total

    out = cuda.device_array(16, numpy.int32)
    look_up[2, 8](out)
    expected = []
    for i in range(16):
        total = 0
        for k in range(8):
            total = total * 3 + int(table[(k + i) % 8])
        expected.append(total)
    return same(out, numpy.array(expected, numpy.int32))


@case
def atomics():
    @cuda.jit
    def count(values, histogram, largest, total, smallest):
        i = cuda.grid(1)
        if i < values.size:
            cuda.atomic.add(histogram, values[i] % 16, 1)
            cuda.atomic.max(largest, 0, values[i])
            cuda.atomic.min(smallest, 0, values[i])
            cuda.atomic.add(total, 0, float64(values[i]))

    values = random(5000, dtype=numpy.int32)
    histogram = cuda.to_device(numpy.zeros(16, numpy.int32))
    largest, smallest = cuda.to_device(numpy.zeros(1, numpy.int32)), cuda.to_device(values[:1].copy())
    total = cuda.to_device(numpy.zeros(1, numpy.float64))
    count[20, 256](values, histogram, largest, total, smallest)
    return (same(histogram, numpy.bincount(values % 16, minlength=16)),
            same(largest, [values.max()]), same(smallest, [values.min()]),
            same(total, [values.sum()]))


@case
def compare_and_swap():
    @cuda.jit
    def claim(owner, wins):
        i = cuda.grid(1)
        if cuda.atomic.cas(owner, i % 32, -1, i) == -1:
            cuda.atomic.inc(wins, 0, 1000)

    owner = cuda.to_device(numpy.full(32, -1, numpy.int32))
    wins = cuda.to_device(numpy.zeros(1, numpy.uint32))
    claim[4, 64](owner, wins)
    found = owner.copy_to_host()
    assert all(found % 32 == numpy.arange(32)), found
    return same(wins, [32])


@case
def warps():
    @cuda.jit
    def across(out, votes):
        i = cuda.threadIdx.x
        value = i * i
        for step in (16, 8, 4, 2, 1):
            value += cuda.shfl_xor_sync(0xffffffff, value, step)
        out[i] = value
        votes[i] = cuda.ballot_sync(0xffffffff, i % 3 == 0)

    out = cuda.device_array(32, numpy.int64)
    votes = cuda.device_array(32, numpy.uint32)
    across[1, 32](out, votes)
    lanes = numpy.arange(32)
    expected = sum(1 << int(i) for i in lanes if i % 3 == 0)
    return same(out, numpy.full(32, (lanes ** 2).sum())), same(votes, numpy.full(32, expected))


@case
def math_functions():
    @cuda.jit
    def compute(x, out):
        i = cuda.grid(1)
        if i < x.size:
            out[i, 0] = math.sin(x[i])
            out[i, 1] = math.exp(-x[i])
            out[i, 2] = math.log1p(x[i])
            out[i, 3] = math.sqrt(x[i])
            out[i, 4] = math.atan2(x[i], 2.0)
            out[i, 5] = math.erf(x[i])
            out[i, 6] = math.lgamma(x[i] + 1)
            out[i, 7] = x[i] ** 1.5

    x = random(300, dtype=numpy.float64)
    out = cuda.device_array((300, 8), numpy.float64)
    compute[3, 128](x, out)
    expected = numpy.stack([numpy.sin(x), numpy.exp(-x), numpy.log1p(x), numpy.sqrt(x), numpy.arctan2(x, 2),
                            [math.erf(v) for v in x], [math.lgamma(v + 1) for v in x], x ** 1.5], axis=1)
    return same(out, expected, rtol=1e-12, atol=1e-13)


@case
def device_functions_and_tuples():
    @cuda.jit(device=True)
    def split(value):
        return value // 7, value % 7

    @cuda.jit
    def kernel(out):
        i = cuda.grid(1)
        a, b = split(i)
        out[i, 0], out[i, 1] = a, b

    out = cuda.device_array((64, 2), numpy.int64)
    kernel[2, 32](out)
    n = numpy.arange(64)
    return same(out, numpy.stack([n // 7, n % 7], axis=1))


@case
def records():
    dtype = numpy.dtype([("id", numpy.int32), ("weight", numpy.float64), ("x", numpy.float32), ("y", numpy.float32)],
                        align=True)

    @cuda.jit
    def change(rows):
        i = cuda.grid(1)
        if i < rows.size:
            rows[i].id += 1
            rows[i].weight *= 0.5
            rows[i].y = rows[i].x

    rows = numpy.zeros(20, dtype)
    rows["id"], rows["weight"], rows["x"] = numpy.arange(20), random(20), random(20, seed=2)
    expected = rows.copy()
    expected["id"] += 1
    expected["weight"] *= 0.5
    expected["y"] = expected["x"]
    change[1, 32](rows)
    return [same(rows[name], expected[name]) for name in dtype.names]


@case
def reductions():
    @cuda.reduce
    def total(a, b):
        return a + b

    values = random(10007, dtype=numpy.float64)
    largest = cuda.Reduce(lambda a, b: a if a > b else b)
    numpy.testing.assert_allclose(total(values), values.sum(), rtol=1e-12)
    assert largest(values) == values.max()
    return total(values), largest(values), total(cuda.to_device(values), init=5.0)


@case
def universal_functions():
    @vectorize([float32(float32, float32), float64(float64, float64)], target="cuda")
    def hypotenuse(a, b):
        return math.sqrt(a * a + b * b)

    @vectorize([complex64(complex64)], target="cuda")
    def twist(z):
        return z * 1j + 1

    a, b = random(40, 50), random(40, 50, seed=2)
    z = (a + 1j * b).astype(numpy.complex64)
    device = hypotenuse(cuda.to_device(a), cuda.to_device(b))
    return (same(hypotenuse(a, b), numpy.hypot(a, b), rtol=1e-6), same(device, numpy.hypot(a, b), rtol=1e-6),
            same(hypotenuse(a.astype(numpy.float64), 2.0), numpy.hypot(a.astype(numpy.float64), 2.0), rtol=1e-14),
            same(hypotenuse.reduce(a[0].astype(numpy.float64)), math.sqrt((a[0].astype(float) ** 2).sum()),
                 rtol=1e-12),
            same(twist(z), z * 1j + 1, rtol=1e-6))


@case
def generalized_universal_functions():
    @guvectorize(["void(float32[:,:], float32[:], float32[:])"], "(m,n),(n)->(m)", target="cuda")
    def times(matrix, vector, out):
        for i in range(matrix.shape[0]):
            total = float32(0)
            for j in range(matrix.shape[1]):
                total += matrix[i, j] * vector[j]
            out[i] = total

    matrices, vectors = random(6, 5, 4), random(6, 4, seed=2)
    return same(times(matrices, vectors), numpy.einsum("kij,kj->ki", matrices, vectors), rtol=1e-5)


@case
def streams_and_events():
    stream, other = cuda.stream(), cuda.stream()
    a = cuda.pinned_array(4096, numpy.float32)
    a[:] = random(4096)
    first, last = cuda.event(), cuda.event()
    with stream.auto_synchronize():
        first.record(stream)
        device = cuda.to_device(a, stream=stream)
        out = cuda.device_array(4096, numpy.float32, stream=stream)
        add_arrays[32, 128, stream](device, device, out)
        last.record(stream)
        last.wait(other)
        add_arrays[32, 128, other](out, device, out)
    other.synchronize()
    assert cuda.event_elapsed_time(first, last) >= 0
    assert last.query()
    return same(out, 3 * a, rtol=1e-6)


@case
def pinned_mapped_and_managed_memory():
    mapped = cuda.mapped_array(1000, numpy.float32)
    managed = cuda.managed_array(1000, numpy.float32)
    mapped[:], managed[:] = random(1000), random(1000, seed=2)
    expected = mapped + managed
    with cuda.pinned(expected):
        pass
    out = cuda.device_array(1000, numpy.float32)
    add_arrays[8, 128](mapped, managed, out)
    add_arrays[8, 128](mapped, managed, managed)
    cuda.synchronize()
    return same(out, expected), same(numpy.array(managed), expected)


@case
def grid_synchronisation():
    @cuda.jit
    def sweep(values):
        grid = cg.this_grid()
        i = cuda.grid(1)
        size = values.shape[1]
        for row in range(1, values.shape[0]):
            values[row, i] = values[row - 1, size - 1 - i] + 1
            grid.sync()

    values = numpy.zeros((6, 256), numpy.int64)
    values[0] = numpy.arange(256)
    device = cuda.to_device(values)
    sweep[8, 32](device)
    expected = values.copy()
    for row in range(1, 6):
        expected[row] = expected[row - 1][::-1] + 1
    return same(device, expected)


@case
def random_numbers():
    @cuda.jit
    def draw(states, out):
        i = cuda.grid(1)
        for k in range(out.shape[1]):
            out[i, k] = xoroshiro128p_uniform_float32(states, i)

    states = create_xoroshiro128p_states(128, seed=42)
    out = cuda.device_array((128, 100), numpy.float32)
    draw[4, 32](states, out)
    values = out.copy_to_host()
    assert 0 <= values.min() and values.max() < 1 and abs(values.mean() - 0.5) < 0.02
    return values


@case
def linking_with_cuda_source_and_ptx():
    ptx = b""".version 7.0
.target sm_75
.address_size 64
.visible .func (.param .b32 status) triple(.param .b64 out, .param .b32 value)
{
  .reg .b64 %p; .reg .b32 %v;
  ld.param.u64 %p, [out];
  ld.param.u32 %v, [value];
  mul.lo.u32 %v, %v, 3;
  st.u32 [%p], %v;
  mov.u32 %v, 0;
  st.param.b32 [status], %v;
  ret;
}
"""
    source = b"""extern "C" __device__ int square(int* out, int value) { *out = value * value; return 0; }
"""
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("triple.ptx", "square.cu")]
        for path, text in zip(files, (ptx, source)):
            with open(path, "wb") as out:
                out.write(text)
        triple = cuda.declare_device("triple", "int32(int32)", link=files[0])
        square = cuda.declare_device("square", "int32(int32)", link=files[1])

        @cuda.jit
        def kernel(out):
            i = cuda.grid(1)
            out[i] = triple(i) + square(i)

        out = cuda.device_array(32, numpy.int32)
        kernel[1, 32](out)
    n = numpy.arange(32)
    return same(out, 3 * n + n * n)


@case
def undefined_functions_are_errors():
    missing = cuda.declare_device("missing", "int32(int32)")

    @cuda.jit
    def kernel(out):
        out[0] = missing(1)

    try:
        kernel[1, 1](numpy.zeros(1, numpy.int32))
    except Exception as error:
        assert "missing" in str(error) or "missing" in str(error.__notes__), str(error)
        return type(error).__name__
    raise AssertionError("The link succeeded.")


@case
def exceptions_in_kernels():
    @cuda.jit(debug=True, opt=False)
    def kernel(values, i):
        if i > 2:
            raise IndexError("too far")
        values[i] = 1

    values = cuda.to_device(numpy.zeros(3, numpy.int32))
    kernel[1, 1](values, 1)
    try:
        kernel[1, 1](values, 5)
    except IndexError as error:
        return same(values, [0, 1, 0]), "too far" in str(error)
    raise AssertionError("The kernel raised nothing.")


@case
def printing():
    @cuda.jit
    def kernel():
        print("kernel_output ok", cuda.threadIdx.x, 1.5)  # a line like those of the cases

    kernel[1, 1]()
    cuda.synchronize()
    return "printed"


@case
def what_is_told_of_kernels():
    @cuda.jit("void(float32[:])")
    def kernel(out):
        room = cuda.shared.array(64, float32)
        room[cuda.threadIdx.x] = out[cuda.threadIdx.x]
        cuda.syncthreads()
        out[cuda.threadIdx.x] = room[63 - cuda.threadIdx.x]

    return (kernel.get_shared_mem_per_block(), kernel.get_max_threads_per_block(),
            [".visible .entry" in text for text in kernel.inspect_asm().values()])


@case
def devices_and_contexts():
    device = cuda.get_current_device()
    free, total = cuda.current_context().get_memory_info()
    assert 0 < free <= total
    with cuda.gpus[0]:
        assert cuda.current_context().device.id == 0
    return device.compute_capability, device.WARP_SIZE, device.MAX_THREADS_PER_BLOCK, len(cuda.gpus)


main()
