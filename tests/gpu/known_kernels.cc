// Launches kernels that each take a known time by the device's own clock, and says as JSON how long
// they took by CUDA events and by the host's clock. What gpud metered for the session must lie
// between the known time and the host's.
//
//   farwarp_known_kernels COUNT NANOSECONDS
#include <cuda.h>

#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

const char kKernel[] = R"(
.version 7.0
.target sm_70
.address_size 64
.visible .entry wait(.param .u64 ns_) {
  .reg .u64 %start, %now, %ns; .reg .pred %p;
  ld.param.u64 %ns, [ns_];
  mov.u64 %start, %globaltimer;
again:
  mov.u64 %now, %globaltimer;
  sub.u64 %now, %now, %start;
  setp.lt.u64 %p, %now, %ns;
  @%p bra again;
  ret;
}
)";

void must(CUresult code, const char* call) {
  if (code == CUDA_SUCCESS) return;
  const char* name = nullptr;
  cuGetErrorName(code, &name);
  std::fprintf(stderr, "%s fails with %s.\n", call, name != nullptr ? name : "?");
  std::exit(3);
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc == 3 ? std::atoi(argv[1]) : 0;
  uint64_t ns = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (count < 1 || count > 100000 || ns < 1 || ns > 1000000000) {
    std::fprintf(stderr,
                 "usage: %s COUNT NANOSECONDS\nCOUNT is from 1 to 100000, NANOSECONDS from 1 to "
                 "1000000000.\n",
                 argv[0]);
    return 2;
  }
  must(cuInit(0), "cuInit");
  CUcontext context = nullptr;
  must(cuCtxCreate_v4(&context, nullptr, 0, 0), "cuCtxCreate");
  CUmodule module = nullptr;
  CUfunction wait = nullptr;
  must(cuModuleLoadData(&module, kKernel), "cuModuleLoadData");
  must(cuModuleGetFunction(&wait, module, "wait"), "cuModuleGetFunction");
  CUevent from = nullptr, to = nullptr;
  must(cuEventCreate(&from, 0), "cuEventCreate");
  must(cuEventCreate(&to, 0), "cuEventCreate");
  must(cuCtxSynchronize(), "cuCtxSynchronize");
  const auto start = std::chrono::steady_clock::now();
  must(cuEventRecord(from, nullptr), "cuEventRecord");
  void* params[] = {&ns};
  for (int i = 0; i < count; ++i) {
    must(cuLaunchKernel(wait, 1, 1, 1, 1, 1, 1, 0, nullptr, params, nullptr), "cuLaunchKernel");
  }
  must(cuEventRecord(to, nullptr), "cuEventRecord");
  must(cuCtxSynchronize(), "cuCtxSynchronize");
  const auto host = std::chrono::steady_clock::now() - start;
  float event_ms = 0;
  must(cuEventElapsedTime_v2(&event_ms, from, to), "cuEventElapsedTime");
  std::printf(
      "{\"known_ns\": %" PRIu64 ", \"event_ns\": %.0f, \"host_ns\": %lld}\n",
      ns * static_cast<uint64_t>(count), static_cast<double>(event_ms) * 1e6,
      static_cast<long long>(std::chrono::duration_cast<std::chrono::nanoseconds>(host).count()));
  must(cuCtxDestroy_v2(context), "cuCtxDestroy");
  return 0;
}
