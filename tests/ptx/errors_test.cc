// Goal: bad PTX is refused with line, instruction and reason; bad kernels end their launch with the
// right status and place, and the process and later launches are unharmed. Method: one case each.
#include <thread>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

CompileLog compileFails(const std::string& text) {
  CompileLog log;
  EXPECT_EQ(Program::compile(text, log), nullptr) << text;
  return log;
}

TEST(Errors, BadPtxIsRefusedWithLineAndReason) {
  struct Case {
    const char* body;
    CompileStatus status;
    uint32_t line;
    const char* word;
  };
  for (const Case& c :
       {Case{"add.s32 %a, %b;", CompileStatus::invalid_ptx, 6, "operands"},
        Case{"frobnicate.b32 %a, %b;", CompileStatus::unsupported, 6, "frobnicate"},
        Case{"add.s32 %a, %a, %nothing;", CompileStatus::invalid_ptx, 6, "%nothing"},
        Case{"add.s64 %a, %a, %a;", CompileStatus::invalid_ptx, 6, "u32"},
        Case{"\nbra nowhere;", CompileStatus::invalid_ptx, 7, "nowhere"},
        Case{"add.wrong.s32 %a, %a, %a;", CompileStatus::unsupported, 6, "wrong"},
        Case{"add.s32 %a, %a, %a", CompileStatus::invalid_ptx, 7, ";"},
        Case{"{ .param .b32 x; call missing, (x); }", CompileStatus::invalid_ptx, 6, "missing"},
        Case{"mov.f32 %a, 0f12;", CompileStatus::invalid_ptx, 6, "hexadecimal"}}) {
    CompileLog log =
        compileFails(header() + ".visible .entry k() {\n.reg .u32 %a, %b;\n" + c.body + "\nret; }");
    EXPECT_EQ(log.status, c.status) << log.text;
    EXPECT_EQ(log.line, c.line) << log.text;
    EXPECT_NE(log.text.find(c.word), std::string::npos) << log.text;
  }
  EXPECT_EQ(compileFails("").status, CompileStatus::invalid_ptx);
  EXPECT_NE(compileFails(header() + ".global .pred p[2] = {1, 0};").text.find("Predicates"),
            std::string::npos);
  EXPECT_EQ(
      compileFails(header() + ".extern .func f();\n.visible .entry k() { call f; ret; }").status,
      CompileStatus::unresolved);
}

// Every truncation of a valid text is refused or accepted, but never crashes.
TEST(Errors, TruncatedTextNeverCrashes) {
  std::string text = kernelText(".reg .b32 %r<4>; .shared .align 4 .b8 s[8]; .reg .pred %p;",
                                "setp.eq.and.u32 %p|%p, %r1, 0xff, !%p; @%p bra x; "
                                "ld.global.v2.u32 {%r1, %r2}, [%in0+4]; x:");
  for (size_t n = 0; n < text.size(); ++n) {
    CompileLog log;
    Program::compile(std::string_view(text).substr(0, n), log);
  }
}

const char* kTouch = R"(
  .visible .entry k(.param .u64 p, .param .u32 lane) { .reg .u64 %a; .reg .u32 %r<3>; .reg .pred %p;
    ld.param.u64 %a, [p]; ld.param.u32 %r0, [lane]; mov.u32 %r1, %tid.x; setp.eq.u32 %p, %r0, %r1;
    @%p st.global.u32 [%a], %r1; ret; }
  .visible .entry s(.param .u64 p) { .reg .u32 %r<3>; .shared .u32 x[4]; mov.u32 %r0, x; ld.shared.u32 %r1, [%r0+64]; ret; }
  .visible .entry t(.param .u64 p) { trap; }
  .visible .entry spin(.param .u64 p) { x: bra x; }
  .visible .entry stuck(.param .u64 p) { .reg .u32 %r; .reg .pred %p; mov.u32 %r, %tid.x; setp.lt.u32 %p, %r, 32;
    @%p bra a; bar.sync 1, 96; ret; a: bar.sync 2, 96; ret; }
  .func f(.param .b32 n) { .local .b8 big[1024]; { .param .b32 x; st.param.b32 [x], 1; call f, (x); } ret; }
  .func g(.param .b32 n) { .reg .b32 %r; .reg .pred %p; ld.param.b32 %r, [n]; setp.eq.u32 %p, %r, 0; @%p ret;
    sub.u32 %r, %r, 1; { .param .b32 x; st.param.b32 [x], %r; call g, (x); }
    { .param .b32 x; st.param.b32 [x], %r; call g, (x); } ret; }
  .visible .entry tree(.param .u64 p) { { .param .b32 x; st.param.b32 [x], 60; call g, (x); } ret; }
  .visible .entry deep(.param .u64 p) { { .param .b32 x; st.param.b32 [x], 1; call f, (x); } ret; }
)";

TEST(Errors, BadAccessesEndTheLaunchAndNothingElse) {
  TestDevice device;
  TestModule module(device, header() + kTouch);
  auto* good = device.allocateArray<uint32_t>(1024);
  auto base = reinterpret_cast<uint64_t>(good);
  uint64_t host = 0;
  for (uint64_t address :
       {uint64_t{0}, uint64_t{64}, base + 8192, reinterpret_cast<uint64_t>(&host), ~uint64_t{7}}) {
    LaunchResult r = module.launch("k", {1}, {64}, 0, address & ~uint64_t{3}, uint32_t{37});
    EXPECT_EQ(r.status, LaunchStatus::illegal_address) << std::hex << address;
    EXPECT_EQ(r.detail.thread.x, 37u);
    EXPECT_EQ(r.detail.address, address & ~uint64_t{3});
    EXPECT_EQ(r.detail.kernel, "k");
    EXPECT_NE(r.detail.ptx_line, 0u);
  }
  EXPECT_EQ(host, 0u);
  EXPECT_EQ(module.launch("k", {1}, {64}, 0, base + 2, uint32_t{5}).status,
            LaunchStatus::misaligned_address);
  EXPECT_EQ(module.launch("s", {1}, {64}, 0, base).status, LaunchStatus::illegal_address);
  EXPECT_EQ(module.launch("k", {1}, {64}, 0, base, uint32_t{5}).status, LaunchStatus::ok);
  EXPECT_EQ(good[0], 5u);
}

// Found by fuzzing: sums of offsets that do not fit into 64 bits.
TEST(Errors, OffsetsAtTheEndsOfTheRange) {
  for (const char* offset :
       {"9223372036854775807", "-9223372036854775808", "18446744073709551615"}) {
    for (const char* base : {"p", "%d0", "cells", "own", "fixed", "%r0", "32"}) {
      for (const char* access :
           {"ld.param.u64 %d1, ", "ld.global.v4.u32 {%r0,%r1,%r2,%r3}, ",
            "ld.shared.v2.u32 {%r0,%r1}, ", "ld.local.u32 %r1, ", "ld.const.u64 %d1, ",
            "ld.u8 %r1, ", "atom.global.add.u32 %r1, "}) {
        bool atomic = std::string_view(access).starts_with("atom");
        CompileLog log;
        auto program = Program::compile(
            header() +
                ".const .align 8 .b8 fixed[64];\n.visible .entry k(.param .u64 p)\n{\n"
                ".reg .b32 %r<4>;\n.reg .b64 %d<3>;\n.shared .align 16 .b8 cells[64];\n"
                ".local .align 16 .b8 own[64];\nld.param.u64 %d0, [p];\n" +
                access + "[" + base + "+" + offset + "]" + (atomic ? ", 1" : "") + ";\nret;\n}\n",
            log);
        EXPECT_EQ(program == nullptr, log.status != CompileStatus::ok);
      }
    }
    CompileLog log;
    Program::compile(header() +
                         ".global .u32 v;\n.global .u64 t[2] = {v + 9223372036854775807 + 1, v - " +
                         offset + "};\n",
                     log);
  }
}

// %d0 = 4096 bytes of memory, %d1 = generic address of 64 bytes of shared memory, %d2 = that of 64
// bytes of local memory.
TEST(Errors, AccessesOutsideAndAcrossInEverySpace) {
  constexpr auto kIllegal = LaunchStatus::illegal_address;
  constexpr auto kMisaligned = LaunchStatus::misaligned_address;
  const std::pair<const char*, LaunchStatus> cases[] = {
      {"ld.global.u32 %r0, [%d0+4092];", LaunchStatus::ok},
      {"ld.global.u32 %r0, [%d0+4096];", kIllegal},
      {"ld.global.v4.u32 {%r0,%r1,%r2,%r3}, [%d0+8];", kMisaligned},
      {"ld.global.nc.u64 %d3, [%d0+4];", kMisaligned},
      {"st.global.u16 [%d0+1], %h;", kMisaligned},
      {"atom.global.add.u32 %r0, [%d0+2], 1;", kMisaligned},
      {"atom.global.add.u64 %d3, [%d0+8192], 1;", kIllegal},
      {"red.global.add.f32 [%d0+1], 0f3F800000;", kMisaligned},
      {"ld.shared.u32 %r0, [cells+60];", LaunchStatus::ok},
      {"ld.shared.u32 %r0, [cells+64];", kIllegal},
      {"ld.shared.u32 %r0, [cells+2];", kMisaligned},
      {"mov.u32 %r1, cells; ld.shared.v2.u32 {%r2,%r3}, [%r1+4];", kMisaligned},
      {"mov.u32 %r1, cells; st.shared.u32 [%r1+64], %r0;", kIllegal},
      {"mov.u32 %r1, cells; st.shared.u32 [%r1+-4], %r0;", kIllegal},
      {"atom.shared.cas.b32 %r0, [cells+64], 0, 1;", kIllegal},
      {"atom.shared.exch.b64 %d3, [cells+4], 1;", kMisaligned},
      {"ld.u32 %r0, [%d1+60];", LaunchStatus::ok},
      {"ld.u32 %r0, [%d1+1048576];", kIllegal},
      {"ld.u32 %r0, [%d1+2];", kMisaligned},
      {"ld.local.u32 %r0, [own+60];", LaunchStatus::ok},
      {"ld.local.u32 %r0, [own+2];", kMisaligned},
      {"mov.u64 %d3, own; st.local.u32 [%d3+1048576], %r0;", kIllegal},
      {"st.u16 [%d2+1], %h;", kMisaligned},
      {"ld.const.u32 %r0, [fixed+2];", kMisaligned},
      {"mov.u64 %d3, fixed; ld.const.u64 %d4, [%d3+4];", kMisaligned},
      {"mov.u64 %d3, 64; ld.const.u32 %r0, [%d3];", kIllegal},
      {"mov.u32 %r1, cells; cp.async.ca.shared.global [%r1], [%d0+2], 4;", kMisaligned},
      {"mov.u32 %r1, cells; cp.async.cg.shared.global [%r1+64], [%d0], 16;", kIllegal},
      {"mov.u32 %r1, cells; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%r1+8];", kMisaligned},
      {"mov.u32 %r1, 0x02000000; ld.shared::cluster.u32 %r0, [%r1];", kIllegal},
  };
  TestDevice device;
  auto* memory = device.allocateArray<uint32_t>(1024);
  for (auto [access, status] : cases) {
    TestModule module(
        device,
        header() +
            ".const .align 8 .b8 fixed[64];\n.visible .entry k(.param .u64 p)\n{\n"
            ".reg .b16 %h;\n.reg .b32 %r<4>;\n.reg .b64 %d<6>;\n"
            ".shared .align 16 .b8 cells[64];\n.local .align 16 .b8 own[64];\n"
            "ld.param.u64 %d0, [p];\nmov.u64 %d1, cells;\ncvta.shared.u64 %d1, %d1;\n"
            "mov.u64 %d2, own;\ncvta.local.u64 %d2, %d2;\nmov.u32 %r0, 1;\nmov.b16 %h, 1;\n" +
            access + "\nret;\n}\n");
    LaunchResult end = module.launch("k", {1}, {32}, 0, memory);
    EXPECT_EQ(end.status, status) << access << " " << end.detail.message;
  }
}

TEST(Errors, RangesOfHostMemoryCanBeAddedAndRemoved) {
  TestDevice device;
  TestModule module(device, header() + kTouch);
  std::vector<uint32_t> host(1024);
  auto begin = reinterpret_cast<uint64_t>(host.data());
  device.memory().add(begin, begin + 4096);
  EXPECT_EQ(module.launch("k", {1}, {64}, 0, begin + 4092, uint32_t{9}).status, LaunchStatus::ok);
  EXPECT_EQ(host[1023], 9u);
  EXPECT_EQ(module.launch("k", {1}, {64}, 0, begin + 4096, uint32_t{9}).status,
            LaunchStatus::illegal_address);
  EXPECT_TRUE(device.memory().remove(begin));
  EXPECT_EQ(module.launch("k", {1}, {64}, 0, begin, uint32_t{9}).status,
            LaunchStatus::illegal_address);
}

TEST(Errors, TrapsDeadlocksAndDeepRecursionAreReported) {
  TestDevice device;
  TestModule module(device, header() + kTouch);
  EXPECT_EQ(module.launch("t", {8}, {64}, 0, uint64_t{0}).status, LaunchStatus::trap);
  EXPECT_EQ(module.launch("stuck", {2}, {64}, 0, uint64_t{0}).status, LaunchStatus::deadlock);
  EXPECT_EQ(module.launch("deep", {1}, {64}, 0, uint64_t{0}).status, LaunchStatus::stack_overflow);
}

TEST(Errors, EndlessKernelsAreStopped) {
  TestDevice device;
  TestModule module(device, header() + kTouch);
  LaunchShape shape;
  shape.grid = {4};
  shape.block = {64};
  LaunchControl control;
  control.timeout_ns = 50'000'000;
  EXPECT_EQ(module.launchShape("spin", shape, &control, uint64_t{0}).status,
            LaunchStatus::launch_timeout);
  EXPECT_EQ(module.launchShape("tree", shape, &control, uint64_t{0}).status,
            LaunchStatus::launch_timeout);
  LaunchControl aborted;
  aborted.abort = true;
  EXPECT_EQ(module.launchShape("spin", shape, &aborted, uint64_t{0}).status, LaunchStatus::aborted);
}

TEST(Errors, BadShapesAreRefused) {
  TestDevice device;
  TestModule module(device, header() + kTouch);
  EXPECT_EQ(module.launch("t", {1}, {1025}, 0, uint64_t{0}).status, LaunchStatus::bad_shape);
  EXPECT_EQ(module.launch("t", {0}, {32}, 0, uint64_t{0}).status, LaunchStatus::bad_shape);
  EXPECT_EQ(module.launch("t", {1}, {32}, 1 << 20, uint64_t{0}).status, LaunchStatus::bad_shape);
  EXPECT_EQ(module.launch("t", {1}, {32}, 0).status, LaunchStatus::bad_shape);
}

TEST(Errors, FaultsOfOneThreadLeaveOtherLaunchesAlone) {
  TestDevice device;
  TestModule module(device, header() + kTouch);
  auto* good = device.allocateArray<uint32_t>(64);
  std::thread bad([&] {
    for (int k = 0; k < 200; ++k) {
      EXPECT_EQ(module.launch("k", {2}, {64}, 0, good + (1 << 16), uint32_t{3}).status,
                LaunchStatus::illegal_address);
    }
  });
  for (int k = 0; k < 200; ++k) {
    EXPECT_EQ(module.launch("k", {2}, {64}, 0, good, uint32_t{3}).status, LaunchStatus::ok);
  }
  bad.join();
}

}  // namespace
}  // namespace farwarp::ptx
