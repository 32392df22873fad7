// Host memory that the device comes to use.
#pragma once

#include <cuda.h>

#include <span>

#include "interposer/calls/body.h"

namespace farwarp::client {

// Page-locked memory gets its copy in gpud, at the same address, in the context that owns it.
// `scope` was entered. CUDA_ERROR_NOT_SUPPORTED with a line on stderr when that cannot be.
[[nodiscard]] CUresult shareHost(CallScope& scope, const Allocation& memory);

// Registered memory can be shared only if it is.
inline bool isWholePages(const Allocation& memory) {
  return memory.base % kPageBytes == 0 && memory.bytes % kPageBytes == 0;
}

// A managed variable of the module or library `owner`, whose pages gpud has at [base, base +
// whole): they are shared at the same address here. Errors as those of shareHost.
[[nodiscard]] CUresult shareVariable(CallScope& scope, uint64_t owner, uint64_t address,
                                     uint64_t bytes, uint64_t base, uint64_t whole);

// `bytes` go to the device, as a kernel's parameters or in a copy. Page-locked memory that a word
// of theirs points to is shared, because a kernel may follow it: with unified addresses a program
// never has to say that it hands such memory to a kernel.
void shareReferenced(CallScope& scope, std::span<const std::byte> bytes);

}  // namespace farwarp::client
