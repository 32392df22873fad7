// What `farwarp bench` runs, once where it is and once under a gpud: the figures that a user of a
// remote GPU feels. It takes the CUDA driver that its process finds, and prints one JSON object.
//
//   farwarp-bench [--quick] [--driver LIBRARY]
//
// Every figure is repeated; the median, the least and the greatest are printed.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gpud/device/driver_table.h"

namespace farwarp {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

const char kKernels[] = R"(
.version 7.0
.target sm_70
.address_size 64
.visible .entry empty(.param .u64 where) { ret; }
.visible .entry saxpy(.param .u64 x_, .param .u64 y_, .param .f32 a_, .param .u32 count_) {
  .reg .u64 %x, %y, %far; .reg .u32 %i, %n, %w, %t; .reg .f32 %a, %u, %v; .reg .pred %p;
  ld.param.u64 %x, [x_]; ld.param.u64 %y, [y_]; ld.param.f32 %a, [a_]; ld.param.u32 %n, [count_];
  mov.u32 %i, %ctaid.x; mov.u32 %w, %ntid.x; mov.u32 %t, %tid.x;
  mad.lo.u32 %i, %i, %w, %t;
  setp.ge.u32 %p, %i, %n; @%p ret;
  mul.wide.u32 %far, %i, 4;
  add.u64 %x, %x, %far; add.u64 %y, %y, %far;
  ld.global.f32 %u, [%x]; ld.global.f32 %v, [%y];
  fma.rn.f32 %v, %a, %u, %v;
  st.global.f32 [%y], %v;
  ret;
}
)";

struct Failure {
  std::string sentence;
};

class Bench {
 public:
  Bench(const DriverTable& driver, bool quick) : driver_(driver), quick_(quick) {}

  Json run() {
    const auto start = Clock::now();
    must(driver_.cuInit(0), "cuInit");
    CUdevice device = 0;
    must(driver_.cuDeviceGet(&device, 0), "cuDeviceGet");
    CUcontext context = nullptr;
    must(driver_.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
    must(driver_.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    must(driver_.cuMemAlloc_v2(&small_, 4096), "cuMemAlloc");
    int word = 0;
    must(driver_.cuMemcpyDtoH_v2(&word, small_, sizeof(word)), "cuMemcpyDtoH");
    const double first_s = secondsSince(start);
    char name[256] = "";
    must(driver_.cuDeviceGetName(name, sizeof(name), device), "cuDeviceGetName");
    CUmodule module = nullptr;
    must(driver_.cuModuleLoadData(&module, kKernels), "cuModuleLoadData");
    must(driver_.cuModuleGetFunction(&empty_, module, "empty"), "cuModuleGetFunction");
    must(driver_.cuModuleGetFunction(&saxpy_, module, "saxpy"), "cuModuleGetFunction");

    figure("first result of a process", "ms", true, {first_s * 1e3});
    calls();
    copies();
    mix();
    return {{"device", name}, {"figures", figures_}};
  }

 private:
  static double secondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
  void must(CUresult code, const char* call) const {
    if (code == CUDA_SUCCESS) return;
    const char* name = nullptr;
    driver_.cuGetErrorName(code, &name);
    throw Failure{std::string(call) + " fails with " + (name != nullptr ? name : "?") + "."};
  }
  int repetitions() const { return quick_ ? 3 : 9; }

  // Seconds of each repetition of `work`, after one that does not count.
  std::vector<double> timed(const std::function<void()>& work) const {
    work();
    std::vector<double> seconds;
    for (int i = 0; i < repetitions(); ++i) {
      const auto start = Clock::now();
      work();
      seconds.push_back(secondsSince(start));
    }
    return seconds;
  }
  static std::vector<double> mapped(std::vector<double> values,
                                    const std::function<double(double)>& change) {
    for (double& value : values) value = change(value);
    return values;
  }
  void figure(const char* name, const char* unit, bool less_is_better, std::vector<double> values) {
    std::sort(values.begin(), values.end());
    figures_.push_back({{"name", name},
                        {"unit", unit},
                        {"less_is_better", less_is_better},
                        {"median", values[values.size() / 2]},
                        {"least", values.front()},
                        {"greatest", values.back()}});
  }

  void launchEmpty() {
    CUdeviceptr where = small_;
    void* params[] = {&where};
    must(driver_.cuLaunchKernel(empty_, 1, 1, 1, 1, 1, 1, 0, nullptr, params, nullptr),
         "cuLaunchKernel");
  }
  void synchronize() { must(driver_.cuCtxSynchronize(), "cuCtxSynchronize"); }

  void calls() {
    const int waits = quick_ ? 100 : 1000, launches = quick_ ? 2000 : 20000;
    int word = 0;
    figure("copy of 4 bytes to the host", "us", true,
           mapped(timed([&] {
                    for (int i = 0; i < waits; ++i) {
                      must(driver_.cuMemcpyDtoH_v2(&word, small_, sizeof(word)), "cuMemcpyDtoH");
                    }
                  }),
                  [&](double s) { return s * 1e6 / waits; }));
    figure("launch and wait", "us", true,
           mapped(timed([&] {
                    for (int i = 0; i < waits; ++i) {
                      launchEmpty();
                      synchronize();
                    }
                  }),
                  [&](double s) { return s * 1e6 / waits; }));
    figure("launches", "1/s", false,
           mapped(timed([&] {
                    for (int i = 0; i < launches; ++i) launchEmpty();
                    synchronize();
                  }),
                  [&](double s) { return launches / s; }));
  }

  void copies() {
    struct Size {
      size_t bytes;
      const char *to_device, *to_host;
    };
    for (const Size& size :
         {Size{size_t{64} << 10, "copy to the device, 64 KiB", "copy to the host, 64 KiB"},
          Size{size_t{1} << 20, "copy to the device, 1 MiB", "copy to the host, 1 MiB"},
          Size{size_t{64} << 20, "copy to the device, 64 MiB", "copy to the host, 64 MiB"}}) {
      if (quick_ && size.bytes > (size_t{16} << 20)) continue;
      std::vector<char> host(size.bytes, 1);
      CUdeviceptr device = 0;
      must(driver_.cuMemAlloc_v2(&device, size.bytes), "cuMemAlloc");
      const size_t times = std::max<size_t>(1, (size_t{8} << 20) / size.bytes);
      const auto rate = [&](double s) { return static_cast<double>(size.bytes * times) / s / 1e9; };
      figure(size.to_device, "GB/s", false,
             mapped(timed([&] {
                      for (size_t i = 0; i < times; ++i) {
                        must(driver_.cuMemcpyHtoD_v2(device, host.data(), size.bytes),
                             "cuMemcpyHtoD");
                      }
                      synchronize();
                    }),
                    rate));
      figure(size.to_host, "GB/s", false,
             mapped(timed([&] {
                      for (size_t i = 0; i < times; ++i) {
                        must(driver_.cuMemcpyDtoH_v2(host.data(), device, size.bytes),
                             "cuMemcpyDtoH");
                      }
                    }),
                    rate));
      must(driver_.cuMemFree_v2(device), "cuMemFree");
    }
  }

  // The shape of a small training step: copy in, many kernels, one number back.
  void mix() {
    const uint32_t count = 1u << 16;
    const int kernels = 100, steps = quick_ ? 1 : 5;
    CUdeviceptr x = 0, y = 0;
    must(driver_.cuMemAlloc_v2(&x, count * 4), "cuMemAlloc");
    must(driver_.cuMemAlloc_v2(&y, count * 4), "cuMemAlloc");
    must(driver_.cuMemsetD32_v2(y, 0, count), "cuMemsetD32");
    std::vector<float> host(count, 1.0f);
    figure("step of 100 kernels, 256 KiB in, 4 bytes out", "ms", true,
           mapped(timed([&] {
                    for (int step = 0; step < steps; ++step) {
                      must(driver_.cuMemcpyHtoD_v2(x, host.data(), count * 4), "cuMemcpyHtoD");
                      float a = 0.5f;
                      uint32_t n = count;
                      void* params[] = {&x, &y, &a, &n};
                      for (int i = 0; i < kernels; ++i) {
                        must(driver_.cuLaunchKernel(saxpy_, count / 256, 1, 1, 256, 1, 1, 0,
                                                    nullptr, params, nullptr),
                             "cuLaunchKernel");
                      }
                      float out = 0;
                      must(driver_.cuMemcpyDtoH_v2(&out, y, sizeof(out)), "cuMemcpyDtoH");
                    }
                  }),
                  [&](double s) { return s * 1e3 / steps; }));
  }

  const DriverTable& driver_;
  const bool quick_;
  CUdeviceptr small_ = 0;
  CUfunction empty_ = nullptr, saxpy_ = nullptr;
  Json figures_ = Json::array();
};

int runBench(int argc, char** argv) {
  bool quick = false;
  std::string library = "libcuda.so.1";
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      quick = true;
    } else if (std::strcmp(argv[i], "--driver") == 0 && i + 1 < argc) {
      library = argv[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--quick] [--driver LIBRARY]\n", argv[0]);
      return 2;
    }
  }
  Driver driver;
  std::string error;
  if (!driver.load(library, error)) {
    std::fprintf(stderr, "farwarp-bench: %s\n", error.c_str());
    return 3;
  }
  try {
    std::puts(Bench(driver.table(), quick).run().dump().c_str());
  } catch (const Failure& failure) {
    std::fprintf(stderr, "farwarp-bench: %s\n", failure.sentence.c_str());
    return 3;
  }
  return 0;
}

}  // namespace
}  // namespace farwarp

int main(int argc, char** argv) {
  return farwarp::runBench(argc, argv);
}
