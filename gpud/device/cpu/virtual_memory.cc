#include "gpud/device/cpu/virtual_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <iterator>

#include "gpud/device/cpu/driver.h"
#include "gpud/device/cpu/memory_file.h"

namespace farwarp::cpu {
namespace {

bool isGranular(uint64_t value) {
  return value % VirtualMemory::kGranularity == 0;
}

// False for an empty range and one that wraps around.
bool isRange(uint64_t address, uint64_t bytes) {
  return bytes != 0 && address != 0 && address + bytes > address;
}

}  // namespace

void VirtualMemory::waitForDevices() {
  for (const auto& context : driver_.contexts().all()) {
    if (context->active()) context->synchronize();
  }
}

CUresult VirtualMemory::reserve(uint64_t bytes, uint64_t align, uint64_t wanted,
                                uint64_t* address) {
  constexpr uint64_t kPage = AddressSpace::kPageBytes;
  if (bytes == 0 || bytes % kPage != 0 || wanted % kPage != 0) return CUDA_ERROR_INVALID_VALUE;
  if (align != 0 && !std::has_single_bit(align)) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex_);
  if (reservations_.size() >= kReservationsMax) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = driver_.memory().reserve(bytes, std::max(align, kGranularity), wanted);
  if (*address == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  reservations_[*address] = bytes;
  return CUDA_SUCCESS;
}

CUresult VirtualMemory::unreserve(uint64_t address, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  const auto found = reservations_.find(address);
  if (found == reservations_.end() || found->second != bytes) return CUDA_ERROR_INVALID_VALUE;
  Allocation mapped;
  for (uint64_t at = address; at < address + bytes; at += kGranularity) {
    if (driver_.memory().findOne(at, mapped)) return CUDA_ERROR_INVALID_VALUE;
  }
  reservations_.erase(found);
  driver_.memory().unreserve(address, bytes);
  return CUDA_SUCCESS;
}

VirtualMemory::Physical* VirtualMemory::findHeld(uint64_t handle) {
  const auto found = physical_.find(handle);
  return found == physical_.end() || found->second.references == 0 ? nullptr : &found->second;
}

// What may leave the process has a file of its own; all the rest shares one, of which no place is
// used twice.
bool VirtualMemory::backWithFile(Physical& memory) {
  if (memory.properties.requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE) {
    const Device& device = *driver_.device(memory.properties.location.id);
    memory.file =
        createMemoryFile({memory.bytes, memory.bytes, static_cast<uint32_t>(device.index())});
    memory.own_file = true;
    return memory.file >= 0;
  }
  if (private_file_ < 0) private_file_ = createPrivateFile();
  if (private_file_ < 0 ||
      ftruncate(private_file_, static_cast<off_t>(private_bytes_ + memory.bytes)) != 0) {
    return false;
  }
  memory.file = private_file_;
  memory.offset = private_bytes_;
  private_bytes_ += memory.bytes;
  return true;
}

uint64_t VirtualMemory::add(const Physical& memory) {
  const uint64_t handle = ++handles_ << 8 | 0xf0;
  physical_[handle] = memory;
  return handle;
}

CUresult VirtualMemory::create(uint64_t bytes, const CUmemAllocationProp& properties,
                               uint64_t* handle) {
  if (bytes == 0 || !isGranular(bytes)) return CUDA_ERROR_INVALID_VALUE;
  const int device = properties.location.id;
  const uint64_t device_bytes = driver_.device(device)->memoryBytes();
  std::lock_guard lock(mutex_);
  if (physical_.size() >= kPhysicalMax) return CUDA_ERROR_OUT_OF_MEMORY;
  if (!driver_.memory().charge(device, bytes, device_bytes)) {
    driver_.pools().releaseUnused(device, true);
    if (!driver_.memory().charge(device, bytes, device_bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  Physical memory{.bytes = bytes, .properties = properties};
  memory.properties.allocFlags.compressionType = CU_MEM_ALLOCATION_COMP_NONE;
  if (!backWithFile(memory)) {
    driver_.memory().discharge(device, bytes);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *handle = add(memory);
  return CUDA_SUCCESS;
}

void VirtualMemory::endIfUnused(PhysicalMap::iterator at) {
  const Physical& memory = at->second;
  if (memory.references != 0 || memory.mappings != 0) return;
  if (memory.own_file) {
    close(memory.file);
  } else {
    fallocate(memory.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              static_cast<off_t>(memory.offset), static_cast<off_t>(memory.bytes));
  }
  if (!memory.imported) {
    driver_.memory().discharge(memory.properties.location.id, memory.bytes);
  }
  physical_.erase(at);
}

CUresult VirtualMemory::release(uint64_t handle) {
  std::lock_guard lock(mutex_);
  if (findHeld(handle) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto at = physical_.find(handle);
  --at->second.references;
  endIfUnused(at);
  return CUDA_SUCCESS;
}

CUresult VirtualMemory::retain(uint64_t address, uint64_t* handle) {
  std::lock_guard lock(mutex_);
  Allocation mapped;
  if (!driver_.memory().findOne(address, mapped) || mapped.kind != MemoryKind::mapped) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  ++physical_.at(mapped.physical).references;
  *handle = mapped.physical;
  return CUDA_SUCCESS;
}

CUresult VirtualMemory::map(uint64_t address, uint64_t bytes, uint64_t offset, uint64_t handle) {
  if (!isRange(address, bytes) || !isGranular(address) || !isGranular(bytes) || offset != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::lock_guard lock(mutex_);
  Physical* memory = findHeld(handle);
  if (memory == nullptr || bytes > memory->bytes) return CUDA_ERROR_INVALID_VALUE;
  auto reservation = reservations_.upper_bound(address);
  if (reservation == reservations_.begin()) return CUDA_ERROR_INVALID_VALUE;
  --reservation;
  const uint64_t from_begin = address - reservation->first;
  if (from_begin >= reservation->second || bytes > reservation->second - from_begin) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Allocation mapped;
  for (uint64_t at = address; at < address + bytes; at += kGranularity) {
    if (driver_.memory().findOne(at, mapped)) return CUDA_ERROR_INVALID_VALUE;
  }
  const Allocation mapping{.begin = address,
                           .bytes = bytes,
                           .kind = MemoryKind::mapped,
                           .device = memory->properties.location.id,
                           .physical = handle};
  if (!driver_.memory().map(mapping, memory->file, memory->offset)) return CUDA_ERROR_OUT_OF_MEMORY;
  ++memory->mappings;
  return CUDA_SUCCESS;
}

// True when the range is that of one mapping, or of several side by side.
bool VirtualMemory::wholeMappings(uint64_t address, uint64_t bytes) {
  if (!isRange(address, bytes)) return false;
  uint64_t at = address;
  while (at < address + bytes) {
    Allocation mapped;
    if (!driver_.memory().findOne(at, mapped) || mapped.kind != MemoryKind::mapped ||
        mapped.begin != at) {
      return false;
    }
    at = mapped.end();
  }
  return at == address + bytes;
}

CUresult VirtualMemory::unmap(uint64_t address, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (!wholeMappings(address, bytes)) return CUDA_ERROR_INVALID_VALUE;
  waitForDevices();
  for (uint64_t at = address; at < address + bytes;) {
    Allocation mapped;
    driver_.memory().findOne(at, mapped);
    driver_.memory().unmap(at);
    const auto memory = physical_.find(mapped.physical);
    --memory->second.mappings;
    endIfUnused(memory);
    at = mapped.end();
  }
  return CUDA_SUCCESS;
}

CUresult VirtualMemory::setAccess(uint64_t address, uint64_t bytes, uint32_t changed,
                                  uint32_t granted) {
  std::lock_guard lock(mutex_);
  if (!wholeMappings(address, bytes)) return CUDA_ERROR_INVALID_VALUE;
  if ((changed & ~granted) != 0) waitForDevices();
  for (uint64_t at = address; at < address + bytes;) {
    Allocation mapped;
    driver_.memory().findOne(at, mapped);
    driver_.memory().setAccess(at, (mapped.access & ~changed) | granted);
    at = mapped.end();
  }
  return CUDA_SUCCESS;
}

CUresult VirtualMemory::properties(uint64_t handle, CUmemAllocationProp* properties) {
  std::lock_guard lock(mutex_);
  const Physical* memory = findHeld(handle);
  if (memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *properties = memory->properties;
  return CUDA_SUCCESS;
}

void VirtualMemory::describe(uint64_t physical, CUmemAllocationProp* properties) {
  std::lock_guard lock(mutex_);
  const auto found = physical_.find(physical);
  if (found != physical_.end()) *properties = found->second.properties;
}

CUresult VirtualMemory::exportFile(uint64_t handle, int* file) {
  std::lock_guard lock(mutex_);
  const Physical* memory = findHeld(handle);
  if (memory == nullptr || !memory->own_file) return CUDA_ERROR_INVALID_VALUE;
  *file = fcntl(memory->file, F_DUPFD_CLOEXEC, 0);
  return *file >= 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

CUresult VirtualMemory::importFile(int file, uint64_t* handle) {
  MemoryFile found;
  if (!openMemoryFile(file, found) || !isGranular(found.bytes)) return CUDA_ERROR_INVALID_VALUE;
  const int ordinal = driver_.deviceByIndex(found.device_index);
  if (ordinal < 0) return CUDA_ERROR_INVALID_DEVICE;
  Physical memory{.bytes = found.bytes, .own_file = true, .imported = true};
  memory.properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  memory.properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  memory.properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  std::lock_guard lock(mutex_);
  if (physical_.size() >= kPhysicalMax) return CUDA_ERROR_OUT_OF_MEMORY;
  memory.file = fcntl(file, F_DUPFD_CLOEXEC, 0);
  if (memory.file < 0) return CUDA_ERROR_OPERATING_SYSTEM;
  *handle = add(memory);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu
