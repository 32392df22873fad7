// Sends every way of loading libcuda to the stub that is already in the process.
//
// A program that asks for "libcuda.so.1" gets the preloaded stub because of its SONAME. One that
// asks for "libcuda.so" or "/usr/lib/.../libcuda.so.1" would bypass it, so these names are
// rewritten, and so are those of the management library. All other calls must reach the real dlopen
// as a tail jump: glibc finds the RUNPATH to search by the address that dlopen was called from.
// This file is always built with optimisation for that reason.
#include <dlfcn.h>

namespace {

using DlopenFunction = void* (*)(const char*, int);

// True when the last part of `file` starts with `want`.
bool names(const char* want, const char* file) {
  const char* name = file;
  for (const char* at = file; *at != '\0'; ++at) {
    if (*at == '/') name = at + 1;
  }
  for (; *want != '\0'; ++want, ++name) {
    if (*name != *want) return false;
  }
  return true;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void* dlopen(const char* file, int mode) {
  // Two threads may both look the symbol up; they find the same address.
  static DlopenFunction real = nullptr;
  DlopenFunction next = __atomic_load_n(&real, __ATOMIC_RELAXED);
  if (next == nullptr) {
    next = reinterpret_cast<DlopenFunction>(dlsym(RTLD_NEXT, "dlopen"));
    __atomic_store_n(&real, next, __ATOMIC_RELAXED);
  }
  if (file != nullptr && names("libcuda.so", file)) file = "libcuda.so.1";
  // Ours is in the folder that `farwarp run` puts in front of the search path.
  if (file != nullptr && names("libnvidia-ml.so", file)) file = "libnvidia-ml.so.1";
  return next(file, mode);
}
