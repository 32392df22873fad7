// Goal: gather4 loads, and scatter4 stores, four rows of a matrix that coordinates name, with what
// lies outside filled or left alone. Method: a tensor map written as cuTensorMapEncode does, rows
// inside, before and behind the matrix, and columns that reach over its edge.
#include "gpud/device/cpu/ptx/tensor_map.h"

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

constexpr uint32_t kColumns = 24, kRows = 8, kBox = 8;

TEST(TensorCopy, RowsAreGatheredAndScattered) {
  TestDevice device;
  TestModule module(device, kernelText(R"(.reg .b32 %r<8>; .reg .pred %p; .reg .b64 %map;
      .shared .align 8 .b64 bar; .shared .align 128 .b8 box[128];)",
                                       R"(
    mov.u64 %map, %in0; mov.u32 %r0, 20; mov.u32 %r1, 5; mov.u32 %r2, -1; mov.u32 %r3, 0; mov.u32 %r4, 8;
    setp.eq.u32 %p, %t2, 0;
    @%p mbarrier.init.shared.b64 [bar], 1;
    @%p mbarrier.arrive.expect_tx.shared.b64 _, [bar], 128;
    @%p cp.async.bulk.tensor.2d.shared::cta.global.tile::gather4.mbarrier::complete_tx::bytes
      [box], [%map, {%r0, %r1, %r2, %r3, %r4}], [bar];
    bar.sync 0;
    again: mbarrier.try_wait.parity.shared.b64 %p, [bar], 0; @!%p bra again;
    mov.u32 %r5, box; mad.lo.u32 %r5, %t2, 4, %r5; ld.shared.b32 %r6, [%r5];
    mad.wide.u32 %at, %t2, 4, %out; st.global.b32 [%at], %r6;
    add.u32 %r6, %t2, 100; st.shared.b32 [%r5], %r6; bar.sync 0;
    setp.eq.u32 %p, %t2, 0; mov.u32 %r0, 0; mov.u32 %r3, 7;
    @%p cp.async.bulk.tensor.2d.global.shared::cta.tile::scatter4.bulk_group
      [%map, {%r0, %r1, %r2, %r3, %r4}], [box];)"));
  ASSERT_TRUE(module);
  auto* matrix = device.allocateArray<uint32_t>(kColumns * kRows);
  for (uint32_t k = 0; k < kColumns * kRows; ++k) matrix[k] = k;
  auto* map = device.allocateArray<TensorMap>(1);
  *map = TensorMap{};
  map->tag = kTensorMapTag;
  map->address = reinterpret_cast<uint64_t>(matrix);
  map->strides[0] = kColumns * 4;
  map->last[0] = kColumns - 1;
  map->last[1] = kRows - 1;
  map->box[0] = kBox;
  map->box[1] = 1;
  map->element_strides[0] = map->element_strides[1] = 1;
  map->type = 2;  // uint32
  map->rank = 2;
  auto* out = device.allocateArray<uint32_t>(32);
  LaunchResult r = module.launch("k", {1}, {32}, 0, out, map);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  const int gathered[] = {5, -1, 0, 8}, scattered[] = {5, -1, 7, 8};
  for (uint32_t row = 0; row < 4; ++row) {
    for (uint32_t c = 0; c < kBox; ++c) {
      bool inside = gathered[row] >= 0 && gathered[row] < int(kRows) && 20 + c < kColumns;
      uint32_t want = inside ? static_cast<uint32_t>(gathered[row]) * kColumns + 20 + c : 0;
      EXPECT_EQ(out[kBox * row + c], want) << row << " " << c;
    }
  }
  for (uint32_t row = 0; row < kRows; ++row) {
    for (uint32_t c = 0; c < kColumns; ++c) {
      uint32_t want = row * kColumns + c;
      for (uint32_t k = 0; k < 4; ++k) {
        if (scattered[k] == int(row) && c < kBox) want = 100 + kBox * k + c;
      }
      EXPECT_EQ(matrix[row * kColumns + c], want) << row << " " << c;
    }
  }
  map->box[1] = 2;  // boxes of one row are gathered
  EXPECT_EQ(module.launch("k", {1}, {32}, 0, out, map).status, LaunchStatus::illegal_instruction);
}

}  // namespace
}  // namespace farwarp::ptx
