// Goal: device memory and page-locked memory behave as the driver's manual says: limits, copies in
// all directions, memsets, what is known of an address, and errors for addresses that are not
// valid. Method: calls of the driver API, each result compared with the host's own memory.
#include <cstring>
#include <numeric>

#include "tests/cpu_device/cuda_test.h"

namespace farwarp::cpu {
namespace {

class Memory : public CudaTest {};

TEST_F(Memory, RoundTripsBytes) {
  std::vector<uint32_t> values(100'000);
  std::iota(values.begin(), values.end(), 5u);
  const CUdeviceptr address = upload(values);
  EXPECT_EQ(download<uint32_t>(address, values.size()), values);
  EXPECT_OK(cuMemFree_v2(address));
}

TEST_F(Memory, FreeTakesOnlyTheBeginOfAnAllocation) {
  const CUdeviceptr address = allocate(1000);
  EXPECT_CUDA(cuMemFree_v2(address + 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemFree_v2(12345), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFree_v2(0));
  EXPECT_OK(cuMemFree_v2(address));
  EXPECT_CUDA(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Memory, TheLimitIsEnforcedAndReported) {
  size_t free = 0, total = 0, device_total = 0;
  ASSERT_OK(cuMemGetInfo_v2(&free, &total));
  ASSERT_OK(cuDeviceTotalMem_v2(&device_total, device_));
  EXPECT_EQ(total, device_total);
  EXPECT_LE(free, total);
  CUdeviceptr address = 0;
  EXPECT_CUDA(cuMemAlloc_v2(&address, total + 1), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_CUDA(cuMemAlloc_v2(&address, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAlloc_v2(nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  address = allocate(1 << 20);
  size_t free_after = 0;
  ASSERT_OK(cuMemGetInfo_v2(&free_after, &total));
  EXPECT_EQ(free - free_after, size_t{1} << 20);
  EXPECT_OK(cuMemFree_v2(address));
  ASSERT_OK(cuMemGetInfo_v2(&free_after, &total));
  EXPECT_EQ(free_after, free);
}

TEST_F(Memory, CopiesAreCheckedAgainstAllocations) {
  const CUdeviceptr address = allocate(100);
  char host[200] = {};
  EXPECT_OK(cuMemcpyHtoD_v2(address, host, 100));
  EXPECT_CUDA(cuMemcpyHtoD_v2(address, host, 101), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyHtoD_v2(address + 50, host, 51), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyDtoH_v2(host, address, 101), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyDtoH_v2(host, address + 4096, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyHtoD_v2(0, host, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyHtoD_v2(address, nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(host), host, 1),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyDtoD_v2(address, address, 101), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemcpyHtoD_v2(address, host, 0));
}

TEST_F(Memory, CopyFindsOutWhichSideAnAddressIsOn) {
  std::vector<int> first = {1, 2, 3, 4}, last(4);
  const CUdeviceptr a = allocate(16), b = allocate(16);
  EXPECT_OK(cuMemcpy(a, reinterpret_cast<CUdeviceptr>(first.data()), 16));
  EXPECT_OK(cuMemcpyAsync(b, a, 16, nullptr));
  EXPECT_OK(cuMemcpy(reinterpret_cast<CUdeviceptr>(last.data()), b, 16));
  EXPECT_EQ(last, first);
  std::vector<int> other(4);
  EXPECT_OK(cuMemcpy(reinterpret_cast<CUdeviceptr>(other.data()),
                     reinterpret_cast<CUdeviceptr>(first.data()), 16));
  EXPECT_EQ(other, first);
  EXPECT_CUDA(cuMemcpy(a + 4096, b, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Memory, AsyncCopiesFromPageableMemoryKeepWhatWasThere) {
  const CUdeviceptr address = allocate(1 << 20);
  const CUstream s = stream();
  for (size_t bytes : {size_t{4}, size_t{60'000}, size_t{1} << 20}) {
    std::vector<char> source(bytes, 'x');
    ASSERT_OK(cuMemcpyHtoDAsync_v2(address, source.data(), bytes, s));
    std::fill(source.begin(), source.end(), 'y');
    ASSERT_OK(cuStreamSynchronize(s));
    EXPECT_EQ(download<char>(address, bytes), std::vector<char>(bytes, 'x'));
  }
}

TEST_F(Memory, PinnedMemoryIsKnownAsSuch) {
  void* pinned = nullptr;
  ASSERT_OK(cuMemHostAlloc(&pinned, 5000, CU_MEMHOSTALLOC_PORTABLE));
  std::memset(pinned, 3, 5000);
  unsigned flags = 0;
  EXPECT_OK(cuMemHostGetFlags(&flags, static_cast<char*>(pinned) + 100));
  EXPECT_EQ(flags, unsigned{CU_MEMHOSTALLOC_PORTABLE});
  CUmemorytype type{};
  EXPECT_OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                  reinterpret_cast<CUdeviceptr>(pinned)));
  EXPECT_EQ(type, CU_MEMORYTYPE_HOST);
  const CUdeviceptr address = allocate(5000);
  EXPECT_OK(cuMemcpyHtoDAsync_v2(address, pinned, 5000, nullptr));
  EXPECT_EQ(download<char>(address, 5000), std::vector<char>(5000, 3));
  EXPECT_CUDA(cuMemFree_v2(reinterpret_cast<CUdeviceptr>(pinned)), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemFreeHost(reinterpret_cast<void*>(address)), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFreeHost(pinned));
  EXPECT_CUDA(cuMemFreeHost(pinned), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemFreeHost(nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Memory, HostMemoryCanBeRegisteredOnce) {
  std::vector<char> memory(10'000);
  EXPECT_OK(cuMemHostRegister_v2(memory.data(), memory.size(), 0));
  EXPECT_CUDA(cuMemHostRegister_v2(memory.data() + 10, 10, 0),
              CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  EXPECT_CUDA(cuMemHostUnregister(memory.data() + 10), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  EXPECT_OK(cuMemHostUnregister(memory.data()));
  EXPECT_CUDA(cuMemHostUnregister(memory.data()), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  EXPECT_CUDA(cuMemHostRegister_v2(nullptr, 10, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemHostRegister_v2(memory.data(), 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemHostRegister_v2(memory.data(), SIZE_MAX, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Memory, MemsetsWriteTheirElements) {
  const CUdeviceptr address = allocate(64);
  EXPECT_OK(cuMemsetD8_v2(address, 0x11, 64));
  EXPECT_OK(cuMemsetD16_v2(address + 8, 0x2222, 4));
  EXPECT_OK(cuMemsetD32Async(address + 32, 0x33333333, 2, nullptr));
  std::vector<unsigned char> expected(64, 0x11);
  std::fill_n(expected.begin() + 8, 8, 0x22);
  std::fill_n(expected.begin() + 32, 8, 0x33);
  EXPECT_EQ(download<unsigned char>(address, 64), expected);
  EXPECT_CUDA(cuMemsetD8_v2(address, 0, 65), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD32_v2(address + 1, 0, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD32_v2(address, 0, SIZE_MAX / 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemsetD8_v2(address, 0, 0));
}

TEST_F(Memory, PitchedMemorySetsRowByRow) {
  CUdeviceptr address = 0;
  size_t pitch = 0;
  ASSERT_OK(cuMemAllocPitch_v2(&address, &pitch, 10, 3, 4));
  EXPECT_GE(pitch, 10u);
  EXPECT_EQ(pitch % 32, 0u);
  EXPECT_OK(cuMemsetD8_v2(address, 0, pitch * 3));
  EXPECT_OK(cuMemsetD2D8_v2(address, pitch, 9, 10, 3));
  EXPECT_OK(cuMemsetD2D16Async(address + 2 * pitch, pitch, 0x0505, 2, 1, nullptr));
  const auto bytes = download<char>(address, pitch * 3);
  for (size_t row = 0; row < 3; ++row) {
    for (size_t i = 0; i < pitch; ++i) {
      const int expected = i >= 10 ? 0 : row == 2 && i < 4 ? 5 : 9;
      ASSERT_EQ(bytes[row * pitch + i], expected) << row << "," << i;
    }
  }
  EXPECT_CUDA(cuMemsetD2D8_v2(address, 4, 9, 10, 3), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD2D8_v2(address, pitch, 9, 10, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD2D32_v2(address, SIZE_MAX / 2, 9, 10, 3), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocPitch_v2(&address, &pitch, 10, 3, 5), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocPitch_v2(&address, &pitch, 1 << 30, SIZE_MAX >> 20, 4),
              CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_F(Memory, AddressesTellWhatTheyAre) {
  const CUdeviceptr address = allocate(1000);
  CUdeviceptr base = 0;
  size_t bytes = 0;
  EXPECT_OK(cuMemGetAddressRange_v2(&base, &bytes, address + 500));
  EXPECT_EQ(base, address);
  EXPECT_EQ(bytes, 1000u);
  EXPECT_CUDA(cuMemGetAddressRange_v2(&base, &bytes, 1), CUDA_ERROR_NOT_FOUND);

  CUcontext owner = nullptr;
  EXPECT_OK(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, address));
  EXPECT_EQ(owner, context_);
  EXPECT_CUDA(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, 1),
              CUDA_ERROR_INVALID_VALUE);
  unsigned long long first = 0, second = 0;
  EXPECT_OK(cuPointerGetAttribute(&first, CU_POINTER_ATTRIBUTE_BUFFER_ID, address + 1));
  EXPECT_OK(cuPointerGetAttribute(&second, CU_POINTER_ATTRIBUTE_BUFFER_ID, allocate(1)));
  EXPECT_NE(first, second);
}

TEST_F(Memory, SixAttributesAtOnceAsTheRuntimeAsks) {
  CUpointer_attribute which[] = {
      CU_POINTER_ATTRIBUTE_CONTEXT,        CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
      CU_POINTER_ATTRIBUTE_DEVICE_POINTER, CU_POINTER_ATTRIBUTE_HOST_POINTER,
      CU_POINTER_ATTRIBUTE_IS_MANAGED,     CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  CUcontext owner = nullptr;
  unsigned type = 99, managed = 99;
  CUdeviceptr device_address = 99;
  void* host_address = &owner;
  int ordinal = 99;
  void* out[] = {&owner, &type, &device_address, &host_address, &managed, &ordinal};
  const CUdeviceptr address = allocate(16);
  ASSERT_OK(cuPointerGetAttributes(6, which, out, address + 4));
  EXPECT_EQ(owner, context_);
  EXPECT_EQ(type, unsigned{CU_MEMORYTYPE_DEVICE});
  EXPECT_EQ(device_address, address + 4);
  EXPECT_EQ(host_address, nullptr);
  EXPECT_EQ(managed, 0u);
  EXPECT_EQ(ordinal, 0);
  ASSERT_OK(cuPointerGetAttributes(6, which, out, reinterpret_cast<CUdeviceptr>(&owner)));
  EXPECT_EQ(owner, nullptr);
  EXPECT_EQ(type, 0u);
  EXPECT_EQ(device_address, 0u);
  EXPECT_EQ(ordinal, CU_DEVICE_INVALID);
}

}  // namespace
}  // namespace farwarp::cpu
