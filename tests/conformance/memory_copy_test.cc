// Goal: copies of two and three dimensions and between contexts move exactly the bytes that CUDA
// says, and refuse what CUDA refuses, at the call. Method: each copy is compared with a loop over
// its bytes, what lies between the rows included; sizes on both sides of what travels in a record
// and in a chunk of a bulk transfer.
#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

using Bytes = std::vector<unsigned char>;

struct Shape {
  size_t width, height, depth;
};

// One end of a copy in pitched memory.
struct End {
  size_t x, y, z;
  size_t pitch, rows;  // of the memory
  size_t bytes(const Shape& box) const { return (z + box.depth) * rows * pitch; }
  size_t at(size_t byte, size_t row, size_t slice) const {
    return ((z + slice) * rows + y + row) * pitch + x + byte;
  }
};

// What `to` holds after the copy.
Bytes expected(Bytes to, const End& to_end, const Bytes& from, const End& from_end,
               const Shape& box) {
  for (size_t slice = 0; slice < box.depth; ++slice) {
    for (size_t row = 0; row < box.height; ++row) {
      for (size_t byte = 0; byte < box.width; ++byte) {
        to[to_end.at(byte, row, slice)] = from[from_end.at(byte, row, slice)];
      }
    }
  }
  return to;
}

CUDA_MEMCPY3D parametersOf(const End& to, const End& from, const Shape& box) {
  CUDA_MEMCPY3D p{};
  p.dstXInBytes = to.x, p.dstY = to.y, p.dstZ = to.z, p.dstPitch = to.pitch, p.dstHeight = to.rows;
  p.srcXInBytes = from.x, p.srcY = from.y, p.srcZ = from.z;
  p.srcPitch = from.pitch, p.srcHeight = from.rows;
  p.WidthInBytes = box.width, p.Height = box.height, p.Depth = box.depth;
  return p;
}

CUDA_MEMCPY2D flat(const CUDA_MEMCPY3D& p) {
  CUDA_MEMCPY2D q{};
  q.dstXInBytes = p.dstXInBytes, q.dstY = p.dstY, q.dstPitch = p.dstPitch;
  q.dstMemoryType = p.dstMemoryType, q.dstHost = p.dstHost, q.dstDevice = p.dstDevice;
  q.srcXInBytes = p.srcXInBytes, q.srcY = p.srcY, q.srcPitch = p.srcPitch;
  q.srcMemoryType = p.srcMemoryType, q.srcHost = p.srcHost, q.srcDevice = p.srcDevice;
  q.WidthInBytes = p.WidthInBytes, q.Height = p.Height;
  return q;
}

class MemoryCopy : public ConformanceTest {
 protected:
  void TearDown() override {
    for (CUdeviceptr address : allocated_) EXPECT_OK(cuMemFree_v2(address));
    ConformanceTest::TearDown();
  }
  CUdeviceptr put(const Bytes& bytes) {
    allocated_.push_back(upload(bytes));
    return allocated_.back();
  }

  std::vector<CUdeviceptr> allocated_;
};

struct Case {
  const char* name;
  Shape box;
  End to, from;
};

const Case kCases[] = {
    {"one row", {100, 1, 1}, {0, 0, 0, 128, 1}, {3, 0, 0, 128, 1}},
    {"rows", {7, 5, 1}, {1, 2, 0, 16, 7}, {4, 1, 0, 11, 6}},
    {"columns of one byte", {1, 300, 1}, {5, 0, 0, 9, 300}, {0, 3, 0, 3, 310}},
    {"slices", {10, 3, 4}, {2, 1, 1, 32, 5}, {0, 0, 2, 10, 3}},
    {"slices of one row", {8, 1, 6}, {0, 0, 0, 8, 1}, {1, 1, 0, 16, 4}},
    {"without gaps", {64, 4, 2}, {0, 0, 0, 64, 4}, {0, 0, 0, 64, 4}},
    {"just in a record", {256, 256, 1}, {0, 0, 0, 512, 256}, {0, 0, 0, 300, 256}},
    {"just in bulk", {257, 256, 1}, {0, 0, 0, 512, 256}, {1, 1, 0, 300, 257}},
    // Rows and slices that chunks of 1 MiB cut in all ways.
    {"chunks", {1000, 700, 5}, {3, 2, 1, 1024, 703}, {0, 0, 0, 1003, 700}},
    {"long rows", {3 << 20, 2, 1}, {1, 0, 0, (3 << 20) + 5, 2}, {0, 1, 0, (3 << 20) + 1, 3}},
};

TEST_F(MemoryCopy, ToDeviceMovesTheRowsAlone) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Bytes from = pattern(c.from.bytes(c.box), 1), to = pattern(c.to.bytes(c.box), 2);
    const CUdeviceptr device = put(to);
    CUDA_MEMCPY3D p = parametersOf(c.to, c.from, c.box);
    p.srcMemoryType = CU_MEMORYTYPE_HOST, p.srcHost = from.data();
    p.dstMemoryType = CU_MEMORYTYPE_DEVICE, p.dstDevice = device;
    EXPECT_OK(cuMemcpy3D_v2(&p));
    EXPECT_EQ(download(device, to.size()), expected(to, c.to, from, c.from, c.box));
  }
}

TEST_F(MemoryCopy, ToHostLeavesTheGapsAlone) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Bytes from = pattern(c.from.bytes(c.box), 3), to = pattern(c.to.bytes(c.box), 4);
    Bytes result = to;
    CUDA_MEMCPY3D p = parametersOf(c.to, c.from, c.box);
    p.srcMemoryType = CU_MEMORYTYPE_DEVICE, p.srcDevice = put(from);
    p.dstMemoryType = CU_MEMORYTYPE_HOST, p.dstHost = result.data();
    EXPECT_OK(cuMemcpy3D_v2(&p));
    EXPECT_EQ(result, expected(to, c.to, from, c.from, c.box));
  }
}

TEST_F(MemoryCopy, OnTheDeviceAndOnTheHost) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Bytes from = pattern(c.from.bytes(c.box), 5), to = pattern(c.to.bytes(c.box), 6);
    const Bytes after = expected(to, c.to, from, c.from, c.box);
    const CUdeviceptr device = put(to);
    CUDA_MEMCPY3D p = parametersOf(c.to, c.from, c.box);
    p.srcMemoryType = CU_MEMORYTYPE_DEVICE, p.srcDevice = put(from);
    p.dstMemoryType = CU_MEMORYTYPE_DEVICE, p.dstDevice = device;
    EXPECT_OK(cuMemcpy3D_v2(&p));
    EXPECT_EQ(download(device, to.size()), after);

    Bytes result = to;
    p.srcMemoryType = CU_MEMORYTYPE_HOST, p.srcHost = from.data();
    p.dstMemoryType = CU_MEMORYTYPE_HOST, p.dstHost = result.data();
    EXPECT_OK(cuMemcpy3D_v2(&p));
    EXPECT_EQ(result, after);
  }
}

TEST_F(MemoryCopy, TwoDimensionsInAllForms) {
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  for (const Case& c : kCases) {
    if (c.box.depth != 1 || c.to.z != 0 || c.from.z != 0) continue;
    SCOPED_TRACE(c.name);
    const Bytes from = pattern(c.from.bytes(c.box), 7), to = pattern(c.to.bytes(c.box), 8);
    const Bytes after = expected(to, c.to, from, c.from, c.box);
    for (int form = 0; form < 6; ++form) {
      const CUdeviceptr device = put(to);
      CUDA_MEMCPY2D p = flat(parametersOf(c.to, c.from, c.box));
      p.srcMemoryType = CU_MEMORYTYPE_HOST, p.srcHost = from.data();
      p.dstMemoryType = CU_MEMORYTYPE_DEVICE, p.dstDevice = device;
      switch (form) {
        case 0:
          EXPECT_OK(cuMemcpy2D_v2(&p));
          break;
        case 1:
          EXPECT_OK(cuMemcpy2DUnaligned_v2(&p));
          break;
        case 2:
          EXPECT_OK(cuMemcpy2DAsync_v2(&p, stream));
          break;
        case 3:
          EXPECT_OK(cuMemcpy2D_v2_ptds(&p));
          break;
        case 4:
          EXPECT_OK(cuMemcpy2DUnaligned_v2_ptds(&p));
          break;
        default:
          EXPECT_OK(cuMemcpy2DAsync_v2_ptsz(&p, nullptr));
          break;
      }
      EXPECT_OK(cuStreamSynchronize(stream));
      EXPECT_OK(cuCtxSynchronize());
      EXPECT_EQ(download(device, to.size()), after) << "form " << form;
    }
  }
  EXPECT_OK(cuStreamDestroy_v2(stream));
}

TEST_F(MemoryCopy, AsynchronousIntoPinnedMemory) {
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Bytes from = pattern(c.from.bytes(c.box), 9), to = pattern(c.to.bytes(c.box), 10);
    void* pinned = nullptr;
    ASSERT_OK(cuMemHostAlloc(&pinned, to.size(), 0));
    std::memcpy(pinned, to.data(), to.size());
    CUDA_MEMCPY3D p = parametersOf(c.to, c.from, c.box);
    p.srcMemoryType = CU_MEMORYTYPE_DEVICE, p.srcDevice = put(from);
    p.dstMemoryType = CU_MEMORYTYPE_HOST, p.dstHost = pinned;
    EXPECT_OK(cuMemcpy3DAsync_v2(&p, stream));
    EXPECT_OK(cuStreamSynchronize(stream));
    Bytes result(to.size());
    std::memcpy(result.data(), pinned, to.size());
    EXPECT_EQ(result, expected(to, c.to, from, c.from, c.box));

    // And back, from pinned memory whose bytes are still on their way.
    EXPECT_OK(cuMemcpy3DAsync_v2(&p, stream));
    const CUdeviceptr device = put(Bytes(to.size(), 0));
    EXPECT_OK(cuMemcpyHtoDAsync_v2(device, pinned, to.size(), stream));
    EXPECT_OK(cuStreamSynchronize(stream));
    EXPECT_EQ(download(device, to.size()), result);
    EXPECT_OK(cuMemFreeHost(pinned));
  }
  EXPECT_OK(cuStreamDestroy_v2(stream));
}

TEST_F(MemoryCopy, UnifiedAddressesSayThemselvesWhereTheyAre) {
  const Case& c = kCases[1];
  const Bytes from = pattern(c.from.bytes(c.box), 11), to = pattern(c.to.bytes(c.box), 12);
  const Bytes after = expected(to, c.to, from, c.from, c.box);
  const CUdeviceptr device_from = put(from), device_to = put(to);
  CUDA_MEMCPY3D p = parametersOf(c.to, c.from, c.box);
  p.srcMemoryType = p.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  p.srcDevice = device_from, p.dstDevice = device_to;
  EXPECT_OK(cuMemcpy3D_v2(&p));
  EXPECT_EQ(download(device_to, to.size()), after);

  Bytes host = to;
  p.dstDevice = reinterpret_cast<CUdeviceptr>(host.data());
  EXPECT_OK(cuMemcpy3D_v2(&p));
  EXPECT_EQ(host, after);

  // Page-locked memory has an address on the device, too.
  void* pinned = nullptr;
  ASSERT_OK(cuMemHostAlloc(&pinned, from.size(), 0));
  std::memcpy(pinned, from.data(), from.size());
  EXPECT_OK(cuMemcpyHtoD_v2(device_to, to.data(), to.size()));
  p.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  p.srcDevice = reinterpret_cast<CUdeviceptr>(pinned), p.dstDevice = device_to;
  EXPECT_OK(cuMemcpy3D_v2(&p));
  EXPECT_EQ(download(device_to, to.size()), after);
  EXPECT_OK(cuMemFreeHost(pinned));
}

TEST_F(MemoryCopy, TheHostSideOfACopyMayBeMemoryOfTheDevice) {
  constexpr size_t kBytes = 4096;
  const std::vector<unsigned char> before = pattern(kBytes, 5);
  const CUdeviceptr memory = upload(before);
  const CUdeviceptr other = allocate(kBytes);
  EXPECT_OK(cuMemcpyDtoH_v2(reinterpret_cast<void*>(other), memory, kBytes));
  EXPECT_EQ(download(other, kBytes), before);
  EXPECT_OK(cuMemsetD8_v2(other, 0, kBytes));
  EXPECT_OK(cuMemcpyHtoD_v2(other, reinterpret_cast<const void*>(memory), kBytes));
  EXPECT_EQ(download(other, kBytes), before);
}

TEST_F(MemoryCopy, RefusesWhatCudaRefuses) {
  const Bytes from = pattern(4096, 13);
  const CUdeviceptr device = put(Bytes(4096, 0));
  CUDA_MEMCPY3D good = parametersOf({0, 0, 0, 64, 8}, {0, 0, 0, 64, 8}, {32, 4, 2});
  good.srcMemoryType = CU_MEMORYTYPE_HOST, good.srcHost = from.data();
  good.dstMemoryType = CU_MEMORYTYPE_DEVICE, good.dstDevice = device;
  ASSERT_OK(cuMemcpy3D_v2(&good));

  using Change = void (*)(CUDA_MEMCPY3D&);
  const struct {
    const char* name;
    Change change;
    bool flat;  // there in two dimensions, too
  } bad[] = {
      {"kind of memory 0", [](CUDA_MEMCPY3D& p) { p.dstMemoryType = CUmemorytype(0); }, true},
      {"kind of memory 5", [](CUDA_MEMCPY3D& p) { p.srcMemoryType = CUmemorytype(5); }, true},
      {"null host", [](CUDA_MEMCPY3D& p) { p.srcHost = nullptr; }, true},
      {"null device", [](CUDA_MEMCPY3D& p) { p.dstDevice = 0; }, true},
      {"pitch under the width", [](CUDA_MEMCPY3D& p) { p.srcPitch = 31; }, true},
      {"pitch under x and the width", [](CUDA_MEMCPY3D& p) { p.dstXInBytes = 33; }, true},
      {"pitch over the limit", [](CUDA_MEMCPY3D& p) { p.srcPitch = 0x80000000u; }, true},
      {"height under the box", [](CUDA_MEMCPY3D& p) { p.dstHeight = 3; }, false},
      {"height under y and the box", [](CUDA_MEMCPY3D& p) { p.srcY = 5; }, false},
      {"level of detail", [](CUDA_MEMCPY3D& p) { p.srcLOD = 1; }, false},
      {"reserved", [](CUDA_MEMCPY3D& p) { p.reserved1 = &p; }, false},
      {"x wraps around", [](CUDA_MEMCPY3D& p) { p.srcXInBytes = ~size_t{0} - 3; }, true},
      {"y wraps around", [](CUDA_MEMCPY3D& p) { p.dstY = ~size_t{0} - 1; }, true},
      {"z wraps around", [](CUDA_MEMCPY3D& p) { p.dstZ = size_t{1} << 60; }, false},
      {"width wraps around", [](CUDA_MEMCPY3D& p) { p.WidthInBytes = ~size_t{0}; }, true},
      {"past the allocation", [](CUDA_MEMCPY3D& p) { p.dstY = 61; }, true},
      {"far past the allocation", [](CUDA_MEMCPY3D& p) { p.dstZ = 9; }, false},
      {"host memory for the device's",
       [](CUDA_MEMCPY3D& p) { p.dstDevice = reinterpret_cast<CUdeviceptr>(p.srcHost); }, true},
  };
  for (const auto& entry : bad) {
    SCOPED_TRACE(entry.name);
    CUDA_MEMCPY3D p = good;
    entry.change(p);
    EXPECT_CUDA(cuMemcpy3D_v2(&p), CUDA_ERROR_INVALID_VALUE);
    EXPECT_CUDA(cuMemcpy3DAsync_v2(&p, nullptr), CUDA_ERROR_INVALID_VALUE);
    if (!entry.flat) continue;
    const CUDA_MEMCPY2D q = flat(p);
    EXPECT_CUDA(cuMemcpy2D_v2(&q), CUDA_ERROR_INVALID_VALUE);
    EXPECT_CUDA(cuMemcpy2DUnaligned_v2(&q), CUDA_ERROR_INVALID_VALUE);
  }
  EXPECT_CUDA(cuMemcpy3D_v2(nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpy2DAsync_v2(nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_BAD_HANDLE(cuMemcpy3DAsync_v2(&good, reinterpret_cast<CUstream>(0x1234)),
                    CUDA_ERROR_INVALID_HANDLE);

  // An empty box is nothing to do, and the session goes on.
  CUDA_MEMCPY3D empty = good;
  empty.Height = 0, empty.srcHost = nullptr;
  EXPECT_OK(cuMemcpy3D_v2(&empty));
  EXPECT_OK(cuMemcpy3D_v2(&good));
  EXPECT_OK(cuCtxSynchronize());
}

TEST_F(MemoryCopy, PitchOfZeroMeansNoGaps) {
  const Bytes from = pattern(32 * 4, 14);
  const CUdeviceptr device = put(Bytes(32 * 4, 0));
  CUDA_MEMCPY2D p = flat(parametersOf({0, 0, 0, 0, 0}, {0, 0, 0, 0, 0}, {32, 4, 1}));
  p.srcMemoryType = CU_MEMORYTYPE_HOST, p.srcHost = from.data();
  p.dstMemoryType = CU_MEMORYTYPE_DEVICE, p.dstDevice = device;
  EXPECT_OK(cuMemcpy2D_v2(&p));
  EXPECT_EQ(download(device, from.size()), from);
}

class MemoryCopyPeer : public MemoryCopy {
 protected:
  void SetUp() override {
    MemoryCopy::SetUp();
    CUdevice other = 0;
    ASSERT_OK(cuDeviceGet(&other, 1));
    ASSERT_OK(cuCtxCreate_v2(&other_, 0, other));
    here_ = upload(from_);
    ASSERT_OK(cuCtxSetCurrent(context_));
    there_ = upload(Bytes(from_.size(), 0));
  }
  void TearDown() override {
    MemoryCopy::TearDown();
    EXPECT_OK(cuCtxDestroy_v2(other_));
  }
  void clear() { EXPECT_OK(cuMemsetD8_v2(there_, 0, from_.size())); }

  const Bytes from_ = pattern(100000, 15);
  CUcontext other_ = nullptr;
  CUdeviceptr here_ = 0;   // in other_
  CUdeviceptr there_ = 0;  // in context_
};

TEST_F(MemoryCopyPeer, MovesBytesBetweenContexts) {
  EXPECT_OK(cuMemcpyPeer(there_, context_, here_, other_, from_.size()));
  EXPECT_EQ(download(there_, from_.size()), from_);
  clear();
  EXPECT_OK(cuMemcpyPeer_ptds(there_, context_, here_, other_, from_.size()));
  EXPECT_EQ(download(there_, from_.size()), from_);
  clear();
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
  EXPECT_OK(cuMemcpyPeerAsync(there_, context_, here_, other_, from_.size(), stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(download(there_, from_.size()), from_);
  clear();
  CUDA_MEMCPY3D_PEER p{};
  p.srcMemoryType = p.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  p.srcDevice = here_, p.srcContext = other_, p.srcPitch = 100, p.srcHeight = 10;
  p.dstDevice = there_, p.dstContext = context_, p.dstPitch = 200, p.dstHeight = 20;
  p.WidthInBytes = 90, p.Height = 9, p.Depth = 5, p.srcY = 1, p.dstXInBytes = 7;
  EXPECT_OK(cuMemcpy3DPeer(&p));
  const Bytes after =
      expected(Bytes(from_.size(), 0), {7, 0, 0, 200, 20}, from_, {0, 1, 0, 100, 10}, {90, 9, 5});
  EXPECT_EQ(download(there_, from_.size()), after);
  clear();
  EXPECT_OK(cuMemcpy3DPeerAsync(&p, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(download(there_, from_.size()), after);

  // From the host the source's context does not matter.
  clear();
  p.srcMemoryType = CU_MEMORYTYPE_HOST, p.srcHost = from_.data(), p.srcContext = nullptr;
  EXPECT_OK(cuMemcpy3DPeer(&p));
  EXPECT_EQ(download(there_, from_.size()), after);
  EXPECT_OK(cuStreamDestroy_v2(stream));
}

TEST_F(MemoryCopyPeer, RefusesWhatCudaRefuses) {
  const size_t bytes = from_.size();
  EXPECT_CUDA(cuMemcpyPeer(there_, nullptr, here_, other_, bytes), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_BAD_HANDLE(cuMemcpyPeer(there_, context_, here_, reinterpret_cast<CUcontext>(0x55), bytes),
                    CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuMemcpyPeer(0, context_, here_, other_, bytes), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyPeer(there_, context_, here_, other_, bytes + 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyPeerAsync(there_, context_, here_ + bytes, other_, bytes, nullptr),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpy3DPeer(nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemcpyPeer(there_, context_, here_, other_, 0));
  EXPECT_OK(cuCtxSynchronize());
}

}  // namespace
}  // namespace farwarp::conformance
