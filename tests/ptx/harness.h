// What the PTX tests share: device memory, an environment that collects output, and a short way to
// compile and launch a kernel.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::ptx {

// The tests run again with blocks, warps and lanes in other orders, and on other numbers of
// threads: FARWARP_TEST_ORDER and FARWARP_TEST_THREADS.
inline DeviceTraits traitsOfTest() {
  DeviceTraits traits;
  const char* order = std::getenv("FARWARP_TEST_ORDER");
  if (order != nullptr) traits.order_seed = std::strtoull(order, nullptr, 10);
  return traits;
}
inline unsigned threadsOfTest(unsigned otherwise) {
  const char* threads = std::getenv("FARWARP_TEST_THREADS");
  return threads != nullptr ? static_cast<unsigned>(std::atoi(threads)) : otherwise;
}

class TestDevice : public Environment {
 public:
  static constexpr size_t kReserved = size_t{1} << 30;
  explicit TestDevice(unsigned threads = 2) : TestDevice(threadsOfTest(threads), traitsOfTest()) {}
  // With exactly these threads, and nothing from the environment.
  TestDevice(unsigned threads, const DeviceTraits& traits)
      : TestDevice(
            mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            threads, traits) {}
  ~TestDevice() override { munmap(reinterpret_cast<void*>(base_), kReserved); }

  // Mapped memory with unmapped pages after it; zeroed.
  template <class T>
  T* allocateArray(size_t count) {
    size_t bytes = (count * sizeof(T) + 4095) & ~size_t{4095};
    void* at = reinterpret_cast<void*>(base_ + used_);
    EXPECT_EQ(mprotect(at, bytes, PROT_READ | PROT_WRITE), 0);
    used_ += bytes + 65536;
    return static_cast<T*>(at);
  }
  void print(std::string_view text) override {
    std::lock_guard lock(mutex_);
    printed += text;
  }
  void printAssertion(std::string_view text) override {
    std::lock_guard lock(mutex_);
    asserted += text;
  }
  uint64_t allocate(uint64_t bytes) override {
    std::lock_guard lock(mutex_);
    return reinterpret_cast<uint64_t>(allocateArray<char>(bytes));
  }
  std::string printed, asserted;

 private:
  TestDevice(void* base, unsigned threads, const DeviceTraits& traits)
      : Environment(map_, pool_, traits),
        base_(reinterpret_cast<uint64_t>(base)),
        map_(base_, base_ + kReserved),
        pool_(threads) {}
  uint64_t base_;
  MemoryMap map_;
  WorkerPool pool_;
  size_t used_ = 65536;
  std::mutex mutex_;
};

// A compiled and loaded module on a test device.
class TestModule {
 public:
  TestModule(TestDevice& device, std::string_view ptx, int host_level = 0) : device_(device) {
    CompileOptions options;
    options.host_level = host_level;
    program_ = Program::compile({&ptx, 1}, options, log_);
    EXPECT_NE(program_, nullptr) << log_.text;
    if (program_ == nullptr) return;
    std::vector<uint64_t> addresses;
    for (const VariableInfo& v : program_->variables()) {
      addresses.push_back(reinterpret_cast<uint64_t>(device.allocateArray<char>(v.size)));
    }
    loaded_ = std::make_unique<LoadedProgram>(program_, addresses);
    loaded_->initialise();
  }
  explicit operator bool() const { return loaded_ != nullptr; }
  LoadedProgram& loaded() { return *loaded_; }

  // Parameters are placed at their natural alignment.
  template <class... Args>
  LaunchResult launch(const char* name, Extent grid, Extent block, uint32_t shared, Args... args) {
    LaunchShape shape;
    shape.grid = grid;
    shape.block = block;
    shape.dynamic_shared_bytes = shared;
    return launchShape(name, shape, nullptr, args...);
  }
  template <class... Args>
  LaunchResult launchShape(const char* name, LaunchShape shape, LaunchControl* control,
                           Args... args) {
    LaunchResult failed;
    failed.status = LaunchStatus::bad_shape;
    if (loaded_ == nullptr) return failed;
    const Kernel* kernel = program_->findKernel(name);
    EXPECT_NE(kernel, nullptr) << name;
    if (kernel == nullptr) return failed;
    std::vector<std::byte> params;
    (append(params, args), ...);
    shape.params = params.data();
    shape.param_bytes = params.size();
    return run(*kernel, *loaded_, shape, device_, control);
  }

 private:
  template <class T>
  static void append(std::vector<std::byte>& params, const T& value) {
    size_t at = (params.size() + alignof(T) - 1) & ~(alignof(T) - 1);
    params.resize(at + sizeof(T));
    std::memcpy(&params[at], &value, sizeof(T));
  }
  TestDevice& device_;
  CompileLog log_;
  std::shared_ptr<const Program> program_;
  std::unique_ptr<LoadedProgram> loaded_;
};

inline std::string header() {
  return ".version 8.0\n.target sm_90\n.address_size 64\n";
}

// A kernel `k(out, in...)` of which each thread runs `body` on %r-registers: %tidx is its global
// index, %out, %in0.. are the pointers.
inline std::string kernelText(const std::string& registers, const std::string& body,
                              int inputs = 1) {
  std::string text = header() + ".visible .entry k(.param .u64 p_out";
  for (int n = 0; n < inputs; ++n) text += ", .param .u64 p_in" + std::to_string(n);
  text += ")\n{\n.reg .u64 %out, %in<8>, %at, %off;\n.reg .u32 %tidx, %t<4>;\n" + registers +
          "\nld.param.u64 %out, [p_out];\n";
  for (int n = 0; n < inputs; ++n) {
    text += "ld.param.u64 %in" + std::to_string(n) + ", [p_in" + std::to_string(n) + "];\n";
  }
  text +=
      "mov.u32 %t0, %ctaid.x; mov.u32 %t1, %ntid.x; mov.u32 %t2, %tid.x;\n"
      "mad.lo.u32 %tidx, %t0, %t1, %t2;\n" +
      body + "\nret;\n}\n";
  return text;
}

}  // namespace farwarp::ptx
