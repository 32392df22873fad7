#include "gpud/worker/content_store.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

namespace farwarp::worker {
namespace {

namespace fs = std::filesystem;

constexpr size_t kExpectedMax = 64;
constexpr size_t kFilesMax = 4096;

// Reads exactly `bytes` bytes, to the end of the file.
bool readWhole(int fd, std::byte* to, uint64_t bytes) {
  struct stat info {};
  if (fstat(fd, &info) != 0 || static_cast<uint64_t>(info.st_size) != bytes) return false;
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got = read(fd, to + done, bytes - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<uint64_t>(got);
  }
  return true;
}

bool writeWhole(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(wrote));
  }
  return true;
}

}  // namespace

std::string ContentStore::pathOf(const wire::ContentDigest& digest) const {
  return folder_ + "/" + wire::hexOf(digest);
}

std::unique_ptr<std::byte[]> ContentStore::find(const wire::ContentDigest& digest,
                                                uint64_t bytes) const {
  if (!enabled() || bytes > bytes_max_) return nullptr;
  const std::string path = pathOf(digest);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return nullptr;
  std::unique_ptr<std::byte[]> content(new (std::nothrow) std::byte[bytes]);
  const bool whole = content != nullptr && readWhole(fd, content.get(), bytes);
  if (whole) futimens(fd, nullptr);  // the oldest go first
  close(fd);
  if (!whole) return nullptr;
  if (wire::digestOf({content.get(), bytes}) == digest) return content;
  spdlog::warn("The file {} does not hold what its name says; it is removed.", path);
  unlink(path.c_str());
  return nullptr;
}

void ContentStore::expect(uint64_t transfer) {
  if (!enabled()) return;
  if (expected_.size() >= kExpectedMax) expected_.pop_front();
  expected_.push_back(transfer);
}

void ContentStore::arrived(uint64_t transfer, std::span<const std::byte> bytes) {
  if (std::erase(expected_, transfer) > 0) keep(bytes);
}

void ContentStore::keep(std::span<const std::byte> bytes) const {
  if (bytes.size() > bytes_max_) return;
  std::error_code failure;
  fs::create_directories(folder_, failure);
  fs::permissions(folder_, fs::perms::owner_all, failure);
  const wire::ContentDigest digest = wire::digestOf(bytes);
  if (digest == wire::ContentDigest{}) return;
  const std::string path = pathOf(digest);
  std::string fresh = folder_ + "/new.XXXXXX";
  const int fd = mkostemp(fresh.data(), O_CLOEXEC);
  const bool written = fd >= 0 && writeWhole(fd, bytes) && rename(fresh.c_str(), path.c_str()) == 0;
  if (!written) {
    spdlog::warn("{} bytes of content cannot be kept in {}: {}.", bytes.size(), folder_,
                 strerror(errno));
  }
  if (fd >= 0) close(fd);
  if (fd >= 0 && !written) unlink(fresh.c_str());
  if (written) trim();
}

// Removes the files that were not used for the longest time. Workers may do so at the same time:
// then some files too many go, which costs their being sent again.
void ContentStore::trim() const {
  struct File {
    fs::file_time_type used;
    uint64_t bytes;
    fs::path path;
  };
  std::vector<File> files;
  std::error_code failure;
  uint64_t total = 0;
  for (fs::directory_iterator at(folder_, failure), end; !failure && at != end;
       at.increment(failure)) {
    std::error_code gone;
    const File file{at->last_write_time(gone), at->file_size(gone), at->path()};
    if (gone) continue;
    total += file.bytes;
    files.push_back(file);
  }
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.used < b.used; });
  size_t left = files.size();
  for (const File& file : files) {
    if (total <= bytes_max_ && left <= kFilesMax) return;
    fs::remove(file.path, failure);
    total -= file.bytes;
    --left;
  }
}

}  // namespace farwarp::worker
