// What the hand-written bodies of driver calls have in common.
#pragma once

#include "client_calls_gen.h"
#include "handle_types_gen.h"
#include "interposer/session/call_scope.h"
#include "interposer/session/client.h"
#include "interposer/session/thread_state.h"

namespace farwarp::client {

// Return early with an error of CUDA.
#define FARWARP_TRY(expression)                                                        \
  do {                                                                                 \
    if (CUresult try_result = (expression); try_result != CUDA_SUCCESS) [[unlikely]] { \
      return try_result;                                                               \
    }                                                                                  \
  } while (false)

inline uint64_t idOf(const void* handle) {
  return reinterpret_cast<uint64_t>(handle);
}

template <typename Handle>
Handle handleOf(uint64_t id) {
  return reinterpret_cast<Handle>(id);
}

// The context that owns what is made now: the current one, or its primary context if it came from a
// green one. Only after enter(kNeedsContext).
inline Context& currentContext(CallScope& scope) {
  return scope.client().contexts.find(scope.thread().current())->home();
}

// The green context that a stream is of, or the current context for a default stream; null for
// none. Only after enter(kNeedsContext).
inline GreenContext* greenOf(CallScope& scope, uint64_t stream) {
  Client& client = scope.client();
  if (wire::isSpecialHandle(wire::HandleType::stream, stream) || stream == 0) {
    return client.contexts.find(scope.thread().current())->green;
  }
  return static_cast<GreenContext*>(client.handles.object(stream));
}

}  // namespace farwarp::client
