// Handles as they cross the wire and as the program sees them: small typed generational ids.
//
// The client chooses the id when a call creates an object, so creating does not need a reply. The same
// 64 bits are the CUstream, CUevent, ... value that the program holds; it is never dereferenced. CUDA's
// special stream values 0, 1 and 2 have type 0 and cannot collide with an id.
#pragma once

#include <cstdint>

#include "handle_types_gen.h"  // enum class HandleType : uint8_t, from codegen/spec/handles.toml

namespace farwarp::wire {

// bits 56..62 type, 32..55 generation, 0..31 index (from 1)
struct HandleId {
  uint64_t bits = 0;

  constexpr HandleId() = default;
  constexpr explicit HandleId(uint64_t value) : bits(value) {}
  constexpr HandleId(HandleType type, uint32_t generation, uint32_t index)
      : bits((static_cast<uint64_t>(type) & 0x7f) << 56 |
             (static_cast<uint64_t>(generation) & 0xffffff) << 32 | index) {}

  constexpr HandleType type() const { return static_cast<HandleType>(bits >> 56 & 0x7f); }
  constexpr uint32_t generation() const { return bits >> 32 & 0xffffff; }
  constexpr uint32_t index() const { return static_cast<uint32_t>(bits); }
  constexpr bool operator==(const HandleId&) const = default;
};

inline constexpr uint32_t kHandleIndexMax = 1u << 24;  // per type and session; more is refused

}  // namespace farwarp::wire
