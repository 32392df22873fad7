// Texture objects: creating them. The rest is generated.
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

// False when the call is over.
bool describeResource(Session& session, CallContext& call, const wire::Args_cuTexObjectCreate& args,
                      CUDA_RESOURCE_DESC& resource) {
  const auto format = static_cast<CUarray_format>(args.format);
  CUresult result = CUDA_SUCCESS;
  switch (args.kind) {
    case CU_RESOURCE_TYPE_ARRAY:
      resource.resType = CU_RESOURCE_TYPE_ARRAY;
      result = session.resolve(wire::HandleType::array, args.array, &resource.res.array.hArray);
      if (args.array == 0) result = CUDA_ERROR_INVALID_HANDLE;
      break;
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
      resource.resType = CU_RESOURCE_TYPE_MIPMAPPED_ARRAY;
      result = session.resolve(wire::HandleType::mipmappedArray, args.mipmapped,
                               &resource.res.mipmap.hMipmappedArray);
      if (args.mipmapped == 0) result = CUDA_ERROR_INVALID_HANDLE;
      break;
    case CU_RESOURCE_TYPE_LINEAR:
      resource.resType = CU_RESOURCE_TYPE_LINEAR;
      resource.res.linear.devPtr = args.address;
      resource.res.linear.format = format;
      resource.res.linear.numChannels = args.channels;
      resource.res.linear.sizeInBytes = args.bytes;
      break;
    case CU_RESOURCE_TYPE_PITCH2D:
      resource.resType = CU_RESOURCE_TYPE_PITCH2D;
      resource.res.pitch2D.devPtr = args.address;
      resource.res.pitch2D.format = format;
      resource.res.pitch2D.numChannels = args.channels;
      resource.res.pitch2D.width = args.width;
      resource.res.pitch2D.height = args.height;
      resource.res.pitch2D.pitchInBytes = args.pitch;
      break;
    default:
      call.malformed("A texture is made from a kind of resource that does not exist.");
      return false;
  }
  if (result != CUDA_SUCCESS) call.finish(result);
  return result == CUDA_SUCCESS;
}

}  // namespace

void cuTexObjectCreate(Session& session, CallContext& call,
                       const wire::Args_cuTexObjectCreate& args) {
  CUDA_RESOURCE_DESC resource{};
  if (!describeResource(session, call, args, resource)) return;
  CUtexObject value = 0;
  const CUresult result = session.driver().cuTexObjectCreate(
      &value, &resource, &args.texture, args.has_view != 0 ? &args.view : nullptr);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(wire::HandleType::texObject, args.object, reinterpret_cast<void*>(value)) !=
      CUDA_SUCCESS) {
    return call.malformed("The texture object's id may not be used.");
  }
  wire::Reply_cuTexObjectCreate reply;
  reply.value = value;
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
