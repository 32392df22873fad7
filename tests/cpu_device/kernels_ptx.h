// Small kernels in PTX for the tests of the CPU device.
#pragma once

namespace farwarp::cpu {

inline constexpr char kKernels[] = R"(
.version 8.0
.target sm_75
.address_size 64

.visible .global .align 4 .u32 counter = 7;
.visible .const .align 8 .u64 weights[4] = {1, 2, 3, 4};

// values[i] = values[i] * factor + offset
.visible .entry scale(.param .u64 values, .param .u32 count, .param .f32 factor, .param .f32 offset)
{
  .reg .pred %p;
  .reg .b32 %r<6>;
  .reg .b64 %rd<4>;
  .reg .f32 %f<4>;
  ld.param.u64 %rd0, [values];
  ld.param.u32 %r0, [count];
  ld.param.f32 %f0, [factor];
  ld.param.f32 %f1, [offset];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.s32 %r4, %r1, %r2, %r3;
  setp.ge.u32 %p, %r4, %r0;
  @%p bra done;
  cvta.to.global.u64 %rd1, %rd0;
  mul.wide.u32 %rd2, %r4, 4;
  add.s64 %rd3, %rd1, %rd2;
  ld.global.f32 %f2, [%rd3];
  fma.rn.f32 %f3, %f2, %f0, %f1;
  st.global.f32 [%rd3], %f3;
done:
  ret;
}

// *at = value
.visible .entry store(.param .u64 at, .param .u32 value)
{
  .reg .b32 %r;
  .reg .b64 %rd;
  ld.param.u64 %rd, [at];
  ld.param.u32 %r, [value];
  st.global.u32 [%rd], %r;
  ret;
}

// *to = *from
.visible .entry copy(.param .u64 to, .param .u64 from)
{
  .reg .b32 %r;
  .reg .b64 %rd<2>;
  ld.param.u64 %rd0, [to];
  ld.param.u64 %rd1, [from];
  ld.volatile.global.u32 %r, [%rd1];
  st.global.u32 [%rd0], %r;
  ret;
}

// Returns when *flag is not 0.
.visible .entry gate(.param .u64 flag)
{
  .reg .pred %p;
  .reg .b32 %r;
  .reg .b64 %rd;
  ld.param.u64 %rd, [flag];
again:
  ld.volatile.global.u32 %r, [%rd];
  setp.eq.u32 %p, %r, 0;
  @%p bra again;
  ret;
}

// counter += by
.visible .entry count(.param .u32 by)
{
  .reg .b32 %r<2>;
  ld.param.u32 %r0, [by];
  atom.global.add.u32 %r1, [counter], %r0;
  ret;
}

.visible .entry nothing()
{
  ret;
}

.visible .entry bounded() .maxntid 64, 1, 1
{
  ret;
}
)";

}  // namespace farwarp::cpu
