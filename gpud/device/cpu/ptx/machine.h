// A launch while it runs: what its workers share and what each of them owns.
#pragma once

#include <setjmp.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "gpud/device/cpu/ptx/child_grids.h"
#include "gpud/device/cpu/ptx/code.h"
#include "gpud/device/cpu/ptx/engine.h"
#include "gpud/device/cpu/ptx/executors.h"
#include "gpud/device/cpu/ptx/warp.h"

namespace farwarp::ptx {

// Memory of the workspace that cooperative groups find through %envreg1 and %envreg2.
struct alignas(64) GridWorkspace {
  uint32_t bytes = sizeof(GridWorkspace);
  uint32_t barrier = 0;
  uint32_t reserved[14] = {};
};

// A kernel's parameters: a copy, padded, and aligned as a parameter may ask for (a tensor map is at
// a multiple of 64).
class ParamBlock {
 public:
  void assign(const std::byte* from, size_t bytes) {
    lines_.assign((bytes + 31) / sizeof(Line) + 1, Line{});  // a load may reach past the end
    if (bytes != 0) std::memcpy(lines_.data(), from, bytes);
  }
  const std::byte* data() const { return lines_.empty() ? nullptr : lines_.front().bytes; }
  size_t size() const { return lines_.size() * sizeof(Line); }

 private:
  struct alignas(128) Line {
    std::byte bytes[128];
  };
  std::vector<Line> lines_;
};

struct Launch {
  const KernelCode* kernel = nullptr;
  const LoadedProgram* program = nullptr;
  const ProgramCode* code = nullptr;
  LaunchShape shape;
  Environment* environment = nullptr;
  LaunchControl* control = nullptr;
  const Executors* executors = nullptr;
  uint64_t block_total = 0;
  uint32_t cluster_blocks = 1;
  uint64_t resident_max = 1;  // blocks that may be live in one worker at once
  uint64_t shared_bytes = 0;
  uint64_t stack_bytes = 0;  // local memory of a thread
  uint64_t start_ns = 0;
  uint64_t first_unit = 0, unit_step = 1;  // the order of the units, where one was asked for
  // Block, or cluster, to start next. Alone on its lines: what the workers read all the time must
  // not move between processors with it.
  alignas(128) std::atomic<uint64_t> next_unit{0};
  alignas(128) std::atomic<bool> stop{false};  // an error happened
  uint32_t depth = 0;                          // of grids that launched this one
  ChildGrids children;
  GridWorkspace workspace;
  ParamBlock params;
  std::mutex mutex;  // guards result
  LaunchResult result;

  // Keeps the first error and stops the launch.
  void fail(LaunchStatus status, const LaunchDetail& detail);
  // Chooses the order of the units from the device's seed.
  void chooseOrder();
};

// A number that depends on every bit of the two; never 0.
inline uint32_t mixed(uint64_t a, uint64_t b) {
  uint64_t x = (a + 0x9e3779b97f4a7c15) ^ (b * 0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return static_cast<uint32_t>(x >> 32) | 1;
}

struct BlockStorage {
  Block block{};
  std::byte* memory = nullptr;
  size_t bytes = 0;
};

// What stopped a kernel, noted before the jump back to the worker.
struct Fault {
  LaunchStatus status = LaunchStatus::ok;
  const Inst* at = nullptr;
  uint32_t lane = 0;
  uint64_t address = 0;
};

struct Worker {
  explicit Worker(Launch& launch) : launch(launch) {}
  ~Worker();
  Launch& launch;
  sigjmp_buf recovery;
  Warp* running = nullptr;
  Fault fault;
  const Inst* entry = nullptr;  // of the kernel
  std::vector<std::unique_ptr<BlockStorage>> live;
  std::vector<std::unique_ptr<BlockStorage>> spare;
  // Register frames of called functions.
  std::vector<std::vector<std::byte*>> free_frames;
  std::vector<void*> all_frames;
  uint64_t frame_bytes = 0;

  std::byte* takeFrame(const FunctionCode& function);
  void giveFrame(uint32_t function, std::byte* frame);
  // Runs blocks until none are left or the launch stops.
  void run();

 private:
  void runBlocks();
  enum class Progress { finished, some, spinning, stuck };
  bool startUnit();
  std::unique_ptr<BlockStorage> newBlock();
  void prepare(BlockStorage& storage, uint64_t index);
  Progress runBlock(Block& block);
  void runWarp(Warp& warp);
  bool unblock(Block& block);
  bool isDeadlocked() const;
  void retire(size_t index);
  void checkLimits();
  void reportFault();
};

// fault.cc: memory faults of kernels. The handlers are installed once per process.
void installFaultHandlers();
// The worker whose kernel runs on this thread; null outside of kernels.
void setFaultWorker(Worker* worker);

// Where a lane of a warp is.
LaunchDetail locate(const Warp& warp, uint32_t lane, const Inst* i);
uint64_t monotonicNanoseconds();

}  // namespace farwarp::ptx
