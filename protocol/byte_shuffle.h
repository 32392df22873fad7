// Takes numbers apart into planes of bytes, so that bytes of one significance lie together. Numbers
// that are near each other then have planes of few different bytes, which a compressor finds.
#pragma once

#include <cstddef>
#include <span>

namespace farwarp::wire {

// `width`: of the elements, 2, 4 or 8 bytes. Writes `from` into `to`, as many bytes; they do not
// overlap. The bytes behind the last whole element stay behind the planes.
void shuffleBytes(unsigned width, std::span<const std::byte> from, std::byte* to);
// The inverse.
void unshuffleBytes(unsigned width, std::span<const std::byte> from, std::byte* to);

}  // namespace farwarp::wire
