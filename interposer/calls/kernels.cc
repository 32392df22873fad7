#include "interposer/calls/kernels.h"

#include <mutex>

namespace farwarp::client {

using wire::HandleType;

CUresult findImage(CallScope& scope, HandleType type, const void* handle, Image*& image) {
  uint64_t id = 0;
  FARWARP_TRY(scope.use(type, handle, id));
  image = static_cast<Image*>(scope.client().handles.object(id));
  return image == nullptr ? wire::invalidHandleError(type) : CUDA_SUCCESS;
}

CUresult findFunction(CallScope& scope, CUfunction handle, Kernel*& kernel) {
  uint64_t id = 0;
  FARWARP_TRY(scope.use(HandleType::function, handle, id));
  kernel = static_cast<Kernel*>(scope.client().handles.object(id));
  return kernel == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult findKernel(CallScope& scope, CUkernel handle, Kernel*& kernel) {
  uint64_t id = 0;
  FARWARP_TRY(scope.use(HandleType::kernel, handle, id));
  kernel = static_cast<Kernel*>(scope.client().handles.object(id));
  return kernel == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult functionOfModule(CallScope& scope, uint64_t module, Kernel& kernel, uint64_t& function) {
  HandleTable& handles = scope.client().handles;
  std::lock_guard lock(kernel.image->mutex);
  uint64_t& known = kernel.functions[module];
  if (!handles.live(HandleType::function, known)) {
    uint64_t id = 0;
    FARWARP_TRY(scope.create(HandleType::function, id, module, &kernel));
    wire::Args_cuModuleGetFunction args;
    args.module = module;
    args.function = id;
    args.name = kernel.info->name;
    scope.sendAs(CallId::cuModuleGetFunction);
    if (CUresult result = scope.submit(args); result != CUDA_SUCCESS) {
      scope.abandon(id);
      return result;
    }
    known = id;
  }
  function = known;
  return CUDA_SUCCESS;
}

CUresult kernelOfLibrary(CallScope& scope, Kernel& kernel, uint64_t& handle) {
  std::lock_guard lock(kernel.image->mutex);
  if (kernel.handle == 0) {
    uint64_t id = 0;
    FARWARP_TRY(scope.create(HandleType::kernel, id, kernel.image->id, &kernel));
    wire::Args_cuLibraryGetKernel args;
    args.library = kernel.image->id;
    args.kernel = id;
    args.name = kernel.info->name;
    scope.sendAs(CallId::cuLibraryGetKernel);
    if (CUresult result = scope.submit(args); result != CUDA_SUCCESS) {
      scope.abandon(id);
      return result;
    }
    kernel.handle = id;
  }
  handle = kernel.handle;
  return CUDA_SUCCESS;
}

CUresult paramInfo(const Kernel& kernel, size_t index, size_t* offset, size_t* bytes) {
  if (offset == nullptr || index >= kernel.info->params.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = kernel.info->params[index].offset;
  if (bytes != nullptr) *bytes = kernel.info->params[index].bytes;
  return CUDA_SUCCESS;
}

CUresult kernelAttribute(const Kernel& kernel, CUfunction_attribute attribute, int* value) {
  const auto index = static_cast<size_t>(attribute);
  if (value == nullptr || index >= kernel.attributes.size() || !kernel.info->attributes_known) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *value = kernel.attributes[index].load(std::memory_order_relaxed);
  return CUDA_SUCCESS;
}

CUresult checkAttribute(CUfunction_attribute attribute) {
  const bool known = attribute >= 0 && attribute < CU_FUNC_ATTRIBUTE_MAX;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void keepAttribute(Kernel& kernel, CUfunction_attribute attribute, int value) {
  const auto index = static_cast<size_t>(attribute);
  if (index < kernel.attributes.size()) {
    kernel.attributes[index].store(value, std::memory_order_relaxed);
  }
  Client::get().occupancy.forget();
}

void keepGlobal(Client& client, uint64_t owner, CUcontext context, uint64_t address,
                uint64_t bytes) {
  Allocation global;
  global.base = address;
  global.bytes = bytes;
  global.context = idOf(context);
  if (const Context* found = client.contexts.find(context)) global.device = found->device;
  global.global = true;
  global.owner = owner;
  // Asked for twice, it is there already.
  client.allocations.add(global);
}

size_t Client::visitFunctions(CUmodule module,
                              void (*visit)(void* user, CUfunction function, const char* name),
                              void* user) {
  CallScope scope(CallId::cuModuleEnumerateFunctions);
  Image* image = nullptr;
  if (scope.enter(kNeedsInit) != CUDA_SUCCESS ||
      findImage(scope, HandleType::module, module, image) != CUDA_SUCCESS) {
    return 0;
  }
  size_t visited = 0;
  for (Kernel& kernel : image->kernels) {
    uint64_t id = 0;
    if (functionOfModule(scope, idOf(module), kernel, id) != CUDA_SUCCESS) break;
    visit(user, handleOf<CUfunction>(id), kernel.info->name.c_str());
    ++visited;
  }
  return visited;
}

}  // namespace farwarp::client
