// Descriptors that a program may send to others, each of which stands for something in gpud.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace farwarp::client {

// What lies in the file.
struct ShareableFile {
  static constexpr char kMagic[16] = "farwarp shared1";
  static constexpr size_t kKeyBytesMax = 64;
  char magic[sizeof(kMagic)];
  uint32_t key_bytes;
  uint32_t kind;
  std::byte key[kKeyBytesMax];
};

enum class ShareableKind : uint32_t { memory = 0, pool = 1 };

// A file with gpud's key, which nobody can change; the program closes it. -1 when the system has
// none, or the key is longer than kKeyBytesMax.
int createShareableFile(ShareableKind kind, std::span<const std::byte> key);

// False when the descriptor is of something else, or of another kind.
bool readShareableFile(int file, ShareableKind kind, ShareableFile& content);

}  // namespace farwarp::client
