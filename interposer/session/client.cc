#include "interposer/session/client.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "driver/hidden_tables.h"
#include "driver_calls_gen.h"
#include "interposer/session/link_state.h"
#include "interposer/session/thread_state.h"

#ifndef FARWARP_VERSION
#error "FARWARP_VERSION is set by CMakeLists.txt."
#endif

namespace farwarp::client {

using wire::Trouble;

namespace {

// Null until the first CUDA call; read by the handlers below, which must not make it.
std::atomic<Client*> the_client{nullptr};

void prepareFork() {
  if (Client* client = the_client.load()) client->beforeFork();
}

void parentAfterFork() {
  if (Client* client = the_client.load()) client->afterForkInParent();
}

void childAfterFork() {
  if (Client* client = the_client.load()) client->afterForkInChild();
}

// Runs after all handlers of atexit, so after every destructor of a global object, and before the
// process is gone.
__attribute__((destructor)) void endOfProcess() {
  if (Client* client = the_client.load()) client->atExit();
}

uint64_t monotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

std::string programName() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0) return "unknown";
  std::string_view name(path, static_cast<size_t>(length));
  name.remove_prefix(name.rfind('/') + 1);
  return std::string(name.substr(0, wire::kHelloStringBytesMax));
}

}  // namespace

Client& Client::get() {
  static Client* const client = [] {
    auto* made = new Client;
    installHiddenTables(*made);
    the_client.store(made);
    pthread_atfork(prepareFork, parentAfterFork, childAfterFork);
    return made;
  }();
  return *client;
}

Client::Client() : options(readOptions()) {
  events.open(options.log_path);
  if (options.trace_path.empty()) return;
  std::string why;
  if (!tracer.open(options.trace_path, why)) printLine(why);
}

CUresult Client::phaseResult() const {
  switch (phase()) {
    case Phase::connected:
      return CUDA_SUCCESS;
    case Phase::unconnected:
      return CUDA_ERROR_NOT_INITIALIZED;
    case Phase::failed:
    case Phase::lost:
      return failure_.load(std::memory_order_relaxed);
    case Phase::forked:
      return CUDA_ERROR_NOT_INITIALIZED;
    case Phase::exiting:
      return CUDA_ERROR_DEINITIALIZED;
  }
  return CUDA_ERROR_UNKNOWN;
}

void Client::sayOnce(const std::string& sentence) {
  events.write(sentence);
  if (!said_.exchange(true)) printLine(sentence);
}

void Client::explain(const std::string& sentence) {
  constexpr unsigned kMost = 20;
  events.write(sentence);
  if (explained_.fetch_add(1) < kMost) printLine(sentence);
}

CUresult Client::connect() {
  if (phase() != Phase::unconnected) return phaseResult();
  const int error = errno;
  std::lock_guard lock(connect_mutex_);
  if (phase() != Phase::unconnected) return phaseResult();
  const CUresult result = openSession();
  if (result != CUDA_SUCCESS) failure_.store(result);
  phase_.store(result == CUDA_SUCCESS ? Phase::connected : Phase::failed,
               std::memory_order_release);
  errno = error;
  return result;
}

CUresult Client::openSession() {
  if (options.server.empty()) {
    sayOnce(
        "No GPU: FARWARP_SERVER is not set. Set it to HOST:PORT or unix:PATH of a gpud, or start "
        "the "
        "program with farwarp run --server.");
    return CUDA_ERROR_NO_DEVICE;
  }
  if (std::string why = whyNotServer(options.server); !why.empty()) {
    sayOnce("No GPU: FARWARP_SERVER is wrong: " + why);
    return wire::toCudaResult(Trouble::badEndpoint);
  }
  wire::ClientHello hello;
  hello.client_version = FARWARP_VERSION;
  hello.spec_version = static_cast<uint32_t>(kDriverFunctionCount);
  hello.pid = static_cast<uint32_t>(getpid());
  hello.program = programName();
  hello.cuda_version = CUDA_VERSION;
  wire::ClientOptions connection_options;
  connection_options.insecure = options.insecure;
  connection_options.trust = {options.ca_file, options.fingerprint};
  if (!options.compression.empty() &&
      !wire::parseCompressionMode(options.compression, connection_options.compression)) {
    sayOnce("No GPU: FARWARP_COMPRESSION is \"" + options.compression +
            "\"; it must be auto, off or on.");
    return wire::toCudaResult(Trouble::badEndpoint);
  }
  connection_options.on_output = [this](bool to_stderr, std::span<const std::byte> text) {
    device_output.add(to_stderr, text);
  };
  connection_options.on_silence = [this](const std::string& sentence) { explain(sentence); };
  log.onTick([this] {
    device_output.write();
    tracer.flush();
  });
  wire::ConnectionError error;
  connection_ = wire::ClientConnection::open(options.server, hello, connection_options, error);
  if (connection_ == nullptr) {
    sayOnce("No GPU: " + error.sentence);
    return wire::toCudaResult(error.kind);
  }
  devices.fill(connection_->server(), std::getenv("CUDA_VISIBLE_DEVICES"),
               std::getenv("CUDA_DEVICE_ORDER"));
  driver_version_ = connection_->server().driver_version;
  log.attach(*connection_);
  events.write("Connected to " + options.server + ": gpud " + connection_->server().server_version +
               ", " + std::to_string(devices.count()) + " devices.");
  if (tracer.enabled()) startTrace();
  return contexts.makePrimaries(devices.count());
}

CUresult Client::trouble(Trouble trouble) {
  if (trouble == Trouble::none) return CUDA_SUCCESS;
  if (!connection_->dead()) {
    events.write(std::string("A request failed: ") + wire::troubleName(trouble));
    return wire::toCudaResult(trouble);
  }
  wire::ConnectionError reason = connection_->deathReason();
  if (reason.kind == Trouble::none) reason.kind = trouble;
  const CUresult result = wire::toCudaResult(reason.kind);
  failure_.store(result);
  Phase expected = Phase::connected;
  if (phase_.compare_exchange_strong(expected, Phase::lost)) {
    sayOnce(reason.sentence.empty() ? "The connection to gpud at " + options.server + " is lost."
                                    : reason.sentence);
  }
  return result;
}

void Client::release(const std::vector<HandleTable::Removed>& removed) {
  for (const HandleTable::Removed& gone : removed) {
    const wire::HandleType type = wire::HandleId(gone.id).type();
    if (type == wire::HandleType::module || type == wire::HandleType::library) {
      allocations.removeOwner(gone.id);
      // A module that came from a library shares the library's image.
      auto* image = static_cast<Image*>(gone.object);
      if (image != nullptr && image->id == gone.id) graveyard.bury(image);
    }
    if (type == wire::HandleType::greenContext) {
      endGreenContext(*static_cast<GreenContext*>(gone.object));
    }
    if (type == wire::HandleType::array) delete static_cast<Array*>(gone.object);
    if (type == wire::HandleType::linkState) delete static_cast<LinkState*>(gone.object);
    if (type == wire::HandleType::mipmappedArray) delete static_cast<MipmappedArray*>(gone.object);
    const bool texture = type == wire::HandleType::texObject;
    if (texture || type == wire::HandleType::surfObject) {
      const auto* object = static_cast<TextureObject*>(gone.object);
      (texture ? textures : surfaces).remove(object->context, object->value, gone.id);
      delete object;
    }
    if (type == wire::HandleType::context) contexts.retire(static_cast<Context*>(gone.object));
  }
}

void Client::endGreenContext(GreenContext& green) {
  if (!green.active.exchange(false)) return;
  host_functions.contextEnds(reinterpret_cast<CUcontext>(green.context_id));
  std::vector<HandleTable::Removed> removed;
  handles.destroy(green.context_id, &removed);
  release(removed);
}

void Client::endSharing(const Context& context) {
  for (const Allocation& memory : allocations.removeShared(context.id)) {
    if (memory.global) {
      shared_memory.unshare(memory.region, SharedMemory::Keep::no);
      continue;
    }
    const bool registered = memory.kind == AllocationKind::registered;
    shared_memory.unshare(memory.base,
                          registered ? SharedMemory::Keep::yes : SharedMemory::Keep::no);
    if (!registered) host_arena.free(memory.base, memory.bytes);
  }
}

void Client::endSharing(uint64_t owner) {
  // Several variables lie in one region; the first one ends it.
  for (const Allocation& variable : allocations.removeVariables(owner)) {
    shared_memory.unshare(variable.region, SharedMemory::Keep::no);
  }
}

void Client::endContext(Context& context) {
  const uint64_t id = context.id;
  context.active = false;
  std::vector<HandleTable::Removed> removed;
  handles.destroyChildren(id, &removed);
  std::vector<uint64_t> dependents;
  {
    std::lock_guard lock(context.mutex);
    dependents.swap(context.dependents);
  }
  // gpud keeps these until their library goes; their numbers are not used again.
  for (uint64_t dependent : dependents) handles.abandon(dependent);
  release(removed);
  host_functions.contextEnds(reinterpret_cast<CUcontext>(id));
  for (const Allocation& allocation : allocations.removeContext(id)) {
    if (allocation.kind == AllocationKind::pinned)
      host_arena.free(allocation.base, allocation.bytes);
  }
  contextLocalStorage().endContext(reinterpret_cast<CUcontext>(id));
}

int Client::driverVersion() {
  static_cast<void>(connect());
  return driver_version_;
}

int Client::deviceCount() {
  return devices.count();
}

DeviceIdentity Client::deviceIdentity(int ordinal) {
  const Device* device = devices.find(ordinal);
  return device == nullptr ? DeviceIdentity{} : device->identity();
}

CUresult Client::primaryContext(CUcontext* context, CUdevice device) {
  Context* primary = contexts.primary(device);
  if (primary == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *context = reinterpret_cast<CUcontext>(primary->id.load());
  return CUDA_SUCCESS;
}

CUcontext Client::currentContext() {
  return threadState().current();
}

CUresult Client::contextNumber(CUcontext context, uint64_t* number) {
  if (context == nullptr) context = currentContext();
  const Context* found = contexts.find(context);
  if (found == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *number = found->number;
  return CUDA_SUCCESS;
}

void Client::afterForkInChild() {
  // Nothing is locked here: another thread of the parent may have held any lock.
  shared_memory.afterForkInChild();
  tracer.abandonAfterFork();
  if (phase() == Phase::unconnected || phase() == Phase::failed) return;
  phase_.store(Phase::forked);
  if (connection_ != nullptr) connection_->abandonAfterFork();
}

void Client::atExit() {
  const Phase before = phase();
  if (before == Phase::forked) return;
  if (before == Phase::connected || before == Phase::lost) log.stopBackground();
  if (before == Phase::connected) {
    static_cast<void>(log.flush());
    device_output.write();
  }
  if (connection_ != nullptr && (options.stats || tracer.enabled())) {
    const SessionFigures all = figures();
    if (options.stats) {
      for (const std::string& line : statsLines(all)) printLine(line);
    }
    if (tracer.enabled()) finishTrace(all);
  }
  tracer.finish({});  // where there was no session
  phase_.store(Phase::exiting);
}

SessionFigures Client::figures() {
  SessionFigures figures;
  figures.program = programName();
  figures.server = options.server;
  figures.calls = callsOfAllThreads();
  figures.async_calls = log.asyncRecords();
  figures.sync_calls = log.syncRecords();
  figures.launches = launches.load();
  figures.known_bytes = known_bytes.load();
  wire::SessionStats server;
  figures.server_known = connection_->stats(server) == Trouble::none;
  figures.server_stats = server;
  figures.connection = connection_->counters();
  return figures;
}

void Client::startTrace() {
  const wire::ServerHello& server = connection_->server();
  std::string lines = "program " + programName() + "\nserver " + options.server + "\nclient " +
                      FARWARP_VERSION + "\ngpud " + server.server_version + "\n";
  for (const wire::DeviceSnapshot& device : server.devices) lines += "device " + device.name + "\n";
  tracer.session(lines);
  wire::KernelTimeline ignored;
  static_cast<void>(connection_->kernelTimeline(/*start=*/true, ignored));
}

bool Client::clockOffset(int64_t& offset_ns, uint64_t& error_ns) {
  constexpr int kQuestions = 8;
  error_ns = UINT64_MAX;
  for (int i = 0; i < kQuestions; ++i) {
    wire::KernelTimeline answer;
    const uint64_t before = monotonicNs();
    if (connection_->kernelTimeline(/*start=*/true, answer) != Trouble::none) return false;
    const uint64_t after = monotonicNs();
    if ((after - before) / 2 >= error_ns) continue;
    error_ns = (after - before) / 2;
    offset_ns = static_cast<int64_t>(answer.now_ns - (before + error_ns));
  }
  return true;
}

void Client::finishTrace(const SessionFigures& figures) {
  // Each answer has some thousands; gpud keeps no more than these.
  constexpr int kAnswersMax = 1024;
  int64_t offset_ns = 0;
  uint64_t error_ns = 0, lost = 0;
  bool known = clockOffset(offset_ns, error_ns);
  for (int i = 0; known && i < kAnswersMax; ++i) {
    wire::KernelTimeline timeline;
    known = connection_->kernelTimeline(/*start=*/false, timeline) == Trouble::none;
    lost = timeline.lost;
    if (!known || timeline.kernels.empty()) break;
    tracer.kernels(timeline, offset_ns);
  }
  std::string lines = known ? "kernels_lost " + std::to_string(lost) + "\nclock_error_ns " +
                                  std::to_string(error_ns) + "\n"
                            : "kernels_unknown 1\n";
  for (const std::string& line : statsLines(figures)) lines += "stats " + line + "\n";
  tracer.finish(lines);
}

}  // namespace farwarp::client
