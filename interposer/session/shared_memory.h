// Host memory that the program and the device both use: managed memory, and page-locked memory that
// kernels were given. gpud has the same pages at the same addresses.
//
// The program's stores are noticed by page protection. Before work for the device enters the log,
// the bytes that changed since the last time enter it (beforeDeviceWork). After a call that waited,
// the pages are closed (synchronised), and a page that the program then touches is fetched from
// gpud first. So nothing moves that is not used, and two sides may write different bytes of one
// page.
//
// Faults are served on the thread that met them, in the signal handler, which takes lock_ and
// nothing else; what must be fetched is fetched by a thread of our own, which the faulting one
// waits for. Whoever holds lock_ outside of the handler has all signals blocked and touches shared
// pages through their second mapping only, so it never faults.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "driver_calls_gen.h"
#include "interposer/session/futex_lock.h"
#include "interposer/session/page_region.h"

namespace farwarp::client {

class CallScope;
class Client;

class SharedMemory {
 public:
  explicit SharedMemory(Client& client) : client_(client) {}

  // True once anything was shared; what follows costs nothing before.
  bool active() const { return active_.load(std::memory_order_acquire); }

  // Shares the pages [address, address + bytes), multiples of kPageBytes, with gpud. The calling
  // thread has a current context, which the sharing ends with. CUDA_ERROR_NOT_SUPPORTED when the
  // pages cannot lie at this address in gpud, and CUDA_ERROR_OUT_OF_MEMORY.
  [[nodiscard]] CUresult share(uint64_t address, uint64_t bytes, PageRegion::Content content);

  // The same for pages that gpud's driver has already, where nothing may lie here yet; they end
  // with no context.
  [[nodiscard]] CUresult shareForeign(uint64_t address, uint64_t bytes);

  // Ends the sharing of what begins at `address`. `keep`: the pages stay the program's, private
  // again and with what the device wrote last; otherwise they are closed, and what lies there is
  // lost.
  enum class Keep { no, yes };
  CUresult unshare(uint64_t address, Keep keep);

  // True when the byte at `address` is shared.
  bool contains(uint64_t address);
  // True when any of the bytes are.
  bool overlaps(uint64_t address, uint64_t bytes);

  // The program's part of the range is brought here, or told to gpud, now (prefetching).
  void fetch(uint64_t address, uint64_t bytes);
  void fetchIfIdle(uint64_t address, uint64_t bytes);
  // True when anything is shared.
  bool flush();

  // True for calls that let the device read or write memory.
  static bool isDeviceWork(CallId call);
  // True for calls without a stream that write memory and are answered before they are done.
  static bool hostRelies(CallId call);
  // True for calls that wait for the device, or look whether it is done.
  static bool looksAtDevice(CallId call);
  // Before a call with device work enters the log, and again after: `context` is where it runs.
  void beforeDeviceWork(uint64_t context);
  void afterDeviceWork(uint64_t context) { noteWork(context); }
  // How much device work was issued; pass it to synchronised() as it was when a waiting call
  // entered the log.
  uint64_t workIssued() const { return work_count_.load(std::memory_order_acquire); }
  // A call that waited has returned. `whole_context`: it waited for all work of `context`.
  void synchronised(uint64_t work_issued, uint64_t context, bool whole_context);

  // The same without a call: the device has got to a point at which the program looks.
  void deviceReachedHost();

  // Serves the fault of the program at `address`; false when it has nothing to do with shared
  // memory. Async-signal-safe.
  bool onFault(uint64_t address, bool write);

  // Around fork, for pthread_atfork.
  void beforeFork();
  void afterForkInParent();
  void afterForkInChild();

  // Pages that were fetched, and bytes that were told to gpud, so far.
  uint64_t pagesFetched() const { return pages_fetched_.load(std::memory_order_relaxed); }
  uint64_t bytesWritten() const { return bytes_written_.load(std::memory_order_relaxed); }
  uint64_t writeFaults() const { return write_faults_.load(std::memory_order_relaxed); }

 private:
  // A fault that waits for a page.
  struct Request {
    uint64_t address;
    bool write;
  };
  static constexpr size_t kRequestsMax = 256;

  PageRegion* findLocked(uint64_t address);
  void addLocked(std::unique_ptr<PageRegion> region);
  void noteWork(uint64_t context);
  void flushLocked();
  void sendLocked();

  // Of the handler, with lock_ held.
  bool writeFaultLocked(PageRegion& region, size_t page);
  bool requestLocked(PageRegion& region, size_t page, bool write);

  // The thread that fetches (shared_memory_fetch.cc).
  [[nodiscard]] bool startFetcher();
  static void* fetcherMain(void* memory);
  void runFetcher();
  void serve(const Request& request);
  void fetchRun(uint64_t begin, size_t pages, bool write);
  void place(uint64_t begin, size_t pages, std::span<const std::byte> data, bool write);
  void progress();

  Client& client_;
  std::atomic<bool> active_{false};
  std::atomic<uint64_t> lowest_{~uint64_t{0}};  // shared pages lie in [lowest_, highest_)
  std::atomic<uint64_t> highest_{0};

  // What the device may have done since everything was last known to be over.
  std::atomic<bool> busy_{false};
  std::atomic<uint64_t> work_count_{0};
  std::atomic<uint64_t> work_context_{0};
  std::atomic<bool> several_contexts_{false};

  FutexLock lock_;  // guards what follows; taken before the session log's lock
  sigset_t fork_signals_{};
  bool fork_holds_lock_ = false;
  std::map<uint64_t, std::unique_ptr<PageRegion>> regions_;
  std::vector<PageRegion*> written_;  // may have dirty pages; room for all regions
  uint64_t generation_ = 0;           // of invalidations
  bool forked_ = false;
  bool fetcher_started_ = false;
  Request requests_[kRequestsMax]{};
  size_t requests_first_ = 0;
  size_t requests_count_ = 0;
  uint64_t readahead_end_ = 0;  // behind the last run that was fetched
  size_t readahead_pages_ = 0;
  uint64_t write_end_ = 0;  // behind the last run that became writable
  size_t write_pages_ = 0;
  std::vector<uint64_t> spans_;  // changes on their way into the log
  std::vector<std::byte> data_;

  std::atomic<uint32_t> requested_{0};  // futex: the fetcher has something to do
  std::atomic<uint32_t> progress_{0};   // futex: pages changed their state
  std::atomic<uint64_t> retried_{0};    // address of a fault whose region had just gone
  std::atomic<uint64_t> pages_fetched_{0};
  std::atomic<uint64_t> bytes_written_{0};
  std::atomic<uint64_t> write_faults_{0};
};

}  // namespace farwarp::client
