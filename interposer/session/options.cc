#include "interposer/session/options.h"

#include <cstdlib>

#include "protocol/endpoint.h"

namespace farwarp::client {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool isOn(const char* name) {
  const std::string value = variable(name);
  return !value.empty() && value != "0" && value != "no";
}

}  // namespace

Options readOptions() {
  Options options;
  options.server = variable("FARWARP_SERVER");
  options.log_path = variable("FARWARP_LOG");
  options.trace_path = variable("FARWARP_TRACE");
  options.stats = isOn("FARWARP_STATS");
  options.insecure = isOn("FARWARP_INSECURE");
  options.ca_file = variable("FARWARP_CA");
  options.fingerprint = variable("FARWARP_FINGERPRINT");
  options.compression = variable("FARWARP_COMPRESSION");
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
