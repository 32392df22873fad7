// What a program says about its managed memory. Host and kernels use the same memory here, so it is
// only remembered.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

CUresult checkManaged(CUdeviceptr address, size_t bytes) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  Allocation found;
  const bool inside = bytes != 0 && context->driver().memory().find(address, found) &&
                      found.kind == MemoryKind::managed && bytes <= found.end() - address;
  return inside ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuMemAdvise(CUdeviceptr address, size_t bytes, CUmem_advise advice, CUdevice device) {
  return calls::cuMemAdvise_v2(address, bytes, advice, ManagedAdvice::locationOf(device));
}

CUresult cuMemAdvise_v2(CUdeviceptr address, size_t bytes, CUmem_advise advice,
                        CUmemLocation location) {
  if (CUresult r = checkManaged(address, bytes); r != CUDA_SUCCESS) return r;
  return Driver::get().advice().advise(address, bytes, advice, location, Driver::get().devices());
}

CUresult cuMemPrefetchAsync(CUdeviceptr address, size_t bytes, CUdevice device, CUstream stream,
                            uint16_t record_flags) {
  return calls::cuMemPrefetchAsync_v2(address, bytes, ManagedAdvice::locationOf(device), 0, stream,
                                      record_flags);
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr address, size_t bytes, CUmemLocation location,
                               unsigned int flags, CUstream stream, uint16_t record_flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  if (CUresult r = checkManaged(address, bytes); r != CUDA_SUCCESS) return r;
  return Driver::get().advice().prefetched(address, bytes, location, Driver::get().devices());
}

CUresult cuMemRangeGetAttribute(void* data, size_t data_bytes, CUmem_range_attribute attribute,
                                CUdeviceptr address, size_t bytes) {
  if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkManaged(address, bytes); r != CUDA_SUCCESS) return r;
  return Driver::get().advice().attribute(data, data_bytes, attribute, address, bytes);
}

CUresult cuMemRangeGetAttributes(void** data, size_t* data_bytes, CUmem_range_attribute* attributes,
                                 size_t count, CUdeviceptr address, size_t bytes) {
  if (data == nullptr || data_bytes == nullptr || attributes == nullptr || count == 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < count; ++i) {
    const CUresult r =
        calls::cuMemRangeGetAttribute(data[i], data_bytes[i], attributes[i], address, bytes);
    if (r != CUDA_SUCCESS) return r;
  }
  return CUDA_SUCCESS;
}

CUresult cuStreamAttachMemAsync(CUstream stream, CUdeviceptr address, size_t bytes,
                                unsigned int flags, uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST &&
      flags != CU_MEM_ATTACH_SINGLE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return checkManaged(address, bytes == 0 ? 1 : bytes);
}

}  // namespace farwarp::cpu::calls
