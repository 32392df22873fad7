// Goal: kernels of one device use another's memory when they may, and only then; the calls that say
// so give CUDA's errors. Method: a kernel that copies four bytes from one address to another,
// between the two devices that there are, in every state of access.
#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr const char* kCopyKernel = R"(
.version 8.0
.target sm_80
.address_size 64
.visible .entry copy(.param .u64 to, .param .u64 from) {
  .reg .u64 %t, %f; .reg .u32 %v;
  ld.param.u64 %t, [to]; ld.param.u64 %f, [from];
  ld.global.u32 %v, [%f]; st.global.u32 [%t], %v; ret; })";

class PeerAccess : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuModuleLoadData(&module_, kCopyKernel));
    ASSERT_OK(cuModuleGetFunction(&copy_, module_, "copy"));
    ASSERT_OK(cuCtxCreate_v2(&other_, 0, 1));
    value_ = 0;
    ASSERT_OK(cuMemAlloc_v2(&value_, 4));
    ASSERT_OK(cuMemsetD32_v2(value_, 42, 1));
    ASSERT_OK(cuCtxSynchronize());
    ASSERT_OK(cuCtxSetCurrent(context_));
    own_ = allocate(4);
  }
  void TearDown() override {
    EXPECT_OK(cuCtxDestroy_v2(other_));
    EXPECT_OK(cuCtxSetCurrent(context_));
    ConformanceTest::TearDown();
  }
  // What the kernel's end is when it reads `from`.
  CUresult read(CUdeviceptr from) {
    void* parameters[] = {&own_, &from};
    const CUresult launched =
        cuLaunchKernel(copy_, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr);
    return launched == CUDA_SUCCESS ? cuCtxSynchronize() : launched;
  }

  CUmodule module_ = nullptr;
  CUfunction copy_ = nullptr;
  CUcontext other_ = nullptr;  // on device 1
  CUdeviceptr value_ = 0;      // there
  CUdeviceptr own_ = 0;
};

TEST_F(PeerAccess, IsPossibleBetweenTheDevices) {
  int can = -1;
  EXPECT_OK(cuDeviceCanAccessPeer(&can, 0, 1));
  EXPECT_EQ(can, 1);
  EXPECT_OK(cuDeviceCanAccessPeer(&can, 1, 0));
  EXPECT_EQ(can, 1);
  EXPECT_OK(cuDeviceCanAccessPeer(&can, 0, 0));
  EXPECT_EQ(can, 0);
  EXPECT_CUDA(cuDeviceCanAccessPeer(&can, 0, 2), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_CUDA(cuDeviceCanAccessPeer(nullptr, 0, 1), CUDA_ERROR_INVALID_VALUE);
  int value = -1;
  EXPECT_OK(cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 1));
  EXPECT_EQ(value, 1);
  EXPECT_OK(
      cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED, 0, 1));
  EXPECT_CUDA(cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 0),
              CUDA_ERROR_INVALID_DEVICE);
  EXPECT_CUDA(cuDeviceGetP2PAttribute(&value, static_cast<CUdevice_P2PAttribute>(77), 0, 1),
              CUDA_ERROR_INVALID_VALUE);
  const CUatomicOperation operations[] = {CU_ATOMIC_OPERATION_CAS, CU_ATOMIC_OPERATION_INTEGER_ADD};
  unsigned capabilities[2] = {};
  EXPECT_OK(cuDeviceGetP2PAtomicCapabilities(capabilities, operations, 2, 0, 1));
  EXPECT_NE(capabilities[1] & CU_ATOMIC_CAPABILITY_REDUCTION, 0u);
  EXPECT_EQ(capabilities[0] & CU_ATOMIC_CAPABILITY_REDUCTION, 0u);
  EXPECT_CUDA(cuDeviceGetP2PAtomicCapabilities(capabilities, operations, 2, 1, 1),
              CUDA_ERROR_INVALID_DEVICE);
  EXPECT_CUDA(cuDeviceGetP2PAtomicCapabilities(capabilities, operations, 0, 0, 1),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuDeviceGetHostAtomicCapabilities(capabilities, operations, 2, 0));
  EXPECT_EQ(capabilities[0], 0u) << "the program's memory is not the device's";
  EXPECT_CUDA(cuDeviceGetHostAtomicCapabilities(capabilities, nullptr, 2, 0),
              CUDA_ERROR_INVALID_VALUE);
}

TEST_F(PeerAccess, IsNotThereUntilItIsEnabled) {
  EXPECT_CUDA(read(value_), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_F(PeerAccess, LetsKernelsReadAndWrite) {
  EXPECT_OK(cuCtxEnablePeerAccess(other_, 0));
  EXPECT_OK(read(value_));
  unsigned seen = 0;
  EXPECT_OK(cuMemcpyDtoH_v2(&seen, own_, 4));
  EXPECT_EQ(seen, 42u);
  // What is allocated later is seen too, and may be written.
  EXPECT_OK(cuCtxSetCurrent(other_));
  CUdeviceptr later = allocate(4);
  EXPECT_OK(cuCtxSetCurrent(context_));
  EXPECT_OK(cuMemsetD32_v2(own_, 77, 1));
  void* parameters[] = {&later, &own_};
  EXPECT_OK(cuLaunchKernel(copy_, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemcpyDtoH_v2(&seen, later, 4));
  EXPECT_EQ(seen, 77u);
  EXPECT_OK(cuCtxDisablePeerAccess(other_));
  EXPECT_CUDA(read(value_), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_F(PeerAccess, GoesOneWay) {
  EXPECT_OK(cuCtxSetCurrent(other_));
  EXPECT_OK(cuCtxEnablePeerAccess(context_, 0));
  EXPECT_OK(cuCtxSetCurrent(context_));
  EXPECT_CUDA(read(value_), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_F(PeerAccess, HasCudasErrors) {
  EXPECT_CUDA(cuCtxDisablePeerAccess(other_), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
  EXPECT_CUDA(cuCtxEnablePeerAccess(other_, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCtxEnablePeerAccess(context_, 0), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuCtxEnablePeerAccess(nullptr, 0), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_OK(cuCtxEnablePeerAccess(other_, 0));
  EXPECT_CUDA(cuCtxEnablePeerAccess(other_, 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
  EXPECT_OK(cuCtxDisablePeerAccess(other_));
  EXPECT_CUDA(cuCtxDisablePeerAccess(other_), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
  CUcontext same_device = nullptr;
  EXPECT_OK(cuCtxCreate_v2(&same_device, 0, 0));
  EXPECT_OK(cuCtxSetCurrent(context_));
  EXPECT_CUDA(cuCtxEnablePeerAccess(same_device, 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
  EXPECT_OK(cuCtxDestroy_v2(same_device));
  EXPECT_CUDA(cuCtxEnablePeerAccess(same_device, 0), CUDA_ERROR_INVALID_CONTEXT);
}

TEST_F(PeerAccess, EndsWithThePeer) {
  EXPECT_OK(cuCtxEnablePeerAccess(other_, 0));
  EXPECT_OK(cuCtxDestroy_v2(other_));
  ASSERT_OK(cuCtxCreate_v2(&other_, 0, 1));
  const CUdeviceptr value = allocate(4);
  EXPECT_OK(cuCtxSetCurrent(context_));
  EXPECT_CUDA(read(value), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_F(PeerAccess, IsNotNeededForCopies) {
  unsigned seen = 0;
  EXPECT_OK(cuMemcpyPeer(own_, context_, value_, other_, 4));
  EXPECT_OK(cuMemcpyDtoH_v2(&seen, own_, 4));
  EXPECT_EQ(seen, 42u);
  EXPECT_OK(cuMemsetD32_v2(own_, 5, 1));
  EXPECT_OK(cuMemcpyPeerAsync(value_, other_, own_, context_, 4, nullptr));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemcpyDtoH_v2(&seen, value_, 4));
  EXPECT_EQ(seen, 5u);
}

// Memory of a pool is seen by the pool's own rules.
TEST_F(PeerAccess, OfAPoolIsGivenByThePool) {
  CUmemPoolProps properties{};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 1};
  CUmemoryPool pool = nullptr;
  ASSERT_OK(cuMemPoolCreate(&pool, &properties));
  EXPECT_OK(cuCtxSetCurrent(other_));
  CUdeviceptr pooled = 0;
  EXPECT_OK(cuMemAllocFromPoolAsync(&pooled, 4, pool, nullptr));
  EXPECT_OK(cuMemsetD32_v2(pooled, 6, 1));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuCtxSetCurrent(context_));
  CUmemAccessDesc access{{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  EXPECT_OK(cuMemPoolSetAccess(pool, &access, 1));
  CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  EXPECT_OK(cuMemPoolGetAccess(&flags, pool, &access.location));
  EXPECT_EQ(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  EXPECT_OK(read(pooled));
  unsigned seen = 0;
  EXPECT_OK(cuMemcpyDtoH_v2(&seen, own_, 4));
  EXPECT_EQ(seen, 6u);
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  EXPECT_OK(cuMemPoolSetAccess(pool, &access, 1));
  EXPECT_OK(cuCtxEnablePeerAccess(other_, 0));
  EXPECT_CUDA(read(pooled), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_OK(cuCtxSetCurrent(other_));
  EXPECT_OK(cuMemFree_v2(pooled));
  EXPECT_OK(cuMemPoolDestroy(pool));
}

// Mapped memory is seen by the devices that it was opened to.
TEST_F(PeerAccess, OfMappedMemoryIsGivenWithIt) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 1};
  size_t grain = 0;
  ASSERT_OK(cuMemGetAllocationGranularity(&grain, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
  CUmemGenericAllocationHandle handle = 0;
  CUdeviceptr address = 0;
  ASSERT_OK(cuMemCreate(&handle, grain, &properties, 0));
  ASSERT_OK(cuMemAddressReserve(&address, grain, 0, 0, 0));
  ASSERT_OK(cuMemMap(address, grain, 0, handle, 0));
  CUmemAccessDesc access[] = {
      {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE},
      {{CU_MEM_LOCATION_TYPE_DEVICE, 1}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE}};
  EXPECT_OK(cuMemSetAccess(address, grain, access, 2));
  EXPECT_OK(cuMemsetD32_v2(address, 8, 1));
  EXPECT_OK(read(address));
  unsigned seen = 0;
  EXPECT_OK(cuMemcpyDtoH_v2(&seen, own_, 4));
  EXPECT_EQ(seen, 8u);
  access[0].flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  EXPECT_OK(cuMemSetAccess(address, grain, access, 1));
  unsigned long long flags = 0;
  EXPECT_OK(cuMemGetAccess(&flags, &access[0].location, address));
  EXPECT_EQ(flags, static_cast<unsigned>(CU_MEM_ACCESS_FLAGS_PROT_NONE));
  EXPECT_OK(cuMemGetAccess(&flags, &access[1].location, address));
  EXPECT_EQ(flags, static_cast<unsigned>(CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
  EXPECT_CUDA(read(address), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_OK(cuMemRelease(handle));
  EXPECT_OK(cuMemUnmap(address, grain));
  EXPECT_OK(cuMemAddressFree(address, grain));
}

}  // namespace
}  // namespace farwarp::conformance
