// Copies of two and three dimensions, copies of arrays, and copies between contexts.
//
// All of them are copies of a box of rows (driver/copy_shape.h). Only the rows' bytes travel: they
// are packed here and unpacked in gpud, or the other way round.
#include <memory>

#include "driver/array_shape.h"
#include "driver/copy_shape.h"
#include "interposer/calls/copies.h"

namespace farwarp::client::calls {
namespace {

// One end of a copy, found.
struct Side {
  bool on_device = false;
  bool known =
      false;  // all of it is in memory of the device, or page-locked memory, that we know of
};

// The array is alive, and the box lies in it.
CUresult checkArray(CallScope& scope, const CopyEnd& end, const CopyBox& box) {
  uint64_t id = 0;
  FARWARP_TRY(scope.use(wire::HandleType::array, end.array, id));
  const auto* array = static_cast<const Array*>(scope.client().handles.object(id));
  return array == nullptr ? CUDA_ERROR_INVALID_HANDLE : checkInArray(array->shape, end, box);
}

// Addresses are unified: device memory may be page-locked memory of the host. Memory that the
// program calls the host's is always this process's.
CUresult findSide(CallScope& scope, const CopyEnd& end, const CopyBox& box, Side& side) {
  Client& client = scope.client();
  if (end.type == CU_MEMORYTYPE_ARRAY) {
    side = {true, true};
    return checkArray(scope, end, box);
  }
  // Host memory that gpud shares is copied there, in the order of the stream.
  if (end.type != CU_MEMORYTYPE_HOST || client.shared_memory.contains(end.rows.address)) {
    const Place place = placeOf(client, end.rows.address, end.span);
    side = {place != Place::unknown, place == Place::inside};
    if (side.on_device) return side.known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  if (const auto host = client.allocations.findHost(end.rows.address)) {
    side.known = end.span <= host->bytes - (end.rows.address - host->base);
    return side.known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  side.on_device = end.type == CU_MEMORYTYPE_DEVICE;
  return CUDA_SUCCESS;
}

void* hostPointer(const CopyEnd& end) {
  return reinterpret_cast<void*>(end.rows.address);
}

template <typename Args>
void putBox(Args& args, const CopyBox& box) {
  args.width = box.width;
  args.height = box.height;
  args.depth = box.depth;
}

template <typename Args>
void putDestinationRows(Args& args, const Rows& rows) {
  args.dst = rows.address;
  args.dst_pitch = rows.pitch;
  args.dst_rows = rows.slice_rows;
}

template <typename Args>
void putSourceRows(Args& args, const Rows& rows) {
  args.src = rows.address;
  args.src_pitch = rows.pitch;
  args.src_rows = rows.slice_rows;
}

template <typename Args>
void putDestination(Args& args, const CopyEnd& end) {
  if (end.type != CU_MEMORYTYPE_ARRAY) return putDestinationRows(args, end.rows);
  args.dst_array = idOf(end.array);
  args.dst_x = end.x_bytes;
  args.dst_y = end.y;
  args.dst_z = end.z;
}

template <typename Args>
void putSource(Args& args, const CopyEnd& end) {
  if (end.type != CU_MEMORYTYPE_ARRAY) return putSourceRows(args, end.rows);
  args.src_array = idOf(end.array);
  args.src_x = end.x_bytes;
  args.src_y = end.y;
  args.src_z = end.z;
}

// A copy that gpud can refuse only for what the client has checked already need not be waited for.
template <typename Args, typename Reply>
CUresult sendChecked(CallScope& scope, const Args& args, bool checked) {
  if (checked) return scope.submit(args);
  Reply reply;
  return scope.call(args, reply);
}

template <typename Args, typename Reply>
CUresult upload(CallScope& scope, const CopyRequest& request, uint64_t stream, bool checked) {
  const CopyBox& box = request.box;
  FARWARP_TRY(settlePending(scope, hostPointer(request.from), request.from.span));
  std::unique_ptr<std::byte[]> packed;
  std::span<const std::byte> data(static_cast<const std::byte*>(hostPointer(request.from)),
                                  box.bytes());
  if (!isLinear(request.from.rows, box)) {
    packed.reset(new std::byte[box.bytes()]);
    copyRows({idOf(packed.get()), box.width, box.height}, request.from.rows, box);
    data = {packed.get(), box.bytes()};
  }
  Args args;
  putDestination(args, request.to);
  putBox(args, box);
  args.stream = stream;
  if (box.bytes() <= wire::kInlineDataMax) {
    args.data = data;
  } else {
    args.transfer = scope.client().transfers.nextNumber();
    scope.upload(args.transfer, data);
  }
  return sendChecked<Args, Reply>(scope, args, checked);
}

// The bytes are there on return.
CUresult downloadNow(CallScope& scope, const CopyRequest& request, uint64_t stream) {
  const CopyBox& box = request.box;
  scope.sendAs(CallId::cuMemcpy3D_v2);
  wire::Args_cuMemcpy3D_v2 args;
  putSource(args, request.from);
  putBox(args, box);
  args.stream = stream;
  if (box.bytes() > wire::kInlineDataMax) args.transfer = scope.client().transfers.nextNumber();
  wire::Reply_cuMemcpy3D_v2 reply;
  FARWARP_TRY(scope.call(args, reply));
  Client& client = scope.client();
  if (args.transfer != 0) {
    return client.trouble(fetchRows(client.connection(), args.transfer, request.to.rows, box));
  }
  if (reply.data.size() != box.bytes()) return CUDA_ERROR_UNKNOWN;
  copyRows(request.to.rows, {idOf(reply.data.data()), box.width, box.height}, box);
  return CUDA_SUCCESS;
}

// Returns at once; the bytes are there when a later wait returns.
CUresult downloadLater(CallScope& scope, const CopyRequest& request, uint64_t stream,
                       uint16_t record_flags) {
  Transfers& transfers = scope.client().transfers;
  wire::Args_cuMemcpy3DAsync_v2 args;
  putSource(args, request.from);
  putBox(args, request.box);
  args.stream = stream;
  args.transfer = transfers.nextNumber();
  Transfers::Pending pending;
  pending.destination = hostPointer(request.to);
  pending.bytes = request.to.span;
  pending.box = request.box;
  pending.pitch = request.to.rows.pitch;
  pending.slice_rows = request.to.rows.slice_rows;
  pending.stream = stream;
  pending.flags = record_flags;
  FARWARP_TRY(announce(scope, args.transfer, pending));
  const CUresult result = scope.submit(args);
  if (result != CUDA_SUCCESS) transfers.forget(args.transfer);
  return result;
}

// Between two places on the device the program is not made to wait.
template <typename Args, typename Reply>
CUresult copyOnDevice(CallScope& scope, const CopyRequest& request, uint64_t stream, bool checked) {
  Args args;
  putDestination(args, request.to);
  putSource(args, request.from);
  putBox(args, request.box);
  args.stream = stream;
  return sendChecked<Args, Reply>(scope, args, checked);
}

// Ordered behind the stream's earlier work, then done here.
CUresult copyOnHost(CallScope& scope, const CopyRequest& request, const CopyWhere& where) {
  const DriverTable& table = kClientTable;
  const bool per_thread = (where.flags & wire::kPerThreadDefaultStream) != 0;
  FARWARP_TRY(per_thread ? table.cuStreamSynchronize_ptsz(where.stream)
                         : table.cuStreamSynchronize(where.stream));
  FARWARP_TRY(settlePending(scope, hostPointer(request.from), request.from.span));
  FARWARP_TRY(settlePending(scope, hostPointer(request.to), request.to.span));
  copyRows(request.to.rows, request.from.rows, request.box);
  return CUDA_SUCCESS;
}

// `scope` was entered for cuMemcpy3DAsync_v2, or for cuMemcpy3D_v2 when the copy is not
// asynchronous.
CUresult copyBox(CallScope& scope, const CopyRequest& request, uint64_t stream,
                 const CopyWhere& where) {
  using SyncArgs = wire::Args_cuMemcpy3D_v2;
  using AsyncArgs = wire::Args_cuMemcpy3DAsync_v2;
  using SyncReply = wire::Reply_cuMemcpy3D_v2;
  using AsyncReply = wire::Reply_cuMemcpy3DAsync_v2;
  Side to, from;
  FARWARP_TRY(findSide(scope, request.to, request.box, to));
  FARWARP_TRY(findSide(scope, request.from, request.box, from));
  if (to.on_device && from.on_device) {
    const bool checked = to.known && from.known;
    return where.async ? copyOnDevice<AsyncArgs, AsyncReply>(scope, request, stream, checked)
                       : copyOnDevice<SyncArgs, SyncReply>(scope, request, stream, checked);
  }
  if (to.on_device) {
    return where.async ? upload<AsyncArgs, AsyncReply>(scope, request, stream, to.known)
                       : upload<SyncArgs, SyncReply>(scope, request, stream, to.known);
  }
  if (!from.on_device) return copyOnHost(scope, request, where);
  // Bytes of an earlier copy must not arrive on top of these.
  FARWARP_TRY(settlePending(scope, hostPointer(request.to), request.to.span));
  if (where.async && from.known && to.known) {
    return downloadLater(scope, request, stream, where.flags);
  }
  return downloadNow(scope, request, stream);
}

template <typename Parameters>
CUresult copy(const Parameters* parameters, const CopyWhere& where) {
  CallScope scope(where.async ? CallId::cuMemcpy3DAsync_v2 : CallId::cuMemcpy3D_v2, where.flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  uint64_t stream = 0;
  FARWARP_TRY(scope.use(wire::HandleType::stream, where.stream, stream, true));
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CopyRequest request;
  FARWARP_TRY(describeCopy(*parameters, request));
  return request.box.empty() ? CUDA_SUCCESS : copyBox(scope, request, stream, where);
}

CUresult copyLinear(const LinearEnd& to, const LinearEnd& from, size_t bytes,
                    const CopyWhere& where) {
  const CUDA_MEMCPY3D parameters = linearCopy(to, from, bytes);
  return copy(&parameters, where);
}

// --- between contexts ---

// A context that a copy names. Here null does not mean the current one.
CUresult findPeer(CallScope& scope, CUcontext handle, uint64_t& id) {
  FARWARP_TRY(scope.use(wire::HandleType::context, handle, id));
  const Context* context = scope.client().contexts.find(handle);
  return context != nullptr && context->active ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult copyBetween(const CUDA_MEMCPY3D_PEER* parameters, const CopyWhere& where) {
  CallScope scope(CallId::cuMemcpy3DPeerAsync, where.flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuMemcpy3DPeerAsync args;
  FARWARP_TRY(scope.use(wire::HandleType::stream, where.stream, args.stream, true));
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CopyRequest request;
  FARWARP_TRY(describeCopy(*parameters, request));
  const auto named = [](const CopyEnd& end) {
    return end.type != CU_MEMORYTYPE_HOST && end.type != CU_MEMORYTYPE_ARRAY;
  };
  if (named(request.to)) FARWARP_TRY(findPeer(scope, request.to.context, args.dst_context));
  if (named(request.from)) FARWARP_TRY(findPeer(scope, request.from.context, args.src_context));
  if (request.box.empty()) return CUDA_SUCCESS;
  Side to, from;
  FARWARP_TRY(findSide(scope, request.to, request.box, to));
  FARWARP_TRY(findSide(scope, request.from, request.box, from));
  const bool array =
      request.to.type == CU_MEMORYTYPE_ARRAY || request.from.type == CU_MEMORYTYPE_ARRAY;
  if (!to.on_device || !from.on_device || array) {
    // What goes through the client needs no peers, and an array knows its own context.
    scope.sendAs(where.async ? CallId::cuMemcpy3DAsync_v2 : CallId::cuMemcpy3D_v2);
    return copyBox(scope, request, args.stream, where);
  }
  putDestinationRows(args, request.to.rows);
  putSourceRows(args, request.from.rows);
  putBox(args, request.box);
  return sendChecked<wire::Args_cuMemcpy3DPeerAsync, wire::Reply_cuMemcpy3DPeerAsync>(
      scope, args, to.known && from.known);
}

template <typename Args, typename Reply>
CUresult copyBytesBetween(CallScope& scope, Args& args, CUdeviceptr to, CUcontext to_context,
                          CUdeviceptr from, CUcontext from_context, size_t bytes) {
  if (bytes != 0 && (to == 0 || from == 0)) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(findPeer(scope, to_context, args.dstContext));
  FARWARP_TRY(findPeer(scope, from_context, args.srcContext));
  if (bytes == 0) return CUDA_SUCCESS;
  const Place to_place = placeOf(scope.client(), to, bytes);
  const Place from_place = placeOf(scope.client(), from, bytes);
  if (to_place == Place::outside || from_place == Place::outside) return CUDA_ERROR_INVALID_VALUE;
  args.dstDevice = to;
  args.srcDevice = from;
  args.ByteCount = bytes;
  return sendChecked<Args, Reply>(scope, args,
                                  to_place == Place::inside && from_place == Place::inside);
}

}  // namespace

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* parameters, uint16_t record_flags) {
  return copy(parameters, {nullptr, record_flags, false});
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* parameters, uint16_t record_flags) {
  return copy(parameters, {nullptr, record_flags, false});
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* parameters, CUstream stream,
                            uint16_t record_flags) {
  return copy(parameters, {stream, record_flags, true});
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* parameters, uint16_t record_flags) {
  return copy(parameters, {nullptr, record_flags, false});
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* parameters, CUstream stream,
                            uint16_t record_flags) {
  return copy(parameters, {stream, record_flags, true});
}

CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                      CUcontext from_context, size_t bytes, uint16_t record_flags) {
  CallScope scope(CallId::cuMemcpyPeer, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuMemcpyPeer args;
  return copyBytesBetween<wire::Args_cuMemcpyPeer, wire::Reply_cuMemcpyPeer>(
      scope, args, to, to_context, from, from_context, bytes);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                           CUcontext from_context, size_t bytes, CUstream stream,
                           uint16_t record_flags) {
  CallScope scope(CallId::cuMemcpyPeerAsync, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuMemcpyPeerAsync args;
  FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.hStream, true));
  return copyBytesBetween<wire::Args_cuMemcpyPeerAsync, wire::Reply_cuMemcpyPeerAsync>(
      scope, args, to, to_context, from, from_context, bytes);
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* parameters, uint16_t record_flags) {
  return copyBetween(parameters, {nullptr, record_flags, false});
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* parameters, CUstream stream,
                             uint16_t record_flags) {
  return copyBetween(parameters, {stream, record_flags, true});
}

CUresult cuMemcpyDtoA_v2(CUarray dst, size_t offset, CUdeviceptr src, size_t bytes,
                         uint16_t record_flags) {
  return copyLinear({CU_MEMORYTYPE_ARRAY, 0, dst, offset}, {CU_MEMORYTYPE_DEVICE, src}, bytes,
                    {nullptr, record_flags, false});
}

CUresult cuMemcpyAtoD_v2(CUdeviceptr dst, CUarray src, size_t offset, size_t bytes,
                         uint16_t record_flags) {
  return copyLinear({CU_MEMORYTYPE_DEVICE, dst}, {CU_MEMORYTYPE_ARRAY, 0, src, offset}, bytes,
                    {nullptr, record_flags, false});
}

CUresult cuMemcpyHtoA_v2(CUarray dst, size_t offset, const void* src, size_t bytes,
                         uint16_t record_flags) {
  return copyLinear({CU_MEMORYTYPE_ARRAY, 0, dst, offset}, {CU_MEMORYTYPE_HOST, idOf(src)}, bytes,
                    {nullptr, record_flags, false});
}

CUresult cuMemcpyAtoH_v2(void* dst, CUarray src, size_t offset, size_t bytes,
                         uint16_t record_flags) {
  return copyLinear({CU_MEMORYTYPE_HOST, idOf(dst)}, {CU_MEMORYTYPE_ARRAY, 0, src, offset}, bytes,
                    {nullptr, record_flags, false});
}

CUresult cuMemcpyAtoA_v2(CUarray dst, size_t dst_offset, CUarray src, size_t src_offset,
                         size_t bytes, uint16_t record_flags) {
  return copyLinear({CU_MEMORYTYPE_ARRAY, 0, dst, dst_offset},
                    {CU_MEMORYTYPE_ARRAY, 0, src, src_offset}, bytes,
                    {nullptr, record_flags, false});
}

CUresult cuMemcpyHtoAAsync_v2(CUarray dst, size_t offset, const void* src, size_t bytes,
                              CUstream stream, uint16_t record_flags) {
  return copyLinear({CU_MEMORYTYPE_ARRAY, 0, dst, offset}, {CU_MEMORYTYPE_HOST, idOf(src)}, bytes,
                    {stream, record_flags, true});
}

CUresult cuMemcpyAtoHAsync_v2(void* dst, CUarray src, size_t offset, size_t bytes, CUstream stream,
                              uint16_t record_flags) {
  return copyLinear({CU_MEMORYTYPE_HOST, idOf(dst)}, {CU_MEMORYTYPE_ARRAY, 0, src, offset}, bytes,
                    {stream, record_flags, true});
}

}  // namespace farwarp::client::calls
