// Goal: every error code of cuda.h has its name and a sentence; others have none.
// Method: walks all codes up to 1000 and looks at neighbours of known ones.
#include "driver/error_names.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace farwarp {
namespace {

TEST(ErrorNames, KnowTheCodesOfTheHeader) {
  EXPECT_STREQ(errorName(CUDA_SUCCESS), "CUDA_SUCCESS");
  EXPECT_STREQ(errorName(CUDA_ERROR_INVALID_VALUE), "CUDA_ERROR_INVALID_VALUE");
  EXPECT_STREQ(errorName(CUDA_ERROR_UNKNOWN), "CUDA_ERROR_UNKNOWN");
  EXPECT_STREQ(errorName(CUDA_ERROR_ILLEGAL_ADDRESS), "CUDA_ERROR_ILLEGAL_ADDRESS");
  EXPECT_EQ(errorName(9), nullptr);
  EXPECT_EQ(errorString(static_cast<CUresult>(1023)), nullptr);
  EXPECT_EQ(errorString(static_cast<CUresult>(1000)), nullptr);
}

TEST(ErrorNames, HaveASentenceForEachNameAndNoNameTwice) {
  std::set<std::string> names;
  for (int code = 0; code < 1000; ++code) {
    const auto error = static_cast<CUresult>(code);
    const char* name = errorName(error);
    ASSERT_EQ(name == nullptr, errorString(error) == nullptr) << code;
    if (name == nullptr) continue;
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_GT(std::string(errorString(error)).size(), 5u) << name;
  }
  EXPECT_EQ(names.size(), FARWARP_ERROR_CODES) << "cuda.h has as many error codes";
}

TEST(ErrorNames, EntryPointsRejectNullAndUnknown) {
  const char* text = "before";
  EXPECT_EQ(getErrorName(CUDA_ERROR_NOT_FOUND, &text), CUDA_SUCCESS);
  EXPECT_STREQ(text, "CUDA_ERROR_NOT_FOUND");
  EXPECT_EQ(getErrorName(static_cast<CUresult>(1001), &text), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(text, nullptr);
  EXPECT_EQ(getErrorString(static_cast<CUresult>(1001), &text), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(getErrorString(CUDA_SUCCESS, nullptr), CUDA_ERROR_INVALID_VALUE);
}

}  // namespace
}  // namespace farwarp
