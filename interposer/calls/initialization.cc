// cuInit: the session with gpud begins here, or in cuDriverGetVersion when that comes first.
#include "interposer/calls/body.h"

namespace farwarp::client::calls {

CUresult cuInit(unsigned int flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Client& client = Client::get();
  threadState().countCall();
  FARWARP_TRY(client.connect());
  if (client.devices.count() == 0) return CUDA_ERROR_NO_DEVICE;
  client.initialised.store(true);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
