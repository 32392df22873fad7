// An event that several processes record, query and wait for (CU_EVENT_INTERPROCESS): a page that
// all of them have mapped counts its recordings.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "gpud/device/descriptor_broker.h"

namespace farwarp::cpu {

class SharedEvent {
 public:
  // Null when the system has no memory or no descriptors.
  static std::shared_ptr<SharedEvent> create();
  // Of another process. Null when the file is none.
  static std::shared_ptr<SharedEvent> open(int file);
  ~SharedEvent();
  SharedEvent(const SharedEvent&) = delete;
  SharedEvent& operator=(const SharedEvent&) = delete;

  // A key for other processes, the same each time; null when it cannot be offered.
  const DescriptorKey* key();

  // A recording is queued; it gets a number, with which finish() says that it has happened.
  uint64_t begin();
  void finish(uint64_t number);
  // Of the latest recording in any process; 0 before the first.
  uint64_t latest() const;
  // Whether a recording has happened. That of a process that has ended counts as having.
  bool happened(uint64_t number) const;
  // Returns when it has, or `stop` says so.
  void wait(uint64_t number, const std::function<bool()>& stop) const;

 private:
  struct Page;
  SharedEvent(Page* page, int file) : page_(page), file_(file) {}
  static std::shared_ptr<SharedEvent> map(int file);

  Page* const page_;
  const int file_;
  bool offered_ = false;  // set by the thread that asks first; guarded by the caller
  DescriptorKey key_;
};

}  // namespace farwarp::cpu
