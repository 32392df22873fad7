// The session's ordered log: every thread's calls go through here, one after the other, in batches.
//
// A batch leaves when it has 16 KiB, when the last one left more than about 20 us ago (so that an
// isolated launch does not wait), when a call needs a reply, and after at most 100 us through the
// background thread, which exists from the first remote call on.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

#include "protocol/client_connection.h"
#include "protocol/record.h"

namespace farwarp::client {

class SessionLog {
 public:
  // `connection` outlives the log. Starts nothing.
  void attach(wire::ClientConnection& connection) { connection_ = &connection; }

  // What the background thread does besides, now and then.
  void onTick(std::function<void()> callback) { on_tick_ = std::move(callback); }

  // Locks the log and makes room for a record. The caller fills header.bytes - sizeof(header) bytes
  // at `body`, a multiple of 8, and then calls append, or start. Trouble leaves the log unlocked.
  wire::Trouble begin(const wire::RecordHeader& header, std::byte*& body);

  // The record is complete. `now`: the batch must leave at once. Unlocks.
  wire::Trouble append(bool now);

  // The record is complete and is waited for. The batch leaves, which has `batch_bytes`. Unlocks.
  [[nodiscard]] wire::Ticket start(size_t& batch_bytes);

  // Sends what is in the batch.
  wire::Trouble flush();

  // Records appended without and with a reply, for the figures at exit.
  uint64_t asyncRecords() const { return async_records_.load(std::memory_order_relaxed); }
  uint64_t syncRecords() const { return sync_records_.load(std::memory_order_relaxed); }

  // Called by the process when it ends: joins the background thread, if it ends within a second.
  void stopBackground();

 private:
  static constexpr size_t kFlushBytes = 16u << 10;
  static constexpr size_t kFirstCapacity = 64u << 10;

  bool makeRoom(size_t bytes);
  wire::Trouble flushLocked();
  void startBackgroundLocked();
  void wakeBackground();
  void runBackground();
  static void* backgroundMain(void* log);

  wire::ClientConnection* connection_ = nullptr;
  std::function<void()> on_tick_;  // set before the thread starts

  std::mutex mutex_;  // guards the batch and the order in which batches leave
  std::unique_ptr<std::byte[]> batch_;
  size_t capacity_ = 0;
  size_t used_ = 0;
  size_t record_bytes_ = 0;  // of the record between begin and append or start
  uint64_t last_flush_ = 0;  // time stamp counter
  bool background_started_ = false;

  std::atomic<uint64_t> flushes_{0};  // batches that left without a waiting call
  std::atomic<bool> tail_{false};     // the batch is not empty and nobody else will send it
  std::atomic<uint32_t> asleep_{0};   // futex: the background thread sleeps until there is a tail
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> async_records_{0};
  std::atomic<uint64_t> sync_records_{0};
  pthread_t background_{};
};

}  // namespace farwarp::client
