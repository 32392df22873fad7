// Which devices a program sees, by CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER.
#pragma once

#include <span>
#include <vector>

#include "driver/driver_front.h"

namespace farwarp {

// Indices into `devices`, in the order in which the program counts them. `visible` and `order` are
// the values of CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER, null when unset.
//
// `visible` is a list with commas: ordinals, read as strtol does ("1gpu" is 1), or, when it begins
// with "GPU-" or "MIG-", UUIDs as nvidia-smi prints them, of which as many characters suffice as
// name one device. The list ends at the first entry that names no device; a device that is named
// twice makes the list empty. Of names of MIG instances only the first counts, as CUDA gives a
// program one instance. `order` may be PCI_BUS_ID: ordinals then follow the PCI addresses.
// FASTEST_FIRST and anything else leave the order of `devices`.
std::vector<int> visibleDevices(std::span<const DeviceIdentity> devices, const char* visible,
                                const char* order);

}  // namespace farwarp
