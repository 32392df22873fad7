// The contexts of the process: primary ones, whose handles exist before they are active, and those
// that cuCtxCreate made.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "interposer/session/handle_table.h"

namespace farwarp::client {

// Lives as long as the process: after its end it is used for a context made later, so that a thread
// that reads it while another ends it reads a context, if an inactive one.
struct GreenContext;

struct Context {
  std::atomic<uint64_t> id{0};      // wire id and CUcontext value
  std::atomic<uint64_t> number{0};  // cuCtxGetId; never used twice
  std::atomic<int> device{0};
  std::atomic<bool> primary{false};
  std::atomic<bool> active{false};  // usable: created, or a primary context that is retained
  std::atomic<uint32_t> flags{0};
  std::atomic<uint32_t> api_version{0};
  std::atomic<CUfunc_cache> cache_config{CU_FUNC_CACHE_PREFER_NONE};
  std::atomic<CUsharedconfig> shared_config{CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE};
  // Of one that cuCtxFromGreenCtx gave: the primary context that has everything but streams, and
  // what it came from. Null for all others.
  std::atomic<Context*> primary_of_green{nullptr};
  std::atomic<GreenContext*> green{nullptr};
  uint32_t retained = 0;  // of a primary context; guarded by Contexts::transitions

  // The context that owns what is made while this one is current, but for streams.
  Context& home() {
    Context* primary_context = primary_of_green.load(std::memory_order_relaxed);
    return primary_context == nullptr ? *this : *primary_context;
  }
  bool usable() const {
    const Context* primary_context = primary_of_green.load(std::memory_order_relaxed);
    return active.load(std::memory_order_relaxed) &&
           (primary_context == nullptr || primary_context->active.load(std::memory_order_relaxed));
  }

  // Ids that end with this context although they hang below a library in the tree of handles.
  std::mutex mutex;  // guards dependents; a leaf lock
  std::vector<uint64_t> dependents;
};

class Contexts {
 public:
  explicit Contexts(HandleTable& handles) : handles_(handles) {}

  // Makes the handles of the primary contexts, all inactive. Call once, when the devices are known.
  [[nodiscard]] CUresult makePrimaries(int devices);

  // The primary context of a device; null when there is no such device.
  Context* primary(int device);

  // A context for cuCtxCreate, active. Its handle is in `id`.
  [[nodiscard]] CUresult create(int device, uint32_t flags, Context*& out);

  // The context that a handle names, active or not; null when it names none. Lock-free.
  Context* find(CUcontext handle) const {
    const auto id = reinterpret_cast<uint64_t>(handle);
    if (wire::HandleId(id).type() != wire::HandleType::context) return nullptr;
    return static_cast<Context*>(handles_.object(id));
  }

  // Takes what cuCtxDestroy ended out of use. Its handle has been destroyed by the caller.
  void retire(Context* context);

  // Held while a primary context is retained, released or reset, so that gpud is told of these in
  // the order in which they happened. Taken before the session log's lock.
  std::mutex transitions;

 private:
  HandleTable& handles_;
  std::mutex mutex_;  // guards the lists below; a leaf lock
  std::deque<Context> storage_;
  std::vector<Context*> unused_;
  std::vector<Context*> primaries_;  // by ordinal; written once
  std::atomic<uint64_t> next_number_{1};
};

}  // namespace farwarp::client
