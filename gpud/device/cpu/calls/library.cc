// Library management.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/program_image.h"

namespace farwarp::cpu::calls {
namespace {

CUresult findLibrary(CUlibrary handle, const void* output, std::shared_ptr<Library>& library) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (output == nullptr) return CUDA_ERROR_INVALID_VALUE;
  library = Driver::get().libraries().find(handle);
  return library != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult findKernel(CUkernel handle, const void* output, std::shared_ptr<Function>& kernel) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (output == nullptr) return CUDA_ERROR_INVALID_VALUE;
  kernel = Driver::get().functions().find(handle);
  return kernel != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// The values of options are not read: cuBLASLt passes none with an option that needs none.
CUresult checkOptions(const CUlibraryOption* options, unsigned count, bool from_file) {
  if (count != 0 && options == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count; ++i) {
    if (options[i] == CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE) {
      return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (options[i] != CU_LIBRARY_BINARY_IS_PRESERVED || from_file) return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult place(const std::shared_ptr<const ptx::Program>& program, uint32_t registers_max,
               CUlibrary* out) {
  Driver& driver = Driver::get();
  auto library = std::make_shared<Library>(program);
  const uintptr_t handle = driver.libraries().insert(library);
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  library->handle = reinterpret_cast<CUlibrary>(handle);
  library->kernels.fill(driver, *program, library, nullptr, registers_max);
  *out = library->handle;
  return CUDA_SUCCESS;
}

CUkernel asKernel(CUfunction function) {
  return reinterpret_cast<CUkernel>(function);
}

}  // namespace

CUresult cuLibraryLoadData(CUlibrary* out, const void* code, CUjit_option* jit_options,
                           void** jit_values, unsigned int jit_count, CUlibraryOption* options,
                           void**, unsigned int count) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr || code == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkOptions(options, count, false); r != CUDA_SUCCESS) return r;
  JitOptions jit(jit_count, jit_options, jit_values);
  std::shared_ptr<const ptx::Program> program;
  CUresult r = loadProgram(Driver::get(), code, jit, program);
  return r == CUDA_SUCCESS ? place(program, jit.registersMax(), out) : r;
}

CUresult cuLibraryLoadFromFile(CUlibrary* out, const char* path, CUjit_option* jit_options,
                               void** jit_values, unsigned int jit_count, CUlibraryOption* options,
                               void**, unsigned int count) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkOptions(options, count, true); r != CUDA_SUCCESS) return r;
  JitOptions jit(jit_count, jit_options, jit_values);
  std::shared_ptr<const ptx::Program> program;
  CUresult r = loadProgramFile(Driver::get(), path, jit, program);
  return r == CUDA_SUCCESS ? place(program, jit.registersMax(), out) : r;
}

CUresult cuLibraryUnload(CUlibrary handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  Driver& driver = Driver::get();
  const auto library = driver.libraries().remove(handle);
  if (library == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  library->kernels.forget(driver);
  library->forgetModules(driver);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel* out, CUlibrary handle, const char* name) {
  std::shared_ptr<Library> library;
  if (CUresult r = findLibrary(handle, out, library); r != CUDA_SUCCESS) return r;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUfunction kernel = library->kernels.find(name);
  if (kernel == nullptr) return CUDA_ERROR_NOT_FOUND;
  *out = asKernel(kernel);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernelCount(unsigned int* count, CUlibrary handle) {
  std::shared_ptr<Library> library;
  if (CUresult r = findLibrary(handle, count, library); r != CUDA_SUCCESS) return r;
  *count = static_cast<unsigned>(library->kernels.handles().size());
  return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel* out, unsigned int count, CUlibrary handle) {
  std::shared_ptr<Library> library;
  if (CUresult r = findLibrary(handle, out, library); r != CUDA_SUCCESS) return r;
  const auto& handles = library->kernels.handles();
  for (size_t i = 0; i < handles.size() && i < count; ++i) out[i] = asKernel(handles[i]);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetModule(CUmodule* out, CUlibrary handle) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  std::shared_ptr<Library> library;
  if (CUresult r = findLibrary(handle, out, library); r != CUDA_SUCCESS) return r;
  return library->module(library, *context, out);
}

CUresult cuLibraryGetGlobal(CUdeviceptr* address, size_t* bytes, CUlibrary handle,
                            const char* name) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  std::shared_ptr<Library> library;
  const void* either = address != nullptr ? static_cast<const void*>(address) : bytes;
  if (CUresult r = findLibrary(handle, either, library); r != CUDA_SUCCESS) return r;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Instance> instance;
  if (CUresult r = library->instance(*context, instance); r != CUDA_SUCCESS) return r;
  uint64_t found_address = 0, found_bytes = 0;
  if (!instance->findVariable(name, found_address, found_bytes)) return CUDA_ERROR_NOT_FOUND;
  if (address != nullptr) *address = found_address;
  if (bytes != nullptr) *bytes = found_bytes;
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetManaged(CUdeviceptr* address, size_t* bytes, CUlibrary handle,
                             const char* name) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  std::shared_ptr<Library> library;
  const void* either = address != nullptr ? static_cast<const void*>(address) : bytes;
  if (CUresult r = findLibrary(handle, either, library); r != CUDA_SUCCESS) return r;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t found_address = 0, found_bytes = 0;
  if (CUresult r = library->findManaged(Driver::get(), name, found_address, found_bytes);
      r != CUDA_SUCCESS) {
    return r;
  }
  if (address != nullptr) *address = found_address;
  if (bytes != nullptr) *bytes = found_bytes;
  return CUDA_SUCCESS;
}

// Kernels and functions are one kind of handle, so the kernel serves in every context.
CUresult cuKernelGetFunction(CUfunction* out, CUkernel handle) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  std::shared_ptr<Function> kernel;
  if (CUresult r = findKernel(handle, out, kernel); r != CUDA_SUCCESS) return r;
  *out = kernel->handle();
  return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary* out, CUkernel handle) {
  std::shared_ptr<Function> kernel;
  if (CUresult r = findKernel(handle, out, kernel); r != CUDA_SUCCESS) return r;
  const auto library = kernel->library();
  if (library == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *out = library->handle;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char** name, CUkernel handle) {
  std::shared_ptr<Function> kernel;
  if (CUresult r = findKernel(handle, name, kernel); r != CUDA_SUCCESS) return r;
  *name = kernel->info().name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel handle, size_t index, size_t* offset, size_t* size) {
  std::shared_ptr<Function> kernel;
  if (CUresult r = findKernel(handle, offset, kernel); r != CUDA_SUCCESS) return r;
  const auto& params = kernel->info().params;
  if (index >= params.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = params[index].offset;
  if (size != nullptr) *size = params[index].size;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetAttribute(int* value, CUfunction_attribute which, CUkernel handle,
                              CUdevice ordinal) {
  std::shared_ptr<Function> kernel;
  if (CUresult r = findKernel(handle, value, kernel); r != CUDA_SUCCESS) return r;
  const Device* device = Driver::get().device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return kernel->attribute(*device, which, value);
}

CUresult cuKernelSetAttribute(CUfunction_attribute which, int value, CUkernel handle,
                              CUdevice ordinal) {
  std::shared_ptr<Function> kernel;
  if (CUresult r = findKernel(handle, handle, kernel); r != CUDA_SUCCESS) return r;
  const Device* device = Driver::get().device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return kernel->setAttribute(*device, which, value);
}

// A hint on a cache that is not there.
CUresult cuKernelSetCacheConfig(CUkernel handle, CUfunc_cache config, CUdevice ordinal) {
  std::shared_ptr<Function> kernel;
  if (CUresult r = findKernel(handle, handle, kernel); r != CUDA_SUCCESS) return r;
  if (Driver::get().device(ordinal) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return config <= CU_FUNC_CACHE_PREFER_EQUAL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace farwarp::cpu::calls
