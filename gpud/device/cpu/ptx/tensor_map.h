// Tensor maps of this device: what cuTensorMapEncode puts into the 128 bytes, and the tensor
// instructions read. Kernels may hold them in any memory and change them, so readers check.
#pragma once

#include <cstdint>

namespace farwarp::ptx {

inline constexpr uint32_t kTensorRankMax = 5;
inline constexpr uint64_t kTensorMapTag = 0x70616d54'70726177;

enum class TensorMode : uint8_t { tiled, im2col, im2col_wide, im2col_wide_128 };

struct alignas(64) TensorMap {
  uint64_t tag = 0;  // kTensorMapTag
  uint64_t address = 0;
  uint64_t strides[4] = {};  // bytes from element to element along dimensions 1 to 4
  uint32_t last[5] = {};     // the largest coordinate inside
  uint16_t box[5] = {};      // tiled: elements; im2col: channels and pixels
  int16_t lower[3] = {};     // im2col: corners of the bounding box, from the innermost dimension
  int16_t upper[3] = {};
  uint8_t element_strides[5] = {};
  uint8_t type = 0;        // CUtensorMapDataType
  uint8_t rank = 0;        // 1 to 5
  uint8_t mode = 0;        // TensorMode
  uint8_t interleave = 0;  // CUtensorMapInterleave
  uint8_t swizzle = 0;     // CUtensorMapSwizzle
  uint8_t fill = 0;        // CUtensorMapFloatOOBfill
  uint8_t unused = 0;
};
static_assert(sizeof(TensorMap) == 128);

// Bytes of an element of CUtensorMapDataType; 0 for the packed types of 4 and 6 bits and what is
// none.
constexpr uint32_t tensorElementBytes(uint32_t type) {
  constexpr uint8_t kBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  return type < sizeof kBytes ? kBytes[type] : 0;
}
constexpr bool isTensorFloat(uint32_t type) {
  return type >= 6 && type <= 12;
}

}  // namespace farwarp::ptx
