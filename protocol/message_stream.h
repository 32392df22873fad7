// A capnp::MessageStream of our own: few system calls, no copies of bulk data, hostile input
// refused.
//
// Reading: one large read-ahead buffer; a message gets a pooled buffer of its own; the last segment
// of a large message can be received straight into memory that a placement hook names. Writing:
// small messages collect until the loop goes to look for I/O; large segments are sent from where
// they are. The owner tells when the channel is ready, from libuv (uv_watch.h) or from its own
// poll.
#pragma once

#include <capnp/serialize-async.h>
#include <kj/async.h>

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "protocol/byte_channel.h"
#include "protocol/limits.h"
#include "protocol/output_flusher.h"
#include "protocol/receive_pool.h"

namespace farwarp::wire {

using Segment = kj::ArrayPtr<const capnp::word>;

struct StreamOptions {
  size_t read_ahead_bytes = 128u << 10;
  size_t message_bytes_max = kMessageBytesMax;
  size_t window_bytes = kStreamWindowBytes;  // what Cap'n Proto lets streaming calls have in flight
  size_t pool_bytes_max = 2u << 20;
  // While more output waits, no message is taken or delivered: a peer that does not read is not
  // served. 0: no limit.
  size_t output_bytes_max = 0;
};

// Decides where the last segment of an incoming message goes.
class PlacementHook {
 public:
  // `segments` are all of the message's; every one but the last is there, and the last is a
  // stand-in of the right size that reads as zeros. Returns memory of exactly the last segment's
  // bytes, or empty to receive it as usual. The message that is delivered keeps the stand-in when
  // memory was named.
  virtual std::span<std::byte> place(std::span<const Segment> segments) = 0;

 protected:
  ~PlacementHook() = default;
};

// The memory of a received message. Not for several threads at once.
struct MessageMemory {
  ReceiveBuffer first, last;
};

// Takes messages out of the stream before they get to whoever reads it.
class MessageTaker {
 public:
  // `segments` are a whole message, which nobody has checked. Returns false to leave it to the
  // reader. `memory` holds the segments: who needs them longer than this call moves it away. Must
  // not throw, and must not destroy the stream.
  virtual bool take(std::span<const Segment> segments, MessageMemory& memory) = 0;

 protected:
  ~MessageTaker() = default;
};

// Smaller last segments are never placed.
inline constexpr size_t kPlacedBytesMin = 4u << 10;
// True when `pointer` is inside the stand-in for placed segments.
bool isStandIn(const void* pointer);

class MessageStream final : public capnp::MessageStream, public OutputFlusher {
 public:
  // `channel` and `hook` (may be null) must outlive the stream.
  MessageStream(OutputFlushers& flushers, ByteChannel& channel, PlacementHook* hook,
                const StreamOptions& options = {});
  ~MessageStream() noexcept(false);
  KJ_DISALLOW_COPY(MessageStream);

  // Interest in readiness. While one message is being handled nobody waits for the next, and soon
  // somebody will: the interest in reading outlives that, so that the watch needs no change.
  // `on_interest` is told when one of the two changes.
  bool interestRead() const { return interest_read_; }
  bool interestWrite() const { return interest_write_; }
  bool wantsWrite() const { return !out_.empty() || channel_.hasUnsentOutput(); }
  void onInterest(std::function<void()> callback) { on_interest_ = std::move(callback); }
  // Told once, when nothing more will be read.
  void onEnd(std::function<void()> callback) { on_end_ = std::move(callback); }

  // The channel may have bytes, or room. At most one message is delivered per promise; what else
  // was read stays buffered.
  void readReady();
  bool flushOutput() override;

  // What `taker` takes never gets to the reader; null ends it.
  void setTaker(MessageTaker* taker);
  // Stops reading, and what has arrived waits, until it is resumed. Pauses are counted.
  void pause();
  void resume();

  // Sends a message as writeMessage does. Returns a position: segments that are too large to be
  // copied must stay as they are until sentTotal() has reached it.
  uint64_t post(std::span<const Segment> segments);
  // The same for segments that `owner` keeps as long as they are needed.
  uint64_t post(std::span<const Segment> segments, kj::Own<void> owner);
  uint64_t sentTotal() const { return sent_total_; }

  // `owner` goes when the message that contains a segment starting at `segment` is written, or
  // never will be. Call before the message is sent.
  void attachToSegment(const void* segment, kj::Own<void> owner);
  // Takes attachToSegment back, for a message that was not sent.
  void detachSegment(const void* segment);

  // Sends nothing more, and touches no memory of messages that were given to it; reading ends after
  // what has arrived.
  void abandonOutput();
  // The same for reading: no placement goes on after this.
  void abandon();

  bool ended() const { return ended_; }                         // nothing more will be read
  bool violated() const { return violated_; }                   // because the peer broke the rules
  const std::string& endReason() const { return end_reason_; }  // empty: the peer closed in order
  size_t unsentBytes() const { return queued_total_ - sent_total_; }

  // capnp::MessageStream. File descriptors are not passed: `fds` must be empty.
  kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> tryReadMessage(
      kj::ArrayPtr<kj::AutoCloseFd> fd_space, capnp::ReaderOptions options,
      kj::ArrayPtr<capnp::word> scratch) override;
  kj::Promise<void> writeMessage(kj::ArrayPtr<const int> fds,
                                 kj::ArrayPtr<const Segment> segments) override;
  kj::Promise<void> writeMessages(kj::ArrayPtr<kj::ArrayPtr<const Segment>> messages) override;
  kj::Maybe<int> getSendBufferSize() override;
  kj::Promise<void> end() override;

  using capnp::MessageStream::tryReadMessage;
  using capnp::MessageStream::writeMessage;

 private:
  class ReadAdapter;
  class WriteAdapter;
  using Delivery = kj::Maybe<capnp::MessageReaderAndFds>;

  // A message while it arrives.
  enum class Stage { header, table, body };
  struct Incoming {
    Stage stage = Stage::header;
    uint32_t count = 0;
    std::array<uint32_t, kMessageSegmentsMax> words{};
    size_t first_bytes = 0;  // all segments but one that may be placed
    size_t last_bytes = 0;   // the one that may be placed; 0: none
    bool in_last = false;
    ReceiveBuffer first, last;
    bool placed = false;
    std::byte* fill_at = nullptr;
    size_t fill_left = 0;
  };

  // A run of bytes to be sent: in `block`, or in a message that stays where it is.
  struct Outgoing {
    const std::byte* data = nullptr;
    size_t bytes = 0;
    std::unique_ptr<std::byte[]> block;
    size_t room = 0;  // free bytes behind data + bytes in the block
  };

  struct Attachment {
    const void* segment;
    uint64_t end;  // of the message in the outgoing bytes; 0: not sent yet
    kj::Own<void> owner;
  };

  // Reading.
  bool consumeBuffered();
  bool nextForReader();
  bool takeMessage();
  void deliver();
  void consume();
  bool takeHeader();
  bool takeTable();
  bool fillDone();
  bool takeBuffer(ReceiveBuffer& buffer, size_t bytes);
  void startFill(std::byte* at, size_t bytes);
  std::array<Segment, kMessageSegmentsMax> segmentsOf(const Incoming& message) const;
  ssize_t readMore(bool& complete);
  kj::Own<capnp::MessageReader> finishMessage();
  void endReading(std::string reason, bool violation);
  bool violate(std::string reason);
  size_t buffered() const { return rx_end_ - rx_begin_; }

  // Writing.
  void appendCopy(const void* data, size_t bytes);
  void appendReference(const void* data, size_t bytes);
  void sendSome();
  void consumeSent(size_t bytes);
  void settleWritten();
  void holdInput();
  void dropOutput();
  void cancelWrite(uint64_t begin, uint64_t end);
  bool mayConsume() const { return (reader_ != nullptr || taker_ != nullptr) && pauses_ == 0; }
  bool wantsRead() const { return mayConsume() && !ended_ && !undelivered_; }
  void updateInterest();

  OutputFlushers& flushers_;
  ByteChannel& channel_;
  PlacementHook* const hook_;
  const StreamOptions options_;
  std::function<void()> on_interest_, on_end_;
  bool interest_read_ = false, interest_write_ = false;

  const std::shared_ptr<ReceivePool> pool_;  // messages can outlive the stream
  std::unique_ptr<std::byte[]> rx_;
  size_t rx_begin_ = 0, rx_end_ = 0;
  Incoming incoming_;
  capnp::ReaderOptions reader_options_;
  ReadAdapter* reader_ = nullptr;
  MessageTaker* taker_ = nullptr;
  bool undelivered_ = false;  // incoming_ is whole, and for a reader that is not there yet
  unsigned pauses_ = 0;
  bool held_by_output_ = false;
  bool consume_again_ = false, consumes_ = false;  // after a pause; consumes_: inside consume()
  kj::Promise<void> consuming_ = nullptr;
  bool ended_ = false, violated_ = false;
  std::string end_reason_;

  std::deque<Outgoing> out_;
  std::unique_ptr<std::byte[]> spare_block_;
  uint64_t queued_total_ = 0, sent_total_ = 0;
  std::vector<WriteAdapter*> writers_;
  std::vector<Attachment> attachments_;
  bool write_failed_ = false, shutdown_when_sent_ = false;
  bool told_writers_ = false;  // since the last flush
};

}  // namespace farwarp::wire
