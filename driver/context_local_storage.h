// Values that a runtime keeps per context, under keys of its own, with a destructor for each.
//
// cudart reads its state through this before nearly every call, launches included, so a read that
// was made before by the same thread, with nothing changed since, takes no lock.
#pragma once

#include <cuda.h>

#include <map>
#include <mutex>
#include <utility>

namespace farwarp {

class ContextLocalStorage {
 public:
  ContextLocalStorage();
  ContextLocalStorage(const ContextLocalStorage&) = delete;
  ContextLocalStorage& operator=(const ContextLocalStorage&) = delete;

  using Destructor = void (*)(CUcontext context, void* key, void* value);

  // Keeps `value` under (context, key), replacing what was there without running its destructor.
  // `destructor` may be null. CUDA_ERROR_INVALID_CONTEXT for a null context.
  CUresult put(CUcontext context, void* key, void* value, Destructor destructor);
  // Forgets the value without running its destructor. CUDA_ERROR_INVALID_HANDLE if there is none.
  CUresult remove(CUcontext context, void* key);
  // CUDA_ERROR_INVALID_CONTEXT for a null context, CUDA_ERROR_INVALID_HANDLE when nothing is kept;
  // then
  // `*value` stays as it is.
  CUresult get(void** value, CUcontext context, void* key);
  // The context is over: forgets its values and runs their destructors, on this thread, with no
  // lock held, so that a destructor may call into the driver.
  void endContext(CUcontext context);

 private:
  struct Entry {
    void* value;
    Destructor destructor;
  };
  std::mutex mutex_;  // guards entries_
  std::map<std::pair<CUcontext, void*>, Entry> entries_;
};

}  // namespace farwarp
