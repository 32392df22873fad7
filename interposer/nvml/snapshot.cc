#include "interposer/nvml/snapshot.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <span>

#include "protocol/endpoint.h"
#include "protocol/status.h"

namespace farwarp::nvml {
namespace {

constexpr int kTimeoutMs = 10000;

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

// Reads until the peer closes. False on an error, a timeout, or too much.
bool readAll(int fd, std::string& text) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kTimeoutMs);
  while (text.size() < wire::kStatusBytesMax) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    pollfd waiting{fd, POLLIN, 0};
    if (left.count() <= 0 || poll(&waiting, 1, static_cast<int>(left.count())) <= 0) return false;
    char part[4096];
    const ssize_t got = read(fd, part, sizeof part);
    if (got <= 0) return got == 0;
    text.append(part, static_cast<size_t>(got));
  }
  return false;
}

bool ask(int fd, std::string& text) {
  wire::ClientPreamble hello;
  hello.kind = wire::kStatusConnection;
  const wire::PreambleBytes question = wire::encodePreamble(hello);
  if (send(fd, question.data(), question.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(question.size())) {
    return false;
  }
  if (!readAll(fd, text) || text.size() < wire::kPreambleBytes) return false;
  wire::ServerPreamble answer;
  std::string reason;
  const auto bytes = std::as_bytes(std::span(text)).first(wire::kPreambleBytes);
  if (!wire::parseServerPreamble(bytes, answer, reason)) return false;
  text.erase(0, wire::kPreambleBytes);
  return answer.status == wire::PreambleStatus::ok;
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

bool fetchSnapshot(const std::string& server, Snapshot& out) {
  wire::Endpoint endpoint;
  std::string error;
  if (!wire::parseEndpoint(server, endpoint, error)) return false;
  const int fd = wire::connectTo(endpoint, kTimeoutMs, error);
  if (fd < 0) return false;
  std::string text;
  const bool answered = ask(fd, text);
  close(fd);
  return answered && parseSnapshot(text, out);
}

}  // namespace farwarp::nvml
