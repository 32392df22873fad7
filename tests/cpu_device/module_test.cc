// Goal: modules and libraries: what loads, what is refused and with which code and log, names,
// globals, attributes and parameter layouts. Method: PTX text of the tests, deliberate nonsense,
// and images that hold nothing for this device.
#include <algorithm>
#include <cstring>
#include <fstream>

#include "tests/cpu_device/cuda_test.h"
#include "tests/cpu_device/kernels_ptx.h"

namespace farwarp::cpu {
namespace {

class Modules : public CudaTest {};

TEST_F(Modules, FindFunctionsAndGlobalsByName) {
  CUmodule module = load(kKernels);
  CUfunction found = function(module, "scale");
  const char* name = nullptr;
  EXPECT_OK(cuFuncGetName(&name, found));
  EXPECT_STREQ(name, "scale");
  CUmodule owner = nullptr;
  EXPECT_OK(cuFuncGetModule(&owner, found));
  EXPECT_EQ(owner, module);
  EXPECT_CUDA(cuModuleGetFunction(&found, module, "no_such"), CUDA_ERROR_NOT_FOUND);
  EXPECT_CUDA(cuModuleGetFunction(&found, module, nullptr), CUDA_ERROR_INVALID_VALUE);
  unsigned count = 0;
  EXPECT_OK(cuModuleGetFunctionCount(&count, module));
  std::vector<CUfunction> all(count);
  EXPECT_OK(cuModuleEnumerateFunctions(all.data(), count, module));
  EXPECT_NE(std::find(all.begin(), all.end(), function(module, "nothing")), all.end());

  CUdeviceptr address = 0;
  size_t bytes = 0;
  EXPECT_OK(cuModuleGetGlobal_v2(&address, &bytes, module, "counter"));
  EXPECT_EQ(bytes, 4u);
  EXPECT_EQ(download<uint32_t>(address, 1)[0], 7u) << "its initial value";
  EXPECT_OK(cuModuleGetGlobal_v2(&address, nullptr, module, "weights"));
  EXPECT_EQ(download<uint64_t>(address, 4), (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_CUDA(cuModuleGetGlobal_v2(&address, &bytes, module, "no_such"), CUDA_ERROR_NOT_FOUND);
  EXPECT_OK(cuModuleUnload(module));
  EXPECT_CUDA(cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_CUDA(cuModuleGetFunction(&found, module, "scale"), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_CUDA(cuLaunchKernel(all[0], 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
              CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Modules, RefuseBadPtxWithALog) {
  const std::string bad =
      ".version 8.0\n.target sm_75\n.address_size 64\n.entry k() { frobnicate.u32 ; }\n";
  char log[1000];
  std::memset(log, 'x', sizeof log);
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  CUmodule module = nullptr;
  EXPECT_CUDA(cuModuleLoadDataEx(&module, bad.c_str(), 2, options, values), CUDA_ERROR_INVALID_PTX);
  EXPECT_EQ(reinterpret_cast<size_t>(values[1]), strlen(log));
  EXPECT_NE(std::string(log).find("frobnicate"), std::string::npos) << log;

  char tiny[8];
  std::memset(tiny, 'x', sizeof tiny);
  values[0] = tiny;
  values[1] = reinterpret_cast<void*>(4);
  EXPECT_CUDA(cuModuleLoadDataEx(&module, bad.c_str(), 2, options, values), CUDA_ERROR_INVALID_PTX);
  EXPECT_EQ(tiny[3], '\0');
  EXPECT_EQ(tiny[4], 'x') << "nothing is written behind the buffer";
}

TEST_F(Modules, RefuseWhatHoldsNothingForThisDevice) {
  CUmodule module = nullptr;
  EXPECT_CUDA(cuModuleLoadData(&module, ".version 9.0\n.target sm_120\n.address_size 64\n"),
              CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_CUDA(cuModuleLoadData(&module, ".version 10.0\n.target sm_70\n.address_size 64\n"),
              CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  EXPECT_CUDA(cuModuleLoadData(&module, "hello"), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_CUDA(cuModuleLoadData(&module, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuModuleLoad(&module, "/no/such/file.ptx"), CUDA_ERROR_FILE_NOT_FOUND);
  EXPECT_CUDA(cuModuleLoadDataEx(&module, kKernels, 1, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Modules, LoadFromAFile) {
  const std::string path =
      testing::TempDir() + std::to_string(getpid()) + "farwarp_module_test.ptx";
  std::ofstream(path) << kKernels;
  CUmodule module = nullptr;
  ASSERT_OK(cuModuleLoad(&module, path.c_str()));
  EXPECT_NE(function(module, "store"), nullptr);
  CUlibrary library = nullptr;
  ASSERT_OK(
      cuLibraryLoadFromFile(&library, path.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0));
  EXPECT_OK(cuLibraryUnload(library));
  std::remove(path.c_str());
}

TEST_F(Modules, ParametersHaveTheLayoutOfC) {
  CUfunction scale = function(load(kKernels), "scale");
  const size_t expected[][2] = {{0, 8}, {8, 4}, {12, 4}, {16, 4}};
  for (size_t i = 0; i < 4; ++i) {
    size_t offset = 99, size = 99;
    EXPECT_OK(cuFuncGetParamInfo(scale, i, &offset, &size));
    EXPECT_EQ(offset, expected[i][0]);
    EXPECT_EQ(size, expected[i][1]);
  }
  size_t offset = 0, size = 0;
  EXPECT_CUDA(cuFuncGetParamInfo(scale, 4, &offset, &size), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Modules, FunctionAttributesCanBeReadAndSomeSet) {
  CUmodule module = load(kKernels);
  CUfunction scale = function(module, "scale"), bounded = function(module, "bounded");
  for (int which = 0; which < CU_FUNC_ATTRIBUTE_MAX; ++which) {
    int value = -99;
    EXPECT_OK(cuFuncGetAttribute(&value, static_cast<CUfunction_attribute>(which), scale));
    EXPECT_NE(value, -99);
  }
  int value = 0;
  EXPECT_CUDA(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX, scale), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, bounded));
  EXPECT_EQ(value, 64);
  // kKernels says .target sm_75; the device is of 9.0.
  EXPECT_OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PTX_VERSION, scale));
  EXPECT_EQ(value, 75);
  EXPECT_OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_BINARY_VERSION, scale));
  EXPECT_EQ(value, 90);
  const auto dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
  EXPECT_OK(cuFuncGetAttribute(&value, dynamic, scale));
  EXPECT_EQ(value, 48 * 1024);
  EXPECT_OK(cuFuncSetAttribute(scale, dynamic, 227 * 1024));
  EXPECT_OK(cuFuncGetAttribute(&value, dynamic, scale));
  EXPECT_EQ(value, 227 * 1024);
  EXPECT_CUDA(cuFuncSetAttribute(scale, dynamic, 227 * 1024 + 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuFuncSetAttribute(scale, dynamic, -1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuFuncSetAttribute(scale, CU_FUNC_ATTRIBUTE_NUM_REGS, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Modules, ALibraryServesEveryContext) {
  CUlibrary library = nullptr;
  CUlibraryOption options[] = {CU_LIBRARY_BINARY_IS_PRESERVED};
  ASSERT_OK(cuLibraryLoadData(&library, kKernels, nullptr, nullptr, 0, options, nullptr, 1));
  CUkernel kernel = nullptr, again = nullptr;
  ASSERT_OK(cuLibraryGetKernel(&kernel, library, "count"));
  ASSERT_OK(cuLibraryGetKernel(&again, library, "count"));
  EXPECT_EQ(kernel, again);
  CUlibrary owner = nullptr;
  EXPECT_OK(cuKernelGetLibrary(&owner, kernel));
  EXPECT_EQ(owner, library);
  unsigned count = 0;
  EXPECT_OK(cuLibraryGetKernelCount(&count, library));
  EXPECT_EQ(count, 7u);

  // The same handle is launched in two contexts, which have variables of their own.
  const auto counter = [&] {
    CUdeviceptr address = 0;
    EXPECT_OK(cuLibraryGetGlobal(&address, nullptr, library, "counter"));
    return address;
  };
  const auto add = [&](uint32_t by) {
    void* params[] = {&by};
    EXPECT_OK(cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, 1, 1, 1, 1, 1, 0, nullptr,
                             params, nullptr));
  };
  const CUdeviceptr here = counter();
  add(1);
  EXPECT_EQ(download<uint32_t>(here, 1)[0], 8u);
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&second, 0, device_));
  add(10);
  EXPECT_NE(counter(), here);
  EXPECT_EQ(download<uint32_t>(counter(), 1)[0], 17u);
  CUmodule module = nullptr;
  EXPECT_OK(cuLibraryGetModule(&module, library));
  CUfunction through_module = nullptr;
  EXPECT_OK(cuModuleGetFunction(&through_module, module, "count"));
  ASSERT_OK(cuCtxDestroy_v2(second));
  EXPECT_EQ(download<uint32_t>(here, 1)[0], 8u);
  EXPECT_OK(cuLibraryUnload(library));
  EXPECT_CUDA(cuLibraryUnload(library), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_CUDA(cuKernelGetLibrary(&owner, kernel), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Modules, LibraryOptionsAreChecked) {
  CUlibrary library = nullptr;
  CUlibraryOption universal[] = {CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE};
  EXPECT_CUDA(cuLibraryLoadData(&library, kKernels, nullptr, nullptr, 0, universal, nullptr, 1),
              CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_CUDA(cuLibraryLoadData(&library, kKernels, nullptr, nullptr, 0, nullptr, nullptr, 1),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLibraryLoadData(&library, nullptr, nullptr, nullptr, 0, nullptr, nullptr, 0),
              CUDA_ERROR_INVALID_VALUE);
}

}  // namespace
}  // namespace farwarp::cpu
