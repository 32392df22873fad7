#include "protocol/errors.h"

namespace farwarp::wire {
namespace {

struct Row {
  Trouble trouble;
  const char* name;
  CUresult result;
};

// CUDA has no results of its own for a driver that is far away. Those of MPS (a driver behind a
// local server process) come closest and say what happened; a program prints them instead of
// carrying on with wrong data. None of them is CUDA_ERROR_NO_DEVICE, after which many programs
// silently compute on the CPU.
constexpr Row kRows[] = {
    {Trouble::none, "no trouble", CUDA_SUCCESS},
    {Trouble::badEndpoint, "bad server address", CUDA_ERROR_SYSTEM_NOT_READY},
    {Trouble::unreachable, "server unreachable", CUDA_ERROR_MPS_CONNECTION_FAILED},
    {Trouble::timedOut, "no answer in time", CUDA_ERROR_MPS_CONNECTION_FAILED},
    {Trouble::notGpud, "the server is not a gpud", CUDA_ERROR_MPS_CONNECTION_FAILED},
    {Trouble::versionRefused, "version refused", CUDA_ERROR_SYSTEM_DRIVER_MISMATCH},
    {Trouble::untrusted, "certificate refused", CUDA_ERROR_MPS_CONNECTION_FAILED},
    {Trouble::busy, "server busy", CUDA_ERROR_MPS_MAX_CLIENTS_REACHED},
    {Trouble::draining, "server shutting down", CUDA_ERROR_MPS_SERVER_NOT_READY},
    {Trouble::refused, "session refused", CUDA_ERROR_SYSTEM_NOT_READY},
    {Trouble::connectionLost, "connection lost", CUDA_ERROR_MPS_RPC_FAILURE},
    {Trouble::protocolViolation, "protocol violation", CUDA_ERROR_MPS_RPC_FAILURE},
    {Trouble::sessionEnded, "session ended by the server", CUDA_ERROR_MPS_CLIENT_TERMINATED},
    {Trouble::callFailed, "call failed in the server", CUDA_ERROR_UNKNOWN},
    {Trouble::tooLarge, "request too large", CUDA_ERROR_INVALID_VALUE},
    {Trouble::forked, "session of the parent process", CUDA_ERROR_NOT_INITIALIZED},
    {Trouble::outOfMemory, "out of host memory", CUDA_ERROR_OUT_OF_MEMORY},
    {Trouble::internal, "internal error", CUDA_ERROR_UNKNOWN},
};

const Row& rowOf(Trouble trouble) {
  for (const Row& row : kRows) {
    if (row.trouble == trouble) return row;
  }
  return rowOf(Trouble::internal);
}

}  // namespace

const char* troubleName(Trouble trouble) {
  return rowOf(trouble).name;
}

CUresult toCudaResult(Trouble trouble) {
  return rowOf(trouble).result;
}

}  // namespace farwarp::wire
