// What libcudadevrt.a gives to kernels: launching grids, and the streams and events that order
// them. The library has machine code, and PTX for one architecture only, so that these are the
// engine's own. Names begin with __cudaCDP2 (nvcc 12 and newer) or cuda.
#include <sys/mman.h>

#include "gpud/device/cpu/ptx/child_grids.h"
#include "gpud/device/cpu/ptx/system_call.h"

namespace farwarp::ptx {

ChildGrids::~ChildGrids() {
  if (begin_ != 0) munmap(reinterpret_cast<void*>(begin_.load()), kParamBytesMax);
}

uint64_t ChildGrids::prepare(const ChildGrid& grid, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (begin_ == 0) {
    void* memory = mmap(nullptr, kParamBytesMax, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return 0;
    begin_.store(reinterpret_cast<uint64_t>(memory), std::memory_order_release);
  }
  if (bytes > kParamBytesMax - used_) return 0;
  uint64_t at = begin_ + used_;
  used_ = std::min(kParamBytesMax, (used_ + std::max<uint64_t>(bytes, 1) + 127) & ~uint64_t{127});
  ChildGrid kept = grid;
  kept.params = reinterpret_cast<const void*>(at);
  prepared_.emplace(at, kept);
  return at;
}

bool ChildGrids::launchLocked(uint64_t params, const ChildGrid* grid, bool at_the_tail) {
  auto found = prepared_.find(params);
  if (found == prepared_.end()) return false;
  ChildGrid chosen = grid != nullptr ? *grid : found->second;
  chosen.params = found->second.params;
  if (chosen.kernel == nullptr) return false;
  (at_the_tail ? tail_ : launched_).push_back(chosen);
  prepared_.erase(found);
  return true;
}

bool ChildGrids::launch(uint64_t params, bool at_the_tail) {
  std::lock_guard lock(mutex_);
  return launchLocked(params, nullptr, at_the_tail);
}

bool ChildGrids::launch(uint64_t params, const ChildGrid& grid, bool at_the_tail) {
  std::lock_guard lock(mutex_);
  return launchLocked(params, &grid, at_the_tail);
}

std::vector<ChildGrid> ChildGrids::take() {
  std::lock_guard lock(mutex_);
  std::vector<ChildGrid> all = std::move(launched_);
  all.insert(all.end(), tail_.begin(), tail_.end());
  launched_.clear();
  tail_.clear();
  return all;
}

namespace op {
namespace {

// Results as cudaError_t has them.
enum : int32_t {
  kSuccess = 0,
  kInvalidValue = 1,
  kMemoryAllocation = 2,
  kInvalidConfiguration = 9,
  kLaunchMaxDepthExceeded = 65,
  kInvalidDeviceFunction = 98,
};
constexpr uint64_t kStreamTailLaunch = 3;

// The kernel that a function's handle stands for; null when it is none.
const Kernel* kernelOf(const Warp& w, uint64_t handle) {
  for (const Kernel& kernel : w.block->launch->program->program().kernels()) {
    if (functionHandle(kernel.code().function->index) == handle) return &kernel;
  }
  return nullptr;
}

ChildGrid gridOf(const Warp& w, const CallSite& site, uint32_t lane, uint64_t function,
                 size_t first) {
  ChildGrid grid;
  grid.kernel = kernelOf(w, function);
  grid.grid = argument<Extent>(w, site, first, lane);
  grid.block = argument<Extent>(w, site, first + 1, lane);
  grid.shared_bytes = argument<uint32_t>(w, site, first + 2, lane);
  return grid;
}

int32_t errorOf(const Warp& w, const ChildGrid& grid) {
  const Launch& launch = *w.block->launch;
  if (launch.depth + 1 > ChildGrids::kDepthMax) return kLaunchMaxDepthExceeded;
  const Extent& block = grid.block;
  bool fits = grid.grid.count() != 0 && grid.grid.x <= 0x7fffffff && grid.grid.y <= 65535 &&
              grid.grid.z <= 65535 && block.count() != 0 && block.x <= 1024 && block.y <= 1024 &&
              block.z <= 64 && block.count() <= 1024 &&
              uint64_t{grid.kernel->code().static_shared_bytes} + grid.shared_bytes <=
                  launch.environment->traits().shared_bytes_max;
  return fits ? kSuccess : kInvalidConfiguration;
}

// void* GetParameterBufferV2(void* function, dim3 grid, dim3 block, unsigned shared_bytes)
const Inst* getParameterBufferV2(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    ChildGrid grid = gridOf(w, site, lane, argument<uint64_t>(w, site, 0, lane), 1);
    uint64_t at = 0;
    if (grid.kernel != nullptr && errorOf(w, grid) == kSuccess) {
      at = w.block->launch->children.prepare(grid, grid.kernel->info().param_bytes);
    }
    giveResult<uint64_t>(w, site, lane, at);
  });
  return i + 1;
}

// cudaError_t LaunchDeviceV2(void* parameters, cudaStream_t stream)
const Inst* launchDeviceV2(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    bool tail = argument<uint64_t>(w, site, 1, lane) == kStreamTailLaunch;
    bool done = w.block->launch->children.launch(argument<uint64_t>(w, site, 0, lane), tail);
    giveResult<int32_t>(w, site, lane, done ? kSuccess : kInvalidValue);
  });
  return i + 1;
}

// void* GetParameterBuffer(size_t alignment, size_t bytes)
const Inst* getParameterBuffer(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    uint64_t bytes = argument<uint64_t>(w, site, 1, lane);
    giveResult<uint64_t>(w, site, lane, w.block->launch->children.prepare({}, bytes));
  });
  return i + 1;
}

// cudaError_t LaunchDevice(void* function, void* parameters, dim3 grid, dim3 block, unsigned
// shared_bytes, cudaStream_t stream)
const Inst* launchDevice(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    ChildGrid grid = gridOf(w, site, lane, argument<uint64_t>(w, site, 0, lane), 2);
    int32_t error = grid.kernel == nullptr ? int32_t{kInvalidDeviceFunction} : errorOf(w, grid);
    bool tail = argument<uint64_t>(w, site, 5, lane) == kStreamTailLaunch;
    uint64_t params = argument<uint64_t>(w, site, 1, lane);
    if (error == kSuccess && !w.block->launch->children.launch(params, grid, tail)) {
      error = kInvalidValue;
    }
    giveResult(w, site, lane, error);
  });
  return i + 1;
}

void storePointer(Warp& w, const Inst* i, uint32_t lane, uint64_t address, uint64_t value) {
  w.pc = i;
  w.spacing = kNone;
  w.address[lane] = address;
  checkAddresses(w, i, 1u << lane, sizeof(value), Space::generic);
  *reinterpret_cast<volatile uint64_t*>(w.address[lane]) = value;
}

// Streams and events order grids, which run one after the other anyway: any handle will do.
const Inst* createHandle(Warp& w, const Inst* i) {
  constexpr uint64_t kHandle = 0x100;
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    storePointer(w, i, lane, argument<uint64_t>(w, site, 0, lane), kHandle);
    giveResult<int32_t>(w, site, lane, kSuccess);
  });
  return i + 1;
}

const Inst* succeed(Warp& w, const Inst* i) {
  forLanes(w.mask, [&](uint32_t lane) { giveResult<int32_t>(w, siteOf(i), lane, kSuccess); });
  return i + 1;
}

// Queues a helper that works on `bytes` bytes; `params` are its parameters.
template <class Params>
int32_t launchHelper(Warp& w, std::string_view name, const Params& params, uint64_t bytes,
                     uint64_t stream) {
  constexpr uint64_t kThreads = 256, kBytesPerBlock = 64 << 10, kBlocksMax = 1024;
  if (bytes == 0) return kSuccess;
  Launch& launch = *w.block->launch;
  ChildGrid grid;
  for (const Kernel& helper : launch.program->program().helpers()) {
    if (helper.info().name == name) grid.kernel = &helper;
  }
  if (grid.kernel == nullptr) return kInvalidDeviceFunction;
  grid.block.x = kThreads;
  grid.grid.x = static_cast<uint32_t>(std::min(kBlocksMax, bytes / kBytesPerBlock + 1));
  if (int32_t error = errorOf(w, grid); error != kSuccess) return error;
  uint64_t at = launch.children.prepare(grid, sizeof(params));
  if (at == 0) return kMemoryAllocation;
  std::memcpy(reinterpret_cast<void*>(at), &params, sizeof(params));
  launch.children.launch(at, stream == kStreamTailLaunch);
  return kSuccess;
}

// cudaError_t MemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
// cudaStream_t stream)
const Inst* copyAsync(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    struct {
      uint64_t to, from, bytes;
    } params = {argument<uint64_t>(w, site, 0, lane), argument<uint64_t>(w, site, 1, lane),
                argument<uint64_t>(w, site, 2, lane)};
    giveResult<int32_t>(
        w, site, lane,
        launchHelper(w, kCopyHelper, params, params.bytes, argument<uint64_t>(w, site, 4, lane)));
  });
  return i + 1;
}

// cudaError_t MemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream)
const Inst* fillAsync(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    struct {
      uint64_t to, bytes;
      uint32_t value;
    } params = {argument<uint64_t>(w, site, 0, lane), argument<uint64_t>(w, site, 2, lane),
                argument<uint32_t>(w, site, 1, lane)};
    giveResult<int32_t>(
        w, site, lane,
        launchHelper(w, kFillHelper, params, params.bytes, argument<uint64_t>(w, site, 3, lane)));
  });
  return i + 1;
}

// cudaError_t Malloc(void** pointer, size_t bytes)
const Inst* deviceMalloc(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    uint64_t bytes = argument<uint64_t>(w, site, 1, lane);
    uint64_t at = bytes == 0 ? 0 : w.block->launch->environment->allocate(bytes);
    storePointer(w, i, lane, argument<uint64_t>(w, site, 0, lane), at);
    bool failed = bytes != 0 && at == 0;
    giveResult<int32_t>(w, site, lane, failed ? kMemoryAllocation : kSuccess);
  });
  return i + 1;
}

// cudaError_t Free(void* pointer)
const Inst* deviceFree(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    uint64_t address = argument<uint64_t>(w, site, 0, lane);
    if (address != 0) w.block->launch->environment->release(address);
    giveResult<int32_t>(w, site, lane, kSuccess);
  });
  return i + 1;
}

constexpr struct {
  std::string_view name;
  Handler handler;
} kCalls[] = {
    {"GetParameterBufferV2", getParameterBufferV2},
    {"LaunchDeviceV2", launchDeviceV2},
    {"GetParameterBuffer", getParameterBuffer},
    {"LaunchDevice", launchDevice},
    {"StreamCreateWithFlags", createHandle},
    {"StreamDestroy", succeed},
    {"StreamWaitEvent", succeed},
    {"EventCreateWithFlags", createHandle},
    {"EventRecord", succeed},
    {"EventRecordWithFlags", succeed},
    {"EventDestroy", succeed},
    {"GetLastError", succeed},
    {"PeekAtLastError", succeed},
    {"MemcpyAsync", copyAsync},
    {"MemsetAsync", fillAsync},
    {"Malloc", deviceMalloc},
    {"Free", deviceFree},
};

constexpr std::string_view kHelperText = R"(
.visible .entry __farwarp_copy(.param .u64 to, .param .u64 from, .param .u64 bytes)
{
  .reg .pred %p; .reg .b16 %h; .reg .b32 %r<5>; .reg .b64 %d<7>;
  ld.param.u64 %d0, [to]; ld.param.u64 %d1, [from]; ld.param.u64 %d2, [bytes];
  mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x; mov.u32 %r4, %nctaid.x;
  mad.lo.u32 %r3, %r0, %r1, %r2; cvt.u64.u32 %d3, %r3; mul.wide.u32 %d4, %r4, %r1;
NEXT:
  setp.ge.u64 %p, %d3, %d2; @%p bra DONE;
  add.u64 %d5, %d1, %d3; ld.u8 %h, [%d5]; add.u64 %d6, %d0, %d3; st.u8 [%d6], %h;
  add.u64 %d3, %d3, %d4; bra NEXT;
DONE:
  ret;
}
.visible .entry __farwarp_fill(.param .u64 to, .param .u64 bytes, .param .u32 value)
{
  .reg .pred %p; .reg .b32 %r<6>; .reg .b64 %d<7>;
  ld.param.u64 %d0, [to]; ld.param.u64 %d2, [bytes]; ld.param.u32 %r5, [value];
  mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x; mov.u32 %r4, %nctaid.x;
  mad.lo.u32 %r3, %r0, %r1, %r2; cvt.u64.u32 %d3, %r3; mul.wide.u32 %d4, %r4, %r1;
NEXT:
  setp.ge.u64 %p, %d3, %d2; @%p bra DONE;
  add.u64 %d6, %d0, %d3; st.u8 [%d6], %r5; add.u64 %d3, %d3, %d4; bra NEXT;
DONE:
  ret;
}
)";

}  // namespace

std::string_view deviceRuntimeText(std::string_view text) {
  bool needed = text.find("MemcpyAsync") != text.npos || text.find("MemsetAsync") != text.npos;
  return needed ? kHelperText : std::string_view();
}

Handler deviceRuntimeCall(std::string_view name) {
  constexpr std::string_view kPrefix = "__cudaCDP2", kOldPrefix = "cuda", kPerThread = "_ptsz";
  if (name.starts_with(kPrefix)) {
    name.remove_prefix(kPrefix.size());
  } else if (name.starts_with(kOldPrefix)) {
    name.remove_prefix(kOldPrefix.size());
  } else {
    return nullptr;
  }
  if (name.ends_with(kPerThread)) name.remove_suffix(kPerThread.size());
  for (const auto& call : kCalls) {
    if (call.name == name) return call.handler;
  }
  return nullptr;
}

}  // namespace op
}  // namespace farwarp::ptx
