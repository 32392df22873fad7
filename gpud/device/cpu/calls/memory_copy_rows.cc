// Memory management: copies of two and three dimensions, copies of arrays, and copies between
// contexts.
#include <string>

#include "cpu_calls_gen.h"
#include "driver/array_shape.h"
#include "driver/copy_shape.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/graph_launch.h"

namespace farwarp::cpu::calls {
namespace {

// Bytes of a pageable source that are kept until the copy's turn comes; larger ones make the call
// wait.
constexpr size_t kStagedMax = 64 * 1024;

// Where one end of a copy lies.
struct Place {
  bool known = false;    // memory of the device, or page-locked: it stays until the copy is over
  bool on_host = false;  // memory of the host, so that a synchronous copy is waited for
};

// Finds the rows of an array that the copy moves.
CUresult placeInArray(CopyEnd& end, const CopyBox& box) {
  const auto array = Driver::get().arrays().find(end.array);
  if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const ArrayShape& shape = array->shape;
  if (CUresult r = checkInArray(shape, end, box); r != CUDA_SUCCESS) return r;
  end.rows = {array->address, shape.rowBytes(), shape.height};
  end.rows.address = end.rows.at(end.y, end.z) + end.x_bytes;
  return CUDA_SUCCESS;
}

// Addresses are unified: what the program calls host or device memory is what the address says. Of
// pageable host memory nothing can be said.
CUresult place(CopyEnd& end, const CopyBox& box, Place& out) {
  if (end.type == CU_MEMORYTYPE_ARRAY) {
    out.known = true;
    return placeInArray(end, box);
  }
  const AddressSpace& memory = Driver::get().memory();
  Allocation found;
  if (memory.find(end.rows.address, found)) {
    out.known = true;
    out.on_host = found.kind == MemoryKind::host || found.kind == MemoryKind::registered;
    return end.span <= found.end() - end.rows.address ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  out.on_host = true;
  out.known = queuesGraph();
  const bool known_bad = end.type == CU_MEMORYTYPE_DEVICE || memory.reserved(end.rows.address) ||
                         memory.reserved(end.rows.address + end.span - 1);
  return known_bad ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

Rows packedRows(const void* data, const CopyBox& box) {
  return {reinterpret_cast<uint64_t>(data), box.width, box.height};
}

CUresult copyBox(CopyRequest request, const StreamUse& use, bool async) {
  Place to, from;
  if (CUresult r = place(request.to, request.box, to); r != CUDA_SUCCESS) return r;
  if (CUresult r = place(request.from, request.box, from); r != CUDA_SUCCESS) return r;
  Scheduler& scheduler = Driver::get().scheduler();
  const auto context = use.context;
  const auto move = [context, to = request.to.rows, from = request.from.rows, box = request.box] {
    if (context->error() == CUDA_SUCCESS) copyRows(to, from, box);
  };
  // Between two places on the device the host is never made to wait.
  const bool may_queue = async || (!to.on_host && !from.on_host);
  if (may_queue && to.known && from.known) {
    scheduler.submit(use.stream, move);
    return CUDA_SUCCESS;
  }
  if (may_queue && to.known && request.box.bytes() <= kStagedMax) {
    std::string staged(request.box.bytes(), '\0');
    copyRows(packedRows(staged.data(), request.box), request.from.rows, request.box);
    scheduler.submit(
        use.stream, [context, to = request.to.rows, box = request.box, staged = std::move(staged)] {
          if (context->error() == CUDA_SUCCESS) copyRows(to, packedRows(staged.data(), box), box);
        });
    return CUDA_SUCCESS;
  }
  scheduler.run(use.stream, move);
  return context->error();
}

template <typename Parameters>
CUresult copy(const Parameters* parameters, CUstream stream, uint16_t record_flags, bool async) {
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CopyRequest request;
  if (CUresult r = describeCopy(*parameters, request); r != CUDA_SUCCESS) return r;
  return request.box.empty() ? CUDA_SUCCESS : copyBox(request, use, async);
}

uint64_t addressOf(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

CUresult copyLinear(const LinearEnd& to, const LinearEnd& from, size_t bytes, CUstream stream,
                    uint16_t record_flags, bool async) {
  const CUDA_MEMCPY3D parameters = linearCopy(to, from, bytes);
  return copy(&parameters, stream, record_flags, async);
}

// --- between contexts ---

// A context that a copy names. Here null does not mean the current one.
CUresult findPeer(CUcontext handle, std::shared_ptr<Context>& context) {
  context = handle == nullptr ? nullptr : Driver::get().contexts().find(handle);
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!context->active()) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  return context->error();
}

CUresult copyBetween(const CUDA_MEMCPY3D_PEER* parameters, CUstream stream, uint16_t record_flags,
                     bool async) {
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CopyRequest request;
  if (CUresult r = describeCopy(*parameters, request); r != CUDA_SUCCESS) return r;
  std::shared_ptr<Context> peers[2];
  const CopyEnd* ends[2] = {&request.to, &request.from};
  for (int i = 0; i < 2; ++i) {
    if (ends[i]->type == CU_MEMORYTYPE_HOST || ends[i]->type == CU_MEMORYTYPE_ARRAY) continue;
    if (CUresult r = findPeer(ends[i]->context, peers[i]); r != CUDA_SUCCESS) return r;
  }
  if (request.box.empty()) return CUDA_SUCCESS;
  if (async) return copyBox(request, use, true);
  // In order with what the default streams of both contexts were given, and will be.
  Scheduler& scheduler = Driver::get().scheduler();
  for (const auto& peer : peers) {
    if (peer == nullptr || peer == use.context) continue;
    scheduler.submit(
        use.stream, [] {}, scheduler.tail(peer->legacyStream()));
  }
  if (CUresult r = copyBox(request, use, false); r != CUDA_SUCCESS) return r;
  for (const auto& peer : peers) {
    if (peer == nullptr || peer == use.context) continue;
    scheduler.submit(
        peer->legacyStream(), [] {}, scheduler.tail(use.stream));
  }
  return CUDA_SUCCESS;
}

CUresult copyBytesBetween(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                          CUcontext from_context, size_t bytes, CUstream stream,
                          uint16_t record_flags, bool async) {
  CUDA_MEMCPY3D_PEER parameters{};
  parameters.dstMemoryType = parameters.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  parameters.dstDevice = to;
  parameters.dstContext = to_context;
  parameters.srcDevice = from;
  parameters.srcContext = from_context;
  parameters.WidthInBytes = bytes;
  parameters.Height = parameters.Depth = 1;
  return copyBetween(&parameters, stream, record_flags, async);
}

}  // namespace

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* parameters, uint16_t flags) {
  return copy(parameters, nullptr, flags, false);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* parameters, uint16_t flags) {
  return copy(parameters, nullptr, flags, false);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* parameters, CUstream stream, uint16_t flags) {
  return copy(parameters, stream, flags, true);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* parameters, uint16_t flags) {
  return copy(parameters, nullptr, flags, false);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* parameters, CUstream stream, uint16_t flags) {
  return copy(parameters, stream, flags, true);
}

CUresult cuMemcpyPeer(CUdeviceptr dst, CUcontext dst_context, CUdeviceptr src,
                      CUcontext src_context, size_t bytes, uint16_t flags) {
  return copyBytesBetween(dst, dst_context, src, src_context, bytes, nullptr, flags, false);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dst_context, CUdeviceptr src,
                           CUcontext src_context, size_t bytes, CUstream stream, uint16_t flags) {
  return copyBytesBetween(dst, dst_context, src, src_context, bytes, stream, flags, true);
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* parameters, uint16_t flags) {
  return copyBetween(parameters, nullptr, flags, false);
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* parameters, CUstream stream,
                             uint16_t flags) {
  return copyBetween(parameters, stream, flags, true);
}

CUresult cuMemcpyDtoA_v2(CUarray dst, size_t offset, CUdeviceptr src, size_t bytes,
                         uint16_t flags) {
  return copyLinear({CU_MEMORYTYPE_ARRAY, 0, dst, offset}, {CU_MEMORYTYPE_DEVICE, src}, bytes,
                    nullptr, flags, false);
}

CUresult cuMemcpyAtoD_v2(CUdeviceptr dst, CUarray src, size_t offset, size_t bytes,
                         uint16_t flags) {
  return copyLinear({CU_MEMORYTYPE_DEVICE, dst}, {CU_MEMORYTYPE_ARRAY, 0, src, offset}, bytes,
                    nullptr, flags, false);
}

CUresult cuMemcpyHtoA_v2(CUarray dst, size_t offset, const void* src, size_t bytes,
                         uint16_t flags) {
  return copyLinear({CU_MEMORYTYPE_ARRAY, 0, dst, offset}, {CU_MEMORYTYPE_HOST, addressOf(src)},
                    bytes, nullptr, flags, false);
}

CUresult cuMemcpyAtoH_v2(void* dst, CUarray src, size_t offset, size_t bytes, uint16_t flags) {
  return copyLinear({CU_MEMORYTYPE_HOST, addressOf(dst)}, {CU_MEMORYTYPE_ARRAY, 0, src, offset},
                    bytes, nullptr, flags, false);
}

CUresult cuMemcpyAtoA_v2(CUarray dst, size_t dst_offset, CUarray src, size_t src_offset,
                         size_t bytes, uint16_t flags) {
  return copyLinear({CU_MEMORYTYPE_ARRAY, 0, dst, dst_offset},
                    {CU_MEMORYTYPE_ARRAY, 0, src, src_offset}, bytes, nullptr, flags, false);
}

CUresult cuMemcpyHtoAAsync_v2(CUarray dst, size_t offset, const void* src, size_t bytes,
                              CUstream stream, uint16_t flags) {
  return copyLinear({CU_MEMORYTYPE_ARRAY, 0, dst, offset}, {CU_MEMORYTYPE_HOST, addressOf(src)},
                    bytes, stream, flags, true);
}

CUresult cuMemcpyAtoHAsync_v2(void* dst, CUarray src, size_t offset, size_t bytes, CUstream stream,
                              uint16_t flags) {
  return copyLinear({CU_MEMORYTYPE_HOST, addressOf(dst)}, {CU_MEMORYTYPE_ARRAY, 0, src, offset},
                    bytes, stream, flags, true);
}

}  // namespace farwarp::cpu::calls
