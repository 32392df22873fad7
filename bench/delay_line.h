// A TCP or Unix proxy that keeps every byte for a time: added latency without a kernel's help.
#pragma once

#include <atomic>
#include <chrono>
#include <list>
#include <mutex>
#include <string>
#include <thread>

namespace farwarp::bench {

class DelayLine {
 public:
  // Connections to `address()`, a port of the loopback, are led to `target` (what parseEndpoint
  // takes). Each direction keeps bytes for `one_way`.
  DelayLine(const std::string& target, std::chrono::microseconds one_way);
  ~DelayLine();
  DelayLine(const DelayLine&) = delete;
  DelayLine& operator=(const DelayLine&) = delete;
  const std::string& address() const { return address_; }

 private:
  void accept();
  void carry(int from, int to);

  const std::string target_;
  const std::chrono::microseconds one_way_;
  std::string address_;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // guards what follows
  std::list<int> descriptors_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace farwarp::bench
