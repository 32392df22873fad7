// Loads, stores and atomic operations on a cell of 32 bytes, and what the threads of a warp tell
// each other.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "tests/ptx/scalar_oracle.h"

namespace farwarp::ptx {
namespace {

uint64_t u(const Row& row, size_t n) {
  return static_cast<uint64_t>(row.sources[n]);
}

int bytesNamed(std::string_view type) {
  if (type == "b128") return 16;
  if (type == "f16x2" || type == "bf16x2") return 4;
  const Number* n = numberNamed(type);
  return n != nullptr ? n->bytes : 0;
}

int vectorOf(const Instruction& in) {
  return in.has("v2") ? 2 : in.has("v4") ? 4 : in.has("v8") ? 8 : 1;
}

Wide readCell(const std::array<uint64_t, kCellWords>& cell, int offset, int bytes) {
  Wide v = 0;
  std::memcpy(&v, reinterpret_cast<const char*>(cell.data()) + offset, static_cast<size_t>(bytes));
  return v;
}
void writeCell(std::array<uint64_t, kCellWords>& cell, int offset, int bytes, Wide v) {
  std::memcpy(reinterpret_cast<char*>(cell.data()) + offset, &v, static_cast<size_t>(bytes));
}

Answer load(const Instruction& in, const Row& row) {
  int bytes = bytesNamed(in.mod(-1));
  const Number* n = numberNamed(in.mod(-1));
  Answer answer;
  for (int k = 0; k < vectorOf(in); ++k) {
    Wide v = readCell(row.cell, k * bytes, bytes);
    // A signed number fills a wider register with its sign.
    if (n != nullptr && !n->isFloat() && n->is_signed) {
      v = static_cast<uint64_t>(signExtended(static_cast<uint64_t>(v), n->bits()));
    }
    answer.destinations[static_cast<size_t>(k)] = v;
  }
  return answer;
}

Answer store(const Instruction& in, const Row& row) {
  int bytes = bytesNamed(in.mod(-1));
  Answer answer;
  answer.cell = row.cell;
  for (int k = 0; k < vectorOf(in); ++k) {
    writeCell(*answer.cell, k * bytes, bytes, row.sources[static_cast<size_t>(k) + 1]);
  }
  return answer;
}

constexpr std::string_view kOperations[] = {"add", "min",  "max", "and", "or",
                                            "xor", "exch", "inc", "dec", "cas"};
std::string_view operationOf(const Instruction& in) {
  for (std::string_view op : kOperations) {
    if (in.has(op)) return op;
  }
  return {};
}

// A sum of floats; what flushes subnormals differs between kinds of memory and formats.
uint64_t sumOf(const Number& n, uint64_t a, uint64_t b, bool& certain) {
  const uint64_t values[3] = {a, b, 0};
  uint64_t sum = rounded(
      n, n, values, [](auto r, auto x, auto y, auto, auto m) { return mpfr_add(r, x, y, m); },
      MPFR_RNDN);
  for (uint64_t v : {a, b, sum}) {
    uint64_t magnitude = v & ~n.sign();
    if (magnitude != 0 && magnitude < n.leastNormal()) certain = certain && &n != &kF32;
    if (isNan(n, v)) certain = false;
  }
  return sum;
}

Wide updated(const Instruction& in, std::string_view type, Wide old, Wide b, Wide c,
             bool& certain) {
  std::string_view op = operationOf(in);
  int bits = bytesNamed(type) * 8;
  if (op == "exch") return b;
  if (op == "cas") return old == b ? c : old;
  auto x = static_cast<uint64_t>(old), y = static_cast<uint64_t>(b);
  if (type == "f16x2" || type == "bf16x2") {
    const Number& n = type == "f16x2" ? kF16 : kBf16;
    return sumOf(n, x & 0xffff, y & 0xffff, certain) | sumOf(n, x >> 16, y >> 16, certain) << 16;
  }
  const Number& n = *numberNamed(type);
  if (n.isFloat()) return sumOf(n, x, y, certain);
  bool less = n.is_signed ? signExtended(x, bits) < signExtended(y, bits) : x < y;
  uint64_t v = op == "add"   ? x + y
               : op == "min" ? (less ? x : y)
               : op == "max" ? (less ? y : x)
               : op == "and" ? x & y
               : op == "or"  ? x | y
               : op == "xor" ? x ^ y
               : op == "inc" ? (x >= y ? 0 : x + 1)
                             : (x == 0 || x > y ? y : x - 1);
  return lowBits(v, bits);
}

Answer atomic(const Instruction& in, const Row& row) {
  std::string_view type = in.mod(-1);
  int bytes = bytesNamed(type);
  bool certain = true;
  Answer answer;
  answer.cell = row.cell;
  for (int k = 0; k < vectorOf(in); ++k) {
    Wide old = readCell(row.cell, k * bytes, bytes);
    auto at = static_cast<size_t>(k);
    writeCell(*answer.cell, k * bytes, bytes,
              updated(in, type, old, row.sources[at + 1], row.sources[at + 2], certain));
    answer.destinations[at] = old;
  }
  answer.undefined = !certain;
  return answer;
}

void shuffle(const Instruction& in, std::span<const Row, 32> rows, std::span<Answer, 32> answers) {
  for (int lane = 0; lane < 32; ++lane) {
    const Row& row = rows[static_cast<size_t>(lane)];
    int b = static_cast<int>(u(row, 1) & 31), clamp = static_cast<int>(u(row, 2) & 31),
        segment = static_cast<int>(u(row, 2) >> 8 & 31);
    int most = (lane & segment) | (clamp & ~segment), least = lane & segment;
    int from = in.has("up")     ? lane - b
               : in.has("down") ? lane + b
               : in.has("bfly") ? lane ^ b
                                : least | (b & ~segment);
    bool valid = in.has("up") ? from >= most : from <= most;
    Answer& answer = answers[static_cast<size_t>(lane)];
    answer.destinations[0] = rows[static_cast<size_t>(valid ? from : lane)].sources[0];
    answer.destinations[1] = Wide{valid};
  }
}

void vote(const Instruction& in, std::span<const Row, 32> rows, std::span<Answer, 32> answers) {
  uint64_t ballot = 0;
  for (size_t k = 0; k < 32; ++k) ballot |= uint64_t{u(rows[k], 0) != 0} << k;
  uint64_t v = in.has("ballot") ? ballot
               : in.has("all")  ? ballot == 0xffffffff
               : in.has("any")  ? ballot != 0
                                : ballot == 0 || ballot == 0xffffffff;
  for (Answer& answer : answers) answer.destinations[0] = v;
}

void match(const Instruction& in, std::span<const Row, 32> rows, std::span<Answer, 32> answers) {
  for (size_t k = 0; k < 32; ++k) {
    uint64_t same = 0;
    for (size_t j = 0; j < 32; ++j) same |= uint64_t{rows[j].sources[0] == rows[k].sources[0]} << j;
    answers[k].destinations[0] = in.has("any") || same == 0xffffffff ? same : 0;
  }
}

uint64_t reducedFloat(const Instruction& in, std::span<const Row, 32> rows) {
  uint64_t best = kF32.nan;
  for (const Row& row : rows) {
    uint64_t v = u(row, 0);
    if (in.has("abs")) v &= ~kF32.sign();
    if (isNan(kF32, v)) {
      if (in.has("NaN")) return kF32.nan;
      continue;
    }
    double x = doubleOf(kF32, v), y = doubleOf(kF32, best);
    bool first = x < y || (x == y && std::signbit(x));
    if (y != y || first == in.has("min")) best = v;
  }
  return best;
}

void reduce(const Instruction& in, std::span<const Row, 32> rows, std::span<Answer, 32> answers) {
  const Number& n = *numberNamed(in.mod(-1));
  uint64_t v = u(rows[0], 0);
  for (size_t k = 1; k < 32 && !n.isFloat(); ++k) {
    uint64_t x = u(rows[k], 0);
    bool less = n.is_signed ? signExtended(v, 32) < signExtended(x, 32) : v < x;
    v = in.has("add")   ? v + x
        : in.has("min") ? (less ? v : x)
        : in.has("max") ? (less ? x : v)
        : in.has("and") ? v & x
        : in.has("or")  ? v | x
                        : v ^ x;
  }
  if (n.isFloat()) v = reducedFloat(in, rows);
  for (Answer& answer : answers) answer.destinations[0] = lowBits(v, 32);
}

void elect(const Instruction& in, std::span<const Row, 32>, std::span<Answer, 32> answers) {
  for (size_t k = 0; k < 32; ++k) {
    answers[k].destinations[0] = in.name == "elect" ? Wide{0} : Wide{0xffffffff};
    answers[k].destinations[1] = Wide{k == 0};
  }
}

}  // namespace

Oracle memoryOracle(const Instruction& in) {
  if (in.has("const") || in.has("async") || in.has("bulk") || in.sources.empty()) return nullptr;
  if (in.name == "ld") return load;
  if (in.name == "st") return store;
  if (in.name == "atom" || in.name == "red") return operationOf(in).empty() ? nullptr : atomic;
  return nullptr;
}

WarpOracle warpOracle(const Instruction& in) {
  if (in.name == "shfl") return shuffle;
  if (in.name == "vote") return vote;
  if (in.name == "match") return match;
  if (in.name == "redux") return reduce;
  if (in.name == "elect" || in.name == "activemask") return elect;
  return nullptr;
}

}  // namespace farwarp::ptx
