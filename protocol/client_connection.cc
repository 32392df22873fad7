#include "protocol/client_connection.h"

#include <capnp/orphan.h>
#include <errno.h>
#include <kj/debug.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "protocol/client_impl.h"
#include "protocol/hello_schema.h"
#include "protocol/session_end.h"

namespace farwarp::wire {
namespace {

using Clock = SharedLoop::Clock;
using Lock = SharedLoop::Lock;

// Busy polling pays only when both sides have a core to themselves.
int spinFor(const ClientOptions& options) {
  if (options.spin_us >= 0) return options.spin_us;
  return std::thread::hardware_concurrency() >= 3 ? 20 : 0;
}

}  // namespace

Trouble troubleOf(const kj::Exception& exception, std::string& reason) {
  std::string text = exception.getDescription().cStr();
  if (text.starts_with(kRemotePrefix)) text.erase(0, sizeof(kRemotePrefix) - 1);
  if (text.starts_with(kRefusedPrefix)) {
    reason = text.substr(sizeof(kRefusedPrefix) - 1);
    return Trouble::refused;
  }
  if (text.starts_with(kEndedPrefix)) {
    reason = text.substr(sizeof(kEndedPrefix) - 1);
    return Trouble::sessionEnded;
  }
  reason = text;
  return exception.getType() == kj::Exception::Type::DISCONNECTED ? Trouble::connectionLost
                                                                  : Trouble::callFailed;
}

ClientConnection::Impl::Impl(Endpoint where, std::string name, const ClientOptions& options)
    : endpoint(std::move(where)),
      name(std::move(name)),
      options(options),
      control(spinFor(options)),
      bulk(spinFor(options)),
      compression(endpoint.kind == Endpoint::Kind::tcp && !options.insecure) {
  control.loop.onTurn([this] { afterTurn(control); });
  bulk.loop.onTurn([this] { afterTurn(bulk); });
}

ClientConnection::Impl::~Impl() {
  closeChannel(bulk);
  closeChannel(control);
}

void ClientConnection::Impl::closeChannel(Channel& channel) {
  auto lock = channel.loop.lock();
  channel.loop.run(lock, [&] {
    destroyReleased();
    if (channel.link != nullptr) channel.link->stream().flushOutput();
    if (&channel == &control) {
      session = nullptr;
      host_functions_running.clear();
    }
    if (&channel == &bulk) bulk_service = nullptr;
    channel.loop.setStream(nullptr, -1);
    channel.fd = -1;
    channel.link.reset();
  });
}

void ClientConnection::Impl::runIn(Channel& channel, Lock& lock,
                                   const std::function<void()>& work) {
  channel.loop.run(lock, [&] {
    if (&channel == &control) destroyReleased();
    KJ_IF_MAYBE (exception, kj::runCatchingExceptions(work)) {
      std::string reason;
      const Trouble trouble = troubleOf(*exception, reason);
      die(trouble, "A request to the gpud at " + name + " failed: " + reason);
    }
  });
}

// Under the channel's lock, inside its loop.
void ClientConnection::Impl::afterTurn(Channel& channel) {
  if (channel.link == nullptr) return;
  if (dead == Trouble::none && channel.link->gone()) {
    const MessageStream& stream = channel.link->stream();
    if (stream.violated()) {
      die(Trouble::protocolViolation, "The gpud at " + name + " broke the protocol. " +
                                          stream.endReason() +
                                          " Install the same Farwarp release on both sides.");
    } else {
      const std::string& why = stream.endReason();
      die(Trouble::connectionLost,
          "The connection to the gpud at " + name + " is lost. " +
              (why.empty() ? "The gpud or its worker ended; its log says why." : why) +
              " Every later call fails; start the program again.");
    }
  }
  // The memory that calls handed over is theirs again when they return.
  if (dead != Trouble::none) channel.link->stream().abandon();
}

void ClientConnection::Impl::die(Trouble trouble, const std::string& sentence) {
  const std::lock_guard guard(reason_mutex);
  if (dead != Trouble::none) return;
  reason = sentence;
  dead.store(trouble, std::memory_order_release);
  // Wakes who polls the other connection; each marks its own calls.
  for (Channel* channel : {&control, &bulk}) {
    if (const int fd = channel->fd; fd >= 0) shutdown(fd, SHUT_RDWR);
  }
}

std::string ClientConnection::Impl::deathSentence() const {
  const std::lock_guard guard(reason_mutex);
  return reason;
}

Trouble ClientConnection::Impl::deadTrouble() const {
  if (forked.load(std::memory_order_acquire)) return Trouble::forked;
  return dead.load(std::memory_order_acquire);
}

void ClientConnection::Impl::release(PendingCall* call) {
  if (forked.load(std::memory_order_acquire)) return;
  call->next = released.load(std::memory_order_relaxed);
  while (!released.compare_exchange_weak(call->next, call, std::memory_order_release,
                                         std::memory_order_relaxed)) {
  }
}

void ClientConnection::Impl::destroyReleased() {
  PendingCall* call = released.exchange(nullptr, std::memory_order_acquire);
  while (call != nullptr) delete std::exchange(call, call->next);
}

void ClientConnection::Impl::submitFailed(const Channel& channel, const kj::Exception& exception) {
  std::string why;
  Trouble trouble = troubleOf(exception, why);
  // A lost connection has its own sentence, which afterTurn() writes.
  if (trouble == Trouble::connectionLost && channel.link->gone()) return;
  if (trouble == Trouble::callFailed) trouble = Trouble::sessionEnded;
  die(trouble, "The gpud at " + name + " ended the session: " + why);
}

namespace {

bool readAnswer(rpc::SessionStats::Reader answer, SessionStats& out) {
  std::string error;
  return readStats(answer, out, error);
}

}  // namespace

// Waits for the answer to what `send` asks. `read` takes it, and is false for nonsense.
template <typename Send, typename Read>
Trouble ClientConnection::Impl::ask(Send send, Read read) {
  bool done = false;
  Trouble trouble = Trouble::none;
  kj::Promise<void> task = nullptr;
  auto lock = control.loop.lock();
  runIn(control, lock, [&] {
    task = send()
               .then(
                   [&](auto&& response) {
                     if (!read(response)) trouble = Trouble::protocolViolation;
                     done = true;
                   },
                   [&](kj::Exception&& exception) {
                     std::string why;
                     trouble = troubleOf(exception, why);
                     done = true;
                   })
               .eagerlyEvaluate(nullptr);
  });
  const Trouble death = await(control, lock, done, task);
  return death != Trouble::none ? death : trouble;
}

void PendingCall::answered(capnp::Response<rpc::Session::CallResults>&& results) {
  const auto reply = results.getReply();
  bytes = {reinterpret_cast<const std::byte*>(reply.begin()), reply.size()};
  response = kj::mv(results);
  done = true;
}

void PendingCall::failed(const kj::Exception& exception) {
  std::string why;
  trouble = troubleOf(exception, why);
  if (trouble == Trouble::sessionEnded) owner->submitFailed(owner->control, exception);
  done = true;
}

// ---- the public face

ClientConnection::ClientConnection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ClientConnection::~ClientConnection() {
  // A child of fork() has no right to the loops of its parent.
  if (impl_->forked) (void)impl_.release();
}

const ServerHello& ClientConnection::server() const {
  return impl_->server;
}
const std::string& ClientConnection::serverName() const {
  return impl_->name;
}

Trouble ClientConnection::Impl::sendBatch(Lock& lock, std::span<const std::byte> batch,
                                          const bool& window, const std::function<void()>& send) {
  if (const Trouble trouble = deadTrouble(); trouble != Trouble::none) return trouble;
  auto written = std::make_shared<bool>(!canReference(batch));
  runIn(control, lock, [&] {
    if (!*written) {
      control.link->stream().attachToSegment(batch.data(), kj::heap<WrittenFlag>(written));
    }
    send();
  });
  calls.fetch_add(1, std::memory_order_relaxed);
  control.loop.waitUntil(
      lock, [&] { return *written || dead != Trouble::none; }, SharedLoop::For::output);
  control.loop.waitUntil(lock, [&] { return window || dead != Trouble::none; });
  if (dead != Trouble::none) control.loop.run(lock, [] {});
  return deadTrouble();
}

Trouble ClientConnection::Impl::await(Channel& channel, Lock& lock, const bool& done,
                                      kj::Promise<void>& task) {
  channel.loop.waitUntil(lock, [&] { return done || dead != Trouble::none; });
  if (!done) channel.loop.run(lock, [&] { task = nullptr; });
  return done ? Trouble::none : deadTrouble();
}

namespace {

// Of the request's fields: the message gets a first segment that fits, not the default of 8 KiB.
capnp::MessageSize batchSize(std::span<const std::byte> batch) {
  return {canReference(batch) ? 16 : 16 + batch.size() / sizeof(capnp::word), 0};
}

template <typename Request>
void setBatch(Request& request, std::span<const std::byte> batch) {
  if (canReference(batch)) {
    auto orphanage =
        capnp::Orphanage::getForMessageContaining(static_cast<typename Request::Builder>(request));
    request.adoptBatch(orphanage.referenceExternalData(asData(batch)));
  } else {
    request.setBatch(asData(batch));
  }
}

}  // namespace

Trouble ClientConnection::submit(std::span<const std::byte> batch) {
  Impl& impl = *impl_;
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  if (batch.empty() || batch.size() > kBatchBytesMax) return Trouble::tooLarge;
  bool window = false;
  kj::Promise<void> task = nullptr;
  auto lock = impl.control.loop.lock();
  const auto send = [&] {
    auto request = KJ_ASSERT_NONNULL(impl.session).submitRequest(batchSize(batch));
    request.setSeq(impl.next_seq++);
    setBatch(request, batch);
    task = request.send()
               .then([&window] { window = true; },
                     [&impl, &window](kj::Exception&& exception) {
                       impl.submitFailed(impl.control, exception);
                       window = true;
                     })
               .eagerlyEvaluate(nullptr);
  };
  const Trouble trouble = impl.sendBatch(lock, batch, window, send);
  if (!window) impl.control.loop.run(lock, [&] { task = nullptr; });
  return trouble;
}

Ticket ClientConnection::start(std::span<const std::byte> batch) {
  Impl& impl = *impl_;
  Ticket ticket;
  ticket.trouble_ = impl.deadTrouble();
  if (ticket.trouble_ != Trouble::none) return ticket;
  ticket.trouble_ = Trouble::tooLarge;
  if (batch.empty() || batch.size() > kBatchBytesMax) return ticket;
  auto lock = impl.control.loop.lock();
  const bool no_window = true;
  ticket.trouble_ = impl.sendBatch(lock, batch, no_window, [&] {
    auto call = std::make_unique<PendingCall>();
    call->owner = &impl;
    auto request = KJ_ASSERT_NONNULL(impl.session).callRequest(batchSize(batch));
    request.setSeq(impl.next_seq++);
    setBatch(request, batch);
    call->task = request.send()
                     .then([raw = call.get()](auto&& response) { raw->answered(kj::mv(response)); },
                           [raw = call.get()](kj::Exception&& e) { raw->failed(e); })
                     .eagerlyEvaluate(nullptr);
    ticket.call_ = call.release();
  });
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
  lock.unlock();
  if (!call->done || call->trouble != Trouble::none) {
    Trouble trouble = call->done ? call->trouble : impl.deadTrouble();
    // The loss of the connection has one reason for all calls.
    if (trouble == Trouble::connectionLost) trouble = impl.deadTrouble();
    impl.release(call);
    return trouble == Trouble::none ? Trouble::connectionLost : trouble;
  }
  reply = Reply();
  reply.bytes_ = call->bytes;
  reply.owner_ = call;
  return Trouble::none;
}

// The thread that runs host functions must not wait for those that are next.
static thread_local bool runs_host_functions = false;

Trouble ClientConnection::nextHostFunction(HostFunctionCall& next) {
  Impl& impl = *impl_;
  runs_host_functions = true;
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  auto lock = impl.control.loop.lock();
  impl.control.loop.waitUntil(
      lock, [&] { return !impl.host_functions.empty() || impl.dead != Trouble::none; });
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  next = std::move(impl.host_functions.front());
  impl.host_functions.pop_front();
  return Trouble::none;
}

void ClientConnection::hostFunctionRan(uint64_t ticket) {
  Impl& impl = *impl_;
  if (impl.deadTrouble() != Trouble::none) return;
  auto lock = impl.control.loop.lock();
  impl.runIn(impl.control, lock, [&] {
    const auto running = impl.host_functions_running.find(ticket);
    if (running == impl.host_functions_running.end()) return;
    running->second.ran->fulfill();
    if (running->second.failed) --impl.failed_host_functions;
    impl.host_functions_running.erase(running);
  });
}

void ClientConnection::waitForFailedHostFunctions() {
  Impl& impl = *impl_;
  if (runs_host_functions || impl.deadTrouble() != Trouble::none) return;
  auto lock = impl.control.loop.lock();
  impl.control.loop.waitUntil(
      lock, [&] { return impl.failed_host_functions == 0 || impl.dead != Trouble::none; });
}

Trouble ClientConnection::stats(SessionStats& out) {
  Impl& impl = *impl_;
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  return impl.ask([&] { return KJ_ASSERT_NONNULL(impl.session).statsRequest().send(); },
                  [&](const auto& answer) { return readAnswer(answer.getStats(), out); });
}

Trouble ClientConnection::kernelTimeline(bool start, KernelTimeline& out) {
  Impl& impl = *impl_;
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  return impl.ask(
      [&] {
        auto request = KJ_ASSERT_NONNULL(impl.session).kernelTimelineRequest();
        request.setStart(start);
        return request.send();
      },
      [&](const auto& answer) {
        std::string error;
        return readTimeline(answer.getTimeline(), out, error);
      });
}

Trouble ClientConnection::close(SessionStats& out) {
  Impl& impl = *impl_;
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  const Trouble trouble =
      impl.ask([&] { return KJ_ASSERT_NONNULL(impl.session).closeRequest().send(); },
               [&](const auto& answer) { return readAnswer(answer.getStats(), out); });
  if (trouble == Trouble::none) {
    impl.die(Trouble::sessionEnded,
             "The program closed its session with the gpud at " + impl.name + ".");
  }
  return trouble;
}

bool ClientConnection::dead() const {
  return impl_->deadTrouble() != Trouble::none;
}

ConnectionError ClientConnection::deathReason() const {
  if (impl_->forked) {
    return {Trouble::forked,
            "The session with the gpud at " + impl_->name +
                " belongs to the parent process; CUDA cannot be used in a child of fork()."};
  }
  return {impl_->dead, impl_->deathSentence()};
}

void ClientConnection::backgroundTick() {
  Impl& impl = *impl_;
  for (Impl::Channel* channel : {&impl.control, &impl.bulk}) {
    if (impl.deadTrouble() != Trouble::none) return;
    if (auto lock = channel->loop.tryLock(); lock.owns_lock()) channel->loop.tick(lock);
  }
}

void ClientConnection::abandonAfterFork() {
  Impl& impl = *impl_;
  if (impl.forked.exchange(true, std::memory_order_acq_rel)) return;
  for (Impl::Channel* channel : {&impl.control, &impl.bulk}) {
    if (const int fd = channel->fd.exchange(-1); fd >= 0) ::close(fd);
    channel->loop.abandonAfterFork();
  }
}

ClientCounters ClientConnection::counters() const {
  const Impl& impl = *impl_;
  ClientCounters counters;
  counters.calls = impl.calls.load(std::memory_order_relaxed);
  counters.waiting_calls = impl.waiting_calls.load(std::memory_order_relaxed);
  counters.waited_ns = impl.waited_ns.load(std::memory_order_relaxed);
  counters.unpacked_bytes = impl.unpacked_bytes.load(std::memory_order_relaxed);
  counters.packed_bytes = impl.packed_bytes.load(std::memory_order_relaxed);
  counters.bytes_sent = impl.control.link->channel().bytesWritten();
  counters.bytes_received = impl.control.link->channel().bytesRead();
  if (impl.bulk_open.load(std::memory_order_acquire)) {
    counters.bytes_sent += impl.bulk.link->channel().bytesWritten();
    counters.bytes_received += impl.bulk.link->channel().bytesRead();
  }
  return counters;
}

// ---- Reply and Ticket

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
