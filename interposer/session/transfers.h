// Copies from the device into memory of the program that were started and not waited for.
//
// gpud keeps the bytes of such a copy and names it in a reply once it is complete. Whichever thread
// gets that reply fetches the bytes and puts them in their place before its own call returns.
#pragma once

#include <cuda.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>

#include "driver/copy_shape.h"
#include "protocol/client_connection.h"

namespace farwarp::client {

class Transfers {
 public:
  // A number for a transfer, up or down. Never 0, never used twice.
  uint64_t nextNumber() { return next_.fetch_add(1, std::memory_order_relaxed); }

  // Announces a copy of `bytes` bytes to `destination` in stream `stream` (wire id, and its record
  // flags and context). False when kPendingTransfersMax are pending: wait for one first.
  struct Pending {
    void* destination = nullptr;
    size_t bytes = 0;  // from the first byte to behind the last
    // The bytes that come, row after row, go to rows of this box from `destination` on; an empty
    // box is one run of bytes.
    CopyBox box{};
    uint64_t pitch = 0;
    uint64_t slice_rows = 0;
    uint64_t stream = 0;
    uint16_t flags = 0;
    CUcontext context = nullptr;
    bool claimed = false;  // a thread is fetching it
  };
  [[nodiscard]] bool add(uint64_t number, const Pending& pending);
  // The copy was not started after all, or its end will never be told.
  void forget(uint64_t number);

  // gpud says that these are complete: `ids` are uint64_t, unaligned. Fetches those that no other
  // thread is fetching. Numbers that are not pending are ignored: gpud tells each until it is
  // fetched.
  void complete(std::span<const std::byte> ids, wire::ClientConnection& connection);
  // Waits until what other threads are fetching lies in its place. What gpud told them before it
  // answered this thread is either told to this thread too, or being fetched, or placed.
  void waitUntilPlaced();

  // A pending copy whose destination overlaps the range.
  std::optional<std::pair<uint64_t, Pending>> findOverlap(const void* start, size_t bytes) const;
  // Any pending copy; for making room.
  std::optional<std::pair<uint64_t, Pending>> findAny() const;

  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }

 private:
  void place(uint64_t number, const Pending& pending, wire::ClientConnection& connection);
  void finished(uint64_t number);

  std::atomic<uint64_t> next_{1};
  std::atomic<size_t> count_{0};
  mutable std::mutex mutex_;  // guards pending_; not held while bytes are fetched
  std::condition_variable placed_;
  std::unordered_map<uint64_t, Pending> pending_;
};

// As ClientConnection::get; seen by a trace.
wire::Trouble fetchBytes(wire::ClientConnection& connection, uint64_t number,
                         std::span<std::byte> destination);

// Fetches the packed bytes of a transfer into the rows of a box; what lies between them is not
// touched. As ClientConnection::get otherwise.
wire::Trouble fetchRows(wire::ClientConnection& connection, uint64_t number, const Rows& to,
                        const CopyBox& box);

}  // namespace farwarp::client
