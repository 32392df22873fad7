// Green contexts cannot be made, so no stream has one. Libraries ask nevertheless.
#include "cpu_calls_gen.h"

namespace farwarp::cpu::calls {

CUresult cuStreamGetGreenCtx(CUstream stream, CUgreenCtx* green) {
  CUcontext context = nullptr;
  if (CUresult r = calls::cuStreamGetCtx(stream, &context, 0); r != CUDA_SUCCESS) return r;
  if (green == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *green = nullptr;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
