"""JAX: arrays, compiled functions, derivatives, loops, random numbers and NVIDIA's libraries under XLA.

Everything is computed with NumPy as well, and compared.
"""

import os

# JAX takes a machine for one without a GPU when none of three device files is there. Others would make an empty
# /dev/nvidiactl.
_exists = os.path.exists
os.path.exists = lambda path: path == "/dev/nvidiactl" or _exists(path)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy  # noqa: E402
from cases import case, main  # noqa: E402
from jax import lax  # noqa: E402


def random(*shape, seed=1, dtype=numpy.float32):
    return numpy.random.default_rng(seed).random(shape).astype(dtype)


def same(found, expected, **tolerance):
    """The array as NumPy's, after it was found equal to `expected`."""
    found = numpy.asarray(found)
    if tolerance:
        numpy.testing.assert_allclose(found, expected, **tolerance)
    else:
        numpy.testing.assert_array_equal(found, expected)
    return found


@case
def devices():
    [device] = jax.devices()
    assert device.platform == "gpu", device.platform
    return device.device_kind


@case
def copies():
    host = random(1 << 20)
    there = jax.device_put(host)
    return same(there, host), same(jax.device_put(there.T), host.T)


@case
def elementwise():
    x = random(1000)
    return same(jnp.tanh(x) * 2 + jnp.exp(-x), numpy.tanh(x) * 2 + numpy.exp(-x), rtol=1e-5)


@case
def doubles():
    with jax.enable_x64(True):
        x = random(100, dtype=numpy.float64)
        return same(jnp.sin(x), numpy.sin(x), rtol=1e-14)


@case
def small_floats():
    return float((jnp.arange(32, dtype=jnp.bfloat16) * 2).sum()), float(jnp.ones(32, jnp.float16).sum())


@case
def reductions_and_scans():
    x = random(100, 70)
    n = numpy.arange(1000, dtype=numpy.int32)
    return (same(jnp.sum(x, axis=0), x.sum(axis=0), rtol=1e-5), same(jnp.max(x, axis=1), x.max(axis=1)),
            same(jnp.argmin(x, axis=1), x.argmin(axis=1)), same(jnp.cumsum(n), numpy.cumsum(n)))


@case
def products():
    a, b = random(64, 48), random(48, 32, seed=2)
    return same(jnp.dot(a, b, precision="highest"), a @ b, rtol=1e-4)


@case
def derivatives():
    w = random(50)
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(w) ** 2)))
    return same(gradient(w), 2 * numpy.sin(w) * numpy.cos(w), rtol=1e-5)


@case
def functions_over_rows():
    a = random(10, 20)
    return same(jax.vmap(lambda row: row / row.sum())(a), a / a.sum(axis=1, keepdims=True), rtol=1e-5)


@case
def loops():
    steps = random(30)
    last, _ = lax.scan(lambda carry, x: (carry * 0.9 + x, carry), jnp.float32(0), steps)
    expected = numpy.float32(0)
    for x in steps:
        expected = expected * numpy.float32(0.9) + x
    total, _ = lax.while_loop(lambda s: s[0] < 100, lambda s: (s[0] + s[1], s[1] + 1), (0, 1))
    assert int(total) == 105
    return same(last, expected, rtol=1e-5)


@case
def branches():
    def pick(n):
        return lax.cond(n % 2 == 0, lambda v: v * 10, lambda v: -v, n)
    return [int(jax.jit(pick)(n)) for n in (3, 4)]


@case
def random_numbers():
    key = jax.random.key(42)
    drawn = numpy.asarray(jax.random.normal(key, (10000,)))
    assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05
    return numpy.asarray(jax.random.permutation(key, 20))


@case
def sorting():
    x = random(1000)
    return same(jnp.sort(x), numpy.sort(x)), same(jnp.argsort(x), numpy.argsort(x))


@case
def gathering_and_scattering():
    x = jnp.arange(100.0)
    at = numpy.array([3, 50, 99])
    return same(x[at], at), same(x.at[at].add(1)[at], at + 1)


@case
def transforms():
    x = random(64)
    return same(jnp.fft.rfft(x), numpy.fft.rfft(x), rtol=1e-3, atol=1e-4)


@case
def factorisations():
    a = random(8, 8)
    a = a @ a.T + 8 * numpy.eye(8, dtype=numpy.float32)
    return same(jnp.linalg.cholesky(a), numpy.linalg.cholesky(a), rtol=1e-3, atol=1e-4)


@case
def convolutions():
    x, w = random(1, 8, 8, 3), random(3, 3, 3, 4)
    found = lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    windows = numpy.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(0, 1))
    return same(found[0], numpy.einsum("xycij,ijco->xyo", windows, w), rtol=1e-4)


@case
def training():
    x = random(32, 8)
    y = x.sum(axis=1, keepdims=True)
    weights = [random(8, 16) * 0.1, random(16, 1, seed=2) * 0.1]

    def loss(weights):
        return jnp.mean((jnp.tanh(x @ weights[0]) @ weights[1] - y) ** 2)

    @jax.jit
    def step(weights):
        value, gradients = jax.value_and_grad(loss)(weights)
        return value, [w - 0.1 * g for w, g in zip(weights, gradients)]

    losses = []
    for _ in range(20):
        value, weights = step(weights)
        losses.append(float(value))
    assert losses[-1] < losses[0] / 100
    return f"{losses[0]:.3f}"


@case
def out_of_memory():
    try:
        jnp.zeros(1 << 40, jnp.uint8).block_until_ready()
    except jax.errors.JaxRuntimeError as error:
        assert "RESOURCE_EXHAUSTED" in str(error), error
        return same(jnp.arange(10) + 1, numpy.arange(10) + 1)
    raise AssertionError("A terabyte was given out.")


main()
