// Copies of boxes of tensors, done where they are issued. A box lies in shared memory row by row,
// its innermost dimension first; what of it lies outside of the tensor is filled or left alone.
#include <algorithm>
#include <bit>
#include <cstring>

#include "gpud/device/cpu/ptx/cluster.h"
#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/machine.h"
#include "gpud/device/cpu/ptx/tensor_map.h"

namespace farwarp::ptx::op {
namespace {

template <class F>
void forLanes(uint32_t mask, F f) {
  for (; mask != 0; mask &= mask - 1) f(static_cast<uint32_t>(std::countr_zero(mask)));
}

constexpr uint32_t kRowBytesMax = 256 * 8;
constexpr uint32_t kChunkBytes = 16;  // what swizzling moves as a whole

// A map may be whatever the kernel wrote there.
bool isUsable(const TensorMap& map, const TensorSite& site) {
  const bool im2col = static_cast<TensorMode>(map.mode) == TensorMode::im2col;
  if (map.tag != kTensorMapTag || map.rank != site.rank || map.mode > 1) return false;
  if (im2col != site.im2col || tensorElementBytes(map.type) == 0) return false;
  if (site.picks_rows && map.box[1] != 1) return false;
  if (map.interleave != 0 || map.swizzle > 3 || map.address % 16 != 0) return false;
  for (uint32_t k = 0; k < map.rank; ++k) {
    if (map.element_strides[k] == 0 || map.element_strides[k] > 8) return false;
    if (k > 0 && map.strides[k - 1] % 16 != 0) return false;
    if (!im2col && (map.box[k] == 0 || map.box[k] > 256)) return false;
  }
  if (im2col && (map.box[0] == 0 || map.box[0] > 256 || map.box[1] == 0 || map.box[1] > 1024)) {
    return false;
  }
  return map.box[0] * tensorElementBytes(map.type) % kChunkBytes == 0;
}

// One row of a box: where it lies in the tensor.
struct Row {
  uint64_t address = 0;  // of element 0 of the tensor's row
  int64_t first = 0;     // element of that row that the box begins with
  bool inside = true;    // in all dimensions but the innermost
};

// Walks over the rows of a box in the order in which they lie in shared memory.
class Walk {
 public:
  Walk(const Warp& w, const TensorMap& map, const TensorSite& site, uint32_t lane) : map_(map) {
    im2col_ = site.im2col;
    picks_ = site.picks_rows;
    const uint32_t given = picks_ ? 5 : map.rank;
    for (uint32_t k = 0; k < given; ++k) start_[k] = lanes<int32_t>(w, site.at[k])[lane];
    for (uint32_t k = 0; k < 5; ++k) at_[k] = start_[k];
    for (uint32_t k = 0; site.has_offset && k + 2 < map.rank; ++k) {
      offset_[k] = static_cast<int32_t>(lanes<uint32_t>(w, site.offset[k])[lane]);
    }
    rows_ = picks_ ? 4 : map.box[1];
    if (im2col_ || picks_) return;
    rows_ = 1;
    for (uint32_t k = 1; k < map.rank; ++k) rows_ *= count(k);
  }

  uint64_t rows() const { return rows_; }

  // The row that the walk is at; the walk goes on to the next.
  Row next() {
    Row row;
    row.first = start_[0];
    row.address = map_.address;
    for (uint32_t k = 1; k < map_.rank; ++k) {
      const bool pixel = im2col_ && k + 1 < map_.rank;
      const int64_t at = at_[k] + (pixel ? offset_[k - 1] : 0);
      row.inside &= at >= 0 && at <= int64_t{map_.last[k]};
      row.address += static_cast<uint64_t>(at) * map_.strides[k - 1];
    }
    if (picks_) {
      if (++picked_ < rows_) at_[1] = start_[1 + picked_];
    } else if (im2col_) {
      advancePixel();
    } else {
      advanceTile();
    }
    return row;
  }

 private:
  uint64_t count(uint32_t k) const {
    return (map_.box[k] + map_.element_strides[k] - 1u) / map_.element_strides[k];
  }

  void advanceTile() {
    for (uint32_t k = 1; k < map_.rank; ++k) {
      at_[k] += map_.element_strides[k];
      if (++step_[k] < count(k)) return;
      step_[k] = 0;
      at_[k] = start_[k];
    }
  }

  // To the next pixel of the bounding box, then to that of the next image.
  void advancePixel() {
    for (uint32_t k = 1; k + 1 < map_.rank; ++k) {
      at_[k] += map_.element_strides[k];
      if (at_[k] <= int64_t{map_.last[k]} + map_.upper[k - 1]) return;
      at_[k] = map_.lower[k - 1];
    }
    ++at_[map_.rank - 1];
  }

  const TensorMap& map_;
  bool im2col_ = false;
  bool picks_ = false;
  uint64_t picked_ = 0;
  uint64_t rows_ = 1;
  int64_t start_[5] = {}, at_[5] = {}, offset_[3] = {};
  uint64_t step_[5] = {};
};

// Swizzling exchanges chunks by bits of their place in shared memory.
uint64_t swizzled(uint64_t offset, uint32_t mode) {
  constexpr uint64_t kMasks[] = {0, 0x10, 0x30, 0x70};
  return offset ^ (offset >> 3 & kMasks[mode]);
}

// The part of a row that lies in the tensor, in elements of the box.
struct Part {
  uint32_t begin = 0, end = 0;
};

Part partInside(const TensorMap& map, const Row& row) {
  if (!row.inside) return {};
  const int64_t count = map.box[0];
  const int64_t begin = std::clamp<int64_t>(-row.first, 0, count);
  const int64_t end = std::clamp<int64_t>(int64_t{map.last[0]} + 1 - row.first, begin, count);
  return {static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
}

// Raises an error unless all of the part may be accessed.
uint64_t checkPart(Warp& w, const Inst* i, uint32_t l, const TensorMap& map, const Row& row,
                   Part part) {
  const uint32_t bytes = tensorElementBytes(map.type);
  const uint64_t begin =
      row.address + static_cast<uint64_t>(row.first + int64_t{part.begin}) * bytes;
  for (const uint64_t at : {begin, begin + uint64_t{part.end - part.begin - 1} * bytes}) {
    w.address[l] = at;
    checkAddresses(w, i, 1u << l, bytes, Space::generic);
  }
  return begin;
}

// What stands for elements outside: zero, or a NaN whose bits are not documented.
void fillRow(const TensorMap& map, std::byte* row, uint32_t bytes) {
  std::memset(row, 0, bytes);
  const uint32_t size = tensorElementBytes(map.type);
  if (map.fill == 0 || !isTensorFloat(map.type)) return;
  const uint64_t nan = size == 8 ? 0x7fffffffffffffff : size == 4 ? 0x7fffffff : 0x7fff;
  for (uint32_t at = 0; at < bytes; at += size) std::memcpy(row + at, &nan, size);
}

void flushDenormals(const TensorMap& map, std::byte* row, uint32_t bytes) {
  constexpr uint8_t kFloatFtz = 10, kTf32Ftz = 12;
  if (map.type != kFloatFtz && map.type != kTf32Ftz) return;
  for (uint32_t at = 0; at < bytes; at += 4) {
    uint32_t bits = 0;
    std::memcpy(&bits, row + at, 4);
    if ((bits & 0x7f800000) == 0) bits &= 0x80000000;
    std::memcpy(row + at, &bits, 4);
  }
}

// How cp.reduce sees the elements; none for types that it does not have.
Type reducedType(const TensorMap& map, AtomicOp op) {
  constexpr Type kTypes[] = {Type::none, Type::none, Type::u32, Type::s32, Type::u64,
                             Type::s64,  Type::f16,  Type::f32, Type::f64, Type::bf16,
                             Type::f32,  Type::none, Type::none};
  const Type type = kTypes[map.type];
  const bool bits = op == AtomicOp::and_ || op == AtomicOp::or_ || op == AtomicOp::xor_;
  if (!bits) return type;
  return isInteger(type) ? (sizeOf(type) == 4 ? Type::b32 : Type::b64) : Type::none;
}

struct Copy {
  const TensorMap& map;
  const TensorSite& site;
  uint64_t shared;       // host address of the box
  uint64_t shared_base;  // of the block's shared memory
};

std::byte* chunkAt(const Copy& copy, uint64_t offset) {
  const uint64_t at = swizzled(copy.shared - copy.shared_base + offset, copy.map.swizzle);
  return reinterpret_cast<std::byte*>(copy.shared_base + at);
}

void loadRow(Warp& w, const Inst* i, uint32_t l, const Copy& copy, const Row& row, uint64_t offset,
             uint32_t row_bytes) {
  std::byte buffer[kRowBytesMax];
  const uint32_t size = tensorElementBytes(copy.map.type);
  const Part part = partInside(copy.map, row);
  if (part.end - part.begin != copy.map.box[0]) fillRow(copy.map, buffer, row_bytes);
  if (part.end > part.begin) {
    const uint64_t from = checkPart(w, i, l, copy.map, row, part);
    const uint32_t bytes = (part.end - part.begin) * size;
    std::memcpy(buffer + part.begin * size, reinterpret_cast<const void*>(from), bytes);
    flushDenormals(copy.map, buffer + part.begin * size, bytes);
  }
  for (uint32_t at = 0; at < row_bytes; at += kChunkBytes) {
    std::memcpy(chunkAt(copy, offset + at), buffer + at, kChunkBytes);
  }
}

void storeRow(Warp& w, const Inst* i, uint32_t l, const Copy& copy, const Row& row, uint64_t offset,
              uint32_t row_bytes) {
  alignas(16) std::byte buffer[kRowBytesMax];
  const Part part = partInside(copy.map, row);
  if (part.end == part.begin) return;
  for (uint32_t at = 0; at < row_bytes; at += kChunkBytes) {
    std::memcpy(buffer + at, chunkAt(copy, offset + at), kChunkBytes);
  }
  const uint32_t size = tensorElementBytes(copy.map.type);
  const uint64_t to = checkPart(w, i, l, copy.map, row, part);
  const std::byte* from = buffer + part.begin * size;
  if (copy.site.kind == TensorSite::Kind::store) {
    std::memcpy(reinterpret_cast<void*>(to), from, (part.end - part.begin) * size);
    return;
  }
  const auto op = static_cast<AtomicOp>(copy.site.reduction);
  const Type type = reducedType(copy.map, op);
  if (type == Type::none || !canApply(op, type)) {
    raise(w, i, LaunchStatus::illegal_instruction, l);
  }
  for (uint32_t k = 0; k < part.end - part.begin; ++k) {
    atomicApply(op, type, to + k * size, reinterpret_cast<uint64_t>(from + k * size));
  }
}

// The copy of one lane between the tensor and one block's shared memory.
void copyBox(Warp& w, const Inst* i, uint32_t l, const TensorMap& map, const TensorSite& site,
             const Place& place) {
  const uint32_t row_bytes = map.box[0] * tensorElementBytes(map.type);
  Walk walk(w, map, site, l);
  const uint64_t bytes = walk.rows() * row_bytes;  // at most 2^43
  // Swizzling moves a chunk within a unit of this size, which may reach past the box.
  constexpr uint64_t kUnits[] = {1, 32, 64, 128};
  const uint64_t unit = kUnits[map.swizzle];
  const uint64_t end = (place.offset + bytes + unit - 1) / unit * unit;
  if (place.offset % 128 != 0) raise(w, i, LaunchStatus::misaligned_address, l, place.offset);
  if (end > place.block->shared_bytes) {
    raise(w, i, LaunchStatus::illegal_address, l, place.offset);
  }
  const uint64_t base = reinterpret_cast<uint64_t>(place.block->shared);
  const Copy copy{map, site, base + place.offset, base};
  for (uint64_t k = 0; k < walk.rows(); ++k) {
    const Row row = walk.next();
    if (site.kind == TensorSite::Kind::load) {
      loadRow(w, i, l, copy, row, k * row_bytes, row_bytes);
    } else {
      storeRow(w, i, l, copy, row, k * row_bytes, row_bytes);
    }
  }
}

uint32_t boxBytes(const Warp& w, const TensorMap& map, const TensorSite& site, uint32_t l) {
  const Walk walk(w, map, site, l);
  return static_cast<uint32_t>(walk.rows() * map.box[0] * tensorElementBytes(map.type));
}

}  // namespace

const Inst* copyTensor(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  const TensorSite& site = *reinterpret_cast<const TensorSite*>((i - 3)->imm);
  uint64_t maps[kLanes], barrier[kLanes] = {}, shared[kLanes];
  auto resolve = [&](const Inst* at, uint32_t bytes, uint64_t* out) {
    w.block->launch->executors->resolve(w, at, mask, bytes);
    std::memcpy(out, w.address, sizeof(w.address));
  };
  resolve(i - 2, 16, maps);
  if (site.signals) resolve(i - 1, 8, barrier);
  resolve(i, 16, shared);
  w.pc = i;
  w.spacing = 0;
  forLanes(mask, [&](uint32_t l) {
    if (maps[l] % 64 != 0) raise(w, i, LaunchStatus::misaligned_address, l, maps[l]);
    w.address[l] = maps[l] + sizeof(TensorMap) - 16;
    checkAddresses(w, i, 1u << l, 16, Space::generic);
    TensorMap map;
    std::memcpy(&map, reinterpret_cast<const void*>(maps[l]), sizeof map);
    if (!isUsable(map, site)) raise(w, i, LaunchStatus::illegal_instruction, l, maps[l]);
    const Place place = placeOf(w, shared[l]);
    if (place.block == nullptr) raise(w, i, LaunchStatus::illegal_address, l, shared[l]);
    if (!site.multicasts) {
      copyBox(w, i, l, map, site, place);
      if (site.signals) completeBytes(barrier[l], boxBytes(w, map, site, l));
      return;
    }
    const Place signal = placeOf(w, barrier[l]);
    forLanes(lanes<uint32_t>(w, site.targets)[l] & 0xffff, [&](uint32_t rank) {
      const Block* block = blockOfRank(w, rank);
      if (block == nullptr || signal.block == nullptr) {
        raise(w, i, LaunchStatus::illegal_address, l, shared[l]);
      }
      copyBox(w, i, l, map, site, {block, place.offset});
      completeBytes(reinterpret_cast<uint64_t>(block->shared) + signal.offset,
                    boxBytes(w, map, site, l));
    });
  });
  return i + 1;
}

namespace {

// PTX numbers the types of elements in another order than the driver API.
constexpr uint8_t kElementTypes[] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 8, 9, 11, 12};

// False when the value is none that the field can have.
bool replaceField(TensorMap& map, TensorMapField field, uint32_t number, uint64_t value) {
  switch (field) {
    case TensorMapField::global_address:
      map.address = value;
      return true;
    case TensorMapField::rank:  // counted from 0
      map.rank = static_cast<uint8_t>(value + 1);
      return value < kTensorRankMax;
    case TensorMapField::box_dim:
      map.box[number] = static_cast<uint16_t>(value);
      return value >= 1 && value <= 256;
    case TensorMapField::global_dim:
      map.last[number] = static_cast<uint32_t>(value - 1);
      return value >= 1;
    case TensorMapField::global_stride:
      if (number > 3) return false;
      map.strides[number] = value;
      return true;
    case TensorMapField::element_stride:
      map.element_strides[number] = static_cast<uint8_t>(value);
      return value >= 1 && value <= 8;
    case TensorMapField::element_type:
      if (value >= sizeof kElementTypes) return false;
      map.type = kElementTypes[value];
      return true;
    case TensorMapField::interleave_layout:
      map.interleave = static_cast<uint8_t>(value);
      return value == 0;
    case TensorMapField::swizzle_mode:
      map.swizzle = static_cast<uint8_t>(value);
      return value <= 3;
    case TensorMapField::fill_mode:
      map.fill = static_cast<uint8_t>(value);
      return value <= 1;
  }
  return false;
}

}  // namespace

const Inst* replaceInTensorMap(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.block->launch->executors->resolve(w, i, mask, 16);
  uint64_t maps[kLanes];
  std::memcpy(maps, w.address, sizeof maps);
  w.spacing = 0;
  forLanes(mask, [&](uint32_t l) {
    if (maps[l] % 64 != 0) raise(w, i, LaunchStatus::misaligned_address, l, maps[l]);
    w.address[l] = maps[l] + sizeof(TensorMap) - 16;
    checkAddresses(w, i, 1u << l, 16, Space::generic);
    TensorMap map;
    std::memcpy(&map, reinterpret_cast<const void*>(maps[l]), sizeof map);
    const uint64_t value = i->d == 8 ? lanes<uint64_t>(w, i->b)[l] : lanes<uint32_t>(w, i->b)[l];
    const bool good = map.tag == kTensorMapTag &&
                      replaceField(map, static_cast<TensorMapField>(i->aux), i->y, value);
    if (!good) raise(w, i, LaunchStatus::illegal_instruction, l, maps[l]);
    std::memcpy(reinterpret_cast<void*>(maps[l]), &map, sizeof map);
  });
  return i + 1;
}

const Inst* copyTensorMap(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  uint64_t from[kLanes], to[kLanes];
  w.block->launch->executors->resolve(w, i - 1, mask, 16);
  std::memcpy(from, w.address, sizeof from);
  w.block->launch->executors->resolve(w, i, mask, 16);
  std::memcpy(to, w.address, sizeof to);
  w.pc = i;
  w.spacing = 0;
  forLanes(mask, [&](uint32_t l) {
    for (const uint64_t at : {from[l], to[l]}) {
      if (at % 64 != 0) raise(w, i, LaunchStatus::misaligned_address, l, at);
      w.address[l] = at + sizeof(TensorMap) - 16;
      checkAddresses(w, i, 1u << l, 16, Space::generic);
    }
    std::memcpy(reinterpret_cast<void*>(to[l]), reinterpret_cast<const void*>(from[l]),
                sizeof(TensorMap));
  });
  return i + 1;
}

}  // namespace farwarp::ptx::op
