// Green contexts cannot be made, so no stream has one. Libraries ask nevertheless.
#include "interposer/calls/body.h"

namespace farwarp::client::calls {

CUresult cuStreamGetGreenCtx(CUstream stream, CUgreenCtx* green) {
  CUcontext context = nullptr;
  FARWARP_TRY(calls::cuStreamGetCtx(stream, &context, 0));
  if (green == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *green = nullptr;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
