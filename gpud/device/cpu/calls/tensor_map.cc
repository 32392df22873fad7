// Tensor maps: checked as the manual of the driver API demands, and encoded for the engine.
#include <cstring>

#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/ptx/tensor_map.h"

namespace farwarp::cpu::calls {
namespace {

using ptx::TensorMap;
using ptx::TensorMode;

struct Common {
  CUtensorMapDataType type;
  uint32_t rank;
  const void* address;
  const cuuint64_t* dims;
  const cuuint64_t* strides;
  const cuuint32_t* element_strides;
  CUtensorMapInterleave interleave;
  CUtensorMapSwizzle swizzle;
  CUtensorMapL2promotion promotion;
  CUtensorMapFloatOOBfill fill;
};

bool enumerationsAreValid(const Common& c) {
  return static_cast<uint32_t>(c.type) <= CU_TENSOR_MAP_DATA_TYPE_16U6_ALIGN16B &&
         static_cast<uint32_t>(c.interleave) <= CU_TENSOR_MAP_INTERLEAVE_32B &&
         static_cast<uint32_t>(c.swizzle) <= CU_TENSOR_MAP_SWIZZLE_128B_ATOM_64B &&
         static_cast<uint32_t>(c.promotion) <= CU_TENSOR_MAP_L2_PROMOTION_L2_256B &&
         static_cast<uint32_t>(c.fill) <= CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
}

// What all forms have in common.
CUresult encodeCommon(const Common& c, uint32_t rank_min, TensorMap& map) {
  constexpr uint64_t kDimensionMax = uint64_t{1} << 32, kStrideEnd = uint64_t{1} << 40;
  if (!enumerationsAreValid(c)) return CUDA_ERROR_INVALID_VALUE;
  const bool interleaved = c.interleave != CU_TENSOR_MAP_INTERLEAVE_NONE;
  if (c.rank < (interleaved ? 3 : rank_min) || c.rank > ptx::kTensorRankMax) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (c.dims == nullptr || c.element_strides == nullptr || (c.rank > 1 && c.strides == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const uint64_t unit = c.interleave == CU_TENSOR_MAP_INTERLEAVE_32B ? 32 : 16;
  map.tag = ptx::kTensorMapTag;
  map.address = reinterpret_cast<uint64_t>(c.address);
  if (map.address % unit != 0) return CUDA_ERROR_INVALID_VALUE;
  if (unit == 32 && c.swizzle != CU_TENSOR_MAP_SWIZZLE_32B) return CUDA_ERROR_INVALID_VALUE;
  for (uint32_t k = 0; k < c.rank; ++k) {
    if (c.dims[k] == 0 || c.dims[k] > kDimensionMax) return CUDA_ERROR_INVALID_VALUE;
    if (c.element_strides[k] == 0 || c.element_strides[k] > 8) return CUDA_ERROR_INVALID_VALUE;
    map.last[k] = static_cast<uint32_t>(c.dims[k] - 1);
    map.element_strides[k] = static_cast<uint8_t>(c.element_strides[k]);
  }
  if (!interleaved) map.element_strides[0] = 1;
  for (uint32_t k = 0; k + 1 < c.rank; ++k) {
    if (c.strides[k] % unit != 0 || c.strides[k] >= kStrideEnd) return CUDA_ERROR_INVALID_VALUE;
    map.strides[k] = c.strides[k];
  }
  // Packed elements and swizzled pieces of 32 and 64 bytes are of devices of compute capability 10;
  // interleaved layouts are not copied by the engine.
  if (ptx::tensorElementBytes(c.type) == 0 || interleaved ||
      c.swizzle > CU_TENSOR_MAP_SWIZZLE_128B) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  if (c.fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE && !ptx::isTensorFloat(c.type)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  map.type = static_cast<uint8_t>(c.type);
  map.rank = static_cast<uint8_t>(c.rank);
  map.interleave = static_cast<uint8_t>(c.interleave);
  map.swizzle = static_cast<uint8_t>(c.swizzle);
  map.fill = static_cast<uint8_t>(c.fill);
  return CUDA_SUCCESS;
}

// The innermost row of the box: whole units of 16 bytes, no longer than what is swizzled.
CUresult checkRow(const Common& c, uint64_t elements) {
  const uint64_t bytes = elements * ptx::tensorElementBytes(c.type);
  if (c.interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) return CUDA_SUCCESS;
  const uint64_t most = c.swizzle == CU_TENSOR_MAP_SWIZZLE_NONE  ? bytes
                        : c.swizzle == CU_TENSOR_MAP_SWIZZLE_32B ? 32
                        : c.swizzle == CU_TENSOR_MAP_SWIZZLE_64B ? 64
                                                                 : 128;
  return bytes % 16 == 0 && bytes <= most ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult checkTarget(const CUtensorMap* map) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const bool good = map != nullptr && reinterpret_cast<uintptr_t>(map) % 64 == 0;
  return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void put(const TensorMap& from, CUtensorMap* to) {
  static_assert(sizeof from == sizeof *to);
  std::memcpy(static_cast<void*>(to), &from, sizeof from);
}

// Corners of a bounding box of pixels, the innermost dimension first as in the other arrays. (The
// manual writes "DHW", but programs that run on GPUs give the width first.)
CUresult encodeCorners(const Common& c, const int* lower, const int* upper, TensorMap& map) {
  const uint32_t count = c.rank - 2;
  const int most = count == 1 ? 32767 : count == 2 ? 127 : 15;
  for (uint32_t k = 0; k < count; ++k) {
    const int low = lower[k], high = upper[k];
    if (low < -most - 1 || low > most || high < -most - 1 || high > most) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    // The box goes from `low` to `high` behind the last pixel.
    if (int64_t{map.last[k + 1]} + high < low) return CUDA_ERROR_INVALID_VALUE;
    map.lower[k] = static_cast<int16_t>(low);
    map.upper[k] = static_cast<int16_t>(high);
  }
  return CUDA_SUCCESS;
}

CUresult encodePixels(const Common& c, uint32_t channels, uint32_t pixels, TensorMap& map) {
  if (channels == 0 || channels > 256 || pixels == 0 || pixels > 1024) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  map.box[0] = static_cast<uint16_t>(channels);
  map.box[1] = static_cast<uint16_t>(pixels);
  return checkRow(c, channels);
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank,
                                void* address, const cuuint64_t* dims, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* element_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  if (CUresult r = checkTarget(out); r != CUDA_SUCCESS) return r;
  if (box == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Common common{type,       rank,    address,   dims, strides, element_strides,
                      interleave, swizzle, promotion, fill};
  TensorMap map;
  if (CUresult r = encodeCommon(common, 1, map); r != CUDA_SUCCESS) return r;
  for (uint32_t k = 0; k < rank; ++k) {
    if (box[k] == 0 || box[k] > 256) return CUDA_ERROR_INVALID_VALUE;
    map.box[k] = static_cast<uint16_t>(box[k]);
  }
  if (CUresult r = checkRow(common, box[0]); r != CUDA_SUCCESS) return r;
  put(map, out);
  return CUDA_SUCCESS;
}

CUresult cuTensorMapEncodeIm2col(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank,
                                 void* address, const cuuint64_t* dims, const cuuint64_t* strides,
                                 const int* lower, const int* upper, cuuint32_t channels,
                                 cuuint32_t pixels, const cuuint32_t* element_strides,
                                 CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                 CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  if (CUresult r = checkTarget(out); r != CUDA_SUCCESS) return r;
  if (lower == nullptr || upper == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Common common{type,       rank,    address,   dims, strides, element_strides,
                      interleave, swizzle, promotion, fill};
  TensorMap map;
  if (CUresult r = encodeCommon(common, 3, map); r != CUDA_SUCCESS) return r;
  map.mode = static_cast<uint8_t>(TensorMode::im2col);
  if (CUresult r = encodePixels(common, channels, pixels, map); r != CUDA_SUCCESS) return r;
  if (CUresult r = encodeCorners(common, lower, upper, map); r != CUDA_SUCCESS) return r;
  put(map, out);
  return CUDA_SUCCESS;
}

// This form is of devices of compute capability 10; the engine does not copy with it.
CUresult cuTensorMapEncodeIm2colWide(CUtensorMap* out, CUtensorMapDataType, cuuint32_t, void*,
                                     const cuuint64_t*, const cuuint64_t*, int, int, cuuint32_t,
                                     cuuint32_t, const cuuint32_t*, CUtensorMapInterleave,
                                     CUtensorMapIm2ColWideMode, CUtensorMapSwizzle,
                                     CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (CUresult r = checkTarget(out); r != CUDA_SUCCESS) return r;
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuTensorMapReplaceAddress(CUtensorMap* out, void* address) {
  if (CUresult r = checkTarget(out); r != CUDA_SUCCESS) return r;
  TensorMap map;
  std::memcpy(&map, out, sizeof map);
  if (map.tag != ptx::kTensorMapTag) return CUDA_ERROR_INVALID_VALUE;
  map.address = reinterpret_cast<uint64_t>(address);
  const uint64_t unit = map.interleave == CU_TENSOR_MAP_INTERLEAVE_32B ? 32 : 16;
  if (map.address % unit != 0) return CUDA_ERROR_INVALID_VALUE;
  put(map, out);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
