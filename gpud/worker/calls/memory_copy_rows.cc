// Copies of two and three dimensions and of arrays, of which only the rows' bytes cross the wire.
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
bool toDevice(const Args& args) {
  return args.dst != 0 || args.dst_array != 0;
}

template <typename Args>
bool fromDevice(const Args& args) {
  return args.src != 0 || args.src_array != 0;
}

// The ends on the device. False when the call is over: the array is none, or the peer sent
// nonsense.
template <typename Args>
bool findDestination(Session& session, CallContext& call, const Args& args, DeviceBox& box) {
  CUarray array = nullptr;
  const CUresult result = session.resolve(wire::HandleType::array, args.dst_array, &array);
  const bool sane = array != nullptr
                        ? box.assign(array, args.dst_x, args.dst_y, args.dst_z, boxOf(args))
                        : box.assign(destinationRows(args), boxOf(args));
  if (result != CUDA_SUCCESS) {
    call.finish(result);
  } else if (!sane) {
    call.malformed(kNotABox);
  }
  return result == CUDA_SUCCESS && sane;
}

template <typename Args>
bool findSource(Session& session, CallContext& call, const Args& args, DeviceBox& box) {
  CUarray array = nullptr;
  const CUresult result = session.resolve(wire::HandleType::array, args.src_array, &array);
  const bool sane = array != nullptr
                        ? box.assign(array, args.src_x, args.src_y, args.src_z, boxOf(args))
                        : box.assign(sourceRows(args), boxOf(args));
  if (result != CUDA_SUCCESS) {
    call.finish(result);
  } else if (!sane) {
    call.malformed(kNotABox);
  }
  return result == CUDA_SUCCESS && sane;
}

// A box that is linear at one end need not be at the other, so both ends are given as they came.
template <typename Args>
void copyOnDevice(Session& session, CallContext& call, const Args& args, CUstream stream) {
  DeviceBox to, from;
  if (!findDestination(session, call, args, to) || !findSource(session, call, args, from)) return;
  CUDA_MEMCPY3D parameters{};
  to.putDestination(parameters);
  from.putSource(parameters);
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
  DeviceBox box;
  if (!toDevice(args)) {
    if (!findSource(session, call, args, box)) return;
    return copyToClient<wire::Reply_cuMemcpy3D_v2>(session, call, box, args.transfer, stream);
  }
  if (fromDevice(args)) return copyOnDevice(session, call, args, stream);
  if (!findDestination(session, call, args, box)) return;
  copyFromClient(session, call, box, {args.transfer, args.data}, stream, true);
}

void cuMemcpy3DAsync_v2(Session& session, CallContext& call,
                        const wire::Args_cuMemcpy3DAsync_v2& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  DeviceBox box;
  if (!toDevice(args)) {
    if (!findSource(session, call, args, box)) return;
    return copyToClientLater(session, call, box, args.transfer, stream);
  }
  if (fromDevice(args)) return copyOnDevice(session, call, args, stream);
  if (!findDestination(session, call, args, box)) return;
  copyFromClient(session, call, box, {args.transfer, args.data}, stream, false);
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
