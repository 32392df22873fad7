// CUDA arrays and mipmapped arrays: creating them. The rest is generated.
#include "driver/array_shape.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

namespace {

template <typename Args>
CUDA_ARRAY3D_DESCRIPTOR descriptorOf(const Args& args) {
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  descriptor.Width = args.width;
  descriptor.Height = args.height;
  descriptor.Depth = args.depth;
  descriptor.NumChannels = args.channels;
  descriptor.Flags = args.flags;
  descriptor.Format = static_cast<CUarray_format>(args.format);
  return descriptor;
}

}  // namespace

void cuArray3DCreate_v2(Session& session, CallContext& call,
                        const wire::Args_cuArray3DCreate_v2& args) {
  const CUDA_ARRAY3D_DESCRIPTOR descriptor = descriptorOf(args);
  ArrayShape shape;
  if (CUresult r = describeArray(descriptor, shape); r != CUDA_SUCCESS) return call.finish(r);
  CUarray array = nullptr;
  const CUresult result = session.driver().cuArray3DCreate_v2(&array, &descriptor);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(wire::HandleType::array, args.array, array) != CUDA_SUCCESS) {
    return call.malformed("The array's id may not be used.");
  }
  call.finish(result);
}

void cuMipmappedArrayCreate(Session& session, CallContext& call,
                            const wire::Args_cuMipmappedArrayCreate& args) {
  const CUDA_ARRAY3D_DESCRIPTOR descriptor = descriptorOf(args);
  ArrayShape shape;
  if (CUresult r = describeArray(descriptor, shape); r != CUDA_SUCCESS) return call.finish(r);
  CUmipmappedArray array = nullptr;
  const CUresult result = session.driver().cuMipmappedArrayCreate(&array, &descriptor, args.levels);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(wire::HandleType::mipmappedArray, args.array, array) != CUDA_SUCCESS) {
    return call.malformed("The mipmapped array's id may not be used.");
  }
  call.finish(result);
}

void cuMipmappedArrayGetLevel(Session& session, CallContext& call,
                              const wire::Args_cuMipmappedArrayGetLevel& args) {
  CUmipmappedArray whole = nullptr;
  CUresult result = session.resolve(wire::HandleType::mipmappedArray, args.mipmapped, &whole);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (whole == nullptr) return call.finish(CUDA_ERROR_INVALID_HANDLE);
  CUarray array = nullptr;
  result = session.driver().cuMipmappedArrayGetLevel(&array, whole, args.level);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(wire::HandleType::array, args.array, array, args.mipmapped) != CUDA_SUCCESS) {
    return call.malformed("The id of the level may not be used.");
  }
  call.finish(result);
}

}  // namespace farwarp::worker::calls
