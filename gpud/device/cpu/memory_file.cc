#include "gpud/device/cpu/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace farwarp::cpu {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr char kMagic[16] = "farwarp memory1";
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// In the last page of the file.
struct Trailer {
  char magic[sizeof(kMagic)];
  uint64_t bytes;
  uint64_t used_bytes;
  uint32_t device_index;
  uint32_t reserved;
};

constexpr char kPoolMagic[16] = "farwarp pool1";

struct PoolContent {
  char magic[sizeof(kPoolMagic)];
  PoolFile pool;
};

}  // namespace

int createMemoryFile(const MemoryFile& memory) {
  const int file = memfd_create("farwarp-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return -1;
  Trailer trailer{};
  std::memcpy(trailer.magic, kMagic, sizeof(kMagic));
  trailer.bytes = memory.bytes;
  trailer.used_bytes = memory.used_bytes;
  trailer.device_index = memory.device_index;
  const bool made = ftruncate(file, static_cast<off_t>(memory.bytes + kPageBytes)) == 0 &&
                    pwrite(file, &trailer, sizeof(trailer), static_cast<off_t>(memory.bytes)) ==
                        static_cast<ssize_t>(sizeof(trailer)) &&
                    fcntl(file, F_ADD_SEALS, kSeals) == 0;
  if (made) return file;
  close(file);
  return -1;
}

bool openMemoryFile(int file, MemoryFile& memory) {
  struct stat status {};
  if (fstat(file, &status) != 0 || status.st_size < static_cast<off_t>(2 * kPageBytes)) {
    return false;
  }
  const int seals = fcntl(file, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) return false;
  Trailer trailer{};
  const auto bytes = static_cast<uint64_t>(status.st_size) - kPageBytes;
  if (pread(file, &trailer, sizeof(trailer), static_cast<off_t>(bytes)) !=
          static_cast<ssize_t>(sizeof(trailer)) ||
      std::memcmp(trailer.magic, kMagic, sizeof(kMagic)) != 0 || trailer.bytes != bytes ||
      bytes % kPageBytes != 0 || trailer.used_bytes == 0 || trailer.used_bytes > bytes) {
    return false;
  }
  memory = {trailer.bytes, trailer.used_bytes, trailer.device_index};
  return true;
}

int createPoolFile(const PoolFile& pool) {
  const int file = memfd_create("farwarp-pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return -1;
  PoolContent content{};
  std::memcpy(content.magic, kPoolMagic, sizeof(kPoolMagic));
  content.pool = pool;
  if (pwrite(file, &content, sizeof(content), 0) == static_cast<ssize_t>(sizeof(content)) &&
      fcntl(file, F_ADD_SEALS, kSeals | F_SEAL_WRITE) == 0) {
    return file;
  }
  close(file);
  return -1;
}

bool openPoolFile(int file, PoolFile& pool) {
  PoolContent content{};
  if (pread(file, &content, sizeof(content), 0) != static_cast<ssize_t>(sizeof(content)) ||
      std::memcmp(content.magic, kPoolMagic, sizeof(kPoolMagic)) != 0) {
    return false;
  }
  pool = content.pool;
  return true;
}

int createPrivateFile() {
  return memfd_create("farwarp-device", MFD_CLOEXEC);
}

}  // namespace farwarp::cpu
