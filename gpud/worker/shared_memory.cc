#include "gpud/worker/shared_memory.h"

#include <errno.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace farwarp::worker {
namespace {

// User addresses of x86-64; the lowest 64 KiB are nobody's.
constexpr uint64_t kAddressMin = uint64_t{1} << 16;
constexpr uint64_t kAddressMax = uint64_t{1} << 47;

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

}  // namespace

CUresult SharedMemory::checkNew(uint64_t address, uint64_t bytes) const {
  if (bytes == 0 || address % kPageBytes != 0 || bytes % kPageBytes != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (address < kAddressMin || address >= kAddressMax || bytes > kAddressMax - address) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (ranges_.size() >= kRangesMax || bytes > bytes_max_ - std::min(bytes_max_, bytes_)) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const auto next = ranges_.lower_bound(address);
  if (next != ranges_.end() && next->first < address + bytes) return CUDA_ERROR_INVALID_VALUE;
  if (next != ranges_.begin()) {
    const auto& [begin, previous] = *std::prev(next);
    if (begin + previous.bytes > address) return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult SharedMemory::registerPages(uint64_t address, uint64_t bytes) const {
  const CUresult registered = driver_.cuMemHostRegister_v2(
      pointer(address), bytes, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
  if (registered != CUDA_SUCCESS) return registered;
  CUdeviceptr seen = 0;
  const CUresult asked = driver_.cuMemHostGetDevicePointer_v2(&seen, pointer(address), 0);
  if (asked == CUDA_SUCCESS && seen == address) return CUDA_SUCCESS;
  spdlog::warn("The device sees the host memory at {:#x} at {:#x}; it cannot be shared.", address,
               seen);
  static_cast<void>(driver_.cuMemHostUnregister(pointer(address)));
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult SharedMemory::map(uint64_t address, uint64_t bytes, CUcontext context) {
  if (CUresult r = checkNew(address, bytes); r != CUDA_SUCCESS) return r;
  void* at = mmap(pointer(address), bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  const int error = errno;
  if (at != pointer(address)) {
    // A kernel that does not know MAP_FIXED_NOREPLACE takes the address as a wish.
    if (at != MAP_FAILED) munmap(at, bytes);
    spdlog::warn("{} bytes of host memory cannot lie at {:#x} here: {}.", bytes, address,
                 at == MAP_FAILED ? strerror(error) : "other memory is there");
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  if (CUresult r = registerPages(address, bytes); r != CUDA_SUCCESS) {
    munmap(at, bytes);
    return r;
  }
  ranges_[address] = {bytes, context, false};
  bytes_ += bytes;
  return CUDA_SUCCESS;
}

CUresult SharedMemory::adopt(uint64_t address, uint64_t bytes) {
  if (CUresult r = checkNew(address, bytes); r != CUDA_SUCCESS) return r;
  uint64_t begin = 0, whole = 0;
  pagesOf(driver_, address, begin, whole);
  if (whole == 0 || address != begin || bytes > whole) return CUDA_ERROR_INVALID_VALUE;
  ranges_[address] = {bytes, nullptr, true};
  bytes_ += bytes;
  return CUDA_SUCCESS;
}

void SharedMemory::pagesOf(const DriverTable& driver, uint64_t address, uint64_t& begin,
                           uint64_t& bytes) {
  unsigned managed = 0;
  CUdeviceptr base = 0;
  size_t whole = 0;
  begin = bytes = 0;
  // Asks both in the form that needs no context: managed variables exist before there is one.
  CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                      CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
                                      CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void* values[] = {&managed, &base, &whole};
  if (driver.cuPointerGetAttributes(3, attributes, values, address) != CUDA_SUCCESS ||
      managed == 0 || whole == 0) {
    return;
  }
  begin = base / kPageBytes * kPageBytes;
  bytes = (base + whole + kPageBytes - 1) / kPageBytes * kPageBytes - begin;
}

CUresult SharedMemory::release(Ranges::iterator range) {
  const auto [address, what] = *range;
  ranges_.erase(range);
  bytes_ -= what.bytes;
  if (what.foreign) return CUDA_SUCCESS;
  // Whichever context the client's thread has current.
  CUresult result = driver_.cuCtxPushCurrent_v2(what.context);
  if (result == CUDA_SUCCESS) {
    result = driver_.cuMemHostUnregister(pointer(address));
    CUcontext popped = nullptr;
    static_cast<void>(driver_.cuCtxPopCurrent_v2(&popped));
  }
  munmap(pointer(address), what.bytes);
  return result;
}

CUresult SharedMemory::unmap(uint64_t address) {
  const auto found = ranges_.find(address);
  return found == ranges_.end() ? CUDA_ERROR_INVALID_VALUE : release(found);
}

bool SharedMemory::covers(uint64_t address, uint64_t bytes) const {
  // Ranges may touch: what a program sees as one run of bytes may be several of them.
  auto next = ranges_.upper_bound(address);
  if (next == ranges_.begin()) return false;
  for (auto range = std::prev(next);;) {
    const uint64_t end = range->first + range->second.bytes;
    if (address >= end) return false;
    if (bytes <= end - address) return true;
    bytes -= end - address;
    address = end;
    if (++range == ranges_.end() || range->first != end) return false;
  }
}

void SharedMemory::contextEnds(CUcontext context) {
  for (auto range = ranges_.begin(); range != ranges_.end();) {
    const auto next = std::next(range);
    if (range->second.context == context) static_cast<void>(release(range));
    range = next;
  }
}

}  // namespace farwarp::worker
