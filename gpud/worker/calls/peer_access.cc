// What the devices of the machine can do with each other's memory.
#include <vector>

#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

void cuDeviceGetP2PAtomicCapabilities(Session& session, CallContext& call,
                                      const wire::Args_cuDeviceGetP2PAtomicCapabilities& args) {
  constexpr size_t kOperationsMax = 4096;
  if (args.operations.size() > kOperationsMax) {
    return call.malformed("It asks about too many atomic operations.");
  }
  std::vector<CUatomicOperation> operations;
  for (const uint32_t operation : args.operations) {
    if (operation >= static_cast<uint32_t>(CU_ATOMIC_OPERATION_MAX)) {
      return call.malformed("It asks about an unknown atomic operation.");
    }
    operations.push_back(static_cast<CUatomicOperation>(operation));
  }
  std::vector<unsigned> capabilities(operations.size());
  const CUresult result = session.driver().cuDeviceGetP2PAtomicCapabilities(
      capabilities.data(), operations.data(), static_cast<unsigned>(operations.size()), args.src,
      args.dst);
  wire::Reply_cuDeviceGetP2PAtomicCapabilities reply;
  reply.capabilities = capabilities;
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
