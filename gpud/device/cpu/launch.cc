#include "gpud/device/cpu/launch.h"

#include <cstring>
#include <string>
#include <vector>

#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/driver.h"
#include "gpud/device/cpu/kernel_meter.h"

namespace farwarp::cpu {
namespace {

// How CUDA names the ways in which a kernel can end badly.
CUresult errorOf(ptx::LaunchStatus status) {
  switch (status) {
    case ptx::LaunchStatus::ok:
      return CUDA_SUCCESS;
    case ptx::LaunchStatus::bad_shape:
      return CUDA_ERROR_LAUNCH_FAILED;
    case ptx::LaunchStatus::illegal_address:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case ptx::LaunchStatus::misaligned_address:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case ptx::LaunchStatus::illegal_instruction:
      return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case ptx::LaunchStatus::trap:
      return CUDA_ERROR_LAUNCH_FAILED;
    case ptx::LaunchStatus::assertion:
      return CUDA_ERROR_ASSERT;
    case ptx::LaunchStatus::launch_timeout:
      return CUDA_ERROR_LAUNCH_TIMEOUT;
    case ptx::LaunchStatus::aborted:
      return CUDA_ERROR_LAUNCH_FAILED;
    case ptx::LaunchStatus::stack_overflow:
      return CUDA_ERROR_HARDWARE_STACK_ERROR;
    case ptx::LaunchStatus::invalid_pc:
      return CUDA_ERROR_INVALID_PC;
    case ptx::LaunchStatus::invalid_address_space:
      return CUDA_ERROR_INVALID_ADDRESS_SPACE;
    // On a GPU such a kernel hangs until somebody ends it.
    case ptx::LaunchStatus::deadlock:
      return CUDA_ERROR_LAUNCH_TIMEOUT;
    case ptx::LaunchStatus::out_of_memory:
      return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  }
  return CUDA_ERROR_UNKNOWN;
}

std::string extent(const ptx::Extent& e) {
  return "(" + std::to_string(e.x) + ", " + std::to_string(e.y) + ", " + std::to_string(e.z) + ")";
}

std::string sentence(const ptx::LaunchDetail& detail) {
  std::string text = "Kernel " + detail.kernel + ", block " + extent(detail.block) + ", thread " +
                     extent(detail.thread);
  if (detail.ptx_line != 0) text += ", PTX line " + std::to_string(detail.ptx_line);
  return text + ": " + detail.message;
}

// The parameter block from one pointer per parameter.
CUresult packPointers(const ptx::KernelInfo& kernel, void** params, std::vector<std::byte>& block) {
  if (!kernel.params.empty() && params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < kernel.params.size(); ++i) {
    if (params[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(block.data() + kernel.params[i].offset, params[i], kernel.params[i].size);
  }
  return CUDA_SUCCESS;
}

// The parameter block from a buffer that the program packed.
CUresult packExtra(void** extra, std::vector<std::byte>& block) {
  constexpr int kPairsMax = 16;
  const void* buffer = nullptr;
  const size_t* bytes = nullptr;
  for (int pair = 0; extra[0] != CU_LAUNCH_PARAM_END; ++pair, extra += 2) {
    if (pair == kPairsMax) return CUDA_ERROR_INVALID_VALUE;
    if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER) {
      buffer = extra[1];
    } else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE) {
      bytes = static_cast<const size_t*>(extra[1]);
    } else {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  if (block.empty()) return CUDA_SUCCESS;
  if (buffer == nullptr || bytes == nullptr || *bytes < block.size())
    return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(block.data(), buffer, block.size());
  return CUDA_SUCCESS;
}

// What a kernel of a green context reaches: all that its context does, from as many multiprocessors
// as its part has. They count from 0, as those of a device that has no others; which numbers a GPU
// gives them is not documented.
class PartEnvironment final : public ptx::Environment {
 public:
  PartEnvironment(ptx::Environment& whole, uint32_t multiprocessors)
      : Environment(whole.memory(), whole.pool(), partOf(whole.traits(), multiprocessors)),
        whole_(whole) {}

  void print(std::string_view text) override { whole_.print(text); }
  void printAssertion(std::string_view text) override { whole_.printAssertion(text); }
  uint64_t allocate(uint64_t bytes) override { return whole_.allocate(bytes); }
  void release(uint64_t address) override { whole_.release(address); }
  void setCondition(uint64_t handle, uint32_t value) override {
    whole_.setCondition(handle, value);
  }

 private:
  static ptx::DeviceTraits partOf(ptx::DeviceTraits traits, uint32_t multiprocessors) {
    traits.multiprocessors = multiprocessors;
    return traits;
  }

  ptx::Environment& whole_;
};

// A launch that waits for its turn.
struct Launch {
  std::shared_ptr<Context> context;
  std::shared_ptr<Instance> instance;
  const ptx::Kernel* kernel;
  LaunchShape shape;
  std::vector<std::byte> params;
  std::shared_ptr<const ptx::TextureTable> textures;  // as of the launch
  std::shared_ptr<GreenContext> green;                // that the stream is of; may be null

  void run() const;
};

ptx::Extent toExtent(const uint32_t dims[3]) {
  return dims[0] == 0 ? ptx::Extent{} : ptx::Extent{dims[0], dims[1], dims[2]};
}

void Launch::run() const {
  if (context->error() != CUDA_SUCCESS) return;
  ptx::LaunchShape engine_shape{.grid = toExtent(shape.grid),
                                .block = toExtent(shape.block),
                                .cluster = toExtent(shape.cluster),
                                .dynamic_shared_bytes = shape.shared_dynamic,
                                .cooperative = shape.cooperative,
                                .params = params.data(),
                                .param_bytes = params.size(),
                                .grid_id = context->nextGridId(),
                                .textures = textures.get()};
  ptx::LaunchControl control;
  control.timeout_ns = context->device().config().kernel_timeout_ms * 1'000'000;
  KernelRecord record{.start_ns = nowNs(),
                      .end_ns = 0,
                      .device = static_cast<uint32_t>(context->device().ordinal()),
                      .reserved = 0,
                      .name = kernel->info().name.c_str()};
  ptx::LaunchResult result;
  try {
    if (green == nullptr) {
      result =
          ptx::run(*kernel, instance->loaded(), engine_shape, context->environment(), &control);
    } else {
      PartEnvironment part(context->environment(), green->set().count());
      result = ptx::run(*kernel, instance->loaded(), engine_shape, part, &control);
    }
  } catch (const std::bad_alloc&) {
    result.status = ptx::LaunchStatus::out_of_memory;
    result.detail.message = "The machine has no memory for the launch.";
    result.detail.kernel = kernel->info().name;
  }
  record.end_ns = nowNs();
  reportKernel(record);
  if (result.status == ptx::LaunchStatus::ok) return;
  context->fail(errorOf(result.status));
  // An assertion has told its own story on stderr.
  if (result.status != ptx::LaunchStatus::assertion) {
    context->driver().explain(sentence(result.detail));
  }
}

}  // namespace

CUresult launch(const LaunchRequest& request) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  Driver& driver = context->driver();
  const auto function = driver.functions().find(request.function);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  StreamUse stream;
  if (CUresult r = useStream(request.stream, request.record_flags, *context, stream);
      r != CUDA_SUCCESS) {
    return r;
  }
  if (stream.context != context) return CUDA_ERROR_INVALID_HANDLE;

  Launch launch{.context = context,
                .instance = nullptr,
                .kernel = &function->kernel(),
                .shape = request.shape,
                .params = {},
                .textures = context->textures().snapshot(),
                .green = stream.green};
  const FunctionLimits limits = function->limits(context->device());
  DeviceLimits device_limits = context->device().limits();
  if (stream.green != nullptr) device_limits.multiprocessors = stream.green->set().count();
  std::string why;
  if (CUresult r = checkLaunch(device_limits, limits, request.shape, &why); r != CUDA_SUCCESS) {
    return r;
  }
  if (launch.shape.cluster[0] == 0) {
    std::memcpy(launch.shape.cluster, limits.required_cluster, sizeof launch.shape.cluster);
  }
  launch.params.resize(function->info().param_bytes);
  CUresult r = request.extra != nullptr && request.params == nullptr
                   ? packExtra(request.extra, launch.params)
                   : packPointers(function->info(), request.params, launch.params);
  if (r != CUDA_SUCCESS) return r;
  r = function->instance(*context, launch.instance);
  if (r != CUDA_SUCCESS) return r;
  driver.scheduler().submit(stream.stream, [launch = std::move(launch)] { launch.run(); });
  return CUDA_SUCCESS;
}

CUresult readLaunchAttributes(const CUlaunchConfig& config, LaunchShape& shape) {
  constexpr unsigned kAttributesMax = 64;
  if (config.numAttrs > kAttributesMax) return CUDA_ERROR_INVALID_VALUE;
  if (config.numAttrs != 0 && config.attrs == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const CUlaunchAttributeValue& value = config.attrs[i].value;
    switch (config.attrs[i].id) {
      case CU_LAUNCH_ATTRIBUTE_IGNORE:
        break;
      case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        shape.cooperative = value.cooperative != 0;
        break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        shape.cluster[0] = value.clusterDim.x;
        shape.cluster[1] = value.clusterDim.y;
        shape.cluster[2] = value.clusterDim.z;
        break;
      // Hints: streams here have one priority, and a kernel begins when the one before it has
      // ended, which programmatic serialization permits.
      case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        break;
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        break;
      default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu
