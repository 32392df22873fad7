// Linking device code at run time.
#include <algorithm>

#include "gpud/worker/link_states.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

using wire::HandleType;

namespace {

// Of an image in one reply; the logs have room beside it.
constexpr size_t kPartBytesMax = wire::kReplyBytesMax / 2;
static_assert(kPartBytesMax + 2 * kJitLogBytesMax < wire::kReplyBytesMax);

}  // namespace

void cuLinkCreate_v2(Session& session, CallContext& call, const wire::Args_cuLinkCreate_v2& args) {
  std::unique_ptr<LinkState> state = session.linkStates().make();
  if (state == nullptr) return call.finish(CUDA_ERROR_OUT_OF_MEMORY);
  if (CUresult r = state->create(args.options, args.values); r != CUDA_SUCCESS) {
    return call.finish(r);
  }
  // It ends by itself, not with a context.
  if (session.bind(HandleType::linkState, args.state, state.get(), 0) != CUDA_SUCCESS) {
    return call.malformed("The link state's id may not be used.");
  }
  session.linkStates().keep(args.state, std::move(state));
  call.finish(CUDA_SUCCESS);
}

void cuLinkAddData_v2(Session& session, CallContext& call,
                      const wire::Args_cuLinkAddData_v2& args) {
  Image input;
  switch (input.gather(session.uploads(), args.transfer, args.data_bytes, args.data)) {
    case Uploads::Progress::waiting:
      return call.stall();
    case Uploads::Progress::malformed:
      return call.malformed("The input's bytes do not add up.");
    case Uploads::Progress::complete:
      break;
  }
  LinkState* state = nullptr;
  CUresult result = session.resolve(HandleType::linkState, args.state, &state);
  if (result == CUDA_SUCCESS && state == nullptr) result = CUDA_ERROR_INVALID_HANDLE;
  JitOptions options;
  if (result == CUDA_SUCCESS) result = options.set(args.options, args.values);
  if (result == CUDA_SUCCESS && args.type >= CU_JIT_NUM_INPUT_TYPES) {
    result = CUDA_ERROR_INVALID_VALUE;
  }
  if (result == CUDA_SUCCESS) result = input.check();
  if (result != CUDA_SUCCESS) return call.finish(result);
  result = state->add(static_cast<CUjitInputType>(args.type), input, args.name, options);
  wire::Reply_cuLinkAddData_v2 reply;
  reply.info_log = state->infoLog();
  reply.error_log = state->errorLog();
  call.finishWithReply(result, reply);
}

void cuLinkComplete(Session& session, CallContext& call, const wire::Args_cuLinkComplete& args) {
  LinkState* state = nullptr;
  CUresult result = session.resolve(HandleType::linkState, args.state, &state);
  if (result == CUDA_SUCCESS && state == nullptr) result = CUDA_ERROR_INVALID_HANDLE;
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (args.offset == 0) result = state->complete();
  if (args.offset > state->image().size()) {
    return call.malformed("It reads behind the end of the linked image.");
  }
  wire::Reply_cuLinkComplete reply;
  reply.info_log = state->infoLog();
  reply.error_log = state->errorLog();
  if (result == CUDA_SUCCESS) {
    const auto rest = state->image().subspan(args.offset);
    reply.image_bytes = state->image().size();
    reply.part = rest.first(std::min(rest.size(), kPartBytesMax));
  }
  call.finishWithReply(result, reply);
}

void cuLinkDestroy(Session& session, CallContext& call, const wire::Args_cuLinkDestroy& args) {
  LinkState* state = nullptr;
  CUresult result = session.resolve(HandleType::linkState, args.state, &state);
  if (result == CUDA_SUCCESS && state == nullptr) result = CUDA_ERROR_INVALID_HANDLE;
  if (result != CUDA_SUCCESS) return call.finish(result);
  session.unbind(HandleType::linkState, args.state);
  session.linkStates().end(args.state);
  call.finish(CUDA_SUCCESS);
}

}  // namespace farwarp::worker::calls
