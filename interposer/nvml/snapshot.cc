#include "interposer/nvml/snapshot.h"

#include <errno.h>
#include <poll.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <memory>

#include "protocol/open_channel.h"
#include "protocol/status.h"

namespace farwarp::nvml {
namespace {

constexpr std::chrono::milliseconds kTimeLimit{10000};

// Cuts `text` at the first `end` and returns what was before it.
std::string_view cut(std::string_view& text, char end) {
  const size_t length = text.find(end);
  const std::string_view part = text.substr(0, length);
  text.remove_prefix(length == text.npos ? text.size() : length + 1);
  return part;
}

// The next word of a line as a number; 0 when it is none.
template <typename T>
T number(std::string_view& line, char end = ' ') {
  const std::string_view word = cut(line, end);
  T value = 0;
  std::from_chars(word.data(), word.data() + word.size(), value);
  return value;
}

bool readDevice(std::string_view line, Snapshot& out) {
  DeviceStatus device;
  if (number<size_t>(line) != out.devices.size() || out.devices.size() >= kDevicesMax) return false;
  device.uuid = cut(line, ' ');
  device.bytes = number<uint64_t>(line);
  const std::string pci(cut(line, ' '));
  if (std::sscanf(pci.c_str(), "%x:%x:%x", &device.pci_domain, &device.pci_bus,
                  &device.pci_device) != 3) {
    device.pci_domain = device.pci_bus = device.pci_device = 0;
  }
  device.major = number<int>(line);
  device.minor = number<int>(line);
  device.name = line;
  out.devices.push_back(std::move(device));
  return out.devices.back().uuid.size() == 32;
}

bool readSession(std::string_view line, Snapshot& out) {
  if (out.sessions.size() >= kSessionsMax) return false;
  SessionStatus session;
  cut(line, ' ');  // gpud's number of the session
  session.pid = number<uint32_t>(line);
  session.here = number<int>(line) != 0;
  out.busy_ns += number<uint64_t>(line);
  std::string_view bytes = cut(line, ' ');
  for (uint64_t& held : session.bytes) held = number<uint64_t>(bytes, ',');
  session.program = line;
  out.sessions.push_back(std::move(session));
  return true;
}

// Reads until the peer closes. False with a reason on an error, a timeout, or too much.
bool readAll(wire::ByteChannel& channel, std::chrono::steady_clock::time_point deadline,
             std::string& text, std::string& reason) {
  while (text.size() < wire::kStatusBytesMax) {
    char part[4096];
    const ssize_t got = channel.read(part, sizeof part);
    if (got == 0) return true;
    if (got > 0) {
      text.append(part, static_cast<size_t>(got));
      continue;
    }
    if (got != -EAGAIN) {
      reason = channel.explain(static_cast<int>(-got));
      return false;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd waiting{channel.fd(), POLLIN, 0};
    if (left.count() <= 0 || poll(&waiting, 1, static_cast<int>(left.count())) == 0) {
      reason = "it took too long";
      return false;
    }
  }
  reason = "it has no end";
  return false;
}

}  // namespace

bool parseSnapshot(std::string_view text, Snapshot& out) {
  out = {};
  if (cut(text, '\n') != wire::kStatusFirstLine) return false;
  while (!text.empty()) {
    std::string_view line = cut(text, '\n');
    const std::string_view word = cut(line, ' ');
    if (word == "end") return true;
    if (word == "version") out.version = line;
    if (word == "driver") out.driver = number<int>(line);
    if (word == "clock") out.clock_ns = number<uint64_t>(line);
    if (word == "busy") out.busy_ns += number<uint64_t>(line);
    if (word == "device" && !readDevice(line, out)) return false;
    if (word == "session" && !readSession(line, out)) return false;
  }
  return false;
}

bool fetchSnapshot(const client::Options& options, Snapshot& out, std::string& error) {
  wire::Endpoint endpoint;
  if (!wire::parseEndpoint(options.server, endpoint, error)) return false;
  std::unique_ptr<wire::TlsClient> tls;
  if (endpoint.kind == wire::Endpoint::Kind::tcp && !options.insecure) {
    tls = wire::TlsClient::make({options.ca_file, options.fingerprint}, error);
    if (tls == nullptr) return false;
  }
  wire::ClientPreamble preamble;
  preamble.kind = wire::kStatusConnection;
  const wire::TimeLimit limit(kTimeLimit);
  wire::ConnectionError failure;
  const auto channel =
      wire::openChannel(endpoint, options.server, preamble, tls.get(), limit, failure);
  if (channel == nullptr) {
    error = failure.sentence;
    return false;
  }
  std::string text, reason = "it is not whole";
  if (readAll(*channel, limit.deadline, text, reason) && parseSnapshot(text, out)) return true;
  error = "The status of the gpud at " + options.server + " cannot be read: " + reason + ".";
  return false;
}

}  // namespace farwarp::nvml
