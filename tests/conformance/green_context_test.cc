// Goal: a program that asks for a stream's green context learns that there is none, and bad streams
// are refused. Method: every kind of stream is asked.
#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

class GreenContextTest : public ConformanceTest {};

TEST_F(GreenContextTest, NoStreamHasOne) {
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

}  // namespace
}  // namespace farwarp::conformance
