// Shared by the conformance tests: programs of the driver API that must behave the same on the CPU
// device in-process and through gpud. run_conformance.py runs each both ways and compares what they
// noted.
#pragma once

#include <cuda.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace farwarp::conformance {

inline std::string nameOf(CUresult result) {
  const char* name = nullptr;
  cuGetErrorName(result, &name);
  return name != nullptr ? name : "result " + std::to_string(static_cast<int>(result));
}

// Writes what a call returned to the file that FARWARP_CONFORMANCE_NOTES names.
inline std::string note(const char* call, CUresult result) {
  static std::FILE* notes = [] {
    const char* path = std::getenv("FARWARP_CONFORMANCE_NOTES");
    return path == nullptr ? nullptr : std::fopen(path, "w");
  }();
  const std::string name = nameOf(result);
  if (notes != nullptr) {
    std::fprintf(notes, "%s: %s\n", call, name.c_str());
    std::fflush(notes);
  }
  return name;
}

#define EXPECT_OK(call) EXPECT_EQ(::farwarp::conformance::note(#call, call), "CUDA_SUCCESS")
#define ASSERT_OK(call) ASSERT_EQ(::farwarp::conformance::note(#call, call), "CUDA_SUCCESS")
#define EXPECT_CUDA(call, error) EXPECT_EQ(::farwarp::conformance::note(#call, call), #error)

// For calls with a handle that is gone, or null where CUDA wants an object. The CPU device and the
// client know their handles; NVIDIA's driver takes many of them for pointers and may crash, so
// scripts/gpu-check, which runs these programs on it directly, says so and they are left out.
inline bool realDriver() {
  return std::getenv("FARWARP_CONFORMANCE_REAL_DRIVER") != nullptr;
}
#define EXPECT_BAD_HANDLE(call, error) \
  do {                                 \
    if (!realDriver()) {               \
      EXPECT_CUDA(call, error);        \
    }                                  \
  } while (false)

// Each test runs in a context of its own.
class ConformanceTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(cuInit(0));
    ASSERT_OK(cuDeviceGet(&device_, 0));
    ASSERT_OK(cuCtxCreate_v2(&context_, 0, device_));
  }
  void TearDown() override {
    if (context_ == nullptr) return;
    EXPECT_OK(cuCtxDestroy_v2(context_));
  }

  CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr address = 0;
    EXPECT_OK(cuMemAlloc_v2(&address, bytes));
    return address;
  }
  // Device memory that holds `bytes`.
  CUdeviceptr upload(const std::vector<unsigned char>& bytes) {
    const CUdeviceptr address = allocate(bytes.size());
    EXPECT_OK(cuMemcpyHtoD_v2(address, bytes.data(), bytes.size()));
    return address;
  }
  std::vector<unsigned char> download(CUdeviceptr address, size_t bytes) {
    std::vector<unsigned char> out(bytes);
    EXPECT_OK(cuMemcpyDtoH_v2(out.data(), address, bytes));
    return out;
  }
  // Bytes that differ from their neighbours, and from those of another seed.
  static std::vector<unsigned char> pattern(size_t bytes, unsigned seed) {
    std::vector<unsigned char> out(bytes);
    unsigned state = seed * 2654435761u + 1;
    for (auto& byte : out) {
      state = state * 1664525u + 1013904223u;
      byte = static_cast<unsigned char>(state >> 24);
    }
    return out;
  }

  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
};

}  // namespace farwarp::conformance
