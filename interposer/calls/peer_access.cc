// What two devices can do with each other's memory: gpud is asked once.
#include <algorithm>
#include <vector>

#include "driver/atomic_operations.h"
#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

CUresult enterPair(CallScope& scope, CUdevice first, CUdevice second) {
  FARWARP_TRY(scope.enter(kNeedsInit));
  const Devices& devices = scope.client().devices;
  const bool known = devices.find(first) != nullptr && devices.find(second) != nullptr;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

}  // namespace

CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  CallScope scope(CallId::cuDeviceCanAccessPeer);
  FARWARP_TRY(enterPair(scope, device, peer));
  if (can == nullptr) return CUDA_ERROR_INVALID_VALUE;
  PeerFacts& facts = scope.client().peer_facts;
  if (const std::optional<int> known = facts.find(PeerFacts::kCanAccess, device, peer)) {
    *can = *known;
    return CUDA_SUCCESS;
  }
  wire::Args_cuDeviceCanAccessPeer args;
  args.dev = scope.client().devices.toServer(device);
  args.peerDev = scope.client().devices.toServer(peer);
  wire::Reply_cuDeviceCanAccessPeer reply;
  FARWARP_TRY(scope.call(args, reply));
  facts.add(PeerFacts::kCanAccess, device, peer, reply.canAccessPeer);
  *can = reply.canAccessPeer;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute attribute, CUdevice from,
                                 CUdevice to) {
  CallScope scope(CallId::cuDeviceGetP2PAttribute);
  FARWARP_TRY(enterPair(scope, from, to));
  if (from == to) return CUDA_ERROR_INVALID_DEVICE;
  if (value == nullptr || attribute < CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK ||
      attribute > CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  PeerFacts& facts = scope.client().peer_facts;
  if (const std::optional<int> known = facts.find(attribute, from, to)) {
    *value = *known;
    return CUDA_SUCCESS;
  }
  wire::Args_cuDeviceGetP2PAttribute args;
  args.attrib = attribute;
  args.srcDevice = scope.client().devices.toServer(from);
  args.dstDevice = scope.client().devices.toServer(to);
  wire::Reply_cuDeviceGetP2PAttribute reply;
  FARWARP_TRY(scope.call(args, reply));
  facts.add(attribute, from, to, reply.value);
  *value = reply.value;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAtomicCapabilities(unsigned int* capabilities,
                                          const CUatomicOperation* operations, unsigned int count,
                                          CUdevice from, CUdevice to) {
  CallScope scope(CallId::cuDeviceGetP2PAtomicCapabilities);
  FARWARP_TRY(enterPair(scope, from, to));
  if (from == to) return CUDA_ERROR_INVALID_DEVICE;
  constexpr unsigned kMost = 4096;
  if (capabilities == nullptr || count > kMost || !areAtomicOperations(operations, count)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const std::vector<uint32_t> asked(operations, operations + count);
  wire::Args_cuDeviceGetP2PAtomicCapabilities args;
  args.operations = asked;
  args.src = scope.client().devices.toServer(from);
  args.dst = scope.client().devices.toServer(to);
  wire::Reply_cuDeviceGetP2PAtomicCapabilities reply;
  FARWARP_TRY(scope.call(args, reply));
  if (reply.capabilities.size() != count) return CUDA_ERROR_UNKNOWN;
  std::copy(reply.capabilities.begin(), reply.capabilities.end(), capabilities);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
