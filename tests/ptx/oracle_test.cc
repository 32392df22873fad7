// Goal: arithmetic of halves, conversions between all number types, comparisons and packed singles
// give the bits that the formats define, at every edge. Method: tables of instructions over edge
// and random bit patterns, each result computed again with MPFR in the precision and the range of
// the destination; comparisons by their definition.
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <random>

#include "tests/ptx/harness.h"
#include "tests/ptx/number_formats.h"

namespace farwarp::ptx {
namespace {

using Row = std::array<uint64_t, 3>;

uint64_t rounded(const Number& to, const Number& from, const Row& row, Operation operation,
                 mpfr_rnd_t mode) {
  const uint64_t values[3] = {row[0], row[1], row[2]};
  return rounded(to, from, values, operation, mode);
}

constexpr unsigned kSeed = 20261120;

std::vector<uint64_t> patterns(const Number& n) {
  std::mt19937_64 random(kSeed);
  std::vector<uint64_t> list;
  uint64_t mask = maskOf(n), sign = uint64_t{1} << (n.bits() - 1);
  if (n.isFloat()) {
    uint64_t one = bitsOf(n, 1), infinity = bitsOf(n, INFINITY),
             least = uint64_t{1} << n.mantissa_bits;
    for (uint64_t v : {uint64_t{0}, uint64_t{1}, least / 2, least - 1, least, least + 1, one,
                       one + 1, one - 1, bitsOf(n, 1.5), bitsOf(n, 2.5), bitsOf(n, 0.5),
                       infinity - 1, infinity, infinity | least / 2}) {
      list.push_back(v);
      list.push_back(v | sign);
    }
    for (double v : {127.5, 128.0, 255.5, 32767.5, 65504.0, 2147483648.0, 4294967296.0, 9.3e18}) {
      if (v > std::ldexp(1, n.bias())) continue;
      mpfr_set_emin(mpfr_get_emin_min());
      mpfr_set_emax(mpfr_get_emax_max());
      Real near(n.mantissa_bits + 1);
      mpfr_set_d(near, v, MPFR_RNDZ);
      uint64_t bits = bitsOf(n, mpfr_get_d(near, MPFR_RNDN));
      for (uint64_t k : {bits - 1, bits, bits + 1}) list.push_back(k), list.push_back(k | sign);
    }
  } else {
    for (uint64_t v : {uint64_t{0}, uint64_t{1}, mask, sign, sign - 1, sign + 1, mask - 1, mask / 3,
                       (uint64_t{1} << 24) + 1, (uint64_t{1} << 53) + 1}) {
      list.push_back(v & mask);
    }
  }
  while (list.size() < 96) list.push_back(random() & mask);
  return list;
}

// Triples in which every pattern meets many others.
std::vector<Row> rowsOf(const Number& n, size_t count = 4096) {
  std::mt19937_64 random(kSeed + 1);
  std::vector<uint64_t> list = patterns(n);
  std::vector<Row> rows;
  for (size_t k = 0; k < count; ++k) {
    rows.push_back({list[k % list.size()], list[k / list.size() * 7 % list.size() + 0],
                    list[random() % list.size()]});
  }
  return rows;
}

const char* registerOf(int bytes) {
  return bytes == 1 ? "b16" : bytes == 2 ? "b16" : bytes == 4 ? "b32" : "b64";
}

// %d = instruction of %a, %b, %c for every row.
std::vector<uint64_t> execute(const std::string& instruction, int out_bytes, int in_bytes,
                              const std::vector<Row>& rows, const std::string& more = "") {
  TestDevice device;
  std::string in = registerOf(in_bytes), out = registerOf(out_bytes);
  std::string registers =
      ".reg ." + in + " %a, %b, %c; .reg ." + out + " %d; .reg .pred %p, %q;" + more;
  std::string body = "mad.wide.u32 %at, %tidx, 24, %in0;\n";
  for (int k = 0; k < 3; ++k) {
    body += "ld.global.b" + std::to_string(in_bytes * 8) + " %" + "abc"[k] + ", [%at+" +
            std::to_string(8 * k) + "];\n";
  }
  body += instruction + "\nmad.wide.u32 %at, %tidx, 8, %out; st.global.b" +
          std::to_string(out_bytes * 8) + " [%at], %d;";
  TestModule module(device, kernelText(registers, body));
  std::vector<uint64_t> results(rows.size());
  if (!module) return results;
  auto* given = device.allocateArray<Row>(rows.size());
  auto* results_at = device.allocateArray<uint64_t>(rows.size());
  std::copy(rows.begin(), rows.end(), given);
  auto blocks = static_cast<uint32_t>(rows.size() / 128);
  EXPECT_EQ(module.launch("k", {blocks}, {128}, 0, results_at, given).status, LaunchStatus::ok);
  std::copy(results_at, results_at + rows.size(), results.begin());
  return results;
}

const std::pair<const char*, mpfr_rnd_t> kModes[] = {
    {"rn", MPFR_RNDN}, {"rz", MPFR_RNDZ}, {"rm", MPFR_RNDD}, {"rp", MPFR_RNDU}};
const std::pair<const char*, Operation> kArithmetic[] = {
    {"add", [](auto r, auto a, auto b, auto, auto m) { return mpfr_add(r, a, b, m); }},
    {"sub", [](auto r, auto a, auto b, auto, auto m) { return mpfr_sub(r, a, b, m); }},
    {"mul", [](auto r, auto a, auto b, auto, auto m) { return mpfr_mul(r, a, b, m); }},
    {"fma", [](auto r, auto a, auto b, auto c, auto m) { return mpfr_fma(r, a, b, c, m); }},
};
const Operation kCopy = [](auto r, auto a, auto, auto, auto m) { return mpfr_set(r, a, m); };

std::string operandsOf(const std::string& name) {
  return name == "fma" ? " %d, %a, %b, %c;" : " %d, %a, %b;";
}

// NaN of f64 results has no fixed bits: the oracle's stands for any.
bool sameBits(const Number& n, uint64_t got, uint64_t want) {
  return n.nan == 0 && isNan(n, want) ? isNan(n, got) : got == want;
}

void compare(const Number& to, const std::vector<uint64_t>& got, const std::vector<Row>& rows,
             const std::function<uint64_t(const Row&)>& want) {
  for (size_t k = 0; k < rows.size(); ++k) {
    uint64_t expected = want(rows[k]);
    ASSERT_TRUE(sameBits(to, got[k] & maskOf(to), expected))
        << std::hex << "a " << rows[k][0] << " b " << rows[k][1] << " c " << rows[k][2] << " got "
        << got[k] << " want " << expected;
  }
}

TEST(Oracle, HalvesRoundOnce) {
  for (const Number& n : {kF16, kBf16}) {
    std::vector<Row> rows = rowsOf(n);
    for (const auto& [name, operation] : kArithmetic) {
      const Operation& op = operation;
      std::string text = std::string(name) + ".rn." + n.name + operandsOf(name);
      SCOPED_TRACE(text);
      compare(n, execute(text, 2, 2, rows), rows,
              [&](const Row& row) { return rounded(n, n, row, op, MPFR_RNDN); });
    }
  }
}

TEST(Oracle, HalvesSaturateAndCutOffNegatives) {
  std::vector<Row> rows = rowsOf(kF16);
  auto fma = [&](const Row& row) {
    return rounded(kF16, kF16, row, kArithmetic[3].second, MPFR_RNDN);
  };
  compare(kF16, execute("fma.rn.sat.f16 %d, %a, %b, %c;", 2, 2, rows), rows, [&](const Row& row) {
    double v = doubleOf(kF16, fma(row));
    return bitsOf(kF16, v > 0 ? std::min(v, 1.0) : 0.0);
  });
  compare(kF16, execute("fma.rn.relu.f16 %d, %a, %b, %c;", 2, 2, rows), rows, [&](const Row& row) {
    double v = doubleOf(kF16, fma(row));
    return v != v ? kF16.nan : bitsOf(kF16, v > 0 ? v : 0.0);
  });
}

// add, sub and fma of f32 with operands of 16 bits, which are exact as f32.
TEST(Oracle, SinglesWithOperandsOf16Bits) {
  for (const Number& half : {kF16, kBf16}) {
    std::vector<Row> rows = rowsOf(half), singles = rowsOf(kF32);
    for (size_t k = 0; k < rows.size(); ++k) rows[k][2] = singles[k][2];
    for (const auto& [mode, rounding] : kModes) {
      for (const auto& [name, operation] : kArithmetic) {
        if (name == std::string("mul")) continue;
        const bool fma = name == std::string("fma");
        const Operation& op = operation;
        const mpfr_rnd_t how = rounding;
        std::string text = std::string(name) + "." + mode + ".f32." + half.name;
        SCOPED_TRACE(text);
        text = "cvt.u16.u32 %x, %a; cvt.u16.u32 %y, %b; " + text +
               (fma ? " %d, %x, %y, %c;" : " %d, %x, %c;");
        compare(kF32, execute(text, 4, 4, rows, ".reg .b16 %x, %y;"), rows, [&](const Row& row) {
          auto widened = [&](uint64_t bits) {
            return isNan(half, bits) ? kF32.nan : bitsOf(kF32, doubleOf(half, bits));
          };
          Row exact = {widened(row[0]), fma ? widened(row[1]) : row[2], row[2]};
          return rounded(kF32, kF32, exact, op, how);
        });
      }
    }
  }
}

// Two rows' values in one register: the low and the high half.
TEST(Oracle, PairsOfSinglesAreTwoSingles) {
  std::vector<Row> rows = rowsOf(kF32), packed;
  for (size_t k = 0; k < rows.size(); ++k) {
    const Row& other = rows[(k * 31 + 5) % rows.size()];
    packed.push_back(
        {rows[k][0] | other[0] << 32, rows[k][1] | other[1] << 32, rows[k][2] | other[2] << 32});
  }
  for (const auto& [name, operation] : kArithmetic) {
    for (const auto& [mode, rounding] : kModes) {
      const Operation& op = operation;
      mpfr_rnd_t how = rounding;
      std::string text = std::string(name) + "." + mode + ".f32x2" + operandsOf(name);
      SCOPED_TRACE(text);
      std::vector<uint64_t> got = execute(text, 8, 8, packed);
      for (size_t k = 0; k < rows.size(); ++k) {
        const Row& other = rows[(k * 31 + 5) % rows.size()];
        uint64_t want = rounded(kF32, kF32, rows[k], op, how) | rounded(kF32, kF32, other, op, how)
                                                                    << 32;
        ASSERT_EQ(got[k], want) << std::hex << k;
      }
    }
  }
}

TEST(Oracle, ConversionsBetweenFloatsRoundAsAsked) {
  struct Pair {
    const Number *to, *from;
    std::vector<int> modes;
  };
  for (const Pair& pair : {Pair{&kF32, &kF64, {0, 1, 2, 3}}, Pair{&kF16, &kF32, {0, 1}},
                           Pair{&kBf16, &kF32, {0, 1}}, Pair{&kF16, &kF64, {0, 1, 2, 3}}}) {
    const Number &to = *pair.to, &from = *pair.from;
    std::vector<Row> rows = rowsOf(from);
    for (int m : pair.modes) {
      std::string text =
          std::string("cvt.") + kModes[m].first + "." + to.name + "." + from.name + " %d, %a;";
      SCOPED_TRACE(text);
      compare(to, execute(text, to.bytes, from.bytes, rows), rows,
              [&](const Row& row) { return rounded(to, from, row, kCopy, kModes[m].second); });
    }
  }
  for (const Pair& pair : {Pair{&kF64, &kF32, {}}, Pair{&kF32, &kF16, {}}, Pair{&kF32, &kBf16, {}},
                           Pair{&kF64, &kF16, {}}}) {
    const Number &to = *pair.to, &from = *pair.from;
    std::vector<Row> rows = rowsOf(from);
    std::string text = std::string("cvt.") + to.name + "." + from.name + " %d, %a;";
    SCOPED_TRACE(text);
    std::vector<uint64_t> got = execute(text, to.bytes, from.bytes, rows);
    for (size_t k = 0; k < rows.size(); ++k) {
      if (isNan(from, rows[k][0])) {
        ASSERT_TRUE(isNan(to, got[k])) << std::hex << rows[k][0] << " " << got[k];
      } else {
        ASSERT_EQ(got[k], bitsOf(to, doubleOf(from, rows[k][0]))) << std::hex << rows[k][0];
      }
    }
  }
}

TEST(Oracle, ConversionsToIntegersRoundAndClamp) {
  struct Mode {
    const char* name;
    double (*round)(double);
  };
  constexpr Mode kRound[] = {
      {"rni", std::nearbyint}, {"rzi", std::trunc}, {"rmi", std::floor}, {"rpi", std::ceil}};
  for (const Number& from : {kF16, kF32, kF64}) {
    std::vector<Row> rows = rowsOf(from, 128);
    for (const Number& to : kIntegers) {
      for (const Mode& mode : kRound) {
        std::string text =
            std::string("cvt.") + mode.name + "." + to.name + "." + from.name + " %d, %a;";
        SCOPED_TRACE(text);
        // Narrow results fill a wider register; the store takes their low part.
        std::vector<uint64_t> got = execute(text, to.bytes, from.bytes, rows);
        for (size_t k = 0; k < rows.size(); ++k) {
          double v = mode.round(doubleOf(from, rows[k][0]));
          int value_bits = to.bits() - (to.is_signed ? 1 : 0);
          uint64_t most = value_bits == 64 ? ~uint64_t{0} : (uint64_t{1} << value_bits) - 1;
          uint64_t least = to.is_signed ? most + 1 : 0;
          if (v != v) {  // by the manual: 0, or only the highest bit where 64 bits take part
            bool wide = from.bytes == 8 || to.bytes == 8;
            ASSERT_EQ(got[k] & maskOf(to), wide ? uint64_t{1} << (to.bits() - 1) : 0);
            continue;
          }
          uint64_t want = v >= std::ldexp(1, value_bits)                   ? most
                          : to.is_signed && v < -std::ldexp(1, value_bits) ? least
                          : !to.is_signed && v < 0                         ? 0
                          : v < 0 ? static_cast<uint64_t>(static_cast<int64_t>(v))
                                  : static_cast<uint64_t>(v);
          ASSERT_EQ(got[k] & maskOf(to), want & maskOf(to)) << std::hexfloat << v;
        }
      }
    }
  }
}

TEST(Oracle, ConversionsFromIntegersRoundAsAsked) {
  for (const Number& from : kIntegers) {
    std::vector<Row> rows = rowsOf(from, 128);
    for (const Number& to : {kF16, kF32, kF64}) {
      for (const auto& [mode, rounding] : kModes) {
        mpfr_rnd_t how = rounding;
        std::string text =
            std::string("cvt.") + mode + "." + to.name + "." + from.name + " %d, %a;";
        SCOPED_TRACE(text);
        compare(to, execute(text, to.bytes, from.bytes, rows), rows,
                [&](const Row& row) { return rounded(to, from, row, kCopy, how); });
      }
    }
  }
}

TEST(Oracle, ComparisonsOfEveryKind) {
  using Holds = bool (*)(int order, bool unordered);  // order: -1, 0, 1
  struct Relation {
    const char* name;
    Holds holds;
    bool floats_only;
  };
  constexpr Relation kRelations[] = {
      {"eq", [](int o, bool u) { return !u && o == 0; }, false},
      {"ne", [](int o, bool u) { return !u && o != 0; }, false},
      {"lt", [](int o, bool u) { return !u && o < 0; }, false},
      {"le", [](int o, bool u) { return !u && o <= 0; }, false},
      {"gt", [](int o, bool u) { return !u && o > 0; }, false},
      {"ge", [](int o, bool u) { return !u && o >= 0; }, false},
      {"equ", [](int o, bool u) { return u || o == 0; }, true},
      {"neu", [](int o, bool u) { return u || o != 0; }, true},
      {"ltu", [](int o, bool u) { return u || o < 0; }, true},
      {"leu", [](int o, bool u) { return u || o <= 0; }, true},
      {"gtu", [](int o, bool u) { return u || o > 0; }, true},
      {"geu", [](int o, bool u) { return u || o >= 0; }, true},
      {"num", [](int, bool u) { return !u; }, true},
      {"nan", [](int, bool u) { return u; }, true},
  };
  std::vector<Number> all = {kF16, kBf16, kF32, kF64};
  for (const Number& n : kIntegers) {
    if (n.bytes > 1) all.push_back(n);
  }
  for (const Number& n : all) {
    std::vector<Row> rows = rowsOf(n, 2048);
    for (const Relation& relation : kRelations) {
      if (relation.floats_only && !n.isFloat()) continue;
      std::string text = std::string("setp.") + relation.name + "." + n.name +
                         " %p, %a, %b; selp.b32 %d, 1, 0, %p;";
      SCOPED_TRACE(text);
      std::vector<uint64_t> got = execute(text, 4, n.bytes, rows);
      for (size_t k = 0; k < rows.size(); ++k) {
        Real a(64), b(64);
        setExact(a, n, rows[k][0]);
        setExact(b, n, rows[k][1]);
        bool unordered = mpfr_unordered_p(a, b) != 0;
        int order = unordered ? 0 : mpfr_cmp(a, b);
        ASSERT_EQ(got[k], relation.holds(order < 0 ? -1 : order > 0, unordered) ? 1u : 0u)
            << std::hex << rows[k][0] << " " << rows[k][1];
      }
    }
  }
}

}  // namespace
}  // namespace farwarp::ptx
