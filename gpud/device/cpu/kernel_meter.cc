#include "gpud/device/cpu/kernel_meter.h"

#include <time.h>

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace farwarp::cpu {
namespace {

struct Subscription {
  void (*record)(void* user, const KernelRecord* r);
  void* user;
};

// Callbacks hold the lock shared, so that a subscription ends after the last running one.
struct Meter {
  std::atomic<bool> subscribed{false};
  std::shared_mutex mutex;  // guards subscription
  Subscription subscription{};
};

Meter& meter() {
  static Meter* meter = new Meter;
  return *meter;
}

CUresult subscribe(void (*record)(void* user, const KernelRecord* r), void* user) {
  std::unique_lock lock(meter().mutex);
  if (record != nullptr && meter().subscription.record != nullptr) {
    return CUDA_ERROR_ALREADY_ACQUIRED;
  }
  meter().subscription = {record, user};
  meter().subscribed = record != nullptr;
  return CUDA_SUCCESS;
}

}  // namespace

uint64_t nowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + now.tv_nsec;
}

const KernelRecordsTable& kernelRecordsTable() {
  static const KernelRecordsTable table{sizeof(KernelRecordsTable), subscribe};
  return table;
}

void reportKernel(const KernelRecord& record) {
  if (!meter().subscribed) return;
  std::shared_lock lock(meter().mutex);
  const Subscription& subscription = meter().subscription;
  if (subscription.record != nullptr) subscription.record(subscription.user, &record);
}

}  // namespace farwarp::cpu
