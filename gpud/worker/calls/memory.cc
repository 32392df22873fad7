// Device memory, and copies between it and the client.
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

namespace {

CUresult checkRoom(Session& session) {
  return session.memory().allocations() < session.settings().handles_max ? CUDA_SUCCESS
                                                                         : CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace

void cuMemAlloc_v2(Session& session, CallContext& call, const wire::Args_cuMemAlloc_v2& args) {
  CUdeviceptr address = 0;
  CUresult result = checkRoom(session);
  if (result == CUDA_SUCCESS) result = session.driver().cuMemAlloc_v2(&address, args.bytes);
  if (result == CUDA_SUCCESS) {
    session.memory().add(address, args.bytes, session.contexts().current());
  }
  wire::Reply_cuMemAlloc_v2 reply;
  reply.address = address;
  call.finish(result, reply);
}

void cuMemAllocPitch_v2(Session& session, CallContext& call,
                        const wire::Args_cuMemAllocPitch_v2& args) {
  CUdeviceptr address = 0;
  size_t pitch = 0;
  CUresult result = checkRoom(session);
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuMemAllocPitch_v2(&address, &pitch, args.width_bytes, args.height,
                                                 args.element_bytes);
  }
  if (result == CUDA_SUCCESS) {
    session.memory().add(address, pitch * args.height, session.contexts().current());
  }
  wire::Reply_cuMemAllocPitch_v2 reply;
  reply.address = address;
  reply.pitch = pitch;
  call.finish(result, reply);
}

// Only what this session allocated, and only by its first address, reaches the driver.
void cuMemFree_v2(Session& session, CallContext& call, const wire::Args_cuMemFree_v2& args) {
  if (args.address == 0) return call.finish(CUDA_SUCCESS);
  if (!session.memory().remove(args.address)) return call.finish(CUDA_ERROR_INVALID_VALUE);
  call.finish(session.driver().cuMemFree_v2(args.address));
}

namespace {

// Copies the record's bytes, or those of its transfer, to the device in `stream`. `host_waits`:
// CUDA has the program wait for this copy, so what it issues next may rely on it.
template <typename Args>
void copyToDevice(Session& session, CallContext& call, const Args& args, CUstream stream,
                  bool host_waits) {
  CUresult result = CUDA_SUCCESS;
  if (args.transfer != 0) {
    switch (session.uploads().copyToDevice(args.transfer, args.dst, args.bytes, stream, result)) {
      case Uploads::Progress::waiting:
        return call.stall();
      case Uploads::Progress::malformed:
        return call.malformed("The transfer's bytes do not add up.");
      case Uploads::Progress::complete:
        break;
    }
  } else {
    if (args.data.size() != args.bytes || args.bytes > wire::kInlineDataMax) {
      return call.malformed("The copy's bytes do not add up.");
    }
    // The source is pageable memory, which the driver has read when the call returns.
    result = session.driver().cuMemcpyHtoDAsync_v2(args.dst, args.data.data(), args.bytes, stream);
  }
  if (host_waits && result == CUDA_SUCCESS) session.contexts().copyIssued(stream);
  call.finish(result);
}

}  // namespace

void cuMemcpyHtoD_v2(Session& session, CallContext& call, const wire::Args_cuMemcpyHtoD_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(0, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  copyToDevice(session, call, args, stream, true);
}

void cuMemcpyHtoDAsync_v2(Session& session, CallContext& call,
                          const wire::Args_cuMemcpyHtoDAsync_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  copyToDevice(session, call, args, stream, false);
}

namespace {

// A few bytes travel in the reply itself.
void copySmallToHost(Session& session, CallContext& call, const wire::Args_cuMemcpyDtoH_v2& args,
                     CUstream stream) {
  const CUcontext context = session.contexts().current();
  const StagingBuffer buffer = session.staging().take(context);
  if (buffer == nullptr) return call.finish(CUDA_ERROR_OUT_OF_MEMORY);
  CUresult result = session.driver().cuMemcpyDtoHAsync_v2(buffer, args.src, args.bytes, stream);
  Marker marker;
  if (result == CUDA_SUCCESS) result = session.waits().mark(context, stream, marker);
  if (result != CUDA_SUCCESS) {
    session.staging().give(buffer);
    return call.finish(result);
  }
  const size_t bytes = args.bytes;
  Completion completion = call.detach();
  session.waits().whenReached(
      marker, [&session, marker, buffer, bytes, completion](CUresult reached) mutable {
        session.waits().release(marker);
        wire::Reply_cuMemcpyDtoH_v2 reply;
        reply.data = {buffer, bytes};
        completion.finish(reached, reply);
        session.staging().give(buffer);
      });
}

}  // namespace

void cuMemcpyDtoH_v2(Session& session, CallContext& call, const wire::Args_cuMemcpyDtoH_v2& args) {
  CUstream stream = nullptr;
  CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (args.transfer == 0) {
    if (args.bytes > wire::kInlineDataMax)
      return call.malformed("The copy is too long for a reply.");
    return copySmallToHost(session, call, args, stream);
  }
  if (!session.downloads().mayStart(args.transfer, args.bytes)) {
    return call.malformed("The transfer may not be started.");
  }
  Completion completion = call.detach();
  result = session.downloads().startWaited(
      args.transfer, args.src, args.bytes, stream, [completion](CUresult started) mutable {
        completion.finish(started, wire::Reply_cuMemcpyDtoH_v2{});
      });
  if (result != CUDA_SUCCESS) completion.finish(result);
}

void cuMemcpyDtoHAsync_v2(Session& session, CallContext& call,
                          const wire::Args_cuMemcpyDtoHAsync_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (!session.downloads().mayStart(args.transfer, args.bytes)) {
    return call.malformed("The transfer may not be started.");
  }
  call.finish(session.downloads().startAsync(args.transfer, args.src, args.bytes, stream));
}

}  // namespace farwarp::worker::calls
