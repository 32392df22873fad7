// The figures that --stats prints when a program ends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/client_connection.h"
#include "protocol/hello.h"

namespace farwarp::client {

struct SessionFigures {
  std::string program;
  std::string server;
  uint64_t calls = 0;        // all, also those answered here
  uint64_t async_calls = 0;  // sent and not waited for
  uint64_t sync_calls = 0;   // waited for
  uint64_t launches = 0;
  uint64_t known_bytes = 0;  // of images that were not sent, because gpud had them
  wire::ClientCounters connection;
  bool server_known = false;  // false: gpud could not be asked
  wire::SessionStats server_stats;
};

std::vector<std::string> statsLines(const SessionFigures& figures);

// 1536 gives "1.5 KiB".
std::string bytesText(uint64_t bytes);

}  // namespace farwarp::client
