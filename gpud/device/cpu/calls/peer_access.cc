// Peer access: all devices of the process can reach each other's memory, and kernels do when they
// may.
#include "cpu_calls_gen.h"
#include "driver/atomic_operations.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

CUresult checkPair(CUdevice first, CUdevice second) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const Driver& driver = Driver::get();
  const bool known = driver.device(first) != nullptr && driver.device(second) != nullptr;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

// The current context and another one, on different devices.
CUresult enterPair(CUcontext peer_handle, std::shared_ptr<Context>& context,
                   std::shared_ptr<Context>& peer) {
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  peer = Driver::get().contexts().find(peer_handle);
  const bool usable = peer != nullptr && peer->active() && peer != context;
  return usable ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

// What the engine's atomic instructions do, on any device's memory.
unsigned capabilitiesOf(CUatomicOperation operation) {
  constexpr unsigned kWords = CU_ATOMIC_CAPABILITY_SCALAR_32 | CU_ATOMIC_CAPABILITY_SCALAR_64;
  constexpr unsigned kIntegers =
      CU_ATOMIC_CAPABILITY_SIGNED | CU_ATOMIC_CAPABILITY_UNSIGNED | CU_ATOMIC_CAPABILITY_REDUCTION;
  switch (operation) {
    case CU_ATOMIC_OPERATION_INTEGER_INCREMENT:
    case CU_ATOMIC_OPERATION_INTEGER_DECREMENT:
      return CU_ATOMIC_CAPABILITY_UNSIGNED | CU_ATOMIC_CAPABILITY_REDUCTION |
             CU_ATOMIC_CAPABILITY_SCALAR_32;
    case CU_ATOMIC_OPERATION_EXCHANGE:
    case CU_ATOMIC_OPERATION_CAS:
      return CU_ATOMIC_CAPABILITY_SIGNED | CU_ATOMIC_CAPABILITY_UNSIGNED | kWords;
    case CU_ATOMIC_OPERATION_FLOAT_ADD:
      return CU_ATOMIC_CAPABILITY_SIGNED | CU_ATOMIC_CAPABILITY_REDUCTION | kWords;
    case CU_ATOMIC_OPERATION_FLOAT_MIN:
    case CU_ATOMIC_OPERATION_FLOAT_MAX:
      return 0;
    default:
      return kIntegers | kWords;
  }
}

}  // namespace

CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  if (CUresult r = checkPair(device, peer); r != CUDA_SUCCESS) return r;
  if (can == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *can = device != peer;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute which, CUdevice from,
                                 CUdevice to) {
  if (CUresult r = checkPair(from, to); r != CUDA_SUCCESS) return r;
  if (from == to) return CUDA_ERROR_INVALID_DEVICE;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  switch (which) {
    case CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED:
    case CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED:
      *value = 1;
      return CUDA_SUCCESS;
    case CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK:
    case CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED:
    case CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED:
      *value = 0;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuDeviceGetP2PAtomicCapabilities(unsigned int* capabilities,
                                          const CUatomicOperation* operations, unsigned int count,
                                          CUdevice from, CUdevice to) {
  if (CUresult r = checkPair(from, to); r != CUDA_SUCCESS) return r;
  if (from == to) return CUDA_ERROR_INVALID_DEVICE;
  if (capabilities == nullptr || !areAtomicOperations(operations, count)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::transform(operations, operations + count, capabilities, capabilitiesOf);
  return CUDA_SUCCESS;
}

CUresult cuCtxEnablePeerAccess(CUcontext peer_handle, unsigned int flags) {
  std::shared_ptr<Context> context, peer;
  if (CUresult r = enterPair(peer_handle, context, peer); r != CUDA_SUCCESS) return r;
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (&peer->device() == &context->device()) return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
  return context->enablePeer(*peer);
}

CUresult cuCtxDisablePeerAccess(CUcontext peer_handle) {
  std::shared_ptr<Context> context, peer;
  if (CUresult r = enterPair(peer_handle, context, peer); r != CUDA_SUCCESS) return r;
  return context->disablePeer(*peer);
}

}  // namespace farwarp::cpu::calls
