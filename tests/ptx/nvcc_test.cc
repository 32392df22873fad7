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

}  // namespace
}  // namespace farwarp::ptx
