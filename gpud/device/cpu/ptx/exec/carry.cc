// Extended-precision integer instructions: add.cc, addc, sub.cc, subc, mad.cc, madc. The carry of
// each lane is a bit of the predicate at Inst::e.
#include "gpud/device/cpu/ptx/exec/lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

template <class T>
struct Double;
template <>
struct Double<uint32_t> {
  using type = uint64_t;
};
template <>
struct Double<uint64_t> {
  using type = unsigned __int128;
};
template <>
struct Double<int32_t> {
  using type = int64_t;
};
template <>
struct Double<int64_t> {
  using type = __int128;
};

enum class Product { none, lo, hi };

// dst = x + y + carry or x - y - borrow, where x is a, or a product of a and b.
template <class T, Product P, bool Subtract, bool CarryIn, bool CarryOut>
const Inst* chain(Warp& w, const Inst* i) {
  using U = std::make_unsigned_t<T>;
  using UU = typename Double<U>::type;
  uint32_t mask = execMask(w, i);
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  const U* c = lanes<U>(w, i->c);
  U* dst = lanes<U>(w, i->dst);
  uint32_t& carries = predicate(w, i->e);
  uint32_t result_carries = 0;
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    U x = static_cast<U>(a[l]), y = static_cast<U>(b[l]);
    if constexpr (P != Product::none) {
      auto product = typename Double<T>::type(a[l]) * b[l];
      x = P == Product::hi ? static_cast<U>(UU(product) >> (sizeof(T) * 8))
                           : static_cast<U>(product);
      y = c[l];
    }
    UU in = CarryIn ? (carries >> l & 1) : 0;
    UU wide = Subtract ? UU{x} - y - in : UU{x} + y + in;
    dst[l] = static_cast<U>(wide);
    result_carries |= static_cast<uint32_t>(wide >> (sizeof(T) * 8) & 1) << l;
  }
  if (CarryOut) carries = (carries & ~mask) | result_carries;
  return next(w, i);
}

template <class T>
Handler chainOf(IntOp op) {
  using enum Product;
  switch (op) {
    case IntOp::add_cc:
      return chain<T, none, false, false, true>;
    case IntOp::addc:
      return chain<T, none, false, true, false>;
    case IntOp::addc_cc:
      return chain<T, none, false, true, true>;
    case IntOp::sub_cc:
      return chain<T, none, true, false, true>;
    case IntOp::subc:
      return chain<T, none, true, true, false>;
    case IntOp::subc_cc:
      return chain<T, none, true, true, true>;
    case IntOp::mad_lo_cc:
      return chain<T, lo, false, false, true>;
    case IntOp::mad_hi_cc:
      return chain<T, hi, false, false, true>;
    case IntOp::madc_lo:
      return chain<T, lo, false, true, false>;
    case IntOp::madc_hi:
      return chain<T, hi, false, true, false>;
    case IntOp::madc_lo_cc:
      return chain<T, lo, false, true, true>;
    case IntOp::madc_hi_cc:
      return chain<T, hi, false, true, true>;
    default:
      return nullptr;
  }
}

}  // namespace

Handler carryHandler(IntOp op, Type type) {
  switch (type) {
    case Type::u32:
    case Type::b32:
      return chainOf<uint32_t>(op);
    case Type::s32:
      return chainOf<int32_t>(op);
    case Type::u64:
    case Type::b64:
      return chainOf<uint64_t>(op);
    case Type::s64:
      return chainOf<int64_t>(op);
    default:
      return nullptr;
  }
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
