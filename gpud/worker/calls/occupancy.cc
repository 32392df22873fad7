// Occupancy questions whose arguments are a launch configuration.
#include "gpud/worker/launch_config.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

// The function and the configuration that a question is about.
template <typename Args>
CUresult prepare(Session& session, CallContext& call, const Args& args, CUfunction& function,
                 LaunchConfig& config) {
  CUresult result = session.resolve(wire::HandleType::function, args.function, &function);
  if (result == CUDA_SUCCESS) result = config.set(args);
  if (result != CUDA_SUCCESS) return result;
  return session.resolveStream(args.stream, call.header, &config.get().hStream);
}

}  // namespace

void cuOccupancyMaxActiveClusters(Session& session, CallContext& call,
                                  const wire::Args_cuOccupancyMaxActiveClusters& args) {
  CUfunction function = nullptr;
  LaunchConfig config;
  CUresult result = prepare(session, call, args, function, config);
  if (result != CUDA_SUCCESS) return call.finish(result);
  int clusters = 0;
  result = session.driver().cuOccupancyMaxActiveClusters(&clusters, function, &config.get());
  wire::Reply_cuOccupancyMaxActiveClusters reply;
  reply.clusters = clusters;
  call.finish(result, reply);
}

void cuOccupancyMaxPotentialClusterSize(Session& session, CallContext& call,
                                        const wire::Args_cuOccupancyMaxPotentialClusterSize& args) {
  CUfunction function = nullptr;
  LaunchConfig config;
  CUresult result = prepare(session, call, args, function, config);
  if (result != CUDA_SUCCESS) return call.finish(result);
  int size = 0;
  result = session.driver().cuOccupancyMaxPotentialClusterSize(&size, function, &config.get());
  wire::Reply_cuOccupancyMaxPotentialClusterSize reply;
  reply.size = size;
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
