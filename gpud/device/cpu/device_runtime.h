// The functions of NVIDIA's device runtime library that the CPU device has for programs that are
// linked at run time. The library itself comes as machine code for the GPUs that there are.
#pragma once

#include <string_view>

namespace farwarp::cpu {

// PTX. Grids that synchronise: cudaCGGetIntrinsicHandle and cudaCGSynchronize.
extern const std::string_view kDeviceRuntime;

}  // namespace farwarp::cpu
