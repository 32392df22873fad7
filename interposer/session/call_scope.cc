#include "interposer/session/call_scope.h"

#include <atomic>
#include <cstring>
#include <string>

#include "client_calls_gen.h"
#include "driver/error_names.h"
#include "interposer/session/client.h"
#include "interposer/session/thread_state.h"

namespace farwarp::client {

using wire::HandleType;
using wire::Trouble;

namespace {

// Calls in which a driver may wait for work of the device. gpud makes them on its one issuing
// thread, through which the answers of host functions come, so the wait must not be for these.
bool waitsForDevice(CallId call) {
  switch (call) {
    case CallId::cuArrayDestroy:
    case CallId::cuCtxDestroy_v2:
    case CallId::cuDevicePrimaryCtxRelease_v2:
    case CallId::cuDevicePrimaryCtxReset_v2:
    case CallId::cuGreenCtxDestroy:
    case CallId::cuIpcCloseMemHandle:
    case CallId::cuIpcGetMemHandle:
    case CallId::cuLibraryUnload:
    case CallId::cuMemFree_v2:
    case CallId::cuMemHostUnregister:
    case CallId::cuMemPoolDestroy:
    case CallId::cuMemPoolTrimTo:
    case CallId::cuMemSetAccess:
    case CallId::cuMemUnmap:
    case CallId::cuMemcpyHtoD_v2:
    case CallId::cuMipmappedArrayDestroy:
    case CallId::cuModuleUnload:
    case CallId::unshareMemory:
      return true;
    default:
      return false;
  }
}

// Work in streams. A driver takes about a thousand pieces behind one that does not end, and then
// waits in the call. (The client's own thread for host functions makes none of these.)
bool queuesWork(CallId call) {
  switch (call) {
    case CallId::cuCtxRecordEvent:
    case CallId::cuCtxWaitEvent:
    case CallId::cuEventRecord:
    case CallId::cuGreenCtxRecordEvent:
    case CallId::cuGreenCtxWaitEvent:
    case CallId::cuLaunchHostFunc:
    case CallId::cuLaunchKernelEx:
    case CallId::cuMemcpyDtoDAsync_v2:
    case CallId::cuMemcpyDtoHAsync_v2:
    case CallId::cuMemsetD16Async:
    case CallId::cuMemsetD32Async:
    case CallId::cuMemsetD8Async:
    case CallId::cuStreamAddCallback:
    case CallId::cuStreamWaitEvent:
      return true;
    default:
      return false;
  }
}

// Calls of all threads since host functions were last known to have run.
std::atomic<uint32_t> queued_behind_host_functions{0};

// True when so much may be queued behind a host function that the driver's next call waits for it.
bool queueMayBeFull(CallId call) {
  constexpr uint32_t kQueuedMax = 900;
  if (!queuesWork(call) || queued_behind_host_functions.fetch_add(1) < kQueuedMax) return false;
  queued_behind_host_functions.store(0);
  return true;
}

// Calls by which streams of several processes wait for each other.
bool ordersProcesses(CallId call) {
  return call == CallId::cuEventRecord || call == CallId::cuStreamWaitEvent;
}

// An error of a kernel: every later call that uses the context returns it again.
bool staysWithContext(CUresult result) {
  return result == CUDA_ERROR_ILLEGAL_ADDRESS || result == CUDA_ERROR_LAUNCH_TIMEOUT ||
         result == CUDA_ERROR_ASSERT ||
         (result >= CUDA_ERROR_HARDWARE_STACK_ERROR && result <= CUDA_ERROR_LAUNCH_FAILED);
}

}  // namespace

CUresult CallScope::enter(uint32_t needs) {
  client_ = &Client::get();
  thread_ = &threadState();
  thread_->countCall();
  if (client_->phase() != Client::Phase::connected) [[unlikely]]
    return client_->phaseResult();
  if ((needs & (kNeedsInit | kNeedsContext)) != 0 &&
      !client_->initialised.load(std::memory_order_relaxed)) [[unlikely]] {
    return CUDA_ERROR_NOT_INITIALIZED;
  }
  if ((needs & kNeedsContext) != 0) {
    if (HostFunctions::inside()) [[unlikely]]
      return CUDA_ERROR_NOT_PERMITTED;
    const CUcontext current = thread_->current();
    if (current == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    const Context* context = client_->contexts.find(current);
    if (context == nullptr || !context->usable()) [[unlikely]] {
      return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
  }
  return CUDA_SUCCESS;
}

CUresult CallScope::use(HandleType type, const void* handle, uint64_t& wire_id, bool allow_null) {
  wire_id = reinterpret_cast<uint64_t>(handle);
  if (wire_id == 0 && allow_null) return CUDA_SUCCESS;
  if (wire::isSpecialHandle(type, wire_id)) return CUDA_SUCCESS;
  const HandleType given = wire::HandleId(wire_id).type();
  if (wire::handleTypeAccepts(type, given) && client_->handles.live(given, wire_id)) [[likely]] {
    if (type != HandleType::stream) return CUDA_SUCCESS;
    const auto* green = static_cast<const GreenContext*>(client_->handles.object(wire_id));
    return green == nullptr || green->active ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
  }
  return wire::invalidHandleError(type);
}

CUresult CallScope::create(HandleType type, uint64_t& wire_id) {
  Context* current = client_->contexts.find(thread_->current());
  if (current == nullptr) return create(type, wire_id, 0, nullptr);
  // Streams alone are a green context's own; they outlive it, to be told from made-up ones.
  GreenContext* green = type == HandleType::stream ? current->green.load() : nullptr;
  return create(type, wire_id, current->home().id, green);
}

CUresult CallScope::create(HandleType type, uint64_t& wire_id, uint64_t parent, void* object) {
  return client_->handles.create(type, parent, object, wire_id);
}

void CallScope::abandon(uint64_t wire_id) {
  client_->handles.abandon(wire_id);
}

void CallScope::destroy(uint64_t wire_id) {
  std::vector<HandleTable::Removed> removed;
  client_->handles.destroy(wire_id, &removed);
  client_->release(removed);
}

CUresult CallScope::connectionTrouble(Trouble trouble) {
  transport_failed_ = true;
  return client_->trouble(trouble);
}

void CallScope::settleHostFunctions() {
  for (const CUcontext context : client_->host_functions.contexts()) {
    CallScope scope(CallId::cuCtxSynchronize_v2);
    if (scope.enter(kNeedsInit) != CUDA_SUCCESS) return;
    wire::Args_cuCtxSynchronize_v2 args;
    args.ctx = reinterpret_cast<uint64_t>(context);
    wire::Reply_cuCtxSynchronize_v2 reply;
    // An error is for a call that the program makes; one that the context keeps need not be kept.
    const CUresult result = scope.call(args, reply);
    if (result != CUDA_SUCCESS && !staysWithContext(result)) client_->kept_error.store(result);
  }
}

CUresult CallScope::beginRecord(size_t bytes, std::byte*& at) {
  // The stream waits for the function, so what would wait for the stream waits for ever.
  if (HostFunctions::inside()) [[unlikely]] {
    transport_failed_ = true;
    return CUDA_ERROR_NOT_PERMITTED;
  }
  if (client_->host_functions.pending()) [[unlikely]] {
    if (waitsForDevice(call_) || queueMayBeFull(call_)) settleHostFunctions();
  } else if (queued_behind_host_functions.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    queued_behind_host_functions.store(0, std::memory_order_relaxed);
  }
  if (bytes > wire::kRecordBytesMax - sizeof(wire::RecordHeader)) {
    return connectionTrouble(Trouble::tooLarge);
  }
  record_bytes_ = bytes;
  if (client_->shared_memory.active()) {
    // What is encoded may lie in memory that must be fetched first, which goes through the log.
    early_.reset(new std::byte[bytes]);
    at = early_.get();
    return CUDA_SUCCESS;
  }
  return beginInLog(at);
}

CUresult CallScope::beginInLog(std::byte*& at) {
  wire::RecordHeader header;
  header.bytes = static_cast<uint32_t>(sizeof(header) + record_bytes_);
  header.call = static_cast<uint16_t>(call_);
  header.flags = flags_;
  header.context = wire::HandleId(reinterpret_cast<uint64_t>(thread_->current())).index();
  header.thread = thread_->number;
  if (Trouble trouble = client_->log.begin(header, at); trouble != Trouble::none) {
    return connectionTrouble(trouble);
  }
  if (CallSpan* span = thread_->span; span != nullptr) [[unlikely]] {
    span->sends(header.bytes);
  }
  return CUDA_SUCCESS;
}

CUresult CallScope::moveIntoLog() {
  SharedMemory& shared = client_->shared_memory;
  if (call_ == CallId::cuModuleUnload) {
    // The one call with a generated body that takes shared memory away.
    wire::Args_cuModuleUnload args;
    if (args.decode({early_.get(), record_bytes_})) client_->endSharing(args.hmod);
  }
  const auto context = reinterpret_cast<uint64_t>(thread_->current());
  device_work_ = touches_shared_ || SharedMemory::isDeviceWork(call_);
  if (device_work_) {
    shared.beforeDeviceWork(context);
  } else if (SharedMemory::looksAtDevice(call_)) {
    // A kernel that runs may wait for what the program wrote.
    shared.flush();
  }
  work_issued_ = shared.workIssued();
  if (shared.overlaps(reinterpret_cast<uint64_t>(upload_.data()), upload_.size())) {
    // The socket cannot take bytes from pages that are closed.
    copied_upload_.assign(upload_.begin(), upload_.end());
    upload_ = copied_upload_;
  }
  std::byte* at = nullptr;
  if (CUresult r = beginInLog(at); r != CUDA_SUCCESS) return r;
  std::memcpy(at, early_.get(), record_bytes_);
  return CUDA_SUCCESS;
}

CUresult CallScope::endRecord() {
  if (early_ != nullptr) {
    if (CUresult r = moveIntoLog(); r != CUDA_SUCCESS) return r;
  }
  Trouble trouble = client_->log.append(/*now=*/transfer_ != 0);
  if (trouble == Trouble::none && transfer_ != 0) {
    trouble = putUpload(client_->connection());
  }
  if (device_work_) {
    client_->shared_memory.afterDeviceWork(reinterpret_cast<uint64_t>(thread_->current()));
  }
  if (trouble != Trouble::none) return connectionTrouble(trouble);
  if (early_ != nullptr) {
    if (CUresult r = waitForHost(); r != CUDA_SUCCESS) return r;
  }
  return ordersProcesses(call_) && client_->events_shared.load() ? waitUntilIssued() : CUDA_SUCCESS;
}

// Where the device writes memory that the program sees, a synchronous call has written it when it
// returns. Which memory a memset or a copy of rows writes is not looked up here; it waits as soon
// as anything is shared.
// What the other process does next must find the event recorded, or this stream waiting for it:
// gpud has issued the call when it answers one behind it.
CUresult CallScope::waitUntilIssued() {
  size_t free = 0, total = 0;  // not asked for their own sake: this goes on while streams capture
  return kClientTable.cuMemGetInfo_v2(&free, &total);
}

CUresult CallScope::waitForHost() {
  if (!SharedMemory::hostRelies(call_)) return CUDA_SUCCESS;
  return (flags_ & wire::kPerThreadDefaultStream) != 0
             ? kClientTable.cuStreamSynchronize_ptsz(nullptr)
             : kClientTable.cuStreamSynchronize(nullptr);
}

// What the device wrote is the program's to see when a call that waited returns.
void CallScope::afterWait(CUresult result) {
  const bool internal = static_cast<size_t>(call_) >= kInternalCallFirst;
  if (internal || !client_->shared_memory.active()) return;
  const auto context = reinterpret_cast<uint64_t>(thread_->current());
  if (device_work_) client_->shared_memory.afterDeviceWork(context);
  // Nothing was noted for a call that began before anything was shared.
  const bool whole_context =
      call_ == CallId::cuCtxSynchronize && result == CUDA_SUCCESS && early_ != nullptr;
  client_->shared_memory.synchronised(work_issued_, context, whole_context);
}

Trouble CallScope::sendAndWait(wire::ClientConnection& connection) {
  MessageSpan span(trace::MessageKind::call);
  size_t batch_bytes = 0;
  wire::Ticket ticket = client_->log.start(batch_bytes);
  span.sent(batch_bytes);
  if (ticket && transfer_ != 0) {
    if (Trouble trouble = putUpload(connection); trouble != Trouble::none) return trouble;
  }
  const Trouble trouble = connection.wait(std::move(ticket), reply_);
  span.received(reply_.bytes().size());
  return trouble;
}

Trouble CallScope::putUpload(wire::ClientConnection& connection) {
  MessageSpan span(trace::MessageKind::put);
  span.sent(upload_.size());
  return connection.put(transfer_, upload_);
}

CUresult CallScope::endRecordAndWait(std::span<const std::byte>& body) {
  if (early_ != nullptr) {
    if (CUresult r = moveIntoLog(); r != CUDA_SUCCESS) {
      transport_failed_ = true;
      return r;
    }
  }
  wire::ClientConnection& connection = client_->connection();
  if (Trouble trouble = sendAndWait(connection); trouble != Trouble::none) {
    return connectionTrouble(trouble);
  }
  client_->device_output.write();
  const std::span<const std::byte> bytes = reply_.bytes();
  wire::ReplyHeader header;
  if (bytes.size() < sizeof(header)) return malformedReply();
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.completed > wire::kPendingTransfersMax ||
      bytes.size() - sizeof(header) < header.completed * sizeof(uint64_t)) {
    return malformedReply();
  }
  const size_t ids_bytes = header.completed * sizeof(uint64_t);
  if (header.completed != 0) {
    client_->transfers.complete(bytes.subspan(sizeof(header), ids_bytes), connection);
  }
  client_->transfers.waitUntilPlaced();
  body = bytes.subspan(sizeof(header) + ids_bytes);

  if (call_ == CallId::cuIpcGetEventHandle || call_ == CallId::cuIpcOpenEventHandle) {
    client_->events_shared.store(true);
  }
  auto result = static_cast<CUresult>(header.result);
  afterWait(result);
  // The same error of an earlier call has been told with this one.
  if (header.deferred != CUDA_SUCCESS && header.deferred != header.result) {
    client_->kept_error.store(header.deferred);
  }
  if (result == CUDA_SUCCESS) {
    result = static_cast<CUresult>(client_->kept_error.exchange(CUDA_SUCCESS));
  }
  if (staysWithContext(result) && client_->host_functions.pending()) {
    connection.waitForFailedHostFunctions();
  }
  if (result != CUDA_SUCCESS && client_->events.enabled()) {
    const char* name = errorName(result);
    client_->events.write(std::string(callName(call_)) + " returned " +
                          (name == nullptr ? std::to_string(result) : std::string(name)) + ".");
  }
  return result;
}

CUresult CallScope::malformedReply() {
  transport_failed_ = true;
  client_->events.write(std::string("The reply to ") + callName(call_) + " is malformed.");
  return CUDA_ERROR_UNKNOWN;
}

}  // namespace farwarp::client
