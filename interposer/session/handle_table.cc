#include "interposer/session/handle_table.h"

#include <bit>
#include <new>

namespace farwarp::client {

using wire::HandleId;
using wire::HandleType;

namespace {

constexpr uint32_t kGenerationMax = 0xffffff;
constexpr uint32_t liveState(uint32_t generation) {
  return generation << 1 | 1;
}

}  // namespace

HandleTable::~HandleTable() {
  for (Table& table : tables_) {
    for (std::atomic<Slot*>& chunk : table.chunks) delete[] chunk.load(std::memory_order_relaxed);
  }
}

HandleTable::Slot* HandleTable::slotIn(const Table& table, uint32_t index) {
  if (index == 0 || index > wire::kHandleIndexMax) return nullptr;
  const uint32_t at = index - 1 + kFirstChunkSlots;
  const uint32_t chunk = std::bit_width(at) - std::bit_width(kFirstChunkSlots);
  Slot* slots = table.chunks[chunk].load(std::memory_order_acquire);
  if (slots == nullptr) return nullptr;
  return slots + (at - (kFirstChunkSlots << chunk));
}

const HandleTable::Slot* HandleTable::find(uint64_t id) const {
  const HandleId handle(id);
  if (id >> 63 != 0 || handle.type() == HandleType::none) return nullptr;
  const Slot* slot = slotIn(tables_[static_cast<size_t>(handle.type())], handle.index());
  if (slot == nullptr) return nullptr;
  if (slot->state.load(std::memory_order_acquire) != liveState(handle.generation())) return nullptr;
  return slot;
}

bool HandleTable::live(HandleType type, uint64_t id) const {
  return HandleId(id).type() == type && find(id) != nullptr;
}

void* HandleTable::object(uint64_t id) const {
  const Slot* slot = find(id);
  return slot == nullptr ? nullptr : slot->object.load(std::memory_order_relaxed);
}

uint64_t HandleTable::parent(uint64_t id) const {
  const Slot* slot = find(id);
  return slot == nullptr ? 0 : slot->parent.load(std::memory_order_relaxed);
}

bool HandleTable::newSlot(Table& table, uint32_t& index) {
  if (!table.free.empty()) {
    index = table.free.back();
    table.free.pop_back();
    return true;
  }
  if (table.used >= wire::kHandleIndexMax) return false;
  index = table.used + 1;
  const uint32_t at = index - 1 + kFirstChunkSlots;
  const uint32_t chunk = std::bit_width(at) - std::bit_width(kFirstChunkSlots);
  if (table.chunks[chunk].load(std::memory_order_relaxed) == nullptr) {
    Slot* slots = new (std::nothrow) Slot[kFirstChunkSlots << chunk];
    if (slots == nullptr) return false;
    table.chunks[chunk].store(slots, std::memory_order_release);
  }
  table.used = index;
  return true;
}

CUresult HandleTable::create(HandleType type, uint64_t parent, void* object, uint64_t& id) {
  std::lock_guard lock(mutex_);
  Table& table = tables_[static_cast<size_t>(type)];
  uint32_t index = 0;
  if (!newSlot(table, index)) return CUDA_ERROR_OUT_OF_MEMORY;
  Slot& slot = *slotIn(table, index);
  const uint32_t generation = (slot.state.load(std::memory_order_relaxed) >> 1) + 1;
  id = HandleId(type, generation, index).bits;
  slot.object.store(object, std::memory_order_relaxed);
  link(id, slot, parent);
  table.live.fetch_add(1, std::memory_order_relaxed);
  slot.state.store(liveState(generation), std::memory_order_release);
  return CUDA_SUCCESS;
}

void HandleTable::link(uint64_t id, Slot& slot, uint64_t parent) {
  slot.first_child = slot.next_sibling = slot.previous_sibling = 0;
  Slot* above = parent == 0 ? nullptr : find(parent);
  slot.parent.store(above == nullptr ? 0 : parent, std::memory_order_relaxed);
  if (above == nullptr) return;
  slot.next_sibling = above->first_child;
  if (Slot* next = find(above->first_child)) next->previous_sibling = id;
  above->first_child = id;
}

void HandleTable::unlink(uint64_t id, Slot& slot) {
  if (Slot* previous = find(slot.previous_sibling)) {
    previous->next_sibling = slot.next_sibling;
  } else if (Slot* above = find(slot.parent.load(std::memory_order_relaxed))) {
    if (above->first_child == id) above->first_child = slot.next_sibling;
  }
  if (Slot* next = find(slot.next_sibling)) next->previous_sibling = slot.previous_sibling;
}

void HandleTable::endSlot(uint64_t id, Slot& slot, bool reuse, std::vector<Removed>* removed) {
  // Trees are at most four deep (context, module, function), so recursion is bounded.
  while (Slot* child = find(slot.first_child)) endSlot(slot.first_child, *child, reuse, removed);
  unlink(id, slot);
  if (removed != nullptr) removed->push_back({id, slot.object.load(std::memory_order_relaxed)});
  const HandleId handle(id);
  Table& table = tables_[static_cast<size_t>(handle.type())];
  slot.object.store(nullptr, std::memory_order_relaxed);
  slot.state.store(handle.generation() << 1, std::memory_order_release);
  table.live.fetch_sub(1, std::memory_order_relaxed);
  // After the last generation the slot is given up: an id must never name two objects.
  if (reuse && handle.generation() < kGenerationMax) table.free.push_back(handle.index());
}

bool HandleTable::destroy(uint64_t id, std::vector<Removed>* removed) {
  std::lock_guard lock(mutex_);
  Slot* slot = find(id);
  if (slot == nullptr) return false;
  endSlot(id, *slot, true, removed);
  return true;
}

void HandleTable::abandon(uint64_t id) {
  std::lock_guard lock(mutex_);
  if (Slot* slot = find(id)) endSlot(id, *slot, false, nullptr);
}

bool HandleTable::destroyChildren(uint64_t id, std::vector<Removed>* removed) {
  std::lock_guard lock(mutex_);
  Slot* slot = find(id);
  if (slot == nullptr) return false;
  while (Slot* child = find(slot->first_child)) endSlot(slot->first_child, *child, true, removed);
  return true;
}

uint32_t HandleTable::count(HandleType type) const {
  return tables_[static_cast<size_t>(type)].live.load(std::memory_order_relaxed);
}

}  // namespace farwarp::client
