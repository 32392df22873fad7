#include "interposer/session/shared_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "interposer/session/call_scope.h"
#include "interposer/session/client.h"
#include "interposer/session/fault_handler.h"
#include "interposer/session/thread_state.h"

namespace farwarp::client {
namespace {

// A program that writes one page after the other gets ever more of them at a time.
constexpr size_t kWritePagesMax = 64;
// One record of changes.
constexpr size_t kRecordDataBytes = 256u << 10;
constexpr size_t kRecordSpans = 8192;
// Equal bytes that are sent along rather than described, when the device had no time to write them.
constexpr size_t kIdleGapBytes = 32;

// Calls whose names begin in one of several ways, and do not have a certain word in them.
class CallSet {
 public:
  CallSet(std::initializer_list<const char*> prefixes, const char* without) {
    for (size_t number = 1; number <= kDriverFunctionCount; ++number) {
      const char* name = kDriverSymbolNames[number - 1];
      if (without != nullptr && strstr(name, without) != nullptr) continue;
      for (const char* prefix : prefixes) {
        if (strncmp(name, prefix, strlen(prefix)) == 0) has_[number] = true;
      }
    }
  }
  bool has(CallId call) const {
    const auto number = static_cast<size_t>(call);
    return number < has_.size() && has_[number];
  }

 private:
  std::array<bool, kDriverFunctionCount + 1> has_{};
};

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

// Private memory of the program's again, with the content that the region has.
bool makePrivate(const PageRegion& region) {
  const uint64_t bytes = region.end() - region.begin();
  void* copy = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return false;
  memcpy(copy, region.bytesAt(0), bytes);
  return mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(region.begin())) !=
         MAP_FAILED;
}

}  // namespace

bool SharedMemory::isDeviceWork(CallId call) {
  static const CallSet calls({"cuLaunch", "cuGraphLaunch", "cuMemcpyDtoD", "cuMemcpy3D",
                              "cuMemcpyPeer", "cuMemcpyBatchAsync", "cuMemset",
                              "cuStreamWriteValue", "cuStreamWaitValue", "cuStreamBatchMemOp"},
                             nullptr);
  return calls.has(call);
}

bool SharedMemory::looksAtDevice(CallId call) {
  static const CallSet calls({"cuStreamSynchronize", "cuStreamQuery", "cuCtxSynchronize",
                              "cuEventSynchronize", "cuEventQuery", "cuMemcpyDtoH"},
                             nullptr);
  return calls.has(call);
}

bool SharedMemory::hostRelies(CallId call) {
  static const CallSet calls({"cuMemset", "cuMemcpy3D"}, "Async");
  return calls.has(call);
}

PageRegion* SharedMemory::findLocked(uint64_t address) {
  auto next = regions_.upper_bound(address);
  if (next == regions_.begin()) return nullptr;
  PageRegion* region = std::prev(next)->second.get();
  return address < region->end() ? region : nullptr;
}

void SharedMemory::addLocked(std::unique_ptr<PageRegion> region) {
  written_.reserve(regions_.size() + 1);
  if (region->mayBeDirty()) written_.push_back(region.get());
  const uint64_t begin = region->begin();
  regions_[begin] = std::move(region);
}

CUresult SharedMemory::share(uint64_t address, uint64_t bytes, PageRegion::Content content) {
  {
    CallScope scope(CallId::shareMemory);
    if (CUresult r = scope.enter(kNeedsInit); r != CUDA_SUCCESS) return r;
    wire::Args_shareMemory args;
    args.address = address;
    args.bytes = bytes;
    args.foreign = content == PageRegion::Content::remote ? 1 : 0;
    wire::Reply_shareMemory reply;
    if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) return r;
  }
  bool placed = false;
  {
    SignalSafeGuard guard(lock_);
    placed = fetcher_started_ || startFetcher();
    if (placed) {
      installFaultHandler(*this);
      lowest_.store(std::min(lowest_.load(), address));
      highest_.store(std::max(highest_.load(), address + bytes));
      std::unique_ptr<PageRegion> region = PageRegion::place(address, bytes, content);
      placed = region != nullptr;
      if (placed) addLocked(std::move(region));
    }
  }
  if (!placed) {
    CallScope scope(CallId::unshareMemory);
    if (scope.enter(kNeedsInit) == CUDA_SUCCESS) {
      wire::Args_unshareMemory args;
      args.address = address;
      wire::Reply_unshareMemory reply;
      static_cast<void>(scope.call(args, reply));
    }
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  active_.store(true, std::memory_order_release);
  return CUDA_SUCCESS;
}

CUresult SharedMemory::shareForeign(uint64_t address, uint64_t bytes) {
  if (address == 0 || address % kPageBytes != 0 || bytes == 0 || bytes % kPageBytes != 0) {
    return CUDA_ERROR_UNKNOWN;  // gpud says nonsense
  }
  void* at = mmap(pointer(address), bytes, PROT_NONE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (at != pointer(address)) {
    if (at != MAP_FAILED) munmap(at, bytes);
    client_.explain("A managed variable cannot be used: other memory lies at its address here.");
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  const CUresult result = share(address, bytes, PageRegion::Content::remote);
  if (result != CUDA_SUCCESS) munmap(at, bytes);
  return result;
}

CUresult SharedMemory::unshare(uint64_t address, Keep keep) {
  uint64_t bytes = 0;
  {
    SignalSafeGuard guard(lock_);
    const auto found = regions_.find(address);
    if (found == regions_.end()) return CUDA_ERROR_INVALID_VALUE;
    bytes = found->second->end() - address;
    if (keep == Keep::yes) flushLocked();
  }
  if (keep == Keep::yes) fetch(address, bytes);
  {
    // From here on nothing is told or asked about these pages, so that gpud may forget them.
    SignalSafeGuard guard(lock_);
    const auto found = regions_.find(address);
    if (found == regions_.end()) return CUDA_ERROR_INVALID_VALUE;
    if (found->second->foreign()) {
      munmap(pointer(address), bytes);
    } else if (keep == Keep::no || !makePrivate(*found->second)) {
      mmap(pointer(address), bytes, PROT_NONE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    }
    std::erase(written_, found->second.get());
    regions_.erase(found);
    ++generation_;  // what is being fetched for it has no place any more
    progress();
  }
  CallScope scope(CallId::unshareMemory);
  if (CUresult r = scope.enter(kNeedsInit); r != CUDA_SUCCESS) return r;
  wire::Args_unshareMemory args;
  args.address = address;
  wire::Reply_unshareMemory reply;
  return scope.call(args, reply);
}

bool SharedMemory::contains(uint64_t address) {
  return overlaps(address, 1);
}

bool SharedMemory::overlaps(uint64_t address, uint64_t bytes) {
  if (!active() || bytes == 0) return false;
  if (address >= highest_.load() || address + bytes <= lowest_.load()) return false;
  SignalSafeGuard guard(lock_);
  if (findLocked(address) != nullptr) return true;
  const auto next = regions_.lower_bound(address);
  return next != regions_.end() && next->first < address + bytes;
}

// --- what the program wrote ----------------------------------------------------------------------

void SharedMemory::sendLocked() {
  if (spans_.empty()) return;
  CallScope scope(CallId::writeShared);
  if (scope.enter(0) == CUDA_SUCCESS) {
    wire::Args_writeShared args;
    args.spans = spans_;
    args.data = data_;
    // A connection that is lost is told to the program by the call that this goes before.
    static_cast<void>(scope.submit(args));
    bytes_written_.fetch_add(data_.size(), std::memory_order_relaxed);
  }
  spans_.clear();
  data_.clear();
}

void SharedMemory::flushLocked() {
  // While kernels may run, gpud may have other bytes between two that the program changed.
  const size_t gap = busy_.load(std::memory_order_relaxed) ? 0 : kIdleGapBytes;
  for (PageRegion* region : written_) {
    region->takeChanges(gap, [&](uint64_t address, const std::byte* data, size_t bytes) {
      const bool goes_on = !spans_.empty() && spans_.end()[-2] + spans_.back() == address;
      if (goes_on) {
        spans_.back() += bytes;
      } else {
        spans_.push_back(address);
        spans_.push_back(bytes);
      }
      data_.insert(data_.end(), data, data + bytes);
      if (data_.size() >= kRecordDataBytes || spans_.size() >= kRecordSpans) sendLocked();
    });
  }
  sendLocked();
  std::erase_if(written_, [](const PageRegion* region) { return !region->mayBeDirty(); });
}

bool SharedMemory::flush() {
  if (!active()) return false;
  SignalSafeGuard guard(lock_);
  flushLocked();
  return true;
}

void SharedMemory::noteWork(uint64_t context) {
  work_count_.fetch_add(1, std::memory_order_acq_rel);
  if (!busy_.exchange(true)) {
    work_context_.store(context);
    several_contexts_.store(false);
  } else if (work_context_.load() != context) {
    several_contexts_.store(true);
  }
}

void SharedMemory::beforeDeviceWork(uint64_t context) {
  {
    SignalSafeGuard guard(lock_);
    if (!written_.empty()) flushLocked();
  }
  noteWork(context);
}

void SharedMemory::synchronised(uint64_t work_issued, uint64_t context, bool whole_context) {
  if (!busy_.load()) return;
  SignalSafeGuard guard(lock_);
  flushLocked();
  for (const auto& [begin, region] : regions_) {
    // Pages that cannot be closed would show old bytes; there is no way to go on with them.
    if (region->mayBeClean() && !region->invalidate()) dieOfProtection();
  }
  ++generation_;
  const bool all_over = whole_context && !several_contexts_.load() &&
                        work_context_.load() == context && work_count_.load() == work_issued;
  if (all_over) busy_.store(false);
}

void SharedMemory::deviceReachedHost() {
  if (active()) synchronised(0, 0, false);
}

// --- faults --------------------------------------------------------------------------------------

bool SharedMemory::onFault(uint64_t address, bool write) {
  if (address >= highest_.load(std::memory_order_acquire) ||
      address < lowest_.load(std::memory_order_acquire)) {
    return false;
  }
  for (;;) {
    lock_.lock();
    PageRegion* region = findLocked(address);
    if (region == nullptr) {
      lock_.unlock();
      // It may have become the program's own again between the fault and now: try once.
      return retried_.exchange(address) != address;
    }
    const size_t page = region->pageOf(address);
    bool served = true;
    switch (region->state(page)) {
      case PageState::clean:
        // Another thread's fault may have had it fetched since a read failed.
        if (write) served = writeFaultLocked(*region, page);
        break;
      case PageState::dirty:
        break;
      case PageState::invalid:
        if (forked_) {
          served = region->fillSeparate(page);
          break;
        }
        [[fallthrough]];
      case PageState::fetching: {
        if (region->state(page) == PageState::invalid) requestLocked(*region, page, write);
        const uint32_t seen = progress_.load(std::memory_order_acquire);
        lock_.unlock();
        futexWait(progress_, seen);
        continue;
      }
    }
    lock_.unlock();
    if (!served) dieOfProtection();
    return true;
  }
}

bool SharedMemory::writeFaultLocked(PageRegion& region, size_t page) {
  const uint64_t address = region.addressOf(page);
  write_pages_ = address == write_end_ ? std::min(write_pages_ * 2, kWritePagesMax) : 1;
  size_t count = region.runOf(page, PageState::clean, write_pages_);
  write_faults_.fetch_add(1, std::memory_order_relaxed);
  if (!region.mayBeDirty()) written_.push_back(&region);
  bool done = region.makeDirty(page, count);
  if (!done) {
    // The process has too many mappings: a whole run joins its neighbours and takes none.
    page = region.runBegin(page);
    count = region.runOf(page, PageState::clean, region.pages());
    done = region.makeDirty(page, count);
  }
  write_end_ = region.addressOf(page + count);
  return done;
}

// False when there is no room; the caller's thread tries again when something was served.
bool SharedMemory::requestLocked(PageRegion& region, size_t page, bool write) {
  if (requests_count_ == kRequestsMax) return false;
  region.setState(page, 1, PageState::fetching);
  requests_[(requests_first_ + requests_count_++) % kRequestsMax] = {region.addressOf(page), write};
  requested_.fetch_add(1, std::memory_order_release);
  futexWakeAll(requested_);
  return true;
}

// --- fork ----------------------------------------------------------------------------------------

void SharedMemory::beforeFork() {
  if (!active()) return;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  lock_.lock();
  fork_signals_ = before;
  fork_holds_lock_ = true;
}

void SharedMemory::afterForkInParent() {
  // Only the thread that forks looks at this, and libc lets one do so at a time.
  if (!fork_holds_lock_) return;
  fork_holds_lock_ = false;
  const sigset_t before = fork_signals_;
  lock_.unlock();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void SharedMemory::afterForkInChild() {
  if (!fork_holds_lock_) return;
  // A child of a child has its memory by itself, as after any fork.
  if (!forked_) {
    for (const auto& [begin, region] : regions_) region->separate();
  }
  forked_ = true;
  afterForkInParent();
}

}  // namespace farwarp::client
