#include "gpud/worker/host_functions.h"

#include <condition_variable>
#include <mutex>
#include <unordered_map>

#include "protocol/limits.h"

namespace farwarp::worker {

struct HostFunctions::Function {
  std::shared_ptr<Shared> shared;
  CUcontext context;
  uint64_t number;
};

struct HostFunctions::Shared {
  const wire::UvEventPort& port;  // used under the mutex and while not closed
  const Due due;                  // used on the loop's thread, while not closed
  std::mutex mutex;               // guards the rest
  std::condition_variable changed;
  bool closed = false;
  std::unordered_map<Function*, std::unique_ptr<Function>> functions;

  Shared(const wire::UvEventPort& port, Due due) : port(port), due(std::move(due)) {}
};

namespace {

// One run of a function; the driver's thread waits for `done`.
struct Turn {
  bool done = false;
};

}  // namespace

HostFunctions::HostFunctions(const DriverTable& driver, const wire::UvEventPort& port, Due due)
    : driver_(driver), shared_(std::make_shared<Shared>(port, std::move(due))) {}

HostFunctions::~HostFunctions() {
  close();
  const std::lock_guard lock(shared_->mutex);
  if (shared_->functions.empty()) return;
  // The driver holds pointers to them, and may call as long as the process lives.
  static auto& kept_for_the_driver = *new std::vector<std::shared_ptr<Shared>>;
  kept_for_the_driver.push_back(shared_);
}

void HostFunctions::close() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->closed = true;
  }
  shared_->changed.notify_all();
}

HostFunctions::Function* HostFunctions::add(CUcontext context, uint64_t number) {
  auto made = std::make_unique<Function>(Function{shared_, context, number});
  Function* const function = made.get();
  const std::lock_guard lock(shared_->mutex);
  if (shared_->functions.size() >= wire::kHostFunctionsMax) return nullptr;
  shared_->functions.emplace(function, std::move(made));
  return function;
}

CUresult HostFunctions::started(Function* function, CUresult result) {
  if (result != CUDA_SUCCESS) {
    const std::lock_guard lock(shared_->mutex);
    shared_->functions.erase(function);
  }
  return result;
}

CUresult HostFunctions::launch(CUcontext context, CUstream stream, uint64_t number) {
  Function* const function = add(context, number);
  if (function == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  return started(function, driver_.cuLaunchHostFunc(stream, onHostFunction, function));
}

CUresult HostFunctions::addCallback(CUcontext context, CUstream stream, uint64_t number) {
  Function* const function = add(context, number);
  if (function == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = driver_.cuStreamAddCallback(stream, onCallback, function, 0);
  if (result != CUDA_SUCCESS) {
    shared_->due(number, result).detach([](kj::Exception&&) {});
  }
  return started(function, result);
}

CUDA_HOST_NODE_PARAMS HostFunctions::node(uint64_t number) {
  return {onNode, add(nullptr, number)};
}

void HostFunctions::forgetNode(const CUDA_HOST_NODE_PARAMS& node) {
  const std::lock_guard lock(shared_->mutex);
  shared_->functions.erase(static_cast<Function*>(node.userData));
}

void HostFunctions::contextEnds(CUcontext context) {
  const std::lock_guard lock(shared_->mutex);
  std::erase_if(shared_->functions,
                [context](const auto& entry) { return entry.second->context == context; });
}

// On a thread of the driver.
void HostFunctions::run(Function& function, CUresult status) {
  const std::shared_ptr<Shared> shared = function.shared;
  const auto turn = std::make_shared<Turn>();
  const auto finish = [shared, turn] {
    {
      const std::lock_guard lock(shared->mutex);
      turn->done = true;
    }
    shared->changed.notify_all();
  };
  std::unique_lock lock(shared->mutex);
  if (shared->closed) return;
  shared->port.post([shared, finish, number = function.number, status] {
    // On the loop's thread, which is also the one that closes.
    if (shared->closed) return;
    shared->due(number, status)
        .then([finish] { finish(); }, [finish](kj::Exception&&) { finish(); })
        .detach([](kj::Exception&&) {});
  });
  shared->changed.wait(lock, [&] { return turn->done || shared->closed; });
}

void HostFunctions::onHostFunction(void* user) {
  onCallback(nullptr, CUDA_SUCCESS, user);
}

void HostFunctions::onCallback(CUstream, CUresult status, void* user) {
  auto* function = static_cast<Function*>(user);
  run(*function, status);
  const std::shared_ptr<Shared> shared = function->shared;
  const std::lock_guard lock(shared->mutex);
  shared->functions.erase(function);
}

void HostFunctions::onNode(void* user) {
  run(*static_cast<Function*>(user), CUDA_SUCCESS);
}

}  // namespace farwarp::worker
