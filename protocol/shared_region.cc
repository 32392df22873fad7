#include "protocol/shared_region.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace farwarp::wire {
namespace {

// With the last one no seal can follow, so that whoever has the descriptor finds it as it was
// checked.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// Of ordinary pages. Those of a huge page's size come from a reserve: whoever punches a hole may
// not get the page back, and the next access to it would raise SIGBUS.
bool hasOrdinaryPages(int fd) {
  struct statfs status {};
  return fstatfs(fd, &status) == 0 && status.f_type == TMPFS_MAGIC;
}

}  // namespace

std::optional<SharedRegion> SharedRegion::create() {
  const int fd = memfd_create("farwarp-bulk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return std::nullopt;
  // All of it exists before anybody writes: no access to it can fail later.
  if (fallocate(fd, 0, 0, kSharedRegionBytes) != 0 || fcntl(fd, F_ADD_SEALS, kSeals) != 0) {
    close(fd);
    return std::nullopt;
  }
  return map(fd);
}

std::optional<SharedRegion> SharedRegion::adopt(int fd, std::string& why) {
  struct stat status {};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    why = "The memory that the client wants to share is not sealed against a change of its size.";
  } else if (!hasOrdinaryPages(fd)) {
    why = "The memory that the client wants to share is not made of ordinary pages.";
  } else if (fstat(fd, &status) != 0 || status.st_size != off_t{kSharedRegionBytes}) {
    why = "The memory that the client wants to share has " + std::to_string(status.st_size) +
          " bytes; it must have " + std::to_string(kSharedRegionBytes) + ".";
  } else if (fallocate(fd, 0, 0, kSharedRegionBytes) != 0) {
    why = std::string("The memory that the client wants to share cannot be had: ") +
          std::strerror(errno) + ".";
  } else if (auto region = map(fd)) {
    region->closeDescriptor();
    return region;
  } else {
    why = std::string("The client's memory cannot be mapped: ") + std::strerror(errno) + ".";
    return std::nullopt;  // map() closed it
  }
  close(fd);
  return std::nullopt;
}

std::optional<SharedRegion> SharedRegion::map(int fd) {
  void* memory =
      mmap(nullptr, kSharedRegionBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) {
    close(fd);
    return std::nullopt;
  }
  // A child of fork() has no part in it.
  madvise(memory, kSharedRegionBytes, MADV_DONTFORK);
  return SharedRegion(fd, static_cast<std::byte*>(memory));
}

SharedRegion::SharedRegion(SharedRegion&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), memory_(std::exchange(other.memory_, nullptr)) {}

SharedRegion::~SharedRegion() {
  if (memory_ != nullptr) munmap(memory_, kSharedRegionBytes);
  closeDescriptor();
}

void SharedRegion::closeDescriptor() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

}  // namespace farwarp::wire
