// The thread that fetches pages for those that fault, so that a signal handler need not talk to
// gpud.
#include <pthread.h>

#include <algorithm>
#include <cstring>

#include "interposer/session/call_scope.h"
#include "interposer/session/client.h"
#include "interposer/session/fault_handler.h"
#include "interposer/session/shared_memory.h"

namespace farwarp::client {
namespace {

// Fetched with the page that was touched; doubled while a program goes on behind it.
constexpr size_t kReadaheadPages = 16;
constexpr size_t kReadaheadPagesMax = 512;

}  // namespace

bool SharedMemory::startFetcher() {
  // Its signals are blocked: the caller's are.
  pthread_t thread;
  if (pthread_create(&thread, nullptr, fetcherMain, this) != 0) return false;
  pthread_detach(thread);
  fetcher_started_ = true;
  return true;
}

void* SharedMemory::fetcherMain(void* memory) {
  pthread_setname_np(pthread_self(), "farwarp-pages");
  static_cast<SharedMemory*>(memory)->runFetcher();
  return nullptr;
}

void SharedMemory::runFetcher() {
  for (;;) {
    const uint32_t seen = requested_.load(std::memory_order_acquire);
    Request request{};
    bool any = false;
    {
      SignalSafeGuard guard(lock_);
      if (requests_count_ != 0) {
        request = requests_[requests_first_];
        requests_first_ = (requests_first_ + 1) % kRequestsMax;
        --requests_count_;
        any = true;
      }
    }
    if (any) {
      serve(request);
    } else {
      futexWait(requested_, seen);
    }
  }
}

void SharedMemory::serve(const Request& request) {
  size_t pages = 1;
  {
    SignalSafeGuard guard(lock_);
    PageRegion* region = findLocked(request.address);
    if (region == nullptr) return progress();
    const bool goes_on = request.address == readahead_end_;
    readahead_pages_ =
        goes_on ? std::min(readahead_pages_ * 2, kReadaheadPagesMax) : kReadaheadPages;
    const size_t page = region->pageOf(request.address);
    if (region->state(page) != PageState::fetching) return progress();
    const size_t more = region->runOf(page + 1, PageState::invalid, readahead_pages_ - 1);
    region->setState(page + 1, more, PageState::fetching);
    pages += more;
    readahead_end_ = request.address + pages * kPageBytes;
  }
  fetchRun(request.address, pages, request.write);
}

void SharedMemory::fetch(uint64_t address, uint64_t bytes) {
  if (!active()) return;
  const uint64_t end = address + bytes;
  for (uint64_t at = address / kPageBytes * kPageBytes; at < end;) {
    size_t pages = 1;
    bool fetch_them = false;
    {
      SignalSafeGuard guard(lock_);
      PageRegion* region = findLocked(at);
      if (region == nullptr) return;
      const size_t page = region->pageOf(at);
      const size_t wanted = (std::min(end, region->end()) - at + kPageBytes - 1) / kPageBytes;
      pages = region->runOf(page, PageState::invalid, std::min(wanted, kReadaheadPagesMax));
      fetch_them = pages != 0;
      if (fetch_them) region->setState(page, pages, PageState::fetching);
    }
    if (fetch_them) {
      fetchRun(at, pages, false);
    } else {
      pages = 1;
    }
    at += pages * kPageBytes;
  }
}

void SharedMemory::fetchIfIdle(uint64_t address, uint64_t bytes) {
  if (!busy_.load()) fetch(address, bytes);
}

// The pages are in state fetching, so nobody else changes them but the one who ends the sharing.
void SharedMemory::fetchRun(uint64_t begin, size_t pages, bool write) {
  for (;;) {
    uint64_t generation = 0;
    {
      SignalSafeGuard guard(lock_);
      generation = generation_;
    }
    CallScope scope(CallId::readShared);
    CUresult result = scope.enter(0);
    wire::Reply_readShared reply;
    if (result == CUDA_SUCCESS) {
      const uint64_t span[] = {begin, pages * kPageBytes};
      wire::Args_readShared args;
      args.spans = span;
      result = scope.call(args, reply);
      // An error kept from an asynchronous call is for the program's next call, not for this one.
      if (result != CUDA_SUCCESS && !reply.data.empty()) client_.kept_error.store(result);
    }
    SignalSafeGuard guard(lock_);
    // Another thread's wait ended meanwhile: it must not see what was fetched before that.
    const bool stale = generation != generation_;
    if (stale && !reply.data.empty() && findLocked(begin) != nullptr) continue;
    if (reply.data.size() != pages * kPageBytes) reply.data = {};
    place(begin, pages, reply.data, write);
    return progress();
  }
}

// Without data the connection is lost, as the program's next call will say; it goes on with what it
// had, rather than to stand still.
void SharedMemory::place(uint64_t begin, size_t pages, std::span<const std::byte> data,
                         bool write) {
  PageRegion* region = findLocked(begin);
  if (region == nullptr) return;
  const size_t page = region->pageOf(begin);
  if (region->runOf(page, PageState::fetching, pages) != pages) return;
  if (!data.empty()) std::memcpy(region->bytesAt(page), data.data(), data.size());
  pages_fetched_.fetch_add(pages, std::memory_order_relaxed);
  if (!region->makeClean(page, pages)) dieOfProtection();
  if (write && !writeFaultLocked(*region, page)) dieOfProtection();
}

void SharedMemory::progress() {
  progress_.fetch_add(1, std::memory_order_release);
  futexWakeAll(progress_);
}

}  // namespace farwarp::client
