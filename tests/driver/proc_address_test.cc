// Goal: cuGetProcAddress answers with the symbol of the asked version and default stream.
// Method: a table in which every entry is a number that says its index, asked for functions whose
// versions are known from the runtime's behaviour.
#include "driver/proc_address.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace farwarp {
namespace {

const DriverTable& numberedTable() {
  static const DriverTable* table = [] {
    auto* made = new DriverTable;
    auto* words = reinterpret_cast<uintptr_t*>(made);
    for (size_t i = 0; i < kDriverFunctionCount; ++i) words[i] = i + 1;
    return made;
  }();
  return *table;
}

// The name of the symbol that the question leads to, or what went wrong.
std::string ask(const char* name, int version, cuuint64_t flags = 0) {
  void* found = nullptr;
  CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
  const CUresult result =
      getProcAddress(numberedTable(), 13000, name, &found, version, flags, &status);
  if (result != CUDA_SUCCESS) return "error " + std::to_string(result);
  if (found == nullptr) return "status " + std::to_string(status);
  if (status != CU_GET_PROC_ADDRESS_SUCCESS) return "found, with a wrong status";
  return kDriverSymbolNames[reinterpret_cast<uintptr_t>(found) - 1];
}

TEST(ProcAddress, PicksTheNewestSymbolThatIsOldEnough) {
  EXPECT_EQ(ask("cuMemAlloc", 13000), "cuMemAlloc_v2");
  EXPECT_EQ(ask("cuMemAlloc", 3020), "cuMemAlloc_v2");
  EXPECT_EQ(ask("cuCtxSynchronize", 2000), "cuCtxSynchronize");
  EXPECT_EQ(ask("cuCtxSynchronize", 13000), "cuCtxSynchronize_v2");
  EXPECT_EQ(ask("cuDevicePrimaryCtxRelease", 7000), "cuDevicePrimaryCtxRelease");
  EXPECT_EQ(ask("cuEventElapsedTime", 2000), "cuEventElapsedTime");
  EXPECT_EQ(ask("cuEventElapsedTime", 12080), "cuEventElapsedTime_v2");
  EXPECT_EQ(ask("cuGetProcAddress", 12000), "cuGetProcAddress_v2");
  EXPECT_EQ(ask("cuGetProcAddress", 11030), "cuGetProcAddress");
}

TEST(ProcAddress, GivesThePerThreadVariantWhenAsked) {
  const auto per_thread = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
  EXPECT_EQ(ask("cuLaunchKernel", 7000, per_thread), "cuLaunchKernel_ptsz");
  EXPECT_EQ(ask("cuMemcpyHtoD", 7000, per_thread), "cuMemcpyHtoD_v2_ptds");
  EXPECT_EQ(ask("cuLaunchKernel", 7000, CU_GET_PROC_ADDRESS_LEGACY_STREAM), "cuLaunchKernel");
  EXPECT_EQ(ask("cuInit", 2000, per_thread), "cuInit") << "which has no such variant";
}

TEST(ProcAddress, SaysWhyThereIsNoSymbol) {
  EXPECT_EQ(ask("cuNoSuchThing", 13000), "status 1");
  EXPECT_EQ(ask("", 0), "status 1");
  EXPECT_EQ(ask("cuLibraryLoadData", 11000), "status 2");
  EXPECT_EQ(ask("cuInit", 13001), "error 1");
  EXPECT_EQ(ask("cuInit", 2000, 64), "error 1");
  EXPECT_EQ(ask(nullptr, 2000), "error 1");
  EXPECT_EQ(getProcAddress(numberedTable(), 13000, "cuInit", nullptr, 2000, 0, nullptr),
            CUDA_ERROR_INVALID_VALUE);
}

}  // namespace
}  // namespace farwarp
