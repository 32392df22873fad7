#include "gpud/device/cpu/context.h"

#include <algorithm>
#include <cstdio>

#include "cpu_calls_gen.h"
#include "driver/graph/host.h"
#include "driver/hidden_tables.h"
#include "gpud/device/cpu/driver.h"
#include "gpud/device/cpu/green_context.h"
#include "gpud/device/cpu/objects.h"

namespace farwarp::cpu {

// What kernels of a context reach outside: the program's standard streams, and memory for device
// malloc.
class ContextEnvironment final : public ptx::Environment {
 public:
  ContextEnvironment(Driver& driver, Context& context, std::unique_ptr<MemoryView> view)
      : Environment(view->map(), driver.pool(), traitsOf(context.device())),
        memory_(driver.memory()),
        context_(context),
        view_(std::move(view)) {}

  void setPeer(int device, bool seen) { memory_.setPeer(*view_, device, seen); }

  void print(std::string_view text) override { std::fwrite(text.data(), 1, text.size(), stdout); }
  void printAssertion(std::string_view text) override {
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  uint64_t allocate(uint64_t bytes) override {
    const uint64_t heap = context_.limits[CU_LIMIT_MALLOC_HEAP_SIZE];
    if (heap_bytes_.fetch_add(bytes) + bytes > heap) {
      heap_bytes_ -= bytes;
      return 0;
    }
    const uint64_t address = memory_.allocate({.bytes = bytes,
                                               .kind = MemoryKind::heap,
                                               .context = context_.number(),
                                               .device = context_.device().ordinal()},
                                              context_.device().memoryBytes());
    if (address == 0) heap_bytes_ -= bytes;
    return address;
  }
  void release(uint64_t address) override {
    Allocation found;
    if (!memory_.find(address, found) || found.begin != address) return;
    if (memory_.release(address, MemoryKind::heap, found.number)) heap_bytes_ -= found.bytes;
  }
  void setCondition(uint64_t handle, uint32_t value) override {
    graph::State& state = graphHost().state;
    std::lock_guard lock(state.mutex);
    if (const auto condition = state.findConditional(handle)) condition->value = value;
  }

 private:
  static ptx::DeviceTraits traitsOf(const Device& device) {
    ptx::DeviceTraits traits;
    traits.multiprocessors = device.limits().multiprocessors;
    traits.order_seed = device.config().order;
    traits.shared_bytes_max =
        std::max(device.limits().shared_per_block, device.limits().shared_per_block_optin);
    return traits;
  }

  AddressSpace& memory_;
  Context& context_;
  const std::unique_ptr<MemoryView> view_;
  std::atomic<uint64_t> heap_bytes_{0};
};

namespace {

std::atomic<uint64_t> g_context_numbers{0};

}  // namespace

Context::Context(Driver& driver, Device& device, bool primary)
    : driver_(driver),
      device_(device),
      primary_(primary),
      number_(nextNumber()),
      streams_(driver.scheduler()) {
  resetSettings();
}

uint64_t Context::nextNumber() {
  return ++g_context_numbers;
}

void Context::resetSettings() {
  cache_config = CU_FUNC_CACHE_PREFER_NONE;
  shared_config = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
  for (auto& limit : limits) limit = 0;
  limits[CU_LIMIT_STACK_SIZE] = 1024;
  limits[CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20;
  limits[CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20;
  limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64;
}

void Context::activate() {
  std::lock_guard lock(mutex_);
  if (active_) return;
  environment_ = std::make_shared<ContextEnvironment>(driver_, *this,
                                                      driver_.memory().view(device_.ordinal()));
  streams_.open();
  active_.store(true, std::memory_order_release);
}

void Context::end() {
  {
    std::lock_guard lock(mutex_);
    if (!active_) return;
    active_.store(false, std::memory_order_release);
  }
  synchronize();
  driver_.greens().contextEnds(*this);
  contextLocalStorage().endContext(handle_);
  const auto mine = [this](const auto& object) { return object.context.get() == this; };
  for (const auto& stream : driver_.streams().removeIf(mine)) {
    driver_.scheduler().closeStream(stream->stream);
  }
  driver_.events().removeIf(mine);
  driver_.arrays().removeIf(mine);
  driver_.mipmappedArrays().removeIf(mine);
  driver_.textures().removeIf(mine);
  driver_.surfaces().removeIf(mine);
  textures_.clear();
  for (const auto& module : driver_.modules().removeIf(mine)) module->forgetFunctions(driver_);
  for (const auto& library : driver_.libraries().all()) library->forgetContext(number_);
  driver_.ipc().contextEnds(number_);
  driver_.memory().releaseContext(number_);
  for (const auto& other : driver_.contexts().all()) other->forgetPeer(*this);
  std::lock_guard lock(mutex_);
  peers_.clear();
  streams_.close();
  error_ = CUDA_SUCCESS;
  resetSettings();
}

ptx::Environment& Context::environment() {
  return *environment_;
}

CUresult Context::enablePeer(const Context& peer) {
  std::lock_guard lock(mutex_);
  if (!peers_.emplace(peer.number_, peer.device_.ordinal()).second) {
    return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
  }
  environment_->setPeer(peer.device_.ordinal(), true);
  return CUDA_SUCCESS;
}

CUresult Context::disablePeer(const Context& peer) {
  std::lock_guard lock(mutex_);
  if (peers_.erase(peer.number_) == 0) return CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
  const int device = peer.device_.ordinal();
  const bool still = std::any_of(peers_.begin(), peers_.end(),
                                 [&](const auto& other) { return other.second == device; });
  environment_->setPeer(device, still);
  return CUDA_SUCCESS;
}

void Context::forgetPeer(const Context& gone) {
  if (this != &gone && active()) static_cast<void>(disablePeer(gone));
}

void Context::fail(CUresult error) {
  CUresult none = CUDA_SUCCESS;
  error_.compare_exchange_strong(none, error, std::memory_order_acq_rel);
}

std::shared_ptr<Stream> Context::threadStream() {
  return streams_.ofThread(driver_.threadNumberForStreams());
}

void Context::forgetThread(uint64_t thread) {
  streams_.forgetThread(thread);
  for (const auto& green : driver_.greens().ofPrimary(*this)) green->streams().forgetThread(thread);
}

// `greens` keeps what the result points to.
std::vector<ContextStreams*> Context::allStreams(
    GreenContext* only, std::vector<std::shared_ptr<GreenContext>>& greens) {
  if (only != nullptr) return {&only->streams()};
  std::vector<ContextStreams*> all{&streams_};
  greens = driver_.greens().ofPrimary(*this);
  for (const auto& green : greens) all.push_back(&green->streams());
  return all;
}

void Context::synchronize(GreenContext* only) {
  std::vector<std::shared_ptr<GreenContext>> greens;
  for (ContextStreams* streams : allStreams(only, greens)) streams->wait();
}

Mark Context::everything(Work work, GreenContext* only) {
  std::vector<std::shared_ptr<GreenContext>> greens;
  std::vector<Mark> all;
  for (ContextStreams* streams : allStreams(only, greens)) {
    const std::vector<Mark> tail = streams->tail();
    all.insert(all.end(), tail.begin(), tail.end());
  }
  Scheduler& scheduler = driver_.scheduler();
  // Whoever waits for the same streams waits for this, too.
  ContextStreams& mine = only != nullptr ? only->streams() : streams_;
  const auto stream = mine.create(StreamKind::non_blocking);
  const Mark mark = scheduler.submit(stream, std::move(work), std::move(all));
  scheduler.closeStream(stream);
  return mark;
}

void Context::hold(const Mark& mark, GreenContext* only) {
  std::vector<std::shared_ptr<GreenContext>> greens;
  for (ContextStreams* streams : allStreams(only, greens)) streams->hold(mark);
}

}  // namespace farwarp::cpu
