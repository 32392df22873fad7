// Initialisation, version, errors, entry points and the profiler's switch: what needs no device.
#include <cstring>

#include "cpu_calls_gen.h"
#include "driver/error_names.h"
#include "driver/hidden_tables.h"
#include "driver/proc_address.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/kernel_meter.h"

namespace farwarp::cpu::calls {

CUresult cuInit(unsigned int flags) {
  return Driver::get().init(flags);
}

CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** text) {
  return getErrorName(error, text);
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  return getErrorString(error, text);
}

CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  return getProcAddress(kCpuTable, kDriverVersion, symbol, pfn, version, flags, status);
}

CUresult cuGetProcAddress(const char* symbol, void** pfn, int version, cuuint64_t flags) {
  const CUresult r = calls::cuGetProcAddress_v2(symbol, pfn, version, flags, nullptr);
  if (r != CUDA_SUCCESS) return r;
  return *pfn != nullptr ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetExportTable(const void** table, const CUuuid* id) {
  if (table == nullptr || id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Driver::get();
  if (std::memcmp(id, &kKernelRecordsTableId, sizeof *id) == 0) {
    *table = &kernelRecordsTable();
    return CUDA_SUCCESS;
  }
  return findHiddenTable(table, id);
}

// No tool listens, so there is nothing to switch.
CUresult cuProfilerStart() {
  return enter();
}

CUresult cuProfilerStop() {
  return enter();
}

}  // namespace farwarp::cpu::calls
