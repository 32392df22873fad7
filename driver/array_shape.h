// CUDA arrays as blocks of elements, and what a copy may touch of one.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "driver/copy_shape.h"

namespace farwarp {

struct ArrayShape {
  uint64_t element_bytes = 0;
  uint64_t width = 0;   // elements
  uint64_t height = 1;  // rows
  uint64_t depth = 1;   // slices or layers

  uint64_t rowBytes() const { return width * element_bytes; }
  uint64_t sliceBytes() const { return rowBytes() * height; }
  uint64_t bytes() const { return sliceBytes() * depth; }
};

// CUDA_ERROR_INVALID_VALUE for what CUDA refuses of any device; CUDA_ERROR_NOT_SUPPORTED for
// compressed, planar and normalized formats, and for arrays that are sparse, mapped later, or of
// graphics interfaces.
[[nodiscard]] CUresult describeArray(const CUDA_ARRAY3D_DESCRIPTOR& descriptor, ArrayShape& shape);

// CUDA_ERROR_INVALID_VALUE when the box, not empty, is not wholly in the array from `end`'s place
// on, or is cut within an element.
[[nodiscard]] CUresult checkInArray(const ArrayShape& shape, const CopyEnd& end,
                                    const CopyBox& box);

// Beyond what any device has in a dimension: 2^20 texels, so 21 levels.
inline constexpr uint32_t kArrayLevelsMax = 21;

// Levels that a mipmapped array of this size has at most: down to one texel. Layers stay as many.
uint32_t levelsMax(const CUDA_ARRAY3D_DESCRIPTOR& descriptor);

// What level number `level` of a mipmapped array is by itself.
CUDA_ARRAY3D_DESCRIPTOR levelDescriptor(const CUDA_ARRAY3D_DESCRIPTOR& whole, uint32_t level);

// One end of a copy of one dimension: host or device memory, or a place in the first row of an
// array.
struct LinearEnd {
  CUmemorytype type;
  uint64_t address = 0;
  CUarray array = nullptr;
  size_t offset = 0;  // bytes, in the array
};

// The same copy in three dimensions.
CUDA_MEMCPY3D linearCopy(const LinearEnd& to, const LinearEnd& from, size_t bytes);

}  // namespace farwarp
