// Texture and surface instructions, one lane after the other. The lanes mostly name the same
// texture.
#include <algorithm>
#include <bit>

#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/exec_shared.h"
#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx::op {
namespace {

template <class F>
void forLanes(uint32_t mask, F f) {
  for (; mask != 0; mask &= mask - 1) f(static_cast<uint32_t>(std::countr_zero(mask)));
}

// Finds textures by the value that a kernel has for them.
class TextureLookup {
 public:
  TextureLookup(Warp& w, const Inst* i) : w_(w), i_(i) {
    w.pc = i;
    w.spacing = 0;  // a fault is blamed on the first lane
  }
  // What a value means that names no texture is not documented; here it is an address that is none.
  const Texture& of(uint32_t lane) {
    const uint64_t handle = lanes<uint64_t>(w_, i_->a)[lane];
    if (found_ != nullptr && handle == handle_) return *found_;
    const TextureTable* table = w_.block->launch->shape.textures;
    const auto at = table == nullptr ? TextureTable::const_iterator() : table->find(handle);
    if (table == nullptr || at == table->end()) {
      raise(w_, i_, LaunchStatus::illegal_address, lane, handle);
    }
    handle_ = handle;
    found_ = at->second.get();
    return *found_;
  }

 private:
  Warp& w_;
  const Inst* i_;
  uint64_t handle_ = 0;
  const Texture* found_ = nullptr;
};

FetchPoint pointOf(Warp& w, const TextureSite& site, uint32_t l) {
  FetchPoint point;
  point.dimensions = site.dimensions;
  point.cube = site.cube;
  point.by_index = site.by_index;
  for (uint32_t k = 0; k < (site.cube ? 3u : site.dimensions); ++k) {
    if (site.by_index) {
      point.index[k] = lanes<int32_t>(w, site.at[k])[l];
    } else {
      point.at[k] = lanes<float>(w, site.at[k])[l];
    }
    if (site.has_offset) point.offset[k] = lanes<int32_t>(w, site.offset[k])[l];
  }
  if (site.layered) point.layer = lanes<uint32_t>(w, site.layer)[l];
  return point;
}

void chooseLevel(Warp& w, const TextureSite& site, const Texture& texture, uint32_t l,
                 FetchPoint& point) {
  if (site.level_kind == TextureSite::Level::base) return;
  point.has_level = true;
  if (site.level_kind == TextureSite::Level::given) {
    point.level = site.by_index ? static_cast<float>(lanes<int32_t>(w, site.level)[l])
                                : lanes<float>(w, site.level)[l];
    return;
  }
  float dx[3] = {}, dy[3] = {};
  for (uint32_t k = 0; k < (site.cube ? 3u : site.dimensions); ++k) {
    dx[k] = lanes<float>(w, site.dx[k])[l];
    dy[k] = lanes<float>(w, site.dy[k])[l];
  }
  point.level = levelOfGradient(texture, point, dx, dy);
}

void putResult(Warp& w, const TextureSite& site, uint32_t l, const uint32_t (&texel)[4]) {
  auto half = [&](uint32_t k) { return floatToHalf(std::bit_cast<float>(texel[k])); };
  for (uint32_t k = 0; k < site.out_count; ++k) {
    switch (site.result) {
      case TextureSite::Result::words:
        lanes<uint32_t>(w, site.out[k])[l] = texel[k];
        break;
      case TextureSite::Result::halves:
        lanes<uint16_t>(w, site.out[k])[l] = half(k);
        break;
      case TextureSite::Result::packed_halves:
        lanes<uint32_t>(w, site.out[k])[l] = half(2 * k) | uint32_t{half(2 * k + 1)} << 16;
        break;
    }
  }
}

}  // namespace

const Inst* fetch(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  const TextureSite& site = *reinterpret_cast<const TextureSite*>(i->imm);
  TextureLookup textures(w, i);
  forLanes(mask, [&](uint32_t l) {
    const Texture& texture = textures.of(l);
    FetchPoint point = pointOf(w, site, l);
    uint32_t texel[4];
    if (site.gathered < 4) {
      gatherTexels(texture, point, site.gathered, texel);
    } else {
      chooseLevel(w, site, texture, l, point);
      fetchTexel(texture, point, texel);
    }
    putResult(w, site, l, texel);
  });
  if (site.wants_residency) setPredicate(w, site.residency, ~0u, mask);
  return i + 1;
}

namespace {

// Where a lane's access to a surface begins.
struct SurfacePlace {
  uint64_t address = 0;
  bool outside = false;
};

SurfacePlace placeOf(Warp& w, const Inst* i, const SurfaceSite& site, const Texture& surface,
                     uint32_t l) {
  const TextureLevel& level = surface.levels[0];
  const uint32_t bytes =
      site.counts_texels ? surface.texelBytes() : uint32_t{site.bytes} * site.elements;
  // Clamping moves an access to the last place of its size.
  int64_t at[3] = {0, 0, 0};
  int64_t most[3] = {static_cast<int64_t>(level.width) * surface.texelBytes() - bytes, 0, 0};
  for (uint32_t k = 0; k < site.dimensions; ++k) {
    at[k] = lanes<int32_t>(w, site.at[k])[l];
    if (k > 0) most[k] = int64_t{k == 1 ? level.height : level.depth} - 1;
  }
  if (site.counts_texels) at[0] *= surface.texelBytes();
  if (site.layered) {
    at[2] = lanes<int32_t>(w, site.layer)[l];
    most[2] = int64_t{level.depth} - 1;
  }
  SurfacePlace place;
  for (uint32_t k = 0; k < 3; ++k) {
    if (at[k] >= 0 && at[k] <= most[k]) continue;
    place.outside = true;
    at[k] = at[k] < 0 || most[k] < 0 ? 0 : most[k];
  }
  if (most[0] < 0 || (place.outside && site.boundary == SurfaceSite::Boundary::trap)) {
    raise(w, i, LaunchStatus::trap, l);
  }
  if (!site.counts_texels && at[0] % bytes != 0) {
    if (!place.outside) raise(w, i, LaunchStatus::misaligned_address, l);
    at[0] -= at[0] % bytes;
  }
  place.address = level.address + static_cast<uint64_t>(at[0]) +
                  static_cast<uint64_t>(at[1]) * level.row_bytes +
                  static_cast<uint64_t>(at[2]) * level.slice_bytes;
  return place;
}

// Elements lie at multiples of the surface's texels, which may be smaller than they are.
[[gnu::no_sanitize("thread")]] uint64_t loadElement(uint64_t address, uint32_t bytes) {
  const void* at = reinterpret_cast<const void*>(address);
  uint64_t value = 0;
  switch (bytes) {
    case 1:
      __builtin_memcpy(&value, at, 1);
      break;
    case 2:
      __builtin_memcpy(&value, at, 2);
      break;
    case 4:
      __builtin_memcpy(&value, at, 4);
      break;
    default:
      __builtin_memcpy(&value, at, 8);
  }
  return value;
}

[[gnu::no_sanitize("thread")]] void storeElement(uint64_t address, uint32_t bytes, uint64_t value) {
  void* at = reinterpret_cast<void*>(address);
  switch (bytes) {
    case 1:
      __builtin_memcpy(at, &value, 1);
      break;
    case 2:
      __builtin_memcpy(at, &value, 2);
      break;
    case 4:
      __builtin_memcpy(at, &value, 4);
      break;
    default:
      __builtin_memcpy(at, &value, 8);
  }
}

uint64_t valueOf(Warp& w, Ref ref, uint32_t reg_bytes, uint32_t l) {
  return reg_bytes == 8   ? lanes<uint64_t>(w, ref)[l]
         : reg_bytes == 4 ? lanes<uint32_t>(w, ref)[l]
                          : lanes<uint16_t>(w, ref)[l];
}

void putValue(Warp& w, Ref ref, uint32_t reg_bytes, uint32_t l, uint64_t value) {
  if (reg_bytes == 8) {
    lanes<uint64_t>(w, ref)[l] = value;
  } else if (reg_bytes == 4) {
    lanes<uint32_t>(w, ref)[l] = static_cast<uint32_t>(value);
  } else {
    lanes<uint16_t>(w, ref)[l] = static_cast<uint16_t>(value);
  }
}

void accessOne(Warp& w, const SurfaceSite& site, const Texture& surface, uint64_t address,
               uint32_t l) {
  if (site.access == SurfaceSite::Access::reduce) {
    const uint64_t value = valueOf(w, site.values[0], site.reg_bytes, l);
    atomicApply(static_cast<AtomicOp>(site.reduction), site.type, address,
                reinterpret_cast<uint64_t>(&value));
    return;
  }
  if (site.access == SurfaceSite::Access::formatted_store) {
    uint32_t values[4] = {};
    for (uint32_t k = 0; k < site.elements; ++k) values[k] = lanes<uint32_t>(w, site.values[k])[l];
    return storeTexel(surface, address, values, site.floats);
  }
  for (uint32_t k = 0; k < site.elements; ++k) {
    const uint64_t at = address + uint64_t{k} * site.bytes;
    if (site.access == SurfaceSite::Access::load) {
      putValue(w, site.values[k], site.reg_bytes, l, loadElement(at, site.bytes));
    } else {
      storeElement(at, site.bytes, valueOf(w, site.values[k], site.reg_bytes, l));
    }
  }
}

}  // namespace

const Inst* accessSurface(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  const SurfaceSite& site = *reinterpret_cast<const SurfaceSite*>(i->imm);
  TextureLookup textures(w, i);
  forLanes(mask, [&](uint32_t l) {
    const Texture& surface = textures.of(l);
    if (!surface.is_surface) raise(w, i, LaunchStatus::illegal_address, l);
    const bool reduces = site.access == SurfaceSite::Access::reduce;
    if (reduces && surface.texelBytes() % site.bytes != 0) {
      raise(w, i, LaunchStatus::misaligned_address, l);
    }
    const SurfacePlace place = placeOf(w, i, site, surface, l);
    if (!place.outside || site.boundary == SurfaceSite::Boundary::clamp) {
      accessOne(w, site, surface, place.address, l);
    } else if (site.access == SurfaceSite::Access::load) {
      for (uint32_t k = 0; k < site.elements; ++k) {
        putValue(w, site.values[k], site.reg_bytes, l, 0);
      }
    }
  });
  return i + 1;
}

namespace {

// Numbers of the OpenCL enumerations, which PTX uses for these two questions.
uint32_t channelType(const Texture& t) {
  constexpr uint32_t kPlain[] = {0x10DA, 0x10D7, 0x10DB, 0x10D8, 0x10DC, 0x10D9, 0x10DD, 0x10DE};
  constexpr uint32_t kNormalized[] = {0x10D2, 0x10D0, 0x10D3, 0x10D1};
  const auto k = static_cast<size_t>(t.format);
  return t.normalized_float && k < 4 ? kNormalized[k] : kPlain[k];
}

uint32_t answer(const Texture& t, TextureQuery query, size_t level_number) {
  const TextureLevel& level = t.levels[std::min(level_number, t.levels.size() - 1)];
  switch (query) {
    case TextureQuery::width:
      return level.width;
    case TextureQuery::height:
      return t.dimensions < 2 ? 0 : level.height;
    case TextureQuery::depth:
      return t.dimensions < 3 ? 0 : level.depth;
    case TextureQuery::channel_type:
      return channelType(t);
    case TextureQuery::channel_order:
      return t.channels == 1 ? 0x10B0 : t.channels == 2 ? 0x10B2 : 0x10B5;
    case TextureQuery::normalized:
      return t.normalized_coordinates;
    case TextureQuery::layers:
      return !t.layered ? 0 : t.cubemap ? level.depth / 6 : level.depth;
    case TextureQuery::levels:
      return static_cast<uint32_t>(t.levels.size());
    case TextureQuery::samples:
      return 1;
    case TextureQuery::filter:
      return t.linear_filter;
    case TextureQuery::addressing_0:
    case TextureQuery::addressing_1:
    case TextureQuery::addressing_2:
      return static_cast<uint32_t>(
          t.addressing[static_cast<int>(query) - static_cast<int>(TextureQuery::addressing_0)]);
    case TextureQuery::memory_layout:
      return t.is_linear ? 1 : 0;
  }
  return 0;
}

}  // namespace

const Inst* queryTexture(Warp& w, const Inst* i) {
  TextureLookup textures(w, i);
  forLanes(execMask(w, i), [&](uint32_t l) {
    const size_t level = i->x != 0 ? lanes<uint32_t>(w, i->b)[l] : 0;
    lanes<uint32_t>(w, i->dst)[l] =
        answer(textures.of(l), static_cast<TextureQuery>(i->aux), level);
  });
  return i + 1;
}

}  // namespace farwarp::ptx::op
