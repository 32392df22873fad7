// Loads and stores: a resolver computes and checks the lanes' addresses, then the data moves.
#include "gpud/device/cpu/ptx/exec/lanes.h"

// Races of the kernels' threads are theirs, not the engine's.
#define FARWARP_RACY [[gnu::no_sanitize("thread")]]

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

// How the addresses of 32 active lanes lie: anyhow; in a row; all the same; or in groups of 8 lanes
// each of which lies in a row or all the same, as blocks of 8 or 16 columns make them.
enum class Pattern { scattered, contiguous, uniform, grouped };
using ResolverFunction = Pattern (*)(Warp&, const Inst*, uint32_t mask);

constexpr uint32_t kGroup = 8;

inline uint64_t laneBit(uint32_t mask, uint32_t l) {
  return mask >> l & 1;
}

template <class A>
inline uint64_t widen(A value) {
  if constexpr (std::is_signed_v<A>) return static_cast<uint64_t>(int64_t{value});
  return value;
}

// Do `Count` values lie in a row with the distance Step, without wrapping around, or are all the
// same?
template <class A, uint64_t Step, uint32_t Count>
inline bool isEven(const A* x, bool row) {
  using U = std::make_unsigned_t<A>;
  U first = static_cast<U>(x[0]), step = row ? U{Step} : U{0}, different = 0;
  for (uint32_t l = 0; l < Count; ++l) {
    different |= static_cast<U>(x[l]) ^ static_cast<U>(first + (row ? U{l} * U{Step} : U{0}));
  }
  return different == 0 && widen(x[Count - 1]) - widen(x[0]) == uint64_t{step} * (Count - 1);
}

template <class A, uint64_t Step>
[[gnu::noinline]] void findGroups(const A* x, AddressMemo& m) {
  using U = std::make_unsigned_t<A>;
  m.pattern = static_cast<uint8_t>(Pattern::scattered);
  uint8_t rows = 0;
  for (uint32_t g = 0; g < kLanes / kGroup; ++g) {
    const A* at = x + g * kGroup;
    U step = static_cast<U>(static_cast<U>(at[1]) - static_cast<U>(at[0]));
    if (step != 0 && step != Step) return;
    rows |= static_cast<uint8_t>((step != 0 ? 1 : 0) << g);
  }
  for (uint32_t g = 0; g < kLanes / kGroup; ++g) {
    if (!isEven<A, Step, kGroup>(x + g * kGroup, (rows >> g & 1) != 0)) return;
    m.first[g] = widen(x[g * kGroup]);
  }
  m.rows = rows;
  m.pattern = static_cast<uint8_t>(Pattern::grouped);
}

// How the lanes' values of an address or index lie; Step is the distance in a row.
template <class A, uint64_t Step>
inline const AddressMemo& lieOf(Warp& w, const Inst* i, const A* x, uint32_t mask) {
  using U = std::make_unsigned_t<A>;
  AddressMemo& m = w.memos[i->memo & ~kMemoReuse];
  if (mask != ~0u) [[unlikely]] {
    AddressMemo& other = (i->memo & kMemoReuse) != 0 ? w.memos[0] : m;
    other.pattern = static_cast<uint8_t>(Pattern::scattered);
    return other;
  }
  if ((i->memo & kMemoReuse) != 0) return m;
  // The second lane says what the others would have to be.
  U step = static_cast<U>(static_cast<U>(x[1]) - static_cast<U>(x[0]));
  m.first[0] = widen(x[0]);
  if (step == Step && isEven<A, Step, kLanes>(x, true)) {
    m.pattern = static_cast<uint8_t>(Pattern::contiguous);
  } else if (step == 0 && isEven<A, Step, kLanes>(x, false)) {
    m.pattern = static_cast<uint8_t>(Pattern::uniform);
  } else {
    findGroups<A, Step>(x, m);
  }
  return m;
}

// Sets w.address for lanes that lie evenly, where hostAddress(first, reach) is the address of what
// a register's value `first` names, or 0 when not all of the `reach` bytes from there may be
// accessed without a closer look. False when they do not lie evenly, or one gave 0.
template <uint64_t Bytes, class F>
[[gnu::always_inline]] inline bool placeEvenly(Warp& w, const AddressMemo& m, F hostAddress) {
  uint64_t* p = w.address;
  Pattern pattern = static_cast<Pattern>(m.pattern);
  if (pattern == Pattern::contiguous || pattern == Pattern::uniform) {
    bool row = pattern == Pattern::contiguous;
    p[0] = hostAddress(m.first[0], row ? kLanes * Bytes : Bytes);
    w.spacing = row ? Bytes : 0;
    return p[0] != 0;
  }
  if (pattern != Pattern::grouped) return false;
  bool all = true;
  for (uint32_t g = 0; g < kLanes / kGroup; ++g) {
    bool row = (m.rows >> g & 1) != 0;
    uint64_t first = hostAddress(m.first[g], row ? kGroup * Bytes : Bytes);
    all &= first != 0;
    p[g * kGroup] = first;
    p[g * kGroup + 1] = first + (row ? Bytes : 0);
  }
  w.spacing = kSpacingOfGroups;
  return all;
}

// All lanes at one address, which may be outside: then the slow check decides.
inline Pattern oneAddress(Warp& w, uint64_t address) {
  for (uint32_t l = 0; l < kLanes; ++l) w.address[l] = address;
  w.spacing = 0;
  return Pattern::uniform;
}

// `first` where the whole access lies aligned in the reserved range, else 0.
template <uint64_t Bytes>
[[gnu::always_inline]] inline uint64_t ifReserved(const Warp& w, uint64_t first, uint64_t reach) {
  uint64_t at = first - w.reserved_begin;
  bool inside = at <= w.reserved_size && reach <= w.reserved_size - at;
  return inside && (first & (Bytes - 1)) == 0 ? first : 0;
}

// w.address is set: checks the lanes of `mask`.
template <uint64_t Bytes>
inline Pattern checkEach(Warp& w, const Inst* i, uint32_t mask) {
  uint64_t begin = w.reserved_begin, limit = w.reserved_size - Bytes, bad = 0;
  const uint64_t* p = w.address;
  for (uint32_t l = 0; l < kLanes; ++l) {
    bad |= ((p[l] & (Bytes - 1)) | (p[l] - begin > limit ? 1 : 0)) & -laneBit(mask, l);
  }
  w.spacing = kNone;
  if (bad != 0) [[unlikely]]
    checkAddresses(w, i, mask, Bytes, Space::generic);
  return Pattern::scattered;
}

template <uint64_t Bytes>
Pattern absolute0(Warp& w, const Inst* i, uint32_t mask) {
  uint64_t address = *lanes<uint64_t>(w, i->a) + static_cast<uint64_t>(i->imm);
  oneAddress(w, address);
  if (ifReserved<Bytes>(w, address, Bytes) == 0) {
    checkAddresses(w, i, mask, Bytes, Space::generic);
  }
  return Pattern::uniform;
}

// The slow halves are functions of their own: the fast ones then need no stack frame.
template <uint64_t Bytes>
[[gnu::noinline]] Pattern absoluteEach(Warp& w, const Inst* i, uint32_t mask) {
  const uint64_t* a = lanes<uint64_t>(w, i->a);
  uint64_t offset = static_cast<uint64_t>(i->imm);
  uint64_t* p = w.address;
  for (uint32_t l = 0; l < kLanes; ++l) p[l] = a[l] + offset;
  return checkEach<Bytes>(w, i, mask);
}
template <uint64_t Bytes>
Pattern absolute8(Warp& w, const Inst* i, uint32_t mask) {
  uint64_t offset = static_cast<uint64_t>(i->imm);
  const AddressMemo& m = lieOf<uint64_t, Bytes>(w, i, lanes<uint64_t>(w, i->a), mask);
  if (placeEvenly<Bytes>(w, m, [&](uint64_t first, uint64_t reach) {
        return ifReserved<Bytes>(w, first + offset, reach);
      })) {
    return static_cast<Pattern>(m.pattern);
  }
  return absoluteEach<Bytes>(w, i, mask);
}

// I: type of the index.
template <class I, uint64_t Bytes>
[[gnu::noinline]] Pattern indexedEach(Warp& w, const Inst* i, uint32_t mask) {
  const I* x = lanes<I>(w, i->e);
  uint64_t base = *lanes<uint64_t>(w, i->a) + static_cast<uint64_t>(i->imm), scale = i->aux;
  uint64_t* p = w.address;
  for (uint32_t l = 0; l < kLanes; ++l) p[l] = base + widen(x[l]) * scale;
  return checkEach<Bytes>(w, i, mask);
}
template <class I, uint64_t Bytes>
Pattern indexed(Warp& w, const Inst* i, uint32_t mask) {
  uint64_t base = *lanes<uint64_t>(w, i->a) + static_cast<uint64_t>(i->imm), scale = i->aux;
  const AddressMemo& m = lieOf<I, 1>(w, i, lanes<I>(w, i->e), mask);
  if ((scale == Bytes || m.pattern == static_cast<uint8_t>(Pattern::uniform)) &&
      placeEvenly<Bytes>(w, m, [&](uint64_t first, uint64_t reach) {
        return ifReserved<Bytes>(w, base + first * scale, reach);
      })) {
    return static_cast<Pattern>(m.pattern);
  }
  return indexedEach<I, Bytes>(w, i, mask);
}

// A: type of the address register.
template <class A, uint64_t Bytes>
[[gnu::noinline]] Pattern sharedEach(Warp& w, const Inst* i, uint32_t mask) {
  const A* a = lanes<A>(w, i->a);
  A offset = static_cast<A>(i->imm);
  uint64_t* p = w.address;
  if (w.shared_bytes >= Bytes) [[likely]] {
    uint64_t base = reinterpret_cast<uint64_t>(w.shared);
    A limit = static_cast<A>(w.shared_bytes - Bytes), low = static_cast<A>(Bytes - 1);
    A bad = 0;
    for (uint32_t l = 0; l < kLanes; ++l) {
      A address = static_cast<A>(a[l] + offset);
      p[l] = base + address;
      bad |= ((address & low) | (address > limit ? 1 : 0)) & -static_cast<A>(laneBit(mask, l));
    }
    if (bad == 0) [[likely]]
      return Pattern::scattered;
  }
  for (uint32_t l = 0; l < kLanes; ++l) p[l] = static_cast<A>(a[l] + offset);
  checkAddresses(w, i, mask, Bytes, Space::shared);
  return Pattern::scattered;
}
template <class A, uint64_t Bytes>
Pattern shared(Warp& w, const Inst* i, uint32_t mask) {
  A offset = static_cast<A>(i->imm);
  uint64_t base = reinterpret_cast<uint64_t>(w.shared), size = w.shared_bytes;
  const AddressMemo& m = lieOf<A, Bytes>(w, i, lanes<A>(w, i->a), mask);
  if (placeEvenly<Bytes>(w, m, [=](uint64_t from, uint64_t reach) {
        A first = static_cast<A>(static_cast<A>(from) + offset);
        bool inside = first <= size && reach <= size - first && (first & (Bytes - 1)) == 0;
        return inside ? base + first : 0;
      })) {
    return static_cast<Pattern>(m.pattern);
  }
  return sharedEach<A, Bytes>(w, i, mask);
}
template <uint64_t Bytes>
Pattern shared0(Warp& w, const Inst* i, uint32_t mask) {
  uint64_t address = static_cast<uint64_t>(i->imm);
  if (w.shared_bytes < Bytes || address > w.shared_bytes - Bytes || (address & (Bytes - 1)) != 0) {
    oneAddress(w, address);
    checkAddresses(w, i, mask, Bytes, Space::shared);
    return Pattern::uniform;
  }
  return oneAddress(w, address + reinterpret_cast<uint64_t>(w.shared));
}

template <class A, uint64_t Bytes>
Pattern local(Warp& w, const Inst* i, uint32_t mask) {
  const A* a = lanes<A>(w, i->a);
  uint64_t offset = static_cast<uint64_t>(i->imm);
  uint64_t bad = w.local_bytes < Bytes ? 1 : 0;
  uint64_t limit = w.local_bytes - Bytes, base = reinterpret_cast<uint64_t>(w.local_base);
  uint64_t* p = w.address;
  for (uint32_t l = 0; l < kLanes; ++l) {
    uint64_t address = static_cast<A>(a[l] + offset);
    p[l] = address;
    bad |= ((address & (Bytes - 1)) | (address > limit ? 1 : 0)) & -laneBit(mask, l);
  }
  if (bad != 0) [[unlikely]]
    checkAddresses(w, i, mask, Bytes, Space::local);
  for (uint32_t l = 0; l < kLanes; ++l) p[l] += base + l * w.local_stride;
  return Pattern::scattered;
}
template <uint64_t Bytes>
Pattern frame(Warp& w, const Inst* i, uint32_t mask, uint64_t offset) {
  uint64_t address = static_cast<uint64_t>(i->imm) + offset;
  uint64_t base = reinterpret_cast<uint64_t>(w.local_base) + address;
  if (w.local_bytes < Bytes || address > w.local_bytes - Bytes || (address & (Bytes - 1)) != 0) {
    oneAddress(w, address);
    checkAddresses(w, i, mask, Bytes, Space::local);
  }
  for (uint32_t l = 0; l < kLanes; ++l) w.address[l] = base + l * w.local_stride;
  return Pattern::scattered;
}
template <uint64_t Bytes>
Pattern local0(Warp& w, const Inst* i, uint32_t mask) {
  return frame<Bytes>(w, i, mask, 0);
}
template <uint64_t Bytes>
Pattern frame0(Warp& w, const Inst* i, uint32_t mask) {
  return frame<Bytes>(w, i, mask, w.local);
}
template <uint64_t Bytes>
Pattern param0(Warp& w, const Inst* i, uint32_t) {
  uint64_t base = *lanes<uint64_t>(w, refOf(BlockValue::param_address));
  return oneAddress(w, base + static_cast<uint64_t>(i->imm));
}

struct ResolverList {
  ResolverFunction functions[static_cast<size_t>(Resolver::count)];
};
template <uint64_t Bytes>
constexpr ResolverList kResolvers = {{
    absolute0<Bytes>,
    absolute8<Bytes>,
    indexed<int32_t, Bytes>,
    indexed<uint32_t, Bytes>,
    indexed<uint64_t, Bytes>,
    shared0<Bytes>,
    shared<uint32_t, Bytes>,
    shared<uint64_t, Bytes>,
    local0<Bytes>,
    local<uint32_t, Bytes>,
    local<uint64_t, Bytes>,
    param0<Bytes>,
    frame0<Bytes>,
}};
// By the logarithm of the bytes.
constexpr const ResolverList* kResolversBySize[] = {
    &kResolvers<1>,  &kResolvers<2>,  &kResolvers<4>, &kResolvers<8>,
    &kResolvers<16>, &kResolvers<32>, &kResolvers<64>};

// Does a group of lanes lie in a row? Else all its addresses are the same. Of a group only the
// first two addresses are set.
inline bool isRow(const uint64_t* p, uint32_t group) {
  return p[group + 1] != p[group];
}

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
inline constexpr bool kIsWhole = N > 1 && sizeof(M) * N <= 16;

// The host address of lane `l`, as the resolver told it.
inline uint64_t laneAddress(const uint64_t* p, Pattern pattern, uint32_t l, uint64_t bytes) {
  switch (pattern) {
    case Pattern::contiguous:
      return p[0] + l * bytes;
    case Pattern::uniform:
      return p[0];
    case Pattern::grouped: {
      const uint32_t g = l / kGroup * kGroup;
      return isRow(p, g) ? p[g] + (l - g) * bytes : p[g];
    }
    default:
      return p[l];
  }
}

// M: type in memory, R: type of the register; M is signed for sign extension.
template <class M, class R, uint32_t N>
FARWARP_RACY const Inst* loadWhole(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.pc = i;
  const Pattern pattern = kResolvers<sizeof(M) * N>.functions[i->x](w, i, mask);
  R* dst[4] = {lanes<R>(w, i->dst), lanes<R>(w, i->b), lanes<R>(w, i->c), lanes<R>(w, i->d)};
  using Whole = typename WholeOf<sizeof(M) * N>::Type;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const auto l = static_cast<uint32_t>(std::countr_zero(rest));
    const uint64_t address = laneAddress(w.address, pattern, l, sizeof(M) * N);
    const Whole whole = *reinterpret_cast<const volatile Whole*>(address);
    M values[N];
    std::memcpy(values, &whole, sizeof(values));
    for (uint32_t e = 0; e < N; ++e) dst[e][l] = static_cast<R>(values[e]);
  }
  return i + 1;
}

template <class M, class R, uint32_t N>
FARWARP_RACY const Inst* storeWhole(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.pc = i;
  const Pattern pattern = kResolvers<sizeof(M) * N>.functions[i->x](w, i, mask);
  const R* source[4] = {lanes<R>(w, i->dst), lanes<R>(w, i->b), lanes<R>(w, i->c),
                        lanes<R>(w, i->d)};
  using Whole = typename WholeOf<sizeof(M) * N>::Type;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const auto l = static_cast<uint32_t>(std::countr_zero(rest));
    const uint64_t address = laneAddress(w.address, pattern, l, sizeof(M) * N);
    M values[N];
    for (uint32_t e = 0; e < N; ++e) values[e] = static_cast<M>(source[e][l]);
    Whole whole;
    std::memcpy(&whole, values, sizeof(values));
    *reinterpret_cast<volatile Whole*>(address) = whole;
  }
  return i + 1;
}

template <class M, class R, uint32_t N>
FARWARP_RACY const Inst* load(Warp& w, const Inst* i) {
  if constexpr (kIsWhole<M, N>) return loadWhole<M, R, N>(w, i);
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.pc = i;
  Pattern pattern = kResolvers<sizeof(M) * N>.functions[i->x](w, i, mask);
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
  } else if (pattern == Pattern::grouped) {
    for (uint32_t g = 0; g < kLanes; g += kGroup) {
      const M* source = reinterpret_cast<const M*>(p[g]);
      bool row = isRow(p, g);
      for (uint32_t e = 0; e < N; ++e) {
        R* d = dst[e] + g;
        if (row) {
#pragma GCC ivdep
          for (uint32_t k = 0; k < kGroup; ++k) d[k] = static_cast<R>(source[k * N + e]);
        } else {
          R value = static_cast<R>(source[e]);
          for (uint32_t k = 0; k < kGroup; ++k) d[k] = value;
        }
      }
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
  if constexpr (kIsWhole<M, N>) return storeWhole<M, R, N>(w, i);
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.pc = i;
  Pattern pattern = kResolvers<sizeof(M) * N>.functions[i->x](w, i, mask);
  const R* source[4] = {lanes<R>(w, i->dst), lanes<R>(w, i->b), lanes<R>(w, i->c),
                        lanes<R>(w, i->d)};
  const uint64_t* p = w.address;
  if (N == 1 && pattern == Pattern::contiguous) {
    M* target = reinterpret_cast<M*>(p[0]);
    const R* s = source[0];
#pragma GCC ivdep
    for (uint32_t l = 0; l < kLanes; ++l) target[l] = static_cast<M>(s[l]);
  } else if (pattern == Pattern::grouped) {
    for (uint32_t g = 0; g < kLanes; g += kGroup) {
      M* target = reinterpret_cast<M*>(p[g]);
      bool row = isRow(p, g);
      for (uint32_t e = 0; e < N; ++e) {
        const R* s = source[e] + g;
        if (row) {
#pragma GCC ivdep
          for (uint32_t k = 0; k < kGroup; ++k) target[k * N + e] = static_cast<M>(s[k]);
        } else {
          target[e] = static_cast<M>(s[kGroup - 1]);
        }
      }
    }
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
