// Goal: what a program says of its kernels lets a driver decide which launches can run. Method:
// kernels with a hundred live registers and different bounds are compiled, and their KernelInfo is
// compared with what the bounds leave.
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

}  // namespace
}  // namespace farwarp::ptx
