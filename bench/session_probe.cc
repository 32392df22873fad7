// What one process sees of a session: a program of the driver API, to be run by `farwarp run`.
// bench/compare.py starts it, alone or many at once. Prints one JSON object.
//
//   session_probe first              time from the first call to the first result; memory at rest
//   session_probe calls SECONDS      waiting calls one after the other, from a byte on standard
//   input session_probe launches SECONDS   launches, waited for at the end
#include <cuda.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>

namespace {

using Clock = std::chrono::steady_clock;

void check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s gave CUresult %d.\n", call, static_cast<int>(result));
  std::exit(1);
}
#define CHECK(call) check(call, #call)

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

long residentKib() {
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("Rss:", 0) == 0) return std::atol(line.c_str() + 4);
  }
  return 0;
}

CUdeviceptr openSession() {
  CHECK(cuInit(0));
  CUcontext context = nullptr;
  CUdeviceptr memory = 0;
  CHECK(cuDevicePrimaryCtxRetain(&context, 0));
  CHECK(cuCtxSetCurrent(context));
  CHECK(cuMemAlloc_v2(&memory, 4096));
  return memory;
}

void waitingCall(CUdeviceptr memory) {
  int word = 0;
  CHECK(cuMemcpyDtoH_v2(&word, memory, sizeof(word)));
}

// Says that it is ready and waits for the word to begin.
void awaitStart() {
  std::puts("ready");
  std::fflush(stdout);
  char byte;
  if (read(STDIN_FILENO, &byte, 1) != 1) std::exit(1);
}

int first() {
  const long before_kib = residentKib();
  const auto start = Clock::now();
  const std::clock_t cpu_start = std::clock();
  waitingCall(openSession());
  const double took = secondsSince(start);
  const double cpu = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  std::printf("{\"first_ms\": %.3f, \"cpu_ms\": %.3f, \"grown_kib\": %ld}\n", took * 1e3, cpu * 1e3,
              residentKib() - before_kib);
  std::fflush(stdout);
  char byte;  // stays, so that the worker can be looked at
  return read(STDIN_FILENO, &byte, 1) < 0;
}

int calls(double seconds) {
  const CUdeviceptr memory = openSession();
  waitingCall(memory);
  awaitStart();
  const auto start = Clock::now();
  long count = 0;
  while (secondsSince(start) < seconds) {
    waitingCall(memory);
    ++count;
  }
  std::printf("{\"count\": %ld, \"seconds\": %.6f}\n", count, secondsSince(start));
  return 0;
}

int launches(double seconds) {
  constexpr char kPtx[] =
      ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry kernel(.param .u64 p) { ret; "
      "}\n";
  const CUdeviceptr memory = openSession();
  CUmodule module = nullptr;
  CUfunction kernel = nullptr;
  CHECK(cuModuleLoadData(&module, kPtx));
  CHECK(cuModuleGetFunction(&kernel, module, "kernel"));
  CUdeviceptr arguments[8] = {memory};
  void* params[8];
  for (int i = 0; i < 8; ++i) params[i] = &arguments[i];
  CHECK(cuCtxSynchronize());
  const auto start = Clock::now();
  long count = 0;
  while (secondsSince(start) < seconds) {
    for (int i = 0; i < 1000; ++i) {
      CHECK(cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
    }
    count += 1000;
  }
  CHECK(cuCtxSynchronize());
  std::printf("{\"count\": %ld, \"seconds\": %.6f}\n", count, secondsSince(start));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const double seconds = argc > 2 ? std::atof(argv[2]) : 1;
  if (what == "first") return first();
  if (what == "calls") return calls(seconds);
  if (what == "launches") return launches(seconds);
  std::fprintf(stderr, "usage: %s first | calls SECONDS | launches SECONDS\n", argv[0]);
  return 2;
}
