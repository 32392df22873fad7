// Where the stub enters the client library, and what the generated bodies call back.
#include "client_calls_gen.h"
#include "interposer/session/client.h"

extern "C" __attribute__((visibility("default"))) const farwarp::DriverTable*
farwarp_client_table() {
  return &farwarp::client::programTable();
}

namespace farwarp::client {

const DriverTable& programTable() {
  return Client::get().tracer.enabled() ? kTracedTable : kClientTable;
}

CUresult reportUnsupported(CallId call) {
  Client& client = Client::get();
  if (client.events.enabled()) {
    client.events.write(std::string(callName(call)) +
                        " is not supported: " + unsupportedReason(call));
  }
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult reportException(CallId call) noexcept {
  // What can be thrown in the client is std::bad_alloc.
  Client& client = Client::get();
  if (client.events.enabled()) {
    try {
      client.events.write(std::string(callName(call)) + " ran out of memory in this process.");
    } catch (...) {
    }
  }
  return CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace farwarp::client
