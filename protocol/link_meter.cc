#include "protocol/link_meter.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

namespace farwarp::wire {
namespace {

// A shorter time or fewer bytes say more about wake-ups than about the network.
constexpr std::chrono::milliseconds kTimeMin{2};
constexpr uint64_t kBytesMin = 256u << 10;

}  // namespace

void LinkMeter::beforeWrite(int fd) {
  if (!busy_) return;
  int waiting = 0;
  if (ioctl(fd, SIOCOUTQ, &waiting) != 0 || waiting == 0) busy_ = false;
}

void LinkMeter::full(Clock::time_point now) {
  const auto time = now - since_;
  if (busy_ && (time < kTimeMin || bytes_ < kBytesMin)) return;  // goes on
  if (busy_) {
    const double seconds = std::chrono::duration<double>(time).count();
    const auto measured = static_cast<uint64_t>(static_cast<double>(bytes_) / seconds);
    const uint64_t before = bytesPerSecond();
    rate_.store(before == 0 ? measured : (3 * before + measured) / 4, std::memory_order_relaxed);
  }
  busy_ = true;
  since_ = now;
  bytes_ = 0;
}

}  // namespace farwarp::wire
