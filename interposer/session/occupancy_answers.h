// What gpud's driver said about the occupancy of kernels, so that each question is asked once.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

namespace farwarp::client {

class OccupancyAnswers {
 public:
  static constexpr size_t kMost = 1 << 14;
  // The call, the function, the device, and the call's arguments.
  using Question = std::array<uint64_t, 6>;

  std::optional<uint64_t> find(const Question& question) const {
    std::lock_guard lock(mutex_);
    const auto found = answers_.find(question);
    return found == answers_.end() ? std::nullopt : std::optional(found->second);
  }
  void add(const Question& question, uint64_t answer) {
    std::lock_guard lock(mutex_);
    if (answers_.size() >= kMost) answers_.clear();
    answers_[question] = answer;
  }
  // An attribute or a preference changed, on which answers depend.
  void forget() {
    std::lock_guard lock(mutex_);
    answers_.clear();
  }

 private:
  mutable std::mutex mutex_;  // guards answers_; a leaf lock
  std::map<Question, uint64_t> answers_;
};

}  // namespace farwarp::client
