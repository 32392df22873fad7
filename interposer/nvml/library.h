// The state behind the functions: how often it was initialised, and the newest snapshot of gpud.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "interposer/nvml/nvml_types.h"
#include "interposer/nvml/snapshot.h"

namespace farwarp::nvml {

class Library {
 public:
  // The one of the process. Never destroyed: tools ask in their exit handlers.
  static Library& get();

  // Counts; asks the gpud that FARWARP_SERVER names. kDriverNotLoaded when it does not answer.
  [[nodiscard]] Result initialize();
  [[nodiscard]] Result shutDown();

  // A snapshot that is fresh enough for a person: calls that follow each other share one.
  [[nodiscard]] Result snapshot(Snapshot& out);
  // Percent of the time since the call before this one in which a kernel ran; at most 100.
  // kNotSupported with several devices: gpud does not tell their times apart.
  [[nodiscard]] Result utilization(uint32_t& percent);

 private:
  [[nodiscard]] Result refresh();  // with mutex_ held

  std::mutex mutex_;  // guards everything below
  uint32_t initialized_ = 0;
  client::Options options_;
  bool complained_ = false;  // on stderr, once in the life of the process
  Snapshot newest_;
  int64_t asked_ns_ = 0;
  uint64_t rated_clock_ns_ = 0, rated_busy_ns_ = 0;  // of the snapshot that `percent_` began at
  uint32_t percent_ = 0;
};

}  // namespace farwarp::nvml
