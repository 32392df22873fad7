// A gpud for the time of a measurement, on a driver that does nothing or on the CPU device.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace farwarp::bench {

class Gpud {
 public:
  enum class Device { empty, cpu };
  // Exits the program with a sentence when gpud does not start.
  // `transport`: "tcp", "tls" or "unix".
  Gpud(const std::string& transport, Device device);
  ~Gpud();
  Gpud(const Gpud&) = delete;
  Gpud& operator=(const Gpud&) = delete;

  const std::string& endpoint() const { return endpoint_; }
  const std::string& folder() const { return folder_; }  // for other sockets; goes with the object
  // With "tls", what gpud init made and printed; else empty.
  std::string tlsFolder() const { return folder_ + "/tls"; }
  const std::string& fingerprint() const { return fingerprint_; }
  // Tells a client in this process, or a child, how to speak to it.
  void setClientEnvironment() const;
  pid_t pid() const { return pid_; }
  std::vector<pid_t> workers() const;

 private:
  std::string folder_;
  std::string endpoint_, fingerprint_;
  pid_t pid_ = -1;
};

// The folder that the programs of a build lie in.
std::string binaryFolder();

}  // namespace farwarp::bench
