// The root of everything the client library keeps for the process.
//
// There is one, made by the first CUDA call and never destroyed: runtimes in shared libraries call
// in after static destructors have run. Lock order: Contexts::transitions,
// MemoryPools::transitions, VirtualMemory::transitions, ImportedMemory::transitions or
// Image::mutex, then the shared memory's lock, then the session log's; all others are leaves.
#pragma once

#include <cuda.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "driver/driver_front.h"
#include "driver/managed_advice.h"
#include "interposer/session/allocation_map.h"
#include "interposer/session/arrays.h"
#include "interposer/session/contexts.h"
#include "interposer/session/device_output.h"
#include "interposer/session/devices.h"
#include "interposer/session/event_log.h"
#include "interposer/session/green_contexts.h"
#include "interposer/session/handle_table.h"
#include "interposer/session/host_arena.h"
#include "interposer/session/host_functions.h"
#include "interposer/session/images.h"
#include "interposer/session/imported_memory.h"
#include "interposer/session/memory_pools.h"
#include "interposer/session/occupancy_answers.h"
#include "interposer/session/options.h"
#include "interposer/session/peer_facts.h"
#include "interposer/session/session_log.h"
#include "interposer/session/shared_memory.h"
#include "interposer/session/stats_text.h"
#include "interposer/session/texture_objects.h"
#include "interposer/session/transfers.h"
#include "interposer/session/virtual_memory.h"
#include "interposer/trace/tracer.h"

namespace farwarp::client {

// What cuDriverGetVersion says when no gpud can be asked: the toolkit that this library is built
// for.
inline constexpr int kDefaultDriverVersion = 13000;

class Client final : public DriverFront {
 public:
  static Client& get();

  enum class Phase : int {
    unconnected,
    connected,
    failed,   // no gpud: never tried again, so that a program fails fast and with one message
    lost,     // the connection broke
    forked,   // this process is a child of the one that opened the session
    exiting,  // the process ends; calls are answered here
  };
  Phase phase() const { return phase_.load(std::memory_order_acquire); }

  // Connects if that was not tried yet. CUDA_SUCCESS when there is a session.
  CUresult connect();
  // What every call returns in this phase; CUDA_SUCCESS when connected.
  CUresult phaseResult() const;

  // Maps trouble of the connection to the call's result. Says so on stderr when the session is
  // over.
  CUresult trouble(wire::Trouble trouble);

  // An asynchronous error that a reply told and its call could not return; the next one does.
  std::atomic<int32_t> kept_error{CUDA_SUCCESS};

  std::atomic<bool> initialised{false};  // cuInit succeeded

  Options options;
  EventLog events;
  Tracer tracer;
  DeviceOutput device_output;
  Devices devices;
  HandleTable handles;
  AllocationMap allocations;
  HostArena host_arena;
  ManagedAdvice managed_advice;
  MemoryPools memory_pools;
  VirtualMemory virtual_memory;
  ImportedMemory imported_memory;
  PeerFacts peer_facts;
  OccupancyAnswers occupancy;
  TextureObjects textures;
  TextureObjects surfaces;
  Contexts contexts{handles};
  GreenContexts green_contexts;
  Transfers transfers;
  HostFunctions host_functions{*this};
  ImageGraveyard graveyard;
  SessionLog log;
  SharedMemory shared_memory{*this};
  std::atomic<uint64_t> launches{0};
  // Events are shared with another process, which learns by means of its own that one was recorded.
  std::atomic<bool> events_shared{false};
  std::atomic<uint64_t> known_bytes{0};  // of images that gpud had already
  wire::ClientConnection& connection() { return *connection_; }

  // One line on stderr that says why something is not done, for the person at the terminal. Not too
  // many of them.
  void explain(const std::string& sentence);

  // Frees what belonged to objects that ended.
  void release(const std::vector<HandleTable::Removed>& removed);
  // The green context is over, and with it its CUcontext.
  void endGreenContext(GreenContext& green);
  // The context is about to end in gpud: so does the sharing of its host memory, before gpud
  // forgets it.
  void endSharing(const Context& context);
  // The same for the managed variables of a module or library that is about to be unloaded.
  void endSharing(uint64_t owner);
  // The context is over in the client: its objects, memory and context-local storage.
  void endContext(Context& context);

  // DriverFront
  int driverVersion() override;
  int deviceCount() override;
  DeviceIdentity deviceIdentity(int ordinal) override;
  CUresult primaryContext(CUcontext* context, CUdevice device) override;
  CUcontext currentContext() override;
  CUresult contextNumber(CUcontext context, uint64_t* number) override;
  size_t visitFunctions(CUmodule module,
                        void (*visit)(void* user, CUfunction function, const char* name),
                        void* user) override;

  // For pthread_atfork and for the end of the process.
  void beforeFork() { shared_memory.beforeFork(); }
  void afterForkInParent() { shared_memory.afterForkInParent(); }
  void afterForkInChild();
  void atExit();

 private:
  Client();
  void sayOnce(const std::string& sentence);
  CUresult openSession();
  SessionFigures figures();
  void startTrace();
  void finishTrace(const SessionFigures& figures);
  // How much more gpud's clock reads than the monotonic clock of this process, from the quickest of
  // some questions; `error_ns` is the most that it may be wrong.
  bool clockOffset(int64_t& offset_ns, uint64_t& error_ns);

  std::atomic<Phase> phase_{Phase::unconnected};
  std::mutex connect_mutex_;
  std::unique_ptr<wire::ClientConnection> connection_;
  std::atomic<CUresult> failure_{CUDA_SUCCESS};  // in phases failed and lost
  std::atomic<bool> said_{false};
  std::atomic<unsigned> explained_{0};
  int driver_version_ = kDefaultDriverVersion;
};

// The entry points that the program gets: those of kClientTable, or while tracing kTracedTable.
const DriverTable& programTable();

}  // namespace farwarp::client
