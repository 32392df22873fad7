#include "interposer/session/transfers.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "interposer/trace/tracer.h"

namespace farwarp::client {

bool Transfers::add(uint64_t number, const Pending& pending) {
  std::lock_guard lock(mutex_);
  if (pending_.size() >= wire::kPendingTransfersMax) return false;
  pending_.emplace(number, pending);
  count_.store(pending_.size(), std::memory_order_release);
  return true;
}

void Transfers::forget(uint64_t number) {
  finished(number);
}

void Transfers::finished(uint64_t number) {
  {
    std::lock_guard lock(mutex_);
    pending_.erase(number);
    count_.store(pending_.size(), std::memory_order_release);
  }
  placed_.notify_all();
}

void Transfers::place(uint64_t number, const Pending& pending, wire::ClientConnection& connection) {
  // A failure here means that the connection died, which every later call reports, or that gpud
  // refused a number it named itself; the destination's content is undefined then, as after a
  // failed copy.
  auto* destination = static_cast<std::byte*>(pending.destination);
  if (pending.box.empty()) {
    static_cast<void>(fetchBytes(connection, number, {destination, pending.bytes}));
  } else {
    const Rows rows{reinterpret_cast<uint64_t>(destination), pending.pitch, pending.slice_rows};
    static_cast<void>(fetchRows(connection, number, rows, pending.box));
  }
  finished(number);
}

void Transfers::complete(std::span<const std::byte> ids, wire::ClientConnection& connection) {
  for (size_t at = 0; at + sizeof(uint64_t) <= ids.size(); at += sizeof(uint64_t)) {
    uint64_t number = 0;
    std::memcpy(&number, ids.data() + at, sizeof(number));
    Pending pending;
    {
      std::lock_guard lock(mutex_);
      auto found = pending_.find(number);
      if (found == pending_.end() || found->second.claimed) continue;
      found->second.claimed = true;
      pending = found->second;
    }
    place(number, pending, connection);
  }
}

void Transfers::waitUntilPlaced() {
  if (empty()) return;
  std::unique_lock lock(mutex_);
  // Those that are being fetched now; others may come meanwhile and are not waited for.
  std::vector<uint64_t> fetching;
  for (const auto& [number, pending] : pending_) {
    if (pending.claimed) fetching.push_back(number);
  }
  placed_.wait(lock, [&] {
    return std::none_of(fetching.begin(), fetching.end(),
                        [this](uint64_t number) { return pending_.contains(number); });
  });
}

std::optional<std::pair<uint64_t, Transfers::Pending>> Transfers::findOverlap(const void* start,
                                                                              size_t bytes) const {
  if (empty()) return std::nullopt;
  const auto from = reinterpret_cast<uintptr_t>(start);
  std::lock_guard lock(mutex_);
  for (const auto& entry : pending_) {
    const auto at = reinterpret_cast<uintptr_t>(entry.second.destination);
    if (at < from + bytes && from < at + entry.second.bytes) return entry;
  }
  return std::nullopt;
}

std::optional<std::pair<uint64_t, Transfers::Pending>> Transfers::findAny() const {
  std::lock_guard lock(mutex_);
  if (pending_.empty()) return std::nullopt;
  return *pending_.begin();
}

wire::Trouble fetchBytes(wire::ClientConnection& connection, uint64_t number,
                         std::span<std::byte> destination) {
  MessageSpan span(trace::MessageKind::get);
  span.received(destination.size());
  return connection.get(number, destination);
}

wire::Trouble fetchRows(wire::ClientConnection& connection, uint64_t number, const Rows& to,
                        const CopyBox& box) {
  if (isLinear(to, box)) {
    return fetchBytes(connection, number, {reinterpret_cast<std::byte*>(to.address), box.bytes()});
  }
  // Not through a vector, which would clear the memory first.
  const std::unique_ptr<std::byte[]> packed(new std::byte[box.bytes()]);
  const wire::Trouble trouble = fetchBytes(connection, number, {packed.get(), box.bytes()});
  if (trouble == wire::Trouble::none) {
    copyRows(to, {reinterpret_cast<uint64_t>(packed.get()), box.width, box.height}, box);
  }
  return trouble;
}

}  // namespace farwarp::client
