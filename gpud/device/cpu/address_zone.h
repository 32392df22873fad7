// A range of addresses, parts of which are taken and given back.
#pragma once

#include <cstdint>
#include <map>

namespace farwarp::cpu {

// Not safe for several threads at once.
class AddressZone {
 public:
  AddressZone(uint64_t begin, uint64_t end);

  uint64_t begin() const { return begin_; }
  uint64_t end() const { return end_; }
  bool contains(uint64_t address) const { return address >= begin_ && address < end_; }

  // Takes `bytes` at a multiple of `align`, a power of two; 0 when there is no room. Goes round the
  // zone, so that what was given back stays unused for long and a use after the end is noticed.
  uint64_t take(uint64_t bytes, uint64_t align);
  // Takes exactly [at, at + bytes). False when not all of it is free.
  bool takeAt(uint64_t at, uint64_t bytes);
  void giveBack(uint64_t at, uint64_t bytes);

 private:
  using Gaps = std::map<uint64_t, uint64_t>;
  void cut(Gaps::iterator gap, uint64_t begin, uint64_t end);

  uint64_t begin_;
  uint64_t end_;
  Gaps gaps_;        // free parts: begin to end
  uint64_t cursor_;  // where the search for a gap goes on
};

}  // namespace farwarp::cpu
