// Goal: the settings of GPU core dumps are told and kept, and what nobody would do is not promised.
// Method: each is asked for, set and asked for again, for the process and for a context.
#include <unistd.h>

#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

class CoredumpTest : public ConformanceTest {
 protected:
  static bool flag(CUcoredumpSettings which) {
    bool on = true;
    size_t bytes = sizeof(on);
    EXPECT_OK(cuCoredumpGetAttributeGlobal(which, &on, &bytes));
    return on;
  }
  static std::string text(CUcoredumpSettings which) {
    char buffer[1024] = "";
    size_t bytes = sizeof(buffer);
    EXPECT_OK(cuCoredumpGetAttributeGlobal(which, buffer, &bytes));
    return buffer;
  }
};

TEST_F(CoredumpTest, NothingIsDumpedUnlessAskedFor) {
  EXPECT_FALSE(flag(CU_COREDUMP_ENABLE_ON_EXCEPTION));
  EXPECT_FALSE(flag(CU_COREDUMP_ENABLE_USER_TRIGGER));
  EXPECT_FALSE(flag(CU_COREDUMP_LIGHTWEIGHT));
  EXPECT_TRUE(flag(CU_COREDUMP_TRIGGER_HOST));
  const std::string process = "." + std::to_string(getpid());
  const std::string file = text(CU_COREDUMP_FILE), pipe = text(CU_COREDUMP_PIPE);
  EXPECT_EQ(file.rfind("core.cuda.", 0), 0u) << file;
  EXPECT_EQ(pipe.rfind("corepipe.cuda.", 0), 0u) << pipe;
  EXPECT_EQ(file.substr(file.rfind('.')), process);
}

TEST_F(CoredumpTest, SizesAreTold) {
  size_t bytes = 0;
  EXPECT_OK(cuCoredumpGetAttribute(CU_COREDUMP_ENABLE_ON_EXCEPTION, nullptr, &bytes));
  EXPECT_EQ(bytes, sizeof(bool));
  EXPECT_OK(cuCoredumpGetAttributeGlobal(CU_COREDUMP_GENERATION_FLAGS, nullptr, &bytes));
  EXPECT_EQ(bytes, sizeof(int));
  EXPECT_OK(cuCoredumpSetAttribute(CU_COREDUMP_FILE, nullptr, &bytes));
  EXPECT_GE(bytes, 1023u);
  char one = 0;
  bytes = 1;
  EXPECT_CUDA(cuCoredumpGetAttribute(CU_COREDUMP_FILE, &one, &bytes), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCoredumpGetAttribute(CU_COREDUMP_MAX, &one, &bytes), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCoredumpGetAttribute(CU_COREDUMP_FILE, &one, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCoredumpSetAttributeGlobal(CU_COREDUMP_FILE, &one, nullptr),
              CUDA_ERROR_INVALID_VALUE);
}

TEST_F(CoredumpTest, WhatIsSetIsTold) {
  char name[] = "cores/of-this";
  size_t bytes = sizeof(name);
  EXPECT_OK(cuCoredumpSetAttribute(CU_COREDUMP_FILE, name, &bytes));
  char own[1024] = "";
  bytes = sizeof(own);
  EXPECT_OK(cuCoredumpGetAttribute(CU_COREDUMP_FILE, own, &bytes));
  EXPECT_STREQ(own, name);
  EXPECT_NE(text(CU_COREDUMP_FILE), name) << "only the context's was set";
  int flags = CU_COREDUMP_LIGHTWEIGHT_FLAGS;
  bytes = sizeof(flags);
  EXPECT_OK(cuCoredumpSetAttributeGlobal(CU_COREDUMP_GENERATION_FLAGS, &flags, &bytes));
  EXPECT_TRUE(flag(CU_COREDUMP_LIGHTWEIGHT));
  flags = 1 << 20;
  EXPECT_CUDA(cuCoredumpSetAttributeGlobal(CU_COREDUMP_GENERATION_FLAGS, &flags, &bytes),
              CUDA_ERROR_INVALID_VALUE);
  bool off = false;
  bytes = sizeof(off);
  EXPECT_OK(cuCoredumpSetAttributeGlobal(CU_COREDUMP_LIGHTWEIGHT, &off, &bytes));
  EXPECT_OK(cuCoredumpSetAttribute(CU_COREDUMP_ENABLE_ON_EXCEPTION, &off, &bytes));
  EXPECT_CUDA(cuCoredumpSetAttribute(CU_COREDUMP_ENABLE_USER_TRIGGER, &off, &bytes),
              CUDA_ERROR_NOT_PERMITTED);
}

// A real driver would take it and write core dumps.
TEST_F(CoredumpTest, WhatWouldWriteOneIsNotTaken) {
  if (realDriver()) return;
  bool on = true;
  size_t bytes = sizeof(on);
  EXPECT_CUDA(cuCoredumpSetAttribute(CU_COREDUMP_ENABLE_ON_EXCEPTION, &on, &bytes),
              CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_CUDA(cuCoredumpSetAttributeGlobal(CU_COREDUMP_ENABLE_USER_TRIGGER, &on, &bytes),
              CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_FALSE(flag(CU_COREDUMP_ENABLE_USER_TRIGGER));
}

}  // namespace
}  // namespace farwarp::conformance
