// Lets what writes to sockets collect the output of one turn of an event loop and send it as one
// write.
#pragma once

#include <cstddef>
#include <vector>

namespace farwarp::wire {

class OutputFlusher {
 public:
  // Sends what was collected, without blocking. True when that made work for the event loop (a
  // promise was fulfilled), so that the loop must not sleep.
  virtual bool flushOutput() = 0;

 protected:
  ~OutputFlusher() = default;
};

// The flushers of one loop; its event port runs them before it looks for I/O.
class OutputFlushers {
 public:
  void add(OutputFlusher* flusher) { flushers_.push_back(flusher); }
  void remove(OutputFlusher* flusher) { std::erase(flushers_, flusher); }
  bool flushAll() {
    bool made_work = false;
    // By index: a flush that fails can end in the removal of a flusher.
    for (size_t i = 0; i < flushers_.size(); ++i) made_work |= flushers_[i]->flushOutput();
    return made_work;
  }

 private:
  std::vector<OutputFlusher*> flushers_;
};

}  // namespace farwarp::wire
