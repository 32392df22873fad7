// Goal: memory that streams allocate and free holds what the stream writes, is used again only
// where CUDA allows it, and the pools' attributes tell the truth. Method: the driver API alone;
// contents are compared after copies in the same streams, and what is not specified (where an
// allocation lies, how much a pool reserves for it) is not asserted.
#include <algorithm>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr size_t kBytes = 3 << 20;

class StreamOrderedMemory : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING));
    ASSERT_OK(cuStreamCreate(&other_, CU_STREAM_NON_BLOCKING));
  }

  static CUmemPoolProps properties(int device, size_t bytes_max = 0) {
    CUmemPoolProps properties{};
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.handleTypes = CU_MEM_HANDLE_TYPE_NONE;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
    properties.maxSize = bytes_max;
    return properties;
  }
  CUmemoryPool createPool(size_t bytes_max = 0) {
    CUmemoryPool pool = nullptr;
    const CUmemPoolProps wanted = properties(device_, bytes_max);
    EXPECT_OK(cuMemPoolCreate(&pool, &wanted));
    return pool;
  }
  static cuuint64_t bytesOf(CUmemoryPool pool, CUmemPool_attribute attribute) {
    cuuint64_t value = ~cuuint64_t{0};
    EXPECT_OK(cuMemPoolGetAttribute(pool, attribute, &value));
    return value;
  }
  static int flagOf(CUmemoryPool pool, CUmemPool_attribute attribute) {
    int value = -1;
    EXPECT_OK(cuMemPoolGetAttribute(pool, attribute, &value));
    return value;
  }
  // All bytes from `address` on, as `stream` sees them.
  std::vector<unsigned char> contents(CUdeviceptr address, size_t bytes, CUstream stream) {
    std::vector<unsigned char> out(bytes);
    EXPECT_OK(cuMemcpyDtoHAsync_v2(out.data(), address, bytes, stream));
    EXPECT_OK(cuStreamSynchronize(stream));
    return out;
  }
  static bool all(const std::vector<unsigned char>& bytes, unsigned char value) {
    return std::all_of(bytes.begin(), bytes.end(), [value](auto byte) { return byte == value; });
  }

  CUstream stream_ = nullptr;
  CUstream other_ = nullptr;
};

TEST_F(StreamOrderedMemory, TheDeviceSaysThatItHasPools) {
  int value = -1;
  EXPECT_OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, device_));
  EXPECT_EQ(value, 1);
  EXPECT_OK(
      cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES, device_));
  EXPECT_EQ(value, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
}

TEST_F(StreamOrderedMemory, AllocatesWritesAndFreesInStreamOrder) {
  for (int round = 0; round < 20; ++round) {
    CUdeviceptr address = 0;
    const auto value = static_cast<unsigned char>(round + 1);
    ASSERT_OK(cuMemAllocAsync(&address, kBytes, stream_));
    EXPECT_OK(cuMemsetD8Async(address, value, kBytes, stream_));
    EXPECT_TRUE(all(contents(address, kBytes, stream_), value)) << round;
    EXPECT_OK(cuMemFreeAsync(address, stream_));
  }
  EXPECT_OK(cuStreamSynchronize(stream_));
}

TEST_F(StreamOrderedMemory, DefaultStreamsOfAllKinds) {
  CUdeviceptr address = 0;
  ASSERT_OK(cuMemAllocAsync(&address, 100, nullptr));
  EXPECT_OK(cuMemFreeAsync(address, nullptr));
  ASSERT_OK(cuMemAllocAsync_ptsz(&address, 100, nullptr));
  EXPECT_OK(cuMemsetD8Async_ptsz(address, 7, 100, nullptr));
  EXPECT_TRUE(all(contents(address, 100, CU_STREAM_PER_THREAD), 7));
  EXPECT_OK(cuMemFreeAsync_ptsz(address, nullptr));
  EXPECT_OK(cuCtxSynchronize());
}

// What one stream frees another may get, and then the first stream's work comes before.
TEST_F(StreamOrderedMemory, AnotherStreamGetsFreedMemoryOnlyBehindItsUse) {
  std::vector<unsigned char> mine(kBytes);
  for (int round = 0; round < 10; ++round) {
    CUdeviceptr first = 0, second = 0;
    ASSERT_OK(cuMemAllocAsync(&first, kBytes, stream_));
    EXPECT_OK(cuMemsetD8Async(first, 1, kBytes, stream_));
    void* pinned = nullptr;
    ASSERT_OK(cuMemHostAlloc(&pinned, kBytes, 0));
    EXPECT_OK(cuMemcpyDtoHAsync_v2(pinned, first, kBytes, stream_));
    EXPECT_OK(cuMemFreeAsync(first, stream_));
    ASSERT_OK(cuMemAllocAsync(&second, kBytes, other_));
    EXPECT_OK(cuMemsetD8Async(second, 2, kBytes, other_));
    EXPECT_TRUE(all(contents(second, kBytes, other_), 2));
    EXPECT_OK(cuStreamSynchronize(stream_));
    mine.assign(static_cast<unsigned char*>(pinned), static_cast<unsigned char*>(pinned) + kBytes);
    EXPECT_TRUE(all(mine, 1)) << round;
    EXPECT_OK(cuMemFreeHost(pinned));
    EXPECT_OK(cuMemFreeAsync(second, other_));
  }
}

TEST_F(StreamOrderedMemory, BothAllocatorsFreeEachOthersMemory) {
  CUdeviceptr address = 0;
  ASSERT_OK(cuMemAllocAsync(&address, kBytes, stream_));
  EXPECT_OK(cuMemFree_v2(address));
  EXPECT_CUDA(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE);
  ASSERT_OK(cuMemAlloc_v2(&address, kBytes));
  EXPECT_OK(cuMemFreeAsync(address, stream_));
  EXPECT_CUDA(cuMemFreeAsync(address, stream_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuStreamSynchronize(stream_));
}

TEST_F(StreamOrderedMemory, APoolCountsWhatItHolds) {
  const CUmemoryPool pool = createPool();
  cuuint64_t keep = ~cuuint64_t{0};
  EXPECT_OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep));
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD), keep);
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), 0u);
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0u);

  CUdeviceptr address = 0;
  ASSERT_OK(cuMemAllocFromPoolAsync(&address, kBytes, pool, stream_));
  const cuuint64_t used = bytesOf(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
  const cuuint64_t reserved = bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  EXPECT_GE(used, kBytes);
  EXPECT_GE(reserved, used);
  EXPECT_OK(cuMemFreeAsync(address, stream_));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0u);
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), used);
  // The threshold says: keep it. It is used again, so no more is reserved.
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), reserved);
  ASSERT_OK(cuMemAllocFromPoolAsync(&address, kBytes, pool, other_));
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), reserved);
  EXPECT_OK(cuMemFreeAsync(address, other_));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemPoolTrimTo(pool, reserved));
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), reserved);
  EXPECT_OK(cuMemPoolTrimTo(pool, 0));
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), 0u);
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), reserved);
  cuuint64_t zero = 0;
  EXPECT_OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, &zero));
  EXPECT_OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &zero));
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), 0u);
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), 0u);
  EXPECT_OK(cuMemPoolDestroy(pool));
}

TEST_F(StreamOrderedMemory, WithoutAThresholdASynchronizeGivesMemoryBack) {
  const CUmemoryPool pool = createPool();
  CUdeviceptr address = 0;
  ASSERT_OK(cuMemAllocFromPoolAsync(&address, kBytes, pool, stream_));
  EXPECT_OK(cuMemFreeAsync(address, stream_));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(bytesOf(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), 0u);
  EXPECT_OK(cuMemPoolDestroy(pool));
}

TEST_F(StreamOrderedMemory, ReuseFlagsAreKept) {
  const CUmemoryPool pool = createPool();
  for (CUmemPool_attribute flag :
       {CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC,
        CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES}) {
    EXPECT_EQ(flagOf(pool, flag), 1);
    int off = 0;
    EXPECT_OK(cuMemPoolSetAttribute(pool, flag, &off));
    EXPECT_EQ(flagOf(pool, flag), 0);
  }
  EXPECT_OK(cuMemPoolDestroy(pool));
}

TEST_F(StreamOrderedMemory, APoolsMemoryOutlivesItsHandle) {
  const CUmemoryPool pool = createPool();
  CUdeviceptr address = 0;
  ASSERT_OK(cuMemAllocFromPoolAsync(&address, kBytes, pool, stream_));
  EXPECT_OK(cuMemPoolDestroy(pool));
  EXPECT_OK(cuMemsetD8Async(address, 9, kBytes, stream_));
  EXPECT_TRUE(all(contents(address, kBytes, stream_), 9));
  EXPECT_OK(cuMemFreeAsync(address, stream_));
  EXPECT_OK(cuStreamSynchronize(stream_));
  EXPECT_CUDA(cuMemPoolDestroy(pool), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocFromPoolAsync(&address, kBytes, pool, stream_), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(StreamOrderedMemory, CurrentAndDefaultPools) {
  CUmemoryPool by_default = nullptr, current = nullptr;
  EXPECT_OK(cuDeviceGetDefaultMemPool(&by_default, device_));
  EXPECT_OK(cuDeviceGetMemPool(&current, device_));
  EXPECT_NE(by_default, nullptr);
  EXPECT_EQ(current, by_default);
  EXPECT_CUDA(cuMemPoolDestroy(by_default), CUDA_ERROR_INVALID_VALUE);

  const CUmemoryPool pool = createPool();
  EXPECT_OK(cuDeviceSetMemPool(device_, pool));
  EXPECT_OK(cuDeviceGetMemPool(&current, device_));
  EXPECT_EQ(current, pool);
  CUdeviceptr address = 0;
  ASSERT_OK(cuMemAllocAsync(&address, kBytes, stream_));
  EXPECT_GE(bytesOf(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), kBytes);
  CUmemoryPool owner = nullptr;
  EXPECT_OK(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, address));
  EXPECT_EQ(owner, pool);
  EXPECT_OK(cuMemFreeAsync(address, stream_));
  EXPECT_OK(cuMemPoolDestroy(pool));
  EXPECT_OK(cuDeviceGetMemPool(&current, device_));
  EXPECT_EQ(current, by_default);

  ASSERT_OK(cuMemAllocAsync(&address, kBytes, stream_));
  EXPECT_OK(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, address));
  EXPECT_EQ(owner, by_default);
  CUdeviceptr base = 0;
  size_t bytes = 0;
  EXPECT_OK(cuMemGetAddressRange_v2(&base, &bytes, address + 5));
  EXPECT_EQ(base, address);
  EXPECT_EQ(bytes, kBytes);
  EXPECT_OK(cuMemFreeAsync(address, stream_));

  CUmemLocation here{CU_MEM_LOCATION_TYPE_DEVICE, device_};
  EXPECT_OK(cuMemGetDefaultMemPool(&current, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
  EXPECT_EQ(current, by_default);
  EXPECT_OK(cuMemSetMemPool(&here, CU_MEM_ALLOCATION_TYPE_PINNED, by_default));
  EXPECT_OK(cuMemGetMemPool(&current, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
  EXPECT_EQ(current, by_default);
}

TEST_F(StreamOrderedMemory, MissingMemoryIsToldAtTheCall) {
  const CUmemoryPool pool = createPool(kBytes);
  CUdeviceptr address = 0, more = 0;
  ASSERT_OK(cuMemAllocFromPoolAsync(&address, kBytes, pool, stream_));
  EXPECT_CUDA(cuMemAllocFromPoolAsync(&more, kBytes, pool, stream_), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_OK(cuMemFreeAsync(address, stream_));
  EXPECT_OK(cuMemPoolDestroy(pool));
  size_t free = 0, total = 0;
  EXPECT_OK(cuMemGetInfo_v2(&free, &total));
  EXPECT_CUDA(cuMemAllocAsync(&more, total + 4096, stream_), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_CUDA(cuMemAllocAsync(&more, ~size_t{0}, stream_), CUDA_ERROR_OUT_OF_MEMORY);
  // What a pool keeps does not keep cuMemAlloc from having it.
  CUmemoryPool by_default = nullptr;
  EXPECT_OK(cuDeviceGetDefaultMemPool(&by_default, device_));
  cuuint64_t keep = ~cuuint64_t{0}, threshold = 0;
  EXPECT_OK(cuMemPoolSetAttribute(by_default, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep));
  const size_t most = total / 4 * 3;
  ASSERT_OK(cuMemAllocAsync(&address, most, stream_));
  EXPECT_OK(cuMemFreeAsync(address, stream_));
  EXPECT_OK(cuMemAlloc_v2(&more, most));
  EXPECT_OK(cuMemFree_v2(more));
  EXPECT_OK(cuMemPoolSetAttribute(by_default, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
}

TEST_F(StreamOrderedMemory, AccessIsTheOwnDevicesAlone) {
  const CUmemoryPool pool = createPool();
  CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_MAX;
  CUmemLocation own{CU_MEM_LOCATION_TYPE_DEVICE, device_};
  EXPECT_OK(cuMemPoolGetAccess(&flags, pool, &own));
  EXPECT_EQ(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  CUmemAccessDesc access{own, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  EXPECT_OK(cuMemPoolSetAccess(pool, &access, 1));
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  EXPECT_CUDA(cuMemPoolSetAccess(pool, &access, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolSetAccess(pool, nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  access.location.id = 99;
  EXPECT_CUDA(cuMemPoolSetAccess(pool, &access, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemPoolDestroy(pool));
}

TEST_F(StreamOrderedMemory, RefusesWhatCudaRefuses) {
  CUdeviceptr address = 0;
  const auto no_pool = reinterpret_cast<CUmemoryPool>(0x123450);
  EXPECT_CUDA(cuMemAllocAsync(nullptr, 16, stream_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocAsync(&address, 0, stream_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_BAD_HANDLE(cuMemAllocAsync(&address, 16, reinterpret_cast<CUstream>(0x5678)),
                    CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuMemAllocFromPoolAsync(&address, 16, no_pool, stream_),
                    CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocFromPoolAsync(&address, 16, nullptr, stream_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemFreeAsync(0x1234, stream_), CUDA_ERROR_INVALID_VALUE);
  ASSERT_OK(cuMemAllocAsync(&address, 4096, stream_));
  EXPECT_CUDA(cuMemFreeAsync(address + 1, stream_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFreeAsync(address, stream_));
  EXPECT_CUDA(cuMemFreeAsync(address, stream_), CUDA_ERROR_INVALID_VALUE);

  CUmemoryPool pool = nullptr;
  CUmemPoolProps wanted = properties(device_);
  EXPECT_CUDA(cuMemPoolCreate(nullptr, &wanted), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolCreate(&pool, nullptr), CUDA_ERROR_INVALID_VALUE);
  wanted.reserved[3] = 1;
  EXPECT_CUDA(cuMemPoolCreate(&pool, &wanted), CUDA_ERROR_INVALID_VALUE);
  wanted = properties(99);
  EXPECT_CUDA(cuMemPoolCreate(&pool, &wanted), CUDA_ERROR_INVALID_VALUE);
  wanted = properties(device_);
  wanted.handleTypes = CU_MEM_HANDLE_TYPE_FABRIC;
  EXPECT_CUDA(cuMemPoolCreate(&pool, &wanted), CUDA_ERROR_NOT_SUPPORTED);
  wanted = properties(device_);
  wanted.location.type = CU_MEM_LOCATION_TYPE_HOST;
  EXPECT_CUDA(cuMemPoolCreate(&pool, &wanted), CUDA_ERROR_NOT_SUPPORTED);

  EXPECT_BAD_HANDLE(cuMemPoolDestroy(no_pool), CUDA_ERROR_INVALID_VALUE);
  EXPECT_BAD_HANDLE(cuMemPoolTrimTo(no_pool, 0), CUDA_ERROR_INVALID_VALUE);
  pool = createPool();
  cuuint64_t value = 1;
  EXPECT_CUDA(cuMemPoolSetAttribute(pool, CUmemPool_attribute(0), &value),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &value),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &value),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolGetAttribute(pool, CUmemPool_attribute(9), &value),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, nullptr),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceSetMemPool(1, pool), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceSetMemPool(99, pool), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_CUDA(cuDeviceGetMemPool(&pool, 99), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_CUDA(cuDeviceGetMemPool(nullptr, device_), CUDA_ERROR_INVALID_VALUE);
  CUmemLocation nowhere{CU_MEM_LOCATION_TYPE_NONE, 0};
  CUmemoryPool found = nullptr;
  EXPECT_CUDA(cuMemGetMemPool(&found, &nowhere, CU_MEM_ALLOCATION_TYPE_PINNED),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemPoolDestroy(pool));
  EXPECT_OK(cuCtxSynchronize());
}

}  // namespace
}  // namespace farwarp::conformance
