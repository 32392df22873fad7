// Buffers for received messages, kept for the next message: fresh pages cost more than the socket.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace farwarp::wire {

// One buffer, 64-byte aligned. Returns to its pool when it goes, and keeps the pool alive. Not for
// several threads at once, as the pool.
class ReceivePool;
class ReceiveBuffer {
 public:
  ReceiveBuffer() = default;
  ReceiveBuffer(ReceiveBuffer&& other) noexcept;
  ReceiveBuffer& operator=(ReceiveBuffer&& other) noexcept;
  ~ReceiveBuffer();
  std::byte* data() const { return data_; }

 private:
  friend class ReceivePool;
  std::shared_ptr<ReceivePool> pool_;
  std::byte* data_ = nullptr;
  uint32_t size_class_ = 0;
};

class ReceivePool : public std::enable_shared_from_this<ReceivePool> {
 public:
  // Keeps at most `bytes_max` bytes of unused buffers. To be owned by a std::shared_ptr.
  explicit ReceivePool(size_t bytes_max) : bytes_max_(bytes_max) {}
  ~ReceivePool();
  ReceivePool(const ReceivePool&) = delete;
  ReceivePool& operator=(const ReceivePool&) = delete;

  // A buffer of at least `bytes`; throws std::bad_alloc.
  ReceiveBuffer take(size_t bytes);

  size_t unusedBytes() const { return unused_bytes_; }

 private:
  friend class ReceiveBuffer;
  static constexpr uint32_t kSmallestShift = 8;  // 256 bytes
  static constexpr uint32_t kClasses = 24;

  void giveBack(std::byte* data, uint32_t size_class);

  const size_t bytes_max_;
  size_t unused_bytes_ = 0;
  std::array<std::vector<std::byte*>, kClasses> unused_;
};

}  // namespace farwarp::wire
