// Goal: integer instructions compute what PTX says, for edge values and random ones.
// Method: one small kernel per instruction form over three input arrays, compared with exact
// integer arithmetic written here; every instruction set of the host runs the same forms.
#include <bit>
#include <cstdlib>
#include <functional>
#include <random>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

using I128 = __int128;

struct Form {
  const char* instruction;  // with operands %d, %a, %b, %c
  int bits;                 // of a, b, c
  int result_bits;
  std::function<uint64_t(uint64_t, uint64_t, uint64_t)> oracle;
  int count_bits = 0;  // b and c are 32-bit counts when 32
};

int64_t extend(uint64_t v, int bits) {
  return static_cast<int64_t>(v << (64 - bits)) >> (64 - bits);
}
uint64_t cut(uint64_t v, int bits) {
  return bits == 64 ? v : v & ((uint64_t{1} << bits) - 1);
}

uint64_t seed() {
  const char* given = std::getenv("FARWARP_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
}

std::vector<uint64_t> values(std::mt19937_64& random) {
  std::vector<uint64_t> list = {0,
                                1,
                                2,
                                3,
                                5,
                                7,
                                8,
                                15,
                                16,
                                31,
                                32,
                                33,
                                63,
                                64,
                                65,
                                127,
                                128,
                                255,
                                256,
                                0x7fff,
                                0x8000,
                                0xffff,
                                0x10000,
                                0x7fffffff,
                                0x80000000,
                                0xffffffff,
                                0x100000000,
                                0x7fffffffffffffff,
                                0x8000000000000000,
                                ~uint64_t{0},
                                ~uint64_t{1},
                                0x5555555555555555,
                                0xf0f0f0f012345678};
  while (list.size() < 64) list.push_back(random() >> (random() % 64));
  return list;
}

std::string typed(int bits) {
  return "b" + std::to_string(bits);
}

void check(const Form& form, int level) {
  uint64_t start = seed();
  SCOPED_TRACE(std::string(form.instruction) + ", seed " + std::to_string(start) + ", level " +
               std::to_string(level));
  std::mt19937_64 random(start);
  std::vector<uint64_t> list = values(random);
  int other = form.count_bits != 0 ? form.count_bits : form.bits;
  std::string registers = ".reg ." + typed(form.bits) + " %a; .reg ." + typed(other) +
                          " %b, %c; .reg ." + typed(form.result_bits) + " %d; .reg .u64 %x;";
  auto load = [](const char* reg, int bits, int input) {
    std::string n = std::to_string(input);
    return "mad.wide.u32 %at, %tidx, 8, %in" + n + "; ld.global." + typed(bits) + " " + reg +
           ", [%at];\n";
  };
  std::string body = load("%a", form.bits, 0) + load("%b", other, 1) + load("%c", other, 2) +
                     "mov." + typed(form.result_bits) + " %d, 0;\n" + form.instruction +
                     "\nmad.wide.u32 %at, %tidx, 8, %out; st.global." + typed(form.result_bits) +
                     " [%at], %d;";
  TestDevice device;
  TestModule module(device, kernelText(registers, body, 3), level);
  ASSERT_TRUE(module);
  size_t count = list.size() * list.size();
  auto* a = device.allocateArray<uint64_t>(count);
  auto* b = device.allocateArray<uint64_t>(count);
  auto* c = device.allocateArray<uint64_t>(count);
  auto* out = device.allocateArray<uint64_t>(count);
  for (size_t k = 0; k < count; ++k) {
    a[k] = list[k % list.size()];
    b[k] = list[k / list.size()];
    c[k] = list[random() % list.size()];
  }
  LaunchResult result =
      module.launch("k", {static_cast<uint32_t>(count / 64)}, {64}, 0, out, a, b, c);
  ASSERT_EQ(result.status, LaunchStatus::ok) << result.detail.message;
  for (size_t k = 0; k < count; ++k) {
    uint64_t want = cut(form.oracle(cut(a[k], form.bits), cut(b[k], other), cut(c[k], other)),
                        form.result_bits);
    ASSERT_EQ(out[k], want) << std::hex << "a " << a[k] << " b " << b[k] << " c " << c[k];
  }
}

template <int N>
uint64_t divide(uint64_t a, uint64_t b, bool is_signed, bool remainder) {
  if (b == 0) return remainder ? a : ~uint64_t{0};
  if (!is_signed) return remainder ? a % b : a / b;
  I128 x = extend(a, N), y = extend(b, N);
  return static_cast<uint64_t>(remainder ? x % y : x / y);
}

std::vector<Form> arithmeticForms() {
  auto s = [](uint64_t v, int n) { return static_cast<I128>(extend(v, n)); };
  using U = uint64_t;
  return {
      {"add.s32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return a + b; }},
      {"add.u64 %d, %a, %b;", 64, 64, [](U a, U b, U) { return a + b; }},
      {"add.s16 %d, %a, %b;", 16, 16, [](U a, U b, U) { return a + b; }},
      {"sub.s32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return a - b; }},
      {"add.sat.s32 %d, %a, %b;", 32, 32,
       [s](U a, U b, U) {
         I128 r = s(a, 32) + s(b, 32);
         return U(r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : r);
       }},
      {"mul.lo.s32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return a * b; }},
      {"mul.lo.u16 %d, %a, %b;", 16, 16, [](U a, U b, U) { return a * b; }},
      {"mul.hi.s32 %d, %a, %b;", 32, 32, [s](U a, U b, U) { return U(s(a, 32) * s(b, 32) >> 32); }},
      {"mul.hi.u32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return a * b >> 32; }},
      {"mul.hi.s64 %d, %a, %b;", 64, 64, [s](U a, U b, U) { return U(s(a, 64) * s(b, 64) >> 64); }},
      {"mul.hi.u64 %d, %a, %b;", 64, 64,
       [](U a, U b, U) { return U((unsigned __int128)a * b >> 64); }},
      {"mul.hi.u16 %d, %a, %b;", 16, 16, [](U a, U b, U) { return a * b >> 16; }},
      {"mul.wide.s32 %d, %a, %b;", 32, 64, [s](U a, U b, U) { return U(s(a, 32) * s(b, 32)); }},
      {"mul.wide.u32 %d, %a, %b;", 32, 64, [](U a, U b, U) { return a * b; }},
      {"mul.wide.s16 %d, %a, %b;", 16, 32, [s](U a, U b, U) { return U(s(a, 16) * s(b, 16)); }},
      {"mul24.lo.s32 %d, %a, %b;", 32, 32,
       [](U a, U b, U) { return U(extend(a, 24) * extend(b, 24)); }},
      {"mul24.hi.u32 %d, %a, %b;", 32, 32,
       [](U a, U b, U) { return (cut(a, 24) * cut(b, 24)) >> 16; }},
      {"mad.lo.s32 %d, %a, %b, %c;", 32, 32, [](U a, U b, U c) { return a * b + c; }},
      {"mad.hi.u32 %d, %a, %b, %c;", 32, 32, [](U a, U b, U c) { return (a * b >> 32) + c; }},
      {"mad.lo.s64 %d, %a, %b, %c;", 64, 64, [](U a, U b, U c) { return a * b + c; }},
      {"div.s32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return divide<32>(a, b, true, false); }},
      {"div.u32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return divide<32>(a, b, false, false); }},
      {"div.s64 %d, %a, %b;", 64, 64, [](U a, U b, U) { return divide<64>(a, b, true, false); }},
      {"div.u64 %d, %a, %b;", 64, 64, [](U a, U b, U) { return divide<64>(a, b, false, false); }},
      {"rem.s32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return divide<32>(a, b, true, true); }},
      {"rem.u64 %d, %a, %b;", 64, 64, [](U a, U b, U) { return divide<64>(a, b, false, true); }},
      {"min.s32 %d, %a, %b;", 32, 32, [s](U a, U b, U) { return s(a, 32) < s(b, 32) ? a : b; }},
      {"max.s64 %d, %a, %b;", 64, 64, [s](U a, U b, U) { return s(a, 64) > s(b, 64) ? a : b; }},
      {"max.u16 %d, %a, %b;", 16, 16, [](U a, U b, U) { return a > b ? a : b; }},
      {"neg.s32 %d, %a;", 32, 32, [](U a, U, U) { return -a; }},
      {"abs.s32 %d, %a;", 32, 32, [](U a, U, U) { return extend(a, 32) < 0 ? -a : a; }},
      {"sad.u32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) { return c + (a < b ? b - a : a - b); }},
      {"sad.s32 %d, %a, %b, %c;", 32, 32,
       [s](U a, U b, U c) { return s(a, 32) < s(b, 32) ? c + (b - a) : c + (a - b); }},
      {"{.reg .u64 %l, %h; add.cc.u64 %l, %a, %b; addc.u64 %d, 0, 0;}", 64, 64,
       [](U a, U b, U) { return U(a + b < a); }},
      {"sub.cc.u64 %x, %a, %b; subc.u64 %d, %c, 0;", 64, 64,
       [](U a, U b, U c) { return c - (a < b); }},
      {"mad.lo.cc.u64 %x, %a, %b, %c; madc.hi.u64 %d, %a, %b, 0;", 64, 64,
       [](U a, U b, U c) { return U(((unsigned __int128)a * b + c) >> 64); }},
      {"dp4a.s32.u32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) {
         int64_t sum = extend(c, 32);
         for (int k = 0; k < 32; k += 8) sum += int64_t{int8_t(a >> k)} * uint8_t(b >> k);
         return U(sum);
       }},
      {"dp2a.hi.u32.s32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) {
         return U(extend(c, 32) + int64_t{uint16_t(a)} * int8_t(b >> 16) +
                  int64_t{uint16_t(a >> 16)} * int8_t(b >> 24));
       }},
  };
}

uint64_t bitFieldExtract(uint64_t a, uint64_t b, uint64_t c, int bits, bool is_signed) {
  uint64_t position = b & 255, length = c & 255, result = 0;
  uint64_t last = std::min<uint64_t>(position + length - 1, static_cast<uint64_t>(bits) - 1);
  bool sign = is_signed && length != 0 && (a >> last & 1) != 0;
  for (uint64_t k = 0; k < static_cast<uint64_t>(bits); ++k) {
    bool inside = k < length && position + k < static_cast<uint64_t>(bits);
    bool bit = inside ? (a >> (position + k) & 1) != 0 : sign;
    result |= uint64_t{bit} << k;
  }
  return result;
}
uint64_t bitFieldInsert(uint64_t a, uint64_t b, uint64_t position, uint64_t length, int bits) {
  for (uint64_t k = 0; k < (length & 255) && (position & 255) + k < static_cast<uint64_t>(bits);
       ++k) {
    uint64_t at = (position & 255) + k;
    b = (b & ~(uint64_t{1} << at)) | (a >> k & 1) << at;
  }
  return b;
}

std::vector<Form> bitForms() {
  using U = uint64_t;
  return {
      {"and.b32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return a & b; }},
      {"or.b64 %d, %a, %b;", 64, 64, [](U a, U b, U) { return a | b; }},
      {"xor.b16 %d, %a, %b;", 16, 16, [](U a, U b, U) { return a ^ b; }},
      {"not.b32 %d, %a;", 32, 32, [](U a, U, U) { return ~a; }},
      {"cnot.b32 %d, %a;", 32, 32, [](U a, U, U) { return U(a == 0); }},
      {"shl.b32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return b > 31 ? 0 : a << b; }, 32},
      {"shl.b64 %d, %a, %b;", 64, 64, [](U a, U b, U) { return b > 63 ? 0 : a << b; }, 32},
      {"shr.u32 %d, %a, %b;", 32, 32, [](U a, U b, U) { return b > 31 ? 0 : a >> b; }, 32},
      {"shr.s32 %d, %a, %b;", 32, 32,
       [](U a, U b, U) { return U(extend(a, 32) >> std::min<U>(b, 31)); }, 32},
      {"shr.s64 %d, %a, %b;", 64, 64,
       [](U a, U b, U) { return U(extend(a, 64) >> std::min<U>(b, 63)); }, 32},
      {"shr.s16 %d, %a, %b;", 16, 16,
       [](U a, U b, U) { return U(extend(a, 16) >> std::min<U>(b, 15)); }, 32},
      {"popc.b64 %d, %a;", 64, 32, [](U a, U, U) { return U(std::popcount(a)); }},
      {"clz.b32 %d, %a;", 32, 32, [](U a, U, U) { return U(std::countl_zero(uint32_t(a))); }},
      {"clz.b64 %d, %a;", 64, 32, [](U a, U, U) { return U(std::countl_zero(a)); }},
      {"brev.b32 %d, %a;", 32, 32,
       [](U a, U, U) {
         U r = 0;
         for (int k = 0; k < 32; ++k) r |= (a >> k & 1) << (31 - k);
         return r;
       }},
      {"bfind.s32 %d, %a;", 32, 32,
       [](U a, U, U) {
         U v = cut(extend(a, 32) < 0 ? ~a : a, 32);
         return v == 0 ? ~U{0} : U(63 - std::countl_zero(v));
       }},
      {"bfind.shiftamt.u64 %d, %a;", 64, 32,
       [](U a, U, U) { return a == 0 ? ~U{0} : U(std::countl_zero(a)); }},
      {"bfe.u32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) { return bitFieldExtract(a, b, c, 32, false); }, 32},
      {"bfe.s32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) { return bitFieldExtract(a, b, c, 32, true); }, 32},
      {"bfe.s64 %d, %a, %b, %c;", 64, 64,
       [](U a, U b, U c) { return bitFieldExtract(a, b, c, 64, true); }, 32},
      {"bfi.b32 %d, %a, 0x12345678, %b, %c;", 32, 32,
       [](U a, U b, U c) { return bitFieldInsert(a, 0x12345678, b, c, 32); }, 32},
      {"bfi.b64 %d, %a, 0x12345678, %b, %c;", 64, 64,
       [](U a, U b, U c) { return bitFieldInsert(a, 0x12345678, b, c, 64); }, 32},
      {"lop3.b32 %d, %a, %b, %c, 0xe8;", 32, 32,
       [](U a, U b, U c) { return (a & b) | (a & c) | (b & c); }},
      {"shf.l.wrap.b32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) { return (b << 32 | a) << (c & 31) >> 32; }},
      {"shf.r.clamp.b32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) { return (b << 32 | a) >> std::min<U>(c, 32); }},
      {"prmt.b32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) {
         U bytes = a | b << 32, r = 0;
         for (int k = 0; k < 4; ++k) {
           U s = c >> (4 * k), byte = bytes >> (8 * (s & 7)) & 255;
           if ((s & 8) != 0) byte = (byte & 128) != 0 ? 255 : 0;
           r |= byte << (8 * k);
         }
         return r;
       }},
      {"bmsk.clamp.b32 %d, %a, %b;", 32, 32,
       [](U a, U b, U) {
         U r = 0;
         for (U k = a; k < 32 && k - a < b; ++k) r |= U{1} << k;
         return r;
       }},
      {"{.reg .pred %p; setp.lt.s32 %p, %a, %b; selp.b32 %d, %a, %c, %p;}", 32, 32,
       [](U a, U b, U c) { return extend(a, 32) < extend(b, 32) ? a : c; }},
      {"{.reg .pred %p, %q, %z; setp.eq.u32 %z, %c, 0; setp.hi.and.u32 %p|%q, %a, %b, %z; "
       "selp.u32 %d, 1, 0, %p; @%q add.u32 %d, %d, 2;}",
       32, 32, [](U a, U b, U c) { return U(a > b && c == 0) + 2 * U(!(a > b) && c == 0); }},
      {"set.ge.u32.s32 %d, %a, %b;", 32, 32,
       [](U a, U b, U) { return extend(a, 32) >= extend(b, 32) ? ~U{0} : 0; }},
      {"slct.b32.s32 %d, %a, %b, %c;", 32, 32,
       [](U a, U b, U c) { return extend(c, 32) >= 0 ? a : b; }},
      {"cvt.sat.s8.s32 %d, %a;", 32, 32,
       [](U a, U, U) { return U(std::clamp<int64_t>(extend(a, 32), -128, 127)); }},
      {"cvt.u64.u16 %d, %a;", 16, 64, [](U a, U, U) { return a; }},
      {"cvt.s64.s16 %d, %a;", 16, 64, [](U a, U, U) { return U(extend(a, 16)); }},
      {"cvt.s32.s8 %d, %a;", 32, 32, [](U a, U, U) { return U(extend(a, 8)); }},
      {"{.reg .b32 %l, %h; mov.b64 {%l, %h}, %a; mov.b64 %d, {%h, %l};}", 64, 64,
       [](U a, U, U) { return a << 32 | a >> 32; }},
  };
}

class Integer : public testing::TestWithParam<int> {};

TEST_P(Integer, ArithmeticEqualsExactArithmetic) {
  for (const Form& form : arithmeticForms()) check(form, GetParam());
}
TEST_P(Integer, BitOperationsEqualTheirDefinition) {
  for (const Form& form : bitForms()) check(form, GetParam());
}
// Level 0 is the best of this machine; level 2 runs everywhere.
INSTANTIATE_TEST_SUITE_P(Levels, Integer, testing::Values(0, 2));

}  // namespace
}  // namespace farwarp::ptx
