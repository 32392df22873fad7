"""NVIDIA's libraries, called by ctypes: each initialises, launches kernels of its own, and is checked
against NumPy."""

import ctypes
import pathlib
import sys

import numpy
from cases import case, main

TO_DEVICE, TO_HOST = 1, 2
ONE, ZERO = ctypes.c_float(1), ctypes.c_float(0)
FLOAT32, INT32, ZERO_BASED = 0, 2, 0


class Library:
    """A library of the environment, below nvidia/ in one of sys.path; calls that fail raise."""

    def __init__(self, name):
        files = [file for folder in map(pathlib.Path, sys.path)
                 for file in sorted(folder.glob(f"nvidia/*/lib/{name}.so.*"))]
        if not files:
            raise RuntimeError(f"{name} is below nvidia/ in no folder of sys.path.")
        self.library = ctypes.CDLL(str(files[0]), mode=ctypes.RTLD_GLOBAL)

    def __getattr__(self, name):
        function = getattr(self.library, name)

        def call(*arguments):
            if status := function(*arguments):
                raise RuntimeError(f"{name}: status {status}")
        return call

    def create(self, name, *arguments):
        handle = ctypes.c_void_p()
        getattr(self, name)(ctypes.byref(handle), *arguments)
        return handle


runtime = Library("libcudart")


def upload(host):
    address = runtime.create("cudaMalloc", ctypes.c_size_t(max(host.nbytes, 256)))
    runtime.cudaMemcpy(address, ctypes.c_void_p(host.ctypes.data), ctypes.c_size_t(host.nbytes), TO_DEVICE)
    return address


def download(address, like):
    runtime.cudaDeviceSynchronize()
    host = numpy.empty_like(like)
    runtime.cudaMemcpy(ctypes.c_void_p(host.ctypes.data), address, ctypes.c_size_t(host.nbytes), TO_HOST)
    return host


def close(found, wanted, tolerance=1e-4):
    numpy.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    return found


def random(*shape):
    return numpy.random.default_rng(7).random(shape).astype(numpy.float32)


def blas():
    Library("libcublasLt")
    library = Library("libcublas")
    return library, library.create("cublasCreate_v2")


@case
def cublas_vectors():
    library, handle = blas()
    x, y = random(1000), random(1000)
    device_x, device_y = upload(x), upload(y)
    library.cublasSaxpy_v2(handle, x.size, ctypes.byref(ctypes.c_float(3)), device_x, 1, device_y, 1)
    found = close(download(device_y, y), 3 * x + y)
    product = ctypes.c_float()
    library.cublasSdot_v2(handle, x.size, device_x, 1, device_x, 1, ctypes.byref(product))
    return found, close(product.value, float(x @ x))


@case
def cublas_matrix_product():
    library, handle = blas()
    a, b = random(64, 48), random(48, 80)
    out = numpy.zeros((64, 80), dtype=numpy.float32)
    device = upload(out)
    # cuBLAS counts in columns: the transposed product of the transposed matrices.
    library.cublasSgemm_v2(handle, 0, 0, 80, 64, 48, ctypes.byref(ONE), upload(b), 80, upload(a), 48,
                           ctypes.byref(ZERO), device, 80)
    return close(download(device, out), a @ b)


@case
def cufft_of_powers_of_two_and_of_primes():
    library = Library("libcufft")
    results = []
    for size in (1024, 509):
        host = (random(size) + 1j * random(size)).astype(numpy.complex64)
        plan = ctypes.c_int()
        library.cufftPlan1d(ctypes.byref(plan), size, 0x29, 1)
        device = upload(host)
        library.cufftExecC2C(plan, device, device, -1)
        results.append(close(download(device, host), numpy.fft.fft(host), 2e-2))
    return results


@case
def curand_uniform_numbers():
    library = Library("libcurand")
    generator = library.create("curandCreateGenerator", 100)
    library.curandSetPseudoRandomGeneratorSeed(generator, ctypes.c_ulonglong(5))
    device = upload(numpy.zeros(10000, dtype=numpy.float32))
    library.curandGenerateUniform(generator, device, ctypes.c_size_t(10000))
    found = download(device, numpy.zeros(10000, dtype=numpy.float32))
    assert 0.48 < found.mean() < 0.52 and found.min() > 0 and found.max() <= 1
    return found


@case
def cusparse_matrix_by_vector():
    Library("libnvJitLink")
    library = Library("libcusparse")
    handle = library.create("cusparseCreate")
    starts, columns = (numpy.array(values, dtype=numpy.int32) for values in ([0, 2, 3, 4], [0, 2, 1, 0]))
    values, x = (numpy.array(values, dtype=numpy.float32) for values in ([1, 2, 3, 4], [1, 2, 3]))
    device_y, long = upload(numpy.zeros(3, dtype=numpy.float32)), ctypes.c_int64
    matrix = library.create("cusparseCreateCsr", long(3), long(3), long(4), upload(starts),
                            upload(columns), upload(values), INT32, INT32, ZERO_BASED, FLOAT32)
    vectors = [library.create("cusparseCreateDnVec", long(3), address, FLOAT32)
               for address in (upload(x), device_y)]
    scalars = ctypes.byref(ONE), ctypes.byref(ZERO)
    size = ctypes.c_size_t()
    library.cusparseSpMV_bufferSize(handle, 0, scalars[0], matrix, vectors[0], scalars[1], vectors[1],
                                    FLOAT32, 0, ctypes.byref(size))
    work = upload(numpy.zeros(size.value + 1, dtype=numpy.uint8))
    library.cusparseSpMV(handle, 0, scalars[0], matrix, vectors[0], scalars[1], vectors[1], FLOAT32, 0,
                         work)
    return close(download(device_y, x), [7, 6, 4])


@case
def cusolver_factorisation():
    for name in ("libcublasLt", "libcublas", "libnvJitLink", "libcusparse"):
        Library(name)
    library = Library("libcusolver")
    handle = library.create("cusolverDnCreate")
    host, words = numpy.array([[4, 1], [2, 3]], dtype=numpy.float32), ctypes.c_int()
    device = upload(host)
    library.cusolverDnSgetrf_bufferSize(handle, 2, 2, device, 2, ctypes.byref(words))
    work = upload(numpy.zeros(max(words.value, 1), dtype=numpy.float32))
    pivots, info = (upload(numpy.zeros(2, dtype=numpy.int32)) for _ in range(2))
    library.cusolverDnSgetrf(handle, 2, 2, device, 2, work, pivots, info)
    assert download(info, numpy.zeros(1, dtype=numpy.int32))[0] == 0
    return close(download(device, host), [[4, 0.25], [2, 2.5]])


@case
def nvrtc_to_ptx_and_to_machine_code():
    library = Library("libnvrtc")
    program = library.create("nvrtcCreateProgram", b'extern "C" __global__ void k(int* p) { *p = 3; }',
                             b"k.cu", 0, None, None)
    driver = ctypes.CDLL("libcuda.so.1")
    device = upload(numpy.zeros(1, dtype=numpy.int32))
    results = []
    for option, kind in ((b"-arch=compute_90", "PTX"), (b"-arch=sm_90", "CUBIN")):
        library.nvrtcCompileProgram(program, 1, (ctypes.c_char_p * 1)(option))
        size = ctypes.c_size_t()
        getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
        image = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{kind}")(program, image)
        module = ctypes.c_void_p()
        results.append(driver.cuModuleLoadData(ctypes.byref(module), image))
        if results[-1] == 0:
            function, pointer = ctypes.c_void_p(), ctypes.c_void_p(device.value)
            assert driver.cuModuleGetFunction(ctypes.byref(function), module, b"k") == 0
            parameters = (ctypes.c_void_p * 1)(ctypes.addressof(pointer))
            assert driver.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, parameters, None) == 0
    no_binary_for_gpu = 209
    assert results == [0, no_binary_for_gpu], results
    found = download(device, numpy.zeros(1, dtype=numpy.int32))
    assert found[0] == 3
    return results


main()
