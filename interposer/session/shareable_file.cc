#include "interposer/session/shareable_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace farwarp::client {

int createShareableFile(ShareableKind kind, std::span<const std::byte> key) {
  if (key.size() > ShareableFile::kKeyBytesMax) return -1;
  ShareableFile content{};
  std::memcpy(content.magic, ShareableFile::kMagic, sizeof(content.magic));
  content.key_bytes = static_cast<uint32_t>(key.size());
  content.kind = static_cast<uint32_t>(kind);
  std::memcpy(content.key, key.data(), key.size());
  const int file = memfd_create("farwarp-shareable", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return -1;
  if (pwrite(file, &content, sizeof(content), 0) == static_cast<ssize_t>(sizeof(content)) &&
      fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
    return file;
  }
  close(file);
  return -1;
}

bool readShareableFile(int file, ShareableKind kind, ShareableFile& content) {
  return pread(file, &content, sizeof(content), 0) == static_cast<ssize_t>(sizeof(content)) &&
         std::memcmp(content.magic, ShareableFile::kMagic, sizeof(content.magic)) == 0 &&
         content.kind == static_cast<uint32_t>(kind) &&
         content.key_bytes <= ShareableFile::kKeyBytesMax;
}

}  // namespace farwarp::client
