// What handles stand for: streams, events, modules, libraries and functions.
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "driver/array_shape.h"
#include "driver/launch_check.h"
#include "gpud/device/cpu/config.h"
#include "gpud/device/cpu/context.h"
#include "gpud/device/cpu/ptx/engine.h"
#include "gpud/device/cpu/scheduler.h"
#include "gpud/device/cpu/shared_event.h"
#include "gpud/device/cpu/textures.h"

namespace farwarp::cpu {

class Driver;
class GreenContext;

struct StreamObject {
  std::shared_ptr<Context> context;
  std::shared_ptr<GreenContext> green;  // null: of the context itself
  std::shared_ptr<Stream> stream;
  unsigned flags = 0;
  int priority = 0;
  uint64_t number = 0;
};

// A CUDA array: rows without gaps in memory of its context.
struct ArrayObject {
  std::shared_ptr<Context> context;
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  ArrayShape shape;
  uint64_t address = 0;
  bool is_level = false;  // of a mipmapped array, whose memory it is in
};

struct MipmappedArrayObject {
  std::shared_ptr<Context> context;
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  uint64_t address = 0;
  std::vector<std::shared_ptr<ArrayObject>> levels;
  std::vector<CUarray> handles;  // of the levels
};

// One recording of an event.
struct EventRecord {
  Mark mark;
  std::atomic<uint64_t> time_ns{0};  // CLOCK_MONOTONIC, set when the stream gets there
};

class EventObject {
 public:
  EventObject(std::shared_ptr<Context> context, unsigned flags,
              std::shared_ptr<SharedEvent> shared = nullptr)
      : context(std::move(context)), flags(flags), shared(std::move(shared)) {}
  const std::shared_ptr<Context> context;
  const unsigned flags;
  const std::shared_ptr<SharedEvent>
      shared;  // with CU_EVENT_INTERPROCESS, and then `latest` is not used

  // The latest recording; null before the first.
  std::shared_ptr<EventRecord> latest() {
    std::lock_guard lock(mutex_);
    return latest_;
  }
  void setLatest(std::shared_ptr<EventRecord> record) {
    std::lock_guard lock(mutex_);
    latest_ = std::move(record);
  }

 private:
  std::mutex mutex_;  // guards latest_
  std::shared_ptr<EventRecord> latest_;
};

// The managed variables of a program: in one place for all contexts and for the host, with their
// initial values from the beginning.
class ManagedVariables {
 public:
  // Null when there is no memory for them. Without managed variables it holds none.
  static std::shared_ptr<ManagedVariables> create(Driver& driver, const ptx::Program& program);
  ~ManagedVariables();
  // Where variable number `index` of the program lies; 0 when it is not managed.
  uint64_t address(size_t index) const { return addresses_[index]; }

 private:
  explicit ManagedVariables(Driver& driver) : driver_(driver) {}
  Driver& driver_;
  std::vector<uint64_t> addresses_;
  uint64_t address_ = 0;  // of all of them
};

// A program in the memory of one context.
class Instance {
 public:
  // Null when the device has no memory for the variables.
  static std::shared_ptr<Instance> create(std::shared_ptr<const ptx::Program> program,
                                          Context& context,
                                          std::shared_ptr<ManagedVariables> managed);
  ~Instance();
  const ptx::LoadedProgram& loaded() const { return *loaded_; }
  // False when there is no such variable.
  bool findVariable(const char* name, uint64_t& address, uint64_t& bytes) const;

 private:
  Instance(Driver& driver) : driver_(driver) {}
  Driver& driver_;
  std::shared_ptr<ManagedVariables> managed_;
  std::unique_ptr<ptx::LoadedProgram> loaded_;
  uint64_t address_ = 0;
  uint64_t number_ = 0;  // of the allocation
};

// What a program may set of a function, on one device.
struct FunctionSettings {
  std::atomic<int> shared_dynamic_max{0};
  std::atomic<int> carveout{-1};
  std::array<std::atomic<int>, 3> cluster{};
  std::atomic<int> cluster_must_be_set{0};
  std::atomic<int> nonportable_cluster{0};
  std::atomic<int> cluster_policy{0};
};

class Library;
class Module;

// A kernel of a library (in any context) or a function of a module (in its context).
class Function {
 public:
  // `registers_max`: registers per thread that the program was told to use at most; 0 for no limit.
  Function(Driver& driver, const ptx::Kernel& kernel, std::weak_ptr<Library> library,
           std::weak_ptr<Module> module, uint32_t registers_max);

  const ptx::KernelInfo& info() const { return kernel_.info(); }
  const ptx::Kernel& kernel() const { return kernel_; }
  std::shared_ptr<Library> library() const { return library_.lock(); }
  std::shared_ptr<Module> module() const { return module_.lock(); }
  CUfunction handle() const { return handle_; }
  void setHandle(uintptr_t handle) { handle_ = reinterpret_cast<CUfunction>(handle); }

  // The program in the memory of `context`. CUDA_ERROR_INVALID_HANDLE when it cannot be there.
  CUresult instance(Context& context, std::shared_ptr<Instance>& instance) const;
  CUresult attribute(const Device& device, CUfunction_attribute which, int* value) const;
  CUresult setAttribute(const Device& device, CUfunction_attribute which, int value);
  FunctionLimits limits(const Device& device) const;

 private:
  const ptx::Kernel& kernel_;
  const std::weak_ptr<Library> library_;
  const std::weak_ptr<Module> module_;
  const uint32_t registers_;  // that it is said to use per thread
  CUfunction handle_ = nullptr;
  std::array<FunctionSettings, kDevicesMax> settings_;
};

// The functions of a program by name, each with a handle.
class FunctionSet {
 public:
  void fill(Driver& driver, const ptx::Program& program, const std::shared_ptr<Library>& library,
            const std::shared_ptr<Module>& module, uint32_t registers_max);
  void forget(Driver& driver);
  CUfunction find(std::string_view name) const;  // null when there is none
  const std::vector<CUfunction>& handles() const { return handles_; }

 private:
  std::vector<CUfunction> handles_;  // in the order of the program
  std::unordered_map<std::string, CUfunction> by_name_;
};

class Module {
 public:
  Module(std::shared_ptr<Context> context, std::shared_ptr<const ptx::Program> program,
         std::shared_ptr<Instance> instance)
      : context(std::move(context)), program(std::move(program)), instance(std::move(instance)) {}
  const std::shared_ptr<Context> context;
  const std::shared_ptr<const ptx::Program> program;
  const std::shared_ptr<Instance> instance;
  std::weak_ptr<Library> library;  // set for the module of a library in a context
  FunctionSet functions;           // empty for that of a library, whose functions are its kernels
  CUmodule handle = nullptr;

  void forgetFunctions(Driver& driver) { functions.forget(driver); }
};

class Library {
 public:
  explicit Library(std::shared_ptr<const ptx::Program> program) : program(std::move(program)) {}
  const std::shared_ptr<const ptx::Program> program;
  FunctionSet kernels;
  CUlibrary handle = nullptr;

  // Where a managed variable lies. CUDA_ERROR_NOT_FOUND, CUDA_ERROR_OUT_OF_MEMORY.
  CUresult findManaged(Driver& driver, const char* name, uint64_t& address, uint64_t& bytes);
  // The program in the memory of `context`, put there on first use. CUDA_ERROR_OUT_OF_MEMORY.
  CUresult instance(Context& context, std::shared_ptr<Instance>& instance);
  // The library as a module of `context`.
  CUresult module(const std::shared_ptr<Library>& self, Context& context, CUmodule* module);
  void forgetContext(uint64_t context);
  // Takes the modules that `module` gave out off the driver's table.
  void forgetModules(Driver& driver);

 private:
  std::mutex mutex_;                                         // guards the rest
  std::shared_ptr<ManagedVariables> managed_;                // null until they are needed
  std::map<uint64_t, std::shared_ptr<Instance>> instances_;  // by context number
  std::map<uint64_t, CUmodule> modules_;
};

}  // namespace farwarp::cpu
