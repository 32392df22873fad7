#include "bench/delay_line.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <vector>

#include "bench/transport_peers.h"
#include "protocol/endpoint.h"

namespace farwarp::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPieceBytes = 256u << 10;
constexpr size_t kKeptBytesMax = 256u << 20;  // a window that never holds a sender up

struct Piece {
  Clock::time_point due;
  std::vector<std::byte> bytes;  // empty: the end
};

// Between the thread that reads and the one that writes.
class Line {
 public:
  void put(Piece piece) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return kept_ < kKeptBytesMax; });
    kept_ += piece.bytes.size();
    pieces_.push_back(std::move(piece));
    changed_.notify_all();
  }
  Piece take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !pieces_.empty(); });
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    kept_ -= piece.bytes.size();
    changed_.notify_all();
    return piece;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> pieces_;
  size_t kept_ = 0;
};

}  // namespace

DelayLine::DelayLine(const std::string& target, std::chrono::microseconds one_way)
    : target_(target), one_way_(one_way) {
  wire::Endpoint bound;
  std::string error;
  if (!wire::parseEndpoint("127.0.0.1:0", bound, error, true)) throw std::runtime_error(error);
  listener_ = wire::listenOn(bound, 64, error);
  if (listener_ < 0 || !wire::boundEndpoint(listener_, bound)) throw std::runtime_error(error);
  address_ = bound.text();
  acceptor_ = std::thread([this] { accept(); });
}

DelayLine::~DelayLine() {
  stop_ = true;
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : descriptors_) shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  for (const int fd : descriptors_) close(fd);
  close(listener_);
}

void DelayLine::accept() {
  while (!stop_) {
    pollfd entry{listener_, POLLIN, 0};
    if (poll(&entry, 1, 20) <= 0) continue;
    const int near = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (near < 0) continue;
    wire::Endpoint endpoint;
    std::string error;
    if (!wire::parseEndpoint(target_, endpoint, error)) throw std::runtime_error(error);
    const int far = wire::connectTo(endpoint, 10000, error);
    if (far < 0) {
      close(near);
      continue;
    }
    wire::tuneSocket(near);
    const std::lock_guard lock(mutex_);
    descriptors_.push_back(near);
    descriptors_.push_back(far);
    threads_.emplace_back([this, near, far] { carry(near, far); });
    threads_.emplace_back([this, near, far] { carry(far, near); });
  }
}

void DelayLine::carry(int from, int to) {
  Line line;
  std::thread writer([&] {
    for (;;) {
      const Piece piece = line.take();
      std::this_thread::sleep_until(piece.due);
      if (piece.bytes.empty()) break;
      sendAll(to, piece.bytes.data(), piece.bytes.size());
    }
    shutdown(to, SHUT_WR);
  });
  std::vector<std::byte> buffer(kPieceBytes);
  for (;;) {
    const ssize_t n = recv(from, buffer.data(), buffer.size(), 0);
    if (n <= 0) break;
    line.put({Clock::now() + one_way_, {buffer.begin(), buffer.begin() + n}});
  }
  line.put({Clock::now() + one_way_, {}});
  writer.join();
}

}  // namespace farwarp::bench
