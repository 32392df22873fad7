// Goal: sparse and scaled products are the products of the matrices that their operands stand for,
// for every shape and type; the tiles of ldmatrix and stmatrix with elements of 8, 6 and 4 bits lie
// as documented. Method: the places of elements, indices and scales are written here as the PTX
// manual gives them; random matrices of small integers, exact in every type, are packed by these,
// and the result is compared with a product of plain loops over the whole matrices.
#include <cmath>
#include <functional>
#include <random>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

using Encode = std::function<uint32_t(int)>;
using Words = std::vector<uint32_t>;

uint32_t asF32(int v) {
  float f = static_cast<float>(v);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return bits;
}
uint32_t asInteger(int v) {
  return static_cast<uint32_t>(v);
}
// From the f32 pattern: exact for what the tests use.
Encode asFloat(uint32_t exponent_bits, uint32_t mantissa_bits, uint32_t shift = 0) {
  return [=](int v) -> uint32_t {
    if (v == 0) return 0;
    uint32_t bits = asF32(v);
    uint32_t bias = (1u << (exponent_bits - 1)) - 1;
    uint32_t exponent = (bits >> 23 & 0xff) - 127 + bias;
    uint32_t mantissa = (bits & 0x7fffff) >> (23 - mantissa_bits);
    return ((bits >> 31) << (exponent_bits + mantissa_bits) | exponent << mantissa_bits | mantissa)
           << shift;
  };
}

// Kinds of elements: bits in a register, elements of a chunk that two bits of an index choose from
// (a half of a tf32, two of 4 bits), and how they are written.
struct Kind {
  std::string name;
  int bits;
  int chunk;
  Encode encode;
};
const Kind kHalf{"f16", 16, 4, asFloat(5, 10)}, kBfloat{"bf16", 16, 4, asFloat(8, 7)},
    kTf32{"tf32", 32, 2, asF32}, kS8{"s8", 8, 4, asInteger}, kU8{"u8", 8, 4, asInteger},
    kS4{"s4", 4, 8, asInteger}, kE4m3{"e4m3", 8, 4, asFloat(4, 3)},
    kE5m2{"e5m2", 8, 4, asFloat(5, 2)}, kE3m2{"e3m2", 8, 4, asFloat(3, 2)},
    kE2m3{"e2m3", 8, 4, asFloat(2, 3)}, kE2m1{"e2m1", 8, 4, asFloat(2, 1, 2)},
    kPackedE2m1{"e2m1", 4, 8, asFloat(2, 1)};

struct Case {
  std::string instruction;  // up to the types
  std::string types;
  Kind a, b;
  int k;
  bool sparse = false;
  int selector = 0;
  int scales = 0;  // blocks of a row
  bool scales_e4m3 = false;
  int byte_a = 0, thread_a = 0, byte_b = 0, thread_b = 0;
  bool integers = false;
  bool half_sums = false;
};

// A as a program sees it: every element, and for each chunk the two places of four that are not
// empty.
struct Matrices {
  std::vector<int> a, b;           // 16 x k, k x 8
  std::vector<int> first, second;  // of chunk c of row r, at r * chunks + c
};

Matrices random(const Case& c, std::mt19937& generator) {
  Matrices m;
  auto small = [&] { return static_cast<int>(generator() % 4) - (c.a.name[0] == 'u' ? 0 : 2); };
  m.b.resize(c.k * 8);
  for (int& v : m.b) v = small();
  m.a.assign(16 * c.k, 0);
  if (!c.sparse) {
    for (int& v : m.a) v = small();
    return m;
  }
  int chunks = c.k / c.a.chunk;
  for (int row = 0; row < 16; ++row) {
    for (int n = 0; n < chunks; ++n) {
      int first = static_cast<int>(generator() % 3), second = 3;
      if (c.a.chunk == 2) {  // one of two: indices of its halves
        first = first % 2 * 2;
        second = first + 1;
      } else if (first < 2) {
        second = first + 1 + static_cast<int>(generator() % static_cast<unsigned>(3 - first));
      }
      m.first.push_back(first);
      m.second.push_back(second);
      for (int part : {first, second}) {
        for (int e = 0; e < std::max(c.a.chunk / 4, 1); ++e) {
          int column = c.a.chunk == 2 ? part / 2 : part * (c.a.chunk / 4) + e;
          m.a[row * c.k + n * c.a.chunk + column] = small();
        }
      }
    }
  }
  return m;
}

// The fragment of A. Each register has as many elements as fit, of twice or once as many columns.
Words packA(const Case& c, const Matrices& m) {
  int per = 32 / c.a.bits, held = c.sparse ? 2 * per : per;
  int registers = 16 * c.k / (32 * held);
  Words words(32 * registers);
  uint32_t keep = c.a.bits == 32 ? ~0u : (1u << c.a.bits) - 1;
  for (int lane = 0; lane < 32; ++lane) {
    for (int r = 0; r < registers; ++r) {
      int row = lane / 4 + (r % 2 == 0 ? 0 : 8);
      int column = lane % 4 * held + (r < 2 ? 0 : 4 * held);
      std::vector<int> values;
      for (int at = column; at < column + held; ++at) {
        if (c.sparse) {
          int chunk = row * (c.k / c.a.chunk) + at / c.a.chunk, within = at % c.a.chunk;
          int part = c.a.chunk == 2 ? within * 2 : within / (c.a.chunk / 4);
          if (part != m.first[chunk] && part != m.second[chunk]) continue;
        }
        values.push_back(m.a[row * c.k + at]);
      }
      EXPECT_EQ(values.size(), static_cast<size_t>(per));
      for (int e = 0; e < per; ++e) {
        words[lane * registers + r] |= (c.a.encode(values[e]) & keep) << (e * c.a.bits);
      }
    }
  }
  return words;
}

Words packB(const Case& c, const Matrices& m) {
  int per = 32 / c.b.bits, registers = c.k * 8 / (32 * per);
  Words words(32 * registers);
  uint32_t keep = c.b.bits == 32 ? ~0u : (1u << c.b.bits) - 1;
  for (int lane = 0; lane < 32; ++lane) {
    for (int e = 0; e < registers * per; ++e) {
      int row = lane % 4 * per + e % per + e / per * 4 * per, column = lane / 4;
      words[lane * registers + e / per] |= (c.b.encode(m.b[row * 8 + column]) & keep)
                                           << (e % per * c.b.bits);
    }
  }
  return words;
}

// Indices of 16-bit and 32-bit elements: rows g and g + 8 in the halves of a register, 4 chunks in
// each lane; of smaller ones: row g in one lane, g + 8 in the next, 8 chunks in each.
Words packMetadata(const Case& c, const Matrices& m) {
  Words words(32, 0xdeadbeef);  // what the selector leaves out must not matter
  int chunks = c.k / c.a.chunk, threads = chunks / 4;
  int first_lane = c.selector * threads;
  for (int lane = 0; lane < 32; ++lane) {
    if (lane % 4 >= first_lane && lane % 4 < first_lane + threads) words[lane] = 0;
  }
  for (int row = 0; row < 16; ++row) {
    for (int n = 0; n < chunks; ++n) {
      int index = m.first[row * chunks + n] | m.second[row * chunks + n] << 2;
      int lane = row % 8 * 4 + first_lane;
      if (c.a.bits >= 16) {
        words[lane + n / 4] |= static_cast<uint32_t>(index) << (n % 4 * 4 + (row < 8 ? 0 : 16));
      } else {
        words[lane + (row < 8 ? 0 : 1) + (n < 8 ? 0 : 2)] |= static_cast<uint32_t>(index)
                                                             << (n % 8 * 4);
      }
    }
  }
  return words;
}

// Scales 1, 2, 4 (or 1, 1.5, 2), and what they mean.
struct Scales {
  std::vector<double> a, b;  // of row r or column n, at 4 * r + block
  Words words_a = Words(32, 0x77777777), words_b = Words(32, 0x77777777);
};

Scales randomScales(const Case& c, std::mt19937& generator) {
  constexpr uint32_t kPowers[] = {127, 128, 129}, kSmall[] = {0x38, 0x3c, 0x40};
  Scales s;
  s.a.resize(64);
  s.b.resize(32);
  auto put = [&](uint32_t& word, int byte, double& value) {
    uint32_t which = generator() % 3;
    value = c.scales_e4m3 ? 1 + which * 0.5 : 1 << which;
    uint32_t bits = c.scales_e4m3 ? kSmall[which] : kPowers[which];
    word = (word & ~(0xffu << (8 * byte))) | bits << (8 * byte);
  };
  for (int block = 0; block < c.scales; ++block) {
    for (int row = 0; row < 16; ++row) {
      int lane = row % 8 * 4 + c.thread_a * 2 + (row < 8 ? 0 : 1);
      put(s.words_a[lane], c.byte_a + block, s.a[4 * row + block]);
    }
    for (int n = 0; n < 8; ++n) {
      put(s.words_b[4 * n + c.thread_b], c.byte_b + block, s.b[4 * n + block]);
    }
  }
  return s;
}

std::string list(char name, size_t count) {
  std::string text = "{";
  for (size_t k = 0; k < count; ++k) {
    text += (k != 0 ? ", %" : "%") + std::string(1, name) + std::to_string(k);
  }
  return text + "}";
}

// Each thread loads its words of every input, and stores four sums.
std::string kernelOf(const Case& c, size_t a, size_t b) {
  std::string body;
  auto load = [&](char name, size_t count, int input) {
    body += "mad.wide.u32 %at, %tidx, " + std::to_string(4 * count) + ", %in" +
            std::to_string(input) + ";\n";
    for (size_t k = 0; k < count; ++k) {
      body += "ld.global.b32 %" + std::string(1, name) + std::to_string(k) + ", [%at+" +
              std::to_string(4 * k) + "];\n";
    }
  };
  load('a', a, 0);
  load('b', b, 1);
  load('e', 1, 2);
  load('s', 1, 3);
  load('z', 1, 4);
  size_t sums = c.half_sums ? 2 : 4;
  body += "mov.b32 %c0, 0; mov.b32 %c1, 0; mov.b32 %c2, 0; mov.b32 %c3, 0;\n";
  body += c.instruction + c.types + " " + list('d', sums) + ", " + list('a', a) + ", " +
          list('b', b) + ", " + list('c', sums);
  if (c.sparse) body += ", %e0, " + std::to_string(c.selector);
  auto scale = [&](const char* name, int byte, int thread) {
    body += std::string(", ") + name + ", {" + std::to_string(byte) + ", " +
            std::to_string(thread) + "}";
  };
  if (c.scales != 0) {
    scale("%s0", c.byte_a, c.thread_a);
    scale("{%z0}", c.byte_b, c.thread_b);
  }
  body += ";\nmad.wide.u32 %at, %tidx, 16, %out; st.global.v4.b32 [%at], {%d0, %d1, %d2, %d3};";
  return kernelText(
      ".reg .b32 %a<9>, %b<9>, %c<4>, %d<4>, %e<2>, %s<2>, %z<2>;\n"
      "mov.b32 %d2, 0; mov.b32 %d3, 0;",
      body, 5);
}

void check(const Case& c) {
  SCOPED_TRACE(c.instruction + c.types);
  std::mt19937 generator(11);
  Matrices m = random(c, generator);
  Scales s = randomScales(c, generator);
  Words a = packA(c, m), b = packB(c, m), e = c.sparse ? packMetadata(c, m) : Words(32);
  TestDevice device;
  TestModule module(device, kernelOf(c, a.size() / 32, b.size() / 32));
  ASSERT_TRUE(module);
  auto upload = [&](const Words& words) {
    auto* at = device.allocateArray<uint32_t>(words.size());
    std::copy(words.begin(), words.end(), at);
    return at;
  };
  auto* out = device.allocateArray<uint32_t>(128);
  LaunchResult r = module.launch("k", {1}, {32}, 0, out, upload(a), upload(b), upload(e),
                                 upload(s.words_a), upload(s.words_b));
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (int row = 0; row < 16; ++row) {
    for (int n = 0; n < 8; ++n) {
      double want = 0;
      for (int p = 0; p < c.k; ++p) {
        double scale = 1;
        if (c.scales != 0) {
          int block = p / (c.k / c.scales);
          scale = s.a[4 * row + block] * s.b[4 * n + block];
        }
        want += scale * m.a[row * c.k + p] * m.b[p * 8 + n];
      }
      uint32_t lane = row % 8 * 4 + n / 2, k = n % 2 + (row < 8 ? 0 : 2);
      uint32_t got = out[4 * lane + (c.half_sums ? k / 2 : k)];
      uint32_t bits = c.integers ? static_cast<uint32_t>(static_cast<int>(want))
                                 : std::bit_cast<uint32_t>(static_cast<float>(want));
      if (c.half_sums) {
        got = got >> (k % 2 * 16) & 0xffff;
        bits = asFloat(5, 10)(static_cast<int>(want));
      }
      ASSERT_EQ(got, bits) << "row " << row << " column " << n << ", " << want;
    }
  }
}

TEST(SparseMatrix, ProductsOfHalves) {
  for (const char* sp : {"sp", "sp::ordered_metadata"}) {
    const std::string start = "mma." + std::string(sp) + ".sync.aligned.";
    for (int selector = 0; selector < 4; ++selector) {
      check({start + "m16n8k16.row.col.", "f32.f16.f16.f32", kHalf, kHalf, 16, true, selector});
      check({start + "m16n8k8.row.col.", "f32.tf32.tf32.f32", kTf32, kTf32, 8, true, selector});
      if (selector > 1) continue;
      check({start + "m16n8k32.row.col.", "f32.f16.f16.f32", kHalf, kHalf, 32, true, selector});
      check(
          {start + "m16n8k32.row.col.", "f32.bf16.bf16.f32", kBfloat, kBfloat, 32, true, selector});
      check({start + "m16n8k16.row.col.", "f32.tf32.tf32.f32", kTf32, kTf32, 16, true, selector});
    }
    Case halves{start + "m16n8k32.row.col.", "f16.f16.f16.f16", kHalf, kHalf, 32, true, 1};
    halves.half_sums = true;
    check(halves);
  }
}

TEST(SparseMatrix, ProductsOfIntegers) {
  const std::string start = "mma.sp.sync.aligned.";
  auto checkIntegers = [&](const std::string& shape, const Kind& kind, int k, int selector) {
    for (const char* satfinite : {"", "satfinite."}) {
      Case c{start + shape + ".row.col." + satfinite,
             "s32." + kind.name + "." + kind.name + ".s32",
             kind,
             kind,
             k,
             true,
             selector};
      c.integers = true;
      check(c);
    }
  };
  for (int selector : {0, 1}) {
    checkIntegers("m16n8k32", kS8, 32, selector);
    checkIntegers("m16n8k32", kU8, 32, selector);
    checkIntegers("m16n8k64", kS4, 64, selector);
  }
  checkIntegers("m16n8k64", kS8, 64, 0);
  checkIntegers("m16n8k128", kS4, 128, 0);
}

TEST(SparseMatrix, ProductsOfSmallFloats) {
  check({"mma.sp.sync.aligned.m16n8k64.row.col.", "f32.e4m3.e5m2.f32", kE4m3, kE5m2, 64, true});
  const std::string start = "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.kind::f8f6f4.";
  for (const Kind& a : {kE4m3, kE5m2, kE3m2, kE2m3, kE2m1}) {
    for (const Kind& b : {kE4m3, kE3m2, kE2m1}) {
      check({start, "f32." + a.name + "." + b.name + ".f32", a, b, 64, true});
    }
  }
}

TEST(ScaledMatrix, BytesAndLanesOfScales) {
  for (int which = 0; which < 4; ++which) {
    Case c{"mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X.",
           "f32.e4m3.e2m1.f32.ue8m0", kE4m3, kE2m1, 32};
    c.scales = 1;
    c.byte_a = which;
    c.thread_a = which % 2;
    c.byte_b = 3 - which;
    c.thread_b = which;
    check(c);
  }
  for (int which : {0, 1}) {
    Case c{"mma.sync.aligned.kind::mxf4.block_scale.m16n8k64.row.col.", "f32.e2m1.e2m1.f32.ue8m0",
           kPackedE2m1, kPackedE2m1, 64};
    c.scales = 2;
    c.byte_a = 2 * which;
    c.thread_a = which;
    c.byte_b = 2 - 2 * which;
    c.thread_b = 3 - which;
    check(c);
  }
}

TEST(ScaledMatrix, FourScalesOfARow) {
  const std::string start =
      "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.";
  for (bool e4m3 : {false, true}) {
    Case c{start, std::string("f32.e2m1.e2m1.f32.") + (e4m3 ? "ue4m3" : "ue8m0"), kPackedE2m1,
           kPackedE2m1, 64};
    c.scales = 4;
    c.scales_e4m3 = e4m3;
    c.thread_a = 1;
    c.thread_b = 2;
    check(c);
  }
}

TEST(ScaledMatrix, SparseProducts) {
  const std::string start = "mma.sp::ordered_metadata.sync.aligned.";
  Case bytes{start + "m16n8k64.row.col.kind::mxf8f6f4.block_scale.",
             "f32.e3m2.e5m2.f32.ue8m0",
             kE3m2,
             kE5m2,
             64,
             true};
  bytes.scales = 1;
  bytes.byte_a = 1;
  bytes.byte_b = 2;
  bytes.thread_b = 3;
  check(bytes);
  Case packed{start + "m16n8k128.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.",
              "f32.e2m1.e2m1.f32.ue4m3",
              kPackedE2m1,
              kPackedE2m1,
              128,
              true};
  packed.scales = 4;
  packed.scales_e4m3 = true;
  packed.thread_a = 1;
  check(packed);
}

// What is not a product must be said to be none.
TEST(SparseMatrix, WhatDoesNotGoTogetherIsRefused) {
  const char* kWrong[] = {
      "mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {%r0,%r1,%r2,%r3}, {%r0,%r1,%r2,%r3}, "
      "{%r0,%r1,%r2,%r3}, {%r0,%r1,%r2,%r3}, %r0, 2",
      "mma.sp.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r0,%r1,%r2,%r3}, {%r0,%r1}, "
      "{%r0,%r1}, {%r0,%r1,%r2,%r3}, %r0, %r1",
      "mma.sp.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor.popc {%r0,%r1,%r2,%r3}, {%r0,%r1}, "
      "{%r0,%r1}, {%r0,%r1,%r2,%r3}, %r0, 0",
      "mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale.f32.e2m1.e2m1.f32.ue4m3 "
      "{%r0,%r1,%r2,%r3}, {%r0,%r1,%r2,%r3}, {%r0,%r1}, {%r0,%r1,%r2,%r3}, %r0, {0,0}, %r0, {0,0}",
      "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.f32.e2m1.e2m1.f32.ue4m3 "
      "{%r0,%r1,%r2,%r3}, {%r0,%r1,%r2,%r3}, {%r0,%r1}, {%r0,%r1,%r2,%r3}, %r0, {0,0}, %r0, {0,0}",
      "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.f16.f16.f32 "
      "{%r0,%r1,%r2,%r3}, {%r0,%r1,%r2,%r3}, {%r0,%r1}, {%r0,%r1,%r2,%r3}",
      "mma.sp.sync.aligned.m16n8k64.row.col.f32.f16.f16.f32 {%r0,%r1,%r2,%r3}, "
      "{%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, {%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, {%r0,%r1,%r2,%r3}, "
      "%r0, 0",
      "ldmatrix.sync.aligned.m16n16.x1.shared.b8 {%r0,%r1}, [%r2]",
      "ldmatrix.sync.aligned.m16n16.x4.trans.shared.b8 {%r0,%r1,%r2,%r3}, [%r2]",
      "stmatrix.sync.aligned.m16n8.x1.shared.b8 [%r2], {%r0}",
      "ldmatrix.sync.aligned.m8n16.x1.shared.b8 {%r0}, [%r2]",
  };
  for (const char* instruction : kWrong) {
    std::string text = kernelText(".reg .b32 %r<8>;", std::string(instruction) + ";");
    CompileLog log;
    EXPECT_EQ(Program::compile(text, log), nullptr) << instruction;
    EXPECT_EQ(log.status, CompileStatus::invalid_ptx) << instruction << ": " << log.text;
  }
}

// 32 lines of 16 bytes in shared memory, one for each thread; `body` moves tiles from %s, the
// address of the thread's line, into %r0 to %r3, or back.
std::vector<uint32_t> runTiles(const std::string& body, const std::vector<uint8_t>& bytes,
                               bool stores) {
  TestDevice device;
  std::string text = R"(
    mov.u32 %s, lines; shl.b32 %x, %t2, 4; add.u32 %s, %s, %x;
    mov.b32 %r0, 0; mov.b32 %r1, 0; mov.b32 %r2, 0; mov.b32 %r3, 0;
    mad.wide.u32 %at, %t2, 16, %in0; ld.global.v4.b32 {%q0, %q1, %q2, %q3}, [%at];)";
  if (stores) {
    text += "mov.b32 %r0, %q0; mov.b32 %r1, %q1; mov.b32 %r2, %q2; mov.b32 %r3, %q3;\n" + body +
            "bar.sync 0; ld.shared.v4.b32 {%r0, %r1, %r2, %r3}, [%s];";
  } else {
    text += "st.shared.v4.b32 [%s], {%q0, %q1, %q2, %q3}; bar.sync 0;\n" + body;
  }
  text += "mad.wide.u32 %at, %tidx, 16, %out; st.global.v4.b32 [%at], {%r0, %r1, %r2, %r3};";
  TestModule module(
      device,
      kernelText(".reg .b32 %r<4>, %q<4>, %s, %x; .shared .align 16 .b8 lines[512];", text));
  std::vector<uint32_t> result(128);
  auto* in = device.allocateArray<uint8_t>(512);
  auto* out = device.allocateArray<uint32_t>(128);
  std::copy(bytes.begin(), bytes.end(), in);
  EXPECT_EQ(module.launch("k", {1}, {32}, 0, out, in).status, LaunchStatus::ok);
  std::copy(out, out + 128, result.begin());
  return result;
}

std::vector<uint8_t> numbered() {
  std::vector<uint8_t> bytes(512);
  for (size_t k = 0; k < bytes.size(); ++k) bytes[k] = static_cast<uint8_t>(k * 7 + k / 256);
  return bytes;
}
// Element `k` of a line whose elements of `bits` bits lie without gaps.
uint32_t elementOf(const std::vector<uint8_t>& bytes, uint32_t line, uint32_t k, uint32_t bits) {
  uint32_t value = 0;
  for (uint32_t n = 0; n < bits; ++n) {
    uint32_t at = k * bits + n;
    value |= (bytes[16 * line + at / 8] >> (at % 8) & 1u) << n;
  }
  return value;
}

TEST(Tiles, LinesOfSixteenElements) {
  const auto bytes = numbered();
  for (auto [format, bits] : {std::pair{"b6x16_p32", 6u}, {"b4x16_p64", 4u}}) {
    auto out = runTiles("ldmatrix.sync.aligned.m8n16.x4.shared.b8x16." + std::string(format) +
                            " {%r0,%r1,%r2,%r3}, [%s];",
                        bytes, false);
    for (uint32_t l = 0; l < 32; ++l) {
      for (uint32_t e = 0; e < 16; ++e) {
        EXPECT_EQ(out[4 * l + e / 4] >> (8 * (e % 4)) & 0xff,
                  elementOf(bytes, e / 4 * 8 + l / 4, l % 4 * 4 + e % 4, bits))
            << format << " lane " << l << " element " << e;
      }
    }
  }
}

TEST(Tiles, ColumnsOfSixteenElements) {
  const auto bytes = numbered();
  for (auto [format, bits] :
       {std::pair{"b8", 8u}, {"b8x16.b6x16_p32", 6u}, {"b8x16.b4x16_p64", 4u}}) {
    auto out = runTiles("ldmatrix.sync.aligned.m16n16.x2.trans.shared." + std::string(format) +
                            " {%r0,%r1,%r2,%r3}, [%s];",
                        bytes, false);
    for (uint32_t l = 0; l < 32; ++l) {
      for (uint32_t e = 0; e < 16; ++e) {
        uint32_t tile = e / 8, half = e / 4 % 2;
        EXPECT_EQ(out[4 * l + e / 4] >> (8 * (e % 4)) & 0xff,
                  elementOf(bytes, tile * 16 + l % 4 * 4 + e % 4, l / 4 + 8 * half, bits))
            << format << " lane " << l << " element " << e;
      }
    }
  }
}

TEST(Tiles, BytesAreStoredByColumns) {
  const auto bytes = numbered();
  auto lines = runTiles("stmatrix.sync.aligned.m16n8.x4.trans.shared.b8 [%s], {%r0,%r1,%r2,%r3};",
                        bytes, true);
  for (uint32_t l = 0; l < 32; ++l) {
    for (uint32_t tile = 0; tile < 4; ++tile) {
      for (uint32_t e = 0; e < 4; ++e) {
        uint32_t line = tile * 8 + l % 4 * 2 + e % 2, at = l / 4 + e / 2 * 8;
        EXPECT_EQ(lines[4 * line + at / 4] >> (8 * (at % 4)) & 0xff, bytes[16 * l + 4 * tile + e]);
      }
    }
  }
}

}  // namespace
}  // namespace farwarp::ptx
