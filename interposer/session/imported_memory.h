// Memory of other processes that the program has open (cuIpcOpenMemHandle).
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

namespace farwarp::client {

struct ImportedMemory {
  // Held while memory is opened or closed, so that gpud is told in the order in which it happened
  // here. Guards `opened`. Taken before the session log's lock.
  std::mutex transitions;
  std::map<uint64_t, uint64_t> opened;  // address to how often
};

}  // namespace farwarp::client
