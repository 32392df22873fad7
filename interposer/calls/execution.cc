// Launches and functions. What CUDA refuses at a launch is refused here, from the kernel's
// attributes and the device's limits, so that the launch itself need not wait for gpud.
#include <array>
#include <cstring>

#include "interposer/calls/host_memory.h"
#include "interposer/calls/kernels.h"
#include "interposer/calls/launch_attributes.h"

namespace farwarp::client::calls {
namespace {

constexpr size_t kSmallParamBytes = 1024;
constexpr int kExtraEntriesMax = 16;

// A kernel's parameters, packed as the device wants them.
class PackedParams {
 public:
  [[nodiscard]] CUresult pack(const Kernel& kernel, void** params, void** extra) {
    if (params != nullptr && extra != nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (extra != nullptr) return packExtra(kernel, extra);
    if (kernel.info->params.empty()) return CUDA_SUCCESS;
    if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
    std::byte* to = room(kernel.param_bytes);
    const std::vector<wire::KernelParam>& layout = kernel.info->params;
    for (size_t i = 0; i < layout.size(); ++i) {
      if (params[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
      copyParam(to + layout[i].offset, params[i], layout[i].bytes);
    }
    return CUDA_SUCCESS;
  }

  std::span<const std::byte> bytes() const { return {data_, bytes_}; }

 private:
  // CU_LAUNCH_PARAM_BUFFER_POINTER and _SIZE: the program has packed them itself.
  CUresult packExtra(const Kernel& kernel, void** extra) {
    const void* buffer = nullptr;
    size_t bytes = 0;
    for (int i = 0;; i += 2) {
      if (i >= kExtraEntriesMax) return CUDA_ERROR_INVALID_VALUE;
      if (extra[i] == CU_LAUNCH_PARAM_END) break;
      if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) {
        buffer = extra[i + 1];
      } else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE) {
        if (extra[i + 1] == nullptr) return CUDA_ERROR_INVALID_VALUE;
        std::memcpy(&bytes, extra[i + 1], sizeof(bytes));
      } else {
        return CUDA_ERROR_INVALID_VALUE;
      }
    }
    if (bytes < kernel.param_bytes || bytes > wire::kKernelParamBytesMax) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (kernel.param_bytes == 0) return CUDA_SUCCESS;
    if (buffer == nullptr) return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(room(kernel.param_bytes), buffer, kernel.param_bytes);
    return CUDA_SUCCESS;
  }

  // Most parameters are pointers and numbers, for which a call of memcpy takes longer than the
  // copy.
  static void copyParam(std::byte* to, const void* from, size_t bytes) {
    switch (bytes) {
      case 8:
        std::memcpy(to, from, 8);
        break;
      case 4:
        std::memcpy(to, from, 4);
        break;
      default:
        std::memcpy(to, from, bytes);
    }
  }

  // Zeroed, so that the gaps between parameters do not tell gpud what lay on this stack.
  std::byte* room(size_t bytes) {
    bytes_ = bytes;
    if (bytes <= small_.size()) {
      data_ = small_.data();
      std::memset(data_, 0, bytes);
    } else {
      large_.assign(bytes, std::byte{0});
      data_ = large_.data();
    }
    return data_;
  }

  std::array<std::byte, kSmallParamBytes> small_;
  std::vector<std::byte> large_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

CUresult checkAgainstDevice(CallScope& scope, const Kernel& kernel, const LaunchShape& shape,
                            const GreenContext* green) {
  const Device* device = scope.client().devices.find(currentContext(scope).device);
  if (device == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const bool explain = scope.client().events.enabled();
  std::string why;
  DeviceLimits limits = device->limits();
  if (green != nullptr) limits.multiprocessors = green->multiprocessors;
  const CUresult result = checkLaunch(limits, kernel.limits(), shape, explain ? &why : nullptr);
  if (result != CUDA_SUCCESS && explain) {
    scope.client().events.write("Launch of " + kernel.info->name + " is refused: " + why);
  }
  return result;
}

// `scope` was entered.
CUresult launch(CallScope& scope, CUfunction function, const LaunchShape& shape, CUstream stream,
                const LaunchAttributes& attributes, void** params, void** extra) {
  Kernel* kernel = nullptr;
  FARWARP_TRY(findFunction(scope, function, kernel));
  wire::Args_cuLaunchKernelEx args;
  args.function = idOf(function);
  FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.stream, true));
  FARWARP_TRY(checkAgainstDevice(scope, *kernel, shape, greenOf(scope, args.stream)));
  PackedParams packed;
  FARWARP_TRY(packed.pack(*kernel, params, extra));
  shareReferenced(scope, packed.bytes());
  args.grid_x = shape.grid[0];
  args.grid_y = shape.grid[1];
  args.grid_z = shape.grid[2];
  args.block_x = shape.block[0];
  args.block_y = shape.block[1];
  args.block_z = shape.block[2];
  args.shared_bytes = shape.shared_dynamic;
  args.attributes = attributes.wire();
  args.params = packed.bytes();
  FARWARP_TRY(scope.submit(args));
  scope.client().launches.fetch_add(1, std::memory_order_relaxed);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                        unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                        unsigned int block_z, unsigned int shared_bytes, CUstream stream,
                        void** params, void** extra, uint16_t record_flags) {
  CallScope scope(CallId::cuLaunchKernelEx, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  const LaunchShape shape{
      {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, {0, 0, 0}, false};
  return launch(scope, function, shape, stream, LaunchAttributes(), params, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                                   unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                   unsigned int block_z, unsigned int shared_bytes, CUstream stream,
                                   void** params, uint16_t record_flags) {
  CallScope scope(CallId::cuLaunchKernelEx, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  LaunchShape shape{
      {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, {0, 0, 0}, false};
  LaunchAttributes attributes;
  attributes.addCooperative(shape);
  return launch(scope, function, shape, stream, attributes, params, nullptr);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** params,
                          void** extra, uint16_t record_flags) {
  CallScope scope(CallId::cuLaunchKernelEx, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  LaunchShape shape{{config->gridDimX, config->gridDimY, config->gridDimZ},
                    {config->blockDimX, config->blockDimY, config->blockDimZ},
                    config->sharedMemBytes,
                    {0, 0, 0},
                    false};
  LaunchAttributes attributes;
  FARWARP_TRY(attributes.read(config->attrs, config->numAttrs, shape));
  return launch(scope, function, shape, config->hStream, attributes, params, extra);
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  CallScope scope(CallId::cuFuncGetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit));
  Kernel* kernel = nullptr;
  FARWARP_TRY(findFunction(scope, function, kernel));
  return kernelAttribute(*kernel, attribute, value);
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  CallScope scope(CallId::cuFuncSetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  Kernel* kernel = nullptr;
  FARWARP_TRY(findFunction(scope, function, kernel));
  FARWARP_TRY(checkAttribute(attribute));
  wire::Args_cuFuncSetAttribute args;
  args.hfunc = idOf(function);
  args.attrib = static_cast<uint32_t>(attribute);
  args.value = value;
  wire::Reply_cuFuncSetAttribute reply;
  FARWARP_TRY(scope.call(args, reply));
  keepAttribute(*kernel, attribute, value);
  return CUDA_SUCCESS;
}

CUresult cuFuncGetModule(CUmodule* module, CUfunction function) {
  CallScope scope(CallId::cuFuncGetModule);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (module == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kernel* kernel = nullptr;
  FARWARP_TRY(findFunction(scope, function, kernel));
  const uint64_t parent = scope.client().handles.parent(idOf(function));
  if (wire::HandleId(parent).type() == wire::HandleType::module) {
    *module = handleOf<CUmodule>(parent);
    return CUDA_SUCCESS;
  }
  // A kernel of a library, or the function that was got from it: the library's module here.
  return kClientTable.cuLibraryGetModule(module, handleOf<CUlibrary>(kernel->image->id));
}

CUresult cuFuncGetName(const char** name, CUfunction function) {
  CallScope scope(CallId::cuFuncGetName);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kernel* kernel = nullptr;
  FARWARP_TRY(findFunction(scope, function, kernel));
  *name = kernel->info->name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t* offset, size_t* bytes) {
  CallScope scope(CallId::cuFuncGetParamInfo);
  FARWARP_TRY(scope.enter(kNeedsInit));
  Kernel* kernel = nullptr;
  FARWARP_TRY(findFunction(scope, function, kernel));
  return paramInfo(*kernel, index, offset, bytes);
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void* user, uint16_t record_flags) {
  CallScope scope(CallId::cuLaunchHostFunc, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuLaunchHostFunc args;
  FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.stream, true));
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  HostFunctions& functions = scope.client().host_functions;
  const auto body = [function, user](CUresult) { function(user); };
  FARWARP_TRY(
      functions.add(scope.thread().current(), HostFunctions::Runs::once, body, args.function));
  const CUresult result = scope.submit(args);
  if (result != CUDA_SUCCESS) functions.forget(args.function);
  return result;
}

}  // namespace farwarp::client::calls
