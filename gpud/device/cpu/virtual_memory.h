// Virtual memory management: physical memory, ranges of addresses, and which lies where.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>

namespace farwarp::cpu {

class Driver;

class VirtualMemory {
 public:
  // Of sizes, addresses and offsets, as NVIDIA's GPUs have it.
  static constexpr uint64_t kGranularity = uint64_t{2} << 20;
  static constexpr size_t kPhysicalMax = 30000;
  static constexpr size_t kReservationsMax = 30000;

  explicit VirtualMemory(Driver& driver) : driver_(driver) {}

  // The bodies of the calls of the same names; results as CUDA documents them.
  CUresult reserve(uint64_t bytes, uint64_t align, uint64_t wanted, uint64_t* address);
  CUresult unreserve(uint64_t address, uint64_t bytes);
  // `properties` were checked.
  CUresult create(uint64_t bytes, const CUmemAllocationProp& properties, uint64_t* handle);
  CUresult release(uint64_t handle);
  CUresult retain(uint64_t address, uint64_t* handle);
  CUresult map(uint64_t address, uint64_t bytes, uint64_t offset, uint64_t handle);
  CUresult unmap(uint64_t address, uint64_t bytes);
  // Of the devices in `changed`, those in `granted` may use the range afterwards.
  CUresult setAccess(uint64_t address, uint64_t bytes, uint32_t changed, uint32_t granted);
  CUresult properties(uint64_t handle, CUmemAllocationProp* properties);
  // The same of memory that is mapped, whether the program still has a handle or not.
  void describe(uint64_t physical, CUmemAllocationProp* properties);
  // A descriptor that the caller closes.
  CUresult exportFile(uint64_t handle, int* file);
  // Takes nothing: the caller keeps its descriptor.
  CUresult importFile(int file, uint64_t* handle);

 private:
  struct Physical {
    uint64_t bytes = 0;
    CUmemAllocationProp properties{};
    int file = -1;
    uint64_t offset = 0;
    bool own_file = false;
    bool imported = false;    // another process's memory does not count as this device's
    uint64_t references = 1;  // of the program
    uint64_t mappings = 0;
  };
  using PhysicalMap = std::unordered_map<uint64_t, Physical>;

  Physical* findHeld(uint64_t handle);
  bool backWithFile(Physical& memory);
  uint64_t add(const Physical& memory);
  void endIfUnused(PhysicalMap::iterator at);
  bool wholeMappings(uint64_t address, uint64_t bytes);
  void waitForDevices();

  Driver& driver_;
  std::mutex mutex_;                           // guards the rest; taken before the address space's
  std::map<uint64_t, uint64_t> reservations_;  // begin to bytes
  PhysicalMap physical_;                       // by handle
  uint64_t handles_ = 0;
  int private_file_ = -1;
  uint64_t private_bytes_ = 0;
};

}  // namespace farwarp::cpu
