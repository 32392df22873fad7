// The half-precision helpers of exec/ for files that are compiled once.
#pragma once

#ifndef FARWARP_LEVEL
#define FARWARP_LEVEL common
#endif
#include "gpud/device/cpu/ptx/exec/float_semantics.h"

namespace farwarp::ptx {
using common::bfloatToFloat;
using common::floatToBfloat;
using common::floatToHalf;
using common::halfToFloat;
}  // namespace farwarp::ptx
