#include "gpud/metering/session_counters.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <new>
#include <utility>

namespace farwarp {

static_assert(std::atomic<uint64_t>::is_always_lock_free);

const char* meterMethodName(MeterMethod method) {
  switch (method) {
    case MeterMethod::device_stamps:
      return "exact";
    case MeterMethod::event_brackets:
      return "events";
    case MeterMethod::cupti:
      return "cupti";
    case MeterMethod::none:
      break;
  }
  return "none";
}

SharedCounters::SharedCounters(SharedCounters&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), counters_(std::exchange(other.counters_, nullptr)) {}

SharedCounters& SharedCounters::operator=(SharedCounters&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    counters_ = std::exchange(other.counters_, nullptr);
  }
  return *this;
}

SharedCounters::~SharedCounters() {
  close();
}

bool SharedCounters::create() {
  close();
  fd_ = memfd_create("farwarp-session", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd_ < 0 || ftruncate(fd_, sizeof(SessionCounters)) != 0) return false;
  // A worker that shrank the file would have the supervisor die of SIGBUS.
  if (fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return false;
  if (!map()) return false;
  new (counters_) SessionCounters();
  return true;
}

bool SharedCounters::open(int fd) {
  close();
  fd_ = fd;
  struct stat info;
  if (fstat(fd_, &info) != 0 || info.st_size != static_cast<off_t>(sizeof(SessionCounters))) {
    return false;
  }
  return map();
}

bool SharedCounters::map() {
  void* memory = mmap(nullptr, sizeof(SessionCounters), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (memory == MAP_FAILED) return false;
  counters_ = static_cast<SessionCounters*>(memory);
  return true;
}

void SharedCounters::close() {
  if (counters_ != nullptr) munmap(counters_, sizeof(SessionCounters));
  if (fd_ >= 0) ::close(fd_);
  counters_ = nullptr;
  fd_ = -1;
}

}  // namespace farwarp
