#include "gpud/device/cpu/ptx/tool/forms.h"

namespace farwarp::ptx {
namespace {

constexpr InstructionForms kForms[] = {
    {"Integer arithmetic", "<add|sub>.<u16|s16|u32|s32|u64|s64> $0, $1, $2"},
    {"Integer arithmetic", "<add|sub>.<sat.s32|cc.u32|cc.s32> %r0, %r1, %r2"},
    {"Integer arithmetic", "<add|sub>.cc.<u64|s64> $0, $1, $2"},
    {"Integer arithmetic", "<addc|subc>.<cc.u32|u32|cc.s32|s32> %r0, %r1, %r2"},
    {"Integer arithmetic", "add.<u16x2|s16x2> $0, $1, $2"},
    {"Integer arithmetic", "mul.<lo|hi>.<u16|s16|u32|s32|u64|s64> $0, $1, $2"},
    {"Integer arithmetic", "mul.wide.<u16|s16> %r0, $1, $2"},
    {"Integer arithmetic", "mul.wide.<u32|s32> %d0, $1, $2"},
    {"Integer arithmetic", "mad.<lo|hi>.<u16|s16|u32|s32|u64|s64> $0, $1, $2, $3"},
    {"Integer arithmetic", "mad.wide.<u16|s16> %r0, $1, $2, %r3"},
    {"Integer arithmetic", "mad.wide.<u32|s32> %d0, $1, $2, %d3"},
    {"Integer arithmetic", "mad.hi.sat.s32 %r0, %r1, %r2, %r3"},
    {"Integer arithmetic", "<mad|madc>.<lo|hi>.cc.<u32|s32|u64|s64> $0, $1, $2, $3"},
    {"Integer arithmetic", "mul24.<lo|hi>.<u32|s32> $0, $1, $2"},
    {"Integer arithmetic", "mad24.<lo|hi>.<u32|s32> $0, $1, $2, $3"},
    {"Integer arithmetic", "mad24.hi.sat.s32 %r0, %r1, %r2, %r3"},
    {"Integer arithmetic", "sad.<u16|s16|u32|s32|u64|s64> $0, $1, $2, $3"},
    {"Integer arithmetic", "<div|rem>.<u16|s16|u32|s32|u64|s64> $0, $1, $2"},
    {"Integer arithmetic", "<abs|neg>.<s16|s32|s64> $0, $1"},
    {"Integer arithmetic", "<min|max>.<u16|s16|u32|s32|u64|s64|u16x2|s16x2|relu.s32> $0, $1, $2"},
    {"Integer arithmetic", "<min|max>.relu.s16x2 %r0, %r1, %r2"},
    {"Integer arithmetic", "dp4a.<u32|s32>.<u32|s32> %r0, %r1, %r2, %r3"},
    {"Integer arithmetic", "dp2a.<lo|hi>.<u32|s32>.<u32|s32> %r0, %r1, %r2, %r3"},
    {"Logic, shifts, bit fields", "<and|or|xor>.<pred|b16|b32|b64> $0, $1, $2"},
    {"Logic, shifts, bit fields", "not.<pred|b16|b32|b64> $0, $1"},
    {"Logic, shifts, bit fields", "cnot.<b16|b32|b64> $0, $1"},
    {"Logic, shifts, bit fields", "lop3.b32 %r0, %r1, %r2, %r3, 0x80"},
    {"Logic, shifts, bit fields", "lop3.<or|and>.b32 %r0|%p0, %r1, %r2, %r3, 0x80, %p1"},
    {"Logic, shifts, bit fields", "shl.<b16|b32|b64> $0, $1, %r2"},
    {"Logic, shifts, bit fields", "shr.<b16|b32|b64|u16|u32|u64|s16|s32|s64> $0, $1, %r2"},
    {"Logic, shifts, bit fields", "shf.<l|r>.<clamp|wrap>.b32 %r0, %r1, %r2, %r3"},
    {"Logic, shifts, bit fields", "<popc|clz>.<b32|b64> %r0, $1"},
    {"Logic, shifts, bit fields", "bfind<|.shiftamt>.<u32|s32|u64|s64> %r0, $1"},
    {"Logic, shifts, bit fields", "brev.<b32|b64> $0, $1"},
    {"Logic, shifts, bit fields", "bfe.<u32|s32|u64|s64> $0, $1, %r2, %r3"},
    {"Logic, shifts, bit fields", "bfi.<b32|b64> $0, $1, $2, %r3, %r4"},
    {"Logic, shifts, bit fields", "prmt.b32<|.f4e|.b4e|.rc8|.ecl|.ecr|.rc16> %r0, %r1, %r2, %r3"},
    {"Logic, shifts, bit fields", "bmsk.<clamp|wrap>.b32 %r0, %r1, %r2"},
    {"Logic, shifts, bit fields", "szext.<clamp|wrap>.<u32|s32> %r0, %r1, %r2"},
    {"Logic, shifts, bit fields", "fns.b32 %r0, %r1, %r2, %r3"},
    {"Floating point", "<add|sub|mul>.<rn|rz|rm|rp><|.ftz><|.sat>.f32 %r0, %r1, %r2"},
    {"Floating point", "<add|sub|mul>.<rn|rz|rm|rp>.f64 %d0, %d1, %d2"},
    {"Floating point", "<add|sub|mul>.rn<|.ftz><|.sat>.<f16|f16x2> $0, $1, $2"},
    {"Floating point", "<add|sub|mul>.rn.<bf16|bf16x2> $0, $1, $2"},
    {"Floating point", "fma.<rn|rz|rm|rp><|.ftz><|.sat>.f32 %r0, %r1, %r2, %r3"},
    {"Floating point", "fma.<rn|rz|rm|rp>.f64 %d0, %d1, %d2, %d3"},
    {"Floating point", "fma.rn<|.relu>.<f16|f16x2|bf16|bf16x2> $0, $1, $2, $3"},
    {"Floating point", "<add|sub|mul>.<rn|rz|rm|rp><|.ftz>.f32x2 %d0, %d1, %d2"},
    {"Floating point", "fma.<rn|rz|rm|rp><|.ftz>.f32x2 %d0, %d1, %d2, %d3"},
    {"Floating point", "<add|sub>.<rn|rz|rm|rp><|.sat><.f32>.<f16|bf16> %r0, %h1, %r2"},
    {"Floating point", "fma.<rn|rz|rm|rp><|.sat><.f32>.<f16|bf16> %r0, %h1, %h2, %r3"},
    {"Floating point", "div.<rn|rz|rm|rp><|.ftz>.f32 %r0, %r1, %r2"},
    {"Floating point", "div.<approx|full><|.ftz>.f32 %r0, %r1, %r2"},
    {"Floating point", "div.<rn|rz|rm|rp>.f64 %d0, %d1, %d2"},
    {"Floating point", "<rcp|sqrt>.<approx|rn|rz|rm|rp><|.ftz>.f32 %r0, %r1"},
    {"Floating point", "<rcp|sqrt>.<rn|rz|rm|rp>.f64 %d0, %d1"},
    {"Floating point", "<rcp|rsqrt>.approx.ftz.f64 %d0, %d1"},
    {"Floating point", "<rsqrt|sin|cos|lg2|ex2>.approx<|.ftz>.f32 %r0, %r1"},
    {"Floating point", "ex2.approx<|.ftz>.<f16|f16x2> $0, $1"},
    {"Floating point", "ex2.approx.ftz.<bf16|bf16x2> $0, $1"},
    {"Floating point", "tanh.approx.<f32|f16|f16x2|bf16|bf16x2> $0, $1"},
    {"Floating point", "rsqrt.approx.f64 %d0, %d1"},
    {"Floating point", "<abs|neg><|.ftz>.<f32|f16|f16x2> $0, $1"},
    {"Floating point", "<abs|neg>.<f64|bf16|bf16x2> $0, $1"},
    {"Floating point", "<min|max><|.ftz><|.NaN><|.xorsign.abs>.<f32|f16|f16x2> $0, $1, $2"},
    {"Floating point", "<min|max><|.NaN><|.xorsign.abs>.<bf16|bf16x2> $0, $1, $2"},
    {"Floating point", "<min|max>.f64 %d0, %d1, %d2"},
    {"Floating point", "<min|max><|.ftz><|.NaN><|.abs>.f32 %r0, %r1, %r2, %r3"},
    {"Floating point", "copysign.<f32|f64> $0, $1, $2"},
    {"Floating point",
     "testp.<finite|infinite|number|notanumber|normal|subnormal>.<f32|f64> %p0, $1"},
    {"Comparison and selection", "setp.<eq|ne>.<b16|b32|b64> %p0, $1, $2"},
    {"Comparison and selection",
     "setp.<eq|ne|lt|le|gt|ge>.<u16|u32|u64|s16|s32|s64> %p0|%p1, $1, $2"},
    {"Comparison and selection", "setp.<lo|ls|hi|hs>.<u16|u32|u64> %p0, $1, $2"},
    {"Comparison and selection",
     "setp.<eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan>.<f32|f64|f16|bf16> %p0, $1, $2"},
    {"Comparison and selection", "setp.<eq|ltu>.<f16x2|bf16x2> %p0|%p1, $1, $2"},
    {"Comparison and selection", "setp.lt.<and|or|xor>.s32 %p0|%p1, %r1, %r2, !%p2"},
    {"Comparison and selection", "set.<eq|lt>.<u32|s32|f32>.<u16|s32|u64|f32|f64|f16> %r0, $1, $2"},
    {"Comparison and selection", "set.gt.<f16x2>.f16x2 %r0, %r1, %r2"},
    {"Comparison and selection",
     "selp.<b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64> $0, $1, $2, %p3"},
    {"Comparison and selection", "slct.<b32|f32>.<s32|f32> %r0, %r1, %r2, %r3"},
    {"Comparison and selection", "slct.<b64|f64>.s32 $0, $1, $2, %r3"},
    {"Moves and conversions", "mov.<pred|b16|b32|b64|b128|u16|u32|u64|s16|s32|s64|f32|f64> $0, $1"},
    {"Moves and conversions", "mov.b32 <%r0, {%h0, %h1}|{%h0, %h1}, %r0>"},
    {"Moves and conversions", "mov.b64 <%d0, {%r0, %r1}|{%r0, %r1}, %d0>"},
    {"Moves and conversions", "mov.b128 <%q0, {%d0, %d1}|{%d0, %d1}, %q0>"},
    {"Moves and conversions", "mov.v2.<b32|b64> {$0, $1}, {$2, $3}"},
    {"Moves and conversions",
     "cvt.<u8|s8|u16|s16|u32|s32|u64|s64>.<u8|s8|u16|s16|u32|s32|u64|s64> %d0, $1"},
    {"Moves and conversions", "cvt.sat.<u8|s8|u16|s16|u32|s32>.<s32|u64|s64> %d0, $1"},
    {"Moves and conversions",
     "cvt.<rni|rzi|rmi|rpi>.<u8|s8|u16|s16|u32|s32|u64|s64>.<f16|bf16|f32|f64> %d0, $1"},
    {"Moves and conversions", "cvt.<rn|rz|rm|rp>.<f32>.<u8|s8|u16|s16|u32|s32|u64|s64> %r0, $1"},
    {"Moves and conversions", "cvt.rn.<f64>.<u32|s32|u64|s64> %d0, $1"},
    {"Moves and conversions", "cvt.rn.<f16|bf16>.<u8|s8|u16|s16|u32|s32|u64|s64> %h0, $1"},
    {"Moves and conversions", "cvt.<rni|rzi|rmi|rpi>.<f32.f32> %r0, %r1"},
    {"Moves and conversions", "cvt.<rn|rz|rm|rp><|.ftz><|.sat>.f32.f64 %r0, %d1"},
    {"Moves and conversions", "cvt.f64.<f16|f32> %d0, $1"},
    {"Moves and conversions", "cvt.f32.<f16|bf16> %r0, %h1"},
    {"Moves and conversions", "cvt.<rn|rz|rm|rp>.<f16|bf16>.<f32|f64> %h0, $1"},
    {"Moves and conversions", "cvt.<rn|rz><|.relu><|.satfinite>.<f16x2|bf16x2>.f32 %r0, %r1, %r2"},
    {"Moves and conversions", "cvt.<rna|rn|rz><|.satfinite>.tf32.f32 %r0, %r1"},
    {"Moves and conversions",
     "cvt.rn.satfinite<|.relu>.<e4m3x2|e5m2x2|e2m3x2|e3m2x2>.f32 %h0, %r1, %r2"},
    {"Moves and conversions", "cvt.rn.satfinite<|.relu>.<e4m3x2|e5m2x2>.f16x2 %h0, %r1"},
    {"Moves and conversions", "cvt.rn<|.relu>.f16x2.<e4m3x2|e5m2x2|e2m3x2|e3m2x2> %r0, %h1"},
    {"Moves and conversions", "cvt.rn.satfinite.e2m1x2.f32 %x0, %r1, %r2"},
    {"Moves and conversions", "cvt.rn.f16x2.e2m1x2 %r0, %x1"},
    {"Moves and conversions", "cvt.<rz|rp>.satfinite.ue8m0x2.<f32 %h0, %r1, %r2|bf16x2 %h0, %r1>"},
    {"Moves and conversions", "cvt.rs<|.relu><|.satfinite>.<f16x2|bf16x2>.f32 %r0, %r1, %r2, %r3"},
    {"Moves and conversions",
     "cvt.rs<|.relu>.satfinite.<e4m3x4|e5m2x4|e2m3x4|e3m2x4>.f32 %r0, {%r1, %r2, %r3, %r4}, %r5"},
    {"Moves and conversions", "cvt.rs<|.relu>.satfinite.e2m1x4.f32 %h0, {%r1, %r2, %r3, %r4}, %r5"},
    {"Moves and conversions", "cvt.pack.sat.<u16|s16>.s32 %r0, %r1, %r2"},
    {"Moves and conversions", "cvt.pack.sat.<u8|s8|u4|s4|u2|s2>.s32.b32 %r0, %r1, %r2, %r3"},
    {"Moves and conversions", "cvta<|.global|.shared|.local|.const>.u64 %d0, %d1"},
    {"Moves and conversions", "cvta.to.<global|shared|local|const>.u64 %d0, %d1"},
    {"Moves and conversions", "isspacep.<global|shared|shared::cta|local|const|param> %p0, %d1"},
    {"Moves and conversions", "isspacep.shared::cluster %p0, %d1"},
    {"Memory", "ld<|.global|.shared|.local|.const>.<u8|s8|u16|u32|s32|u64|f32|f64|b128> $0, [%d1]"},
    {"Memory", "ld.global.v4.<b8|b16|b32|f32> {%r0, %r1, %r2, %r3}, [%d1]"},
    {"Memory", "ld.global.v2.<b32|b64|f64> {$0, $2}, [%d1]"},
    {"Memory", "ld.global.v8.b32 {%r0, %r1, %r2, %r3, %r4, %r5, %r6, %r7}, [%d1]"},
    {"Memory",
     "ld.<volatile|relaxed.gpu|acquire.gpu|acquire.sys|relaxed.cta>.global.<b32|b64> $0, [%d1]"},
    {"Memory", "ld.global<|.ca|.cg|.cs|.lu|.cv|.nc|.nc.L1::no_allocate|.L2::128B>.b32 %r0, [%d1]"},
    {"Memory", "st<|.global|.shared|.local>.<b16|b32|b64|b128> [%d1], $2"},
    {"Memory", "st.global.v2.<b32|b64> [%d1], {$0, $2}"},
    {"Memory", "st.<volatile|relaxed.gpu|release.gpu|release.sys>.global.<b32|b64> [%d1], $0"},
    {"Memory", "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%r0], %r1, [%r2]"},
    {"Memory", "st.async.mmio.release.sys.global.<b32|b64> [%d1], $0"},
    {"Memory", "st.bulk<|.weak><|.shared::cta> [%d1], %d2, 0"},
    {"Memory", "<prefetch.global.L1|prefetch.global.L2|prefetchu.L1> [%d0]"},
    {"Memory",
     "<membar.cta|membar.gl|membar.sys|fence.sc.gpu|fence.acq_rel.cta|fence.proxy.async>"},
    {"Memory", "createpolicy.fractional.L2::evict_last.b64 %d0, 1.0"},
    {"Memory", "alloca.<u32|u64> $0, $1, 16"},
    {"Memory", "<stacksave|stackrestore>.<u32|u64> $0"},
    {"Atomics", "atom<|.global|.shared>.<add|min|max>.<u32|s32|u64|s64> $0, [%d1], $2"},
    {"Atomics", "atom.global.add.noftz.<f16|bf16|f16x2|bf16x2> $0, [%d1], $2"},
    {"Atomics", "atom.global.add.<f32|f64> $0, [%d1], $2"},
    {"Atomics", "atom.global.<and|or|xor|exch>.<b32|b64> $0, [%d1], $2"},
    {"Atomics", "atom.global.<inc|dec>.u32 %r0, [%d1], %r2"},
    {"Atomics", "atom.global.cas.<b16|b32|b64> $0, [%d1], $2, $3"},
    {"Atomics", "atom.global.<cas.b128 %q0, [%d1], %q2, %q3|exch.b128 %q0, [%d1], %q2>"},
    {"Atomics",
     "atom.<relaxed|acquire|release|acq_rel>.<cta|cluster|gpu|sys>.global.add.u32 %r0, [%d1], %r2"},
    {"Atomics", "red.<global|shared>.<add|min|max>.<u32|s32|u64> [%d1], $2"},
    {"Atomics", "red.global.<and|or|xor>.<b32|b64> [%d1], $2"},
    {"Atomics", "red.global.add.<v2.f32 [%d1], {%r0, %r1}|v2.f16x2 [%d1], {%r0, %r1}>"},
    {"Atomics",
     "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%r0], %r1, "
     "[%r2]"},
    {"Atomics", "red.async.mmio.release.sys.global.add.<u32|s32|u64> [%d1], $2"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.<ca|cg>.shared.global [%r0], [%d1], 16"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.<ca|cg>.shared.global [%r0], [%d1], 16, <%p1|!%p1|%r2>"},
    {"Asynchronous copies and barriers in memory", "cp.async.<commit_group|wait_group 0|wait_all>"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.mbarrier.arrive<|.noinc>.shared.b64 [%r0]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%d1], %r2, [%r3]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r0], "
     "[%d1], %r2, [%r3], %h0"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r0], [%r1], %r2, "
     "[%r3]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.global.shared::cta.bulk_group [%d0], [%r1], %r2"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.global.shared::cta.bulk_group.cp_mask [%d0], [%r1], %r2, %h3"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.<commit_group|wait_group 0|wait_group.read 0>"},
    {"Asynchronous copies and barriers in memory",
     "cp.reduce.async.bulk.global.shared::cta.bulk_group.<add.u32|add.f32|noftz.add.f16|min.s32|"
     "and.b32|inc.u32> [%d0], [%r1], %r2"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.2d.shared::cluster.global<|.tile>.mbarrier::complete_tx::bytes "
     "[%r0], [%d1, {%r2, %r3}], [%r4]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.<1d.shared::cta.global.mbarrier::complete_tx::bytes [%r0], [%d1, {%r2}]|"
     "5d.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%d1, "
     "{%r2, %r3, %r4, %r5, %r6}]>, [%r4]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::"
     "cluster "
     "[%r0], [%d1, {%r2, %r3}], [%r4], %h5"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%r0], "
     "[%d1, {%r2, %r3, %r4, %r5}], [%r4], {%h0, %h1}"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.2d.shared::cluster.global.tile::gather4.mbarrier::complete_tx::bytes "
     "[%r0], [%d1, {%r2, %r3, %r4, %r5, %r6}], [%r4]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.2d.global.shared::cta.tile::scatter4.bulk_group "
     "[%d1, {%r2, %r3, %r4, %r5, %r6}], [%r0]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.4d.shared::cluster.global.im2col::w.mbarrier::complete_tx::bytes [%r0], "
     "[%d1, {%r2, %r3, %r4, %r5}], [%r4], {%h0, %h1}"},
    {"Asynchronous copies and barriers in memory",
     "clusterlaunchcontrol.try_cancel.async.mbarrier::complete_tx::bytes.b128 [%r0], [%r1]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.2d.global.shared::cta<|.tile>.bulk_group [%d1, {%r2, %r3}], [%r0]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.tensor.4d.global.shared::cta.im2col_no_offs.bulk_group "
     "[%d1, {%r2, %r3, %r4, %r5}], [%r0]"},
    {"Asynchronous copies and barriers in memory",
     "cp.reduce.async.bulk.tensor.2d.global.shared::cta.<add|min|max|inc|dec|and|or|xor>.bulk_"
     "group "
     "[%d1, {%r2, %r3}], [%r0]"},
    {"Asynchronous copies and barriers in memory",
     "cp.async.bulk.prefetch.tensor.2d.L2.global<|.tile> [%d1, {%r2, %r3}]"},
    {"Asynchronous copies and barriers in memory",
     "tensormap.replace.tile.global_address.<global|shared::cta>.b1024.b64 [%d0], %d1"},
    {"Asynchronous copies and barriers in memory",
     "tensormap.replace.tile.<rank|elemtype|interleave_layout|swizzle_mode|fill_mode>.global.b1024."
     "b32 "
     "[%d0], 1"},
    {"Asynchronous copies and barriers in memory",
     "tensormap.replace.tile.<box_dim|global_dim|element_stride>.global.b1024.b32 [%d0], 1, %r1"},
    {"Asynchronous copies and barriers in memory",
     "tensormap.replace.tile.global_stride.global.b1024.b64 [%d0], 1, %d1"},
    {"Asynchronous copies and barriers in memory",
     "tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned "
     "[%d0], "
     "[%d1], 128"},
    {"Asynchronous copies and barriers in memory",
     "fence.proxy.tensormap::generic.<release.gpu|acquire.gpu [%d0], 128>"},
    {"Asynchronous copies and barriers in memory", "mbarrier.init.shared.b64 [%r0], %r1"},
    {"Asynchronous copies and barriers in memory", "mbarrier.inval.shared.b64 [%r0]"},
    {"Asynchronous copies and barriers in memory",
     "mbarrier.<expect_tx|complete_tx>.relaxed.cta.shared.b64 [%r0], %r1"},
    {"Asynchronous copies and barriers in memory",
     "mbarrier.<arrive|arrive_drop><|.expect_tx>.shared.b64 %d0, [%r1], %r2"},
    {"Asynchronous copies and barriers in memory",
     "mbarrier.<test_wait|try_wait>.shared.b64 %p0, [%r1], %d2"},
    {"Asynchronous copies and barriers in memory",
     "mbarrier.<test_wait|try_wait>.parity.shared.b64 %p0, [%r1], %r2"},
    {"Asynchronous copies and barriers in memory", "mbarrier.pending_count.b64 %r0, %d1"},
    {"Asynchronous copies and barriers in memory", "mapa.shared::cluster.u32 %r0, %r1, %r2"},
    {"Asynchronous copies and barriers in memory", "mapa<|.shared::cluster>.u64 %d0, %d1, %r2"},
    {"Asynchronous copies and barriers in memory",
     "getctarank.<shared::cluster.u32 %r0, %r1|shared::cluster.u64 %r0, %d1|u64 %r0, %d1>"},
    {"Warps and blocks", "shfl.sync.<up|down|bfly|idx>.b32 %r0|%p0, %r1, %r2, %r3, %r4"},
    {"Warps and blocks", "vote.sync.<all|any|uni>.pred %p0, %p1, %r2"},
    {"Warps and blocks", "vote.sync.ballot.b32 %r0, %p1, %r2"},
    {"Warps and blocks", "match.<any|all>.sync.<b32|b64> %r0, $1, %r2"},
    {"Warps and blocks", "redux.sync.<add|min|max>.<u32|s32> %r0, %r1, %r2"},
    {"Warps and blocks", "redux.sync.<and|or|xor>.b32 %r0, %r1, %r2"},
    {"Warps and blocks", "redux.sync.<min|max><|.abs><|.NaN>.f32 %r0, %r1, %r2"},
    {"Warps and blocks", "activemask.b32 %r0"},
    {"Warps and blocks", "elect.sync %r0|%p0, %r1"},
    {"Warps and blocks",
     "<bar.sync 0|bar.sync 1, 64|bar.arrive 1, 64|barrier.sync 0|barrier.cta.sync.aligned "
     "0|bar.warp.sync %r0>"},
    {"Warps and blocks", "<bar|barrier>.red.<popc.u32 %r0|and.pred %p0|or.pred %p0>, 0, %p1"},
    {"Warps and blocks", "barrier.cluster.<arrive|arrive.relaxed|wait|wait.acquire>"},
    {"Warps and blocks",
     "<griddepcontrol.wait|griddepcontrol.launch_dependents|setmaxnreg.inc.sync.aligned.u32 "
     "64|nanosleep.u32 20|pmevent 1>"},
    {"Warps and blocks", "<ret|exit|trap|brkpt>"},
    {"Matrices",
     "mma.sync.aligned.m16n8k16.row.col.<f32.f16.f16.f32 {%r0,%r1,%r2,%r3}|f32.bf16.bf16.f32 "
     "{%r0,%r1,%r2,%r3}>, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r0,%r1}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, "
     "{%r0,%r1}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k8.row.col.<f32.f16.f16|f32.bf16.bf16>.f32 {%r0,%r1,%r2,%r3}, "
     "{%r4,%r5}, {%r8}, {%r0,%r1,%r2,%r3}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, "
     "{%r8,%r9}, {%r0,%r1,%r2,%r3}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%r8}, "
     "{%r0,%r1,%r2,%r3}"},
    {"Matrices",
     "mma.sync.aligned.m8n8k4.<row|col>.<row|col>.f32.f16.f16.f32 "
     "{%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, {%r4,%r5}, {%r8,%r9}, {%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}"},
    {"Matrices",
     "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d0,%d1}, {%d2}, {%d3}, {%d4,%d5}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k16.row.col<|.rn|.rz|.rm|.rp>.f64.f64.f64.f64 {%d0,%d1,%d2,%d3}, "
     "{%d0,%d1,%d2,%d3,%d4,%d5,%d6,%d7}, {%d0,%d1,%d2,%d3}, {%d4,%d5,%d6,%d7}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k32.row.col.<s32.s8.s8.s32|s32.u8.s8.s32|f32.e4m3.e4m3.f32|f32.e5m2."
     "e4m3.f32> {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3}"},
    {"Matrices",
     "mma.sync.aligned.m8n8k16.row.col.s32.<s8.s8|u8.u8>.s32<|.satfinite> {%r0,%r1}, {%r4}, {%r8}, "
     "{%r0,%r1}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k64.row.col.s32.<s4.s4|u4.s4>.s32 {%r0,%r1,%r2,%r3}, "
     "{%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.<xor|and>.popc {%r0,%r1,%r2,%r3}, "
     "{%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3}"},
    {"Matrices",
     "mma.sync.aligned.kind::f8f6f4.m16n8k32.row.col.f32.<e2m1|e2m3|e3m2>.e4m3.f32 "
     "{%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f16.<e4m3|e2m1>.<e5m2|e2m3|e3m2>.f16 "
     "{%r0,%r1}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale<|.scale_vec::1X>.f32."
     "<e4m3|e5m2|e3m2|e2m3|e2m1>.<e4m3|e2m1>.f32.ue8m0 {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, "
     "{%r8,%r9}, {%r0,%r1,%r2,%r3}, %r4, {3, 1}, %r5, {0, 3}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k64.row.col.<kind::mxf4.block_scale|kind::mxf4.block_scale."
     "scale_vec::2X|kind::mxf4nvf4.block_scale.scale_vec::2X>.f32.e2m1.e2m1.f32.ue8m0 "
     "{%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3}, %r4, {2, 1}, %r5, {0, "
     "3}"},
    {"Matrices",
     "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32."
     "<ue4m3|ue8m0> {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3}, %r4, "
     "{0, 1}, %r5, {0, 3}"},
    {"Matrices",
     "mma.<sp|sp::ordered_metadata>.sync.aligned.m16n8k16.row.col.<f32.f16.f16|f32.bf16.bf16>.f32 "
     "{%r0,%r1,%r2,%r3}, {%r4,%r5}, {%r6,%r7}, {%r0,%r1,%r2,%r3}, %r8, <0|3>"},
    {"Matrices",
     "mma.<sp|sp::ordered_metadata>.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
     "{%r0,%r1,%r2,%r3}, {%r4,%r5}, {%r6,%r7}, {%r0,%r1,%r2,%r3}, %r8, 1"},
    {"Matrices",
     "mma.<sp|sp::ordered_metadata>.sync.aligned.<m16n8k32.row.col.f32.f16.f16|"
     "m16n8k32.row.col.f32.bf16.bf16|m16n8k16.row.col.f32.tf32.tf32>.f32 {%r0,%r1,%r2,%r3}, "
     "{%r4,%r5,%r6,%r7}, {%r4,%r5,%r6,%r7}, {%r0,%r1,%r2,%r3}, %r8, 1"},
    {"Matrices",
     "mma.<sp|sp::ordered_metadata>.sync.aligned.<m16n8k32.row.col.s32.s8.u8|"
     "m16n8k64.row.col.s32.u4.s4>.s32<|.satfinite> {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%r6,%r7}, "
     "{%r0,%r1,%r2,%r3}, %r8, 1"},
    {"Matrices",
     "mma.<sp|sp::ordered_metadata>.sync.aligned.<m16n8k64.row.col.s32.s8.u8|"
     "m16n8k128.row.col.s32.u4.s4>.s32<|.satfinite> {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, "
     "{%r4,%r5,%r6,%r7}, {%r0,%r1,%r2,%r3}, %r8, 0"},
    {"Matrices",
     "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col<|.kind::f8f6f4>.f32.<e4m3|e5m2>."
     "<e4m3|e5m2>.f32 {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r4,%r5,%r6,%r7}, {%r0,%r1,%r2,%r3}, "
     "%r8, 0"},
    {"Matrices",
     "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.kind::mxf8f6f4.block_scale.f32."
     "<e3m2|e2m1>.<e2m3|e5m2>.f32.ue8m0 {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r4,%r5,%r6,%r7}, "
     "{%r0,%r1,%r2,%r3}, %r8, 0, %r4, {1, 0}, %r5, {2, 1}"},
    {"Matrices",
     "mma.sp::ordered_metadata.sync.aligned.m16n8k128.row.col.<kind::mxf4.block_scale.scale_vec::"
     "2X|"
     "kind::mxf4nvf4.block_scale.scale_vec::4X>.f32.e2m1.e2m1.f32.ue8m0 {%r0,%r1,%r2,%r3}, "
     "{%r4,%r5,%r6,%r7}, {%r4,%r5,%r6,%r7}, {%r0,%r1,%r2,%r3}, %r8, 0, %r4, {0, 0}, %r5, {0, 1}"},
    {"Matrices",
     "wmma.load.a.sync.aligned.<row|col>.<m16n16k16|m8n32k16|m32n8k16>.global.f16 "
     "{%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, [%d0], %r9"},
    {"Matrices",
     "wmma.load.c.sync.aligned.<row|col>.<m16n16k16|m8n32k16|m32n8k16><|.global|.shared>.f32 "
     "{%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, [%d0], %r9"},
    {"Matrices",
     "wmma.mma.sync.aligned.<row|col>.<row|col>.<m16n16k16|m8n32k16|m32n8k16>.f32.f32 "
     "{%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, {%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, "
     "{%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, {%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}"},
    {"Matrices",
     "wmma.store.d.sync.aligned.<row|col>.<m16n16k16|m8n32k16|m32n8k16>.global.f32 [%d0], "
     "{%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, %r9"},
    {"Matrices", "ldmatrix.sync.aligned.m8n8.x4<|.trans>.shared.b16 {%r0,%r1,%r2,%r3}, [%r4]"},
    {"Matrices",
     "ldmatrix.sync.aligned.m16n16.x1.trans<|.shared|.shared::cta>.<b8|b8x16.b6x16_p32|"
     "b8x16.b4x16_p64> {%r0,%r1}, [%d4]"},
    {"Matrices",
     "ldmatrix.sync.aligned.m16n16.x2.trans.shared.<b8|b8x16.b6x16_p32|b8x16.b4x16_p64> "
     "{%r0,%r1,%r2,%r3}, [%r4]"},
    {"Matrices",
     "ldmatrix.sync.aligned.m8n16.<x1.shared.b8x16.b6x16_p32 {%r0}|x2.shared.b8x16.b4x16_p64 "
     "{%r0,%r1}|x4.shared.b8x16.b6x16_p32 {%r0,%r1,%r2,%r3}>, [%r4]"},
    {"Matrices", "stmatrix.sync.aligned.m8n8.x2<|.trans>.shared.b16 [%r4], {%r0,%r1}"},
    {"Matrices",
     "stmatrix.sync.aligned.m16n8.<x1.trans.shared.b8 [%r4], {%r0}|x2.trans.shared.b8 [%r4], "
     "{%r0,%r1}|x4.trans.shared.b8 [%r4], {%r0,%r1,%r2,%r3}>"},
    {"Matrices", "movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r1"},
    {"Matrices", "wgmma.fence.sync.aligned"},
    {"Matrices", "tcgen05.fence::before_thread_sync"},
    {"Textures and surfaces",
     "tex.<1d|2d|3d|cube>.v4.<f32|u32|s32>.f32 {%r0,%r1,%r2,%r3}, "
     "[%d0, {%r4,%r5,%r6,%r7}]"},
    {"Textures and surfaces",
     "tex.<a1d|a2d|acube>.v4.<f32|u32|s32>.f32 {%r0,%r1,%r2,%r3}, "
     "[%d0, {%r4,%r5,%r6,%r7}]"},
    {"Textures and surfaces",
     "tex.<1d|2d|3d|a1d|a2d>.v4.<f32|u32|s32>.s32 {%r0,%r1,%r2,%r3}, "
     "[%d0, {%r4,%r5,%r6,%r7}]"},
    {"Textures and surfaces", "tex.2d.v4.f32.f32 {%r0,%r1,%r2,%r3}|%p0, [%d0, {%r4,%r5}]"},
    {"Textures and surfaces", "tex.2d.v4.f32.f32 {%r0,%r1,%r2,%r3}, [%d0, {%r4,%r5}], {%r6,%r7}"},
    {"Textures and surfaces", "tex.2d.v2.f16x2.<f32|s32> {%r0,%r1}, [%d0, {%r4,%r5}]"},
    {"Textures and surfaces", "tex.2d.v4.f16.<f32|s32> {%h0,%h1,%h2,%h3}, [%d0, {%r4,%r5}]"},
    {"Textures and surfaces", "tex.base.2d.v4.f32.f32 {%r0,%r1,%r2,%r3}, [%d0, {%r4,%r5}]"},
    {"Textures and surfaces",
     "tex.level.<1d|2d|3d|cube|a1d|a2d|acube>.v4.<f32|u32|s32>.f32 "
     "{%r0,%r1,%r2,%r3}, [%d0, {%r4,%r5,%r6,%r7}], %r8"},
    {"Textures and surfaces",
     "tex.grad.<1d|2d|3d|cube|a2d|acube>.v4.f32.f32 {%r0,%r1,%r2,%r3}, "
     "[%d0, {%r4,%r5,%r6,%r7}], {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}"},
    {"Textures and surfaces",
     "<tex.2d.v4.f32.f32 {%r0,%r1,%r2,%r3}, [image, {%r4,%r5}]|txq.width.b32 %r0, [image]|"
     "suld.b.2d.b32.trap %r0, [target, {%r4,%r5}]|sust.b.2d.b32.trap [target, {%r4,%r5}], %r0>"},
    {"Textures and surfaces", "tex.2dms.v4.f32.s32 {%r0,%r1,%r2,%r3}, [%d0, {%r4,%r5,%r6,%r7}]"},
    {"Textures and surfaces", "tex.2d.v4.f32.f32 {%r0,%r1,%r2,%r3}, [%d0, %d1, {%r4,%r5}]"},
    {"Textures and surfaces",
     "tld4.<r|g|b|a>.<2d|a2d|cube|acube>.v4.<f32|u32|s32>.f32 "
     "{%r0,%r1,%r2,%r3}, [%d0, {%r4,%r5,%r6,%r7}]"},
    {"Textures and surfaces",
     "suld.b.<1d|2d|3d|a1d|a2d>.<b32|u32|s32|f32>.<trap|clamp|zero> %r0, "
     "[%d0, {%r4,%r5,%r6,%r7}]"},
    {"Textures and surfaces", "suld.b.2d.<b8|b16>.trap %h0, [%d0, {%r4,%r5}]"},
    {"Textures and surfaces", "suld.b.2d.b64.trap %d1, [%d0, {%r4,%r5}]"},
    {"Textures and surfaces", "suld.b.2d.v4.<b8|b16>.trap {%h0,%h1,%h2,%h3}, [%d0, {%r4,%r5}]"},
    {"Textures and surfaces",
     "suld.b.2d.<v2.b32.trap {%r0,%r1}|v4.b32.trap {%r0,%r1,%r2,%r3}|"
     "v2.b64.trap {%d1,%d2}>, [%d0, {%r4,%r5}]"},
    {"Textures and surfaces",
     "sust.b.<1d|2d|3d|a1d|a2d>.b32.<trap|clamp|zero> "
     "[%d0, {%r4,%r5,%r6,%r7}], %r0"},
    {"Textures and surfaces", "sust.b.2d.v4.<b8|b16>.trap [%d0, {%r4,%r5}], {%h0,%h1,%h2,%h3}"},
    {"Textures and surfaces", "sust.b.2d.b64.trap [%d0, {%r4,%r5}], %d1"},
    {"Textures and surfaces",
     "sust.p.<1d|2d|3d|a1d|a2d>.v4.<b32|u32|s32|f32>.<trap|clamp|zero> "
     "[%d0, {%r4,%r5,%r6,%r7}], {%r0,%r1,%r2,%r3}"},
    {"Textures and surfaces",
     "sured.<b|p>.<add|min|max>.2d.<u32|s32>.<trap|clamp|zero> "
     "[%d0, {%r4,%r5}], %r0"},
    {"Textures and surfaces", "sured.b.add.2d.u64.trap [%d0, {%r4,%r5}], %d1"},
    {"Textures and surfaces", "sured.<b|p>.<and|or>.2d.b32.trap [%d0, {%r4,%r5}], %r0"},
    {"Textures and surfaces",
     "txq.<width|height|depth|channel_data_type|channel_order|"
     "normalized_coords|array_size|num_mipmap_levels|num_samples>.b32 "
     "%r0, [%d0]"},
    {"Textures and surfaces", "txq.level.<width|height|depth>.b32 %r0, [%d0], %r1"},
    {"Textures and surfaces",
     "suq.<width|height|depth|channel_data_type|channel_order|array_size|"
     "memory_layout>.b32 %r0, [%d0]"},
    {"Video",
     "<vadd|vsub|vabsdiff|vmin|vmax>.<u32|s32>.<u32|s32>.<u32|s32><|.sat> %r0, %r1.b0, %r2.h1"},
    {"Video", "<vshl|vshr>.<u32|s32>.u32.u32.<clamp|wrap> %r0, %r1, %r2"},
    {"Video", "vmad.<u32|s32>.<u32|s32>.<u32|s32><|.po><|.shr7|.shr15> %r0, %r1, %r2, %r3"},
    {"Video",
     "vmad.<u32|s32>.<u32|s32>.<u32|s32><|.sat><|.shr7> %r0, <-%r1, %r2, |%r1, %r2, ->%r3"},
    {"Video", "vset.<u32|s32>.<u32|s32>.<eq|ne|lt|le|gt|ge> %r0, %r1, %r2"},
    {"Video",
     "<vadd|vsub|vabsdiff|vmin|vmax|vavrg><2|4>.<u32|s32>.<u32|s32>.<u32|s32><|.sat><|.add> %r0, "
     "%r1, %r2, %r3"},
    {"Video", "vset<2|4>.<u32|s32>.<u32|s32>.<eq|ne|lt|le|gt|ge><|.add> %r0, %r1, %r2, %r3"},
};

}  // namespace

std::span<const InstructionForms> instructionForms() {
  return kForms;
}

}  // namespace farwarp::ptx
