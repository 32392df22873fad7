// Module management.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/program_image.h"

namespace farwarp::cpu::calls {
namespace {

// Puts a compiled program into the context as a module.
CUresult place(const std::shared_ptr<Context>& context,
               const std::shared_ptr<const ptx::Program>& program, uint32_t registers_max,
               CUmodule* out) {
  auto instance =
      Instance::create(program, *context, ManagedVariables::create(context->driver(), *program));
  if (instance == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  auto module = std::make_shared<Module>(context, program, std::move(instance));
  const uintptr_t handle = context->driver().modules().insert(module);
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  module->handle = reinterpret_cast<CUmodule>(handle);
  module->functions.fill(context->driver(), *program, nullptr, module, registers_max);
  *out = module->handle;
  return CUDA_SUCCESS;
}

CUresult findModule(CUmodule handle, const void* output, std::shared_ptr<Module>& module) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (output == nullptr) return CUDA_ERROR_INVALID_VALUE;
  module = context->driver().modules().find(handle);
  return module != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// The module's functions; those of a library's module are the library's kernels.
const FunctionSet& functionsOf(const Module& module, std::shared_ptr<Library>& keep) {
  keep = module.library.lock();
  return keep != nullptr ? keep->kernels : module.functions;
}

}  // namespace

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *mode = CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule* out, const void* image, unsigned int count,
                            CUjit_option* options, void** values) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || image == nullptr ||
      (count != 0 && (options == nullptr || values == nullptr))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  JitOptions jit(count, options, values);
  std::shared_ptr<const ptx::Program> program;
  CUresult r = loadProgram(context->driver(), image, jit, program);
  return r == CUDA_SUCCESS ? place(context, program, jit.registersMax(), out) : r;
}

CUresult cuModuleLoadData(CUmodule* out, const void* image) {
  return calls::cuModuleLoadDataEx(out, image, 0, nullptr, nullptr);
}

CUresult cuModuleLoadFatBinary(CUmodule* out, const void* fatbin) {
  return calls::cuModuleLoadDataEx(out, fatbin, 0, nullptr, nullptr);
}

CUresult cuModuleLoad(CUmodule* out, const char* path) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  JitOptions jit;
  std::shared_ptr<const ptx::Program> program;
  CUresult r = loadProgramFile(context->driver(), path, jit, program);
  return r == CUDA_SUCCESS ? place(context, program, jit.registersMax(), out) : r;
}

CUresult cuModuleUnload(CUmodule handle) {
  std::shared_ptr<Module> module;
  if (CUresult r = findModule(handle, handle, module); r != CUDA_SUCCESS) {
    return r == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_INVALID_HANDLE : r;
  }
  // A library's module goes with its library.
  if (!module->library.expired()) return CUDA_ERROR_NOT_PERMITTED;
  Driver& driver = Driver::get();
  if (driver.modules().remove(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  module->forgetFunctions(driver);
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* out, CUmodule handle, const char* name) {
  std::shared_ptr<Module> module;
  if (CUresult r = findModule(handle, out, module); r != CUDA_SUCCESS) return r;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Library> keep;
  const CUfunction function = functionsOf(*module, keep).find(name);
  if (function == nullptr) return CUDA_ERROR_NOT_FOUND;
  *out = function;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule handle) {
  std::shared_ptr<Module> module;
  if (CUresult r = findModule(handle, count, module); r != CUDA_SUCCESS) return r;
  std::shared_ptr<Library> keep;
  *count = static_cast<unsigned>(functionsOf(*module, keep).handles().size());
  return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction* out, unsigned int count, CUmodule handle) {
  std::shared_ptr<Module> module;
  if (CUresult r = findModule(handle, out, module); r != CUDA_SUCCESS) return r;
  std::shared_ptr<Library> keep;
  const auto& handles = functionsOf(*module, keep).handles();
  for (size_t i = 0; i < handles.size() && i < count; ++i) out[i] = handles[i];
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule handle,
                              const char* name) {
  std::shared_ptr<Module> module;
  const void* either = address != nullptr ? static_cast<const void*>(address) : bytes;
  if (CUresult r = findModule(handle, either, module); r != CUDA_SUCCESS) return r;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t found_address = 0, found_bytes = 0;
  if (!module->instance->findVariable(name, found_address, found_bytes))
    return CUDA_ERROR_NOT_FOUND;
  if (address != nullptr) *address = found_address;
  if (bytes != nullptr) *bytes = found_bytes;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
