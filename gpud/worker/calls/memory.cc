// Device memory, and copies between it and the client.
#include "gpud/worker/calls/copies.h"
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
    session.memory().add(address, args.bytes, session.contexts().home(),
                         session.contexts().currentDevice());
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
    session.memory().add(address, pitch * args.height, session.contexts().home(),
                         session.contexts().currentDevice());
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

void cuMemcpyHtoD_v2(Session& session, CallContext& call, const wire::Args_cuMemcpyHtoD_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(0, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  copyFromClient(session, call, {args.dst, args.bytes}, {args.transfer, args.data}, stream, true);
}

void cuMemcpyHtoDAsync_v2(Session& session, CallContext& call,
                          const wire::Args_cuMemcpyHtoDAsync_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  copyFromClient(session, call, {args.dst, args.bytes}, {args.transfer, args.data}, stream, false);
}

void cuMemcpyDtoH_v2(Session& session, CallContext& call, const wire::Args_cuMemcpyDtoH_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  copyToClient<wire::Reply_cuMemcpyDtoH_v2>(session, call, {args.src, args.bytes}, args.transfer,
                                            stream);
}

void cuMemcpyDtoHAsync_v2(Session& session, CallContext& call,
                          const wire::Args_cuMemcpyDtoHAsync_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  copyToClientLater(session, call, {args.src, args.bytes}, args.transfer, stream);
}

}  // namespace farwarp::worker::calls
