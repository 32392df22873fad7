#include "tests/protocol/test_server.h"

#include <kj/debug.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <future>
#include <stdexcept>

namespace farwarp::wire {
namespace {

uint32_t numberOf(std::span<const std::byte> batch) {
  uint32_t number = 0;
  if (batch.size() >= 8) std::memcpy(&number, batch.data() + 4, sizeof(number));
  return number;
}

TestOp opOf(std::span<const std::byte> batch) {
  return static_cast<TestOp>(batch[0]);
}

}  // namespace

std::vector<std::byte> testBatch(TestOp op, size_t bytes, uint8_t thread, uint32_t number) {
  std::vector<std::byte> batch(std::max<size_t>(bytes, 8));
  for (size_t i = 8; i < batch.size(); ++i) batch[i] = static_cast<std::byte>(i * 7 + number);
  batch[0] = static_cast<std::byte>(op);
  batch[1] = static_cast<std::byte>(thread);
  std::memcpy(batch.data() + 4, &number, sizeof(number));
  return batch;
}

std::vector<std::byte> patternBytes(size_t bytes, uint32_t seed) {
  std::vector<std::byte> data(bytes);
  uint32_t state = seed * 2654435761u + 1;
  for (std::byte& b : data) {
    state = state * 1664525u + 1013904223u;
    b = static_cast<std::byte>(state >> 24);
  }
  return data;
}

std::string freshUnixAddress() {
  static const struct Folder {
    std::string path;
    Folder() {
      char name[] = "/tmp/farwarp-test-XXXXXX";
      path = mkdtemp(name);
    }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  } folder;
  static std::atomic<int> count{0};
  return "unix:" + folder.path + "/s" + std::to_string(count++);
}

ClientOptions clearOptions() {
  ClientOptions options;
  options.insecure = true;
  return options;
}

TestServer::TestServer(const std::string& endpoint, TlsServer* tls, uint64_t greeting_timeout_ms)
    : tls_(tls), greeting_timeout_ms_(greeting_timeout_ms) {
  Endpoint where;
  std::string error;
  if (!parseEndpoint(endpoint, where, error, true)) throw std::runtime_error(error);
  listener_ = listenOn(where, 64, error);
  if (listener_ < 0 || !boundEndpoint(listener_, where)) throw std::runtime_error(error);
  address_ = where.text();
  thread_ = std::thread([this] { serve(); });
  std::unique_lock lock(ready_mutex_);
  ready_.wait(lock, [this] { return running_; });
}

TestServer::~TestServer() noexcept {
  port_->post([this] { stop_->fulfill(); });
  thread_.join();
}

void TestServer::serve() {
  port_ = std::make_unique<UvEventPort>();
  {
    kj::WaitScope scope(port_->eventLoop());
    auto paf = kj::newPromiseAndFulfiller<void>();
    stop_ = kj::mv(paf.fulfiller);
    auto* poll = new uv_poll_t;
    uv_poll_init(port_->uvLoop(), poll, listener_);
    poll->data = this;
    uv_poll_start(poll, UV_READABLE, [](uv_poll_t* handle, int, int) {
      auto* self = static_cast<TestServer*>(handle->data);
      const int fd = accept4(self->listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) self->accept(fd);
    });
    {
      const std::lock_guard lock(ready_mutex_);
      running_ = true;
      ready_.notify_all();
    }
    paf.promise.wait(scope);
    uv_close(reinterpret_cast<uv_handle_t*>(poll),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
    parked_.clear();
    parked_submits_.clear();
    kept_leases_.clear();
    connections_.clear();
    scope.poll();
  }
  close(listener_);
  // The port goes here: its loop belongs to this thread.
  std::unique_ptr<UvEventPort> port = std::move(port_);
  port.reset();
}

void TestServer::accept(int fd) {
  tuneSocket(fd);
  std::byte bytes[kPreambleBytes];
  const ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_WAITALL);
  ClientPreamble preamble;
  std::string reason;
  ServerPreamble answer;
  answer.status = parseClientPreamble(std::span(bytes).first(n < 0 ? 0 : n), preamble, reason);
  if (answer.status == PreambleStatus::ok) answer.status = preamble_status;
  if (answer.status == PreambleStatus::ok && preamble.tls != (tls_ != nullptr)) {
    answer.status = tls_ != nullptr ? PreambleStatus::tlsRequired : PreambleStatus::tlsUnavailable;
  }
  const PreambleBytes encoded = encodePreamble(answer);
  (void)!::send(fd, encoded.data(), encoded.size(), MSG_NOSIGNAL);
  if (answer.status != PreambleStatus::ok) {
    close(fd);
    return;
  }
  if (ignore_hello) {
    // Stays open, says nothing; closed with the process.
    return;
  }
  if (hang_up_bulk && preamble.kind == ConnectionKind::bulk) {
    shutdown(fd, SHUT_WR);
    return;
  }
  connections_[preamble.kind].push_back(std::make_unique<ServerConnection>(
      *port_, fd, preamble.kind, token_, *this,
      ServerConnectionOptions{tls_, greeting_timeout_ms_, agreed_compression_}));
}

void TestServer::onLoop(std::function<void()> task) {
  std::promise<void> done;
  port_->post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

void TestServer::waitFor(const std::function<bool()>& holds) {
  for (;;) {
    bool now = false;
    onLoop([&] { now = holds(); });
    if (now) return;
    std::this_thread::yield();
  }
}

void TestServer::releaseParked() {
  onLoop([this] {
    for (auto& reply : parked_) reply->send(patternBytes(8, 1));
    parked_.clear();
    parked_submits_.clear();
    kept_leases_.clear();
  });
}

void TestServer::dropConnections() {
  onLoop([this] {
    connections_.clear();
    parked_.clear();
  });
}

void TestServer::abortSession(const std::string& reason) {
  onLoop([&] {
    for (auto& c : connections_[ConnectionKind::control]) c->abort(Trouble::sessionEnded, reason);
  });
}

void TestServer::sendOutput(const std::string& text) {
  onLoop([&] {
    for (auto& c : connections_[ConnectionKind::control]) {
      c->sendOutput(false, std::as_bytes(std::span(text)));
    }
  });
}

std::vector<SeenBatch> TestServer::seen() {
  std::vector<SeenBatch> copy;
  onLoop([&] { copy = batches; });
  return copy;
}

TestServer::End TestServer::firstEnd() {
  End end;
  waitFor([&] {
    if (!ended.empty()) end = ended.front();
    return !ended.empty();
  });
  return end;
}

size_t TestServer::parkedNow() {
  size_t count = 0;
  onLoop([&] { count = parked_.size(); });
  return count;
}

std::vector<std::byte> TestServer::upload(uint64_t transfer) {
  std::vector<std::byte> copy;
  onLoop([&] { copy = uploads[transfer]; });
  return copy;
}

void TestServer::setDownload(uint64_t transfer, std::vector<std::byte> bytes) {
  onLoop([&] { downloads[transfer] = std::move(bytes); });
}

uint64_t TestServer::bytesIn() const {
  uint64_t total = 0;
  for (const auto& [kind, list] : connections_) {
    for (const auto& connection : list) total += connection->bytesReceived();
  }
  return total;
}

bool TestServer::hello(const ClientHello& client, ServerHello& server, std::string& refusal) {
  if (refuse_hello) {
    refusal = "The program " + client.program + " is not welcome here.";
    return false;
  }
  server.server_version = "test";
  server.spec_version = client.spec_version;
  server.token = token_;
  server.driver_version = client.cuda_version;
  server.device_kind = "cpu";
  server.compression = agreed_compression_ = togetherMode(client.compression, compression);
  DeviceSnapshot device;
  device.name = "Test device";
  device.uuid = {9, 8, 7};
  device.total_memory_bytes = uint64_t{5} << 32;
  device.compute_major = 8;
  device.compute_minor = 6;
  device.pci_bus_id = "0000:01:00.0";
  device.stream_priority_greatest = -5;
  device.attributes = {{1, 1024}, {2, -7}};
  device.default_limits = {{0, 1024}, {1, uint64_t{1} << 40}};
  server.devices = {device, device};
  return true;
}

void TestServer::note(uint64_t seq, bool call, std::span<const std::byte> batch) {
  ++batch_count;
  if (!keep_batches) return;
  batches.push_back(
      {seq, call, static_cast<uint8_t>(batch[0]), static_cast<uint8_t>(batch[1]), numberOf(batch)});
}

void TestServer::submit(uint64_t seq, std::span<const std::byte> batch, kj::Own<BatchLease> lease) {
  note(seq, false, batch);
  if (opOf(batch) == TestOp::stallSubmits) parked_submits_.push_back(kj::mv(lease));
}

void TestServer::call(uint64_t seq, std::span<const std::byte> batch, kj::Own<CallReply> reply) {
  const uint64_t before = batch_count;
  note(seq, true, batch);
  switch (opOf(batch)) {
    case TestOp::echo:
      reply->send(batch);
      break;
    case TestOp::countSoFar:
      reply->send(std::as_bytes(std::span(&before, 1)));
      break;
    case TestOp::park:
      parked_.push_back(kj::mv(reply));
      break;
    case TestOp::fail:
      reply->fail("The test wants this call to fail.");
      break;
    case TestOp::endSession:
      for (auto& c : connections_[ConnectionKind::control]) {
        c->abort(Trouble::sessionEnded, "The test ends the session.");
      }
      parked_.push_back(kj::mv(reply));
      break;
    case TestOp::hangUp:
      // Not inside the connection that calls.
      parked_.push_back(kj::mv(reply));
      port_->post([this] {
        connections_.clear();  // before its replies, which would still be answered
        parked_.clear();
      });
      break;
    case TestOp::big: {
      const auto room = reply->buffer(numberOf(batch));
      for (size_t i = 0; i < room.size(); ++i) room[i] = static_cast<std::byte>(i * 7);
      reply->sendBuffer();
      break;
    }
    default:
      break;  // destroyed unanswered
  }
}

SessionStats TestServer::stats() {
  SessionStats stats;
  stats.calls = batch_count;
  stats.launches = 12;
  stats.kernel_ns = 34;
  stats.busy_ns = 30;
  stats.bytes_in = bytesIn();
  stats.method = "exact";
  return stats;
}

std::span<std::byte> TestServer::destinationFor(uint64_t transfer, uint64_t offset,
                                                uint32_t length) {
  if (offset + length > upload_bytes_max) return {};
  ++placements;
  // One size from the start: the memory must stay where it is while chunks arrive.
  auto& bytes = uploads[transfer];
  if (bytes.empty()) bytes.resize(upload_bytes_max);
  return std::span(bytes).subspan(offset, length);
}

kj::Promise<void> TestServer::putArrived(uint64_t transfer, uint64_t, uint32_t length) {
  upload_bytes[transfer] += length;
  return kj::READY_NOW;
}

void TestServer::putAborted(uint64_t, uint64_t, uint32_t) {
  ++aborted_puts;
}

kj::Promise<GetResult> TestServer::get(uint64_t transfer, uint64_t offset, uint32_t length) {
  if (park_gets) return kj::NEVER_DONE;
  const auto found = downloads.find(transfer);
  if (found == downloads.end() || offset + length > found->second.size()) {
    return KJ_EXCEPTION(FAILED, "The transfer is not there.");
  }
  GetResult result;
  result.bytes = std::span(found->second).subspan(offset, length);
  return kj::mv(result);
}

bool TestServer::shareMemory(SharedRegion region) {
  if (!share_memory) return false;
  region_.emplace(std::move(region));
  return true;
}

bool TestServer::putShared(uint64_t transfer, uint64_t offset, std::span<std::byte> bytes,
                           kj::Own<BatchLease> lease) {
  const auto to = destinationFor(transfer, offset, static_cast<uint32_t>(bytes.size()));
  if (to.empty()) return false;
  std::copy(bytes.begin(), bytes.end(), to.begin());
  upload_bytes[transfer] += bytes.size();
  if (keep_leases) kept_leases_.push_back(kj::mv(lease));
  return true;
}

void TestServer::getShared(uint64_t transfer, uint64_t offset, uint32_t length,
                           kj::Own<SharedReply> reply) {
  const auto found = downloads.find(transfer);
  if (found == downloads.end() || offset + length > found->second.size()) {
    return reply->fail("The transfer is not there.");
  }
  const auto from = std::span(found->second).subspan(offset, length);
  for (uint32_t slot = 0; slot < std::min(kDownloadSlots, shared_places_max); ++slot) {
    const auto place = static_cast<uint32_t>(slot * kDownloadSlotBytes);
    if (!lent_places_.insert(place).second) continue;
    std::copy(from.begin(), from.end(), region_->downloads().begin() + place);
    return reply->at(place);
  }
}

bool TestServer::takenShared(uint32_t place) {
  return lent_places_.erase(place) != 0;
}

void TestServer::disconnected(ConnectionKind kind, Trouble trouble, const std::string& reason) {
  ended.push_back({kind, trouble, reason});
}

}  // namespace farwarp::wire
