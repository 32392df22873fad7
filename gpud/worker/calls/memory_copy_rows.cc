// Copies of two and three dimensions, of which only the rows' bytes cross the wire.
#include "gpud/worker/calls/copies.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

constexpr char kNotABox[] =
    "The rows of the copy overlap each other or do not fit an address space.";

template <typename Args>
Rows destinationRows(const Args& args) {
  return {args.dst, args.dst_pitch, args.dst_rows};
}

template <typename Args>
Rows sourceRows(const Args& args) {
  return {args.src, args.src_pitch, args.src_rows};
}

template <typename Args>
CopyBox boxOf(const Args& args) {
  return {args.width, args.height, args.depth};
}

template <typename Args>
void copyOnDevice(Session& session, CallContext& call, const Args& args, CUstream stream) {
  DeviceBox box;
  if (!box.assign(destinationRows(args), boxOf(args)) ||
      !box.assign(sourceRows(args), boxOf(args))) {
    return call.malformed(kNotABox);
  }
  CUDA_MEMCPY3D parameters{};
  parameters.dstMemoryType = parameters.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  parameters.dstDevice = args.dst;
  parameters.dstPitch = args.dst_pitch;
  parameters.dstHeight = args.dst_rows;
  parameters.srcDevice = args.src;
  parameters.srcPitch = args.src_pitch;
  parameters.srcHeight = args.src_rows;
  parameters.WidthInBytes = args.width;
  parameters.Height = args.height;
  parameters.Depth = args.depth;
  call.finish(session.driver().cuMemcpy3DAsync_v2(&parameters, stream));
}

}  // namespace

void cuMemcpy3D_v2(Session& session, CallContext& call, const wire::Args_cuMemcpy3D_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (args.dst != 0 && args.src != 0) return copyOnDevice(session, call, args, stream);
  DeviceBox box;
  if (!box.assign(args.dst != 0 ? destinationRows(args) : sourceRows(args), boxOf(args))) {
    return call.malformed(kNotABox);
  }
  if (args.dst != 0) {
    return copyFromClient(session, call, box, {args.transfer, args.data}, stream, true);
  }
  copyToClient<wire::Reply_cuMemcpy3D_v2>(session, call, box, args.transfer, stream);
}

void cuMemcpy3DAsync_v2(Session& session, CallContext& call,
                        const wire::Args_cuMemcpy3DAsync_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (args.dst != 0 && args.src != 0) return copyOnDevice(session, call, args, stream);
  DeviceBox box;
  if (!box.assign(args.dst != 0 ? destinationRows(args) : sourceRows(args), boxOf(args))) {
    return call.malformed(kNotABox);
  }
  if (args.dst != 0) {
    return copyFromClient(session, call, box, {args.transfer, args.data}, stream, false);
  }
  copyToClientLater(session, call, box, args.transfer, stream);
}

void cuMemcpy3DPeerAsync(Session& session, CallContext& call,
                         const wire::Args_cuMemcpy3DPeerAsync& args) {
  CUstream stream = nullptr;
  CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUDA_MEMCPY3D_PEER parameters{};
  result = session.resolve(wire::HandleType::context, args.dst_context, &parameters.dstContext);
  if (result != CUDA_SUCCESS) return call.finish(result);
  result = session.resolve(wire::HandleType::context, args.src_context, &parameters.srcContext);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (parameters.dstContext == nullptr || parameters.srcContext == nullptr) {
    return call.finish(CUDA_ERROR_INVALID_CONTEXT);
  }
  DeviceBox box;
  if (!box.assign(destinationRows(args), boxOf(args)) ||
      !box.assign(sourceRows(args), boxOf(args))) {
    return call.malformed(kNotABox);
  }
  parameters.dstMemoryType = parameters.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  parameters.dstDevice = args.dst;
  parameters.dstPitch = args.dst_pitch;
  parameters.dstHeight = args.dst_rows;
  parameters.srcDevice = args.src;
  parameters.srcPitch = args.src_pitch;
  parameters.srcHeight = args.src_rows;
  parameters.WidthInBytes = args.width;
  parameters.Height = args.height;
  parameters.Depth = args.depth;
  call.finish(session.driver().cuMemcpy3DPeerAsync(&parameters, stream));
}

}  // namespace farwarp::worker::calls
