// Streams: what waits for them, and callbacks. The rest is generated.
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

void cuStreamSynchronize(Session& session, CallContext& call,
                         const wire::Args_cuStreamSynchronize& args) {
  CUstream stream = nullptr;
  CUresult result = session.resolveStream(args.hStream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  result = session.driver().cuStreamQuery(stream);
  // Nothing to wait for, but a driver does its housekeeping (memory pools) when it is synchronized.
  if (result == CUDA_SUCCESS) result = session.driver().cuStreamSynchronize(stream);
  if (result != CUDA_ERROR_NOT_READY) return call.finish(result);
  // A marker, not the stream: what other threads issue from now on is not waited for.
  Marker marker;
  result = session.waits().mark(session.contexts().current(), stream, marker);
  if (result != CUDA_SUCCESS) return call.finish(result);
  Completion completion = call.detach();
  session.waits().whenReached(marker, [&session, marker, completion](CUresult reached) mutable {
    session.waits().release(marker);
    completion.finish(reached);
  });
}

void cuStreamAddCallback(Session& session, CallContext& call,
                         const wire::Args_cuStreamAddCallback& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  call.finish(
      session.hostFunctions().addCallback(session.contexts().current(), stream, args.function));
}

}  // namespace farwarp::worker::calls
