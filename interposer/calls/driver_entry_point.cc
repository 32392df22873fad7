// How runtimes find the rest of the driver: by name and version, and through the hidden tables.
#include "driver/hidden_tables.h"
#include "driver/proc_address.h"
#include "interposer/calls/body.h"

namespace farwarp::client::calls {

CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  // The versions that this library can answer are those of its own table, whatever gpud's driver
  // is.
  const int newest = std::max(CUDA_VERSION, Client::get().driverVersion());
  return getProcAddress(programTable(), newest, symbol, pfn, version, flags, status);
}

CUresult cuGetProcAddress(const char* symbol, void** pfn, int version, cuuint64_t flags) {
  CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
  FARWARP_TRY(calls::cuGetProcAddress_v2(symbol, pfn, version, flags, &status));
  // The first form has no status; it documents an error for what is not found.
  return status == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetExportTable(const void** table, const CUuuid* id) {
  Client::get();  // installs the tables
  return findHiddenTable(table, id);
}

}  // namespace farwarp::client::calls
