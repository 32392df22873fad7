// Goal: kernels read and write arrays through surfaces, byte for byte, and what lies outside is
// handled as the instruction says. Method: PTX kernels of one access per thread; copies of the
// whole array before and after are compared.
#include "tests/conformance/texture_kernels.h"

namespace farwarp::conformance {
namespace {

class SurfaceObject : public TextureTest {
 protected:
  // Reads all of an array into memory.
  static void read(CUarray array, void* data, size_t row_bytes, size_t height = 1,
                   size_t depth = 1) {
    CUDA_MEMCPY3D p{};
    p.dstMemoryType = CU_MEMORYTYPE_HOST, p.dstHost = data;
    p.dstPitch = row_bytes, p.dstHeight = height;
    p.srcMemoryType = CU_MEMORYTYPE_ARRAY, p.srcArray = array;
    p.WidthInBytes = row_bytes, p.Height = height, p.Depth = depth;
    EXPECT_OK(cuMemcpy3D_v2(&p));
  }
  CUsurfObject surface(CUarray array) {
    const CUDA_RESOURCE_DESC resource = resourceOf(array);
    CUsurfObject object = 0;
    EXPECT_OK(cuSurfObjectCreate(&object, &resource));
    return object;
  }
  static constexpr unsigned kSurface = CUDA_ARRAY3D_SURFACE_LDST;
};

// The texel (%ix, %iy) of layer %l: its bytes from %ix * 4.
TEST_F(SurfaceObject, LoadsAndStoresOfEveryGeometry) {
  const std::string done = " mov.b32 %f1, 0; mov.b32 %f2, 0; mov.b32 %f3, 0;";
  const std::string scale = "shl.b32 %ix, %ix, 2; ";
  load(kernel("one", scale +
                         "suld.b.1d.b32.trap %f0, [%t, {%ix}]; add.u32 %f0, %f0, 1; "
                         "sust.b.1d.b32.trap [%t, {%ix}], {%f0};" +
                         done) +
       kernel("two", scale +
                         "suld.b.2d.b32.trap {%f0}, [%t, {%ix, %iy}]; add.u32 %f0, %f0, 2; "
                         "sust.b.2d.b32.trap [%t, {%ix, %iy}], %f0;" +
                         done) +
       kernel("three", scale +
                           "suld.b.3d.b32.trap {%f0}, [%t, {%ix, %iy, %l, %l}]; "
                           "add.u32 %f0, %f0, 3; "
                           "sust.b.3d.b32.trap [%t, {%ix, %iy, %l, %l}], {%f0};" +
                           done) +
       kernel("layers", scale +
                            "suld.b.a2d.b32.trap {%f0}, [%t, {%l, %ix, %iy, %iy}]; "
                            "add.u32 %f0, %f0, 4; "
                            "sust.b.a2d.b32.trap [%t, {%l, %ix, %iy, %iy}], {%f0};" +
                            done) +
       kernel("lines", scale +
                           "suld.b.a1d.b32.trap {%f0}, [%t, {%l, %ix}]; add.u32 %f0, %f0, 5; "
                           "sust.b.a1d.b32.trap [%t, {%l, %ix}], {%f0};" +
                           done) +
       kernel("size",
              "suq.width.b32 %f0, [%t]; suq.height.b32 %f1, [%t]; suq.depth.b32 %f2, [%t]; "
              "suq.array_size.b32 %f3, [%t];"));
  const struct {
    const char* name;
    size_t width, height, depth;
    unsigned flags, added;
  } cases[] = {
      {"one", 9, 0, 0, 0, 1},
      {"two", 5, 4, 0, 0, 2},
      {"three", 5, 4, 3, 0, 3},
      {"layers", 5, 4, 3, CUDA_ARRAY3D_LAYERED, 4},
      {"lines", 7, 0, 3, CUDA_ARRAY3D_LAYERED, 5},
      {"layers", 3, 3, 6, CUDA_ARRAY3D_CUBEMAP, 4},
  };
  for (const auto& c : cases) {
    const size_t height = std::max<size_t>(c.height, 1), depth = std::max<size_t>(c.depth, 1);
    const CUarray array =
        create({c.width, c.height, c.depth, CU_AD_FORMAT_UNSIGNED_INT32, 1, c.flags | kSurface});
    std::vector<uint32_t> before(c.width * height * depth), after(before.size());
    std::vector<Point> points;
    for (size_t k = 0; k < before.size(); ++k) {
      before[k] = static_cast<uint32_t>(1000 * k + c.added);
      Point p;
      p.x = static_cast<float>(k % c.width);
      p.y = static_cast<float>(k / c.width % height);
      p.layer = static_cast<int>(k / c.width / height);
      points.push_back(p);
    }
    fill(array, before.data(), c.width * 4, height, depth);
    const CUsurfObject object = surface(array);
    fetch(c.name, object, points);
    read(array, after.data(), c.width * 4, height, depth);
    for (size_t k = 0; k < before.size(); ++k) {
      ASSERT_EQ(after[k], before[k] + c.added) << c.name << " texel " << k;
    }
    const Texel size = fetch("size", object, {{}})[0];
    EXPECT_EQ(size.word(0), c.width);
    EXPECT_EQ(size.word(1), c.height);
    EXPECT_OK(cuSurfObjectDestroy(object));
    EXPECT_OK(cuArrayDestroy(array));
  }
}

TEST_F(SurfaceObject, WidthsVectorsAndFormats) {
  load(kernel("bytes",
              ".reg .b16 %s<4>; shl.b32 %ix, %ix, 2; "
              "suld.b.2d.v4.b8.trap {%s0, %s1, %s2, %s3}, [%t, {%ix, %iy}]; "
              "sust.b.2d.v4.b8.trap [%t, {%ix, %iy}], {%s3, %s2, %s1, %s0}; "
              "suld.b.2d.b32.trap %f0, [%t, {%ix, %iy}]; "
              "mov.b32 %f1, 0; mov.b32 %f2, 0; mov.b32 %f3, 0;") +
       kernel("wide",
              ".reg .b64 %d<2>; shl.b32 %ix, %ix, 4; "
              "suld.b.2d.v2.b64.trap {%d0, %d1}, [%t, {%ix, %iy}]; "
              "sust.b.2d.v2.b64.trap [%t, {%ix, %iy}], {%d1, %d0}; "
              "suld.b.2d.v4.b32.trap {%f0, %f1, %f2, %f3}, [%t, {%ix, %iy}];") +
       kernel("formatted",
              "sust.p.2d.v4.b32.trap [%t, {%ix, %iy}], {%l, %l, %l, %l}; "
              "mov.b32 %f0, 0; mov.b32 %f1, 0; mov.b32 %f2, 0; mov.b32 %f3, 0;") +
       kernel("reduced",
              "shl.b32 %ix, %ix, 2; sured.b.add.2d.u32.trap [%t, {0, 0}], %l; "
              "sured.b.max.2d.s32.trap [%t, {4, 0}], %l; "
              "mov.b32 %f0, 0; mov.b32 %f1, 0; mov.b32 %f2, 0; mov.b32 %f3, 0;"));
  const CUarray bytes = create({2, 2, 0, CU_AD_FORMAT_UNSIGNED_INT8, 4, kSurface});
  unsigned char texels[16];
  for (int k = 0; k < 16; ++k) texels[k] = static_cast<unsigned char>(k + 200);
  fill(bytes, texels, 8, 2);
  CUsurfObject object = surface(bytes);
  EXPECT_EQ(fetch("bytes", object, {{1, 1}})[0].word(0), 0xd4d5d6d7u);
  fetch("formatted", object, {{0, 0, 0, 0, 1000}});
  read(bytes, texels, 8, 2);
  EXPECT_EQ(texels[0], 255);  // what does not fit becomes the largest
  EXPECT_EQ(texels[3], 255);
  EXPECT_EQ(texels[4], 204);
  EXPECT_EQ(texels[12], 215);
  EXPECT_OK(cuSurfObjectDestroy(object));
  EXPECT_OK(cuArrayDestroy(bytes));

  const CUarray wide = create({2, 1, 0, CU_AD_FORMAT_UNSIGNED_INT32, 4, kSurface});
  const uint32_t words[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  fill(wide, words, 32);
  object = surface(wide);
  const Texel t = fetch("wide", object, {{1, 0}})[0];
  EXPECT_EQ(t.word(0), 7u);
  EXPECT_EQ(t.word(1), 8u);
  EXPECT_EQ(t.word(2), 5u);
  std::vector<Point> points(100);
  for (int k = 0; k < 100; ++k) points[k].layer = k;
  fetch("reduced", object, points);
  uint32_t after[8] = {};
  read(wide, after, 32);
  EXPECT_EQ(after[0], 1u + 4950);
  EXPECT_EQ(after[1], 99u);
  EXPECT_OK(cuSurfObjectDestroy(object));
  EXPECT_OK(cuArrayDestroy(wide));
}

TEST_F(SurfaceObject, OutsideIsClampedOrZero) {
  const std::string done = " mov.b32 %f1, 0; mov.b32 %f2, 0; mov.b32 %f3, 0;";
  load(kernel("zero",
              "shl.b32 %ix, %ix, 2; suld.b.2d.b32.zero %f0, [%t, {%ix, %iy}]; "
              "sust.b.2d.b32.zero [%t, {%ix, %iy}], %l;" +
                  done) +
       kernel("clamp",
              "shl.b32 %ix, %ix, 2; suld.b.2d.b32.clamp %f0, [%t, {%ix, %iy}]; "
              "sust.b.2d.b32.clamp [%t, {%ix, %iy}], %l;" +
                  done));
  const CUarray array = create({2, 2, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, kSurface});
  const uint32_t before[4] = {1, 2, 3, 4};
  uint32_t after[4] = {};
  fill(array, before, 8, 2);
  const CUsurfObject object = surface(array);
  for (const Point& p : {Point{2, 0}, Point{-1, 1}, Point{0, 2}, Point{1, -5}}) {
    EXPECT_EQ(fetch("zero", object, {p})[0].word(0), 0u);
  }
  read(array, after, 8, 2);
  for (int k = 0; k < 4; ++k) EXPECT_EQ(after[k], before[k]);
  EXPECT_EQ(fetch("zero", object, {{1, 1, 0, 0, 9}})[0].word(0), 4u);
  EXPECT_EQ(fetch("clamp", object, {{7, 5, 0, 0, 10}})[0].word(0), 9u);
  EXPECT_EQ(fetch("clamp", object, {{-7, 5, 0, 0, 11}})[0].word(0), 3u);
  read(array, after, 8, 2);
  EXPECT_EQ(after[2], 11u);
  EXPECT_EQ(after[3], 10u);
  EXPECT_OK(cuSurfObjectDestroy(object));
  EXPECT_OK(cuArrayDestroy(array));
}

TEST_F(SurfaceObject, OutsideEndsTheKernelWhereItMustTrap) {
  load(kernel("trap",
              "suld.b.2d.b32.trap %f0, [%t, {%ix, %iy}]; "
              "mov.b32 %f1, 0; mov.b32 %f2, 0; mov.b32 %f3, 0;"));
  const CUarray array = create({2, 2, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, kSurface});
  CUsurfObject object = surface(array);
  CUfunction function = nullptr;
  ASSERT_OK(cuModuleGetFunction(&function, module_, "trap"));
  CUdeviceptr out = allocate(sizeof(Texel)), in = allocate(sizeof(Point));
  const Point outside{8, 0};
  EXPECT_OK(cuMemcpyHtoD_v2(in, &outside, sizeof outside));
  unsigned count = 1;
  void* params[] = {&out, &object, &in, &count};
  EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
  module_ = nullptr;  // it ends with its context, which takes no more calls
}

TEST_F(SurfaceObject, RefusesWhatCudaRefuses) {
  const CUarray plain = create({4, 4, 0, CU_AD_FORMAT_FLOAT, 1, 0});
  const CUarray good = create({4, 4, 0, CU_AD_FORMAT_FLOAT, 1, kSurface});
  CUsurfObject object = 0;
  CUDA_RESOURCE_DESC resource = resourceOf(plain);
  EXPECT_CUDA(cuSurfObjectCreate(&object, &resource), CUDA_ERROR_INVALID_VALUE);
  resource.resType = CU_RESOURCE_TYPE_LINEAR;
  EXPECT_CUDA(cuSurfObjectCreate(&object, &resource), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuSurfObjectCreate(&object, nullptr), CUDA_ERROR_INVALID_VALUE);
  resource = resourceOf(good);
  EXPECT_CUDA(cuSurfObjectCreate(nullptr, &resource), CUDA_ERROR_INVALID_VALUE);
  object = surface(good);
  CUDA_RESOURCE_DESC found{};
  EXPECT_OK(cuSurfObjectGetResourceDesc(&found, object));
  EXPECT_EQ(found.res.array.hArray, good);
  EXPECT_OK(cuSurfObjectDestroy(object));
  EXPECT_CUDA(cuSurfObjectDestroy(object), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuSurfObjectGetResourceDesc(&found, object), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuArrayDestroy(plain));
  EXPECT_OK(cuArrayDestroy(good));
  EXPECT_BAD_HANDLE(cuSurfObjectCreate(&object, &resource), CUDA_ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace farwarp::conformance
