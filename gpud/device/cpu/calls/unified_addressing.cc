// Unified addressing: what an address is.
#include <cstring>
#include <mutex>
#include <unordered_set>

#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

template <typename T>
void put(void* out, T value) {
  *static_cast<T*>(out) = value;
}

bool isManaged(const Allocation& found) {
  return found.kind == MemoryKind::managed;
}

bool isHost(const Allocation& found) {
  return found.kind == MemoryKind::host || found.kind == MemoryKind::registered;
}

// The allocations, by their numbers, for which CU_POINTER_ATTRIBUTE_SYNC_MEMOPS was set.
// Synchronous operations wait for what they must in any case, so it is only told again.
class SyncedMemory {
 public:
  static constexpr size_t kMost = 65536;

  static SyncedMemory& get() {
    static auto* synced = new SyncedMemory;
    return *synced;
  }
  // False when too many were set.
  bool set(uint64_t number, bool on) {
    std::lock_guard lock(mutex_);
    if (!on) {
      numbers_.erase(number);
      return true;
    }
    if (numbers_.size() >= kMost) return false;
    numbers_.insert(number);
    return true;
  }
  bool has(uint64_t number) {
    std::lock_guard lock(mutex_);
    return numbers_.contains(number);
  }

 private:
  std::mutex mutex_;  // guards numbers_; a leaf
  std::unordered_set<uint64_t> numbers_;
};

CUresult attributeOf(const Allocation& found, CUpointer_attribute which, CUdeviceptr address,
                     void* out) {
  switch (which) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: {
      const auto context = Driver::get().contextByNumber(found.context);
      put<CUcontext>(out, context != nullptr ? context->handle() : nullptr);
      break;
    }
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      put<CUmemorytype>(out, isHost(found) ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      put<CUdeviceptr>(out, address);
      break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (!isHost(found) && !isManaged(found)) return CUDA_ERROR_INVALID_VALUE;
      put<void*>(out, reinterpret_cast<void*>(address));
      break;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
      put<unsigned>(out, SyncedMemory::get().has(found.number));
      break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      put<unsigned long long>(out, found.number);
      break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      put<unsigned>(out, isManaged(found));
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      put<int>(out, found.device);
      break;
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      put<unsigned>(out, found.number != 0 && found.kind == MemoryKind::device);
      break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      put<CUdeviceptr>(out, found.begin);
      break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      put<size_t>(out, found.bytes);
      break;
    case CU_POINTER_ATTRIBUTE_MAPPED:
      put<unsigned>(out, 1);
      break;
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES: {
      CUmemAllocationProp properties{};
      if (found.kind == MemoryKind::mapped) {
        Driver::get().virtualMemory().describe(found.physical, &properties);
      }
      put<unsigned long long>(out, properties.requestedHandleTypes);
      break;
    }
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
      put<unsigned>(out, 0);
      break;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
      put<unsigned>(out, found.kind != MemoryKind::mapped || found.access != 0
                             ? CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE
                             : CU_POINTER_ATTRIBUTE_ACCESS_FLAG_NONE);
      break;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      put<CUmemoryPool>(out, Driver::get().pools().poolOf(found.begin));
      break;
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
      put<size_t>(out, found.bytes);
      break;
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
      put<CUdeviceptr>(out, found.begin);
      break;
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
      put<unsigned long long>(out, found.number);
      break;
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
      put<unsigned>(out, 0);
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

// What cuPointerGetAttributes tells of memory that the driver does not know: all zero, and no
// device.
CUresult attributeOfUnknown(CUpointer_attribute which, CUdeviceptr address, void* out) {
  Allocation nothing;
  if (which == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) {
    put<int>(out, CU_DEVICE_INVALID);
  } else if (which == CU_POINTER_ATTRIBUTE_MEMORY_TYPE || which == CU_POINTER_ATTRIBUTE_MAPPED ||
             which == CU_POINTER_ATTRIBUTE_ACCESS_FLAGS) {
    put<unsigned>(out, 0);
  } else if (which == CU_POINTER_ATTRIBUTE_HOST_POINTER ||
             which == CU_POINTER_ATTRIBUTE_DEVICE_POINTER) {
    put<void*>(out, nullptr);
  } else {
    return attributeOf(nothing, which, address, out);
  }
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuPointerGetAttribute(void* out, CUpointer_attribute which, CUdeviceptr address) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  Allocation found;
  if (out == nullptr || !context->driver().memory().findOne(address, found)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return attributeOf(found, which, address, out);
}

CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute* which, void** out,
                                CUdeviceptr address) {
  // Managed variables exist before there is a context, so none is asked for.
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (count == 0 || which == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Allocation found;
  const bool known = Driver::get().memory().findOne(address, found);
  for (unsigned i = 0; i < count; ++i) {
    if (out[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
    CUresult r = known ? attributeOf(found, which[i], address, out[i])
                       : attributeOfUnknown(which[i], address, out[i]);
    // Here, unlike in the form for one attribute, one that does not apply is null.
    if (r != CUDA_SUCCESS && which[i] == CU_POINTER_ATTRIBUTE_HOST_POINTER) {
      put<void*>(out[i], nullptr);
    } else if (r != CUDA_SUCCESS) {
      return r;
    }
  }
  return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void* value, CUpointer_attribute which, CUdeviceptr address) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  Allocation found;
  if (value == nullptr || which != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS ||
      !context->driver().memory().find(address, found)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (isHost(found)) return CUDA_ERROR_NOT_SUPPORTED;
  unsigned on = 0;
  std::memcpy(&on, value, sizeof(on));
  return SyncedMemory::get().set(found.number, on != 0) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace farwarp::cpu::calls
