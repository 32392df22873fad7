// Tensor maps. Their 128 bytes go into the kernels' parameters and mean something to the driver
// that runs the kernels only, so that driver makes them.
#include <cstring>

#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

constexpr uint32_t kRankMax = 5;

template <typename T>
bool aligned(const T* map) {
  return map != nullptr && reinterpret_cast<uintptr_t>(map) % 64 == 0;
}

template <typename Args, typename Reply>
CUresult encode(CallScope& scope, const Args& args, CUtensorMap* out) {
  Reply reply;
  FARWARP_TRY(scope.call(args, reply));
  if (reply.map.size() != sizeof *out) return CUDA_ERROR_UNKNOWN;
  std::memcpy(static_cast<void*>(out), reply.map.data(), sizeof *out);
  return CUDA_SUCCESS;
}

// The parameters that all forms have.
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

// What is within these limits can be encoded in a record; the rest is for the driver to judge.
template <typename Args>
CUresult put(const Common& common, uint32_t rank_min, Args& args) {
  if (common.rank < rank_min || common.rank > kRankMax) return CUDA_ERROR_INVALID_VALUE;
  if (common.dims == nullptr || common.element_strides == nullptr ||
      (common.rank > 1 && common.strides == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  args.type = static_cast<uint32_t>(common.type);
  args.interleave = static_cast<uint32_t>(common.interleave);
  args.swizzle = static_cast<uint32_t>(common.swizzle);
  args.promotion = static_cast<uint32_t>(common.promotion);
  args.fill = static_cast<uint32_t>(common.fill);
  if (args.type > CU_TENSOR_MAP_DATA_TYPE_16U6_ALIGN16B ||
      args.interleave > CU_TENSOR_MAP_INTERLEAVE_32B ||
      args.swizzle > CU_TENSOR_MAP_SWIZZLE_128B_ATOM_64B ||
      args.promotion > CU_TENSOR_MAP_L2_PROMOTION_L2_256B ||
      args.fill > CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  args.address = idOf(common.address);
  args.dims = {common.dims, common.rank};
  args.strides = {common.strides, common.rank - 1};
  args.element_strides = {common.element_strides, common.rank};
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                void* address, const cuuint64_t* dims, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* element_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  CallScope scope(CallId::cuTensorMapEncodeTiled);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (!aligned(map) || box == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuTensorMapEncodeTiled args;
  FARWARP_TRY(put(
      {type, rank, address, dims, strides, element_strides, interleave, swizzle, promotion, fill},
      1, args));
  args.box = {box, rank};
  return encode<decltype(args), wire::Reply_cuTensorMapEncodeTiled>(scope, args, map);
}

CUresult cuTensorMapEncodeIm2col(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                 void* address, const cuuint64_t* dims, const cuuint64_t* strides,
                                 const int* lower, const int* upper, cuuint32_t channels,
                                 cuuint32_t pixels, const cuuint32_t* element_strides,
                                 CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                 CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  CallScope scope(CallId::cuTensorMapEncodeIm2col);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (!aligned(map) || lower == nullptr || upper == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuTensorMapEncodeIm2col args;
  FARWARP_TRY(put(
      {type, rank, address, dims, strides, element_strides, interleave, swizzle, promotion, fill},
      3, args));
  args.lower = {lower, rank - 2};
  args.upper = {upper, rank - 2};
  args.channels = channels;
  args.pixels = pixels;
  return encode<decltype(args), wire::Reply_cuTensorMapEncodeIm2col>(scope, args, map);
}

CUresult cuTensorMapEncodeIm2colWide(
    CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
    const cuuint64_t* dims, const cuuint64_t* strides, int lower, int upper, cuuint32_t channels,
    cuuint32_t pixels, const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
    CUtensorMapIm2ColWideMode mode, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
    CUtensorMapFloatOOBfill fill) {
  CallScope scope(CallId::cuTensorMapEncodeIm2colWide);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuTensorMapEncodeIm2colWide args;
  args.mode = static_cast<uint32_t>(mode);
  if (!aligned(map) || args.mode > CU_TENSOR_MAP_IM2COL_WIDE_MODE_W128) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  FARWARP_TRY(put(
      {type, rank, address, dims, strides, element_strides, interleave, swizzle, promotion, fill},
      3, args));
  args.lower = lower;
  args.upper = upper;
  args.channels = channels;
  args.pixels = pixels;
  return encode<decltype(args), wire::Reply_cuTensorMapEncodeIm2colWide>(scope, args, map);
}

CUresult cuTensorMapReplaceAddress(CUtensorMap* map, void* address) {
  CallScope scope(CallId::cuTensorMapReplaceAddress);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (!aligned(map)) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuTensorMapReplaceAddress args;
  args.address = idOf(address);
  args.map = {reinterpret_cast<const std::byte*>(map), sizeof *map};
  return encode<decltype(args), wire::Reply_cuTensorMapReplaceAddress>(scope, args, map);
}

}  // namespace farwarp::client::calls
