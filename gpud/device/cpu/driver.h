// The root of the CPU device: one per process, made at the first call, never destroyed, because
// runtimes call in after this library's own destructors would have run.
#pragma once

#include <cuda.h>

#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "driver/driver_front.h"
#include "driver/managed_advice.h"
#include "gpud/device/cpu/address_space.h"
#include "gpud/device/cpu/config.h"
#include "gpud/device/cpu/context.h"
#include "gpud/device/cpu/device.h"
#include "gpud/device/cpu/green_context.h"
#include "gpud/device/cpu/handle_table.h"
#include "gpud/device/cpu/ipc.h"
#include "gpud/device/cpu/memory_pool.h"
#include "gpud/device/cpu/objects.h"
#include "gpud/device/cpu/ptx/program_cache.h"
#include "gpud/device/cpu/scheduler.h"
#include "gpud/device/cpu/virtual_memory.h"

namespace farwarp::cpu {

class Linker;

inline constexpr int kDriverVersion = 13000;

class Driver final : public DriverFront {
 public:
  static Driver& get();

  // The body of cuInit.
  CUresult init(unsigned flags);
  // CUDA_ERROR_NOT_INITIALIZED before cuInit, and in a child of a process that called cuInit.
  CUresult check() const;

  const Config& config() const { return config_; }
  int devices() const { return static_cast<int>(devices_.size()); }
  // Null when there is no such device.
  Device* device(CUdevice ordinal) const {
    return ordinal >= 0 && ordinal < devices() ? devices_[ordinal].get() : nullptr;
  }
  // The ordinal of the device with this Device::index(); -1 when the program does not see it.
  int deviceByIndex(uint32_t index) const;
  std::shared_ptr<Context> primary(CUdevice ordinal) const { return primaries_[ordinal]; }
  std::recursive_mutex& primaryMutex() { return primary_mutex_; }
  int& primaryRetains(CUdevice ordinal) { return primary_retains_[ordinal]; }

  AddressSpace& memory() { return memory_; }
  Scheduler& scheduler() { return scheduler_; }
  MemoryPools& pools() { return *pools_; }
  Ipc& ipc() { return ipc_; }
  GreenContexts& greens() { return greens_; }
  VirtualMemory& virtualMemory() { return virtual_memory_; }
  ManagedAdvice& advice() { return advice_; }
  ptx::WorkerPool& pool();
  ptx::ProgramCache& programs() { return programs_; }
  HandleTable<Context>& contexts() { return contexts_; }
  // Null when it is gone.
  std::shared_ptr<Context> contextByNumber(uint64_t number) const;
  HandleTable<StreamObject>& streams() { return streams_; }
  HandleTable<EventObject>& events() { return events_; }
  HandleTable<Module>& modules() { return modules_; }
  HandleTable<Library>& libraries() { return libraries_; }
  HandleTable<Function>& functions() { return functions_; }
  HandleTable<Linker>& linkers() { return linkers_; }
  HandleTable<ArrayObject>& arrays() { return arrays_; }
  HandleTable<MipmappedArrayObject>& mipmappedArrays() { return mipmapped_arrays_; }
  HandleTable<TextureObject>& textures() { return textures_; }
  HandleTable<TextureObject>& surfaces() { return surfaces_; }

  // The number of the calling thread, whose default streams end with it.
  uint64_t threadNumberForStreams();
  void forgetThread(uint64_t thread);

  // One line on stderr that says why a call failed, for the person at the terminal. Not too many of
  // them.
  void explain(std::string_view sentence);

  // What the hidden tables ask.
  int driverVersion() override { return kDriverVersion; }
  int deviceCount() override { return devices(); }
  DeviceIdentity deviceIdentity(int ordinal) override { return devices_[ordinal]->identity(); }
  CUresult primaryContext(CUcontext* context, CUdevice device) override;
  CUcontext currentContext() override;
  CUresult contextNumber(CUcontext context, uint64_t* number) override;
  size_t visitFunctions(CUmodule module,
                        void (*visit)(void* user, CUfunction function, const char* name),
                        void* user) override;

 private:
  Driver();

  Config config_;
  AddressSpace memory_;
  VirtualMemory virtual_memory_{*this};
  Ipc ipc_{*this};
  GreenContexts greens_{*this};
  ManagedAdvice advice_;
  Scheduler scheduler_;
  std::unique_ptr<MemoryPools> pools_;  // made when the devices are known
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<std::shared_ptr<Context>> primaries_;
  // Guards the counts; held while a primary context starts or ends. Recursive, because a runtime's
  // destructors, which run while its context ends, may call in.
  std::recursive_mutex primary_mutex_;
  std::vector<int> primary_retains_;
  std::once_flag pool_once_;
  std::unique_ptr<ptx::WorkerPool> pool_;
  ptx::ProgramCache programs_{size_t{64} << 20};
  std::atomic<uint64_t> threads_{0};
  std::atomic<unsigned> explained_{0};

  HandleTable<Context> contexts_{1};
  HandleTable<StreamObject> streams_{2};
  HandleTable<EventObject> events_{3};
  HandleTable<Module> modules_{4};
  HandleTable<Library> libraries_{5};
  HandleTable<Function> functions_{6};
  HandleTable<Linker> linkers_{10};
  HandleTable<ArrayObject> arrays_{8};
  HandleTable<MipmappedArrayObject> mipmapped_arrays_{12};
  HandleTable<TextureObject> textures_{13};
  HandleTable<TextureObject> surfaces_{14};
};

}  // namespace farwarp::cpu
