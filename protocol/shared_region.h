// Memory that a client and its worker on the same machine both see, so that bulk data is copied in
// and out and never crosses the socket.
//
// The client makes it, sealed against any change of its size, and hands its descriptor over the
// bulk connection. Only data lies in it: every place and length is said in messages, which are
// checked as such, so nothing here is ever trusted. The client may change bytes while the worker
// reads them; it changes its own data only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace farwarp::wire {

// The first part is the client's to fill, slot by slot; the second the worker's.
inline constexpr size_t kUploadSlotBytes = 256u << 10;
inline constexpr size_t kUploadSlots = 16;
inline constexpr size_t kDownloadSlotBytes = 1u << 20;
inline constexpr size_t kDownloadSlots = 8;
inline constexpr size_t kUploadPartBytes = kUploadSlots * kUploadSlotBytes;
inline constexpr size_t kSharedRegionBytes = kUploadPartBytes + kDownloadSlots * kDownloadSlotBytes;

class SharedRegion {
 public:
  // Null when the system refuses.
  static std::optional<SharedRegion> create();
  // Maps what a peer sent and closes `fd`. Null with `why`, a sentence, when it is not
  // sealed memory of kSharedRegionBytes.
  static std::optional<SharedRegion> adopt(int fd, std::string& why);

  SharedRegion(SharedRegion&& other) noexcept;
  SharedRegion& operator=(SharedRegion&&) = delete;
  ~SharedRegion();

  int fd() const { return fd_; }  // -1 once it is closed
  // The memory stays without it.
  void closeDescriptor();
  std::span<std::byte> uploads() const { return {memory_, kUploadPartBytes}; }
  std::span<std::byte> downloads() const {
    return {memory_ + kUploadPartBytes, kSharedRegionBytes - kUploadPartBytes};
  }

 private:
  SharedRegion(int fd, std::byte* memory) : fd_(fd), memory_(memory) {}
  static std::optional<SharedRegion> map(int fd);

  int fd_;
  std::byte* memory_;
};

}  // namespace farwarp::wire
