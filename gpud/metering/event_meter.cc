// Kernel times from a pair of events around each launch.
//
// The pair is recorded in the launch's own stream, so its distance is the kernel's duration plus
// the device's launch overhead. Positions on the time axis, which the union needs, are taken
// against a base event per context. cuEventElapsedTime gives a float, so the base is moved along: a
// float of milliseconds below kBaseAgeMaxMs is good to about 30 ns.
#include <cmath>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "gpud/device/driver_table.h"
#include "gpud/metering/interval_union.h"
#include "gpud/metering/kernel_meter.h"
#include "gpud/metering/kernel_timeline.h"

namespace farwarp {
namespace {

constexpr float kBaseAgeMaxMs = 250.0F;
// A launch beyond this waits for the oldest one, as a driver does when its own queue is full.
constexpr size_t kPendingMax = 1024;
constexpr size_t kPollEvery = 64;
// Brackets of other streams may be done although the oldest is not; looking further costs too much.
constexpr size_t kNotReadyMax = 8;
// Far enough from 0 that a start before the base stays positive.
constexpr uint64_t kOriginNs = uint64_t{1} << 40;

struct Bracket {
  CUevent start;
  CUevent end;
  CUdevice device;
  std::string name;  // for the timeline
};

struct ContextState {
  std::vector<CUevent> free;
  std::deque<Bracket> pending;  // in the order of launches
  CUevent base = nullptr;
  uint64_t base_ns = kOriginNs;
  // The same on the clock of the host, as far as it is known: when the event was put into its
  // stream.
  uint64_t base_host_ns = 0;
  IntervalUnion busy;
};

class EventMeter final : public KernelMeter {
 public:
  EventMeter(const DriverTable& driver, KernelTotals totals) : driver_(driver), totals_(totals) {}

  MeterMethod method() const override { return MeterMethod::event_brackets; }

  void beforeLaunch(CUcontext context, CUdevice device, CUstream stream,
                    const char* name) override {
    current_ = nullptr;
    ContextState& state = contexts_[context];
    if (++since_poll_ >= kPollEvery) pollContext(state);
    if (state.pending.size() >= kPendingMax) {
      driver_.cuEventSynchronize(state.pending.front().end);
      pollContext(state);
      if (state.pending.size() >= kPendingMax) return;  // the context is broken; nothing to measure
    }
    if (state.base == nullptr && takeEvent(state, state.base)) {
      if (driver_.cuEventRecord(state.base, stream) != CUDA_SUCCESS) dropBase(state);
      state.base_host_ns = KernelTimeline::now();
    }
    if (state.base == nullptr || !takeEvent(state, bracket_.start)) return;
    if (!takeEvent(state, bracket_.end)) return state.free.push_back(bracket_.start);
    if (driver_.cuEventRecord(bracket_.start, stream) != CUDA_SUCCESS) return giveBack(state);
    bracket_.device = device;
    bracket_.name = name == nullptr ? "" : name;
    current_ = &state;
    stream_ = stream;
  }

  void afterLaunch(CUresult result) override {
    if (result == CUDA_SUCCESS) totals_.launches.fetch_add(1, std::memory_order_relaxed);
    if (current_ == nullptr) return;
    if (result == CUDA_SUCCESS && driver_.cuEventRecord(bracket_.end, stream_) == CUDA_SUCCESS) {
      current_->pending.push_back(bracket_);
    } else {
      giveBack(*current_);
    }
    current_ = nullptr;
  }

  void poll() override {
    for (auto& [context, state] : contexts_) pollContext(state);
  }

  void contextEnds(CUcontext context) override {
    const auto it = contexts_.find(context);
    if (it == contexts_.end()) return;
    ContextState& state = it->second;
    while (!state.pending.empty()) {
      driver_.cuEventSynchronize(state.pending.front().end);
      const size_t before = state.pending.size();
      pollContext(state);
      if (state.pending.size() == before) break;
    }
    for (const Bracket& bracket : state.pending) {
      driver_.cuEventDestroy_v2(bracket.start);
      driver_.cuEventDestroy_v2(bracket.end);
    }
    dropBase(state);
    for (CUevent event : state.free) driver_.cuEventDestroy_v2(event);
    contexts_.erase(it);
  }

 private:
  bool takeEvent(ContextState& state, CUevent& event) {
    if (!state.free.empty()) {
      event = state.free.back();
      state.free.pop_back();
      return true;
    }
    return driver_.cuEventCreate(&event, CU_EVENT_DEFAULT) == CUDA_SUCCESS;
  }

  void giveBack(ContextState& state) {
    state.free.push_back(bracket_.start);
    state.free.push_back(bracket_.end);
  }

  void dropBase(ContextState& state) {
    if (state.base != nullptr) driver_.cuEventDestroy_v2(state.base);
    state.base = nullptr;
  }

  void pollContext(ContextState& state) {
    since_poll_ = 0;
    size_t not_ready = 0;
    for (auto it = state.pending.begin(); it != state.pending.end() && not_ready < kNotReadyMax;) {
      const CUresult ready = driver_.cuEventQuery(it->end);
      if (ready == CUDA_ERROR_NOT_READY) {
        ++not_ready;
        ++it;
        continue;
      }
      takeIn(state, *it, ready);
      it = state.pending.erase(it);
    }
    if (state.pending.empty()) state.busy.settleAll();
  }

  // Counts a finished bracket and returns its events. A launch that broke its context counts
  // nothing.
  void takeIn(ContextState& state, const Bracket& bracket, CUresult ready) {
    float start_ms = 0;
    float duration_ms = 0;
    if (ready == CUDA_SUCCESS &&
        driver_.cuEventElapsedTime(&start_ms, state.base, bracket.start) == CUDA_SUCCESS &&
        driver_.cuEventElapsedTime(&duration_ms, bracket.start, bracket.end) == CUDA_SUCCESS &&
        std::isfinite(start_ms) && duration_ms >= 0 && duration_ms < 1e12F) {
      const uint64_t start_ns = state.base_ns + std::llround(double{start_ms} * 1e6);
      const uint64_t duration_ns = std::llround(double{duration_ms} * 1e6);
      const uint64_t busy_before = state.busy.totalNs();
      state.busy.add(start_ns, start_ns + duration_ns);
      totals_.kernel_ns.fetch_add(duration_ns, std::memory_order_relaxed);
      totals_.busy_ns.fetch_add(state.busy.totalNs() - busy_before, std::memory_order_relaxed);
      const uint64_t host_ns = state.base_host_ns + (start_ns - state.base_ns);
      if (totals_.timeline != nullptr) {
        totals_.timeline->add(host_ns, host_ns + duration_ns, static_cast<uint32_t>(bracket.device),
                              bracket.name);
      }
      if (start_ms > kBaseAgeMaxMs) {
        state.free.push_back(state.base);
        state.base = bracket.start;
        state.base_ns = start_ns;
        state.base_host_ns = host_ns;
        state.free.push_back(bracket.end);
        return;
      }
    }
    state.free.push_back(bracket.start);
    state.free.push_back(bracket.end);
  }

  const DriverTable& driver_;
  KernelTotals totals_;
  std::map<CUcontext, ContextState> contexts_;
  size_t since_poll_ = 0;
  // The launch between beforeLaunch and afterLaunch; null when it is not measured.
  ContextState* current_ = nullptr;
  CUstream stream_ = nullptr;
  Bracket bracket_{};
};

}  // namespace

std::unique_ptr<KernelMeter> makeEventMeter(const DriverTable& driver, KernelTotals totals) {
  return std::make_unique<EventMeter>(driver, totals);
}

}  // namespace farwarp
