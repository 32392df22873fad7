// A gpud process for tests, on the mock driver in the place of the CPU device.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

#include "protocol/client_connection.h"
#include "protocol/preamble.h"

namespace farwarp {

class GpudProcess {
 public:
  // Starts gpud with `extra` options beside device, listeners (TCP with port 0, and a Unix socket)
  // and session log, and returns when it is ready. TCP is encrypted; no worker is kept warm unless
  // `extra` says so. Fails the test when it does not become ready.
  explicit GpudProcess(const std::vector<std::string>& extra = {});
  // Ends gpud by SIGTERM if it still runs, and removes the folder.
  ~GpudProcess();
  GpudProcess(const GpudProcess&) = delete;
  GpudProcess& operator=(const GpudProcess&) = delete;

  const std::string& tcp() const { return tcp_; }
  const std::string& unixSocket() const { return unix_; }
  pid_t pid() const { return pid_; }
  const std::string& folder() const { return folder_; }

  void signal(int number);
  // Waits until it ends; the exit status, or 128 + signal.
  int wait();
  std::string log() const;  // what it wrote to stderr so far
  // Waits until the log holds `text`.
  bool logHas(const std::string& text) const;
  // The JSON lines of sessions that ended; waits until there are `count`.
  std::vector<nlohmann::json> sessions(size_t count) const;
  // The processes that it started and that still live; waits until there are `count`.
  std::vector<pid_t> workers(size_t count) const;

 private:
  std::string folder_;
  std::string tcp_;
  std::string unix_;
  pid_t pid_ = -1;
  int status_ = -1;
};

// Options of a client that trusts the certificate of these gpuds.
wire::ClientOptions clientOptions();

// Runs gpud to its end: its exit status and what it said.
int runGpud(const std::vector<std::string>& arguments, std::string& said);

// A plain socket to one of gpud's endpoints. -1 when it cannot connect.
int connectTo(const std::string& endpoint);
// Reads until the peer closes, or `bytes` are there.
std::vector<std::byte> readFrom(int fd, size_t bytes);
void sendTo(int fd, const void* data, size_t bytes);

// A client session with a program name.
std::unique_ptr<wire::ClientConnection> openSession(
    const std::string& endpoint, wire::ConnectionError& error,
    const std::string& program = "test-program",
    const wire::ClientOptions& options = clientOptions());

}  // namespace farwarp
