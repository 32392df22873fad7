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
  for (const auto& [memory, slab] : slabs_) {
    if (region_ && memory == region_->uploads().data()) continue;
    munmap(memory, slab.bytes);
  }
}

bool StagingPool::grow() {
  void* memory =
      mmap(nullptr, kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  // Faults cost more than the copy; huge pages take most of them away.
  madvise(memory, kSlabBytes, MADV_HUGEPAGE);
  auto* first = static_cast<std::byte*>(memory);
  slabs_.emplace(first, Slab{kSlabBytes});
  for (size_t i = kBuffersPerSlab; i-- > 0;) free_.push_back(first + i * kStagingBufferBytes);
  return true;
}

void StagingPool::registerSlab(StagingBuffer buffer, CUcontext context) {
  const auto slab = std::prev(slabs_.upper_bound(buffer));
  if (slab->second.registered_in != nullptr || slab->second.refused) return;
  if (driver_.cuMemHostRegister_v2(slab->first, slab->second.bytes, CU_MEMHOSTREGISTER_PORTABLE) ==
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
  if (placeOf(buffer)) return free_shared_.push_back(buffer);
  bytes_in_use_ -= kStagingBufferBytes;
  free_.push_back(buffer);
}

bool StagingPool::share(wire::SharedRegion region) {
  if (region_) return false;
  region_.emplace(std::move(region));
  slabs_.emplace(region_->uploads().data(), Slab{wire::kSharedRegionBytes});
  for (size_t i = wire::kDownloadSlots; i-- > 0;) {
    free_shared_.push_back(region_->downloads().data() + i * kStagingBufferBytes);
  }
  return true;
}

StagingBuffer StagingPool::takeShared(CUcontext context) {
  if (free_shared_.empty()) return nullptr;
  StagingBuffer buffer = free_shared_.back();
  free_shared_.pop_back();
  if (context != nullptr) registerSlab(buffer, context);
  return buffer;
}

std::optional<uint32_t> StagingPool::placeOf(StagingBuffer buffer) const {
  if (!region_) return std::nullopt;
  const std::span<std::byte> part = region_->downloads();
  const auto at = reinterpret_cast<uintptr_t>(buffer);
  const auto first = reinterpret_cast<uintptr_t>(part.data());
  if (at < first || at >= first + part.size()) return std::nullopt;
  return static_cast<uint32_t>(at - first);
}

void StagingPool::giveAfter(CUcontext context, CUstream stream, StagingBuffer buffer) {
  retire(context, stream, buffer, {});
}

void StagingPool::giveAfter(CUcontext context, CUstream stream, kj::Own<wire::BatchLease> lease) {
  ++leases_retiring_;
  retire(context, stream, nullptr, kj::mv(lease));
  // Somebody waits for it.
  watchLeases();
}

void StagingPool::retire(CUcontext context, CUstream stream, StagingBuffer buffer,
                         kj::Own<wire::BatchLease> lease) {
  Marker marker;
  if (waits_.mark(context, stream, marker) != CUDA_SUCCESS) {
    // No marker in a broken context. The device may still read the buffer: it is never used again.
    if (lease.get() != nullptr) --leases_retiring_;
    return;
  }
  retiring_.push_back({marker, buffer, kj::mv(lease)});
  if (retiring_.size() > 4) collect();
}

void StagingPool::watchLeases() {
  collect();
  if (leases_retiring_ == 0 || watching_leases_) return;
  watching_leases_ = true;
  whenDeviceProgresses([this] {
    watching_leases_ = false;
    watchLeases();
  });
}

void StagingPool::collect() {
  CUresult result;
  while (!retiring_.empty() && waits_.reached(retiring_.front().marker, result)) {
    waits_.release(retiring_.front().marker);
    give(retiring_.front().buffer);
    if (retiring_.front().lease.get() != nullptr) --leases_retiring_;
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
    if (retiring_[i].lease.get() != nullptr) --leases_retiring_;
    retiring_.erase(retiring_.begin() + static_cast<ptrdiff_t>(i));
  }
  for (auto& [memory, slab] : slabs_) {
    if (slab.registered_in != context) continue;
    driver_.cuMemHostUnregister(memory);
    slab.registered_in = nullptr;
  }
}

}  // namespace farwarp::worker
