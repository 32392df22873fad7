// CUDA arrays and mipmapped arrays. What one is like is kept beside its handle, so that questions
// and the checks of copies need no server.
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
  const uint64_t context = currentContext(scope).id;
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

CUresult cuArrayDestroy(CUarray handle) {
  CallScope scope(CallId::cuArrayDestroy);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuArrayDestroy args;
  FARWARP_TRY(scope.use(HandleType::array, handle, args.hArray));
  const auto* array = static_cast<const Array*>(scope.client().handles.object(args.hArray));
  // A level is not the program's to destroy.
  if (array == nullptr || array->is_level) return CUDA_ERROR_INVALID_HANDLE;
  FARWARP_TRY(scope.submit(args));
  scope.destroy(args.hArray);
  return CUDA_SUCCESS;
}

// Arrays that have memory requirements of their own, sparse properties or planes cannot be made.
CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUarray handle, CUdevice) {
  CallScope scope(CallId::cuArrayGetMemoryRequirements);
  const Array* array = nullptr;
  FARWARP_TRY(findArray(scope, handle, array));
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES*, CUarray handle) {
  CallScope scope(CallId::cuArrayGetSparseProperties);
  const Array* array = nullptr;
  FARWARP_TRY(findArray(scope, handle, array));
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuArrayGetPlane(CUarray*, CUarray handle, unsigned) {
  CallScope scope(CallId::cuArrayGetPlane);
  const Array* array = nullptr;
  FARWARP_TRY(findArray(scope, handle, array));
  return CUDA_ERROR_INVALID_VALUE;
}

// --- mipmapped arrays ---

namespace {

CUresult findMipmapped(CallScope& scope, CUmipmappedArray handle, uint64_t& id,
                       MipmappedArray*& array) {
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(scope.use(HandleType::mipmappedArray, handle, id));
  array = static_cast<MipmappedArray*>(scope.client().handles.object(id));
  return array == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

}  // namespace

CUresult cuMipmappedArrayCreate(CUmipmappedArray* out, const CUDA_ARRAY3D_DESCRIPTOR* descriptor,
                                unsigned levels) {
  CallScope scope(CallId::cuMipmappedArrayCreate);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (out == nullptr || descriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ArrayShape shape;
  FARWARP_TRY(describeArray(*descriptor, shape));
  auto array = std::make_unique<MipmappedArray>();
  array->descriptor = *descriptor;
  wire::Args_cuMipmappedArrayCreate args;
  args.width = descriptor->Width;
  args.height = descriptor->Height;
  args.depth = descriptor->Depth;
  args.format = static_cast<uint32_t>(descriptor->Format);
  args.channels = descriptor->NumChannels;
  args.flags = descriptor->Flags;
  args.levels = levels;
  const uint64_t context = currentContext(scope).id;
  FARWARP_TRY(scope.create(HandleType::mipmappedArray, args.array, context, array.get()));
  wire::Reply_cuMipmappedArrayCreate reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.array);
    return r;
  }
  array.release();  // Client::release frees it with its handle
  *out = handleOf<CUmipmappedArray>(args.array);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetLevel(CUarray* out, CUmipmappedArray handle, unsigned level) {
  CallScope scope(CallId::cuMipmappedArrayGetLevel);
  wire::Args_cuMipmappedArrayGetLevel args;
  MipmappedArray* whole = nullptr;
  FARWARP_TRY(findMipmapped(scope, handle, args.mipmapped, whole));
  if (out == nullptr || level >= kArrayLevelsMax) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(whole->mutex);
  if (const auto known = whole->levels.find(level); known != whole->levels.end()) {
    *out = handleOf<CUarray>(known->second);
    return CUDA_SUCCESS;
  }
  auto array = std::make_unique<Array>();
  array->descriptor = levelDescriptor(whole->descriptor, level);
  array->is_level = true;
  FARWARP_TRY(describeArray(array->descriptor, array->shape));
  args.level = level;
  FARWARP_TRY(scope.create(HandleType::array, args.array, args.mipmapped, array.get()));
  wire::Reply_cuMipmappedArrayGetLevel reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.array);
    return r;
  }
  array.release();
  whole->levels[level] = args.array;
  *out = handleOf<CUarray>(args.array);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*,
                                               CUmipmappedArray handle, CUdevice) {
  CallScope scope(CallId::cuMipmappedArrayGetMemoryRequirements);
  uint64_t id = 0;
  MipmappedArray* array = nullptr;
  FARWARP_TRY(findMipmapped(scope, handle, id, array));
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMipmappedArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES*,
                                             CUmipmappedArray handle) {
  CallScope scope(CallId::cuMipmappedArrayGetSparseProperties);
  uint64_t id = 0;
  MipmappedArray* array = nullptr;
  FARWARP_TRY(findMipmapped(scope, handle, id, array));
  return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace farwarp::client::calls
