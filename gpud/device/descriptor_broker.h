// Hands file descriptors from one process to others on the machine that know a key.
//
// A key names a socket in the abstract namespace, behind which a thread of the process that has the
// descriptor answers, and a secret; both are random, and only processes of the same user are
// answered. A key can go through any number of hands, which a descriptor cannot.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>

namespace farwarp {

struct DescriptorKey {
  static constexpr size_t kBytes = 32;
  std::array<std::byte, 16> socket{};
  std::array<std::byte, 16> secret{};

  std::array<std::byte, kBytes> bytes() const;
  static std::optional<DescriptorKey> from(std::span<const std::byte> bytes);
};

class DescriptorBroker {
 public:
  static constexpr size_t kOfferedMax = 4096;

  // The broker of this process, never destroyed.
  static DescriptorBroker& get();

  // Keeps `file` until withdraw(). Nothing, and the descriptor stays the caller's, when there are
  // too many or the system refuses a socket or a thread.
  std::optional<DescriptorKey> offer(int file);
  void withdraw(const DescriptorKey& key);

  // A descriptor that the process which made the key offers; the caller closes it. -1 when nobody
  // answers within two seconds or the key is not known. May be this process's own.
  static int fetch(const DescriptorKey& key);

  // True when the key was made here.
  bool isOwn(const DescriptorKey& key);

 private:
  DescriptorBroker() = default;
  bool start();
  void serve(int listener);
  void answer(int connection);

  std::mutex mutex_;  // guards the rest
  bool started_ = false;
  std::array<std::byte, 16> socket_{};
  std::map<std::array<std::byte, 16>, int> offered_;  // by secret
};

}  // namespace farwarp
