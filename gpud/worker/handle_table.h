// The session's handles: ids that the client chose, and the driver objects behind them.
//
// An id is typed and generational (protocol/handle_id.h). A wrong type, an index that was never
// bound, and a generation that is gone are all refused, so a freed or made-up handle never reaches
// the driver. Objects that die with another one (functions with their module, streams with their
// context) are bound with it as parent and become stale together with it.
//
// Used on the worker's issuing thread only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "protocol/handle_id.h"

namespace farwarp::worker {

class HandleTable {
 public:
  enum class BindResult {
    bound,
    wrong_type,      // the id is of another type, or has bits that no id has
    bad_index,       // 0, or above wire::kHandleIndexMax
    old_generation,  // the index is live, or was used with this or a later generation
    too_many,        // the session's limit is reached
  };

  explicit HandleTable(size_t live_max) : live_max_(live_max) {}

  // Gives `id` a meaning. `parent`: the id it dies with, or 0.
  [[nodiscard]] BindResult bind(wire::HandleType type, uint64_t id, void* object,
                                uint64_t parent = 0);

  // Puts another object behind a live id. Null: the id stays taken, but nothing is behind it for
  // now. False when the id is not live.
  bool replace(wire::HandleType type, uint64_t id, void* object);

  // The object behind a live id of this type, or null. Objects are never null.
  void* find(wire::HandleType type, uint64_t id) const;

  // The live id with this index, or 0.
  uint64_t idAt(wire::HandleType type, uint32_t index) const;

  // The id, and all that were bound below it, are never valid again. False when it was not live.
  bool unbind(wire::HandleType type, uint64_t id);
  // Only what was bound below it.
  void unbindChildren(uint64_t id);

  // All live objects of one type.
  std::vector<void*> objects(wire::HandleType type) const;

  size_t liveHandles() const { return live_; }

 private:
  struct Slot {
    void* object = nullptr;
    uint32_t generation = 0;
    bool live = false;
    bool used = false;
  };
  static constexpr uint32_t kPageSlots = 256;
  using Page = std::array<Slot, kPageSlots>;
  using Directory = std::vector<std::unique_ptr<Page>>;

  // Ids bound below one parent. Dead ones stay in the list until it has doubled.
  struct Children {
    std::vector<uint64_t> ids;
    size_t prune_at = 64;
  };

  static constexpr size_t kTypes = 128;  // what fits an id's type bits

  const Slot* slot(wire::HandleId id) const;
  Slot* liveSlot(wire::HandleType type, uint64_t id);
  void addChild(uint64_t parent, uint64_t child);
  static bool wellFormed(wire::HandleType type, wire::HandleId id);

  size_t live_max_;
  size_t live_ = 0;
  std::array<Directory, kTypes> types_;
  std::unordered_map<uint64_t, Children> children_;
};

const char* bindResultText(HandleTable::BindResult result);

}  // namespace farwarp::worker
