// Goal: several PTX texts become one program as nvlink would make it. Method: small texts that
// share names in every way PTX has (.extern, .visible, .weak, .common, none) are linked and run,
// and texts that contradict each other are refused with words that name the symbol and both texts.
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

// A kernel `name` that writes what `body` leaves in %r0 to its first parameter.
std::string kernel(const std::string& name, const std::string& body) {
  return ".visible .entry " + name +
         "(.param .u64 p)\n{\n.reg .b32 %r<8>;\n.reg .b64 %d<8>;\nld.param.u64 %d0, [p];\n" + body +
         "\nst.global.u32 [%d0], %r0;\nret;\n}\n";
}
std::string function(const std::string& linkage, const std::string& name,
                     const std::string& value) {
  return linkage + " .func (.param .b32 r) " + name + "()\n{\n.reg .b32 %r;\nmov.u32 %r, " + value +
         ";\nst.param.b32 [r], %r;\nret;\n}\n";
}
std::string callTo(const std::string& name) {
  return "{\n.param .b32 v;\ncall.uni (v), " + name + ", ();\nld.param.b32 %r0, [v];\n}\n";
}
constexpr const char* kDeclared = ".extern .func (.param .b32 r) f();\n";

struct Linked {
  std::shared_ptr<const Program> program;
  CompileLog log;
};
Linked link(const std::vector<std::string>& bodies) {
  std::vector<std::string> texts;
  for (const std::string& body : bodies) texts.push_back(header() + body);
  const char* const names[] = {"a", "b", "c"};
  std::vector<LinkInput> inputs;
  for (size_t k = 0; k < texts.size(); ++k) inputs.push_back({texts[k], names[k]});
  Linked linked;
  linked.program = Program::link(inputs, {}, linked.log);
  return linked;
}

// What the kernel `name` of the linked texts writes.
int valueOf(const std::vector<std::string>& bodies, const char* name = "k") {
  Linked linked = link(bodies);
  EXPECT_NE(linked.program, nullptr) << linked.log.text;
  if (linked.program == nullptr) return -1;
  TestDevice device(1);
  std::vector<uint64_t> addresses;
  for (const VariableInfo& v : linked.program->variables()) {
    addresses.push_back(reinterpret_cast<uint64_t>(device.allocateArray<char>(v.size)));
  }
  LoadedProgram loaded(linked.program, addresses);
  loaded.initialise();
  int* out = device.allocateArray<int>(1);
  LaunchShape shape;
  shape.params = reinterpret_cast<const std::byte*>(&out);
  shape.param_bytes = sizeof(out);
  const Kernel* found = linked.program->findKernel(name);
  EXPECT_NE(found, nullptr);
  if (found == nullptr) return -1;
  LaunchResult end = run(*found, loaded, shape, device);
  EXPECT_EQ(end.status, LaunchStatus::ok) << end.detail.message;
  return *out;
}

void expectRefused(const std::vector<std::string>& bodies, CompileStatus status,
                   const std::string& words) {
  Linked linked = link(bodies);
  EXPECT_EQ(linked.program, nullptr);
  EXPECT_EQ(linked.log.status, status);
  EXPECT_NE(linked.log.text.find(words), std::string::npos) << linked.log.text;
}

TEST(Link, FunctionsOfOtherTextsInBothOrders) {
  std::string user = kDeclared + kernel("k", callTo("f")), maker = function(".visible", "f", "42");
  EXPECT_EQ(valueOf({user, maker}), 42);
  EXPECT_EQ(valueOf({maker, user}), 42);
}

TEST(Link, VariablesOfOtherTexts) {
  std::string user = ".extern .global .align 4 .u32 v;\n.extern .const .align 4 .b8 c[];\n" +
                     kernel("k",
                            "ld.global.u32 %r0, [v];\nmov.u64 %d1, c;\nld.const.u32 %r1, "
                            "[%d1+4];\nadd.u32 %r0, %r0, %r1;");
  std::string maker =
      ".visible .global .align 4 .u32 v = 7;\n.visible .const .align 4 .b8 c[8] = {1,0,0,0,30};\n";
  EXPECT_EQ(valueOf({user, maker}), 37);
}

TEST(Link, NamesWithoutLinkageBelongToTheirText) {
  std::string user = function("", "f", "1") + ".global .u32 v = 10;\n" + function("", "g", "0") +
                     ".extern .func (.param .b32 r) h();\n" +
                     kernel("k", callTo("h") + "mov.u32 %r1, %r0;\n" + callTo("f") +
                                     "add.u32 %r0, %r0, %r1;\nld.global.u32 %r1, [v];\n"
                                     "add.u32 %r0, %r0, %r1;");
  std::string other = function("", "f", "2000") + ".global .u32 v = 30000;\n" +
                      ".visible .func (.param .b32 r) h()\n{\n.reg .b32 %r<4>;\n" + callTo("f") +
                      "ld.global.u32 %r1, [v];\nadd.u32 %r0, %r0, %r1;\nst.param.b32 [r], %r0;\n"
                      "ret;\n}\n";
  EXPECT_EQ(valueOf({user, other}), 32011);
  EXPECT_EQ(valueOf({other, user}), 32011);
}

TEST(Link, StrongDefinitionsWinOverWeakOnes) {
  std::string user = kDeclared + kernel("k", callTo("f"));
  std::string weak1 = function(".weak", "f", "1"), weak2 = function(".weak", "f", "2");
  EXPECT_EQ(valueOf({user, weak1, weak2}), 1);
  EXPECT_EQ(valueOf({user, weak2, weak1}), 2);
  EXPECT_EQ(valueOf({user, weak1, function(".visible", "f", "3")}), 3);
  EXPECT_EQ(valueOf({function(".visible", "f", "3"), weak1, user}), 3);
  // A text's own weak function gives way as well.
  EXPECT_EQ(valueOf({weak1 + kernel("k", callTo("f")), function(".visible", "f", "3")}), 3);
}

TEST(Link, CommonVariablesAreOneOfTheLargestSize) {
  std::string small =
      ".common .global .align 4 .b8 v[4];\n" +
      kernel("k", "mov.u32 %r0, 5;\nst.global.u32 [v], %r0;\nld.global.u32 %r0, [v];");
  std::string large = ".common .global .align 16 .b8 v[64];\n";
  Linked linked = link({small, large});
  ASSERT_NE(linked.program, nullptr) << linked.log.text;
  ASSERT_EQ(linked.program->variables().size(), 1u);
  EXPECT_EQ(linked.program->variables()[0].size, 64u);
  EXPECT_EQ(linked.program->variables()[0].align, 16u);
  EXPECT_EQ(valueOf({small, large}), 5);
}

TEST(Link, InitialisersNameFunctionsAndVariablesOfOtherTexts) {
  std::string user = std::string(kDeclared) +
                     ".extern .global .align 4 .u32 v;\n"
                     ".global .align 8 .u64 table[2] = {f, generic(v)};\n" +
                     kernel("k",
                            "ld.global.u64 %d1, [table];\nld.global.u64 %d2, [table+8];\n"
                            "{\n.param .b32 v0;\nproto: .callprototype (.param .b32 _) _ ();\n"
                            "call (v0), %d1, (), proto;\nld.param.b32 %r0, [v0];\n}\n"
                            "ld.u32 %r1, [%d2];\nadd.u32 %r0, %r0, %r1;");
  std::string maker = function(".visible", "f", "40") + ".visible .global .align 4 .u32 v = 2;\n";
  EXPECT_EQ(valueOf({user, maker}), 42);
  EXPECT_EQ(valueOf({function("", "f", "1"), user, maker}), 42);
}

TEST(Link, AnAliasIsFoundByOtherTexts) {
  std::string user = kDeclared + kernel("k", callTo("f"));
  std::string maker =
      function("", "body", "8") + ".visible .func (.param .b32 r) f();\n.alias f, body;\n";
  EXPECT_EQ(valueOf({maker + kernel("k", callTo("f"))}), 8);
  EXPECT_EQ(valueOf({user, maker}), 8);
  EXPECT_EQ(valueOf({maker, user}), 8);
}

TEST(Link, WhatIsDefinedTwice) {
  expectRefused({function(".visible", "f", "1"), function(".visible", "f", "2")},
                CompileStatus::duplicate,
                "Multiple definition of 'f' in 'b', first defined in 'a'.");
  expectRefused({kernel("k", "mov.u32 %r0, 1;"), kernel("k", "mov.u32 %r0, 2;")},
                CompileStatus::duplicate,
                "Multiple definition of 'k' in 'b', first defined in 'a'.");
  expectRefused({".visible .global .u32 v;\n", ".visible .global .u32 v;\n"},
                CompileStatus::duplicate, "Multiple definition of 'v'");
}

TEST(Link, WhatIsDefinedNowhere) {
  expectRefused({"", kDeclared + kernel("k", callTo("f"))}, CompileStatus::unresolved,
                "Undefined reference to 'f' in 'b'.");
  expectRefused({".extern .global .u32 v;\n" + kernel("k", "ld.global.u32 %r0, [v];")},
                CompileStatus::unresolved, "Undefined reference to 'v' in 'a'.");
  // A name that another text keeps to itself is no definition.
  expectRefused({kDeclared + kernel("k", callTo("f")), function("", "f", "1")},
                CompileStatus::unresolved, "Undefined reference to 'f' in 'a'.");
  expectRefused({".extern .global .u32 v;\n.global .u64 p = generic(v);\n"},
                CompileStatus::unresolved, "'v' in an initialiser has no definition.");
}

TEST(Link, DeclarationsThatDoNotFit) {
  std::string maker = ".visible .global .align 4 .b8 v[8];\n";
  expectRefused({".extern .global .align 4 .b8 v[16];\n", maker}, CompileStatus::invalid_ptx,
                "The size does not match for 'v' in 'a', first specified in 'b'.");
  expectRefused({".extern .func (.param .b64 r) f();\n", function(".visible", "f", "1")},
                CompileStatus::invalid_ptx,
                "The prototype does not match for 'f' in 'a', first specified in 'b'.");
  expectRefused({".extern .global .u32 f;\n", function(".visible", "f", "1")},
                CompileStatus::invalid_ptx, "The kind does not match for 'f'");
  expectRefused({".visible .const .u32 f;\n", ".visible .global .u32 f;\n"},
                CompileStatus::invalid_ptx, "'f' in 'b' is something else than in 'a'.");
}

TEST(Link, ErrorsNameTheirText) {
  expectRefused({"", kernel("k", "\nmov.u32 %r0, %nothing;")}, CompileStatus::invalid_ptx,
                "b, line ");
}

TEST(Link, OneTextIsCheckedWithoutTheOthers) {
  CompileLog log;
  std::string user = header() + kDeclared + ".extern .global .u32 v;\n" +
                     kernel("k", callTo("f") + "ld.global.u32 %r1, [v];");
  EXPECT_TRUE(Program::checkInput({user, "a"}, {}, log)) << log.text;
  std::string wrong = header() + kernel("k", "frobnicate.u32 %r0, %r1;");
  EXPECT_FALSE(Program::checkInput({wrong, "b"}, {}, log));
  EXPECT_EQ(log.status, CompileStatus::unsupported);
}

}  // namespace
}  // namespace farwarp::ptx
