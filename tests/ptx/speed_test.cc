// Goal: the engine stays in the order of magnitude of plain loops, and a second thread wastes
// nothing. Method: kernels that nvcc compiled and the same loops in C++ run by turns, and the
// smallest CPU times of each are compared. The bounds leave three times and more to what was
// measured (bench/results), because builds and machines differ; what they find is a lost fast path.
#include <time.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

constexpr int kTurns = 5;

double cpuSeconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The least CPU time, in seconds, of each of two functions that take turns.
template <class A, class B>
std::pair<double, double> compare(clockid_t clock, A a, B b) {
  double least_a = 1e9, least_b = 1e9;
  for (int turn = 0; turn < kTurns; ++turn) {
    double start = cpuSeconds(clock);
    a();
    double middle = cpuSeconds(clock);
    b();
    least_a = std::min(least_a, middle - start);
    least_b = std::min(least_b, cpuSeconds(clock) - middle);
  }
  return {least_a, least_b};
}

std::string kernels() {
  std::ifstream file(FARWARP_KERNELS_PTX);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Speed : public testing::Test {
 protected:
  TestDevice device_{1};
  TestModule module_{device_, kernels()};
  void launch(const char* name, Extent grid, Extent block, auto... args) {
    LaunchResult end = module_.launch(name, grid, block, 0, args...);
    ASSERT_EQ(end.status, LaunchStatus::ok) << end.detail.message;
  }
};

TEST_F(Speed, VectorSum) {
  constexpr int n = 1 << 20;
  float *a = device_.allocateArray<float>(n), *b = device_.allocateArray<float>(n),
        *c = device_.allocateArray<float>(n);
  auto [engine, plain] = compare(
      CLOCK_THREAD_CPUTIME_ID, [&] { launch("vadd", {n / 256}, {256}, a, b, c, n); },
      [&] {
        for (int i = 0; i < n; ++i) c[i] = a[i] + b[i];
        asm volatile("" ::: "memory");
      });
  EXPECT_LT(engine, 16 * plain) << "engine " << engine << " s, plain loop " << plain << " s";
}

TEST_F(Speed, TiledProduct) {
  constexpr int n = 192;
  float *a = device_.allocateArray<float>(n * n), *b = device_.allocateArray<float>(n * n),
        *c = device_.allocateArray<float>(n * n);
  auto [engine, plain] = compare(
      CLOCK_THREAD_CPUTIME_ID,
      [&] {
        launch("matmul32", {n / 32, n / 32}, {32, 32}, c, a, b, n);
      },
      [&] {
        for (int i = 0; i < n; ++i) {
          for (int j = 0; j < n; ++j) {
            float sum = 0;
            for (int k = 0; k < n; ++k) sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
          }
        }
        asm volatile("" ::: "memory");
      });
  EXPECT_LT(engine, 3 * plain) << "engine " << engine << " s, plain loops " << plain << " s";
}

// A step of a lane may not cost more than a chain of multiplications that nothing speeds up; the
// kernel does 16 independent ones at a time for 32 lanes.
TEST_F(Speed, Arithmetic) {
  std::string text = header() +
                     ".visible .entry fma(.param .u64 p)\n{\n.reg .pred %q; .reg .u32 %n; "
                     ".reg .u64 %o;\n.reg .f32 %d<16>;\n";
  for (int k = 0; k < 16; ++k) text += "mov.f32 %d" + std::to_string(k) + ", 0f3F000000;\n";
  text += "mov.u32 %n, 0;\nLOOP:\n";
  for (int k = 0; k < 16; ++k) {
    std::string d = "%d" + std::to_string(k);
    text += "fma.rn.f32 " + d + ", " + d + ", 0f3F7FFF58, 0f3A83126F;\n";
  }
  text += "add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 256; @%q bra LOOP;\nld.param.u64 %o, [p];\n";
  for (int k = 0; k < 16; ++k) text += "st.global.f32 [%o], %d" + std::to_string(k) + ";\n";
  TestModule module(device_, text + "ret;\n}\n");
  float* out = device_.allocateArray<float>(1);
  constexpr int kThreads = 1024, kSteps = 16 * 256;
  volatile float factor = 0.99999f;
  auto [engine, plain] = compare(
      CLOCK_THREAD_CPUTIME_ID,
      [&] { EXPECT_EQ(module.launch("fma", {4}, {kThreads}, 0, out).status, LaunchStatus::ok); },
      [&] {
        float value = 1, by = factor;
        for (int k = 0; k < kSteps * 100; ++k) value = value * by + 0.001f;
        *out = value;
      });
  double step_of_lane = engine / (4.0 * kThreads * kSteps), step = plain / (kSteps * 100.0);
  EXPECT_LT(step_of_lane, step) << "a lane's step " << step_of_lane << " s, a plain step " << step;
}

// Loading a text again looks it up; an empty kernel's launch is far from a millisecond.
TEST_F(Speed, EmptyLaunch) {
  TestModule module(device_, header() + ".visible .entry empty()\n{\nret;\n}\n");
  constexpr int kLaunches = 1000;
  auto [launches, copies] = compare(
      CLOCK_THREAD_CPUTIME_ID,
      [&] {
        for (int k = 0; k < kLaunches; ++k) module.launch("empty", {1}, {32}, 0);
      },
      [&] {  // as a measure of this machine: 16 KiB written, about half a microsecond
        static volatile char bytes[16384];
        for (int k = 0; k < kLaunches; ++k) {
          for (int n = 0; n < 16384; n += 8) *reinterpret_cast<volatile uint64_t*>(&bytes[n]) = n;
        }
      });
  EXPECT_LT(launches, 20 * copies) << launches / kLaunches << " s for a launch";
}

// What two threads do together costs little more than what one does alone.
TEST_F(Speed, TheSecondThreadWastesNothing) {
  constexpr int n = 1 << 16;
  TestDevice pair(2);
  TestModule pair_module(pair, kernels());
  int *one = device_.allocateArray<int>(n), *two = pair.allocateArray<int>(n);
  auto [alone, together] = compare(
      CLOCK_PROCESS_CPUTIME_ID, [&] { launch("collatz", {n / 256}, {256}, one, n); },
      [&] {
        LaunchResult end = pair_module.launch("collatz", {n / 256}, {256}, 0, two, n);
        ASSERT_EQ(end.status, LaunchStatus::ok);
      });
  EXPECT_LT(together, 2.5 * alone) << "one thread " << alone << " s, two " << together << " s";
}

}  // namespace
}  // namespace farwarp::ptx
