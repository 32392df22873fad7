#include <cstring>

#include "gpud/device/cpu/ptx/control.h"

namespace farwarp::ptx::op {

const Inst* predicateLogic(Warp& w, const Inst* i) {
  uint32_t a = predicate(w, i->a) ^ (i->x != 0 ? ~0u : 0u);
  uint32_t b = predicate(w, i->b) ^ (i->y != 0 ? ~0u : 0u);
  uint32_t result = i->aux == 0 ? a & b : i->aux == 1 ? a | b : i->aux == 2 ? a ^ b : a;
  setPredicate(w, i->dst, result, execMask(w, i));
  return i + 1;
}

const Inst* pack(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i), part = i->x, parts = i->aux;
  const Ref sources[4] = {i->a, i->b, i->c, i->d};
  std::byte* dst = lanes<std::byte>(w, i->dst);
  for (uint32_t k = 0; k < parts; ++k) {
    const std::byte* source = lanes<std::byte>(w, sources[k]);
    for (uint32_t l = 0; l < kLanes; ++l) {
      if ((mask >> l & 1) == 0) continue;
      std::memcpy(dst + (l * parts + k) * part, source + l * part, part);
    }
  }
  return i + 1;
}

const Inst* unpack(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i), part = i->x, parts = i->aux;
  const Ref targets[4] = {i->dst, i->b, i->c, i->d};
  // The source may share its place with a target only if it is the same register; copy first.
  alignas(64) std::byte source[kLanes * 16];
  std::memcpy(source, lanes<std::byte>(w, i->a), size_t{kLanes} * part * parts);
  for (uint32_t k = 0; k < parts; ++k) {
    std::byte* dst = lanes<std::byte>(w, targets[k]);
    for (uint32_t l = 0; l < kLanes; ++l) {
      if ((mask >> l & 1) == 0) continue;
      std::memcpy(dst + l * part, source + (l * parts + k) * part, part);
    }
  }
  return i + 1;
}

const Inst* packIntegers(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i), bits = i->x;
  const int32_t *a = lanes<int32_t>(w, i->a), *b = lanes<int32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  const bool is_signed = i->y != 0;
  const int32_t least = is_signed ? -(1 << (bits - 1)) : 0;
  const int32_t most = (1 << (is_signed ? bits - 1 : bits)) - 1;
  const uint32_t keep = (1u << bits) - 1;
  auto narrow = [&](int32_t v) {
    return static_cast<uint32_t>(v < least ? least : v > most ? most : v) & keep;
  };
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    const uint32_t rest = bits == 16 ? 0 : c[l] << (2 * bits);
    lanes<uint32_t>(w, i->dst)[l] = rest | narrow(a[l]) << bits | narrow(b[l]);
  }
  return i + 1;
}

}  // namespace farwarp::ptx::op
