// Goal: the old ways to launch give the same remotely as locally: CUDA 3's, where a function's
// shape and parameters are set call by call, and cooperative launches on several devices. Method: a
// kernel that writes what it was given is launched in each way, and what CUDA refuses is refused
// with its code.
#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

// out[block * size + thread] = value * scale; in the bits of a float when `real` is not 0.
constexpr char kPtx[] = R"(.version 8.0
.target sm_75
.address_size 64
.visible .entry fill(.param .u64 out, .param .u32 value, .param .f32 scale) {
  .reg .b64 %a; .reg .b64 %o; .reg .b32 %i; .reg .b32 %n; .reg .b32 %v; .reg .f32 %f; .reg .f32 %s;
  ld.param.u64 %a, [out];
  ld.param.u32 %v, [value];
  ld.param.f32 %s, [scale];
  mov.u32 %n, %nctaid.x;
  mov.u32 %i, %ctaid.y;
  mul.lo.u32 %i, %i, %n;
  mov.u32 %n, %ctaid.x;
  add.u32 %i, %i, %n;
  mov.u32 %n, %ntid.x;
  mul.lo.u32 %i, %i, %n;
  mov.u32 %n, %tid.x;
  add.u32 %i, %i, %n;
  mul.wide.u32 %o, %i, 4;
  add.u64 %a, %a, %o;
  cvt.rn.f32.u32 %f, %v;
  mul.f32 %f, %f, %s;
  st.global.f32 [%a], %f;
  ret;
})";

class ExecutionTest : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuModuleLoadData(&module_, kPtx));
    ASSERT_OK(cuModuleGetFunction(&fill_, module_, "fill"));
    out_ = allocate(kFloats * sizeof(float));
    ASSERT_OK(cuMemsetD32_v2(out_, 0, kFloats));
  }

  void setParams(unsigned value, float scale) {
    EXPECT_OK(cuParamSetv(fill_, 0, &out_, sizeof out_));
    EXPECT_OK(cuParamSeti(fill_, 8, value));
    EXPECT_OK(cuParamSetf(fill_, 12, scale));
    EXPECT_OK(cuParamSetSize(fill_, 16));
  }
  // The number of floats from the first on that are `value`.
  size_t filled(float value, CUdeviceptr from) {
    std::vector<float> floats(kFloats);
    EXPECT_OK(cuMemcpyDtoH_v2(floats.data(), from, kFloats * sizeof(float)));
    size_t count = 0;
    while (count < kFloats && floats[count] == value) ++count;
    for (size_t i = count; i < kFloats; ++i) EXPECT_NE(floats[i], value) << i;
    return count;
  }
  size_t filled(float value) { return filled(value, out_); }

  static constexpr size_t kFloats = 1024;
  CUmodule module_ = nullptr;
  CUfunction fill_ = nullptr;
  CUdeviceptr out_ = 0;
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

TEST_F(ExecutionTest, LaunchesOfCuda3) {
  setParams(3, 0.5f);
  EXPECT_OK(cuFuncSetBlockShape(fill_, 32, 1, 1));
  EXPECT_OK(cuFuncSetSharedSize(fill_, 64));
  EXPECT_OK(cuLaunch(fill_));
  EXPECT_EQ(filled(1.5f), 32u);
  // What was set stays set.
  EXPECT_OK(cuParamSeti(fill_, 8, 8));
  EXPECT_OK(cuLaunchGrid(fill_, 3, 2));
  EXPECT_EQ(filled(4.0f), 192u);
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  EXPECT_OK(cuParamSetf(fill_, 12, 2.0f));
  EXPECT_OK(cuLaunchGridAsync(fill_, 5, 1, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(filled(16.0f), 160u);
  EXPECT_OK(cuStreamDestroy_v2(stream));
}

TEST_F(ExecutionTest, LaunchesOfCuda3ThatAreRefused) {
  setParams(1, 1);
  EXPECT_CUDA(cuLaunch(fill_), CUDA_ERROR_INVALID_VALUE);  // no block shape yet
  EXPECT_CUDA(cuFuncSetBlockShape(fill_, 0, 1, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuFuncSetBlockShape(fill_, 32, -1, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuFuncSetBlockShape(fill_, 2048, 1, 1));
  EXPECT_CUDA(cuLaunch(fill_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuFuncSetBlockShape(fill_, 32, 1, 1));
  EXPECT_CUDA(cuLaunchGrid(fill_, 0, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLaunchGrid(fill_, 1, -1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuParamSetSize(fill_, 8));
  EXPECT_CUDA(cuLaunch(fill_), CUDA_ERROR_INVALID_VALUE);  // not all parameters
  EXPECT_CUDA(cuParamSetSize(fill_, 1u << 20), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuParamSeti(fill_, -4, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuParamSetf(fill_, 1 << 20, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuParamSetv(fill_, 0, nullptr, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuParamSetv(fill_, 0, &out_, 1u << 20), CUDA_ERROR_INVALID_VALUE);
  EXPECT_BAD_HANDLE(cuLaunch(nullptr), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuParamSeti(nullptr, 0, 1), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(ExecutionTest, CooperativeLaunchesOnSeveralDevices) {
  int devices = 0;
  ASSERT_OK(cuDeviceGetCount(&devices));
  if (devices < 2) GTEST_SKIP() << "There is one device.";
  CUcontext other = nullptr, popped = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&other, 0, 1));
  CUmodule module = nullptr;
  CUfunction fill = nullptr;
  CUstream streams[2] = {};
  ASSERT_OK(cuModuleLoadData(&module, kPtx));
  ASSERT_OK(cuModuleGetFunction(&fill, module, "fill"));
  CUdeviceptr there = allocate(kFloats * sizeof(float));
  ASSERT_OK(cuMemsetD32_v2(there, 0, kFloats));
  ASSERT_OK(cuStreamCreate(&streams[1], CU_STREAM_NON_BLOCKING));
  ASSERT_OK(cuCtxPopCurrent_v2(&popped));
  ASSERT_OK(cuStreamCreate(&streams[0], CU_STREAM_NON_BLOCKING));

  unsigned value = 5;
  float scale = 3;
  void* here_params[] = {&out_, &value, &scale};
  void* there_params[] = {&there, &value, &scale};
  CUDA_LAUNCH_PARAMS list[2] = {{fill_, 2, 1, 1, 64, 1, 1, 0, streams[0], here_params},
                                {fill, 2, 1, 1, 64, 1, 1, 0, streams[1], there_params}};
  EXPECT_OK(cuLaunchCooperativeKernelMultiDevice(list, 2, 0));
  EXPECT_OK(cuStreamSynchronize(streams[0]));
  EXPECT_EQ(filled(15), 128u);
  ASSERT_OK(cuCtxPushCurrent_v2(other));
  EXPECT_OK(cuStreamSynchronize(streams[1]));
  EXPECT_EQ(filled(15, there), 128u);
  ASSERT_OK(cuCtxPopCurrent_v2(&popped));
  EXPECT_OK(cuLaunchCooperativeKernelMultiDevice(list, 1, 3));

  EXPECT_CUDA(cuLaunchCooperativeKernelMultiDevice(nullptr, 1, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLaunchCooperativeKernelMultiDevice(list, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLaunchCooperativeKernelMultiDevice(list, 3, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLaunchCooperativeKernelMultiDevice(list, 2, 4), CUDA_ERROR_INVALID_VALUE);
  list[1].gridDimX = 1;  // shapes must match
  EXPECT_CUDA(cuLaunchCooperativeKernelMultiDevice(list, 2, 0), CUDA_ERROR_INVALID_VALUE);
  list[1] = list[0];  // and each device is there once
  EXPECT_CUDA(cuLaunchCooperativeKernelMultiDevice(list, 2, 0), CUDA_ERROR_INVALID_VALUE);
  list[0].hStream = nullptr;
  EXPECT_CUDA(cuLaunchCooperativeKernelMultiDevice(list, 1, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuCtxDestroy_v2(other));
}

#pragma GCC diagnostic pop

}  // namespace
}  // namespace farwarp::conformance
