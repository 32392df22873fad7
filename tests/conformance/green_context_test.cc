// Goal: green contexts are remotely what they are locally: parts of a device that do not overlap,
// streams whose kernels stay on their part, and the errors of wrong and ended ones. Method: the
// device is split in every way that the API takes, and a kernel notes on which multiprocessors it
// ran.
#include <algorithm>
#include <set>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

// out[block] = %smid of the block.
constexpr char kPtx[] = R"(.version 8.0
.target sm_75
.address_size 64
.visible .entry where(.param .u64 out) {
  .reg .b64 %a; .reg .b64 %o; .reg .b32 %i; .reg .b32 %s;
  ld.param.u64 %a, [out];
  mov.u32 %i, %ctaid.x;
  mul.wide.u32 %o, %i, 4;
  add.u64 %a, %a, %o;
  mov.u32 %s, %smid;
  st.global.u32 [%a], %s;
  ret;
})";

class GreenContextTest : public ConformanceTest {
 protected:
  static constexpr unsigned kBlocks = 256;

  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuDeviceGetDevResource(device_, &whole_, CU_DEV_RESOURCE_TYPE_SM));
    int multiprocessors = 0;
    ASSERT_OK(
        cuDeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device_));
    EXPECT_EQ(whole_.type, CU_DEV_RESOURCE_TYPE_SM);
    EXPECT_EQ(whole_.sm.smCount, static_cast<unsigned>(multiprocessors));
  }
  void TearDown() override {
    if (green_ != nullptr) {
      EXPECT_OK(cuGreenCtxDestroy(green_));
    }
    ConformanceTest::TearDown();
  }

  // A green context of the smallest part of the device.
  void makeGreen() {
    unsigned groups = 1;
    ASSERT_OK(cuDevSmResourceSplitByCount(&part_, &groups, &whole_, &rest_, 0, 0));
    ASSERT_EQ(groups, 1u);
    CUdevResourceDesc description = nullptr;
    ASSERT_OK(cuDevResourceGenerateDesc(&description, &part_, 1));
    ASSERT_OK(cuGreenCtxCreate(&green_, description, device_, CU_GREEN_CTX_DEFAULT_STREAM));
    ASSERT_OK(cuCtxFromGreenCtx(&converted_, green_));
  }
  // The multiprocessors that blocks of a launch ran on. The current context is a green one's.
  std::set<unsigned> whereIn(CUstream stream) {
    CUmodule module = nullptr;
    CUfunction where = nullptr;
    EXPECT_OK(cuModuleLoadData(&module, kPtx));
    EXPECT_OK(cuModuleGetFunction(&where, module, "where"));
    CUdeviceptr out = allocate(kBlocks * sizeof(unsigned));
    void* params[] = {&out};
    EXPECT_OK(cuLaunchKernel(where, kBlocks, 1, 1, 1, 1, 1, 0, stream, params, nullptr));
    EXPECT_OK(cuStreamSynchronize(stream));
    std::vector<unsigned> places(kBlocks);
    EXPECT_OK(cuMemcpyDtoH_v2(places.data(), out, kBlocks * sizeof(unsigned)));
    EXPECT_OK(cuMemFree_v2(out));
    EXPECT_OK(cuModuleUnload(module));
    return {places.begin(), places.end()};
  }

  CUdevResource whole_{}, part_{}, rest_{};
  CUgreenCtx green_ = nullptr;
  CUcontext converted_ = nullptr;
};

TEST_F(GreenContextTest, StreamsOfOtherContextsHaveNone) {
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  for (CUstream asked : {stream, CUstream{}, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD}) {
    auto green = reinterpret_cast<CUgreenCtx>(0x1);
    EXPECT_OK(cuStreamGetGreenCtx(asked, &green));
    EXPECT_EQ(green, nullptr);
  }
  EXPECT_CUDA(cuStreamGetGreenCtx(stream, nullptr), CUDA_ERROR_INVALID_VALUE);
  CUgreenCtx green = nullptr;
  EXPECT_OK(cuStreamDestroy_v2(stream));
  EXPECT_BAD_HANDLE(cuStreamGetGreenCtx(stream, &green), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(GreenContextTest, ADeviceIsSplitIntoEqualParts) {
  const unsigned least = whole_.sm.minSmPartitionSize, step = whole_.sm.smCoscheduledAlignment;
  ASSERT_GE(whole_.sm.smCount, 2 * least);
  unsigned most = 0;
  ASSERT_OK(cuDevSmResourceSplitByCount(nullptr, &most, &whole_, nullptr, 0, 1));
  EXPECT_EQ(most, whole_.sm.smCount / least);
  // An answer may be asked for more groups than there can be.
  std::vector<CUdevResource> groups(most + 3);
  unsigned count = most + 3;
  ASSERT_OK(cuDevSmResourceSplitByCount(groups.data(), &count, &whole_, &rest_, 0, 1));
  EXPECT_EQ(count, most);
  unsigned sum = rest_.type == CU_DEV_RESOURCE_TYPE_SM ? rest_.sm.smCount : 0;
  for (unsigned i = 0; i < count; ++i) {
    EXPECT_EQ(groups[i].type, CU_DEV_RESOURCE_TYPE_SM);
    EXPECT_EQ(groups[i].sm.smCount % step, 0u);
    EXPECT_EQ(groups[i].sm.smCount, groups[0].sm.smCount);
    sum += groups[i].sm.smCount;
  }
  EXPECT_EQ(sum, whole_.sm.smCount);
  // Fewer are made when fewer are asked for, and the rest is larger.
  count = 1;
  ASSERT_OK(cuDevSmResourceSplitByCount(groups.data(), &count, &whole_, &rest_, 0, least + 1));
  EXPECT_EQ(count, 1u);
  EXPECT_GE(groups[0].sm.smCount, least + 1);
  EXPECT_EQ(rest_.type, whole_.sm.smCount == groups[0].sm.smCount ? CU_DEV_RESOURCE_TYPE_INVALID
                                                                  : CU_DEV_RESOURCE_TYPE_SM);
}

TEST_F(GreenContextTest, WrongSplitsAreRefused) {
  unsigned count = 1;
  EXPECT_CUDA(cuDevSmResourceSplitByCount(&part_, nullptr, &whole_, nullptr, 0, 1),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDevSmResourceSplitByCount(&part_, &count, nullptr, nullptr, 0, 1),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDevSmResourceSplitByCount(&part_, &count, &whole_, nullptr, 0x80, 1),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(
      cuDevSmResourceSplitByCount(&part_, &count, &whole_, nullptr, 0, whole_.sm.smCount + 1),
      CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
  CUdevResource nothing{};
  EXPECT_CUDA(cuDevSmResourceSplitByCount(&part_, &count, &nothing, nullptr, 0, 1),
              CUDA_ERROR_INVALID_RESOURCE_TYPE);
  nothing.type = CU_DEV_RESOURCE_TYPE_SM;
  EXPECT_CUDA(cuDevSmResourceSplitByCount(&part_, &count, &nothing, nullptr, 0, 1),
              CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
  ASSERT_OK(cuDevSmResourceSplitByCount(&part_, &count, &whole_, nullptr, 0, 1));
  CUdevResource again{};
  EXPECT_CUDA(cuDevSmResourceSplitByCount(&again, &count, &part_, nullptr, 0, 1),
              CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
  EXPECT_CUDA(cuDeviceGetDevResource(device_, nullptr, CU_DEV_RESOURCE_TYPE_SM),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceGetDevResource(device_, &again, CU_DEV_RESOURCE_TYPE_INVALID),
              CUDA_ERROR_INVALID_RESOURCE_TYPE);
  EXPECT_CUDA(cuDeviceGetDevResource(77, &again, CU_DEV_RESOURCE_TYPE_SM),
              CUDA_ERROR_INVALID_DEVICE);
}

TEST_F(GreenContextTest, DescriptionsAreOfOneSplit) {
  CUdevResource groups[2], others[2];
  unsigned count = 2;
  ASSERT_OK(cuDevSmResourceSplitByCount(groups, &count, &whole_, nullptr, 0, 1));
  ASSERT_EQ(count, 2u);
  ASSERT_OK(cuDevSmResourceSplitByCount(others, &count, &whole_, nullptr, 0, 1));
  CUdevResourceDesc description = nullptr;
  EXPECT_CUDA(cuDevResourceGenerateDesc(nullptr, groups, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDevResourceGenerateDesc(&description, nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDevResourceGenerateDesc(&description, groups, 0), CUDA_ERROR_INVALID_VALUE);
  CUdevResource mixed[2] = {groups[0], others[1]};
  EXPECT_CUDA(cuDevResourceGenerateDesc(&description, mixed, 2),
              CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
  CUdevResource twice[2] = {groups[0], groups[0]};
  EXPECT_CUDA(cuDevResourceGenerateDesc(&description, twice, 2),
              CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
  mixed[1] = {};
  EXPECT_CUDA(cuDevResourceGenerateDesc(&description, mixed, 2), CUDA_ERROR_INVALID_RESOURCE_TYPE);
  ASSERT_OK(cuDevResourceGenerateDesc(&description, groups, 2));
  EXPECT_CUDA(cuGreenCtxCreate(nullptr, description, device_, CU_GREEN_CTX_DEFAULT_STREAM),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGreenCtxCreate(&green_, description, device_, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGreenCtxCreate(&green_, description, 77, CU_GREEN_CTX_DEFAULT_STREAM),
              CUDA_ERROR_INVALID_DEVICE);
  EXPECT_BAD_HANDLE(cuGreenCtxCreate(&green_, nullptr, device_, CU_GREEN_CTX_DEFAULT_STREAM),
                    CUDA_ERROR_INVALID_VALUE);
  ASSERT_OK(cuGreenCtxCreate(&green_, description, device_, CU_GREEN_CTX_DEFAULT_STREAM));
  CUdevResource both{};
  ASSERT_OK(cuGreenCtxGetDevResource(green_, &both, CU_DEV_RESOURCE_TYPE_SM));
  EXPECT_EQ(both.sm.smCount, groups[0].sm.smCount + groups[1].sm.smCount);
  // What a green context has may be split again.
  EXPECT_OK(cuDevSmResourceSplitByCount(groups, &count, &both, nullptr, 0, 1));
  EXPECT_EQ(count, 2u);
}

TEST_F(GreenContextTest, KernelsStayOnTheirPart) {
  makeGreen();
  if (HasFatalFailure()) return;
  CUdevResource seen{};
  EXPECT_OK(cuCtxGetDevResource(converted_, &seen, CU_DEV_RESOURCE_TYPE_SM));
  EXPECT_EQ(seen.sm.smCount, part_.sm.smCount);
  EXPECT_OK(cuCtxGetDevResource(context_, &seen, CU_DEV_RESOURCE_TYPE_SM));
  EXPECT_EQ(seen.sm.smCount, whole_.sm.smCount);
  CUstream stream = nullptr, another = nullptr;
  ASSERT_OK(cuGreenCtxStreamCreate(&stream, green_, CU_STREAM_NON_BLOCKING, 0));
  ASSERT_OK(cuCtxPushCurrent_v2(converted_));
  ASSERT_OK(cuStreamCreate(&another, CU_STREAM_DEFAULT));
  const std::set<unsigned> here = whereIn(stream);
  EXPECT_LE(here.size(), part_.sm.smCount);
  EXPECT_EQ(whereIn(another), here);
  EXPECT_EQ(whereIn(nullptr), here) << "the green context's default stream";
  CUcontext primary = nullptr;
  ASSERT_OK(cuDevicePrimaryCtxRetain(&primary, device_));
  ASSERT_OK(cuCtxSetCurrent(primary));
  EXPECT_GT(whereIn(nullptr).size(), here.size());
  EXPECT_OK(cuCtxPopCurrent_v2(&primary));
  EXPECT_OK(cuDevicePrimaryCtxRelease_v2(device_));
  EXPECT_OK(cuStreamDestroy_v2(stream));
  EXPECT_OK(cuStreamDestroy_v2(another));
}

TEST_F(GreenContextTest, StreamsTellTheirContexts) {
  makeGreen();
  if (HasFatalFailure()) return;
  CUstream stream = nullptr;
  ASSERT_OK(cuGreenCtxStreamCreate(&stream, green_, CU_STREAM_NON_BLOCKING, 0));
  ASSERT_OK(cuCtxPushCurrent_v2(converted_));
  CUcontext primary = nullptr;
  ASSERT_OK(cuDevicePrimaryCtxRetain(&primary, device_));
  EXPECT_NE(primary, converted_);
  for (CUstream asked : {stream, CUstream{}, CU_STREAM_LEGACY}) {
    CUcontext context = nullptr;
    CUgreenCtx green = nullptr;
    EXPECT_OK(cuStreamGetCtx(asked, &context));
    EXPECT_EQ(context, converted_);
    EXPECT_OK(cuStreamGetCtx_v2(asked, &context, &green));
    EXPECT_EQ(context, primary);
    EXPECT_EQ(green, green_);
    green = nullptr;
    EXPECT_OK(cuStreamGetGreenCtx(asked, &green));
    EXPECT_EQ(green, green_);
  }
  CUcontext context = nullptr;
  CUgreenCtx green = nullptr;
  EXPECT_CUDA(cuStreamGetCtx_v2(CU_STREAM_PER_THREAD, &context, &green), CUDA_ERROR_INVALID_HANDLE);
  unsigned long long number = 0, current = 0, of_context = 0;
  EXPECT_OK(cuGreenCtxGetId(green_, &number));
  EXPECT_OK(cuGreenCtxGetId(nullptr, &current));
  EXPECT_EQ(number, current);
  EXPECT_OK(cuCtxGetId(primary, &of_context));
  EXPECT_NE(number, of_context);
  EXPECT_CUDA(cuGreenCtxGetId(green_, nullptr), CUDA_ERROR_INVALID_VALUE);
  CUdevice device = -1;
  EXPECT_OK(cuCtxGetDevice(&device));
  EXPECT_EQ(device, device_);
  EXPECT_CUDA(cuCtxDestroy_v2(converted_), CUDA_ERROR_INVALID_CONTEXT);
  CUcontext popped = nullptr;
  EXPECT_OK(cuCtxPopCurrent_v2(&popped));
  EXPECT_EQ(popped, converted_);
  EXPECT_CUDA(cuGreenCtxGetId(nullptr, &current), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuGreenCtxStreamCreate(&stream, green_, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGreenCtxStreamCreate(nullptr, green_, CU_STREAM_NON_BLOCKING, 0),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCtxFromGreenCtx(nullptr, green_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuStreamDestroy_v2(stream));
  EXPECT_OK(cuDevicePrimaryCtxRelease_v2(device_));
}

TEST_F(GreenContextTest, MemoryIsThePrimaryContexts) {
  makeGreen();
  if (HasFatalFailure()) return;
  ASSERT_OK(cuCtxPushCurrent_v2(converted_));
  const auto bytes = pattern(4096, 3);
  const CUdeviceptr memory = upload(bytes);
  CUcontext primary = nullptr, owner = nullptr;
  ASSERT_OK(cuDevicePrimaryCtxRetain(&primary, device_));
  EXPECT_OK(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, memory));
  EXPECT_EQ(owner, primary);
  EXPECT_OK(cuGreenCtxDestroy(green_));
  green_ = nullptr;
  ASSERT_OK(cuCtxSetCurrent(primary));
  EXPECT_EQ(download(memory, bytes.size()), bytes) << "it outlives the green context";
  EXPECT_OK(cuMemFree_v2(memory));
  EXPECT_OK(cuCtxPopCurrent_v2(&owner));
  EXPECT_OK(cuDevicePrimaryCtxRelease_v2(device_));
}

TEST_F(GreenContextTest, EventsOrderGreenContexts) {
  makeGreen();
  if (HasFatalFailure()) return;
  CUstream stream = nullptr, later = nullptr;
  ASSERT_OK(cuGreenCtxStreamCreate(&stream, green_, CU_STREAM_NON_BLOCKING, 0));
  ASSERT_OK(cuGreenCtxStreamCreate(&later, green_, CU_STREAM_NON_BLOCKING, 0));
  ASSERT_OK(cuCtxPushCurrent_v2(converted_));
  const CUdeviceptr memory = allocate(1 << 20);
  CUevent event = nullptr;
  ASSERT_OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  EXPECT_OK(cuMemsetD8Async(memory, 7, 1 << 20, stream));
  EXPECT_OK(cuGreenCtxRecordEvent(green_, event));
  EXPECT_OK(cuGreenCtxWaitEvent(green_, event));
  std::vector<unsigned char> read(1 << 20);
  EXPECT_OK(cuMemcpyDtoHAsync_v2(read.data(), memory, read.size(), later));
  EXPECT_OK(cuEventSynchronize(event));
  EXPECT_OK(cuEventQuery(event));
  EXPECT_OK(cuStreamSynchronize(later));
  EXPECT_EQ(std::count(read.begin(), read.end(), 7), 1 << 20);
  EXPECT_OK(cuCtxRecordEvent(converted_, event));
  EXPECT_OK(cuCtxWaitEvent(converted_, event));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuEventQuery(event));
  EXPECT_BAD_HANDLE(cuGreenCtxRecordEvent(green_, nullptr), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuGreenCtxRecordEvent(nullptr, event), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_BAD_HANDLE(cuGreenCtxWaitEvent(nullptr, event), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  EXPECT_CUDA(cuGreenCtxRecordEvent(green_, event), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CUgraph graph = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  EXPECT_OK(cuEventDestroy_v2(event));
  EXPECT_OK(cuMemFree_v2(memory));
  EXPECT_OK(cuStreamDestroy_v2(stream));
  EXPECT_OK(cuStreamDestroy_v2(later));
  CUcontext popped = nullptr;
  EXPECT_OK(cuCtxPopCurrent_v2(&popped));
}

TEST_F(GreenContextTest, TheEndOfOneEndsItsStreams) {
  makeGreen();
  if (HasFatalFailure()) return;
  CUstream stream = nullptr;
  ASSERT_OK(cuGreenCtxStreamCreate(&stream, green_, CU_STREAM_NON_BLOCKING, 0));
  CUcontext primary = nullptr;
  ASSERT_OK(cuDevicePrimaryCtxRetain(&primary, device_));
  EXPECT_OK(cuGreenCtxDestroy(green_));
  if (!realDriver()) {
    CUcontext context = nullptr;
    CUdevResource resource{};
    EXPECT_CUDA(cuGreenCtxDestroy(green_), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_CUDA(cuCtxFromGreenCtx(&context, green_), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_CUDA(cuGreenCtxGetDevResource(green_, &resource, CU_DEV_RESOURCE_TYPE_SM),
                CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_CUDA(cuGreenCtxStreamCreate(&stream, green_, CU_STREAM_NON_BLOCKING, 0),
                CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_CUDA(cuCtxSetCurrent(converted_), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_CUDA(cuCtxGetDevResource(converted_, &resource, CU_DEV_RESOURCE_TYPE_SM),
                CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_CUDA(cuStreamQuery(stream), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    EXPECT_CUDA(cuStreamSynchronize(stream), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    EXPECT_CUDA(cuStreamDestroy_v2(stream), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  }
  green_ = nullptr;
  EXPECT_OK(cuDevicePrimaryCtxRelease_v2(device_));
  unsigned flags = 0;
  int active = -1;
  EXPECT_OK(cuDevicePrimaryCtxGetState(device_, &flags, &active));
  EXPECT_EQ(active, 0) << "nobody holds the primary context any more";
}

// What CUDA leaves open: here the green contexts go with their primary context.
TEST_F(GreenContextTest, TheEndOfThePrimaryContextEndsGreenOnes) {
  makeGreen();
  if (HasFatalFailure()) return;
  if (realDriver()) return;
  EXPECT_OK(cuDevicePrimaryCtxReset_v2(device_));
  CUcontext context = nullptr;
  EXPECT_CUDA(cuCtxFromGreenCtx(&context, green_), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuCtxSetCurrent(converted_), CUDA_ERROR_INVALID_CONTEXT);
  green_ = nullptr;
}

TEST_F(GreenContextTest, CooperativeLaunchesFitTheirPart) {
  makeGreen();
  if (HasFatalFailure()) return;
  ASSERT_OK(cuCtxPushCurrent_v2(converted_));
  CUmodule module = nullptr;
  CUfunction where = nullptr;
  ASSERT_OK(cuModuleLoadData(&module, kPtx));
  ASSERT_OK(cuModuleGetFunction(&where, module, "where"));
  int per_multiprocessor = 0;
  ASSERT_OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, where, 1024, 0));
  const unsigned fit = static_cast<unsigned>(per_multiprocessor) * part_.sm.smCount;
  CUdeviceptr out = allocate(4096 * sizeof(unsigned));
  void* params[] = {&out};
  EXPECT_OK(cuLaunchCooperativeKernel(where, fit, 1, 1, 1024, 1, 1, 0, CU_STREAM_LEGACY, params));
  EXPECT_CUDA(
      cuLaunchCooperativeKernel(where, fit + 1, 1, 1, 1024, 1, 1, 0, CU_STREAM_LEGACY, params),
      CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemFree_v2(out));
  EXPECT_OK(cuModuleUnload(module));
  CUcontext popped = nullptr;
  EXPECT_OK(cuCtxPopCurrent_v2(&popped));
}

}  // namespace
}  // namespace farwarp::conformance
