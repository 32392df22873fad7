// Pages of the program that gpud has a copy of at the same address.
//
// The memory is mapped three times: where the program sees it, protected as the page's state says;
// at an address of ours where it is always accessible, so that a page can be filled before anyone
// sees it; and a twin keeps what a page held when the program began to write to it, so that exactly
// the changed bytes are found later. Nothing here locks; SharedMemory does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace farwarp::client {

inline constexpr uint64_t kPageBytes = 4096;

enum class PageState : uint8_t {
  clean,     // readable; nothing was written since gpud had the same
  dirty,     // writable; the twin tells what changed
  invalid,   // closed: gpud may have newer bytes
  fetching,  // closed: they are on their way
};

class PageRegion {
 public:
  enum class Content {
    zero,      // new memory, zero here and in gpud: dirty, so that the program can fill it unseen
    existing,  // the program's memory, whose content gpud does not have: dirty against zeros
    remote,    // gpud has the content: invalid
  };

  // Puts shared pages at [begin, begin + bytes), in place of what is mapped there; multiples of
  // kPageBytes. Writers of the program to existing pages fault meanwhile; the caller, who holds the
  // lock that their faults wait for, has told where the pages lie before. Null
  // the system refuses; the program's pages are as before then.
  static std::unique_ptr<PageRegion> place(uint64_t begin, uint64_t bytes, Content content);
  // Ends the tracking. What the program had mapped there is for the caller to replace.
  ~PageRegion();
  PageRegion(const PageRegion&) = delete;
  PageRegion& operator=(const PageRegion&) = delete;

  uint64_t begin() const { return begin_; }
  uint64_t end() const { return begin_ + bytes_; }
  // Content::remote: nothing of this process lies here without the sharing.
  bool foreign() const { return foreign_; }
  size_t pages() const { return bytes_ / kPageBytes; }
  size_t pageOf(uint64_t address) const { return (address - begin_) / kPageBytes; }
  uint64_t addressOf(size_t page) const { return begin_ + page * kPageBytes; }

  PageState state(size_t page) const { return static_cast<PageState>(states_[page]); }
  void setState(size_t first, size_t count, PageState state);
  // Pages from `page` on, at most `most`, that are all in `state`.
  size_t runOf(size_t page, PageState state, size_t most) const;
  // The first page of the run in one state that `page` lies in.
  size_t runBegin(size_t page) const;

  // The memory itself, whatever the program may do with it.
  std::byte* bytesAt(size_t page) const { return alias_ + page * kPageBytes; }

  // Clean pages become writable. Async-signal-safe. False when the system refuses.
  [[nodiscard]] bool makeDirty(size_t first, size_t count);
  // Pages become readable and clean. The same.
  [[nodiscard]] bool makeClean(size_t first, size_t count);
  // All clean pages are closed. False when the system refuses.
  [[nodiscard]] bool invalidate();

  // Calls `changed` for each run of bytes of dirty pages that differ from the twin, by rising
  // address, and makes the pages clean. Runs with at most `gap` equal bytes between them are told
  // as one.
  using Changed = std::function<void(uint64_t address, const std::byte* data, size_t bytes)>;
  void takeChanges(size_t gap, const Changed& changed);

  bool mayBeDirty() const { return dirty_begin_ < dirty_end_; }
  bool mayBeClean() const { return may_be_clean_; }

  // In a forked child: from here on the memory is its own, filled from what the parent has when it
  // is first touched.
  void separate();
  [[nodiscard]] bool fillSeparate(size_t page);

 private:
  PageRegion(uint64_t begin, uint64_t bytes) : begin_(begin), bytes_(bytes) {}
  bool mapBacking(int fd);
  void comparePage(size_t page, size_t gap, const Changed& changed) const;
  size_t nextUsed(size_t page) const;

  const uint64_t begin_;
  const uint64_t bytes_;
  int fresh_fd_ = -1;  // of large new memory until it was compared: tells which pages were used
  std::byte* alias_ = nullptr;
  std::byte* twin_ = nullptr;
  uint8_t* states_ = nullptr;
  size_t dirty_begin_ = 0;  // dirty pages lie within [dirty_begin_, dirty_end_)
  size_t dirty_end_ = 0;
  bool may_be_clean_ = false;
  bool foreign_ = false;
};

}  // namespace farwarp::client
