// Shared by the tests that use the CPU device as a program does: through the driver API.
#pragma once

#include <cuda.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace farwarp::cpu {

inline std::string nameOf(CUresult result) {
  const char* name = nullptr;
  cuGetErrorName(result, &name);
  return name != nullptr ? name : "result " + std::to_string(static_cast<int>(result));
}

#define EXPECT_OK(call) EXPECT_EQ(::farwarp::cpu::nameOf(call), "CUDA_SUCCESS")
#define ASSERT_OK(call) ASSERT_EQ(::farwarp::cpu::nameOf(call), "CUDA_SUCCESS")
#define EXPECT_CUDA(call, error) EXPECT_EQ(::farwarp::cpu::nameOf(call), #error)

// Each test runs in a context of its own and leaves none behind.
class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(cuInit(0));
    ASSERT_OK(cuDeviceGet(&device_, 0));
    ASSERT_OK(cuCtxCreate_v2(&context_, 0, device_));
  }
  void TearDown() override {
    if (context_ != nullptr) cuCtxDestroy_v2(context_);
    CUcontext left = nullptr;
    cuCtxGetCurrent(&left);
    EXPECT_EQ(left, nullptr);
  }

  CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr address = 0;
    EXPECT_OK(cuMemAlloc_v2(&address, bytes));
    return address;
  }
  template <typename T>
  CUdeviceptr upload(const std::vector<T>& values) {
    const CUdeviceptr address = allocate(values.size() * sizeof(T));
    EXPECT_OK(cuMemcpyHtoD_v2(address, values.data(), values.size() * sizeof(T)));
    return address;
  }
  template <typename T>
  std::vector<T> download(CUdeviceptr address, size_t count) {
    std::vector<T> values(count);
    EXPECT_OK(cuMemcpyDtoH_v2(values.data(), address, count * sizeof(T)));
    return values;
  }
  CUstream stream(unsigned flags = CU_STREAM_DEFAULT) {
    CUstream stream = nullptr;
    EXPECT_OK(cuStreamCreate(&stream, flags));
    return stream;
  }
  CUevent event(unsigned flags = CU_EVENT_DEFAULT) {
    CUevent event = nullptr;
    EXPECT_OK(cuEventCreate(&event, flags));
    return event;
  }
  CUmodule load(const std::string& ptx) {
    CUmodule module = nullptr;
    char log[4096] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
    EXPECT_OK(cuModuleLoadDataEx(&module, ptx.c_str(), 2, options, values)) << log;
    return module;
  }
  CUfunction function(CUmodule module, const char* name) {
    CUfunction function = nullptr;
    EXPECT_OK(cuModuleGetFunction(&function, module, name));
    return function;
  }

  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
};

}  // namespace farwarp::cpu
