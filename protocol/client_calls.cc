// submit, start and wait: the driver calls of a client, over the control connection.
#include <kj/debug.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "protocol/client_impl.h"

namespace farwarp::wire {
namespace {

using Lock = SharedLoop::Lock;

// What a submit counts in the window besides its bytes, so that small ones are not without number.
constexpr size_t kSubmitOverheadBytes = 1024;

}  // namespace

PendingCall& ClientConnection::Impl::newCall(DirectMethod method) {
  if (unused_calls.empty()) {
    auto call = std::make_unique<PendingCall>();
    call->owner = this;
    call->question = kDirectQuestions + static_cast<uint32_t>(calls_in_flight.size());
    unused_calls.push_back(call.get());
    calls_in_flight.push_back(std::move(call));
  }
  PendingCall& call = *unused_calls.back();
  unused_calls.pop_back();
  call.method = method;
  call.in_use = true;
  call.done = call.given_up = false;
  call.trouble = Trouble::none;
  return call;
}

// The call is over and nobody looks at it any more.
void ClientConnection::Impl::recycle(PendingCall& call) {
  call.in_use = false;
  call.bytes = {};
  call.memory = {};
  unused_calls.push_back(&call);
}

PendingCall* ClientConnection::Impl::sendBatch(Lock& lock, DirectMethod method,
                                               std::span<const std::byte> batch, Trouble& trouble) {
  trouble = deadTrouble();
  if (trouble != Trouble::none) return nullptr;
  PendingCall* call = nullptr;
  uint64_t end = 0;
  runIn(control, lock, [&] {
    KJ_REQUIRE(session_export.has_value(), "hello was not answered");
    takeReleased();
    MessageStream& stream = control.link->stream();
    for (const uint32_t question : to_finish) postDirectFinish(stream, question);
    to_finish.clear();
    call = &newCall(method);
    if (method == DirectMethod::submit) {
      call->window_bytes = batch.size() + kSubmitOverheadBytes;
      submitted_bytes += call->window_bytes;
    } else {
      ++awaited_calls;
    }
    end =
        postDirectCall(stream, {call->question, method, next_seq++, batch}, session_export.value());
  });
  calls.fetch_add(1, std::memory_order_relaxed);
  // gpud stops reading when nobody takes its answers: so these are read meanwhile.
  if (sentFromItsPlace(batch)) {
    control.loop.waitUntil(
        lock, [&] { return control.link->stream().sentTotal() >= end || dead != Trouble::none; });
  }
  if (dead != Trouble::none) control.loop.run(lock, [] {});
  trouble = deadTrouble();
  return call;
}

Trouble ClientConnection::submit(std::span<const std::byte> batch) {
  Impl& impl = *impl_;
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  if (batch.empty() || batch.size() > kBatchBytesMax) return Trouble::tooLarge;
  auto lock = impl.control.loop.lock();
  Trouble trouble;
  impl.sendBatch(lock, DirectMethod::submit, batch, trouble);
  if (trouble != Trouble::none || impl.submitted_bytes <= kStreamWindowBytes) return trouble;
  impl.control.loop.waitUntil(lock, [&] {
    return impl.submitted_bytes <= kStreamWindowBytes || impl.dead != Trouble::none;
  });
  return impl.deadTrouble();
}

Ticket ClientConnection::start(std::span<const std::byte> batch) {
  Impl& impl = *impl_;
  Ticket ticket;
  ticket.trouble_ = impl.deadTrouble();
  if (ticket.trouble_ != Trouble::none) return ticket;
  ticket.trouble_ = Trouble::tooLarge;
  if (batch.empty() || batch.size() > kBatchBytesMax) return ticket;
  auto lock = impl.control.loop.lock();
  ticket.call_ = impl.sendBatch(lock, DirectMethod::call, batch, ticket.trouble_);
  return ticket;
}

Trouble ClientConnection::wait(Ticket&& ticket, Reply& reply) {
  Impl& impl = *impl_;
  PendingCall* call = std::exchange(ticket.call_, nullptr);
  if (impl.forked) return Trouble::forked;
  if (call == nullptr) return ticket.trouble_;
  impl.waiting_calls.fetch_add(1, std::memory_order_relaxed);
  const WaitClock clock(impl.waited_ns);
  auto lock = impl.control.loop.lock();
  impl.control.loop.waitUntil(lock, [&] { return call->done || impl.dead != Trouble::none; });
  if (!call->done || call->trouble != Trouble::none) {
    Trouble trouble = call->done ? call->trouble : impl.deadTrouble();
    // The loss of the connection has one reason for all calls.
    if (trouble == Trouble::connectionLost) trouble = impl.deadTrouble();
    lock.unlock();
    impl.release(call);
    return trouble == Trouble::none ? Trouble::connectionLost : trouble;
  }
  reply = Reply();
  reply.bytes_ = call->bytes;
  reply.owner_ = call;
  return Trouble::none;
}

// ---- answers, inside the control loop

bool ClientConnection::Impl::take(std::span<const Segment> segments, MessageMemory& memory) {
  if (!session_export) {
    uint32_t found = 0;
    if (readSessionExport(segments, found)) session_export = found;
    return false;
  }
  DirectOutput output;
  DirectReturn answer;
  switch (readAtClient(segments, answer, output)) {
    case DirectMessage::answer:
      break;
    case DirectMessage::output:
      if (options.on_output) options.on_output(output.to_stderr, output.text);
      postDirectReturn(control.link->stream(), output.question);
      return true;
    case DirectMessage::finish:
      return true;
    default:
      return false;
  }
  const size_t index = answer.question - kDirectQuestions;
  if (index >= calls_in_flight.size() || !calls_in_flight[index]->in_use ||
      calls_in_flight[index]->done) {
    die(Trouble::protocolViolation,
        "The gpud at " + name +
            " answered a call that was not made. Install the same Farwarp "
            "release on both sides.");
    return true;
  }
  answered(*calls_in_flight[index], answer, memory);
  return true;
}

void ClientConnection::Impl::answered(PendingCall& call, DirectReturn& answer,
                                      MessageMemory& memory) {
  to_finish.push_back(call.question);
  call.done = true;
  if (answer.failed) {
    const auto type =
        answer.disconnected ? kj::Exception::Type::DISCONNECTED : kj::Exception::Type::FAILED;
    const kj::Exception exception(type, __FILE__, __LINE__, kj::heapString(answer.reason.c_str()));
    std::string why;
    call.trouble = troubleOf(exception, why);
    if (call.method == DirectMethod::submit || call.trouble == Trouble::sessionEnded) {
      submitFailed(control, exception);
    }
  }
  if (call.method == DirectMethod::submit) {
    submitted_bytes -= call.window_bytes;
    return recycle(call);
  }
  --awaited_calls;
  if (call.given_up) return recycle(call);
  if (answer.reply.size() <= PendingCall::kSmallReplyBytes) {
    if (!answer.reply.empty())
      std::memcpy(call.small_reply, answer.reply.data(), answer.reply.size());
    call.bytes = {call.small_reply, answer.reply.size()};
  } else {
    call.bytes = answer.reply;
    call.memory = std::move(memory);
  }
}

// ---- the end of a call

void ClientConnection::Impl::release(PendingCall* call) {
  if (forked.load(std::memory_order_acquire)) return;
  call->next = released.load(std::memory_order_relaxed);
  while (!released.compare_exchange_weak(call->next, call, std::memory_order_release,
                                         std::memory_order_relaxed)) {
  }
}

void ClientConnection::Impl::takeReleased() {
  PendingCall* call = released.exchange(nullptr, std::memory_order_acquire);
  while (call != nullptr) {
    PendingCall& over = *std::exchange(call, call->next);
    if (over.done) {
      recycle(over);
    } else {
      over.given_up = true;
    }
  }
}

Reply::Reply(Reply&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), owner_(std::exchange(other.owner_, nullptr)) {}

Reply& Reply::operator=(Reply&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(owner_, other.owner_);
  return *this;
}

Reply::~Reply() {
  if (owner_ != nullptr) owner_->owner->release(owner_);
}

Ticket::Ticket(Ticket&& other) noexcept
    : call_(std::exchange(other.call_, nullptr)), trouble_(other.trouble_) {}

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  std::swap(call_, other.call_);
  std::swap(trouble_, other.trouble_);
  return *this;
}

Ticket::~Ticket() {
  if (call_ != nullptr) call_->owner->release(call_);
}

}  // namespace farwarp::wire
