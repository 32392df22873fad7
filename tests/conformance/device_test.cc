// Goal: what a program asks about devices, errors and functions before it does anything is answered
// remotely as locally. Method: each question, right and wrong.
#include <cstring>

#include "tests/conformance/conformance.h"

// Not in cuda.h.
extern "C" {
CUresult cuProfilerStart();
CUresult cuProfilerStop();
}

namespace farwarp::conformance {
namespace {

class DeviceTest : public ConformanceTest {
 protected:
  int attribute(CUdevice_attribute which) {
    int value = -1;
    EXPECT_OK(cuDeviceGetAttribute(&value, which, device_));
    return value;
  }
};

TEST_F(DeviceTest, NamesAndNumbers) {
  int count = 0;
  EXPECT_OK(cuDeviceGetCount(&count));
  EXPECT_EQ(count, 2);
  char name[128] = "";
  EXPECT_OK(cuDeviceGetName(name, sizeof(name), device_));
  EXPECT_STRNE(name, "");
  EXPECT_CUDA(cuDeviceGetName(nullptr, 10, device_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceGetName(name, sizeof(name), 77), CUDA_ERROR_INVALID_DEVICE);
  CUuuid first{}, second{}, other{};
  EXPECT_OK(cuDeviceGetUuid(&first, device_));
  EXPECT_OK(cuDeviceGetUuid_v2(&second, device_));
  EXPECT_OK(cuDeviceGetUuid_v2(&other, 1));
  EXPECT_EQ(std::memcmp(&first, &second, sizeof(first)), 0);
  EXPECT_NE(std::memcmp(&first, &other, sizeof(first)), 0);
  EXPECT_CUDA(cuDeviceGetUuid(nullptr, device_), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(DeviceTest, BusAddressesNameDevices) {
  char address[32] = "";
  for (CUdevice device = 0; device < 2; ++device) {
    EXPECT_OK(cuDeviceGetPCIBusId(address, sizeof(address), device));
    CUdevice found = -1;
    EXPECT_OK(cuDeviceGetByPCIBusId(&found, address));
    EXPECT_EQ(found, device);
  }
  CUdevice found = -1;
  EXPECT_CUDA(cuDeviceGetByPCIBusId(&found, "0000:ff:1f.0"), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_CUDA(cuDeviceGetByPCIBusId(nullptr, address), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceGetPCIBusId(nullptr, 13, device_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceGetPCIBusId(address, sizeof(address), 77), CUDA_ERROR_INVALID_DEVICE);
}

TEST_F(DeviceTest, OldWaysToAskForProperties) {
  int major = 0, minor = -1;
  EXPECT_OK(cuDeviceComputeCapability(&major, &minor, device_));
  EXPECT_EQ(major, attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
  EXPECT_EQ(minor, attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  EXPECT_CUDA(cuDeviceComputeCapability(nullptr, &minor, device_), CUDA_ERROR_INVALID_VALUE);
  CUdevprop properties{};
  EXPECT_OK(cuDeviceGetProperties(&properties, device_));
  EXPECT_EQ(properties.maxThreadsPerBlock, attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK));
  EXPECT_EQ(properties.SIMDWidth, 32);
  EXPECT_CUDA(cuDeviceGetProperties(nullptr, device_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceGetProperties(&properties, 77), CUDA_ERROR_INVALID_DEVICE);
}

TEST_F(DeviceTest, TexturesAndAffinity) {
  size_t texels = 0;
  EXPECT_OK(cuDeviceGetTexture1DLinearMaxWidth(&texels, CU_AD_FORMAT_FLOAT, 1, device_));
  EXPECT_GT(texels, 0u);
  EXPECT_CUDA(cuDeviceGetTexture1DLinearMaxWidth(nullptr, CU_AD_FORMAT_FLOAT, 1, device_),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceGetTexture1DLinearMaxWidth(&texels, CU_AD_FORMAT_FLOAT, 1, 77),
              CUDA_ERROR_INVALID_DEVICE);
  int supported = -1;
  EXPECT_OK(cuDeviceGetExecAffinitySupport(&supported, CU_EXEC_AFFINITY_TYPE_SM_COUNT, device_));
  EXPECT_EQ(supported, 0) << "only clients of MPS have it";
  EXPECT_CUDA(cuDeviceGetExecAffinitySupport(nullptr, CU_EXEC_AFFINITY_TYPE_SM_COUNT, device_),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDeviceGetExecAffinitySupport(&supported, CU_EXEC_AFFINITY_TYPE_SM_COUNT, 77),
              CUDA_ERROR_INVALID_DEVICE);
}

TEST_F(DeviceTest, ErrorsHaveNamesAndSentences) {
  const char* text = nullptr;
  EXPECT_OK(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
  EXPECT_STREQ(text, "out of memory");
  EXPECT_CUDA(cuGetErrorString(static_cast<CUresult>(1000), &text), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(text, nullptr);
  EXPECT_OK(cuGetErrorName(CUDA_ERROR_OUT_OF_MEMORY, &text));
  EXPECT_STREQ(text, "CUDA_ERROR_OUT_OF_MEMORY");
}

TEST_F(DeviceTest, FunctionsAreFoundByName) {
  int version = 0;
  EXPECT_OK(cuDriverGetVersion(&version));
  EXPECT_GE(version, 13000);
  void* function = nullptr;
  EXPECT_OK(cuGetProcAddress("cuCtxGetDevice", &function, 12000, 0));
  ASSERT_NE(function, nullptr);
  CUdevice device = -1;
  EXPECT_OK(reinterpret_cast<decltype(&cuCtxGetDevice)>(function)(&device));
  EXPECT_EQ(device, device_);
  CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
  EXPECT_OK(cuGetProcAddress_v2("cuMemAlloc", &function, 2000, 0, &status));
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
  void* newer = nullptr;
  EXPECT_OK(cuGetProcAddress_v2("cuMemAlloc", &newer, 13000, 0, &status));
  EXPECT_NE(function, newer) << "each time has its version";
  // Whether an unknown name is an error of the call or of its status alone is not asked here.
  (void)cuGetProcAddress_v2("cuNothing", &function, 13000, 0, &status);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  EXPECT_CUDA(cuGetProcAddress_v2(nullptr, &function, 13000, 0, &status), CUDA_ERROR_INVALID_VALUE);
  const CUuuid unknown{};
  const void* table = nullptr;
  EXPECT_NE(cuGetExportTable(&table, &unknown), CUDA_SUCCESS);
  EXPECT_CUDA(cuGetExportTable(nullptr, &unknown), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(DeviceTest, ProfilersMayBeToldToStart) {
  EXPECT_OK(cuProfilerStart());
  EXPECT_OK(cuProfilerStop());
}

}  // namespace
}  // namespace farwarp::conformance
