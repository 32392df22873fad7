// Textures and surfaces as kernels see them: texels in memory, and how a fetch turns coordinates
// into a value. A driver makes them and hands a launch a table of those that its kernel may name.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace farwarp::ptx {

enum class TexelFormat : uint8_t { u8, s8, u16, s16, u32, s32, f16, f32 };

constexpr uint32_t bytesOf(TexelFormat format) {
  if (format <= TexelFormat::s8) return 1;
  return format == TexelFormat::u32 || format == TexelFormat::s32 || format == TexelFormat::f32 ? 4
                                                                                                : 2;
}

// What a coordinate outside of the texture means; in the order of CUaddress_mode.
enum class Addressing : uint8_t { wrap, clamp, mirror, border };

struct TextureLevel {
  uint64_t address = 0;
  uint32_t width = 1;  // texels
  uint32_t height = 1;
  uint32_t depth = 1;  // slices, or layers (six for each cube)
  uint64_t row_bytes = 0;
  uint64_t slice_bytes = 0;
};

struct Texture {
  bool is_surface = false;
  bool is_linear = false;  // memory read by index: outside of it there are zeros
  bool layered = false;
  bool cubemap = false;
  uint8_t dimensions = 2;  // of a layer
  TexelFormat format = TexelFormat::f32;
  uint8_t channels = 1;           // 1, 2 or 4
  bool normalized_float = false;  // 8 and 16 bit integers become [0, 1] or [-1, 1]
  bool srgb = false;              // red, green and blue of 8 bits are in the sRGB encoding
  bool normalized_coordinates = false;
  bool linear_filter = false;
  bool linear_levels = false;  // blends two levels
  bool seamless = false;       // filters across the edges of a cube
  Addressing addressing[3] = {Addressing::wrap, Addressing::wrap, Addressing::wrap};
  float border[4] = {0, 0, 0, 0};
  float level_bias = 0;
  float level_min = 0;
  float level_max = 0;
  std::vector<TextureLevel> levels;  // at least one

  uint32_t texelBytes() const { return bytesOf(format) * channels; }
  // A fetch gives floats, else integers.
  bool givesFloats() const { return normalized_float || format >= TexelFormat::f16; }
};

// By the value that kernels have for it.
using TextureTable = std::unordered_map<uint64_t, std::shared_ptr<const Texture>>;

// Where to read. Which of the coordinates count is said by `dimensions`; of a cube all three do.
struct FetchPoint {
  uint8_t dimensions = 2;
  bool cube = false;
  bool by_index = false;  // `index` counts, not `at`: no normalization and no filter
  float at[3] = {0, 0, 0};
  int32_t index[3] = {0, 0, 0};
  int32_t offset[3] = {0, 0, 0};  // texels
  uint32_t layer = 0;
  float level = 0;
  bool has_level = false;
};

// The four components as a register holds them: floats or integers of 32 bits.
void fetchTexel(const Texture& texture, const FetchPoint& point, uint32_t (&out)[4]);
// One component of the four texels that a linear filter would blend, in the order of tld4.
void gatherTexels(const Texture& texture, const FetchPoint& point, uint32_t component,
                  uint32_t (&out)[4]);
// The level whose texels are as large as the step between neighbouring fetches.
float levelOfGradient(const Texture& texture, const FetchPoint& point, const float (&dx)[3],
                      const float (&dy)[3]);

// Writes a texel from registers of 32 bits as sust.p does; `floats`: they hold floats.
void storeTexel(const Texture& texture, uint64_t address, const uint32_t (&values)[4], bool floats);

}  // namespace farwarp::ptx
