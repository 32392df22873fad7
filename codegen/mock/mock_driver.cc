#include "codegen/mock/mock_driver.h"

#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "codegen/mock/mock_state.h"

namespace farwarp {

const DriverTable& mockDriverTable() {
  return mock::table();
}

namespace mock {
namespace {

struct Order {
  uint64_t countdown = 0;  // 0: nothing is ordered
  CUresult result = CUDA_SUCCESS;
};

struct State {
  std::mutex mutex;  // guards everything below
  uint64_t calls = 0;
  std::array<uint64_t, kDriverFunctionCount + 1> calls_of{};
  std::array<Order, kDriverFunctionCount + 1> orders_of{};
  Order order;
  std::array<CallId, kHistoryMax> history{};  // a ring
  uint64_t last_handle = 0;
  std::map<uint64_t, wire::HandleType> handles;
  std::map<CUdeviceptr, uint64_t> allocations;
  uint64_t allocated = 0;
};

// Never destroyed: cudarts in shared libraries call the driver after its static destructors.
State& state() {
  static State& instance = *[] {
    auto* made = new State;
    if (const char* text = std::getenv("FARWARP_MOCK_FAIL")) {
      char* end = nullptr;
      const uint64_t k = std::strtoull(text, &end, 10);
      if (*end == ':') made->order = {k, static_cast<CUresult>(std::strtoul(end + 1, nullptr, 10))};
    }
    return made;
  }();
  return instance;
}

size_t slotOf(CallId call) {
  return static_cast<size_t>(call);
}

// True when the order's turn has come.
bool isDue(Order& order) {
  return order.countdown != 0 && --order.countdown == 0;
}

}  // namespace

CUresult begin(CallId call) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  s.history[s.calls++ % kHistoryMax] = call;
  ++s.calls_of[slotOf(call)];
  const bool due = isDue(s.order);
  Order& own = s.orders_of[slotOf(call)];
  if (isDue(own)) return own.result;
  return due ? s.order.result : CUDA_SUCCESS;
}

void failCall(uint64_t k, CUresult result) {
  std::lock_guard lock(state().mutex);
  state().order = {k, result};
}

void failCallOf(CallId call, uint64_t k, CUresult result) {
  std::lock_guard lock(state().mutex);
  state().orders_of[slotOf(call)] = {k, result};
}

uint64_t callCount() {
  std::lock_guard lock(state().mutex);
  return state().calls;
}

uint64_t callCount(CallId call) {
  std::lock_guard lock(state().mutex);
  return state().calls_of[slotOf(call)];
}

std::vector<CallId> history() {
  State& s = state();
  std::lock_guard lock(s.mutex);
  std::vector<CallId> calls;
  for (uint64_t i = s.calls > kHistoryMax ? s.calls - kHistoryMax : 0; i < s.calls; ++i) {
    calls.push_back(s.history[i % kHistoryMax]);
  }
  return calls;
}

void* makeHandle(wire::HandleType type) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  // Far from the special values and from anything that could be dereferenced.
  const uint64_t handle = 0x4d0c000000000000ull + (++s.last_handle << 4);
  s.handles.emplace(handle, type);
  return reinterpret_cast<void*>(handle);
}

bool isLive(wire::HandleType type, uint64_t handle) {
  if (handle == 0 || wire::isSpecialHandle(type, handle)) return true;
  std::lock_guard lock(state().mutex);
  const auto found = state().handles.find(handle);
  return found != state().handles.end() && wire::handleTypeAccepts(type, found->second);
}

bool destroyHandle(wire::HandleType type, uint64_t handle) {
  std::lock_guard lock(state().mutex);
  const auto found = state().handles.find(handle);
  if (found == state().handles.end() || found->second != type) return false;
  state().handles.erase(found);
  return true;
}

uint64_t liveHandles(wire::HandleType type) {
  std::lock_guard lock(state().mutex);
  uint64_t count = 0;
  for (const auto& [handle, its_type] : state().handles) count += its_type == type;
  return count;
}

CUdeviceptr allocate(uint64_t bytes) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (bytes > kDeviceBytes - s.allocated) return 0;
  void* memory = std::calloc(bytes, 1);
  if (memory == nullptr) return 0;
  const auto address = reinterpret_cast<CUdeviceptr>(memory);
  s.allocations.emplace(address, bytes);
  s.allocated += bytes;
  return address;
}

bool release(CUdeviceptr address) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  const auto found = s.allocations.find(address);
  if (found == s.allocations.end()) return false;
  s.allocated -= found->second;
  s.allocations.erase(found);
  std::free(reinterpret_cast<void*>(address));
  return true;
}

uint64_t allocatedBytes() {
  std::lock_guard lock(state().mutex);
  return state().allocated;
}

uint64_t liveAllocations() {
  std::lock_guard lock(state().mutex);
  return state().allocations.size();
}

bool findAllocation(CUdeviceptr address, uint64_t bytes, CUdeviceptr& start, uint64_t& size) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  auto next = s.allocations.upper_bound(address);
  if (next == s.allocations.begin()) return false;
  const auto& [from, length] = *std::prev(next);
  const uint64_t offset = address - from;
  if (offset >= length || bytes > length - offset) return false;
  start = from, size = length;
  return true;
}

void reset() {
  State& s = state();
  std::lock_guard lock(s.mutex);
  for (const auto& [address, bytes] : s.allocations) std::free(reinterpret_cast<void*>(address));
  s.allocations.clear();
  s.handles.clear();
  s.calls = s.allocated = 0;
  s.calls_of.fill(0);
  s.orders_of.fill({});
  s.order = {};
}

}  // namespace mock
}  // namespace farwarp
