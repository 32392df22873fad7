#include "interposer/session/options.h"

#include <cstdlib>

#include "protocol/endpoint.h"

namespace farwarp::client {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace

Options readOptions() {
  Options options;
  options.server = variable("FARWARP_SERVER");
  options.log_path = variable("FARWARP_LOG");
  const std::string stats = variable("FARWARP_STATS");
  options.stats = !stats.empty() && stats != "0" && stats != "no";
  return options;
}

std::string whyNotServer(const std::string& server) {
  if (!server.starts_with("unix:") && server.find(',') != std::string::npos) {
    return "\"" + server + "\" is a list; this version takes one server.";
  }
  wire::Endpoint endpoint;
  std::string why;
  return wire::parseEndpoint(server, endpoint, why) ? std::string() : why;
}

}  // namespace farwarp::client
