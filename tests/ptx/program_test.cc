// Goal: what a program says of its kernels lets a driver decide which launches can run, and what
// kernels print is only what they passed. Method: kernels with a hundred live registers and
// different bounds are compiled, and their KernelInfo is compared with what the bounds leave;
// formats that would let the host's printf read or write what it must not are printed.
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

// Registers of a kernel that needs over a hundred, with `bounds` as its directives.
uint32_t registersWith(const std::string& bounds) {
  std::string text = header() + ".visible .entry k(.param .u64 p)" + bounds + R"( {
    .reg .u64 %a; .reg .u32 %r<100>; ld.param.u64 %a, [p];)";
  for (int k = 0; k < 100; ++k) {
    text += "ld.volatile.global.u32 %r" + std::to_string(k) + ", [%a];\n";
  }
  for (int k = 0; k < 100; ++k) {
    text += "st.volatile.global.u32 [%a], %r" + std::to_string(k) + ";\n";
  }
  CompileLog log;
  auto program = Program::compile(text + "ret; }", log);
  EXPECT_NE(program, nullptr) << log.text;
  return program == nullptr ? 0 : program->kernels()[0].info().registers;
}

TEST(Program, RegistersLeaveRoomForTheBlocksThatTheKernelIsMadeFor) {
  EXPECT_EQ(registersWith(""), 64u) << "A block of 1024 threads runs.";
  EXPECT_EQ(registersWith(" .maxntid 512, 2, 1"), 64u);
  EXPECT_EQ(registersWith(" .reqntid 640, 1, 1"), 96u);
  EXPECT_EQ(registersWith(" .maxntid 256, 1, 1 .minnctapersm 3"), 80u);
  EXPECT_EQ(registersWith(" .maxntid 1024, 1, 1 .minnctapersm 32"), 16u);
  EXPECT_EQ(registersWith(" .maxntid 128, 1, 1 .maxnreg 40"), 40u);
  EXPECT_GT(registersWith(" .maxntid 128, 1, 1"), 100u);
}

// What vprintf prints for a format and arguments of 8 bytes each.
std::string printed(const std::string& format, const std::vector<uint64_t>& arguments) {
  TestDevice device(1);
  std::string text =
      header() +
      ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
      ".visible .entry k(.param .u64 format, .param .u64 values)\n{\n"
      ".reg .b64 %d<3>;\nld.param.u64 %d0, [format];\nld.param.u64 %d1, [values];\n"
      "{\n.param .b64 f; st.param.b64 [f], %d0;\n.param .b64 a; st.param.b64 [a], %d1;\n"
      ".param .b32 r;\ncall.uni (r), vprintf, (f, a);\n}\nret;\n}\n";
  TestModule module(device, text);
  char* at = device.allocateArray<char>(4096);
  std::memcpy(at, format.c_str(), format.size() + 1);
  uint64_t* values = device.allocateArray<uint64_t>(16);
  std::copy(arguments.begin(), arguments.end(), values);
  LaunchResult end = module.launch("k", {1}, {1}, 0, at, values);
  EXPECT_EQ(end.status, LaunchStatus::ok) << end.detail.message;
  return device.printed;
}

TEST(Printf, KnowsTheConversionsOfCuda) {
  EXPECT_EQ(printed("%lld|%llu|%llx|%5.1f|%%", {uint64_t(-5), 7, 255, 0x4004000000000000}),
            "-5|7|ff|  2.5|%");
  EXPECT_EQ(printed("%-4lld|%+lld|%08llx", {1, 2, 3}), "1   |+2|00000003");
}

TEST(Printf, WritesNothingAndReadsNoOtherArguments) {
  uint64_t target = 42;
  uint64_t address = reinterpret_cast<uint64_t>(&target);
  EXPECT_EQ(printed("abc%n", {address}), "abc%n");
  EXPECT_EQ(printed("abc%nd", {address}), "abc%nd");
  EXPECT_EQ(printed("abc%-4nlld", {address}), "abc%-4nlld");
  EXPECT_EQ(printed("%9$lld", {1}), "%9$lld");
  EXPECT_EQ(printed("%!d %d", {3}), "%!d 3");
  EXPECT_EQ(target, 42u);
}

}  // namespace
}  // namespace farwarp::ptx
