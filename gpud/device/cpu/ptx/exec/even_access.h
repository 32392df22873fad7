// Loads and stores of whole warps whose addresses lie evenly, as nearly all do: one check, and the
// data moves in a few registers of the processor. What does not fit goes to the general handlers.
// For memory.cc alone.
#pragma once

#include "gpud/device/cpu/ptx/exec/addresses.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

// The general handlers' second half: the addresses come from `resolve`.
template <class M, class R>
const Inst* loadFrom(Warp& w, const Inst* i, uint32_t mask, ResolverFunction resolve);
template <class M, class R>
const Inst* storeTo(Warp& w, const Inst* i, uint32_t mask, ResolverFunction resolve);
template <class M, class R>
const Inst* load(Warp& w, const Inst* i);
template <class M, class R>
const Inst* store(Warp& w, const Inst* i);

#if defined(__AVX512F__)
constexpr size_t kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr size_t kVectorBytes = 32;
#else
constexpr size_t kVectorBytes = 16;
#endif

constexpr bool isIndexed(Resolver r) {
  return r == Resolver::indexed4s || r == Resolver::indexed4u || r == Resolver::indexed8;
}
constexpr bool isShared(Resolver r) {
  return r == Resolver::shared4 || r == Resolver::shared8;
}

template <Resolver Way>
using IndexOf =
    std::conditional_t<Way == Resolver::indexed4s, int32_t,
                       std::conditional_t<Way == Resolver::indexed4u, uint32_t, uint64_t>>;
template <Resolver Way>
using OffsetOf = std::conditional_t<Way == Resolver::shared4, uint32_t, uint64_t>;

// Takes the lanes one by one.
template <Resolver Way, uint64_t Bytes>
constexpr ResolverFunction eachOf() {
  if constexpr (isIndexed(Way))
    return indexedEach<IndexOf<Way>, Bytes>;
  else if constexpr (isShared(Way))
    return sharedEach<OffsetOf<Way>, Bytes>;
  else
    return absoluteEach<Bytes>;
}

// The host address of the least lane, or 0 where the lanes do not lie evenly or one of them may not
// have its access.
template <Resolver Way, uint64_t Bytes, bool Again>
[[gnu::always_inline]] inline uint64_t lowOf(Warp& w, const Inst* i, AddressMemo& m) {
  if constexpr (isIndexed(Way)) {
    using I = IndexOf<Way>;
    if constexpr (!Again) findOrder<I, 1>(lanes<I>(w, i->e), m);
    return i->aux == Bytes ? indexedLow<Bytes>(w, i, m) : 0;
  } else if constexpr (isShared(Way)) {
    using A = OffsetOf<Way>;
    if constexpr (!Again) findOrder<A, Bytes>(lanes<A>(w, i->a), m);
    return sharedLow<A, Bytes>(w, i, m);
  } else {
    if constexpr (!Again) findOrder<uint64_t, Bytes>(lanes<uint64_t>(w, i->a), m);
    return absoluteLow<Bytes>(w, i, m);
  }
}

// 8 lanes, in as many vectors as they take.
template <class M>
struct Group {
  static constexpr size_t kBytes =
      kGroup * sizeof(M) < kVectorBytes ? kGroup * sizeof(M) : kVectorBytes;
  static constexpr uint32_t kParts = kGroup * sizeof(M) / kBytes;
  static constexpr uint32_t kPerPart = kBytes / sizeof(M);
  typedef M Vector __attribute__((vector_size(kBytes)));
  typedef M InMemory __attribute__((vector_size(kBytes), aligned(1), may_alias));
  Vector parts[kParts];

  FARWARP_RACY [[gnu::always_inline]] void loadRow(uint64_t from) {
    for (uint32_t k = 0; k < kParts; ++k) parts[k] = reinterpret_cast<const InMemory*>(from)[k];
  }
  FARWARP_RACY [[gnu::always_inline]] void loadOne(uint64_t from) {
    M value = *reinterpret_cast<const M*>(from);
    for (uint32_t k = 0; k < kParts; ++k) parts[k] = Vector{} + value;
  }
  FARWARP_RACY [[gnu::always_inline]] void storeRow(uint64_t to) const {
    for (uint32_t k = 0; k < kParts; ++k) reinterpret_cast<InMemory*>(to)[k] = parts[k];
  }
};

// Two groups become registers' lanes. The vectors that are written are as wide as those that will
// read them: the processor then need not wait until they have reached its cache.
template <class M>
FARWARP_RACY [[gnu::always_inline]] inline void setPair(M* to, const Group<M>& a,
                                                        const Group<M>& b) {
#ifdef __AVX512F__
  if constexpr (sizeof(M) == 4) {
    typedef M Whole __attribute__((vector_size(64), may_alias));
    *reinterpret_cast<Whole*>(to) = __builtin_shufflevector(a.parts[0], b.parts[0], 0, 1, 2, 3, 4,
                                                            5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return;
  }
#endif
  a.storeRow(reinterpret_cast<uint64_t>(to));
  b.storeRow(reinterpret_cast<uint64_t>(to + kGroup));
}

// Kind: 0 all groups are one address each, 1 all lie in a row, 2 some do.
template <class M, int Kind>
FARWARP_RACY [[gnu::always_inline]] inline void loadGroups(M* d, uint64_t low, uint64_t scale,
                                                           const AddressMemo& m) {
  for (uint32_t g = 0; g < kLanes / kGroup; g += 2) {
    Group<M> pair[2];
    for (uint32_t k = 0; k < 2; ++k) {
      uint64_t from = low + m.delta[g + k] * scale;
      if (Kind == 1 || (Kind == 2 && (m.rows >> (g + k) & 1) != 0))
        pair[k].loadRow(from);
      else
        pair[k].loadOne(from);
    }
    setPair<M>(d + g * kGroup, pair[0], pair[1]);
  }
}

template <class M>
FARWARP_RACY [[gnu::always_inline]] inline void storeGroups(const M* s, uint64_t low,
                                                            uint64_t scale, const AddressMemo& m) {
  for (uint32_t g = 0; g < kLanes / kGroup; ++g) {
    uint64_t to = low + m.delta[g] * scale;
    if ((m.rows >> g & 1) != 0) {
      Group<M> group;
      group.loadRow(reinterpret_cast<uint64_t>(s + g * kGroup));
      group.storeRow(to);
    } else {
      *reinterpret_cast<M*>(to) = s[(g + 1) * kGroup - 1];
    }
  }
}

// Says where a fault would be. There is none in shared memory.
template <Resolver Way, uint64_t Bytes>
[[gnu::always_inline]] inline void announce(Warp& w, const Inst* i, const AddressMemo& m,
                                            uint64_t low) {
  if constexpr (!isShared(Way)) {
    w.pc = i;
    placeEvenly<Bytes>(w, m, low, isIndexed(Way) ? Bytes : 1);
  }
}

template <class M, Resolver Way, bool Again>
FARWARP_RACY const Inst* evenLoad(Warp& w, const Inst* i) {
  if (execMask(w, i) != ~0u) [[unlikely]]
    return load<M, M>(w, i);
  AddressMemo& m = w.memos[i->memo & ~kMemoReuse];
  uint64_t low = lowOf<Way, sizeof(M), Again>(w, i, m);
  if (low == 0) [[unlikely]]
    return loadFrom<M, M>(w, i, ~0u, eachOf<Way, sizeof(M)>());
  constexpr uint64_t kScale = isIndexed(Way) ? sizeof(M) : 1;
  M* d = lanes<M>(w, i->dst);
  const M* source = reinterpret_cast<const M*>(low);
  switch (static_cast<Pattern>(m.pattern)) {
    case Pattern::contiguous:
      announce<Way, sizeof(M)>(w, i, m, low);
#pragma GCC ivdep
      for (uint32_t l = 0; l < kLanes; ++l) d[l] = source[l];
      return next(w, i);
    case Pattern::uniform: {
      announce<Way, sizeof(M)>(w, i, m, low);
      M value = *source;
      for (uint32_t l = 0; l < kLanes; ++l) d[l] = value;
      return next(w, i);
    }
    case Pattern::grouped:
      announce<Way, sizeof(M)>(w, i, m, low);
      if (m.rows == 0)
        loadGroups<M, 0>(d, low, kScale, m);
      else if (m.rows == 0xf)
        loadGroups<M, 1>(d, low, kScale, m);
      else
        loadGroups<M, 2>(d, low, kScale, m);
      return next(w, i);
    default:
      return loadFrom<M, M>(w, i, ~0u, eachOf<Way, sizeof(M)>());
  }
}

template <class M, Resolver Way, bool Again>
FARWARP_RACY const Inst* evenStore(Warp& w, const Inst* i) {
  if (execMask(w, i) != ~0u) [[unlikely]]
    return store<M, M>(w, i);
  AddressMemo& m = w.memos[i->memo & ~kMemoReuse];
  uint64_t low = lowOf<Way, sizeof(M), Again>(w, i, m);
  if (low == 0) [[unlikely]]
    return storeTo<M, M>(w, i, ~0u, eachOf<Way, sizeof(M)>());
  const M* s = lanes<M>(w, i->dst);
  M* target = reinterpret_cast<M*>(low);
  switch (static_cast<Pattern>(m.pattern)) {
    case Pattern::contiguous:
      announce<Way, sizeof(M)>(w, i, m, low);
#pragma GCC ivdep
      for (uint32_t l = 0; l < kLanes; ++l) target[l] = s[l];
      return next(w, i);
    case Pattern::grouped:
      announce<Way, sizeof(M)>(w, i, m, low);
      storeGroups<M>(s, low, isIndexed(Way) ? sizeof(M) : 1, m);
      return next(w, i);
    default:
      return storeTo<M, M>(w, i, ~0u, eachOf<Way, sizeof(M)>());
  }
}

template <class M, bool Again>
Handler evenLoadBy(Resolver way) {
  switch (way) {
    case Resolver::absolute8:
      return evenLoad<M, Resolver::absolute8, Again>;
    case Resolver::indexed4s:
      return evenLoad<M, Resolver::indexed4s, Again>;
    case Resolver::indexed4u:
      return evenLoad<M, Resolver::indexed4u, Again>;
    case Resolver::indexed8:
      return evenLoad<M, Resolver::indexed8, Again>;
    case Resolver::shared4:
      return evenLoad<M, Resolver::shared4, Again>;
    case Resolver::shared8:
      return evenLoad<M, Resolver::shared8, Again>;
    default:
      return nullptr;
  }
}
template <class M, bool Again>
Handler evenStoreBy(Resolver way) {
  switch (way) {
    case Resolver::absolute8:
      return evenStore<M, Resolver::absolute8, Again>;
    case Resolver::indexed4s:
      return evenStore<M, Resolver::indexed4s, Again>;
    case Resolver::indexed4u:
      return evenStore<M, Resolver::indexed4u, Again>;
    case Resolver::indexed8:
      return evenStore<M, Resolver::indexed8, Again>;
    case Resolver::shared4:
      return evenStore<M, Resolver::shared4, Again>;
    case Resolver::shared8:
      return evenStore<M, Resolver::shared8, Again>;
    default:
      return nullptr;
  }
}

// Null where there is none: elements as wide as their registers, 4 or 8 bytes.
template <class M>
Handler evenLoadHandler(LoadShape shape) {
  if constexpr (sizeof(M) != 4 && sizeof(M) != 8)
    return nullptr;
  else
    return shape.memo_is_filled ? evenLoadBy<M, true>(shape.resolver)
                                : evenLoadBy<M, false>(shape.resolver);
}
template <class M>
Handler evenStoreHandler(LoadShape shape) {
  if constexpr (sizeof(M) != 4 && sizeof(M) != 8)
    return nullptr;
  else
    return shape.memo_is_filled ? evenStoreBy<M, true>(shape.resolver)
                                : evenStoreBy<M, false>(shape.resolver);
}

}  // namespace
}  // namespace farwarp::ptx::FARWARP_LEVEL
