// Asynchronous copies. They are done at once, so waiting for them has nothing to do.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {
std::span<const DecodeEntry> asyncDecoders() {
  return {};
}
}  // namespace farwarp::ptx
