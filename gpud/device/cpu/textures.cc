#include "gpud/device/cpu/textures.h"

#include <algorithm>
#include <cstring>

#include "gpud/device/cpu/driver.h"

namespace farwarp::cpu {

void TextureSet::add(uint64_t value, std::shared_ptr<const ptx::Texture> texture) {
  std::lock_guard lock(mutex_);
  table_[value] = std::move(texture);
  snapshot_ = nullptr;
}

void TextureSet::remove(uint64_t value) {
  std::lock_guard lock(mutex_);
  table_.erase(value);
  snapshot_ = nullptr;
}

void TextureSet::clear() {
  std::lock_guard lock(mutex_);
  table_.clear();
  snapshot_ = nullptr;
}

std::shared_ptr<const ptx::TextureTable> TextureSet::snapshot() {
  std::lock_guard lock(mutex_);
  if (snapshot_ == nullptr && !table_.empty()) {
    snapshot_ = std::make_shared<ptx::TextureTable>(table_);
  }
  return snapshot_;
}

namespace {

using ptx::TexelFormat;

constexpr uint64_t kTextureAlignment = 512;
constexpr uint64_t kPitchAlignment = 32;
constexpr uint64_t kLinearTexelsMax = uint64_t{1} << 28;
constexpr uint64_t kPitchedWidthMax = 131072, kPitchedHeightMax = 65000;
constexpr uint64_t kPitchedPitchMax = 2097120;

// The number in an enumeration, which may hold anything.
template <typename Enum>
uint32_t numberIn(const Enum& value) {
  uint32_t number = 0;
  static_assert(sizeof number == sizeof value);
  std::memcpy(&number, &value, sizeof number);
  return number;
}

bool setFormat(uint32_t format, uint32_t channels, ptx::Texture& t) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
      t.format = TexelFormat::u8;
      break;
    case CU_AD_FORMAT_SIGNED_INT8:
      t.format = TexelFormat::s8;
      break;
    case CU_AD_FORMAT_UNSIGNED_INT16:
      t.format = TexelFormat::u16;
      break;
    case CU_AD_FORMAT_SIGNED_INT16:
      t.format = TexelFormat::s16;
      break;
    case CU_AD_FORMAT_UNSIGNED_INT32:
      t.format = TexelFormat::u32;
      break;
    case CU_AD_FORMAT_SIGNED_INT32:
      t.format = TexelFormat::s32;
      break;
    case CU_AD_FORMAT_HALF:
      t.format = TexelFormat::f16;
      break;
    case CU_AD_FORMAT_FLOAT:
      t.format = TexelFormat::f32;
      break;
    default:
      return false;
  }
  t.channels = static_cast<uint8_t>(channels);
  return channels == 1 || channels == 2 || channels == 4;
}

ptx::TextureLevel levelOf(const ArrayObject& array) {
  const ArrayShape& shape = array.shape;
  return {.address = array.address,
          .width = static_cast<uint32_t>(shape.width),
          .height = static_cast<uint32_t>(shape.height),
          .depth = static_cast<uint32_t>(shape.depth),
          .row_bytes = shape.rowBytes(),
          .slice_bytes = shape.sliceBytes()};
}

bool setArray(const CUDA_ARRAY3D_DESCRIPTOR& d, ptx::Texture& t) {
  t.layered = (d.Flags & CUDA_ARRAY3D_LAYERED) != 0;
  t.cubemap = (d.Flags & CUDA_ARRAY3D_CUBEMAP) != 0;
  const bool deep = d.Depth != 0 && !t.layered && !t.cubemap;
  t.dimensions = d.Height == 0 ? 1 : deep ? 3 : 2;
  return setFormat(d.Format, d.NumChannels, t);
}

// Memory of the device that the texture reads in place: how many bytes there are from `address` on.
CUresult findMemory(Driver& driver, uint64_t address, uint64_t& bytes) {
  Allocation found;
  const bool known = driver.memory().reserved(address) && driver.memory().find(address, found);
  if (address % kTextureAlignment != 0 || !known) return CUDA_ERROR_INVALID_VALUE;
  bytes = found.end() - address;
  return CUDA_SUCCESS;
}

CUresult setMemory(Driver& driver, uint64_t address, uint64_t bytes) {
  uint64_t there = 0;
  if (CUresult r = findMemory(driver, address, there); r != CUDA_SUCCESS) return r;
  return bytes <= there ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult setLinear(Driver& driver, const CUDA_RESOURCE_DESC& resource, ptx::Texture& t) {
  const auto& linear = resource.res.linear;
  if (!setFormat(numberIn(linear.format), linear.numChannels, t)) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t texels = linear.sizeInBytes / t.texelBytes();
  if (texels == 0 || texels > kLinearTexelsMax) return CUDA_ERROR_INVALID_VALUE;
  // NVIDIA's convolutionFFT2D names more than it allocated, and works. What is not there reads as
  // what lies behind a texture does: zero.
  uint64_t bytes = 0;
  if (CUresult r = findMemory(driver, linear.devPtr, bytes); r != CUDA_SUCCESS) return r;
  bytes = std::min<uint64_t>(bytes, linear.sizeInBytes);
  if (bytes < t.texelBytes()) return CUDA_ERROR_INVALID_VALUE;
  t.is_linear = true;
  t.dimensions = 1;
  t.levels.push_back({.address = linear.devPtr,
                      .width = static_cast<uint32_t>(bytes / t.texelBytes()),
                      .row_bytes = bytes,
                      .slice_bytes = bytes});
  return CUDA_SUCCESS;
}

CUresult setPitched(Driver& driver, const CUDA_RESOURCE_DESC& resource, ptx::Texture& t) {
  const auto& plane = resource.res.pitch2D;
  if (!setFormat(numberIn(plane.format), plane.numChannels, t)) return CUDA_ERROR_INVALID_VALUE;
  if (plane.width == 0 || plane.width > kPitchedWidthMax || plane.height == 0 ||
      plane.height > kPitchedHeightMax || plane.pitchInBytes > kPitchedPitchMax ||
      plane.pitchInBytes % kPitchAlignment != 0 ||
      plane.pitchInBytes < plane.width * t.texelBytes()) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  t.dimensions = 2;
  const uint64_t bytes = plane.pitchInBytes * (plane.height - 1) + plane.width * t.texelBytes();
  t.levels.push_back({.address = plane.devPtr,
                      .width = static_cast<uint32_t>(plane.width),
                      .height = static_cast<uint32_t>(plane.height),
                      .row_bytes = plane.pitchInBytes,
                      .slice_bytes = plane.pitchInBytes * plane.height});
  return setMemory(driver, plane.devPtr, bytes);
}

CUresult setResource(Driver& driver, const CUDA_RESOURCE_DESC& resource, ptx::Texture& t,
                     CUDA_ARRAY3D_DESCRIPTOR& descriptor) {
  if (resource.flags != 0) return CUDA_ERROR_INVALID_VALUE;
  switch (numberIn(resource.resType)) {
    case CU_RESOURCE_TYPE_ARRAY: {
      const auto array = driver.arrays().find(resource.res.array.hArray);
      if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
      descriptor = array->descriptor;
      t.levels.push_back(levelOf(*array));
      return setArray(descriptor, t) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY: {
      const auto array = driver.mipmappedArrays().find(resource.res.mipmap.hMipmappedArray);
      if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
      descriptor = array->descriptor;
      for (const auto& level : array->levels) t.levels.push_back(levelOf(*level));
      return setArray(descriptor, t) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    case CU_RESOURCE_TYPE_LINEAR:
      return setLinear(driver, resource, t);
    case CU_RESOURCE_TYPE_PITCH2D:
      return setPitched(driver, resource, t);
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

// --- views ---

// The formats of views come in threes: of 1, 2 and 4 channels.
CUresult setViewFormat(uint32_t format, ptx::Texture& t) {
  constexpr TexelFormat kFormats[] = {TexelFormat::u8,  TexelFormat::s8,  TexelFormat::u16,
                                      TexelFormat::s16, TexelFormat::u32, TexelFormat::s32,
                                      TexelFormat::f16, TexelFormat::f32};
  if (format == CU_RES_VIEW_FORMAT_NONE) return CUDA_SUCCESS;
  if (format >= CU_RES_VIEW_FORMAT_UNSIGNED_BC1) {
    return format <= CU_RES_VIEW_FORMAT_UNSIGNED_BC7 ? CUDA_ERROR_NOT_SUPPORTED
                                                     : CUDA_ERROR_INVALID_VALUE;
  }
  const uint32_t texel_bytes = t.texelBytes();
  t.format = kFormats[(format - 1) / 3];
  t.channels = static_cast<uint8_t>(1u << ((format - 1) % 3));
  return t.texelBytes() == texel_bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult setView(const CUDA_RESOURCE_VIEW_DESC& view, const CUDA_ARRAY3D_DESCRIPTOR& descriptor,
                 ptx::Texture& t) {
  if (CUresult r = setViewFormat(numberIn(view.format), t); r != CUDA_SUCCESS) return r;
  if (view.width != descriptor.Width || view.height != descriptor.Height ||
      view.depth != descriptor.Depth) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (view.firstMipmapLevel > view.lastMipmapLevel || view.lastMipmapLevel >= t.levels.size() ||
      view.firstLayer > view.lastLayer) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  t.levels.erase(t.levels.begin() + view.lastMipmapLevel + 1, t.levels.end());
  t.levels.erase(t.levels.begin(), t.levels.begin() + view.firstMipmapLevel);
  if (!t.layered) {
    const bool whole = view.lastLayer == 0 || (t.cubemap && view.lastLayer == 5);
    return view.firstLayer == 0 && whole ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  if (view.lastLayer >= t.levels[0].depth) return CUDA_ERROR_INVALID_VALUE;
  // Taken to count the faces of cubes, as the depth of the array does.
  const uint32_t layers = view.lastLayer - view.firstLayer + 1;
  if (t.cubemap && layers % 6 != 0) return CUDA_ERROR_INVALID_VALUE;
  for (ptx::TextureLevel& level : t.levels) {
    level.address += view.firstLayer * level.slice_bytes;
    level.depth = layers;
  }
  return CUDA_SUCCESS;
}

// --- sampling ---

CUresult setSampling(const CUDA_TEXTURE_DESC& d, bool mipmapped, ptx::Texture& t) {
  constexpr unsigned kFlags = CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES |
                              CU_TRSF_SRGB | CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION |
                              CU_TRSF_SEAMLESS_CUBEMAP;
  const uint32_t filter = numberIn(d.filterMode), between = numberIn(d.mipmapFilterMode);
  if ((d.flags & ~kFlags) != 0 || filter > 1 || between > 1) return CUDA_ERROR_INVALID_VALUE;
  for (int axis = 0; axis < 3; ++axis) {
    const uint32_t mode = numberIn(d.addressMode[axis]);
    if (mode > CU_TR_ADDRESS_MODE_BORDER) return CUDA_ERROR_INVALID_VALUE;
    t.addressing[axis] = static_cast<ptx::Addressing>(mode);
  }
  t.normalized_coordinates = (d.flags & CU_TRSF_NORMALIZED_COORDINATES) != 0;
  if (mipmapped && !t.normalized_coordinates) return CUDA_ERROR_INVALID_VALUE;
  const bool small = ptx::bytesOf(t.format) < 4 && t.format != TexelFormat::f16;
  t.normalized_float = small && (d.flags & CU_TRSF_READ_AS_INTEGER) == 0;
  t.srgb = t.normalized_float && t.format == TexelFormat::u8 && (d.flags & CU_TRSF_SRGB) != 0;
  t.seamless = (d.flags & CU_TRSF_SEAMLESS_CUBEMAP) != 0;
  if (t.seamless && !t.cubemap) return CUDA_ERROR_INVALID_VALUE;
  t.linear_filter = filter == CU_TR_FILTER_MODE_LINEAR;
  t.linear_levels = between == CU_TR_FILTER_MODE_LINEAR;
  // Only floating-point values are filtered; of linear memory the filter is ignored.
  if (t.linear_filter && !t.is_linear && !t.givesFloats()) return CUDA_ERROR_INVALID_VALUE;
  std::copy(d.borderColor, d.borderColor + 4, t.border);
  t.level_bias = d.mipmapLevelBias;
  t.level_min = d.minMipmapLevelClamp;
  t.level_max = d.maxMipmapLevelClamp;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult describeTexture(Driver& driver, const TextureObject& object, ptx::Texture& texture) {
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  if (CUresult r = setResource(driver, object.resource, texture, descriptor); r != CUDA_SUCCESS) {
    return r;
  }
  const uint32_t type = numberIn(object.resource.resType);
  const bool is_array = type == CU_RESOURCE_TYPE_ARRAY || type == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY;
  if (object.view) {
    if (!is_array) return CUDA_ERROR_INVALID_VALUE;
    if (CUresult r = setView(*object.view, descriptor, texture); r != CUDA_SUCCESS) return r;
  }
  return setSampling(object.description, type == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY, texture);
}

CUresult describeSurface(Driver& driver, const CUDA_RESOURCE_DESC& resource,
                         ptx::Texture& surface) {
  if (numberIn(resource.resType) != CU_RESOURCE_TYPE_ARRAY) return CUDA_ERROR_INVALID_VALUE;
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  if (CUresult r = setResource(driver, resource, surface, descriptor); r != CUDA_SUCCESS) return r;
  if ((descriptor.Flags & CUDA_ARRAY3D_SURFACE_LDST) == 0) return CUDA_ERROR_INVALID_VALUE;
  surface.is_surface = true;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu
