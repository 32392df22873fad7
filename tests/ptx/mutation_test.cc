// Goal: damaged PTX is refused or runs, but never crashes the process, and never hangs it. Method:
// PTX as nvcc writes it, and one instruction of every known form, are damaged a few thousand times
// (bytes, tokens, lines, parts of instructions; the seed is fixed and printed), then parsed,
// decoded and, where they still compile, run in small grids with a watchdog. Under the sanitizers
// this also finds accesses out of bounds. tests/ptx/fuzz does the same without an end, led by
// coverage.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "gpud/device/cpu/ptx/check.h"
#include "gpud/device/cpu/ptx/tool/forms.h"
#include "tests/ptx/damage.h"
#include "tests/ptx/exercise.h"

namespace farwarp::ptx {
namespace {

constexpr unsigned kSeed = 20250611;
// Sanitizers make everything several times slower, so that they get a part of the texts.
#ifdef FARWARP_SANITIZED
constexpr int kShare = 4;
#else
constexpr int kShare = 1;
#endif

TEST(Mutation, OfEveryKnownForm) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  Exerciser exerciser;
  Exercised sum;
  for (const InstructionForms& row : instructionForms()) {
    std::vector<std::string> list = expandForms(row.pattern);
    for (int n = 0; n < 60 / kShare; ++n) {
      std::string text = runnableModuleOf(list[below(random, list.size())]);
      Exercised one =
          exerciser.run(n < 20 / kShare ? damageTokens(text, random) : damage(text, random));
      ASSERT_EQ(one.contradiction, "");
      sum.compiled += one.compiled;
      sum.completed += one.completed;
    }
  }
  // Else the damage is such that nothing is tested.
  EXPECT_GT(sum.compiled, 1000u / kShare);
  EXPECT_GT(sum.completed, 500u / kShare);
}

#ifdef FARWARP_KERNELS_PTX
TEST(Mutation, OfWhatNvccWrites) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::ifstream file(FARWARP_KERNELS_PTX);
  std::stringstream stream;
  stream << file.rdbuf();
  std::string text = stream.str();
  ASSERT_GT(text.size(), 1000u);
  Random random(kSeed);
  // Pieces of the text keep a run short; its beginning declares what they use.
  std::vector<std::string> pieces;
  size_t head = text.find("\n.visible .entry");
  for (size_t at = head; at != std::string::npos;) {
    size_t next = text.find("\n.visible .entry", at + 1);
    pieces.push_back(text.substr(0, head) + text.substr(at, next - at));
    at = next;
  }
  ASSERT_GT(pieces.size(), 10u);
  Exerciser exerciser;
  Exercised sum;
  for (int n = 0; n < 3000 / kShare; ++n) {
    const std::string& piece = pieces[below(random, pieces.size())];
    Exercised one = exerciser.run(damage(piece, random), 5);
    ASSERT_EQ(one.contradiction, "") << "damaged text number " << n;
    sum.compiled += one.compiled;
    sum.launches += one.launches;
  }
  EXPECT_GT(sum.compiled, 300u / kShare);
  EXPECT_GT(sum.launches, 300u / kShare);
}
#endif

}  // namespace
}  // namespace farwarp::ptx
