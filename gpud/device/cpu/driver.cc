#include "gpud/device/cpu/driver.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "driver/hidden_tables.h"
#include "driver/visible_devices.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu {
namespace {

// Set by cuInit; a child of fork has the parent's state and none of its threads, so it gets an
// error.
std::atomic<bool> g_initialised{false};
std::atomic<bool> g_forked{false};

// The devices of the configuration that this program sees.
std::vector<int> visibleDevicesOf(const Config& config) {
  std::vector<DeviceIdentity> identities;
  for (int index = 0; index < static_cast<int>(config.devices); ++index) {
    identities.push_back(Device(config, index, index).identity());
  }
  return visibleDevices(identities, std::getenv("CUDA_VISIBLE_DEVICES"),
                        std::getenv("CUDA_DEVICE_ORDER"));
}

// Ends the default streams of a thread with the thread.
struct ThreadEnd {
  uint64_t number = 0;
  ~ThreadEnd() {
    if (number != 0) Driver::get().forgetThread(number);
  }
};

}  // namespace

Driver& Driver::get() {
  static Driver* driver = new Driver;
  return *driver;
}

Driver::Driver() {
  if (const char* text = std::getenv("FARWARP_CPU_DEVICE"); text != nullptr) {
    std::string why;
    if (!parseConfig(text, config_, why)) explain(why);
  }
  if (config_.memcheck) memory_.checkExactly();
  for (int index : visibleDevicesOf(config_)) {
    devices_.push_back(std::make_unique<Device>(config_, devices(), index));
    auto context = std::make_shared<Context>(*this, *devices_.back(), true);
    context->setHandle(contexts_.insert(context));
    primaries_.push_back(std::move(context));
  }
  memory_.divide(static_cast<unsigned>(devices_.size()));
  primary_retains_.resize(devices_.size());
  pools_ = std::make_unique<MemoryPools>(*this);
  installHiddenTables(*this);
}

CUresult Driver::init(unsigned flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (g_forked) return CUDA_ERROR_NOT_INITIALIZED;
  if (devices() == 0) return CUDA_ERROR_NO_DEVICE;
  if (!memory_.usable()) {
    explain("The process may not reserve 256 MiB of addresses for device memory.");
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  static std::once_flag once;
  std::call_once(once, [] {
    pthread_atfork(nullptr, nullptr, [] {
      if (g_initialised) g_forked = true;
    });
  });
  g_initialised = true;
  return CUDA_SUCCESS;
}

CUresult Driver::check() const {
  return g_initialised && !g_forked ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

ptx::WorkerPool& Driver::pool() {
  std::call_once(pool_once_,
                 [this] { pool_ = std::make_unique<ptx::WorkerPool>(config_.threads); });
  return *pool_;
}

uint64_t Driver::threadNumberForStreams() {
  ThreadState& thread = threadState();
  if (thread.number == 0) {
    thread.number = ++threads_;
    static thread_local ThreadEnd end;
    end.number = thread.number;
  }
  return thread.number;
}

int Driver::deviceByIndex(uint32_t index) const {
  for (const auto& device : devices_) {
    if (static_cast<uint32_t>(device->index()) == index) return device->ordinal();
  }
  return -1;
}

std::shared_ptr<Context> Driver::contextByNumber(uint64_t number) const {
  for (const auto& context : contexts_.all()) {
    if (context->number() == number) return context;
  }
  return nullptr;
}

void Driver::forgetThread(uint64_t thread) {
  if (check() != CUDA_SUCCESS) return;
  for (const auto& context : contexts_.all()) context->forgetThread(thread);
}

void Driver::explain(std::string_view sentence) {
  constexpr unsigned kMost = 20;
  if (config_.quiet || explained_.fetch_add(1) >= kMost) return;
  std::fprintf(stderr, "farwarp: CPU device: %.*s\n", static_cast<int>(sentence.size()),
               sentence.data());
}

CUresult Driver::primaryContext(CUcontext* context, CUdevice device) {
  if (this->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *context = primaries_[device]->handle();
  return CUDA_SUCCESS;
}

CUcontext Driver::currentContext() {
  return threadState().current();
}

CUresult Driver::contextNumber(CUcontext context, uint64_t* number) {
  const auto found = contexts_.find(context);
  if (found == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const auto green = greens_.ofContext(context);
  *number = green != nullptr ? green->number() : found->number();
  return CUDA_SUCCESS;
}

size_t Driver::visitFunctions(CUmodule module,
                              void (*visit)(void* user, CUfunction function, const char* name),
                              void* user) {
  const auto found = modules_.find(module);
  if (found == nullptr) return 0;
  for (CUfunction handle : found->functions.handles()) {
    const auto function = functions_.find(handle);
    if (function != nullptr) visit(user, handle, function->info().name.c_str());
  }
  return found->functions.handles().size();
}

}  // namespace farwarp::cpu
