// What the client library tells people: one line on stderr when the session cannot go on, and a log
// of events when FARWARP_LOG asks for one.
#pragma once

#include <string>
#include <string_view>

namespace farwarp::client {

class EventLog {
 public:
  // `path` as in Options::log_path. A file that cannot be opened is named on stderr.
  void open(const std::string& path);
  bool enabled() const { return fd_ >= 0; }

  // One line with time and process. Does nothing when the log is not enabled.
  void write(std::string_view line);

 private:
  int fd_ = -1;  // never closed: late calls may still write
};

// One line on stderr, in one write.
void printLine(std::string_view line);

}  // namespace farwarp::client
