// The calls of the mock driver that have to give sensible answers, so that a session can be set up
// on it and memory holds what was written.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "codegen/mock/mock_driver.h"
#include "codegen/mock/mock_state.h"
#include "mock_calls_gen.h"
#include "proc_address_gen.h"

namespace farwarp::mock::behaviours {
namespace {

constexpr int kVersion = CUDA_VERSION;
constexpr char kKernelName[] = "kernel";
constexpr size_t kKernelParameterBytes = 8;
constexpr uint64_t kGlobalBytes = 256;

// The calling thread's stack of contexts. Without a destructor: cudart calls in after those have
// run.
constexpr size_t kContextsMax = 64;
thread_local CUcontext context_stack[kContextsMax];
thread_local size_t context_count = 0;

CUresult pushContext(CUcontext context) {
  if (context_count == kContextsMax) return CUDA_ERROR_INVALID_VALUE;
  context_stack[context_count++] = context;
  return CUDA_SUCCESS;
}

CUresult checkDevice(CUdevice device) {
  return device == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

// Host memory of a range on the device, or null when no allocation holds all of it.
std::byte* deviceMemory(CUdeviceptr address, uint64_t bytes) {
  CUdeviceptr start;
  uint64_t size;
  return findAllocation(address, bytes, start, size) ? reinterpret_cast<std::byte*>(address)
                                                     : nullptr;
}

template <typename T>
CUresult fill(CUdeviceptr address, T value, size_t count) {
  if (count == 0) return CUDA_SUCCESS;
  if (count > kDeviceBytes / sizeof(T)) return CUDA_ERROR_INVALID_VALUE;
  std::byte* to = deviceMemory(address, count * sizeof(T));
  if (to == nullptr || address % sizeof(T) != 0) return CUDA_ERROR_INVALID_VALUE;
  std::fill_n(reinterpret_cast<T*>(to), count, value);
  return CUDA_SUCCESS;
}

CUresult copyBytes(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return CUDA_SUCCESS;
  if (to == nullptr || from == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::memmove(to, from, bytes);
  return CUDA_SUCCESS;
}

// One variable per module, made when it is first asked for, never freed before reset().
CUresult globalOf(CUdeviceptr* address, size_t* bytes) {
  const CUdeviceptr made = allocate(kGlobalBytes);
  if (made == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  if (address != nullptr) *address = made;
  if (bytes != nullptr) *bytes = kGlobalBytes;
  return CUDA_SUCCESS;
}

CUresult parameterInfo(size_t index, size_t* offset, size_t* size) {
  if (index != 0 || offset == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *offset = 0;
  if (size != nullptr) *size = kKernelParameterBytes;
  return CUDA_SUCCESS;
}

CUresult functionAttribute(int* value, CUfunction_attribute attribute) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuDriverGetVersion(int* version) {
  *version = kVersion;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult, const char** text) {
  *text = "CUDA_ERROR_MOCK";
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult, const char** text) {
  *text = "The mock driver does not describe errors.";
  return CUDA_SUCCESS;
}

CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  const int index = findProcAddress(symbol, version, flags, status);
  *pfn = nullptr;
  if (index >= 0) {
    std::memcpy(pfn, reinterpret_cast<const char*>(&table()) + index * sizeof(void*),
                sizeof(void*));
  }
  return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char* symbol, void** pfn, int version, cuuint64_t flags) {
  return behaviours::cuGetProcAddress_v2(symbol, pfn, version, flags, nullptr);
}

CUresult cuGetExportTable(const void** out, const CUuuid*) {
  *out = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

// Devices
// --------------------------------------------------------------------------------------------

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return checkDevice(ordinal);
}

CUresult cuDeviceGetCount(int* count) {
  *count = 1;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int bytes, CUdevice device) {
  if (name == nullptr || bytes <= 0) return CUDA_ERROR_INVALID_VALUE;
  std::strncpy(name, "Farwarp mock device", bytes);
  name[bytes - 1] = '\0';
  return checkDevice(device);
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  *bytes = kDeviceBytes;
  return checkDevice(device);
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
      *value = 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
      *value = 64;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
      *value = 0x7fffffff;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
      *value = 65535;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = 48 << 10;
      break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      *value = 32;
      break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = 4;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = 9;
      break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
      *value = 1;
      break;
    default:
      *value = 0;
  }
  return checkDevice(device);
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  std::memcpy(uuid->bytes, "farwarp-mock-gpu", sizeof(uuid->bytes));
  return checkDevice(device);
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  return behaviours::cuDeviceGetUuid(uuid, device);
}

CUresult cuDeviceGetPCIBusId(char* text, int bytes, CUdevice device) {
  constexpr char kBusId[] = "0000:00:00.0";
  if (text == nullptr || bytes < static_cast<int>(sizeof(kBusId))) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(text, kBusId, sizeof(kBusId));
  return checkDevice(device);
}

// Contexts
// -------------------------------------------------------------------------------------------

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (CUresult r = checkDevice(device); r != CUDA_SUCCESS) return r;
  static std::mutex mutex;
  static CUcontext primary = nullptr;
  std::lock_guard lock(mutex);
  // The first time, and after a reset() that forgot it.
  if (primary == nullptr || !isLive(wire::HandleType::context, primary)) {
    primary = static_cast<CUcontext>(makeHandle(wire::HandleType::context));
  }
  *context = primary;
  return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext* context, unsigned int, CUdevice device) {
  if (CUresult r = checkDevice(device); r != CUDA_SUCCESS) return r;
  *context = static_cast<CUcontext>(makeHandle(wire::HandleType::context));
  return pushContext(*context);
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = context_count == 0 ? nullptr : context_stack[context_count - 1];
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  if (context_count > 0) --context_count;
  return context != nullptr ? pushContext(context) : CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
  return context != nullptr ? pushContext(context) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  if (context_count == 0) return CUDA_ERROR_INVALID_CONTEXT;
  --context_count;
  if (context != nullptr) *context = context_stack[context_count];
  return CUDA_SUCCESS;
}

CUresult cuCtxGetLimit(size_t* value, CUlimit) {
  *value = 1 << 20;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext, unsigned int* version) {
  *version = 3020;
  return CUDA_SUCCESS;
}

// Modules
// --------------------------------------------------------------------------------------------

CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule) {
  *count = 1;
  return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction* functions, unsigned int count, CUmodule) {
  if (functions == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (count > 0) functions[0] = static_cast<CUfunction>(makeHandle(wire::HandleType::function));
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule, const char*) {
  return globalOf(address, bytes);
}

CUresult cuLibraryGetKernelCount(unsigned int* count, CUlibrary) {
  *count = 1;
  return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel* kernels, unsigned int count, CUlibrary) {
  if (kernels == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (count > 0) kernels[0] = static_cast<CUkernel>(makeHandle(wire::HandleType::kernel));
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr* address, size_t* bytes, CUlibrary, const char*) {
  return globalOf(address, bytes);
}

CUresult cuKernelGetName(const char** name, CUkernel) {
  *name = kKernelName;
  return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char** name, CUfunction) {
  *name = kKernelName;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel, size_t index, size_t* offset, size_t* size) {
  return parameterInfo(index, offset, size);
}

CUresult cuFuncGetParamInfo(CUfunction, size_t index, size_t* offset, size_t* size) {
  return parameterInfo(index, offset, size);
}

CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute, CUkernel,
                              CUdevice device) {
  if (CUresult r = checkDevice(device); r != CUDA_SUCCESS) return r;
  return functionAttribute(value, attribute);
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction) {
  return functionAttribute(value, attribute);
}

// Memory
// ---------------------------------------------------------------------------------------------

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  *free = kDeviceBytes - allocatedBytes();
  *total = kDeviceBytes;
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  *address = allocate(bytes);
  return *address != 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* address, size_t* pitch, size_t width, size_t height,
                            unsigned int) {
  constexpr size_t kPitchAlign = 512;
  if (width == 0 || height == 0 || width > kDeviceBytes) return CUDA_ERROR_INVALID_VALUE;
  *pitch = (width + kPitchAlign - 1) / kPitchAlign * kPitchAlign;
  if (height > kDeviceBytes / *pitch) return CUDA_ERROR_OUT_OF_MEMORY;
  return behaviours::cuMemAlloc_v2(address, *pitch * height);
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  return address == 0 || release(address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  CUdeviceptr start;
  uint64_t size;
  if (!findAllocation(address, 1, start, size)) return CUDA_ERROR_NOT_FOUND;
  if (base != nullptr) *base = start;
  if (bytes != nullptr) *bytes = size;
  return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void** memory, size_t bytes, unsigned int) {
  if (bytes == 0 || bytes > kDeviceBytes) return CUDA_ERROR_INVALID_VALUE;
  *memory = std::malloc(bytes);
  return *memory != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAllocHost_v2(void** memory, size_t bytes) {
  return behaviours::cuMemHostAlloc(memory, bytes, 0);
}

CUresult cuMemFreeHost(void* memory) {
  std::free(memory);
  return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return copyBytes(deviceMemory(to, bytes), from, bytes);
}

CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return copyBytes(to, deviceMemory(from, bytes), bytes);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copyBytes(deviceMemory(to, bytes), deviceMemory(from, bytes), bytes);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream) {
  return behaviours::cuMemcpyHtoD_v2(to, from, bytes);
}

CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream) {
  return behaviours::cuMemcpyDtoH_v2(to, from, bytes);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
  return behaviours::cuMemcpyDtoD_v2(to, from, bytes);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  return fill(to, value, count);
}

CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
  return fill(to, value, count);
}

CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned int value, size_t count) {
  return fill(to, value, count);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream) {
  return fill(to, value, count);
}

CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream) {
  return fill(to, value, count);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream) {
  return fill(to, value, count);
}

}  // namespace farwarp::mock::behaviours
