#include "gpud/worker/staging_pool.h"

#include <sys/mman.h>

#include <iterator>
#include <utility>

namespace farwarp::worker {
namespace {

constexpr size_t kBuffersPerSlab = 8;
constexpr size_t kSlabBytes = kBuffersPerSlab * kStagingBufferBytes;

}  // namespace

StagingPool::~StagingPool() {
  for (const auto& [memory, slab] : slabs_) munmap(memory, kSlabBytes);
}

bool StagingPool::grow() {
  void* memory =
      mmap(nullptr, kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  // Faults cost more than the copy; huge pages take most of them away.
  madvise(memory, kSlabBytes, MADV_HUGEPAGE);
  auto* first = static_cast<std::byte*>(memory);
  slabs_.emplace(first, Slab{});
  for (size_t i = kBuffersPerSlab; i-- > 0;) free_.push_back(first + i * kStagingBufferBytes);
  return true;
}

void StagingPool::registerSlab(StagingBuffer buffer, CUcontext context) {
  const auto slab = std::prev(slabs_.upper_bound(buffer));
  if (slab->second.registered_in != nullptr || slab->second.refused) return;
  if (driver_.cuMemHostRegister_v2(slab->first, kSlabBytes, CU_MEMHOSTREGISTER_PORTABLE) ==
      CUDA_SUCCESS) {
    slab->second.registered_in = context;
  } else {
    slab->second.refused = true;
  }
}

StagingBuffer StagingPool::take(CUcontext context) {
  if (bytes_in_use_ + kStagingBufferBytes > bytes_max_ || free_.empty()) collect();
  if (bytes_in_use_ + kStagingBufferBytes > bytes_max_) return nullptr;
  if (free_.empty() && !grow()) return nullptr;
  StagingBuffer buffer = free_.back();
  free_.pop_back();
  bytes_in_use_ += kStagingBufferBytes;
  if (context != nullptr) registerSlab(buffer, context);
  return buffer;
}

void StagingPool::give(StagingBuffer buffer) {
  if (buffer == nullptr) return;
  bytes_in_use_ -= kStagingBufferBytes;
  free_.push_back(buffer);
}

void StagingPool::giveAfter(CUcontext context, CUstream stream, StagingBuffer buffer) {
  Marker marker;
  if (waits_.mark(context, stream, marker) != CUDA_SUCCESS) {
    // No marker in a broken context. The device may still read the buffer: it is never used again.
    return;
  }
  retiring_.push_back({marker, buffer});
  if (retiring_.size() > 4) collect();
}

void StagingPool::collect() {
  CUresult result;
  while (!retiring_.empty() && waits_.reached(retiring_.front().marker, result)) {
    waits_.release(retiring_.front().marker);
    give(retiring_.front().buffer);
    retiring_.pop_front();
  }
}

void StagingPool::whenDeviceProgresses(std::function<void()> then) {
  waits_.whenReached(retiring_.front().marker, [this, then = std::move(then)](CUresult) {
    collect();
    then();
  });
}

void StagingPool::contextEnds(CUcontext context) {
  collect();
  for (size_t i = 0; i < retiring_.size();) {
    if (retiring_[i].marker.context != context) {
      ++i;
      continue;
    }
    give(retiring_[i].buffer);
    retiring_.erase(retiring_.begin() + static_cast<ptrdiff_t>(i));
  }
  for (auto& [memory, slab] : slabs_) {
    if (slab.registered_in != context) continue;
    driver_.cuMemHostUnregister(memory);
    slab.registered_in = nullptr;
  }
}

}  // namespace farwarp::worker
