// A CUDA context: its streams, its settings, its error, and the end of all that belongs to it.
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "gpud/device/cpu/context_streams.h"
#include "gpud/device/cpu/device.h"
#include "gpud/device/cpu/ptx/engine.h"
#include "gpud/device/cpu/scheduler.h"
#include "gpud/device/cpu/textures.h"

namespace farwarp::cpu {

class ContextEnvironment;
class Driver;
class GreenContext;

// The values of cuCtxGetLimit, indexed by CUlimit.
inline constexpr size_t kLimitCount = CU_LIMIT_MAX;

class Context : public std::enable_shared_from_this<Context> {
 public:
  // A primary context is made with the driver and starts inactive; others are active until they
  // end.
  Context(Driver& driver, Device& device, bool primary);

  Driver& driver() { return driver_; }
  Device& device() { return device_; }
  bool primary() const { return primary_; }
  uint64_t number() const { return number_; }
  // Contexts and green contexts are numbered together.
  static uint64_t nextNumber();
  CUcontext handle() const { return handle_; }
  void setHandle(uintptr_t handle) { handle_ = reinterpret_cast<CUcontext>(handle); }

  bool active() const { return active_.load(std::memory_order_acquire); }
  void activate();
  // Waits for all work, then ends streams, events, modules, allocations and context-local values.
  // The error is forgotten. May be activated again.
  void end();

  // Lets kernels of this context use memory of `peer`'s device.
  // CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED and CUDA_ERROR_PEER_ACCESS_NOT_ENABLED.
  CUresult enablePeer(const Context& peer);
  CUresult disablePeer(const Context& peer);

  // The first error that work of this context met; it stays until the context ends.
  CUresult error() const { return error_.load(std::memory_order_acquire); }
  void fail(CUresult error);

  // Its own streams, without those of its green contexts.
  ContextStreams& streams() { return streams_; }
  std::shared_ptr<Stream> legacyStream() { return streams_.legacy(); }
  // The default stream of the calling thread.
  std::shared_ptr<Stream> threadStream();
  // A thread is over and takes its default streams along.
  void forgetThread(uint64_t thread);
  // Waits for all work; with `only`, for that of this green context of it.
  void synchronize(GreenContext* only = nullptr);
  // All work that is queued now, as one point; what is queued from now on waits for `mark`.
  Mark everything(Work work, GreenContext* only = nullptr);
  void hold(const Mark& mark, GreenContext* only = nullptr);

  ptx::Environment& environment();
  // The textures and surfaces that kernels launched from now on may name.
  TextureSet& textures() { return textures_; }
  uint64_t nextGridId() { return ++grids_; }

  std::atomic<unsigned> flags{0};
  std::atomic<CUfunc_cache> cache_config{CU_FUNC_CACHE_PREFER_NONE};
  std::atomic<CUsharedconfig> shared_config{CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE};
  std::array<std::atomic<size_t>, kLimitCount> limits;

 private:
  void resetSettings();
  std::vector<ContextStreams*> allStreams(GreenContext* only,
                                          std::vector<std::shared_ptr<GreenContext>>& greens);
  void forgetPeer(const Context& gone);

  Driver& driver_;
  Device& device_;
  const bool primary_;
  const uint64_t number_;
  CUcontext handle_ = nullptr;
  std::atomic<bool> active_{false};
  std::atomic<CUresult> error_{CUDA_SUCCESS};
  std::atomic<uint64_t> grids_{0};
  std::shared_ptr<ContextEnvironment> environment_;
  TextureSet textures_;
  ContextStreams streams_;
  std::mutex mutex_;               // guards the rest; taken before that of the streams
  std::map<uint64_t, int> peers_;  // contexts whose memory is enabled: number to device
};

}  // namespace farwarp::cpu
