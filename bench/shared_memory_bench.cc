// What managed memory costs the program: stores and loads by pages, and launches in between. One
// program of the driver API; run it in-process on the CPU device and under `farwarp run`.
//
//     shared_memory_bench [PAGES]
#include <cuda.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

namespace {

constexpr size_t kPage = 4096;

constexpr char kPtx[] = R"(
.version 8.0
.target sm_70
.address_size 64
.visible .entry nothing(.param .u64 values) { ret; }
)";

void check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s gave %d.\n", call, static_cast<int>(result));
  std::exit(1);
}
#define CHECK(call) check(call, #call)

template <typename Action>
double microseconds(const Action& action) {
  const auto begin = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
      .count();
}

struct Bench {
  CUfunction nothing = nullptr;
  unsigned char* memory = nullptr;
  size_t pages = 0;
  std::vector<size_t> shuffled;

  void launch() const {
    const void* address = memory;
    void* params[] = {&address};
    CHECK(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, nullptr, params, nullptr));
  }
  void launchAndWait() const {
    launch();
    CHECK(cuCtxSynchronize());
  }
  void tell(const char* what, double us) const {
    std::printf("%-58s %10.3f us per page %10.1f us in all\n", what,
                us / static_cast<double>(pages), us);
  }
  // Loads one byte of each page in some order; fetches what is closed.
  void load(const std::vector<size_t>& order) const {
    unsigned sum = 0;
    for (const size_t page : order) {
      sum += *const_cast<volatile unsigned char*>(memory + page * kPage);
    }
    if (sum == 12345) std::printf(" ");
  }

  void run() {
    std::vector<size_t> ordered(pages);
    std::iota(ordered.begin(), ordered.end(), size_t{0});
    shuffled = ordered;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(1));

    tell("first fill, before any launch",
         microseconds([&] { std::memset(memory, 1, pages * kPage); }));
    tell("launch behind it, which sends all of it", microseconds([&] { launch(); }));
    CHECK(cuCtxSynchronize());
    tell("load from each page in order, fetched", microseconds([&] { load(ordered); }));
    tell("store to each page in order", microseconds([&] {
           for (const size_t page : ordered) memory[page * kPage] = 2;
         }));
    tell("launch behind it, which sends one byte of each", microseconds([&] { launch(); }));
    CHECK(cuCtxSynchronize());
    tell("load from each page in random order, fetched", microseconds([&] { load(shuffled); }));
    tell("store to each page in random order", microseconds([&] {
           for (const size_t page : shuffled) memory[page * kPage] = 3;
         }));
    launchAndWait();
    load(ordered);
    tell("fill of all bytes in order",
         microseconds([&] { std::memset(memory, 4, pages * kPage); }));
    tell("launch behind it, which sends all of it", microseconds([&] { launch(); }));
    CHECK(cuCtxSynchronize());
    constexpr int kLaunches = 1000;
    const double us = microseconds([&] {
      for (int i = 0; i < kLaunches; ++i) launch();
      CHECK(cuCtxSynchronize());
    });
    std::printf("%-58s %10.3f us per launch\n", "launches with nothing written", us / kLaunches);
  }
};

}  // namespace

int main(int argc, char** argv) {
  Bench bench;
  bench.pages = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 8192;
  if (bench.pages == 0 || bench.pages > (1u << 20)) {
    std::fprintf(stderr, "PAGES is \"%s\"; it must be from 1 to 1048576.\n", argv[1]);
    return 2;
  }
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUdeviceptr address = 0;
  CHECK(cuInit(0));
  CHECK(cuDeviceGet(&device, 0));
  CHECK(cuCtxCreate_v2(&context, 0, device));
  CHECK(cuModuleLoadData(&module, kPtx));
  CHECK(cuModuleGetFunction(&bench.nothing, module, "nothing"));
  CHECK(cuMemAllocManaged(&address, bench.pages * kPage, CU_MEM_ATTACH_GLOBAL));
  bench.memory = reinterpret_cast<unsigned char*>(address);
  std::printf("%zu pages of %zu bytes\n", bench.pages, kPage);
  bench.run();
  CHECK(cuMemFree_v2(address));
  CHECK(cuCtxDestroy_v2(context));
}
