// Green contexts.
#include "gpud/device/cpu/green_context.h"

#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/calls/green_context.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu::calls {
namespace {

GreenContexts& greens() {
  return Driver::get().greens();
}

CUresult findGreen(CUgreenCtx handle, std::shared_ptr<GreenContext>& green) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  green = greens().find(handle);
  return green != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult checkType(const CUdevResource* resource, CUdevResourceType type) {
  if (resource == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return type == CU_DEV_RESOURCE_TYPE_SM ? CUDA_SUCCESS : CUDA_ERROR_INVALID_RESOURCE_TYPE;
}

}  // namespace

CUresult cuDeviceGetDevResource(CUdevice ordinal, CUdevResource* resource, CUdevResourceType type) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const Device* device = Driver::get().device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (CUresult r = checkType(resource, type); r != CUDA_SUCCESS) return r;
  *resource = toResource(MultiprocessorSet::all(*device), *device);
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevResource(CUcontext handle, CUdevResource* resource, CUdevResourceType type) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const auto context = handle == nullptr ? nullptr : Driver::get().contexts().find(handle);
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (CUresult r = checkType(resource, type); r != CUDA_SUCCESS) return r;
  const auto green = greens().ofContext(handle);
  const Device& device = context->device();
  *resource = toResource(green != nullptr ? green->set() : MultiprocessorSet::all(device), device);
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxGetDevResource(CUgreenCtx handle, CUdevResource* resource,
                                  CUdevResourceType type) {
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findGreen(handle, green); r != CUDA_SUCCESS) return r;
  if (CUresult r = checkType(resource, type); r != CUDA_SUCCESS) return r;
  *resource = toResource(green->set(), green->primary()->device());
  return CUDA_SUCCESS;
}

CUresult cuDevSmResourceSplitByCount(CUdevResource* result, unsigned int* groups,
                                     const CUdevResource* input, CUdevResource* remaining,
                                     unsigned int flags, unsigned int min_count) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (groups == nullptr || input == nullptr || (result != nullptr && *groups == 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  MultiprocessorSet set;
  if (CUresult r = fromResource(*input, set); r != CUDA_SUCCESS) return r;
  const Device* device = Driver::get().device(set.device);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  std::vector<MultiprocessorSet> parts;
  MultiprocessorSet rest;
  const uint32_t most = result != nullptr ? *groups : UINT32_MAX;
  if (CUresult r = split(set, *device, flags, min_count, most, parts, rest); r != CUDA_SUCCESS) {
    return r;
  }
  *groups = static_cast<unsigned>(parts.size());
  if (result != nullptr) {
    for (size_t i = 0; i < parts.size(); ++i) result[i] = toResource(parts[i], *device);
  }
  if (remaining != nullptr) *remaining = toResource(rest, *device);
  return CUDA_SUCCESS;
}

CUresult cuDevResourceGenerateDesc(CUdevResourceDesc* out, CUdevResource* resources,
                                   unsigned int count) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr || resources == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  if (count > GreenContexts::kMost) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  std::vector<MultiprocessorSet> sets(count);
  for (unsigned i = 0; i < count; ++i) {
    if (CUresult r = fromResource(resources[i], sets[i]); r != CUDA_SUCCESS) return r;
  }
  MultiprocessorSet joined;
  if (CUresult r = join(sets, joined); r != CUDA_SUCCESS) return r;
  const CUdevResourceDesc description = greens().describe(std::move(joined));
  if (description == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = description;
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxCreate(CUgreenCtx* out, CUdevResourceDesc description, CUdevice device,
                          unsigned int flags) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr || flags != CU_GREEN_CTX_DEFAULT_STREAM) return CUDA_ERROR_INVALID_VALUE;
  if (Driver::get().device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  const auto set = greens().findDescription(description);
  if (set == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (set->device != device) return CUDA_ERROR_INVALID_DEVICE;
  CUcontext primary = nullptr;
  if (CUresult r = calls::cuDevicePrimaryCtxRetain(&primary, device); r != CUDA_SUCCESS) return r;
  std::shared_ptr<GreenContext> green;
  if (CUresult r = greens().create(Driver::get().primary(device), *set, green); r != CUDA_SUCCESS) {
    static_cast<void>(calls::cuDevicePrimaryCtxRelease_v2(device));
    return r;
  }
  *out = green->handle();
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxDestroy(CUgreenCtx handle) {
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findGreen(handle, green); r != CUDA_SUCCESS) return r;
  if (!greens().destroy(handle)) return CUDA_ERROR_INVALID_CONTEXT;
  const CUresult result = green->primary()->error();
  static_cast<void>(calls::cuDevicePrimaryCtxRelease_v2(green->primary()->device().ordinal()));
  return result;
}

CUresult cuCtxFromGreenCtx(CUcontext* context, CUgreenCtx handle) {
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findGreen(handle, green); r != CUDA_SUCCESS) return r;
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *context = green->contextHandle();
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxGetId(CUgreenCtx handle, unsigned long long* id) {
  std::shared_ptr<GreenContext> green;
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  green = handle != nullptr ? greens().find(handle) : greens().ofContext(threadState().current());
  if (green == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *id = green->number();
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxStreamCreate(CUstream* out, CUgreenCtx handle, unsigned int flags, int) {
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findGreen(handle, green); r != CUDA_SUCCESS) return r;
  if (out == nullptr || flags != CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = green->primary()->error(); r != CUDA_SUCCESS) return r;
  return createStream(green->primary(), green, flags, out);
}

CUresult cuGreenCtxRecordEvent(CUgreenCtx handle, CUevent event_handle) {
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findGreen(handle, green); r != CUDA_SUCCESS) return r;
  return recordAll(*green->primary(), green.get(), event_handle);
}

CUresult cuGreenCtxWaitEvent(CUgreenCtx handle, CUevent event_handle) {
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findGreen(handle, green); r != CUDA_SUCCESS) return r;
  return holdAll(*green->primary(), green.get(), event_handle);
}

CUresult cuStreamGetGreenCtx(CUstream stream, CUgreenCtx* out) {
  std::shared_ptr<GreenContext> green;
  if (CUresult r = greenOfStream(stream, green); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = green != nullptr ? green->handle() : nullptr;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
