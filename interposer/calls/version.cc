// The version of the driver that runs the calls, so that runtimes see what they will really get.
#include "interposer/calls/body.h"

namespace farwarp::client::calls {

CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  threadState().countCall();
  // Without a gpud this still succeeds, as on a machine whose driver finds no GPU; cuInit fails
  // then.
  *version = Client::get().driverVersion();
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
