// What a thread of the program has of its own: its stack of contexts.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace farwarp::cpu {

// Without constructor and destructor, so that it is there for calls at the very end of a thread.
struct ThreadState {
  static constexpr int kDepthMax = 64;

  CUcontext stack[kDepthMax];
  int depth;
  uint64_t number;  // 0 until the thread uses its default stream
  bool in_host_function;

  CUcontext current() const { return depth == 0 ? nullptr : stack[depth - 1]; }
  // Null empties the top of the stack, as cuCtxSetCurrent does.
  void setCurrent(CUcontext context) {
    if (context == nullptr) {
      if (depth != 0) --depth;
    } else {
      if (depth == 0) depth = 1;
      stack[depth - 1] = context;
    }
  }
  // False when the stack is full.
  bool push(CUcontext context) {
    if (depth == kDepthMax) return false;
    stack[depth++] = context;
    return true;
  }
};

inline ThreadState& threadState() {
  static thread_local constinit ThreadState state{};
  return state;
}

}  // namespace farwarp::cpu
