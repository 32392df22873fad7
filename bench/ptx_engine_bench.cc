// The PTX engine on one thread beside plain C++ loops in the same run. The ratio of the two times
// is what counts; both depend on the machine.
#include <benchmark/benchmark.h>

#include <fstream>
#include <sstream>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

constexpr int kVectorLength = 1 << 24;
constexpr int kMatrixRows = 512;

struct Fixture {
  TestDevice device{1};
  TestModule module;
  float *a, *b, *c;
  Fixture() : module(device, text()) {
    a = device.allocateArray<float>(kVectorLength);
    b = device.allocateArray<float>(kVectorLength);
    c = device.allocateArray<float>(kVectorLength);
    for (int i = 0; i < kVectorLength; ++i) a[i] = static_cast<float>(i % 7), b[i] = 1;
  }
  static std::string text() {
    std::ifstream file(FARWARP_KERNELS_PTX);
    std::stringstream stream;
    stream << file.rdbuf();
    return stream.str();
  }
};

Fixture& fixture() {
  static Fixture instance;
  return instance;
}

void vectorSumPlain(benchmark::State& state) {
  Fixture& f = fixture();
  for (auto _ : state) {
    for (int i = 0; i < kVectorLength; ++i) f.c[i] = f.a[i] + f.b[i];
    benchmark::ClobberMemory();
  }
}
BENCHMARK(vectorSumPlain)->Unit(benchmark::kMillisecond);

void vectorSumPtx(benchmark::State& state) {
  Fixture& f = fixture();
  for (auto _ : state) {
    f.module.launch("vadd", {kVectorLength / 256}, {256}, 0, f.a, f.b, f.c, kVectorLength);
  }
}
BENCHMARK(vectorSumPtx)->Unit(benchmark::kMillisecond);

void matrixProductPlain(benchmark::State& state) {
  Fixture& f = fixture();
  constexpr int n = kMatrixRows;
  for (auto _ : state) {
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        float sum = 0;
        for (int k = 0; k < n; ++k) sum += f.a[i * n + k] * f.b[k * n + j];
        f.c[i * n + j] = sum;
      }
    }
    benchmark::ClobberMemory();
  }
}
BENCHMARK(matrixProductPlain)->Unit(benchmark::kMillisecond);

void matrixProductPtx(benchmark::State& state) {
  Fixture& f = fixture();
  uint32_t tile = static_cast<uint32_t>(state.range(0)), tiles = kMatrixRows / tile;
  const char* name = tile == 16 ? "matmul16" : "matmul32";
  for (auto _ : state) {
    f.module.launch(name, {tiles, tiles}, {tile, tile}, 0, f.c, f.a, f.b, kMatrixRows);
  }
}
BENCHMARK(matrixProductPtx)->Arg(16)->Arg(32)->Unit(benchmark::kMillisecond);

void launchOfOneWarp(benchmark::State& state) {
  Fixture& f = fixture();
  for (auto _ : state) f.module.launch("consts", {1}, {32}, 0, f.c);
}
BENCHMARK(launchOfOneWarp)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace farwarp::ptx

BENCHMARK_MAIN();
