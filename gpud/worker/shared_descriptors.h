// The memory of this session that other sessions may import: a descriptor for each, offered under a
// key.
#pragma once

#include <cstdint>
#include <map>

#include "gpud/device/descriptor_broker.h"

namespace farwarp::worker {

class SharedDescriptors {
 public:
  // Null when the memory with this id is not offered.
  const DescriptorKey* find(uint64_t id) const {
    const auto found = keys_.find(id);
    return found == keys_.end() ? nullptr : &found->second;
  }
  // Takes the descriptor if it can be offered.
  bool offer(uint64_t id, int file) {
    const auto key = DescriptorBroker::get().offer(file);
    if (key) keys_[id] = *key;
    return key.has_value();
  }
  void withdraw(uint64_t id) {
    const auto found = keys_.find(id);
    if (found == keys_.end()) return;
    DescriptorBroker::get().withdraw(found->second);
    keys_.erase(found);
  }

 private:
  std::map<uint64_t, DescriptorKey> keys_;
};

}  // namespace farwarp::worker
