// Events. Almost all bodies are generated.
#include "interposer/calls/body.h"

namespace farwarp::client::calls {

CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags,
                                uint16_t record_flags) {
  if ((flags & ~unsigned{CU_EVENT_RECORD_EXTERNAL}) != 0) return CUDA_ERROR_INVALID_VALUE;
  // Outside of a capture there is no graph that the event could be external to.
  if (flags != 0) return CUDA_ERROR_ILLEGAL_STATE;
  return (record_flags & wire::kPerThreadDefaultStream) != 0
             ? kClientTable.cuEventRecord_ptsz(event, stream)
             : kClientTable.cuEventRecord(event, stream);
}

}  // namespace farwarp::client::calls
