// Loads the client library on the first CUDA call. No constructor, no C++ runtime, no state before
// that.
//
// Depends on libc alone: every process below a preloaded shell loads this library, and most of them
// never use CUDA.
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interposer/stub/signal_hook.h"
#include "stub_exports_gen.h"

namespace {

constexpr char kClientName[] = "libfarwarp_client.so";
// The function of the client library that gives its table (interposer/session/entry.cc).
constexpr char kTableSymbol[] = "farwarp_client_table";

pthread_once_t load_once = PTHREAD_ONCE_INIT;

// One write, so that lines of several processes on one terminal do not mix.
void complain(const char* what, const char* detail) {
  char line[1024];
  size_t length = 0;
  auto append = [&](const char* text) {
    while (*text != '\0' && length < sizeof(line) - 1) line[length++] = *text++;
  };
  append("farwarp: ");
  append(what);
  append(": ");
  append(detail);
  line[length++] = '\n';
  if (write(STDERR_FILENO, line, length) < 0) return;
}

// The path of libfarwarp_client.so beside this library's own file, links resolved. False when the
// folder cannot be found.
bool clientPath(char (&path)[PATH_MAX]) {
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(&farwarp_stub_load), &self) == 0) return false;
  if (realpath(self.dli_fname, path) == nullptr) return false;
  char* slash = strrchr(path, '/');
  if (slash == nullptr) return false;
  if (static_cast<size_t>(slash - path) + 1 + sizeof(kClientName) > sizeof(path)) return false;
  memcpy(slash + 1, kClientName, sizeof(kClientName));
  return true;
}

// Other threads may be calling through the stub's table meanwhile.
void fill(const farwarp::DriverTable& client) {
  void* from[farwarp::kDriverFunctionCount];
  memcpy(from, &client, sizeof(from));
  void** to = reinterpret_cast<void**>(&farwarp_stub_table);
  for (size_t i = 0; i < farwarp::kDriverFunctionCount; ++i) {
    __atomic_store_n(&to[i], from[i], __ATOMIC_RELEASE);
  }
}

// When this fails the table stays as it is, and every call returns
// CUDA_ERROR_SHARED_OBJECT_INIT_FAILED.
void load() {
  char path[PATH_MAX];
  if (!clientPath(path)) {
    complain("CUDA is not available because the folder of the preloaded library cannot be found",
             strerror(errno));
    return;
  }
  int mode = RTLD_NOW | RTLD_LOCAL;
#ifndef FARWARP_NO_DEEPBIND
  mode |= RTLD_DEEPBIND;  // the client's libraries must not pick up symbols of the program
#endif
  void* client = dlopen(path, mode);
  if (client == nullptr) {
    complain("CUDA is not available because the client library cannot be loaded", dlerror());
    return;
  }
  using TableFunction = const farwarp::DriverTable* (*)();
  auto table = reinterpret_cast<TableFunction>(dlsym(client, kTableSymbol));
  if (table == nullptr) {
    complain("CUDA is not available because the client library is of another version", path);
    return;
  }
  fill(*table());
  auto handler = reinterpret_cast<ClientSigaction>(dlsym(client, "farwarp_client_sigaction"));
  __atomic_store_n(&farwarp_stub_client_sigaction, handler, __ATOMIC_RELEASE);
}

}  // namespace

extern "C" void farwarp_stub_load() {
  const int error = errno;
  pthread_once(&load_once, load);
  errno = error;
}
