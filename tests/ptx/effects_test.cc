// Goal: instructions whose effect is not a value in a register have that effect, and hints and
// fences have none. Method: one kernel each; for hints and fences, one for every variant of the
// table of forms.
#include "gpud/device/cpu/ptx/tensor_map.h"
#include "gpud/device/cpu/ptx/tool/forms.h"
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

TEST(Effects, HintsAndFencesChangeNothing) {
  constexpr std::string_view kNames[] = {"prefetch",     "membar",         "fence",
                                         "createpolicy", "griddepcontrol", "setmaxnreg",
                                         "nanosleep",    "pmevent"};
  size_t variants = 0;
  for (const InstructionForms& form : instructionForms()) {
    for (const std::string& instruction : expandForms(form.pattern)) {
      bool named = std::any_of(std::begin(kNames), std::end(kNames), [&](std::string_view name) {
        return instruction.starts_with(name);
      });
      if (!named) continue;
      SCOPED_TRACE(instruction);
      TestDevice device;
      TestModule module(
          device, kernelText(".reg .b64 %d<2>; .reg .b32 %r<2>;",
                             "mov.u64 %d0, %out; mov.u32 %r1, 7; st.global.u32 [%out], %r1;\n" +
                                 instruction +
                                 "; ld.global.u32 %r0, [%out]; add.u32 %r0, %r0, %r1;"
                                 " st.global.u32 [%out+4], %r0;",
                             0));
      auto* out = device.allocateArray<uint32_t>(64);
      ASSERT_EQ(module.launch("k", {1}, {1}, 0, out).status, LaunchStatus::ok);
      EXPECT_EQ(out[0], 7u);
      EXPECT_EQ(out[1], 14u);
      ++variants;
    }
  }
  EXPECT_GE(variants, 17u);
}

TEST(Effects, BreakpointsEndTheLaunch) {
  TestDevice device;
  TestModule module(device, kernelText("", "brkpt;", 0));
  EXPECT_EQ(module.launch("k", {1}, {1}, 0, device.allocateArray<uint32_t>(1)).status,
            LaunchStatus::trap);
}

// What was allocated after the stack was saved is free again when it is restored.
TEST(Effects, RestoredStacksAreUsedAgain) {
  for (std::string type : {"u32", "u64"}) {
    TestDevice device;
    TestModule module(
        device,
        kernelText(".reg ." + type + " %s, %a<4>;",
                   "alloca." + type + " %a0, 64, 16; stacksave." + type + " %s; alloca." + type +
                       " %a1, 64, 16; stackrestore." + type + " %s; alloca." + type +
                       " %a2, 64, 16; alloca." + type +
                       " %a3, 64, 16;"
                       "st.global." +
                       type + " [%out], %a0; st.global." + type + " [%out+8], %a1; st.global." +
                       type + " [%out+16], %a2; st.global." + type + " [%out+24], %a3;",
                   0));
    auto* out = device.allocateArray<uint64_t>(4);
    ASSERT_EQ(module.launch("k", {1}, {1}, 0, out).status, LaunchStatus::ok);
    EXPECT_EQ(out[1], out[2]);
    EXPECT_NE(out[0], out[1]);
    EXPECT_NE(out[2], out[3]);
  }
}

TEST(Effects, StoresThatSignalABarrier) {
  TestDevice device;
  TestModule module(device, kernelText(R"(.reg .b32 %r<6>; .reg .pred %p; .shared .align 8 .b64 bar;
      .shared .align 4 .b32 cell;)",
                                       R"(
    mov.u32 %r1, cell; mov.u32 %r2, bar; mapa.shared::cluster.u32 %r3, %r1, 0; mapa.shared::cluster.u32 %r4, %r2, 0;
    mbarrier.init.shared.b64 [bar], 1; mbarrier.arrive.expect_tx.shared.b64 _, [bar], 4;
    mov.u32 %r0, 4711; st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%r3], %r0, [%r4];
    again: mbarrier.try_wait.parity.shared.b64 %p, [bar], 0; @!%p bra again;
    ld.shared.u32 %r5, [cell]; st.global.u32 [%out], %r5; mbarrier.inval.shared.b64 [bar];)",
                                       0));
  auto* out = device.allocateArray<uint32_t>(1);
  ASSERT_EQ(module.launch("k", {1}, {1}, 0, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], 4711u);
}

TEST(Effects, FieldsOfTensorMapsAreReplaced) {
  TestDevice device;
  std::string body =
      "mov.u64 %d1, 0x123450; mov.u32 %r1, 17; mov.u64 %d2, 4096; add.u64 %d0, %out, 0;\n";
  for (const char* field :
       {"global_address.global.b1024.b64 [%d0], %d1", "rank.global.b1024.b32 [%d0], 2",
        "elemtype.global.b1024.b32 [%d0], 6", "interleave_layout.global.b1024.b32 [%d0], 0",
        "swizzle_mode.global.b1024.b32 [%d0], 3", "fill_mode.global.b1024.b32 [%d0], 1",
        "box_dim.global.b1024.b32 [%d0], 1, %r1", "global_dim.global.b1024.b32 [%d0], 2, %r1",
        "element_stride.global.b1024.b32 [%d0], 0, 2",
        "global_stride.global.b1024.b64 [%d0], 1, %d2"}) {
    body += "tensormap.replace.tile." + std::string(field) + ";\n";
  }
  // The same of a map in shared memory, which then goes to the second one.
  body +=
      R"(mov.u64 %d3, map; ld.global.u64 %d1, [%out]; st.shared.u64 [map], %d1; tensormap.replace.tile.global_address.shared::cta.b1024.b64 [%d3], %d2;
    add.u64 %d4, %out, 128;
    tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [%d4], [%d3], 128;)";
  TestModule module(
      device,
      kernelText(".reg .b64 %d<5>; .reg .b32 %r<2>; .shared .align 128 .b8 map[128];", body, 0));
  auto* maps = device.allocateArray<TensorMap>(2);
  maps[0] = TensorMap{};
  maps[0].tag = kTensorMapTag;
  maps[0].interleave = 1;
  LaunchResult r = module.launch("k", {1}, {1}, 0, maps);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  EXPECT_EQ(maps[0].tag, kTensorMapTag);
  EXPECT_EQ(maps[0].address, 0x123450u);
  EXPECT_EQ(maps[0].rank, 3);  // told as one less
  EXPECT_EQ(maps[0].type, 6);
  EXPECT_EQ(maps[0].interleave, 0);
  EXPECT_EQ(maps[0].swizzle, 3);
  EXPECT_EQ(maps[0].fill, 1);
  EXPECT_EQ(maps[0].box[1], 17);
  EXPECT_EQ(maps[0].last[2], 16u);
  EXPECT_EQ(maps[0].element_strides[0], 2);
  EXPECT_EQ(maps[0].strides[1], 4096u);
  EXPECT_EQ(maps[1].address, 4096u);
}

}  // namespace
}  // namespace farwarp::ptx
