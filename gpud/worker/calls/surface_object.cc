// Surface objects: creating them. The rest is generated.
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

void cuSurfObjectCreate(Session& session, CallContext& call,
                        const wire::Args_cuSurfObjectCreate& args) {
  CUDA_RESOURCE_DESC resource{};
  resource.resType = CU_RESOURCE_TYPE_ARRAY;
  CUresult result =
      session.resolve(wire::HandleType::array, args.array, &resource.res.array.hArray);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (args.array == 0) return call.finish(CUDA_ERROR_INVALID_HANDLE);
  CUsurfObject value = 0;
  result = session.driver().cuSurfObjectCreate(&value, &resource);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(wire::HandleType::surfObject, args.object, reinterpret_cast<void*>(value)) !=
      CUDA_SUCCESS) {
    return call.malformed("The surface object's id may not be used.");
  }
  wire::Reply_cuSurfObjectCreate reply;
  reply.value = value;
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
