// CUDA arrays. What one is like is kept beside its handle, so that questions and the checks of
// copies need no server.
#include "driver/array_shape.h"
#include "interposer/calls/body.h"
#include "interposer/session/arrays.h"

namespace farwarp::client::calls {
namespace {

using wire::HandleType;

CUresult create(CallScope& scope, CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR& descriptor) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto array = std::make_unique<Array>();
  array->descriptor = descriptor;
  FARWARP_TRY(describeArray(descriptor, array->shape));
  wire::Args_cuArray3DCreate_v2 args;
  args.width = descriptor.Width;
  args.height = descriptor.Height;
  args.depth = descriptor.Depth;
  args.format = static_cast<uint32_t>(descriptor.Format);
  args.channels = descriptor.NumChannels;
  args.flags = descriptor.Flags;
  const uint64_t context = idOf(scope.thread().current());
  FARWARP_TRY(scope.create(HandleType::array, args.array, context, array.get()));
  wire::Reply_cuArray3DCreate_v2 reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.array);
    return r;
  }
  array.release();  // Client::release frees it with its handle
  *out = handleOf<CUarray>(args.array);
  return CUDA_SUCCESS;
}

CUresult findArray(CallScope& scope, CUarray handle, const Array*& array) {
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  uint64_t id = 0;
  FARWARP_TRY(scope.use(HandleType::array, handle, id));
  array = static_cast<const Array*>(scope.client().handles.object(id));
  return array == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

}  // namespace

CUresult cuArray3DCreate_v2(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR* descriptor) {
  CallScope scope(CallId::cuArray3DCreate_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  return descriptor == nullptr ? CUDA_ERROR_INVALID_VALUE : create(scope, out, *descriptor);
}

CUresult cuArrayCreate_v2(CUarray* out, const CUDA_ARRAY_DESCRIPTOR* descriptor) {
  CallScope scope(CallId::cuArray3DCreate_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (descriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return create(scope, out,
                {.Width = descriptor->Width,
                 .Height = descriptor->Height,
                 .Depth = 0,
                 .Format = descriptor->Format,
                 .NumChannels = descriptor->NumChannels,
                 .Flags = 0});
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* out, CUarray handle) {
  CallScope scope(CallId::cuArrayGetDescriptor_v2);
  const Array* array = nullptr;
  FARWARP_TRY(findArray(scope, handle, array));
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY3D_DESCRIPTOR& d = array->descriptor;
  *out = {d.Width, d.Height, d.Format, d.NumChannels};
  return CUDA_SUCCESS;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* out, CUarray handle) {
  CallScope scope(CallId::cuArray3DGetDescriptor_v2);
  const Array* array = nullptr;
  FARWARP_TRY(findArray(scope, handle, array));
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = array->descriptor;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
