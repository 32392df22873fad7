#include "gpud/device/cpu/device_runtime.h"

namespace farwarp::cpu {

// A cooperative launch has a workspace (%envreg1 and %envreg2), whose second word counts arrivals.
// Each block adds one, the first what makes the sum 2^31, so the top bit changes when all are there.
const std::string_view kDeviceRuntime = R"(.version 7.0
.target sm_50
.address_size 64

.weak .func (.param .b64 handle) cudaCGGetIntrinsicHandle(.param .b32 scope)
{
  .reg .b32 %low, %high;
  .reg .b64 %workspace;
  mov.u32 %high, %envreg1;
  mov.u32 %low, %envreg2;
  mov.b64 %workspace, {%low, %high};
  st.param.b64 [handle], %workspace;
  ret;
}

.weak .func (.param .b32 error) cudaCGSynchronize(.param .b64 handle, .param .b32 flags)
{
  .reg .pred %p;
  .reg .b32 %a, %b, %blocks, %block, %thread, %mine, %before, %now;
  .reg .b64 %workspace;
  ld.param.u64 %workspace, [handle];
  setp.eq.u64 %p, %workspace, 0;
  @%p bra refused;
  bar.sync 0;
  mov.u32 %a, %tid.z;
  mov.u32 %b, %ntid.y;
  mul.lo.u32 %thread, %a, %b;
  mov.u32 %a, %tid.y;
  add.u32 %thread, %thread, %a;
  mov.u32 %b, %ntid.x;
  mul.lo.u32 %thread, %thread, %b;
  mov.u32 %a, %tid.x;
  add.u32 %thread, %thread, %a;
  setp.ne.u32 %p, %thread, 0;
  @%p bra arrived;
  mov.u32 %blocks, %nctaid.x;
  mov.u32 %a, %nctaid.y;
  mul.lo.u32 %blocks, %blocks, %a;
  mov.u32 %a, %nctaid.z;
  mul.lo.u32 %blocks, %blocks, %a;
  mov.u32 %block, %ctaid.x;
  mov.u32 %a, %ctaid.y;
  or.b32 %block, %block, %a;
  mov.u32 %a, %ctaid.z;
  or.b32 %block, %block, %a;
  sub.u32 %mine, 0x80000001, %blocks;
  setp.eq.u32 %p, %block, 0;
  selp.u32 %mine, %mine, 1, %p;
  membar.gl;
  atom.add.u32 %before, [%workspace+4], %mine;
wait:
  ld.volatile.u32 %now, [%workspace+4];
  xor.b32 %now, %now, %before;
  setp.ge.s32 %p, %now, 0;
  @%p bra wait;
  membar.gl;
arrived:
  bar.sync 0;
  st.param.b32 [error], 0;
  ret;
refused:
  st.param.b32 [error], 720;
  ret;
}
)";

}  // namespace farwarp::cpu
