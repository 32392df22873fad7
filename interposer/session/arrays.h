// What the client knows of a CUDA array: the object beside its handle.
#pragma once

#include <cuda.h>

#include "driver/array_shape.h"

namespace farwarp::client {

struct Array {
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  ArrayShape shape;
};

}  // namespace farwarp::client
