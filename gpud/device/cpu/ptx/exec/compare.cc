// setp: comparisons into predicates. Boolean combinations are separate operations of control.cc.
#include "gpud/device/cpu/ptx/exec/float_semantics.h"
#include "gpud/device/cpu/ptx/exec/lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

template <Compare Op, class T>
inline bool holds(T a, T b) {
  bool unordered = false;
  if constexpr (std::is_floating_point_v<T>) unordered = a != a || b != b;
  switch (Op) {
    case Compare::eq:
      return a == b;
    case Compare::ne:
      return a != b && !unordered;
    case Compare::lt:
      return a < b;
    case Compare::le:
      return a <= b;
    case Compare::gt:
      return a > b;
    case Compare::ge:
      return a >= b;
    case Compare::equ:
      return a == b || unordered;
    case Compare::neu:
      return a != b;
    case Compare::ltu:
      return !(a >= b);
    case Compare::leu:
      return !(a > b);
    case Compare::gtu:
      return !(a <= b);
    case Compare::geu:
      return !(a < b);
    case Compare::num:
      return !unordered;
    default:
      return unordered;
  }
}

#ifdef __AVX512F__
// The predicate of AVX-512's comparisons.
template <class T>
constexpr int immediateOf(Compare op) {
  constexpr bool kFloat = std::is_floating_point_v<T>;
  switch (op) {
    case Compare::eq:
      return kFloat ? _CMP_EQ_OQ : _MM_CMPINT_EQ;
    case Compare::ne:
      return kFloat ? _CMP_NEQ_OQ : _MM_CMPINT_NE;
    case Compare::lt:
      return kFloat ? _CMP_LT_OQ : _MM_CMPINT_LT;
    case Compare::le:
      return kFloat ? _CMP_LE_OQ : _MM_CMPINT_LE;
    case Compare::gt:
      return kFloat ? _CMP_GT_OQ : _MM_CMPINT_NLE;
    case Compare::ge:
      return kFloat ? _CMP_GE_OQ : _MM_CMPINT_NLT;
    case Compare::equ:
      return _CMP_EQ_UQ;
    case Compare::neu:
      return _CMP_NEQ_UQ;
    case Compare::ltu:
      return _CMP_NGE_UQ;
    case Compare::leu:
      return _CMP_NGT_UQ;
    case Compare::gtu:
      return _CMP_NLE_UQ;
    case Compare::geu:
      return _CMP_NLT_UQ;
    case Compare::num:
      return _CMP_ORD_Q;
    default:
      return _CMP_UNORD_Q;
  }
}

template <Compare Op, class T>
[[gnu::always_inline]] inline uint32_t compareWarp(const T* a, const T* b) {
  constexpr int kHow = immediateOf<T>(Op);
  constexpr uint32_t kPerVector = 64 / sizeof(T);
  uint32_t result = 0;
  for (uint32_t l = 0; l < kLanes; l += kPerVector) {
    uint32_t bits = 0;
    if constexpr (std::is_same_v<T, float>) {
      bits = _mm512_cmp_ps_mask(_mm512_loadu_ps(a + l), _mm512_loadu_ps(b + l), kHow);
    } else if constexpr (std::is_same_v<T, double>) {
      bits = _mm512_cmp_pd_mask(_mm512_loadu_pd(a + l), _mm512_loadu_pd(b + l), kHow);
    } else {
      __m512i x = _mm512_loadu_si512(a + l), y = _mm512_loadu_si512(b + l);
      if constexpr (std::is_same_v<T, int32_t>) bits = _mm512_cmp_epi32_mask(x, y, kHow);
      if constexpr (std::is_same_v<T, uint32_t>) bits = _mm512_cmp_epu32_mask(x, y, kHow);
      if constexpr (std::is_same_v<T, int64_t>) bits = _mm512_cmp_epi64_mask(x, y, kHow);
      if constexpr (std::is_same_v<T, uint64_t>) bits = _mm512_cmp_epu64_mask(x, y, kHow);
    }
    result |= bits << l;
  }
  return result;
}
#endif

template <Compare Op, class T, bool Ftz>
const Inst* setp(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
#ifdef __AVX512F__
  if constexpr (!Ftz && sizeof(T) >= 4) {
    setPredicate(w, i->dst, compareWarp<Op, T>(a, b), execMask(w, i));
    return next(w, i);
  }
#endif
  uint32_t result = maskOf([=](uint32_t l) {
    if constexpr (Ftz) return holds<Op, T>(flush(a[l]), flush(b[l]));
    return holds<Op, T>(a[l], b[l]);
  });
  setPredicate(w, i->dst, result, execMask(w, i));
  return next(w, i);
}
template <Compare Op, bool Bfloat>
const Inst* setpHalf(Warp& w, const Inst* i) {
  const uint16_t* a = lanes<uint16_t>(w, i->a);
  const uint16_t* b = lanes<uint16_t>(w, i->b);
  bool ftz = i->aux != 0;
  auto widen = [=](uint16_t v) {
    if (ftz && (v & 0x7c00) == 0) v &= 0x8000;
    return Bfloat ? bfloatToFloat(v) : halfToFloat(v);
  };
  uint32_t result = maskOf([=](uint32_t l) { return holds<Op, float>(widen(a[l]), widen(b[l])); });
  setPredicate(w, i->dst, result, execMask(w, i));
  return next(w, i);
}

template <Compare Op>
Handler ofFloat(Type type, bool ftz) {
  switch (type) {
    case Type::f32:
      return ftz ? setp<Op, float, true> : setp<Op, float, false>;
    case Type::f64:
      return setp<Op, double, false>;
    case Type::f16:
      return setpHalf<Op, false>;
    case Type::bf16:
      return setpHalf<Op, true>;
    default:
      return nullptr;
  }
}
template <Compare Op>
Handler ofAny(Type type, bool ftz) {
  switch (type) {
    case Type::b16:
    case Type::u16:
      return setp<Op, uint16_t, false>;
    case Type::s16:
      return setp<Op, int16_t, false>;
    case Type::b32:
    case Type::u32:
      return setp<Op, uint32_t, false>;
    case Type::s32:
      return setp<Op, int32_t, false>;
    case Type::b64:
    case Type::u64:
      return setp<Op, uint64_t, false>;
    case Type::s64:
      return setp<Op, int64_t, false>;
    default:
      return ofFloat<Op>(type, ftz);
  }
}

}  // namespace

Handler compareHandler(Compare op, Type type, bool ftz) {
  switch (op) {
    case Compare::eq:
      return ofAny<Compare::eq>(type, ftz);
    case Compare::ne:
      return ofAny<Compare::ne>(type, ftz);
    case Compare::lt:
      return ofAny<Compare::lt>(type, ftz);
    case Compare::le:
      return ofAny<Compare::le>(type, ftz);
    case Compare::gt:
      return ofAny<Compare::gt>(type, ftz);
    case Compare::ge:
      return ofAny<Compare::ge>(type, ftz);
    case Compare::equ:
      return ofFloat<Compare::equ>(type, ftz);
    case Compare::neu:
      return ofFloat<Compare::neu>(type, ftz);
    case Compare::ltu:
      return ofFloat<Compare::ltu>(type, ftz);
    case Compare::leu:
      return ofFloat<Compare::leu>(type, ftz);
    case Compare::gtu:
      return ofFloat<Compare::gtu>(type, ftz);
    case Compare::geu:
      return ofFloat<Compare::geu>(type, ftz);
    case Compare::num:
      return ofFloat<Compare::num>(type, ftz);
    case Compare::nan:
      return ofFloat<Compare::nan>(type, ftz);
  }
  return nullptr;
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
