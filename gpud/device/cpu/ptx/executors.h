// The executors' tables: which handler runs an operation on a type. The lane loops are compiled for
// several instruction sets; `executors(level)` chooses one.
#pragma once

#include "gpud/device/cpu/ptx/code.h"
#include "gpud/device/cpu/ptx/warp.h"

namespace farwarp::ptx {

enum class IntOp : uint8_t {
  add,
  sub,
  mul_lo,
  mul_hi,
  mul_wide,
  mul24_lo,
  mul24_hi,
  mad_lo,
  mad_hi,
  mad_wide,
  mad24_lo,
  mad24_hi,
  div,
  rem,
  min,
  max,
  and_,
  or_,
  xor_,
  not_,
  cnot,
  neg,
  abs,
  shl,
  shr,
  popc,
  clz,
  brev,
  bfind,
  bfind_shiftamt,
  sad,
  bfe,
  bfi,
  lop3,
  prmt,
  shf_l_wrap,
  shf_l_clamp,
  shf_r_wrap,
  shf_r_clamp,
  add_cc,
  addc,
  addc_cc,
  sub_cc,
  subc,
  subc_cc,
  mad_lo_cc,
  mad_hi_cc,
  madc_lo,
  madc_hi,
  madc_lo_cc,
  madc_hi_cc,
  add_sat,
  sub_sat,
  mad_hi_sat,
  bmsk_clamp,
  bmsk_wrap,
  szext_clamp,
  szext_wrap,
  dp4a,
  dp2a_lo,
  dp2a_hi,
  fns,
  min_relu,
  max_relu,
  mad24_hi_sat,
  prmt_f4e,
  prmt_b4e,
  prmt_rc8,
  prmt_ecl,
  prmt_ecr,
  prmt_rc16,
  mov,
  select,
};

enum class FloatOp : uint8_t {
  add,
  sub,
  mul,
  fma,
  div,
  sqrt,
  min,
  max,
  min_nan,
  max_nan,
  min_xorsign,
  max_xorsign,
  min_nan_xorsign,
  max_nan_xorsign,
  abs,
  neg,
  copysign,
  fma_relu,
  rcp_approx,
  rsqrt_approx,
  sqrt_approx,
  div_approx,
  sin_approx,
  cos_approx,
  ex2_approx,
  lg2_approx,
  tanh_approx,
  test_finite,
  test_infinite,
  test_number,
  test_notanumber,
  test_normal,
  test_subnormal,
};

enum class Compare : uint8_t {
  eq,
  ne,
  lt,
  le,
  gt,
  ge,
  equ,
  neu,
  ltu,
  leu,
  gtu,
  geu,
  num,
  nan,
};

// `odd`: what is not exact gets an odd last bit, so that a second rounding to a smaller format gives
// what a single one would have given.
enum class Rounding : uint8_t { rn, rz, rm, rp, rna, odd };

struct FloatFlags {
  Rounding rounding = Rounding::rn;
  bool ftz = false;
  bool sat = false;
  bool relu = false;
};

// How an access computes its addresses: a register of 4 or 8 bytes plus imm, or imm alone.
enum class Resolver : uint8_t {
  absolute0,
  absolute8,  // host addresses: global, constant and generic
  indexed4s,  // loads and stores only: a, the same for all lanes, plus the index at Inst::e times
              // aux
  indexed4u,
  indexed8,
  shared0,
  shared4,
  shared8,  // offsets into the block's shared memory
  local0,
  local4,
  local8,  // offsets into the thread's local memory
  param0,  // the kernel's parameters
  frame0,  // the running function's frame in local memory
  count,
};

// How values of registers differ from values in memory or of the instruction, and what is known of
// the addresses.
struct LoadShape {
  uint32_t bytes = 4;      // of one element in memory
  uint32_t reg_bytes = 4;  // of the register
  bool sign_extend = false;
  Resolver resolver = Resolver::count;  // count: any, Inst::x says it when the kernel runs
  bool memo_is_filled = false;          // by an earlier access
};

// Each function returns null for combinations that do not exist.
struct Executors {
  // Operands dst, a, b, c, d. Comparisons and carries use Inst::e as a predicate.
  Handler (*integer)(IntOp op, Type type);
  // f16x2 and bf16x2 are taken as types.
  Handler (*floating)(FloatOp op, Type type, FloatFlags flags);
  // dst = predicate.
  Handler (*compare)(Compare op, Type type, bool ftz);
  // dst of type `to` in a register of the same size, a of type `from`; integral = round to an
  // integer in floating-point format.
  Handler (*convert)(Type to, Type from, FloatFlags flags, bool integral);
  // [a + imm]; x = the resolver. Element k of `elements` (1, 2 or 4) is in the register at dst, b,
  // c, d for loads; for stores the same fields are the sources.
  Handler (*load)(LoadShape shape, uint32_t elements);
  Handler (*store)(LoadShape shape, uint32_t elements);
  // Fills Warp::address for one access; the resolver of an Inst is its field x.
  void (*resolve)(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes);
};

// level: 2, 3, 4, or 0 for the best of this machine. A sanitized build has level 2 only and always
// gives that.
const Executors& executors(int level);

namespace level2 {
extern const Executors kExecutors;
}
namespace level3 {
extern const Executors kExecutors;
}
namespace level4 {
extern const Executors kExecutors;
}

}  // namespace farwarp::ptx
