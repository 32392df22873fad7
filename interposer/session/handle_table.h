// The handles that the program holds: created, checked and destroyed without asking gpud.
//
// A handle is a wire::HandleId; its value is never dereferenced, so any 64 bits that a program
// passes can be checked. Objects form a tree (context -> streams, library -> kernels): what ends
// the parent ends the children. Checks are lock-free; everything that changes the tables takes one
// mutex.
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "protocol/handle_id.h"

namespace farwarp::client {

class HandleTable {
 public:
  // An object that is gone, for the caller to free what belonged to it.
  struct Removed {
    uint64_t id;
    void* object;
  };

  HandleTable() = default;
  ~HandleTable();
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;

  // Chooses an id. `parent` is a live id or 0. `object` is the caller's and comes back from
  // object() and from destroy(). CUDA_ERROR_OUT_OF_MEMORY at kHandleIndexMax live objects of a
  // type.
  [[nodiscard]] CUresult create(wire::HandleType type, uint64_t parent, void* object, uint64_t& id);

  // True when `id` names a live object of exactly this type. Lock-free.
  bool live(wire::HandleType type, uint64_t id) const;

  // What create() was given; null when `id` is not live. Lock-free.
  void* object(uint64_t id) const;
  uint64_t parent(uint64_t id) const;

  // Ends the object and everything below it. `removed` (may be null) gets them, children first.
  // False when `id` is not live.
  bool destroy(uint64_t id, std::vector<Removed>* removed = nullptr);

  // Ends an object, and what is below it, of which gpud may or may not know: it was perhaps never
  // made, or lives on there for a while. The indices are not used again.
  void abandon(uint64_t id);

  // Ends everything below the object and keeps the object itself.
  bool destroyChildren(uint64_t id, std::vector<Removed>* removed = nullptr);

  // Live objects of a type.
  uint32_t count(wire::HandleType type) const;

 private:
  // Slots live in chunks that double in size and are never freed, so that a reader needs no lock.
  static constexpr uint32_t kFirstChunkSlots = 64;
  static constexpr size_t kChunks = 19;  // 64 * (2^19 - 1) >= kHandleIndexMax
  static constexpr size_t kTypes = 128;

  struct Slot {
    std::atomic<uint32_t> state{0};  // generation << 1 | live
    std::atomic<void*> object{nullptr};
    // The tree, guarded by mutex_. `parent` alone is also read without it.
    std::atomic<uint64_t> parent{0};
    uint64_t first_child = 0;
    uint64_t next_sibling = 0;
    uint64_t previous_sibling = 0;
  };
  struct Table {
    std::array<std::atomic<Slot*>, kChunks> chunks{};
    std::vector<uint32_t> free;  // indices whose objects ended, ready for the next generation
    uint32_t used = 0;           // highest index handed out
    std::atomic<uint32_t> live{0};
  };

  static Slot* slotIn(const Table& table, uint32_t index);
  const Slot* find(uint64_t id) const;
  Slot* find(uint64_t id) {
    return const_cast<Slot*>(static_cast<const HandleTable*>(this)->find(id));
  }
  static bool newSlot(Table& table, uint32_t& index);
  void link(uint64_t id, Slot& slot, uint64_t parent);
  void unlink(uint64_t id, Slot& slot);
  void endSlot(uint64_t id, Slot& slot, bool reuse, std::vector<Removed>* removed);

  mutable std::mutex mutex_;  // guards all changes; nothing else is locked while it is held
  std::array<Table, kTypes> tables_;
};

}  // namespace farwarp::client
