#include "driver/visible_devices.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <numeric>
#include <string>
#include <string_view>
#include <tuple>

namespace farwarp {
namespace {

constexpr int kNone = -1;

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// As nvidia-smi prints it, without "GPU-" or "MIG-".
std::string uuidText(const CUuuid& uuid) {
  std::string text;
  for (size_t i = 0; i < sizeof(uuid.bytes); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", static_cast<unsigned char>(uuid.bytes[i]));
    text += digits;
  }
  return text;
}

// The one device whose UUID begins with `prefix`.
int findUuid(std::span<const DeviceIdentity> devices, std::string_view prefix) {
  int found = kNone;
  for (size_t i = 0; i < devices.size(); ++i) {
    if (!uuidText(devices[i].uuid).starts_with(prefix)) continue;
    if (found != kNone) return kNone;
    found = static_cast<int>(i);
  }
  return found;
}

// The device at the ordinal that `entry` begins with.
int findOrdinal(std::span<const int> by_ordinal, std::string_view entry) {
  if (entry.starts_with('+')) entry.remove_prefix(1);
  size_t ordinal = 0;
  const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), ordinal);
  return error == std::errc{} && ordinal < by_ordinal.size() ? by_ordinal[ordinal] : kNone;
}

std::vector<int> inOrder(std::span<const DeviceIdentity> devices, const char* order) {
  std::vector<int> ordinals(devices.size());
  std::iota(ordinals.begin(), ordinals.end(), 0);
  if (order == nullptr || std::string_view(order) != "PCI_BUS_ID") return ordinals;
  std::stable_sort(ordinals.begin(), ordinals.end(), [&](int a, int b) {
    const auto address = [&](int i) {
      const DeviceIdentity& device = devices[static_cast<size_t>(i)];
      return std::tuple(device.pci_domain, device.pci_bus, device.pci_device);
    };
    return address(a) < address(b);
  });
  return ordinals;
}

}  // namespace

std::vector<int> visibleDevices(std::span<const DeviceIdentity> devices, const char* visible,
                                const char* order) {
  const std::vector<int> by_ordinal = inOrder(devices, order);
  if (visible == nullptr) return by_ordinal;
  std::string_view rest = trim(visible);
  const bool instances = rest.starts_with("MIG-");
  const std::string_view prefix = instances ? "MIG-" : rest.starts_with("GPU-") ? "GPU-" : "";
  std::vector<int> seen;
  for (bool last = false; !last;) {
    const size_t comma = rest.find(',');
    last = comma == rest.npos;
    std::string_view entry = trim(rest.substr(0, comma));
    if (!last) rest.remove_prefix(comma + 1);
    if (!entry.starts_with(prefix)) break;
    entry.remove_prefix(prefix.size());
    const int device = prefix.empty() ? findOrdinal(by_ordinal, entry) : findUuid(devices, entry);
    if (device == kNone) break;
    if (std::find(seen.begin(), seen.end(), device) != seen.end()) return {};
    seen.push_back(device);
    if (instances) break;
  }
  return seen;
}

}  // namespace farwarp
