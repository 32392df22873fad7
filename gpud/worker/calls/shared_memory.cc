// Shared host memory: the client's calls of codegen/spec/internal.toml.
#include "gpud/worker/shared_memory.h"

#include <cstring>
#include <vector>

#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

// Of one readShared; a reply has room for twice as much.
constexpr uint64_t kReadBytesMax = wire::kReplyBytesMax / 2;

// What spans (address, length, address, length, ...) name.
enum class Spans {
  shared,     // shared memory of this session
  elsewhere,  // other memory, such as what the client has just ceased to share
  malformed,
};

// `bytes` gets the sum of the lengths.
Spans checkSpans(Session& session, std::span<const uint64_t> spans, uint64_t bytes_max,
                 uint64_t& bytes) {
  bytes = 0;
  if (spans.empty() || spans.size() % 2 != 0) return Spans::malformed;
  for (size_t i = 0; i < spans.size(); i += 2) {
    const uint64_t length = spans[i + 1];
    if (length == 0 || length > bytes_max - bytes) return Spans::malformed;
    if (!session.sharedMemory().covers(spans[i], length)) return Spans::elsewhere;
    bytes += length;
  }
  return Spans::shared;
}

}  // namespace

void shareMemory(Session& session, CallContext& call, const wire::Args_shareMemory& args) {
  SharedMemory& memory = session.sharedMemory();
  const CUcontext context = session.contexts().home();
  if (args.foreign != 0) return call.finish(memory.adopt(args.address, args.bytes));
  call.finish(memory.map(args.address, args.bytes, context));
}

void unshareMemory(Session& session, CallContext& call, const wire::Args_unshareMemory& args) {
  call.finish(session.sharedMemory().unmap(args.address));
}

// At once and not in the order of a stream: a store of the program to such memory is seen by
// kernels that run already, too.
void writeShared(Session& session, CallContext& call, const wire::Args_writeShared& args) {
  uint64_t bytes = 0;
  if (checkSpans(session, args.spans, args.data.size(), bytes) != Spans::shared ||
      bytes != args.data.size()) {
    return call.malformed("It writes to memory that is not shared, or its bytes do not add up.");
  }
  const std::byte* from = args.data.data();
  for (size_t i = 0; i < args.spans.size(); i += 2) {
    std::memcpy(reinterpret_cast<void*>(args.spans[i]), from, args.spans[i + 1]);
    from += args.spans[i + 1];
  }
  call.finish(CUDA_SUCCESS);
}

void readShared(Session& session, CallContext& call, const wire::Args_readShared& args) {
  uint64_t bytes = 0;
  const Spans spans = checkSpans(session, args.spans, kReadBytesMax, bytes);
  if (spans == Spans::malformed) return call.malformed("It reads nothing, or too much at once.");
  // One thread of the program may meet a page that another one just ceases to share.
  if (spans == Spans::elsewhere) return call.finish(CUDA_ERROR_INVALID_VALUE);
  wire::Reply_readShared reply;
  std::vector<std::byte> gathered;
  if (args.spans.size() == 2) {
    reply.data = {reinterpret_cast<const std::byte*>(args.spans[0]), args.spans[1]};
  } else {
    gathered.reserve(bytes);
    for (size_t i = 0; i < args.spans.size(); i += 2) {
      const auto* from = reinterpret_cast<const std::byte*>(args.spans[i]);
      gathered.insert(gathered.end(), from, from + args.spans[i + 1]);
    }
    reply.data = gathered;
  }
  call.finish(CUDA_SUCCESS, reply);
}

}  // namespace farwarp::worker::calls
