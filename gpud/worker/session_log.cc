// The session's log: batches in the order they came, one record after the other.
#include <fmt/format.h>
#include <kj/exception.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <exception>

#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker {
namespace {

// Batches that the connection may hand over before the first is done: one submit, and the calls of
// the client's threads.
constexpr size_t kLogBatchesMax = wire::kOutstandingCallsMax + 16;

// The loop sees to its sockets at least this often.
constexpr auto kTurn = std::chrono::microseconds(500);
constexpr int kRecordsBetweenLooks = 16;

// This thread alone writes these counters.
void countOne(std::atomic<uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

std::byte* CallContext::replyBytes(size_t bytes) {
  return session_->replyBytes(bytes);
}

Completion CallContext::detach() {
  state_ = State::detached;
  return session_->detach(*this);
}

void Session::submit(uint64_t, std::span<const std::byte> batch, kj::Own<wire::BatchLease> lease) {
  enqueue(Batch(batch, {}, kj::mv(lease)));
}

void Session::call(uint64_t, std::span<const std::byte> batch, kj::Own<wire::CallReply> reply) {
  if (batch.empty()) return malformed(CallId::none, "A waiting call came without a record.");
  enqueue(Batch(batch, kj::mv(reply), {}));
}

void Session::enqueue(Batch batch) {
  if (ended_) return;
  if (log_.size() >= kLogBatchesMax) {
    return end(wire::Trouble::protocolViolation,
               fmt::format("The client has more than {} batches outstanding.", kLogBatchesMax));
  }
  log_.push_back(kj::mv(batch));
  if (!stalled_) runLog();
}

void Session::runLog() {
  if (running_ || scheduled_ || ended_) return;
  running_ = true;
  stalled_ = false;
  const auto turn_ends = std::chrono::steady_clock::now() + kTurn;
  int records = 0;
  while (!log_.empty() && !ended_) {
    if (log_.front().rest.empty()) {
      log_.pop_front();
      continue;
    }
    const Step step = runRecord(log_.front());
    if (step == Step::ended) break;
    if (step == Step::stalled) {
      stalled_ = true;
      uploads_.logWaits();
      break;
    }
    if (++records % kRecordsBetweenLooks == 0 && std::chrono::steady_clock::now() > turn_ends) {
      scheduled_ = true;
      port_.post([this] {
        scheduled_ = false;
        runLog();
      });
      break;
    }
  }
  running_ = false;
  updateCounters();
}

Session::Step Session::runRecord(Batch& batch) {
  wire::RecordHeader header;
  std::span<const std::byte> body;
  std::span<const std::byte> rest = batch.rest;
  bool bad = false;
  if (!wire::nextRecord(rest, header, body, bad)) {
    malformed(CallId::none,
              fmt::format("A record has a bad length, with {} bytes of its batch left.",
                          batch.rest.size()));
    return Step::ended;
  }
  const bool wants_reply = rest.empty() && batch.reply.get() != nullptr;
  CallContext call(header, body, wants_reply);
  call.session_ = this;
  current_reply_ = &batch.reply;
  contexts_.makeCurrent(header.context);
  try {
    dispatch(*this, call);
  } catch (const std::exception& failure) {
    call.malformed(fmt::format("The call cannot be executed: {}.", failure.what()));
  } catch (const kj::Exception& failure) {
    call.malformed(
        fmt::format("The call cannot be executed: {}.", failure.getDescription().cStr()));
  }
  if (ended_) return Step::ended;
  if (call.state() == CallContext::State::stalled) {
    writer_.reset();
    return Step::stalled;
  }
  batch.rest = rest;
  countOne(counters_.calls);
  if (wants_reply) countOne(counters_.waiting_calls);
  return finishRecord(call, batch.reply);
}

Session::Step Session::finishRecord(CallContext& call, kj::Own<wire::CallReply>& reply) {
  const auto id = static_cast<CallId>(call.header.call);
  switch (call.state()) {
    case CallContext::State::detached:
      return Step::next;
    case CallContext::State::malformed:
      malformed(id, call.reason());
      return Step::ended;
    case CallContext::State::finished:
      break;
    default:
      malformed(id, "Its handler ended without a result.");
      return Step::ended;
  }
  if (call.result() != CUDA_SUCCESS) {
    spdlog::debug("{} gave {}.", callName(id), static_cast<int>(call.result()));
  }
  if (!call.wants_reply) {
    if (call.result() != CUDA_SUCCESS) keepError(call.result());
    return Step::next;
  }
  if (writer_ == nullptr) writer_ = std::make_unique<ReplyWriter>(*this, kj::mv(reply));
  writer_->send(call.result());
  writer_.reset();
  return Step::next;
}

std::byte* Session::replyBytes(size_t bytes) {
  writer_ = std::make_unique<ReplyWriter>(*this, kj::mv(*current_reply_));
  return writer_->body(bytes);
}

Completion Session::detach(CallContext& call) {
  kj::Own<wire::CallReply> reply;
  if (call.wants_reply) reply = kj::mv(*current_reply_);
  return Completion(std::make_shared<ReplyWriter>(*this, kj::mv(reply)));
}

CUresult Session::takeDeferred() {
  meter_->poll();
  const CUresult deferred = deferred_;
  deferred_ = CUDA_SUCCESS;
  return deferred;
}

std::vector<uint64_t> Session::takeCompleted() {
  return downloads_.listCompleted();
}

void Session::keepError(CUresult result) {
  if (deferred_ == CUDA_SUCCESS) deferred_ = result;
}

void Session::malformed(CallId call, const std::string& reason) {
  end(wire::Trouble::protocolViolation,
      call == CallId::none
          ? "The client sent nonsense. " + reason
          : fmt::format("The client sent nonsense in {}. {}", callName(call), reason));
}

}  // namespace farwarp::worker
