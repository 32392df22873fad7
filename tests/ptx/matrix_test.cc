// Goal: mma computes the product of the matrices that the fragments of its shape hold, for every
// type; ldmatrix, stmatrix and movmatrix put rows where they belong. Method: the places of elements
// are written here as the PTX manual gives them, one formula per shape; random matrices of small
// integers, whose products and sums are exact in every type, are packed by these formulas, and the
// result is compared with a product of plain loops.
#include <cmath>
#include <functional>
#include <random>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

struct Place {
  int row, col;
};
using Formula = std::function<Place(int g, int t, int i)>;

// One operand: bits of an element, how a small integer is encoded, and where elements lie.
struct Part {
  int bits;
  std::function<uint64_t(int)> encode;
  Formula place;
};

uint64_t floatBits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  return bits;
}
uint64_t asF32(int v) {
  return floatBits(static_cast<float>(v));
}
uint64_t asBf16(int v) {
  return asF32(v) >> 16;
}
uint64_t asF64(int v) {
  double d = v;
  uint64_t bits;
  std::memcpy(&bits, &d, 8);
  return bits;
}
// Integers up to 2048 in f16, up to 16 in e4m3 and up to 8 in e5m2 are exact: from the f32 pattern.
uint64_t asMinifloat(int v, int exponent_bits, int mantissa_bits) {
  if (v == 0) return 0;
  uint32_t bits = static_cast<uint32_t>(asF32(v));
  int bias = (1 << (exponent_bits - 1)) - 1;
  uint32_t exponent = (bits >> 23 & 0xff) - 127 + bias;
  uint32_t mantissa = (bits & 0x7fffff) >> (23 - mantissa_bits);
  return (bits >> 31) << (exponent_bits + mantissa_bits) | exponent << mantissa_bits | mantissa;
}
uint64_t asF16(int v) {
  return asMinifloat(v, 5, 10);
}
uint64_t asE4m3(int v) {
  return asMinifloat(v, 4, 3);
}
uint64_t asE5m2(int v) {
  return asMinifloat(v, 5, 2);
}
uint64_t asInteger(int v) {
  return static_cast<uint64_t>(static_cast<int64_t>(v));
}

struct Case {
  std::string instruction;
  int m, n, k;
  Part a, b, c, d;
  int least = -3, most = 3;
  bool by_xor = false;
};

int registersOf(const Part& p, int elements) {
  int per_lane = elements / 32;
  return p.bits >= 32 ? per_lane : per_lane * p.bits / 32;
}

std::vector<uint64_t> pack(const Part& p, const std::vector<int>& matrix, int cols) {
  int per_lane = static_cast<int>(matrix.size()) / 32;
  int per_register = p.bits >= 32 ? 1 : 32 / p.bits;
  int registers = per_lane / per_register;
  std::vector<uint64_t> words(32 * registers);
  uint64_t keep = p.bits == 64 ? ~uint64_t{0} : (uint64_t{1} << p.bits) - 1;
  for (int l = 0; l < 32; ++l) {
    for (int i = 0; i < per_lane; ++i) {
      Place at = p.place(l >> 2, l % 4, i);
      uint64_t value = p.encode(matrix[at.row * cols + at.col]) & keep;
      words[l * registers + i / per_register] |= value << (i % per_register * p.bits);
    }
  }
  return words;
}

std::string registerList(const std::string& name, int count, bool braces = true) {
  std::string text;
  for (int k = 0; k < count; ++k) text += (k ? ", %" : "%") + name + std::to_string(k);
  return braces ? "{" + text + "}" : text;
}

std::string productText(const Case& c) {
  int na = registersOf(c.a, c.m * c.k), nb = registersOf(c.b, c.k * c.n);
  int nc = registersOf(c.c, c.m * c.n), nd = registersOf(c.d, c.m * c.n);
  std::string bits = c.d.bits == 64 ? "b64" : "b32";
  std::string body = ".reg ." + bits + " %a<9>, %b<9>, %c<9>, %d<9>;";
  auto move = [&](char name, int count, const std::string& base, bool load) {
    std::string text =
        "mad.wide.u32 %at, %tidx, " + std::to_string(8 * count) + ", " + base + ";\n";
    for (int k = 0; k < count; ++k) {
      std::string reg = std::string("%") + name + std::to_string(k);
      std::string at = "[%at+" + std::to_string(8 * k) + "]";
      text += (load ? "ld.global." + bits + " " + reg + ", " + at
                    : "st.global." + bits + " " + at + ", " + reg) +
              ";\n";
    }
    return text;
  };
  std::string text = move('a', na, "%in0", true) + move('b', nb, "%in1", true) +
                     move('c', nc, "%in2", true) + c.instruction + " " + registerList("d", nd) +
                     ", " + registerList("a", na) + ", " + registerList("b", nb) + ", " +
                     registerList("c", nc) + ";\n" + move('d', nd, "%out", false);
  return kernelText(body, text, 3);
}

void check(const Case& c) {
  SCOPED_TRACE(c.instruction);
  TestDevice device;
  TestModule module(device, productText(c));
  ASSERT_TRUE(module);
  std::mt19937 random(7);
  auto fill = [&](int count) {
    std::vector<int> matrix(count);
    for (int& v : matrix) {
      v = c.least + static_cast<int>(random() % static_cast<unsigned>(c.most - c.least + 1));
    }
    return matrix;
  };
  std::vector<int> a = fill(c.m * c.k), b = fill(c.k * c.n), sum = fill(c.m * c.n);
  std::vector<int> want = sum;
  for (int i = 0; i < c.m; ++i) {
    for (int j = 0; j < c.n; ++j) {
      for (int p = 0; p < c.k; ++p) {
        int x = a[i * c.k + p], y = b[p * c.n + j];
        want[i * c.n + j] += c.by_xor ? x ^ y : x * y;
      }
    }
  }
  auto upload = [&](const std::vector<uint64_t>& words) {
    auto* at = device.allocateArray<uint64_t>(words.size());
    std::copy(words.begin(), words.end(), at);
    return at;
  };
  auto* in_a = upload(pack(c.a, a, c.k));
  auto* in_b = upload(pack(c.b, b, c.n));
  auto* in_c = upload(pack(c.c, sum, c.n));
  std::vector<uint64_t> expected = pack(c.d, want, c.n);
  auto* out = device.allocateArray<uint64_t>(expected.size());
  LaunchResult r = module.launch("k", {1}, {32}, 0, out, in_a, in_b, in_c);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (size_t k = 0; k < expected.size(); ++k) ASSERT_EQ(out[k], expected[k]) << "word " << k;
}

Place sumPlace(int g, int t, int i) {
  return {i < 2 ? g : g + 8, t * 2 + (i & 1)};
}

TEST(Matrix, HalfProducts) {
  Formula a16 = [](int g, int t, int i) {
    return Place{i < 2 || (i >= 4 && i < 6) ? g : g + 8, t * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
  };
  Formula b16 = [](int g, int t, int i) { return Place{t * 2 + (i & 1) + (i >= 2 ? 8 : 0), g}; };
  Formula a8 = [](int g, int t, int i) { return Place{i < 2 ? g : g + 8, t * 2 + (i & 1)}; };
  Formula b8 = [](int g, int t, int i) { return Place{t * 2 + i, g}; };
  Part f32{32, asF32, sumPlace}, f16{16, asF16, sumPlace};
  const std::string sync = "mma.sync.aligned.";
  check({sync + "m16n8k16.row.col.f32.f16.f16.f32",
         16,
         8,
         16,
         {16, asF16, a16},
         {16, asF16, b16},
         f32,
         f32});
  check({sync + "m16n8k16.row.col.f16.f16.f16.f16",
         16,
         8,
         16,
         {16, asF16, a16},
         {16, asF16, b16},
         f16,
         f16});
  check({sync + "m16n8k16.row.col.f32.bf16.bf16.f32",
         16,
         8,
         16,
         {16, asBf16, a16},
         {16, asBf16, b16},
         f32,
         f32});
  check({sync + "m16n8k8.row.col.f32.f16.f16.f32",
         16,
         8,
         8,
         {16, asF16, a8},
         {16, asF16, b8},
         f32,
         f32});
  check({sync + "m16n8k8.row.col.f32.bf16.bf16.f32",
         16,
         8,
         8,
         {16, asBf16, a8},
         {16, asBf16, b8},
         f32,
         f32});
}

TEST(Matrix, SingleDoubleAndBytePrecisionProducts) {
  const std::string sync = "mma.sync.aligned.";
  Part f32{32, asF32, sumPlace}, f64{64, asF64, sumPlace};
  Formula a8 = [](int g, int t, int i) {
    return Place{i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
  };
  Formula b8 = [](int g, int t, int i) { return Place{i == 0 ? t : t + 4, g}; };
  Formula a4 = [](int g, int t, int i) { return Place{i == 0 ? g : g + 8, t}; };
  Formula b4 = [](int g, int t, int) { return Place{t, g}; };
  check({sync + "m16n8k8.row.col.f32.tf32.tf32.f32",
         16,
         8,
         8,
         {32, asF32, a8},
         {32, asF32, b8},
         f32,
         f32});
  check({sync + "m16n8k4.row.col.f32.tf32.tf32.f32",
         16,
         8,
         4,
         {32, asF32, a4},
         {32, asF32, b4},
         f32,
         f32});
  check({sync + "m8n8k4.row.col.f64.f64.f64.f64",
         8,
         8,
         4,
         {64, asF64, a4},
         {64, asF64, b4},
         f64,
         f64});
  check({sync + "m16n8k8.row.col.f64.f64.f64.f64",
         16,
         8,
         8,
         {64, asF64, a8},
         {64, asF64, b8},
         f64,
         f64});
  Formula a16 = [](int g, int t, int i) {
    return Place{i % 2 == 0 ? g : g + 8, (i % 2 == 0 ? i * 2 : i * 2 - 2) + t};
  };
  Formula b16 = [](int g, int t, int i) { return Place{t + 4 * i, g}; };
  check({sync + "m16n8k16.row.col.f64.f64.f64.f64",
         16,
         8,
         16,
         {64, asF64, a16},
         {64, asF64, b16},
         f64,
         f64});
  Formula a32 = [](int g, int t, int i) {
    return Place{i < 4 || (i >= 8 && i < 12) ? g : g + 8, t * 4 + (i & 3) + (i < 8 ? 0 : 16)};
  };
  Formula b32 = [](int g, int t, int i) { return Place{t * 4 + (i & 3) + (i < 4 ? 0 : 16), g}; };
  check({sync + "m16n8k32.row.col.f32.e4m3.e5m2.f32",
         16,
         8,
         32,
         {8, asE4m3, a32},
         {8, asE5m2, b32},
         f32,
         f32});
}

TEST(Matrix, IntegerProducts) {
  const std::string sync = "mma.sync.aligned.";
  Part s32{32, asInteger, sumPlace};
  Formula a32 = [](int g, int t, int i) {
    return Place{i < 4 || (i >= 8 && i < 12) ? g : g + 8, t * 4 + (i & 3) + (i < 8 ? 0 : 16)};
  };
  Formula b32 = [](int g, int t, int i) { return Place{t * 4 + (i & 3) + (i < 4 ? 0 : 16), g}; };
  check({sync + "m16n8k32.row.col.s32.s8.s8.s32",
         16,
         8,
         32,
         {8, asInteger, a32},
         {8, asInteger, b32},
         s32,
         s32,
         -128,
         127});
  check({sync + "m16n8k32.row.col.s32.u8.u8.s32",
         16,
         8,
         32,
         {8, asInteger, a32},
         {8, asInteger, b32},
         s32,
         s32,
         0,
         255});
  Formula a16 = [](int g, int t, int i) { return Place{i < 4 ? g : g + 8, t * 4 + (i & 3)}; };
  Formula b16 = [](int g, int t, int i) { return Place{t * 4 + i, g}; };
  check({sync + "m16n8k16.row.col.s32.s8.s8.s32",
         16,
         8,
         16,
         {8, asInteger, a16},
         {8, asInteger, b16},
         s32,
         s32,
         -128,
         127});
  Formula a8 = [](int g, int t, int i) { return Place{g, t * 4 + i}; };
  check({sync + "m8n8k16.row.col.s32.s8.s8.s32",
         8,
         8,
         16,
         {8, asInteger, a8},
         {8, asInteger, b16},
         s32,
         s32,
         -128,
         127});
  Formula a64 = [](int g, int t, int i) {
    return Place{i < 8 || (i >= 16 && i < 24) ? g : g + 8, t * 8 + (i & 7) + (i < 16 ? 0 : 32)};
  };
  Formula b64 = [](int g, int t, int i) { return Place{t * 8 + (i & 7) + (i < 8 ? 0 : 32), g}; };
  check({sync + "m16n8k64.row.col.s32.s4.s4.s32",
         16,
         8,
         64,
         {4, asInteger, a64},
         {4, asInteger, b64},
         s32,
         s32,
         -8,
         7});
  Formula a256 = [](int g, int t, int i) {
    return Place{i < 32 || (i >= 64 && i < 96) ? g : g + 8, t * 32 + (i & 31) + (i < 64 ? 0 : 128)};
  };
  Formula b256 = [](int g, int t, int i) {
    return Place{t * 32 + (i & 31) + (i < 32 ? 0 : 128), g};
  };
  check({sync + "m16n8k256.row.col.s32.b1.b1.s32.xor.popc",
         16,
         8,
         256,
         {1, asInteger, a256},
         {1, asInteger, b256},
         s32,
         s32,
         0,
         1,
         true});
  check({sync + "m16n8k256.row.col.s32.b1.b1.s32.and.popc",
         16,
         8,
         256,
         {1, asInteger, a256},
         {1, asInteger, b256},
         s32,
         s32,
         0,
         1});
}

// Each group of 8 lanes has its own product: all 32 lanes' elements of A are 1 and those of B are
// 1 + the number of the group, so the group's sums are 4 times that plus c.
TEST(Matrix, QuadProductsStayApart) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .b32 %a<2>, %b<2>, %c<8>, %d<8>; .reg .b16 %h;", R"(
    mov.b32 %a0, 0x3c003c00; bfe.u32 %t3, %t2, 2, 2; add.u32 %t3, %t3, 1; cvt.rn.f16.u32 %h, %t3;
    mov.b32 %b0, {%h, %h};
    mov.b32 %c0, 0f3f800000;
    mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%d0,%d1,%d2,%d3,%d4,%d5,%d6,%d7}, {%a0,%a0}, {%b0,%b0},
      {%c0,%c0,%c0,%c0,%c0,%c0,%c0,%c0};
    mad.wide.u32 %at, %tidx, 4, %out; add.f32 %d0, %d0, %d7; st.global.b32 [%at], %d0;)",
                                       0));
  auto* out = device.allocateArray<float>(32);
  ASSERT_EQ(module.launch("k", {1}, {32}, 0, out).status, LaunchStatus::ok);
  for (int l = 0; l < 32; ++l) EXPECT_EQ(out[l], 2 * (1 + 4 * (1 + l % 16 / 4))) << l;
}

TEST(Matrix, SaturatingSums) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .b32 %a<2>, %c<2>, %d<2>;", R"(
    mov.b32 %a0, 0x7f7f7f7f; mov.b32 %c0, 0x7fffff00;
    mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32.satfinite {%d0, %d1}, {%a0}, {%a0}, {%c0, %c0};
    mad.wide.u32 %at, %tidx, 4, %out; st.global.b32 [%at], %d0;)",
                                       0));
  auto* out = device.allocateArray<uint32_t>(32);
  ASSERT_EQ(module.launch("k", {1}, {32}, 0, out).status, LaunchStatus::ok);
  for (int l = 0; l < 32; ++l) EXPECT_EQ(out[l], 0x7fffffffu);
}

TEST(Matrix, TilesMoveBetweenSharedMemoryAndRegisters) {
  TestDevice device;
  TestModule module(device,
                    kernelText(".reg .b32 %r<8>, %s, %x; .shared .align 16 .b8 tiles[1024];", R"(
    mov.u32 %s, tiles; shl.b32 %x, %t2, 4; add.u32 %s, %s, %x;
    mad.wide.u32 %at, %t2, 16, %in0; ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%at];
    st.shared.v4.b32 [%s], {%r0, %r1, %r2, %r3}; bar.sync 0;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1, %r2, %r3}, [%s];
    ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r4, %r5}, [%s];
    movmatrix.sync.aligned.m8n8.trans.b16 %r6, %r0;
    stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%s+512], {%r0, %r1, %r2, %r3}; bar.sync 0;
    ld.shared.b32 %r7, [%s+512];
    mad.wide.u32 %at, %tidx, 32, %out; st.global.v4.b32 [%at], {%r0, %r1, %r2, %r3};
    st.global.v4.b32 [%at+16], {%r4, %r5, %r6, %r7};)"));
  auto* in = device.allocateArray<uint16_t>(256);
  for (uint32_t k = 0; k < 256; ++k) in[k] = static_cast<uint16_t>(k);
  auto* out = device.allocateArray<uint32_t>(256);
  LaunchResult r = module.launch("k", {1}, {32}, 0, out, in);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  auto element = [](uint32_t tile, uint32_t row, uint32_t col) {
    return 64 * tile + 8 * row + col;
  };
  for (uint32_t l = 0; l < 32; ++l) {
    uint32_t row = l / 4, col = l % 4 * 2;
    for (uint32_t t = 0; t < 4; ++t) {
      EXPECT_EQ(out[8 * l + t], element(t, row, col) | element(t, row, col + 1) << 16);
    }
    for (uint32_t t = 0; t < 2; ++t) {
      EXPECT_EQ(out[8 * l + 4 + t], element(t, col, row) | element(t, col + 1, row) << 16);
    }
    EXPECT_EQ(out[8 * l + 6], element(0, col, row) | element(0, col + 1, row) << 16);
    // Row l % 8 of the transposed tile l / 8.
    EXPECT_EQ(out[8 * l + 7], element(l / 8, 0, l % 8) | element(l / 8, 1, l % 8) << 16);
  }
}

TEST(Matrix, WrongShapesAreRefused) {
  for (
      const char* text : {
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r0}, {%r0}, {%r0}, {%r0};",
          "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32 {%r0,%r0,%r0,%r0}, {%r0,%r0,%r0,%r0}, "
          "{%r0,%r0}, {%r0,%r0,%r0,%r0};",
          "mma.sync.aligned.m16n8k16.row.col.s32.f16.f16.f32 {%r0,%r0,%r0,%r0}, {%r0,%r0,%r0,%r0}, "
          "{%r0,%r0}, {%r0,%r0,%r0,%r0};",
          "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0}, [%r0];",
          "mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {%r0}, {%r0}, {%r0}, {%r0}, %r0, "
          "0;",
      }) {
    std::string ptx = kernelText(".reg .b32 %r<4>;", text, 0);
    std::string_view view = ptx;
    CompileLog log;
    EXPECT_EQ(Program::compile({&view, 1}, {}, log), nullptr) << text;
    EXPECT_NE(log.status, CompileStatus::ok);
    EXPECT_NE(log.line, 0u);
  }
}

}  // namespace
}  // namespace farwarp::ptx
