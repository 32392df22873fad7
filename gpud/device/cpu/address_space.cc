#include "gpud/device/cpu/address_space.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "gpud/device/cpu/memory_file.h"

namespace farwarp::cpu {
namespace {

constexpr uint64_t kHugeBytes = uint64_t{2} << 20;
// The places of AddressSpace::zones_ with several devices.
constexpr size_t kCommonZone = 0, kMappingZone = 1, kFirstDeviceZone = 2;

uint64_t roundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

uint32_t bit(int device) {
  return 1u << device;
}

bool everybodys(MemoryKind kind) {
  return kind == MemoryKind::host || kind == MemoryKind::registered || kind == MemoryKind::managed;
}

// Memory of a file, at addresses that were reserved for it.
bool isOfFile(MemoryKind kind) {
  return kind == MemoryKind::mapped || kind == MemoryKind::imported;
}

// Closes the pages, afresh, which gives their memory back to the system.
void closePages(uint64_t begin, uint64_t bytes) {
  mmap(pointer(begin), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
       -1, 0);
}

}  // namespace

MemoryView::~MemoryView() {
  space_.forget(*this);
}

AddressSpace::AddressSpace() {
  constexpr uint64_t kMost = uint64_t{1} << 40, kLeast = uint64_t{1} << 28;
  // Away from where programs have their memory: gpud must be able to map a client's there. Only a
  // wish, which a sanitizer may not grant.
  constexpr uint64_t kWanted = 0x3000'0000'0000;
  for (uint64_t bytes = kMost; bytes >= kLeast && end_ == 0; bytes /= 2) {
    void* at = mmap(pointer(kWanted), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (at == MAP_FAILED) continue;
    begin_ = reinterpret_cast<uint64_t>(at);
    end_ = begin_ + bytes;
  }
  divide(1);
}

void AddressSpace::divide(unsigned devices) {
  zones_.clear();
  const uint64_t parts = devices <= 1 ? 1 : kFirstDeviceZone + 2 * devices;
  const uint64_t part = (end_ - begin_) / parts / kHugeBytes * kHugeBytes;
  for (uint64_t i = 0; i < parts; ++i) {
    // The first page stays closed: a pointer one below the first allocation is never valid.
    zones_.emplace_back(begin_ + i * part + kPageBytes, begin_ + (i + 1) * part);
  }
}

size_t AddressSpace::zoneFor(MemoryKind kind, int device) const {
  if (single()) return 0;
  if (everybodys(kind)) return kCommonZone;
  if (isOfFile(kind)) return kMappingZone;
  return kFirstDeviceZone + 2 * static_cast<size_t>(device) + (kind == MemoryKind::pooled);
}

AddressZone& AddressSpace::zoneAt(uint64_t address) {
  return *std::find_if(zones_.begin(), zones_.end(),
                       [&](const AddressZone& zone) { return zone.contains(address); });
}

std::unique_ptr<MemoryView> AddressSpace::view(int device) {
  std::lock_guard lock(mutex_);
  uint64_t begin = begin_, end = end_;
  if (exact_) {
    begin = 64, end = 128;  // where no memory can be: everything is looked up
  } else if (!single()) {
    begin = ownZone(device).begin();
    end = zones_[zoneFor(MemoryKind::pooled, device)].end();
  }
  std::unique_ptr<MemoryView> view(new MemoryView(*this, device, begin, end));
  if (!exact_ && !single()) {
    view->map_.add(zones_[kCommonZone].begin(), zones_[kCommonZone].end());
  }
  for (const auto& [at, placed] : placed_) {
    const Allocation& allocation = placed.allocation;
    if (isListed(*view, allocation)) view->map_.add(allocation.begin, allocation.end());
  }
  views_.push_back(view.get());
  return view;
}

void AddressSpace::forget(MemoryView& view) {
  std::lock_guard lock(mutex_);
  std::erase(views_, &view);
}

void AddressSpace::setPeer(MemoryView& view, int device, bool seen) {
  std::lock_guard lock(mutex_);
  if (((view.peers_ & bit(device)) != 0) == seen) return;
  view.peers_ ^= bit(device);
  if (single()) return;
  const AddressZone& zone = ownZone(device);
  if (!exact_) {
    seen ? view.map_.add(zone.begin(), zone.end()) : void(view.map_.remove(zone.begin()));
    return;
  }
  for (auto at = placed_.lower_bound(zone.begin()); at != placed_.end() && at->first < zone.end();
       ++at) {
    const Allocation& allocation = at->second.allocation;
    if (allocation.bytes == 0) continue;
    seen ? view.map_.add(allocation.begin, allocation.end())
         : void(view.map_.remove(allocation.begin));
  }
}

bool AddressSpace::mayTouch(const MemoryView& view, const Allocation& allocation) const {
  if (everybodys(allocation.kind)) return true;
  const bool own = allocation.device == view.device_;
  const bool granted = (allocation.access & bit(view.device_)) != 0;
  if (isOfFile(allocation.kind)) return granted;
  if (allocation.kind == MemoryKind::pooled) return own || granted;
  return own || (view.peers_ & bit(allocation.device)) != 0;
}

// Whether the view's map names the allocation itself. Otherwise a larger range does that has it, or
// none.
bool AddressSpace::isListed(const MemoryView& view, const Allocation& allocation) const {
  if (allocation.bytes == 0 || !mayTouch(view, allocation)) return false;
  if (exact_ || !reserved(allocation.begin)) return true;
  if (single()) return false;
  return isOfFile(allocation.kind) ||
         (allocation.kind == MemoryKind::pooled && allocation.device != view.device_);
}

void AddressSpace::show(const Allocation& allocation) {
  for (MemoryView* view : views_) {
    if (isListed(*view, allocation)) view->map_.add(allocation.begin, allocation.end());
  }
}

void AddressSpace::hide(const Allocation& allocation) {
  for (MemoryView* view : views_) {
    if (isListed(*view, allocation)) view->map_.remove(allocation.begin);
  }
}

bool AddressSpace::chargeLocked(int device, uint64_t bytes, uint64_t bytes_max) {
  const auto index = static_cast<size_t>(device);
  if (used_bytes_.size() <= index) used_bytes_.resize(index + 1);
  if (bytes > bytes_max || used_bytes_[index] > bytes_max - bytes) return false;
  used_bytes_[index] += bytes;
  return true;
}

bool AddressSpace::charge(int device, uint64_t bytes, uint64_t bytes_max) {
  std::lock_guard lock(mutex_);
  return chargeLocked(device, bytes, bytes_max);
}

void AddressSpace::discharge(int device, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  used_bytes_[static_cast<size_t>(device)] -= bytes;
}

uint64_t AddressSpace::allocate(const Allocation& wanted, uint64_t bytes_max) {
  const uint64_t mapped = roundUp(wanted.bytes, kPageBytes);
  if (wanted.bytes == 0 || mapped < wanted.bytes || mapped > uint64_t{1} << 40) return 0;
  const bool huge = mapped >= 2 * kHugeBytes;

  std::lock_guard lock(mutex_);
  if (placed_.size() >= kAllocationsMax) return 0;
  const bool counted = !everybodys(wanted.kind);
  if (counted && !chargeLocked(wanted.device, mapped, bytes_max)) return 0;
  AddressZone& zone = zones_[zoneFor(wanted.kind, wanted.device)];
  const uint64_t taken = mapped + kPageBytes;  // with the closed page behind it
  const uint64_t begin = zone.take(taken, huge ? kHugeBytes : kPageBytes);
  if (begin == 0 ||
      mmap(pointer(begin), mapped, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
    if (begin != 0) zone.giveBack(begin, taken);
    if (counted) used_bytes_[static_cast<size_t>(wanted.device)] -= mapped;
    return 0;
  }
  if (huge) madvise(pointer(begin), mapped, MADV_HUGEPAGE);
  Placed& placed = placed_[begin];
  placed = {wanted, mapped};
  placed.allocation.begin = begin;
  placed.allocation.number = ++number_;
  show(placed.allocation);
  return begin;
}

bool AddressSpace::add(const Allocation& host) {
  std::lock_guard lock(mutex_);
  const auto next = placed_.lower_bound(host.begin);
  if (next != placed_.end() && next->first < host.end()) return false;
  if (next != placed_.begin() && std::prev(next)->second.allocation.end() > host.begin)
    return false;
  if (placed_.size() >= kAllocationsMax) return false;
  Placed& placed = placed_[host.begin];
  placed = {host, 0};
  placed.allocation.number = ++number_;
  show(placed.allocation);
  return true;
}

uint64_t AddressSpace::reserve(uint64_t bytes, uint64_t align, uint64_t wanted) {
  std::lock_guard lock(mutex_);
  AddressZone& zone = zones_[zoneFor(MemoryKind::mapped, 0)];
  const uint64_t taken = bytes + kPageBytes;
  if (taken < bytes) return 0;
  if (wanted != 0 && wanted % align == 0 && zone.takeAt(wanted, taken)) return wanted;
  return zone.take(taken, align);
}

void AddressSpace::unreserve(uint64_t begin, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  zoneAt(begin).giveBack(begin, bytes + kPageBytes);
}

bool AddressSpace::map(const Allocation& mapping, int file, uint64_t offset) {
  std::lock_guard lock(mutex_);
  if (placed_.size() >= kAllocationsMax) return false;
  const int protection = mapping.access != 0 ? PROT_READ | PROT_WRITE : PROT_NONE;
  if (mmap(pointer(mapping.begin), mapping.bytes, protection, MAP_SHARED | MAP_FIXED, file,
           static_cast<off_t>(offset)) == MAP_FAILED) {
    return false;
  }
  Placed& placed = placed_[mapping.begin];
  placed = {mapping, mapping.bytes};
  placed.allocation.number = ++number_;
  show(placed.allocation);
  return true;
}

int AddressSpace::moveToFile(const Allocation& memory, uint32_t device_index) {
  std::lock_guard lock(mutex_);
  const auto at = placed_.find(memory.begin);
  if (at == placed_.end() || at->second.allocation.number != memory.number) return -1;
  const uint64_t bytes = at->second.mapped_bytes;
  const int file = createMemoryFile({bytes, memory.bytes, device_index});
  if (file < 0) return -1;
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t wrote =
        pwrite(file, pointer(memory.begin + done), bytes - done, static_cast<off_t>(done));
    if (wrote <= 0) {
      ::close(file);
      return -1;
    }
    done += static_cast<uint64_t>(wrote);
  }
  if (mmap(pointer(memory.begin), bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) ==
      MAP_FAILED) {
    ::close(file);
    return -1;
  }
  return file;
}

bool AddressSpace::unmap(uint64_t begin) {
  std::lock_guard lock(mutex_);
  const auto at = placed_.find(begin);
  if (at == placed_.end() || at->second.allocation.kind != MemoryKind::mapped) return false;
  unmap(at);
  return true;
}

void AddressSpace::setAccess(uint64_t begin, uint32_t access) {
  std::lock_guard lock(mutex_);
  const auto at = placed_.find(begin);
  if (at == placed_.end()) return;
  Allocation& allocation = at->second.allocation;
  hide(allocation);
  allocation.access = access;
  if (allocation.kind == MemoryKind::mapped) {
    mprotect(pointer(begin), allocation.bytes, access != 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
  show(allocation);
}

bool AddressSpace::findOne(uint64_t address, Allocation& found) const {
  std::lock_guard lock(mutex_);
  auto at = placed_.upper_bound(address);
  if (at == placed_.begin()) return false;
  --at;
  if (address >= at->second.allocation.end()) return false;
  found = at->second.allocation;
  return true;
}

bool AddressSpace::find(uint64_t address, Allocation& found) const {
  std::lock_guard lock(mutex_);
  auto at = placed_.upper_bound(address);
  if (at == placed_.begin()) return false;
  --at;
  if (address >= at->second.allocation.end()) return false;
  found = at->second.allocation;
  if (found.kind != MemoryKind::mapped) return true;
  if (found.access == 0) return false;
  while (++at != placed_.end() && at->first == found.end()) {
    const Allocation& next = at->second.allocation;
    if (next.kind != MemoryKind::mapped || next.access == 0) break;
    found.bytes += next.bytes;
  }
  return true;
}

bool AddressSpace::covers(uint64_t address, uint64_t bytes) const {
  Allocation found;
  return find(address, found) && bytes <= found.end() - address;
}

void AddressSpace::unmap(Placement::iterator at) {
  const auto [allocation, mapped] = at->second;
  placed_.erase(at);
  hide(allocation);
  if (mapped == 0) return;
  closePages(allocation.begin, mapped);
  if (allocation.kind == MemoryKind::mapped) return;  // neither its addresses nor its memory
  if (!everybodys(allocation.kind) && allocation.kind != MemoryKind::imported) {
    used_bytes_[static_cast<size_t>(allocation.device)] -= mapped;
  }
  zoneAt(allocation.begin).giveBack(allocation.begin, mapped + kPageBytes);
}

bool AddressSpace::release(uint64_t begin, MemoryKind kind, uint64_t number) {
  std::lock_guard lock(mutex_);
  const auto at = placed_.find(begin);
  if (at == placed_.end() || at->second.allocation.kind != kind) return false;
  if (number != 0 && at->second.allocation.number != number) return false;
  unmap(at);
  return true;
}

void AddressSpace::resize(uint64_t begin, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  const auto at = placed_.find(begin);
  if (at == placed_.end() || bytes > at->second.mapped_bytes) return;
  Allocation& allocation = at->second.allocation;
  hide(allocation);
  allocation.bytes = bytes;
  allocation.number = ++number_;
  show(allocation);
}

void AddressSpace::releaseContext(uint64_t context) {
  std::lock_guard lock(mutex_);
  for (auto at = placed_.begin(); at != placed_.end();) {
    const auto next = std::next(at);
    if (at->second.allocation.context == context) unmap(at);
    at = next;
  }
}

uint64_t AddressSpace::usedBytes(int device) const {
  std::lock_guard lock(mutex_);
  const auto index = static_cast<size_t>(device);
  return index < used_bytes_.size() ? used_bytes_[index] : 0;
}

}  // namespace farwarp::cpu
