// A CUDA driver for tests and benchmarks that computes nothing: libcuda.so.1 as a shared library,
// or a table to link. Generated from the spec, with a few bodies by hand.
//
// Handles are made up and checked; device memory is malloc memory and copies stay within its
// bounds; asynchronous calls do nothing, so that what is measured around them is not the driver.
// One device, one kernel called "kernel" with one 8-byte parameter in every module. Safe from any
// thread.
#pragma once

#include <cstdint>
#include <vector>

#include "driver_calls_gen.h"
#include "handle_types_gen.h"

namespace farwarp {

const DriverTable& mockDriverTable();

namespace mock {

// The k-th call from now on (1 is the next, of all calls) returns `result` and does nothing else.
// The environment does the same from the start of the process: FARWARP_MOCK_FAIL="k:result", in
// numbers. k = 0 takes an order back that was not yet carried out.
void failCall(uint64_t k, CUresult result);
// The same, counting only calls of `call`.
void failCallOf(CallId call, uint64_t k, CUresult result);

// Calls since the last reset: of all functions, and of one.
uint64_t callCount();
uint64_t callCount(CallId call);
// The last calls in order, at most kHistoryMax.
inline constexpr size_t kHistoryMax = 4096;
std::vector<CallId> history();

// Handles of a type that were made and not destroyed; device allocations that were not freed.
uint64_t liveHandles(wire::HandleType type);
uint64_t liveAllocations();

// Forgets counts, orders to fail, handles and allocations.
void reset();

}  // namespace mock
}  // namespace farwarp
