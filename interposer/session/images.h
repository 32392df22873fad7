// Modules and libraries with their kernels, as the client knows them from gpud's reply to the load.
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "driver/launch_check.h"
#include "protocol/kernel_table.h"

namespace farwarp::client {

struct Image;

// One kernel. CUkernel and CUfunction handles for it all lead here.
struct Kernel {
  const wire::KernelInfo* info = nullptr;
  Image* image = nullptr;
  uint32_t param_bytes = 0;  // of the packed parameters
  // CU_FUNC_ATTRIBUTE_*, kept in step with the setters.
  std::array<std::atomic<int32_t>, wire::kKernelAttributeCount> attributes{};

  // Guarded by Image::mutex.
  uint64_t handle = 0;  // CUkernel of a library, CUfunction of a module
  std::unordered_map<uint64_t, uint64_t> functions;  // context id -> id, from cuKernelGetFunction

  // What a launch is checked against.
  FunctionLimits limits() const;
};

// A CUmodule or a CUlibrary.
struct Image {
  uint64_t id = 0;
  bool library = false;
  uint64_t context = 0;  // of a module; 0 for a library
  std::vector<wire::KernelInfo> infos;
  std::deque<Kernel> kernels;  // same order; deque because atomics do not move
  std::unordered_map<std::string_view, Kernel*> by_name;

  std::mutex mutex;  // guards what follows, and the handles in kernels; before the log's lock
  std::unordered_map<uint64_t, uint64_t> modules;  // context id -> id, from cuLibraryGetModule

  // Takes the kernel table of a reply. False when it is malformed.
  [[nodiscard]] bool readKernels(std::span<const std::byte> table);
};

// Keeps what was unloaded for a while: a thread that launches a kernel of a module that another
// thread unloads makes an error of its own, and should get an error for it, not a crash.
class ImageGraveyard {
 public:
  void bury(Image* image);

 private:
  static constexpr size_t kKept = 64;
  std::mutex mutex_;  // guards images_; a leaf lock
  std::deque<std::unique_ptr<Image>> images_;
};

}  // namespace farwarp::client
