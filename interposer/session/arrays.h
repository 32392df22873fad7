// What the client knows of CUDA arrays and mipmapped arrays: the objects beside their handles.
#pragma once

#include <cuda.h>

#include <map>
#include <mutex>

#include "driver/array_shape.h"

namespace farwarp::client {

struct Array {
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  ArrayShape shape;
  bool is_level = false;  // of a mipmapped array, with which it ends
};

struct MipmappedArray {
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  std::mutex mutex;                     // guards levels; held while gpud is asked for one
  std::map<uint32_t, uint64_t> levels;  // ids of those that were asked for
};

}  // namespace farwarp::client
