"""What the sample programs must print, computed again here without CUDA.

The programs check themselves; this says besides that the bytes they checked are the ones meant, so a
sample that compares a wrong result with itself does not pass.
"""

import struct

MASK_32 = 0xFFFFFFFF
MASK_64 = 0xFFFFFFFFFFFFFFFF


def mixed(index):
    """The samples' pseudo-random 32 bits for an index (kernels/samples/sample.h)."""
    x = (index * 0x9E3779B9 + 0x7F4A7C15) & MASK_32
    x = (x ^ (x >> 16)) * 0x21F0AAAD & MASK_32
    x = (x ^ (x >> 15)) * 0x735A2D97 & MASK_32
    return x ^ (x >> 15)


def checksum(data):
    """64-bit FNV-1a, as the samples print it."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & MASK_64
    return f"{value:016x}"


def vector_add(size):
    sums = [0.5 * (mixed(i) % 4096) + 0.25 * (mixed(i + size) % 4096) for i in range(size)]
    return f"vectorAdd: {size} elements, checksum {checksum(struct.pack(f'<{size}f', *sums))}: right\n"


def matrix_mul(size):
    count = size * size
    a = [mixed(i) % 16 for i in range(count)]
    b = [mixed(i + count) % 16 for i in range(count)]
    columns = [b[column::size] for column in range(size)]
    rows = [a[row * size : (row + 1) * size] for row in range(size)]
    product = [sum(x * y for x, y in zip(row, column)) for row in rows for column in columns]
    return (f"matrixMul: {size} x {size}, "
            f"checksum {checksum(struct.pack(f'<{count}f', *product))}: right\n")


def reduction(size):
    numbers = [mixed(i) for i in range(size)]
    return (f"reduction: {size} numbers, sum {sum(numbers)}, least {min(numbers)}, "
            f"greatest {max(numbers)}: right\n")


def histogram(size):
    bins = [0] * 256
    for i in range(size):
        bins[min(mixed(i) & 0xFF, mixed(i) >> 8 & 0xFF)] += 1
    fullest = bins.index(max(bins))
    return (f"histogram: {size} bytes, fullest bin {fullest} with {bins[fullest]}, "
            f"checksum {checksum(struct.pack('<256I', *bins))}: right\n")


def streams(half):
    squares = [mixed(i) ** 2 & MASK_32 for i in range(2 * half)]
    folded = [(3 * squares[i] + squares[half + i]) & MASK_32 for i in range(half)]
    return (f"streams: 2 x {half} numbers, "
            f"checksum {checksum(struct.pack(f'<{half}I', *folded))}: right\n")


def textures(size):
    count = size * size
    values = [mixed(i) % 1024 for i in range(3 * count)]
    last = size - 1
    averages = [sum(values[min(y + b, last) * size + min(x + a, last)] for a in (0, 1) for b in (0, 1)) / 4
                for y in range(size) for x in range(size)]
    sums = [3 * (values[i] + values[count + i] + values[2 * count + i]) for i in range(count)]
    both = (int(checksum(struct.pack(f"<{count}f", *averages)), 16)
            ^ int(checksum(struct.pack(f"<{count}f", *sums)), 16))
    return f"textures: {size} x {size}, checksum {both:016x}: right\n"


def graphs(size):
    # The factor of each launch: three launches each of a recorded graph, one built by hand, and that
    # one updated in two ways.
    factors = [factor for factor in (3, 7, 11, 13) for _ in range(3)]
    sums = [sum((mixed(i) + number) * (2 + 5 * factor) for number, factor in enumerate(factors, 1))
            & MASK_32 for i in range(size)]
    return (f"graphs: {size} numbers, {len(factors)} launches, "
            f"checksum {checksum(struct.pack(f'<{size}I', *sums))}: right\n")


def managed_memory(size):
    rounds = 4
    values = [mixed(i) for i in range(size)]
    for turn in range(rounds):
        values = [(value * 3 + 1) & MASK_32 for value in values]
        for i in range(turn, size, 1000):
            values[i] ^= 0x55
    return (f"managed_memory: {size} numbers, {rounds} rounds, "
            f"checksum {checksum(struct.pack(f'<{size}I', *values))}: right\n")


def zero_copy(size):
    sums = [(mixed(i + 2) + 7 * i) & MASK_32 for i in range(size)]
    return (f"zero_copy: {size} numbers, "
            f"checksum {checksum(struct.pack(f'<{size}I', *sums))}: right\n")


def separate(size):
    values = []
    for i in range(size):
        value = ~mixed(i) & MASK_32
        for factor in (3, 5, 7, 11, 13):
            turned = (value << 7 | value >> 25) & MASK_32
            value = (turned * factor + 1 & MASK_32) ^ factor
        values.append(value)
    return f"separate: {size} numbers, checksum {checksum(struct.pack(f'<{size}I', *values))}: right\n"


EXPECTED = {
    "vectorAdd": vector_add,
    "matrixMul": matrix_mul,
    "reduction": reduction,
    "histogram": histogram,
    "streams": streams,
    "textures": textures,
    "graphs": graphs,
    "managedMemory": managed_memory,
    "zeroCopy": zero_copy,
    "separate": separate,
}
