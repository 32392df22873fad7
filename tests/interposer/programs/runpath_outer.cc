#include <dlfcn.h>

extern "C" __attribute__((visibility("default"))) bool loadInner() {
  void* inner = dlopen("libfarwarp_runpath_inner.so", RTLD_NOW);
  return inner != nullptr;  // not a tail call: the address that dlopen sees must be in this library
}
