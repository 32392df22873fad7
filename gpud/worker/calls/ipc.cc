// Memory of other sessions.
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

// The client wants to know how large it is.
void cuIpcOpenMemHandle_v2(Session& session, CallContext& call,
                           const wire::Args_cuIpcOpenMemHandle_v2& args) {
  const DriverTable& driver = session.driver();
  CUdeviceptr address = 0;
  CUresult result = driver.cuIpcOpenMemHandle_v2(&address, args.handle, args.flags);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUdeviceptr base = 0;
  size_t bytes = 0;
  result = driver.cuMemGetAddressRange_v2(&base, &bytes, address);
  if (result != CUDA_SUCCESS) driver.cuIpcCloseMemHandle(address);
  wire::Reply_cuIpcOpenMemHandle_v2 reply;
  reply.address = address;
  reply.bytes = bytes;
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
