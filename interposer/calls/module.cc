// Modules. All ways to load one end in the record of cuModuleLoadDataEx.
#include <algorithm>
#include <mutex>

#include "interposer/calls/host_memory.h"
#include "interposer/calls/image_load.h"
#include "interposer/calls/kernels.h"

namespace farwarp::client::calls {
namespace {

// Sends the image and makes the module from the reply.
CUresult finishLoad(CallScope& scope, const UploadImage& upload, const JitOptions& jit,
                    CUmodule* module) {
  auto image = std::make_unique<Image>();
  image->context = currentContext(scope).id;
  wire::Args_cuModuleLoadDataEx args;
  FARWARP_TRY(scope.create(wire::HandleType::module, args.module, image->context, image.get()));
  image->id = args.module;
  args.transfer = upload.transfer;
  args.image_bytes = upload.bytes.size();
  args.image = upload.inlineBytes();
  args.options = jit.options();
  args.values = jit.values();
  wire::Reply_cuModuleLoadDataEx reply;
  CUresult result = scope.call(args, reply);
  jit.giveLogs(reply.info_log, reply.error_log);
  if (result == CUDA_SUCCESS && !image->readKernels(reply.kernels)) result = CUDA_ERROR_UNKNOWN;
  if (result != CUDA_SUCCESS) {
    scope.abandon(args.module);
    return result;
  }
  *module = handleOf<CUmodule>(args.module);
  static_cast<void>(image.release());  // Client::release frees it when the module ends
  return CUDA_SUCCESS;
}

const Device& currentDevice(CallScope& scope) {
  return *scope.client().devices.find(currentContext(scope).device);
}

}  // namespace

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  CallScope scope(CallId::cuModuleGetLoadingMode);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *mode = CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int options,
                            CUjit_option* names, void** values) {
  CallScope scope(CallId::cuModuleLoadDataEx);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (module == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  JitOptions jit;
  FARWARP_TRY(jit.read(options, names, values));
  UploadImage upload;
  FARWARP_TRY(prepareUpload(scope, image, currentDevice(scope), upload));
  return finishLoad(scope, upload, jit, module);
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return calls::cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  return calls::cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

CUresult cuModuleLoad(CUmodule* module, const char* path) {
  CallScope scope(CallId::cuModuleLoadDataEx);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (module == nullptr) return CUDA_ERROR_INVALID_VALUE;
  UploadImage upload;
  FARWARP_TRY(prepareUploadOfFile(scope, path, currentDevice(scope), upload));
  return finishLoad(scope, upload, JitOptions(), module);
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  CallScope scope(CallId::cuModuleGetFunction);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (function == nullptr || name == nullptr || *name == '\0') return CUDA_ERROR_INVALID_VALUE;
  Image* image = nullptr;
  FARWARP_TRY(findImage(scope, wire::HandleType::module, module, image));
  auto found = image->by_name.find(name);
  if (found == image->by_name.end()) return CUDA_ERROR_NOT_FOUND;
  uint64_t id = 0;
  FARWARP_TRY(functionOfModule(scope, idOf(module), *found->second, id));
  *function = handleOf<CUfunction>(id);
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule module) {
  CallScope scope(CallId::cuModuleGetFunctionCount);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Image* image = nullptr;
  FARWARP_TRY(findImage(scope, wire::HandleType::module, module, image));
  *count = static_cast<unsigned int>(image->kernels.size());
  return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction* functions, unsigned int count, CUmodule module) {
  CallScope scope(CallId::cuModuleEnumerateFunctions);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (functions == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  Image* image = nullptr;
  FARWARP_TRY(findImage(scope, wire::HandleType::module, module, image));
  const size_t given = std::min<size_t>(count, image->kernels.size());
  for (size_t i = 0; i < given; ++i) {
    uint64_t id = 0;
    FARWARP_TRY(functionOfModule(scope, idOf(module), image->kernels[i], id));
    functions[i] = handleOf<CUfunction>(id);
  }
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule module,
                              const char* name) {
  CallScope scope(CallId::cuModuleGetGlobal_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (name == nullptr || (address == nullptr && bytes == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuModuleGetGlobal_v2 args;
  FARWARP_TRY(scope.use(wire::HandleType::module, module, args.module));
  args.name = name;
  wire::Reply_cuModuleGetGlobal_v2 reply;
  FARWARP_TRY(scope.call(args, reply));
  if (reply.whole != 0) {
    FARWARP_TRY(
        shareVariable(scope, args.module, reply.address, reply.bytes, reply.base, reply.whole));
  }
  keepGlobal(scope.client(), args.module, handleOf<CUcontext>(currentContext(scope).id),
             reply.address, reply.bytes);
  if (address != nullptr) *address = reply.address;
  if (bytes != nullptr) *bytes = reply.bytes;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
