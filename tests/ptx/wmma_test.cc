// Goal: wmma loads, multiplies and stores matrices of every shape and layout. Method: products of
// small integers, which are exact, against three loops; the layout of fragments is not looked at.
#include <bit>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

struct Shape {
  uint32_t m, n, k;
  std::string text() const {
    return "m" + std::to_string(m) + "n" + std::to_string(n) + "k" + std::to_string(k);
  }
};

// Small integers as halves are exact by hand: 1 to 8 and their negatives.
uint16_t halfOf(int v) {
  float f = static_cast<float>(v);
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if (v == 0) return 0;
  return static_cast<uint16_t>(bits >> 16 & 0x8000) |
         static_cast<uint16_t>(((bits >> 23 & 255) - 112) << 10 | (bits >> 13 & 1023));
}

std::string list(const char* name, int count) {
  std::string text = "{";
  for (int k = 0; k < count; ++k) text += (k != 0 ? ", %" : "%") + (name + std::to_string(k));
  return text + "}";
}

// d = a * b + c, with the layouts of a, b and of both c and d; c comes from `space`.
std::string kernelOf(const Shape& shape, const std::string& a, const std::string& b,
                     const std::string& c, const std::string& space, uint32_t lda, uint32_t ldb,
                     uint32_t ldc) {
  std::string s = "." + shape.text();
  std::string to_shared;
  if (space == ".shared") {
    to_shared =
        "mov.u32 %t3, 0;\ncopy: mad.wide.u32 %at, %t3, 4, %in2; ld.global.b32 %x, [%at]; "
        "mad.lo.u32 %y, %t3, 4, %base;\n"
        "st.shared.b32 [%y], %x; add.u32 %t3, %t3, 1; setp.lt.u32 %p, %t3, 1024; @%p bra copy; "
        "bar.warp.sync -1;\n"
        "cvt.u64.u32 %in2, %base;\n";
  }
  return kernelText(
      ".reg .b32 %a<8>, %b<8>, %c<8>, %x, %y, %base; .reg .pred %p; .shared .align 16 .b8 "
      "tile[4096];",
      "mov.u32 %base, tile;\n" + to_shared + "wmma.load.a.sync.aligned." + a + s + ".global.f16 " +
          list("a", 8) + ", [%in0], " + std::to_string(lda) + ";\nwmma.load.b.sync.aligned." + b +
          s + ".global.f16 " + list("b", 8) + ", [%in1], " + std::to_string(ldb) +
          ";\nwmma.load.c.sync.aligned." + c + s + space + ".f32 " + list("c", 8) + ", [%in2], " +
          std::to_string(ldc) + ";\nwmma.mma.sync.aligned." + a + "." + b + s + ".f32.f32 " +
          list("c", 8) + ", " + list("a", 8) + ", " + list("b", 8) + ", " + list("c", 8) +
          ";\nwmma.store.d.sync.aligned." + c + s + ".global.f32 [%out], " + list("c", 8) + ", " +
          std::to_string(ldc) + ";",
      3);
}

void check(const Shape& shape, bool a_row, bool b_row, bool c_row, const std::string& space) {
  auto name = [](bool row) { return std::string(row ? "row" : "col"); };
  SCOPED_TRACE(shape.text() + " " + name(a_row) + " " + name(b_row) + " " + name(c_row) + space);
  // Wider than the matrix, so that a wrong stride shows.
  uint32_t lda = (a_row ? shape.k : shape.m) + 8, ldb = (b_row ? shape.n : shape.k) + 8,
           ldc = (c_row ? shape.n : shape.m) + 4;
  auto at = [](uint32_t row, uint32_t column, bool by_row, uint32_t stride) {
    return by_row ? row * stride + column : column * stride + row;
  };
  TestDevice device;
  TestModule module(device,
                    kernelOf(shape, name(a_row), name(b_row), name(c_row), space, lda, ldb, ldc));
  ASSERT_TRUE(module);
  auto* a = device.allocateArray<uint16_t>(2048);
  auto* b = device.allocateArray<uint16_t>(2048);
  auto* c = device.allocateArray<float>(2048);
  auto* d = device.allocateArray<float>(2048);
  auto valueA = [](uint32_t m, uint32_t k) { return static_cast<int>((m * 7 + k * 3) % 9) - 4; };
  auto valueB = [](uint32_t k, uint32_t n) { return static_cast<int>((k * 5 + n * 11) % 7) - 3; };
  for (uint32_t m = 0; m < shape.m; ++m) {
    for (uint32_t k = 0; k < shape.k; ++k) a[at(m, k, a_row, lda)] = halfOf(valueA(m, k));
    for (uint32_t n = 0; n < shape.n; ++n)
      c[at(m, n, c_row, ldc)] = static_cast<float>(m * 100 + n);
  }
  for (uint32_t k = 0; k < shape.k; ++k) {
    for (uint32_t n = 0; n < shape.n; ++n) b[at(k, n, b_row, ldb)] = halfOf(valueB(k, n));
  }
  LaunchResult r = module.launch("k", {1}, {32}, 0, d, a, b, c);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (uint32_t m = 0; m < shape.m; ++m) {
    for (uint32_t n = 0; n < shape.n; ++n) {
      int want = static_cast<int>(m * 100 + n);
      for (uint32_t k = 0; k < shape.k; ++k) want += valueA(m, k) * valueB(k, n);
      ASSERT_EQ(d[at(m, n, c_row, ldc)], static_cast<float>(want)) << m << " " << n;
    }
  }
}

TEST(Wmma, EveryShapeAndLayout) {
  for (const Shape& shape : {Shape{16, 16, 16}, Shape{8, 32, 16}, Shape{32, 8, 16}}) {
    for (int layouts = 0; layouts < 8; ++layouts) {
      for (const char* space : {"", ".global", ".shared"}) {
        check(shape, (layouts & 1) != 0, (layouts & 2) != 0, (layouts & 4) != 0, space);
      }
    }
  }
}

}  // namespace
}  // namespace farwarp::ptx
