// Device management.
#include <algorithm>
#include <cstring>

#include "cpu_calls_gen.h"
#include "driver/array_shape.h"
#include "driver/atomic_operations.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

// `device` is null on failure only.
CUresult findDevice(CUdevice ordinal, const void* output, Device*& device) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (output == nullptr) return CUDA_ERROR_INVALID_VALUE;
  device = Driver::get().device(ordinal);
  return device != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

// Writes `text` and its NUL into the program's `length` bytes, cut if it must be.
CUresult writeText(const std::string& text, char* out, int length) {
  if (length <= 0) return CUDA_ERROR_INVALID_VALUE;
  const size_t bytes = std::min(text.size(), static_cast<size_t>(length) - 1);
  std::memcpy(out, text.data(), bytes);
  out[bytes] = '\0';
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuDeviceGet(CUdevice* out, int ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, out, device); r != CUDA_SUCCESS) return r;
  *out = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = Driver::get().devices();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, name, device); r != CUDA_SUCCESS) return r;
  return writeText(device->name(), name, length);
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, bytes, device); r != CUDA_SUCCESS) return r;
  *bytes = device->memoryBytes();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, value, device); r != CUDA_SUCCESS) return r;
  return device->attribute(which, value);
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, uuid, device); r != CUDA_SUCCESS) return r;
  *uuid = device->identity().uuid;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice ordinal) {
  return calls::cuDeviceGetUuid(uuid, ordinal);
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, major, device); r != CUDA_SUCCESS) return r;
  if (minor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *major = static_cast<int>(device->architecture() / 10);
  *minor = static_cast<int>(device->architecture() % 10);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop* out, CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, out, device); r != CUDA_SUCCESS) return r;
  const auto attribute = [&](CUdevice_attribute which) {
    int value = 0;
    return device->attribute(which, &value) == CUDA_SUCCESS ? value : 0;
  };
  const DeviceLimits& limits = device->limits();
  *out = {};
  out->maxThreadsPerBlock = limits.threads_per_block_max;
  for (int axis = 0; axis < 3; ++axis) {
    out->maxThreadsDim[axis] = limits.block_max[axis];
    out->maxGridSize[axis] = limits.grid_max[axis];
  }
  out->sharedMemPerBlock = limits.shared_per_block;
  out->totalConstantMemory = attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY);
  out->SIMDWidth = limits.warp_size;
  out->memPitch = attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH);
  out->regsPerBlock = limits.registers_per_block;
  out->clockRate = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  out->textureAlign = attribute(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* text, int length, CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, text, device); r != CUDA_SUCCESS) return r;
  return writeText(device->pciAddress(), text, length);
}

CUresult cuDeviceGetByPCIBusId(CUdevice* out, const char* text) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr || text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Driver& driver = Driver::get();
  for (int ordinal = 0; ordinal < driver.devices(); ++ordinal) {
    // [domain]:[bus]:[device].[function], where the domain and the function may be left out.
    const std::string full = driver.device(ordinal)->pciAddress();
    const std::string short_form = full.substr(full.find(':') + 1);
    for (const std::string& form : {full, short_form, full.substr(0, full.rfind('.')),
                                    short_form.substr(0, short_form.rfind('.'))}) {
      if (strcasecmp(form.c_str(), text) == 0) {
        *out = ordinal;
        return CUDA_SUCCESS;
      }
    }
  }
  return CUDA_ERROR_INVALID_DEVICE;
}

// What kernels do to the program's memory is atomic in this process, but not through gpud; the
// attribute CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED says the same.
CUresult cuDeviceGetHostAtomicCapabilities(unsigned int* capabilities,
                                           const CUatomicOperation* operations, unsigned int count,
                                           CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, capabilities, device); r != CUDA_SUCCESS) return r;
  if (!areAtomicOperations(operations, count)) return CUDA_ERROR_INVALID_VALUE;
  std::fill_n(capabilities, count, 0u);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t* texels, CUarray_format format,
                                            unsigned int channels, CUdevice ordinal) {
  Device* device = nullptr;
  if (CUresult r = findDevice(ordinal, texels, device); r != CUDA_SUCCESS) return r;
  ArrayShape row;
  if (CUresult r = describeArray({.Width = 1, .Format = format, .NumChannels = channels}, row);
      r != CUDA_SUCCESS) {
    return r;
  }
  int most = 0;
  if (CUresult r = device->attribute(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH, &most);
      r != CUDA_SUCCESS) {
    return r;
  }
  *texels = static_cast<size_t>(most);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetExecAffinitySupport(int* supported, CUexecAffinityType type, CUdevice ordinal) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (Driver::get().device(ordinal) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (supported == nullptr || type != CU_EXEC_AFFINITY_TYPE_SM_COUNT) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *supported = 0;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
