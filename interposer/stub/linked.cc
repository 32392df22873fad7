// For programs that link the client instead of preloading it: tests under sanitizers, which do not
// work in a library that is loaded with RTLD_DEEPBIND. The exports of the stub are bound to the
// client directly; everything else is the same code.
#include <cstring>

#include "interposer/session/client.h"
#include "stub_exports_gen.h"

extern "C" void farwarp_stub_load() {
  void* from[farwarp::kDriverFunctionCount];
  std::memcpy(from, &farwarp::client::programTable(), sizeof(from));
  void** to = reinterpret_cast<void**>(&farwarp_stub_table);
  for (size_t i = 0; i < farwarp::kDriverFunctionCount; ++i) {
    __atomic_store_n(&to[i], from[i], __ATOMIC_RELEASE);
  }
}
