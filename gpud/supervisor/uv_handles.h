// Small helpers around libuv handles, which must live on the heap until their close callback ran.
#pragma once

#include <uv.h>

namespace farwarp {

// Closes a handle that was made with `new` and deletes it when libuv is done. Sets the pointer to
// null.
template <typename Handle>
void closeAndDelete(Handle*& handle) {
  if (handle == nullptr) return;
  handle->data = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(handle),
           [](uv_handle_t* closed) { delete reinterpret_cast<Handle*>(closed); });
  handle = nullptr;
}

}  // namespace farwarp
