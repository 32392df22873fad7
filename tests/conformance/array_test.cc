// Goal: CUDA arrays keep what copies of one, two and three dimensions put into them, in every
// direction, and refuse what CUDA refuses. Method: each copy is compared with a loop over its
// bytes; sizes on both sides of what travels in a record and in a chunk of a bulk transfer.
#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

using Bytes = std::vector<unsigned char>;

class ArrayTest : public ConformanceTest {
 protected:
  CUarray create(size_t width, size_t height, size_t depth, CUarray_format format,
                 unsigned channels, unsigned flags = 0) {
    CUarray array = nullptr;
    const CUDA_ARRAY3D_DESCRIPTOR wanted{width, height, depth, format, channels, flags};
    EXPECT_OK(cuArray3DCreate_v2(&array, &wanted));
    return array;
  }
  // A copy of whole rows between an array and tightly packed memory.
  static CUDA_MEMCPY3D copyOf(size_t row_bytes, size_t height, size_t depth) {
    CUDA_MEMCPY3D p{};
    p.WidthInBytes = row_bytes, p.Height = height, p.Depth = depth;
    p.srcPitch = p.dstPitch = row_bytes, p.srcHeight = p.dstHeight = height;
    return p;
  }
  static void fromHost(CUDA_MEMCPY3D& p, const Bytes& bytes) {
    p.srcMemoryType = CU_MEMORYTYPE_HOST, p.srcHost = bytes.data();
  }
  static void toHost(CUDA_MEMCPY3D& p, Bytes& bytes) {
    p.dstMemoryType = CU_MEMORYTYPE_HOST, p.dstHost = bytes.data();
  }
  static void fromArray(CUDA_MEMCPY3D& p, CUarray array) {
    p.srcMemoryType = CU_MEMORYTYPE_ARRAY, p.srcArray = array;
  }
  static void toArray(CUDA_MEMCPY3D& p, CUarray array) {
    p.dstMemoryType = CU_MEMORYTYPE_ARRAY, p.dstArray = array;
  }
};

TEST_F(ArrayTest, ThereAndBackInThreeDimensions) {
  const struct {
    size_t width, height, depth;
    CUarray_format format;
    unsigned channels;
    size_t element_bytes;
  } cases[] = {
      {5, 4, 3, CU_AD_FORMAT_UNSIGNED_INT8, 1, 1}, {64, 0, 0, CU_AD_FORMAT_FLOAT, 4, 16},
      {127, 65, 0, CU_AD_FORMAT_HALF, 4, 8},      // just over what a record holds
      {301, 203, 11, CU_AD_FORMAT_FLOAT, 2, 8},   // chunks of 1 MiB cut rows and slices
      {16384, 70, 0, CU_AD_FORMAT_FLOAT, 4, 16},  // four rows in a chunk
  };
  for (const auto& c : cases) {
    const size_t row = c.width * c.element_bytes;
    const size_t height = std::max<size_t>(c.height, 1), depth = std::max<size_t>(c.depth, 1);
    const CUarray array = create(c.width, c.height, c.depth, c.format, c.channels);
    const Bytes in = pattern(row * height * depth, 21);
    Bytes out(in.size());
    CUDA_MEMCPY3D p = copyOf(row, height, depth);
    fromHost(p, in);
    toArray(p, array);
    EXPECT_OK(cuMemcpy3D_v2(&p));
    p = copyOf(row, height, depth);
    fromArray(p, array);
    toHost(p, out);
    EXPECT_OK(cuMemcpy3D_v2(&p));
    EXPECT_EQ(in, out);
    EXPECT_OK(cuArrayDestroy(array));
  }
}

TEST_F(ArrayTest, APartOfAnArrayBetweenPitchedMemory) {
  const CUarray array = create(20, 10, 6, CU_AD_FORMAT_SIGNED_INT16, 2);  // rows of 80 bytes
  const Bytes before = pattern(80 * 10 * 6, 22), part = pattern(100 * 9 * 4, 23);
  CUDA_MEMCPY3D p = copyOf(80, 10, 6);
  fromHost(p, before);
  toArray(p, array);
  EXPECT_OK(cuMemcpy3D_v2(&p));

  // 5 elements x 7 rows x 3 slices, from device memory with gaps.
  const CUdeviceptr device = upload(part);
  p = copyOf(20, 7, 3);
  p.srcMemoryType = CU_MEMORYTYPE_DEVICE, p.srcDevice = device;
  p.srcPitch = 100, p.srcHeight = 9, p.srcXInBytes = 3, p.srcY = 1, p.srcZ = 1;
  toArray(p, array);
  p.dstXInBytes = 16, p.dstY = 2, p.dstZ = 3;
  EXPECT_OK(cuMemcpy3D_v2(&p));
  Bytes expected = before;
  for (size_t z = 0; z < 3; ++z) {
    for (size_t y = 0; y < 7; ++y) {
      std::memcpy(&expected[((z + 3) * 10 + y + 2) * 80 + 16],
                  &part[((z + 1) * 9 + y + 1) * 100 + 3], 20);
    }
  }
  Bytes after(before.size());
  p = copyOf(80, 10, 6);
  fromArray(p, array);
  toHost(p, after);
  EXPECT_OK(cuMemcpy3D_v2(&p));
  EXPECT_EQ(after, expected);

  // One slice to another array, in two dimensions there.
  const CUarray flat = create(20, 10, 0, CU_AD_FORMAT_SIGNED_INT16, 2);
  p = copyOf(80, 10, 1);
  fromArray(p, array);
  p.srcZ = 4;
  toArray(p, flat);
  EXPECT_OK(cuMemcpy3D_v2(&p));
  Bytes slice(800);
  CUDA_MEMCPY2D q{};
  q.srcMemoryType = CU_MEMORYTYPE_ARRAY, q.srcArray = flat;
  q.dstMemoryType = CU_MEMORYTYPE_HOST, q.dstHost = slice.data(), q.dstPitch = 80;
  q.WidthInBytes = 80, q.Height = 10;
  EXPECT_OK(cuMemcpy2D_v2(&q));
  EXPECT_EQ(slice, Bytes(expected.begin() + 4 * 800, expected.begin() + 5 * 800));
  EXPECT_OK(cuArrayDestroy(array));
  EXPECT_OK(cuArrayDestroy(flat));
  EXPECT_OK(cuMemFree_v2(device));
}

TEST_F(ArrayTest, CopiesOfOneDimension) {
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
  const size_t bytes = 100000;
  const CUarray array = create(bytes / 4, 0, 0, CU_AD_FORMAT_FLOAT, 1);
  const CUarray other = create(bytes / 4, 0, 0, CU_AD_FORMAT_FLOAT, 1);
  const Bytes in = pattern(bytes, 24);
  Bytes out(bytes);
  EXPECT_OK(cuMemcpyHtoA_v2(array, 0, in.data(), bytes));
  EXPECT_OK(cuMemcpyAtoA_v2(other, 8, array, 4, bytes - 8));
  EXPECT_OK(cuMemcpyAtoH_v2(out.data(), other, 8, bytes - 8));
  out.resize(bytes - 8);
  EXPECT_EQ(out, Bytes(in.begin() + 4, in.end() - 4));

  const CUdeviceptr device = allocate(bytes);
  EXPECT_OK(cuMemcpyAtoD_v2(device, array, 0, bytes));
  EXPECT_EQ(download(device, bytes), in);
  EXPECT_OK(cuMemsetD8_v2(device, 5, bytes));
  EXPECT_OK(cuMemcpyDtoA_v2(other, 0, device, bytes));
  out.assign(bytes, 0);
  EXPECT_OK(cuMemcpyAtoHAsync_v2(out.data(), other, 0, bytes, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(out, Bytes(bytes, 5));

  void* pinned = nullptr;
  ASSERT_OK(cuMemHostAlloc(&pinned, bytes, 0));
  EXPECT_OK(cuMemcpyHtoAAsync_v2(other, 0, in.data(), bytes, stream));
  EXPECT_OK(cuMemcpyAtoHAsync_v2(pinned, other, 0, bytes, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(std::memcmp(pinned, in.data(), bytes), 0);
  EXPECT_OK(cuMemFreeHost(pinned));
  EXPECT_OK(cuArrayDestroy(array));
  EXPECT_OK(cuArrayDestroy(other));
  EXPECT_OK(cuMemFree_v2(device));
  EXPECT_OK(cuStreamDestroy_v2(stream));
}

TEST_F(ArrayTest, DescriptorsComeBack) {
  const CUarray array = create(30, 20, 10, CU_AD_FORMAT_UNSIGNED_INT16, 4, CUDA_ARRAY3D_LAYERED);
  CUDA_ARRAY3D_DESCRIPTOR d{};
  EXPECT_OK(cuArray3DGetDescriptor_v2(&d, array));
  EXPECT_EQ(d.Width, 30u);
  EXPECT_EQ(d.Height, 20u);
  EXPECT_EQ(d.Depth, 10u);
  EXPECT_EQ(d.Format, CU_AD_FORMAT_UNSIGNED_INT16);
  EXPECT_EQ(d.NumChannels, 4u);
  EXPECT_EQ(d.Flags, static_cast<unsigned>(CUDA_ARRAY3D_LAYERED));
  EXPECT_OK(cuArrayDestroy(array));

  const CUDA_ARRAY_DESCRIPTOR wanted{7, 9, CU_AD_FORMAT_HALF, 1};
  CUarray flat = nullptr;
  EXPECT_OK(cuArrayCreate_v2(&flat, &wanted));
  CUDA_ARRAY_DESCRIPTOR found{};
  EXPECT_OK(cuArrayGetDescriptor_v2(&found, flat));
  EXPECT_EQ(found.Width, 7u);
  EXPECT_EQ(found.Height, 9u);
  EXPECT_EQ(found.Format, CU_AD_FORMAT_HALF);
  EXPECT_OK(cuArrayDestroy(flat));
}

TEST_F(ArrayTest, RefusesWhatCudaRefuses) {
  CUarray array = nullptr;
  const CUDA_ARRAY3D_DESCRIPTOR good{8, 4, 2, CU_AD_FORMAT_FLOAT, 2, 0};
  using Change = void (*)(CUDA_ARRAY3D_DESCRIPTOR&);
  const Change invalid[] = {
      [](CUDA_ARRAY3D_DESCRIPTOR& d) { d.Width = 0; },
      [](CUDA_ARRAY3D_DESCRIPTOR& d) { d.Width = ~size_t{0}; },
      [](CUDA_ARRAY3D_DESCRIPTOR& d) { d.Height = 0; },
      [](CUDA_ARRAY3D_DESCRIPTOR& d) { d.Depth = 100000; },
      [](CUDA_ARRAY3D_DESCRIPTOR& d) { d.NumChannels = 3; },
      [](CUDA_ARRAY3D_DESCRIPTOR& d) { d.NumChannels = 0; },
      [](CUDA_ARRAY3D_DESCRIPTOR& d) { d.Format = CUarray_format(0x40); },
      [](CUDA_ARRAY3D_DESCRIPTOR& d) { d.Flags = 0x10000; },
  };
  for (Change change : invalid) {
    CUDA_ARRAY3D_DESCRIPTOR d = good;
    change(d);
    EXPECT_CUDA(cuArray3DCreate_v2(&array, &d), CUDA_ERROR_INVALID_VALUE);
  }
  EXPECT_CUDA(cuArray3DCreate_v2(nullptr, &good), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuArray3DCreate_v2(&array, nullptr), CUDA_ERROR_INVALID_VALUE);
  CUDA_ARRAY3D_DESCRIPTOR compressed = good;
  compressed.Format = CU_AD_FORMAT_BC1_UNORM;
  EXPECT_CUDA(cuArray3DCreate_v2(&array, &compressed), CUDA_ERROR_NOT_SUPPORTED);

  ASSERT_OK(cuArray3DCreate_v2(&array, &good));
  const Bytes bytes(4096);
  const struct {
    size_t x, y, z, width, height, depth;
  } outside[] = {{0, 0, 0, 65, 1, 1},         {8, 0, 0, 64, 1, 1}, {0, 1, 0, 8, 4, 1},
                 {0, 0, 1, 8, 1, 2},          {4, 0, 0, 8, 1, 1},  {0, 0, 0, 12, 1, 1},
                 {~size_t{7}, 0, 0, 16, 1, 1}};
  for (const auto& o : outside) {
    CUDA_MEMCPY3D p = copyOf(o.width, o.height, o.depth);
    fromHost(p, bytes);
    toArray(p, array);
    p.dstXInBytes = o.x, p.dstY = o.y, p.dstZ = o.z;
    EXPECT_CUDA(cuMemcpy3D_v2(&p), CUDA_ERROR_INVALID_VALUE);
  }
  EXPECT_CUDA(cuMemcpyHtoA_v2(array, 0, nullptr, 8), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyHtoA_v2(array, 60, bytes.data(), 8), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuArray3DGetDescriptor_v2(nullptr, array), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuArrayDestroy(array));
  CUDA_ARRAY3D_DESCRIPTOR d{};
  EXPECT_BAD_HANDLE(cuArrayDestroy(array), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuArray3DGetDescriptor_v2(&d, array), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuMemcpyHtoA_v2(array, 0, bytes.data(), 8), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuMemcpyHtoA_v2(nullptr, 0, bytes.data(), 8), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_OK(cuCtxSynchronize());
}

// An array ends with its context; its handle names nothing then.
TEST_F(ArrayTest, EndsWithItsContext) {
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&second, 0, device_));
  const CUarray array = create(16, 16, 0, CU_AD_FORMAT_FLOAT, 1);
  EXPECT_OK(cuCtxDestroy_v2(second));
  ASSERT_OK(cuCtxSetCurrent(context_));
  CUDA_ARRAY3D_DESCRIPTOR d{};
  EXPECT_BAD_HANDLE(cuArray3DGetDescriptor_v2(&d, array), CUDA_ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace farwarp::conformance
