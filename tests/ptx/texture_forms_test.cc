// Goal: every texture and surface instruction of the table of forms reaches the texel that its
// coordinates name, in textures of every shape. Method: the value of a texel tells where it lies;
// each variant reads (or writes) texels in their middle, at both levels where it may choose one.
// Filters, address modes and formats are tested by the conformance tests of texture and surface
// objects.
#include <algorithm>
#include <bit>

#include "gpud/device/cpu/ptx/tool/forms.h"
#include "tests/ptx/harness.h"
#include "tests/ptx/scalar_oracle.h"

namespace farwarp::ptx {
namespace {

constexpr uint64_t kHandle = 0x1234;
constexpr uint32_t kWords = 16;  // that a thread reads

struct Shape {
  std::string_view name;
  uint8_t dimensions;
  bool layered, cube;
  uint32_t width, height, depth;  // depth: slices of memory
};
constexpr Shape kShapes[] = {{"1d", 1, false, false, 8, 1, 1},  {"2d", 2, false, false, 8, 4, 1},
                             {"3d", 3, false, false, 8, 4, 4},  {"a1d", 1, true, false, 8, 1, 3},
                             {"a2d", 2, true, false, 8, 4, 3},  {"cube", 2, false, true, 4, 4, 6},
                             {"acube", 2, true, true, 4, 4, 12}};

const Shape* shapeOf(const Instruction& in) {
  for (const Shape& shape : kShapes) {
    if (in.has(shape.name)) return &shape;
  }
  return nullptr;
}

TexelFormat formatOf(std::string_view type) {
  return type == "s32"                                       ? TexelFormat::s32
         : type == "f32" || type == "f16" || type == "f16x2" ? TexelFormat::f32
                                                             : TexelFormat::u32;
}

// What a component of a texel holds: a number that no other has.
uint32_t numberAt(uint32_t x, uint32_t y, uint32_t z, uint32_t component, uint32_t level) {
  return (((level * 16 + z) * 4 + y) * 8 + x) * 4 + component + 1;
}
uint32_t encoded(TexelFormat format, uint32_t number) {
  if (format == TexelFormat::f32) return std::bit_cast<uint32_t>(static_cast<float>(number));
  return format == TexelFormat::s32 ? 0 - number : number;
}

struct TestTexture {
  TestTexture(TestDevice& device, const Shape& shape, TexelFormat format, uint32_t channels,
              uint32_t levels) {
    auto texture = std::make_shared<Texture>();
    texture->layered = shape.layered;
    texture->cubemap = shape.cube;
    texture->dimensions = shape.dimensions;
    texture->format = format;
    texture->channels = static_cast<uint8_t>(channels);
    texture->level_max = static_cast<float>(levels - 1);
    std::fill_n(texture->addressing, 3, Addressing::clamp);
    for (uint32_t k = 0; k < levels; ++k) {
      TextureLevel level;
      level.width = std::max(shape.width >> k, 1u);
      level.height = std::max(shape.height >> k, 1u);
      level.depth = shape.layered || shape.cube ? shape.depth : std::max(shape.depth >> k, 1u);
      level.row_bytes = uint64_t{level.width} * channels * 4;
      level.slice_bytes = level.row_bytes * level.height;
      auto* texels = device.allocateArray<uint32_t>(level.slice_bytes / 4 * level.depth);
      level.address = reinterpret_cast<uint64_t>(texels);
      for (uint32_t z = 0; z < level.depth; ++z) {
        for (uint32_t y = 0; y < level.height; ++y) {
          for (uint32_t x = 0; x < level.width * channels; ++x) {
            *texels++ = encoded(format, numberAt(x / channels, y, z, x % channels, k));
          }
        }
      }
      texture->levels.push_back(level);
    }
    object = texture;
    table[kHandle] = texture;
  }
  uint32_t& texel(uint32_t x, uint32_t y, uint32_t z) {
    const TextureLevel& level = object->levels[0];
    return *reinterpret_cast<uint32_t*>(level.address + z * level.slice_bytes +
                                        y * level.row_bytes + uint64_t{x} * object->texelBytes());
  }
  std::shared_ptr<Texture> object;
  TextureTable table;
};

using Words = std::array<uint32_t, kWords>;
struct Place {
  uint32_t x, y, z;  // texel and slice
};

uint32_t bitsOfFloat(float v) {
  return std::bit_cast<uint32_t>(v);
}

// The direction from the middle of a cube to a point of a face; u and v go from -1 to 1.
std::array<float, 3> directionTo(uint32_t face, float u, float v) {
  switch (face) {
    case 0:
      return {1, -v, -u};
    case 1:
      return {-1, -v, u};
    case 2:
      return {u, 1, v};
    case 3:
      return {u, -1, -v};
    case 4:
      return {u, -v, 1};
    default:
      return {-u, -v, -1};
  }
}

// Coordinates of a point that lies `inside` texels right of and below the corner of a texel.
void putCoordinates(const Shape& shape, const Texture& texture, const Place& at, float inside,
                    uint32_t level, bool by_index, Words& words) {
  size_t k = 0;
  if (shape.layered) words[k++] = shape.cube ? at.z / 6 : at.z;
  const TextureLevel& size = texture.levels[level];
  if (shape.cube) {
    float n = static_cast<float>(size.width);
    std::array<float, 3> direction =
        directionTo(at.z % 6, 2 * (static_cast<float>(at.x) + inside) / n - 1,
                    2 * (static_cast<float>(at.y) + inside) / n - 1);
    for (float v : direction) words[k++] = bitsOfFloat(v * 3);
    return;
  }
  const uint32_t at_axis[3] = {at.x, at.y, at.z}, sizes[3] = {size.width, size.height, size.depth};
  for (uint32_t axis = 0; axis < shape.dimensions; ++axis) {
    float v = static_cast<float>(at_axis[axis]) + inside;
    if (texture.normalized_coordinates) v /= static_cast<float>(sizes[axis]);
    words[k++] = by_index ? at_axis[axis] : bitsOfFloat(v);
  }
}

// All texels of a level, or those that have a right and a lower neighbour.
std::vector<Place> placesOf(const Texture& texture, uint32_t level, uint32_t border) {
  const TextureLevel& size = texture.levels[level];
  std::vector<Place> places;
  for (uint32_t z = 0; z < size.depth; ++z) {
    for (uint32_t y = 0; y < (size.height > border ? size.height - border : 1); ++y) {
      for (uint32_t x = 0; x < size.width - border; ++x) places.push_back({x, y, z});
    }
  }
  return places;
}

// Runs `instruction` (of %c0 to %c3, %l, %g0 to %g7, %v and the texture %d0) for each row; its
// results are %r0 to %r3.
std::vector<std::array<uint32_t, 4>> runAll(TestDevice& device, const TestTexture& texture,
                                            const std::string& instruction,
                                            const std::vector<Words>& rows,
                                            LaunchStatus want = LaunchStatus::ok) {
  std::string body = "mov.u64 %d0, %in1; setp.lt.u32 %p, %tidx, " + std::to_string(rows.size()) +
                     "; @!%p ret; mad.wide.u32 %at, %tidx, 64, %in0;\n";
  const char* names[] = {"c0", "c1", "c2", "c3", "l",  "g0", "g1",
                         "g2", "g3", "g4", "g5", "g6", "g7", "v"};
  for (size_t k = 0; k < std::size(names); ++k) {
    body += "ld.global.b32 %" + std::string(names[k]) + ", [%at+" + std::to_string(4 * k) + "];\n";
  }
  for (int k = 0; k < 4; ++k) body += "mov.b32 %r" + std::to_string(k) + ", 0;\n";
  body += instruction +
          "\nmad.wide.u32 %at, %tidx, 16, %out; st.global.v4.b32 [%at], {%r0, %r1, %r2, %r3};";
  TestModule module(
      device,
      kernelText(".reg .b32 %c<4>, %g<8>, %r<4>, %l, %v; .reg .b16 %h<4>; .reg .b64 %d<2>, %w;"
                 " .reg .pred %p, %q;",
                 body, 2));
  std::vector<std::array<uint32_t, 4>> results(rows.size());
  if (!module) return results;
  auto* in = device.allocateArray<Words>(rows.size());
  auto* out = device.allocateArray<std::array<uint32_t, 4>>(rows.size());
  std::copy(rows.begin(), rows.end(), in);
  LaunchShape shape;
  shape.grid = {static_cast<uint32_t>((rows.size() + 63) / 64)};
  shape.block = {64};
  shape.textures = &texture.table;
  LaunchResult result = module.launchShape("k", shape, nullptr, out, in, kHandle);
  EXPECT_EQ(result.status, want) << result.detail.message;
  std::copy(out, out + rows.size(), results.begin());
  return results;
}

void checkFetch(const Instruction& in, const Shape& shape) {
  bool level_given = in.has("level"), gradient = in.has("grad"), by_index = in.mod(-1) == "s32";
  bool pair = in.has("f16x2"), half = in.has("f16");
  uint32_t levels = level_given || (gradient && !shape.cube) ? 2 : 1;
  TestDevice device;
  TestTexture texture(device, shape, formatOf(in.mod(-2)), 4, levels);
  texture.object->normalized_coordinates = levels == 2 && !shape.cube;
  std::vector<Words> rows;
  std::vector<std::array<uint32_t, 4>> want;
  for (uint32_t level = 0; level < levels; ++level) {
    for (const Place& at : placesOf(*texture.object, level, 0)) {
      Words words{};
      putCoordinates(shape, *texture.object, at, 0.5f, level, by_index, words);
      words[4] = bitsOfFloat(static_cast<float>(level));
      for (uint32_t axis = 0; axis < 2 && gradient && !shape.cube; ++axis) {
        uint32_t size = axis == 0 ? shape.width : shape.height;
        if (axis < shape.dimensions)
          words[5 + 5 * axis] =
              bitsOfFloat(static_cast<float>(1 << level) / static_cast<float>(size));
      }
      rows.push_back(words);
      std::array<uint32_t, 4> texel{};
      for (uint32_t c = 0; c < 4; ++c)
        texel[c] = encoded(texture.object->format, numberAt(at.x, at.y, at.z, c, level));
      want.push_back(texel);
    }
  }
  std::string mnemonic = in.text.substr(0, in.text.find(' '));
  std::string results = half   ? "{%h0, %h1, %h2, %h3}"
                        : pair ? "{%r0, %r1}"
                               : "{%r0, %r1, %r2, %r3}";
  std::string text = mnemonic + " " + results + ", [%d0, {%c0, %c1, %c2, %c3}]" +
                     (level_given ? ", %l" : "") +
                     (gradient ? ", {%g0, %g1, %g2, %g3}, {%g4, %g5, %g6, %g7}" : "") + ";";
  // Halves as floats.
  if (pair) text += "mov.b32 {%h0, %h1}, %r0; mov.b32 {%h2, %h3}, %r1;";
  if (pair || half) {
    for (char k : {'0', '1', '2', '3'})
      text += std::string("cvt.f32.f16 %r") + k + ", %h" + k + ";";
    if (pair) {
      for (auto& texel : want) texel[2] = texel[3] = 0;
      text =
          text.substr(0, text.find("mov.b32 {%h2")) + "cvt.f32.f16 %r1, %h1; cvt.f32.f16 %r0, %h0;";
    }
  }
  auto got = runAll(device, texture, text, rows);
  for (size_t k = 0; k < rows.size(); ++k) ASSERT_EQ(got[k], want[k]) << k;
}

void checkGather(const Instruction& in, const Shape& shape) {
  uint32_t component = in.has("r") ? 0 : in.has("g") ? 1 : in.has("b") ? 2 : 3;
  TestDevice device;
  TestTexture texture(device, shape, formatOf(in.mod(-2)), 4, 1);
  std::vector<Words> rows;
  std::vector<Place> places = placesOf(*texture.object, 0, 1);
  for (const Place& at : places) {
    Words words{};
    putCoordinates(shape, *texture.object, at, 1.0f, 0, false,
                   words);  // the corner that four texels share
    rows.push_back(words);
  }
  auto got = runAll(
      device, texture,
      in.text.substr(0, in.text.find(' ')) + " {%r0, %r1, %r2, %r3}, [%d0, {%c0, %c1, %c2, %c3}];",
      rows);
  for (size_t k = 0; k < rows.size(); ++k) {
    const Place& at = places[k];
    auto texel = [&](uint32_t dx, uint32_t dy) {
      return encoded(texture.object->format, numberAt(at.x + dx, at.y + dy, at.z, component, 0));
    };
    const std::array<uint32_t, 4> want = {texel(0, 1), texel(1, 1), texel(1, 0), texel(0, 0)};
    ASSERT_EQ(got[k], want) << k;
  }
}

// Surfaces are addressed by whole numbers, the first one in bytes, or in texels by the formatted
// forms.
void putSurfaceCoordinates(const Shape& shape, int x, const Place& at, Words& words) {
  size_t k = 0;
  if (shape.layered) words[k++] = at.z;
  words[k++] = static_cast<uint32_t>(x);
  if (shape.dimensions >= 2) words[k++] = at.y;
  if (shape.dimensions == 3) words[k++] = at.z;
}

void checkSurface(const Instruction& in, const Shape& shape) {
  bool loads = in.name == "suld", reduces = in.name == "sured", formatted = in.has("p");
  uint32_t channels = in.name == "sust" && formatted ? 4 : 1;
  std::string_view type = in.mod(-2);
  TexelFormat format = formatOf(type);
  bool outside = !in.has("trap");
  TestDevice device;
  TestTexture texture(device, shape, format, channels, 1);
  texture.object->is_surface = true;
  std::vector<Words> rows;
  std::vector<Place> places = placesOf(*texture.object, 0, 0);
  int unit = formatted ? 1 : 4;
  for (size_t k = 0; k < places.size(); ++k) {
    Words words{};
    putSurfaceCoordinates(shape, static_cast<int>(places[k].x) * unit, places[k], words);
    words[13] = encoded(format, 5000 + static_cast<uint32_t>(k));
    rows.push_back(words);
  }
  size_t inside_count = rows.size();
  // Left and right of the first row.
  for (int x : {-1, static_cast<int>(shape.width)}) {
    if (!outside || !loads) break;
    Words words{};
    putSurfaceCoordinates(shape, x * unit, {0, 0, 0}, words);
    rows.push_back(words);
  }
  std::vector<uint32_t> before;
  for (const Place& at : places) before.push_back(texture.texel(at.x, at.y, at.z));
  std::string mnemonic = in.text.substr(0, in.text.find(' ')),
              where = "[%d0, {%c0, %c1, %c2, %c3}]";
  std::string text = loads           ? mnemonic + " %r0, " + where + ";"
                     : channels == 4 ? mnemonic + " " + where + ", {%v, %v, %v, %v};"
                                     : mnemonic + " " + where + ", %v;";
  auto got = runAll(device, texture, text, rows);
  for (size_t k = 0; k < inside_count; ++k) {
    uint32_t value = rows[k][13], now = texture.texel(places[k].x, places[k].y, places[k].z),
             old = before[k];
    if (loads) {
      ASSERT_EQ(got[k][0], old) << k;
      continue;
    }
    bool less =
        type == "s32" ? static_cast<int32_t>(old) < static_cast<int32_t>(value) : old < value;
    uint32_t want = !reduces        ? value
                    : in.has("add") ? old + value
                    : in.has("min") ? (less ? old : value)
                    : in.has("max") ? (less ? value : old)
                    : in.has("and") ? old & value
                                    : old | value;
    ASSERT_EQ(now, want) << k;
  }
  for (size_t k = inside_count; k < rows.size(); ++k) {
    uint32_t edge = k == inside_count ? before[0] : before[shape.width - 1];
    EXPECT_EQ(got[k][0], in.has("zero") ? 0 : edge);
  }
}

// The forms whose operands this file knows.
bool known(const Instruction& in) {
  if (shapeOf(in) == nullptr) return false;
  bool plain = in.text.find("|%") == std::string::npos &&
               in.text.find("}], {%r6,%r7}") == std::string::npos &&
               in.text.find("%d0, %d1") == std::string::npos && !in.has("base");
  if (in.name == "tex") return plain;
  if (in.name == "tld4") return true;
  bool vector = in.has("v2") || (in.has("v4") && !in.has("p"));
  bool word =
      in.mod(-2) == "b32" || in.mod(-2) == "u32" || in.mod(-2) == "s32" || in.mod(-2) == "f32";
  return (in.name == "suld" || in.name == "sust" || in.name == "sured") && !vector && word;
}

TEST(TextureForms, EveryVariantReachesItsTexels) {
  size_t checked = 0;
  for (const InstructionForms& form : instructionForms()) {
    if (form.family != "Textures and surfaces") continue;
    for (const std::string& text : expandForms(form.pattern)) {
      Instruction in(text);
      if (!known(in)) continue;
      SCOPED_TRACE(text);
      if (in.name == "tex")
        checkFetch(in, *shapeOf(in));
      else if (in.name == "tld4")
        checkGather(in, *shapeOf(in));
      else
        checkSurface(in, *shapeOf(in));
      ++checked;
      if (HasFatalFailure() && std::getenv("FARWARP_FORMS_ALL") == nullptr) return;
    }
  }
  EXPECT_GE(checked, 280u);
}

TEST(TextureForms, OffsetsAndResidency) {
  TestDevice device;
  TestTexture texture(device, kShapes[1], TexelFormat::u32, 4, 1);
  std::vector<Words> rows(1);
  putCoordinates(kShapes[1], *texture.object, {2, 1, 0}, 0.5f, 0, false, rows[0]);
  rows[0][5] = 3;
  rows[0][6] = 1;
  auto moved =
      runAll(device, texture,
             "tex.2d.v4.u32.f32 {%r0, %r1, %r2, %r3}, [%d0, {%c0, %c1}], {%g0, %g1};", rows);
  EXPECT_EQ(moved[0][0], numberAt(5, 2, 0, 0, 0));
  auto resident = runAll(
      device, texture,
      "tex.2d.v4.u32.f32 {%r0, %r1, %r2, %r3}|%q, [%d0, {%c0, %c1}]; selp.b32 %r3, 1, 0, %q;",
      rows);
  EXPECT_EQ(resident[0][0], numberAt(2, 1, 0, 0, 0));
  EXPECT_EQ(resident[0][3], 1u);
  auto base = runAll(device, texture,
                     "tex.base.2d.v4.u32.f32 {%r0, %r1, %r2, %r3}, [%d0, {%c0, %c1}];", rows);
  EXPECT_EQ(base[0][0], numberAt(2, 1, 0, 0, 0));
}

TEST(TextureForms, Queries) {
  TestDevice device;
  TestTexture texture(device, kShapes[4], TexelFormat::f32, 4, 2);  // 8 x 4, 3 layers, 2 levels
  std::vector<Words> rows(1);
  auto sizes =
      runAll(device, texture,
             "txq.width.b32 %r0, [%d0]; txq.height.b32 %r1, [%d0]; txq.array_size.b32 %r2, [%d0];"
             " txq.num_mipmap_levels.b32 %r3, [%d0];",
             rows);
  EXPECT_EQ(sizes[0], (std::array<uint32_t, 4>{8, 4, 3, 2}));
  auto level = runAll(
      device, texture,
      "mov.b32 %l, 1; txq.level.width.b32 %r0, [%d0], %l; txq.level.height.b32 %r1, [%d0], %l;"
      " txq.normalized_coords.b32 %r2, [%d0]; txq.num_samples.b32 %r3, [%d0];",
      rows);
  EXPECT_EQ(level[0][0], 4u);
  EXPECT_EQ(level[0][1], 2u);
  EXPECT_EQ(level[0][2], 0u);
  TestTexture surface(device, kShapes[2], TexelFormat::u32, 1, 1);
  surface.object->is_surface = true;
  auto suq = runAll(
      device, surface,
      "suq.width.b32 %r0, [%d0]; suq.height.b32 %r1, [%d0]; suq.depth.b32 %r2, [%d0];", rows);
  EXPECT_EQ(suq[0], (std::array<uint32_t, 4>{8, 4, 4, 0}));
}

}  // namespace
}  // namespace farwarp::ptx
