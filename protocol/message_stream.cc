#include "protocol/message_stream.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace farwarp::wire {
namespace {

constexpr size_t kBlockBytes = 64u << 10;     // of collected output
constexpr size_t kCopyBytesMax = 8u << 10;    // larger messages are sent from where they are
constexpr size_t kCopySegmentMax = 512;       // except their small segments
constexpr size_t kUnsentBytesMax = 1u << 20;  // of copies; beyond it writers wait
constexpr size_t kDirectReadMin = 2u << 10;   // less is read through the read-ahead buffer
constexpr size_t kWord = sizeof(capnp::word);

// Zero pages that stand for placed segments in the messages that are delivered. Readable, so that a
// hostile message which points there reads zeros; never written, so it costs no memory.
struct StandIn {
  static constexpr size_t kBytes = kMessageBytesMax;
  const std::byte* base;
  StandIn()
      : base(static_cast<const std::byte*>(
            mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    if (base == MAP_FAILED) base = nullptr;
  }
};

const StandIn& standIn() {
  static const StandIn& instance = *new StandIn;
  return instance;
}

class ReceivedMessage final : public capnp::MessageReader {
 public:
  ReceivedMessage(capnp::ReaderOptions options, std::span<const Segment> segments,
                  ReceiveBuffer first, ReceiveBuffer last)
      : MessageReader(options),
        first_(std::move(first)),
        last_(std::move(last)),
        count_(static_cast<uint32_t>(segments.size())) {
    std::copy(segments.begin(), segments.end(), segments_.begin());
  }

  Segment getSegment(uint id) override { return id < count_ ? segments_[id] : nullptr; }

 private:
  ReceiveBuffer first_, last_;
  std::array<Segment, kMessageSegmentsMax> segments_;
  uint32_t count_;
};

uint32_t load32(const std::byte* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

}  // namespace

bool isStandIn(const void* pointer) {
  const auto* at = static_cast<const std::byte*>(pointer);
  const std::byte* base = standIn().base;
  return base != nullptr && at >= base && at < base + StandIn::kBytes;
}

// The one promise of tryReadMessage that waits.
class MessageStream::ReadAdapter {
 public:
  ReadAdapter(kj::PromiseFulfiller<Delivery>& fulfiller, MessageStream& stream)
      : fulfiller(fulfiller), stream_(&stream) {
    stream.reader_ = this;
    stream.updateInterest();
  }
  ~ReadAdapter() noexcept(false) {
    if (stream_ != nullptr) stream_->reader_ = nullptr;
  }
  // The stream waits for it no longer.
  kj::PromiseFulfiller<Delivery>& release() {
    std::exchange(stream_, nullptr)->reader_ = nullptr;
    return fulfiller;
  }
  KJ_DISALLOW_COPY(ReadAdapter);

 private:
  kj::PromiseFulfiller<Delivery>& fulfiller;
  MessageStream* stream_;
};

// One promise of writeMessage that waits until outgoing byte `end` is sent.
class MessageStream::WriteAdapter {
 public:
  WriteAdapter(kj::PromiseFulfiller<void>& fulfiller, MessageStream& stream, uint64_t begin,
               uint64_t end)
      : fulfiller(fulfiller), begin(begin), end(end), stream_(&stream) {
    stream.writers_.push_back(this);
  }
  ~WriteAdapter() noexcept(false) {
    if (stream_ == nullptr) return;
    std::erase(stream_->writers_, this);
    stream_->cancelWrite(begin, end);
  }
  KJ_DISALLOW_COPY(WriteAdapter);

  // Fulfilled, or nothing to wait for any more.
  void settle() {
    stream_ = nullptr;
    fulfiller.fulfill();
  }

  kj::PromiseFulfiller<void>& fulfiller;
  const uint64_t begin, end;

 private:
  MessageStream* stream_;
};

MessageStream::MessageStream(OutputFlushers& flushers, ByteChannel& channel, PlacementHook* hook,
                             const StreamOptions& options)
    : flushers_(flushers),
      channel_(channel),
      hook_(standIn().base != nullptr ? hook : nullptr),
      options_(options),
      pool_(std::make_shared<ReceivePool>(options.pool_bytes_max)),
      rx_(new std::byte[options.read_ahead_bytes]) {
  flushers_.add(this);
}

MessageStream::~MessageStream() noexcept(false) {
  flushers_.remove(this);
  consuming_ = nullptr;
  on_interest_ = nullptr;
  if (reader_ != nullptr) reader_->release();
  dropOutput();
}

void MessageStream::updateInterest() {
  if (wantsRead() == interest_read_ && wantsWrite() == interest_write_) return;
  interest_read_ = wantsRead();
  interest_write_ = wantsWrite();
  if (on_interest_) on_interest_();
}

// ---- reading

kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> MessageStream::tryReadMessage(
    kj::ArrayPtr<kj::AutoCloseFd>, capnp::ReaderOptions options, kj::ArrayPtr<capnp::word>) {
  KJ_REQUIRE(reader_ == nullptr, "one read at a time");
  reader_options_ = options;
  if (!ended_ && pauses_ == 0 && (undelivered_ || buffered() > 0) && nextForReader()) {
    return Delivery(capnp::MessageReaderAndFds{finishMessage(), nullptr});
  }
  if (ended_) {
    if (end_reason_.empty()) return Delivery(nullptr);
    return KJ_EXCEPTION(DISCONNECTED, end_reason_.c_str());
  }
  auto promise = kj::newAdaptedPromise<Delivery, ReadAdapter>(*this);
  if (channel_.hasBufferedInput()) readReady();
  return promise;
}

// Takes messages from what was read until one is there that the reader must get.
bool MessageStream::nextForReader() {
  while (!ended_ && pauses_ == 0) {
    if (!undelivered_ && !consumeBuffered()) return false;
    if (!takeMessage()) return true;
  }
  return false;
}

// The message that is complete: true when the taker took it.
bool MessageStream::takeMessage() {
  if (taker_ == nullptr || undelivered_) return false;
  const auto segments = segmentsOf(incoming_);
  MessageMemory memory{std::move(incoming_.first), std::move(incoming_.last)};
  const uint32_t count = incoming_.count;
  if (taker_->take({segments.data(), count}, memory)) {
    incoming_ = Incoming{};
    return true;
  }
  incoming_.first = std::move(memory.first);
  incoming_.last = std::move(memory.last);
  return false;
}

void MessageStream::setTaker(MessageTaker* taker) {
  taker_ = taker;
  updateInterest();
}

void MessageStream::pause() {
  ++pauses_;
  updateInterest();
}

void MessageStream::resume() {
  if (--pauses_ > 0) return;
  updateInterest();
  // In a turn of its own: who resumes is in the middle of something.
  if (ended_ || !(undelivered_ || buffered() > 0 || channel_.hasBufferedInput())) return;
  consume_again_ = true;
  if (!consumes_) consuming_ = kj::evalLater([this] { consume(); }).eagerlyEvaluate(nullptr);
}

void MessageStream::consume() {
  consumes_ = true;
  while (std::exchange(consume_again_, false)) readReady();
  consumes_ = false;
}

void MessageStream::readReady() {
  if (ended_) return;
  if (!mayConsume() || (undelivered_ && reader_ == nullptr)) {
    updateInterest();  // nobody takes messages now: stop asking until somebody does
    return;
  }
  bool complete = (undelivered_ || buffered() > 0) && nextForReader();
  ssize_t n = 1;
  while (n > 0 && !complete && !ended_ && pauses_ == 0) n = readMore(complete);
  if (complete) return deliver();
  if (ended_ || n == -EAGAIN || pauses_ > 0) return;
  if (n < 0)
    return endReading("The connection failed: " + channel_.explain(static_cast<int>(-n)) + ".",
                      false);
  const bool inside = buffered() > 0 || incoming_.stage != Stage::header;
  endReading(inside ? "The peer closed the connection inside a message." : "", false);
}

void MessageStream::deliver() {
  if (reader_ == nullptr) {
    undelivered_ = true;
    return updateInterest();
  }
  reader_->release().fulfill(Delivery(capnp::MessageReaderAndFds{finishMessage(), nullptr}));
}

// One read from the channel. Returns what the channel said; -EAGAIN also when the read was short,
// since the descriptor will tell when there is more.
ssize_t MessageStream::readMore(bool& complete) {
  if (incoming_.stage == Stage::body && buffered() == 0 && incoming_.fill_left >= kDirectReadMin) {
    const ssize_t n = channel_.read(incoming_.fill_at, incoming_.fill_left);
    if (n <= 0) return n;
    incoming_.fill_at += n;
    incoming_.fill_left -= static_cast<size_t>(n);
    if (incoming_.fill_left == 0) complete = fillDone() && !takeMessage();
    return n;
  }
  if (rx_begin_ > 0) {
    std::memmove(rx_.get(), rx_.get() + rx_begin_, buffered());
    rx_end_ -= rx_begin_;
    rx_begin_ = 0;
  }
  const size_t room = options_.read_ahead_bytes - rx_end_;
  const ssize_t n = channel_.read(rx_.get() + rx_end_, room);
  if (n <= 0) return n;
  rx_end_ += static_cast<size_t>(n);
  complete = nextForReader();
  const bool drained = static_cast<size_t>(n) < room && incoming_.fill_left < kDirectReadMin;
  return drained && !channel_.hasBufferedInput() ? -EAGAIN : n;
}

// Takes as much of the current message from the read-ahead buffer as is there. True: it is
// complete.
bool MessageStream::consumeBuffered() {
  for (;;) {
    if (ended_) return false;
    if (incoming_.stage == Stage::header) {
      if (buffered() < kWord || !takeHeader()) return false;
    } else if (incoming_.stage == Stage::table) {
      if (buffered() < (incoming_.count / 2 + 1) * kWord || !takeTable()) return false;
      if (incoming_.fill_left == 0 && fillDone()) return true;
    } else {
      const size_t n = std::min(buffered(), incoming_.fill_left);
      if (n == 0) return false;
      std::memcpy(incoming_.fill_at, rx_.get() + rx_begin_, n);
      rx_begin_ += n;
      incoming_.fill_at += n;
      incoming_.fill_left -= n;
      if (incoming_.fill_left > 0) return false;
      if (fillDone()) return true;
    }
  }
}

bool MessageStream::takeHeader() {
  // The count less one: 0xffffffff would wrap to no segments at all, so look before adding.
  const uint32_t less_one = load32(rx_.get() + rx_begin_);
  if (less_one >= kMessageSegmentsMax) {
    return violate("The peer sent a message of " + std::to_string(uint64_t{less_one} + 1) +
                   " segments; the limit is " + std::to_string(kMessageSegmentsMax) + ".");
  }
  incoming_.count = less_one + 1;
  incoming_.stage = Stage::table;
  return true;
}

bool MessageStream::takeTable() {
  uint64_t total = 0;
  for (uint32_t i = 0; i < incoming_.count; ++i) {
    incoming_.words[i] = load32(rx_.get() + rx_begin_ + 4 * (i + 1));
    total += uint64_t{incoming_.words[i]} * kWord;
  }
  rx_begin_ += (incoming_.count / 2 + 1) * kWord;
  if (total > options_.message_bytes_max) {
    return violate("The peer sent a message of " + std::to_string(total) + " bytes; the limit is " +
                   std::to_string(options_.message_bytes_max) + ".");
  }
  const size_t last = size_t{incoming_.words[incoming_.count - 1]} * kWord;
  const bool may_place = hook_ != nullptr && incoming_.count > 1 && last >= kPlacedBytesMin;
  incoming_.last_bytes = may_place ? last : 0;
  incoming_.first_bytes = static_cast<size_t>(total) - incoming_.last_bytes;
  if (!takeBuffer(incoming_.first, incoming_.first_bytes)) return false;
  incoming_.stage = Stage::body;
  startFill(incoming_.first.data(), incoming_.first_bytes);
  return true;
}

bool MessageStream::takeBuffer(ReceiveBuffer& buffer, size_t bytes) {
  try {
    buffer = pool_->take(std::max<size_t>(bytes, kWord));
    return true;
  } catch (const std::bad_alloc&) {
    endReading("There is no memory for a message of " + std::to_string(bytes) + " bytes.", false);
    return false;
  }
}

void MessageStream::startFill(std::byte* at, size_t bytes) {
  incoming_.fill_at = at;
  incoming_.fill_left = bytes;
}

// A run of the body is filled. True: it was the last.
bool MessageStream::fillDone() {
  if (incoming_.last_bytes == 0 || incoming_.in_last) return true;
  incoming_.in_last = true;
  incoming_.placed = true;
  const auto segments = segmentsOf(incoming_);
  const std::span<std::byte> memory = hook_->place({segments.data(), incoming_.count});
  incoming_.placed = memory.size() == incoming_.last_bytes;
  if (!incoming_.placed && !takeBuffer(incoming_.last, incoming_.last_bytes)) return false;
  startFill(incoming_.placed ? memory.data() : incoming_.last.data(), incoming_.last_bytes);
  return false;
}

std::array<Segment, kMessageSegmentsMax> MessageStream::segmentsOf(const Incoming& message) const {
  std::array<Segment, kMessageSegmentsMax> segments;
  const auto* at = reinterpret_cast<const capnp::word*>(message.first.data());
  for (uint32_t i = 0; i < message.count; ++i) {
    segments[i] = Segment(at, message.words[i]);
    at += message.words[i];
  }
  if (message.last_bytes > 0) {
    const std::byte* last = message.placed ? standIn().base : message.last.data();
    segments[message.count - 1] =
        Segment(reinterpret_cast<const capnp::word*>(last), message.words[message.count - 1]);
  }
  return segments;
}

kj::Own<capnp::MessageReader> MessageStream::finishMessage() {
  const auto segments = segmentsOf(incoming_);
  auto message =
      kj::heap<ReceivedMessage>(reader_options_, std::span(segments.data(), incoming_.count),
                                std::move(incoming_.first), std::move(incoming_.last));
  incoming_ = Incoming{};
  undelivered_ = false;
  return message;
}

bool MessageStream::violate(std::string reason) {
  endReading(std::move(reason), true);
  return false;
}

void MessageStream::endReading(std::string reason, bool violation) {
  ended_ = true;
  violated_ = violation;
  end_reason_ = std::move(reason);
  if (violation) channel_.shutdownBoth();
  if (reader_ != nullptr) {
    auto& fulfiller = reader_->release();
    if (end_reason_.empty()) {
      fulfiller.fulfill(Delivery(nullptr));
    } else {
      fulfiller.reject(KJ_EXCEPTION(DISCONNECTED, end_reason_.c_str()));
    }
  }
  updateInterest();
  if (const auto told = std::exchange(on_end_, nullptr)) told();
}

// ---- writing

kj::Promise<void> MessageStream::writeMessage(kj::ArrayPtr<const int> fds,
                                              kj::ArrayPtr<const Segment> segments) {
  KJ_REQUIRE(fds.size() == 0, "file descriptors are not passed");
  const uint64_t begin = queued_total_;
  const uint64_t end = post({segments.begin(), segments.size()});
  const bool referenced = end - begin > kCopyBytesMax;
  const bool must_wait = referenced ? end > sent_total_ : unsentBytes() > kUnsentBytesMax;
  if (!must_wait) return kj::READY_NOW;
  return kj::newAdaptedPromise<void, WriteAdapter>(*this, begin, end);
}

uint64_t MessageStream::post(std::span<const Segment> segments) {
  KJ_REQUIRE(segments.size() > 0 && segments.size() <= kMessageSegmentsMax, segments.size());
  std::array<uint32_t, kMessageSegmentsMax + 2> table{};
  table[0] = static_cast<uint32_t>(segments.size() - 1);
  size_t body = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    table[i + 1] = static_cast<uint32_t>(segments[i].size());
    body += segments[i].size() * kWord;
  }
  const size_t frame = (segments.size() / 2 + 1) * kWord;
  const uint64_t end = queued_total_ + frame + body;
  const bool copy_all = frame + body <= kCopyBytesMax;
  for (auto& attachment : attachments_) {
    for (auto segment : segments) {
      if (attachment.end == 0 && attachment.segment == segment.begin()) attachment.end = end;
    }
  }
  appendCopy(table.data(), frame);
  for (auto segment : segments) {
    const size_t bytes = segment.size() * kWord;
    if (copy_all || bytes <= kCopySegmentMax) {
      appendCopy(segment.begin(), bytes);
    } else {
      appendReference(segment.begin(), bytes);
    }
  }
  if (!copy_all || unsentBytes() >= kBlockBytes) sendSome();
  settleWritten();
  holdInput();
  return end;
}

uint64_t MessageStream::post(std::span<const Segment> segments, kj::Own<void> owner) {
  const uint64_t end = post(segments);
  if (end > sent_total_) attachments_.push_back({nullptr, end, kj::mv(owner)});
  return end;
}

void MessageStream::holdInput() {
  if (options_.output_bytes_max == 0) return;
  const bool hold = unsentBytes() > options_.output_bytes_max;
  if (hold == held_by_output_) return;
  held_by_output_ = hold;
  if (hold) {
    pause();
  } else {
    resume();
  }
}

kj::Promise<void> MessageStream::writeMessages(kj::ArrayPtr<kj::ArrayPtr<const Segment>> messages) {
  auto all = kj::heapArrayBuilder<kj::Promise<void>>(messages.size());
  for (auto segments : messages) all.add(writeMessage(nullptr, segments));
  return kj::joinPromises(all.finish());
}

void MessageStream::appendCopy(const void* data, size_t bytes) {
  queued_total_ += bytes;
  if (write_failed_) {
    sent_total_ = queued_total_;
    return;
  }
  if (out_.empty() || out_.back().room < bytes) {
    Outgoing next;
    if (bytes <= kBlockBytes && spare_block_ != nullptr) {
      next.block = std::move(spare_block_);
    } else {
      next.block.reset(new std::byte[std::max(bytes, kBlockBytes)]);
    }
    next.data = next.block.get();
    next.room = std::max(bytes, kBlockBytes);
    out_.push_back(std::move(next));
  }
  Outgoing& last = out_.back();
  std::memcpy(const_cast<std::byte*>(last.data) + last.bytes, data, bytes);
  last.bytes += bytes;
  last.room -= bytes;
}

void MessageStream::appendReference(const void* data, size_t bytes) {
  queued_total_ += bytes;
  if (write_failed_) {
    sent_total_ = queued_total_;
    return;
  }
  Outgoing next;
  next.data = static_cast<const std::byte*>(data);
  next.bytes = bytes;
  out_.push_back(std::move(next));
}

bool MessageStream::flushOutput() {
  if (!wantsWrite()) {
    if (interest_write_) updateInterest();
    return false;
  }
  sendSome();
  settleWritten();
  holdInput();
  updateInterest();
  return std::exchange(told_writers_, false);
}

void MessageStream::sendSome() {
  constexpr int kPieces = 32;
  while (!out_.empty()) {
    iovec pieces[kPieces];
    int count = 0;
    for (auto it = out_.begin(); it != out_.end() && count < kPieces; ++it) {
      pieces[count++] = {const_cast<std::byte*>(it->data), it->bytes};
    }
    const ssize_t n = channel_.write(pieces, count);
    if (n == -EAGAIN) return;
    if (n < 0) {
      // The read side tells the story: what the peer said last, then the end.
      return abandonOutput();
    }
    consumeSent(static_cast<size_t>(n));
  }
  if (channel_.hasUnsentOutput()) {
    const int flushed = channel_.flush();
    if (flushed == -EAGAIN) return;
    if (flushed < 0) return abandonOutput();
  }
  if (shutdown_when_sent_) channel_.shutdownWrite();
}

void MessageStream::consumeSent(size_t bytes) {
  sent_total_ += bytes;
  while (bytes > 0) {
    Outgoing& first = out_.front();
    const size_t n = std::min(bytes, first.bytes);
    first.data += n;
    first.bytes -= n;
    bytes -= n;
    if (first.bytes > 0) return;
    if (first.block != nullptr && spare_block_ == nullptr &&
        static_cast<size_t>(first.data - first.block.get()) + first.room == kBlockBytes) {
      spare_block_ = std::move(first.block);
    }
    out_.pop_front();
  }
}

// Tells those who wait for what is sent now.
void MessageStream::settleWritten() {
  for (size_t i = 0; i < writers_.size();) {
    const bool done = writers_[i]->end <= sent_total_;
    if (!done) {
      ++i;
      continue;
    }
    WriteAdapter* writer = writers_[i];
    writers_.erase(writers_.begin() + static_cast<ptrdiff_t>(i));
    writer->settle();
    told_writers_ = true;
  }
  for (size_t i = 0; i < attachments_.size();) {
    if (attachments_[i].end == 0 || attachments_[i].end > sent_total_) {
      ++i;
      continue;
    }
    const kj::Own<void> owner = kj::mv(attachments_[i].owner);
    attachments_.erase(attachments_.begin() + static_cast<ptrdiff_t>(i));
  }
}

void MessageStream::abandonOutput() {
  write_failed_ = true;
  dropOutput();
  holdInput();  // what has arrived is still to be read, and then the end
  channel_.shutdownBoth();
}

void MessageStream::abandon() {
  abandonOutput();
  if (!ended_) endReading("The connection was given up.", false);
}

void MessageStream::dropOutput() {
  out_.clear();
  sent_total_ = queued_total_;
  settleWritten();
  const auto attachments = std::move(attachments_);
  attachments_.clear();
}

// Whoever wrote outgoing bytes [begin, end) goes away, and their memory with them. The bytes that
// are not sent yet are copied, so that the messages of others stay whole.
void MessageStream::cancelWrite(uint64_t begin, uint64_t end) {
  uint64_t at = sent_total_;
  for (Outgoing& piece : out_) {
    if (at >= end) return;
    if (at >= begin && piece.block == nullptr) {
      piece.block.reset(new std::byte[piece.bytes]);
      std::memcpy(piece.block.get(), piece.data, piece.bytes);
      piece.data = piece.block.get();
    }
    at += piece.bytes;
  }
}

void MessageStream::attachToSegment(const void* segment, kj::Own<void> owner) {
  if (write_failed_) return;
  attachments_.push_back({segment, 0, kj::mv(owner)});
}

void MessageStream::detachSegment(const void* segment) {
  for (size_t i = 0; i < attachments_.size(); ++i) {
    if (attachments_[i].end == 0 && attachments_[i].segment == segment) {
      const kj::Own<void> owner = kj::mv(attachments_[i].owner);
      attachments_.erase(attachments_.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
  }
}

kj::Maybe<int> MessageStream::getSendBufferSize() {
  return static_cast<int>(options_.window_bytes);
}

kj::Promise<void> MessageStream::end() {
  shutdown_when_sent_ = true;
  if (!wantsWrite()) {
    channel_.shutdownWrite();
  } else {
    sendSome();
    settleWritten();
    updateInterest();
  }
  return kj::READY_NOW;
}

}  // namespace farwarp::wire
