// Goal: fetches from textures of every kind give what the CUDA programming guide says, with filters
// that weigh in steps of 1/256, and texture objects that CUDA refuses are refused with its errors.
// Method: kernels of one fetch per thread; one axis of the rules is computed again here, from the
// guide's formulas, and textures of more dimensions are products of it.
#include <cmath>
#include <limits>

#include "tests/conformance/texture_kernels.h"

namespace farwarp::conformance {
namespace {

constexpr unsigned kNormalized = CU_TRSF_NORMALIZED_COORDINATES;

// The texels of one axis that a fetch reads, and their weights; index -1 is the border.
struct Axis {
  int index[2];
  double weight[2];
};

int placed(int i, int n, CUaddress_mode mode) {
  if (mode == CU_TR_ADDRESS_MODE_BORDER) return i < 0 || i >= n ? -1 : i;
  if (mode == CU_TR_ADDRESS_MODE_WRAP) return ((i % n) + n) % n;
  if (mode == CU_TR_ADDRESS_MODE_MIRROR) {
    const int around = ((i % (2 * n)) + 2 * n) % (2 * n);
    return around < n ? around : 2 * n - 1 - around;
  }
  return std::min(std::max(i, 0), n - 1);
}

Axis axis(double coordinate, int n, CUaddress_mode mode, bool linear, bool normalized) {
  double x = coordinate;
  if (normalized) {
    x *= n;
  } else if (mode != CU_TR_ADDRESS_MODE_BORDER) {
    mode = CU_TR_ADDRESS_MODE_CLAMP;
  }
  if (!linear) return {{placed(static_cast<int>(std::floor(x)), n, mode), 0}, {1, 0}};
  const double xb = x - 0.5;
  const int i = static_cast<int>(std::floor(xb));
  const double alpha = std::floor((xb - i) * 256 + 0.5) / 256;
  return {{placed(i, n, mode), placed(i + 1, n, mode)}, {1 - alpha, alpha}};
}

std::vector<Point> randomPoints(size_t count, unsigned seed, float low, float high) {
  std::vector<Point> points(count);
  unsigned state = seed;
  const auto next = [&] {
    state = state * 1664525u + 1013904223u;
    return low + (high - low) * static_cast<float>(state >> 8) / 16777216.0f;
  };
  for (Point& p : points) p.x = next(), p.y = next(), p.z = next();
  return points;
}

class TextureObject : public TextureTest {
 protected:
  void SetUp() override {
    TextureTest::SetUp();
    const std::string out = "{%f0, %f1, %f2, %f3}, [%t, ";
    load(kernel("fetch1", "tex.1d.v4.f32.f32 " + out + "{%x}];") +
         kernel("fetch2", "tex.2d.v4.f32.f32 " + out + "{%x, %y}];") +
         kernel("fetch3", "tex.3d.v4.f32.f32 " + out + "{%x, %y, %z, %z}];") +
         kernel("fetchA1", "tex.a1d.v4.f32.f32 " + out + "{%l, %x}];") +
         kernel("fetchA2", "tex.a2d.v4.f32.f32 " + out + "{%l, %x, %y, %y}];") +
         kernel("fetchCube", "tex.cube.v4.f32.f32 " + out + "{%x, %y, %z, %z}];") +
         kernel("fetchACube", "tex.acube.v4.f32.f32 " + out + "{%l, %x, %y, %z}];") +
         kernel("index1", "tex.1d.v4.f32.s32 " + out + "{%l}];") +
         kernel("words2", "tex.2d.v4.u32.f32 " + out + "{%x, %y}];") +
         kernel("halves2",
                "tex.2d.v2.f16x2.f32 {%f0, %f1}, [%t, {%x, %y}]; mov.b32 %f2, 0; mov.b32 %f3, 0;") +
         kernel("level2", "tex.level.2d.v4.f32.f32 " + out + "{%x, %y}], %w;") +
         kernel("gradient2", "tex.grad.2d.v4.f32.f32 " + out +
                                 "{%x, %y}], {%z, 0f00000000}, "
                                 "{0f00000000, %w};") +
         kernel("gather2", "tld4.g.2d.v4.f32.f32 " + out + "{%x, %y}];") +
         kernel("resident2",
                "tex.2d.v4.f32.f32 {%f0, %f1, %f2, %f3}|%h, [%t, {%x, %y}]; "
                "selp.b32 %f3, 1, 0, %h;") +
         kernel("query",
                "txq.width.b32 %f0, [%t]; txq.height.b32 %f1, [%t]; "
                "txq.num_mipmap_levels.b32 %f2, [%t]; txq.array_size.b32 %f3, [%t];"));
  }
};

TEST_F(TextureObject, TwoDimensionsInEveryAddressAndFilterMode) {
  constexpr int kWidth = 7, kHeight = 5;
  const std::vector<float> texels = values(kWidth * kHeight, 1);
  const CUarray array = create({kWidth, kHeight, 0, CU_AD_FORMAT_FLOAT, 1, 0});
  fill(array, texels.data(), kWidth * 4, kHeight);
  for (int mode = 0; mode < 4; ++mode) {
    for (int linear = 0; linear < 2; ++linear) {
      for (const bool normalized : {false, true}) {
        const auto address = static_cast<CUaddress_mode>(mode);
        CUDA_TEXTURE_DESC wanted =
            sampling(address, static_cast<CUfilter_mode>(linear), normalized ? kNormalized : 0);
        wanted.borderColor[0] = 7.5f;
        const CUtexObject object = texture(resourceOf(array), wanted);
        const auto points =
            normalized ? randomPoints(300, 2, -2.5f, 3.5f) : randomPoints(300, 3, -4.0f, 12.0f);
        const auto got = fetch("fetch2", object, points);
        for (size_t k = 0; k < points.size(); ++k) {
          const Axis ax = axis(points[k].x, kWidth, address, linear != 0, normalized);
          const Axis ay = axis(points[k].y, kHeight, address, linear != 0, normalized);
          double sum = 0;
          for (int b = 0; b < 2; ++b) {
            for (int a = 0; a < 2; ++a) {
              const bool border = ax.index[a] < 0 || ay.index[b] < 0;
              const double value = border ? 7.5 : texels[ay.index[b] * kWidth + ax.index[a]];
              sum += ax.weight[a] * ay.weight[b] * value;
            }
          }
          ASSERT_NEAR(got[k].f[0], sum, 1e-4)
              << "mode " << mode << " linear " << linear << " normalized " << normalized << " at "
              << points[k].x << ", " << points[k].y;
        }
        EXPECT_OK(cuTexObjectDestroy(object));
      }
    }
  }
  EXPECT_OK(cuArrayDestroy(array));
}

TEST_F(TextureObject, OneAndThreeDimensionsAndLayers) {
  const auto clamp = CU_TR_ADDRESS_MODE_CLAMP;
  const CUDA_TEXTURE_DESC linear = sampling(clamp, CU_TR_FILTER_MODE_LINEAR, 0);
  const std::vector<float> texels = values(6 * 5 * 4, 4);
  const auto at = [&](int x, int y, int z) { return double{texels[(z * 5 + y) * 6 + x]}; };
  const CUarray line = create({6, 0, 0, CU_AD_FORMAT_FLOAT, 1, 0});
  const CUarray volume = create({6, 5, 4, CU_AD_FORMAT_FLOAT, 1, 0});
  const CUarray lines = create({6, 0, 5, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_LAYERED});
  const CUarray layers = create({6, 5, 4, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_LAYERED});
  fill(line, texels.data(), 24);
  fill(volume, texels.data(), 24, 5, 4);
  fill(lines, texels.data(), 24, 1, 5);
  fill(layers, texels.data(), 24, 5, 4);
  std::vector<Point> points = randomPoints(200, 5, -1.0f, 7.0f);
  for (size_t k = 0; k < points.size(); ++k) points[k].layer = static_cast<int>(k % 7) - 1;

  CUtexObject objects[] = {texture(resourceOf(line), linear), texture(resourceOf(volume), linear),
                           texture(resourceOf(lines), linear), texture(resourceOf(layers), linear)};
  const auto got1 = fetch("fetch1", objects[0], points);
  const auto got3 = fetch("fetch3", objects[1], points);
  const auto got_a1 = fetch("fetchA1", objects[2], points);
  const auto got_a2 = fetch("fetchA2", objects[3], points);
  for (size_t k = 0; k < points.size(); ++k) {
    const Axis x = axis(points[k].x, 6, clamp, true, false);
    const Axis y = axis(points[k].y, 5, clamp, true, false);
    const Axis z = axis(points[k].z, 4, clamp, true, false);
    const int row = std::min(std::max(points[k].layer, 0), 4), slice = std::min(row, 3);
    double one = 0, three = 0, row_sum = 0, slice_sum = 0;
    for (int a = 0; a < 2; ++a) {
      one += x.weight[a] * at(x.index[a], 0, 0);
      row_sum += x.weight[a] * texels[row * 6 + x.index[a]];
      for (int b = 0; b < 2; ++b) {
        slice_sum += x.weight[a] * y.weight[b] * at(x.index[a], y.index[b], slice);
        for (int c = 0; c < 2; ++c) {
          three += x.weight[a] * y.weight[b] * z.weight[c] * at(x.index[a], y.index[b], z.index[c]);
        }
      }
    }
    ASSERT_NEAR(got1[k].f[0], one, 1e-4);
    ASSERT_NEAR(got3[k].f[0], three, 1e-4);
    ASSERT_NEAR(got_a1[k].f[0], row_sum, 1e-4) << "layer " << points[k].layer;
    ASSERT_NEAR(got_a2[k].f[0], slice_sum, 1e-4) << "layer " << points[k].layer;
  }
  for (CUtexObject object : objects) EXPECT_OK(cuTexObjectDestroy(object));
  for (CUarray array : {line, volume, lines, layers}) EXPECT_OK(cuArrayDestroy(array));
}

// Each face has one value, so that a fetch tells the face it chose; the guide's table has the
// faces.
TEST_F(TextureObject, CubesChooseTheFaceOfTheLongestCoordinate) {
  std::vector<float> texels;
  for (int face = 0; face < 12; ++face) {
    for (int k = 0; k < 4; ++k) texels.push_back(static_cast<float>(10 * face + k));
  }
  const CUarray cube = create({2, 2, 6, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP});
  const CUarray cubes =
      create({2, 2, 12, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED});
  fill(cube, texels.data(), 8, 2, 6);
  fill(cubes, texels.data(), 8, 2, 12);
  const CUDA_TEXTURE_DESC point =
      sampling(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_POINT, kNormalized);
  const CUtexObject one = texture(resourceOf(cube), point), two = texture(resourceOf(cubes), point);
  // Direction, face, and the texel of the face: s to the right, t down.
  const struct {
    Point at;
    float value;
  } cases[] = {
      {{1, 0.5f, 0.5f}, 0 + 0},   {{1, -0.5f, -0.5f}, 0 + 3}, {{-2, 0.5f, 1}, 10 + 1},
      {{-2, -1, -1}, 10 + 2},     {{0.5f, 3, 1}, 20 + 3},     {{-0.5f, 3, -1}, 20 + 0},
      {{0.5f, -3, 1}, 30 + 1},    {{-0.5f, -3, -1}, 30 + 2},  {{0.25f, 0.25f, 1}, 40 + 1},
      {{0.5f, -0.5f, 1}, 40 + 3}, {{0.5f, 0.5f, -1}, 50 + 0}, {{-0.5f, -0.5f, -1}, 50 + 3},
  };
  std::vector<Point> points;
  for (const auto& c : cases) points.push_back(c.at);
  const auto got = fetch("fetchCube", one, points);
  for (Point& p : points) p.layer = 1;
  const auto got_second = fetch("fetchACube", two, points);
  for (size_t k = 0; k < points.size(); ++k) {
    EXPECT_EQ(got[k].f[0], cases[k].value) << "case " << k;
    EXPECT_EQ(got_second[k].f[0], cases[k].value + 60) << "case " << k;
  }

  // Across an edge of the cube the filter blends both faces, if it is told to.
  CUDA_TEXTURE_DESC linear =
      sampling(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_LINEAR, kNormalized);
  const CUtexObject plain = texture(resourceOf(cube), linear);
  linear.flags |= CU_TRSF_SEAMLESS_CUBEMAP;
  const CUtexObject seamless = texture(resourceOf(cube), linear);
  // Halfway up at the edge from face +x (right column 1, 3) to face -z (left column 50, 52).
  const std::vector<Point> edge = {{1, 0, -1}};
  const float face_z = fetch("fetchCube", plain, edge)[0].f[0];
  EXPECT_EQ(face_z, 51);  // the left column of the face that both coordinates name
  EXPECT_EQ(fetch("fetchCube", seamless, edge)[0].f[0], (51 + 2) / 2.0f);
  for (CUtexObject object : {one, two, plain, seamless}) EXPECT_OK(cuTexObjectDestroy(object));
  EXPECT_OK(cuArrayDestroy(cube));
  EXPECT_OK(cuArrayDestroy(cubes));
}

TEST_F(TextureObject, FormatsBecomeFloatsOrStayIntegers) {
  const auto clamp = CU_TR_ADDRESS_MODE_CLAMP;
  const auto point = CU_TR_FILTER_MODE_POINT;
  const std::vector<Point> at = {{0.5f, 0.5f}};
  const auto single = [&](CUarray_format format, unsigned channels, const void* texel, size_t bytes,
                          unsigned flags, const char* name) {
    const CUarray array = create({1, 1, 0, format, channels, 0});
    fill(array, texel, bytes, 1);
    const CUtexObject object = texture(resourceOf(array), sampling(clamp, point, flags));
    const Texel result = fetch(name, object, at)[0];
    EXPECT_OK(cuTexObjectDestroy(object));
    EXPECT_OK(cuArrayDestroy(array));
    return result;
  };
  const unsigned char bytes[4] = {0, 51, 255, 128};
  Texel t = single(CU_AD_FORMAT_UNSIGNED_INT8, 4, bytes, 4, 0, "fetch2");
  EXPECT_EQ(t.f[0], 0.0f);
  EXPECT_EQ(t.f[1], 51 / 255.0f);
  EXPECT_EQ(t.f[2], 1.0f);
  EXPECT_EQ(t.f[3], 128 / 255.0f);
  t = single(CU_AD_FORMAT_UNSIGNED_INT8, 4, bytes, 4, CU_TRSF_READ_AS_INTEGER, "words2");
  EXPECT_EQ(t.word(1), 51u);
  EXPECT_EQ(t.word(3), 128u);
  t = single(CU_AD_FORMAT_UNSIGNED_INT8, 4, bytes, 4, CU_TRSF_SRGB, "fetch2");
  EXPECT_NEAR(t.f[1], std::pow((51 / 255.0 + 0.055) / 1.055, 2.4), 1e-6);
  EXPECT_EQ(t.f[3], 128 / 255.0f);
  const signed char small[2] = {-128, 64};
  t = single(CU_AD_FORMAT_SIGNED_INT8, 2, small, 2, 0, "fetch2");
  EXPECT_EQ(t.f[0], -1.0f);
  EXPECT_EQ(t.f[1], 64 / 127.0f);
  t = single(CU_AD_FORMAT_SIGNED_INT8, 2, small, 2, CU_TRSF_READ_AS_INTEGER, "words2");
  EXPECT_EQ(static_cast<int32_t>(t.word(0)), -128);
  const int16_t shorts[2] = {-32768, 16384};
  t = single(CU_AD_FORMAT_SIGNED_INT16, 2, shorts, 4, 0, "fetch2");
  EXPECT_EQ(t.f[0], -1.0f);
  EXPECT_EQ(t.f[1], 16384 / 32767.0f);
  const uint16_t halves[2] = {0x3c00, 0xc580};  // 1 and -5.5
  t = single(CU_AD_FORMAT_HALF, 2, halves, 4, 0, "fetch2");
  EXPECT_EQ(t.f[0], 1.0f);
  EXPECT_EQ(t.f[1], -5.5f);
  t = single(CU_AD_FORMAT_HALF, 2, halves, 4, 0, "halves2");
  EXPECT_EQ(t.word(0), 0xc5803c00u);
  const uint32_t words[4] = {1, 0x80000000u, 3, 0xffffffffu};
  t = single(CU_AD_FORMAT_UNSIGNED_INT32, 4, words, 16, 0, "words2");
  for (int k = 0; k < 4; ++k) EXPECT_EQ(t.word(k), words[k]);
  EXPECT_EQ(single(CU_AD_FORMAT_FLOAT, 1, words, 4, 0, "resident2").word(3), 1u);
}

TEST_F(TextureObject, LinearAndPitchedMemory) {
  const std::vector<float> texels = values(8 * 4, 6);
  const CUdeviceptr memory = allocate(texels.size() * 4);
  EXPECT_OK(cuMemcpyHtoD_v2(memory, texels.data(), texels.size() * 4));
  CUDA_RESOURCE_DESC resource{};
  resource.resType = CU_RESOURCE_TYPE_LINEAR;
  resource.res.linear.devPtr = memory;
  resource.res.linear.format = CU_AD_FORMAT_FLOAT;
  resource.res.linear.numChannels = 1;
  resource.res.linear.sizeInBytes = 20 * 4;
  const CUDA_TEXTURE_DESC wrap = sampling(CU_TR_ADDRESS_MODE_WRAP, CU_TR_FILTER_MODE_POINT, 0);
  const CUtexObject line = texture(resource, wrap);
  std::vector<Point> points(24);
  for (int k = 0; k < 24; ++k) points[k].layer = k - 2;
  auto got = fetch("index1", line, points);
  for (int k = 0; k < 24; ++k) {
    EXPECT_EQ(got[k].f[0], k < 2 || k >= 22 ? 0 : texels[k - 2]) << "index " << k - 2;
  }
  EXPECT_OK(cuTexObjectDestroy(line));

  resource = {};
  resource.resType = CU_RESOURCE_TYPE_PITCH2D;
  resource.res.pitch2D.devPtr = memory;
  resource.res.pitch2D.format = CU_AD_FORMAT_FLOAT;
  resource.res.pitch2D.numChannels = 1;
  resource.res.pitch2D.width = 5;
  resource.res.pitch2D.height = 4;
  resource.res.pitch2D.pitchInBytes = 32;
  const CUDA_TEXTURE_DESC linear = sampling(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_LINEAR, 0);
  const CUtexObject plane = texture(resource, linear);
  EXPECT_EQ(fetch("fetch2", plane, {{2.5f, 1.5f}})[0].f[0], texels[8 + 2]);
  EXPECT_EQ(fetch("fetch2", plane, {{9.5f, 3.5f}})[0].f[0], texels[24 + 4]);
  EXPECT_EQ(fetch("fetch2", plane, {{3.0f, 1.5f}})[0].f[0], (texels[8 + 2] + texels[8 + 3]) / 2);
  EXPECT_OK(cuTexObjectDestroy(plane));

  CUtexObject none = 0;
  resource.res.pitch2D.pitchInBytes = 24;  // less than 32-byte steps
  EXPECT_CUDA(cuTexObjectCreate(&none, &resource, &linear, nullptr), CUDA_ERROR_INVALID_VALUE);
  resource.res.pitch2D.pitchInBytes = 32;
  resource.res.pitch2D.devPtr = memory + 4;  // not aligned
  EXPECT_CUDA(cuTexObjectCreate(&none, &resource, &linear, nullptr), CUDA_ERROR_INVALID_VALUE);
  resource.res.pitch2D.devPtr = 0;
  EXPECT_CUDA(cuTexObjectCreate(&none, &resource, &linear, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFree_v2(memory));
}

TEST_F(TextureObject, MipmapLevelsAreChosenAndBlended) {
  const CUDA_ARRAY3D_DESCRIPTOR wanted{8, 4, 0, CU_AD_FORMAT_FLOAT, 1, 0};
  CUmipmappedArray mipmaps = nullptr;
  ASSERT_OK(cuMipmappedArrayCreate(&mipmaps, &wanted, 100));  // as many as there can be: 4
  for (unsigned level = 0; level < 4; ++level) {
    CUarray array = nullptr;
    ASSERT_OK(cuMipmappedArrayGetLevel(&array, mipmaps, level));
    CUDA_ARRAY3D_DESCRIPTOR d{};
    EXPECT_OK(cuArray3DGetDescriptor_v2(&d, array));
    EXPECT_EQ(d.Width, 8u >> level);
    EXPECT_EQ(d.Height, std::max(4u >> level, 1u));
    const std::vector<float> texels(d.Width * d.Height, static_cast<float>(100 * level));
    fill(array, texels.data(), d.Width * 4, d.Height);
    CUarray again = nullptr;
    EXPECT_OK(cuMipmappedArrayGetLevel(&again, mipmaps, level));
    EXPECT_EQ(array, again);
    EXPECT_BAD_HANDLE(cuArrayDestroy(array), CUDA_ERROR_INVALID_HANDLE);
  }
  CUarray none = nullptr;
  EXPECT_CUDA(cuMipmappedArrayGetLevel(&none, mipmaps, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMipmappedArrayGetLevel(&none, mipmaps, ~0u), CUDA_ERROR_INVALID_VALUE);

  std::vector<Point> points;
  for (float level : {-3.0f, 0.0f, 0.25f, 0.75f, 1.5f, 2.0f, 2.75f, 9.0f}) {
    points.push_back({0.5f, 0.5f, 0, level});
  }
  CUDA_TEXTURE_DESC d = sampling(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_LINEAR, kNormalized);
  const auto expectLevels = [&](const std::vector<float>& expected, const char* what) {
    const CUtexObject object = texture(resourceOf(mipmaps), d);
    const auto got = fetch("level2", object, points);
    for (size_t k = 0; k < expected.size(); ++k) {
      EXPECT_EQ(got[k].f[0], expected[k]) << what << ", level " << points[k].level;
    }
    EXPECT_OK(cuTexObjectDestroy(object));
  };
  expectLevels({0, 0, 0, 100, 200, 200, 300, 300}, "the nearest level");
  d.mipmapFilterMode = CU_TR_FILTER_MODE_LINEAR;
  expectLevels({0, 0, 25, 75, 150, 200, 275, 300}, "two levels");
  d.mipmapLevelBias = 0.5f;
  expectLevels({0, 50, 75, 125, 200, 250, 300, 300}, "with a bias");
  d.mipmapLevelBias = 0;
  d.minMipmapLevelClamp = 0.5f, d.maxMipmapLevelClamp = 1.5f;
  expectLevels({50, 50, 50, 75, 150, 150, 150, 150}, "with clamps");
  d.minMipmapLevelClamp = 0, d.maxMipmapLevelClamp = 100;
  // A step of a quarter of 8 texels is 2 texels: level 1. One of half of 4 texels too.
  const CUtexObject object = texture(resourceOf(mipmaps), d);
  EXPECT_EQ(fetch("gradient2", object, {{0.5f, 0.5f, 0.25f, 0}})[0].f[0], 100);
  EXPECT_EQ(fetch("gradient2", object, {{0.5f, 0.5f, 0.125f, 0.5f}})[0].f[0], 100);
  EXPECT_EQ(fetch("fetch2", object, {{0.5f, 0.5f}})[0].f[0], 0);
  EXPECT_EQ(fetch("query", object, {{}})[0].word(2), 4u);
  EXPECT_OK(cuTexObjectDestroy(object));

  // A view that begins at level 1, and a mipmapped texture whose coordinates are not normalized.
  CUDA_RESOURCE_VIEW_DESC view{};
  view.format = CU_RES_VIEW_FORMAT_FLOAT_1X32;
  view.width = 8, view.height = 4, view.firstMipmapLevel = 1, view.lastMipmapLevel = 2;
  const CUDA_RESOURCE_DESC resource = resourceOf(mipmaps);
  CUtexObject viewed = 0;
  EXPECT_OK(cuTexObjectCreate(&viewed, &resource, &d, &view));
  EXPECT_EQ(fetch("level2", viewed, {{0.5f, 0.5f, 0, 9}})[0].f[0], 200);
  EXPECT_EQ(fetch("level2", viewed, {{0.5f, 0.5f, 0, 0}})[0].f[0], 100);
  CUDA_RESOURCE_VIEW_DESC found{};
  EXPECT_OK(cuTexObjectGetResourceViewDesc(&found, viewed));
  EXPECT_EQ(found.firstMipmapLevel, 1u);
  EXPECT_OK(cuTexObjectDestroy(viewed));
  view.lastMipmapLevel = 4;
  EXPECT_CUDA(cuTexObjectCreate(&viewed, &resource, &d, &view), CUDA_ERROR_INVALID_VALUE);
  d.flags = 0;
  EXPECT_CUDA(cuTexObjectCreate(&viewed, &resource, &d, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMipmappedArrayDestroy(mipmaps));
  EXPECT_BAD_HANDLE(cuMipmappedArrayDestroy(mipmaps), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(TextureObject, GathersAndAnswersQuestions) {
  std::vector<float> texels;
  for (int k = 0; k < 4 * 3 * 2; ++k) texels.push_back(static_cast<float>(k));
  const CUarray array = create({4, 3, 0, CU_AD_FORMAT_FLOAT, 2, CUDA_ARRAY3D_TEXTURE_GATHER});
  fill(array, texels.data(), 32, 3);
  const CUtexObject object =
      texture(resourceOf(array), sampling(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_POINT, 0));
  const auto green = [](int x, int y) { return static_cast<float>((y * 4 + x) * 2 + 1); };
  const Texel t = fetch("gather2", object, {{2.25f, 1.75f}})[0];
  EXPECT_EQ(t.f[0], green(1, 2));
  EXPECT_EQ(t.f[1], green(2, 2));
  EXPECT_EQ(t.f[2], green(2, 1));
  EXPECT_EQ(t.f[3], green(1, 1));
  const Texel q = fetch("query", object, {{}})[0];
  EXPECT_EQ(q.word(0), 4u);
  EXPECT_EQ(q.word(1), 3u);
  EXPECT_EQ(q.word(2), 1u);
  EXPECT_EQ(q.word(3), 0u);
  EXPECT_OK(cuTexObjectDestroy(object));
  EXPECT_OK(cuArrayDestroy(array));
}

TEST_F(TextureObject, DescriptionsComeBackAndBadOnesAreRefused) {
  const CUarray array = create({4, 4, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, 0});
  const CUDA_RESOURCE_DESC resource = resourceOf(array);
  CUDA_TEXTURE_DESC wanted =
      sampling(CU_TR_ADDRESS_MODE_MIRROR, CU_TR_FILTER_MODE_POINT, kNormalized);
  wanted.borderColor[2] = 3;
  CUtexObject object = texture(resource, wanted);
  CUDA_RESOURCE_DESC found_resource{};
  CUDA_TEXTURE_DESC found{};
  CUDA_RESOURCE_VIEW_DESC found_view{};
  EXPECT_OK(cuTexObjectGetResourceDesc(&found_resource, object));
  EXPECT_EQ(found_resource.res.array.hArray, array);
  EXPECT_OK(cuTexObjectGetTextureDesc(&found, object));
  EXPECT_EQ(found.addressMode[1], CU_TR_ADDRESS_MODE_MIRROR);
  EXPECT_EQ(found.borderColor[2], 3);
  EXPECT_CUDA(cuTexObjectGetResourceViewDesc(&found_view, object), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuTexObjectGetTextureDesc(nullptr, object), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuTexObjectDestroy(object));
  EXPECT_CUDA(cuTexObjectDestroy(object), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuTexObjectGetTextureDesc(&found, object), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuTexObjectDestroy(0), CUDA_ERROR_INVALID_VALUE);

  using Change = void (*)(CUDA_RESOURCE_DESC&, CUDA_TEXTURE_DESC&);
  const Change changes[] = {
      [](CUDA_RESOURCE_DESC& r, CUDA_TEXTURE_DESC&) { r.flags = 1; },
      [](CUDA_RESOURCE_DESC& r, CUDA_TEXTURE_DESC&) { r.resType = CUresourcetype(3); },
      [](CUDA_RESOURCE_DESC&, CUDA_TEXTURE_DESC& t) { t.flags = 0x1000; },
      [](CUDA_RESOURCE_DESC&, CUDA_TEXTURE_DESC& t) { t.filterMode = CU_TR_FILTER_MODE_LINEAR; },
      [](CUDA_RESOURCE_DESC&, CUDA_TEXTURE_DESC& t) { t.flags |= CU_TRSF_SEAMLESS_CUBEMAP; },
  };
  for (Change change : changes) {
    CUDA_RESOURCE_DESC r = resource;
    CUDA_TEXTURE_DESC t = wanted;
    change(r, t);
    EXPECT_CUDA(cuTexObjectCreate(&object, &r, &t, nullptr), CUDA_ERROR_INVALID_VALUE);
  }
  EXPECT_CUDA(cuTexObjectCreate(nullptr, &resource, &wanted, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuTexObjectCreate(&object, nullptr, &wanted, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuTexObjectCreate(&object, &resource, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuArrayDestroy(array));
  EXPECT_BAD_HANDLE(cuTexObjectCreate(&object, &resource, &wanted, nullptr),
                    CUDA_ERROR_INVALID_HANDLE);
}

// Numbers that are none, and infinities, choose some texel; nothing outside is read.
TEST_F(TextureObject, StrangeCoordinatesStayInside) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const CUDA_ARRAY3D_DESCRIPTOR wanted{4, 4, 0, CU_AD_FORMAT_FLOAT, 1, 0};
  CUmipmappedArray mipmaps = nullptr;
  ASSERT_OK(cuMipmappedArrayCreate(&mipmaps, &wanted, 3));
  for (unsigned level = 0; level < 3; ++level) {
    CUarray array = nullptr;
    ASSERT_OK(cuMipmappedArrayGetLevel(&array, mipmaps, level));
    const std::vector<float> texels(16, 5.0f);
    fill(array, texels.data(), 4 * (4u >> level), 4 >> level);
  }
  const float strange[] = {inf, -inf, nan, 1e30f, -1e30f, 0.0f};
  std::vector<Point> points;
  for (float x : strange) {
    for (float y : strange) {
      for (float level : strange) points.push_back({x, y, 0, level});
    }
  }
  for (int mode = 0; mode < 3; ++mode) {
    CUDA_TEXTURE_DESC d =
        sampling(static_cast<CUaddress_mode>(mode), CU_TR_FILTER_MODE_LINEAR, kNormalized);
    d.mipmapFilterMode = CU_TR_FILTER_MODE_LINEAR;
    for (float bias : strange) {
      d.mipmapLevelBias = bias;
      const CUtexObject object = texture(resourceOf(mipmaps), d);
      for (const Texel& t : fetch("level2", object, points)) ASSERT_EQ(t.f[0], 5.0f);
      EXPECT_OK(cuTexObjectDestroy(object));
    }
  }
  EXPECT_OK(cuMipmappedArrayDestroy(mipmaps));
}

// A program may destroy a texture right behind the launch that reads it; the array it must keep.
TEST_F(TextureObject, IsThereForTheLaunchesBeforeItsEnd) {
  const float texel = 42;
  const CUarray array = create({1, 1, 0, CU_AD_FORMAT_FLOAT, 1, 0});
  fill(array, &texel, 4, 1);
  CUfunction function = nullptr;
  ASSERT_OK(cuModuleGetFunction(&function, module_, "fetch2"));
  CUdeviceptr out = allocate(sizeof(Texel)), in = allocate(sizeof(Point));
  EXPECT_OK(cuMemsetD8_v2(in, 0, sizeof(Point)));
  unsigned count = 1;
  for (int round = 0; round < 20; ++round) {
    CUtexObject object =
        texture(resourceOf(array), sampling(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_POINT, 0));
    void* params[] = {&out, &object, &in, &count};
    EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
    EXPECT_OK(cuTexObjectDestroy(object));
  }
  Texel got{};
  EXPECT_OK(cuMemcpyDtoH_v2(&got, out, sizeof got));
  EXPECT_EQ(got.f[0], 42);
  EXPECT_OK(cuMemFree_v2(in));
  EXPECT_OK(cuMemFree_v2(out));
  EXPECT_OK(cuArrayDestroy(array));
}

// Its context's end is its end, and another context does not know it.
TEST_F(TextureObject, BelongsToItsContext) {
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&second, 0, device_));
  const CUarray array = create({1, 1, 0, CU_AD_FORMAT_FLOAT, 1, 0});
  const CUtexObject object =
      texture(resourceOf(array), sampling(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_POINT, 0));
  ASSERT_OK(cuCtxSetCurrent(context_));
  EXPECT_CUDA(cuTexObjectDestroy(object), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuCtxDestroy_v2(second));
  CUDA_TEXTURE_DESC found{};
  EXPECT_CUDA(cuTexObjectGetTextureDesc(&found, object), CUDA_ERROR_INVALID_VALUE);
}

// A kernel that reads a texture that is none ends with an error, not the process.
TEST_F(TextureObject, ThatIsNoneEndsTheKernel) {
  CUfunction function = nullptr;
  ASSERT_OK(cuModuleGetFunction(&function, module_, "fetch2"));
  CUdeviceptr out = allocate(sizeof(Texel)), in = allocate(sizeof(Point));
  CUtexObject object = 0x123450;
  unsigned count = 1;
  void* params[] = {&out, &object, &in, &count};
  EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  module_ = nullptr;  // it ends with its context, which takes no more calls
}

}  // namespace
}  // namespace farwarp::conformance
