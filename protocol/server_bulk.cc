// put and get as gpud serves them, on the bulk connections of a session.
#include <capnp/orphan.h>
#include <kj/debug.h>

#include <utility>

#include "protocol/server_impl.h"

namespace farwarp::wire {
namespace {

using Gate = ServerConnection::Impl::Gate;

constexpr size_t kReferenceBytesMin = 8u << 10;  // smaller answers are copied

capnp::Data::Reader asData(std::span<const std::byte> bytes) {
  return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size());
}

// A download on its way through the codec thread.
struct Packing {
  GetResult found;
  std::vector<std::byte> bytes;
  ChunkForm form = ChunkForm::plain;
  size_t packed = 0;
};

// Answers a get with what it was packed into, from where that is when it is much.
void answerPacked(RpcLink& link, rpc::Bulk::GetResults::Builder results, uint64_t transfer,
                  uint64_t offset, kj::Own<Packing> packing) {
  results.setTransfer(transfer);
  results.setOffset(offset);
  results.setForm(static_cast<uint8_t>(packing->form));
  results.setLength(static_cast<uint32_t>(packing->found.bytes.size()));
  const auto bytes = std::span<const std::byte>(packing->bytes).first(packing->packed);
  if (bytes.size() < kReferenceBytesMin) {
    results.setData(asData(bytes));
    return;
  }
  packing->found.owner = nullptr;  // its memory is free for the next chunk
  link.stream().attachToSegment(bytes.data(), kj::mv(packing));
  auto orphanage = capnp::Orphanage::getForMessageContaining(results);
  results.adoptData(orphanage.referenceExternalData(asData(bytes)));
}

// Answers a get with `found.bytes`, from where they are when they are many.
void answerGet(RpcLink& link, rpc::Bulk::GetResults::Builder results, uint64_t transfer,
               uint64_t offset, GetResult found) {
  results.setTransfer(transfer);
  results.setOffset(offset);
  const std::span<const std::byte> bytes = found.bytes;
  if (bytes.size() < kReferenceBytesMin) {
    results.setData(asData(bytes));
    return;
  }
  const size_t head = -reinterpret_cast<uintptr_t>(bytes.data()) & 7;
  const size_t tail = (bytes.size() - head) & 7;
  const auto middle = bytes.subspan(head, bytes.size() - head - tail);
  results.setHead(asData(bytes.first(head)));
  results.setTail(asData(bytes.last(tail)));
  link.stream().attachToSegment(middle.data(), kj::mv(found.owner));
  auto orphanage = capnp::Orphanage::getForMessageContaining(results);
  results.adoptData(orphanage.referenceExternalData(asData(middle)));
}

class BulkService final : public rpc::Bulk::Server {
 public:
  explicit BulkService(std::shared_ptr<Gate> gate) : gate_(std::move(gate)) {}

  kj::Promise<void> put(PutContext context) override {
    return gate_->open().takePut(context.getParams());
  }

  kj::Promise<void> share(ShareContext context) override {
    context.getResults().setRefusal(gate_->open().share());
    return kj::READY_NOW;
  }

  kj::Promise<void> get(GetContext context) override {
    auto& impl = gate_->open();
    const auto params = context.getParams();
    const uint64_t transfer = params.getTransfer();
    const uint64_t offset = params.getOffset();
    const uint32_t length = params.getLength();
    if (length == 0 || length > kChunkBytesMax || offset > kTransferBytesMax - kChunkBytesMax) {
      kj::throwFatalException(
          impl.violate("The client asks for " + std::to_string(length) + " bytes at offset " +
                       std::to_string(offset) + " of a transfer; a chunk has from 1 to " +
                       std::to_string(kChunkBytesMax) + " bytes and a transfer at most " +
                       std::to_string(kTransferBytesMax) + "."));
    }
    if (impl.outstanding_gets >= kOutstandingGetsMax) {
      kj::throwFatalException(impl.violate("The client waits for more than " +
                                           std::to_string(kOutstandingGetsMax) +
                                           " chunks at once, which is the limit."));
    }
    ++impl.outstanding_gets;
    auto done = kj::defer([gate = gate_] {
      if (gate->impl != nullptr) --gate->impl->outstanding_gets;
    });
    return impl.handler.get(transfer, offset, length)
        .then([gate = gate_, context, transfer, offset,
               length](GetResult found) mutable -> kj::Promise<void> {
          auto& impl = gate->open();
          KJ_REQUIRE(found.bytes.size() == length, "the session found another number of bytes");
          if (impl.mayPack(length)) return packed(gate, context, transfer, offset, kj::mv(found));
          answerGet(*impl.link, context.getResults(sizeFor(length)), transfer, offset,
                    kj::mv(found));
          return kj::READY_NOW;
        })
        .attach(kj::mv(done));
  }

 private:
  // For an answer with so many bytes.
  static capnp::MessageSize sizeFor(size_t bytes) {
    return {bytes < kReferenceBytesMin ? bytes / sizeof(capnp::word) + 16 : 32, 0};
  }

  // Packs the bytes on the codec thread, and answers with them or, where that does not pay, in
  // plain.
  static kj::Promise<void> packed(const std::shared_ptr<Gate>& gate, GetContext context,
                                  uint64_t transfer, uint64_t offset, GetResult found) {
    auto& impl = gate->open();
    auto packing = kj::heap<Packing>();
    packing->found = kj::mv(found);
    const auto work = [packing = packing.get(), packer = impl.packer, mode = impl.compression,
                       rate = impl.link->channel().linkRate()] {
      const auto chunk = packing->found.bytes;
      const size_t room = Compression::packedBytesMax(chunk.size());
      packing->bytes.resize(room + sizeof(capnp::word));  // whole words are sent from it
      packing->form =
          packer->pack(mode, rate, chunk, std::span(packing->bytes).first(room), packing->packed);
    };
    auto& codec = impl.codec();
    // The job is over before what it works on goes, also when the answer is not wanted any more.
    Packing* made = packing.get();
    return codec.run(work)
        .then([gate, context, transfer, offset, made]() mutable {
          auto& impl = gate->open();
          if (made->form == ChunkForm::plain) {
            const auto size = sizeFor(made->found.bytes.size());
            answerGet(*impl.link, context.getResults(size), transfer, offset, kj::mv(made->found));
            return;
          }
          auto answer = kj::heap<Packing>(kj::mv(*made));
          const auto size = sizeFor(answer->packed);
          answerPacked(*impl.link, context.getResults(size), transfer, offset, kj::mv(answer));
        })
        .attach(kj::mv(packing));
  }

  const std::shared_ptr<Gate> gate_;
};

}  // namespace

CodecThread& ServerConnection::Impl::codec() {
  if (codec_thread == nullptr) codec_thread = std::make_unique<CodecThread>(port);
  return *codec_thread;
}

rpc::Bulk::Client makeBulkService(std::shared_ptr<Gate> gate) {
  return kj::heap<BulkService>(std::move(gate));
}

std::span<std::byte> ServerConnection::Impl::place(std::span<const Segment> segments) {
  // Only calls that the bulk service will see: not before it was asked for with the session's
  // token.
  const auto chunk = greeted && !over ? chunkOfPut(segments) : std::nullopt;
  if (!chunk) return {};
  std::span<std::byte> memory;
  const auto failure = kj::runCatchingExceptions([&] {
    memory = handler.destinationFor(chunk->transfer, chunk->offset,
                                    static_cast<uint32_t>(chunk->bytes()));
  });
  if (failure != nullptr || memory.size() != chunk->bytes()) return {};
  placed.push_back({chunk->transfer, chunk->offset, memory});
  return memory.subspan(chunk->head.size(), chunk->data.size());
}

kj::Promise<void> ServerConnection::Impl::takePut(rpc::Bulk::PutParams::Reader params) {
  const auto chunk = readChunk(params);
  if (!chunk) return violate("The client sent a malformed or oversized chunk of a transfer.");
  const auto length = static_cast<uint32_t>(chunk->bytes());
  std::span<std::byte> memory;
  if (isStandIn(chunk->data.data())) {
    const bool expected = !placed.empty() && placed.front().transfer == chunk->transfer &&
                          placed.front().offset == chunk->offset &&
                          placed.front().destination.size() == length;
    if (!expected) return violate("The client sent a chunk that points into another one.");
    memory = placed.front().destination;
    placed.pop_front();
  } else {
    memory = handler.destinationFor(chunk->transfer, chunk->offset, length);
  }
  if (memory.size() != length) {
    return violate("The client sent " + std::to_string(length) + " bytes at offset " +
                   std::to_string(chunk->offset) + " of transfer " +
                   std::to_string(chunk->transfer) + ", which has no room for them.");
  }
  if (chunk->form != ChunkForm::plain) return unpackPut(*chunk, memory);
  placeChunk(*chunk, memory);
  return handler.putArrived(chunk->transfer, chunk->offset, length);
}

kj::Promise<void> ServerConnection::Impl::unpackPut(const Chunk& chunk,
                                                    std::span<std::byte> memory) {
  unpacking = PlacedChunk{chunk.transfer, chunk.offset, memory};
  // The message with the bytes stays until the promise is gone, and then the job is over.
  auto reason = std::make_shared<std::string>();
  return codec()
      .run([form = chunk.form, bytes = chunk.data, memory, decoder = decoder, reason] {
        if (decoder->decode(form, bytes, memory, *reason)) reason->clear();
      })
      .then([gate = gate, reason]() -> kj::Promise<void> {
        auto& impl = gate->open();
        if (!reason->empty()) return impl.violate("The client sent nonsense. " + *reason);
        const PlacedChunk done = *std::exchange(impl.unpacking, std::nullopt);
        return impl.handler.putArrived(done.transfer, done.offset,
                                       static_cast<uint32_t>(done.destination.size()));
      });
}

}  // namespace farwarp::wire
