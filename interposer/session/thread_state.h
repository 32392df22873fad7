// What the client knows about the calling thread.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <vector>

namespace farwarp::client {

struct CallSpan;  // interposer/trace/tracer.h

struct ThreadState {
  uint32_t number = 0;              // from 1, in the order of first calls
  std::vector<CUcontext> contexts;  // the stack of cuCtxPushCurrent; the last one is current
  std::atomic<uint64_t> calls{0};   // written by the thread alone
  CallSpan* span = nullptr;         // the call that is being traced; null when not tracing

  CUcontext current() const { return contexts.empty() ? nullptr : contexts.back(); }
  // cuCtxSetCurrent: replaces the top of the stack; null takes it away.
  void setCurrent(CUcontext context) {
    if (!contexts.empty()) contexts.pop_back();
    if (context != nullptr) contexts.push_back(context);
  }
  void countCall() {
    calls.store(calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

// The calling thread's state, made on its first call and freed when it ends. A call that comes even
// later, from another destructor of the thread, gets a new one.
ThreadState& threadState();

// Calls of all threads, those that ended included.
uint64_t callsOfAllThreads();

}  // namespace farwarp::client
