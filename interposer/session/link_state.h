// A CUlinkState of the program's: where it wants the linker's words, and the image that it was
// given.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "interposer/calls/image_load.h"

namespace farwarp::client {

struct LinkState {
  JitOptions options;
  std::mutex mutex;              // guards image
  std::vector<std::byte> image;  // what cuLinkComplete gave; empty before
};

}  // namespace farwarp::client
