// Nothing profiles the client's side of a session; the range markers are accepted as a driver
// without a profiler accepts them.
#include "interposer/calls/body.h"

namespace farwarp::client::calls {

CUresult cuProfilerStart() {
  CallScope scope(CallId::cuProfilerStart);
  return scope.enter(kNeedsInit | kNeedsContext);
}

CUresult cuProfilerStop() {
  CallScope scope(CallId::cuProfilerStop);
  return scope.enter(kNeedsInit | kNeedsContext);
}

}  // namespace farwarp::client::calls
