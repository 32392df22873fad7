// Goal: cuMemset* sets exactly its elements, and what CUDA refuses is refused at the call, without
// harm to later calls. Method: every width, one row and several, on the default stream and another,
// against the same done on host bytes; then each wrong argument by itself.
#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

class MemorySet : public ConformanceTest {
 protected:
  static constexpr size_t kBytes = 4096;
  void SetUp() override {
    ConformanceTest::SetUp();
    before_ = pattern(kBytes, 5);
    memory_ = upload(before_);
  }
  // `before_` with `width` elements of `size` bytes set in each of `rows` rows.
  std::vector<unsigned char> expected(size_t at, uint32_t value, size_t size, size_t width,
                                      size_t pitch, size_t rows) const {
    std::vector<unsigned char> out = before_;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t i = 0; i < width; ++i) {
        std::memcpy(&out[at + row * pitch + i * size], &value, size);
      }
    }
    return out;
  }
  std::vector<unsigned char> before_;
  CUdeviceptr memory_ = 0;
};

TEST_F(MemorySet, EveryWidth) {
  EXPECT_OK(cuMemsetD8_v2(memory_ + 3, 0xa5, 7));
  EXPECT_EQ(download(memory_, kBytes), expected(3, 0xa5, 1, 7, 0, 1));
  EXPECT_OK(cuMemcpyHtoD_v2(memory_, before_.data(), kBytes));
  EXPECT_OK(cuMemsetD16_v2(memory_ + 6, 0xbeef, 9));
  EXPECT_EQ(download(memory_, kBytes), expected(6, 0xbeef, 2, 9, 0, 1));
  EXPECT_OK(cuMemcpyHtoD_v2(memory_, before_.data(), kBytes));
  EXPECT_OK(cuMemsetD32_v2(memory_ + 12, 0xdeadbeef, 11));
  EXPECT_EQ(download(memory_, kBytes), expected(12, 0xdeadbeef, 4, 11, 0, 1));
}

TEST_F(MemorySet, RowsOnAStream) {
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  EXPECT_OK(cuMemsetD2D8Async(memory_ + 1, 64, 0x11, 5, 4, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(download(memory_, kBytes), expected(1, 0x11, 1, 5, 64, 4));
  EXPECT_OK(cuMemcpyHtoD_v2(memory_, before_.data(), kBytes));
  EXPECT_OK(cuMemsetD2D16Async(memory_ + 2, 64, 0x2222, 5, 4, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(download(memory_, kBytes), expected(2, 0x2222, 2, 5, 64, 4));
  EXPECT_OK(cuMemcpyHtoD_v2(memory_, before_.data(), kBytes));
  EXPECT_OK(cuMemsetD2D32_v2(memory_ + 4, 64, 0x33333333, 16, 4));
  EXPECT_EQ(download(memory_, kBytes), expected(4, 0x33333333, 4, 16, 64, 4));
  EXPECT_OK(cuStreamDestroy_v2(stream));
}

TEST_F(MemorySet, RefusesWhatCudaRefuses) {
  EXPECT_CUDA(cuMemsetD8_v2(0, 1, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD16_v2(memory_ + 1, 1, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD32_v2(memory_ + 2, 1, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD8_v2(memory_ + 1, 1, kBytes), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD32_v2(memory_, 1, ~size_t{0} / 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD2D8_v2(memory_, 1024, 1, 1024, 5), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD2D8_v2(memory_, ~size_t{0} / 2, 1, 16, 5), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD2D32_v2(memory_, 16, 1, 5, 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_BAD_HANDLE(cuMemsetD8Async(memory_, 1, 4, reinterpret_cast<CUstream>(0x1234)),
                    CUDA_ERROR_INVALID_HANDLE);
  const CUdeviceptr freed = allocate(4096);
  EXPECT_OK(cuMemFree_v2(freed));
  EXPECT_CUDA(cuMemsetD8_v2(freed, 1, 4), CUDA_ERROR_INVALID_VALUE);
  // Nothing to do is no mistake, and the context is as it was.
  EXPECT_OK(cuMemsetD8_v2(memory_, 1, 0));
  EXPECT_OK(cuMemsetD2D16_v2(memory_, 64, 1, 8, 0));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(download(memory_, kBytes), before_);
}

}  // namespace
}  // namespace farwarp::conformance
