// Execution control: functions and launches.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/launch.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu::calls {
namespace {

CUresult findFunction(CUfunction handle, const void* output, std::shared_ptr<Context>& context,
                      std::shared_ptr<Function>& function) {
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (output == nullptr) return CUDA_ERROR_INVALID_VALUE;
  function = context->driver().functions().find(handle);
  return function != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute which, CUfunction handle) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, value, context, function); r != CUDA_SUCCESS) return r;
  return function->attribute(context->device(), which, value);
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute which, int value) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, handle, context, function); r != CUDA_SUCCESS) return r;
  return function->setAttribute(context->device(), which, value);
}

CUresult cuFuncGetModule(CUmodule* out, CUfunction handle) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, out, context, function); r != CUDA_SUCCESS) return r;
  if (const auto module = function->module(); module != nullptr) {
    *out = module->handle;
    return CUDA_SUCCESS;
  }
  const auto library = function->library();
  return library != nullptr ? library->module(library, *context, out) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuFuncGetName(const char** name, CUfunction handle) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, name, context, function); r != CUDA_SUCCESS) return r;
  *name = function->info().name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t* offset, size_t* size) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, offset, context, function); r != CUDA_SUCCESS) return r;
  const auto& params = function->info().params;
  if (index >= params.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = params[index].offset;
  if (size != nullptr) *size = params[index].size;
  return CUDA_SUCCESS;
}

// Hints on a cache and on banks that are not there.
CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, handle, context, function); r != CUDA_SUCCESS) return r;
  return config <= CU_FUNC_CACHE_PREFER_EQUAL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncSetSharedMemConfig(CUfunction handle, CUsharedconfig config) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, handle, context, function); r != CUDA_SUCCESS) return r;
  return config <= CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_SUCCESS
                                                             : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncLoad(CUfunction handle) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, handle, context, function); r != CUDA_SUCCESS) return r;
  std::shared_ptr<Instance> instance;
  return function->instance(*context, instance);
}

// All of a program is loaded when it is.
CUresult cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction handle) {
  std::shared_ptr<Context> context;
  std::shared_ptr<Function> function;
  if (CUresult r = findFunction(handle, state, context, function); r != CUDA_SUCCESS) return r;
  *state = CU_FUNCTION_LOADING_STATE_LOADED;
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                        unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                        unsigned int block_z, unsigned int shared_bytes, CUstream stream,
                        void** params, void** extra, uint16_t record_flags) {
  return launch({.function = function,
                 .shape = {.grid = {grid_x, grid_y, grid_z},
                           .block = {block_x, block_y, block_z},
                           .shared_dynamic = shared_bytes},
                 .stream = stream,
                 .record_flags = record_flags,
                 .params = params,
                 .extra = extra});
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                                   unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                   unsigned int block_z, unsigned int shared_bytes, CUstream stream,
                                   void** params, uint16_t record_flags) {
  return launch({.function = function,
                 .shape = {.grid = {grid_x, grid_y, grid_z},
                           .block = {block_x, block_y, block_z},
                           .shared_dynamic = shared_bytes,
                           .cooperative = true},
                 .stream = stream,
                 .record_flags = record_flags,
                 .params = params,
                 .extra = nullptr});
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** params,
                          void** extra, uint16_t record_flags) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  LaunchRequest request{
      .function = function,
      .shape = {.grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
                .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
                .shared_dynamic = config->sharedMemBytes},
      .stream = config->hStream,
      .record_flags = record_flags,
      .params = params,
      .extra = extra};
  if (CUresult r = readLaunchAttributes(*config, request.shape); r != CUDA_SUCCESS) return r;
  return launch(request);
}

// Unlike a stream callback it does not run after an error.
CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* user, uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(handle, record_flags, use); r != CUDA_SUCCESS) return r;
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Driver::get().scheduler().submit(use.stream, [context = use.context, function, user] {
    if (context->error() != CUDA_SUCCESS) return;
    threadState().in_host_function = true;
    function(user);
    threadState().in_host_function = false;
  });
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
