// The copy functions of the memory chapter. Copies on the device have generated bodies.
#include "interposer/calls/copies.h"

namespace farwarp::client::calls {
namespace {

// Memory that the program uses directly, too: it may rely on a copy that is not asynchronous.
bool hostSees(CUdeviceptr address) {
  const std::optional<Allocation> memory = Client::get().allocations.findDevice(address);
  return memory && memory->kind != AllocationKind::device;
}

// The program names two addresses and no direction: memory of the device is known, the rest is
// host.
CUresult copyAnywhere(CUdeviceptr to, CUdeviceptr from, size_t bytes, const CopyWhere& where) {
  if (bytes == 0) return CUDA_SUCCESS;
  if (to == 0 || from == 0) return CUDA_ERROR_INVALID_VALUE;
  const AllocationMap& allocations = Client::get().allocations;
  const bool to_device = allocations.findDevice(to).has_value();
  const bool from_device = allocations.findDevice(from).has_value();
  if (to_device && from_device) {
    return copyOnDevice(to, from, bytes, where, hostSees(to) || hostSees(from));
  }
  if (to_device) return copyToDevice(to, reinterpret_cast<const void*>(from), bytes, where);
  if (from_device) return copyToHost(reinterpret_cast<void*>(to), from, bytes, where);
  return copyOnHost(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes, where);
}

// With unified addressing the side that a function's name calls the host may be memory of the
// device.
CUresult copyFrom(CUdeviceptr to, const void* host, size_t bytes, const CopyWhere& where) {
  const auto from = reinterpret_cast<CUdeviceptr>(host);
  if (Client::get().allocations.findDevice(from)) return copyAnywhere(to, from, bytes, where);
  return copyToDevice(to, host, bytes, where);
}

CUresult copyInto(void* host, CUdeviceptr from, size_t bytes, const CopyWhere& where) {
  const auto to = reinterpret_cast<CUdeviceptr>(host);
  if (Client::get().allocations.findDevice(to)) return copyAnywhere(to, from, bytes, where);
  return copyToHost(host, from, bytes, where);
}

}  // namespace

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes, uint16_t record_flags) {
  return copyAnywhere(to, from, bytes, {nullptr, record_flags, false});
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream,
                       uint16_t record_flags) {
  return copyAnywhere(to, from, bytes, {stream, record_flags, true});
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes, uint16_t record_flags) {
  return copyFrom(to, from, bytes, {nullptr, record_flags, false});
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream,
                              uint16_t record_flags) {
  return copyFrom(to, from, bytes, {stream, record_flags, true});
}

CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes, uint16_t record_flags) {
  return copyInto(to, from, bytes, {nullptr, record_flags, false});
}

CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream,
                              uint16_t record_flags) {
  return copyInto(to, from, bytes, {stream, record_flags, true});
}

}  // namespace farwarp::client::calls
