// What gpud said of pairs of devices, which does not change.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <tuple>

namespace farwarp::client {

class PeerFacts {
 public:
  static constexpr int kCanAccess = 0;  // no CUdevice_P2PAttribute has this value

  std::optional<int> find(int fact, int from, int to) const {
    std::lock_guard lock(mutex_);
    const auto found = known_.find({fact, from, to});
    return found == known_.end() ? std::nullopt : std::optional(found->second);
  }
  void add(int fact, int from, int to, int value) {
    std::lock_guard lock(mutex_);
    known_[{fact, from, to}] = value;
  }

 private:
  mutable std::mutex mutex_;  // guards known_; a leaf lock
  std::map<std::tuple<int, int, int>, int> known_;
};

}  // namespace farwarp::client
