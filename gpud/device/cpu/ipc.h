// Memory and events of this process in others, and theirs here: cuIpc*.
//
// A handle holds the key of a descriptor that the exporting process offers. Memory is moved into a
// file when it is exported first.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "gpud/device/cpu/address_space.h"
#include "gpud/device/cpu/shared_event.h"

namespace farwarp::cpu {

class Context;
class Driver;

class Ipc {
 public:
  explicit Ipc(Driver& driver) : driver_(driver) {}

  // `memory` is of kind device. Waits until nothing runs, once for each allocation.
  CUresult exportMemory(const Allocation& memory, CUipcMemHandle* handle);
  // The memory is freed, or its context over: the key ends. (Who has opened it keeps it.)
  void forget(uint64_t number);
  void contextEnds(uint64_t context);

  // Maps another process's memory for `context`, or counts that it is open once more.
  CUresult openMemory(Context& context, const CUipcMemHandle& handle, uint64_t* address);
  CUresult closeMemory(Context& context, uint64_t address);

  CUresult exportEvent(SharedEvent& event, CUipcEventHandle* handle);
  CUresult openEvent(const CUipcEventHandle& handle, std::shared_ptr<SharedEvent>& event);

 private:
  struct Export {
    DescriptorKey key;
    uint64_t context;
  };
  struct Import {
    uint64_t address;
    uint64_t opened;
  };
  using Secret = decltype(DescriptorKey::secret);
  using ImportKey = std::pair<uint64_t, Secret>;  // context, and which memory

  CUresult mapFile(Context& context, int file, uint64_t* address);

  Driver& driver_;
  std::mutex mutex_;  // guards the rest; taken before the scheduler's and the address space's
  std::map<uint64_t, Export> exports_;  // by the number of the allocation
  std::map<ImportKey, Import> imports_;
};

}  // namespace farwarp::cpu
