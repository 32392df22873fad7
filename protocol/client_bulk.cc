// put and get: bulk data of the client, over a connection of its own.
#include <capnp/orphan.h>
#include <kj/debug.h>

#include <algorithm>
#include <deque>

#include "protocol/client_impl.h"
#include "protocol/client_shared.h"
#include "protocol/placement.h"

namespace farwarp::wire {
namespace {

using Lock = SharedLoop::Lock;

constexpr size_t kPutsAhead = 2;  // chunks handed to the stream while one is being written
constexpr size_t kGetsAhead = 8;  // chunk requests in flight per get

// One chunk of a put on its way.
struct SentChunk {
  std::vector<std::byte> packed;  // what is sent in place of the caller's bytes
  std::shared_ptr<bool> written;
  std::shared_ptr<bool> window = std::make_shared<bool>(false);
  kj::Promise<void> task = nullptr;
};

// Fills head, data and tail of a put: the 8-aligned middle is sent from where it is.
void setChunkData(rpc::Bulk::PutParams::Builder params, std::span<const std::byte> bytes,
                  MessageStream& stream, const std::shared_ptr<bool>& written) {
  const size_t head = -reinterpret_cast<uintptr_t>(bytes.data()) & 7;
  if (bytes.size() < kReferenceBytesMin) {
    *written = true;
    params.setData(asData(bytes));
    return;
  }
  const size_t tail = (bytes.size() - head) & 7;
  const auto middle = bytes.subspan(head, bytes.size() - head - tail);
  if (head > 0) params.setHead(asData(bytes.first(head)));
  if (tail > 0) params.setTail(asData(bytes.last(tail)));
  stream.attachToSegment(middle.data(), kj::heap<WrittenFlag>(written));
  auto orphanage = capnp::Orphanage::getForMessageContaining(params);
  params.adoptData(orphanage.referenceExternalData(asData(middle)));
}

// The data of a packed put: all of it is sent from where it is, up to the end of its last word.
void setPackedData(rpc::Bulk::PutParams::Builder params, std::span<const std::byte> bytes,
                   MessageStream& stream, const std::shared_ptr<bool>& written) {
  if (bytes.size() < kReferenceBytesMin) {
    *written = true;
    params.setData(asData(bytes));
    return;
  }
  stream.attachToSegment(bytes.data(), kj::heap<WrittenFlag>(written));
  auto orphanage = capnp::Orphanage::getForMessageContaining(params);
  params.adoptData(orphanage.referenceExternalData(asData(bytes)));
}

}  // namespace

Trouble ClientConnection::Impl::openBulk() {
  if (const Trouble trouble = deadTrouble(); trouble != Trouble::none) return trouble;
  if (bulk_open.load(std::memory_order_acquire)) return Trouble::none;
  const std::lock_guard guard(bulk_open_mutex);
  if (bulk_open.load(std::memory_order_acquire)) return deadTrouble();
  ConnectionError error;
  const TimeLimit limit{std::chrono::milliseconds(options.connect_timeout_ms)};
  auto channel = openChannel(ConnectionKind::bulk, limit, error);
  if (channel == nullptr) {
    // Without its bulk connection the session cannot go on.
    die(error.kind, error.sentence);
    return deadTrouble();
  }
  auto lock = bulk.loop.lock();
  runIn(bulk, lock, [&] {
    const int fd = channel->fd();
    bulk.link = std::make_unique<RpcLink>(bulk.loop.flushers(), std::move(channel), this,
                                          bulkStreamOptions(), nullptr);
    bulk.fd = fd;
    bulk.loop.setStream(&bulk.link->stream(), fd);
    auto request = bulk.link->bootstrap().castAs<rpc::Gpud>().attachBulkRequest();
    request.setToken(kj::ArrayPtr<const kj::byte>(server.token.data(), server.token.size()));
    bulk_service = request.send().getBulk();
  });
  // Who asks for compression in any case gets it.
  if (endpoint.kind == Endpoint::Kind::unixSocket && server.compression != CompressionMode::on) {
    shareBulkMemory(lock);
  }
  bulk_open.store(true, std::memory_order_release);
  return deadTrouble();
}

// Asks the worker to share memory. The descriptor leaves with the request; where that gets lost on
// its way, the worker refuses, and the bytes go through the socket.
void ClientConnection::Impl::shareBulkMemory(SharedLoop::Lock& lock) {
  auto region = SharedRegion::create();
  if (!region) {
    why_not_shared = "This system gives no memory to share.";
    return;
  }
  shared_bulk = std::make_unique<SharedBulk>(*this, std::move(*region));
  bool done = false;
  kj::Promise<void> task = nullptr;
  runIn(bulk, lock, [&] {
    bulk.link->stream().setTaker(shared_bulk.get());
    bulk.link->channel().sendDescriptor(shared_bulk->fd());
    task = KJ_ASSERT_NONNULL(bulk_service)
               .shareRequest()
               .send()
               .then([this](auto&& response) { why_not_shared = response.getRefusal().cStr(); },
                     [this](kj::Exception&& exception) {
                       why_not_shared = exception.getDescription().cStr();
                     })
               .then([&done] { done = true; })
               .eagerlyEvaluate(nullptr);
  });
  if (await(bulk, lock, done, task) != Trouble::none) return;
  if (why_not_shared.empty()) return shared_bulk->accepted();
  bulk.loop.run(lock, [&] { bulk.link->stream().setTaker(nullptr); });
  shared_bulk = nullptr;
}

Trouble ClientConnection::put(uint64_t transfer, std::span<const std::byte> data) {
  Impl& impl = *impl_;
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  if (data.size() > kTransferBytesMax - kChunkBytesMax) return Trouble::tooLarge;
  if (const Trouble trouble = impl.openBulk(); trouble != Trouble::none) return trouble;
  const WaitClock clock(impl.waited_ns);
  return impl.shared_bulk != nullptr ? impl.shared_bulk->put(transfer, data)
                                     : impl.putChunks(transfer, 0, data);
}

ChunkForm ClientConnection::Impl::packChunk(std::span<const std::byte> bytes,
                                            std::vector<std::byte>& into, size_t& packed) {
  const uint64_t link = bulk.link->channel().linkRate();
  if (!Compression::mayPack(server.compression, link, bytes.size())) return ChunkForm::plain;
  const std::lock_guard guard(pack_mutex);
  // A word more, because whole words are sent from it.
  into.resize(Compression::packedBytesMax(bytes.size()) + sizeof(capnp::word));
  const auto room = std::span(into).first(Compression::packedBytesMax(bytes.size()));
  const ChunkForm form = compression.pack(server.compression, link, bytes, room, packed);
  if (form == ChunkForm::plain) return form;
  unpacked_bytes.fetch_add(bytes.size(), std::memory_order_relaxed);
  packed_bytes.fetch_add(packed, std::memory_order_relaxed);
  return form;
}

// Sends `data` as the bytes from `first` on.
Trouble ClientConnection::Impl::putChunks(uint64_t transfer, uint64_t first,
                                          std::span<const std::byte> data) {
  std::deque<SentChunk> chunks;
  std::vector<std::byte> spare;  // a buffer whose bytes were sent
  auto lock = bulk.loop.lock();
  // Waits for all chunks but the last `keep`.
  const auto finish = [&](size_t keep) {
    const auto reached = [&](auto condition) {
      return [this, &chunks, keep, condition] {
        const size_t left = std::min(keep, chunks.size());
        return dead != Trouble::none ||
               std::all_of(chunks.begin(), chunks.end() - static_cast<ptrdiff_t>(left), condition);
      };
    };
    bulk.loop.waitUntil(lock, reached([](const SentChunk& chunk) { return *chunk.written; }),
                        SharedLoop::For::output);
    bulk.loop.waitUntil(lock, reached([](const SentChunk& chunk) { return *chunk.window; }));
  };
  size_t offset = 0;
  while (offset < data.size() && deadTrouble() == Trouble::none) {
    const auto bytes = data.subspan(offset, std::min(kChunkBytesMax, data.size() - offset));
    lock.unlock();  // others may use the connection meanwhile
    std::vector<std::byte> packed = std::move(spare);
    size_t packed_bytes = 0;
    const ChunkForm form = packChunk(bytes, packed, packed_bytes);
    lock.lock();
    runIn(bulk, lock, [&] {
      while (chunks.size() >= kPutsAhead) {
        spare = std::move(chunks.front().packed);
        chunks.pop_front();
      }
      SentChunk& chunk = chunks.emplace_back();
      chunk.packed = std::move(packed);
      chunk.written = std::make_shared<bool>(false);
      const auto sent = form == ChunkForm::plain
                            ? bytes
                            : std::span<const std::byte>(chunk.packed).first(packed_bytes);
      const size_t copied = sent.size() < kReferenceBytesMin ? sent.size() : 0;
      auto request = KJ_ASSERT_NONNULL(bulk_service)
                         .putRequest(capnp::MessageSize{24 + copied / sizeof(capnp::word), 0});
      request.setTransfer(transfer);
      request.setOffset(first + offset);
      if (form == ChunkForm::plain) {
        setChunkData(request, sent, bulk.link->stream(), chunk.written);
      } else {
        request.setForm(static_cast<uint8_t>(form));
        request.setLength(static_cast<uint32_t>(bytes.size()));
        setPackedData(request, sent, bulk.link->stream(), chunk.written);
      }
      chunk.task = request.send()
                       .then([flag = chunk.window] { *flag = true; },
                             [this, flag = chunk.window](kj::Exception&& exception) {
                               submitFailed(bulk, exception);
                               *flag = true;
                             })
                       .eagerlyEvaluate(nullptr);
    });
    offset += bytes.size();
    finish(offset < data.size() ? kPutsAhead - 1 : 0);
  }
  bulk.loop.run(lock, [&] { chunks.clear(); });
  return deadTrouble();
}

void ClientConnection::Impl::requestChunk(const std::shared_ptr<PendingGet>& pending,
                                          uint64_t transfer, size_t offset, size_t length) {
  auto request = KJ_ASSERT_NONNULL(bulk_service).getRequest(capnp::MessageSize{8, 0});
  request.setTransfer(transfer);
  request.setOffset(pending->first + offset);
  request.setLength(static_cast<uint32_t>(length));
  ++pending->outstanding;
  request.send()
      .then([this, pending, transfer, offset, length](auto&& response) {
        --pending->outstanding;
        if (pending->over) return;
        const auto chunk = readChunk(response);
        if (!chunk || chunk->transfer != transfer || chunk->offset != pending->first + offset ||
            chunk->bytes() != length) {
          die(Trouble::protocolViolation,
              "The gpud at " + name + " answered a request for other bytes than were asked for.");
          return;
        }
        takeChunk(*chunk, pending->destination.subspan(offset, length));
      })
      .detach([pending](kj::Exception&& exception) {
        std::string why;
        --pending->outstanding;
        pending->trouble = troubleOf(exception, why);
      });
}

void ClientConnection::Impl::takeChunk(const Chunk& chunk, std::span<std::byte> destination) {
  if (chunk.form == ChunkForm::plain) return placeChunk(chunk, destination);
  std::string reason;
  if (!decoder.decode(chunk.form, chunk.data, destination, reason)) {
    die(Trouble::protocolViolation, "The gpud at " + name + " sent nonsense. " + reason);
    return;
  }
  unpacked_bytes.fetch_add(destination.size(), std::memory_order_relaxed);
  packed_bytes.fetch_add(chunk.data.size(), std::memory_order_relaxed);
}

Trouble ClientConnection::get(uint64_t transfer, std::span<std::byte> destination) {
  Impl& impl = *impl_;
  if (const Trouble trouble = impl.deadTrouble(); trouble != Trouble::none) return trouble;
  if (destination.size() > kTransferBytesMax - kChunkBytesMax) return Trouble::tooLarge;
  if (const Trouble trouble = impl.openBulk(); trouble != Trouble::none) return trouble;
  const WaitClock clock(impl.waited_ns);
  return impl.shared_bulk != nullptr ? impl.shared_bulk->get(transfer, destination)
                                     : impl.getChunks(transfer, 0, destination);
}

// Fetches bytes [first, first + destination.size()).
Trouble ClientConnection::Impl::getChunks(uint64_t transfer, uint64_t first,
                                          std::span<std::byte> destination) {
  const auto pending = std::make_shared<PendingGet>();
  pending->destination = destination;
  pending->first = first;
  auto lock = bulk.loop.lock();
  if (!gets.emplace(transfer, pending).second) return Trouble::internal;
  size_t offset = 0;
  const auto over = [&] { return dead != Trouble::none || pending->trouble != Trouble::none; };
  while (offset < destination.size() && !over()) {
    runIn(bulk, lock, [&] {
      while (offset < destination.size() && pending->outstanding < kGetsAhead) {
        const size_t length = std::min(kChunkBytesMax, destination.size() - offset);
        requestChunk(pending, transfer, offset, length);
        offset += length;
      }
    });
    bulk.loop.waitUntil(lock, [&] { return over() || pending->outstanding <= kGetsAhead / 2; });
  }
  // Chunks may still be on their way into the destination, also when one failed.
  bulk.loop.waitUntil(lock, [&] { return dead != Trouble::none || pending->outstanding == 0; });
  gets.erase(transfer);
  pending->over = true;
  if (dead != Trouble::none) bulk.loop.run(lock, [] {});  // ends what still reads into it
  const Trouble death = deadTrouble();
  return death != Trouble::none ? death : pending->trouble;
}

std::span<std::byte> ClientConnection::Impl::place(std::span<const Segment> segments) {
  const auto chunk = chunkOfGet(segments);
  if (!chunk) return {};
  const auto found = gets.find(chunk->transfer);
  if (found == gets.end() || dead != Trouble::none) return {};
  const std::span<std::byte> destination = found->second->destination;
  const uint64_t first = found->second->first;
  if (chunk->offset < first || chunk->offset - first > destination.size() ||
      chunk->bytes() > destination.size() - static_cast<size_t>(chunk->offset - first)) {
    return {};
  }
  return destination.subspan(chunk->offset - first + chunk->head.size(), chunk->data.size());
}

}  // namespace farwarp::wire
