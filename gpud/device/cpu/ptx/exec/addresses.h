// The addresses of a warp's access: a resolver computes them, finds out how they lie, and checks
// them. For memory.cc alone, which is compiled once per instruction set.
#pragma once

#include "gpud/device/cpu/ptx/exec/lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

// Races of the kernels' threads are theirs, not the engine's.
#define FARWARP_RACY [[gnu::no_sanitize("thread")]]

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

#ifdef __AVX512F__
// Is each value `first`, plus Step from lane to lane if they shall lie in a row?
template <class U, uint64_t Step>
[[gnu::always_inline]] inline bool isEvenWarp(const void* x, U first, bool row) {
  struct Steps {
    alignas(64) U of[kLanes];
    constexpr Steps() : of{} {
      for (uint32_t l = 0; l < kLanes; ++l) of[l] = static_cast<U>(U{l} * U{Step});
    }
  };
  static constexpr Steps kSteps;
  uint32_t different = 0;
  for (uint32_t k = 0; k < sizeof(kSteps) / 64; ++k) {
    __m512i value = _mm512_loadu_si512(static_cast<const std::byte*>(x) + k * 64);
    __m512i steps = row ? _mm512_load_si512(&kSteps.of[k * (64 / sizeof(U))]) : __m512i{};
    if constexpr (sizeof(U) == 4) {
      __m512i wanted = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)), steps);
      different |= _mm512_cmpneq_epi32_mask(value, wanted);
    } else {
      __m512i wanted = _mm512_add_epi64(_mm512_set1_epi64(static_cast<int64_t>(first)), steps);
      different |= _mm512_cmpneq_epi64_mask(value, wanted);
    }
  }
  return different == 0;
}
#endif

// Do `Count` values lie in a row with the distance Step, without wrapping around, or are all the
// same?
template <class A, uint64_t Step, uint32_t Count>
[[gnu::always_inline]] inline bool isEven(const A* x, bool row) {
  using U = std::make_unsigned_t<A>;
  U first = static_cast<U>(x[0]), step = row ? U{Step} : U{0};
  if (widen(x[Count - 1]) - widen(x[0]) != uint64_t{step} * (Count - 1)) return false;
#ifdef __AVX512F__
  if constexpr (Count == kLanes && sizeof(A) >= 4) return isEvenWarp<U, Step>(x, first, row);
#endif
  U different = 0;
  for (uint32_t l = 0; l < Count; ++l) {
    different |= static_cast<U>(x[l]) ^ static_cast<U>(first + (row ? U{l} * U{Step} : U{0}));
  }
  return different == 0;
}

// Groups that lie farther apart than this are taken one by one: sums of spans then never wrap.
constexpr uint64_t kSpanMax = uint64_t{1} << 40;

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
  int64_t low = INT64_MAX, high = INT64_MIN;
  for (uint32_t g = 0; g < kLanes / kGroup; ++g) {
    const A* at = x + g * kGroup;
    if (!isEven<A, Step, kGroup>(at, (rows >> g & 1) != 0)) return;
    auto first = static_cast<int64_t>(widen(at[0])),
         last = static_cast<int64_t>(widen(at[kGroup - 1]));
    low = first < low ? first : low;
    high = last > high ? last : high;
  }
  m.low = static_cast<uint64_t>(low);
  m.span = static_cast<uint64_t>(high) - m.low;
  if (m.span > kSpanMax) return;
  for (uint32_t g = 0; g < kLanes / kGroup; ++g) {
    m.delta[g] = widen(x[g * kGroup]) - m.low;
    if (m.delta[g] % Step != 0) return;
  }
  m.rows = rows;
  m.pattern = static_cast<uint8_t>(Pattern::grouped);
}

// How all 32 lanes' values of an address or index lie; Step is the distance in a row.
template <class A, uint64_t Step>
[[gnu::always_inline]] inline void findOrder(const A* x, AddressMemo& m) {
  using U = std::make_unsigned_t<A>;
  // The second lane says what the others would have to be.
  U step = static_cast<U>(static_cast<U>(x[1]) - static_cast<U>(x[0]));
  if (step == Step && isEven<A, Step, kLanes>(x, true)) {
    m.low = widen(x[0]);
    m.span = Step * (kLanes - 1);
    m.pattern = static_cast<uint8_t>(Pattern::contiguous);
  } else if (step == 0 && isEven<A, Step, kLanes>(x, false)) {
    m.low = widen(x[0]);
    m.span = 0;
    m.pattern = static_cast<uint8_t>(Pattern::uniform);
  } else {
    findGroups<A, Step>(x, m);
  }
}

// The same for the lanes of `mask`, which lie anyhow unless they are all.
template <class A, uint64_t Step>
inline const AddressMemo& lieOf(Warp& w, const Inst* i, const A* x, uint32_t mask) {
  AddressMemo& m = w.memos[i->memo & ~kMemoReuse];
  if (mask != ~0u) [[unlikely]] {
    AddressMemo& other = (i->memo & kMemoReuse) != 0 ? w.memos[0] : m;
    other.pattern = static_cast<uint8_t>(Pattern::scattered);
    return other;
  }
  if ((i->memo & kMemoReuse) == 0) findOrder<A, Step>(x, m);
  return m;
}

// Sets w.address for lanes that lie evenly: `host` is the address of the least of them, and `scale`
// is what the values that the memo is about are multiplied with.
template <uint64_t Bytes>
inline Pattern placeEvenly(Warp& w, const AddressMemo& m, uint64_t host, uint64_t scale) {
  uint64_t* p = w.address;
  Pattern pattern = static_cast<Pattern>(m.pattern);
  p[0] = host;
  w.spacing = pattern == Pattern::contiguous ? Bytes : 0;
  if (pattern != Pattern::grouped) return pattern;
  for (uint32_t g = 0; g < kLanes / kGroup; ++g) {
    p[g * kGroup] = host + m.delta[g] * scale;
    p[g * kGroup + 1] = p[g * kGroup] + ((m.rows >> g & 1) != 0 ? Bytes : 0);
  }
  w.spacing = kSpacingOfGroups;
  return pattern;
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
// The host address of the least lane where the lanes lie evenly and may all be accessed, else 0.
template <uint64_t Bytes>
[[gnu::always_inline]] inline uint64_t absoluteLow(const Warp& w, const Inst* i,
                                                   const AddressMemo& m) {
  return ifReserved<Bytes>(w, m.low + static_cast<uint64_t>(i->imm), m.span + Bytes);
}
template <uint64_t Bytes>
Pattern absolute8(Warp& w, const Inst* i, uint32_t mask) {
  const AddressMemo& m = lieOf<uint64_t, Bytes>(w, i, lanes<uint64_t>(w, i->a), mask);
  if (m.pattern != static_cast<uint8_t>(Pattern::scattered)) {
    if (uint64_t low = absoluteLow<Bytes>(w, i, m)) return placeEvenly<Bytes>(w, m, low, 1);
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
template <uint64_t Bytes>
[[gnu::always_inline]] inline uint64_t indexedLow(const Warp& w, const Inst* i,
                                                  const AddressMemo& m) {
  uint64_t base = *lanes<uint64_t>(w, i->a) + static_cast<uint64_t>(i->imm), scale = i->aux;
  return ifReserved<Bytes>(w, base + m.low * scale, m.span * scale + Bytes);
}
template <class I, uint64_t Bytes>
Pattern indexed(Warp& w, const Inst* i, uint32_t mask) {
  const AddressMemo& m = lieOf<I, 1>(w, i, lanes<I>(w, i->e), mask);
  if (m.pattern == static_cast<uint8_t>(Pattern::uniform) ||
      (i->aux == Bytes && m.pattern != static_cast<uint8_t>(Pattern::scattered))) {
    if (uint64_t low = indexedLow<Bytes>(w, i, m)) return placeEvenly<Bytes>(w, m, low, Bytes);
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
[[gnu::always_inline]] inline uint64_t sharedLow(const Warp& w, const Inst* i,
                                                 const AddressMemo& m) {
  // Offsets wrap around; those of the other lanes do not where the whole span is inside.
  A first = static_cast<A>(static_cast<A>(m.low) + static_cast<A>(i->imm));
  uint64_t size = w.shared_bytes, reach = m.span + Bytes;
  bool inside = first <= size && reach <= size - first && (first & (Bytes - 1)) == 0;
  return inside ? reinterpret_cast<uint64_t>(w.shared) + first : 0;
}
template <class A, uint64_t Bytes>
Pattern shared(Warp& w, const Inst* i, uint32_t mask) {
  const AddressMemo& m = lieOf<A, Bytes>(w, i, lanes<A>(w, i->a), mask);
  if (m.pattern != static_cast<uint8_t>(Pattern::scattered)) {
    if (uint64_t low = sharedLow<A, Bytes>(w, i, m)) return placeEvenly<Bytes>(w, m, low, 1);
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

}  // namespace
}  // namespace farwarp::ptx::FARWARP_LEVEL
