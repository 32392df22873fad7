#include "gpud/worker/green_contexts.h"

#include <vector>

#include "gpud/worker/session.h"

namespace farwarp::worker {

using wire::HandleType;

CUresult GreenContexts::destroy(Session& session, uint64_t id) {
  const auto found = all_.find(id);
  if (found == all_.end()) return CUDA_ERROR_INVALID_CONTEXT;
  const Green green = found->second;
  all_.erase(found);
  CUgreenCtx handle = nullptr;
  CUcontext context = nullptr;
  CUresult result = session.resolve(HandleType::greenContext, id, &handle);
  if (session.resolve(HandleType::context, green.context_id, &context) == CUDA_SUCCESS) {
    session.contexts().announceEnd(green.context_id, context);
    session.contexts().forgetHome(green.context_id);
  }
  if (result == CUDA_SUCCESS) result = session.driver().cuGreenCtxDestroy(handle);
  session.contexts().currentIsUnknown();
  session.unbind(HandleType::context, green.context_id);
  session.unbind(HandleType::greenContext, id);
  return result;
}

void GreenContexts::primaryEnds(Session& session, CUdevice device) {
  std::vector<uint64_t> gone;
  for (const auto& [id, green] : all_) {
    if (green.device == device) gone.push_back(id);
  }
  for (uint64_t id : gone) static_cast<void>(destroy(session, id));
}

}  // namespace farwarp::worker
