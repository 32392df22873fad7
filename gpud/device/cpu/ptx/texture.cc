// Reading textures. The rules are those of the CUDA programming guide's chapter on texture
// fetching: filters weigh with 8 bits of fraction, and a texel's centre is half a texel from its
// index.
#include "gpud/device/cpu/ptx/texture.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "gpud/device/cpu/ptx/exec_shared.h"

namespace farwarp::ptx {
namespace {

// Races of the kernels' threads are theirs.
template <class T>
[[gnu::no_sanitize("thread")]] inline T load(uint64_t address) {
  return *reinterpret_cast<const T*>(address);
}
template <class T>
[[gnu::no_sanitize("thread")]] inline void store(uint64_t address, T value) {
  *reinterpret_cast<T*>(address) = value;
}

[[gnu::no_sanitize("thread")]] uint32_t loadComponent(TexelFormat format, uint64_t address) {
  switch (format) {
    case TexelFormat::u8:
      return load<uint8_t>(address);
    case TexelFormat::s8:
      return static_cast<uint32_t>(load<int8_t>(address));
    case TexelFormat::u16:
      return load<uint16_t>(address);
    case TexelFormat::s16:
      return static_cast<uint32_t>(load<int16_t>(address));
    case TexelFormat::f16:
      return std::bit_cast<uint32_t>(halfToFloat(load<uint16_t>(address)));
    default:
      return load<uint32_t>(address);
  }
}

float fromSrgb(float value) {
  return value <= 0.04045f ? value / 12.92f : std::pow((value + 0.055f) / 1.055f, 2.4f);
}

float normalized(TexelFormat format, uint32_t bits) {
  switch (format) {
    case TexelFormat::u8:
      return static_cast<float>(bits) / 255.0f;
    case TexelFormat::u16:
      return static_cast<float>(bits) / 65535.0f;
    case TexelFormat::s8:
      return std::max(static_cast<float>(static_cast<int32_t>(bits)) / 127.0f, -1.0f);
    default:
      return std::max(static_cast<float>(static_cast<int32_t>(bits)) / 32767.0f, -1.0f);
  }
}

struct Texel {
  uint32_t bits[4];
  float asFloat(uint32_t c) const { return std::bit_cast<float>(bits[c]); }
};

Texel readTexel(const Texture& t, const TextureLevel& level, int64_t x, int64_t y, int64_t z) {
  const uint64_t at = level.address + static_cast<uint64_t>(z) * level.slice_bytes +
                      static_cast<uint64_t>(y) * level.row_bytes +
                      static_cast<uint64_t>(x) * t.texelBytes();
  // A component that the texel lacks is 0, the fourth 1.
  Texel texel{{0, 0, 0, t.givesFloats() ? std::bit_cast<uint32_t>(1.0f) : 1}};
  for (uint32_t c = 0; c < t.channels; ++c) {
    uint32_t bits = loadComponent(t.format, at + c * bytesOf(t.format));
    if (t.normalized_float) {
      float value = normalized(t.format, bits);
      if (t.srgb && c < 3) value = fromSrgb(value);
      bits = std::bit_cast<uint32_t>(value);
    }
    texel.bits[c] = bits;
  }
  return texel;
}

// The border is given as floats. What an integer texture makes of it is not documented; here it is
// the integer next to it.
Texel borderTexel(const Texture& t) {
  Texel texel{};
  for (uint32_t c = 0; c < 4; ++c) {
    const float value = t.border[c];
    if (t.givesFloats()) {
      texel.bits[c] = std::bit_cast<uint32_t>(value);
    } else if (value == value) {
      texel.bits[c] = static_cast<uint32_t>(static_cast<int64_t>(
          std::clamp(std::nearbyint(double{value}), -2147483648.0, 4294967295.0)));
    }
  }
  return texel;
}

// The index of a texel among `size`, or -1 for the border.
int64_t placeIndex(int64_t index, uint32_t size, Addressing addressing) {
  const int64_t n = size;
  if (index >= 0 && index < n) return index;
  switch (addressing) {
    case Addressing::wrap: {
      const int64_t rest = index % n;
      return rest < 0 ? rest + n : rest;
    }
    case Addressing::mirror: {
      int64_t rest = index % (2 * n);
      if (rest < 0) rest += 2 * n;
      return rest < n ? rest : 2 * n - 1 - rest;
    }
    case Addressing::border:
      return -1;
    default:
      return index < 0 ? 0 : n - 1;
  }
}

// Without normalized coordinates nothing is repeated.
Addressing addressingOf(const Texture& t, uint32_t axis, bool normalized) {
  const Addressing given = t.addressing[axis];
  return normalized || given == Addressing::border ? given : Addressing::clamp;
}

// std::floor is a call on processors of the oldest kind that this is compiled for.
double floorOf(double value) {
  if (!(value > -9e15 && value < 9e15)) return value;
  const auto whole = static_cast<int64_t>(value);
  return static_cast<double>(whole - (value < static_cast<double>(whole) ? 1 : 0));
}

bool isOdd(double whole) {
  return whole > -9e15 && whole < 9e15 && (static_cast<int64_t>(whole) & 1) != 0;
}

// A coordinate in texels.
double toTexels(float coordinate, uint32_t size, Addressing addressing, bool normalized) {
  double value = coordinate == coordinate ? double{coordinate} : 0.0;
  if (normalized) {
    const double whole = floorOf(value);
    if (addressing == Addressing::wrap) value -= whole;
    if (addressing == Addressing::mirror) {
      value = isOdd(whole) ? 1.0 - (value - whole) : value - whole;
    }
    value *= size;
  }
  if (!(value == value)) return 0;  // an infinity that was to be wrapped
  return std::clamp(value, -2147483648.0, 2147483648.0);
}

// One axis of a fetch: the texel before the point, and how much the next one weighs.
struct Tap {
  int64_t first = 0;
  double next_weight = 0;  // a multiple of 1/256
};

Tap tapOf(double texels, bool linear) {
  if (!linear) return {static_cast<int64_t>(floorOf(texels)), 0};
  const int64_t fixed = static_cast<int64_t>(floorOf((texels - 0.5) * 256 + 0.5));
  return {fixed >> 8, static_cast<double>(fixed & 255) / 256};
}

uint32_t sizeOfAxis(const TextureLevel& level, uint32_t axis) {
  return axis == 0 ? level.width : axis == 1 ? level.height : level.depth;
}

// --- cubes ---

struct CubePoint {
  uint32_t face = 0;
  float s = 0, t = 0;  // from 0 to 1
};

CubePoint onCube(float x, float y, float z) {
  const float ax = std::fabs(x), ay = std::fabs(y), az = std::fabs(z);
  float m = az, s = 0, t = -y;
  uint32_t face = 4;
  if (az >= ax && az >= ay) {
    s = z < 0 ? -x : x;
    face = z < 0 ? 5 : 4;
  } else if (ay >= ax) {
    m = ay;
    s = x;
    t = y < 0 ? -z : z;
    face = y < 0 ? 3 : 2;
  } else {
    m = ax;
    s = x < 0 ? z : -z;
    face = x < 0 ? 1 : 0;
  }
  if (!(m > 0)) return {4, 0.5f, 0.5f};
  return {face, (s / m + 1) / 2, (t / m + 1) / 2};
}

// The texel of the cube in the direction of (x, y) of a face, which may lie past its edge.
Texel acrossEdge(const Texture& t, const TextureLevel& level, uint32_t cube, uint32_t face,
                 int64_t x, int64_t y) {
  const float n = static_cast<float>(level.width);
  const float s = (2 * static_cast<float>(x) + 1) / n - 1;
  const float v = (2 * static_cast<float>(y) + 1) / n - 1;
  const float directions[6][3] = {{1, -v, -s}, {-1, -v, s}, {s, 1, v},
                                  {s, -1, -v}, {s, -v, 1},  {-s, -v, -1}};
  const float* d = directions[face];
  const CubePoint p = onCube(d[0], d[1], d[2]);
  const int64_t last = int64_t{level.width} - 1;
  const int64_t px = std::clamp<int64_t>(static_cast<int64_t>(std::floor(p.s * n)), 0, last);
  const int64_t py = std::clamp<int64_t>(static_cast<int64_t>(std::floor(p.t * n)), 0, last);
  return readTexel(t, level, px, py, cube * 6 + p.face);
}

// --- one level ---

// Where the texels of a fetch lie: along the axes, and in which slice.
struct Footprint {
  Tap taps[3];
  Addressing addressing[3];
  uint32_t axes = 0;
  int64_t slice = 0;  // layer, when the third axis is none
  bool seamless = false;
  uint32_t cube = 0, face = 0;
};

Footprint footprint(const Texture& t, const TextureLevel& level, const FetchPoint& point,
                    bool linear) {
  Footprint f;
  float at[3] = {point.at[0], point.at[1], point.at[2]};
  bool normalized = t.normalized_coordinates && !point.by_index;
  f.axes = point.cube ? 2 : point.dimensions;
  const int64_t layers = std::max<int64_t>(point.cube ? level.depth / 6 : level.depth, 1);
  // As in graphics, a layer that is none is the nearest one.
  const int64_t layer = std::clamp<int64_t>(static_cast<int32_t>(point.layer), 0, layers - 1);
  if (f.axes < 3) f.slice = layer;
  if (point.cube) {
    const CubePoint p = onCube(at[0], at[1], at[2]);
    at[0] = p.s;
    at[1] = p.t;
    normalized = true;
    f.cube = static_cast<uint32_t>(layer);
    f.face = p.face;
    f.slice = std::min<int64_t>(layer * 6 + p.face, int64_t{level.depth} - 1);
    f.seamless = t.seamless && linear && level.depth >= 6;
  }
  for (uint32_t k = 0; k < f.axes; ++k) {
    f.addressing[k] = t.seamless ? Addressing::clamp : addressingOf(t, k, normalized);
    if (point.by_index) {
      f.taps[k] = {int64_t{point.index[k]}, 0};
    } else {
      f.taps[k] = tapOf(toTexels(at[k], sizeOfAxis(level, k), f.addressing[k], normalized), linear);
    }
    f.taps[k].first += point.offset[k];
  }
  return f;
}

// Texel `corner` of the footprint: bit k says that it is the next one along axis k.
Texel cornerTexel(const Texture& t, const TextureLevel& level, const Footprint& f,
                  uint32_t corner) {
  int64_t at[3] = {0, 0, f.slice};
  int64_t plain[2] = {0, 0};
  bool outside = false;
  for (uint32_t k = 0; k < f.axes; ++k) {
    const int64_t index = f.taps[k].first + (corner >> k & 1);
    const uint32_t size = sizeOfAxis(level, k);
    if (k < 2) plain[k] = index;
    if (f.seamless) outside |= index < 0 || index >= size;
    at[k] = placeIndex(index, size, f.addressing[k]);
    const bool zero = t.is_linear && (index < 0 || index >= size);
    if (zero) return {};
    if (at[k] < 0) return borderTexel(t);
  }
  if (outside) return acrossEdge(t, level, f.cube, f.face, plain[0], plain[1]);
  return readTexel(t, level, at[0], at[1], at[2]);
}

void fetchLevel(const Texture& t, const TextureLevel& level, const FetchPoint& point,
                uint32_t (&out)[4]) {
  const bool linear = t.linear_filter && t.givesFloats() && !point.by_index && !t.is_linear;
  const Footprint f = footprint(t, level, point, linear);
  if (!linear) {
    const Texel texel = cornerTexel(t, level, f, 0);
    std::copy(texel.bits, texel.bits + 4, out);
    return;
  }
  double sum[4] = {};
  for (uint32_t corner = 0; corner < 1u << f.axes; ++corner) {
    double weight = 1;
    for (uint32_t k = 0; k < f.axes; ++k) {
      const double next = f.taps[k].next_weight;
      weight *= (corner >> k & 1) != 0 ? next : 1 - next;
    }
    if (weight == 0) continue;
    const Texel texel = cornerTexel(t, level, f, corner);
    for (uint32_t c = 0; c < 4; ++c) sum[c] += weight * double{texel.asFloat(c)};
  }
  for (uint32_t c = 0; c < 4; ++c) out[c] = std::bit_cast<uint32_t>(static_cast<float>(sum[c]));
}

double levelOf(const Texture& t, const FetchPoint& point) {
  if (!point.has_level || t.levels.size() < 2) return 0;
  double level = point.level == point.level ? double{point.level} + t.level_bias : 0;
  level = std::min(std::max(level, double{t.level_min}), double{t.level_max});
  if (!(level == level)) return 0;  // the program's bias may be anything
  return std::clamp(level, 0.0, static_cast<double>(t.levels.size() - 1));
}

}  // namespace

void fetchTexel(const Texture& t, const FetchPoint& point, uint32_t (&out)[4]) {
  const double level = levelOf(t, point);
  const bool blends = t.linear_levels && t.givesFloats() && !point.by_index;
  if (!blends) {
    return fetchLevel(t, t.levels[static_cast<size_t>(std::floor(level + 0.5))], point, out);
  }
  const int64_t fixed = static_cast<int64_t>(std::floor(level * 256 + 0.5));
  const size_t first = static_cast<size_t>(fixed >> 8);
  fetchLevel(t, t.levels[first], point, out);
  if ((fixed & 255) == 0) return;
  uint32_t next[4];
  fetchLevel(t, t.levels[first + 1], point, next);
  const double weight = static_cast<double>(fixed & 255) / 256;
  for (uint32_t c = 0; c < 4; ++c) {
    const double a = std::bit_cast<float>(out[c]), b = std::bit_cast<float>(next[c]);
    out[c] = std::bit_cast<uint32_t>(static_cast<float>(a * (1 - weight) + b * weight));
  }
}

void gatherTexels(const Texture& t, const FetchPoint& point, uint32_t component,
                  uint32_t (&out)[4]) {
  const TextureLevel& level = t.levels[0];
  const Footprint f = footprint(t, level, point, true);
  constexpr uint32_t kCorners[4] = {2, 3, 1, 0};
  for (uint32_t k = 0; k < 4; ++k) {
    out[k] = cornerTexel(t, level, f, kCorners[k]).bits[component & 3];
  }
}

float levelOfGradient(const Texture& t, const FetchPoint& point, const float (&dx)[3],
                      const float (&dy)[3]) {
  const TextureLevel& level = t.levels[0];
  double along_x = 0, along_y = 0;
  for (uint32_t k = 0; k < (point.cube ? 3u : point.dimensions); ++k) {
    // A step in a cube's direction moves about half as far over a face of width 1.
    const double size = point.cube ? level.width / 2.0 : sizeOfAxis(level, k);
    const double scale = t.normalized_coordinates || point.cube ? size : 1;
    along_x += double{dx[k]} * dx[k] * scale * scale;
    along_y += double{dy[k]} * dy[k] * scale * scale;
  }
  const double longest = std::sqrt(std::max(along_x, along_y));
  return longest > 0 ? static_cast<float>(std::log2(longest)) : -126.0f;
}

void storeTexel(const Texture& t, uint64_t address, const uint32_t (&values)[4], bool floats) {
  for (uint32_t c = 0; c < t.channels; ++c) {
    const uint64_t at = address + c * bytesOf(t.format);
    const uint32_t bits = values[c];
    if (t.format == TexelFormat::f16) {
      store<uint16_t>(at, floatToHalf(std::bit_cast<float>(bits)));
      continue;
    }
    // Integers are cut off to what the texel can hold; a float is stored as it is in 32 bits and as
    // the nearest normalized value in fewer.
    uint32_t value = bits;
    const uint32_t size = bytesOf(t.format);
    const bool is_signed = t.format == TexelFormat::s8 || t.format == TexelFormat::s16;
    if (floats && size < 4) {
      const float f = std::bit_cast<float>(bits);
      const float most = static_cast<float>((1u << (size * 8 - (is_signed ? 1 : 0))) - 1);
      const float scaled = (f == f ? std::clamp(f, is_signed ? -1.0f : 0.0f, 1.0f) : 0.0f) * most;
      value = static_cast<uint32_t>(static_cast<int32_t>(std::nearbyint(scaled)));
    } else if (size < 4 && is_signed) {
      const int32_t most = (1 << (size * 8 - 1)) - 1;
      value = static_cast<uint32_t>(std::clamp(static_cast<int32_t>(bits), -most - 1, most));
    } else if (size < 4) {
      value = std::min(bits, (1u << (size * 8)) - 1);
    }
    if (size == 1) {
      store<uint8_t>(at, static_cast<uint8_t>(value));
    } else if (size == 2) {
      store<uint16_t>(at, static_cast<uint16_t>(value));
    } else {
      store<uint32_t>(at, value);
    }
  }
}

}  // namespace farwarp::ptx
