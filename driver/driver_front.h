// What the code shared by every libcuda of ours must know about the driver that it serves.
//
// Two libraries are built on driver/: the interposer's client (calls go to gpud) and the CPU device
// (calls are executed here). Both give cudart the same hidden tables; this is how those tables ask
// their driver.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace farwarp {

// What the integrity check and the device queries both report of a device.
struct DeviceIdentity {
  CUuuid uuid;         // as cuDeviceGetUuid gives it
  int32_t pci_domain;  // CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID
  int32_t pci_bus;     // CU_DEVICE_ATTRIBUTE_PCI_BUS_ID
  int32_t pci_device;  // CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID
};

// Every method is called from any thread of the program, also after static destructors have run,
// and must not throw. The object is never destroyed.
class DriverFront {
 public:
  // The value that cuDriverGetVersion reports.
  virtual int driverVersion() = 0;
  virtual int deviceCount() = 0;
  // `ordinal` is below deviceCount().
  virtual DeviceIdentity deviceIdentity(int ordinal) = 0;

  // The handle of a device's primary context, without making it active. The value is the same for
  // the life of the process. CUDA_ERROR_INVALID_DEVICE when there is no such device.
  virtual CUresult primaryContext(CUcontext* context, CUdevice device) = 0;
  // The calling thread's current context, or null. On the path of nearly every runtime call: fast.
  virtual CUcontext currentContext() = 0;
  // A number that names the context in this process; never 0. CUDA_ERROR_INVALID_CONTEXT if not
  // live.
  virtual CUresult contextNumber(CUcontext context, uint64_t* number) = 0;

  // Calls `visit(user, function, name)` for each kernel of the module and gives their number; 0
  // when `module` is not a live module.
  virtual size_t visitFunctions(CUmodule module,
                                void (*visit)(void* user, CUfunction function, const char* name),
                                void* user) = 0;

 protected:
  ~DriverFront() = default;
};

}  // namespace farwarp
