// Goal: memory of a pool goes to another process as it does locally: the pool as a descriptor, an
// allocation as a few bytes. Method: a child imports both, reads what its parent wrote and answers;
// and the same within one process, with everything that must be refused.
#include <unistd.h>

#include "tests/conformance/child_process.h"
#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr size_t kBytes = 100'000;
constexpr auto kDescriptor = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;

class MemoryPoolSharing : public ConformanceTest {
 protected:
  CUmemoryPool create(CUmemAllocationHandleType handles) {
    CUmemPoolProps properties{};
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.handleTypes = handles;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, device_};
    CUmemoryPool pool = nullptr;
    EXPECT_OK(cuMemPoolCreate(&pool, &properties));
    return pool;
  }
  CUdeviceptr allocateFrom(CUmemoryPool pool) {
    CUdeviceptr address = 0;
    EXPECT_OK(cuMemAllocFromPoolAsync(&address, kBytes, pool, nullptr));
    EXPECT_OK(cuStreamSynchronize(nullptr));
    return address;
  }
  static CUresult import(CUmemoryPool* pool, int file) {
    return cuMemPoolImportFromShareableHandle(pool, reinterpret_cast<void*>(intptr_t{file}),
                                              kDescriptor, 0);
  }
};

TEST_F(MemoryPoolSharing, ComesBackThroughItsDescriptor) {
  int supported = 0;
  EXPECT_OK(cuDeviceGetAttribute(&supported, CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES,
                                 device_));
  EXPECT_NE(supported & kDescriptor, 0);
  const CUmemoryPool pool = create(kDescriptor);
  const CUdeviceptr address = allocateFrom(pool);
  const auto bytes = pattern(kBytes, 21);
  EXPECT_OK(cuMemcpyHtoD_v2(address, bytes.data(), kBytes));
  int file = -1;
  ASSERT_OK(cuMemPoolExportToShareableHandle(&file, pool, kDescriptor, 0));
  ASSERT_GE(file, 0);
  CUmemPoolPtrExportData data{};
  ASSERT_OK(cuMemPoolExportPointer(&data, address));
  EXPECT_EQ(download(address, kBytes), bytes) << "exporting changes nothing";
  CUmemoryPool imported = nullptr;
  ASSERT_OK(import(&imported, file));
  CUdeviceptr other = 0;
  ASSERT_OK(cuMemPoolImportPointer(&other, imported, &data));
  EXPECT_NE(other, address);
  EXPECT_EQ(download(other, kBytes), bytes);
  EXPECT_OK(cuMemsetD8_v2(other, 0x44, kBytes));
  EXPECT_EQ(download(address, kBytes), std::vector<unsigned char>(kBytes, 0x44));
  EXPECT_CUDA(cuMemcpyHtoD_v2(other, bytes.data(), kBytes + 1), CUDA_ERROR_INVALID_VALUE);
  // An imported pool gives no memory.
  CUdeviceptr none = 0;
  EXPECT_CUDA(cuMemAllocFromPoolAsync(&none, 64, imported, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceSetMemPool(device_, imported), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFreeAsync(other, nullptr));
  EXPECT_OK(cuStreamSynchronize(nullptr));
  EXPECT_CUDA(cuMemFreeAsync(other, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemPoolImportPointer(&other, imported, &data));
  EXPECT_OK(cuMemFree_v2(other));
  EXPECT_OK(cuMemPoolDestroy(imported));
  EXPECT_OK(cuMemFree_v2(address));
  CUmemoryPool again = nullptr;
  EXPECT_OK(import(&again, file));
  EXPECT_CUDA(cuMemPoolImportPointer(&other, again, &data), CUDA_ERROR_INVALID_VALUE)
      << "it was freed";
  EXPECT_OK(cuMemPoolDestroy(again));
  EXPECT_OK(cuMemPoolDestroy(pool));
  close(file);
}

TEST_F(MemoryPoolSharing, WhatIsWrongIsRefused) {
  const CUmemoryPool own = create(CU_MEM_HANDLE_TYPE_NONE), pool = create(kDescriptor);
  int file = -1;
  EXPECT_CUDA(cuMemPoolExportToShareableHandle(&file, own, kDescriptor, 0),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolExportToShareableHandle(nullptr, pool, kDescriptor, 0),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolExportToShareableHandle(&file, pool, CU_MEM_HANDLE_TYPE_NONE, 0),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolExportToShareableHandle(&file, pool, kDescriptor, 1),
              CUDA_ERROR_INVALID_VALUE);
  const CUdeviceptr kept = allocateFrom(own), shared = allocateFrom(pool);
  const CUdeviceptr plain = allocate(64);
  CUmemPoolPtrExportData data{};
  EXPECT_CUDA(cuMemPoolExportPointer(&data, kept), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolExportPointer(&data, plain), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolExportPointer(&data, 0x1000), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolExportPointer(nullptr, shared), CUDA_ERROR_INVALID_VALUE);
  CUmemoryPool imported = nullptr;
  EXPECT_CUDA(import(&imported, -1), CUDA_ERROR_INVALID_VALUE);
  const int other_file = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_CUDA(import(&imported, other_file), CUDA_ERROR_INVALID_VALUE);
  close(other_file);
  ASSERT_OK(cuMemPoolExportToShareableHandle(&file, pool, kDescriptor, 0));
  EXPECT_CUDA(import(nullptr, file), CUDA_ERROR_INVALID_VALUE);
  ASSERT_OK(import(&imported, file));
  CUdeviceptr address = 0;
  EXPECT_CUDA(cuMemPoolImportPointer(&address, imported, &data), CUDA_ERROR_INVALID_VALUE)
      << "data that names nothing";
  ASSERT_OK(cuMemPoolExportPointer(&data, shared));
  EXPECT_CUDA(cuMemPoolImportPointer(&address, pool, &data), CUDA_ERROR_INVALID_VALUE)
      << "not imported";
  EXPECT_CUDA(cuMemPoolImportPointer(nullptr, imported, &data), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolImportPointer(&address, imported, nullptr), CUDA_ERROR_INVALID_VALUE);
  const CUmemoryPool second = create(kDescriptor);
  const CUdeviceptr elsewhere = allocateFrom(second);
  ASSERT_OK(cuMemPoolExportPointer(&data, elsewhere));
  EXPECT_CUDA(cuMemPoolImportPointer(&address, imported, &data), CUDA_ERROR_INVALID_VALUE)
      << "of another pool";
  for (const CUdeviceptr memory : {kept, shared, plain, elsewhere}) {
    EXPECT_OK(cuMemFree_v2(memory));
  }
  for (const CUmemoryPool gone : {own, pool, imported, second}) EXPECT_OK(cuMemPoolDestroy(gone));
  close(file);
}

class MemoryPoolSharingChild : public MemoryPoolSharing {};

// Reads what the parent wrote, and writes an answer.
TEST_F(MemoryPoolSharingChild, SeesTheParentsMemory) {
  if (!isChild()) GTEST_SKIP() << "Started by the next test only.";
  CUmemPoolPtrExportData data{};
  ASSERT_TRUE(readAll(kFromParentFd, &data, sizeof(data)));
  CUmemoryPool pool = nullptr;
  ASSERT_OK(import(&pool, kGivenFd));
  CUdeviceptr address = 0;
  ASSERT_OK(cuMemPoolImportPointer(&address, pool, &data));
  EXPECT_EQ(download(address, kBytes), pattern(kBytes, 31));
  const auto answer = pattern(kBytes, 32);
  EXPECT_OK(cuMemcpyHtoD_v2(address, answer.data(), kBytes));
  EXPECT_OK(cuMemFree_v2(address));
  EXPECT_OK(cuMemPoolDestroy(pool));
}

TEST_F(MemoryPoolSharing, IsSeenByAnotherProcess) {
  const CUmemoryPool pool = create(kDescriptor);
  const CUdeviceptr address = allocateFrom(pool);
  const auto bytes = pattern(kBytes, 31);
  EXPECT_OK(cuMemcpyHtoD_v2(address, bytes.data(), kBytes));
  int file = -1;
  ASSERT_OK(cuMemPoolExportToShareableHandle(&file, pool, kDescriptor, 0));
  CUmemPoolPtrExportData data{};
  ASSERT_OK(cuMemPoolExportPointer(&data, address));
  EXPECT_OK(cuCtxSynchronize());
  Child child("MemoryPoolSharingChild.*", file);
  EXPECT_TRUE(child.send(&data, sizeof(data)));
  EXPECT_TRUE(child.passed());
  EXPECT_EQ(download(address, kBytes), pattern(kBytes, 32));
  EXPECT_OK(cuMemFree_v2(address));
  EXPECT_OK(cuMemPoolDestroy(pool));
  close(file);
}

}  // namespace
}  // namespace farwarp::conformance
