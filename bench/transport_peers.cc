#include "bench/transport_peers.h"

#include <kj/debug.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <utility>

#include "protocol/endpoint.h"
#include "protocol/record.h"
#include "protocol/server_connection.h"

namespace farwarp::bench {
namespace {

using namespace farwarp::wire;

int listenAt(const std::string& text, Endpoint& bound) {
  std::string error;
  if (!parseEndpoint(text, bound, error, true)) throw std::runtime_error(error);
  const int listener = listenOn(bound, 16, error);
  if (listener < 0 || !boundEndpoint(listener, bound)) throw std::runtime_error(error);
  return listener;
}

// The name of a socket in the file system is not needed once it is connected, or never will be.
void removeName(const Endpoint& endpoint) {
  if (endpoint.kind == Endpoint::Kind::unixSocket) unlink(endpoint.path.c_str());
}

}  // namespace

int acceptFrom(int listener) {
  pollfd entry{listener, POLLIN, 0};
  poll(&entry, 1, -1);
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd >= 0) tuneSocket(fd);
  return fd;
}

uint64_t decodeBatch(std::span<const std::byte> batch) {
  uint64_t count = 0, check = 0;
  RecordHeader header;
  std::span<const std::byte> body;
  bool malformed;
  while (nextRecord(batch, header, body, malformed)) {
    // As much as a launch's fixed fields are read.
    for (size_t i = 0; i + 8 <= body.size(); i += 8) {
      uint64_t word;
      std::memcpy(&word, body.data() + i, sizeof(word));
      check ^= word;
    }
    ++count;
  }
  return count + (check == 0x5a5a5a5a5a5a5a5a ? 1 : 0);
}

void sendAll(int fd, const void* data, size_t bytes) {
  const auto* at = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);
    if (n <= 0) return;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
}

bool receiveAll(int fd, void* data, size_t bytes) {
  auto* at = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const ssize_t n = recv(fd, at, bytes, 0);
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

struct RpcPeer::Server final : SessionHandler {
  ~Server() noexcept override {}

  UvEventPort port;
  kj::WaitScope scope{port.eventLoop()};
  kj::PromiseFulfillerPair<void> stop = kj::newPromiseAndFulfiller<void>();
  int listener = -1;
  TlsServer* tls = nullptr;
  std::vector<std::byte> buffer = std::vector<std::byte>(kBulkBytes, std::byte{1});
  std::vector<std::byte> pong = std::vector<std::byte>(kPingBytes, std::byte{2});
  std::vector<std::unique_ptr<ServerConnection>> connections;
  uint64_t records = 0;

  void accept() {
    const int fd = acceptFrom(listener);
    std::byte bytes[kPreambleBytes];
    ClientPreamble preamble;
    std::string reason;
    if (!receiveAll(fd, bytes, sizeof(bytes)) ||
        parseClientPreamble(bytes, preamble, reason) != PreambleStatus::ok) {
      close(fd);
      return;
    }
    const PreambleBytes answer = encodePreamble(ServerPreamble{});
    sendAll(fd, answer.data(), answer.size());
    connections.push_back(std::make_unique<ServerConnection>(
        port, fd, preamble.kind, SessionToken{}, *this, ServerConnectionOptions{tls}));
  }

  bool hello(const ClientHello&, ServerHello& server, std::string&) override {
    server.device_kind = "none";
    return true;
  }
  void submit(uint64_t, std::span<const std::byte> batch, kj::Own<BatchLease>) override {
    records += decodeBatch(batch);
  }
  void call(uint64_t, std::span<const std::byte> batch, kj::Own<CallReply> reply) override {
    records += decodeBatch(batch);
    reply->send(pong);
  }
  SessionStats stats() override { return {}; }
  std::span<std::byte> destinationFor(uint64_t, uint64_t offset, uint32_t length) override {
    if (offset + length > buffer.size()) return {};
    return std::span(buffer).subspan(offset, length);
  }
  kj::Promise<void> putArrived(uint64_t, uint64_t, uint32_t) override { return kj::READY_NOW; }
  kj::Promise<GetResult> get(uint64_t, uint64_t offset, uint32_t length) override {
    GetResult result;
    result.bytes = std::span(buffer).subspan(offset, length);
    return kj::mv(result);
  }
  void disconnected(ConnectionKind, Trouble, const std::string&) override {}
};

RpcPeer::RpcPeer(const std::string& endpoint, TlsServer* tls) {
  listener_ = listenAt(endpoint, bound_);
  address_ = bound_.text();
  thread_ = std::thread([this, tls] {
    Server server;
    server.listener = listener_;
    server.tls = tls;
    uv_poll_t poll;
    uv_poll_init(server.port.uvLoop(), &poll, listener_);
    poll.data = &server;
    uv_poll_start(&poll, UV_READABLE, [](uv_poll_t* handle, int, int) {
      static_cast<Server*>(handle->data)->accept();
    });
    server_ = &server;
    server_.notify_all();
    server.stop.promise.wait(server.scope);
    server.connections.clear();
    uv_close(reinterpret_cast<uv_handle_t*>(&poll), nullptr);
    server.scope.poll();
  });
  server_.wait(nullptr);
}

RpcPeer::~RpcPeer() {
  Server* server = server_;
  server->port.post([server] { server->stop.fulfiller->fulfill(); });
  thread_.join();
  close(listener_);
  removeName(bound_);
}

void RawStream::send(const void* data, size_t bytes) const {
  if (ssl_ == nullptr) return sendAll(fd_, data, bytes);
  // As much at once as OpenSSL's int takes; it makes records of 16 KiB of it.
  const auto* at = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    size_t n = 0;
    if (SSL_write_ex(ssl_, at, std::min<size_t>(bytes, 1u << 20), &n) != 1) return;
    at += n;
    bytes -= n;
  }
}

ssize_t RawStream::receiveSome(void* data, size_t bytes) const {
  if (ssl_ == nullptr) return recv(fd_, data, bytes, 0);
  size_t n = 0;
  return SSL_read_ex(ssl_, data, bytes, &n) == 1 ? static_cast<ssize_t>(n) : -1;
}

bool RawStream::receive(void* data, size_t bytes) const {
  auto* at = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const ssize_t n = receiveSome(at, bytes);
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

void RawStream::close() {
  SSL_free(std::exchange(ssl_, nullptr));
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

namespace {

SSL* sslOn(SSL_CTX* context, int fd, bool server) {
  if (context == nullptr) return nullptr;
  SSL* ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  if ((server ? SSL_accept(ssl) : SSL_connect(ssl)) != 1) {
    throw std::runtime_error("The TLS baseline cannot shake hands.");
  }
  return ssl;
}

}  // namespace

RawPeer::RawPeer(const std::string& endpoint, const std::string& tls_folder) {
  if (!tls_folder.empty()) {
    server_context_ = SSL_CTX_new(TLS_server_method());
    client_context_ = SSL_CTX_new(TLS_client_method());
    for (SSL_CTX* context : {server_context_, client_context_}) {
      SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
      SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
    }
    const bool loaded =
        SSL_CTX_use_certificate_chain_file(server_context_, (tls_folder + "/server.crt").c_str()) ==
            1 &&
        SSL_CTX_use_PrivateKey_file(server_context_, (tls_folder + "/server.key").c_str(),
                                    SSL_FILETYPE_PEM) == 1;
    if (!loaded) throw std::runtime_error("The TLS baseline cannot use gpud's certificate.");
  }
  Endpoint bound;
  const int listener = listenAt(endpoint, bound);
  thread_ = std::thread([this, listener] { serve(listener); });
  std::string error;
  const int fd = connectTo(bound, 10000, error);
  removeName(bound);
  if (fd < 0) throw std::runtime_error(error);
  client_ = RawStream(fd, sslOn(client_context_, fd, false));
}

RawPeer::~RawPeer() {
  shutdown(client_.fd(), SHUT_RDWR);
  thread_.join();
  client_.close();
  SSL_CTX_free(server_context_);
  SSL_CTX_free(client_context_);
}

void RawPeer::serve(int listener) {
  const int fd = acceptFrom(listener);
  close(listener);
  RawStream stream(fd, sslOn(server_context_, fd, true));
  std::vector<std::byte> buffer(kBulkBytes, std::byte{1});
  std::vector<std::byte> ahead(128u << 10);
  RawRequest request;
  const std::byte one{1};
  // Batches and pings are read through a buffer, as a hand-written server would.
  size_t begin = 0, end = 0;
  const auto fill = [&](size_t bytes) {
    if (begin > 0) std::memmove(ahead.data(), ahead.data() + begin, end - begin);
    end -= begin, begin = 0;
    while (end < bytes) {
      const ssize_t n = stream.receiveSome(ahead.data() + end, ahead.size() - end);
      if (n <= 0) return false;
      end += static_cast<size_t>(n);
    }
    return true;
  };
  while (end - begin >= sizeof(request) || fill(sizeof(request))) {
    std::memcpy(&request, ahead.data() + begin, sizeof(request));
    begin += sizeof(request);
    if (request.op == RawOp::upload || request.op == RawOp::download) {
      if (request.bytes > kBulkBytesMax) break;
      if (buffer.size() < request.bytes) buffer.resize(request.bytes, std::byte{1});
    }
    if (request.op == RawOp::upload) {
      const size_t there = std::min<size_t>(end - begin, request.bytes);
      std::memcpy(buffer.data(), ahead.data() + begin, there);
      begin += there;
      if (!stream.receive(buffer.data() + there, request.bytes - there)) break;
      stream.send(&one, 1);
      continue;
    }
    if (request.op == RawOp::download) {
      stream.send(buffer.data(), request.bytes);
      continue;
    }
    if (end - begin < request.bytes && !fill(request.bytes)) break;
    const std::span<const std::byte> data(ahead.data() + begin, request.bytes);
    begin += request.bytes;
    if (request.op == RawOp::batch) {
      decodeBatch(data);
    } else {
      stream.send(data.data(), data.size());
    }
  }
  stream.close();
}

}  // namespace farwarp::bench
