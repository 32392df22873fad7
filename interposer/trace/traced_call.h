// What an entry of kTracedTable does; for traced_calls_gen.cc.
#pragma once

#include "client_calls_gen.h"
#include "interposer/trace/tracer.h"

namespace farwarp::client {

template <CallId kCall, auto kEntry>
struct TracedCall;

// `kEntry` is the call's member of DriverTable.
template <CallId kCall, typename... Args, CUresult (*DriverTable::*kEntry)(Args...)>
struct TracedCall<kCall, kEntry> {
  static CUresult entry(Args... args) {
    CallSpan span(kCall);
    return span.end((kClientTable.*kEntry)(args...));
  }
};

}  // namespace farwarp::client
