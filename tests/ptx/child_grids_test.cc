// Goal: kernels launch grids as with libcudadevrt (dynamic parallelism). Method: PTX as nvcc writes
// it for <<<>>> in a kernel; what the children write is compared, and so are the results of
// launches that CUDA refuses.
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

const char kRuntime[] = R"(
.extern .func (.param .b64 r) __cudaCDP2GetParameterBufferV2(.param .b64 f,
    .param .align 4 .b8 g[12], .param .align 4 .b8 b[12], .param .b32 s);
.extern .func (.param .b32 r) __cudaCDP2LaunchDeviceV2(.param .b64 p, .param .b64 s);
)";

// %d1 = parameters of `kernel`<<<grid, block, shared>>>.
std::string prepare(const std::string& kernel, int grid, int block, int shared = 0) {
  auto dims = [](const std::string& name, int x) {
    return ".param .align 4 .b8 " + name + "[12];\nst.param.b32 [" + name + "], " +
           std::to_string(x) + ";\nst.param.b32 [" + name + "+4], 1;\nst.param.b32 [" + name +
           "+8], 1;\n";
  };
  return "mov.u64 %d2, " + kernel + ";\n{\n.param .b64 f; st.param.b64 [f], %d2;\n" +
         dims("g", grid) + dims("b", block) + ".param .b32 s; st.param.b32 [s], " +
         std::to_string(shared) +
         ";\n.param .b64 r;\ncall.uni (r), __cudaCDP2GetParameterBufferV2, (f, g, b, s);\n"
         "ld.param.b64 %d1, [r];\n}\n";
}
// %r0 = the result of launching what %d1 has the parameters of.
std::string launch(int stream = 0) {
  return "{\n.param .b64 p; st.param.b64 [p], %d1;\n.param .b64 s; st.param.b64 [s], " +
         std::to_string(stream) +
         ";\n.param .b32 r;\ncall.uni (r), __cudaCDP2LaunchDeviceV2, (p, s);\n"
         "ld.param.b32 %r0, [r];\n}\n";
}
std::string entry(const std::string& name, const std::string& body) {
  return ".visible .entry " + name +
         "(.param .u64 out, .param .u32 n)\n{\n.reg .b32 %r<8>;\n.reg .b64 %d<8>;\n.reg .pred "
         "%p;\nld.param.u64 %d0, [out];\nld.param.u32 %r7, [n];\nmov.u32 %r6, %tid.x;\n" +
         body + "\nDONE:\nret;\n}\n";
}
constexpr const char* kFill = "st.u64 [%d1], %d0;\nst.u32 [%d1+8], %r7;\n";

class ChildGrids : public testing::Test {
 protected:
  TestDevice device_{2};
  uint32_t* out_ = device_.allocateArray<uint32_t>(1024);
  LaunchResult run(const std::string& text, uint32_t n, Extent grid = {1}, Extent block = {1}) {
    TestModule module(device_, header() + kRuntime + text);
    return module.launch("parent", grid, block, 0, out_, n);
  }
};

// out[n + i] += ctaid * 1000 + 1
const std::string kAdd = entry("child", R"(
    mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 32, %r6; add.u32 %r2, %r2, %r7;
    mad.lo.u32 %r1, %r1, 1000, 1; mul.wide.u32 %d2, %r2, 4; add.u64 %d2, %d0, %d2;
    red.global.add.u32 [%d2], %r1;)");

TEST_F(ChildGrids, RunWithTheirShapeAndParameters) {
  LaunchResult end = run(kAdd + entry("parent", prepare("child", 2, 32) + kFill + launch() +
                                                    "st.global.u32 [%d0], %r0;"),
                         16);
  ASSERT_EQ(end.status, LaunchStatus::ok) << end.detail.message;
  EXPECT_EQ(out_[0], 0u);
  for (uint32_t i = 0; i < 64; ++i) EXPECT_EQ(out_[16 + i], i / 32 * 1000 + 1);
  EXPECT_EQ(out_[80], 0u);
}

TEST_F(ChildGrids, EveryThreadOfEveryBlockMayLaunch) {
  LaunchResult end =
      run(kAdd + entry("parent", prepare("child", 1, 1) + kFill + launch()), 3, {5}, {48});
  ASSERT_EQ(end.status, LaunchStatus::ok) << end.detail.message;
  EXPECT_EQ(out_[3], 240u);
}

// Each grid launches the next with a smaller number, and notes its turn after it.
TEST_F(ChildGrids, LaunchGridsThemselves) {
  std::string recursive = entry("parent",
                                "mul.wide.u32 %d3, %r7, 4; add.u64 %d3, %d0, %d3;\n"
                                "st.global.u32 [%d3], %r7;\n"
                                "setp.eq.u32 %p, %r7, 1; @%p bra DONE;\n"
                                "sub.u32 %r7, %r7, 1;\n" +
                                    prepare("parent", 1, 1) + kFill + launch());
  ASSERT_EQ(run(recursive, 20).status, LaunchStatus::ok);
  for (uint32_t n = 1; n <= 20; ++n) EXPECT_EQ(out_[n], n);
}

TEST_F(ChildGrids, TooDeepIsRefused) {
  // The number of parents grows until no parameters are given out any more.
  std::string recursive =
      entry("parent", "add.u32 %r7, %r7, 1; st.global.u32 [%d0], %r7;\n" + prepare("parent", 1, 1) +
                          "setp.eq.u64 %p, %d1, 0; @%p bra DONE;\n" + kFill + launch());
  ASSERT_EQ(run(recursive, 0).status, LaunchStatus::ok);
  EXPECT_EQ(out_[0], 25u);
}

TEST_F(ChildGrids, RunInOrderAndTheTailLast) {
  // The child multiplies by ten and adds its number.
  std::string digit = entry("child",
                            "ld.global.u32 %r1, [%d0]; mad.lo.u32 %r1, %r1, 10, %r7; "
                            "st.global.u32 [%d0], %r1;");
  std::string parent = "mov.u32 %r7, 3;\n" + prepare("child", 1, 1) + kFill + launch(3) +
                       "mov.u32 %r7, 1;\n" + prepare("child", 1, 1) + kFill + launch() +
                       "mov.u32 %r7, 2;\n" + prepare("child", 1, 1) + kFill + launch();
  ASSERT_EQ(run(digit + entry("parent", parent), 0).status, LaunchStatus::ok);
  EXPECT_EQ(out_[0], 123u);
}

// Fills 100 bytes with 7 and copies 40 of them, in the order of the stream with a grid before.
TEST_F(ChildGrids, CopyAndFillMemory) {
  std::string text = R"(
.extern .func (.param .b32 r) __cudaCDP2MemcpyAsync_ptsz(.param .b64 to, .param .b64 from,
    .param .b64 n, .param .b32 kind, .param .b64 s);
.extern .func (.param .b32 r) __cudaCDP2MemsetAsync(.param .b64 to, .param .b32 v, .param .b64 n,
    .param .b64 s);
)" + kAdd + entry("parent", prepare("child", 1, 32) + kFill + launch() + R"(
    add.u64 %d3, %d0, 400; mov.u64 %d4, 100; mov.u64 %d5, 40; add.u64 %d6, %d0, 800;
    {
    .param .b64 t; st.param.b64 [t], %d3; .param .b32 v; st.param.b32 [v], 263;
    .param .b64 n; st.param.b64 [n], %d4; .param .b64 s; st.param.b64 [s], 0; .param .b32 r;
    call.uni (r), __cudaCDP2MemsetAsync, (t, v, n, s); ld.param.b32 %r3, [r];
    }
    {
    .param .b64 t; st.param.b64 [t], %d6; .param .b64 f; st.param.b64 [f], %d3;
    .param .b64 n; st.param.b64 [n], %d5; .param .b32 k; st.param.b32 [k], 3;
    .param .b64 s; st.param.b64 [s], 0; .param .b32 r;
    call.uni (r), __cudaCDP2MemcpyAsync_ptsz, (t, f, n, k, s); ld.param.b32 %r4, [r];
    }
    or.b32 %r3, %r3, %r4; st.global.u32 [%d0+2000], %r3;)");
  out_[500] = 1;
  LaunchResult end = run(text, 0);
  ASSERT_EQ(end.status, LaunchStatus::ok) << end.detail.message;
  auto* bytes = reinterpret_cast<unsigned char*>(out_);
  EXPECT_EQ(out_[0], 1u);
  EXPECT_EQ(out_[500], 0u);
  for (int k = 0; k < 130; ++k) ASSERT_EQ(bytes[400 + k], k < 100 ? 7 : 0) << k;
  for (int k = 0; k < 60; ++k) ASSERT_EQ(bytes[800 + k], k < 40 ? 7 : 0) << k;
  CompileLog log;
  auto program = Program::compile(header() + kRuntime + text, log);
  ASSERT_NE(program, nullptr);
  EXPECT_EQ(program->kernels().size(), 2u) << "The engine's own kernels are nobody's business.";
}

TEST_F(ChildGrids, WrongShapesGetNoParameters) {
  for (auto [grid, block, shared] :
       {std::tuple{0, 1, 0}, {1, 0, 0}, {1, 1025, 0}, {1, 1, 1 << 20}}) {
    LaunchResult end = run(
        kAdd + entry("parent", prepare("child", grid, block, shared) + "st.global.u64 [%d0], %d1;"),
        0);
    ASSERT_EQ(end.status, LaunchStatus::ok);
    EXPECT_EQ(out_[0] | out_[1], 0u) << grid << " " << block << " " << shared;
  }
}

TEST_F(ChildGrids, WhatWasNotPreparedIsRefused) {
  LaunchResult end = run(
      kAdd + entry("parent", "mov.u64 %d1, %d0;\n" + launch() + "st.global.u32 [%d0], %r0;"), 0);
  ASSERT_EQ(end.status, LaunchStatus::ok);
  EXPECT_EQ(out_[0], 1u);  // cudaErrorInvalidValue
}

TEST_F(ChildGrids, AnErrorOfAChildIsTheLaunchsError) {
  std::string bad = entry("child", "mov.u64 %d0, 16; st.global.u32 [%d0], %r7;");
  LaunchResult end = run(bad + entry("parent", prepare("child", 1, 1) + kFill + launch()), 0);
  EXPECT_EQ(end.status, LaunchStatus::illegal_address);
  EXPECT_EQ(end.detail.kernel, "child");
}

TEST_F(ChildGrids, WaitingForAChildIsRefusedWithWords) {
  CompileLog log;
  std::string text =
      header() + ".extern .func (.param .b32 r) cudaDeviceSynchronize();\n" +
      entry("parent", "{\n.param .b32 r;\ncall.uni (r), cudaDeviceSynchronize, ();\n}\n");
  EXPECT_EQ(Program::compile(text, log), nullptr);
  EXPECT_NE(log.text.find("'cudaDeviceSynchronize' has no definition"), std::string::npos)
      << log.text;
}

}  // namespace
}  // namespace farwarp::ptx
