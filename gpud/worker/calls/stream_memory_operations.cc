// Waiting for and writing values in stream order.
#include "gpud/worker/graph_execs.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

void cuStreamBatchMemOp_v2(Session& session, CallContext& call,
                           const wire::Args_cuStreamBatchMemOp_v2& args) {
  const size_t count = args.types.size();
  if (count > wire::kNodeOperationsMax || args.flags.size() != count ||
      args.addresses.size() != count || args.values.size() != count) {
    return call.malformed("The operations of a batch do not add up.");
  }
  std::vector<wire::NodeOperation> given;
  for (size_t i = 0; i < count; ++i) {
    given.push_back({args.types[i], args.flags[i], args.addresses[i], args.values[i]});
  }
  std::vector<CUstreamBatchMemOpParams> operations;
  if (!toOperations(given, operations)) {
    return call.malformed("A batch has an operation that is none.");
  }
  CUstream stream = nullptr;
  CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuStreamBatchMemOp_v2(stream, static_cast<unsigned>(count),
                                                    operations.data(), 0);
  }
  call.finish(result);
}

}  // namespace farwarp::worker::calls
