// Goal: physical memory, addresses, and what lies where behave as CUDA documents: contents,
// aliases, rights, the life of handles, the errors of wrong arguments, and memory that goes to
// another process as a file descriptor. Method: the driver API, copies and a kernel; a child
// process for what takes two.
#include "tests/conformance/child_process.h"
#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

using Handle = CUmemGenericAllocationHandle;

constexpr const char* kFillKernel = R"(
.version 8.0
.target sm_80
.address_size 64
.visible .entry fill(.param .u64 p, .param .u32 v) {
  .reg .u64 %p; .reg .u32 %v, %i, %b, %n;
  ld.param.u64 %p, [p]; ld.param.u32 %v, [v];
  mov.u32 %i, %tid.x; mov.u32 %b, %ctaid.x; mov.u32 %n, %ntid.x; mad.lo.u32 %i, %b, %n, %i;
  mad.wide.u32 %p, %i, 4, %p; add.u32 %v, %v, %i;
  st.global.u32 [%p], %v; ret; })";

class VirtualMemory : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    properties_ = propertiesOf(device_);
    ASSERT_OK(
        cuMemGetAllocationGranularity(&grain_, &properties_, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    ASSERT_NE(grain_, 0u);
  }
  static CUmemAllocationProp propertiesOf(CUdevice device) {
    CUmemAllocationProp properties{};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
    return properties;
  }
  CUmemAccessDesc access(CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
    return {{CU_MEM_LOCATION_TYPE_DEVICE, device_}, flags};
  }
  CUdeviceptr reserve(size_t grains) {
    CUdeviceptr address = 0;
    EXPECT_OK(cuMemAddressReserve(&address, grains * grain_, 0, 0, 0));
    return address;
  }
  Handle create(size_t grains) {
    Handle handle = 0;
    EXPECT_OK(cuMemCreate(&handle, grains * grain_, &properties_, 0));
    return handle;
  }
  void open(CUdeviceptr address, size_t grains) {
    const CUmemAccessDesc wanted = access();
    EXPECT_OK(cuMemSetAccess(address, grains * grain_, &wanted, 1));
  }
  // Everything that was there, once more.
  void unmapAndFree(CUdeviceptr address, size_t grains) {
    EXPECT_OK(cuMemUnmap(address, grains * grain_));
    EXPECT_OK(cuMemAddressFree(address, grains * grain_));
  }
  size_t freeBytes() {
    size_t free = 0, total = 0;
    EXPECT_OK(cuMemGetInfo_v2(&free, &total));
    return free;
  }

  CUmemAllocationProp properties_{};
  size_t grain_ = 0;
};

TEST_F(VirtualMemory, HoldsWhatCopiesAndKernelsWrite) {
  int supported = 0;
  EXPECT_OK(cuDeviceGetAttribute(&supported,
                                 CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device_));
  EXPECT_EQ(supported, 1);
  const CUdeviceptr address = reserve(1);
  EXPECT_EQ(address % grain_, 0u);
  const Handle handle = create(1);
  EXPECT_OK(cuMemMap(address, grain_, 0, handle, 0));
  open(address, 1);
  EXPECT_EQ(download(address, grain_), std::vector<unsigned char>(grain_)) << "is zero at first";
  const auto bytes = pattern(grain_, 7);
  EXPECT_OK(cuMemcpyHtoD_v2(address, bytes.data(), grain_));
  EXPECT_EQ(download(address, grain_), bytes);
  CUmodule module = nullptr;
  CUfunction fill = nullptr;
  ASSERT_OK(cuModuleLoadData(&module, kFillKernel));
  ASSERT_OK(cuModuleGetFunction(&fill, module, "fill"));
  CUdeviceptr from = address;
  unsigned value = 1000;
  void* parameters[] = {&from, &value};
  EXPECT_OK(cuLaunchKernel(fill, static_cast<unsigned>(grain_ / 4 / 256), 1, 1, 256, 1, 1, 0,
                           nullptr, parameters, nullptr));
  unsigned last = 0;
  EXPECT_OK(cuMemcpyDtoH_v2(&last, address + grain_ - 4, 4));
  EXPECT_EQ(last, 1000 + grain_ / 4 - 1);
  EXPECT_OK(cuMemsetD8_v2(address, 9, grain_));
  EXPECT_EQ(download(address, 3), std::vector<unsigned char>(3, 9));
  EXPECT_OK(cuMemRelease(handle));
  unmapAndFree(address, 1);
}

TEST_F(VirtualMemory, IsOneRangeWhereMappingsLieSideBySide) {
  const CUdeviceptr address = reserve(4);
  for (size_t i = 0; i < 3; ++i) {
    const Handle handle = create(1);
    EXPECT_OK(cuMemMap(address + i * grain_, grain_, 0, handle, 0));
    EXPECT_OK(cuMemRelease(handle));
  }
  open(address, 3);
  const auto bytes = pattern(3 * grain_, 3);
  EXPECT_OK(cuMemcpyHtoD_v2(address, bytes.data(), bytes.size()));
  EXPECT_EQ(download(address, bytes.size()), bytes);
  EXPECT_OK(cuMemsetD32_v2(address + grain_ - 8, 0, 4));
  EXPECT_EQ(download(address + grain_ - 8, 16), std::vector<unsigned char>(16));
  EXPECT_CUDA(cuMemsetD8_v2(address + 3 * grain_ - 1, 0, 2), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr base = 0;
  size_t size = 0;
  EXPECT_OK(cuMemGetAddressRange_v2(&base, &size, address + grain_ + 5));
  EXPECT_EQ(base, address + grain_);
  EXPECT_EQ(size, grain_);
  EXPECT_CUDA(cuMemGetAddressRange_v2(&base, &size, address + 3 * grain_), CUDA_ERROR_NOT_FOUND);
  EXPECT_CUDA(cuMemUnmap(address, grain_ / 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemUnmap(address, 4 * grain_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemUnmap(address, 2 * grain_));
  EXPECT_CUDA(cuMemAddressFree(address, 4 * grain_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemUnmap(address + 2 * grain_, grain_));
  EXPECT_OK(cuMemAddressFree(address, 4 * grain_));
}

TEST_F(VirtualMemory, IsTheSameAtTwoAddresses) {
  const CUdeviceptr first = reserve(1), second = reserve(1);
  const Handle handle = create(1);
  EXPECT_OK(cuMemMap(first, grain_, 0, handle, 0));
  EXPECT_OK(cuMemMap(second, grain_, 0, handle, 0));
  open(first, 1);
  open(second, 1);
  EXPECT_OK(cuMemsetD8_v2(first + 100, 0x5a, 10));
  EXPECT_EQ(download(second + 100, 10), std::vector<unsigned char>(10, 0x5a));
  EXPECT_OK(cuMemRelease(handle));
  unmapAndFree(first, 1);
  EXPECT_EQ(download(second + 100, 10), std::vector<unsigned char>(10, 0x5a));
  unmapAndFree(second, 1);
}

TEST_F(VirtualMemory, MayBeUsedWhereAccessWasGiven) {
  const CUdeviceptr address = reserve(2);
  const Handle handle = create(1);
  EXPECT_OK(cuMemMap(address, grain_, 0, handle, 0));
  unsigned long long flags = 99;
  CUmemLocation here{CU_MEM_LOCATION_TYPE_DEVICE, device_};
  EXPECT_OK(cuMemGetAccess(&flags, &here, address + 5));
  EXPECT_EQ(flags, static_cast<unsigned>(CU_MEM_ACCESS_FLAGS_PROT_NONE));
  char byte = 0;
  EXPECT_CUDA(cuMemcpyDtoH_v2(&byte, address, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD8_v2(address, 1, 1), CUDA_ERROR_INVALID_VALUE);
  open(address, 1);
  EXPECT_OK(cuMemGetAccess(&flags, &here, address));
  EXPECT_EQ(flags, static_cast<unsigned>(CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
  EXPECT_OK(cuMemsetD8_v2(address, 1, 1));
  CUmemAccessDesc none = access(CU_MEM_ACCESS_FLAGS_PROT_NONE);
  EXPECT_OK(cuMemSetAccess(address, grain_, &none, 1));
  EXPECT_CUDA(cuMemcpyDtoH_v2(&byte, address, 1), CUDA_ERROR_INVALID_VALUE);
  open(address, 1);
  EXPECT_OK(cuMemcpyDtoH_v2(&byte, address, 1));
  EXPECT_EQ(byte, 1);
  EXPECT_OK(cuMemRelease(handle));
  EXPECT_OK(cuMemUnmap(address, grain_));
  EXPECT_CUDA(cuMemcpyDtoH_v2(&byte, address, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemGetAccess(&flags, &here, address), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemAddressFree(address, 2 * grain_));
}

TEST_F(VirtualMemory, StopsKernelsWithoutAccess) {
  CUcontext context = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&context, 0, device_));
  CUmodule module = nullptr;
  CUfunction fill = nullptr;
  ASSERT_OK(cuModuleLoadData(&module, kFillKernel));
  ASSERT_OK(cuModuleGetFunction(&fill, module, "fill"));
  CUdeviceptr address = reserve(1);
  const Handle handle = create(1);
  EXPECT_OK(cuMemMap(address, grain_, 0, handle, 0));
  EXPECT_OK(cuMemRelease(handle));
  unsigned value = 1;
  void* parameters[] = {&address, &value};
  EXPECT_OK(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_OK(cuCtxDestroy_v2(context));
  unmapAndFree(address, 1);
}

TEST_F(VirtualMemory, LivesAsLongAsAHandleOrAMapping) {
  const size_t before = freeBytes();
  const CUdeviceptr address = reserve(1);
  const Handle handle = create(1);
  EXPECT_EQ(freeBytes(), before - grain_);
  EXPECT_OK(cuMemMap(address, grain_, 0, handle, 0));
  EXPECT_OK(cuMemRelease(handle));
  EXPECT_CUDA(cuMemRelease(handle), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemMap(address, grain_, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(freeBytes(), before - grain_);
  Handle again = 0;
  EXPECT_OK(cuMemRetainAllocationHandle(&again, reinterpret_cast<void*>(address + 1)));
  EXPECT_EQ(again, handle);
  CUmemAllocationProp properties{};
  EXPECT_OK(cuMemGetAllocationPropertiesFromHandle(&properties, again));
  EXPECT_EQ(properties.type, CU_MEM_ALLOCATION_TYPE_PINNED);
  EXPECT_EQ(properties.location.type, CU_MEM_LOCATION_TYPE_DEVICE);
  EXPECT_EQ(properties.location.id, device_);
  EXPECT_OK(cuMemUnmap(address, grain_));
  EXPECT_CUDA(cuMemRetainAllocationHandle(&again, reinterpret_cast<void*>(address)),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(freeBytes(), before - grain_);
  EXPECT_OK(cuMemMap(address, grain_, 0, handle, 0));
  EXPECT_OK(cuMemUnmap(address, grain_));
  EXPECT_OK(cuMemRelease(handle));
  EXPECT_EQ(freeBytes(), before);
  EXPECT_OK(cuMemAddressFree(address, grain_));
}

TEST_F(VirtualMemory, RunsOutAtTheCall) {
  size_t free = 0, total = 0;
  EXPECT_OK(cuMemGetInfo_v2(&free, &total));
  Handle handle = 0;
  EXPECT_CUDA(cuMemCreate(&handle, (total / grain_ + 1) * grain_, &properties_, 0),
              CUDA_ERROR_OUT_OF_MEMORY);
  CUdeviceptr address = 0;
  EXPECT_CUDA(cuMemAddressReserve(&address, size_t{1} << 60, 0, 0, 0), CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_F(VirtualMemory, TellsWhatAnAddressIs) {
  const CUdeviceptr address = reserve(2);
  const Handle handle = create(1);
  EXPECT_OK(cuMemMap(address + grain_, grain_, 0, handle, 0));
  open(address + grain_, 1);
  const CUdeviceptr inside = address + grain_ + 12;
  unsigned type = 0;
  EXPECT_OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, inside));
  EXPECT_EQ(type, static_cast<unsigned>(CU_MEMORYTYPE_DEVICE));
  CUcontext context = context_;
  EXPECT_OK(cuPointerGetAttribute(&context, CU_POINTER_ATTRIBUTE_CONTEXT, inside));
  EXPECT_EQ(context, nullptr) << "it belongs to none";
  int device = -1;
  EXPECT_OK(cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, inside));
  EXPECT_EQ(device, device_);
  CUdeviceptr base = 0;
  EXPECT_OK(cuPointerGetAttribute(&base, CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR, inside));
  EXPECT_EQ(base, address + grain_);
  size_t size = 0;
  EXPECT_OK(cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_MAPPING_SIZE, inside));
  EXPECT_EQ(size, grain_);
  unsigned mapped = 0;
  EXPECT_OK(cuPointerGetAttribute(&mapped, CU_POINTER_ATTRIBUTE_MAPPED, inside));
  EXPECT_EQ(mapped, 1u);
  EXPECT_CUDA(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemFree_v2(address + grain_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemFreeAsync(address + grain_, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemRelease(handle));
  EXPECT_OK(cuMemUnmap(address + grain_, grain_));
  EXPECT_OK(cuMemAddressFree(address, 2 * grain_));
}

TEST_F(VirtualMemory, RefusesWhatCudaRefuses) {
  CUdeviceptr address = 0;
  EXPECT_CUDA(cuMemAddressReserve(nullptr, grain_, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAddressReserve(&address, 0, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAddressReserve(&address, grain_ + 1, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAddressReserve(&address, grain_, 3, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAddressReserve(&address, grain_, 0, 0, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAddressFree(0x1000, grain_), CUDA_ERROR_INVALID_VALUE);
  Handle handle = 0;
  EXPECT_CUDA(cuMemCreate(nullptr, grain_, &properties_, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemCreate(&handle, grain_, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemCreate(&handle, 0, &properties_, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemCreate(&handle, grain_ / 2, &properties_, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemCreate(&handle, grain_, &properties_, 1), CUDA_ERROR_INVALID_VALUE);
  CUmemAllocationProp wrong = propertiesOf(77);
  EXPECT_CUDA(cuMemCreate(&handle, grain_, &wrong, 0), CUDA_ERROR_INVALID_DEVICE);
  wrong = properties_;
  wrong.type = CU_MEM_ALLOCATION_TYPE_INVALID;
  EXPECT_CUDA(cuMemCreate(&handle, grain_, &wrong, 0), CUDA_ERROR_INVALID_VALUE);
  wrong = properties_;
  wrong.requestedHandleTypes = CU_MEM_HANDLE_TYPE_FABRIC;
  EXPECT_CUDA(cuMemCreate(&handle, grain_, &wrong, 0), CUDA_ERROR_NOT_SUPPORTED);
  wrong = properties_;
  wrong.location = {CU_MEM_LOCATION_TYPE_HOST, 0};
  EXPECT_CUDA(cuMemCreate(&handle, grain_, &wrong, 0), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_CUDA(cuMemRelease(12345), CUDA_ERROR_INVALID_VALUE);
  size_t grain = 0;
  EXPECT_CUDA(
      cuMemGetAllocationGranularity(nullptr, &properties_, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
      CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(
      cuMemGetAllocationGranularity(&grain, &properties_, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
  EXPECT_EQ(grain % grain_, 0u);

  address = reserve(2);
  handle = create(1);
  EXPECT_CUDA(cuMemMap(address, grain_, 0, 12345, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemMap(address, grain_, 0, handle, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemMap(address, grain_, grain_, handle, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemMap(address, 2 * grain_, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemMap(address + 4096, grain_, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemMap(address + 2 * grain_, grain_, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemMap(address, grain_, 0, handle, 0));
  EXPECT_CUDA(cuMemMap(address, grain_, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  CUmemAccessDesc wanted = access();
  EXPECT_CUDA(cuMemSetAccess(address, grain_, nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemSetAccess(address, grain_, &wanted, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemSetAccess(address, 2 * grain_, &wanted, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemSetAccess(address + grain_, grain_, &wanted, 1), CUDA_ERROR_INVALID_VALUE);
  wanted.location.id = 77;
  EXPECT_CUDA(cuMemSetAccess(address, grain_, &wanted, 1), CUDA_ERROR_INVALID_DEVICE);
  int file = -1;
  EXPECT_CUDA(
      cuMemExportToShareableHandle(&file, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
      CUDA_ERROR_INVALID_VALUE)
      << "it was not asked for";
  EXPECT_OK(cuMemRelease(handle));
  EXPECT_OK(cuMemUnmap(address, grain_));
  EXPECT_OK(cuMemAddressFree(address, 2 * grain_));
  EXPECT_CUDA(cuMemAddressFree(address, 2 * grain_), CUDA_ERROR_INVALID_VALUE);
}

class SharedVirtualMemory : public VirtualMemory {
 protected:
  void SetUp() override {
    VirtualMemory::SetUp();
    properties_.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  }
  static CUresult import(Handle* handle, int file) {
    return cuMemImportFromShareableHandle(handle, reinterpret_cast<void*>(intptr_t{file}),
                                          CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  }
  CUdeviceptr mapWhole(Handle handle) {
    const CUdeviceptr address = reserve(1);
    EXPECT_OK(cuMemMap(address, grain_, 0, handle, 0));
    open(address, 1);
    return address;
  }
};

TEST_F(SharedVirtualMemory, ComesBackThroughItsDescriptor) {
  const Handle handle = create(1);
  int file = -1;
  EXPECT_OK(
      cuMemExportToShareableHandle(&file, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  ASSERT_GE(file, 0);
  Handle imported = 0;
  EXPECT_OK(import(&imported, file));
  CUmemAllocationProp properties{};
  EXPECT_OK(cuMemGetAllocationPropertiesFromHandle(&properties, imported));
  EXPECT_EQ(properties.location.id, device_);
  EXPECT_EQ(properties.requestedHandleTypes, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  const CUdeviceptr first = mapWhole(handle), second = mapWhole(imported);
  EXPECT_OK(cuMemsetD8_v2(first, 0x33, grain_));
  EXPECT_EQ(download(second + grain_ - 4, 4), std::vector<unsigned char>(4, 0x33));
  unsigned long long types = 0;
  EXPECT_OK(cuPointerGetAttribute(&types, CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES, second));
  EXPECT_EQ(types, static_cast<unsigned>(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
  EXPECT_OK(cuMemRelease(imported));
  EXPECT_OK(cuMemRelease(handle));
  unmapAndFree(first, 1);
  unmapAndFree(second, 1);
  close(file);
}

TEST_F(SharedVirtualMemory, IsNotImportedFromOtherFiles) {
  Handle handle = 0;
  EXPECT_CUDA(import(&handle, -1), CUDA_ERROR_INVALID_VALUE);
  const int file = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_CUDA(import(&handle, file), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemImportFromShareableHandle(&handle, reinterpret_cast<void*>(intptr_t{file}),
                                             CU_MEM_HANDLE_TYPE_NONE),
              CUDA_ERROR_INVALID_VALUE);
  close(file);
}

class VirtualMemoryChild : public SharedVirtualMemory {};

// Reads what the parent wrote, tells so, and writes an answer.
TEST_F(VirtualMemoryChild, SeesTheParentsMemory) {
  if (!isChild()) GTEST_SKIP() << "Started by the next test only.";
  Handle handle = 0;
  ASSERT_OK(import(&handle, kGivenFd));
  const CUdeviceptr address = mapWhole(handle);
  EXPECT_EQ(download(address, grain_), pattern(grain_, 11));
  const auto answer = pattern(grain_, 12);
  EXPECT_OK(cuMemcpyHtoD_v2(address, answer.data(), grain_));
  EXPECT_OK(cuMemRelease(handle));
  unmapAndFree(address, 1);
}

TEST_F(SharedVirtualMemory, IsSeenByAnotherProcess) {
  const Handle handle = create(1);
  int file = -1;
  ASSERT_OK(
      cuMemExportToShareableHandle(&file, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  const CUdeviceptr address = mapWhole(handle);
  const auto bytes = pattern(grain_, 11);
  EXPECT_OK(cuMemcpyHtoD_v2(address, bytes.data(), grain_));
  EXPECT_OK(cuCtxSynchronize());
  Child child("VirtualMemoryChild.*", file);
  EXPECT_TRUE(child.passed());
  EXPECT_EQ(download(address, grain_), pattern(grain_, 12));
  EXPECT_OK(cuMemRelease(handle));
  unmapAndFree(address, 1);
  close(file);
}

}  // namespace
}  // namespace farwarp::conformance
