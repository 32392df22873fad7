// Contexts of the session's own.
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

using wire::HandleType;

void cuCtxCreate_v2(Session& session, CallContext& call, const wire::Args_cuCtxCreate_v2& args) {
  CUcontext context = nullptr;
  const CUresult result = session.driver().cuCtxCreate_v2(&context, args.flags, args.dev);
  session.contexts().currentIsUnknown();
  if (result != CUDA_SUCCESS) return call.finish(result);
  // The client keeps the stacks of its threads. The driver's own stack of this thread would only
  // grow: contexts do not leave it when they are destroyed further down.
  CUcontext popped = nullptr;
  (void)session.driver().cuCtxPopCurrent_v2(&popped);
  if (session.bind(HandleType::context, args.context, context) != CUDA_SUCCESS) {
    return call.malformed("The context's id may not be used.");
  }
  call.finish(result);
}

void cuCtxDestroy_v2(Session& session, CallContext& call, const wire::Args_cuCtxDestroy_v2& args) {
  CUcontext context = nullptr;
  const CUresult found = session.resolve(HandleType::context, args.context, &context);
  if (found != CUDA_SUCCESS) return call.finish(found);
  if (context == nullptr) return call.finish(CUDA_ERROR_INVALID_CONTEXT);
  session.contexts().announceEnd(args.context, context);
  const CUresult result = session.driver().cuCtxDestroy_v2(context);
  session.contexts().currentIsUnknown();
  session.unbind(HandleType::context, args.context);
  call.finish(result);
}

namespace {

void synchronize(Session& session, CallContext& call, CUcontext context) {
  Completion completion = call.detach();
  session.waits().whenReturned(
      context, [&driver = session.driver()] { return driver.cuCtxSynchronize(); },
      [completion](CUresult result) mutable { completion.finish(result); });
}

}  // namespace

void cuCtxSynchronize(Session& session, CallContext& call, const wire::Args_cuCtxSynchronize&) {
  const CUcontext context = session.contexts().current();
  if (context == nullptr) return call.finish(CUDA_ERROR_INVALID_CONTEXT);
  synchronize(session, call, context);
}

void cuCtxSynchronize_v2(Session& session, CallContext& call,
                         const wire::Args_cuCtxSynchronize_v2& args) {
  CUcontext context = session.contexts().current();
  if (args.ctx != 0) {
    const CUresult found = session.resolve(HandleType::context, args.ctx, &context);
    if (found != CUDA_SUCCESS) return call.finish(found);
  }
  if (context == nullptr) return call.finish(CUDA_ERROR_INVALID_CONTEXT);
  synchronize(session, call, context);
}

}  // namespace farwarp::worker::calls
