#include "gpud/device/cpu/shared_event.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>

namespace farwarp::cpu {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr char kMagic[16] = "farwarp event 1";
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

struct SharedEvent::Page {
  char magic[sizeof(kMagic)];
  std::atomic<uint64_t> begun;
  std::atomic<uint64_t> finished;
  std::atomic<uint32_t> changes;  // futex: `finished` grew
  std::atomic<int32_t> recorder;  // process of the latest recording
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

std::shared_ptr<SharedEvent> SharedEvent::map(int file) {
  void* page = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (page == MAP_FAILED) return nullptr;
  return std::shared_ptr<SharedEvent>(new SharedEvent(static_cast<Page*>(page), file));
}

std::shared_ptr<SharedEvent> SharedEvent::create() {
  const int file = memfd_create("farwarp-event", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return nullptr;
  const bool made = ftruncate(file, kPageBytes) == 0 &&
                    pwrite(file, kMagic, sizeof(kMagic), 0) == ssize_t{sizeof(kMagic)} &&
                    fcntl(file, F_ADD_SEALS, kSeals) == 0;
  auto event = made ? map(file) : nullptr;
  if (event == nullptr) close(file);
  return event;
}

std::shared_ptr<SharedEvent> SharedEvent::open(int file) {
  struct stat status {};
  char magic[sizeof(kMagic)];
  const int seals = fcntl(file, F_GET_SEALS);
  const bool good = seals >= 0 && (seals & kSeals) == kSeals && fstat(file, &status) == 0 &&
                    status.st_size == kPageBytes &&
                    pread(file, magic, sizeof(magic), 0) == ssize_t{sizeof(magic)} &&
                    std::memcmp(magic, kMagic, sizeof(magic)) == 0;
  const int own = good ? fcntl(file, F_DUPFD_CLOEXEC, 0) : -1;
  if (own < 0) return nullptr;
  auto event = map(own);
  if (event == nullptr) close(own);
  return event;
}

SharedEvent::~SharedEvent() {
  munmap(page_, kPageBytes);
  // What is offered, the broker closes.
  offered_ ? DescriptorBroker::get().withdraw(key_) : void(close(file_));
}

const DescriptorKey* SharedEvent::key() {
  if (!offered_) {
    const auto key = DescriptorBroker::get().offer(file_);
    if (!key) return nullptr;
    key_ = *key;
    offered_ = true;
  }
  return &key_;
}

uint64_t SharedEvent::begin() {
  page_->recorder.store(getpid());
  return page_->begun.fetch_add(1) + 1;
}

void SharedEvent::finish(uint64_t number) {
  uint64_t before = page_->finished.load();
  while (before < number && !page_->finished.compare_exchange_weak(before, number)) continue;
  page_->changes.fetch_add(1);
  syscall(SYS_futex, &page_->changes, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

uint64_t SharedEvent::latest() const {
  return page_->begun.load();
}

bool SharedEvent::happened(uint64_t number) const {
  if (page_->finished.load() >= number) return true;
  const pid_t recorder = page_->recorder.load();
  return recorder > 0 && kill(recorder, 0) != 0 && errno == ESRCH;
}

void SharedEvent::wait(uint64_t number, const std::function<bool()>& stop) const {
  constexpr timespec kLookAgain{0, 20'000'000};  // for a recorder that ended, and for `stop`
  for (;;) {
    const uint32_t changes = page_->changes.load();
    if (happened(number) || stop()) return;
    syscall(SYS_futex, &page_->changes, FUTEX_WAIT, changes, &kLookAgain, nullptr, 0);
  }
}

}  // namespace farwarp::cpu
