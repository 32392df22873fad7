#include "interposer/session/fault_handler.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include <atomic>

#include "interposer/session/futex_lock.h"
#include "interposer/session/shared_memory.h"

namespace farwarp::client {
namespace {

std::atomic<SharedMemory*> the_memory{nullptr};
// What the program says about SIGSEGV is kept here, no longer told to the system.
std::atomic<bool> taken_over{false};
FutexLock program_lock;
struct sigaction program_action {};  // what the program installed; guarded by program_lock

void restoreDefault() {
  taken_over.store(false);
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  sigaction(SIGSEGV, &action, nullptr);
}

// As the kernel would call the program's handler.
void callProgram(const struct sigaction& action, int number, siginfo_t* info, void* context) {
  sigset_t mask = static_cast<ucontext_t*>(context)->uc_sigmask;
  for (int other = 1; other < NSIG; ++other) {
    if (sigismember(&action.sa_mask, other) == 1) sigaddset(&mask, other);
  }
  if ((action.sa_flags & SA_NODEFER) == 0) sigaddset(&mask, number);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(number, info, context);
  } else {
    action.sa_handler(number);
  }
}

void passOn(int number, siginfo_t* info, void* context) {
  program_lock.lock();
  const struct sigaction action = program_action;
  if ((action.sa_flags & SA_RESETHAND) != 0) program_action.sa_handler = SIG_DFL;
  program_lock.unlock();
  const bool sent = info->si_code <= 0;  // by kill or raise: returning does not fault again
  if ((action.sa_flags & SA_SIGINFO) != 0 ||
      (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)) {
    return callProgram(action, number, info, context);
  }
  if (sent && action.sa_handler == SIG_IGN) return;
  restoreDefault();
  if (sent) raise(number);
}

bool isWrite(void* context) {
#ifdef __x86_64__
  constexpr long kWriteBit = 2;  // of a page fault's error code
  return (static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & kWriteBit) != 0;
#else
#error "Which bit tells a write is not known for this processor."
#endif
}

void onSignal(int number, siginfo_t* info, void* context) {
  const int error = errno;
  SharedMemory* memory = the_memory.load(std::memory_order_acquire);
  const bool fault = info->si_code > 0;
  const auto address = reinterpret_cast<uint64_t>(info->si_addr);
  if (!fault || !memory->onFault(address, isWrite(context))) passOn(number, info, context);
  errno = error;
}

}  // namespace

void installFaultHandler(SharedMemory& memory) {
  if (the_memory.exchange(&memory) != nullptr) return;
  struct sigaction action {};
  action.sa_sigaction = onSignal;
  // All signals wait meanwhile: a handler of the program's that faulted too would wait for a lock
  // that the interrupted one holds. The alternate stack, where a thread has one, may be all there
  // is.
  sigfillset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  SignalSafeGuard guard(program_lock);
  sigaction(SIGSEGV, &action, &program_action);
  taken_over.store(true);
}

void dieOfProtection() {
  static constexpr char kSentence[] =
      "farwarp: The system refuses to protect a page of memory that is shared with the device; "
      "the process may have too many mappings (see vm.max_map_count).\n";
  if (write(STDERR_FILENO, kSentence, sizeof(kSentence) - 1) < 0) abort();
  abort();
}

}  // namespace farwarp::client

bool farwarp_client_sigaction(int number, const struct sigaction* action,
                              struct sigaction* before) {
  using namespace farwarp::client;
  if (number != SIGSEGV || !taken_over.load()) return false;
  SignalSafeGuard guard(program_lock);
  const struct sigaction kept = program_action;
  if (action != nullptr) program_action = *action;
  if (before != nullptr) *before = kept;
  return true;
}
