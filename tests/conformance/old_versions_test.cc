// Goal: functions of CUDA 4 and older, which scripts still find by their plain names, do what those
// that took their place do, and never tell half of an address. Method: each is called under its old
// name; memory that 32 bits can name is host memory that was mapped there.
#include <sys/mman.h>

#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr size_t kBytes = 64 << 10;

class OldVersionsTest : public ConformanceTest {
 protected:
  // Page-locked memory below 4 GiB, which kernels and copies may use by its address.
  CUdeviceptr_v1 lowMemory() {
    low_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
                -1, 0);
    if (low_ == MAP_FAILED) return 0;
    EXPECT_OK(cuMemHostRegister(low_, kBytes, CU_MEMHOSTREGISTER_DEVICEMAP));
    CUdeviceptr_v1 address = 0;
    EXPECT_OK(cuMemHostGetDevicePointer(&address, low_, 0));
    EXPECT_EQ(address, reinterpret_cast<uintptr_t>(low_));
    return address;
  }
  void TearDown() override {
    if (low_ != MAP_FAILED) {
      EXPECT_OK(cuMemHostUnregister(low_));
      munmap(low_, kBytes);
    }
    ConformanceTest::TearDown();
  }

  void* low_ = MAP_FAILED;
};

TEST_F(OldVersionsTest, ContextsStreamsAndEvents) {
  CUcontext context = nullptr, popped = nullptr;
  EXPECT_OK(cuCtxCreate(&context, 0, device_));
  EXPECT_OK(cuCtxPopCurrent(&popped));
  EXPECT_EQ(popped, context);
  EXPECT_OK(cuCtxPushCurrent(context));
  CUstream stream = nullptr;
  EXPECT_OK(cuStreamCreate(&stream, 0));
  EXPECT_OK(cuStreamDestroy(stream));
  EXPECT_BAD_HANDLE(cuStreamDestroy(stream), CUDA_ERROR_INVALID_HANDLE);
  CUevent event = nullptr;
  EXPECT_OK(cuEventCreate(&event, 0));
  EXPECT_OK(cuEventDestroy(event));
  EXPECT_OK(cuCtxDestroy(context));
  EXPECT_BAD_HANDLE(cuCtxPushCurrent(context), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuCtxCreate(nullptr, 0, device_), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(OldVersionsTest, SizesThatDoNotFitAreTheLargest) {
  size_t total = 0, free_bytes = 0;
  unsigned old_total = 0, old_free = 0;
  EXPECT_OK(cuDeviceTotalMem_v2(&total, device_));
  EXPECT_OK(cuDeviceTotalMem(&old_total, device_));
  EXPECT_EQ(old_total, std::min<size_t>(total, UINT32_MAX));
  EXPECT_CUDA(cuDeviceTotalMem(nullptr, device_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemGetInfo_v2(&free_bytes, &total));
  EXPECT_OK(cuMemGetInfo(&old_free, &old_total));
  EXPECT_EQ(old_total, std::min<size_t>(total, UINT32_MAX));
  EXPECT_EQ(old_free, std::min<size_t>(free_bytes, UINT32_MAX));
}

// A driver may have memory down there for such programs; the CPU device has none.
TEST_F(OldVersionsTest, MemoryWhoseAddressDoesNotFitIsNotKept) {
  if (realDriver()) return;
  size_t before = 0, after = 0, total = 0;
  EXPECT_OK(cuMemGetInfo_v2(&before, &total));
  CUdeviceptr_v1 address = 77;
  unsigned pitch = 77;
  EXPECT_CUDA(cuMemAlloc(&address, 1 << 20), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_CUDA(cuMemAllocPitch(&address, &pitch, 100, 100, 4), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(address, 77u);
  EXPECT_EQ(pitch, 77u);
  EXPECT_CUDA(cuMemAlloc(nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemGetInfo_v2(&after, &total));
  EXPECT_EQ(before, after);
  EXPECT_CUDA(cuMemFree(4096), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFree(0));
  CUmodule module = nullptr;
  ASSERT_OK(cuModuleLoadData(
      &module, ".version 8.0\n.target sm_75\n.address_size 64\n.global .align 4 .u32 one;\n"));
  CUdeviceptr_v1 global = 0;
  unsigned bytes = 0;
  EXPECT_CUDA(cuModuleGetGlobal(&global, &bytes, module, "one"), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_OK(cuModuleGetGlobal(nullptr, &bytes, module, "one"));
  EXPECT_EQ(bytes, 4u);
  EXPECT_CUDA(cuModuleGetGlobal(&global, &bytes, module, "two"), CUDA_ERROR_NOT_FOUND);
  EXPECT_OK(cuModuleUnload(module));
}

TEST_F(OldVersionsTest, HostMemory) {
  void* memory = nullptr;
  EXPECT_OK(cuMemAllocHost(&memory, 4096));
  EXPECT_OK(cuMemFreeHost(memory));
  EXPECT_CUDA(cuMemAllocHost(nullptr, 4096), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemHostRegister(nullptr, 4096, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(OldVersionsTest, CopiesAndSetsOfLowMemory) {
  const CUdeviceptr_v1 low = lowMemory();
  ASSERT_NE(low, 0u);
  const auto bytes = pattern(4096, 5);
  std::vector<unsigned char> out(4096);
  EXPECT_OK(cuMemcpyHtoD(low, bytes.data(), 4096));
  EXPECT_OK(cuMemcpyDtoD(low + 8192, low, 4096));
  EXPECT_OK(cuMemcpyDtoH(out.data(), low + 8192, 4096));
  EXPECT_EQ(out, bytes);
  EXPECT_OK(cuMemcpyHtoDAsync(low + 4096, bytes.data(), 4096, nullptr));
  EXPECT_OK(cuMemcpyDtoDAsync(low, low + 4096, 4096, nullptr));
  std::fill(out.begin(), out.end(), 0);
  EXPECT_OK(cuMemcpyDtoHAsync(out.data(), low, 4096, nullptr));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(out, bytes);
  EXPECT_OK(cuMemsetD8(low, 1, 8));
  EXPECT_OK(cuMemsetD16(low + 8, 0x0202, 4));
  EXPECT_OK(cuMemsetD32(low + 16, 0x03030303, 2));
  EXPECT_OK(cuMemsetD2D8(low + 24, 8, 4, 4, 2));
  EXPECT_OK(cuMemsetD2D16(low + 40, 8, 0x0505, 2, 2));
  EXPECT_OK(cuMemsetD2D32(low + 56, 8, 0x06060606, 1, 2));
  EXPECT_OK(cuMemcpyDtoH(out.data(), low, 64));
  EXPECT_EQ(std::vector<unsigned char>(out.begin(), out.begin() + 28),
            (std::vector<unsigned char>{1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2,
                                        2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4}));
  EXPECT_EQ(out[32], 4);
  EXPECT_EQ(out[40], 5);
  EXPECT_EQ(out[48], 5);
  EXPECT_EQ(out[56], 6);
  CUdeviceptr_v1 base = 0;
  unsigned size = 0;
  EXPECT_OK(cuMemGetAddressRange(&base, &size, low + 100));
  EXPECT_EQ(base, low);
  EXPECT_EQ(size, kBytes);
}

TEST_F(OldVersionsTest, Arrays) {
  const CUDA_ARRAY_DESCRIPTOR_v1 flat{64, 4, CU_AD_FORMAT_UNSIGNED_INT8, 1};
  CUarray array = nullptr, other = nullptr;
  ASSERT_OK(cuArrayCreate(&array, &flat));
  const CUDA_ARRAY3D_DESCRIPTOR_v1 deep{64, 4, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0};
  ASSERT_OK(cuArray3DCreate(&other, &deep));
  CUDA_ARRAY_DESCRIPTOR_v1 told{};
  EXPECT_OK(cuArrayGetDescriptor(&told, array));
  EXPECT_EQ(told.Width, 64u);
  EXPECT_EQ(told.Height, 4u);
  CUDA_ARRAY3D_DESCRIPTOR_v1 told_deep{};
  EXPECT_OK(cuArray3DGetDescriptor(&told_deep, other));
  EXPECT_EQ(told_deep.Width, 64u);
  EXPECT_EQ(told_deep.Depth, 0u);
  EXPECT_CUDA(cuArrayCreate(&array, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuArrayGetDescriptor(nullptr, array), CUDA_ERROR_INVALID_VALUE);

  const auto row = pattern(64, 9);
  const std::vector<unsigned char> half(row.begin(), row.begin() + 32);
  std::vector<unsigned char> out(64);
  EXPECT_OK(cuMemcpyHtoA(array, 0, row.data(), 64));
  EXPECT_OK(cuMemcpyAtoA(other, 0, array, 0, 64));
  EXPECT_OK(cuMemcpyAtoH(out.data(), other, 0, 64));
  EXPECT_EQ(out, row);
  out.assign(32, 0);
  EXPECT_OK(cuMemcpyHtoAAsync(array, 32, row.data(), 32, nullptr));
  EXPECT_OK(cuMemcpyAtoHAsync(out.data(), array, 32, 32, nullptr));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(out, half);
  const CUdeviceptr_v1 low = lowMemory();
  ASSERT_NE(low, 0u);
  out.assign(32, 0);
  EXPECT_OK(cuMemcpyAtoD(low, array, 0, 32));
  EXPECT_OK(cuMemcpyDtoA(other, 32, low, 32));
  EXPECT_OK(cuMemcpyAtoH(out.data(), other, 32, 32));
  EXPECT_EQ(out, half);
  EXPECT_OK(cuArrayDestroy(array));
  EXPECT_OK(cuArrayDestroy(other));
}

TEST_F(OldVersionsTest, CopiesOfRows) {
  const CUDA_ARRAY_DESCRIPTOR_v1 flat{16, 8, CU_AD_FORMAT_UNSIGNED_INT8, 1};
  CUarray array = nullptr;
  ASSERT_OK(cuArrayCreate(&array, &flat));
  const auto rows = pattern(8 * 20, 2);
  std::vector<unsigned char> out(8 * 24, 0);
  CUDA_MEMCPY2D_v1 in{};
  in.srcMemoryType = CU_MEMORYTYPE_HOST;
  in.srcHost = rows.data();
  in.srcPitch = 20;
  in.dstMemoryType = CU_MEMORYTYPE_ARRAY;
  in.dstArray = array;
  in.WidthInBytes = 16;
  in.Height = 8;
  EXPECT_OK(cuMemcpy2D(&in));
  EXPECT_OK(cuMemcpy2DUnaligned(&in));
  EXPECT_OK(cuMemcpy2DAsync(&in, nullptr));
  EXPECT_CUDA(cuMemcpy2D(nullptr), CUDA_ERROR_INVALID_VALUE);
  CUDA_MEMCPY3D_v1 back{};
  back.srcMemoryType = CU_MEMORYTYPE_ARRAY;
  back.srcArray = array;
  back.dstMemoryType = CU_MEMORYTYPE_HOST;
  back.dstHost = out.data();
  back.dstPitch = 24;
  back.WidthInBytes = 16;
  back.Height = 8;
  back.Depth = 1;
  EXPECT_OK(cuMemcpy3D(&back));
  for (size_t y = 0; y < 8; ++y) {
    EXPECT_EQ(std::memcmp(&out[y * 24], &rows[y * 20], 16), 0) << y;
  }
  std::fill(out.begin(), out.end(), 0);
  EXPECT_OK(cuMemcpy3DAsync(&back, nullptr));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(std::memcmp(&out[7 * 24], &rows[7 * 20], 16), 0);
  EXPECT_OK(cuArrayDestroy(array));
}

}  // namespace
}  // namespace farwarp::conformance
