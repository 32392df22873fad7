#include "interposer/session/device_output.h"

#include <cstdio>

namespace farwarp::client {

void DeviceOutput::add(bool to_stderr, std::span<const std::byte> text) {
  {
    const std::lock_guard lock(mutex_);
    chunks_.push_back({to_stderr, {reinterpret_cast<const char*>(text.data()), text.size()}});
    kept_bytes_.fetch_add(text.size(), std::memory_order_release);
  }
  if (kept_bytes_.load(std::memory_order_relaxed) > kKeptBytesMax) write();
}

void DeviceOutput::write() {
  if (kept_bytes_.load(std::memory_order_acquire) == 0) return;
  const std::lock_guard writing(writing_);
  std::deque<Chunk> chunks;
  {
    const std::lock_guard lock(mutex_);
    chunks.swap(chunks_);
  }
  size_t written = 0;
  for (const Chunk& chunk : chunks) {
    std::fwrite(chunk.text.data(), 1, chunk.text.size(), chunk.to_stderr ? stderr : stdout);
    written += chunk.text.size();
  }
  // Last: who finds nothing kept must find it written.
  kept_bytes_.fetch_sub(written, std::memory_order_release);
}

}  // namespace farwarp::client
