#include "interposer/nvml/library.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <new>

namespace farwarp::nvml {
namespace {

// Tools ask for fifty things in a row; gpud need not be asked each time.
constexpr int64_t kFreshNs = 50'000'000;
// A shorter time says nothing about how busy a device is.
constexpr uint64_t kRatedNs = 100'000'000;

int64_t nowNs() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace

Library& Library::get() {
  alignas(Library) static std::byte memory[sizeof(Library)];
  static Library* library = new (memory) Library;
  return *library;
}

Result Library::initialize() {
  const std::lock_guard lock(mutex_);
  if (initialized_ == 0) {
    options_ = client::readOptions();
    asked_ns_ = 0;
    if (Result r = refresh(); r != kSuccess) return r;
    rated_clock_ns_ = newest_.clock_ns;
    rated_busy_ns_ = newest_.busy_ns;
    percent_ = 0;
  }
  ++initialized_;
  return kSuccess;
}

Result Library::shutDown() {
  const std::lock_guard lock(mutex_);
  if (initialized_ == 0) return kUninitialized;
  --initialized_;
  return kSuccess;
}

Result Library::refresh() {
  if (asked_ns_ != 0 && nowNs() - asked_ns_ < kFreshNs) return kSuccess;
  if (options_.server.empty()) return kDriverNotLoaded;
  if (std::string why; !fetchSnapshot(options_, newest_, why)) {
    if (!complained_) std::fprintf(stderr, "farwarp: %s\n", why.c_str());
    complained_ = true;
    return kDriverNotLoaded;
  }
  asked_ns_ = nowNs();  // over a slow network too, a burst of calls asks once
  return kSuccess;
}

Result Library::snapshot(Snapshot& out) {
  const std::lock_guard lock(mutex_);
  if (initialized_ == 0) return kUninitialized;
  if (Result r = refresh(); r != kSuccess) return r;
  out = newest_;
  return kSuccess;
}

Result Library::utilization(uint32_t& percent) {
  const std::lock_guard lock(mutex_);
  if (initialized_ == 0) return kUninitialized;
  if (Result r = refresh(); r != kSuccess) return r;
  if (newest_.devices.size() != 1) return kNotSupported;
  const uint64_t time = newest_.clock_ns - rated_clock_ns_;
  if (time >= kRatedNs) {
    const uint64_t busy = newest_.busy_ns - std::min(rated_busy_ns_, newest_.busy_ns);
    percent_ = static_cast<uint32_t>(std::min<uint64_t>(busy * 100 / time, 100));
    rated_clock_ns_ = newest_.clock_ns;
    rated_busy_ns_ = newest_.busy_ns;
  }
  percent = percent_;
  return kSuccess;
}

}  // namespace farwarp::nvml
