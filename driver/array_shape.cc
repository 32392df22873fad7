#include "driver/array_shape.h"

#include <algorithm>
#include <bit>

namespace farwarp {
namespace {

// Beyond what any device has in a dimension, and far from 64 bits when multiplied.
constexpr uint64_t kDimensionMax = 1u << 20;

// Bytes of one component; 0 for a format that is no component's.
uint64_t componentBytes(CUarray_format format) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return 2;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
      return 4;
    default:
      return 0;
  }
}

bool inside(uint64_t at, uint64_t count, uint64_t size) {
  return at <= size && count <= size - at;
}

// The faces of a cube are its layers: six, or six for each cube.
bool validCube(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  if ((d.Flags & CUDA_ARRAY3D_CUBEMAP) == 0) return true;
  const bool layered = (d.Flags & CUDA_ARRAY3D_LAYERED) != 0;
  return d.Width == d.Height && (layered ? d.Depth % 6 == 0 : d.Depth == 6);
}

// True when the depth counts layers or faces, not texels.
bool depthIsLayers(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  return (d.Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) != 0;
}

}  // namespace

uint32_t levelsMax(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  const uint64_t depth = depthIsLayers(d) ? 1 : d.Depth;
  const uint64_t longest = std::max<uint64_t>({d.Width, d.Height, depth, 1});
  return std::min<uint32_t>(std::bit_width(longest), kArrayLevelsMax);
}

CUDA_ARRAY3D_DESCRIPTOR levelDescriptor(const CUDA_ARRAY3D_DESCRIPTOR& whole, uint32_t level) {
  const auto halved = [level](size_t size) {
    return size == 0 ? size : std::max<size_t>(size >> std::min(level, 63u), 1);
  };
  CUDA_ARRAY3D_DESCRIPTOR descriptor = whole;
  descriptor.Width = halved(whole.Width);
  descriptor.Height = halved(whole.Height);
  if (!depthIsLayers(whole)) descriptor.Depth = halved(whole.Depth);
  return descriptor;
}

CUresult describeArray(const CUDA_ARRAY3D_DESCRIPTOR& descriptor, ArrayShape& shape) {
  constexpr unsigned kHere = CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST |
                             CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_TEXTURE_GATHER;
  constexpr unsigned kKnown = 0x1ff;
  const unsigned channels = descriptor.NumChannels;
  const bool layered = (descriptor.Flags & CUDA_ARRAY3D_LAYERED) != 0;
  if ((descriptor.Flags & ~kKnown) != 0 || descriptor.Width == 0) return CUDA_ERROR_INVALID_VALUE;
  if (channels != 1 && channels != 2 && channels != 4) return CUDA_ERROR_INVALID_VALUE;
  if (descriptor.Width > kDimensionMax || descriptor.Height > kDimensionMax ||
      descriptor.Depth > kDimensionMax) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  // Only layers of one dimension have a depth without a height.
  if (descriptor.Height == 0 && descriptor.Depth != 0 && !layered) return CUDA_ERROR_INVALID_VALUE;
  if (layered && descriptor.Depth == 0) return CUDA_ERROR_INVALID_VALUE;
  if (!validCube(descriptor)) return CUDA_ERROR_INVALID_VALUE;
  const bool gather = (descriptor.Flags & CUDA_ARRAY3D_TEXTURE_GATHER) != 0;
  if (gather && (descriptor.Height == 0 || (descriptor.Depth != 0 && !layered))) {
    return CUDA_ERROR_INVALID_VALUE;  // only of two dimensions
  }
  if ((descriptor.Flags & ~kHere) != 0) return CUDA_ERROR_NOT_SUPPORTED;
  const uint64_t component = componentBytes(descriptor.Format);
  if (component == 0) {
    const bool known = descriptor.Format >= CU_AD_FORMAT_BC1_UNORM;
    return known ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
  }
  shape.element_bytes = component * channels;
  shape.width = descriptor.Width;
  shape.height = descriptor.Height == 0 ? 1 : descriptor.Height;
  shape.depth = descriptor.Depth == 0 ? 1 : descriptor.Depth;
  return CUDA_SUCCESS;
}

CUresult checkInArray(const ArrayShape& shape, const CopyEnd& end, const CopyBox& box) {
  const bool whole_elements =
      end.x_bytes % shape.element_bytes == 0 && box.width % shape.element_bytes == 0;
  return whole_elements && inside(end.x_bytes, box.width, shape.rowBytes()) &&
                 inside(end.y, box.height, shape.height) && inside(end.z, box.depth, shape.depth)
             ? CUDA_SUCCESS
             : CUDA_ERROR_INVALID_VALUE;
}

CUDA_MEMCPY3D linearCopy(const LinearEnd& to, const LinearEnd& from, size_t bytes) {
  CUDA_MEMCPY3D copy{};
  copy.dstMemoryType = to.type;
  copy.dstHost = reinterpret_cast<void*>(to.address);
  copy.dstDevice = to.address;
  copy.dstArray = to.array;
  copy.dstXInBytes = to.offset;
  copy.srcMemoryType = from.type;
  copy.srcHost = reinterpret_cast<const void*>(from.address);
  copy.srcDevice = from.address;
  copy.srcArray = from.array;
  copy.srcXInBytes = from.offset;
  copy.WidthInBytes = bytes;
  copy.Height = copy.Depth = 1;
  return copy;
}

}  // namespace farwarp
