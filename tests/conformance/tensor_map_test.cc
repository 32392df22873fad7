// Goal: tensor maps are encoded where the kernels run, refused as the manual of the driver API
// says, and kernels copy boxes of tensors with them in both directions. Method: PTX kernels that
// copy one box through shared memory; each element is computed again here from its coordinates.
#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

struct alignas(64) Map {
  CUtensorMap map;
};

// A tiled map as the manual describes it, to be changed.
struct Description {
  CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_UINT32;
  cuuint32_t rank = 2;
  CUdeviceptr address = 0;
  cuuint64_t dims[5] = {20, 10, 1, 1, 1};
  cuuint64_t strides[4] = {96, 0, 0, 0};
  cuuint32_t box[5] = {8, 4, 1, 1, 1};
  cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  CUtensorMapInterleave interleave = CU_TENSOR_MAP_INTERLEAVE_NONE;
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
  CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_NONE;
  CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;

  CUresult encode(CUtensorMap* map) {
    return cuTensorMapEncodeTiled(map, type, rank, reinterpret_cast<void*>(address), dims, strides,
                                  box, steps, interleave, swizzle, promotion, fill);
  }
};

class TensorMap : public ConformanceTest {
 protected:
  void TearDown() override {
    if (module_ != nullptr) cuModuleUnload(module_);
    ConformanceTest::TearDown();
  }

  // A kernel with the map by value, which loads the box at its coordinates and writes its `bytes`
  // to `out`, or with `back` stores `bytes` of `in` there.
  void loadKernel(const std::string& shape, const std::string& coordinates, unsigned bytes,
                  const std::string& back, const std::string& offsets = "") {
    const std::string count = std::to_string(bytes);
    const std::string text =
        ".version 8.0\n.target sm_90\n.address_size 64\n"
        R"(.visible .entry k(.param .align 64 .b8 map[128], .param .u64 o, .param .u32 a, .param .u32 b) {
        .reg .u64 %m, %o, %p, %s; .reg .b32 %x, %y, %i, %v, %d, %w; .reg .pred %g, %t;
        .reg .b16 %h<2>;
        .shared .align 1024 .b8 box[8192]; .shared .align 8 .b64 bar;
        mov.b64 %m, map; cvta.param.u64 %m, %m;
        ld.param.u64 %o, [o]; ld.param.u32 %x, [a]; ld.param.u32 %y, [b]; mov.u32 %i, %tid.x;
        setp.ne.u32 %t, %i, 0; mov.b16 %h0, 0; mov.b16 %h1, 0;
      )" +
        (back.empty() ? "@!%t mbarrier.init.shared.b64 [bar], 1; bar.sync 0; @%t bra WAIT;\n"
                        "mbarrier.arrive.expect_tx.shared.b64 _, [bar], " +
                            count + ";\n" + "cp.async.bulk.tensor." + shape +
                            ".mbarrier::complete_tx::bytes [box], [%m, " + coordinates +
                            "], [bar]" + offsets +
                            ";\nWAIT: mbarrier.try_wait.parity.shared.b64 %g, [bar], 0;\n"
                            "@!%g bra WAIT;\n"
                      : "") +
        R"(mov.u32 %d, box; shl.b32 %v, %i, 2;
        LOOP: setp.ge.u32 %g, %v, )" +
        count + R"(; @%g bra DONE;
        add.u32 %w, %d, %v; cvt.u64.u32 %p, %v; add.u64 %p, %o, %p;
      )" +
        (back.empty() ? "ld.shared.b32 %w, [%w]; st.global.b32 [%p], %w;\n"
                      : ".reg .b32 %q; ld.global.b32 %q, [%p]; st.shared.b32 [%w], %q;\n") +
        R"(add.u32 %v, %v, 256; bra LOOP;
        DONE: bar.sync 0;
      )" +
        (back.empty() ? "" : "@%t ret; " + back + "\n") + "ret; }\n";
    ASSERT_OK(cuModuleLoadData(&module_, text.c_str()));
    ASSERT_OK(cuModuleGetFunction(&function_, module_, "k"));
  }

  std::vector<uint32_t> loadBox(const CUtensorMap& map, unsigned bytes, int x, int y) {
    CUdeviceptr out = allocate(bytes);
    EXPECT_OK(cuMemsetD8_v2(out, 0xee, bytes));
    launch(map, out, x, y);
    std::vector<uint32_t> box(bytes / 4);
    EXPECT_OK(cuMemcpyDtoH_v2(box.data(), out, bytes));
    EXPECT_OK(cuMemFree_v2(out));
    return box;
  }
  void launch(const CUtensorMap& map, CUdeviceptr memory, int x, int y) {
    void* params[] = {const_cast<CUtensorMap*>(&map), &memory, &x, &y};
    EXPECT_OK(cuLaunchKernel(function_, 1, 1, 1, 64, 1, 1, 0, nullptr, params, nullptr));
  }

  // `words` 32-bit numbers from 1 on.
  CUdeviceptr numbers(size_t words) {
    std::vector<uint32_t> values(words);
    for (size_t k = 0; k < words; ++k) values[k] = static_cast<uint32_t>(k + 1);
    const CUdeviceptr memory = allocate(words * 4);
    EXPECT_OK(cuMemcpyHtoD_v2(memory, values.data(), words * 4));
    return memory;
  }

  CUmodule module_ = nullptr;
  CUfunction function_ = nullptr;
};

TEST_F(TensorMap, LoadsBoxesAndFillsWhatIsOutside) {
  loadKernel("2d.shared::cluster.global.tile", "{%x, %y}", 8 * 4 * 4, "");
  Description d;
  d.address = numbers(24 * 10);
  Map m;
  ASSERT_OK(d.encode(&m.map));
  for (const auto& [x, y] : {std::pair{0, 0}, {5, 3}, {15, 8}, {-3, -2}, {19, 9}, {100, 0}}) {
    const auto box = loadBox(m.map, 128, x, y);
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 8; ++c) {
        const int tx = x + c, ty = y + r;
        const bool inside = tx >= 0 && tx < 20 && ty >= 0 && ty < 10;
        ASSERT_EQ(box[r * 8 + c], inside ? static_cast<uint32_t>(ty * 24 + tx + 1) : 0)
            << x << ", " << y << " element " << c << ", " << r;
      }
    }
  }
  // Another address, and NaN for what is outside of a tensor of floats.
  ASSERT_OK(cuTensorMapReplaceAddress(&m.map, reinterpret_cast<void*>(d.address + 96)));
  EXPECT_EQ(loadBox(m.map, 128, 0, 0)[0], 25u);
  d.type = CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  d.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
  ASSERT_OK(d.encode(&m.map));
  const uint32_t bits = loadBox(m.map, 128, -1, 0)[0];
  EXPECT_GT(bits & 0x7fffffff, 0x7f800000u);
  EXPECT_OK(cuMemFree_v2(d.address));
}

TEST_F(TensorMap, StepsOverElementsAndSwizzles) {
  loadKernel("2d.shared::cluster.global", "{%x, %y}", 32 * 4 * 4, "");
  Description d;
  d.dims[0] = 64, d.dims[1] = 32, d.strides[0] = 256;
  d.box[0] = 32, d.box[1] = 8, d.steps[1] = 2;  // every other row: 4 of them
  d.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  d.address = numbers(64 * 32);
  Map m;
  ASSERT_OK(d.encode(&m.map));
  const auto box = loadBox(m.map, 512, 16, 3);
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 32; ++c) {
      const int chunk = (c / 4) ^ r;  // 16 bytes each, exchanged by the number of the row
      EXPECT_EQ(box[r * 32 + chunk * 4 + c % 4],
                static_cast<uint32_t>((3 + 2 * r) * 64 + 16 + c + 1));
    }
  }
  EXPECT_OK(cuMemFree_v2(d.address));
}

TEST_F(TensorMap, FiveDimensions) {
  loadKernel("5d.shared::cluster.global", "{%x, %y, %y, %x, %y}", 4 * 2 * 2 * 2 * 2 * 4, "");
  Description d;
  d.rank = 5;
  const cuuint64_t dims[5] = {8, 4, 4, 3, 3};
  cuuint64_t stride = 32;
  for (int k = 0; k < 5; ++k) d.dims[k] = dims[k], d.box[k] = k == 0 ? 4 : 2;
  for (int k = 0; k < 4; ++k, stride *= dims[k]) d.strides[k] = stride;
  d.address = numbers(8 * 4 * 4 * 3 * 3);
  Map m;
  ASSERT_OK(d.encode(&m.map));
  const auto box = loadBox(m.map, 256, 2, 1);
  const int at[5] = {2, 1, 1, 2, 1};
  for (int k = 0; k < 64; ++k) {
    const int c[5] = {at[0] + k % 4, at[1] + k / 4 % 2, at[2] + k / 8 % 2, at[3] + k / 16 % 2,
                      at[4] + k / 32 % 2};
    const bool inside = c[3] < 3;
    const int index = (((c[4] * 3 + c[3]) * 4 + c[2]) * 4 + c[1]) * 8 + c[0];
    EXPECT_EQ(box[k], inside ? static_cast<uint32_t>(index + 1) : 0) << k;
  }
  EXPECT_OK(cuMemFree_v2(d.address));
}

TEST_F(TensorMap, StoresAndReducesOnlyWhatIsInside) {
  const std::string commit = " cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;";
  for (const bool adds : {false, true}) {
    loadKernel("", "", 8 * 4 * 4,
               adds ? "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group "
                      "[%m, {%x, %y}], [box];" +
                          commit
                    : "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%m, {%x, %y}], "
                      "[box];" +
                          commit);
    Description d;
    d.address = numbers(24 * 10);
    Map m;
    ASSERT_OK(d.encode(&m.map));
    std::vector<uint32_t> source(32, 1000), after(240);
    const CUdeviceptr in = allocate(128);
    EXPECT_OK(cuMemcpyHtoD_v2(in, source.data(), 128));
    launch(m.map, in, 16, 8);
    EXPECT_OK(cuMemcpyDtoH_v2(after.data(), d.address, 960));
    for (int y = 0; y < 10; ++y) {
      for (int x = 0; x < 24; ++x) {
        const auto before = static_cast<uint32_t>(y * 24 + x + 1);
        const bool touched = x >= 16 && x < 20 && y >= 8;
        EXPECT_EQ(after[y * 24 + x], !touched ? before : adds ? before + 1000 : 1000);
      }
    }
    EXPECT_OK(cuMemFree_v2(in));
    EXPECT_OK(cuMemFree_v2(d.address));
    EXPECT_OK(cuModuleUnload(module_));
    module_ = nullptr;
  }
}

// A tensor of pixels with channels: the walk goes on in the next row of the bounding box, then in
// the next image, and pixels in the padding are zero.
TEST_F(TensorMap, Im2colWalksOverPixels) {
  loadKernel("4d.shared::cluster.global.im2col", "{0, %x, %y, 0}", 12 * 4 * 4, "", ", {%h0, %h1}");
  constexpr int kChannels = 4, kWidth = 3, kHeight = 3, kImages = 2;
  const CUdeviceptr memory = numbers(kChannels * kWidth * kHeight * kImages);
  const cuuint64_t dims[4] = {kChannels, kWidth, kHeight, kImages};
  const cuuint64_t strides[3] = {16, 48, 144};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  // A filter of 3 x 3 with a padding of 1: its corner goes from -1 to size - 2.
  const int lower[2] = {-1, -1}, upper[2] = {-1, -1};
  Map m;
  ASSERT_OK(cuTensorMapEncodeIm2col(
      &m.map, CU_TENSOR_MAP_DATA_TYPE_UINT32, 4, reinterpret_cast<void*>(memory), dims, strides,
      lower, upper, kChannels, 12, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
      CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  const auto box = loadBox(m.map, 12 * 16, -1, 0);
  int w = -1, h = 0, n = 0;
  for (int pixel = 0; pixel < 12; ++pixel) {
    const bool inside = w >= 0 && h >= 0;
    for (int c = 0; c < kChannels; ++c) {
      const int index = ((n * kHeight + h) * kWidth + w) * kChannels + c;
      EXPECT_EQ(box[pixel * kChannels + c], inside ? static_cast<uint32_t>(index + 1) : 0)
          << "pixel " << pixel;
    }
    if (++w > kWidth - 2) w = -1, ++h;
    if (h > kHeight - 2) h = -1, ++n;
  }
  EXPECT_OK(cuMemFree_v2(memory));
}

// Of devices of compute capability 10, and none of those that are tried has it.
TEST_F(TensorMap, TheWideFormIsRefused) {
  const CUdeviceptr memory = allocate(4096);
  const cuuint64_t dims[] = {4, 8, 8, 2}, strides[] = {16, 128, 1024};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  Map m;
  const CUresult result = cuTensorMapEncodeIm2colWide(
      &m.map, CU_TENSOR_MAP_DATA_TYPE_UINT32, 4, reinterpret_cast<void*>(memory), dims, strides, 0,
      0, 4, 16, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_IM2COL_WIDE_MODE_W,
      CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (!realDriver()) {
    EXPECT_CUDA(result, CUDA_ERROR_NOT_SUPPORTED);
  }
  EXPECT_OK(cuMemFree_v2(memory));
}

TEST_F(TensorMap, RefusesWhatTheManualRefuses) {
  const CUdeviceptr memory = allocate(4096);
  using Change = void (*)(Description&);
  const Change changes[] = {
      [](Description& d) { d.rank = 0; },
      [](Description& d) { d.rank = 6; },
      [](Description& d) { d.address += 8; },
      [](Description& d) { d.dims[1] = 0; },
      [](Description& d) { d.dims[0] = (cuuint64_t{1} << 32) + 1; },
      [](Description& d) { d.strides[0] = 100; },
      [](Description& d) { d.strides[0] = cuuint64_t{1} << 40; },
      [](Description& d) { d.box[0] = 3; },
      [](Description& d) { d.box[1] = 257; },
      [](Description& d) { d.box[0] = 0; },
      [](Description& d) { d.steps[1] = 0; },
      [](Description& d) { d.steps[1] = 9; },
      [](Description& d) { d.swizzle = CU_TENSOR_MAP_SWIZZLE_32B, d.box[0] = 16; },
      [](Description& d) { d.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA; },
      [](Description& d) { d.interleave = CU_TENSOR_MAP_INTERLEAVE_16B; },
  };
  Map m{};
  for (Change change : changes) {
    Description d;
    d.address = memory;
    change(d);
    EXPECT_CUDA(d.encode(&m.map), CUDA_ERROR_INVALID_VALUE);
  }
  Description good;
  good.address = memory;
  EXPECT_CUDA(good.encode(nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(good.encode(&m.map));
  EXPECT_CUDA(cuTensorMapReplaceAddress(&m.map, reinterpret_cast<void*>(memory + 4)),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuTensorMapReplaceAddress(nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFree_v2(memory));
}

// What is no tensor map ends the kernel with an error; nothing is read by what its bytes say.
TEST_F(TensorMap, ThatIsNoneEndsTheKernel) {
  loadKernel("2d.shared::cluster.global.tile", "{%x, %y}", 128, "");
  Map m;
  std::memset(static_cast<void*>(&m), 0x5a, sizeof m);
  CUdeviceptr out = allocate(128);
  launch(m.map, out, 0, 0);
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_INSTRUCTION);
  module_ = nullptr;  // it ends with its context, which takes no more calls
}

}  // namespace
}  // namespace farwarp::conformance
