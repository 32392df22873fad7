// A driver front for the tests of driver/: contexts are numbers, devices are made up.
#pragma once

#include "driver/driver_front.h"

namespace farwarp {

class FakeFront final : public DriverFront {
 public:
  int driverVersion() override { return 13000; }
  int deviceCount() override { return devices; }
  DeviceIdentity deviceIdentity(int ordinal) override {
    DeviceIdentity identity{.pci_domain = 0, .pci_bus = ordinal + 1, .pci_device = 0};
    for (char& byte : identity.uuid.bytes) byte = static_cast<char>(ordinal + 7);
    return identity;
  }
  CUresult primaryContext(CUcontext* context, CUdevice device) override {
    if (device < 0 || device >= devices) return CUDA_ERROR_INVALID_DEVICE;
    *context = reinterpret_cast<CUcontext>(uintptr_t{0x1000} + device);
    return CUDA_SUCCESS;
  }
  CUcontext currentContext() override { return current; }
  CUresult contextNumber(CUcontext context, uint64_t* number) override {
    if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    *number = reinterpret_cast<uintptr_t>(context);
    return CUDA_SUCCESS;
  }
  size_t visitFunctions(CUmodule module,
                        void (*visit)(void* user, CUfunction function, const char* name),
                        void* user) override {
    if (module == nullptr) return 0;
    visit(user, reinterpret_cast<CUfunction>(uintptr_t{5}), "only_kernel");
    return 1;
  }

  int devices = 1;
  static inline thread_local CUcontext current = nullptr;
};

}  // namespace farwarp
