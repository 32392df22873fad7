// What the stub asks the client library about the program's handlers of signals.
#pragma once

#include <signal.h>

// farwarp_client_sigaction (interposer/session/fault_handler.h); null until the client is loaded.
using ClientSigaction = bool (*)(int number, const struct sigaction* action,
                                 struct sigaction* before);
extern __attribute__((visibility("hidden"))) ClientSigaction farwarp_stub_client_sigaction;
