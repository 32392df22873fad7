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


def tensor_cores(tiles):
    size = 16 * tiles
    count = size * size
    a = [mixed(i) % 8 - 4 for i in range(count)]
    b = [mixed(i + count) % 8 - 4 for i in range(count)]
    columns = [b[column::size] for column in range(size)]
    rows = [a[row * size : (row + 1) * size] for row in range(size)]
    product = [sum(x * y for x, y in zip(row, column)) for row in rows for column in columns]
    return f"tensorCores: {size} x {size}, checksum {checksum(struct.pack(f'<{count}i', *product))}: right\n"


def ask_warp(values):
    """What the 32 lanes of a warp with these values answer (kernels/samples/warp_functions.cu)."""
    odd = sum((value & 1) << lane for lane, value in enumerate(values))
    total, greatest, mix = sum(values) & MASK_32, max(values), 0
    for value in values:
        mix ^= value
    all_same = len({value >> 31 for value in values}) == 1
    results = []
    for lane, value in enumerate(values):
        same = sum(1 << k for k, other in enumerate(values) if other & 3 == value & 3)
        funnel = (greatest << 32 | total) << lane >> 32 & MASK_32
        picked = struct.pack("<II", mix, values[value % 32])
        result = odd ^ same * 3 & MASK_32 ^ funnel
        result += int.from_bytes([picked[5], picked[1], picked[7], picked[3]], "little")
        result += int(f"{values[lane ^ 31]:032b}"[::-1], 2) + same.bit_count() + all_same
        result += sum(p * q for p, q in zip(struct.pack("<I", value), struct.pack("<I", odd)))
        results.append(result & MASK_32)
    chosen = [lane for lane, value in enumerate(values) if value & 4]
    if chosen:
        first = results[chosen[0]] + 31 - chosen[-1] & MASK_32
        for lane in chosen:
            results[lane] ^= first
    return results


def warp_functions(size):
    values = [mixed(i) for i in range(size)] + [0] * (-size % 32)
    results = [result for at in range(0, len(values), 32) for result in ask_warp(values[at : at + 32])]
    return (f"warpFunctions: {size} numbers, "
            f"checksum {checksum(struct.pack(f'<{size}I', *results[:size]))}: right\n")


def leading(value, bits, rounding):
    """`value` with its leading bits only: rounded "down", "up" or to the "nearest", ties to even."""
    drop = max(0, value.bit_length() - bits)
    kept, rest = value >> drop, value & ((1 << drop) - 1)
    if rounding == "up":
        kept += rest != 0
    elif rounding == "nearest":
        kept += 2 * rest > 1 << drop or (2 * rest == 1 << drop and kept & 1 and drop > 0)
    return kept << drop


def number_formats(size):
    folded = 0
    for i in range(size):
        wide_a, wide_b = mixed(i), mixed(size + i)
        a, b, x = wide_a % 32, wide_b % 32, wide_a << 32 | wide_b
        of_bytes = list(zip(struct.pack("<I", wide_a), struct.pack("<I", wide_b)))
        results = (
            a * b + 1, a * 2 << 16 | b * 3, leading(a * b, 8, "nearest"), leading(a, 4, "nearest"),
            leading(wide_a * wide_b + 1, 53, "nearest") // 2,
            leading(wide_a, 24, "down"), leading(wide_a, 24, "up"),
            x * (x ^ MASK_64) >> 64, (x * 3 + (x ^ MASK_64)) >> 32 & MASK_64,
            int.from_bytes(bytes((p + q) & 0xFF for p, q in of_bytes), "little"),
            int.from_bytes(bytes(abs(p - q) for p, q in of_bytes), "little"))
        for result in results:
            folded = (folded * 31 + result) & MASK_64
    return f"numberFormats: {size} numbers, folded {folded:016x}: right\n"


def grid_scan(size):
    sums, total = [], 0
    for i in range(size):
        total = total + mixed(i) & MASK_32
        sums.append(total)
    return (f"gridScan: {size} numbers, 32 threads were in the section, "
            f"checksum {checksum(struct.pack(f'<{size}I', *sums))}: right\n")


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
    "tensorCores": tensor_cores,
    "warpFunctions": warp_functions,
    "numberFormats": number_formats,
    "gridScan": grid_scan,
}
