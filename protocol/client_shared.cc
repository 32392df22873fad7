#include "protocol/client_shared.h"

#include <kj/debug.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace farwarp::wire {
namespace {

// Chunks that the worker may copy from the device while one is copied out.
constexpr size_t kGetsAhead = 3;
// The worker gives a slot back when the device has read it, which may be behind what only this copy
// brings about: so nobody waits for a slot for ever.
constexpr std::chrono::milliseconds kSlotWait{5};

}  // namespace

SharedBulk::SharedBulk(ClientConnection::Impl& owner, SharedRegion region)
    : owner_(owner), region_(std::move(region)) {
  for (uint32_t slot = kUploadSlots; slot-- > 0;) free_upload_slots_.push_back(slot);
}

// Inside the loop.
void SharedBulk::post(SharedCall call, Question question) {
  MessageStream& stream = owner_.bulk.link->stream();
  for (const uint32_t over : to_finish_) postDirectFinish(stream, over);
  to_finish_.clear();
  if (unused_questions_.empty()) {
    unused_questions_.push_back(static_cast<uint32_t>(questions_.size()));
    questions_.emplace_back();
  }
  const uint32_t index = unused_questions_.back();
  unused_questions_.pop_back();
  call.question = kDirectQuestions + index;
  question.in_use = true;
  question.method = call.method;
  questions_[index] = std::move(question);
  KJ_REQUIRE(bulk_export_.has_value(), "the bulk service was not announced");
  postSharedCall(stream, call, *bulk_export_);
}

Trouble SharedBulk::put(uint64_t transfer, std::span<const std::byte> data) {
  SharedLoop& loop = owner_.bulk.loop;
  auto lock = loop.lock();
  size_t offset = 0;
  while (offset < data.size()) {
    const bool in_time = loop.waitUntil(
        lock, [&] { return !free_upload_slots_.empty() || owner_.dead != Trouble::none; },
        SharedLoop::For::input, SharedLoop::Clock::now() + kSlotWait);
    if (owner_.deadTrouble() != Trouble::none) break;
    if (!in_time) {
      lock.unlock();
      return owner_.putChunks(transfer, offset, data.subspan(offset));
    }
    const uint32_t slot = free_upload_slots_.back();
    free_upload_slots_.pop_back();
    const auto place = static_cast<uint32_t>(slot * kUploadSlotBytes);
    const size_t length = std::min(kUploadSlotBytes, data.size() - offset);
    lock.unlock();
    std::memcpy(region_.uploads().data() + place, data.data() + offset, length);
    bytes_put_.fetch_add(length, std::memory_order_relaxed);
    lock.lock();
    owner_.runIn(owner_.bulk, lock, [&] {
      Question question;
      question.place = place;
      post({0, SharedMethod::put, transfer, offset, place, static_cast<uint32_t>(length)},
           std::move(question));
    });
    offset += length;
  }
  return owner_.deadTrouble();
}

Trouble SharedBulk::get(uint64_t transfer, std::span<std::byte> destination) {
  SharedLoop& loop = owner_.bulk.loop;
  const auto get = std::make_shared<Get>();
  std::vector<Arrived> chunks;
  size_t asked = 0;
  auto lock = loop.lock();
  const auto failed = [&] { return get->trouble != Trouble::none; };
  // What was asked for is waited for also after a failure, so that no slot stays in use.
  while (owner_.dead == Trouble::none) {
    owner_.runIn(owner_.bulk, lock, [&] {
      for (const Arrived& chunk : chunks) {
        if (chunk.shared) post({0, SharedMethod::taken, 0, 0, chunk.place, 0}, Question{});
      }
      while (asked < destination.size() && get->outstanding < kGetsAhead && !failed()) {
        const size_t length = std::min(kDownloadSlotBytes, destination.size() - asked);
        Question question;
        question.get = get;
        question.offset = asked;
        post({0, SharedMethod::get, transfer, asked, 0, static_cast<uint32_t>(length)},
             std::move(question));
        ++get->outstanding;
        asked += length;
      }
    });
    chunks.clear();
    if (get->outstanding == 0 && get->arrived.empty()) break;
    loop.waitUntil(lock, [&] {
      return owner_.dead != Trouble::none || !get->arrived.empty() || get->outstanding == 0;
    });
    std::swap(chunks, get->arrived);
    for (const Arrived& chunk : chunks) {
      if (failed()) break;
      get->trouble = copyOut(lock, transfer, chunk, destination);
    }
  }
  const Trouble death = owner_.deadTrouble();
  return death != Trouble::none ? death : get->trouble;
}

// Brings one chunk to its place. Takes the lock off meanwhile.
Trouble SharedBulk::copyOut(SharedLoop::Lock& lock, uint64_t transfer, const Arrived& chunk,
                            std::span<std::byte> to) {
  const size_t length = std::min(kDownloadSlotBytes, to.size() - chunk.offset);
  const auto part = to.subspan(chunk.offset, length);
  lock.unlock();
  Trouble trouble = Trouble::none;
  if (chunk.shared) {
    std::memcpy(part.data(), region_.downloads().data() + chunk.place, length);
    bytes_got_.fetch_add(length, std::memory_order_relaxed);
  } else {
    trouble = owner_.getChunks(transfer, chunk.offset, part);
  }
  lock.lock();
  return trouble;
}

bool SharedBulk::take(std::span<const Segment> segments, MessageMemory&) {
  if (!bulk_export_) {
    uint32_t found = 0;
    if (readBulkExport(segments, found)) bulk_export_ = found;
    return false;
  }
  SharedAnswer answer;
  if (readSharedAnswer(segments, answer) != DirectMessage::answer) return false;
  const size_t index = answer.question - kDirectQuestions;
  const bool known = index < questions_.size() && questions_[index].in_use;
  if (!known || (answer.shared && (answer.place % kDownloadSlotBytes != 0 ||
                                   answer.place >= region_.downloads().size()))) {
    owner_.die(Trouble::protocolViolation,
               "The gpud at " + owner_.name +
                   " answered for shared memory that was not asked for. "
                   "Install the same Farwarp release on both sides.");
    return true;
  }
  Question question = std::move(questions_[index]);
  questions_[index] = {};
  unused_questions_.push_back(static_cast<uint32_t>(index));
  to_finish_.push_back(answer.question);
  if (question.method == SharedMethod::put) {
    free_upload_slots_.push_back(static_cast<uint32_t>(question.place / kUploadSlotBytes));
  }
  if (answer.failed) {
    const kj::Exception exception(kj::Exception::Type::FAILED, __FILE__, __LINE__,
                                  kj::heapString(answer.reason.c_str()));
    std::string why;
    if (question.get == nullptr) {
      owner_.submitFailed(owner_.bulk, exception);
    } else {
      question.get->trouble = troubleOf(exception, why);
    }
  } else if (question.get != nullptr) {
    question.get->arrived.push_back({question.offset, answer.shared, answer.place});
  }
  if (question.get != nullptr) --question.get->outstanding;
  return true;
}

}  // namespace farwarp::wire
