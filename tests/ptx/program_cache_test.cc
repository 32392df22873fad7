// Goal: the same texts are compiled once as long as there is room for them. Method: programs are
// asked for again and compared by identity; a cache with little room has to forget.
#include "gpud/device/cpu/ptx/program_cache.h"

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

std::string text(int n) {
  return header() + ".visible .entry k" + std::to_string(n) + "()\n{\nret;\n}\n";
}

std::shared_ptr<const Program> get(ProgramCache& cache, std::string_view text,
                                   std::string_view name = "", int level = 0) {
  CompileOptions options;
  options.host_level = level;
  CompileLog log;
  LinkInput input{text, name};
  return cache.link({&input, 1}, options, log);
}

TEST(ProgramCache, TheSameTextGivesTheSameProgram) {
  ProgramCache cache(1 << 20);
  auto first = get(cache, text(1));
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(get(cache, text(1)), first);
  EXPECT_NE(get(cache, text(2)), first);
  EXPECT_NE(get(cache, text(1), "named"), first);
  EXPECT_NE(get(cache, text(1), "", 2), first);
  EXPECT_NE(get(cache, text(1) + " "), first);
}

TEST(ProgramCache, TextsAreTakenApartWhereTheyWereApart) {
  ProgramCache cache(1 << 20);
  std::string a = header() + ".visible .global .u32 a;\n";
  std::string b = header() + ".visible .global .u32 b;\n";
  LinkInput both[] = {{a, {}}, {b, {}}};
  CompileLog log;
  auto linked = cache.link(both, {}, log);
  ASSERT_NE(linked, nullptr) << log.text;
  EXPECT_NE(get(cache, a + b), linked);
}

TEST(ProgramCache, WhatDoesNotCompileIsNotRemembered) {
  ProgramCache cache(1 << 20);
  for (int n = 0; n < 2; ++n) {
    CompileLog log;
    LinkInput input{"nonsense", {}};
    EXPECT_EQ(cache.link({&input, 1}, {}, log), nullptr);
    EXPECT_FALSE(log.text.empty());
  }
}

TEST(ProgramCache, KeepsWhatFitsAndWhatIsUsed) {
  size_t bytes = text(1).size();
  ProgramCache cache(2 * bytes);
  std::weak_ptr<const Program> first = get(cache, text(1));
  auto used = get(cache, text(2));
  EXPECT_FALSE(first.expired());
  get(cache, text(1));  // used again, so the second is the one that has to go
  get(cache, text(3));
  EXPECT_FALSE(first.expired());
  EXPECT_EQ(get(cache, text(2)), used);  // it is still there, because somebody holds it
  get(cache, text(4));
  get(cache, text(5));
  EXPECT_TRUE(first.expired());
}

TEST(ProgramCache, ATextThatIsTooLongIsNotKept) {
  ProgramCache cache(1);
  std::weak_ptr<const Program> program = get(cache, text(1));
  EXPECT_TRUE(program.expired());
}

}  // namespace
}  // namespace farwarp::ptx
