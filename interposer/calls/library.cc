// Libraries and their kernels: not bound to a context, loaded before there is one.
#include <algorithm>
#include <mutex>

#include "interposer/calls/host_memory.h"
#include "interposer/calls/image_load.h"
#include "interposer/calls/kernels.h"

namespace farwarp::client::calls {
namespace {

// Library options that matter here. The image is always copied, so that
// CU_LIBRARY_BINARY_IS_PRESERVED promises nothing of use, and its value is not read: some programs
// pass no values with it.
CUresult checkLibraryOptions(unsigned int count, const CUlibraryOption* options) {
  if (count != 0 && options == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned int i = 0; i < count; ++i) {
    if (options[i] != CU_LIBRARY_BINARY_IS_PRESERVED) return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CUDA_SUCCESS;
}

CUresult finishLoad(CallScope& scope, const UploadImage& upload, const JitOptions& jit,
                    CUlibrary* library) {
  auto image = std::make_unique<Image>();
  image->library = true;
  wire::Args_cuLibraryLoadData args;
  FARWARP_TRY(scope.create(wire::HandleType::library, args.library, 0, image.get()));
  image->id = args.library;
  args.transfer = upload.transfer;
  args.image_bytes = upload.bytes.size();
  args.image = upload.inlineBytes();
  args.jit_options = jit.options();
  args.jit_values = jit.values();
  wire::Reply_cuLibraryLoadData reply;
  CUresult result = scope.call(args, reply);
  jit.giveLogs(reply.info_log, reply.error_log);
  if (result == CUDA_SUCCESS && !image->readKernels(reply.kernels)) result = CUDA_ERROR_UNKNOWN;
  if (result != CUDA_SUCCESS) {
    scope.abandon(args.library);
    return result;
  }
  *library = handleOf<CUlibrary>(args.library);
  static_cast<void>(image.release());  // Client::release frees it when the library ends
  return CUDA_SUCCESS;
}

// The device that a library's image is chosen for: all devices of a session are of one kind so far.
CUresult libraryDevice(CallScope& scope, const Device*& device) {
  device = scope.client().devices.find(0);
  return device == nullptr ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
}

// Notes that `id` ends with the current context too.
void endsWithContext(Context& context, uint64_t id) {
  std::lock_guard lock(context.mutex);
  context.dependents.push_back(id);
}

}  // namespace

CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* jit_names,
                           void** jit_values, unsigned int jit_count,
                           CUlibraryOption* library_options, void** library_values,
                           unsigned int library_count) {
  CallScope scope(CallId::cuLibraryLoadData);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (library == nullptr || code == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(checkLibraryOptions(library_count, library_options));
  JitOptions jit;
  FARWARP_TRY(jit.read(jit_count, jit_names, jit_values));
  const Device* device = nullptr;
  FARWARP_TRY(libraryDevice(scope, device));
  UploadImage upload;
  FARWARP_TRY(prepareUpload(scope, code, *device, upload));
  return finishLoad(scope, upload, jit, library);
}

CUresult cuLibraryLoadFromFile(CUlibrary* library, const char* path, CUjit_option* jit_names,
                               void** jit_values, unsigned int jit_count,
                               CUlibraryOption* library_options, void** library_values,
                               unsigned int library_count) {
  CallScope scope(CallId::cuLibraryLoadData);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (library == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(checkLibraryOptions(library_count, library_options));
  JitOptions jit;
  FARWARP_TRY(jit.read(jit_count, jit_names, jit_values));
  const Device* device = nullptr;
  FARWARP_TRY(libraryDevice(scope, device));
  UploadImage upload;
  FARWARP_TRY(prepareUploadOfFile(scope, path, *device, upload));
  return finishLoad(scope, upload, jit, library);
}

CUresult cuLibraryUnload(CUlibrary library) {
  CallScope scope(CallId::cuLibraryUnload);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuLibraryUnload args;
  FARWARP_TRY(scope.use(wire::HandleType::library, library, args.library));
  scope.client().endSharing(args.library);
  FARWARP_TRY(scope.submit(args));
  scope.destroy(args.library);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
  CallScope scope(CallId::cuLibraryGetKernel);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (kernel == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Image* image = nullptr;
  FARWARP_TRY(findImage(scope, wire::HandleType::library, library, image));
  auto found = image->by_name.find(name);
  if (found == image->by_name.end()) return CUDA_ERROR_NOT_FOUND;
  uint64_t id = 0;
  FARWARP_TRY(kernelOfLibrary(scope, *found->second, id));
  *kernel = handleOf<CUkernel>(id);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernelCount(unsigned int* count, CUlibrary library) {
  CallScope scope(CallId::cuLibraryGetKernelCount);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Image* image = nullptr;
  FARWARP_TRY(findImage(scope, wire::HandleType::library, library, image));
  *count = static_cast<unsigned int>(image->kernels.size());
  return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel* kernels, unsigned int count, CUlibrary library) {
  CallScope scope(CallId::cuLibraryEnumerateKernels);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (kernels == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  Image* image = nullptr;
  FARWARP_TRY(findImage(scope, wire::HandleType::library, library, image));
  const size_t given = std::min<size_t>(count, image->kernels.size());
  for (size_t i = 0; i < given; ++i) {
    uint64_t id = 0;
    FARWARP_TRY(kernelOfLibrary(scope, image->kernels[i], id));
    kernels[i] = handleOf<CUkernel>(id);
  }
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetModule(CUmodule* module, CUlibrary library) {
  CallScope scope(CallId::cuLibraryGetModule);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (module == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Image* image = nullptr;
  FARWARP_TRY(findImage(scope, wire::HandleType::library, library, image));
  Context& context = currentContext(scope);
  std::lock_guard lock(image->mutex);
  uint64_t& known = image->modules[context.id];
  if (!scope.client().handles.live(wire::HandleType::module, known)) {
    wire::Args_cuLibraryGetModule args;
    args.library = idOf(library);
    FARWARP_TRY(scope.create(wire::HandleType::module, args.module, args.library, image));
    wire::Reply_cuLibraryGetModule reply;
    if (CUresult result = scope.call(args, reply); result != CUDA_SUCCESS) {
      scope.abandon(args.module);
      return result;
    }
    known = args.module;
    endsWithContext(context, known);
  }
  *module = handleOf<CUmodule>(known);
  return CUDA_SUCCESS;
}

CUresult cuKernelGetFunction(CUfunction* function, CUkernel handle) {
  CallScope scope(CallId::cuKernelGetFunction);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kernel* kernel = nullptr;
  FARWARP_TRY(findKernel(scope, handle, kernel));
  Context& context = currentContext(scope);
  std::lock_guard lock(kernel->image->mutex);
  uint64_t& known = kernel->functions[context.id];
  if (!scope.client().handles.live(wire::HandleType::function, known)) {
    wire::Args_cuKernelGetFunction args;
    args.kernel = idOf(handle);
    FARWARP_TRY(scope.create(wire::HandleType::function, args.function, args.kernel, kernel));
    if (CUresult result = scope.submit(args); result != CUDA_SUCCESS) {
      scope.abandon(args.function);
      return result;
    }
    known = args.function;
    endsWithContext(context, known);
  }
  *function = handleOf<CUfunction>(known);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr* address, size_t* bytes, CUlibrary library,
                            const char* name) {
  CallScope scope(CallId::cuLibraryGetGlobal);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (name == nullptr || (address == nullptr && bytes == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuLibraryGetGlobal args;
  FARWARP_TRY(scope.use(wire::HandleType::library, library, args.library));
  args.name = name;
  wire::Reply_cuLibraryGetGlobal reply;
  FARWARP_TRY(scope.call(args, reply));
  keepGlobal(scope.client(), args.library, handleOf<CUcontext>(currentContext(scope).id),
             reply.address, reply.bytes);
  if (address != nullptr) *address = reply.address;
  if (bytes != nullptr) *bytes = reply.bytes;
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetManaged(CUdeviceptr* address, size_t* bytes, CUlibrary library,
                             const char* name) {
  CallScope scope(CallId::cuLibraryGetManaged);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (name == nullptr || (address == nullptr && bytes == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuLibraryGetManaged args;
  FARWARP_TRY(scope.use(wire::HandleType::library, library, args.library));
  args.name = name;
  wire::Reply_cuLibraryGetManaged reply;
  FARWARP_TRY(scope.call(args, reply));
  FARWARP_TRY(
      shareVariable(scope, args.library, reply.address, reply.bytes, reply.base, reply.whole));
  if (address != nullptr) *address = reply.address;
  if (bytes != nullptr) *bytes = reply.bytes;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary* library, CUkernel handle) {
  CallScope scope(CallId::cuKernelGetLibrary);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (library == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kernel* kernel = nullptr;
  FARWARP_TRY(findKernel(scope, handle, kernel));
  *library = handleOf<CUlibrary>(kernel->image->id);
  return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char** name, CUkernel handle) {
  CallScope scope(CallId::cuKernelGetName);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kernel* kernel = nullptr;
  FARWARP_TRY(findKernel(scope, handle, kernel));
  *name = kernel->info->name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel handle, size_t index, size_t* offset, size_t* bytes) {
  CallScope scope(CallId::cuKernelGetParamInfo);
  FARWARP_TRY(scope.enter(kNeedsInit));
  Kernel* kernel = nullptr;
  FARWARP_TRY(findKernel(scope, handle, kernel));
  return paramInfo(*kernel, index, offset, bytes);
}

CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute, CUkernel handle,
                              CUdevice device) {
  CallScope scope(CallId::cuKernelGetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (scope.client().devices.find(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  Kernel* kernel = nullptr;
  FARWARP_TRY(findKernel(scope, handle, kernel));
  return kernelAttribute(*kernel, attribute, value);
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel handle,
                              CUdevice device) {
  CallScope scope(CallId::cuKernelSetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (scope.client().devices.find(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  Kernel* kernel = nullptr;
  FARWARP_TRY(findKernel(scope, handle, kernel));
  FARWARP_TRY(checkAttribute(attribute));
  wire::Args_cuKernelSetAttribute args;
  args.attrib = static_cast<uint32_t>(attribute);
  args.val = value;
  args.kernel = idOf(handle);
  args.dev = scope.client().devices.toServer(device);
  wire::Reply_cuKernelSetAttribute reply;
  FARWARP_TRY(scope.call(args, reply));
  keepAttribute(*kernel, attribute, value);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
