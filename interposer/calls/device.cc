// Devices: every answer comes from the snapshot that gpud sent when the session opened.
#include <algorithm>
#include <cstring>

#include "driver/array_shape.h"
#include "driver/atomic_operations.h"
#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

// Checks the state of the process and finds the device.
CUresult findDevice(CallId call, CUdevice ordinal, const Device*& device) {
  CallScope scope(call);
  FARWARP_TRY(scope.enter(kNeedsInit));
  device = scope.client().devices.find(ordinal);
  return device == nullptr ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

// Copies with a final NUL, cut to `bytes`.
void copyText(char* to, int bytes, const std::string& from) {
  const size_t length = std::min(from.size(), static_cast<size_t>(bytes) - 1);
  std::memcpy(to, from.data(), length);
  to[length] = '\0';
}

}  // namespace

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Device* found = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceGet, ordinal, found));
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  CallScope scope(CallId::cuDeviceGetCount);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = scope.client().devices.count();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int bytes, CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceGetName, ordinal, device));
  if (name == nullptr || bytes <= 0) return CUDA_ERROR_INVALID_VALUE;
  copyText(name, bytes, device->snapshot().name);
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceTotalMem_v2, ordinal, device));
  if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *bytes = device->snapshot().total_memory_bytes;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceGetAttribute, ordinal, device));
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::optional<int> known = device->attribute(attribute);
  if (!known) return CUDA_ERROR_INVALID_VALUE;
  *value = *known;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceGetUuid, ordinal, device));
  if (uuid == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(uuid->bytes, device->snapshot().uuid.data(), sizeof(uuid->bytes));
  return CUDA_SUCCESS;
}

// The second version differs for MIG instances only, which a session sees as devices of their own.
CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice ordinal) {
  return calls::cuDeviceGetUuid(uuid, ordinal);
}

CUresult cuDeviceGetByPCIBusId(CUdevice* device, const char* text) {
  CallScope scope(CallId::cuDeviceGetByPCIBusId);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (device == nullptr || text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const int found = scope.client().devices.findByPciBusId(text);
  if (found < 0) return CUDA_ERROR_INVALID_DEVICE;
  *device = found;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* text, int bytes, CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceGetPCIBusId, ordinal, device));
  if (text == nullptr || bytes <= 0) return CUDA_ERROR_INVALID_VALUE;
  copyText(text, bytes, device->snapshot().pci_bus_id);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetHostAtomicCapabilities(unsigned int* capabilities,
                                           const CUatomicOperation* operations, unsigned int count,
                                           CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceGetHostAtomicCapabilities, ordinal, device));
  if (capabilities == nullptr || !areAtomicOperations(operations, count)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::fill_n(capabilities, count, 0u);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t* texels, CUarray_format format,
                                            unsigned int channels, CUdevice ordinal) {
  CallScope scope(CallId::cuDeviceGetTexture1DLinearMaxWidth);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (scope.client().devices.find(ordinal) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  ArrayShape row;
  if (texels == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(describeArray({.Width = 1, .Format = format, .NumChannels = channels}, row));
  wire::Args_cuDeviceGetTexture1DLinearMaxWidth args;
  args.format = format;
  args.numChannels = channels;
  args.dev = scope.client().devices.toServer(ordinal);
  wire::Reply_cuDeviceGetTexture1DLinearMaxWidth reply;
  FARWARP_TRY(scope.call(args, reply));
  *texels = reply.maxWidthInElements;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop* properties, CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceGetProperties, ordinal, device));
  if (properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  properties->maxThreadsPerBlock = device->value(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  properties->maxThreadsDim[0] = device->value(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X);
  properties->maxThreadsDim[1] = device->value(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y);
  properties->maxThreadsDim[2] = device->value(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z);
  properties->maxGridSize[0] = device->value(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X);
  properties->maxGridSize[1] = device->value(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y);
  properties->maxGridSize[2] = device->value(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z);
  properties->sharedMemPerBlock = device->value(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
  properties->totalConstantMemory = device->value(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY);
  properties->SIMDWidth = device->value(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
  properties->memPitch = device->value(CU_DEVICE_ATTRIBUTE_MAX_PITCH);
  properties->regsPerBlock = device->value(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK);
  properties->clockRate = device->value(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  properties->textureAlign = device->value(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT);
  return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceComputeCapability, ordinal, device));
  if (major == nullptr || minor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *major = device->snapshot().compute_major;
  *minor = device->snapshot().compute_minor;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetExecAffinitySupport(int* supported, CUexecAffinityType type, CUdevice ordinal) {
  const Device* device = nullptr;
  FARWARP_TRY(findDevice(CallId::cuDeviceGetExecAffinitySupport, ordinal, device));
  if (supported == nullptr || type != CU_EXEC_AFFINITY_TYPE_SM_COUNT) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *supported = 0;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
