// Goal: PTX as nvcc writes it runs and computes what the same C++ computes on the host. Method:
// kernels.cu is compiled by nvcc when the tests are built; each kernel's output is compared with a
// host computation.
#include <cmath>
#include <fstream>
#include <sstream>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

std::string kernels() {
  std::ifstream file(FARWARP_KERNELS_PTX);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Nvcc : public testing::Test {
 protected:
  TestDevice device_{2};
  TestModule module_{device_, kernels()};
  template <class... Args>
  void run(const char* name, Extent grid, Extent block, Args... args) {
    LaunchResult r = module_.launch(name, grid, block, 1024, args...);
    EXPECT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  }
};

TEST_F(Nvcc, TiledMatrixProduct) {
  constexpr int n = 64;
  float *a = device_.allocateArray<float>(n * n), *b = device_.allocateArray<float>(n * n);
  for (int i = 0; i < n * n; ++i) a[i] = i % 7, b[i] = i % 5;
  for (uint32_t tile : {16u, 32u}) {
    float* c = device_.allocateArray<float>(n * n);
    run(tile == 16 ? "matmul16" : "matmul32", {n / tile, n / tile}, {tile, tile}, c, a, b, n);
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        float s = 0;
        for (int k = 0; k < n; ++k) s += a[i * n + k] * b[k * n + j];
        ASSERT_EQ(c[i * n + j], s);
      }
    }
  }
}

TEST_F(Nvcc, VectorSumWithATailAndReduction) {
  constexpr int n = 10007;
  float *a = device_.allocateArray<float>(n), *b = device_.allocateArray<float>(n),
        *c = device_.allocateArray<float>(n);
  for (int i = 0; i < n; ++i) a[i] = i, b[i] = 1;
  run("vadd", {(n + 255) / 256}, {256}, a, b, c, n);
  for (int i = 0; i < n; ++i) ASSERT_EQ(c[i], i + 1);
  float* sum = device_.allocateArray<float>(1);
  run("reduceSum", {5}, {96}, b, sum, n);
  EXPECT_EQ(*sum, n);
}

TEST_F(Nvcc, DivergentLoops) {
  constexpr int n = 3000;
  int* out = device_.allocateArray<int>(n);
  run("collatz", {(n + 127) / 128}, {128}, out, n);
  for (int i = 0; i < n; ++i) {
    uint64_t v = static_cast<uint64_t>(i) + 1;
    int steps = 0;
    for (; v != 1; ++steps) v = v % 2 != 0 ? 3 * v + 1 : v / 2;
    ASSERT_EQ(out[i], steps);
  }
}

TEST_F(Nvcc, SpinLocks) {
  for (const char* name : {"spinLock", "spinLock2"}) {
    int* lock = device_.allocateArray<int>(2);
    run(name, {4}, {64}, lock, lock + 1);
    EXPECT_EQ(lock[1], 256) << name;
  }
}

TEST_F(Nvcc, PrintfAndAssert) {
  run("hello", {1}, {3}, 5);
  EXPECT_EQ(device_.printed, "hello 5 str  0.00 a%\nhello 6 str  1.50 a%\nhello 7 str  3.00 a%\n");
  LaunchResult r = module_.launch("asserts", {1}, {40}, 0, 33);
  EXPECT_EQ(r.status, LaunchStatus::assertion);
  EXPECT_NE(device_.asserted.find(
                "block: [0,0,0], thread: [33,0,0] Assertion `threadIdx.x != x` failed."),
            std::string::npos);
}

TEST_F(Nvcc, CallsRecursionAndVirtualFunctions) {
  int* out = device_.allocateArray<int>(64);
  run("fibs", {1}, {64}, out);
  for (int t = 0; t < 64; ++t) {
    int a = 0, b = 1;
    for (int k = 0; k < t % 12; ++k) std::swap(a, b), b += a;
    EXPECT_EQ(out[t], a);
  }
  float* areas = device_.allocateArray<float>(64);
  run("virtuals", {1}, {64}, areas);
  for (int t = 0; t < 64; ++t) EXPECT_EQ(areas[t], (t % 3 != 0 ? 1 : 3) * t * t);
}

TEST_F(Nvcc, GridSynchronisation) {
  constexpr int n = 16 * 64;
  int *data = device_.allocateArray<int>(n), *out = device_.allocateArray<int>(n);
  LaunchShape shape;
  shape.grid = {16};
  shape.block = {64};
  shape.cooperative = true;
  LaunchResult r = module_.launchShape("gridsync", shape, nullptr, data, out, n);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (int i = 0; i < n; ++i) ASSERT_EQ(out[i], n - 1 - i);
}

TEST_F(Nvcc, MathLibrary) {
  float* f = device_.allocateArray<float>(64);
  double* d = device_.allocateArray<double>(64);
  run("trig", {1}, {64}, f);
  run("dtrig", {1}, {64}, d);
  for (int t = 0; t < 64; ++t) {
    float x = t * 1.7f - 20;
    EXPECT_NEAR(f[t], std::sin(x) + std::exp(x / 10) + std::pow(std::abs(x), 1.3f),
                1e-5 * std::abs(f[t]) + 1e-5);
    double y = t * 1.7 - 20;
    EXPECT_NEAR(d[t], std::sin(y) + std::exp(y / 10) + std::pow(std::abs(y), 1.3),
                1e-13 * std::abs(d[t]) + 1e-13);
  }
}

TEST_F(Nvcc, DynamicSharedConstantsSwitchAndHeap) {
  int* out = device_.allocateArray<int>(256);
  run("dynshared", {1}, {256}, out);
  for (int t = 0; t < 256; ++t) EXPECT_EQ(out[t], 255 - t);
  float* f = device_.allocateArray<float>(64);
  run("consts", {1}, {64}, f);
  for (int t = 0; t < 64; ++t) EXPECT_EQ(f[t], (t & 3) + 1);
  run("heap", {1}, {64}, out);
  for (int t = 0; t < 64; ++t) EXPECT_EQ(out[t], t);
  run("switches", {1}, {64}, out, 1);
  EXPECT_EQ(out[0], 5);
  EXPECT_EQ(out[5], 112);
  EXPECT_EQ(out[12], 506);
}

// Small integers: their products and sums are exact in every type.
template <class T>
std::vector<int> fillMatrix(T* at, int count, int (*encode)(int), unsigned seed) {
  std::vector<int> values(count);
  for (int k = 0; k < count; ++k) {
    seed = seed * 1664525 + 1013904223;
    values[k] = static_cast<int>(seed >> 24) % 5 - 2;
    at[k] = static_cast<T>(encode(values[k]));
  }
  return values;
}
int asHalf(int v) {
  constexpr int kBits[] = {0xc000, 0xbc00, 0, 0x3c00, 0x4000};
  return kBits[v + 2];
}
int asItself(int v) {
  return v;
}

// c = a b + 1 for an m x n result; each matrix row by row, or by column where told.
struct ProductShape {
  int m, n, k;
  bool a_by_column, b_by_column, c_by_column;
};
template <class C>
void expectProduct(const ProductShape& s, const std::vector<int>& a, const std::vector<int>& b,
                   const C* c, double (*decode)(C)) {
  for (int i = 0; i < s.m; ++i) {
    for (int j = 0; j < s.n; ++j) {
      int want = 1;
      for (int p = 0; p < s.k; ++p) {
        want += a[s.a_by_column ? p * s.m + i : i * s.k + p] *
                b[s.b_by_column ? j * s.k + p : p * s.n + j];
      }
      ASSERT_EQ(decode(c[s.c_by_column ? j * s.m + i : i * s.n + j]), want) << i << " " << j;
    }
  }
}
template <class C>
double plain(C value) {
  return value;
}
double halfValue(uint16_t bits) {
  int exponent = bits >> 10 & 31;
  double magnitude =
      exponent == 0 ? (bits & 0x3ff) * 0x1p-24 : std::ldexp(1024 + (bits & 0x3ff), exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST_F(Nvcc, WarpMatrixProducts) {
  auto* h1 = device_.allocateArray<uint16_t>(512);
  auto* h2 = device_.allocateArray<uint16_t>(512);
  auto* floats = device_.allocateArray<float>(256);
  auto a = fillMatrix(h1, 512, asHalf, 1), b = fillMatrix(h2, 512, asHalf, 2);
  run("wmma16", {1}, {32}, h1, h2, floats);
  expectProduct<float>({16, 16, 16, false, true, false}, a, b, floats, plain<float>);
  auto* halves = device_.allocateArray<uint16_t>(256);
  run("wmma32", {1}, {32}, h1, h2, halves);
  expectProduct<uint16_t>({32, 8, 16, true, false, false}, a, b, halves, halfValue);
  auto* c1 = device_.allocateArray<int8_t>(512);
  auto* c2 = device_.allocateArray<int8_t>(512);
  auto* ints = device_.allocateArray<int>(256);
  a = fillMatrix(c1, 512, asItself, 3), b = fillMatrix(c2, 512, asItself, 4);
  run("wmma8", {1}, {32}, c1, c2, ints);
  expectProduct<int>({8, 32, 16, false, true, true}, a, b, ints, plain<int>);
  auto* d1 = device_.allocateArray<double>(32);
  auto* d2 = device_.allocateArray<double>(32);
  auto* doubles = device_.allocateArray<double>(64);
  a = fillMatrix(d1, 32, asItself, 5), b = fillMatrix(d2, 32, asItself, 6);
  run("wmmad", {1}, {32}, d1, d2, doubles);
  expectProduct<double>({8, 8, 4, false, true, false}, a, b, doubles, plain<double>);
  auto* f1 = device_.allocateArray<float>(128);
  auto* f2 = device_.allocateArray<float>(128);
  a = fillMatrix(f1, 128, asItself, 7), b = fillMatrix(f2, 128, asItself, 8);
  run("wmmat", {1}, {32}, f1, f2, floats);
  expectProduct<float>({16, 16, 8, false, false, false}, a, b, floats, plain<float>);
}

TEST_F(Nvcc, SimdVideoInstructions) {
  auto* in = device_.allocateArray<uint32_t>(64);
  auto* out = device_.allocateArray<uint32_t>(192);
  uint32_t seed = 11;
  for (int k = 0; k < 64; ++k) in[k] = seed = seed * 1664525 + 1013904223;
  run("simdVideo", {1}, {32}, in, out);
  for (int t = 0; t < 32; ++t) {
    uint32_t x = in[2 * t], y = in[2 * t + 1], want[6] = {0, 0, 0, 7, 0, 0};
    for (int k = 0; k < 32; k += 8) {
      int p = x >> k & 0xff, q = y >> k & 0xff;
      int sum = static_cast<int8_t>(p) + static_cast<int8_t>(q);
      want[0] |= static_cast<uint32_t>((p + q) & 0xff) << k;
      want[1] |= static_cast<uint32_t>(std::abs(p - q)) << k;
      want[3] += static_cast<uint32_t>(std::abs(p - q));
      want[4] |= static_cast<uint32_t>(std::min(127, std::max(-128, sum)) & 0xff) << k;
    }
    for (int k = 0; k < 32; k += 16) {
      int p = x >> k & 0xffff, q = y >> k & 0xffff;
      int sum = static_cast<int16_t>(p) + static_cast<int16_t>(q);
      want[2] |= static_cast<uint32_t>(std::min(32767, std::max(-32768, sum)) & 0xffff) << k;
      want[5] |= static_cast<uint32_t>(std::abs(p - q)) << k;
    }
    for (int k = 0; k < 6; ++k) EXPECT_EQ(out[6 * t + k], want[k]) << t << " " << k;
  }
}

TEST_F(Nvcc, BarriersOfTheLibraryAndBulkCopies) {
  int* out = device_.allocateArray<int>(256);
  run("blockBarrier", {1}, {256}, out);
  for (int t = 0; t < 256; ++t) EXPECT_EQ(out[t], (t + 5 * 33) % 256 + 5);
  int* in = device_.allocateArray<int>(256);
  for (int t = 0; t < 256; ++t) in[t] = 3 * t;
  run("bulk", {1}, {256}, in, out);
  for (int t = 0; t < 256; ++t) EXPECT_EQ(out[t], 6 * t);
}

TEST_F(Nvcc, ClustersShareTheirSharedMemory) {
  int* out = device_.allocateArray<int>(8);
  LaunchShape shape;
  shape.grid = {8};
  shape.block = {32};
  shape.cluster = {4};
  LaunchResult r = module_.launchShape("clusterSum", shape, nullptr, out);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (int b = 0; b < 8; ++b) EXPECT_EQ(out[b], (b < 4 ? 10 : 26) * 10 + b % 4);
}

TEST_F(Nvcc, EightBitFloats) {
  float* in = device_.allocateArray<float>(64);
  float* out = device_.allocateArray<float>(128);
  for (int t = 0; t < 64; ++t)
    in[t] = (t % 2 != 0 ? -1 : 1) * std::ldexp(1 + t % 5 / 8.0f, t / 3 - 10);
  run("floats8", {1}, {64}, in, out);
  auto rounded = [](float v, int mantissa_bits, int least_exponent, float most) {
    int exponent = std::max(std::ilogb(v), least_exponent);
    float unit = std::ldexp(1.0f, exponent - mantissa_bits);
    float r = std::nearbyint(std::abs(v) / unit) * unit;
    return std::copysign(std::min(r, most), v);
  };
  for (int t = 0; t < 64; ++t) {
    EXPECT_EQ(out[2 * t], rounded(in[t], 3, -6, 448)) << in[t];
    EXPECT_EQ(out[2 * t + 1], rounded(in[t], 2, -14, 57344)) << in[t];
  }
}

}  // namespace
}  // namespace farwarp::ptx
