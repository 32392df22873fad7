// The process's SIGSEGV, shared between the pages of SharedMemory and the program.
#pragma once

#include <signal.h>

namespace farwarp::client {

class SharedMemory;

// Takes SIGSEGV over, once; faults that are not for `memory` go to the handler that the program
// had or sets later, as if it were installed.
void installFaultHandler(SharedMemory& memory);

// Ends the process with a sentence: the system does not let pages be protected as they must be.
[[noreturn]] void dieOfProtection();

}  // namespace farwarp::client

// What the stub asks when the program calls sigaction or signal (interposer/stub/signal_hook.cc).
// True when it was answered here: the program's handler for `number` is kept, and called for faults
// that are its own.
extern "C" __attribute__((visibility("default"))) bool farwarp_client_sigaction(
    int number, const struct sigaction* action, struct sigaction* before);
