// Integer arithmetic, logic, shifts, bit fields, and selections of integers.
#include <algorithm>
#include <bit>

#include "tests/ptx/scalar_oracle.h"

namespace farwarp::ptx {
namespace {

using Signed = __int128;

uint64_t u(const Row& row, size_t n) {
  return static_cast<uint64_t>(row.sources[n]);
}

// The value that bits of a type mean.
Signed valueOf(const Number& n, uint64_t bits) {
  return n.is_signed ? Signed{signExtended(bits, n.bits())}
                     : Signed{static_cast<Signed>(lowBits(bits, n.bits()))};
}
Wide cut(Signed v, const Number& n) {
  return lowBitsOf(static_cast<Wide>(v), n.bits());
}
Signed clampTo(Signed v, const Number& n) {
  Signed most = (Signed{1} << (n.bits() - (n.is_signed ? 1 : 0))) - 1;
  return std::clamp(v, n.is_signed ? -most - 1 : Signed{0}, most);
}

// The last modifier that is a type; s32 for packed ones is asked for otherwise.
const Number& typeOf(const Instruction& in) {
  return *numberNamed(in.mod(-1));
}

Answer giveAndCarry(const Instruction& in, Wide sum, const Number& n, bool borrow) {
  Answer answer;
  answer.destinations[0] = lowBitsOf(sum, n.bits());
  if (in.has("cc")) {
    answer.carry =
        borrow ? static_cast<uint64_t>(sum >> 127 & 1) : static_cast<uint64_t>(sum >> n.bits() & 1);
  }
  return answer;
}

Answer addOrSubtract(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  uint64_t a = lowBits(u(row, 0), n.bits()), b = lowBits(u(row, 1), n.bits());
  bool carries = in.name == "addc" || in.name == "subc";
  uint64_t carry = carries ? row.carry : 0;
  bool subtract = in.name.starts_with("sub");
  Answer answer;
  if (in.has("sat")) {
    Signed v = subtract ? valueOf(n, a) - valueOf(n, b) : valueOf(n, a) + valueOf(n, b);
    answer.destinations[0] = cut(clampTo(v, n), n);
    return answer;
  }
  Wide sum = subtract ? Wide{a} - b - carry : Wide{a} + b + carry;
  return giveAndCarry(in, sum, n, subtract);
}

// The half of the product that .lo, .hi or .wide names.
Signed productOf(const Instruction& in, const Number& n, uint64_t a, uint64_t b) {
  if (n.bits() == 64) {
    Wide full = static_cast<Wide>(valueOf(n, a)) * static_cast<Wide>(valueOf(n, b));
    if (!in.has("hi")) return static_cast<Signed>(full);
    return n.is_signed ? static_cast<Signed>(full) >> 64 : static_cast<Signed>(full >> 64);
  }
  Signed full = valueOf(n, a) * valueOf(n, b);
  return in.has("hi") ? full >> n.bits() : full;
}

Answer multiply(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  Signed product = productOf(in, n, u(row, 0), u(row, 1));
  int bits = in.has("wide") ? 2 * n.bits() : n.bits();
  Answer answer;
  if (in.name == "mul") {
    answer.destinations[0] = lowBitsOf(static_cast<Wide>(product), bits);
  } else if (in.has("sat")) {
    answer.destinations[0] = cut(clampTo(product + valueOf(n, u(row, 2)), n), n);
  } else {
    Wide sum = lowBitsOf(static_cast<Wide>(product), bits) + lowBits(u(row, 2), bits) +
               (in.name == "madc" ? row.carry : 0);
    answer.destinations[0] = lowBitsOf(sum, bits);
    if (in.has("cc")) answer.carry = static_cast<uint64_t>(sum >> bits & 1);
  }
  return answer;
}

Answer multiply24(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  auto part = [&](uint64_t v) {
    return n.is_signed ? Signed{signExtended(v, 24)} : Signed{static_cast<Signed>(lowBits(v, 24))};
  };
  Signed product = part(u(row, 0)) * part(u(row, 1));
  if (in.has("hi")) product >>= 16;
  Answer answer;
  if (in.name == "mul24") {
    answer.destinations[0] = cut(product, n);
  } else if (in.has("sat")) {
    answer.destinations[0] = cut(
        clampTo(signExtended(static_cast<uint64_t>(product), 32) + valueOf(n, u(row, 2)), n), n);
  } else {
    answer.destinations[0] = cut(product + valueOf(n, u(row, 2)), n);
  }
  return answer;
}

Answer sumOfDifferences(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  Signed difference = valueOf(n, u(row, 0)) - valueOf(n, u(row, 1));
  Answer answer;
  answer.destinations[0] =
      cut((difference < 0 ? -difference : difference) + valueOf(n, u(row, 2)), n);
  return answer;
}

Answer divide(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  Signed a = valueOf(n, u(row, 0)), b = valueOf(n, u(row, 1));
  Answer answer;
  if (b == 0) {
    answer.undefined = true;
  } else {
    answer.destinations[0] = cut(in.name == "div" ? a / b : a % b, n);
  }
  return answer;
}

Answer absoluteOrNegative(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  Signed a = valueOf(n, u(row, 0));
  Answer answer;
  answer.destinations[0] = cut(in.name == "neg" || a < 0 ? -a : a, n);
  return answer;
}

// Both halves of a pair, each with the operation of its 16-bit type.
template <class Combine>
Wide ofHalves(const Number& n, uint64_t a, uint64_t b, Combine combine) {
  Wide pair = 0;
  for (int low = 0; low < 32; low += 16) {
    pair |= cut(combine(valueOf(n, a >> low), valueOf(n, b >> low)), n) << low;
  }
  return pair;
}

Answer lesserOrGreater(const Instruction& in, const Row& row) {
  bool is_min = in.name == "min", relu = in.has("relu");
  auto combine = [&](Signed a, Signed b) {
    Signed v = is_min ? std::min(a, b) : std::max(a, b);
    return relu ? std::max(v, Signed{0}) : v;
  };
  Answer answer;
  if (in.has("u16x2") || in.has("s16x2")) {
    answer.destinations[0] =
        ofHalves(*numberNamed(in.has("u16x2") ? "u16" : "s16"), u(row, 0), u(row, 1), combine);
    return answer;
  }
  const Number& n = typeOf(in);
  answer.destinations[0] = cut(combine(valueOf(n, u(row, 0)), valueOf(n, u(row, 1))), n);
  return answer;
}

Answer addPairs(const Instruction& in, const Row& row) {
  Answer answer;
  answer.destinations[0] = ofHalves(*numberNamed(in.has("u16x2") ? "u16" : "s16"), u(row, 0),
                                    u(row, 1), [](Signed a, Signed b) { return a + b; });
  return answer;
}

Answer dotProduct(const Instruction& in, const Row& row) {
  bool a_signed = in.mod(-2) == "s32", b_signed = in.mod(-1) == "s32";
  int parts = in.name == "dp4a" ? 4 : 2, width = 32 / parts, first = in.has("hi") ? 2 : 0;
  auto part = [](uint64_t v, int low, int bits, bool is_signed) {
    uint64_t cut = lowBits(v >> low, bits);
    return is_signed ? Signed{signExtended(cut, bits)} : Signed{static_cast<Signed>(cut)};
  };
  Signed sum = static_cast<Signed>(u(row, 2));
  for (int k = 0; k < parts; ++k) {
    sum +=
        part(u(row, 0), k * width, width, a_signed) * part(u(row, 1), (first + k) * 8, 8, b_signed);
  }
  Answer answer;
  answer.destinations[0] = cut(sum, *numberNamed("u32"));
  return answer;
}

Answer logic(const Instruction& in, const Row& row) {
  int bits = in.has("pred") ? 1 : typeOf(in).bits();
  uint64_t a = u(row, 0), b = u(row, 1), v = 0;
  if (in.name == "and") v = a & b;
  if (in.name == "or") v = a | b;
  if (in.name == "xor") v = a ^ b;
  if (in.name == "not") v = ~a;
  if (in.name == "cnot") v = lowBits(a, bits) == 0 ? 1 : 0;
  Answer answer;
  answer.destinations[0] = lowBits(v, bits);
  return answer;
}

Answer anyLogic(const Instruction& in, const Row& row) {
  uint64_t table = u(row, 3), v = 0;
  for (int k = 0; k < 32; ++k) {
    uint64_t index = (u(row, 0) >> k & 1) << 2 | (u(row, 1) >> k & 1) << 1 | (u(row, 2) >> k & 1);
    v |= (table >> index & 1) << k;
  }
  Answer answer;
  answer.destinations[0] = v;
  if (in.has("or")) answer.destinations[1] = v != 0 || u(row, 4) != 0 ? 1 : 0;
  if (in.has("and")) answer.destinations[1] = v != 0 && u(row, 4) != 0 ? 1 : 0;
  return answer;
}

Answer shift(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  int count = static_cast<int>(std::min<uint64_t>(u(row, 1), 127));
  Signed a = n.is_signed ? valueOf(n, u(row, 0))
                         : Signed{static_cast<Signed>(lowBits(u(row, 0), n.bits()))};
  Answer answer;
  // Left: the bits that are left of what fits are cut anyway, so 64 of them are enough.
  if (in.name == "shl")
    answer.destinations[0] =
        count >= n.bits() ? Wide{0} : lowBitsOf(static_cast<Wide>(a) << count, n.bits());
  else
    answer.destinations[0] = cut(a >> count, n);
  return answer;
}

Answer funnel(const Instruction& in, const Row& row) {
  uint64_t count = in.has("wrap") ? u(row, 2) & 31 : std::min<uint64_t>(u(row, 2), 32);
  uint64_t both = u(row, 1) << 32 | u(row, 0);  // b above a
  Answer answer;
  answer.destinations[0] =
      lowBits(in.has("l") ? (count == 0 ? u(row, 1) : both >> (32 - count)) : both >> count, 32);
  return answer;
}

Answer countBits(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  uint64_t a = lowBits(u(row, 0), n.bits());
  int ones = 0, zeros = 0;
  for (int k = 0; k < n.bits(); ++k) ones += static_cast<int>(a >> k & 1);
  for (int k = n.bits() - 1; k >= 0 && (a >> k & 1) == 0; --k) ++zeros;
  Answer answer;
  answer.destinations[0] = static_cast<uint64_t>(in.name == "popc" ? ones : zeros);
  return answer;
}

Answer findBit(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  uint64_t a = lowBits(u(row, 0), n.bits());
  if (n.is_signed && (a & n.sign()) != 0) a = lowBits(~a, n.bits());
  uint64_t found = 0xffffffff;
  for (int k = 0; k < n.bits(); ++k) {
    if ((a >> k & 1) != 0) found = static_cast<uint64_t>(in.has("shiftamt") ? n.bits() - 1 - k : k);
  }
  Answer answer;
  answer.destinations[0] = found;
  return answer;
}

Answer reverseBits(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  uint64_t v = 0;
  for (int k = 0; k < n.bits(); ++k) v |= (u(row, 0) >> k & 1) << (n.bits() - 1 - k);
  Answer answer;
  answer.destinations[0] = v;
  return answer;
}

Answer bitField(const Instruction& in, const Row& row) {
  const Number& n = typeOf(in);
  bool insert = in.name == "bfi";
  size_t at = insert ? 2 : 1;
  int position = static_cast<int>(u(row, at) & 255),
      length = static_cast<int>(u(row, at + 1) & 255);
  uint64_t a = u(row, 0), v = insert ? lowBits(u(row, 1), n.bits()) : 0;
  int last = std::min(position + length - 1, n.bits() - 1);
  bool sign = !insert && n.is_signed && length != 0 && (a >> last & 1) != 0;
  for (int k = 0; k < n.bits(); ++k) {
    bool inside = k < length && position + k < n.bits();
    if (insert && inside) {
      uint64_t bit = uint64_t{1} << (position + k);
      v = (v & ~bit) | (a >> k & 1) << (position + k);
    }
    if (!insert) v |= (inside ? a >> (position + k) & 1 : uint64_t{sign}) << k;
  }
  Answer answer;
  answer.destinations[0] = v;
  return answer;
}

Answer permute(const Instruction& in, const Row& row) {
  // For each of four selectors, the bytes that become bytes 3, 2, 1 and 0.
  struct Mode {
    std::string_view name;
    int bytes[4][4];
  };
  static constexpr Mode kModes[] = {
      {"f4e", {{3, 2, 1, 0}, {4, 3, 2, 1}, {5, 4, 3, 2}, {6, 5, 4, 3}}},
      {"b4e", {{5, 6, 7, 0}, {6, 7, 0, 1}, {7, 0, 1, 2}, {0, 1, 2, 3}}},
      {"rc8", {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}}},
      {"ecl", {{3, 2, 1, 0}, {3, 2, 1, 1}, {3, 2, 2, 2}, {3, 3, 3, 3}}},
      {"ecr", {{0, 0, 0, 0}, {1, 1, 1, 0}, {2, 2, 1, 0}, {3, 2, 1, 0}}},
      {"rc16", {{1, 0, 1, 0}, {3, 2, 3, 2}, {1, 0, 1, 0}, {3, 2, 3, 2}}},
  };
  uint64_t bytes = u(row, 1) << 32 | u(row, 0), selector = u(row, 2), v = 0;
  const Mode* mode = nullptr;
  for (const Mode& m : kModes) {
    if (in.has(m.name)) mode = &m;
  }
  for (int k = 0; k < 4; ++k) {
    uint64_t nibble = mode != nullptr ? static_cast<uint64_t>(mode->bytes[selector & 3][3 - k])
                                      : selector >> (4 * k) & 15;
    uint64_t byte = bytes >> (8 * (nibble & 7)) & 255;
    if (nibble >= 8) byte = byte >= 128 ? 255 : 0;
    v |= byte << (8 * k);
  }
  Answer answer;
  answer.destinations[0] = v;
  return answer;
}

Answer bitMask(const Instruction& in, const Row& row) {
  bool clamp = in.has("clamp");
  uint64_t start = u(row, 0), width = u(row, 1), v = 0;
  if (!clamp) start &= 31, width &= 31;
  for (uint64_t k = 0; k < 32; ++k) {
    // Not start + width > k, which could wrap.
    if (k >= start && k - start < width) v |= uint64_t{1} << k;
  }
  Answer answer;
  answer.destinations[0] = v;
  return answer;
}

Answer extendSign(const Instruction& in, const Row& row) {
  uint64_t width = u(row, 1);
  if (in.has("wrap")) width &= 31;
  int bits = static_cast<int>(std::min<uint64_t>(width, 32));
  uint64_t v = bits == 0       ? 0
               : in.has("s32") ? lowBits(static_cast<uint64_t>(signExtended(u(row, 0), bits)), 32)
                               : lowBits(u(row, 0), bits);
  Answer answer;
  answer.destinations[0] = v;
  return answer;
}

Answer findNthSet(const Instruction&, const Row& row) {
  uint64_t mask = u(row, 0), base = u(row, 1), v = 0xffffffff;
  auto offset = static_cast<int32_t>(u(row, 2));
  Answer answer;
  if (base > 31) {
    answer.undefined = true;
    return answer;
  }
  if (offset == 0) {
    if ((mask >> base & 1) != 0) v = base;
  } else {
    int64_t left = offset < 0 ? -int64_t{offset} : int64_t{offset};
    for (int64_t at = static_cast<int64_t>(base); at >= 0 && at < 32; at += offset < 0 ? -1 : 1) {
      if ((mask >> at & 1) != 0 && --left == 0) {
        v = static_cast<uint64_t>(at);
        break;
      }
    }
  }
  answer.destinations[0] = v;
  return answer;
}

Answer compareIntegers(const Instruction& in, const Row& row) {
  std::string_view how = in.modifiers[0];
  const Number& n = typeOf(in);
  Signed a = valueOf(n, u(row, 0)), b = valueOf(n, u(row, 1));
  bool holds = how == "eq"                  ? a == b
               : how == "ne"                ? a != b
               : how == "lt" || how == "lo" ? a < b
               : how == "le" || how == "ls" ? a <= b
               : how == "gt" || how == "hi" ? a > b
                                            : a >= b;
  Answer answer;
  if (in.name == "set") {
    answer.destinations[0] = !holds ? 0u : in.mod(1) == "f32" ? 0x3f800000u : 0xffffffffu;
    return answer;
  }
  auto joined = [&](bool v) {
    if (in.sources.size() < 3) return v;
    bool other = (u(row, 2) != 0) != in.sources[2].negated;
    return in.has("and") ? v && other : in.has("or") ? v || other : v != other;
  };
  answer.destinations[0] = Wide{joined(holds)};
  answer.destinations[1] = Wide{joined(!holds)};
  return answer;
}

Answer select(const Instruction& in, const Row& row) {
  Answer answer;
  if (in.name == "selp") {
    answer.destinations[0] = u(row, 2) != 0 ? row.sources[0] : row.sources[1];
  } else if (in.mod(-1) == "f32") {
    answer.destinations[0] = doubleOf(kF32, u(row, 2)) >= 0 ? row.sources[0] : row.sources[1];
  } else {
    answer.destinations[0] = signExtended(u(row, 2), 32) >= 0 ? row.sources[0] : row.sources[1];
  }
  return answer;
}

}  // namespace

Oracle integerOracle(const Instruction& in) {
  const std::string& name = in.name;
  const Number* n = numberNamed(in.mod(-1));
  bool pairs = in.has("u16x2") || in.has("s16x2");
  if ((name == "min" || name == "max") && (pairs || (n != nullptr && !n->isFloat())))
    return lesserOrGreater;
  if (name == "add" && pairs) return addPairs;
  if (name == "selp" || name == "slct") return select;
  if (name == "prmt") return permute;
  if (name == "and" || name == "or" || name == "xor" || name == "not" || name == "cnot")
    return logic;
  if (n == nullptr || n->isFloat()) return nullptr;
  struct Known {
    std::string_view name;
    Oracle oracle;
  };
  static constexpr Known kKnown[] = {
      {"add", addOrSubtract},
      {"sub", addOrSubtract},
      {"addc", addOrSubtract},
      {"subc", addOrSubtract},
      {"mul", multiply},
      {"mad", multiply},
      {"madc", multiply},
      {"mul24", multiply24},
      {"mad24", multiply24},
      {"sad", sumOfDifferences},
      {"div", divide},
      {"rem", divide},
      {"abs", absoluteOrNegative},
      {"neg", absoluteOrNegative},
      {"dp4a", dotProduct},
      {"dp2a", dotProduct},
      {"lop3", anyLogic},
      {"shl", shift},
      {"shr", shift},
      {"shf", funnel},
      {"popc", countBits},
      {"clz", countBits},
      {"bfind", findBit},
      {"brev", reverseBits},
      {"bfe", bitField},
      {"bfi", bitField},
      {"bmsk", bitMask},
      {"szext", extendSign},
      {"fns", findNthSet},
      {"setp", compareIntegers},
      {"set", compareIntegers},
  };
  for (const Known& known : kKnown) {
    if (name == known.name) return known.oracle;
  }
  return nullptr;
}

}  // namespace farwarp::ptx
