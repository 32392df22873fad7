// Stream memory operations: waiting for and writing values in stream order.
#include <cstring>

#include "driver/graph/node_params.h"
#include "driver/graph/recording.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

CUresult batch(Host& host, CUstream stream, std::span<const CUstreamBatchMemOpParams> operations,
               uint16_t record_flags) {
  FARWARP_GRAPH_TRY(host.enter(true));
  StreamKey key;
  FARWARP_GRAPH_TRY(host.findStream(stream, record_flags, key));
  FARWARP_GRAPH_TRY(checkOperations(host, operations));
  if (capturing()) [[unlikely]] {
    CUresult result = CUDA_SUCCESS;
    const auto make = [&](const Recording& recording, SharedParams& params) {
      params = share(BatchParams{recording.key.context, 0, {operations.begin(), operations.end()}});
      return CUDA_SUCCESS;
    };
    if (record(host, result, stream, record_flags, make)) return result;
  }
  return host.operate(stream, record_flags, operations);
}

CUresult one(Host& host, CUstream stream, CUstreamBatchMemOpType type, CUdeviceptr address,
             uint64_t value, unsigned flags, uint16_t record_flags) {
  CUstreamBatchMemOpParams operation;
  std::memset(&operation, 0, sizeof operation);
  // Operations that write have the same fields.
  operation.waitValue.operation = type;
  operation.waitValue.address = address;
  operation.waitValue.value64 = value;
  operation.waitValue.flags = flags;
  return batch(host, stream, {&operation, 1}, record_flags);
}

}  // namespace

namespace calls {

CUresult cuStreamWaitValue32_v2(Host& host, CUstream stream, CUdeviceptr address, cuuint32_t value,
                                unsigned int flags, uint16_t record_flags) {
  return one(host, stream, CU_STREAM_MEM_OP_WAIT_VALUE_32, address, value, flags, record_flags);
}
CUresult cuStreamWaitValue32(Host& host, CUstream stream, CUdeviceptr address, cuuint32_t value,
                             unsigned int flags, uint16_t record_flags) {
  return one(host, stream, CU_STREAM_MEM_OP_WAIT_VALUE_32, address, value, flags, record_flags);
}
CUresult cuStreamWaitValue64_v2(Host& host, CUstream stream, CUdeviceptr address, cuuint64_t value,
                                unsigned int flags, uint16_t record_flags) {
  return one(host, stream, CU_STREAM_MEM_OP_WAIT_VALUE_64, address, value, flags, record_flags);
}
CUresult cuStreamWaitValue64(Host& host, CUstream stream, CUdeviceptr address, cuuint64_t value,
                             unsigned int flags, uint16_t record_flags) {
  return one(host, stream, CU_STREAM_MEM_OP_WAIT_VALUE_64, address, value, flags, record_flags);
}
CUresult cuStreamWriteValue32_v2(Host& host, CUstream stream, CUdeviceptr address, cuuint32_t value,
                                 unsigned int flags, uint16_t record_flags) {
  return one(host, stream, CU_STREAM_MEM_OP_WRITE_VALUE_32, address, value, flags, record_flags);
}
CUresult cuStreamWriteValue32(Host& host, CUstream stream, CUdeviceptr address, cuuint32_t value,
                              unsigned int flags, uint16_t record_flags) {
  return one(host, stream, CU_STREAM_MEM_OP_WRITE_VALUE_32, address, value, flags, record_flags);
}
CUresult cuStreamWriteValue64_v2(Host& host, CUstream stream, CUdeviceptr address, cuuint64_t value,
                                 unsigned int flags, uint16_t record_flags) {
  return one(host, stream, CU_STREAM_MEM_OP_WRITE_VALUE_64, address, value, flags, record_flags);
}
CUresult cuStreamWriteValue64(Host& host, CUstream stream, CUdeviceptr address, cuuint64_t value,
                              unsigned int flags, uint16_t record_flags) {
  return one(host, stream, CU_STREAM_MEM_OP_WRITE_VALUE_64, address, value, flags, record_flags);
}

CUresult cuStreamBatchMemOp_v2(Host& host, CUstream stream, unsigned int count,
                               CUstreamBatchMemOpParams* operations, unsigned int flags,
                               uint16_t record_flags) {
  if (operations == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return batch(host, stream, {operations, count}, record_flags);
}
CUresult cuStreamBatchMemOp(Host& host, CUstream stream, unsigned int count,
                            CUstreamBatchMemOpParams* operations, unsigned int flags,
                            uint16_t record_flags) {
  return calls::cuStreamBatchMemOp_v2(host, stream, count, operations, flags, record_flags);
}

}  // namespace calls
}  // namespace farwarp::graph
