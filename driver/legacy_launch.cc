// The launch interface of CUDA 3: a function's block shape, dynamic shared memory and parameters
// are set call by call, and a launch takes them as they are then. Each launch is a cuLaunchKernel.
#include <array>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "driver/graph/host.h"
#include "driver_calls_gen.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

constexpr uint32_t kParamBytesMax = 32764;  // of a kernel, CUDA 12.1 and later
constexpr size_t kSettingsMax = 4096;  // functions with settings; the dead ones are dropped first

struct Settings {
  std::array<unsigned, 3> block{0, 0, 0};  // not set: no launch
  unsigned shared_bytes = 0;
  std::vector<std::byte> params;
  uint32_t param_bytes = 0;
};

// Of all functions of the process. Never destroyed: programs launch from their own exit handlers.
struct AllSettings {
  std::mutex mutex;  // guards by_function
  std::unordered_map<CUfunction, Settings> by_function;
};

AllSettings& allSettings() {
  static auto* all = new AllSettings;
  return *all;
}

// Drops the settings of functions that are gone, when there are too many.
CUresult makeRoom(Host& host, AllSettings& all) {
  if (all.by_function.size() < kSettingsMax) return CUDA_SUCCESS;
  std::erase_if(all.by_function, [&](const auto& entry) {
    KernelLayout layout;
    return host.kernelLayout(entry.first, layout) != CUDA_SUCCESS;
  });
  return all.by_function.size() < kSettingsMax ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

// Lets `change` set something of a live function; what it returns is the call's result.
template <typename Change>
CUresult set(Host& host, CUfunction function, Change&& change) {
  FARWARP_GRAPH_TRY(host.enter(true));
  KernelLayout layout;
  FARWARP_GRAPH_TRY(host.kernelLayout(function, layout));
  AllSettings& all = allSettings();
  std::lock_guard lock(all.mutex);
  if (!all.by_function.contains(function)) FARWARP_GRAPH_TRY(makeRoom(host, all));
  return change(all.by_function[function]);
}

CUresult setParam(Host& host, CUfunction function, int offset, const void* from, unsigned bytes) {
  return set(host, function, [&](Settings& settings) {
    if (offset < 0 || from == nullptr || bytes > kParamBytesMax ||
        static_cast<unsigned>(offset) > kParamBytesMax - bytes) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const size_t end = static_cast<size_t>(offset) + bytes;
    if (settings.params.size() < end) settings.params.resize(end);
    std::memcpy(settings.params.data() + offset, from, bytes);
    return CUDA_SUCCESS;
  });
}

CUresult launchGrid(Host& host, CUfunction function, int width, int height, CUstream stream) {
  Settings settings;
  FARWARP_GRAPH_TRY(set(host, function, [&](Settings& kept) {
    settings = kept;
    return CUDA_SUCCESS;
  }));
  if (width <= 0 || height <= 0 || settings.block[0] == 0) return CUDA_ERROR_INVALID_VALUE;
  settings.params.resize(settings.param_bytes);
  size_t bytes = settings.params.size();
  std::array<void*, 5> extra = {CU_LAUNCH_PARAM_BUFFER_POINTER, settings.params.data(),
                                CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
  return host.table().cuLaunchKernel(
      function, static_cast<unsigned>(width), static_cast<unsigned>(height), 1, settings.block[0],
      settings.block[1], settings.block[2], settings.shared_bytes, stream, nullptr, extra.data());
}

}  // namespace

namespace calls {

// Shapes that the function or the device cannot run are refused by the launch.
CUresult cuFuncSetBlockShape(Host& host, CUfunction function, int x, int y, int z) {
  return set(host, function, [&](Settings& settings) {
    if (x <= 0 || y <= 0 || z <= 0) return CUDA_ERROR_INVALID_VALUE;
    settings.block = {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
    return CUDA_SUCCESS;
  });
}

CUresult cuFuncSetSharedSize(Host& host, CUfunction function, unsigned int bytes) {
  return set(host, function, [&](Settings& settings) {
    settings.shared_bytes = bytes;
    return CUDA_SUCCESS;
  });
}

CUresult cuParamSetSize(Host& host, CUfunction function, unsigned int bytes) {
  return set(host, function, [&](Settings& settings) {
    if (bytes > kParamBytesMax) return CUDA_ERROR_INVALID_VALUE;
    settings.param_bytes = bytes;
    return CUDA_SUCCESS;
  });
}

CUresult cuParamSeti(Host& host, CUfunction function, int offset, unsigned int value) {
  return setParam(host, function, offset, &value, sizeof value);
}

CUresult cuParamSetf(Host& host, CUfunction function, int offset, float value) {
  return setParam(host, function, offset, &value, sizeof value);
}

CUresult cuParamSetv(Host& host, CUfunction function, int offset, void* from, unsigned int bytes) {
  return setParam(host, function, offset, from, bytes);
}

CUresult cuLaunch(Host& host, CUfunction function) {
  return launchGrid(host, function, 1, 1, nullptr);
}

CUresult cuLaunchGrid(Host& host, CUfunction function, int width, int height) {
  return launchGrid(host, function, width, height, nullptr);
}

CUresult cuLaunchGridAsync(Host& host, CUfunction function, int width, int height,
                           CUstream stream) {
  return launchGrid(host, function, width, height, stream);
}

}  // namespace calls
}  // namespace farwarp::graph
