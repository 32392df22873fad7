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

template <Compare Op, class T, bool Ftz>
const Inst* setp(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  uint32_t result = maskOf([=](uint32_t l) {
    if constexpr (Ftz) return holds<Op, T>(flush(a[l]), flush(b[l]));
    return holds<Op, T>(a[l], b[l]);
  });
  setPredicate(w, i->dst, result, execMask(w, i));
  return i + 1;
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
  return i + 1;
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
