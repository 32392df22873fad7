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
#include "protocol/client_shared.h"
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
    if (channel.link != nullptr) {
      channel.link->stream().setTaker(nullptr);
      channel.link->stream().flushOutput();
    }
    if (&channel == &control) {
      session = nullptr;
      host_functions_running.clear();
      calls_in_flight.clear();
    }
    if (&channel == &bulk) bulk_service = nullptr;
    channel.loop.setStream(nullptr, -1);
    channel.fd = -1;
    channel.link.reset();
  });
}

void ClientConnection::Impl::runIn(Channel& channel, Lock& lock, SharedLoop::Work work) {
  channel.loop.run(lock, [&] {
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

Trouble ClientConnection::Impl::await(Channel& channel, Lock& lock, const bool& done,
                                      kj::Promise<void>& task) {
  channel.loop.waitUntil(lock, [&] { return done || dead != Trouble::none; });
  if (!done) channel.loop.run(lock, [&] { task = nullptr; });
  return done ? Trouble::none : deadTrouble();
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

void ClientConnection::backgroundTick(Clock::time_point now) {
  Impl& impl = *impl_;
  for (Impl::Channel* channel : {&impl.control, &impl.bulk}) {
    if (impl.deadTrouble() != Trouble::none) return;
    if (auto lock = channel->loop.tryLock(); lock.owns_lock()) {
      channel->loop.tick(lock);
      if (channel == &impl.control) impl.watchSilence(lock, now);
    }
  }
}

// TCP keeps a connection alive whose gpud is stopped or hangs, so a waiting program would never
// hear of it. A gpud that is busy inside the driver may be as silent: nothing ends because of it.
void ClientConnection::Impl::watchSilence(Lock& lock, Clock::time_point now) {
  const uint64_t heard = control.link->channel().bytesRead();
  if (awaited_calls == 0 || heard != silence.heard_bytes) {
    silence = {heard, now, false, false};
    return;
  }
  const auto silent = now - silence.since;
  if (!silence.asked && silent >= options.silence_max / 2) {
    silence.asked = true;
    runIn(control, lock, [&] {
      KJ_ASSERT_NONNULL(session).statsRequest().send().ignoreResult().detach(
          [](kj::Exception&&) {});
    });
  }
  if (silence.told || silent < options.silence_max || !options.on_silence) return;
  silence.told = true;
  options.on_silence(
      "The gpud at " + name + " has not answered for " +
      std::to_string(std::chrono::duration_cast<std::chrono::seconds>(silent).count()) +
      " s, although it is connected. It is stopped, or its driver takes long over one call; the "
      "program goes on waiting. gpud's log may say more.");
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
    if (impl.shared_bulk != nullptr) {
      counters.bytes_sent += impl.shared_bulk->bytesPut();
      counters.bytes_received += impl.shared_bulk->bytesGot();
      counters.bytes_shared = impl.shared_bulk->bytesPut() + impl.shared_bulk->bytesGot();
    }
    counters.why_not_shared = impl.why_not_shared;
  }
  return counters;
}

}  // namespace farwarp::wire
