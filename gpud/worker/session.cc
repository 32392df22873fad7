#include "gpud/worker/session.h"

#include <fmt/format.h>
#include <kj/debug.h>
#include <spdlog/spdlog.h>

#include "gpud/worker/device_snapshot.h"

namespace farwarp::worker {

using wire::HandleType;

Session::Session(const DriverTable& driver, wire::UvEventPort& port, SessionCounters& counters,
                 SessionSettings settings)
    : driver_(driver),
      port_(port),
      counters_(counters),
      settings_(std::move(settings)),
      handles_(settings_.handles_max),
      waits_(driver_, port, settings_.wait_threads_max),
      contexts_(driver_, handles_, waits_),
      memory_(counters),
      shared_memory_(driver_, settings_.host_memory_bytes_max),
      staging_(driver_, waits_, settings_.bulk_bytes_max),
      uploads_(driver_, staging_, contexts_, {settings_.staging_bytes_max}),
      content_(settings_.content_folder, settings_.content_bytes_max),
      downloads_(driver_, staging_, contexts_, waits_, {settings_.staging_bytes_max / 4}),
      host_functions_(
          driver_, port,
          [this](uint64_t number, CUresult status) { return hostFunctionDue(number, status); }),
      meter_(makeKernelMeter(
          driver_, {counters.launches, counters.kernel_ns, counters.busy_ns, &timeline_})),
      link_states_(driver_),
      over_promise_(nullptr) {
  auto over = kj::newPromiseAndFulfiller<void>();
  over_ = kj::mv(over.fulfiller);
  over_promise_ = over.promise.fork();
  counters_.method = static_cast<uint32_t>(meter_->method());
  contexts_.onEnd([this](uint64_t id, CUcontext context) {
    meter_->contextEnds(context);
    graph_execs_.contextEnds(context);
    downloads_.contextEnds(context);
    staging_.contextEnds(context);
    memory_.contextEnds(context);
    host_functions_.contextEnds(context);
    shared_memory_.contextEnds(context);
    handles_.unbindChildren(id);
  });
}

void Session::addConnection(int fd, wire::ConnectionKind kind, bool tls) {
  // One control connection, and what protocol/client_connection.h opens for bulk data, with some
  // room.
  constexpr size_t kConnectionsMax = 17;
  if (connections_.size() >= kConnectionsMax) {
    spdlog::warn("A bulk connection was closed: the session has {} already.",
                 connections_.size() - 1);
    close(fd);
    return;
  }
  if (tls && settings_.tls == nullptr) {
    close(fd);
    return;
  }
  if (kind == wire::ConnectionKind::control) {
    sockaddr_storage self{};
    socklen_t bytes = sizeof(self);
    over_network_ = getsockname(fd, reinterpret_cast<sockaddr*>(&self), &bytes) == 0 &&
                    self.ss_family != AF_UNIX;
  }
  wire::ServerConnectionOptions options;
  options.tls = tls ? settings_.tls : nullptr;
  options.greeting_timeout_ms = settings_.greeting_timeout_ms;
  options.compression = compression_;
  connections_.push_back(
      std::make_unique<wire::ServerConnection>(port_, fd, kind, settings_.token, *this, options));
  if (output_ != nullptr && connections_.size() == 1) {
    connections_.front()->onOutputAcknowledged([this] { pumpOutput(); });
  }
}

void Session::strangerLeft(const std::string& reason) {
  spdlog::warn(
      "A bulk connection of session {} was closed before it proved that it belongs to it. "
      "{}",
      settings_.number, reason);
  // Not inside the connection.
  port_.post([this] {
    if (ended_) return;
    std::erase_if(connections_, [](const auto& connection) { return connection->isStranger(); });
  });
}

void Session::end(wire::Trouble trouble, const std::string& reason) {
  if (ended_) return;
  ended_ = true;
  host_functions_.close();
  end_reason_ = reason;
  counters_.end_reason.set(reason);
  updateCounters();
  spdlog::log(
      trouble == wire::Trouble::protocolViolation ? spdlog::level::warn : spdlog::level::debug,
      "Session {} ends. {}", settings_.number, reason);
  // The log may be running: connections end in a turn of their own.
  port_.post([this, trouble, reason] {
    for (auto& connection : connections_) connection->abort(trouble, reason);
    // Their last bytes go out in one more turn.
    port_.post([this] { over_->fulfill(); });
  });
}

kj::Promise<void> Session::whenEnded() {
  return over_promise_.addBranch();
}

void Session::captureOutput(int out, int err) {
  output_ =
      std::make_unique<OutputCapture>(out, err, [this] { port_.post([this] { pumpOutput(); }); });
}

void Session::sendOutput(const OutputCapture::Chunk& chunk) {
  if (connections_.empty()) return;
  const bool sent =
      connections_.front()->sendOutput(chunk.to_stderr, std::as_bytes(std::span(chunk.text)));
  if (!sent) spdlog::debug("{} bytes of output of kernels are lost.", chunk.text.size());
}

// While nobody waits: as fast as the client takes it.
void Session::pumpOutput() {
  constexpr size_t kUnacknowledgedMax = 256u << 10;
  OutputCapture::Chunk chunk;
  while (!ended_ && !connections_.empty() &&
         connections_.front()->unacknowledgedOutputBytes() < kUnacknowledgedMax &&
         output_->take(chunk)) {
    sendOutput(chunk);
  }
}

// What was printed before a reply is sent before it, so that it is there when the call returns.
void Session::beforeReply() {
  if (output_ == nullptr || ended_) return;
  for (const OutputCapture::Chunk& chunk : output_->takeWritten()) sendOutput(chunk);
}

kj::Promise<void> Session::hostFunctionDue(uint64_t number, CUresult status) {
  beforeReply();
  if (connections_.empty()) return KJ_EXCEPTION(DISCONNECTED, "There is no client.");
  const std::vector<uint64_t> completed = downloads_.listCompleted();
  return connections_.front()->runHostFunction(number, static_cast<int32_t>(status), completed);
}

CUresult Session::find(HandleType type, uint64_t id, void** object) const {
  *object = nullptr;
  if (id == 0) return CUDA_SUCCESS;
  const HandleType given = wire::HandleId(id).type();
  if (wire::handleTypeAccepts(type, given)) *object = handles_.find(given, id);
  return *object != nullptr ? CUDA_SUCCESS : wire::invalidHandleError(type);
}

CUresult Session::resolveStream(uint64_t id, const wire::RecordHeader& header, CUstream* out) {
  *out = nullptr;
  const bool own_default =
      id == 2 || (id == 0 && (header.flags & wire::kPerThreadDefaultStream) != 0);
  if (own_default) {
    if (CUresult r = contexts_.threadStream(header.thread, out); r != CUDA_SUCCESS) return r;
  } else if (id > 2) {
    if (CUresult r = resolve(HandleType::stream, id, out); r != CUDA_SUCCESS) return r;
  }
  contexts_.orderAfterCopies(*out);
  return CUDA_SUCCESS;
}

CUresult Session::bind(HandleType type, uint64_t id, void* object) {
  const bool by_itself = type == HandleType::context || type == HandleType::library;
  if (by_itself) return bind(type, id, object, 0);
  // A green context has streams of its own, and all else is its primary context's.
  const bool stream = type == HandleType::stream;
  return bind(type, id, object, stream ? contexts_.currentId() : contexts_.homeId());
}

CUresult Session::bind(HandleType type, uint64_t id, void* object, uint64_t parent) {
  if (object == nullptr) return CUDA_ERROR_UNKNOWN;
  const HandleTable::BindResult result = handles_.bind(type, id, object, parent);
  if (result == HandleTable::BindResult::bound) return CUDA_SUCCESS;
  spdlog::warn("Id {:#x} cannot name a {}: {}.", id, wire::handleTypeName(type),
               bindResultText(result));
  return CUDA_ERROR_INVALID_HANDLE;
}

bool Session::hello(const wire::ClientHello& client, wire::ServerHello& server,
                    std::string& refusal) {
  counters_.greeted = 1;
  counters_.program.set(client.program);
  counters_.client_pid = client.pid;
  if (client.spec_version > kDriverFunctionCount) {
    refusal = fmt::format(
        "The client is newer than this gpud: it knows {} driver calls, gpud {}. Update gpud.",
        client.spec_version, kDriverFunctionCount);
    return false;
  }
  server.server_version = FARWARP_VERSION;
  server.spec_version = kDriverFunctionCount;
  server.token = settings_.token;
  server.device_kind = settings_.device_kind;
  compression_ = wire::togetherMode(client.compression, settings_.compression);
  server.compression = compression_;
  server.keeps_content = content_.enabled() && over_network_;
  if (!takeSnapshot(driver_, settings_.device_kind == "cpu", server, refusal)) return false;
  spdlog::info("Session {}: program \"{}\", pid {}, client {}.", settings_.number,
               counters_.program.get(), client.pid, client.client_version);
  return true;
}

wire::SessionStats Session::stats() {
  meter_->poll();
  updateCounters();
  wire::SessionStats stats;
  stats.calls = counters_.calls;
  stats.waiting_calls = counters_.waiting_calls;
  stats.bytes_in = counters_.bytes_in;
  stats.bytes_out = counters_.bytes_out;
  stats.launches = counters_.launches;
  stats.kernel_ns = counters_.kernel_ns;
  stats.busy_ns = counters_.busy_ns;
  stats.method = meterMethodName(meter_->method());
  return stats;
}

wire::KernelTimeline Session::kernelTimeline(bool start) {
  if (!start) {
    meter_->poll();
    return timeline_.take();
  }
  timeline_.start();
  wire::KernelTimeline clock;
  clock.now_ns = KernelTimeline::now();
  return clock;
}

std::span<std::byte> Session::destinationFor(uint64_t transfer, uint64_t offset, uint32_t length) {
  if (ended_) return {};
  const std::span<std::byte> destination = uploads_.destinationFor(transfer, offset, length);
  if (destination.empty()) {
    end(wire::Trouble::protocolViolation,
        fmt::format(
            "The chunk [{}, {} + {}) of transfer {} cannot be taken: it is out of place, or the "
            "session has {} bytes staged, with a limit of {}.",
            offset, offset, length, transfer, staging_.bytesInUse(), settings_.bulk_bytes_max));
  }
  return destination;
}

kj::Promise<void> Session::putArrived(uint64_t transfer, uint64_t offset, uint32_t) {
  auto held = uploads_.arrived(transfer, offset, stalled_);
  if (stalled_) runLog();
  return held;
}

void Session::putAborted(uint64_t transfer, uint64_t offset, uint32_t) {
  uploads_.aborted(transfer, offset);
}

kj::Promise<wire::GetResult> Session::get(uint64_t transfer, uint64_t offset, uint32_t length) {
  return downloads_.get(transfer, offset, length);
}

bool Session::shareMemory(wire::SharedRegion region) {
  return staging_.share(std::move(region));
}

bool Session::putShared(uint64_t transfer, uint64_t offset, std::span<std::byte> bytes,
                        kj::Own<wire::BatchLease> lease) {
  if (ended_) return true;
  if (!uploads_.arrivedShared(transfer, offset, bytes, kj::mv(lease))) return false;
  if (stalled_) runLog();
  return true;
}

void Session::getShared(uint64_t transfer, uint64_t offset, uint32_t length,
                        kj::Own<wire::SharedReply> reply) {
  downloads_.getShared(transfer, offset, length, kj::mv(reply));
}

bool Session::takenShared(uint32_t place) {
  return downloads_.takenShared(place);
}

void Session::closeRequested() {
  if (end_reason_.empty()) end_reason_ = "The client closed the session.";
}

void Session::disconnected(wire::ConnectionKind kind, wire::Trouble trouble,
                           const std::string& reason) {
  if (ended_) return;
  if (!end_reason_.empty()) return end(trouble, end_reason_);
  if (kind == wire::ConnectionKind::control) return end(trouble, reason);
  // A program that ends closes all its connections, in any order. Without its bulk connection a
  // live one would wait for ever.
  auto* timer = new uv_timer_t;
  uv_timer_init(port_.uvLoop(), timer);
  timer->data = this;
  uv_timer_start(
      timer,
      [](uv_timer_t* fired) {
        static_cast<Session*>(fired->data)
            ->end(wire::Trouble::connectionLost, "The client's bulk connection was lost.");
      },
      200, 0);
}

void Session::updateCounters() {
  uint64_t received = 0;
  uint64_t sent = 0;
  for (const auto& connection : connections_) {
    received += connection->bytesReceived();
    sent += connection->bytesSent();
  }
  counters_.bytes_in = received;
  counters_.bytes_out = sent;
}

}  // namespace farwarp::worker
