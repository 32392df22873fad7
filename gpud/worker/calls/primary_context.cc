// The devices' primary contexts, which the session holds as often as its program does.
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

using wire::HandleType;

namespace {

// The primary context ends, though its id stays the same for as long as the client lives.
void suspend(Session& session, const Contexts::Primary& primary, CUdevice device) {
  session.greenContexts().primaryEnds(session, device);
  CUcontext context = nullptr;
  if (session.resolve(HandleType::context, primary.id, &context) == CUDA_SUCCESS && context) {
    session.contexts().announceEnd(primary.id, context);
  }
  session.handles().replace(HandleType::context, primary.id, nullptr);
  session.contexts().currentIsUnknown();
}

}  // namespace

void cuDevicePrimaryCtxRetain(Session& session, CallContext& call,
                              const wire::Args_cuDevicePrimaryCtxRetain& args) {
  CUcontext context = nullptr;
  const CUresult result = session.driver().cuDevicePrimaryCtxRetain(&context, args.dev);
  if (result != CUDA_SUCCESS) return call.finish(result);
  Contexts::Primary& primary = session.contexts().primary(args.dev);
  if (primary.id == 0) {
    if (session.bind(HandleType::context, args.context, context) != CUDA_SUCCESS) {
      return call.malformed("The primary context's id may not be used.");
    }
    primary.id = args.context;
  } else if (primary.id != args.context) {
    return call.malformed("The primary context has another id already.");
  }
  // Behind the same id there may be a new context after the last one was released or reset.
  if (session.handles().find(HandleType::context, primary.id) != context) {
    session.handles().replace(HandleType::context, primary.id, context);
  }
  session.contexts().currentIsUnknown();
  ++primary.retained;
  call.finish(result);
}

void cuDevicePrimaryCtxRelease_v2(Session& session, CallContext& call,
                                  const wire::Args_cuDevicePrimaryCtxRelease_v2& args) {
  Contexts::Primary& primary = session.contexts().primary(args.dev);
  if (primary.retained == 0) return call.finish(CUDA_ERROR_INVALID_CONTEXT);
  if (--primary.retained == 0) suspend(session, primary, args.dev);
  call.finish(session.driver().cuDevicePrimaryCtxRelease_v2(args.dev));
}

// Ends the context but, as CUDA documents, not the program's hold on it.
void cuDevicePrimaryCtxReset_v2(Session& session, CallContext& call,
                                const wire::Args_cuDevicePrimaryCtxReset_v2& args) {
  const Contexts::Primary& primary = session.contexts().primary(args.dev);
  if (primary.id != 0) suspend(session, primary, args.dev);
  call.finish(session.driver().cuDevicePrimaryCtxReset_v2(args.dev));
}

void cuDevicePrimaryCtxSetFlags_v2(Session& session, CallContext& call,
                                   const wire::Args_cuDevicePrimaryCtxSetFlags_v2& args) {
  call.finish(session.driver().cuDevicePrimaryCtxSetFlags_v2(args.dev, args.flags));
}

}  // namespace farwarp::worker::calls
