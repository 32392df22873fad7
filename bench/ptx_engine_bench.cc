// The PTX engine beside plain C++ loops in the same run: the ratio of the two CPU times is what
// counts. Arithmetic kernels have no baseline: they count the instructions of lanes per second. Two
// threads are compared with one by wall time, which needs two idle cores to mean anything.
#include <fstream>
#include <sstream>

#include "bench/median_reporter.h"
#include "gpud/device/cpu/ptx/program_cache.h"
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

constexpr int kVectorLength = 1 << 24;
constexpr int kMatrixRows = 512;
constexpr int kCollatzLength = 1 << 18;

// Loops of 16 operations of one kind on registers, as unrolled code has them.
constexpr uint32_t kLoops = 256, kPerLoop = 16, kArithmeticBlocks = 64, kArithmeticThreads = 256;

std::string arithmeticKernel(const char* name, const char* type, const char* operation) {
  std::string text = std::string(".visible .entry ") + name +
                     "(.param .u64 p)\n{\n.reg .pred %q; .reg .u32 %n, %t; .reg .u64 %o;\n.reg ." +
                     type + " %d<16>, %a, %b;\nmov.u32 %t, %tid.x;\n";
  std::string kind = type;
  for (const char* reg : {"%a", "%b"}) {
    text += kind == "b32"   ? "mov.b32 " + std::string(reg) + ", %t;\n"
            : kind == "b64" ? "cvt.u64.u32 " + std::string(reg) + ", %t;\n"
                            : "cvt.rn." + kind + ".u32 " + reg + ", %t;\n";
  }
  for (uint32_t k = 0; k < kPerLoop; ++k) {
    text += "mov." + kind + " %d" + std::to_string(k) + ", %a;\n";
  }
  text += "mov.u32 %n, 0;\nLOOP:\n";
  for (uint32_t k = 0; k < kPerLoop; ++k) {
    std::string d = "%d" + std::to_string(k);
    for (const char* at = operation; *at != 0; ++at) text += *at == '#' ? d : std::string(1, *at);
    text += "\n";
  }
  text += "add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 256; @%q bra LOOP;\nld.param.u64 %o, [p];\n";
  for (uint32_t k = 0; k < kPerLoop; ++k)
    text += "st.global." + kind + " [%o], %d" + std::to_string(k) + ";\n";
  return text + "ret;\n}\n";
}

std::string arithmeticText() {
  return header() + arithmeticKernel("fma32", "f32", "fma.rn.f32 #, #, %a, %b;") +
         arithmeticKernel("fma64", "f64", "fma.rn.f64 #, #, %a, %b;") +
         arithmeticKernel("mad32", "b32", "mad.lo.s32 #, #, %a, %b;") +
         arithmeticKernel("logic32", "b32", "xor.b32 #, #, %a;") +
         arithmeticKernel("add64", "b64", "add.s64 #, #, %a;");
}

struct Fixture {
  TestDevice device{1};
  TestDevice pair{2};
  TestModule module, pair_module, arithmetic;
  float *a, *b, *c;
  int* pair_out;
  Fixture()
      : module(device, text()), pair_module(pair, text()), arithmetic(device, arithmeticText()) {
    a = device.allocateArray<float>(kVectorLength);
    b = device.allocateArray<float>(kVectorLength);
    c = device.allocateArray<float>(kVectorLength);
    pair_out = pair.allocateArray<int>(kCollatzLength);
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

void vectorSumRaw(benchmark::State& state) {
  Fixture& f = fixture();
  for (auto _ : state) {
    for (int i = 0; i < kVectorLength; ++i) f.c[i] = f.a[i] + f.b[i];
    benchmark::ClobberMemory();
  }
}
BENCHMARK(vectorSumRaw)->Unit(benchmark::kMillisecond);

void vectorSum(benchmark::State& state) {
  Fixture& f = fixture();
  for (auto _ : state) {
    f.module.launch("vadd", {kVectorLength / 256}, {256}, 0, f.a, f.b, f.c, kVectorLength);
  }
}
BENCHMARK(vectorSum)->Unit(benchmark::kMillisecond);

void plainProduct(benchmark::State& state) {
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
void tiledProduct(benchmark::State& state, const char* name, uint32_t tile) {
  Fixture& f = fixture();
  uint32_t tiles = kMatrixRows / tile;
  for (auto _ : state) {
    f.module.launch(name, {tiles, tiles}, {tile, tile}, 0, f.c, f.a, f.b, kMatrixRows);
  }
}
void product16Raw(benchmark::State& state) {
  plainProduct(state);
}
void product32Raw(benchmark::State& state) {
  plainProduct(state);
}
void product16(benchmark::State& state) {
  tiledProduct(state, "matmul16", 16);
}
void product32(benchmark::State& state) {
  tiledProduct(state, "matmul32", 32);
}
BENCHMARK(product16Raw)->Unit(benchmark::kMillisecond);
BENCHMARK(product16)->Unit(benchmark::kMillisecond);
BENCHMARK(product32Raw)->Unit(benchmark::kMillisecond);
BENCHMARK(product32)->Unit(benchmark::kMillisecond);

// Divergent and without memory: what a second thread can do is not limited by the memory's speed.
void collatz(benchmark::State& state, TestModule& module, int* out) {
  for (auto _ : state) {
    module.launch("collatz", {kCollatzLength / 256}, {256}, 0, out, kCollatzLength);
  }
}
void twoThreadsRaw(benchmark::State& state) {
  collatz(state, fixture().module, reinterpret_cast<int*>(fixture().c));
}
void twoThreads(benchmark::State& state) {
  collatz(state, fixture().pair_module, fixture().pair_out);
}
BENCHMARK(twoThreadsRaw)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(twoThreads)->Unit(benchmark::kMillisecond)->UseRealTime();

void arithmetic(benchmark::State& state, const char* kernel) {
  Fixture& f = fixture();
  for (auto _ : state) {
    f.arithmetic.launch(kernel, {kArithmeticBlocks}, {kArithmeticThreads}, 0, f.c);
  }
  double lanes = double{kArithmeticBlocks} * kArithmeticThreads * kLoops * (kPerLoop + 3);
  state.counters["lane instructions"] =
      benchmark::Counter(lanes, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(arithmetic, fma32, "fma32")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(arithmetic, fma64, "fma64")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(arithmetic, mad32, "mad32")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(arithmetic, logic32, "logic32")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(arithmetic, add64, "add64")->Unit(benchmark::kMillisecond);

void launchOfOneWarp(benchmark::State& state) {
  Fixture& f = fixture();
  for (auto _ : state) f.module.launch("consts", {1}, {32}, 0, f.c);
}
BENCHMARK(launchOfOneWarp)->Unit(benchmark::kMicrosecond);

// The PTX of the tests' kernels, 88 KB: as a new text, and as one that was loaded before.
void compileText(benchmark::State& state) {
  std::string text = Fixture::text();
  for (auto _ : state) {
    CompileLog log;
    benchmark::DoNotOptimize(Program::compile(text, log));
  }
}
void findText(benchmark::State& state) {
  std::string text = Fixture::text();
  ProgramCache cache(1 << 20);
  LinkInput input{text, {}};
  CompileLog log;
  auto held = cache.link({&input, 1}, {}, log);
  for (auto _ : state) benchmark::DoNotOptimize(cache.link({&input, 1}, {}, log));
}
BENCHMARK(compileText)->Unit(benchmark::kMicrosecond);
BENCHMARK(findText)->Unit(benchmark::kMicrosecond);

constexpr bench::RatioRow kRows[] = {
    {"vectorAdd of 16 M floats", "vectorSum", 1, false, "<= 4 (cpu)"},
    {"tiled product 512, tile 16", "product16", 1, false, "<= 1 (cpu)"},
    {"tiled product 512, tile 32", "product32", 1, false, "<= 1 (cpu)"},
    {"two threads for one (collatz)", "twoThreads", 1, true, ">= 1.8 (wall)"},
};

}  // namespace
}  // namespace farwarp::ptx

int main(int argc, char** argv) {
  farwarp::bench::MedianReporter reporter;
  if (!farwarp::bench::runBenchmarks(argc, argv, reporter)) return 1;
  farwarp::bench::printRatios(reporter, farwarp::ptx::kRows);
}
