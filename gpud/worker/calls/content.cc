// Content that the client offers by its digest before it sends it.
#include <cstring>

#include "gpud/worker/image.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

void offerContent(Session& session, CallContext& call, const wire::Args_offerContent& args) {
  wire::ContentDigest digest{};
  if (args.digest.size() != digest.size() || args.transfer == 0 || args.bytes == 0 ||
      args.bytes > kImageBytesMax) {
    return call.malformed("The offer of content makes no sense.");
  }
  std::memcpy(digest.data(), args.digest.data(), digest.size());
  ContentStore& store = session.content();
  const auto found = store.find(digest, args.bytes);
  wire::Reply_offerContent reply;
  if (found != nullptr) {
    if (!session.uploads().supply(args.transfer, {found.get(), args.bytes})) {
      return call.malformed(
          "The content that was offered is here, but its transfer began already or has no room.");
    }
    reply.here = 1;
  } else {
    store.expect(args.transfer);
  }
  call.finish(CUDA_SUCCESS, reply);
}

}  // namespace farwarp::worker::calls
