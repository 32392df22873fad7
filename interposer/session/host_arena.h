// Addresses for host memory that the device may see: gpud must be able to have its copy at the same
// ones, so they are taken from a range where hardly any process has something.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

namespace farwarp::client {

class HostArena {
 public:
  // Zeroed private memory, whole pages; 0 when there is none. Reserves the range on first use;
  // where the process may not have it, memory lies wherever the system puts it.
  uint64_t allocate(uint64_t bytes);
  // `bytes` as allocated. Whatever is mapped there goes.
  void free(uint64_t address, uint64_t bytes);

  // `bytes` in whole pages; 0 when it is too much.
  static uint64_t roundUp(uint64_t bytes);

 private:
  void reserveLocked();

  std::mutex mutex_;  // guards what follows; a leaf lock
  bool tried_ = false;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  uint64_t cursor_ = 0;
  std::map<uint64_t, uint64_t> gaps_;  // free parts: begin to end
};

}  // namespace farwarp::client
