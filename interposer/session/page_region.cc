#include "interposer/session/page_region.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace farwarp::client {
namespace {

// Twins of more than this many pages are given back to the system once they were compared.
constexpr size_t kTwinPagesKept = 256;
// New memory of more than this many pages is not looked at where it was never touched.
constexpr size_t kComparedPagesMax = 256;

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

std::byte* mapAnonymous(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

}  // namespace

bool PageRegion::mapBacking(int fd) {
  if (ftruncate(fd, static_cast<off_t>(bytes_)) != 0) return false;
  void* alias = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (alias == MAP_FAILED) return false;
  alias_ = static_cast<std::byte*>(alias);
  twin_ = mapAnonymous(bytes_);
  states_ = reinterpret_cast<uint8_t*>(mapAnonymous(pages()));
  return twin_ != nullptr && states_ != nullptr;
}

std::unique_ptr<PageRegion> PageRegion::place(uint64_t begin, uint64_t bytes, Content content) {
  std::unique_ptr<PageRegion> region(new PageRegion(begin, bytes));
  const int fd = memfd_create("farwarp-shared", MFD_CLOEXEC);
  if (fd < 0) return nullptr;
  bool placed = region->mapBacking(fd);
  if (placed && content == Content::existing) {
    // From here on the program's writers wait; the caller serves their faults when this is done.
    placed = mprotect(pointer(begin), bytes, PROT_READ) == 0;
    if (placed) std::memcpy(region->alias_, pointer(begin), bytes);
  }
  const int protection = content == Content::remote ? PROT_NONE : PROT_READ | PROT_WRITE;
  placed = placed &&
           mmap(pointer(begin), bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
  const int error = errno;
  if (placed && content == Content::zero && region->pages() > kComparedPagesMax) {
    region->fresh_fd_ = fd;
  } else {
    close(fd);
  }
  if (!placed) {
    if (content == Content::existing) mprotect(pointer(begin), bytes, PROT_READ | PROT_WRITE);
    errno = error;
    return nullptr;
  }
  region->foreign_ = content == Content::remote;
  region->setState(0, region->pages(),
                   content == Content::remote ? PageState::invalid : PageState::dirty);
  return region;
}

PageRegion::~PageRegion() {
  if (fresh_fd_ >= 0) close(fresh_fd_);
  if (alias_ != nullptr) munmap(alias_, bytes_);
  if (twin_ != nullptr) munmap(twin_, bytes_);
  if (states_ != nullptr) munmap(states_, pages());
}

void PageRegion::setState(size_t first, size_t count, PageState state) {
  std::memset(states_ + first, static_cast<int>(state), count);
  if (state == PageState::clean) may_be_clean_ = true;
  if (state != PageState::dirty) return;
  if (!mayBeDirty()) {
    dirty_begin_ = first;
    dirty_end_ = first + count;
  } else {
    dirty_begin_ = std::min(dirty_begin_, first);
    dirty_end_ = std::max(dirty_end_, first + count);
  }
}

size_t PageRegion::runOf(size_t page, PageState wanted, size_t most) const {
  const size_t end = std::min(pages(), page + most);
  size_t at = page;
  while (at < end && state(at) == wanted) ++at;
  return at - page;
}

size_t PageRegion::runBegin(size_t page) const {
  const PageState wanted = state(page);
  while (page > 0 && state(page - 1) == wanted) --page;
  return page;
}

bool PageRegion::makeDirty(size_t first, size_t count) {
  const size_t bytes = count * kPageBytes;
  std::memcpy(twin_ + first * kPageBytes, bytesAt(first), bytes);
  if (mprotect(pointer(addressOf(first)), bytes, PROT_READ | PROT_WRITE) != 0) return false;
  setState(first, count, PageState::dirty);
  return true;
}

bool PageRegion::makeClean(size_t first, size_t count) {
  if (mprotect(pointer(addressOf(first)), count * kPageBytes, PROT_READ) != 0) return false;
  setState(first, count, PageState::clean);
  return true;
}

bool PageRegion::invalidate() {
  if (mprotect(pointer(begin_), bytes_, PROT_NONE) != 0) return false;
  constexpr auto kClean = static_cast<uint8_t>(PageState::clean);
  std::replace(states_, states_ + pages(), kClean, static_cast<uint8_t>(PageState::invalid));
  may_be_clean_ = false;
  return true;
}

void PageRegion::takeChanges(size_t gap, const Changed& changed) {
  const size_t begin = dirty_begin_, end = dirty_end_;
  dirty_begin_ = dirty_end_ = 0;
  for (size_t page = begin; page < end;) {
    const size_t count = runOf(page, PageState::dirty, end - page);
    if (count == 0) {
      ++page;
      continue;
    }
    // First nobody writes any more, then it is compared. A run that stays writable because the
    // system refuses stays dirty, and is compared again later.
    const bool closed = mprotect(pointer(addressOf(page)), count * kPageBytes, PROT_READ) == 0;
    for (size_t at = nextUsed(page); at < page + count; at = nextUsed(at + 1)) {
      comparePage(at, gap, changed);
    }
    setState(page, count, closed ? PageState::clean : PageState::dirty);
    if (!closed) {
      std::memcpy(twin_ + page * kPageBytes, bytesAt(page), count * kPageBytes);
    } else if (count > kTwinPagesKept) {
      madvise(twin_ + page * kPageBytes, count * kPageBytes, MADV_DONTNEED);
    }
    page += count;
  }
  if (fresh_fd_ >= 0) close(fresh_fd_);
  fresh_fd_ = -1;
}

size_t PageRegion::nextUsed(size_t page) const {
  if (fresh_fd_ < 0 || page >= pages()) return page;
  const off_t data = lseek(fresh_fd_, static_cast<off_t>(page * kPageBytes), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? pages() : page;
  return static_cast<size_t>(data) / kPageBytes;
}

void PageRegion::comparePage(size_t page, size_t gap, const Changed& changed) const {
  constexpr size_t kBlock = 64;
  const std::byte* now = bytesAt(page);
  const std::byte* before = twin_ + page * kPageBytes;
  size_t run_begin = 0, run_end = 0;  // changed bytes that were not told yet
  const auto tell = [&] {
    if (run_begin < run_end) {
      changed(addressOf(page) + run_begin, now + run_begin, run_end - run_begin);
    }
  };
  for (size_t block = 0; block < kPageBytes; block += kBlock) {
    if (std::memcmp(now + block, before + block, kBlock) == 0) continue;
    for (size_t at = block; at < block + kBlock; ++at) {
      if (now[at] == before[at]) continue;
      if (run_begin == run_end || at - run_end > gap) {
        tell();
        run_begin = at;
      }
      run_end = at + 1;
    }
  }
  tell();
}

void PageRegion::separate() {
  mmap(pointer(begin_), bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
       -1, 0);
  setState(0, pages(), PageState::invalid);
}

bool PageRegion::fillSeparate(size_t page) {
  std::byte* filled = mapAnonymous(kPageBytes);
  if (filled == nullptr) return false;
  std::memcpy(filled, bytesAt(page), kPageBytes);
  // Moves the page there in one step: another thread sees all of it or faults too.
  if (mremap(filled, kPageBytes, kPageBytes, MREMAP_MAYMOVE | MREMAP_FIXED,
             pointer(addressOf(page))) == MAP_FAILED) {
    return false;
  }
  setState(page, 1, PageState::dirty);
  return true;
}

}  // namespace farwarp::client
