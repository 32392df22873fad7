// Goal: cuGetProcAddress gives the symbol whose binary interface the caller was built against.
// Method: the cases in which the answer is not the newest symbol, which cudart 13.0 asks for;
// names, versions and flags at their edges; and for every symbol that it is found at the version
// that introduced it.
#include "proc_address_gen.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace farwarp {
namespace {

constexpr cuuint64_t kPlain = CU_GET_PROC_ADDRESS_DEFAULT;
constexpr cuuint64_t kPerThread = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;

std::string find(const char* base, int version, cuuint64_t flags = kPlain) {
  const int index = findProcAddress(base, version, flags, nullptr);
  return index < 0 ? "" : kDriverSymbolNames[index];
}

TEST(ProcAddress, GivesTheNewestFormThatTheVersionHad) {
  EXPECT_EQ(find("cuMemAlloc", 13000), "cuMemAlloc_v2");
  EXPECT_EQ(find("cuMemAlloc", 3020), "cuMemAlloc_v2");
  EXPECT_EQ(find("cuMemAlloc", 3010), "cuMemAlloc");
  EXPECT_EQ(find("cuDeviceGetUuid", 9020), "cuDeviceGetUuid");
  EXPECT_EQ(find("cuDeviceGetUuid", 11040), "cuDeviceGetUuid_v2");
  EXPECT_EQ(find("cuDevicePrimaryCtxRelease", 7000), "cuDevicePrimaryCtxRelease");
  EXPECT_EQ(find("cuCtxCreate", 3020), "cuCtxCreate_v2");
  EXPECT_EQ(find("cuCtxCreate", 13000), "cuCtxCreate_v4");
  EXPECT_EQ(find("cuCtxGetDevice", 2000), "cuCtxGetDevice");
  EXPECT_EQ(find("cuCtxGetDevice", 13000), "cuCtxGetDevice_v2");
  EXPECT_EQ(find("cuEventElapsedTime", 12080), "cuEventElapsedTime_v2");
  EXPECT_EQ(find("cuStreamGetCaptureInfo", 11030), "cuStreamGetCaptureInfo_v2");
  EXPECT_EQ(find("cuGetProcAddress", 11030), "cuGetProcAddress");
  EXPECT_EQ(find("cuGetProcAddress", 12000), "cuGetProcAddress_v2");
  EXPECT_EQ(find("cuMemcpyBatchAsync", 12080), "cuMemcpyBatchAsync");
  EXPECT_EQ(find("cuMemcpyBatchAsync", 13000), "cuMemcpyBatchAsync_v2");
}

TEST(ProcAddress, PrefersThePerThreadFormWhenAskedTo) {
  EXPECT_EQ(find("cuMemcpyHtoD", 13000, kPerThread), "cuMemcpyHtoD_v2_ptds");
  EXPECT_EQ(find("cuLaunchKernel", 13000, kPerThread), "cuLaunchKernel_ptsz");
  EXPECT_EQ(find("cuLaunchKernel", 13000, CU_GET_PROC_ADDRESS_LEGACY_STREAM), "cuLaunchKernel");
  EXPECT_EQ(find("cuMemAlloc", 13000, kPerThread), "cuMemAlloc_v2")
      << "there is no per-thread form";
}

TEST(ProcAddress, SaysWhyThereIsNone) {
  CUdriverProcAddressQueryResult status;
  EXPECT_EQ(findProcAddress("cuNoSuchThing", 13000, kPlain, &status), -1);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  EXPECT_EQ(findProcAddress("", 0, kPlain, &status), -1);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  EXPECT_EQ(findProcAddress("cuMemAlloc_v2", 13000, kPlain, &status), -1) << "not a base name";
  EXPECT_EQ(findProcAddress("zz", 13000, kPlain, &status), -1) << "behind the last name";
  EXPECT_EQ(findProcAddress("cuKernelGetName", 12020, kPlain, &status), -1);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  EXPECT_GE(findProcAddress("cuKernelGetName", 12030, kPlain, &status), 0);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
}

TEST(ProcAddress, IsInTheOrderOfTheTable) {
  DriverTable table{};
  const auto place = [&](const void* member) {
    return static_cast<int>(
        (static_cast<const char*>(member) - reinterpret_cast<const char*>(&table)) / sizeof(void*));
  };
  EXPECT_EQ(findProcAddress("cuInit", 13000, kPlain, nullptr), place(&table.cuInit));
  EXPECT_EQ(findProcAddress("cuMemFree", 13000, kPlain, nullptr), place(&table.cuMemFree_v2));
  EXPECT_EQ(findProcAddress("cuProfilerStop", 13000, kPlain, nullptr),
            place(&table.cuProfilerStop));
}

TEST(ProcAddress, EverySymbolIsFound) {
  for (size_t i = 0; i < kDriverFunctionCount; ++i) {
    std::string base = kDriverSymbolNames[i];
    const bool per_thread = base.ends_with("_ptds") || base.ends_with("_ptsz");
    if (per_thread) base.resize(base.size() - 5);
    if (base.size() > 3 && base[base.size() - 3] == '_' && base[base.size() - 2] == 'v') {
      base.resize(base.size() - 3);
    }
    bool found = false;
    for (int version = 2000; version <= CUDA_VERSION && !found; version += 10) {
      found = findProcAddress(base.c_str(), version, per_thread ? kPerThread : kPlain, nullptr) ==
              static_cast<int>(i);
    }
    EXPECT_TRUE(found) << kDriverSymbolNames[i];
  }
}

TEST(DriverCalls, NamesClassesAndReasons) {
  EXPECT_STREQ(callName(CallId::cuMemAlloc_v2), "cuMemAlloc_v2");
  EXPECT_STREQ(callName(CallId::none), "unknown call");
  EXPECT_STREQ(callName(static_cast<CallId>(60000)), "unknown call");
  EXPECT_EQ(callClass(CallId::cuMemAlloc_v2), CallClass::sync);
  EXPECT_EQ(callClass(CallId::cuLaunchKernel_ptsz), CallClass::async);
  EXPECT_EQ(callClass(CallId::cuGraphicsMapResources), CallClass::unsupported);
  EXPECT_STREQ(unsupportedReason(CallId::cuInit), "");
  for (size_t i = 1; i <= kDriverFunctionCount; ++i) {
    const auto call = static_cast<CallId>(i);
    const bool has_reason = std::strlen(unsupportedReason(call)) > 0;
    EXPECT_EQ(has_reason, callClass(call) == CallClass::unsupported) << callName(call);
  }
}

}  // namespace
}  // namespace farwarp
