// Goal: libraries, modules and their kernels tell the same remotely as locally, and take the same
// settings. Method: one PTX text with two kernels and a variable is loaded in each way, and all
// that can be asked of what it has is asked.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr char kPtx[] = R"(.version 8.0
.target sm_75
.address_size 64
.global .align 4 .u32 counter = 7;
.visible .entry first(.param .u64 a, .param .u32 b, .param .u8 c) {
  ret;
}
.visible .entry second() {
  ret;
})";

class LibraryTest : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuLibraryLoadData(&library_, kPtx, nullptr, nullptr, 0, nullptr, nullptr, 0));
    ASSERT_OK(cuModuleLoadData(&module_, kPtx));
    ASSERT_OK(cuModuleGetFunction(&first_, module_, "first"));
  }
  void TearDown() override {
    EXPECT_OK(cuModuleUnload(module_));
    EXPECT_OK(cuLibraryUnload(library_));
    ConformanceTest::TearDown();
  }

  CUlibrary library_ = nullptr;
  CUmodule module_ = nullptr;
  CUfunction first_ = nullptr;
};

TEST_F(LibraryTest, KernelsAreCountedAndListed) {
  unsigned count = 0;
  EXPECT_OK(cuLibraryGetKernelCount(&count, library_));
  EXPECT_EQ(count, 2u);
  CUkernel kernels[2] = {};
  EXPECT_OK(cuLibraryEnumerateKernels(kernels, 2, library_));
  std::string names;
  for (const CUkernel kernel : kernels) {
    const char* name = "";
    EXPECT_OK(cuKernelGetName(&name, kernel));
    names += name;
    CUlibrary owner = nullptr;
    EXPECT_OK(cuKernelGetLibrary(&owner, kernel));
    EXPECT_EQ(owner, library_);
  }
  EXPECT_TRUE(names == "firstsecond" || names == "secondfirst") << names;
  EXPECT_CUDA(cuLibraryGetKernelCount(nullptr, library_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuKernelGetName(nullptr, kernels[0]), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuModuleGetFunctionCount(&count, module_));
  EXPECT_EQ(count, 2u);
  CUfunction functions[2] = {};
  EXPECT_OK(cuModuleEnumerateFunctions(functions, 2, module_));
  EXPECT_NE(functions[0], functions[1]);
  EXPECT_CUDA(cuModuleGetFunctionCount(nullptr, module_), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(LibraryTest, KernelsTellTheirParameters) {
  CUkernel kernel = nullptr;
  ASSERT_OK(cuLibraryGetKernel(&kernel, library_, "first"));
  const size_t offsets[] = {0, 8, 12}, sizes[] = {8, 4, 1};
  for (size_t i = 0; i < 3; ++i) {
    size_t offset = 77, bytes = 77;
    EXPECT_OK(cuKernelGetParamInfo(kernel, i, &offset, &bytes));
    EXPECT_EQ(offset, offsets[i]);
    EXPECT_EQ(bytes, sizes[i]);
    EXPECT_OK(cuFuncGetParamInfo(first_, i, &offset, &bytes));
    EXPECT_EQ(offset, offsets[i]);
    EXPECT_OK(cuFuncGetParamInfo(first_, i, &offset, nullptr));
  }
  size_t offset = 0;
  EXPECT_CUDA(cuKernelGetParamInfo(kernel, 3, &offset, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuFuncGetParamInfo(first_, 3, &offset, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(LibraryTest, KernelsTakeAttributes) {
  CUkernel kernel = nullptr;
  ASSERT_OK(cuLibraryGetKernel(&kernel, library_, "first"));
  int value = -1;
  EXPECT_OK(cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel, device_));
  EXPECT_EQ(value, 1024);
  EXPECT_OK(cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 50, kernel,
                                 device_));
  EXPECT_OK(cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, kernel,
                                 device_));
  EXPECT_EQ(value, 50);
  EXPECT_CUDA(cuKernelGetAttribute(nullptr, CU_FUNC_ATTRIBUTE_NUM_REGS, kernel, device_),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, kernel, 77),
              CUDA_ERROR_INVALID_DEVICE);
  EXPECT_OK(cuKernelSetCacheConfig(kernel, CU_FUNC_CACHE_PREFER_SHARED, device_));
  EXPECT_OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, first_));
  EXPECT_EQ(value, 1024);
  EXPECT_OK(cuFuncSetAttribute(first_, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 20));
  EXPECT_OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, first_));
  EXPECT_EQ(value, 20);
  EXPECT_OK(cuFuncSetCacheConfig(first_, CU_FUNC_CACHE_PREFER_L1));
  EXPECT_OK(cuFuncSetSharedMemConfig(first_, CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE));
}

TEST_F(LibraryTest, FunctionsLeadBack) {
  const char* name = "";
  EXPECT_OK(cuFuncGetName(&name, first_));
  EXPECT_STREQ(name, "first");
  CUmodule module = nullptr;
  EXPECT_OK(cuFuncGetModule(&module, first_));
  EXPECT_EQ(module, module_);
  CUfunctionLoadingState state = CU_FUNCTION_LOADING_STATE_UNLOADED;
  EXPECT_OK(cuFuncLoad(first_));
  EXPECT_OK(cuFuncIsLoaded(&state, first_));
  EXPECT_EQ(state, CU_FUNCTION_LOADING_STATE_LOADED);
  CUmoduleLoadingMode mode{};
  EXPECT_OK(cuModuleGetLoadingMode(&mode));
  CUkernel kernel = nullptr;
  CUfunction function = nullptr;
  ASSERT_OK(cuLibraryGetKernel(&kernel, library_, "second"));
  EXPECT_OK(cuKernelGetFunction(&function, kernel));
  EXPECT_OK(cuFuncGetName(&name, function));
  EXPECT_STREQ(name, "second");
  EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
  EXPECT_CUDA(cuFuncGetName(nullptr, first_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuFuncGetModule(nullptr, first_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuKernelGetFunction(nullptr, kernel), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuCtxSynchronize());
}

TEST_F(LibraryTest, VariablesOfLibraries) {
  CUdeviceptr address = 0;
  size_t bytes = 0;
  EXPECT_OK(cuLibraryGetGlobal(&address, &bytes, library_, "counter"));
  EXPECT_EQ(bytes, 4u);
  unsigned value = 0;
  EXPECT_OK(cuMemcpyDtoH_v2(&value, address, sizeof(value)));
  EXPECT_EQ(value, 7u);
  EXPECT_CUDA(cuLibraryGetGlobal(&address, &bytes, library_, "nothing"), CUDA_ERROR_NOT_FOUND);
}

TEST_F(LibraryTest, ComesFromAFileAndFromAFatBinary) {
  char path[] = "/tmp/farwarp-library-XXXXXX";
  const int file = mkstemp(path);
  ASSERT_GE(file, 0);
  ASSERT_EQ(write(file, kPtx, sizeof(kPtx)), static_cast<ssize_t>(sizeof(kPtx)));
  close(file);
  CUlibrary library = nullptr;
  EXPECT_OK(cuLibraryLoadFromFile(&library, path, nullptr, nullptr, 0, nullptr, nullptr, 0));
  unsigned count = 0;
  EXPECT_OK(cuLibraryGetKernelCount(&count, library));
  EXPECT_EQ(count, 2u);
  EXPECT_OK(cuLibraryUnload(library));
  unlink(path);
  EXPECT_CUDA(cuLibraryLoadFromFile(&library, path, nullptr, nullptr, 0, nullptr, nullptr, 0),
              CUDA_ERROR_FILE_NOT_FOUND);
  CUmodule module = nullptr;
  EXPECT_CUDA(cuModuleLoadFatBinary(&module, nullptr), CUDA_ERROR_INVALID_VALUE);
  // It takes whatever cuModuleLoadData does.
  EXPECT_OK(cuModuleLoadFatBinary(&module, kPtx));
  EXPECT_OK(cuModuleUnload(module));
}

TEST_F(LibraryTest, LinksUnderTheirOldNames) {
  CUlinkState link = nullptr;
  ASSERT_OK(cuLinkCreate(0, nullptr, nullptr, &link));
  std::string text = kPtx;
  EXPECT_OK(cuLinkAddData(link, CU_JIT_INPUT_PTX, text.data(), text.size() + 1, "text", 0, nullptr,
                          nullptr));
  EXPECT_CUDA(cuLinkAddFile(link, CU_JIT_INPUT_PTX, "/nonexistent/file.ptx", 0, nullptr, nullptr),
              CUDA_ERROR_FILE_NOT_FOUND);
  EXPECT_OK(cuLinkDestroy(link));
}

}  // namespace
}  // namespace farwarp::conformance
