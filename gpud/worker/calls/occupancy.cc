// Occupancy questions whose arguments are a launch configuration.
#include "gpud/worker/launch_config.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

void cuOccupancyMaxActiveClusters(Session& session, CallContext& call,
                                  const wire::Args_cuOccupancyMaxActiveClusters& args) {
  CUfunction function = nullptr;
  CUresult result = session.resolve(wire::HandleType::function, args.function, &function);
  if (result != CUDA_SUCCESS) return call.finish(result);
  LaunchConfig config;
  result = config.set(args);
  if (result != CUDA_SUCCESS) return call.finish(result);
  result = session.resolveStream(args.stream, call.header, &config.get().hStream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  int clusters = 0;
  result = session.driver().cuOccupancyMaxActiveClusters(&clusters, function, &config.get());
  wire::Reply_cuOccupancyMaxActiveClusters reply;
  reply.clusters = clusters;
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
