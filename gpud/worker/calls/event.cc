// Events: what waits for them. The rest is generated.
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

void cuEventSynchronize(Session& session, CallContext& call,
                        const wire::Args_cuEventSynchronize& args) {
  CUevent event = nullptr;
  const CUresult found = session.resolve(wire::HandleType::event, args.hEvent, &event);
  if (found != CUDA_SUCCESS) return call.finish(found);
  if (event == nullptr) return call.finish(CUDA_ERROR_INVALID_HANDLE);
  Completion completion = call.detach();
  session.waits().whenReached(session.contexts().current(), event,
                              [completion](CUresult result) mutable { completion.finish(result); });
}

}  // namespace farwarp::worker::calls
