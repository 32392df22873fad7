// Bulk data of the client through memory that it shares with its worker.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "protocol/client_impl.h"
#include "protocol/direct_bulk.h"
#include "protocol/shared_region.h"

namespace farwarp::wire {

// Everything but the copying itself happens under the lock of the bulk connection's loop.
class SharedBulk final : public MessageTaker {
 public:
  SharedBulk(ClientConnection::Impl& owner, SharedRegion region);

  int fd() const { return region_.fd(); }
  // The worker has it.
  void accepted() { region_.closeDescriptor(); }

  // As ClientConnection::put and get. What finds no room here goes over the socket.
  Trouble put(uint64_t transfer, std::span<const std::byte> data);
  Trouble get(uint64_t transfer, std::span<std::byte> destination);

  // Bytes that went through the memory; from any thread.
  uint64_t bytesPut() const { return bytes_put_.load(std::memory_order_relaxed); }
  uint64_t bytesGot() const { return bytes_got_.load(std::memory_order_relaxed); }

  // MessageTaker of the bulk connection
  bool take(std::span<const Segment> segments, MessageMemory& memory) override;

 private:
  struct Get;
  struct Question {
    bool in_use = false;
    SharedMethod method = SharedMethod::put;
    uint32_t place = 0;        // of a put
    std::shared_ptr<Get> get;  // of a get, with offset
    size_t offset = 0;
  };
  // A chunk of a get that the worker has answered.
  struct Arrived {
    size_t offset;
    bool shared;
    uint32_t place;
  };
  struct Get {
    size_t outstanding = 0;  // requests without an answer
    std::vector<Arrived> arrived;
    Trouble trouble = Trouble::none;
  };

  void post(SharedCall call, Question question);
  Trouble copyOut(SharedLoop::Lock& lock, uint64_t transfer, const Arrived& chunk,
                  std::span<std::byte> to);

  ClientConnection::Impl& owner_;
  SharedRegion region_;
  std::optional<uint32_t> bulk_export_;
  std::vector<Question> questions_;
  std::vector<uint32_t> unused_questions_;
  std::vector<uint32_t> to_finish_;
  std::vector<uint32_t> free_upload_slots_;
  std::atomic<uint64_t> bytes_put_{0}, bytes_got_{0};
};

}  // namespace farwarp::wire
