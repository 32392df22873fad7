// Goal: every trouble has a CUDA result of its own kind and a name; only `none` is success.
// Method: walk the enumeration.
#include "protocol/errors.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace farwarp::wire {
namespace {

TEST(Errors, OnlyNoTroubleIsSuccess) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(Trouble::internal); ++i) {
    const auto trouble = static_cast<Trouble>(i);
    EXPECT_EQ(toCudaResult(trouble) == CUDA_SUCCESS, trouble == Trouble::none) << i;
    EXPECT_TRUE(names.insert(troubleName(trouble)).second) << troubleName(trouble);
    // Programs take this one as "compute on the CPU instead", in silence.
    EXPECT_NE(toCudaResult(trouble), CUDA_ERROR_NO_DEVICE);
  }
}

TEST(Errors, AnUnknownValueIsABugNotASuccess) {
  EXPECT_EQ(toCudaResult(static_cast<Trouble>(200)), CUDA_ERROR_UNKNOWN);
}

}  // namespace
}  // namespace farwarp::wire
