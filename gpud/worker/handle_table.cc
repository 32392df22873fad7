#include "gpud/worker/handle_table.h"

#include <algorithm>

namespace farwarp::worker {

using wire::HandleId;
using wire::HandleType;

const char* bindResultText(HandleTable::BindResult result) {
  switch (result) {
    case HandleTable::BindResult::bound:
      return "bound";
    case HandleTable::BindResult::wrong_type:
      return "the id is of another type";
    case HandleTable::BindResult::bad_index:
      return "the id's index is out of range";
    case HandleTable::BindResult::old_generation:
      return "the id is or was in use";
    case HandleTable::BindResult::too_many:
      return "the session has too many live handles";
  }
  return "unknown";
}

bool HandleTable::wellFormed(HandleType type, HandleId id) {
  return type != HandleType::none && id.type() == type && id.bits >> 63 == 0;
}

const HandleTable::Slot* HandleTable::slot(HandleId id) const {
  const Directory& directory = types_[static_cast<size_t>(id.type()) % kTypes];
  const uint32_t page = id.index() / kPageSlots;
  if (page >= directory.size() || directory[page] == nullptr) return nullptr;
  return &(*directory[page])[id.index() % kPageSlots];
}

HandleTable::BindResult HandleTable::bind(HandleType type, uint64_t id_bits, void* object,
                                          uint64_t parent) {
  const HandleId id(id_bits);
  if (!wellFormed(type, id)) return BindResult::wrong_type;
  if (id.index() == 0 || id.index() > wire::kHandleIndexMax) return BindResult::bad_index;
  if (live_ >= live_max_) return BindResult::too_many;
  Directory& directory = types_[static_cast<size_t>(type)];
  const uint32_t page = id.index() / kPageSlots;
  if (page >= directory.size()) directory.resize(page + 1);
  if (directory[page] == nullptr) directory[page] = std::make_unique<Page>();
  Slot& slot = (*directory[page])[id.index() % kPageSlots];
  if (slot.live || (slot.used && id.generation() <= slot.generation)) {
    return BindResult::old_generation;
  }
  slot = {object, id.generation(), true, true};
  ++live_;
  if (parent != 0) addChild(parent, id_bits);
  return BindResult::bound;
}

void HandleTable::addChild(uint64_t parent, uint64_t child) {
  Children& children = children_[parent];
  if (children.ids.size() >= children.prune_at) {
    std::erase_if(children.ids,
                  [this](uint64_t id) { return liveSlot(HandleId(id).type(), id) == nullptr; });
    children.prune_at = std::max<size_t>(64, 2 * children.ids.size());
  }
  children.ids.push_back(child);
}

HandleTable::Slot* HandleTable::liveSlot(HandleType type, uint64_t id_bits) {
  const HandleId id(id_bits);
  if (!wellFormed(type, id)) return nullptr;
  const Slot* found = slot(id);
  if (found == nullptr || !found->live || found->generation != id.generation()) return nullptr;
  return const_cast<Slot*>(found);
}

void* HandleTable::find(HandleType type, uint64_t id) const {
  const Slot* found = const_cast<HandleTable*>(this)->liveSlot(type, id);
  return found == nullptr ? nullptr : found->object;
}

bool HandleTable::replace(HandleType type, uint64_t id, void* object) {
  Slot* found = liveSlot(type, id);
  if (found == nullptr) return false;
  found->object = object;
  return true;
}

uint64_t HandleTable::idAt(HandleType type, uint32_t index) const {
  const Slot* found = slot(HandleId(type, 0, index));
  if (found == nullptr || !found->live) return 0;
  return HandleId(type, found->generation, index).bits;
}

bool HandleTable::unbind(HandleType type, uint64_t id) {
  Slot* found = liveSlot(type, id);
  if (found == nullptr) return false;
  found->live = false;
  --live_;
  unbindChildren(id);
  return true;
}

void HandleTable::unbindChildren(uint64_t id) {
  // Without recursion: how deep objects nest is up to the peer.
  std::vector<uint64_t> parents{id};
  while (!parents.empty()) {
    const auto it = children_.find(parents.back());
    parents.pop_back();
    if (it == children_.end()) continue;
    for (uint64_t child : it->second.ids) {
      Slot* found = liveSlot(HandleId(child).type(), child);
      if (found == nullptr) continue;
      found->live = false;
      --live_;
      parents.push_back(child);
    }
    children_.erase(it);
  }
}

std::vector<void*> HandleTable::objects(HandleType type) const {
  std::vector<void*> found;
  for (const auto& page : types_[static_cast<size_t>(type)]) {
    if (page == nullptr) continue;
    for (const Slot& slot : *page) {
      if (slot.live) found.push_back(slot.object);
    }
  }
  return found;
}

}  // namespace farwarp::worker
