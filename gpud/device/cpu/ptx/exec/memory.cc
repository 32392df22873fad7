// Loads and stores: a resolver computes and checks the lanes' addresses, then the data moves.
#include "gpud/device/cpu/ptx/exec/even_access.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

// A vector access of a lane is one access of the processor: programs pass a value and the flag that
// announces it to other blocks in one vector. Wider ones than 16 bytes have no such promise.
template <size_t Bytes>
struct WholeOf;
#define FARWARP_WHOLE(bytes, type)                            \
  template <>                                                 \
  struct WholeOf<bytes> {                                     \
    typedef type Type __attribute__((may_alias, aligned(1))); \
  };
FARWARP_WHOLE(2, uint16_t)
FARWARP_WHOLE(4, uint32_t)
FARWARP_WHOLE(8, uint64_t)
#undef FARWARP_WHOLE
template <>
struct WholeOf<16> {
  typedef uint64_t Type __attribute__((vector_size(16), may_alias, aligned(1)));
};

template <class M, uint32_t N>
FARWARP_RACY inline void readVector(uint64_t address, M (&values)[N]) {
  if constexpr (sizeof(values) <= 16) {
    using Whole = typename WholeOf<sizeof(values)>::Type;
    const Whole whole = *reinterpret_cast<const volatile Whole*>(address);
    std::memcpy(values, &whole, sizeof(values));
  } else {
    for (uint32_t e = 0; e < N; ++e) values[e] = reinterpret_cast<const M*>(address)[e];
  }
}
template <class M, uint32_t N>
FARWARP_RACY inline void writeVector(uint64_t address, const M (&values)[N]) {
  if constexpr (sizeof(values) <= 16) {
    using Whole = typename WholeOf<sizeof(values)>::Type;
    Whole whole;
    std::memcpy(&whole, values, sizeof(values));
    *reinterpret_cast<volatile Whole*>(address) = whole;
  } else {
    for (uint32_t e = 0; e < N; ++e) reinterpret_cast<M*>(address)[e] = values[e];
  }
}

// M: type in memory, R: type of the register; M is signed for sign extension.
template <class M, class R, uint32_t N>
FARWARP_RACY const Inst* loadVector(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  if (mask == 0) return next(w, i);
  w.pc = i;
  const Pattern pattern = kResolvers<sizeof(M) * N>.functions[i->x](w, i, mask);
  R* dst[4] = {lanes<R>(w, i->dst), lanes<R>(w, i->b), lanes<R>(w, i->c), lanes<R>(w, i->d)};
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const auto l = static_cast<uint32_t>(std::countr_zero(rest));
    M values[N];
    readVector(laneAddress(w.address, pattern, l, sizeof(values)), values);
    for (uint32_t e = 0; e < N; ++e) dst[e][l] = static_cast<R>(values[e]);
  }
  return next(w, i);
}

template <class M, class R, uint32_t N>
FARWARP_RACY const Inst* storeVector(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  if (mask == 0) return next(w, i);
  w.pc = i;
  const Pattern pattern = kResolvers<sizeof(M) * N>.functions[i->x](w, i, mask);
  const R* source[4] = {lanes<R>(w, i->dst), lanes<R>(w, i->b), lanes<R>(w, i->c),
                        lanes<R>(w, i->d)};
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const auto l = static_cast<uint32_t>(std::countr_zero(rest));
    M values[N];
    for (uint32_t e = 0; e < N; ++e) values[e] = static_cast<M>(source[e][l]);
    writeVector(laneAddress(w.address, pattern, l, sizeof(values)), values);
  }
  return next(w, i);
}

template <class M, class R>
FARWARP_RACY const Inst* loadFrom(Warp& w, const Inst* i, uint32_t mask, ResolverFunction resolve) {
  w.pc = i;
  Pattern pattern = resolve(w, i, mask);
  R* d = lanes<R>(w, i->dst);
  const uint64_t* p = w.address;
  const M* source = reinterpret_cast<const M*>(p[0]);
  if (pattern == Pattern::contiguous) {
#pragma GCC ivdep
    for (uint32_t l = 0; l < kLanes; ++l) d[l] = static_cast<R>(source[l]);
  } else if (pattern == Pattern::uniform && mask == w.live) {
    R value = static_cast<R>(*source);
    for (uint32_t l = 0; l < kLanes; ++l) d[l] = value;
  } else if (pattern == Pattern::grouped) {
    for (uint32_t g = 0; g < kLanes; g += kGroup) {
      source = reinterpret_cast<const M*>(p[g]);
      R* to = d + g;
      if (isRow(p, g)) {
#pragma GCC ivdep
        for (uint32_t k = 0; k < kGroup; ++k) to[k] = static_cast<R>(source[k]);
      } else {
        R value = static_cast<R>(*source);
        for (uint32_t k = 0; k < kGroup; ++k) to[k] = value;
      }
    }
  } else if (mask == ~0u) {
#pragma GCC ivdep
    for (uint32_t l = 0; l < kLanes; ++l) d[l] = static_cast<R>(*reinterpret_cast<const M*>(p[l]));
  } else {
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      uint32_t l = static_cast<uint32_t>(std::countr_zero(rest));
      d[l] = static_cast<R>(*reinterpret_cast<const M*>(p[l]));
    }
  }
  return next(w, i);
}

template <class M, class R>
const Inst* load(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return next(w, i);
  return loadFrom<M, R>(w, i, mask, kResolvers<sizeof(M)>.functions[i->x]);
}

template <class M, class R>
FARWARP_RACY const Inst* storeTo(Warp& w, const Inst* i, uint32_t mask, ResolverFunction resolve) {
  w.pc = i;
  Pattern pattern = resolve(w, i, mask);
  const R* s = lanes<R>(w, i->dst);
  const uint64_t* p = w.address;
  M* target = reinterpret_cast<M*>(p[0]);
  if (pattern == Pattern::contiguous) {
#pragma GCC ivdep
    for (uint32_t l = 0; l < kLanes; ++l) target[l] = static_cast<M>(s[l]);
  } else if (pattern == Pattern::grouped) {
    for (uint32_t g = 0; g < kLanes; g += kGroup) {
      target = reinterpret_cast<M*>(p[g]);
      if (isRow(p, g)) {
#pragma GCC ivdep
        for (uint32_t k = 0; k < kGroup; ++k) target[k] = static_cast<M>(s[g + k]);
      } else {
        *target = static_cast<M>(s[g + kGroup - 1]);
      }
    }
  } else {
    bool listed = pattern == Pattern::scattered;
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      uint32_t l = static_cast<uint32_t>(std::countr_zero(rest));
      *reinterpret_cast<M*>(p[listed ? l : 0]) = static_cast<M>(s[l]);
    }
  }
  return next(w, i);
}

template <class M, class R>
const Inst* store(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return next(w, i);
  return storeTo<M, R>(w, i, mask, kResolvers<sizeof(M)>.functions[i->x]);
}

struct alignas(16) Vector128 {
  uint64_t low, high;
};

template <class M, class R>
Handler loadOf(uint32_t elements) {
  switch (elements) {
    case 1:
      return load<M, R>;
    case 2:
      return loadVector<M, R, 2>;
    case 4:
      return loadVector<M, R, 4>;
    default:
      return nullptr;
  }
}
template <class M, class S>
Handler loadTo(LoadShape shape, uint32_t elements) {
  uint32_t reg_bytes = shape.reg_bytes;
  bool sign_extend = shape.sign_extend;
  if (sizeof(M) == reg_bytes) {
    Handler even = elements == 1 ? evenLoadHandler<M>(shape) : nullptr;
    return even != nullptr ? even : loadOf<M, M>(elements);
  }
  if constexpr (sizeof(M) < 2) {
    if (reg_bytes == 2)
      return sign_extend ? loadOf<S, int16_t>(elements) : loadOf<M, uint16_t>(elements);
  }
  if constexpr (sizeof(M) < 4) {
    if (reg_bytes == 4)
      return sign_extend ? loadOf<S, int32_t>(elements) : loadOf<M, uint32_t>(elements);
  }
  if constexpr (sizeof(M) < 8) {
    if (reg_bytes == 8)
      return sign_extend ? loadOf<S, int64_t>(elements) : loadOf<M, uint64_t>(elements);
  }
  return nullptr;
}
template <class M, class R>
Handler storeOf(uint32_t elements) {
  switch (elements) {
    case 1:
      return store<M, R>;
    case 2:
      return storeVector<M, R, 2>;
    case 4:
      return storeVector<M, R, 4>;
    default:
      return nullptr;
  }
}
template <class M>
Handler storeFrom(LoadShape shape, uint32_t elements) {
  uint32_t reg_bytes = shape.reg_bytes;
  if (reg_bytes == sizeof(M)) {
    Handler even = elements == 1 ? evenStoreHandler<M>(shape) : nullptr;
    return even != nullptr ? even : storeOf<M, M>(elements);
  }
  if constexpr (sizeof(M) < 2) {
    if (reg_bytes == 2) return storeOf<M, uint16_t>(elements);
  }
  if constexpr (sizeof(M) < 4) {
    if (reg_bytes == 4) return storeOf<M, uint32_t>(elements);
  }
  if constexpr (sizeof(M) < 8) {
    if (reg_bytes == 8) return storeOf<M, uint64_t>(elements);
  }
  return nullptr;
}

}  // namespace

Handler loadHandler(LoadShape shape, uint32_t elements) {
  switch (shape.bytes) {
    case 1:
      return loadTo<uint8_t, int8_t>(shape, elements);
    case 2:
      return loadTo<uint16_t, int16_t>(shape, elements);
    case 4:
      return loadTo<uint32_t, int32_t>(shape, elements);
    case 8:
      return loadTo<uint64_t, int64_t>(shape, elements);
    case 16:
      return shape.reg_bytes == 16 ? loadOf<Vector128, Vector128>(elements) : nullptr;
    default:
      return nullptr;
  }
}
Handler storeHandler(LoadShape shape, uint32_t elements) {
  switch (shape.bytes) {
    case 1:
      return storeFrom<uint8_t>(shape, elements);
    case 2:
      return storeFrom<uint16_t>(shape, elements);
    case 4:
      return storeFrom<uint32_t>(shape, elements);
    case 8:
      return storeFrom<uint64_t>(shape, elements);
    case 16:
      return shape.reg_bytes == 16 ? storeOf<Vector128, Vector128>(elements) : nullptr;
    default:
      return nullptr;
  }
}

void resolveAddresses(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  w.pc = i;
  Pattern pattern = kResolversBySize[std::countr_zero(bytes)]->functions[i->x](w, i, mask);
  uint64_t* p = w.address;
  if (pattern == Pattern::scattered) return;
  if (pattern == Pattern::grouped) {
    for (uint32_t g = 0; g < kLanes; g += kGroup) {
      uint64_t step = p[g + 1] - p[g];
      for (uint32_t k = 1; k < kGroup; ++k) p[g + k] = p[g] + k * step;
    }
    return;
  }
  uint64_t spacing = pattern == Pattern::contiguous ? bytes : 0;
  for (uint32_t l = 1; l < kLanes; ++l) p[l] = p[0] + l * spacing;
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
