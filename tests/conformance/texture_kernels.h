// Kernels that fetch from textures, written as PTX, and arrays to fetch from.
#pragma once

#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {

using Bytes = std::vector<unsigned char>;

// One fetch: which of the numbers count is the kernel's business.
struct Point {
  float x = 0, y = 0, z = 0, level = 0;
  int layer = 0;
  int unused[3] = {};
};

struct Texel {
  float f[4];
  uint32_t word(int k) const {
    uint32_t bits;
    std::memcpy(&bits, &f[k], 4);
    return bits;
  }
};

class TextureTest : public ConformanceTest {
 protected:
  // Kernel `name`: each thread executes `instruction`, whose result is {%f0, %f1, %f2, %f3}.
  // Its texture is %t; %x, %y, %z, %w (the level) and %l are its point; %i is its number.
  static std::string kernel(const std::string& name, const std::string& instruction) {
    return ".visible .entry " + name +
           R"((.param .u64 o, .param .u64 t, .param .u64 p, .param .u32 n) {
      .reg .u64 %o, %t, %p, %a; .reg .b32 %i, %n, %l, %ix, %iy, %f<4>; .reg .f32 %x, %y, %z, %w;
      .reg .pred %g, %h;
      ld.param.u64 %o, [o]; ld.param.u64 %t, [t]; ld.param.u64 %p, [p]; ld.param.u32 %n, [n];
      mov.u32 %i, %tid.x; setp.ge.u32 %g, %i, %n; @%g ret;
      mad.wide.u32 %a, %i, 32, %p; ld.global.v4.f32 {%x, %y, %z, %w}, [%a];
      ld.global.b32 %l, [%a+16]; cvt.rzi.s32.f32 %ix, %x; cvt.rzi.s32.f32 %iy, %y;
      )" + instruction +
           R"( mad.wide.u32 %a, %i, 16, %o; st.global.v4.b32 [%a], {%f0, %f1, %f2, %f3}; ret; }
)";
  }
  static std::string header() { return ".version 8.0\n.target sm_80\n.address_size 64\n"; }

  void load(const std::string& kernels) {
    ASSERT_OK(cuModuleLoadData(&module_, (header() + kernels).c_str()));
  }
  void TearDown() override {
    if (module_ != nullptr) cuModuleUnload(module_);
    ConformanceTest::TearDown();
  }

  // What kernel `name` fetches from `texture` at each of up to 1024 points.
  std::vector<Texel> fetch(const char* name, CUtexObject texture,
                           const std::vector<Point>& points) {
    CUfunction function = nullptr;
    EXPECT_OK(cuModuleGetFunction(&function, module_, name));
    CUdeviceptr out = allocate(points.size() * sizeof(Texel));
    CUdeviceptr in = allocate(points.size() * sizeof(Point));
    EXPECT_OK(cuMemcpyHtoD_v2(in, points.data(), points.size() * sizeof(Point)));
    auto count = static_cast<unsigned>(points.size());
    void* params[] = {&out, &texture, &in, &count};
    EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, (count + 31) / 32 * 32, 1, 1, 0, nullptr, params,
                             nullptr));
    std::vector<Texel> texels(points.size());
    EXPECT_OK(cuMemcpyDtoH_v2(texels.data(), out, texels.size() * sizeof(Texel)));
    EXPECT_OK(cuMemFree_v2(in));
    EXPECT_OK(cuMemFree_v2(out));
    return texels;
  }

  CUarray create(const CUDA_ARRAY3D_DESCRIPTOR& wanted) {
    CUarray array = nullptr;
    EXPECT_OK(cuArray3DCreate_v2(&array, &wanted));
    return array;
  }
  // Copies tightly packed rows into all of an array.
  static void fill(CUarray array, const void* data, size_t row_bytes, size_t height = 1,
                   size_t depth = 1) {
    CUDA_MEMCPY3D p{};
    p.srcMemoryType = CU_MEMORYTYPE_HOST, p.srcHost = data;
    p.srcPitch = row_bytes, p.srcHeight = height;
    p.dstMemoryType = CU_MEMORYTYPE_ARRAY, p.dstArray = array;
    p.WidthInBytes = row_bytes, p.Height = height, p.Depth = depth;
    EXPECT_OK(cuMemcpy3D_v2(&p));
  }
  static std::vector<float> values(size_t count, unsigned seed) {
    const Bytes bytes = pattern(count, seed);
    std::vector<float> out;
    for (unsigned char byte : bytes) out.push_back(static_cast<float>(byte) - 100.25f);
    return out;
  }

  static CUDA_RESOURCE_DESC resourceOf(CUarray array) {
    CUDA_RESOURCE_DESC resource{};
    resource.resType = CU_RESOURCE_TYPE_ARRAY;
    resource.res.array.hArray = array;
    return resource;
  }
  static CUDA_RESOURCE_DESC resourceOf(CUmipmappedArray array) {
    CUDA_RESOURCE_DESC resource{};
    resource.resType = CU_RESOURCE_TYPE_MIPMAPPED_ARRAY;
    resource.res.mipmap.hMipmappedArray = array;
    return resource;
  }
  static CUDA_TEXTURE_DESC sampling(CUaddress_mode mode, CUfilter_mode filter, unsigned flags) {
    CUDA_TEXTURE_DESC description{};
    for (CUaddress_mode& m : description.addressMode) m = mode;
    description.filterMode = filter;
    description.flags = flags;
    description.maxMipmapLevelClamp = 100;
    return description;
  }
  CUtexObject texture(const CUDA_RESOURCE_DESC& resource, const CUDA_TEXTURE_DESC& description) {
    CUtexObject object = 0;
    EXPECT_OK(cuTexObjectCreate(&object, &resource, &description, nullptr));
    return object;
  }

  CUmodule module_ = nullptr;
};

}  // namespace farwarp::conformance
