// A worker: takes blocks of a launch and runs their warps in turn on one thread.
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx {
namespace {

constexpr uint64_t kFrameBytesMax = uint64_t{1} << 30;
constexpr size_t kMapAbove = size_t{1} << 20;
// The strictest that kernels ask for: tiles that the tensor memory accelerator swizzles.
constexpr uint64_t kSharedAlign = 1024;

size_t round64(size_t n) {
  return (n + 63) & ~size_t{63};
}

std::byte* takeMemory(size_t bytes) {
  if (bytes < kMapAbove) {
    void* memory = std::aligned_alloc(64, round64(bytes));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<std::byte*>(memory);
  }
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

void giveMemory(BlockStorage& storage) {
  for (uint32_t n = 0; n < storage.block.warp_count; ++n) std::free(storage.block.warps[n].joins);
  if (storage.bytes < kMapAbove)
    std::free(storage.memory);
  else
    munmap(storage.memory, storage.bytes);
  delete[] storage.block.cluster;
}

void fill32(std::byte* values, uint32_t index, uint32_t value) {
  uint32_t* lanes = reinterpret_cast<uint32_t*>(values + size_t{index} * kValueBytes);
  for (uint32_t l = 0; l < kLanes; ++l) lanes[l] = value;
}
void fill64(std::byte* values, uint32_t index, uint64_t value) {
  uint64_t* lanes = reinterpret_cast<uint64_t*>(values + size_t{index} * kValueBytes);
  for (uint32_t l = 0; l < kLanes; ++l) lanes[l] = value;
}
void fill32(Block& b, BlockValue v, uint32_t value) {
  fill32(b.values, static_cast<uint32_t>(v), value);
}
void fill64(Block& b, BlockValue v, uint64_t value) {
  fill64(b.values, static_cast<uint32_t>(v), value);
}
void fill3(Block& b, BlockValue first, uint32_t x, uint32_t y, uint32_t z) {
  uint32_t index = static_cast<uint32_t>(first);
  fill32(b.values, index, x);
  fill32(b.values, index + 1, y);
  fill32(b.values, index + 2, z);
}

// The values that are the same for all blocks.
void fillLaunchValues(Block& b) {
  const Launch& launch = *b.launch;
  const LaunchShape& s = launch.shape;
  fill3(b, BlockValue::nctaid_x, s.grid.x, s.grid.y, s.grid.z);
  fill3(b, BlockValue::ntid_x, s.block.x, s.block.y, s.block.z);
  fill3(b, BlockValue::nclusterid_x, s.grid.x / s.cluster.x, s.grid.y / s.cluster.y,
        s.grid.z / s.cluster.z);
  fill3(b, BlockValue::cluster_nctaid_x, s.cluster.x, s.cluster.y, s.cluster.z);
  fill32(b, BlockValue::cluster_nctarank, launch.cluster_blocks);
  fill32(b, BlockValue::is_explicit_cluster, launch.cluster_blocks > 1 ? 1 : 0);
  fill32(b, BlockValue::nsmid, launch.environment->traits().multiprocessors);
  fill64(b, BlockValue::gridid, s.grid_id);
  uint64_t workspace = s.cooperative ? reinterpret_cast<uint64_t>(&launch.workspace) : 0;
  fill32(b, BlockValue::envreg1, static_cast<uint32_t>(workspace >> 32));
  fill32(b, BlockValue::envreg2, static_cast<uint32_t>(workspace));
  fill64(b, BlockValue::dynamic_shared, launch.kernel->static_shared_bytes);
  fill32(b, BlockValue::dynamic_smem_size, s.dynamic_shared_bytes);
  fill32(b, BlockValue::total_smem_size, static_cast<uint32_t>(launch.shared_bytes));
  fill64(b, BlockValue::param_address, reinterpret_cast<uint64_t>(launch.params.data()));
  fill32(b, BlockValue::nwarpid, b.warp_count);
  fill64(b, BlockValue::zero, 0);
}

// The values that do not change from block to block for the warp at one place.
void initialiseWarp(Warp& w, Block& b, uint32_t index, std::byte* values) {
  const Launch& launch = *b.launch;
  const Extent& shape = launch.shape.block;
  std::memset(static_cast<void*>(&w), 0, sizeof(Warp));
  w.index = index;
  w.block = &b;
  w.base[kBaseConstants] = const_cast<std::byte*>(launch.program->constants()) - kBaseConstants;
  w.base[kBaseBlock] = b.values - kBaseBlock;
  w.base[kBaseWarp] = values - kBaseWarp;
  const MemoryMap& memory = launch.environment->memory();
  w.reserved_begin = memory.reservedBegin();
  w.reserved_size = memory.reservedEnd() - memory.reservedBegin();
  w.shared = b.shared;
  w.shared_bytes = b.shared_bytes;
  w.join_free = kNone;
  for (uint32_t l = 0; l < kLanes; ++l) {
    uint32_t t = index * kLanes + l;
    uint32_t id[3] = {t % shape.x, t / shape.x % shape.y, t / (shape.x * shape.y)};
    for (uint32_t k = 0; k < 3; ++k) {
      reinterpret_cast<uint32_t*>(values + size_t{k} * kValueBytes)[l] = id[k];
    }
  }
  fill32(values, static_cast<uint32_t>(WarpValue::warpid), index);
}

}  // namespace

Worker::~Worker() {
  for (auto& storage : live) giveMemory(*storage);
  for (auto& storage : spare) giveMemory(*storage);
  for (void* frame : all_frames) std::free(frame);
}

std::byte* Worker::takeFrame(const FunctionCode& function) {
  if (free_frames.empty()) free_frames.resize(launch.code->functions.size());
  std::vector<std::byte*>& list = free_frames[function.index];
  if (!list.empty()) {
    std::byte* frame = list.back();
    list.pop_back();
    return frame;
  }
  size_t bytes = round64(function.frame_bytes + 64);
  if (frame_bytes + bytes > kFrameBytesMax) return nullptr;
  void* frame = std::aligned_alloc(64, bytes);
  if (frame == nullptr) return nullptr;
  std::memset(frame, 0, bytes);
  frame_bytes += bytes;
  all_frames.push_back(frame);
  return static_cast<std::byte*>(frame);
}

void Worker::giveFrame(uint32_t function, std::byte* frame) {
  free_frames[function].push_back(frame);
}

std::unique_ptr<BlockStorage> Worker::newBlock() {
  if (!spare.empty()) {
    auto storage = std::move(spare.back());
    spare.pop_back();
    return storage;
  }
  auto storage = std::make_unique<BlockStorage>();
  Block& b = storage->block;
  b.threads = static_cast<uint32_t>(launch.shape.block.count());
  uint32_t warps = (b.threads + kLanes - 1) / kLanes;
  size_t frame = round64(launch.kernel->function->frame_bytes);
  size_t warp_values = static_cast<size_t>(WarpValue::count) * kValueBytes;
  const std::vector<FormalParam>& uniform = launch.kernel->function->uniform_params;
  size_t block_values = (static_cast<size_t>(BlockValue::count) + uniform.size()) * kValueBytes;
  // An odd number of cache lines from lane to lane spreads the lanes over the cache's sets.
  size_t stride = launch.stack_bytes == 0 ? 0 : round64(launch.stack_bytes) | 64;
  b.shared_bytes = launch.shared_bytes;
  b.local_bytes = stride * kLanes * warps;
  size_t shared = (launch.shared_bytes + 127) & ~size_t{127};
  storage->bytes = kSharedAlign + 64 +
                   warps * (sizeof(Warp) + 64 + sizeof(std::byte*) + frame + warp_values) +
                   block_values + shared + b.local_bytes;
  storage->memory = takeMemory(storage->bytes);
  std::byte* at = storage->memory;
  auto take = [&](size_t bytes) {
    std::byte* here = at;
    at += round64(bytes);
    return here;
  };
  b.launch = &launch;
  b.shared = reinterpret_cast<std::byte*>((reinterpret_cast<uint64_t>(at) + kSharedAlign - 1) &
                                          ~(kSharedAlign - 1));
  at = b.shared + shared;
  b.values = take(block_values);
  b.free_frames = reinterpret_cast<std::byte**>(take(warps * sizeof(std::byte*)));
  b.warps = reinterpret_cast<Warp*>(take(warps * sizeof(Warp)));
  b.warp_count = warps;
  fillLaunchValues(b);
  for (size_t k = 0; k < uniform.size(); ++k) {
    uint32_t index = static_cast<uint32_t>(static_cast<size_t>(BlockValue::count) + k);
    uint64_t value = 0;
    std::memcpy(&value, launch.params.data() + uniform[k].offset, uniform[k].size);
    if (uniform[k].size == 8)
      fill64(b.values, index, value);
    else
      fill32(b.values, index, static_cast<uint32_t>(value));
  }
  std::byte* values = take(warps * warp_values);
  std::byte* regs = take(warps * frame);
  b.local = at;
  for (uint32_t n = 0; n < warps; ++n) {
    initialiseWarp(b.warps[n], b, n, values + n * warp_values);
    b.free_frames[n] = regs + n * frame;
    b.warps[n].local_base = b.local + n * stride * kLanes;
    b.warps[n].local_stride = stride;
    b.warps[n].local_bytes = launch.stack_bytes;
  }
  return storage;
}

void Worker::prepare(BlockStorage& storage, uint64_t index) {
  Block& b = storage.block;
  const LaunchShape& s = launch.shape;
  b.worker = this;
  uint64_t line = index / s.grid.x;
  b.ctaid[0] = static_cast<uint32_t>(index - line * s.grid.x);
  b.ctaid[1] = static_cast<uint32_t>(line % s.grid.y);
  b.ctaid[2] = static_cast<uint32_t>(line / s.grid.y);
  fill3(b, BlockValue::ctaid_x, b.ctaid[0], b.ctaid[1], b.ctaid[2]);
  if (launch.cluster_blocks > 1 || launch.code->uses_clusters) {
    const Extent& c = s.cluster;
    uint32_t in[3] = {b.ctaid[0] % c.x, b.ctaid[1] % c.y, b.ctaid[2] % c.z};
    b.cluster_rank = in[0] + c.x * (in[1] + c.y * in[2]);
    fill3(b, BlockValue::clusterid_x, b.ctaid[0] / c.x, b.ctaid[1] / c.y, b.ctaid[2] / c.z);
    fill3(b, BlockValue::cluster_ctaid_x, in[0], in[1], in[2]);
    fill32(b, BlockValue::cluster_ctarank, b.cluster_rank);
  }
  fill32(b, BlockValue::smid,
         static_cast<uint32_t>(index % launch.environment->traits().multiprocessors));
  b.warps_done = 0;
  b.cluster_arrived = b.cluster_phase = 0;
  b.free_frame_count = b.warp_count;
  const uint64_t seed = launch.environment->traits().order_seed;
  bool barriers_used = b.barriers_used != 0;  // some were never completed
  if (barriers_used) std::memset(b.barriers, 0, sizeof(b.barriers));
  b.barriers_used = 0;
  for (uint32_t n = 0; n < b.warp_count; ++n) {
    Warp& w = b.warps[n];
    uint32_t left = b.threads - n * kLanes;
    w.live = left >= kLanes ? ~0u : (1u << left) - 1;
    w.fresh = true;
    w.split_count = 0;
    w.mask = w.live;
    w.local = 0;
    w.join = kNone;
    w.join_count = 0;
    w.join_free = kNone;
    w.spins = 0;
    w.impatient = false;
    w.order = seed == 0 ? 0 : mixed(seed, index * b.warp_count + n);
    w.slice = w.order == 0 ? kSlice : static_cast<int32_t>(w.random() % kSlice);
    w.state = WarpState::ready;
    w.cluster_phase = 0;
    if (w.alloca_most != 0) std::memset(w.alloca_bytes, 0, sizeof(w.alloca_bytes));
    w.alloca_most = 0;
    if (barriers_used) std::memset(w.barrier_arrived, 0, sizeof(w.barrier_arrived));
  }
}

// Starts the next block, or all blocks of the next cluster; false when there is none left.
bool Worker::startUnit() {
  uint64_t unit = launch.next_unit.fetch_add(1, std::memory_order_relaxed);
  uint64_t units = launch.block_total / launch.cluster_blocks;
  if (unit >= units) return false;
  if (launch.unit_step != 1 || launch.first_unit != 0) {
    __extension__ using Wide = unsigned __int128;
    unit = static_cast<uint64_t>((Wide{unit} * launch.unit_step + launch.first_unit) % units);
  }
  if (launch.cluster_blocks == 1) {
    live.push_back(newBlock());
    prepare(*live.back(), unit);
    return true;
  }
  const Extent& c = launch.shape.cluster;
  const Extent& grid = launch.shape.grid;
  uint64_t nx = grid.x / c.x, ny = grid.y / c.y;
  uint64_t cx = unit % nx, cy = unit / nx % ny, cz = unit / (nx * ny);
  size_t first = live.size();
  for (uint32_t k = 0; k < launch.cluster_blocks; ++k) {
    uint64_t x = cx * c.x + k % c.x, y = cy * c.y + k / c.x % c.y, z = cz * c.z + k / (c.x * c.y);
    live.push_back(newBlock());
    prepare(*live.back(), x + grid.x * (y + grid.y * z));
  }
  for (size_t k = first; k < live.size(); ++k) {
    Block& b = live[k]->block;
    if (b.cluster == nullptr) b.cluster = new Block*[launch.cluster_blocks];
    b.cluster_blocks = launch.cluster_blocks;
    for (uint32_t n = 0; n < launch.cluster_blocks; ++n) b.cluster[n] = &live[first + n]->block;
  }
  return true;
}

// Runs one warp until it stops. Errors of the kernel jump out of it, to Worker::run.
inline void Worker::runWarp(Warp& warp) {
  running = &warp;
  warp.spinning = false;
  const Inst* at = entry;
  if (warp.fresh) {
    warp.fresh = false;
    Block& block = *warp.block;
    warp.frame = warp.base[kBaseFrame] = block.free_frames[--block.free_frame_count];
  } else {
    at = warp.resumeAny();
  }
  while (at != nullptr) at = at->run(warp, at);
  running = nullptr;
}

void Worker::reportFault() {
  Warp& w = *running;
  LaunchDetail detail = locate(w, fault.lane, fault.at);
  detail.address = fault.address;
  const char* what = "stopped";
  switch (fault.status) {
    case LaunchStatus::illegal_address:
      what = "accessed an address that is not its own";
      break;
    case LaunchStatus::misaligned_address:
      what = "made a misaligned access";
      break;
    case LaunchStatus::trap:
      what = "executed a trap";
      break;
    case LaunchStatus::assertion:
      what = "failed an assertion";
      break;
    case LaunchStatus::stack_overflow:
      what = "ran out of stack";
      break;
    case LaunchStatus::invalid_pc:
      what = "called or branched to something that is no code";
      break;
    case LaunchStatus::illegal_instruction:
      what = "executed an illegal instruction";
      break;
    default:
      break;
  }
  char text[400];
  std::snprintf(
      text, sizeof(text),
      "Thread (%u,%u,%u) of block (%u,%u,%u) of kernel '%.120s' %s at PTX line %u, address "
      "0x%llx.",
      detail.thread.x, detail.thread.y, detail.thread.z, detail.block.x, detail.block.y,
      detail.block.z, detail.kernel.c_str(), what, detail.ptx_line,
      static_cast<unsigned long long>(detail.address));
  detail.message = text;
  launch.fail(fault.status, detail);
}

void Worker::checkLimits() {
  const LaunchControl* control = launch.control;
  if (control == nullptr) return;
  LaunchDetail detail;
  detail.kernel = launch.kernel->name;
  if (control->abort.load(std::memory_order_relaxed)) {
    detail.message = "The launch was aborted.";
    launch.fail(LaunchStatus::aborted, detail);
  } else if (control->timeout_ns != 0 &&
             monotonicNanoseconds() - launch.start_ns > control->timeout_ns) {
    detail.message =
        "The launch ran longer than " + std::to_string(control->timeout_ns / 1'000'000) + " ms.";
    launch.fail(LaunchStatus::launch_timeout, detail);
  }
}

// No warp of the block can run. Lanes that wait within a warp for others that wait at a barrier are
// let go.
bool Worker::unblock(Block& block) {
  bool changed = false;
  for (uint32_t n = 0; n < block.warp_count; ++n) {
    Warp& w = block.warps[n];
    if (w.state != WarpState::blocked) continue;
    if (w.releaseWaiting() || w.runCollective()) {
      w.state = WarpState::ready;
      changed = true;
    }
  }
  return changed;
}

Worker::Progress Worker::runBlock(Block& block) {
  bool ran = false, all_spinning = true;
  uint32_t first = 0, step = 1;
  if (block.warps[0].order != 0) {
    first = block.warps[0].random() % block.warp_count;
    if (block.warps[0].random() % 2 != 0) step = block.warp_count - 1;  // backwards
  }
  for (uint32_t k = 0, n = first; k < block.warp_count; ++k, n += step) {
    if (n >= block.warp_count) n -= block.warp_count;
    Warp& w = block.warps[n];
    if (w.state != WarpState::ready) continue;
    ran = true;
    runWarp(w);
    if (w.state != WarpState::ready || !w.spinning) all_spinning = false;
  }
  if (block.warps_done == block.warp_count) return Progress::finished;
  if (!ran) return unblock(block) ? Progress::some : Progress::stuck;
  return all_spinning ? Progress::spinning : Progress::some;
}

void Worker::retire(size_t index) {
  spare.push_back(std::move(live[index]));
  live.erase(live.begin() + static_cast<ptrdiff_t>(index));
}

void Worker::run() {
  entry = launch.kernel->function->code.data();
  setFaultWorker(this);
  try {
    if (sigsetjmp(recovery, 0) != 0) {
      reportFault();
      running = nullptr;
    } else {
      runBlocks();
    }
  } catch (const std::bad_alloc&) {
    LaunchDetail detail;
    detail.kernel = launch.kernel->name;
    detail.message = "The host has no memory for the launch.";
    launch.fail(LaunchStatus::out_of_memory, detail);
  }
  setFaultWorker(nullptr);
}

// While a warp runs, nothing with a destructor may live here or in what leads to it: errors of the
// kernel jump to run(), and the launch is over then.
void Worker::runBlocks() {
  bool more = true;
  for (size_t turn = 0; !launch.stop.load(std::memory_order_acquire);) {
    if (live.empty()) {
      if (!more || !(more = startUnit())) break;
    }
    if (turn >= live.size()) turn = 0;
    Block& block = live[turn]->block;
    Progress progress = runBlock(block);
    if (progress == Progress::finished) {
      // The blocks of a cluster may still use this one's memory: they end together.
      bool together = block.cluster != nullptr;
      if (!together) {
        retire(turn);
      } else if (std::all_of(live.begin(), live.end(), [](const auto& s) {
                   return s->block.warps_done == s->block.warp_count;
                 })) {
        while (!live.empty()) retire(live.size() - 1);
      } else {
        ++turn;
      }
      checkLimits();
      continue;
    }
    if (progress == Progress::some && live.size() == 1) {
      checkLimits();
      continue;
    }
    ++turn;
    checkLimits();
    if (turn < live.size()) continue;
    // Every live block has had its turn and waits for something outside: start another one if the
    // device would hold it too.
    bool waits = progress != Progress::some;
    if (waits && more && live.size() < launch.resident_max) {
      more = startUnit();
    } else if (progress == Progress::stuck && !more && isDeadlocked()) {
      LaunchDetail detail;
      detail.kernel = launch.kernel->name;
      detail.message = "Every thread of a block waits at a barrier that can not complete.";
      launch.fail(LaunchStatus::deadlock, detail);
    } else if (waits) {
      std::this_thread::yield();
    }
  }
}

// Blocks wait only for their own threads and those of their cluster, which this worker has all.
bool Worker::isDeadlocked() const {
  for (const auto& storage : live) {
    const Block& block = storage->block;
    for (uint32_t n = 0; n < block.warp_count; ++n) {
      if (block.warps[n].state == WarpState::ready) return false;
    }
  }
  return true;
}

}  // namespace farwarp::ptx
