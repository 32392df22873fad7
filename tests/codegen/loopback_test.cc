// Goal: the generated client bodies and worker handlers belong together: what the program passes
// arrives at the driver, what the driver gives arrives at the program, and wrong arguments stop
// where they should. Method: the real generated code between stand-ins of CallScope and Session
// (loopback/), which pass each record straight on, and the mock driver. Hand-written bodies are
// stand-ins too.
#include <gtest/gtest.h>

#include <algorithm>

#include "client_calls_gen.h"
#include "codegen/mock/mock_driver.h"
#include "interposer/session/call_scope.h"

namespace farwarp {

void logFailure(CallId, CUresult) noexcept {}

namespace client {

CUresult reportUnsupported(CallId call) {
  loopback->unsupported.push_back(call);
  return CUDA_ERROR_NOT_SUPPORTED;
}

namespace {

using wire::HandleType;

class Loopbacks : public ::testing::Test {
 protected:
  Loopbacks() {
    mock::reset();
    loopback = &state_;
  }
  ~Loopbacks() override { loopback = nullptr; }

  CUstream makeStream() {
    CUstream stream = nullptr;
    EXPECT_EQ(client_.cuStreamCreate(&stream, 0), CUDA_SUCCESS);
    return stream;
  }

  CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr address = 0;
    EXPECT_EQ(mockDriverTable().cuMemAlloc_v2(&address, bytes), CUDA_SUCCESS);
    return address;
  }

  bool driverSaw(CallId call) { return mock::callCount(call) != 0; }

  Loopback state_;
  const DriverTable& client_ = kClientTable;
};

TEST_F(Loopbacks, AStreamIsMadeUsedAndDestroyed) {
  const CUstream stream = makeStream();
  EXPECT_EQ(wire::HandleId(reinterpret_cast<uint64_t>(stream)).type(), HandleType::stream);
  EXPECT_EQ(mock::liveHandles(HandleType::stream), 1u);
  EXPECT_EQ(client_.cuStreamQuery(stream), CUDA_SUCCESS);
  EXPECT_EQ(client_.cuStreamDestroy_v2(stream), CUDA_SUCCESS);
  EXPECT_EQ(mock::liveHandles(HandleType::stream), 0u);
  EXPECT_EQ(state_.session.handleCount(), 0u);
  EXPECT_EQ(client_.cuStreamQuery(stream), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(client_.cuStreamDestroy_v2(stream), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Loopbacks, ACallThatFailsLeavesNoHandle) {
  mock::failCallOf(CallId::cuEventCreate, 1, CUDA_ERROR_OUT_OF_MEMORY);
  CUevent event = nullptr;
  EXPECT_EQ(client_.cuEventCreate(&event, 0), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(event, nullptr);
  EXPECT_TRUE(state_.live.empty());
  EXPECT_EQ(state_.session.handleCount(), 0u);
}

TEST_F(Loopbacks, ResultsComeBack) {
  size_t limit = 0;
  EXPECT_EQ(client_.cuCtxGetLimit(&limit, CU_LIMIT_STACK_SIZE), CUDA_SUCCESS);
  EXPECT_EQ(limit, 1u << 20);
  size_t free = 0, total = 0;
  EXPECT_EQ(client_.cuMemGetInfo_v2(&free, &total), CUDA_SUCCESS);
  EXPECT_GT(total, 0u);
  EXPECT_EQ(free, total);
}

TEST_F(Loopbacks, NullWhereAResultMustGoIsRefusedBeforeSending) {
  EXPECT_EQ(client_.cuCtxGetLimit(nullptr, CU_LIMIT_STACK_SIZE), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(client_.cuStreamCreate(nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(state_.records, 0u);
  int least = 7;
  EXPECT_EQ(client_.cuCtxGetStreamPriorityRange(&least, nullptr), CUDA_SUCCESS);
  EXPECT_EQ(least, 0);
}

TEST_F(Loopbacks, AnEnumerationBeyondItsValuesIsRefusedBeforeSending) {
  // The program is C; it may pass any int.
  using AnyInt = CUresult (*)(size_t*, int);
  size_t limit;
  EXPECT_EQ(reinterpret_cast<AnyInt>(client_.cuCtxGetLimit)(&limit, 0x7fff),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(state_.records, 0u);
}

TEST_F(Loopbacks, EveryNeedIsAskedFor) {
  size_t limit;
  state_.allowed = kNeedsInit;
  EXPECT_EQ(client_.cuCtxGetLimit(&limit, CU_LIMIT_STACK_SIZE), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(client_.cuEventQuery(nullptr), CUDA_ERROR_INVALID_HANDLE) << "works without a context";
  state_.allowed = 0;
  EXPECT_EQ(client_.cuEventQuery(nullptr), CUDA_ERROR_NOT_INITIALIZED);
  EXPECT_EQ(state_.records, 0u);
}

TEST_F(Loopbacks, SpecialStreamsPassButCannotBeDestroyed) {
  for (uint64_t value : {0, 1, 2}) {
    const auto stream = reinterpret_cast<CUstream>(value);
    EXPECT_EQ(client_.cuStreamQuery(stream), CUDA_SUCCESS) << value;
    EXPECT_EQ(client_.cuStreamDestroy_v2(stream), CUDA_ERROR_INVALID_HANDLE) << value;
  }
  EXPECT_FALSE(driverSaw(CallId::cuStreamDestroy_v2));
}

TEST_F(Loopbacks, AHandleOfAnotherTypeIsRefused) {
  const auto stream = reinterpret_cast<CUevent>(makeStream());
  EXPECT_EQ(client_.cuEventQuery(stream), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(client_.cuStreamWaitEvent(nullptr, stream, 0), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(client_.cuCtxSynchronize_v2(reinterpret_cast<CUcontext>(stream)),
            CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_FALSE(driverSaw(CallId::cuEventQuery));
}

TEST_F(Loopbacks, MemoryIsCopied) {
  const CUdeviceptr from = allocate(64), to = allocate(64);
  reinterpret_cast<uint32_t*>(from)[15] = 0x01020304;  // memory of the mock driver is the host's
  EXPECT_EQ(client_.cuMemcpyDtoD_v2(to, from, 64), CUDA_SUCCESS);
  EXPECT_EQ(reinterpret_cast<uint32_t*>(to)[15], 0x01020304u);
  EXPECT_EQ(client_.cuMemcpyDtoD_v2(to, from, 65), CUDA_ERROR_UNKNOWN) << "beyond the allocation";
}

TEST_F(Loopbacks, ThePerThreadFormGoesToTheThreadsOwnStream) {
  const CUdeviceptr from = allocate(16), to = allocate(16);
  EXPECT_EQ(client_.cuMemcpyDtoD_v2_ptds(to, from, 16), CUDA_SUCCESS);
  EXPECT_EQ(state_.last_record.call, static_cast<uint16_t>(CallId::cuMemcpyDtoD_v2));
  EXPECT_EQ(state_.last_record.flags, wire::kPerThreadDefaultStream);
  EXPECT_TRUE(driverSaw(CallId::cuMemcpyDtoDAsync_v2));
  EXPECT_FALSE(driverSaw(CallId::cuMemcpyDtoD_v2));
  EXPECT_EQ(client_.cuMemcpyDtoD_v2(to, from, 16), CUDA_SUCCESS);
  EXPECT_EQ(state_.last_record.flags, 0);
  EXPECT_TRUE(driverSaw(CallId::cuMemcpyDtoD_v2));
}

TEST_F(Loopbacks, ErrorsOfTheDriverPassThrough) {
  CUevent a = nullptr, b = nullptr;
  ASSERT_EQ(client_.cuEventCreate(&a, 0), CUDA_SUCCESS);
  ASSERT_EQ(client_.cuEventCreate(&b, 0), CUDA_SUCCESS);
  float ms = -1;
  mock::failCallOf(CallId::cuEventElapsedTime_v2, 1, CUDA_ERROR_NOT_READY);
  EXPECT_EQ(client_.cuEventElapsedTime_v2(&ms, a, b), CUDA_ERROR_NOT_READY);
  EXPECT_EQ(ms, -1);
  EXPECT_EQ(client_.cuEventElapsedTime_v2(&ms, a, b), CUDA_SUCCESS);
  EXPECT_EQ(ms, 0);
}

TEST_F(Loopbacks, UnsupportedCallsSayWhoTheyAre) {
  EXPECT_EQ(client_.cuGraphicsMapResources_ptsz(0, nullptr, nullptr), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(client_.cuGraphicsUnregisterResource(nullptr), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(state_.unsupported, (std::vector{CallId::cuGraphicsMapResources_ptsz,
                                             CallId::cuGraphicsUnregisterResource}));
  EXPECT_EQ(state_.records, 0u);
}

TEST_F(Loopbacks, HandWrittenBodiesAreCalled) {
  EXPECT_EQ(client_.cuInit(0), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(client_.cuMemcpyHtoD_v2_ptds(0, nullptr, 0), CUDA_ERROR_NOT_FOUND);
}

TEST_F(Loopbacks, NoExceptionLeavesAnEntryPoint) {
  state_.throw_on_enter = true;
  EXPECT_EQ(client_.cuCtxSynchronize(), CUDA_ERROR_UNKNOWN);
}

TEST_F(Loopbacks, ARecordThatIsNoCallIsMalformed) {
  for (const auto call :
       {CallId::none, CallId::cuInit, CallId::cuGraphicsMapResources, CallId::cuMemsetD8_v2_ptds,
        CallId::cuMemcpyAsync, static_cast<CallId>(kDriverFunctionCount + 1),
        static_cast<CallId>(0xffff)}) {
    wire::RecordHeader header{};
    header.bytes = sizeof(header);
    header.call = static_cast<uint16_t>(call);
    worker::CallContext context(header, {});
    worker::dispatch(state_.session, context);
    EXPECT_FALSE(context.reason.empty()) << callName(call);
    EXPECT_EQ(context.ends, 1);
  }
  EXPECT_EQ(mock::callCount(), 0u);
}

TEST_F(Loopbacks, ArgumentsThatDoNotDecodeAreMalformed) {
  wire::Args_cuMemsetD8_v2 args;
  std::vector<std::byte> body(args.encodedBytes());
  args.encode(body.data());
  body.pop_back();
  wire::RecordHeader header{};
  header.call = static_cast<uint16_t>(CallId::cuMemsetD8_v2);
  worker::CallContext context(header, body);
  worker::dispatch(state_.session, context);
  EXPECT_NE(context.reason.find("cuMemsetD8_v2"), std::string::npos);
  EXPECT_EQ(mock::callCount(), 0u);
}

TEST_F(Loopbacks, AnIdThatIsTakenIsMalformed) {
  const CUstream stream = makeStream();
  wire::Args_cuStreamCreate args;
  args.phStream = reinterpret_cast<uint64_t>(stream);
  std::vector<std::byte> body(args.encodedBytes());
  args.encode(body.data());
  wire::RecordHeader header{};
  header.call = static_cast<uint16_t>(CallId::cuStreamCreate);
  worker::CallContext context(header, body);
  worker::dispatch(state_.session, context);
  EXPECT_FALSE(context.reason.empty());
}

}  // namespace
}  // namespace client
}  // namespace farwarp
