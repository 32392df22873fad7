// The PTX engine beside plain C++ loops: short slices of both take turns, and the ratio of their
// CPU times is what counts. Arithmetic kernels have no baseline: they count the instructions of
// lanes per second. Two threads are compared with one by wall time, which needs two idle cores to
// mean anything.
//
// --benchmark_filter=REGEX chooses among the benchmarks, and among the rows by their names.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <fstream>
#include <regex>
#include <sstream>

#include "bench/paired.h"
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

void plainSum() {
  Fixture& f = fixture();
  for (int i = 0; i < kVectorLength; ++i) f.c[i] = f.a[i] + f.b[i];
  benchmark::ClobberMemory();
}
void vectorSum() {
  Fixture& f = fixture();
  f.module.launch("vadd", {kVectorLength / 256}, {256}, 0, f.a, f.b, f.c, kVectorLength);
}

void plainProduct() {
  Fixture& f = fixture();
  constexpr int n = kMatrixRows;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      float sum = 0;
      for (int k = 0; k < n; ++k) sum += f.a[i * n + k] * f.b[k * n + j];
      f.c[i * n + j] = sum;
    }
  }
  benchmark::ClobberMemory();
}
template <uint32_t Tile>
void tiledProduct() {
  Fixture& f = fixture();
  constexpr uint32_t kTiles = kMatrixRows / Tile;
  const char* name = Tile == 16 ? "matmul16" : "matmul32";
  f.module.launch(name, {kTiles, kTiles}, {Tile, Tile}, 0, f.c, f.a, f.b, kMatrixRows);
}

// Divergent and without memory: what a second thread can do is not limited by the memory's speed.
void collatzAlone() {
  Fixture& f = fixture();
  f.module.launch("collatz", {kCollatzLength / 256}, {256}, 0, reinterpret_cast<int*>(f.c),
                  kCollatzLength);
}
void collatzTogether() {
  Fixture& f = fixture();
  f.pair_module.launch("collatz", {kCollatzLength / 256}, {256}, 0, f.pair_out, kCollatzLength);
}

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

struct Row {
  const char* name;
  const char* what;
  void (*plain)();
  void (*engine)();
  bool by_wall;  // how many times faster the engine is; else its CPU time over the plain one
  const char* goal;
};
constexpr Row kRows[] = {
    {"vectorSum", "vectorAdd of 16 M floats", plainSum, vectorSum, false, "<= 4"},
    {"product16", "tiled product 512, tile 16", plainProduct, tiledProduct<16>, false, "<= 1"},
    {"product32", "tiled product 512, tile 32", plainProduct, tiledProduct<32>, false, "<= 1"},
    {"twoThreads", "two threads for one (collatz)", collatzAlone, collatzTogether, true, ">= 1.8"},
};

void printRows(const std::regex& wanted) {
  std::printf("%-30s %12s %12s %7s %17s  %s\n", "", "plain", "engine", "ratio", "quartiles",
              "goal");
  for (const Row& row : kRows) {
    if (!std::regex_search(row.name, wanted)) continue;
    auto times = [](void (*run)()) {
      return [run](int count) {
        for (int k = 0; k < count; ++k) run();
      };
    };
    const bench::Side plain{times(row.plain), bench::threadCpu(), {}},
        engine{times(row.engine), bench::threadCpu(), {}};
    const bench::Comparison c = bench::compare(plain, engine, {.pairs = 21, .slice_s = 0.02});
    if (row.by_wall) {
      std::printf("%-30s %9.2f ms %9.2f ms %7.2f %8.2f %8.2f  %s (wall)\n", row.what,
                  c.raw.wall_s * 1e3, c.own.wall_s * 1e3, 1 / c.ratio, 1 / c.ratio_greatest,
                  1 / c.ratio_least, row.goal);
    } else {
      std::printf("%-30s %9.2f ms %9.2f ms %7.2f %8.2f %8s  %s (cpu; least)\n", row.what,
                  c.raw.near_cpu_s * 1e3, c.own.near_cpu_s * 1e3,
                  c.own.near_cpu_s / c.raw.near_cpu_s, c.near_cpu_least, "", row.goal);
    }
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace farwarp::ptx

int main(int argc, char** argv) {
  std::string wanted;
  for (const std::string_view argument : std::vector<std::string_view>(argv + 1, argv + argc)) {
    constexpr std::string_view kFilter = "--benchmark_filter=";
    if (argument.starts_with(kFilter)) wanted = argument.substr(kFilter.size());
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  farwarp::ptx::printRows(std::regex(wanted));
}
