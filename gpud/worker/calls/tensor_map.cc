// Tensor maps, encoded by the driver that reads them.
#include <cstring>

#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

// The arrays of the parameters are as long as the rank says.
template <typename Args>
bool consistent(CallContext& call, const Args& args, size_t rank_min) {
  const size_t rank = args.dims.size();
  const bool good = rank >= rank_min && rank <= 5 && args.strides.size() == rank - 1 &&
                    args.element_strides.size() == rank;
  if (!good) call.malformed("The arrays of a tensor map's description do not fit its rank.");
  return good;
}

template <typename Reply>
void answer(CallContext& call, CUresult result, const CUtensorMap& map) {
  Reply reply;
  reply.map = std::as_bytes(std::span(&map, 1));
  call.finish(result, reply);
}

template <typename Args>
void* addressOf(const Args& args) {
  return reinterpret_cast<void*>(args.address);
}

}  // namespace

void cuTensorMapEncodeTiled(Session& session, CallContext& call,
                            const wire::Args_cuTensorMapEncodeTiled& args) {
  if (!consistent(call, args, 1)) return;
  if (args.box.size() != args.dims.size()) {
    return call.malformed("The box of a tensor map does not fit its rank.");
  }
  CUtensorMap map{};
  const CUresult result = session.driver().cuTensorMapEncodeTiled(
      &map, static_cast<CUtensorMapDataType>(args.type), static_cast<uint32_t>(args.dims.size()),
      addressOf(args), args.dims.data(), args.strides.data(), args.box.data(),
      args.element_strides.data(), static_cast<CUtensorMapInterleave>(args.interleave),
      static_cast<CUtensorMapSwizzle>(args.swizzle),
      static_cast<CUtensorMapL2promotion>(args.promotion),
      static_cast<CUtensorMapFloatOOBfill>(args.fill));
  answer<wire::Reply_cuTensorMapEncodeTiled>(call, result, map);
}

void cuTensorMapEncodeIm2col(Session& session, CallContext& call,
                             const wire::Args_cuTensorMapEncodeIm2col& args) {
  if (!consistent(call, args, 3)) return;
  if (args.lower.size() != args.dims.size() - 2 || args.upper.size() != args.dims.size() - 2) {
    return call.malformed("The corners of a tensor map do not fit its rank.");
  }
  CUtensorMap map{};
  const CUresult result = session.driver().cuTensorMapEncodeIm2col(
      &map, static_cast<CUtensorMapDataType>(args.type), static_cast<uint32_t>(args.dims.size()),
      addressOf(args), args.dims.data(), args.strides.data(), args.lower.data(), args.upper.data(),
      args.channels, args.pixels, args.element_strides.data(),
      static_cast<CUtensorMapInterleave>(args.interleave),
      static_cast<CUtensorMapSwizzle>(args.swizzle),
      static_cast<CUtensorMapL2promotion>(args.promotion),
      static_cast<CUtensorMapFloatOOBfill>(args.fill));
  answer<wire::Reply_cuTensorMapEncodeIm2col>(call, result, map);
}

void cuTensorMapEncodeIm2colWide(Session& session, CallContext& call,
                                 const wire::Args_cuTensorMapEncodeIm2colWide& args) {
  if (!consistent(call, args, 3)) return;
  CUtensorMap map{};
  const CUresult result = session.driver().cuTensorMapEncodeIm2colWide(
      &map, static_cast<CUtensorMapDataType>(args.type), static_cast<uint32_t>(args.dims.size()),
      addressOf(args), args.dims.data(), args.strides.data(), args.lower, args.upper, args.channels,
      args.pixels, args.element_strides.data(), static_cast<CUtensorMapInterleave>(args.interleave),
      static_cast<CUtensorMapIm2ColWideMode>(args.mode),
      static_cast<CUtensorMapSwizzle>(args.swizzle),
      static_cast<CUtensorMapL2promotion>(args.promotion),
      static_cast<CUtensorMapFloatOOBfill>(args.fill));
  answer<wire::Reply_cuTensorMapEncodeIm2colWide>(call, result, map);
}

void cuTensorMapReplaceAddress(Session& session, CallContext& call,
                               const wire::Args_cuTensorMapReplaceAddress& args) {
  CUtensorMap map{};
  if (args.map.size() != sizeof map) return call.malformed("A tensor map has 128 bytes.");
  std::memcpy(static_cast<void*>(&map), args.map.data(), sizeof map);
  const CUresult result = session.driver().cuTensorMapReplaceAddress(&map, addressOf(args));
  answer<wire::Reply_cuTensorMapReplaceAddress>(call, result, map);
}

}  // namespace farwarp::worker::calls
