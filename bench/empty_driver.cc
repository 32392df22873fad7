// A driver for measuring Farwarp alone: the mock driver, but what a launch needs does nothing, a
// kernel has 64 bytes of parameters, and the device stamps its kernels, so that gpud does not
// bracket them. Copies of bulk data do move the bytes, as the mock's do.
#include <cuda.h>

#include <cstring>

#include "gpud/device/kernel_records.h"

#define FARWARP_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr size_t kParameters = 8;  // of 8 bytes each

CUresult subscribe(void (*)(void*, const farwarp::KernelRecord*), void*) {
  return CUDA_SUCCESS;
}

const farwarp::KernelRecordsTable kRecords = {sizeof(farwarp::KernelRecordsTable), subscribe};

CUresult parameter(size_t index, size_t* offset, size_t* size) {
  if (index >= kParameters || offset == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *offset = 8 * index;
  if (size != nullptr) *size = 8;
  return CUDA_SUCCESS;
}

}  // namespace

FARWARP_EXPORT CUresult cuGetExportTable(const void** table, const CUuuid* id) {
  const bool known = std::memcmp(id, &farwarp::kKernelRecordsTableId, sizeof(*id)) == 0;
  *table = known ? &kRecords : nullptr;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

FARWARP_EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig*, CUfunction, void**, void**) {
  return CUDA_SUCCESS;
}

FARWARP_EXPORT CUresult cuFuncGetParamInfo(CUfunction, size_t index, size_t* offset, size_t* size) {
  return parameter(index, offset, size);
}

FARWARP_EXPORT CUresult cuKernelGetParamInfo(CUkernel, size_t index, size_t* offset, size_t* size) {
  return parameter(index, offset, size);
}

FARWARP_EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  *free = *total = size_t{8} << 30;
  return CUDA_SUCCESS;
}
