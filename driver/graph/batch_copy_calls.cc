// Batches of copies: one after the other in the stream, which CUDA permits though it promises no
// order within a batch.
#include "driver/array_shape.h"
#include "driver/graph/host.h"
#include "driver_calls_gen.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

// The legacy default stream is not for batches.
CUresult enterBatch(Host& host, CUstream stream, uint16_t record_flags) {
  FARWARP_GRAPH_TRY(host.enter(true));
  StreamKey key;
  FARWARP_GRAPH_TRY(host.findStream(stream, record_flags, key));
  return key.legacy() ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

bool goodOrder(CUmemcpySrcAccessOrder order) {
  return order >= CU_MEMCPY_SRC_ACCESS_ORDER_STREAM && order <= CU_MEMCPY_SRC_ACCESS_ORDER_ANY;
}

CUresult copyMany(Host& host, CUdeviceptr* dsts, CUdeviceptr* srcs, size_t* sizes, size_t count,
                  const CUmemcpyAttributes* attributes, const size_t* first, size_t attribute_count,
                  size_t* failed, CUstream stream, uint16_t record_flags) {
  if (failed != nullptr) *failed = ~size_t{0};
  FARWARP_GRAPH_TRY(enterBatch(host, stream, record_flags));
  if (count == 0 || dsts == nullptr || srcs == nullptr || sizes == nullptr ||
      attributes == nullptr || first == nullptr || attribute_count == 0 ||
      attribute_count > count || first[0] != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < attribute_count; ++i) {
    const bool rising = i == 0 || first[i] > first[i - 1];
    if (!rising || first[i] >= count || !goodOrder(attributes[i].srcAccessOrder)) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const CUresult result =
        sizes[i] == 0       ? CUDA_ERROR_INVALID_VALUE
        : record_flags != 0 ? host.table().cuMemcpyAsync_ptsz(dsts[i], srcs[i], sizes[i], stream)
                            : host.table().cuMemcpyAsync(dsts[i], srcs[i], sizes[i], stream);
    if (result == CUDA_SUCCESS) continue;
    if (failed != nullptr) *failed = i;
    return result;
  }
  return CUDA_SUCCESS;
}

// Bytes of an element: of an array what it is made of, of memory alone one byte.
CUresult elementOf(Host& host, const CUmemcpy3DOperand& operand, size_t& bytes) {
  if (operand.type == CU_MEMCPY_OPERAND_TYPE_POINTER) return CUDA_SUCCESS;
  if (operand.type != CU_MEMCPY_OPERAND_TYPE_ARRAY) return CUDA_ERROR_INVALID_VALUE;
  CUDA_ARRAY3D_DESCRIPTOR array{};
  FARWARP_GRAPH_TRY(host.table().cuArray3DGetDescriptor_v2(&array, operand.op.array.array));
  ArrayShape shape;
  FARWARP_GRAPH_TRY(describeArray(array, shape));
  bytes = shape.element_bytes;
  return CUDA_SUCCESS;
}

CUresult describe(Host& host, const CUDA_MEMCPY3D_BATCH_OP& given, CUDA_MEMCPY3D& copy) {
  const CUextent3D& extent = given.extent;
  if (extent.width == 0 || extent.height == 0 || extent.depth == 0 ||
      !goodOrder(given.srcAccessOrder)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  size_t element = 1;
  FARWARP_GRAPH_TRY(elementOf(host, given.src, element));
  FARWARP_GRAPH_TRY(elementOf(host, given.dst, element));
  copy = {};
  if (given.src.type == CU_MEMCPY_OPERAND_TYPE_POINTER) {
    copy.srcMemoryType = CU_MEMORYTYPE_UNIFIED;
    copy.srcDevice = given.src.op.ptr.ptr;
    copy.srcPitch = given.src.op.ptr.rowLength * element;
    copy.srcHeight = given.src.op.ptr.layerHeight;
  } else {
    copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.srcArray = given.src.op.array.array;
    copy.srcXInBytes = given.src.op.array.offset.x * element;
    copy.srcY = given.src.op.array.offset.y;
    copy.srcZ = given.src.op.array.offset.z;
  }
  if (given.dst.type == CU_MEMCPY_OPERAND_TYPE_POINTER) {
    copy.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
    copy.dstDevice = given.dst.op.ptr.ptr;
    copy.dstPitch = given.dst.op.ptr.rowLength * element;
    copy.dstHeight = given.dst.op.ptr.layerHeight;
  } else {
    copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.dstArray = given.dst.op.array.array;
    copy.dstXInBytes = given.dst.op.array.offset.x * element;
    copy.dstY = given.dst.op.array.offset.y;
    copy.dstZ = given.dst.op.array.offset.z;
  }
  copy.WidthInBytes = extent.width * element;
  copy.Height = extent.height;
  copy.Depth = extent.depth;
  return CUDA_SUCCESS;
}

CUresult copyManyBoxes(Host& host, size_t count, const CUDA_MEMCPY3D_BATCH_OP* copies,
                       size_t* failed, unsigned long long flags, CUstream stream,
                       uint16_t record_flags) {
  if (failed != nullptr) *failed = ~size_t{0};
  FARWARP_GRAPH_TRY(enterBatch(host, stream, record_flags));
  if (count == 0 || copies == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    CUDA_MEMCPY3D copy;
    CUresult result = describe(host, copies[i], copy);
    if (result == CUDA_SUCCESS) {
      result = record_flags != 0 ? host.table().cuMemcpy3DAsync_v2_ptsz(&copy, stream)
                                 : host.table().cuMemcpy3DAsync_v2(&copy, stream);
    }
    if (result == CUDA_SUCCESS) continue;
    if (failed != nullptr) *failed = i;
    return result;
  }
  return CUDA_SUCCESS;
}

}  // namespace

namespace calls {

CUresult cuMemcpyBatchAsync_v2(Host& host, CUdeviceptr* dsts, CUdeviceptr* srcs, size_t* sizes,
                               size_t count, CUmemcpyAttributes* attributes, size_t* first,
                               size_t attribute_count, CUstream stream, uint16_t record_flags) {
  return copyMany(host, dsts, srcs, sizes, count, attributes, first, attribute_count, nullptr,
                  stream, record_flags);
}

CUresult cuMemcpyBatchAsync(Host& host, CUdeviceptr* dsts, CUdeviceptr* srcs, size_t* sizes,
                            size_t count, CUmemcpyAttributes* attributes, size_t* first,
                            size_t attribute_count, size_t* failed, CUstream stream,
                            uint16_t record_flags) {
  return copyMany(host, dsts, srcs, sizes, count, attributes, first, attribute_count, failed,
                  stream, record_flags);
}

CUresult cuMemcpy3DBatchAsync_v2(Host& host, size_t count, CUDA_MEMCPY3D_BATCH_OP* copies,
                                 unsigned long long flags, CUstream stream, uint16_t record_flags) {
  return copyManyBoxes(host, count, copies, nullptr, flags, stream, record_flags);
}

CUresult cuMemcpy3DBatchAsync(Host& host, size_t count, CUDA_MEMCPY3D_BATCH_OP* copies,
                              size_t* failed, unsigned long long flags, CUstream stream,
                              uint16_t record_flags) {
  return copyManyBoxes(host, count, copies, failed, flags, stream, record_flags);
}

}  // namespace calls
}  // namespace farwarp::graph
