// CUDA arrays: creating them. The rest is generated.
#include "driver/array_shape.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

void cuArray3DCreate_v2(Session& session, CallContext& call,
                        const wire::Args_cuArray3DCreate_v2& args) {
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  descriptor.Width = args.width;
  descriptor.Height = args.height;
  descriptor.Depth = args.depth;
  descriptor.NumChannels = args.channels;
  descriptor.Flags = args.flags;
  descriptor.Format = static_cast<CUarray_format>(args.format);
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

}  // namespace farwarp::worker::calls
