// Loads and stores: a resolver computes and checks the lanes' addresses, then the data moves.
#include "gpud/device/cpu/ptx/exec/lanes.h"

// Races of the kernels' threads are theirs, not the engine's.
#define FARWARP_RACY [[gnu::no_sanitize("thread")]]

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

enum class Pattern { scattered, contiguous, uniform };
using ResolverFunction = Pattern (*)(Warp&, const Inst*, uint32_t mask, uint32_t bytes);

inline uint64_t laneBit(uint32_t mask, uint32_t l) {
  return mask >> l & 1;
}

// How the addresses of 32 active lanes lie. A holds them, or their offsets.
template <class A>
inline Pattern patternOf(const A* p, uint32_t mask, uint32_t bytes) {
  if (mask != ~0u) return Pattern::scattered;
  // The second lane says what the others would have to be.
  A first = p[0], step = static_cast<A>(p[1] - first);
  if (step != bytes && step != 0) return Pattern::scattered;
  A different = 0;
  for (uint32_t l = 0; l < kLanes; ++l) different |= p[l] ^ static_cast<A>(first + A{l} * step);
  if (different != 0) return Pattern::scattered;
  return step == 0 ? Pattern::uniform : Pattern::contiguous;
}

// All lanes at one address, which may be outside: then the slow check decides.
inline Pattern oneAddress(Warp& w, uint64_t address) {
  for (uint32_t l = 0; l < kLanes; ++l) w.address[l] = address;
  w.spacing = 0;
  return Pattern::uniform;
}

Pattern absolute0(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  uint64_t address = *lanes<uint64_t>(w, i->a) + static_cast<uint64_t>(i->imm);
  oneAddress(w, address);
  if (address - w.reserved_begin > w.reserved_size - bytes || (address & (bytes - 1)) != 0) {
    checkAddresses(w, i, mask, bytes, Space::generic);
  }
  return Pattern::uniform;
}

Pattern absolute8(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  const uint64_t* a = lanes<uint64_t>(w, i->a);
  uint64_t offset = static_cast<uint64_t>(i->imm);
  uint64_t begin = w.reserved_begin, limit = w.reserved_size - bytes, low = bytes - 1;
  uint64_t* p = w.address;
  Pattern pattern = patternOf(a, mask, bytes);
  if (pattern != Pattern::scattered) {
    uint64_t first = a[0] + offset;
    uint64_t last = first + (pattern == Pattern::contiguous ? uint64_t{31} * bytes : 0);
    if ((first & low) == 0 && first - begin <= limit && last - begin <= limit) {
      p[0] = first;
      w.spacing = pattern == Pattern::contiguous ? bytes : 0;
      return pattern;
    }
  }
  uint64_t bad = 0;
  for (uint32_t l = 0; l < kLanes; ++l) {
    uint64_t address = a[l] + offset;
    p[l] = address;
    bad |= ((address & low) | (address - begin > limit ? 1 : 0)) & -laneBit(mask, l);
  }
  w.spacing = kNone;
  if (bad != 0) [[unlikely]]
    checkAddresses(w, i, mask, bytes, Space::generic);
  return pattern;
}

// A: type of the address register.
template <class A>
Pattern shared(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  const A* a = lanes<A>(w, i->a);
  A offset = static_cast<A>(i->imm);
  uint64_t base = reinterpret_cast<uint64_t>(w.shared);
  uint64_t* p = w.address;
  if (w.shared_bytes >= bytes) [[likely]] {
    A limit = static_cast<A>(w.shared_bytes - bytes), low = static_cast<A>(bytes - 1);
    Pattern pattern = patternOf(a, mask, bytes);
    if (pattern != Pattern::scattered) {
      A first = static_cast<A>(a[0] + offset);
      A reach = static_cast<A>(pattern == Pattern::contiguous ? 31 * bytes : 0);
      if ((first & low) == 0 && first <= limit && reach <= limit - first) {
        p[0] = base + first;
        return pattern;
      }
    }
    A bad = 0;
    for (uint32_t l = 0; l < kLanes; ++l) {
      A address = static_cast<A>(a[l] + offset);
      p[l] = base + address;
      bad |= ((address & low) | (address > limit ? 1 : 0)) & -static_cast<A>(laneBit(mask, l));
    }
    if (bad == 0) [[likely]]
      return pattern;
  }
  for (uint32_t l = 0; l < kLanes; ++l) p[l] = static_cast<A>(a[l] + offset);
  checkAddresses(w, i, mask, bytes, Space::shared);
  return patternOf(p, mask, bytes);
}
Pattern shared0(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  uint64_t address = static_cast<uint64_t>(i->imm);
  if (w.shared_bytes < bytes || address > w.shared_bytes - bytes || (address & (bytes - 1)) != 0) {
    oneAddress(w, address);
    checkAddresses(w, i, mask, bytes, Space::shared);
    return Pattern::uniform;
  }
  return oneAddress(w, address + reinterpret_cast<uint64_t>(w.shared));
}

template <class A>
Pattern local(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  const A* a = lanes<A>(w, i->a);
  uint64_t offset = static_cast<uint64_t>(i->imm);
  uint64_t low = bytes - 1;
  uint64_t bad = w.local_bytes < bytes ? 1 : 0;
  uint64_t limit = w.local_bytes - bytes, base = reinterpret_cast<uint64_t>(w.local_base);
  uint64_t* p = w.address;
  for (uint32_t l = 0; l < kLanes; ++l) {
    uint64_t address = static_cast<A>(a[l] + offset);
    p[l] = address;
    bad |= ((address & low) | (address > limit ? 1 : 0)) & -laneBit(mask, l);
  }
  if (bad != 0) [[unlikely]]
    checkAddresses(w, i, mask, bytes, Space::local);
  for (uint32_t l = 0; l < kLanes; ++l) p[l] += base + l * w.local_stride;
  return Pattern::scattered;
}
Pattern frame(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes, uint64_t offset) {
  uint64_t address = static_cast<uint64_t>(i->imm) + offset;
  uint64_t base = reinterpret_cast<uint64_t>(w.local_base) + address;
  if (w.local_bytes < bytes || address > w.local_bytes - bytes || (address & (bytes - 1)) != 0) {
    oneAddress(w, address);
    checkAddresses(w, i, mask, bytes, Space::local);
  }
  for (uint32_t l = 0; l < kLanes; ++l) w.address[l] = base + l * w.local_stride;
  return Pattern::scattered;
}
Pattern local0(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  return frame(w, i, mask, bytes, 0);
}
Pattern frame0(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  return frame(w, i, mask, bytes, w.local);
}
Pattern param0(Warp& w, const Inst* i, uint32_t, uint32_t) {
  uint64_t base = *lanes<uint64_t>(w, refOf(BlockValue::param_address));
  return oneAddress(w, base + static_cast<uint64_t>(i->imm));
}

constexpr ResolverFunction kResolvers[static_cast<size_t>(Resolver::count)] = {
    absolute0, absolute8,       shared0,         shared<uint32_t>, shared<uint64_t>,
    local0,    local<uint32_t>, local<uint64_t>, param0,           frame0,
};

// M: type in memory, R: type of the register; M is signed for sign extension.
template <class M, class R, uint32_t N>
FARWARP_RACY const Inst* load(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.pc = i;
  Pattern pattern = kResolvers[i->x](w, i, mask, sizeof(M) * N);
  R* dst[4] = {lanes<R>(w, i->dst), lanes<R>(w, i->b), lanes<R>(w, i->c), lanes<R>(w, i->d)};
  const uint64_t* p = w.address;
  if (pattern == Pattern::contiguous) {
    const M* source = reinterpret_cast<const M*>(p[0]);
    if constexpr (N == 1) {
      R* d = dst[0];
#pragma GCC ivdep
      for (uint32_t l = 0; l < kLanes; ++l) d[l] = static_cast<R>(source[l]);
    } else {
      for (uint32_t e = 0; e < N; ++e) {
        R* d = dst[e];
#pragma GCC ivdep
        for (uint32_t l = 0; l < kLanes; ++l) d[l] = static_cast<R>(source[l * N + e]);
      }
    }
  } else if (pattern == Pattern::uniform && mask == w.live) {
    const M* source = reinterpret_cast<const M*>(p[0]);
    for (uint32_t e = 0; e < N; ++e) {
      R value = static_cast<R>(source[e]);
      R* d = dst[e];
      for (uint32_t l = 0; l < kLanes; ++l) d[l] = value;
    }
  } else if (mask == ~0u) {
    for (uint32_t e = 0; e < N; ++e) {
      R* d = dst[e];
#pragma GCC ivdep
      for (uint32_t l = 0; l < kLanes; ++l) {
        d[l] = static_cast<R>(reinterpret_cast<const M*>(p[l])[e]);
      }
    }
  } else {
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      uint32_t l = static_cast<uint32_t>(std::countr_zero(rest));
      const M* source = reinterpret_cast<const M*>(p[l]);
      for (uint32_t e = 0; e < N; ++e) dst[e][l] = static_cast<R>(source[e]);
    }
  }
  return i + 1;
}

template <class M, class R, uint32_t N>
FARWARP_RACY const Inst* store(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.pc = i;
  Pattern pattern = kResolvers[i->x](w, i, mask, sizeof(M) * N);
  const R* source[4] = {lanes<R>(w, i->dst), lanes<R>(w, i->b), lanes<R>(w, i->c),
                        lanes<R>(w, i->d)};
  const uint64_t* p = w.address;
  if (N == 1 && pattern == Pattern::contiguous) {
    M* target = reinterpret_cast<M*>(p[0]);
    const R* s = source[0];
#pragma GCC ivdep
    for (uint32_t l = 0; l < kLanes; ++l) target[l] = static_cast<M>(s[l]);
  } else {
    uint64_t spacing = pattern == Pattern::contiguous ? sizeof(M) * N : 0;
    bool listed = pattern == Pattern::scattered;
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      uint32_t l = static_cast<uint32_t>(std::countr_zero(rest));
      M* target = reinterpret_cast<M*>(listed ? p[l] : p[0] + l * spacing);
      for (uint32_t e = 0; e < N; ++e) target[e] = static_cast<M>(source[e][l]);
    }
  }
  return i + 1;
}

struct alignas(16) Vector128 {
  uint64_t low, high;
};

template <class M, class R>
Handler loadOf(uint32_t elements) {
  switch (elements) {
    case 1:
      return load<M, R, 1>;
    case 2:
      return load<M, R, 2>;
    case 4:
      return load<M, R, 4>;
    default:
      return nullptr;
  }
}
template <class M, class S>
Handler loadTo(uint32_t reg_bytes, bool sign_extend, uint32_t elements) {
  if (sizeof(M) == reg_bytes) return loadOf<M, M>(elements);
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
      return store<M, R, 1>;
    case 2:
      return store<M, R, 2>;
    case 4:
      return store<M, R, 4>;
    default:
      return nullptr;
  }
}
template <class M>
Handler storeFrom(uint32_t reg_bytes, uint32_t elements) {
  if (reg_bytes == sizeof(M)) return storeOf<M, M>(elements);
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
      return loadTo<uint8_t, int8_t>(shape.reg_bytes, shape.sign_extend, elements);
    case 2:
      return loadTo<uint16_t, int16_t>(shape.reg_bytes, shape.sign_extend, elements);
    case 4:
      return loadTo<uint32_t, int32_t>(shape.reg_bytes, shape.sign_extend, elements);
    case 8:
      return loadTo<uint64_t, int64_t>(shape.reg_bytes, shape.sign_extend, elements);
    case 16:
      return shape.reg_bytes == 16 ? loadOf<Vector128, Vector128>(elements) : nullptr;
    default:
      return nullptr;
  }
}
Handler storeHandler(LoadShape shape, uint32_t elements) {
  switch (shape.bytes) {
    case 1:
      return storeFrom<uint8_t>(shape.reg_bytes, elements);
    case 2:
      return storeFrom<uint16_t>(shape.reg_bytes, elements);
    case 4:
      return storeFrom<uint32_t>(shape.reg_bytes, elements);
    case 8:
      return storeFrom<uint64_t>(shape.reg_bytes, elements);
    case 16:
      return shape.reg_bytes == 16 ? storeOf<Vector128, Vector128>(elements) : nullptr;
    default:
      return nullptr;
  }
}

void resolveAddresses(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  w.pc = i;
  Pattern pattern = kResolvers[i->x](w, i, mask, bytes);
  uint64_t spacing = pattern == Pattern::contiguous ? bytes : 0;
  if (pattern == Pattern::scattered) return;
  for (uint32_t l = 1; l < kLanes; ++l) w.address[l] = w.address[0] + l * spacing;
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
