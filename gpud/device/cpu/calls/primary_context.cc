// Primary context management.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

CUresult check(CUdevice device) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return Driver::get().device(device) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

}  // namespace

CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice device) {
  if (CUresult r = check(device); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Driver& driver = Driver::get();
  std::lock_guard lock(driver.primaryMutex());
  const auto context = driver.primary(device);
  context->activate();
  ++driver.primaryRetains(device);
  *out = context->handle();
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  if (CUresult r = check(device); r != CUDA_SUCCESS) return r;
  Driver& driver = Driver::get();
  std::lock_guard lock(driver.primaryMutex());
  int& retains = driver.primaryRetains(device);
  if (retains == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--retains == 0) driver.primary(device)->end();
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  return calls::cuDevicePrimaryCtxRelease_v2(device);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  if (CUresult r = check(device); r != CUDA_SUCCESS) return r;
  Driver& driver = Driver::get();
  std::lock_guard lock(driver.primaryMutex());
  driver.primaryRetains(device) = 0;
  driver.primary(device)->end();
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset(CUdevice device) {
  return calls::cuDevicePrimaryCtxReset_v2(device);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
  if (CUresult r = check(device); r != CUDA_SUCCESS) return r;
  if ((flags & ~unsigned{CU_CTX_FLAGS_MASK}) != 0) return CUDA_ERROR_INVALID_VALUE;
  Driver::get().primary(device)->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags) {
  return calls::cuDevicePrimaryCtxSetFlags_v2(device, flags);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
  if (CUresult r = check(device); r != CUDA_SUCCESS) return r;
  if (flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto context = Driver::get().primary(device);
  *flags = context->flags;
  *active = context->active();
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
