// Loads libfarwarp_runpath_outer.so, which loads libfarwarp_runpath_inner.so by its bare name; only
// the outer library's RUNPATH says where that lies. With argv[0]'s own RUNPATH it cannot be found.
#include <dlfcn.h>

#include <cstdio>

int main() {
  void* outer = dlopen(RUNPATH_OUTER, RTLD_NOW);
  if (outer == nullptr) return std::printf("%s\n", dlerror()), 1;
  if (void* direct = dlopen("libfarwarp_runpath_inner.so", RTLD_NOW); direct != nullptr) {
    return std::printf("the test is wrong: found without the RUNPATH\n"), 1;
  }
  auto load = reinterpret_cast<bool (*)()>(dlsym(outer, "loadInner"));
  std::printf("%s\n", load() ? "found" : dlerror());
}
