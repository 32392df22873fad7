// Lane loops for the executors. Included only by files that are compiled once per instruction set;
// everything here is in that level's namespace.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstring>
#include <type_traits>

#include "gpud/device/cpu/ptx/executors.h"

#ifndef FARWARP_LEVEL
#error "FARWARP_LEVEL names the namespace of the instruction set this file is compiled for."
#endif

namespace farwarp::ptx::FARWARP_LEVEL {

// The end of a handler: goes on with the next instruction where the compiler makes that a jump, so
// that a basic block runs without returning to the worker's loop. Control flow returns there, which
// bounds the stack even if some call were not a jump.
[[gnu::always_inline]] inline const Inst* next(Warp& w, const Inst* i) {
#ifdef FARWARP_CHAINED
  return i[1].run(w, i + 1);
#else
  (void)w;
  return i + 1;
#endif
}

// dst[lane] = value(lane) for the active lanes. Lanes that do not exist or have exited may be
// written too: nobody reads them. The operands' arrays are the same as dst or do not overlap it.
template <class T, class F>
[[gnu::always_inline]] inline void setLanes(Warp& w, const Inst* i, F value) {
  uint32_t mask = execMask(w, i);
  T* dst = lanes<T>(w, i->dst);
  if (mask == w.live) [[likely]] {
#pragma GCC ivdep
    for (uint32_t l = 0; l < kLanes; ++l) dst[l] = value(l);
  } else if (mask != 0) {
#pragma GCC ivdep
    for (uint32_t l = 0; l < kLanes; ++l) {
      T result = value(l);
      dst[l] = (mask >> l & 1) != 0 ? result : dst[l];
    }
  }
}
template <class T, class F>
[[gnu::always_inline]] inline const Inst* writeLanes(Warp& w, const Inst* i, F value) {
  setLanes<T>(w, i, value);
  return next(w, i);
}

// One bit per lane from a condition.
template <class F>
[[gnu::always_inline]] inline uint32_t maskOf(F condition) {
  alignas(64) uint8_t bytes[kLanes];
#pragma GCC ivdep
  for (uint32_t l = 0; l < kLanes; ++l) bytes[l] = condition(l) ? 0xff : 0;
  const __m128i* halves = reinterpret_cast<const __m128i*>(bytes);
  uint32_t low = static_cast<uint32_t>(_mm_movemask_epi8(_mm_load_si128(halves)));
  uint32_t high = static_cast<uint32_t>(_mm_movemask_epi8(_mm_load_si128(halves + 1)));
  return low | high << 16;
}

Handler integerHandler(IntOp op, Type type);
Handler carryHandler(IntOp op, Type type);
Handler floatHandler(FloatOp op, Type type, FloatFlags flags);
Handler halfHandler(FloatOp op, Type type, FloatFlags flags);
Handler specialHandler(FloatOp op, Type type, FloatFlags flags);
Handler compareHandler(Compare op, Type type, bool ftz);
Handler convertHandler(Type to, Type from, FloatFlags flags, bool integral);
Handler loadHandler(LoadShape shape, uint32_t elements);
Handler storeHandler(LoadShape shape, uint32_t elements);
void resolveAddresses(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes);

}  // namespace farwarp::ptx::FARWARP_LEVEL
