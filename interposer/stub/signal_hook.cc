// Lets the client library share SIGSEGV with the program.
//
// Once memory is shared with the device, the client serves faults on it. A program that sets a
// handler of its own for SIGSEGV then keeps getting the faults that are its own, from the client.
// Before the client is loaded, and for all other signals, the calls go straight on.
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "interposer/stub/signal_hook.h"

ClientSigaction farwarp_stub_client_sigaction = nullptr;

namespace {

using SigactionFunction = int (*)(int, const struct sigaction*, struct sigaction*);

SigactionFunction realSigaction() {
  // Two threads may both look the symbol up; they find the same address.
  static SigactionFunction real = nullptr;
  SigactionFunction next = __atomic_load_n(&real, __ATOMIC_RELAXED);
  if (next == nullptr) {
    next = reinterpret_cast<SigactionFunction>(dlsym(RTLD_NEXT, "sigaction"));
    __atomic_store_n(&real, next, __ATOMIC_RELAXED);
  }
  return next;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int sigaction(int number,
                                                                const struct sigaction* action,
                                                                struct sigaction* before) noexcept {
  const ClientSigaction client = __atomic_load_n(&farwarp_stub_client_sigaction, __ATOMIC_ACQUIRE);
  if (number == SIGSEGV && client != nullptr && client(number, action, before)) return 0;
  return realSigaction()(number, action, before);
}

// As glibc does it, whose own call of sigaction does not come by here.
extern "C" __attribute__((visibility("default"))) sighandler_t signal(
    int number, sighandler_t handler) noexcept {
  struct sigaction action, before;
  memset(&action, 0, sizeof(action));
  if (handler == SIG_ERR || sigemptyset(&action.sa_mask) != 0 ||
      sigaddset(&action.sa_mask, number) != 0) {
    errno = EINVAL;
    return SIG_ERR;
  }
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  return sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}
