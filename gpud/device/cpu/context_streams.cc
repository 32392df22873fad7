#include "gpud/device/cpu/context_streams.h"

namespace farwarp::cpu {

void ContextStreams::open() {
  std::lock_guard lock(mutex_);
  legacy_ = scheduler_.createStream(group_, StreamKind::legacy);
}

void ContextStreams::close() {
  std::lock_guard lock(mutex_);
  for (const auto& [thread, stream] : thread_streams_) scheduler_.closeStream(stream);
  thread_streams_.clear();
  if (legacy_ != nullptr) scheduler_.closeStream(legacy_);
  legacy_ = nullptr;
}

std::shared_ptr<Stream> ContextStreams::legacy() {
  std::lock_guard lock(mutex_);
  return legacy_;
}

std::shared_ptr<Stream> ContextStreams::ofThread(uint64_t thread) {
  std::lock_guard lock(mutex_);
  if (legacy_ == nullptr) return nullptr;
  auto& stream = thread_streams_[thread];
  if (stream == nullptr) stream = scheduler_.createStream(group_, StreamKind::blocking);
  return stream;
}

void ContextStreams::forgetThread(uint64_t thread) {
  std::lock_guard lock(mutex_);
  const auto found = thread_streams_.find(thread);
  if (found == thread_streams_.end()) return;
  scheduler_.closeStream(found->second);
  thread_streams_.erase(found);
}

}  // namespace farwarp::cpu
