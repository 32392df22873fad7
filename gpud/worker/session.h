// One session: a client's log of calls, executed in order on the loop's thread, and everything that
// the calls refer to. The calls themselves are in calls/<chapter>.cc and in worker_dispatch_gen.cc.
#pragma once

#include <cuda.h>
#include <kj/async.h>

#include <deque>
#include <memory>
#include <string>
#include <type_traits>

#include "gpud/device/driver_table.h"
#include "gpud/metering/kernel_meter.h"
#include "gpud/metering/kernel_timeline.h"
#include "gpud/worker/call_context.h"
#include "gpud/worker/completion.h"
#include "gpud/worker/content_store.h"
#include "gpud/worker/contexts.h"
#include "gpud/worker/downloads.h"
#include "gpud/worker/graph_execs.h"
#include "gpud/worker/green_contexts.h"
#include "gpud/worker/handle_table.h"
#include "gpud/worker/host_functions.h"
#include "gpud/worker/link_states.h"
#include "gpud/worker/memory_map.h"
#include "gpud/worker/output_capture.h"
#include "gpud/worker/shared_descriptors.h"
#include "gpud/worker/shared_memory.h"
#include "gpud/worker/staging_pool.h"
#include "gpud/worker/uploads.h"
#include "gpud/worker/waits.h"
#include "protocol/server_connection.h"

namespace farwarp::worker {

struct SessionSettings {
  std::string device_kind;  // "cuda" or "cpu"
  wire::SessionToken token{};
  uint64_t number = 0;
  size_t wait_threads_max = 64;
  size_t handles_max = 1u << 20;
  uint64_t staging_bytes_max = 256u << 20;
  uint64_t bulk_bytes_max = 1u << 30;
  uint64_t host_memory_bytes_max = uint64_t{64} << 30;
  uint64_t greeting_timeout_ms = 0;  // per connection; 0: no limit
  wire::TlsServer* tls = nullptr;    // for connections that speak it
  wire::CompressionMode compression = wire::CompressionMode::off;
  std::string content_folder;  // content_store.h
  uint64_t content_bytes_max = 0;
};

class Session final : public wire::SessionHandler, public ReplyNews {
 public:
  // `driver` is initialised (cuInit). Everything must outlive the session.
  Session(const DriverTable& driver, wire::UvEventPort& port, SessionCounters& counters,
          SessionSettings settings);

  ~Session() noexcept {}

  // Serves a connection of the session; takes the descriptor. `tls`: the client shakes hands next.
  void addConnection(int fd, wire::ConnectionKind kind, bool tls = false);
  // Ends the session: the client loses its connection. The first reason is the one that is
  // reported.
  void end(wire::Trouble trouble, const std::string& reason);
  // Resolves when the session is over and its counters are final.
  kj::Promise<void> whenEnded();

  // From now on what comes out of these descriptors goes to the client.
  void captureOutput(int out, int err);

  // True while the log stands still for bulk data.
  bool waitsForData() const { return stalled_; }

  // --- for handlers ---
  const DriverTable& driver() const { return driver_; }

  // The driver's handle for an id of the client's; 0 gives null. Functions accept kernels.
  // Otherwise the error that CUDA gives for a bad handle of that type.
  template <typename T>
  [[nodiscard]] CUresult resolve(wire::HandleType type, uint64_t id, T* out) {
    void* object = nullptr;
    const CUresult result = find(type, id, &object);
    if constexpr (std::is_pointer_v<T>) {
      *out = static_cast<T>(object);
    } else {
      *out = static_cast<T>(reinterpret_cast<uintptr_t>(object));
    }
    return result;
  }
  // The stream that a call's id means: 0 is the legacy default stream, or the thread's own with
  // kPerThreadDefaultStream; 1 and 2 are CU_STREAM_LEGACY and CU_STREAM_PER_THREAD.
  [[nodiscard]] CUresult resolveStream(uint64_t id, const wire::RecordHeader& header,
                                       CUstream* out);
  // Gives an id that the client chose its meaning. `parent`: the id that it dies with; without it,
  // what CUDA says: libraries and contexts live by themselves, everything else with the current
  // context. Anything but CUDA_SUCCESS: the peer sent nonsense; why is in the log.
  [[nodiscard]] CUresult bind(wire::HandleType type, uint64_t id, void* object);
  [[nodiscard]] CUresult bind(wire::HandleType type, uint64_t id, void* object, uint64_t parent);
  void unbind(wire::HandleType type, uint64_t id) { handles_.unbind(type, id); }

  const SessionSettings& settings() const { return settings_; }
  HandleTable& handles() { return handles_; }
  Contexts& contexts() { return contexts_; }
  MemoryMap& memory() { return memory_; }
  SharedMemory& sharedMemory() { return shared_memory_; }
  SharedDescriptors& sharedDescriptors() { return shared_descriptors_; }
  StagingPool& staging() { return staging_; }
  Uploads& uploads() { return uploads_; }
  ContentStore& content() { return content_; }
  Downloads& downloads() { return downloads_; }
  GraphExecs& graphExecs() { return graph_execs_; }
  GreenContexts& greenContexts() { return green_contexts_; }
  LinkStates& linkStates() { return link_states_; }
  Waits& waits() { return waits_; }
  HostFunctions& hostFunctions() { return host_functions_; }
  KernelMeter& meter() { return *meter_; }
  KernelTimeline& timeline() { return timeline_; }

  // --- wire::SessionHandler ---
  bool hello(const wire::ClientHello& client, wire::ServerHello& server,
             std::string& refusal) override;
  void submit(uint64_t seq, std::span<const std::byte> batch,
              kj::Own<wire::BatchLease> lease) override;
  void call(uint64_t seq, std::span<const std::byte> batch,
            kj::Own<wire::CallReply> reply) override;
  wire::SessionStats stats() override;
  wire::KernelTimeline kernelTimeline(bool start) override;
  std::span<std::byte> destinationFor(uint64_t transfer, uint64_t offset, uint32_t length) override;
  kj::Promise<void> putArrived(uint64_t transfer, uint64_t offset, uint32_t length) override;
  void putAborted(uint64_t transfer, uint64_t offset, uint32_t length) override;
  kj::Promise<wire::GetResult> get(uint64_t transfer, uint64_t offset, uint32_t length) override;
  bool shareMemory(wire::SharedRegion region) override;
  bool putShared(uint64_t transfer, uint64_t offset, std::span<std::byte> bytes,
                 kj::Own<wire::BatchLease> lease) override;
  void getShared(uint64_t transfer, uint64_t offset, uint32_t length,
                 kj::Own<wire::SharedReply> reply) override;
  bool takenShared(uint32_t place) override;
  void closeRequested() override;
  void strangerLeft(const std::string& reason) override;
  void disconnected(wire::ConnectionKind kind, wire::Trouble trouble,
                    const std::string& reason) override;

 private:
  friend class CallContext;

  struct Batch {
    std::span<const std::byte> rest;
    kj::Own<wire::CallReply> reply;   // of a call()
    kj::Own<wire::BatchLease> lease;  // of a submit()

    Batch(std::span<const std::byte> records, kj::Own<wire::CallReply> to_answer,
          kj::Own<wire::BatchLease> to_release)
        : rest(records), reply(kj::mv(to_answer)), lease(kj::mv(to_release)) {}
  };

  CUresult find(wire::HandleType type, uint64_t id, void** object) const;

  // The log (session_log.cc).
  void enqueue(Batch batch);
  void runLog();
  enum class Step { next, stalled, ended };
  Step runRecord(Batch& batch);
  Step finishRecord(CallContext& call, kj::Own<wire::CallReply>& reply);
  std::byte* replyBytes(size_t bytes);
  Completion detach(CallContext& call);

  // ReplyNews
  CUresult takeDeferred() override;
  std::vector<uint64_t> takeCompleted() override;
  void keepError(CUresult result) override;
  void beforeReply() override;
  void sendOutput(const OutputCapture::Chunk& chunk);
  void pumpOutput();

  void malformed(CallId call, const std::string& reason);
  void updateCounters();
  kj::Promise<void> hostFunctionDue(uint64_t number, CUresult status);

  const DriverTable& driver_;
  wire::UvEventPort& port_;
  SessionCounters& counters_;
  const SessionSettings settings_;

  HandleTable handles_;
  Waits waits_;
  Contexts contexts_;
  MemoryMap memory_;
  SharedMemory shared_memory_;
  SharedDescriptors shared_descriptors_;
  StagingPool staging_;
  Uploads uploads_;
  ContentStore content_;
  Downloads downloads_;
  HostFunctions host_functions_;
  KernelTimeline timeline_;
  std::unique_ptr<KernelMeter> meter_;
  GraphExecs graph_execs_;
  GreenContexts green_contexts_;
  LinkStates link_states_;

  std::deque<Batch> log_;
  size_t log_bytes_ = 0;
  wire::CompressionMode compression_ = wire::CompressionMode::off;  // agreed with the client
  bool over_network_ = false;                                       // not a Unix socket
  bool running_ = false;                                            // inside runLog
  bool stalled_ = false;                 // the first record waits for bulk data
  bool scheduled_ = false;               // runLog was posted
  std::unique_ptr<ReplyWriter> writer_;  // of the record that runs, once it has reply fields
  kj::Own<wire::CallReply>* current_reply_ = nullptr;  // of the record that runs
  CUresult deferred_ = CUDA_SUCCESS;

  std::unique_ptr<OutputCapture> output_;
  std::vector<std::unique_ptr<wire::ServerConnection>>
      connections_;  // the first is the control one
  bool ended_ = false;
  std::string end_reason_;
  kj::Own<kj::PromiseFulfiller<void>> over_;
  kj::ForkedPromise<void> over_promise_;
};

}  // namespace farwarp::worker
