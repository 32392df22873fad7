#include "gpud/device/cpu/green_context.h"

#include <mutex>

#include "gpud/device/cpu/context.h"
#include "gpud/device/cpu/driver.h"

namespace farwarp::cpu {

GreenContext::GreenContext(std::shared_ptr<Context> primary, MultiprocessorSet set, uint64_t number,
                           Scheduler& scheduler)
    : primary_(std::move(primary)), set_(std::move(set)), number_(number), streams_(scheduler) {
  streams_.open();
}

CUdevResourceDesc GreenContexts::describe(MultiprocessorSet set) {
  // CUDA has no call that ends a description.
  if (descriptions_.all().size() >= kMost) return nullptr;
  return reinterpret_cast<CUdevResourceDesc>(
      descriptions_.insert(std::make_shared<MultiprocessorSet>(std::move(set))));
}

CUresult GreenContexts::create(const std::shared_ptr<Context>& primary,
                               const MultiprocessorSet& set, std::shared_ptr<GreenContext>& green) {
  if (live_.fetch_add(1) >= kMost) {
    --live_;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  green = std::make_shared<GreenContext>(primary, set, Context::nextNumber(), driver_.scheduler());
  green->handle_ = reinterpret_cast<CUgreenCtx>(handles_.insert(green));
  green->context_handle_ = reinterpret_cast<CUcontext>(driver_.contexts().insert(primary));
  std::unique_lock lock(mutex_);
  by_context_.emplace(green->context_handle_, green);
  return CUDA_SUCCESS;
}

void GreenContexts::end(GreenContext& green) {
  if (!green.active_.exchange(false)) return;
  driver_.contexts().remove(green.context_handle_);
  green.streams_.close();
  --live_;
  std::unique_lock lock(mutex_);
  by_context_.erase(green.context_handle_);
}

bool GreenContexts::destroy(CUgreenCtx handle) {
  const auto green = handles_.remove(handle);
  if (green == nullptr) return false;
  green->streams_.wait();
  end(*green);
  return true;
}

void GreenContexts::contextEnds(const Context& primary) {
  for (const auto& green :
       handles_.removeIf([&](const auto& one) { return one.primary().get() == &primary; })) {
    end(*green);
  }
}

std::shared_ptr<GreenContext> GreenContexts::ofContext(CUcontext context) const {
  if (live_.load(std::memory_order_relaxed) == 0) return nullptr;
  std::shared_lock lock(mutex_);
  const auto found = by_context_.find(context);
  return found == by_context_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<GreenContext>> GreenContexts::ofPrimary(const Context& primary) const {
  std::vector<std::shared_ptr<GreenContext>> mine;
  if (live_.load(std::memory_order_relaxed) == 0) return mine;
  for (const auto& green : handles_.all()) {
    if (green->primary().get() == &primary) mine.push_back(green);
  }
  return mine;
}

}  // namespace farwarp::cpu
