// Handles of kernels and functions, which all lead to Kernel objects in images.h.
#pragma once

#include "interposer/calls/body.h"

namespace farwarp::client {

// The image behind a CUmodule or CUlibrary.
[[nodiscard]] CUresult findImage(CallScope& scope, wire::HandleType type, const void* handle,
                                 Image*& image);
// The kernel behind a CUfunction; a CUkernel is as good.
[[nodiscard]] CUresult findFunction(CallScope& scope, CUfunction handle, Kernel*& kernel);
[[nodiscard]] CUresult findKernel(CallScope& scope, CUkernel handle, Kernel*& kernel);

// The CUfunction of a module's kernel, chosen and told to gpud when it is asked for first. `module`
// is the module's id: a library's module has functions of its own.
[[nodiscard]] CUresult functionOfModule(CallScope& scope, uint64_t module, Kernel& kernel,
                                        uint64_t& function);
// The CUkernel of a library's kernel, in the same way.
[[nodiscard]] CUresult kernelOfLibrary(CallScope& scope, Kernel& kernel, uint64_t& handle);

// CUDA_ERROR_INVALID_VALUE when there is no such parameter.
[[nodiscard]] CUresult paramInfo(const Kernel& kernel, size_t index, size_t* offset, size_t* bytes);
// Bodies of cuFuncGetAttribute and cuKernelGetAttribute, and what follows their setters.
[[nodiscard]] CUresult kernelAttribute(const Kernel& kernel, CUfunction_attribute attribute,
                                       int* value);
// CUDA_ERROR_INVALID_VALUE for a number that is no attribute of this CUDA version.
[[nodiscard]] CUresult checkAttribute(CUfunction_attribute attribute);
void keepAttribute(Kernel& kernel, CUfunction_attribute attribute, int value);

// Adds a variable of a module or library to the allocation map.
void keepGlobal(Client& client, uint64_t owner, CUcontext context, uint64_t address,
                uint64_t bytes);

}  // namespace farwarp::client
