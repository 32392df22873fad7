#include "interposer/session/host_functions.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>

#include "client_calls_gen.h"
#include "interposer/calls/copies.h"
#include "interposer/session/client.h"
#include "interposer/session/thread_state.h"

namespace farwarp::client {
namespace {

thread_local bool inside_host_function = false;

}  // namespace

bool HostFunctions::inside() {
  return inside_host_function;
}

CUresult HostFunctions::add(CUcontext context, Runs runs, Body body, uint64_t& number) {
  {
    const std::lock_guard lock(mutex_);
    if (entries_.size() >= wire::kHostFunctionsMax) return CUDA_ERROR_OUT_OF_MEMORY;
    if (const CUresult started = startThreadLocked(); started != CUDA_SUCCESS) return started;
    number = next_++;
    entries_.emplace(number, Entry{context, runs, std::move(body)});
    if (runs == Runs::once) once_.fetch_add(1, std::memory_order_release);
  }
  added_.notify_one();
  return CUDA_SUCCESS;
}

void HostFunctions::removeLocked(std::unordered_map<uint64_t, Entry>::iterator entry) {
  if (entry->second.runs == Runs::once) once_.fetch_sub(1, std::memory_order_release);
  entries_.erase(entry);
}

void HostFunctions::forget(uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(number);
  if (entry != entries_.end()) removeLocked(entry);
}

void HostFunctions::contextEnds(CUcontext context) {
  const std::lock_guard lock(mutex_);
  copy_streams_.erase(context);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto next = std::next(entry);
    if (entry->second.context == context) removeLocked(entry);
    entry = next;
  }
}

std::vector<CUcontext> HostFunctions::contexts() {
  std::vector<CUcontext> found;
  const std::lock_guard lock(mutex_);
  for (const auto& [number, entry] : entries_) {
    if (entry.runs == Runs::once &&
        std::find(found.begin(), found.end(), entry.context) == found.end()) {
      found.push_back(entry.context);
    }
  }
  return found;
}

CUresult HostFunctions::copyNow(CUcontext context, CUdeviceptr to, const void* from, size_t bytes) {
  ThreadState& thread = threadState();
  inside_host_function = false;  // this one may
  thread.setCurrent(context);
  CUstream stream = nullptr;
  CUresult result = CUDA_SUCCESS;
  {
    const std::lock_guard lock(mutex_);
    const auto known = copy_streams_.find(context);
    if (known != copy_streams_.end()) stream = known->second;
  }
  if (stream == nullptr) {
    result = kClientTable.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    const std::lock_guard lock(mutex_);
    if (result == CUDA_SUCCESS) copy_streams_.emplace(context, stream);
  }
  if (result == CUDA_SUCCESS) {
    result = copyToDevice(to, from, bytes, {.stream = stream, .async = true, .in_order = false});
  }
  if (result == CUDA_SUCCESS) result = kClientTable.cuStreamSynchronize(stream);
  thread.setCurrent(nullptr);
  inside_host_function = true;
  return result;
}

CUresult HostFunctions::startThreadLocked() {
  if (thread_) return CUDA_SUCCESS;
  // The program's signal handlers must not run on a thread that it does not know. But its functions
  // may touch memory that is shared with the device, which raises SIGSEGV.
  sigset_t all, old;
  sigfillset(&all);
  sigdelset(&all, SIGSEGV);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_t thread;
  thread_ = pthread_create(&thread, nullptr, threadMain, this) == 0;
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (thread_) pthread_detach(thread);
  return thread_ ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void* HostFunctions::threadMain(void* self) {
  pthread_setname_np(pthread_self(), "farwarp-host");
  static_cast<HostFunctions*>(self)->run();
  return nullptr;
}

void HostFunctions::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [this] { return !entries_.empty(); });
    }
    wire::HostFunctionCall call;
    if (client_.connection().nextHostFunction(call) != wire::Trouble::none) return;
    runOne(call);
    client_.connection().hostFunctionRan(call.ticket);
  }
}

void HostFunctions::runOne(const wire::HostFunctionCall& call) {
  Body body;
  Runs runs = Runs::once;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(call.number);
    if (entry == entries_.end()) return;
    body = entry->second.body;
    runs = entry->second.runs;
  }
  // What the stream copied to the host before it came here is there when the function looks.
  client_.transfers.complete(std::as_bytes(std::span(call.completed)), client_.connection());
  client_.transfers.waitUntilPlaced();
  client_.device_output.write();
  client_.shared_memory.deviceReachedHost();
  inside_host_function = true;
  {
    MessageSpan span(trace::MessageKind::host_function);
    body(static_cast<CUresult>(call.status));
  }
  inside_host_function = false;
  // The stream goes on behind the function, and sees what it wrote.
  if (client_.shared_memory.flush()) static_cast<void>(client_.log.flush());
  // Only now: until then pinned memory may change.
  if (runs == Runs::once) forget(call.number);
}

}  // namespace farwarp::client
