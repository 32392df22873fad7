// Goal: memory that the program and kernels both use holds, for each side, what the other wrote:
// mapped, page-locked and registered host memory, and managed memory. Method: the driver API and
// small kernels; the program writes with stores, from one thread and from several, whole pages and
// single bytes, and looks at the memory directly after each kind of wait.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <thread>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

// add: values[i] += amount, for i < count. chase: *out = **where, where `where` lies in memory.
constexpr char kPtx[] = R"(
.version 8.0
.target sm_70
.address_size 64
.visible .global .attribute(.managed) .align 4 .u32 counter = 41;

.visible .entry add(.param .u64 values, .param .u32 count, .param .u32 amount)
{
  .reg .pred %p;
  .reg .b32 %r<8>;
  .reg .b64 %rd<4>;
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.s32 %r4, %r1, %r2, %r3;
  ld.param.u32 %r5, [count];
  setp.ge.u32 %p, %r4, %r5;
  @%p bra done;
  ld.param.u64 %rd1, [values];
  mul.wide.u32 %rd2, %r4, 4;
  add.s64 %rd3, %rd1, %rd2;
  ld.param.u32 %r6, [amount];
  ld.global.u32 %r7, [%rd3];
  add.u32 %r7, %r7, %r6;
  st.global.u32 [%rd3], %r7;
done:
  ret;
}

.visible .entry chase(.param .u64 where, .param .u64 out)
{
  .reg .b32 %r<2>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [where];
  ld.global.u64 %rd2, [%rd1];
  ld.global.u32 %r1, [%rd2];
  ld.param.u64 %rd3, [out];
  st.global.u32 [%rd3], %r1;
  ret;
}

.visible .entry count()
{
  .reg .b32 %r<2>;
  ld.global.u32 %r1, [counter];
  add.u32 %r1, %r1, 1;
  st.global.u32 [counter], %r1;
  ret;
}
)";

constexpr unsigned kCount = 40000;  // 40 pages, the last one not full
constexpr size_t kBytes = kCount * sizeof(unsigned);
constexpr size_t kPage = 4096;

class SharedMemory : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuModuleLoadData(&module_, kPtx));
    ASSERT_OK(cuModuleGetFunction(&add_, module_, "add"));
    ASSERT_OK(cuModuleGetFunction(&chase_, module_, "chase"));
    ASSERT_OK(cuModuleGetFunction(&count_, module_, "count"));
  }

  void launchAdd(const void* values, unsigned count, unsigned amount, CUstream stream = nullptr) {
    void* params[] = {&values, &count, &amount};
    EXPECT_OK(
        cuLaunchKernel(add_, (count + 127) / 128, 1, 1, 128, 1, 1, 0, stream, params, nullptr));
  }
  static unsigned* managed(size_t bytes = kBytes) {
    CUdeviceptr address = 0;
    EXPECT_OK(cuMemAllocManaged(&address, bytes, CU_MEM_ATTACH_GLOBAL));
    return reinterpret_cast<unsigned*>(address);
  }
  static void free(unsigned* values) {
    EXPECT_OK(cuMemFree_v2(reinterpret_cast<CUdeviceptr>(values)));
  }
  // How many of the values are not `wanted(i)`.
  template <typename Wanted>
  static unsigned wrong(const unsigned* values, unsigned count, const Wanted& wanted) {
    unsigned found = 0;
    for (unsigned i = 0; i < count; ++i) found += values[i] != wanted(i);
    return found;
  }
  // Program and kernel take turns.
  void takeTurns(unsigned* values) {
    for (unsigned i = 0; i < kCount; ++i) values[i] = i;
    for (unsigned round = 1; round <= 3; ++round) {
      launchAdd(values, kCount, 1000);
      EXPECT_OK(cuCtxSynchronize());
      EXPECT_EQ(wrong(values, kCount, [&](unsigned i) { return i + 2000 * round - 1000; }), 0u);
      for (unsigned i = 0; i < kCount; ++i) values[i] += 1000;
    }
  }

  CUmodule module_ = nullptr;
  CUfunction add_ = nullptr, chase_ = nullptr, count_ = nullptr;
};

TEST_F(SharedMemory, TheDeviceSaysWhatItCanDo) {
  const auto attribute = [this](CUdevice_attribute name) {
    int value = -1;
    EXPECT_OK(cuDeviceGetAttribute(&value, name, device_));
    return value;
  };
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY), 1);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS), 0);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS), 0);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY), 1);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM), 1);
}

TEST_F(SharedMemory, ManagedMemoryIsZeroAtFirstForBoth) {
  unsigned* values = managed();
  EXPECT_EQ(wrong(values, kCount, [](unsigned) { return 0u; }), 0u);
  launchAdd(values, kCount, 7);
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(wrong(values, kCount, [](unsigned) { return 7u; }), 0u);
  free(values);
}

TEST_F(SharedMemory, ProgramAndKernelTakeTurnsInManagedMemory) {
  unsigned* values = managed();
  takeTurns(values);
  free(values);
}

TEST_F(SharedMemory, AndInMappedMemory) {
  void* host = nullptr;
  ASSERT_OK(cuMemHostAlloc(&host, kBytes, CU_MEMHOSTALLOC_DEVICEMAP));
  CUdeviceptr seen = 0;
  EXPECT_OK(cuMemHostGetDevicePointer_v2(&seen, host, 0));
  EXPECT_EQ(seen, reinterpret_cast<CUdeviceptr>(host));
  takeTurns(static_cast<unsigned*>(host));
  EXPECT_OK(cuMemFreeHost(host));
}

// With unified addresses kernels may use any page-locked memory; nobody is asked before. What the
// program wrote before counts too.
TEST_F(SharedMemory, AndInPageLockedMemoryThatWasNotAskedAbout) {
  void* host = nullptr;
  ASSERT_OK(cuMemHostAlloc(&host, kBytes, 0));
  takeTurns(static_cast<unsigned*>(host));
  EXPECT_OK(cuMemFreeHost(host));
}

#ifdef __SANITIZE_THREAD__  // which allows few addresses
void* const kFreeAddress = reinterpret_cast<void*>(0x60'0000'0000);
#else
void* const kFreeAddress = reinterpret_cast<void*>(0x4000'0000'0000);
#endif

TEST_F(SharedMemory, AndInRegisteredMemory) {
  for (const unsigned flags : {0u, static_cast<unsigned>(CU_MEMHOSTREGISTER_DEVICEMAP)}) {
    const size_t bytes = (kBytes + kPage - 1) / kPage * kPage;
    // Where nothing lies in the worker either, whose addresses are as random as ours.
    void* own = mmap(kFreeAddress, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ASSERT_EQ(own, kFreeAddress);
    auto* values = static_cast<unsigned*>(own);
    ASSERT_OK(cuMemHostRegister_v2(own, bytes, flags));
    takeTurns(values);
    launchAdd(values, kCount, 5);
    EXPECT_OK(cuMemHostUnregister(own));
    // Its own again, with what the device wrote last.
    EXPECT_EQ(wrong(values, kCount, [](unsigned i) { return i + 6005; }), 0u);
    values[0] = 1;
    munmap(own, bytes);
  }
}

// The pointer that the kernel follows comes in a copy, not as a parameter.
TEST_F(SharedMemory, AKernelFollowsAPointerToPageLockedMemory) {
  void* host = nullptr;
  ASSERT_OK(cuMemHostAlloc(&host, 100, 0));
  static_cast<unsigned*>(host)[3] = 1234;
  const uint64_t pointer = reinterpret_cast<uint64_t>(host) + 12;
  CUdeviceptr where = allocate(8), out = allocate(4);
  EXPECT_OK(cuMemcpyHtoD_v2(where, &pointer, sizeof(pointer)));
  void* params[] = {&where, &out};
  EXPECT_OK(cuLaunchKernel(chase_, 1, 1, 1, 1, 1, 1, 0, nullptr, params, nullptr));
  unsigned got = 0;
  EXPECT_OK(cuMemcpyDtoH_v2(&got, out, sizeof(got)));
  EXPECT_EQ(got, 1234u);
  EXPECT_OK(cuMemFreeHost(host));
}

TEST_F(SharedMemory, EveryKindOfWaitShowsWhatTheDeviceWrote) {
  unsigned* values = managed();
  CUstream stream = nullptr;
  CUevent event = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  ASSERT_OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  const auto all = [&](unsigned value) {
    return wrong(values, kCount, [value](unsigned) { return value; }) == 0;
  };
  launchAdd(values, kCount, 1, stream);
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_TRUE(all(1));
  launchAdd(values, kCount, 1, stream);
  EXPECT_OK(cuEventRecord(event, stream));
  EXPECT_OK(cuEventSynchronize(event));
  EXPECT_TRUE(all(2));
  launchAdd(values, kCount, 1, stream);
  while (cuStreamQuery(stream) == CUDA_ERROR_NOT_READY) std::this_thread::yield();
  EXPECT_TRUE(all(3));
  launchAdd(values, kCount, 1, stream);
  EXPECT_OK(cuEventRecord(event, stream));
  while (cuEventQuery(event) == CUDA_ERROR_NOT_READY) std::this_thread::yield();
  EXPECT_TRUE(all(4));
  launchAdd(values, kCount, 1);
  unsigned last = 0;
  EXPECT_OK(cuMemcpyDtoH_v2(&last, reinterpret_cast<CUdeviceptr>(values + kCount - 1), 4));
  EXPECT_EQ(last, 5u);
  EXPECT_TRUE(all(5));
  EXPECT_OK(cuEventDestroy_v2(event));
  EXPECT_OK(cuStreamDestroy_v2(stream));
  free(values);
}

// Both sides write, in the same pages, without a wait in between: nobody's bytes are lost.
TEST_F(SharedMemory, BothWriteDifferentBytesOfAPage) {
  void* host = nullptr;
  ASSERT_OK(cuMemHostAlloc(&host, kBytes, CU_MEMHOSTALLOC_DEVICEMAP));
  auto* values = static_cast<unsigned*>(host);
  const unsigned half = kCount / 2;  // not the end of a page
  for (unsigned round = 0; round < 5; ++round) {
    launchAdd(values, half, 1);
    for (unsigned i = half; i < kCount; ++i) values[i] = round + i;
    EXPECT_OK(cuCtxSynchronize());
    EXPECT_EQ(wrong(values, half, [&](unsigned) { return round + 1; }), 0u) << round;
    EXPECT_EQ(wrong(values + half, kCount - half, [&](unsigned i) { return round + half + i; }), 0u)
        << round;
  }
  EXPECT_OK(cuMemFreeHost(host));
}

TEST_F(SharedMemory, ManyThreadsWriteBetweenLaunches) {
  constexpr unsigned kThreads = 4;
  unsigned* values = managed();
  for (unsigned round = 1; round <= 5; ++round) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
      // Interleaved, so that all of them fault on the same pages.
      threads.emplace_back([=] {
        for (unsigned i = t; i < kCount; i += kThreads) values[i] += i;
      });
    }
    for (std::thread& thread : threads) thread.join();
    launchAdd(values, kCount, 1);
    EXPECT_OK(cuCtxSynchronize());
    EXPECT_EQ(wrong(values, kCount, [&](unsigned i) { return round * (i + 1); }), 0u) << round;
  }
  free(values);
}

TEST_F(SharedMemory, CopiesBetweenAllKindsOfMemory) {
  unsigned* values = managed();
  const auto address = reinterpret_cast<CUdeviceptr>(values);
  std::vector<unsigned> mine(kCount), back(kCount);
  for (unsigned i = 0; i < kCount; ++i) mine[i] = 3 * i;
  const CUdeviceptr device = allocate(kBytes);
  // To managed memory, and seen at once.
  EXPECT_OK(cuMemcpyHtoD_v2(address, mine.data(), kBytes));
  EXPECT_EQ(wrong(values, kCount, [](unsigned i) { return 3 * i; }), 0u);
  // From it, with what the program stored.
  values[17] = 99;
  EXPECT_OK(cuMemcpyDtoH_v2(back.data(), address, kBytes));
  EXPECT_EQ(back[17], 99u);
  // Managed memory as the host's side, both ways.
  values[18] = 77;
  EXPECT_OK(cuMemcpyHtoD_v2(device, values, kBytes));
  EXPECT_OK(cuMemcpyDtoH_v2(back.data(), device, kBytes));
  EXPECT_EQ(back[18], 77u);
  EXPECT_OK(cuMemsetD8_v2(device, 1, kBytes));
  EXPECT_OK(cuMemcpyDtoH_v2(values, device, kBytes));
  EXPECT_EQ(wrong(values, kCount, [](unsigned) { return 0x01010101u; }), 0u);
  // A memset of managed memory is over when it returns.
  EXPECT_OK(cuMemsetD32_v2(address, 5, kCount));
  EXPECT_EQ(wrong(values, kCount, [](unsigned) { return 5u; }), 0u);
  // Without a direction.
  EXPECT_OK(cuMemcpy(reinterpret_cast<CUdeviceptr>(mine.data()), address, kBytes));
  EXPECT_EQ(wrong(mine.data(), kCount, [](unsigned) { return 5u; }), 0u);
  // Asynchronous, there and back, in the order of the stream.
  for (unsigned i = 0; i < kCount; ++i) values[i] = i;
  EXPECT_OK(cuMemcpyHtoDAsync_v2(device, values, kBytes, nullptr));
  launchAdd(reinterpret_cast<void*>(device), kCount, 1);
  EXPECT_OK(cuMemcpyDtoHAsync_v2(values, device, kBytes, nullptr));
  EXPECT_OK(cuStreamSynchronize(nullptr));
  EXPECT_EQ(wrong(values, kCount, [](unsigned i) { return i + 1; }), 0u);
  EXPECT_OK(cuMemFree_v2(device));
  free(values);
}

// What cuMemcpyDtoH and HtoD call the host's side may be the device's: addresses are unified.
TEST_F(SharedMemory, ADeviceAddressOnTheHostsSideOfACopy) {
  const CUdeviceptr one = upload(pattern(5000, 1)), two = allocate(5000);
  EXPECT_OK(cuMemcpyDtoH_v2(reinterpret_cast<void*>(two), one, 5000));
  EXPECT_EQ(download(two, 5000), pattern(5000, 1));
  const CUdeviceptr three = upload(pattern(5000, 2));
  EXPECT_OK(cuMemcpyHtoD_v2(two, reinterpret_cast<void*>(three), 5000));
  EXPECT_EQ(download(two, 5000), pattern(5000, 2));
  EXPECT_OK(cuMemcpyDtoHAsync_v2(reinterpret_cast<void*>(two), one, 5000, nullptr));
  EXPECT_EQ(download(two, 5000), pattern(5000, 1));
}

TEST_F(SharedMemory, RowsOfManagedMemory) {
  unsigned* values = managed();
  for (unsigned i = 0; i < kCount; ++i) values[i] = i;
  const CUdeviceptr device = allocate(10 * 64);
  CUDA_MEMCPY2D rows{};
  rows.srcMemoryType = CU_MEMORYTYPE_HOST;
  rows.srcHost = values;
  rows.srcPitch = 4000;
  rows.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  rows.dstDevice = device;
  rows.dstPitch = 64;
  rows.WidthInBytes = 64;
  rows.Height = 10;
  EXPECT_OK(cuMemcpy2D_v2(&rows));
  std::vector<unsigned> got(160);
  EXPECT_OK(cuMemcpyDtoH_v2(got.data(), device, 640));
  EXPECT_EQ(wrong(got.data(), 160, [](unsigned i) { return i / 16 * 1000 + i % 16; }), 0u);
  free(values);
}

TEST_F(SharedMemory, ManagedVariables) {
  CUdeviceptr address = 0;
  size_t bytes = 0;
  ASSERT_OK(cuModuleGetGlobal_v2(&address, &bytes, module_, "counter"));
  EXPECT_EQ(bytes, sizeof(unsigned));
  auto* counter = reinterpret_cast<unsigned*>(address);
  EXPECT_EQ(*counter, 41u);
  for (unsigned round = 0; round < 3; ++round) {
    *counter = 10 * round;
    EXPECT_OK(cuLaunchKernel(count_, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
    EXPECT_OK(cuCtxSynchronize());
    EXPECT_EQ(*counter, 10 * round + 1);
  }
  EXPECT_CUDA(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(SharedMemory, ManagedVariablesOfALibrary) {
  CUlibrary library = nullptr;
  ASSERT_OK(cuLibraryLoadData(&library, kPtx, nullptr, nullptr, 0, nullptr, nullptr, 0));
  CUdeviceptr address = 0;
  size_t bytes = 0;
  EXPECT_CUDA(cuLibraryGetManaged(&address, &bytes, library, "none"), CUDA_ERROR_NOT_FOUND);
  ASSERT_OK(cuLibraryGetManaged(&address, &bytes, library, "counter"));
  auto* counter = reinterpret_cast<unsigned*>(address);
  EXPECT_EQ(*counter, 41u);
  *counter = 50;
  CUkernel kernel = nullptr;
  ASSERT_OK(cuLibraryGetKernel(&kernel, library, "count"));
  EXPECT_OK(cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, 1, 1, 1, 1, 1, 0, nullptr,
                           nullptr, nullptr));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(*counter, 51u);
  EXPECT_OK(cuLibraryUnload(library));
}

TEST_F(SharedMemory, FreedWhileDirtyAndUsedAgain) {
  for (unsigned round = 0; round < 20; ++round) {
    unsigned* values = managed();
    EXPECT_EQ(values[round * 100], 0u);
    for (unsigned i = 0; i < kCount; i += 100) values[i] = round + 1;
    if (round % 2 == 0) launchAdd(values, kCount, 1);
    for (unsigned i = 1; i < kCount; i += 100) values[i] = round + 1;
    free(values);
  }
  EXPECT_OK(cuCtxSynchronize());
}

TEST_F(SharedMemory, BadArguments) {
  CUdeviceptr address = 0;
  EXPECT_CUDA(cuMemAllocManaged(&address, 0, CU_MEM_ATTACH_GLOBAL), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocManaged(&address, 100, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocManaged(&address, 100, CU_MEM_ATTACH_SINGLE), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocManaged(nullptr, 100, CU_MEM_ATTACH_GLOBAL), CUDA_ERROR_INVALID_VALUE);
  int mine = 0;
  EXPECT_CUDA(cuMemHostGetDevicePointer_v2(&address, &mine, 0), CUDA_ERROR_INVALID_VALUE);
  unsigned* values = managed();
  EXPECT_CUDA(cuMemFree_v2(reinterpret_cast<CUdeviceptr>(values + 1)), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemFreeHost(values), CUDA_ERROR_INVALID_VALUE);
  free(values);
}

TEST_F(SharedMemory, PointerAttributes) {
  unsigned* values = managed();
  const auto address = reinterpret_cast<CUdeviceptr>(values + 10);
  unsigned is_managed = 0;
  CUdeviceptr device_pointer = 0;
  void* host_pointer = nullptr;
  size_t bytes = 0;
  EXPECT_OK(cuPointerGetAttribute(&is_managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, address));
  EXPECT_EQ(is_managed, 1u);
  EXPECT_OK(cuPointerGetAttribute(&device_pointer, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, address));
  EXPECT_EQ(device_pointer, address);
  EXPECT_OK(cuPointerGetAttribute(&host_pointer, CU_POINTER_ATTRIBUTE_HOST_POINTER, address));
  EXPECT_EQ(host_pointer, values + 10);
  EXPECT_OK(cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, address));
  EXPECT_EQ(bytes, kBytes);
  free(values);
}

TEST_F(SharedMemory, BatchesOfPrefetchesAndDiscards) {
  CUdeviceptr first = 0, second = 0;
  ASSERT_OK(cuMemAllocManaged(&first, 2 * kPage, CU_MEM_ATTACH_GLOBAL));
  ASSERT_OK(cuMemAllocManaged(&second, kPage, CU_MEM_ATTACH_GLOBAL));
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUdeviceptr addresses[] = {first, first + kPage, second};
  size_t sizes[] = {kPage, kPage, kPage};
  CUmemLocation places[] = {{CU_MEM_LOCATION_TYPE_DEVICE, device_}, {CU_MEM_LOCATION_TYPE_HOST, 0}};
  size_t begins[] = {0, 2};
  EXPECT_OK(cuMemPrefetchBatchAsync(addresses, sizes, 3, places, begins, 2, 0, stream));
  const auto lastPlace = [](CUdeviceptr address) {
    int type = 0;
    EXPECT_OK(cuMemRangeGetAttribute(
        &type, sizeof(type), CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE, address, kPage));
    return type;
  };
  EXPECT_EQ(lastPlace(first), CU_MEM_LOCATION_TYPE_DEVICE);
  EXPECT_EQ(lastPlace(first + kPage), CU_MEM_LOCATION_TYPE_DEVICE);
  EXPECT_EQ(lastPlace(second), CU_MEM_LOCATION_TYPE_HOST);
  EXPECT_OK(cuMemDiscardBatchAsync(addresses, sizes, 3, 0, stream));
  begins[1] = 1;
  EXPECT_OK(cuMemDiscardAndPrefetchBatchAsync(addresses, sizes, 3, places, begins, 2, 0, stream));
  EXPECT_EQ(lastPlace(first + kPage), CU_MEM_LOCATION_TYPE_HOST);
  EXPECT_OK(cuStreamSynchronize(stream));

  EXPECT_CUDA(cuMemPrefetchBatchAsync(addresses, sizes, 0, places, begins, 1, 0, stream),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPrefetchBatchAsync(addresses, sizes, 3, places, begins, 2, 1, stream),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPrefetchBatchAsync(addresses, sizes, 3, places, begins, 2, 0, nullptr),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemPrefetchBatchAsync(addresses, nullptr, 3, places, begins, 2, 0, stream),
              CUDA_ERROR_INVALID_VALUE);
  begins[1] = 3;
  EXPECT_CUDA(cuMemPrefetchBatchAsync(addresses, sizes, 3, places, begins, 2, 0, stream),
              CUDA_ERROR_INVALID_VALUE);
  begins[0] = 1;
  EXPECT_CUDA(cuMemPrefetchBatchAsync(addresses, sizes, 3, places, begins, 1, 0, stream),
              CUDA_ERROR_INVALID_VALUE);
  sizes[2] = 2 * kPage;
  EXPECT_CUDA(cuMemDiscardBatchAsync(addresses, sizes, 3, 0, stream), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemDiscardBatchAsync(nullptr, sizes, 3, 0, stream), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuStreamDestroy_v2(stream));
  EXPECT_OK(cuMemFree_v2(first));
  EXPECT_OK(cuMemFree_v2(second));
}

// Whether a kernel may use them is another matter: through gpud it may not (docs/adr/0013).
TEST_F(SharedMemory, PartsOfPagesAreRegisteredForCopies) {
  std::vector<unsigned char> in = pattern(1000, 6), out(1000);
  ASSERT_OK(cuMemHostRegister_v2(in.data(), in.size(), CU_MEMHOSTREGISTER_DEVICEMAP));
  ASSERT_OK(cuMemHostRegister_v2(out.data(), out.size(), 0));
  const CUdeviceptr memory = allocate(in.size());
  EXPECT_OK(cuMemcpyHtoDAsync_v2(memory, in.data(), in.size(), nullptr));
  EXPECT_OK(cuMemcpyDtoHAsync_v2(out.data(), memory, out.size(), nullptr));
  EXPECT_OK(cuStreamSynchronize(nullptr));
  EXPECT_EQ(out, in);
  EXPECT_CUDA(cuMemHostRegister_v2(in.data() + 10, 10, 0),
              CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  EXPECT_OK(cuMemHostUnregister(in.data()));
  EXPECT_OK(cuMemHostUnregister(out.data()));
  EXPECT_OK(cuMemFree_v2(memory));
}

TEST_F(SharedMemory, AdviceAndPrefetches) {
  unsigned* values = managed(8 * kPage);
  const auto address = reinterpret_cast<CUdeviceptr>(values);
  int value = -5;
  const auto ask = [&](CUmem_range_attribute attribute, size_t pages) {
    value = -5;
    EXPECT_OK(cuMemRangeGetAttribute(&value, sizeof(value), attribute, address, pages * kPage));
    return value;
  };
  EXPECT_EQ(ask(CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, 8), 0);
  EXPECT_EQ(ask(CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, 8), CU_DEVICE_INVALID);
  EXPECT_OK(cuMemAdvise(address, 4 * kPage, CU_MEM_ADVISE_SET_READ_MOSTLY, device_));
  EXPECT_EQ(ask(CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, 4), 1);
  EXPECT_EQ(ask(CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, 5), 0);
  EXPECT_OK(cuMemAdvise(address, 8 * kPage, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, CU_DEVICE_CPU));
  EXPECT_EQ(ask(CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, 8), CU_DEVICE_CPU);
  EXPECT_CUDA(cuMemAdvise(address, kPage, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, 77),
              CUDA_ERROR_INVALID_DEVICE);
  EXPECT_OK(cuMemPrefetchAsync(address, 8 * kPage, device_, nullptr));
  EXPECT_EQ(ask(CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION, 8), device_);
  EXPECT_CUDA(cuMemPrefetchAsync(address, 9 * kPage, device_, nullptr), CUDA_ERROR_INVALID_VALUE);
  values[5] = 1;
  launchAdd(values, 1024, 1);
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemPrefetchAsync(address, 8 * kPage, CU_DEVICE_CPU, nullptr));
  EXPECT_EQ(values[5], 2u);
  EXPECT_OK(cuStreamAttachMemAsync(nullptr, address, 0, CU_MEM_ATTACH_GLOBAL));
  free(values);
}

// The child has the memory by itself: what it sees is what the parent had, and what it writes
// stays with it.
TEST_F(SharedMemory, AForkedChildHasItsOwnCopy) {
  unsigned* values = managed();
  for (unsigned i = 0; i < kCount; ++i) values[i] = i;
  launchAdd(values, kCount, 1);
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(values[5], 6u);  // fetched, so that the child has it too
  const pid_t child = fork();
  if (child == 0) {
    if (values[5] != 6) _exit(1);
    values[5] = 1000;
    _exit(values[5] == 1000 && cuCtxSynchronize() == CUDA_ERROR_NOT_INITIALIZED ? 0 : 2);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(values[5], 6u);
  launchAdd(values, kCount, 1);
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(wrong(values, kCount, [](unsigned i) { return i + 2; }), 0u);
  free(values);
}

volatile sig_atomic_t faults = 0;
void* bad_page = nullptr;

// The program mends its own page and goes on.
void onFault(int, siginfo_t* info, void*) {
  faults = faults + 1;
  if (info->si_addr != bad_page) _exit(9);
  mprotect(bad_page, kPage, PROT_READ | PROT_WRITE);
}

TEST_F(SharedMemory, TheProgramsOwnHandlerGetsItsFaults) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer takes the place of sigaction itself.";
#endif
  unsigned* values = managed();
  bad_page = mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(bad_page, MAP_FAILED);
  faults = 0;
  struct sigaction mine {
  }, before{}, seen{};
  mine.sa_sigaction = onFault;
  mine.sa_flags = SA_SIGINFO;
  ASSERT_EQ(sigaction(SIGSEGV, &mine, &before), 0);
  launchAdd(values, kCount, 3);
  EXPECT_OK(cuCtxSynchronize());
  values[0] += 1;  // a fault of ours
  *static_cast<unsigned*>(bad_page) = 5;
  EXPECT_EQ(faults, 1);
  EXPECT_EQ(values[0], 4u);
  EXPECT_EQ(values[kCount - 1], 3u);
  ASSERT_EQ(sigaction(SIGSEGV, &before, &seen), 0);
  EXPECT_EQ(seen.sa_sigaction, &onFault);
  munmap(bad_page, kPage);
  free(values);
}

// A context takes its memory with it.
TEST_F(SharedMemory, EndsWithItsContext) {
  CUcontext other = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&other, 0, device_));
  unsigned* values = managed();
  void* host = nullptr;
  EXPECT_OK(cuMemHostAlloc(&host, kBytes, CU_MEMHOSTALLOC_DEVICEMAP));
  values[0] = 1;
  EXPECT_OK(cuCtxDestroy_v2(other));
  EXPECT_OK(cuCtxSetCurrent(context_));
  unsigned* again = managed();
  launchAdd(again, kCount, 2);
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(again[77], 2u);
  free(again);
}

}  // namespace
}  // namespace farwarp::conformance
