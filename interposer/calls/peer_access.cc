// Peer access: not yet, and the questions about it say so.
#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

CUresult checkPair(CallId call, CUdevice first, CUdevice second) {
  CallScope scope(call);
  FARWARP_TRY(scope.enter(kNeedsInit));
  const Devices& devices = scope.client().devices;
  const bool known = devices.find(first) != nullptr && devices.find(second) != nullptr;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

}  // namespace

CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  FARWARP_TRY(checkPair(CallId::cuDeviceCanAccessPeer, device, peer));
  if (can == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *can = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute attribute, CUdevice from,
                                 CUdevice to) {
  FARWARP_TRY(checkPair(CallId::cuDeviceGetP2PAttribute, from, to));
  if (value == nullptr || from == to) return CUDA_ERROR_INVALID_VALUE;
  *value = 0;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
