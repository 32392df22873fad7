// Tells whoever subscribed (gpud's worker) when each kernel ran. See gpud/device/kernel_records.h.
#pragma once

#include "gpud/device/kernel_records.h"

namespace farwarp::cpu {

// CLOCK_MONOTONIC.
uint64_t nowNs();

// The table for cuGetExportTable.
const KernelRecordsTable& kernelRecordsTable();
void reportKernel(const KernelRecord& record);

}  // namespace farwarp::cpu
