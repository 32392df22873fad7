#include "protocol/receive_pool.h"

#include <bit>
#include <cstdlib>
#include <new>
#include <utility>

namespace farwarp::wire {

ReceiveBuffer::ReceiveBuffer(ReceiveBuffer&& other) noexcept {
  *this = std::move(other);
}

ReceiveBuffer& ReceiveBuffer::operator=(ReceiveBuffer&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) pool_->giveBack(data_, size_class_);
    pool_ = std::move(other.pool_);
    data_ = std::exchange(other.data_, nullptr);
    size_class_ = other.size_class_;
  }
  return *this;
}

ReceiveBuffer::~ReceiveBuffer() {
  if (data_ != nullptr) pool_->giveBack(data_, size_class_);
}

ReceivePool::~ReceivePool() {
  for (auto& list : unused_) {
    for (std::byte* data : list) std::free(data);
  }
}

ReceiveBuffer ReceivePool::take(size_t bytes) {
  uint32_t size_class = 0;
  while ((size_t{1} << (size_class + kSmallestShift)) < bytes) ++size_class;
  if (size_class >= kClasses) throw std::bad_alloc();
  ReceiveBuffer buffer;
  buffer.pool_ = shared_from_this();
  buffer.size_class_ = size_class;
  const size_t capacity = size_t{1} << (size_class + kSmallestShift);
  auto& list = unused_[size_class];
  if (!list.empty()) {
    buffer.data_ = list.back();
    list.pop_back();
    unused_bytes_ -= capacity;
    return buffer;
  }
  buffer.data_ = static_cast<std::byte*>(std::aligned_alloc(64, capacity));
  if (buffer.data_ == nullptr) throw std::bad_alloc();
  return buffer;
}

void ReceivePool::giveBack(std::byte* data, uint32_t size_class) {
  const size_t capacity = size_t{1} << (size_class + kSmallestShift);
  if (unused_bytes_ + capacity > bytes_max_) {
    std::free(data);
    return;
  }
  unused_bytes_ += capacity;
  unused_[size_class].push_back(data);
}

}  // namespace farwarp::wire
