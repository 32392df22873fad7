// Memory of the device that lies in a file of its own, so that another process can map it too.
#pragma once

#include <cstdint>

namespace farwarp::cpu {

// Written behind the memory, so that who gets the descriptor knows what it is.
struct MemoryFile {
  uint64_t bytes = 0;         // whole pages
  uint64_t used_bytes = 0;    // as asked for
  uint32_t device_index = 0;  // Device::index() of the device that it belongs to
};

// A new file with `memory.bytes` zeros, whole pages. -1 when there are no files or no memory to be
// had.
int createMemoryFile(const MemoryFile& memory);

// Reads what a descriptor from elsewhere holds. False when it is no such file, or one that could
// shrink under those who map it.
bool openMemoryFile(int file, MemoryFile& memory);

// What a descriptor of a memory pool stands for. Its allocations are named by
// cuMemPoolExportPointer.
struct PoolFile {
  uint64_t identity[2] = {};  // random
  uint32_t device_index = 0;  // Device::index()
  uint32_t reserved = 0;
};

// A new file that says so and cannot be changed; -1 when there is none.
int createPoolFile(const PoolFile& pool);
bool openPoolFile(int file, PoolFile& pool);

// A file that is for this process alone; memory is added to it as it is needed. -1 when there is
// none.
int createPrivateFile();

}  // namespace farwarp::cpu
