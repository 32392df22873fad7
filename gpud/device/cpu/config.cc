#include "gpud/device/cpu/config.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>

namespace farwarp::cpu {
namespace {

// The whole text as a number from `least` to `most`.
template <typename T>
bool readNumber(std::string_view text, uint64_t least, uint64_t most, T& value) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return false;
  if (number < least || number > most) return false;
  value = static_cast<T>(number);
  return true;
}

// "512MiB", "4GiB", or a plain number of bytes.
bool readBytes(std::string_view text, uint64_t& bytes) {
  uint64_t unit = 1;
  for (auto [suffix, scale] : {std::pair<std::string_view, uint64_t>{"KiB", 1ull << 10},
                               {"MiB", 1ull << 20},
                               {"GiB", 1ull << 30}}) {
    if (text.ends_with(suffix)) {
      text.remove_suffix(suffix.size());
      unit = scale;
    }
  }
  constexpr uint64_t kMost = 1ull << 40;
  if (!readNumber(text, 1, kMost / unit, bytes)) return false;
  bytes *= unit;
  return bytes >= 1u << 20;
}

// Compute capabilities whose PTX the engine takes.
bool readCapability(std::string_view text, Config& config) {
  const size_t dot = text.find('.');
  if (dot == text.npos) return false;
  uint32_t major = 0, minor = 0;
  if (!readNumber(text.substr(0, dot), 5, 99, major)) return false;
  if (!readNumber(text.substr(dot + 1), 0, 9, minor)) return false;
  config.cc_major = major;
  config.cc_minor = minor;
  return true;
}

bool readSetting(std::string_view key, std::string_view value, Config& config) {
  if (key == "name") {
    config.name = value;
    return !value.empty() && value.size() < 256;
  }
  if (key == "cc") return readCapability(value, config);
  if (key == "sms") return readNumber(value, 1, 1024, config.multiprocessors);
  if (key == "memory") return readBytes(value, config.memory_bytes);
  if (key == "count") return readNumber(value, 0, kDevicesMax, config.devices);
  if (key == "threads") return readNumber(value, 1, 1024, config.threads);
  if (key == "timeout_ms") return readNumber(value, 0, 1ull << 40, config.kernel_timeout_ms);
  if (key == "quiet") return readNumber(value, 0, 1, config.quiet);
  if (key == "memcheck") return readNumber(value, 0, 1, config.memcheck);
  if (key == "order") return readNumber(value, 0, ~0ull, config.order);
  return false;
}

}  // namespace

bool parseConfig(std::string_view text, Config& config, std::string& why) {
  while (!text.empty()) {
    const std::string_view setting = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), setting.size() + 1));
    if (setting.empty()) continue;
    const size_t equals = setting.find('=');
    const std::string_view key = setting.substr(0, equals);
    const std::string_view value = equals == setting.npos ? "" : setting.substr(equals + 1);
    if (!readSetting(key, value, config)) {
      why = "FARWARP_CPU_DEVICE has the setting \"" + std::string(setting) +
            "\", which is not one of name=TEXT, cc=5.0..99.9, sms=1..1024, memory=1MiB..1024GiB, "
            "count=0.." +
            std::to_string(kDevicesMax) +
            ", threads=1..1024, timeout_ms=NUMBER, quiet=0|1, "
            "memcheck=0|1, order=NUMBER.";
      return false;
    }
  }
  return true;
}

uint64_t machineMemoryBytes() {
  uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    uint64_t limit = 0;
    if (file >> limit && limit > 0) bytes = std::min(bytes, limit);
  }
  return bytes;
}

}  // namespace farwarp::cpu
