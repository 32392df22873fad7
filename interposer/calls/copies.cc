// Copies. Small data travels in the record, more than kInlineDataMax on the bulk connection.
#include "interposer/calls/copies.h"

#include <cstring>

#include "interposer/calls/host_memory.h"

namespace farwarp::client {
namespace {

// Waits for one copy's stream, in the context that it was started in.
CUresult waitForStream(CallScope& outer, const Transfers::Pending& pending) {
  outer.thread().contexts.push_back(pending.context);
  CallScope scope(CallId::cuStreamSynchronize, pending.flags);
  CUresult result = scope.enter(0);
  if (result == CUDA_SUCCESS) {
    wire::Args_cuStreamSynchronize args;
    args.hStream = pending.stream;
    wire::Reply_cuStreamSynchronize reply;
    result = scope.call(args, reply);
  }
  outer.thread().contexts.pop_back();
  return result;
}

// The stream has been waited for, so gpud has told of the copy; if not, nothing more will come of
// it.
CUresult settle(CallScope& scope, uint64_t number, const Transfers::Pending& pending) {
  const CUresult result = waitForStream(scope, pending);
  if (result != CUDA_SUCCESS) scope.client().transfers.forget(number);
  return result;
}

template <typename Args, typename Reply>
CUresult sendUpload(CallScope& scope, Args& args, const void* from, size_t bytes, Place place) {
  const std::span<const std::byte> data(static_cast<const std::byte*>(from), bytes);
  args.bytes = bytes;
  if (bytes <= wire::kInlineDataMax) {
    args.data = data;
  } else {
    args.transfer = scope.client().transfers.nextNumber();
    scope.upload(args.transfer, data);
  }
  if (place == Place::inside) return scope.submit(args);
  Reply reply;
  return scope.call(args, reply);
}

// Into pageable memory, or any memory of a synchronous copy: the bytes are there on return.
CUresult downloadNow(CallScope& scope, void* to, CUdeviceptr from, size_t bytes, uint64_t stream) {
  scope.sendAs(CallId::cuMemcpyDtoH_v2);
  wire::Args_cuMemcpyDtoH_v2 args;
  args.src = from;
  args.bytes = bytes;
  args.stream = stream;
  if (bytes > wire::kInlineDataMax) args.transfer = scope.client().transfers.nextNumber();
  wire::Reply_cuMemcpyDtoH_v2 reply;
  FARWARP_TRY(scope.call(args, reply));
  if (args.transfer == 0) {
    if (reply.data.size() != bytes) return CUDA_ERROR_UNKNOWN;
    std::memcpy(to, reply.data.data(), bytes);
    return CUDA_SUCCESS;
  }
  std::span<std::byte> destination(static_cast<std::byte*>(to), bytes);
  return scope.client().trouble(
      fetchBytes(scope.client().connection(), args.transfer, destination));
}

// Into pinned memory: returns at once; the bytes are there when a later wait returns.
CUresult downloadLater(CallScope& scope, void* to, CUdeviceptr from, size_t bytes, uint64_t stream,
                       uint16_t flags) {
  Transfers& transfers = scope.client().transfers;
  wire::Args_cuMemcpyDtoHAsync_v2 args;
  args.src = from;
  args.bytes = bytes;
  args.stream = stream;
  args.transfer = transfers.nextNumber();
  Transfers::Pending pending;
  pending.destination = to;
  pending.bytes = bytes;
  pending.stream = stream;
  pending.flags = flags;
  FARWARP_TRY(announce(scope, args.transfer, pending));
  const CUresult result = scope.submit(args);
  if (result != CUDA_SUCCESS) transfers.forget(args.transfer);
  return result;
}

// Pinned memory is read when the stream gets there, and a host function that comes before may write
// it. So the copy is a host function itself, which copies through a stream of its own.
CUresult copyInStreamOrder(CallScope& scope, CUdeviceptr to, const void* from, size_t bytes,
                           uint64_t stream, uint16_t flags) {
  HostFunctions& functions = scope.client().host_functions;
  const CUcontext context = scope.thread().current();
  wire::Args_cuLaunchHostFunc args;
  const auto body = [&client = scope.client(), context, to, from, bytes](CUresult) {
    const CUresult copied = client.host_functions.copyNow(context, to, from, bytes);
    if (copied != CUDA_SUCCESS) client.kept_error.store(copied);
  };
  FARWARP_TRY(functions.add(context, HostFunctions::Runs::once, body, args.function));
  args.stream = stream;
  CallScope launch(CallId::cuLaunchHostFunc, flags);
  FARWARP_TRY(launch.enter(0));
  const CUresult result = launch.submit(args);
  if (result != CUDA_SUCCESS) functions.forget(args.function);
  return result;
}

}  // namespace

Place placeOf(Client& client, CUdeviceptr address, size_t bytes) {
  const std::optional<Allocation> memory = client.allocations.findDevice(address);
  if (!memory) return Place::unknown;
  return bytes <= memory->bytes - (address - memory->base) ? Place::inside : Place::outside;
}

bool isPinned(Client& client, const void* start, size_t bytes) {
  const std::optional<Allocation> memory = client.allocations.findHost(idOf(start));
  return memory && bytes <= memory->bytes - (idOf(start) - memory->base);
}

CUresult announce(CallScope& scope, uint64_t transfer, Transfers::Pending pending) {
  Transfers& transfers = scope.client().transfers;
  pending.context = scope.thread().current();
  while (!transfers.add(transfer, pending)) {
    const auto oldest = transfers.findAny();
    if (oldest) FARWARP_TRY(settle(scope, oldest->first, oldest->second));
  }
  return CUDA_SUCCESS;
}

CUresult settlePending(CallScope& scope, const void* start, size_t bytes) {
  while (const auto overlap = scope.client().transfers.findOverlap(start, bytes)) {
    FARWARP_TRY(settle(scope, overlap->first, overlap->second));
    // A copy that is not told of after its stream was waited for has failed in gpud.
    scope.client().transfers.forget(overlap->first);
  }
  return CUDA_SUCCESS;
}

namespace {

CUresult waitForStream(const CopyWhere& where) {
  const DriverTable& table = kClientTable;
  return (where.flags & wire::kPerThreadDefaultStream) != 0
             ? table.cuStreamSynchronize_ptsz(where.stream)
             : table.cuStreamSynchronize(where.stream);
}

bool inGpud(Client& client, uint64_t address) {
  return client.allocations.findDevice(address).has_value();
}

}  // namespace

CUresult copyOnHost(void* to, const void* from, size_t bytes, const CopyWhere& where) {
  FARWARP_TRY(waitForStream(where));
  std::memmove(to, from, bytes);
  return CUDA_SUCCESS;
}

CUresult copyOnDevice(CUdeviceptr to, CUdeviceptr from, size_t bytes, const CopyWhere& where,
                      bool host_waits) {
  const DriverTable& table = kClientTable;
  const bool per_thread = (where.flags & wire::kPerThreadDefaultStream) != 0;
  if (where.async) {
    return per_thread ? table.cuMemcpyDtoDAsync_v2_ptsz(to, from, bytes, where.stream)
                      : table.cuMemcpyDtoDAsync_v2(to, from, bytes, where.stream);
  }
  FARWARP_TRY(per_thread ? table.cuMemcpyDtoD_v2_ptds(to, from, bytes)
                         : table.cuMemcpyDtoD_v2(to, from, bytes));
  return host_waits ? waitForStream(where) : CUDA_SUCCESS;
}

CUresult copyToDevice(CUdeviceptr to, const void* from, size_t bytes, const CopyWhere& where) {
  CallScope scope(where.async ? CallId::cuMemcpyHtoDAsync_v2 : CallId::cuMemcpyHtoD_v2,
                  where.flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  uint64_t stream = 0;
  FARWARP_TRY(scope.use(wire::HandleType::stream, where.stream, stream, true));
  if (bytes == 0) return CUDA_SUCCESS;
  if (from == nullptr || to == 0) return CUDA_ERROR_INVALID_VALUE;
  const Place place = placeOf(scope.client(), to, bytes);
  // Addresses are unified: either side may be the other's memory.
  if (inGpud(scope.client(), idOf(from))) return copyOnDevice(to, idOf(from), bytes, where, true);
  if (place == Place::unknown && isPinned(scope.client(), reinterpret_cast<void*>(to), bytes)) {
    return copyOnHost(reinterpret_cast<void*>(to), from, bytes, where);
  }
  if (place == Place::outside) return CUDA_ERROR_INVALID_VALUE;
  if (where.in_order && where.async && place == Place::inside &&
      scope.client().host_functions.pending() && isPinned(scope.client(), from, bytes)) {
    return copyInStreamOrder(scope, to, from, bytes, stream, where.flags);
  }
  if (where.in_order) FARWARP_TRY(settlePending(scope, from, bytes));
  shareReferenced(scope, {static_cast<const std::byte*>(from), bytes});
  const bool shared = scope.client().shared_memory.contains(to);
  if (shared) scope.touchesShared();
  if (where.async) {
    wire::Args_cuMemcpyHtoDAsync_v2 args;
    args.dst = to;
    args.stream = stream;
    return sendUpload<wire::Args_cuMemcpyHtoDAsync_v2, wire::Reply_cuMemcpyHtoDAsync_v2>(
        scope, args, from, bytes, place);
  }
  wire::Args_cuMemcpyHtoD_v2 args;
  args.dst = to;
  FARWARP_TRY((sendUpload<wire::Args_cuMemcpyHtoD_v2, wire::Reply_cuMemcpyHtoD_v2>(
      scope, args, from, bytes, place)));
  // The program may look at what was copied, at once.
  return shared ? waitForStream(where) : CUDA_SUCCESS;
}

CUresult copyToHost(void* to, CUdeviceptr from, size_t bytes, const CopyWhere& where) {
  CallScope scope(where.async ? CallId::cuMemcpyDtoHAsync_v2 : CallId::cuMemcpyDtoH_v2,
                  where.flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  uint64_t stream = 0;
  FARWARP_TRY(scope.use(wire::HandleType::stream, where.stream, stream, true));
  if (bytes == 0) return CUDA_SUCCESS;
  if (to == nullptr || from == 0) return CUDA_ERROR_INVALID_VALUE;
  const Place place = placeOf(scope.client(), from, bytes);
  if (inGpud(scope.client(), idOf(to))) return copyOnDevice(idOf(to), from, bytes, where, true);
  if (place == Place::unknown && isPinned(scope.client(), reinterpret_cast<void*>(from), bytes)) {
    return copyOnHost(to, reinterpret_cast<void*>(from), bytes, where);
  }
  if (place == Place::outside) return CUDA_ERROR_INVALID_VALUE;
  if (scope.client().shared_memory.contains(from)) scope.touchesShared();
  // Bytes of an earlier copy must not arrive on top of these.
  FARWARP_TRY(settlePending(scope, to, bytes));
  if (where.async && place == Place::inside && isPinned(scope.client(), to, bytes)) {
    return downloadLater(scope, to, from, bytes, stream, where.flags);
  }
  return downloadNow(scope, to, from, bytes, stream);
}

}  // namespace farwarp::client
