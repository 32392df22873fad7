// Goal: what is left of memory, arrays and old names of operations gives the same remotely as
// locally. Method: each is called once as it should be and once as it should not.
#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

class MemoryTest : public ConformanceTest {};

TEST_F(MemoryTest, RowsOfMemoryHaveAPitch) {
  CUdeviceptr rows = 0;
  size_t pitch = 0;
  ASSERT_OK(cuMemAllocPitch_v2(&rows, &pitch, 100, 10, 4));
  EXPECT_GE(pitch, 100u);
  EXPECT_EQ(pitch % 256, 0u);
  EXPECT_OK(cuMemsetD2D32Async(rows, pitch, 0x01010101, 25, 10, nullptr));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(download(rows + 9 * pitch, 100), std::vector<unsigned char>(100, 1));
  EXPECT_OK(cuMemFree_v2(rows));
  EXPECT_CUDA(cuMemAllocPitch_v2(nullptr, &pitch, 100, 10, 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemAllocPitch_v2(&rows, &pitch, 100, 10, 3), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(MemoryTest, CopiesWithinTheDevice) {
  const auto bytes = pattern(1000, 4);
  const CUdeviceptr from = upload(bytes), to = allocate(1000);
  EXPECT_OK(cuMemcpyDtoD_v2(to, from, 1000));
  EXPECT_EQ(download(to, 1000), bytes);
  EXPECT_OK(cuMemsetD16Async(to, 0x0707, 500, nullptr));
  EXPECT_OK(cuMemcpyAsync(from, to, 1000, nullptr));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(download(from, 1000), std::vector<unsigned char>(1000, 7));
  EXPECT_OK(cuMemFree_v2(from));
  EXPECT_OK(cuMemFree_v2(to));
}

TEST_F(MemoryTest, PointersTellAndTakeAttributes) {
  const CUdeviceptr memory = allocate(4096);
  CUmemorytype type{};
  CUdeviceptr begin = 0;
  size_t bytes = 0;
  CUpointer_attribute wanted[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                  CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
                                  CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void* answers[] = {&type, &begin, &bytes};
  EXPECT_OK(cuPointerGetAttributes(3, wanted, answers, memory + 100));
  EXPECT_EQ(type, CU_MEMORYTYPE_DEVICE);
  EXPECT_EQ(begin, memory);
  EXPECT_EQ(bytes, 4096u);
  EXPECT_CUDA(cuPointerGetAttributes(0, nullptr, nullptr, memory), CUDA_ERROR_INVALID_VALUE);
  const unsigned on = 1;
  int told = 0;
  EXPECT_OK(cuPointerSetAttribute(&on, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, memory));
  EXPECT_OK(cuPointerGetAttribute(&told, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, memory));
  EXPECT_EQ(told, 1);
  EXPECT_CUDA(cuPointerSetAttribute(&on, CU_POINTER_ATTRIBUTE_RANGE_SIZE, memory),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFree_v2(memory));
  void* host = nullptr;
  unsigned flags = 0;
  ASSERT_OK(cuMemHostAlloc(&host, 4096, CU_MEMHOSTALLOC_PORTABLE));
  EXPECT_OK(cuMemHostGetFlags(&flags, host));
  EXPECT_NE(flags & CU_MEMHOSTALLOC_PORTABLE, 0u);
  EXPECT_CUDA(cuMemHostGetFlags(nullptr, host), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemHostGetFlags(&flags, &flags), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFreeHost(host));
}

TEST_F(MemoryTest, AdviceNamesPlaces) {
  CUdeviceptr managed = 0;
  ASSERT_OK(cuMemAllocManaged(&managed, 1 << 16, CU_MEM_ATTACH_GLOBAL));
  const CUmemLocation here{CU_MEM_LOCATION_TYPE_DEVICE, device_};
  EXPECT_OK(cuMemAdvise_v2(managed, 1 << 16, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, here));
  EXPECT_OK(cuMemPrefetchAsync_v2(managed, 1 << 16, here, 0, nullptr));
  int location = -7, last = -7;
  CUmem_range_attribute wanted[] = {CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION,
                                    CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION};
  void* answers[] = {&location, &last};
  size_t sizes[] = {sizeof(location), sizeof(last)};
  EXPECT_OK(cuMemRangeGetAttributes(answers, sizes, wanted, 2, managed, 1 << 16));
  EXPECT_EQ(location, device_);
  EXPECT_EQ(last, device_);
  EXPECT_CUDA(cuMemAdvise_v2(managed, 1 << 16, CU_MEM_ADVISE_SET_PREFERRED_LOCATION,
                             CUmemLocation{CU_MEM_LOCATION_TYPE_DEVICE, 77}),
              CUDA_ERROR_INVALID_DEVICE);
  EXPECT_CUDA(cuMemRangeGetAttributes(answers, sizes, wanted, 0, managed, 1 << 16),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemFree_v2(managed));
}

TEST_F(MemoryTest, ArraysTellWhatTheyNeed) {
  CUDA_ARRAY3D_DESCRIPTOR shape{};
  shape.Width = 64;
  shape.Height = 64;
  shape.Format = CU_AD_FORMAT_UNSIGNED_INT8;
  shape.NumChannels = 1;
  CUarray array = nullptr, plane = nullptr;
  ASSERT_OK(cuArray3DCreate_v2(&array, &shape));
  CUDA_ARRAY_MEMORY_REQUIREMENTS needs{};
  CUDA_ARRAY_SPARSE_PROPERTIES sparse{};
  // Only sparse arrays, and those whose memory comes later, have what these tell.
  EXPECT_CUDA(cuArrayGetMemoryRequirements(&needs, array, device_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuArrayGetSparseProperties(&sparse, array), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuArrayGetPlane(&plane, array, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuArrayDestroy(array));
  CUmipmappedArray levels = nullptr;
  ASSERT_OK(cuMipmappedArrayCreate(&levels, &shape, 3));
  EXPECT_CUDA(cuMipmappedArrayGetMemoryRequirements(&needs, levels, device_),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMipmappedArrayGetSparseProperties(&sparse, levels), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMipmappedArrayDestroy(levels));
}

TEST_F(MemoryTest, ValuesInStreamsUnderTheirOldNames) {
  const CUdeviceptr memory = allocate(64);
  EXPECT_OK(cuMemsetD8_v2(memory, 0, 64));
  EXPECT_OK(cuStreamWriteValue32(CU_STREAM_LEGACY, memory, 5, 0));
  EXPECT_OK(cuStreamWaitValue32(CU_STREAM_LEGACY, memory, 5, CU_STREAM_WAIT_VALUE_EQ));
  EXPECT_OK(cuStreamWriteValue64(CU_STREAM_LEGACY, memory + 8, 6, 0));
  EXPECT_OK(cuStreamWaitValue64(CU_STREAM_LEGACY, memory + 8, 6, CU_STREAM_WAIT_VALUE_GEQ));
  CUstreamBatchMemOpParams write{};
  write.writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
  write.writeValue.address = memory + 16;
  write.writeValue.value = 7;
  EXPECT_OK(cuStreamBatchMemOp(CU_STREAM_LEGACY, 1, &write, 0));
  EXPECT_OK(cuCtxSynchronize());
  const auto bytes = download(memory, 20);
  EXPECT_EQ(bytes[0], 5);
  EXPECT_EQ(bytes[8], 6);
  EXPECT_EQ(bytes[16], 7);
  EXPECT_CUDA(cuStreamWriteValue32(CU_STREAM_LEGACY, memory + 1, 5, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFree_v2(memory));
}

TEST_F(MemoryTest, BatchesUnderTheirOldNames) {
  const auto bytes = pattern(64, 8);
  const CUdeviceptr from = upload(bytes), to = allocate(64);
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUdeviceptr sources[] = {from}, targets[] = {to};
  size_t sizes[] = {64}, first = 0, failed = 77;
  CUmemcpyAttributes how{};
  how.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
  EXPECT_OK(cuMemcpyBatchAsync(targets, sources, sizes, 1, &how, &first, 1, &failed, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(download(to, 64), bytes);
  EXPECT_CUDA(cuMemcpyBatchAsync(targets, sources, sizes, 0, &how, &first, 1, &failed, stream),
              CUDA_ERROR_INVALID_VALUE);
  CUDA_MEMCPY3D_BATCH_OP box{};
  box.src.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
  box.src.op.ptr.ptr = to;
  box.dst.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
  box.dst.op.ptr.ptr = from;
  box.extent = {16, 4, 1};
  box.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
  EXPECT_OK(cuMemsetD8_v2(to, 9, 64));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemcpy3DBatchAsync(1, &box, &failed, 0, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(download(from, 64), std::vector<unsigned char>(64, 9));
  EXPECT_OK(cuStreamDestroy_v2(stream));
  EXPECT_OK(cuMemFree_v2(from));
  EXPECT_OK(cuMemFree_v2(to));
}

}  // namespace
}  // namespace farwarp::conformance
